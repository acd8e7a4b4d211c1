//! Rows of tables in the same database are read in the order of a key, or of their time, whatever types these have; and none is
//! settled by its key while another may yet appear before it.

use std::sync::Arc;

use serde_json::{Value, json};
use taskwright_core::Timestamp;
use taskwright_store::postgres::tokio_postgres::{Client, Config, NoTls};
use taskwright_store::postgres::{PostgresStore, Settings};
use taskwright_store::{RowCursor, RowMark, RowOrder, RowsAfter, SharedStore};
use tokio::task::JoinSet;

use crate::cluster::{Cluster, Database};

async fn keys(store: &SharedStore, rows: RowsAfter) -> Vec<Value> {
    store.rows_after(rows).await.unwrap().rows.into_iter().map(|row| row.cursor.key).collect()
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
        mark: None,
    };
    let first = &store.rows_after(by("id", None)).await.unwrap().rows[0];
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
    database.sql("INSERT INTO mail VALUES (9, NULL, NULL, NULL)");
    assert_eq!(keys(&store, RowsAfter { limit: 9, ..by("name", None) }).await, ["bob", "eve", "zoe"]);
    let orders = RowsAfter { table: "shop.Order".to_owned(), ..by("id", None) };
    let two = keys(&store, orders.clone()).await;
    let after = Some(RowCursor { at: None, key: two[1].clone() });
    assert_eq!((two.len(), keys(&store, RowsAfter { after, ..orders }).await.len()), (2, 1));
    let error = store.rows_after(by("nothing", None)).await.unwrap_err();
    assert!(error.to_string().contains("no such column"), "{error}");

    // Whoever writes through these is not seen at them.
    database.sql(
        "CREATE VIEW seen AS SELECT * FROM mail;
         CREATE TABLE parent (id bigint, us bigint);
         CREATE TABLE child () INHERITS (parent);
         INSERT INTO child VALUES (1, 1)",
    );
    for table in ["seen", "parent"] {
        let by_key = RowsAfter { table: table.to_owned(), ..by("id", None) };
        let error = store.rows_after(by_key.clone()).await.unwrap_err();
        assert!(error.to_string().contains("committed late"), "{table}: {error}");
        let order = RowOrder::Modified { at: "us".to_owned(), id: "id".to_owned() };
        assert!(!keys(&store, RowsAfter { order, ..by_key }).await.is_empty(), "{table}, by time");
    }
}

/// A table with a number that grows, and who reads it as one node does.
struct Mail {
    store: SharedStore,
    mark: Option<RowMark>,
    after: i64,
}

impl Mail {
    /// The ids of the rows that it has not taken, and whether each is settled. Takes those that are.
    async fn rows(&mut self) -> Vec<(i64, bool)> {
        let rows = RowsAfter {
            table: "mail".to_owned(),
            order: RowOrder::Key("id".to_owned()),
            after: Some(RowCursor { at: None, key: self.after.into() }),
            limit: 100,
            newest: false,
            mark: self.mark.take(),
        };
        let answer = self.store.rows_after(rows).await.unwrap();
        self.mark = answer.mark;
        let rows = answer.rows.iter().map(|row| (row.cursor.key.as_i64().unwrap(), row.is_settled));
        let rows: Vec<(i64, bool)> = rows.collect();
        let settled = rows.iter().take_while(|(_, is_settled)| *is_settled).last();
        self.after = settled.map_or(self.after, |(id, _)| *id);
        rows
    }
}

async fn session(database: &Database<'_>, sessions: &mut JoinSet<()>) -> Client {
    let config: Config = database.url().parse().unwrap();
    let (client, connection) = config.connect(NoTls).await.unwrap();
    sessions.spawn(async move { drop(connection.await) });
    client
}

const INSERT: &str = "INSERT INTO mail (name) VALUES ('a')";

#[tokio::test]
async fn a_row_is_settled_by_its_key_once_nobody_can_commit_one_before_it() {
    let (database, run) = (Cluster::shared().database(), tempfile::tempdir().unwrap());
    database.sql(
        "CREATE TABLE mail (id bigserial PRIMARY KEY, name text); CREATE TABLE other (id int);
         CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NEW; END $$;
         CREATE TRIGGER dawdle BEFORE INSERT ON mail FOR EACH ROW WHEN (NEW.name = 'slow') EXECUTE FUNCTION dawdle()",
    );
    let settings = Settings::parse(&database.url()).unwrap();
    let store = PostgresStore::open(settings, run.path(), Timestamp::from_micros(0)).await.unwrap();
    let mut mail = Mail { store: Arc::new(store), mark: None, after: 0 };
    let mut sessions = JoinSet::new();
    let (early, late) = (session(&database, &mut sessions).await, session(&database, &mut sessions).await);
    let run = async |client: &Client, sql: &str| client.batch_execute(sql).await.unwrap();
    assert_eq!(mail.rows().await, []);

    run(&early, &format!("BEGIN; {INSERT}")).await;
    run(&late, INSERT).await;
    assert_eq!(mail.rows().await, [(2, false)], "the first may be committed yet");
    run(&late, INSERT).await;
    assert_eq!(mail.rows().await, [(2, false), (3, false)]);
    run(&early, "COMMIT").await;
    assert_eq!(mail.rows().await, [(1, true), (2, true), (3, true)]);

    run(&early, &format!("BEGIN; SAVEPOINT a; {INSERT}")).await;
    run(&late, INSERT).await;
    assert_eq!(mail.rows().await, [(5, false)]);
    run(&early, "ROLLBACK").await;
    assert_eq!(mail.rows().await, [(5, true)], "a number that nobody used");

    // Who dawdles has drawn a number and has none as a transaction, when somebody else is through with the next.
    run(&early, "SELECT pg_advisory_lock(7)").await;
    let slow = session(&database, &mut sessions).await;
    sessions.spawn(async move { drop(slow.batch_execute("INSERT INTO mail (name) VALUES ('slow')").await) });
    let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    while late.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        tokio::task::yield_now().await;
    }
    run(&late, INSERT).await;
    for _ in 0..3 {
        assert_eq!(mail.rows().await, [(7, false)]);
    }
    run(&early, "SELECT pg_advisory_unlock(7)").await;
    while late.query_one("SELECT count(*) FROM mail WHERE id = 6", &[]).await.unwrap().get::<_, i64>(0) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(mail.rows().await, [(6, true), (7, true)]);

    run(&early, "BEGIN; INSERT INTO other VALUES (1)").await;
    run(&late, INSERT).await;
    assert_eq!(mail.rows().await, [(8, true)], "who writes elsewhere holds up nothing");
}
