//! The log of events on PostgreSQL: no event is passed over because its transaction ended late, and whatever is asked about webhooks
//! is found by an index.

use std::sync::Arc;

use taskwright_core::Timestamp;
use taskwright_core::retention::Garbage;
use taskwright_core::webhook::DeliveryEnd;
use taskwright_store::conformance::fixture::*;
use taskwright_store::conformance::webhook::{
    add, delivery, done, endpoint, event, happen, later, nothing, numbers_of, read, reading, stored, turn,
};
use taskwright_store::postgres::tokio_postgres::{Config, NoTls};
use taskwright_store::postgres::{PostgresStore, Settings};
use taskwright_store::{RetryWrite, SeenRetry, WebhookTurn};

use crate::cluster::{Cluster, Database};

const ROWS: u32 = 20_000;
/// Rows of a table that a call may look at, per row that it is about.
const ROWS_EACH_MAX: u64 = 10;

async fn open(database: &Database<'_>, run: &tempfile::TempDir) -> Process {
    let settings = Settings::parse(&format!("{}?pool=1", database.url())).unwrap();
    Process::of(Arc::new(PostgresStore::open(settings, run.path(), Timestamp::from_micros(0)).await.unwrap()))
}

#[tokio::test]
async fn an_event_whose_transaction_ends_late_is_behind_those_that_were_read() {
    let database = Cluster::shared().database();
    let run = tempfile::tempdir().unwrap();
    let process = open(&database, &run).await;
    add(&process, "webhook:a", &endpoint(&["**"])).await;
    let config: Config = database.url().parse().unwrap();
    let (user, connection) = config.connect(NoTls).await.unwrap();
    let session = tokio::task::JoinSet::from_iter([async move { drop(connection.await) }]);
    user.batch_execute("BEGIN; SELECT taskwright.emit('order.late')").await.unwrap();
    happen(&process, 1, vec![event(1), event(2)]).await;
    let topics = |page: taskwright_store::LogPage| {
        page.events.iter().map(|(_, stored)| stored.event.topic.to_string()).collect::<Vec<_>>()
    };
    let first = read(&process, reading(&["**"], 0)).await;
    let scanned = first.scanned;
    assert_eq!(topics(first), ["order.paid"; 2]);
    user.batch_execute("COMMIT").await.unwrap();
    happen(&process, 2, vec![event(3)]).await;
    let rest = read(&process, reading(&["**"], scanned)).await;
    assert_eq!(topics(rest), ["order.late", "order.paid"], "its key is lower, and its position is not");
    drop(session);
}

/// An event may be older than its place in the log, so that it goes before that does.
#[tokio::test]
async fn an_event_that_is_gone_is_told_of_also_where_its_place_in_the_log_is_kept() {
    let database = Cluster::shared().database();
    let run = tempfile::tempdir().unwrap();
    let process = open(&database, &run).await;
    add(&process, "webhook:a", &endpoint(&["**"])).await;
    happen(&process, 1, (1..=6).map(event).collect()).await;
    let n = numbers_of(&process).await;
    let forget = |at: &[usize]| {
        let keys: Vec<String> = at.iter().map(|at| n[*at].0.to_string()).collect();
        database.sql(&format!("DELETE FROM taskwright.event WHERE event IN ({})", keys.join(", ")));
    };
    forget(&[0, 1, 3]);
    let numbers = |page: &taskwright_store::LogPage| {
        page.events.iter().map(|(_, stored)| stored.number).collect::<Vec<_>>()
    };
    let first = read(&process, reading(&["**"], 0)).await;
    assert_eq!((first.gone, numbers(&first), first.is_end), (2, vec![n[2]], false));
    let rest = read(&process, reading(&["**"], first.scanned)).await;
    assert_eq!((rest.gone, numbers(&rest), rest.is_end), (1, vec![n[4], n[5]], true));
    forget(&[2, 4, 5]);
    let all = read(&process, reading(&["**"], 0)).await;
    assert_eq!((all.gone, all.scanned, all.is_end), (6, rest.scanned, true));
}

/// What a turn has done is written in as many statements for a thousand events as for a few.
#[tokio::test]
async fn a_turn_costs_the_same_number_of_statements_however_many_retries_it_ends() {
    let database = Cluster::shared().database();
    let run = tempfile::tempdir().unwrap();
    let process = open(&database, &run).await;
    add(&process, "webhook:a", &endpoint(&["**"])).await;
    let webhook = stored(&process, "webhook:a").await;
    let key = |n: i64| (n % 2 == 0).then(|| format!("k{n}"));
    let mut cost = Vec::new();
    // The first time everything is prepared.
    for (round, many) in [10, 10, 1_000].into_iter().enumerate() {
        let now = 10 * (round as u64 + 1);
        let keys = || (1..=many).map(taskwright_store::EventKey);
        let waiting = keys().map(|n| later(n, key(n.0).as_deref(), 1, Some(1)));
        let waiting = WebhookTurn { retries: waiting.collect(), ..nothing(&webhook) };
        turn(&process, now, "webhook:a", waiting).await;
        let ended = keys().map(|n| done(n, key(n.0).as_deref(), 1, 1));
        let ended = WebhookTurn { retries: ended.collect(), ..nothing(&webhook) };
        let before = process.store().counters().statements;
        turn(&process, now + 1, "webhook:a", ended).await;
        cost.push(process.store().counters().statements - before);
        assert_eq!(process.store().retry_count(webhook.retry_set(), 10_000).await.unwrap(), 0);
    }
    assert_eq!(cost[1], cost[2], "{cost:?}");
}

/// Every call about webhooks, each about some ten rows.
async fn use_webhooks(process: &Process, now: u64, first: u32) -> u64 {
    let store = process.store();
    let webhook = stored(process, "webhook:a").await;
    let head = store.log_head().await.unwrap();
    happen(process, now, (first..first + 10).map(event).collect()).await;
    let page = read(process, reading(&["**"], head)).await;
    assert_eq!(page.events.len(), 10);
    let mut retries: Vec<RetryWrite> =
        page.events.iter().map(|(_, stored)| later(stored.number, Some("k"), 1, Some(now))).collect();
    retries.push(done(page.events[0].1.number, Some("k"), 1, now));
    retries.push(RetryWrite::Again {
        event: page.events[1].1.number,
        seen: SeenRetry { attempts: 1, next_at: at(now) },
        attempts: 2,
        next_at: at(now),
    });
    let deliveries = (first..first + 10).map(|n| delivery(n, now, DeliveryEnd::Failed)).collect();
    let listen = Some(reading(&["**"], page.scanned));
    turn(process, now, "webhook:a", WebhookTurn { deliveries, retries, listen, ..nothing(&webhook) }).await;
    assert_eq!(store.retries(webhook.retry_set(), 5).await.unwrap().len(), 5);
    assert_eq!(store.retry_count(webhook.retry_set(), 5).await.unwrap(), 5);
    assert_eq!(store.waiting_keys(webhook.retry_set(), vec!["k".to_owned()]).await.unwrap(), ["k"]);
    let ids = page.events.iter().map(|(_, stored)| stored.event.id).collect();
    assert_eq!(store.redeliver(at(now), webhook.retry_set(), ids).await.unwrap(), [true; 10]);
    assert_eq!(store.deliveries(webhook.generator.key, None, 5).await.unwrap().len(), 5);
    let listening = store.listening_webhooks().await.unwrap();
    assert_eq!(listening.len(), 1);
    store.wake_webhooks(at(now), vec![listening[0].generator]).await.unwrap();
    store.webhooks(None, Some(webhook.generator.key), 10).await.unwrap();
    let done = page.events.iter().map(|(_, stored)| done(stored.number, None, 0, now));
    turn(process, now, "webhook:a", WebhookTurn { retries: done.collect(), ..nothing(&webhook) }).await;
    assert_eq!(store.retry_count(webhook.retry_set(), 5).await.unwrap(), 0);
    assert_eq!(process.collect(Garbage::Deliveries, at(0), 10).await, 0);
    process.collect(Garbage::Events, at(0), 10).await;
    100
}

#[tokio::test]
async fn whatever_is_asked_about_webhooks_is_found_by_an_index() {
    let database = Cluster::shared().database();
    let run = tempfile::tempdir().unwrap();
    let process = open(&database, &run).await;
    add(&process, "webhook:a", &endpoint(&["**"])).await;
    // Everything is planned here, by its only session, on tables that are next to empty.
    use_webhooks(&process, 1, 1).await;
    assert!(!numbers_of(&process).await.is_empty());
    let far = at(4_000_000).as_micros();
    database.sql(&format!(
        "INSERT INTO taskwright.event (at, id, namespace, topic, payload)
         SELECT {far}, gen_random_uuid(), 'default', 'order.paid', 'null' FROM generate_series(1, {ROWS});
         UPDATE taskwright.event_head SET position = position + {ROWS};
         INSERT INTO taskwright.event_log (position, event, at)
         SELECT (SELECT position FROM taskwright.event_head) - {ROWS} + n, n + 10, {far} FROM generate_series(1, {ROWS}) n;
         INSERT INTO taskwright.webhook (generator, epoch, listens, topics, definition)
         SELECT 1000 + n, 1, false, '[]', '{{}}' FROM generate_series(1, {ROWS}) n;
         INSERT INTO taskwright.retry (generator, epoch, event, id, topic, position, next_at, attempts, key)
         SELECT g, 1, n, gen_random_uuid(), 'order.paid', n, {far} + n, 1, 'k' FROM generate_series(1000, 1001) g, generate_series(1, {ROWS}) n;
         INSERT INTO taskwright.delivery (generator, at, event, attempt, took_ms, ended, topic)
         SELECT g, {far}, gen_random_uuid(), 1, 1, 1, 'order.paid'
         FROM generate_series(1000, 1001) g, generate_series(1, {ROWS}) n;
         SELECT pg_stat_reset();"
    ));
    let mut about = 0;
    for n in 1..=10 {
        about += use_webhooks(&process, 2_000 * u64::from(n), 1_000 * n).await;
    }
    process.store().close().await.unwrap();
    drop(process);
    let reads = crate::reads::reads(&database).await;
    let fetched = |table: &str| reads.iter().find(|(name, ..)| name == table).map_or(0, |read| read.2);
    assert!(["event_log", "retry", "webhook"].iter().all(|table| fetched(table) > 0), "{reads:?}");
    for (table, scanned, walked) in reads {
        let small =
            ["store", "migration", "event_head", "retry_dropped", "interest"].contains(&table.as_str());
        assert!(small || scanned == 0, "{table}: {scanned} rows were scanned");
        assert!(walked <= about * ROWS_EACH_MAX, "{table}: {walked} rows were read for {about}");
    }
}
