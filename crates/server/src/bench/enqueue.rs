//! How many jobs a second are stored durably, by one client in batches.

use super::report::{Round, report};
use super::scene::{Scene, fill};
use crate::cli::Context;
use crate::cli::bench::Bench;
use crate::error::Error;

pub(super) async fn run(context: &Context, verb: &Bench) -> Result<(), Error> {
    let scene = Scene::new(context)?;
    let jobs = verb.jobs.unwrap_or(100_000);
    let mut rounds = Vec::new();
    for _ in 0..verb.rounds {
        let raw = scene.raw(verb, jobs)?;
        let (_, store) = scene.store("enqueue")?;
        let took = fill(&scene.env, &store, verb, jobs).await?;
        let counters = store.counters();
        rounds.push(Round { took, raw: raw.insert, counters });
        store.close().await?;
        drop(store);
        scene.clear();
    }
    report(context, verb, "enqueue", jobs, &rounds)
}
