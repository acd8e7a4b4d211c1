//! Workers that are killed by `kill -9`, on a file.

use std::path::Path;
use std::sync::Arc;

use taskwright::store::SharedStore;
use taskwright::store::sqlite::{Options, SqliteStore};

use crate::deaths;

const WORKER: &str = "killed_workers_lose_nothing::worker";

fn store(site: &Path) -> SharedStore {
    Arc::new(SqliteStore::open(&site.join("jobs.db"), Options::default()).unwrap())
}

/// Not a test by itself: a worker that the tests below start, and that its jobs kill.
#[tokio::test]
#[ignore = "started by the other tests of this file"]
async fn worker() {
    deaths::work(store(&deaths::site())).await;
}

#[tokio::test]
async fn a_job_of_thirty_steps_outlives_thirty_kills_and_does_each_step_once() {
    let site = tempfile::tempdir().unwrap();
    deaths::thirty_steps_outlive_thirty_kills(store(site.path()), site.path(), WORKER).await;
}

#[tokio::test]
async fn cr_x1_another_worker_runs_the_job_of_one_that_was_killed_at_once_and_that_counts() {
    let site = tempfile::tempdir().unwrap();
    deaths::cr_x1(store(site.path()), site.path(), WORKER).await;
}
