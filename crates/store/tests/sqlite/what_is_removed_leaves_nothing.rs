//! Of jobs that are removed nothing is left, in whatever table they left a trace.

use std::sync::Arc;

use taskwright_store::conformance::fixture::Process;
use taskwright_store::conformance::traces::leave_traces_and_go;
use taskwright_store::sqlite::rusqlite::Connection;
use taskwright_store::sqlite::{Options, SqliteStore};

#[tokio::test]
async fn no_table_has_a_row_of_a_job_that_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let process = Process::of(Arc::new(SqliteStore::open(&path, Options::default()).unwrap()));
    leave_traces_and_go(&process).await;

    let conn = Connection::open(&path).unwrap();
    let mut tables = conn
        .prepare(
            "SELECT m.name, c.name FROM sqlite_schema m JOIN pragma_table_info(m.name) c
             WHERE m.type = 'table' AND c.name IN ('seq', 'lo') ORDER BY m.name",
        )
        .unwrap();
    let tables: Vec<(String, String)> =
        tables.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect();
    assert!(tables.len() >= 12, "{tables:?}");
    for (table, column) in tables {
        let left: u64 =
            conn.query_row(&format!("SELECT count({column}) FROM {table}"), [], |row| row.get(0)).unwrap();
        assert_eq!(left, 0, "{table} has rows of jobs that are gone");
    }
}
