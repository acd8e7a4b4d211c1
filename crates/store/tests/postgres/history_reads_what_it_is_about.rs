//! Questions about what was executed read no more than they answer, however much history there is.

use std::sync::Arc;
use std::time::Duration;

use taskwright_core::Timestamp;
use taskwright_store::conformance::fixture::*;
use taskwright_store::postgres::{PostgresStore, Settings};
use taskwright_store::{ExecutionFilter, ExecutionPage};

use crate::cluster::{Cluster, Database};

/// Completions of two jobs each, one a second, and as many attempts of jobs of their own.
const COMPLETIONS: u64 = 100_000;

/// Rows that a question may read, of any table.
const ROWS_MAX: u64 = 2_500;

/// The end of completion and of attempt `n`.
fn ended_at(n: u64) -> Timestamp {
    at(n).plus(Duration::from_millis(20))
}

/// A store whose only session planned everything while it was empty, and then a long history.
async fn filled(database: &Database<'_>, run: &tempfile::TempDir) -> Process {
    let settings = Settings::parse(&format!("{}?pool=1", database.url())).unwrap();
    let store = PostgresStore::open(settings, run.path(), Timestamp::from_micros(0)).await.unwrap();
    let process = Process::of(Arc::new(store));
    process.enqueue(0, [job(1)]).await;
    let worker = process.worker(1).await;
    let first = worker.take(0).await;
    worker.end(0, &first, completed()).await;
    process.store().executions(ExecutionFilter::default(), page(10)).await.unwrap();
    process.store().statistics(ExecutionFilter::default(), 10).await.unwrap();
    let start = at(0).as_micros();
    database.sql(&format!(
        "INSERT INTO taskwright.job (seq, id, lane, created_at, run_at, max_attempts, first_state, at_most_once, args)
         SELECT s, gen_random_uuid(), (SELECT lane FROM taskwright.lane), {start}, {start}, 5, 3, false, 'null'
         FROM generate_series(1001, 1000 + 3 * {COMPLETIONS}) AS s;
         INSERT INTO taskwright.completion (worker, claimed_at, lo, hi, seqs, times)
         SELECT (SELECT worker FROM taskwright.worker), {start} + n * 1000000, 999 + 2 * n, 1000 + 2 * n,
                int8multirange(int8range(999 + 2 * n, 1001 + 2 * n)),
                int4send(5000) || int4send(10000) || int4send(5000) || int4send(20000)
         FROM generate_series(1::bigint, {COMPLETIONS}) AS n;
         INSERT INTO taskwright.attempt (seq, attempt, outcome, moved_to, worker, claimed_at, started_at, ended_at)
         SELECT 1000 + 2 * {COMPLETIONS} + n, 1, 0, 6, (SELECT worker FROM taskwright.worker), {start} + n * 1000000,
                {start} + n * 1000000, {start} + n * 1000000 + 20000
         FROM generate_series(1::bigint, {COMPLETIONS}) AS n;"
    ));
    // By another session, since that one tells what it has read when it ends.
    database.sql("SELECT pg_stat_reset()");
    process
}

fn page(limit: usize) -> ExecutionPage {
    ExecutionPage { after: None, limit }
}

#[tokio::test]
async fn a_window_anywhere_in_a_long_history_is_answered_from_its_own_rows() {
    let database = Cluster::shared().database();
    let run = tempfile::tempdir().unwrap();
    let process = filled(&database, &run).await;
    let store = process.store();

    let newest = store.executions(ExecutionFilter::default(), page(30)).await.unwrap();
    let ends: Vec<Timestamp> = newest.executions.iter().map(|one| one.record.ended_at).collect();
    assert_eq!(ends.len(), 30);
    assert_eq!(ends[..2], [ended_at(COMPLETIONS); 2]);
    assert_eq!(ends[2], at(COMPLETIONS).plus(Duration::from_millis(10)));
    assert_eq!(ends[29], at(COMPLETIONS - 9).plus(Duration::from_millis(10)));

    let middle = COMPLETIONS / 2;
    let window = ExecutionFilter {
        ended_from: Some(at(middle - 99)),
        ended_to: Some(ended_at(middle)),
        ..ExecutionFilter::default()
    };
    let found = store.executions(window.clone(), page(1_000)).await.unwrap();
    assert_eq!((found.executions.len(), found.next, found.is_cut), (300, None, false));
    assert_eq!(found.executions[0].record.ended_at, ended_at(middle));
    let told = store.statistics(window, 1_000).await.unwrap();
    assert_eq!((told.executions, told.is_cut), (300, false));
    assert_eq!(told.groups[0].tally.run(1.0), Some(Duration::from_millis(20)));

    // A session tells what it has read when it ends.
    store.close().await.unwrap();
    drop(process);
    let grows = |table: &str| ["job", "attempt", "completion"].contains(&table);
    let tables = crate::reads::reads(&database).await;
    assert_eq!(tables.iter().filter(|(table, ..)| grows(table)).count(), 3);
    for (table, scanned, walked) in tables.into_iter().filter(|(table, ..)| grows(table)) {
        assert_eq!(scanned, 0, "{table}: rows were scanned");
        assert!(walked > 0 && walked <= ROWS_MAX, "{table}: {walked} rows were read for three questions");
    }
}
