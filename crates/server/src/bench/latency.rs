//! How long an idle worker takes from the enqueue call (its commit included) to the call of the handler.

use std::sync::Arc;
use std::time::Duration;

use taskwright::store::SharedStore;
use taskwright::{Client, Env};
use tokio::sync::{mpsc, oneshot};

use super::drain::empty;
use super::flow::{Flow, Noted, histogram};
use super::report::{Picked, latencies};
use super::scene::{Scene, fill, job, payload};
use super::workers::{Workers, worker_of};
use crate::cli::Context;
use crate::cli::bench::{Bench, Serve};
use crate::error::Error;

/// The pause between two jobs: the worker has long been idle again.
const PAUSE: Duration = Duration::from_millis(4);

/// How long a job may take before something is wrong.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn run(context: &Context, verb: &Bench, scene: &Scene) -> Result<(), Error> {
    if verb.backlog > 0 {
        return Err(Error::usage(
            "`bench latency --backlog`",
            "a new job would wait for all that came before it",
            "leave it out, or measure with --rate",
        ));
    }
    let jobs = verb.jobs.unwrap_or(1_000);
    let mut rounds = Vec::new();
    for _ in 0..verb.rounds {
        rounds.push(match verb.workers {
            0 => here(scene, verb, jobs).await?,
            _ => elsewhere(scene, verb, jobs).await?,
        });
        scene.clear().await?;
    }
    latencies(context, verb, jobs, &rounds)
}

/// Enqueuer and worker in one process: the handler itself says when it was called.
async fn here(scene: &Scene, verb: &Bench, jobs: u64) -> Result<Picked, Error> {
    let env = &scene.env;
    let store = scene.open(verb).await?;
    scene.prepare(&store, verb).await?;
    scene.filled(verb).await?;
    warm_up(env, &store, verb).await?;
    let noted = Noted::new()?;
    let (called, mut calls) = mpsc::unbounded_channel();
    let clock = env.clone();
    let worker = worker_of(env, &store, verb, &noted, move || {
        // The receiver lives as long as the round.
        let _ = called.send(clock.monotonic_us());
    })?;
    let (stop, stopped) = oneshot::channel::<()>();
    let worker = env.spawn("bench-worker", worker.run(async { drop(stopped.await) }));
    let client = Client::new(Arc::clone(&store), env.clone());
    let flow = Flow::start(env, &store, verb);
    let mut measured = histogram()?;
    for number in 0..jobs {
        env.sleep(PAUSE).await;
        let job = job(payload(number, verb.payload));
        let began = env.monotonic_us();
        client.enqueue(job).await?;
        let call = env.timeout(PATIENCE, calls.recv()).await.flatten().ok_or_else(too_late)?;
        measured.saturating_record(call.saturating_sub(began).max(1));
    }
    let flowed = flow.so_far(env);
    drop((flow, stop));
    // A worker that died has been noticed by the missing calls.
    let _ = worker.await;
    store.close().await?;
    Ok(Picked { measured, flowed, flow: noted.histogram() })
}

/// The worker in a process of its own: the attempt's own record says when it started, on the clock of the machine.
async fn elsewhere(scene: &Scene, verb: &Bench, jobs: u64) -> Result<Picked, Error> {
    let env = &scene.env;
    let store = scene.open(verb).await?;
    scene.prepare(&store, verb).await?;
    scene.filled(verb).await?;
    let workers = Workers::start(scene, verb, Serve::Stay).await?;
    workers.registered(env, &store).await?;
    let client = Client::new(Arc::clone(&store), env.clone());
    let flow = Flow::start(env, &store, verb);
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
    let flowed = flow.so_far(env);
    drop(flow);
    let noted = Noted::new()?;
    workers.stop(env, |line| noted.add(line)).await?;
    store.close().await?;
    Ok(Picked { measured, flowed, flow: noted.histogram() })
}

/// A few jobs that are not measured: connections are made and statements prepared once, not for each job.
async fn warm_up(env: &Env, store: &SharedStore, verb: &Bench) -> Result<(), Error> {
    const JOBS: u64 = 20;
    fill(env, store, &Bench { batch: 1, ..verb.clone() }, JOBS).await?;
    empty(env, store, verb).await.map(drop)
}

fn too_late() -> Error {
    Error::operational(
        "the latency of a job",
        format!("it was not started within {} s", PATIENCE.as_secs()),
        "see whether the machine is overloaded; otherwise this is a bug in taskwright: please report it",
    )
}
