//! A completion that commits after one with a higher number is rolled up, too, and a number that nobody used holds up nothing
//! for long.

use std::sync::Arc;

use taskwright_core::Timestamp;
use taskwright_store::conformance::fixture::*;
use taskwright_store::postgres::tokio_postgres::{Config, NoTls};
use taskwright_store::postgres::{PostgresStore, Settings};

use crate::cluster::{Cluster, Flavour};

/// Tells of the completion of a job by hand, in the transaction that is open.
fn complete_by_hand(n: u32) -> String {
    format!(
        "INSERT INTO taskwright.completion (worker, claimed_at, lo, hi, seqs, times)
         SELECT w.worker, j.created_at, j.seq, j.seq, int8multirange(int8range(j.seq, j.seq + 1)), '\\x0000000000000001'
         FROM taskwright.job j, taskwright.worker w WHERE j.id = '{}'",
        id(n)
    )
}

#[tokio::test]
async fn what_commits_late_is_counted_once_and_what_is_rolled_back_is_passed() {
    // A server of its own: a transaction of anybody, in whatever database, holds up what lies behind a gap.
    let cluster = Cluster::start(Flavour { purpose: "rolls up", ..Flavour::FAST });
    let database = cluster.database();
    let run = tempfile::tempdir().unwrap();
    let settings = Settings::parse(&database.url()).unwrap();
    let store = PostgresStore::open(settings, run.path(), Timestamp::from_micros(0)).await.unwrap();
    let process = Process::of(Arc::new(store));
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=4)).await;
    let held = worker.claim_all(1).await;
    worker.end(2, &held[0], completed()).await;
    assert_eq!(process.roll_up().await, 1);

    let mut sessions = tokio::task::JoinSet::new();
    let config: Config = database.url().parse().unwrap();
    let (late, connection) = config.connect(NoTls).await.unwrap();
    sessions.spawn(async move { drop(connection.await) });
    late.batch_execute(&format!("BEGIN; {}", complete_by_hand(2))).await.unwrap();
    worker.end(3, &held[2], completed()).await;
    for _ in 0..3 {
        assert_eq!(process.roll_up().await, 0, "there is a gap, and somebody may yet fill it");
    }
    late.batch_execute("COMMIT").await.unwrap();
    let mut counted = 0;
    for _ in 0..3 {
        counted += process.roll_up().await;
    }
    assert_eq!(counted, 2);

    late.batch_execute(&format!("BEGIN; {}; ROLLBACK", complete_by_hand(2))).await.unwrap();
    worker.end(4, &held[3], completed()).await;
    let mut counted = 0;
    for _ in 0..3 {
        counted += process.roll_up().await;
    }
    assert_eq!(counted, 1, "nobody will fill this gap");
}
