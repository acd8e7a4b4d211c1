//! How many jobs a second are claimed, run (they do nothing) and finished.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use taskwright::store::{Counters, Filter, Page, SharedStore};
use taskwright::{Env, State};
use tokio::sync::Notify;

use super::report::{Held, Round, report};
use super::scene::{Log, Scene, Tables};
use super::workers::{Workers, died, worker};
use crate::cli::Context;
use crate::cli::bench::{Bench, Serve};
use crate::error::Error;

/// Where a snapshot is held, the jobs are stored and drained in so many steps, so that there is something old and
/// something new at any time.
const STEPS: u64 = 10;

pub(super) async fn run(context: &Context, verb: &Bench, scene: &Scene) -> Result<(), Error> {
    let jobs = verb.jobs.unwrap_or(100_000);
    let mut rounds = Vec::new();
    for _ in 0..verb.rounds {
        let raw = scene.raw_drain(verb, jobs).await?;
        let free = measure(scene, verb, jobs, false).await?;
        let held = match verb.hold_snapshot {
            true => Some(measure(scene, verb, jobs, true).await?),
            false => None,
        };
        let Measured { took, counters, log, steps, .. } = free;
        let held = held.and_then(|held| {
            let (before, after) = held.tables?;
            let (&(last_jobs, last), &(_, free_last)) = (held.steps.last()?, steps.last()?);
            Some(Held { free: took, took: held.took, free_last, last, last_jobs, before, after })
        });
        rounds.push(Round { took, raw, counters, log, unhinted: None, held });
    }
    report(context, verb, "drain", scene.yardstick(), jobs, &rounds)
}

/// What one drain came to.
struct Measured {
    took: Duration,
    /// Jobs of each step and the time they took.
    steps: Vec<(u64, Duration)>,
    counters: Counters,
    log: Option<(Log, Log)>,
    tables: Option<(Tables, Tables)>,
}

/// Stores and drains the jobs in a fresh store.
async fn measure(scene: &Scene, verb: &Bench, jobs: u64, hold: bool) -> Result<Measured, Error> {
    let env = &scene.env;
    let store = scene.open(verb).await?;
    scene.prepare(&store, verb).await?;
    let snapshot = if hold { Some(scene.hold_snapshot().await?) } else { None };
    let tables = if hold { scene.tables().await? } else { None };
    let steps = if verb.hold_snapshot { STEPS.min(jobs) } else { 1 };
    let mut measured = Measured {
        took: Duration::ZERO,
        steps: Vec::new(),
        counters: Counters::default(),
        log: None,
        tables: None,
    };
    let mut log = None;
    for step in 0..steps {
        let part = jobs / steps + u64::from(step < jobs % steps);
        let behind = if step == 0 { verb.backlog } else { 0 };
        scene.fill(&store, verb, part + behind).await?;
        if step == 0 {
            scene.filled(verb).await?;
        }
        if steps == 1 {
            log = scene.log().await;
        }
        let before = store.counters();
        let (took, after) = match verb.workers {
            0 => here(env, &store, verb, part, verb.backlog).await?,
            _ => (elsewhere(scene, verb, part).await?, store.counters()),
        };
        measured.counters = sum(measured.counters, since(after, before));
        measured.steps.push((part, took));
        measured.took += took;
    }
    if verb.backlog == 0 {
        check_drained(&store, jobs).await?;
    }
    store.close().await?;
    drop(store);
    if let Some(log) = log {
        measured.log = Some(log).zip(scene.log().await);
    }
    if let Some(before) = tables {
        measured.tables = scene.tables().await?.map(|after| (before, after));
    }
    drop(snapshot);
    scene.clear().await?;
    Ok(measured)
}

fn sum(one: Counters, other: Counters) -> Counters {
    Counters {
        calls: one.calls + other.calls,
        statements: one.statements + other.statements,
        commits: one.commits + other.commits,
        flushes: one.flushes + other.flushes,
    }
}

/// What was done between two looks.
pub(super) fn since(after: Counters, before: Counters) -> Counters {
    Counters {
        calls: after.calls - before.calls,
        statements: after.statements - before.statements,
        commits: after.commits - before.commits,
        flushes: after.flushes - before.flushes,
    }
}

/// A benchmark that lost a job has measured nothing.
async fn check_drained(store: &SharedStore, jobs: u64) -> Result<(), Error> {
    let filter = Filter { states: vec![State::Available, State::Running], ..Filter::default() };
    let page = Page { after: None, limit: 1, oldest_first: true };
    let left = store.list(filter, page).await?.jobs.len();
    if left > 0 {
        return Err(Error::operational(
            format!("the drain of {jobs} jobs"),
            "some of them did not end",
            "this is a bug in taskwright: please report it",
        ));
    }
    Ok(())
}

/// Runs everything that is available, in this process; how long it took.
pub(super) async fn empty(env: &Env, store: &SharedStore, verb: &Bench) -> Result<Duration, Error> {
    let began = env.monotonic_us();
    worker(env, store, verb, || ())?.until_empty().run(std::future::pending()).await?;
    Ok(Duration::from_micros(env.monotonic_us() - began))
}

/// Drains `jobs` in this process; how long it took, and what the store had done by then. With others `behind` them the worker
/// is stopped in the middle of its work, once it has run as many.
async fn here(
    env: &Env,
    store: &SharedStore,
    verb: &Bench,
    jobs: u64,
    behind: u64,
) -> Result<(Duration, Counters), Error> {
    if behind == 0 {
        return Ok((empty(env, store, verb).await?, store.counters()));
    }
    let (run, enough) = (AtomicU64::new(0), Arc::new(Notify::new()));
    let reached = enough.clone();
    let worker = worker(env, store, verb, move || {
        if run.fetch_add(1, Ordering::Relaxed) + 1 == jobs {
            reached.notify_one();
        }
    })?;
    let stop = Arc::new(Notify::new());
    let stopped = stop.clone();
    let began = env.monotonic_us();
    let working = env.spawn("bench-worker", worker.run(async move { stopped.notified().await }));
    enough.notified().await;
    // What it gives back when it stops is not part of that.
    let (took, counters) = (Duration::from_micros(env.monotonic_us() - began), store.counters());
    stop.notify_one();
    working.await.map_err(died)??;
    Ok((took, counters))
}

/// Drains in processes of their own. They are started before the clock is.
async fn elsewhere(scene: &Scene, verb: &Bench, jobs: u64) -> Result<Duration, Error> {
    let env = &scene.env;
    let mut workers = Workers::start(scene, verb, Serve::Drain).await?;
    let began = env.monotonic_us();
    workers.drain(jobs, verb.backlog).await?;
    let took = Duration::from_micros(env.monotonic_us() - began);
    drop(workers);
    Ok(took)
}
