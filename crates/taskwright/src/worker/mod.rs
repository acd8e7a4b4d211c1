//! The worker: claims jobs, runs them, and writes down how they ended.
//!
//! | file | the part it plays |
//! |---|---|
//! | `source.rs` | where jobs come from and go back to |
//! | `fetch.rs` | one task that claims blocks of jobs |
//! | `buffer.rs` | what is claimed and not started, most urgent first |
//! | `slot.rs` | as many tasks as jobs run at once; each takes a job and runs it |
//! | `finish.rs` | one task that writes logs, progress and ends, in batches |
//! | `ended.rs` | one task that tells of ended items of generators |
//! | `heartbeat.rs` | one task that keeps the lease |
//! | `signals.rs` | one task that delivers cancels and orders |
//! | `incarnation.rs` | what they share, and how they start and stop |
//! | `room.rs` | what may be taken on, when jobs weigh something |
//! | `recycle.rs` | when a worker has run for long enough |
//! | `lapses.rs` | whom it has given back because the store was away |
//! | `phase.rs` | how far an incarnation is in its life |
//! | `panic.rs` | keeps a panic within its attempt |

mod buffer;
mod ended;
mod fetch;
mod finish;
mod heartbeat;
mod incarnation;
mod lapses;
pub(crate) mod panic;
mod phase;
mod recycle;
mod room;
mod signals;
mod slot;
mod source;
mod taker;

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use taskwright_core::{Budget, Namespace, NodeName, OnShutdown, Priority, QueueName, WorkerId};
use taskwright_store::{NewWorker, Registration, SharedStore};
use tokio::sync::{Notify, Semaphore, watch};

use self::buffer::Buffer;
use self::ended::ItemEnds;
use self::finish::Ends;
use self::incarnation::{Counts, Ended, Incarnation};
use self::lapses::Lapses;
use self::phase::PhaseCell;
pub use self::recycle::Recycled;
use self::recycle::Wear;
use self::room::Room;
use self::source::{QueueSource, Serves};
use self::taker::Hand;
use crate::attempt::Host;
use crate::env::{Env, micros};
use crate::error::Error;
use crate::registry::Registry;
use crate::report::{REPORT_TIME, Reports, host_name};

/// How many jobs a worker runs at once: 1 to 10,000.
pub const CONCURRENCY_MAX: usize = 10_000;

/// The first and the longest delay before a worker tries to register again.
const REGISTER_FIRST: Duration = Duration::from_millis(100);
const REGISTER_LONGEST: Duration = Duration::from_secs(5);
/// Whoever was lost sooner than this waits for as long before it registers anew.
const INCARNATION_MIN: Duration = Duration::from_millis(500);

/// How a worker behaves. All defaults are in [`Builder`].
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) concurrency: usize,
    pub(crate) reserve: usize,
    pub(crate) blocking: Option<usize>,
    pub(crate) grace: Duration,
    pub(crate) poll: Duration,
    pub(crate) lease: Duration,
    pub(crate) heartbeat: Duration,
    pub(crate) until_empty: bool,
    pub(crate) budget: Budget,
    pub(crate) on_shutdown: OnShutdown,
    pub(crate) reports: Reports,
    pub(crate) node: Option<NodeName>,
}

/// Runs jobs.
///
/// # Example
///
/// ```no_run
/// use taskwright::{Env, Registry, Worker};
///
/// # async fn example(store: taskwright::store::SharedStore, registry: Registry) -> Result<(), taskwright::Error> {
/// let worker = Worker::builder(store, registry, Env::system()).concurrency(8).build();
/// let summary = worker.run(async { tokio::signal::ctrl_c().await.unwrap() }).await?;
/// println!("{} jobs completed", summary.completed);
/// # Ok(())
/// # }
/// ```
pub struct Worker {
    env: Env,
    store: SharedStore,
    registry: Arc<Registry>,
    config: Arc<Config>,
    serves: Arc<Serves>,
    counts: Arc<Counts>,
    lapses: Arc<Lapses>,
    wear: Arc<Wear>,
    /// One for all incarnations: what outlived its attempt still has its thread.
    blocking: Arc<Semaphore>,
}

/// Says how a [`Worker`] behaves. Every setting has a default.
pub struct Builder {
    env: Env,
    store: SharedStore,
    registry: Arc<Registry>,
    config: Config,
    serves: Serves,
    recycle_after_jobs: Option<u64>,
    recycle_above_rss: Option<u64>,
    recycle_on: Option<watch::Receiver<bool>>,
}

/// What became of the jobs that a worker ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    /// Jobs that completed.
    pub completed: u64,
    /// Attempts that failed and are tried again.
    pub retried: u64,
    /// Jobs that failed for good.
    pub failed: u64,
    /// Jobs that were cancelled.
    pub cancelled: u64,
    /// Attempts that asked to be called later.
    pub snoozed: u64,
    /// Jobs that were handed back, their attempt unspent.
    pub given_back: u64,
    /// Ends that came too late and changed nothing.
    pub stale: u64,
    /// How often the worker was declared lost, and went on as another.
    pub incarnations_lost: u64,
    /// Why it ended by itself, to be replaced by another process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recycled: Option<Recycled>,
}

impl Summary {
    /// Both together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            completed: self.completed + other.completed,
            retried: self.retried + other.retried,
            failed: self.failed + other.failed,
            cancelled: self.cancelled + other.cancelled,
            snoozed: self.snoozed + other.snoozed,
            given_back: self.given_back + other.given_back,
            stale: self.stale + other.stale,
            incarnations_lost: self.incarnations_lost + other.incarnations_lost,
            recycled: other.recycled.or(self.recycled),
        }
    }
}

impl Worker {
    /// A worker that runs what the registry knows, from every queue, as many jobs at once as the machine has CPUs.
    pub fn builder(store: SharedStore, registry: impl Into<Arc<Registry>>, env: Env) -> Builder {
        let registry = registry.into();
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Builder {
            store,
            serves: Serves { kinds: registry.kinds(), queues: None, namespace: None, priority_max: None },
            registry,
            config: Config {
                concurrency: cpus,
                reserve: 0,
                blocking: None,
                grace: Duration::from_secs(25),
                poll: Duration::from_millis(500),
                lease: Duration::from_secs(15),
                heartbeat: Duration::from_secs(5),
                until_empty: false,
                budget: Budget::default(),
                on_shutdown: OnShutdown::default(),
                reports: Reports::new(&env),
                node: None,
            },
            env,
            recycle_after_jobs: None,
            recycle_above_rss: None,
            recycle_on: None,
        }
    }

    /// Runs until `shutdown` is ready, an operator says stop, (if asked for) nothing is left, or it has run
    /// [for long enough](Builder::recycle_after_jobs); and then shuts down in good order: nothing more is claimed, what waits is handed back, running handlers are told and given the
    /// grace, and what still runs then is dropped and handed back with its attempt unspent.
    ///
    /// # Errors
    ///
    /// When the store refuses the worker for good. A store that is only out of order is waited for.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<Summary, Error> {
        let reports = self.config.reports.clone();
        let summary = self.run_on(shutdown).await;
        if !reports.flush(REPORT_TIME).await {
            tracing::warn!("the worker ends before all its failures were reported");
        }
        summary
    }

    async fn run_on(self, shutdown: impl Future<Output = ()>) -> Result<Summary, Error> {
        panic::watch_places();
        self.warn_of_heavy_tasks();
        let mut shutdown = pin!(shutdown);
        let mut before = None;
        loop {
            let incarnation = tokio::select! {
                biased;
                () = shutdown.as_mut() => break,
                incarnation = self.register(before) => incarnation?,
            };
            before = Some(incarnation.id());
            let began_us = self.env.monotonic_us();
            let ended = incarnation.run(shutdown.as_mut()).await;
            if ended == Ended::Recycled || (ended == Ended::Replaced && self.wear.reason().is_some()) {
                return Ok(Summary { recycled: self.wear.reason(), ..self.summary() });
            }
            if ended == Ended::Stopped {
                break;
            }
            // One after the other that is lost at once: as while two servers both take themselves for the primary.
            if self.env.monotonic_us() - began_us < micros(INCARNATION_MIN) {
                tokio::select! {
                    biased;
                    () = shutdown.as_mut() => break,
                    () = self.env.sleep(INCARNATION_MIN) => {}
                }
            }
        }
        Ok(self.summary())
    }

    /// What weighs more than the whole budget runs, but not beside others, which may be news to whoever set the budget.
    fn warn_of_heavy_tasks(&self) {
        let budget = self.config.budget;
        for kind in self.registry.kinds() {
            let weight = self.registry.weight(&kind);
            if budget.is_passed_by(weight) {
                tracing::warn!(
                    %kind, %weight,
                    "a job of this task weighs more than the whole budget of a worker: it runs when nothing else runs that weighs"
                );
            }
        }
    }

    /// Makes the next incarnation known; waits for a store that is out of order.
    async fn register(&self, mut before: Option<WorkerId>) -> Result<Arc<Incarnation>, Error> {
        let id = self.env.worker_id();
        let mut delay = REGISTER_FIRST;
        loop {
            let asked_us = self.env.monotonic_us();
            match self.try_register(id, &mut before).await {
                Ok(registration) => return Ok(self.incarnation(id, asked_us, registration)),
                Err(error) if error.is_transient() => {
                    tracing::warn!(worker = %id, %error, ?delay, "the worker could not register; trying again");
                    self.env.sleep(delay).await;
                    delay = (delay * 2).min(REGISTER_LONGEST);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn try_register(
        &self,
        id: WorkerId,
        before: &mut Option<WorkerId>,
    ) -> Result<Registration, taskwright_store::Error> {
        self.env.follow(&*self.store).await?;
        // An incarnation that gave up by itself may still be alive to the store. What it ran was dropped, so its jobs
        // can go on at once.
        if let Some(lost) = *before {
            self.store.unregister(self.env.now(), lost).await?;
            *before = None;
        }
        let queues = self.serves.queues.iter().flatten().map(ToString::to_string).collect();
        let worker = NewWorker {
            id,
            host: self.config.node.as_ref().map_or_else(host_name, NodeName::to_string),
            pid: std::process::id(),
            concurrency: u32::try_from(self.config.concurrency).unwrap_or(u32::MAX),
            queues,
            lease: self.config.lease,
        };
        self.store.register(self.env.now(), self.env.monotonic_us(), worker).await
    }

    fn incarnation(&self, id: WorkerId, asked_us: u64, registration: Registration) -> Arc<Incarnation> {
        let (registry, store) = (Arc::clone(&self.registry), Arc::clone(&self.store));
        let mut host = Host::new(self.env.clone(), id, registry, store, Arc::clone(&self.blocking));
        host.with_trace = !self.config.reports.is_empty();
        host.lease_until_us.store(asked_us + micros(self.config.lease), Ordering::Relaxed);
        let source =
            QueueSource { store: Arc::clone(&self.store), worker: id, serves: Arc::clone(&self.serves) };
        tracing::debug!(worker = %id, concurrency = self.config.concurrency, "the worker is registered");
        Arc::new(Incarnation {
            config: Arc::clone(&self.config),
            host: Arc::new(host),
            store: Arc::clone(&self.store),
            source: Box::new(source),
            serves: Arc::clone(&self.serves),
            hand: Hand::default(),
            marks: registration.marks,
            phase: PhaseCell::new(),
            buffer: Buffer::new(self.config.reserve),
            room: Arc::new(Room::default()),
            wear: Arc::clone(&self.wear),
            ends: Ends::default(),
            item_ends: ItemEnds::default(),
            counts: Arc::clone(&self.counts),
            running: (0..self.config.concurrency).map(|_| Mutex::default()).collect(),
            open: AtomicUsize::new(0),
            all_settled: Notify::new(),
            renewed: Notify::new(),
            lapses: Arc::clone(&self.lapses),
            leaving: AtomicBool::new(false),
        })
    }

    fn summary(&self) -> Summary {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counts = &*self.counts;
        Summary {
            completed: read(&counts.completed),
            retried: read(&counts.retried),
            failed: read(&counts.failed),
            cancelled: read(&counts.cancelled),
            snoozed: read(&counts.snoozed),
            given_back: read(&counts.given_back),
            stale: read(&counts.stale),
            incarnations_lost: read(&counts.incarnations_lost),
            recycled: None,
        }
    }
}

impl Builder {
    /// How many jobs run at once; held between 1 and [`CONCURRENCY_MAX`]. Default: the number of CPUs.
    #[must_use]
    pub fn concurrency(mut self, jobs: usize) -> Self {
        self.config.concurrency = jobs.clamp(1, CONCURRENCY_MAX);
        self
    }

    /// How many of these are kept for jobs of the priority `realtime` or better, so that one starts at once however much of the rest
    /// there is. At least one takes anything. Default: none.
    #[must_use]
    pub fn reserve(mut self, jobs: usize) -> Self {
        self.config.reserve = jobs;
        self
    }

    /// How many [blocking](crate::Context::blocking) handlers run at once, each on a thread of its own; held between 1 and
    /// [`CONCURRENCY_MAX`]. What is dropped after its grace keeps its place until it has ended. Default: as many as jobs run at once.
    #[must_use]
    pub fn blocking(mut self, handlers: usize) -> Self {
        self.config.blocking = Some(handlers.clamp(1, CONCURRENCY_MAX));
        self
    }

    /// Serves only these queues. Default: all.
    #[must_use]
    pub fn queues(mut self, queues: impl IntoIterator<Item = QueueName>) -> Self {
        self.serves.queues = Some(queues.into_iter().collect());
        self
    }

    /// Serves only this namespace. Default: all.
    #[must_use]
    pub fn namespace(mut self, namespace: Namespace) -> Self {
        self.serves.namespace = Some(namespace);
        self
    }

    /// Takes only jobs of this priority or better (a lower number). Default: any.
    #[must_use]
    pub fn priority_max(mut self, priority: Priority) -> Self {
        self.serves.priority_max = Some(priority);
        self
    }

    /// How long handlers may go on after a shutdown began. Default 25 s.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.config.grace = grace;
        self
    }

    /// How long to wait before looking for jobs again when nobody said that there are any. Default 500 ms.
    #[must_use]
    pub fn poll(mut self, poll: Duration) -> Self {
        self.config.poll = poll.max(Duration::from_millis(1));
        self
    }

    /// How long the worker may stay silent before it counts as lost; it renews three times as often. Default 15 s, at
    /// least 5 s.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.config.lease = lease.max(Duration::from_secs(5));
        self.config.heartbeat = self.config.lease / 3;
        self
    }

    /// What people call the place where it runs, in the place of the machine's name: `workers list` shows it, and jobs are found by it.
    /// It is a name and no claim: several workers may have the same, and which of them are gone is seen by their processes and sessions.
    #[must_use]
    pub fn node(mut self, name: NodeName) -> Self {
        self.config.node = Some(name);
        self
    }

    /// Ends when nothing is left that could run now. What waits for its time is not waited for, nor is what generators would make next:
    /// it may end between two of their windows.
    #[must_use]
    pub fn until_empty(mut self) -> Self {
        self.config.until_empty = true;
        self
    }

    /// How much the jobs that it runs may [weigh](crate::Task::WEIGHT) together. Default: no limit.
    ///
    /// A job for which there is no room stays with the store, for other workers. One that is heavier than the whole budget
    /// runs when nothing else runs here that weighs anything. Lighter jobs overtake one that has no room for 3 s at most;
    /// then room is kept free for it ([the rule](taskwright_core::admission)).
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Self {
        self.config.budget = budget;
        self
    }

    /// Ends after so many jobs were started and have ended, for the process to be replaced: [`Summary::recycled`] says so.
    /// What waits in the worker is handed back, and what runs is not told to stop. At least 1. Default: never.
    #[must_use]
    pub fn recycle_after_jobs(mut self, jobs: u64) -> Self {
        self.recycle_after_jobs = Some(jobs.max(1));
        self
    }

    /// The same once the process has more resident memory than this, in bytes, at a look every second; not before it has
    /// run a job. Default: never. Only Linux tells.
    #[must_use]
    pub fn recycle_above_rss(mut self, bytes: u64) -> Self {
        self.recycle_above_rss = Some(bytes);
        self
    }

    /// The same once this is `true`, also when it was told to be quiet. Default: never.
    #[must_use]
    pub fn recycle_on(mut self, asked: watch::Receiver<bool>) -> Self {
        self.recycle_on = Some(asked);
        self
    }

    /// What becomes of jobs that a shutdown finds running, and that do not end within the [grace](Self::grace), unless their
    /// [task](crate::Task::ON_SHUTDOWN) says otherwise. Default: they are given back, their attempt unspent.
    #[must_use]
    pub fn on_shutdown(mut self, policy: OnShutdown) -> Self {
        self.config.on_shutdown = policy;
        self
    }

    /// Where it tells of attempts that fail, at the moment they do ([how](crate::report)). Default: nowhere.
    #[must_use]
    pub fn reports(mut self, reports: Reports) -> Self {
        self.config.reports = reports;
        self
    }

    /// The worker.
    pub fn build(mut self) -> Worker {
        self.config.reserve = self.config.reserve.min(self.config.concurrency - 1);
        let blocking = self.config.blocking.unwrap_or(self.config.concurrency);
        Worker {
            env: self.env,
            store: self.store,
            registry: self.registry,
            config: Arc::new(self.config),
            serves: Arc::new(self.serves),
            counts: Arc::default(),
            lapses: Arc::default(),
            blocking: Arc::new(Semaphore::new(blocking)),
            wear: Arc::new(Wear::new(self.recycle_after_jobs, self.recycle_above_rss, self.recycle_on)),
        }
    }

    /// Builds the worker and [runs](Worker::run) it.
    ///
    /// # Errors
    ///
    /// As [`Worker::run`].
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<Summary, Error> {
        self.build().run(shutdown).await
    }
}
