//! What roll-ups and collectors cost: `cargo run --release -p taskwright-store --example roll_up`, for SQLite; with `--features
//! postgres` and the URL of an empty PostgreSQL schema as argument for that.
//!
//! Drains jobs in batches, half of which complete and half of which fail for good, and measures rolling up, reading the roll-ups back and
//! removing the jobs.

use std::time::{Duration, Instant};

use taskwright_core::attempt::{AttemptEnd, Decision};
use taskwright_core::{Args, Cause, Garbage, Grain, JobId, Kind, NewJob, State, Timestamp, WorkerId};
use taskwright_store::sqlite::{Options, SqliteStore};
use taskwright_store::{Claim, Collect, Finish, JobKey, NewWorker, RollUpFilter, SharedStore};

const JOBS: usize = 100_000;
const BATCH: usize = 1_000;
/// As the generator asks.
const ROLLED_AT_ONCE: usize = 5_000;

#[tokio::main]
#[allow(clippy::disallowed_methods, reason = "a stopwatch around the store")]
async fn main() {
    let directory = std::env::temp_dir().join(format!("taskwright-roll-up-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a temp directory can hold a directory");
    let store: SharedStore = match std::env::args().nth(1) {
        None => {
            let path = directory.join("taskwright.db");
            std::sync::Arc::new(SqliteStore::open(&path, Options::default()).expect("opened"))
        }
        #[cfg(feature = "postgres")]
        Some(url) => {
            use taskwright_store::postgres::{PostgresStore, Settings};
            let settings = Settings::parse(&url).expect("a URL");
            let opened = PostgresStore::open(settings, &directory, Timestamp::from_micros(0)).await;
            std::sync::Arc::new(opened.expect("opened"))
        }
        #[cfg(not(feature = "postgres"))]
        Some(_) => panic!("a URL needs --features postgres"),
    };
    let kind = Kind::new("noop").expect("a good name");
    for batch in 0..JOBS / BATCH {
        let jobs = (0..BATCH).map(|index| job(&kind, batch * BATCH + index)).collect();
        store.enqueue(at(0), jobs).await.expect("stored");
    }
    let worker = WorkerId::from_parts(1, [0; 10]);
    store.register(at(0), 0, new_worker(worker)).await.expect("registered");
    for (state, cause, end) in [
        (State::Completed, Cause::Complete, AttemptEnd::Completed),
        (State::Failed, Cause::Fail, AttemptEnd::Failed),
    ] {
        let started = Instant::now();
        drain(&store, worker, &kind, state, cause, end).await;
        told(&format!("claim + finish, {state}"), JOBS / 2, started);
        let started = Instant::now();
        let mut rolled = 0;
        loop {
            let done = store.roll_up(ROLLED_AT_ONCE).await.expect("rolled up");
            rolled += done.executions;
            if !done.more {
                break;
            }
        }
        told(&format!("roll up, {state}"), usize::try_from(rolled).unwrap_or_default(), started);
    }
    let (from, to) = (at(0), at(1_000_000));
    let filter = RollUpFilter {
        grain: Grain::Minute,
        from,
        to,
        namespace: None,
        kinds: Vec::new(),
        queues: Vec::new(),
    };
    let page = store.roll_ups(filter, None, 1_000).await.expect("read");
    println!("{} minutes in roll-ups", page.roll_ups.len());
    for garbage in [Garbage::Failed, Garbage::Completed] {
        let mut collect = Collect { garbage, before: to, after: None, limit: BATCH, dry_run: false };
        let (started, mut rows) = (Instant::now(), 0);
        loop {
            let collected = store.collect(collect).await.expect("collected");
            rows += collected.rows;
            collect.after = collected.next;
            if !collected.more {
                break;
            }
        }
        told(&format!("collect, {garbage}"), rows, started);
    }
    store.close().await.expect("closed");
    drop(std::fs::remove_dir_all(directory));
}

/// Ends half of the jobs, a batch a second.
async fn drain(store: &SharedStore, worker: WorkerId, kind: &Kind, to: State, cause: Cause, end: AttemptEnd) {
    for batch in 0..JOBS / BATCH / 2 {
        let now = at(batch);
        let claim = Claim {
            now,
            worker,
            limit: BATCH,
            kinds: vec![kind.clone()],
            queues: None,
            namespace: None,
            priority_max: None,
        };
        let jobs = store.claim(claim).await.expect("claimed").jobs;
        let ends = jobs.iter().map(|job| finish(job.key, job.attempt, now, to, cause, end)).collect();
        store.finish(now, worker, ends).await.expect("finished");
    }
}

/// So many seconds after the beginning.
fn at(seconds: usize) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000).plus(Duration::from_secs(seconds as u64))
}

fn job(kind: &Kind, number: usize) -> NewJob {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&(number as u64).to_be_bytes());
    let args = format!(r#"{{"id":{number},"data":"{}"}}"#, "x".repeat(80));
    NewJob::new(JobId::from_parts(1, random), kind.clone(), Args::from_json(args).expect("JSON"))
}

fn new_worker(id: WorkerId) -> NewWorker {
    let lease = Duration::from_secs(3_600);
    NewWorker { id, host: String::new(), pid: 1, concurrency: 1, queues: Vec::new(), lease }
}

fn finish(key: JobKey, attempt: u32, now: Timestamp, to: State, cause: Cause, end: AttemptEnd) -> Finish {
    let decision = Decision { cause, to, run_at: None, end: Some(end), reason: None, result: None };
    Finish {
        key,
        attempt,
        started_at: now,
        ended_at: now,
        decision,
        usage: None,
        follow_ups: Vec::new(),
        snoozes_max: 0,
    }
}

fn told(what: &str, count: usize, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    let (us, rate) = (seconds * 1e6 / count as f64, count as f64 / seconds);
    println!("{what}: {count} in {seconds:.2} s, {us:.2} us each, {rate:.0}/s");
}
