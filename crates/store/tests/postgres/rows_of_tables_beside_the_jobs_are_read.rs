//! Rows of tables in the same database are read in the order of a key, or of their time, whatever types these have.

use std::sync::Arc;

use serde_json::{Value, json};
use taskwright_core::Timestamp;
use taskwright_store::postgres::{PostgresStore, Settings};
use taskwright_store::{RowCursor, RowOrder, RowsAfter, SharedStore};

use crate::cluster::Cluster;

async fn keys(store: &SharedStore, rows: RowsAfter) -> Vec<Value> {
    store.rows_after(rows).await.unwrap().into_iter().map(|row| row.cursor.key).collect()
}

#[tokio::test]
async fn rows_of_tables_beside_the_jobs_are_read_whatever_types_they_have() {
    let (database, run) = (Cluster::shared().database(), tempfile::tempdir().unwrap());
    database.sql(
        "CREATE SCHEMA shop;
         CREATE TABLE mail (id bigint PRIMARY KEY, name text, at timestamptz, us bigint);
         INSERT INTO mail VALUES (3, 'zoe', '1970-01-01 00:00:01.000003Z', 50), (5, 'bob', '1970-01-01 00:00:01Z', 40),
             (8, 'eve', '1970-01-01 00:00:01.000003Z', 50);
         CREATE TABLE shop.\"Order\" AS SELECT gen_random_uuid() AS id FROM generate_series(1, 3)",
    );
    let settings = Settings::parse(&database.url()).unwrap();
    let store = PostgresStore::open(settings, run.path(), Timestamp::from_micros(0)).await.unwrap();
    let store: SharedStore = Arc::new(store);
    let by = |column: &str, after: Option<Value>| RowsAfter {
        table: "mail".to_owned(),
        order: RowOrder::Key(column.to_owned()),
        after: after.map(|key| RowCursor { at: None, key }),
        limit: 2,
        newest: false,
    };
    let first = &store.rows_after(by("id", None)).await.unwrap()[0];
    assert_eq!((&first.columns["name"], &first.columns["us"]), (&json!("zoe"), &json!(50)));
    assert_eq!(keys(&store, by("id", Some(5.into()))).await, [8]);
    assert_eq!(keys(&store, by("name", Some("bob".into()))).await, ["eve", "zoe"]);
    assert_eq!(keys(&store, RowsAfter { newest: true, limit: 1, ..by("id", None) }).await, [8]);
    for column in ["at", "us"] {
        let at = |us: i64| Some(RowCursor { at: Some(Timestamp::from_micros(us)), key: 3.into() });
        let order = RowOrder::Modified { at: column.to_owned(), id: "id".to_owned() };
        let all = RowsAfter { order, limit: 9, ..by("id", None) };
        assert_eq!(keys(&store, all.clone()).await, [5, 3, 8], "{column}");
        let third = if column == "at" { 1_000_003 } else { 50 };
        assert_eq!(keys(&store, RowsAfter { after: at(third), ..all }).await, [8], "{column}");
    }
    let orders = RowsAfter { table: "shop.Order".to_owned(), ..by("id", None) };
    let two = keys(&store, orders.clone()).await;
    let after = Some(RowCursor { at: None, key: two[1].clone() });
    assert_eq!((two.len(), keys(&store, RowsAfter { after, ..orders }).await.len()), (2, 1));
    let error = store.rows_after(by("nothing", None)).await.unwrap_err();
    assert!(error.to_string().contains("no such column"), "{error}");
}
