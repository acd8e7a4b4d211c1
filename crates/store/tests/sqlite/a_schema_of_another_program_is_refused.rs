//! A file that other SQL than this program's has made or changed is left alone, unless it says that we may use it.

use std::path::Path;

use taskwright_store::sqlite::rusqlite::Connection;
use taskwright_store::sqlite::{Options, SCHEMA_VERSION, SqliteStore, pending_sql, schema_version};
use taskwright_store::{Error, Store};

/// Opens a store, changes its record of migrations, and opens it again.
fn reopened_after(change: &str) -> Error {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("taskwright.db");
    drop(SqliteStore::open(&path, Options::default()).unwrap());
    Connection::open(&path).unwrap().execute_batch(change).unwrap();
    let dump = dump(&path);
    let error = SqliteStore::open(&path, Options::default()).err().unwrap();
    assert_eq!(self::dump(&path), dump, "nothing was changed");
    error
}

fn dump(path: &Path) -> Vec<(String, String)> {
    let conn = Connection::open(path).unwrap();
    let mut statement = conn
        .prepare(
            "SELECT name, coalesce(sql, '') FROM sqlite_schema
             UNION ALL SELECT version, checksum FROM taskwright_migration ORDER BY 1",
        )
        .unwrap();
    let rows = statement.query_map([], |row| {
        let name: taskwright_store::sqlite::rusqlite::types::Value = row.get(0)?;
        Ok((format!("{name:?}"), row.get(1)?))
    });
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn a_store_of_a_newer_version_is_refused() {
    let error = reopened_after("INSERT INTO taskwright_migration VALUES (999, 'future', 'x', 0, 999)");
    assert!(error.is_version());
    assert!(error.to_string().contains("999"), "{error}");
    assert!(error.fix().contains("newer"), "{}", error.fix());
}

#[test]
fn an_edited_migration_is_refused() {
    let error = reopened_after("UPDATE taskwright_migration SET checksum = 'x' WHERE version = 1");
    assert!(error.is_version());
    assert!(error.to_string().contains("migration 1"), "{error}");
}

#[test]
fn a_newer_store_that_we_may_use_is_used_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("taskwright.db");
    drop(SqliteStore::open(&path, Options::default()).unwrap());
    let newer = SCHEMA_VERSION + 1;
    let step = format!("INSERT INTO taskwright_migration VALUES ({newer}, 'next', 'x', 0, {SCHEMA_VERSION})");
    Connection::open(&path).unwrap().execute_batch(&step).unwrap();
    let before = dump(&path);
    let store = SqliteStore::open(&path, Options::default()).unwrap();
    assert_eq!(store.info().schema, newer);
    drop(store);
    assert_eq!(schema_version(&path).unwrap(), Some(newer));
    assert_eq!(pending_sql(&path).unwrap(), "");
    assert_eq!(dump(&path), before);
}

#[test]
fn a_store_that_is_up_to_date_opens_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("taskwright.db");
    for _ in 0..3 {
        SqliteStore::open(&path, Options::default()).unwrap();
    }
}
