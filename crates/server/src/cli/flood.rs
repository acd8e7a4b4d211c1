//! `flood`: makes jobs that are nothing but load, until it is stopped.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use taskwright::{Job, Kind, Priority};
use taskwright_core::limit::ARGS_BYTES_MAX;
use taskwright_store::{Filter, Page, Pattern};

use super::{Context, value};
use crate::error::{Error, Exit};
use crate::flood::{FOR_MAX, Flood as FloodArgs, KIND};
use crate::text;

/// Makes load.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright flood --duration 10s
  taskwright flood --rate 500 --for 20ms --burn --count 10000

It stores jobs of the built-in kind `flood` in the queue `flood`, at the lowest
priority, until it is stopped with Ctrl-C, and waits while too many are not done.
`taskwright queues purge flood` removes what is left. Through a server it is for
superusers.")]
pub(super) struct Flood {
    /// Stop after this time
    #[arg(long, value_name = "D", value_parser = value::duration)]
    duration: Option<Duration>,
    /// Stop after so many jobs
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// So many jobs a second [default: as many as the store takes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: Option<u64>,
    /// How long each takes, by sleeping
    #[arg(long = "for", value_name = "D", value_parser = value::duration, default_value = "0s")]
    each: Duration,
    /// Keep a processor busy for that time instead
    #[arg(long)]
    burn: bool,
    /// Bytes of arguments that each carries
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    size: usize,
    /// Wait while so many are not done
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    backlog: u64,
    /// Do it in a store that has other jobs
    #[arg(long, short)]
    yes: bool,
}

/// A kind of which the store has a job and that is not ours. It looks at some jobs of each queue: ours stand in one of their own, however
/// many they are.
async fn stranger(context: &Context) -> Result<Option<Kind>, Error> {
    let store = context.store().await?;
    let mut queues: Vec<_> =
        store.queues(context.env.now(), None).await?.into_iter().map(|queue| queue.name).collect();
    queues.sort();
    queues.dedup();
    for queue in queues {
        let filter = Filter { queues: vec![Pattern::new(queue.as_str())], ..Filter::default() };
        let page = Page { after: None, limit: LOOKED_AT, oldest_first: false };
        let jobs = store.list(filter, page).await?.jobs;
        if let Some(job) = jobs.into_iter().find(|job| job.kind.as_str() != KIND) {
            return Ok(Some(job.kind));
        }
    }
    Ok(None)
}

/// Jobs of a queue that are looked at.
const LOOKED_AT: usize = 50;
/// Jobs that are stored at once, without a rate.
const BATCH: u64 = 500;
/// How often jobs are stored, with one; and how often it is looked whether there is room.
const TICK: Duration = Duration::from_millis(100);

impl Flood {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        self.check(context).await?;
        let client = context.client_or_new().await?;
        let started_us = context.env.monotonic_us();
        let mut made = 0;
        let done = tokio::select! {
            done = self.pour(context, &client, &mut made) => done,
            _ = tokio::signal::ctrl_c() => Ok(()),
        };
        let took = Duration::from_micros(context.env.monotonic_us() - started_us);
        // What was stored is told also when something went wrong after it.
        if context.output.is_json() {
            let seconds = took.as_secs_f64();
            context.output.json(&json!({ "made": made, "seconds": seconds }))?;
        } else {
            let (jobs, took) =
                (text::count(usize::try_from(made).unwrap_or(usize::MAX), "job"), text::measured(took));
            context.output.line(format!("made {jobs} in {took}"))?;
        }
        done.map(|()| Exit::Ok)
    }

    /// Refuses what would surprise.
    async fn check(&self, context: &Context) -> Result<(), Error> {
        if self.each > FOR_MAX {
            return Err(Error::usage("--for", "one job may take an hour at most", "give a shorter time"));
        }
        if self.size > ARGS_BYTES_MAX - 100 {
            let why =
                format!("arguments have {ARGS_BYTES_MAX} bytes at most, some of which are for the rest");
            return Err(Error::usage("--size", why, "give fewer bytes"));
        }
        if self.duration.is_none() && self.count.is_none() && !context.output.is_seen() {
            let why = "without an end it runs until somebody stops it, and nobody is there to do that";
            return Err(Error::usage("flood", why, "pass --duration or --count"));
        }
        if self.yes || !context.has_store().await? {
            return Ok(());
        }
        match stranger(context).await? {
            Some(kind) => Err(Error::usage(
                format!("flood of {}", context.place()),
                format!("it has jobs of other kinds, such as {kind}"),
                "use another store, or pass --yes if this one is to bear the load",
            )),
            None => Ok(()),
        }
    }

    async fn pour(
        &self,
        context: &Context,
        client: &taskwright::Client,
        made: &mut u64,
    ) -> Result<(), Error> {
        let env = &context.env;
        let start_us = env.monotonic_us();
        let job = Job::new(KIND)
            .args(&FloodArgs {
                for_ms: u64::try_from(self.each.as_millis()).unwrap_or(u64::MAX),
                burn: self.burn,
                load: "x".repeat(self.size),
            })?
            .namespace(context.namespace_or_default().as_str())
            .queue(KIND)
            .priority(Priority::IDLE);
        loop {
            let passed = Duration::from_micros(env.monotonic_us() - start_us);
            if self.duration.is_some_and(|limit| passed >= limit) {
                return Ok(());
            }
            let due = self.rate.map_or(BATCH, |rate| {
                let due = u128::from(rate) * passed.as_millis() / 1_000;
                u64::try_from(due).unwrap_or(u64::MAX).saturating_sub(*made).min(10 * BATCH)
            });
            let left = self.count.map_or(u64::MAX, |count| count.saturating_sub(*made));
            if left == 0 {
                return Ok(());
            }
            let now = due.min(left).min(self.room(context).await?);
            if now > 0 {
                let jobs = (0..now).map(|_| job.clone());
                *made += client.enqueue_each(jobs, |_| ()).await?;
            }
            if now < BATCH {
                env.sleep(TICK).await;
            }
        }
    }

    /// How many more there is room for.
    async fn room(&self, context: &Context) -> Result<u64, Error> {
        let namespace = Some(context.namespace_or_default());
        let queues = context.store_or_new().await?.queues(context.env.now(), namespace).await?;
        let ours = queues.iter().find(|queue| queue.name.as_str() == KIND);
        let waiting = ours.map_or(0, |queue| queue.available + queue.running + queue.waiting);
        Ok(self.backlog.saturating_sub(waiting))
    }
}
