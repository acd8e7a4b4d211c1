//! Rows of tables in the same file are read in the order of a key, or of their time, some at a time.

use std::sync::Arc;

use serde_json::json;
use taskwright_core::Timestamp;
use taskwright_store::sqlite::rusqlite::Connection;
use taskwright_store::sqlite::{Options, SqliteStore};
use taskwright_store::{RowCursor, RowOrder, RowsAfter, SharedStore, TableRow};

async fn rows(store: &SharedStore, rows: RowsAfter) -> Vec<TableRow> {
    let rows = store.rows_after(rows).await.unwrap().rows;
    assert!(rows.iter().all(|row| row.is_settled), "one writes at a time");
    rows
}

#[tokio::test]
async fn rows_of_tables_beside_the_jobs_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let store: SharedStore = Arc::new(SqliteStore::open(&path, Options::default()).unwrap());
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch(
        "CREATE TABLE \"my mail\" (id INTEGER PRIMARY KEY, at INTEGER, \"to\" TEXT, size REAL, body BLOB);
         INSERT INTO \"my mail\" VALUES (3, 50, 'zoe', 1.5, x'00ff'), (5, 40, 'bob', NULL, NULL), (8, 50, 'eve', 2, NULL)",
    )
    .unwrap();
    let by_key = |after: Option<i64>, limit, newest| RowsAfter {
        table: "my mail".to_owned(),
        order: RowOrder::Key("id".to_owned()),
        after: after.map(|key| RowCursor { at: None, key: key.into() }),
        limit,
        newest,
        mark: None,
    };
    let all = rows(&store, by_key(None, 2, false)).await;
    assert_eq!(json!(all[0].columns), json!({"id": 3, "at": 50, "to": "zoe", "size": 1.5, "body": "00ff"}));
    let keys = |rows: Vec<TableRow>| rows.into_iter().map(|row| row.cursor.key).collect::<Vec<_>>();
    assert_eq!(keys(all), [3, 5]);
    assert_eq!(keys(rows(&store, by_key(Some(5), 2, false)).await), [8]);
    assert_eq!(keys(rows(&store, by_key(None, 1, true)).await), [8]);
    let by_time = |after: Option<(i64, i64)>| RowsAfter {
        order: RowOrder::Modified { at: "at".to_owned(), id: "id".to_owned() },
        after: after.map(|(at, id)| RowCursor { at: Some(Timestamp::from_micros(at)), key: id.into() }),
        ..by_key(None, 9, false)
    };
    assert_eq!(keys(rows(&store, by_time(None)).await), [5, 3, 8]);
    assert_eq!(keys(rows(&store, by_time(Some((50, 3)))).await), [8]);
    conn.execute_batch("INSERT INTO \"my mail\" VALUES (9, NULL, 'ann', 1, NULL)").unwrap();
    assert_eq!(keys(rows(&store, by_time(None)).await), [5, 3, 8], "what has no time is in no order");
}
