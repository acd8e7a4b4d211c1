//! Workers that are killed by `kill -9`, in a database.

use std::fs;

use taskwright::Env;

use crate::deaths;
use crate::support::{Site, open};

const WORKER: &str = "killed_workers_lose_nothing::worker";

/// A site, and in its directory where its store is.
async fn site() -> Site {
    let site = Site::new().await;
    fs::write(site.run_dir().join("url"), site.url()).unwrap();
    site
}

/// Not a test by itself: a worker that the tests below start, and that its jobs kill.
#[tokio::test]
#[ignore = "started by the other tests of this file"]
async fn worker() {
    let directory = deaths::site();
    let url = fs::read_to_string(directory.join("url")).unwrap();
    deaths::work(open(&url, &directory, &Env::system()).await).await;
}

#[tokio::test]
async fn a_job_of_thirty_steps_outlives_thirty_kills_and_does_each_step_once() {
    let site = site().await;
    deaths::thirty_steps_outlive_thirty_kills(site.store.clone(), site.run_dir(), WORKER).await;
}

#[tokio::test]
async fn cr_x1_another_worker_runs_the_job_of_one_that_was_killed_at_once_and_that_counts() {
    let site = site().await;
    deaths::cr_x1(site.store.clone(), site.run_dir(), WORKER).await;
}
