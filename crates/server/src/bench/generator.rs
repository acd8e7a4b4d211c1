//! Items of a generator made, run (they do nothing), settled and removed per second.

use std::sync::Arc;
use std::time::Duration;

use taskwright::core::generator::Definition;
use taskwright::generator::{Cursor, CursorGenerator, GeneratorSet, GeneratorView, Item, PollError, Row};
use taskwright::store::SharedStore;
use taskwright::{Client, Duties, DutyConfig, Env, Namespace};
use tokio::sync::oneshot;

use super::drain::since;
use super::report::{Made, made};
use super::scene::{KIND, Scene};
use super::workers::{Workers, worker};
use crate::cli::Context;
use crate::cli::bench::{Bench, Serve};
use crate::error::Error;

/// What the generator is called.
const NAME: &str = "bench";

/// How often it is looked how far it has come.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(super) async fn run(context: &Context, verb: &Bench, scene: &Scene) -> Result<(), Error> {
    let items = verb.jobs.unwrap_or(100_000);
    let mut rounds = Vec::new();
    for _ in 0..verb.rounds {
        rounds.push(measure(scene, verb, items).await?);
        scene.clear().await?;
    }
    made(context, verb, items, &rounds)
}

/// Lets a fresh generator make so many items, until all are settled.
async fn measure(scene: &Scene, verb: &Bench, items: u64) -> Result<Made, Error> {
    let env = &scene.env;
    let store = scene.open(verb).await?;
    let elsewhere = match verb.workers {
        0 => None,
        _ => {
            let workers = Workers::start(scene, verb, Serve::Stay).await?;
            workers.registered(env, &store).await?;
            Some(workers)
        }
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let here = match verb.workers {
        0 => {
            let worker = worker(env, &store, verb, || ())?;
            Some(env.spawn("bench-worker", worker.run(async { drop(stopped.await) })))
        }
        _ => None,
    };
    let config =
        DutyConfig { generators: GeneratorSet::new().with(numbers(verb, items))?, ..DutyConfig::default() };
    let (before, began) = (store.counters(), env.monotonic_us());
    let duties = Duties::start(&store, env, &config);
    let view = settled(env, &store, items).await?;
    let took = Duration::from_micros(env.monotonic_us() - began);
    let counters = since(store.counters(), before);
    duties.stop().await;
    drop(stop);
    if let Some(here) = here {
        // One that died has been noticed by the items that did not end.
        let _ = here.await;
    }
    if let Some(elsewhere) = elsewhere {
        elsewhere.stop(env, |_| ()).await?;
    }
    store.close().await?;
    Ok(Made { took, counters, polls: view.record.counts.polls })
}

/// Numbers, each of which becomes an item.
fn numbers(verb: &Bench, items: u64) -> impl taskwright::generator::Generator + use<> {
    let (window, data) = (verb.window, "x".repeat(verb.payload as usize));
    let fetch = move |after: Option<Cursor>, limit: usize| {
        let data = data.clone();
        async move {
            let after = match after {
                Some(Cursor::Key(key)) => key.as_u64().ok_or("the cursor is a number")?,
                _ => 0,
            };
            let row = |n: u64| Ok(Row::new(Cursor::key(n), Item::new(KIND).key(n.to_string()).args(&data)?));
            (after + 1..=items).take(limit).map(row).collect::<Result<Vec<_>, PollError>>()
        }
    };
    CursorGenerator::new(NAME, fetch).options(move |defaults| Definition { window, ..defaults })
}

/// Waits until so many items are settled.
async fn settled(env: &Env, store: &SharedStore, items: u64) -> Result<GeneratorView, Error> {
    let (client, namespace) = (Client::new(Arc::clone(store), env.clone()), Namespace::default());
    let name = NAME.parse()?;
    loop {
        match client.generators().get(&namespace, &name).await? {
            Some(view) if view.record.counts.settled() >= items => return Ok(view),
            _ => env.sleep(LOOK_EVERY).await,
        }
    }
}
