//! Collectors: the generators of Taskwright's own that remove what is over for long. One for each sort of [`Garbage`], known to
//! every node.
//!
//! They make no items: the removing itself is what a poll does, a batch at a time. So each is done by one node at a time, is paused,
//! looked at and polled as any generator, and costs nothing while there is nothing to remove.

use std::time::Duration;

use serde_json::Value;
use taskwright_core::generator::Definition;
use taskwright_core::limit::GENERATOR_LEASE;
use taskwright_core::retention::{Garbage, Retention};
use taskwright_core::{JobId, Namespace, Priority, Timestamp};
use taskwright_store::{Collect, Error as StoreError, GeneratorWrite, JobKey, SharedStore, TakeGenerators};

use super::turn::Turn;
use super::{Generator, GeneratorSet, GeneratorView, Generators, Next, Poll, PollError, Polled, register};
use crate::client::Client;
use crate::env::{Env, micros};
use crate::error::Error;

/// Rows of a batch: as few at first, and twice as many each time that a batch took less than [`BATCH_QUICK`].
const BATCH_MIN: usize = 100;
const BATCH_MAX: usize = 1_000;
/// A batch that takes longer than [`BATCH_SLOW`] is followed by one of half as many rows: on SQLite nobody else writes meanwhile.
const BATCH_QUICK: Duration = Duration::from_millis(3);
const BATCH_SLOW: Duration = Duration::from_millis(8);
/// How long one poll goes on: 1 s, and at most [`BATCHES_MAX`] batches. Between two batches it rests as long as the last one took.
const POLL_TIME: Duration = Duration::from_secs(1);
const BATCHES_MAX: usize = 100;
/// When it looks again after it removed something: 1 min.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// How long it is left alone when it finds nothing: 30 s, doubling up to 1 h.
const IDLE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(3_600));
/// Errors in a row after which it is paused: days of them. Nobody looks after collectors, and a store that is away for an hour
/// must not leave them resting.
const ERRORS_MAX: u32 = 1_000;

/// How long whoever runs a collector by hand waits for another node to be done with it: 60 s, and how often it looks.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often a write is tried again when the collector is written meanwhile.
const TRIES_MAX: usize = 32;

/// What a generator of Taskwright's own is: it makes nothing that would wait.
pub(super) fn own(defaults: Definition, idle: (Duration, Duration)) -> Definition {
    Definition {
        best: Priority::IDLE,
        worst: Priority::IDLE,
        window: 1,
        idle_min: idle.0,
        idle_max: idle.1,
        errors_max: ERRORS_MAX,
        ..defaults
    }
}

/// Removes one sort of garbage.
pub(super) struct Collector {
    store: SharedStore,
    env: Env,
    garbage: Garbage,
    name: String,
    /// What the configuration says.
    keep: Option<Duration>,
}

impl Collector {
    pub(super) fn new(store: SharedStore, env: Env, garbage: Garbage, keep: Option<Duration>) -> Self {
        Self { store, env, garbage, name: garbage.collector().to_string(), keep }
    }
}

/// How long to keep, as somebody has said to the collector itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// For ever.
    Forever,
    /// For this long.
    For(Duration),
}

impl Keep {
    /// The duration; `None` is for ever.
    pub fn duration(self) -> Option<Duration> {
        match self {
            Self::Forever => None,
            Self::For(duration) => Some(duration),
        }
    }
}

/// What a collector keeps from one poll to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
struct State {
    /// What counts instead of the configuration.
    keep: Option<Keep>,
    /// Where the walk goes on that is under way.
    after: Option<i64>,
    /// Whether it goes on at all.
    more: bool,
    /// Rows of a batch.
    batch: usize,
    /// What this walk has removed.
    walk: u64,
    /// What all have removed.
    removed: u64,
}

impl State {
    fn read(state: &Value) -> Self {
        serde_json::from_value(state.clone()).unwrap_or_default()
    }
}

impl Generator for Collector {
    fn name(&self) -> &str {
        &self.name
    }

    fn options(&self, defaults: Definition) -> Definition {
        own(defaults, IDLE)
    }

    async fn poll(&self, poll: Poll) -> Result<Polled, PollError> {
        let mut state = State::read(&poll.state);
        let keep = state.keep.map_or(self.keep, Keep::duration);
        let next = match keep {
            Some(keep) => self.collect(&mut state, poll.now.minus(keep), poll.now).await?,
            None => {
                (state.after, state.more) = (None, false);
                Next::Idle
            }
        };
        Ok(Polled::new(Vec::new(), serde_json::to_value(&state)?, next))
    }
}

impl Collector {
    /// Removes batches, for a while.
    async fn collect(
        &self,
        state: &mut State,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<Next, StoreError> {
        let until_us = self.env.monotonic_us() + micros(POLL_TIME);
        for _ in 0..BATCHES_MAX {
            let limit = state.batch.clamp(BATCH_MIN, BATCH_MAX);
            let (garbage, after) = (self.garbage, state.after.map(JobKey));
            let began_us = self.env.monotonic_us();
            let collected =
                self.store.collect(Collect { garbage, before, after, limit, dry_run: false }).await?;
            let took = Duration::from_micros(self.env.monotonic_us() - began_us);
            state.batch = match took {
                took if took < BATCH_QUICK && collected.more => (2 * limit).min(BATCH_MAX),
                took if took > BATCH_SLOW => (limit / 2).max(BATCH_MIN),
                _ => limit,
            };
            let rows = collected.rows as u64;
            (state.after, state.more) = (collected.next.map(|key| key.0), collected.more);
            (state.walk, state.removed) = (state.walk + rows, state.removed + rows);
            if !collected.more {
                let walk = std::mem::take(&mut state.walk);
                if walk > 0 {
                    tracing::debug!(
                        garbage = self.garbage.noun(),
                        removed = walk,
                        "what is over for long was removed"
                    );
                }
                return Ok(if walk > 0 { Next::At(now.plus(AGAIN_AFTER)) } else { Next::Idle });
            }
            if self.env.monotonic_us() >= until_us {
                break;
            }
            // Whoever has jobs to write gets at least every other moment.
            self.env.sleep(took).await;
        }
        Ok(Next::At(now))
    }
}

/// What people do with collectors. Made by [`Client::collectors`].
///
/// # Example
///
/// ```
/// # use taskwright::core::retention::{Garbage, Retention};
/// # async fn example(client: taskwright::Client) -> Result<(), taskwright::Error> {
/// let collectors = client.collectors(Retention::default());
/// let would_go = collectors.dry_run(Garbage::Completed, 10_000).await?;
/// println!("{} of {} removed", collectors.run(Garbage::Completed).await?, would_go.rows);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Collectors {
    generators: Generators,
    store: SharedStore,
    env: Env,
    retention: Retention,
}

/// A collector as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct CollectorView {
    /// What it removes.
    pub garbage: Garbage,
    /// How long that is kept; `None` is for ever.
    pub keep: Option<Duration>,
    /// What somebody has set, which counts instead of the configuration.
    pub set: Option<Keep>,
    /// How much it has removed.
    pub removed: u64,
    /// Whether it is at it: there was more to look at when it was asked last.
    pub more: bool,
    /// The generator; `None` while no node has registered it.
    pub generator: Option<GeneratorView>,
}

/// What a collector would remove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DryRun {
    /// How many rows.
    pub rows: usize,
    /// Whether there may be more: counting ended at the limit.
    pub is_cut: bool,
    /// Which jobs, the first ones.
    pub jobs: Vec<JobId>,
}

/// What was removed by hand, within the time that there was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// How much.
    pub rows: u64,
    /// Whether there may be more: the time was up, or another node was at it.
    pub more: bool,
}

/// Jobs that a dry run names.
const NAMED_MAX: usize = 1_000;

impl Client {
    /// The collectors of the store, with the retention that the configuration says.
    pub fn collectors(&self, retention: Retention) -> Collectors {
        let (store, env) = (self.store().clone(), self.env().clone());
        Collectors { generators: self.generators(), store, env, retention }
    }
}

impl Collectors {
    /// One collector.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub async fn get(&self, garbage: Garbage) -> Result<CollectorView, Error> {
        let generator = self.generators.get(&Namespace::default(), &garbage.collector()).await?;
        let state = generator.as_ref().map(|view| State::read(&view.state)).unwrap_or_default();
        let keep = state.keep.map_or(self.retention.of(garbage), Keep::duration);
        let State { keep: set, removed, more, .. } = state;
        Ok(CollectorView { garbage, keep, set, removed, more, generator })
    }

    /// The same, if it is not paused.
    ///
    /// # Errors
    ///
    /// When it is, and as [`get`](Self::get).
    pub async fn awake(&self, garbage: Garbage) -> Result<CollectorView, Error> {
        let view = self.get(garbage).await?;
        match view.generator.as_ref().is_some_and(|generator| generator.record.paused.is_some()) {
            true => Err(paused(garbage)),
            false => Ok(view),
        }
    }

    /// All collectors.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub async fn list(&self) -> Result<Vec<CollectorView>, Error> {
        let mut views = Vec::new();
        for garbage in Garbage::ALL {
            views.push(self.get(garbage).await?);
        }
        Ok(views)
    }

    /// Sets how long this sort is kept, on every node and through restarts, whatever their configuration says; `None` lets the
    /// configuration count again. The collector looks at once.
    ///
    /// # Errors
    ///
    /// When that is shorter than it may be, or the store is out of order.
    pub async fn set(&self, garbage: Garbage, keep: Option<Keep>) -> Result<(), Error> {
        if let Some(keep) = keep {
            garbage.check(keep.duration())?;
        }
        let name = garbage.collector();
        self.known(garbage).await?;
        for _ in 0..TRIES_MAX {
            let stored = self.store.generator(Namespace::default(), name.clone()).await?;
            let stored = stored.ok_or_else(|| Error::no_such_generator(&name))?;
            let GeneratorView { definition, mut record, state, .. } = GeneratorView::read(&stored)?;
            // What was met before may be to be removed now.
            let state = State { keep, after: None, more: false, ..State::read(&state) };
            let now = self.env.now();
            record.poll_at = Some(now);
            let write = GeneratorWrite {
                generator: stored.key,
                version: stored.version,
                paused: record.paused.is_some(),
                next: record.next_look(&definition, now),
                // Numbers, text and moments: nothing in them cannot be written.
                record: serde_json::to_string(&record).unwrap_or_default(),
                state: Some(serde_json::to_string(&state).unwrap_or_default()),
            };
            if self.store.write_generator(now, write).await? {
                return Ok(());
            }
        }
        Err(busy(garbage).into())
    }

    /// Tells what would be removed now, and removes nothing; counts up to `most`.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub async fn dry_run(&self, garbage: Garbage, most: usize) -> Result<DryRun, Error> {
        let mut found = DryRun::default();
        let Some(keep) = self.get(garbage).await?.keep else { return Ok(found) };
        let before = self.env.now().minus(keep);
        let mut after = None;
        loop {
            let limit = if garbage.state().is_some() { BATCH_MAX.min(most) } else { most };
            let looked = self.store.collect(Collect { garbage, before, after, limit, dry_run: true }).await?;
            found.rows += looked.rows;
            let room = NAMED_MAX - found.jobs.len();
            found.jobs.extend(looked.jobs.into_iter().take(room));
            after = looked.next;
            if found.rows >= most {
                found.rows = most;
                found.is_cut = looked.more;
                return Ok(found);
            }
            if after.is_none() {
                found.is_cut = looked.more;
                return Ok(found);
            }
        }
    }

    /// Removes everything that is over for long, now and here: how much that was. While another node is at it, it is waited for.
    ///
    /// # Errors
    ///
    /// When the collector is paused or another node is at it for more than a minute, and when the store is out of order.
    pub async fn run(&self, garbage: Garbage) -> Result<u64, Error> {
        Ok(self.remove(garbage, None).await?.rows)
    }

    /// The same for about this time, after which whoever wants the rest removed calls again.
    ///
    /// # Errors
    ///
    /// When the collector is paused, and when the store is out of order.
    pub async fn run_for(&self, garbage: Garbage, time: Duration) -> Result<Removed, Error> {
        self.remove(garbage, Some(self.env.monotonic_us() + micros(time))).await
    }

    async fn remove(&self, garbage: Garbage, until_us: Option<u64>) -> Result<Removed, Error> {
        let is_up = || until_us.is_some_and(|until_us| self.env.monotonic_us() >= until_us);
        let known = self.known(garbage).await?;
        let (name, namespace) = (garbage.collector(), Namespace::default());
        let before = self.get(garbage).await?.removed;
        let mut waited_us = self.env.monotonic_us();
        loop {
            self.generators.notify(&namespace, &name).await?;
            let now = self.env.now();
            let names = vec![(namespace.clone(), name.clone())];
            let take = TakeGenerators { names, ..TakeGenerators::at(now, GENERATOR_LEASE, 1) };
            let taken = self.store.take_generators(take).await?.generators.pop();
            if let Some(taken) = taken {
                for known in known.iter() {
                    Turn { store: &self.store, env: &self.env, known, taken: &taken, among: None }
                        .run()
                        .await?;
                }
                waited_us = self.env.monotonic_us();
                let view = self.get(garbage).await?;
                let record = view.generator.map(|view| view.record).unwrap_or_default();
                if let Some(error) = record.last_error {
                    let what = format!("the collector {name}");
                    return Err(StoreError::unavailable(what, error).into());
                }
                if !view.more || is_up() {
                    return Ok(Removed { rows: view.removed.saturating_sub(before), more: view.more });
                }
                continue;
            }
            // Nobody is waited for who rests.
            let removed = self.awake(garbage).await?.removed;
            if is_up() {
                return Ok(Removed { rows: removed.saturating_sub(before), more: true });
            } else if self.env.monotonic_us() - waited_us > micros(PATIENCE) {
                return Err(busy(garbage).into());
            } else {
                self.env.sleep(LOOK_EVERY).await;
            }
        }
    }

    /// The collector, which the store knows from now on.
    async fn known(&self, garbage: Garbage) -> Result<GeneratorSet, Error> {
        let (store, env) = (self.store.clone(), self.env.clone());
        let collector = Collector::new(store, env, garbage, self.retention.of(garbage));
        let known = GeneratorSet::new().with_own(collector)?;
        register(&self.store, self.env.now(), known.iter()).await?;
        Ok(known)
    }
}

/// That a collector removes nothing until somebody lets it.
fn paused(garbage: Garbage) -> Error {
    let name = garbage.collector();
    let (why, fix) = ("it is paused", format!("let it go on with `taskwright generators resume {name}`"));
    taskwright_core::Error::invalid(format!("the collector {name}"), why, fix).into()
}

fn busy(garbage: Garbage) -> StoreError {
    let what = format!("the collector {}", garbage.collector());
    StoreError::unavailable(what, "other nodes were at it all the time".to_owned())
}
