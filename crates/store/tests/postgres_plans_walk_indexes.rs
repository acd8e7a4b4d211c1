//! Plans that sessions made while the tables were empty are right when these are full, before anybody analyses them.
#![cfg(feature = "postgres")]

#[path = "../../../tests/support/cluster.rs"]
mod cluster;

use std::sync::Arc;

use cluster::{Cluster, Database};
use taskwright_core::Timestamp;
use taskwright_store::conformance::fixture::*;
use taskwright_store::postgres::{PostgresStore, Settings};
use taskwright_store::{Filter, Page};

const JOBS: u32 = 100_000;
/// Rows of a table that a call may look at, per job that it is about.
const ROWS_PER_JOB_MAX: u64 = 10;

async fn open(database: &Database<'_>, run: &tempfile::TempDir) -> Process {
    let settings = Settings::parse(&format!("{}?pool=1", database.url())).unwrap();
    let store = PostgresStore::open(settings, run.path(), Timestamp::from_micros(0)).await.unwrap();
    Process::of(Arc::new(store))
}

/// Each table with the rows that were read from it by scanning the whole, and by its indexes.
fn reads(database: &Database<'_>) -> Vec<(String, u64, u64)> {
    let rows = database.sql(
        "SELECT relname, coalesce(seq_tup_read, 0), coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables
         WHERE schemaname = 'taskwright' ORDER BY relname",
    );
    let number = |text: Option<&str>| text.unwrap().parse().unwrap();
    rows.lines()
        .map(|line| {
            let mut columns = line.split('|');
            (columns.next().unwrap().to_owned(), number(columns.next()), number(columns.next()))
        })
        .collect()
}

#[tokio::test]
async fn a_claim_and_its_ends_read_what_they_are_about_and_no_more() {
    let database = Cluster::shared().database();
    let run = tempfile::tempdir().unwrap();
    let process = open(&database, &run).await;
    // Everything is planned here, by its only session, on tables that are next to empty.
    process.enqueue(0, jobs(1..=3)).await;
    let worker = process.worker(1).await;
    for job in worker.claim_all(1).await {
        worker.end(1, &job, completed()).await;
    }
    assert_eq!(process.list(Filter::default()).await.len(), 3);
    database.sql(&format!(
        "INSERT INTO taskwright.job (id, lane, created_at, run_at, max_attempts, first_state, at_most_once, args)
         SELECT gen_random_uuid(), (SELECT lane FROM taskwright.lane), 0, 0, 5, 3, false, 'null'
         FROM generate_series(1, {JOBS});
         SELECT pg_stat_reset();"
    ));

    let mut done = 0;
    for _ in 0..20 {
        let claimed = worker.claim(worker.ask(2, 500)).await;
        done += claimed.len() as u64;
        let (fails, ends) = claimed.split_at(5);
        worker.finish(2, ends.iter().map(|job| ending(2, job, completed())).collect()).await;
        worker.finish(2, fails.iter().map(|job| ending(2, job, failed("boom"))).collect()).await;
    }
    assert_eq!(done, 10_000);
    let page = Page { after: None, limit: 100, oldest_first: false };
    assert_eq!(process.store().list(Filter::default(), page).await.unwrap().jobs.len(), 100);
    // A session tells what it has read when it ends.
    process.store().close().await.unwrap();
    drop(worker);
    drop(process);

    for (table, scanned, walked) in reads(&database) {
        // The tables of names, heads and workers have a handful of rows, whatever there is to do.
        let small =
            ["lane", "queue", "worker", "store", "migration", "tether", "leader"].contains(&table.as_str());
        assert!(small || scanned == 0, "{table}: {scanned} rows were scanned");
        assert!(walked <= done * ROWS_PER_JOB_MAX, "{table}: {walked} rows were read for {done} jobs");
    }
}
