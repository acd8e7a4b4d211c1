//! What the lineage asks of cursors and webhooks holds in a database; and a row that is committed late is not passed over by its key.

use std::time::Duration;

use taskwright::generator::TableOrder;

use crate::scenarios::{self, Hand};
use crate::support::Site;

#[tokio::test]
async fn ph_x12_of_two_changes_within_a_second_neither_is_skipped() {
    let site = Site::new().await;
    scenarios::ph_x12(&Hand::new(site.store.clone()), |sql| drop(site.database.sql(sql))).await;
}

#[tokio::test]
async fn ph_x11_after_ten_failures_nothing_is_tried_for_five_minutes_and_then_one_event() {
    let site = Site::new().await;
    scenarios::ph_x11(&Hand::new(site.store.clone())).await;
}

#[tokio::test]
async fn ph_x15_a_backlog_fills_all_places_at_once_and_an_idle_worker_runs_nothing() {
    scenarios::ph_x15(&Site::new().await.store).await;
}

#[tokio::test]
async fn a_row_that_is_committed_late_is_not_passed_over_by_its_key() {
    let site = Site::new().await;
    let hand = Hand::new(site.store.clone());
    site.database.sql("CREATE TABLE mail (id bigserial PRIMARY KEY, name text)");
    let feed = hand.feed(TableOrder::Key("id".to_owned()));
    let (late, connection) = tokio_postgres::connect(&site.url(), tokio_postgres::NoTls).await.unwrap();
    let _driver = site.env.spawn("connection", connection);
    let insert = "INSERT INTO mail (name) VALUES ('a')";
    late.batch_execute(&format!("BEGIN; {insert}")).await.unwrap();
    site.database.sql(insert);
    site.database.sql(insert);
    for _ in 0..5 {
        hand.look_after(Duration::from_secs(10), &feed).await;
        assert_eq!(hand.items().await, [0; 0], "the first may be committed yet");
    }
    late.batch_execute("COMMIT").await.unwrap();
    hand.look_after(Duration::from_secs(10), &feed).await;
    assert_eq!(hand.items().await, [1, 2, 3]);
    site.database.sql(insert);
    hand.look_after(Duration::from_secs(10), &feed).await;
    assert_eq!(hand.items().await, [1, 2, 3, 4]);
}
