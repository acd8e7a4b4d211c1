//! A completion that commits after one with a higher number is rolled up, too, and a number that nobody used holds up nothing
//! for long.

use std::sync::Arc;

use taskwright_core::Timestamp;
use taskwright_store::conformance::fixture::*;
use taskwright_store::postgres::tokio_postgres::{Client, Config, NoTls};
use taskwright_store::postgres::{PostgresStore, Settings};
use tokio::task::JoinSet;

use crate::cluster::{Cluster, Database, Flavour};

/// Tells of the completion of a job by hand, in the transaction that is open.
fn complete_by_hand(n: u32) -> String {
    format!(
        "INSERT INTO taskwright.completion (worker, claimed_at, lo, hi, seqs, times)
         SELECT w.worker, j.created_at, j.seq, j.seq, int8multirange(int8range(j.seq, j.seq + 1)), '\\x0000000000000001'
         FROM taskwright.job j, taskwright.worker w WHERE j.id = '{}'",
        id(n)
    )
}

/// A store whose worker holds nothing, since its jobs are completed by hand.
async fn with_jobs(database: &Database<'_>, run: &tempfile::TempDir) -> Process {
    let settings = Settings::parse(&database.url()).unwrap();
    let store = PostgresStore::open(settings, run.path(), Timestamp::from_micros(0)).await.unwrap();
    let process = Process::of(Arc::new(store));
    process.worker(1).await;
    process.enqueue(0, jobs(1..=4)).await;
    process
}

async fn session(database: &Database<'_>, sessions: &mut JoinSet<()>) -> Client {
    let config: Config = database.url().parse().unwrap();
    let (client, connection) = config.connect(NoTls).await.unwrap();
    sessions.spawn(async move { drop(connection.await) });
    client
}

/// How many are counted by then.
async fn in_three_goes(process: &Process) -> u64 {
    let mut counted = 0;
    for _ in 0..3 {
        counted += process.roll_up().await;
    }
    counted
}

#[tokio::test]
async fn one_that_began_last_is_waited_for_though_one_with_a_higher_number_that_began_first_has_committed() {
    let cluster = Cluster::start(Flavour { purpose: "rolls up out of order", ..Flavour::FAST });
    let (database, run) = (cluster.database(), tempfile::tempdir().unwrap());
    let process = with_jobs(&database, &run).await;
    let mut sessions = JoinSet::new();
    let (first, last) = (session(&database, &mut sessions).await, session(&database, &mut sessions).await);
    first.batch_execute("BEGIN; SELECT pg_current_xact_id()").await.unwrap();
    last.batch_execute(&format!("BEGIN; {}", complete_by_hand(2))).await.unwrap();
    first.batch_execute(&format!("{}; COMMIT", complete_by_hand(3))).await.unwrap();
    for _ in 0..3 {
        assert_eq!(process.roll_up().await, 0, "the gap may yet be filled");
    }
    last.batch_execute("COMMIT").await.unwrap();
    assert_eq!(in_three_goes(&process).await, 2);
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

    let mut sessions = JoinSet::new();
    let late = session(&database, &mut sessions).await;
    late.batch_execute(&format!("BEGIN; {}", complete_by_hand(2))).await.unwrap();
    worker.end(3, &held[2], completed()).await;
    for _ in 0..3 {
        assert_eq!(process.roll_up().await, 0, "there is a gap, and somebody may yet fill it");
    }
    late.batch_execute("COMMIT").await.unwrap();
    assert_eq!(in_three_goes(&process).await, 2);

    late.batch_execute(&format!("BEGIN; {}; ROLLBACK", complete_by_hand(2))).await.unwrap();
    worker.end(4, &held[3], completed()).await;
    assert_eq!(in_three_goes(&process).await, 1, "nobody will fill this gap");
}
