//! What was acknowledged is in the file: a process that comes later finds the jobs, and can tell which of those that a
//! dead worker held were started.

use std::path::Path;
use std::sync::Arc;

use taskwright_core::State;
use taskwright_store::conformance::fixture::*;
use taskwright_store::sqlite::{Options, SqliteStore};

fn process(path: &Path) -> Process {
    Process::of(Arc::new(SqliteStore::open(path, Options::default()).unwrap()))
}

#[tokio::test]
async fn jobs_and_their_histories_outlive_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("taskwright.db");
    let before = {
        let first = process(&path);
        first.enqueue(0, jobs(1..=3)).await;
        let worker = first.worker(1).await;
        let claimed = worker.claim(worker.ask(1, 2)).await;
        worker.end(2, &claimed[0], failed("boom")).await;
        worker.end(2, &claimed[1], completed()).await;
        [first.detail(1).await, first.detail(2).await, first.detail(3).await]
    };
    let second = process(&path);
    assert_eq!([second.detail(1).await, second.detail(2).await, second.detail(3).await], before);
}

#[tokio::test]
async fn a_later_process_tells_started_jobs_from_unstarted_ones() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("taskwright.db");
    {
        let first = process(&path);
        first.enqueue(0, jobs(1..=4)).await;
        let worker = first.worker(1).await;
        let claimed = worker.claim_all(1).await;
        worker.mark(&claimed[1]);
        worker.mark(&claimed[3]);
    }
    let second = process(&path);
    let lost = second.reclaim(2).await.workers;
    assert_eq!((lost[0].requeued, lost[0].given_back), (2, 2));
    for (n, attempts) in [(1, 0), (2, 1), (3, 0), (4, 1)] {
        let view = second.view(n).await;
        assert_eq!((view.state, view.attempt), (State::Available, attempts), "job {n}");
    }
}

#[tokio::test]
async fn a_number_that_was_given_is_never_given_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("taskwright.db");
    let mut keys = Vec::new();
    for n in 1..=3 {
        let process = process(&path);
        process.enqueue(0, [job(n)]).await;
        let number = u8::try_from(n).unwrap();
        let worker = process.worker(number).await;
        let held = worker.take(1).await;
        keys.push(held.key);
        worker.end(2, &held, completed()).await;
        // Even when nothing is left that had a number.
        process.prune(9, keep_nothing()).await;
        assert!(!process.has(n).await);
    }
    keys.dedup();
    assert_eq!(keys.len(), 3);
}
