//! Two handles on one file share the work: each job is claimed once, while both claim and finish at the same time.

use std::sync::Arc;

use taskwright_core::State;
use taskwright_store::conformance::fixture::*;
use taskwright_store::sqlite::{Options, SqliteStore};
use taskwright_store::{Filter, SharedStore};

const JOBS: u32 = 3_000;

fn open(path: &std::path::Path) -> SharedStore {
    Arc::new(SqliteStore::open(path, Options::default()).unwrap())
}

/// Claims and finishes until nothing is left; the numbers of the jobs it ran.
async fn drain(process: &Process, n: u8, block: usize) -> Vec<u32> {
    let worker = process.worker(n).await;
    let mut ran = Vec::new();
    loop {
        let claimed = worker.claim(worker.ask(1, block)).await;
        if claimed.is_empty() {
            return ran;
        }
        ran.extend(numbers(&claimed));
        let ends = claimed.iter().map(|job| ending(2, job, completed())).collect();
        assert!(worker.finish(2, ends).await.iter().all(|v| *v == taskwright_core::Verdict::Accepted));
    }
}

#[tokio::test]
async fn two_processes_never_get_the_same_job() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("taskwright.db");
    let (one, two) = (Process::of(open(&path)), Process::of(open(&path)));
    one.enqueue(0, jobs(1..=JOBS)).await;
    let (mut first, second) = tokio::join!(drain(&one, 1, 7), drain(&two, 2, 11));
    assert!(!first.is_empty() && !second.is_empty(), "both have had a part in it");
    first.extend(second);
    first.sort_unstable();
    assert_eq!(first, (1..=JOBS).collect::<Vec<_>>());
    let done = one.list(Filter { states: vec![State::Completed], ..Filter::default() }).await;
    assert_eq!(done.len(), first.len());
}
