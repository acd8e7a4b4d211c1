//! One incarnation of a worker: from its registration until it is unregistered, or lost.
//!
//! What its tasks share is here, and how they are started and brought down. A worker that was lost goes on as another
//! incarnation with another id: the fence of the old one is worth nothing any more.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use taskwright_core::{Verdict, WorkerId};
use taskwright_store::{ClaimedJob, JobKey, SharedStore, StartMarks};
use tokio::sync::Notify;

use super::buffer::Buffer;
use super::ended::{self, ItemEnds};
use super::finish::Ends;
use super::lapses::Lapses;
use super::phase::{Phase, PhaseCell};
use super::recycle::{self, Wear};
use super::room::Room;
use super::source::{Serves, Source};
use super::taker::Hand;
use super::{Config, fetch, finish, heartbeat, signals, slot};
use crate::attempt::{Attempt, Host, lock};
use crate::cancel::StopCause;
use crate::env::{Spawned, micros};
use crate::registry::TaskOptions;

/// The time between two tries to unregister.
const UNREGISTER_AGAIN: Duration = Duration::from_millis(200);

/// What the tasks of one incarnation share.
pub(crate) struct Incarnation {
    pub(crate) config: Arc<Config>,
    pub(crate) host: Arc<Host>,
    pub(crate) store: SharedStore,
    pub(crate) source: Box<dyn Source>,
    pub(crate) serves: Arc<Serves>,
    /// Takes jobs from those who store them.
    pub(crate) hand: Hand,
    pub(crate) marks: Arc<dyn StartMarks>,
    pub(crate) phase: PhaseCell,
    pub(crate) buffer: Buffer,
    pub(crate) room: Arc<Room>,
    pub(crate) wear: Arc<Wear>,
    pub(crate) ends: Ends,
    pub(crate) item_ends: ItemEnds,
    pub(crate) counts: Arc<Counts>,
    /// What each slot runs.
    pub(crate) running: Box<[Mutex<Option<Arc<Attempt>>>]>,
    /// Jobs that are claimed and whose end is not written.
    pub(crate) open: AtomicUsize,
    /// Told when nothing is open any more.
    pub(crate) all_settled: Notify,
    /// Told when the lease was renewed after it had lapsed.
    pub(crate) renewed: Notify,
    pub(crate) lapses: Arc<Lapses>,
    /// Whether the store is being told that the worker is over: it may know before this process hears so.
    pub(crate) leaving: AtomicBool,
}

/// How an incarnation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was asked to stop, or had nothing left to do.
    Stopped,
    /// It goes on as another: it was declared lost, could not renew its lease, or lost the answer to a claim.
    Replaced,
    /// It is worn out, and its process is to be replaced.
    Recycled,
}

/// The tasks of one incarnation. Dropping them ends them.
struct Tasks {
    fetcher: Spawned<fetch::Ended>,
    slots: Vec<Spawned<()>>,
    writer: Spawned<()>,
    heartbeat: Spawned<()>,
    _signals: Spawned<()>,
    _ended: Spawned<()>,
    _memory: Option<Spawned<()>>,
    _asked: Option<Spawned<()>>,
}

impl Incarnation {
    /// Runs until the shutdown, until nothing is left (when asked for), or until the worker is lost or worn out.
    pub(crate) async fn run(self: Arc<Self>, mut shutdown: Pin<&mut impl Future<Output = ()>>) -> Ended {
        let mut tasks = self.start();
        let mut retired = false;
        let mut recycled = false;
        let mut shuts_down = false;
        tokio::select! {
            biased;
            () = self.phase.reached(Phase::Recycling) => {
                (recycled, shuts_down) = self.wear_out(&mut tasks, shutdown.as_mut()).await;
            }
            () = shutdown.as_mut() => shuts_down = true,
            // Only ends of itself when nothing is left here, or when it has seen before this that the worker is worn out.
            ended = &mut tasks.fetcher => {
                retired = matches!(ended, Ok(fetch::Ended::Retired));
                if !retired && self.phase.is_at_least(Phase::Recycling) && !self.phase.is_at_least(Phase::Stopping) {
                    (recycled, shuts_down) = self.wear_out(&mut tasks, shutdown.as_mut()).await;
                }
            }
            // Only ends of itself when the worker is lost.
            _ = &mut tasks.heartbeat => self.heart_stopped(),
        }
        let replaced = retired || self.phase.is_at_least(Phase::Lapsed);
        self.phase.raise(Phase::Stopping);
        let mut lost = false;
        tokio::select! {
            biased;
            () = self.phase.reached(Phase::Lapsed) => lost = true,
            () = self.drain(&mut tasks) => {}
        }
        if lost {
            shuts_down |= self.abandon(&mut tasks, shutdown, shuts_down).await;
        }
        match (replaced && !shuts_down, recycled) {
            (true, _) => Ended::Replaced,
            (false, true) => Ended::Recycled,
            (false, false) => Ended::Stopped,
        }
    }

    /// Gives back what was not started, and waits for what runs: whether that is over, or else whether that is because of the
    /// shutdown.
    async fn wear_out(
        &self,
        tasks: &mut Tasks,
        shutdown: Pin<&mut impl Future<Output = ()>>,
    ) -> (bool, bool) {
        let Some(reason) = self.wear.reason() else { return (false, false) };
        tracing::info!(worker = %self.id(), "the worker is recycled: {reason}");
        self.ends.give_back(&self.buffer.close(), "the worker is recycled");
        let remark = async {
            if let Err(error) = self.store.remark(self.id(), format!("recycling: {reason}")).await {
                tracing::debug!(worker = %self.id(), %error, "nobody can see why the worker is recycled");
            }
        };
        let over = async { tokio::join!(remark, join_all(&mut tasks.slots)) };
        tokio::select! {
            biased;
            () = self.phase.reached(Phase::Stopping) => (false, false),
            () = shutdown => (false, true),
            _ = &mut tasks.heartbeat => {
                self.heart_stopped();
                (false, false)
            }
            _ = over => (true, false),
        }
    }

    /// Without its heartbeat the worker is lost, if it is not yet.
    fn heart_stopped(&self) {
        if !self.phase.is_at_least(Phase::Lapsed) {
            self.lose(self.host.env.monotonic_us());
        }
    }

    /// Waits for the handlers of a lost worker to be dropped. What there is to say of them is written if the store was away,
    /// for as long as that takes, or until the shutdown, which may have come before: whether it has come.
    async fn abandon(
        &self,
        tasks: &mut Tasks,
        shutdown: Pin<&mut impl Future<Output = ()>>,
        shuts_down: bool,
    ) -> bool {
        self.counts.incarnations_lost.fetch_add(1, Ordering::Relaxed);
        join_all(&mut tasks.slots).await;
        if shuts_down || !self.phase.is(Phase::Lapsed) {
            return shuts_down;
        }
        let written = async {
            // Nothing more arrives once the fetcher is over.
            if !tasks.fetcher.is_finished() {
                let _ = (&mut tasks.fetcher).await;
            }
            self.ends.close();
            let _ = (&mut tasks.writer).await;
        };
        // A store that is back and still does not take it all is not waited for.
        let given_up = async {
            self.renewed.notified().await;
            self.host.env.sleep(self.config.lease).await;
        };
        tokio::select! {
            biased;
            () = written => false,
            () = shutdown => true,
            () = given_up => false,
        }
    }

    fn start(self: &Arc<Self>) -> Tasks {
        let env = &self.host.env;
        if let Some(takers) = self.store.takers() {
            let taker = Arc::downgrade(self);
            takers.join(taker);
        }
        Tasks {
            fetcher: env.spawn("fetcher", fetch::run(Arc::clone(self))),
            slots: (0..self.running.len())
                .map(|number| env.spawn("slot", slot::run(Arc::clone(self), number)))
                .collect(),
            writer: env.spawn("writer", finish::run(Arc::clone(self))),
            heartbeat: env.spawn("heartbeat", heartbeat::run(Arc::clone(self))),
            _signals: env.spawn("signals", signals::run(Arc::clone(self))),
            _ended: env.spawn("ended items", ended::run(Arc::clone(self))),
            _memory: self
                .wear
                .rss_max_bytes
                .map(|limit| env.spawn("memory", recycle::watch_memory(Arc::clone(self), limit))),
            _asked: self
                .wear
                .asked
                .clone()
                .map(|asked| env.spawn("asked", recycle::wait_until_asked(Arc::clone(self), asked))),
        }
    }

    /// Shuts down in good order.
    async fn drain(&self, tasks: &mut Tasks) {
        // Nothing more arrives once the fetcher is over.
        if !tasks.fetcher.is_finished() {
            let _ = (&mut tasks.fetcher).await;
        }
        self.hand.close().await;
        self.ends.give_back(&self.buffer.close(), "the worker stops");
        let abort_at_us = self.host.env.monotonic_us().saturating_add(micros(self.config.grace));
        self.stop_running(&StopCause::Shutdown, abort_at_us);
        join_all(&mut tasks.slots).await;
        self.ends.close();
        let _ = (&mut tasks.writer).await;
        self.unregister().await;
    }

    /// Tells the store that the worker is over; tries again for as long as the lease holds.
    async fn unregister(&self) {
        let env = &self.host.env;
        self.leaving.store(true, Ordering::SeqCst);
        while let Err(error) = self.store.unregister(env.now(), self.host.worker).await {
            tracing::warn!(worker = %self.host.worker, %error, "the worker could not be unregistered");
            if !error.is_transient() {
                return;
            }
            env.sleep(UNREGISTER_AGAIN).await;
        }
    }

    /// Asks everything that runs to stop.
    pub(crate) fn stop_running(&self, cause: &StopCause, abort_at_us: u64) {
        for cell in &self.running {
            let running = lock(cell).clone();
            if let Some(attempt) = running {
                attempt.stop(cause.clone(), abort_at_us);
            }
        }
    }

    /// The attempt, if it runs here now.
    pub(crate) fn find_running(&self, key: JobKey, attempt: u32) -> Option<Arc<Attempt>> {
        let is_it = |running: &Arc<Attempt>| running.job.key == key && running.job.attempt == attempt;
        self.running.iter().find_map(|cell| lock(cell).clone().filter(is_it))
    }

    /// The store said that an attempt no longer owns its job.
    pub(crate) fn lose_attempt(&self, key: JobKey, attempt: u32) {
        if let Some(running) = self.find_running(key, attempt) {
            if running.in_transaction.load(Ordering::Relaxed) {
                // Its handler has completed it, and says something still, which comes too late.
                return;
            }
            tracing::info!(job = %running.job.id, attempt, "the attempt no longer owns its job and is stopped");
            running.stop(StopCause::Lost, self.host.env.monotonic_us());
        }
    }

    /// Counts ends that are written, or given up.
    pub(crate) fn settled(&self, ends: usize) {
        if self.open.fetch_sub(ends, Ordering::SeqCst) == ends {
            self.all_settled.notify_one();
        }
    }

    pub(crate) fn options_of(&self, job: &ClaimedJob) -> TaskOptions {
        self.host.registry.entry(&job.kind).map_or_else(TaskOptions::default, |entry| entry.options)
    }

    pub(crate) fn id(&self) -> WorkerId {
        self.host.worker
    }
}

async fn join_all(slots: &mut Vec<Spawned<()>>) {
    while let Some(slot) = slots.last_mut() {
        if let Err(error) = slot.await {
            // Handlers are caught, so this is a mistake of ours; the other slots go on.
            tracing::error!(%error, "a slot of a worker died");
        }
        slots.pop();
    }
}

/// What became of the jobs of a worker, over all its incarnations.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) completed: AtomicU64,
    pub(crate) retried: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) cancelled: AtomicU64,
    pub(crate) snoozed: AtomicU64,
    pub(crate) given_back: AtomicU64,
    pub(crate) stale: AtomicU64,
    pub(crate) incarnations_lost: AtomicU64,
}

impl Counts {
    pub(crate) fn note(&self, decision: &taskwright_core::Decision, verdict: Verdict) {
        use taskwright_core::Cause as C;
        let count = match (verdict, decision.cause) {
            (Verdict::Stale, _) => &self.stale,
            (Verdict::Accepted, C::Complete) => &self.completed,
            (Verdict::Accepted, C::Retry) => &self.retried,
            (Verdict::Accepted, C::Snooze) => &self.snoozed,
            (Verdict::Accepted, C::GiveBack) => &self.given_back,
            (Verdict::Accepted, C::Cancel) => &self.cancelled,
            (Verdict::Accepted, _) => &self.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn note_given_back(&self, verdicts: &[Verdict]) {
        let stale = verdicts.iter().filter(|verdict| **verdict == Verdict::Stale).count() as u64;
        self.given_back.fetch_add(verdicts.len() as u64 - stale, Ordering::Relaxed);
        self.stale.fetch_add(stale, Ordering::Relaxed);
    }
}
