//! The storage part of the hot path alone, for profiling: `cargo run --release -p taskwright-store --example hot_path`.

use std::time::{Duration, Instant};

use taskwright_core::attempt::{AttemptEnd, Decision};
use taskwright_core::{Args, Cause, JobId, Kind, NewJob, State, Timestamp, WorkerId};
use taskwright_store::sqlite::{Options, SqliteStore};
use taskwright_store::{Claim, Finish, NewWorker, Store};

const JOBS: usize = 200_000;
const BATCH: usize = 1_000;

#[tokio::main(flavor = "current_thread")]
#[allow(clippy::disallowed_methods, reason = "a stopwatch around the store")]
async fn main() {
    for round in 0..5 {
        raw(round);
        let path = std::env::temp_dir().join(format!("taskwright-hot-{}-{round}.db", std::process::id()));
        let store = SqliteStore::open(&path, Options::default()).expect("a temp directory can hold a store");
        let now = Timestamp::from_micros(1);
        let kind = Kind::new("noop").expect("a good name");
        let started = Instant::now();
        for batch in 0..JOBS / BATCH {
            let jobs = (0..BATCH).map(|index| job(&kind, batch * BATCH + index)).collect();
            store.enqueue(now, jobs).await.expect("stored");
        }
        rate("enqueue", started);
        let worker = WorkerId::from_parts(1, [0; 10]);
        store.register(now, 0, new_worker(worker)).await.expect("registered");
        let started = Instant::now();
        loop {
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
            if jobs.is_empty() {
                break;
            }
            let ends = jobs.iter().map(|job| finish(job.key, job.attempt, now)).collect();
            store.finish(now, worker, ends).await.expect("finished");
        }
        rate("claim + finish", started);
        println!("{:?}", store.counters());
        drop(store);
        for suffix in ["", "-wal", "-shm"] {
            drop(std::fs::remove_file(format!("{}{suffix}", path.display())));
        }
        drop(std::fs::remove_dir_all(format!("{}-run", path.display())));
    }
}

#[allow(clippy::disallowed_methods, reason = "a stopwatch around the store")]
fn raw(round: usize) {
    let path = std::env::temp_dir().join(format!("taskwright-raw-{}-{round}.db", std::process::id()));
    let payloads: Vec<Vec<u8>> = (0..JOBS)
        .map(|n| job(&Kind::new("noop").expect("a good name"), n))
        .map(|job| job.args.as_bytes().to_vec())
        .collect();
    let zero = Instant::now();
    let limit =
        taskwright_store::sqlite::raw_limit(&path, &payloads, BATCH, &|| zero.elapsed()).expect("measured");
    let us = |time: Duration| time.as_secs_f64() * 1e6 / JOBS as f64;
    println!("raw: insert {:.2} us, claim + finish {:.2} us", us(limit.insert), us(limit.claim_finish));
    for suffix in ["", "-wal", "-shm"] {
        drop(std::fs::remove_file(format!("{}{suffix}", path.display())));
    }
    drop(std::fs::remove_dir_all(format!("{}-run", path.display())));
}

fn job(kind: &Kind, number: usize) -> NewJob {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&(number as u64).to_be_bytes());
    let args = format!(r#"{{"id":{number},"data":"{}"}}"#, "x".repeat(80));
    let args = Args::from_json(args).expect("JSON");
    NewJob::new(JobId::from_parts(1, random), kind.clone(), args)
}

fn new_worker(id: WorkerId) -> NewWorker {
    let lease = Duration::from_secs(15);
    NewWorker { id, host: String::new(), pid: 1, concurrency: 1, queues: Vec::new(), lease }
}

fn finish(key: taskwright_store::JobKey, attempt: u32, now: Timestamp) -> Finish {
    let decision = Decision {
        cause: Cause::Complete,
        to: State::Completed,
        run_at: None,
        end: Some(AttemptEnd::Completed),
        reason: None,
        result: None,
    };
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

fn rate(what: &str, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    println!("{what}: {:.2} us/job, {:.0} jobs/s", seconds * 1e6 / JOBS as f64, JOBS as f64 / seconds);
}
