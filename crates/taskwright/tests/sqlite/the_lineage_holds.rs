//! What the lineage asks of cursors and webhooks holds on a file; and a row that cannot be an item holds up no other.

use std::sync::Arc;
use std::time::Duration;

use taskwright::Namespace;
use taskwright::generator::TableOrder;
use taskwright::store::SharedStore;
use taskwright::store::sqlite::rusqlite::Connection;
use taskwright::store::sqlite::{Options, SqliteStore};

use crate::scenarios::{self, Hand};

fn site() -> (tempfile::TempDir, Connection, Hand) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.db");
    let store: SharedStore = Arc::new(SqliteStore::open(&path, Options::default()).unwrap());
    (directory, Connection::open(&path).unwrap(), Hand::new(store))
}

#[tokio::test]
async fn ph_x12_of_two_changes_within_a_second_neither_is_skipped() {
    let (_directory, conn, hand) = site();
    scenarios::ph_x12(&hand, |sql| conn.execute_batch(sql).unwrap()).await;
}

#[tokio::test]
async fn ph_x11_after_ten_failures_nothing_is_tried_for_five_minutes_and_then_one_event() {
    let (_directory, _conn, hand) = site();
    scenarios::ph_x11(&hand).await;
}

#[tokio::test]
async fn a_row_that_cannot_be_an_item_is_noted_and_passed_over() {
    let (_directory, conn, hand) = site();
    conn.execute_batch(
        "CREATE TABLE mail (id INTEGER PRIMARY KEY, body BLOB);
         INSERT INTO mail VALUES (1, NULL), (2, zeroblob(4000000)), (3, NULL)",
    )
    .unwrap();
    let feed = hand.feed(TableOrder::Key("id".to_owned()));
    hand.look_after(Duration::ZERO, &feed).await;
    assert_eq!(hand.items().await, [1, 3]);
    let found = hand.store.generator(Namespace::default(), "feed".parse().unwrap()).await.unwrap().unwrap();
    let state: serde_json::Value = serde_json::from_str(&found.state).unwrap();
    assert_eq!((&state["after"]["key"], &state["trouble"]["skipped"]), (&3.into(), &1.into()), "{state}");
    let last = state["trouble"]["last"].as_str().unwrap();
    assert!(last.starts_with("the row 2: ") && last.contains("bytes"), "{last}");
}

#[tokio::test]
async fn a_row_whose_key_cannot_be_remembered_is_noted_once_and_passed_over() {
    let (_directory, conn, hand) = site();
    conn.execute_batch("CREATE TABLE mail (id TEXT PRIMARY KEY)").unwrap();
    let insert = |id: &str| conn.execute("INSERT INTO mail VALUES (?1)", [id]).unwrap();
    insert("1");
    insert(&format!("2{}", "0".repeat(20_000)));
    let feed = hand.feed(TableOrder::Key("id".to_owned()));
    let state = async || {
        let found = hand.store.generator(Namespace::default(), "feed".parse().unwrap()).await;
        serde_json::from_str::<serde_json::Value>(&found.unwrap().unwrap().state).unwrap()
    };
    for _ in 0..3 {
        hand.look_after(Duration::from_secs(600), &feed).await;
        let state = state().await;
        assert_eq!(
            (&state["after"]["key"], &state["trouble"]["skipped"]),
            (&"1".into(), &1.into()),
            "{state}"
        );
    }
    insert("3");
    hand.look_after(Duration::from_secs(600), &feed).await;
    assert_eq!(hand.items().await, [1, 3]);
    let state = state().await;
    assert_eq!((&state["after"]["key"], &state["trouble"]["skipped"]), (&"3".into(), &1.into()), "{state}");
    let last = state["trouble"]["last"].as_str().unwrap();
    assert!(last.contains("key has more than"), "{last}");
}

#[tokio::test]
async fn ph_x15_a_backlog_fills_all_places_at_once_and_an_idle_worker_runs_nothing() {
    let (_directory, _conn, hand) = site();
    scenarios::ph_x15(&hand.store).await;
}
