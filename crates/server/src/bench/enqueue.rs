//! How many jobs a second are stored durably, by clients in batches or one by one.

use std::sync::Arc;
use std::time::Duration;

use taskwright::Env;
use taskwright::store::{Counters, SharedStore};
use tokio::sync::Barrier;

use super::drain::since;
use super::report::{Round, report};
use super::scene::{Log, Scene, payload, store_all};
use super::workers::{Workers, died};
use crate::cli::Context;
use crate::cli::bench::{Bench, Serve};
use crate::error::Error;

pub(super) async fn run(context: &Context, verb: &Bench, scene: &Scene) -> Result<(), Error> {
    let jobs = verb.jobs.unwrap_or(if verb.batch == 1 { 10_000 } else { 100_000 });
    let with = |hints: bool| Bench { hints: Some(hints), ..verb.clone() };
    let mut rounds = Vec::new();
    for number in 0..verb.rounds {
        let raw = scene.raw_insert(verb, jobs).await?;
        let mut unhinted = None;
        // In turns, so that neither is always the one that finds the machine warm.
        if verb.compare_hints && number % 2 == 1 {
            unhinted = Some(measure(scene, &with(false), jobs).await?.took);
        }
        let Measured { took, counters, log } = match verb.compare_hints {
            true => measure(scene, &with(true), jobs).await?,
            false => measure(scene, verb, jobs).await?,
        };
        if verb.compare_hints && number % 2 == 0 {
            unhinted = Some(measure(scene, &with(false), jobs).await?.took);
        }
        rounds.push(Round { took, raw, counters, log, unhinted, held: None });
    }
    report(context, verb, "enqueue", scene.yardstick(), jobs, &rounds)
}

/// What storing the jobs came to.
struct Measured {
    took: Duration,
    counters: Counters,
    log: Option<(Log, Log)>,
}

/// Stores the jobs in a fresh store, while worker processes run them if there are to be any.
async fn measure(scene: &Scene, verb: &Bench, jobs: u64) -> Result<Measured, Error> {
    let mut stores = Vec::new();
    for _ in 0..verb.clients {
        stores.push(scene.open(verb).await?);
    }
    scene.prepare(&stores[0], verb).await?;
    scene.fill(&stores[0], verb, verb.backlog).await?;
    scene.filled(verb).await?;
    let workers = match verb.workers {
        0 => None,
        _ => {
            let workers = Workers::start(scene, verb, Serve::Stay).await?;
            workers.registered(&scene.env, &stores[0]).await?;
            Some(workers)
        }
    };
    let log = scene.log().await;
    let before = total(&stores);
    let took = store_by_all(&scene.env, &stores, verb, jobs).await?;
    let counters = since(total(&stores), before);
    drop(workers);
    for store in stores {
        store.close().await?;
    }
    let log = log.zip(scene.log().await);
    scene.clear().await?;
    Ok(Measured { took, counters, log })
}

/// Each client stores its share; the time from the start of all to the end of the last.
async fn store_by_all(env: &Env, stores: &[SharedStore], verb: &Bench, jobs: u64) -> Result<Duration, Error> {
    let clients = stores.len() as u64;
    let ready = Arc::new(Barrier::new(stores.len() + 1));
    let mut working = Vec::new();
    for (number, store) in (0..).zip(stores) {
        let share = jobs / clients + u64::from(number < jobs % clients);
        let payloads = (0..share).map(|n| payload(number * share + n, verb.payload)).collect();
        let (clock, store, verb, ready) = (env.clone(), store.clone(), verb.clone(), ready.clone());
        working.push(env.spawn("bench-client", async move {
            ready.wait().await;
            store_all(&clock, &store, &verb, payloads).await
        }));
    }
    ready.wait().await;
    let began = env.monotonic_us();
    for work in working {
        work.await.map_err(died)??;
    }
    Ok(Duration::from_micros(env.monotonic_us() - began))
}

fn total(stores: &[SharedStore]) -> Counters {
    stores.iter().map(|store| store.counters()).fold(Counters::default(), |sum, one| Counters {
        calls: sum.calls + one.calls,
        statements: sum.statements + one.statements,
        commits: sum.commits + one.commits,
        flushes: sum.flushes + one.flushes,
    })
}
