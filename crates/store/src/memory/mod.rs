//! The reference model: a store in memory, of plain ordered maps.
//!
//! It is what the other stores are held against, so it is written to be obviously right and not to be fast: one
//! lock, one `World` behind it, and every call a plain function on that world, in the file of its verb. It is also
//! a store for programs and tests that need nothing to outlive them.
//!
//! Each [`MemoryStore`] value stands for one process. What [`handle`](MemoryStore::handle) gives is a second process
//! on the same jobs; dropping or closing a value is the death of its process.

mod attachment;
mod audit;
mod bulk;
mod change;
mod claim;
mod collect;
mod enqueue;
mod event;
mod file;
mod finish;
mod generator;
mod history;
mod identity;
mod job;
mod lead;
mod moves;
mod query;
mod rollup;
mod schedule;
mod service;
mod source;
mod step;
mod subject;
mod submitter;
mod sweep;
mod webhook;
mod worker;
mod world;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use taskwright_core::audit::Behalf;
use taskwright_core::sight::Sight;
use taskwright_core::{Actor, JobId, Namespace, NewJob, QueueName, Timestamp, Verdict, WorkerId};
use tokio::sync::watch;

use crate::change::{Change, Changed, Seen};
use crate::claim::{Claim, Claimed, JobKey};
use crate::error::Error;
use crate::finish::{Finish, LogEntry, ProgressReport};
use crate::lead::Fence;
use crate::query::{Filter, JobDetail, LogChunk, Page, Paged, QueueView, WorkerView};
use crate::subject::{Subject, difference};
use crate::sweep::{Promoted, Reclaimed};
use crate::worker::{NewWorker, Order, Registration, Signals};
use crate::{Counters, Enqueued, Reply, SharedStore, Store, StoreInfo, Takers, audit as rules};

use self::worker::Marks;
use self::world::{ProcessId, World};

/// A store in memory: gone when its last handle is.
///
/// # Example
///
/// ```
/// use taskwright_store::Store;
/// use taskwright_store::memory::MemoryStore;
///
/// let store = MemoryStore::new();
/// let another_process = store.handle();
/// assert_eq!(another_process.info().kind, "memory");
/// ```
#[derive(Debug)]
pub struct MemoryStore {
    process: Arc<Process>,
    /// On whose behalf it writes.
    behalf: Option<Arc<Behalf>>,
}

/// What stands for a process; it ends with its last handle.
#[derive(Debug)]
struct Process {
    shared: Arc<Shared>,
    id: ProcessId,
    closed: AtomicBool,
    calls: AtomicU64,
    takers: Takers,
}

/// What all handles on the same jobs have in common.
#[derive(Debug)]
struct Shared {
    world: Mutex<World>,
    hints: watch::Sender<u64>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::on(Arc::new(Shared { world: Mutex::default(), hints: watch::Sender::new(0) }))
    }

    /// A second handle on the same jobs, standing for another process: workers that register through it are present
    /// for as long as it is neither dropped nor closed.
    #[must_use]
    pub fn handle(&self) -> Self {
        Self::on(Arc::clone(&self.process.shared))
    }

    fn on(shared: Arc<Shared>) -> Self {
        let id = shared.lock().start_process();
        let process = Process {
            shared,
            id,
            closed: AtomicBool::new(false),
            calls: AtomicU64::new(0),
            takers: Takers::default(),
        };
        Self { process: Arc::new(process), behalf: None }
    }

    fn ask<T: Send + 'static>(&self, query: impl FnOnce(&World) -> Result<T, Error>) -> Reply<'static, T> {
        let answer = if self.is_closed() { Err(Error::closed()) } else { query(&self.process.shared.lock()) };
        Box::pin(std::future::ready(answer))
    }

    fn act<T: Send + 'static>(&self, call: impl FnOnce(&mut World) -> Result<T, Error>) -> Reply<'static, T> {
        self.act_about(None, call)
    }

    /// What a call is about, if somebody stands behind it.
    fn about(&self, subject: impl FnOnce() -> Subject) -> Option<Subject> {
        self.behalf.is_some().then(subject)
    }

    /// Acts for a call that somebody makes about something: the entry tells what that was and is.
    fn act_about<T: Send + 'static>(
        &self,
        about: Option<Subject>,
        call: impl FnOnce(&mut World) -> Result<T, Error>,
    ) -> Reply<'static, T> {
        let answer = if self.is_closed() {
            Err(Error::closed())
        } else {
            self.process.calls.fetch_add(1, Ordering::Relaxed);
            let mut world = self.process.shared.lock();
            let before = about.as_ref().map(|about| world.look(about));
            let answer = call(&mut world);
            if let (Some(behalf), Ok(answer)) = (&self.behalf, &answer)
                && let Some(outcome) = rules::outcome(answer)
            {
                let mut entry = behalf.entry(outcome);
                if let (Some(about), Some(before)) = (&about, &before) {
                    entry = entry.changing(difference(before, &world.look(about), answer));
                }
                world.audit.append(entry.body());
            }
            let news = world.take_news();
            drop(world);
            if news {
                self.process.shared.hints.send_modify(|number| *number += 1);
            }
            answer
        };
        Box::pin(std::future::ready(answer))
    }

    /// The same, for what is no mutation of anybody's.
    fn without_behalf(&self) -> Self {
        Self { process: Arc::clone(&self.process), behalf: None }
    }

    fn is_closed(&self) -> bool {
        self.process.closed.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, World> {
        // A call that panicked half-way has left a world that no answer should be built on.
        self.world.lock().expect("a call on the memory store panicked")
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(mut world) = self.shared.world.lock() {
            world.end_process(self.id);
        }
    }
}

impl Store for MemoryStore {
    fn on_behalf_of(&self, behalf: Behalf) -> SharedStore {
        Arc::new(Self { process: Arc::clone(&self.process), behalf: Some(Arc::new(behalf)) })
    }

    fn enqueue(&self, now: Timestamp, jobs: Vec<NewJob>) -> Reply<'_, Vec<Enqueued>> {
        self.act(|world| world.enqueue(now, jobs))
    }

    fn enqueue_to(&self, now: Timestamp, job: NewJob, claim: Claim) -> Reply<'_, (Enqueued, Claimed)> {
        self.act(|world| {
            let stored = world.enqueue(now, vec![job])?[0];
            match world.claim(&claim) {
                Err(error) if error.is_lost() => Ok((stored, Claimed::default())),
                claimed => Ok((stored, claimed?)),
            }
        })
    }

    fn takers(&self) -> Option<&Takers> {
        Some(&self.process.takers)
    }

    fn claim(&self, claim: Claim) -> Reply<'_, Claimed> {
        self.act(|world| world.claim(&claim))
    }

    fn finish(&self, now: Timestamp, worker: WorkerId, ends: Vec<Finish>) -> Reply<'_, Vec<Verdict>> {
        self.act(|world| world.finish(now, worker, ends))
    }

    fn give_back(
        &self,
        now: Timestamp,
        worker: WorkerId,
        jobs: Vec<(JobKey, u32)>,
        reason: String,
    ) -> Reply<'_, Vec<Verdict>> {
        self.act(|world| world.give_back(now, worker, &jobs, &reason))
    }

    fn report(&self, worker: WorkerId, reports: Vec<ProgressReport>) -> Reply<'_, Vec<Verdict>> {
        self.act(|world| Ok(world.report(worker, reports)))
    }

    fn log(&self, worker: WorkerId, entries: Vec<LogEntry>) -> Reply<'_, Vec<Verdict>> {
        self.act(|world| Ok(world.log(worker, entries)))
    }

    fn register(&self, now: Timestamp, monotonic_us: u64, worker: NewWorker) -> Reply<'_, Registration> {
        let marks = Arc::new(Marks { shared: Arc::clone(&self.process.shared), worker: worker.id });
        self.act(|world| {
            world.register(self.process.id, now, monotonic_us, worker).map(|()| Registration { marks })
        })
    }

    fn renew(&self, now: Timestamp, monotonic_us: u64, worker: WorkerId) -> Reply<'_, Signals> {
        self.act(|world| world.renew(now, monotonic_us, worker))
    }

    fn signals(&self, worker: WorkerId) -> Reply<'_, Signals> {
        self.ask(|world| Ok(world.signals(worker)))
    }

    fn unregister(&self, now: Timestamp, worker: WorkerId) -> Reply<'_, ()> {
        self.act(|world| world.unregister(now, worker))
    }

    fn remark(&self, worker: WorkerId, remark: String) -> Reply<'_, ()> {
        self.act(|world| {
            world.remark(worker, remark);
            Ok(())
        })
    }

    fn order(&self, workers: Vec<WorkerId>, order: Order) -> Reply<'_, Vec<bool>> {
        self.act(|world| Ok(world.order(&workers, order)))
    }

    fn change(
        &self,
        now: Timestamp,
        ids: Vec<JobId>,
        change: Change,
        actor: Actor,
        reason: Option<String>,
    ) -> Reply<'_, Vec<Changed>> {
        let about = self.about(|| Subject::Jobs(ids.clone(), change));
        self.act_about(about, |world| {
            ids.into_iter().map(|id| world.change(now, id, change, &actor, &reason)).collect()
        })
    }

    fn change_seen(
        &self,
        now: Timestamp,
        seen: Vec<Seen>,
        change: Change,
        actor: Actor,
        reason: Option<String>,
    ) -> Reply<'_, Vec<Changed>> {
        let about = self.about(|| Subject::Jobs(seen.iter().map(|seen| seen.id).collect(), change));
        self.act_about(about, |world| {
            let change_one = |seen: Seen| match world.is_where_seen(&seen) {
                true => world.change(now, seen.id, change, &actor, &reason),
                false => Ok(Seen::skipped()),
            };
            seen.into_iter().map(change_one).collect()
        })
    }

    fn pause(
        &self,
        _now: Timestamp,
        namespace: Namespace,
        queue: QueueName,
        paused: bool,
        _actor: Actor,
    ) -> Reply<'_, bool> {
        let about = self.about(|| Subject::Queue(namespace.clone(), queue.clone()));
        self.act_about(about, |world| Ok(world.pause(namespace, queue, paused)))
    }

    fn purge(
        &self,
        now: Timestamp,
        namespace: Namespace,
        queue: QueueName,
        actor: Actor,
        limit: usize,
    ) -> Reply<'_, usize> {
        self.act(|world| world.purge(now, &namespace, &queue, &actor, limit))
    }

    fn lead(&self, monotonic_us: u64, node: WorkerId, lease: Duration) -> Reply<'_, Option<Fence>> {
        self.act(|world| Ok(world.lead(self.process.id, monotonic_us, node, lease)))
    }

    fn resign(&self, node: WorkerId) -> Reply<'_, ()> {
        self.act(|world| {
            world.resign(node);
            Ok(())
        })
    }

    fn promote(&self, now: Timestamp, limit: usize) -> Reply<'_, Promoted> {
        self.act(|world| world.promote(now, limit))
    }

    fn reclaim(&self, now: Timestamp, monotonic_us: u64, sight: Sight) -> Reply<'_, Reclaimed> {
        self.act(|world| world.reclaim(now, monotonic_us, sight))
    }

    fn job(&self, id: JobId) -> Reply<'_, Option<JobDetail>> {
        self.ask(|world| Ok(world.detail(id)))
    }

    fn list(&self, filter: Filter, page: Page) -> Reply<'_, Paged> {
        self.ask(|world| Ok(world.list(&filter, page)))
    }

    fn last_chances(&self, attempts: Vec<(JobKey, u32)>) -> Reply<'_, Vec<JobKey>> {
        self.ask(|world| Ok(world.last_chances(&attempts)))
    }

    fn logs(&self, id: JobId, from: u64, limit: usize) -> Reply<'_, Vec<LogChunk>> {
        self.ask(|world| Ok(world.logs(id, from, limit)))
    }

    fn queues(&self, _now: Timestamp, namespace: Option<Namespace>) -> Reply<'_, Vec<QueueView>> {
        self.ask(|world| Ok(world.queue_views(namespace.as_ref())))
    }

    fn workers(&self) -> Reply<'_, Vec<WorkerView>> {
        self.ask(|world| Ok(world.worker_views()))
    }

    fn hints(&self) -> watch::Receiver<u64> {
        self.process.shared.hints.subscribe()
    }

    fn info(&self) -> StoreInfo {
        StoreInfo { kind: "memory", url: "memory:".to_owned(), engine: "memory".to_owned(), schema: 0 }
    }

    fn counters(&self) -> Counters {
        let calls = self.process.calls.load(Ordering::Relaxed);
        Counters { calls, statements: 0, commits: calls, flushes: 0 }
    }

    fn close(&self) -> Reply<'_, ()> {
        self.process.closed.store(true, Ordering::Relaxed);
        self.process.shared.lock().end_process(self.process.id);
        Box::pin(std::future::ready(Ok(())))
    }
}
