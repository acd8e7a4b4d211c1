//! Whoever removes jobs leaves nothing of them behind, also when two do so at the same moment.

use std::sync::Arc;

use taskwright_core::Timestamp;
use taskwright_store::conformance::fixture::*;
use taskwright_store::postgres::{PostgresStore, Settings};
use taskwright_store::{Change, Changed};

use crate::cluster::Cluster;

/// How often two meet.
const ROUNDS: u32 = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_remove_jobs_of_one_completion_do_not_leave_it_to_each_other() {
    let (database, run) = (Cluster::shared().database(), tempfile::tempdir().unwrap());
    let open = async || {
        let settings = Settings::parse(&database.url()).unwrap();
        let store = PostgresStore::open(settings, run.path(), Timestamp::from_micros(0)).await.unwrap();
        Process::of(Arc::new(store))
    };
    let (one, two) = (open().await, open().await);
    // The lane is there, so that all jobs are in one stream.
    one.enqueue(0, [job(1)]).await;
    let worker = one.worker(1).await;
    worker.end(0, &worker.take(0).await, completed()).await;
    for round in 1..=ROUNDS {
        let (first, second) = (round * 2, round * 2 + 1);
        one.enqueue(0, jobs([first, second])).await;
        let claimed = worker.claim_all(1).await;
        let ends = claimed.iter().map(|job| ending(2, job, completed())).collect();
        worker.finish(2, ends).await;
        let removed =
            tokio::join!(one.change(3, first, Change::Delete), two.change(3, second, Change::Delete));
        assert_eq!(removed, (Changed::Done, Changed::Done));
    }
    one.change(4, 1, Change::Delete).await;
    let left = database.sql("SELECT count(*) FROM taskwright.completion");
    assert_eq!(left, "0", "completions of jobs that are gone");
}
