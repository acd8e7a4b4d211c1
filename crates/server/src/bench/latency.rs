//! How long an idle worker takes from the enqueue call (its commit included) to the call of the handler.

use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use taskwright::{Client, Registry, Worker};
use tokio::sync::{mpsc, oneshot};

use super::drain::Workers;
use super::report::latencies;
use super::scene::{KIND, Scene, job, payload};
use crate::cli::Context;
use crate::cli::bench::Bench;
use crate::error::Error;

/// The pause between two jobs: the worker has long been idle again.
const PAUSE: Duration = Duration::from_millis(4);

/// How long a job may take before something is wrong.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn run(context: &Context, verb: &Bench) -> Result<(), Error> {
    let scene = Scene::new(context)?;
    let jobs = verb.jobs.unwrap_or(1_000);
    let mut rounds = Vec::new();
    for _ in 0..verb.rounds {
        rounds.push(match verb.workers {
            0 => here(&scene, verb, jobs).await?,
            _ => elsewhere(&scene, verb, jobs).await?,
        });
        scene.clear();
    }
    latencies(context, verb, jobs, &rounds)
}

fn histogram() -> Result<Histogram<u64>, Error> {
    // From 1 us to 60 s with three digits.
    Histogram::new_with_bounds(1, 60_000_000, 3)
        .map_err(|error| Error::operational("the histogram", error.to_string(), "please report this"))
}

/// Enqueuer and worker in one process: the handler itself says when it was called.
async fn here(scene: &Scene, verb: &Bench, jobs: u64) -> Result<Histogram<u64>, Error> {
    let env = &scene.env;
    let (_, store) = scene.store("latency")?;
    let (called, mut calls) = mpsc::unbounded_channel();
    let clock = env.clone();
    let registry = Registry::new().handler(KIND, move |_| {
        // The receiver lives as long as the round.
        let _ = called.send(clock.monotonic_us());
        async { Ok(()) }
    })?;
    let (stop, stopped) = oneshot::channel::<()>();
    let worker =
        Worker::builder(Arc::clone(&store), registry, env.clone()).concurrency(verb.concurrency as usize);
    let worker = env.spawn("bench-worker", worker.run(async { drop(stopped.await) }));
    let client = Client::new(Arc::clone(&store), env.clone());
    let mut measured = histogram()?;
    for number in 0..jobs {
        env.sleep(PAUSE).await;
        let job = job(payload(number, verb.payload));
        let began = env.monotonic_us();
        client.enqueue(job).await?;
        let call = env.timeout(PATIENCE, calls.recv()).await.flatten().ok_or_else(too_late)?;
        measured.saturating_record(call.saturating_sub(began).max(1));
    }
    drop(stop);
    // A worker that died has been noticed by the missing calls.
    let _ = worker.await;
    store.close().await?;
    Ok(measured)
}

/// The worker in a process of its own: the attempt's own record says when it started, on the clock of the machine.
async fn elsewhere(scene: &Scene, verb: &Bench, jobs: u64) -> Result<Histogram<u64>, Error> {
    let env = &scene.env;
    let (path, store) = scene.store("latency")?;
    let workers = Workers::start(env, &store, &path, verb).await?;
    let client = Client::new(Arc::clone(&store), env.clone());
    let mut measured = histogram()?;
    for number in 0..jobs {
        env.sleep(PAUSE).await;
        let job = job(payload(number, verb.payload));
        let began = env.now();
        let id = client.enqueue(job).await?.id;
        let over = client.wait(id, Some(PATIENCE)).await?;
        let started = over.attempts.first().and_then(|attempt| attempt.started_at).ok_or_else(too_late)?;
        let us = u64::try_from(started.since(began).as_micros()).unwrap_or(u64::MAX);
        measured.saturating_record(us.max(1));
    }
    drop(workers);
    store.close().await?;
    Ok(measured)
}

fn too_late() -> Error {
    Error::operational(
        "the latency of a job",
        format!("it was not started within {} s", PATIENCE.as_secs()),
        "see whether the machine is overloaded; otherwise this is a bug in taskwright: please report it",
    )
}
