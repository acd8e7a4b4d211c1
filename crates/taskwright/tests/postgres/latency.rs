//! An idle worker finds what was committed without a word.

use std::time::Duration;

use taskwright::{Context, Registry, TaskError};
use tokio::sync::mpsc;

use crate::support::{SOON, Site};

/// How many commits.
const COMMITS: usize = 20;
/// What is promised: on a busy machine, in the middle.
const PROMISED: Duration = Duration::from_millis(100);
/// The bound on each, as the machine may be busy.
const BOUND: Duration = Duration::from_secs(1);

/// CR-X5, its second half.
#[tokio::test]
async fn a_job_starts_soon_after_a_commit_that_tells_nobody() {
    for query in ["", "?pgbouncer=true"] {
        let site = Site::with(query).await;
        let (starts, mut started) = mpsc::unbounded_channel();
        let registry = Registry::new().handler("order", move |ctx: Context| {
            starts.send(ctx.env().monotonic_us()).unwrap();
            async { Ok::<_, TaskError>(()) }
        });
        let worker = site.worker(registry.unwrap());
        let (mut client, connection) =
            tokio_postgres::connect(&site.url(), tokio_postgres::NoTls).await.unwrap();
        let _driver = site.env.spawn("connection", connection);
        let mut waits = Vec::new();
        for _ in 0..COMMITS {
            let tx = client.transaction().await.unwrap();
            tx.execute("SELECT taskwright.enqueue('order')", &[]).await.unwrap();
            tx.commit().await.unwrap();
            let committed_us = site.env.monotonic_us();
            let started_us = tokio::time::timeout(SOON, started.recv()).await.unwrap().unwrap();
            waits.push(Duration::from_micros(started_us.saturating_sub(committed_us)));
        }
        println!("{query:?}: {waits:?}");
        waits.sort_unstable();
        assert!(waits[COMMITS / 2] < PROMISED && waits[COMMITS - 1] < BOUND, "{query:?}: {waits:?}");
        worker.stop().await;
    }
}
