//! A store that fails on command.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use taskwright_core::{Actor, JobId, Namespace, NewJob, QueueName, Retention, Timestamp, Verdict, WorkerId};
use taskwright_store::{
    Change, Changed, Claim, Claimed, Counters, Enqueued, Error, ExecutionFilter, ExecutionPage, Executions,
    Fence, Filter, Finish, HistoryStore, JobDetail, JobKey, LogChunk, LogEntry, NewWorker, Order, Page,
    Paged, ProgressReport, Promoted, Pruned, QueueView, Reclaimed, Registration, Reply, SharedStore, Signals,
    Statistics, Store, StoreInfo, WorkerView,
};
use tokio::sync::watch;

use crate::attempt::lock;

/// A call of a store that can be made to fail.
#[expect(missing_docs, reason = "named like the methods of `Store`")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    Enqueue,
    Claim,
    Finish,
    GiveBack,
    Report,
    Log,
    Register,
    Renew,
    Signals,
    Unregister,
    Change,
    Lead,
    Promote,
    Reclaim,
    Prune,
}

/// When a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Before it took place.
    Before,
    /// After it took place: the answer is lost.
    After,
}

/// Wraps a store, and lets calls fail that a test names.
pub struct FaultyStore {
    store: SharedStore,
    plan: Mutex<Plan>,
}

#[derive(Default)]
struct Plan {
    faults: Vec<(Call, RangeInclusive<u64>, When)>,
    counts: HashMap<Call, u64>,
}

impl FaultyStore {
    /// Wraps a store; every call goes through until told otherwise.
    pub fn new(store: SharedStore) -> Arc<Self> {
        Arc::new(Self { store, plan: Mutex::default() })
    }

    /// Lets these calls fail; calls of each kind are counted from 1.
    pub fn fail(&self, call: Call, numbers: RangeInclusive<u64>, when: When) {
        lock(&self.plan).faults.push((call, numbers, when));
    }

    /// Lets everything go through from now on.
    pub fn heal(&self) {
        lock(&self.plan).faults.clear();
    }

    /// How often a call was made.
    pub fn count(&self, call: Call) -> u64 {
        lock(&self.plan).counts.get(&call).copied().unwrap_or(0)
    }

    fn next(&self, call: Call) -> Option<When> {
        let mut plan = lock(&self.plan);
        let count = plan.counts.entry(call).or_default();
        *count += 1;
        let number = *count;
        let hit = |fault: &&(Call, RangeInclusive<u64>, When)| fault.0 == call && fault.1.contains(&number);
        plan.faults.iter().find(hit).map(|(_, _, when)| *when)
    }

    /// The call is made only when its turn has come: a store may act before its reply is awaited.
    fn run<'a, T: Send + 'a>(
        &'a self,
        call: Call,
        make: impl FnOnce() -> Reply<'a, T> + Send + 'a,
    ) -> Reply<'a, T> {
        Box::pin(async move {
            let fault = || Error::unavailable("the store", format!("a test broke {call:?}"));
            match self.next(call) {
                Some(When::Before) => Err(fault()),
                Some(When::After) => make().await.and(Err(fault())),
                None => make().await,
            }
        })
    }
}

impl HistoryStore for FaultyStore {
    fn executions(&self, filter: ExecutionFilter, page: ExecutionPage) -> Reply<'_, Executions> {
        self.store.executions(filter, page)
    }

    fn statistics(&self, filter: ExecutionFilter, sample_max: usize) -> Reply<'_, Statistics> {
        self.store.statistics(filter, sample_max)
    }
}

impl Store for FaultyStore {
    fn enqueue(&self, now: Timestamp, jobs: Vec<NewJob>) -> Reply<'_, Vec<Enqueued>> {
        self.run(Call::Enqueue, move || self.store.enqueue(now, jobs))
    }

    fn claim(&self, claim: Claim) -> Reply<'_, Claimed> {
        self.run(Call::Claim, move || self.store.claim(claim))
    }

    fn finish(&self, now: Timestamp, worker: WorkerId, ends: Vec<Finish>) -> Reply<'_, Vec<Verdict>> {
        self.run(Call::Finish, move || self.store.finish(now, worker, ends))
    }

    fn give_back(
        &self,
        now: Timestamp,
        worker: WorkerId,
        jobs: Vec<(JobKey, u32)>,
        reason: String,
    ) -> Reply<'_, Vec<Verdict>> {
        self.run(Call::GiveBack, move || self.store.give_back(now, worker, jobs, reason))
    }

    fn report(&self, worker: WorkerId, reports: Vec<ProgressReport>) -> Reply<'_, Vec<Verdict>> {
        self.run(Call::Report, move || self.store.report(worker, reports))
    }

    fn log(&self, worker: WorkerId, entries: Vec<LogEntry>) -> Reply<'_, Vec<Verdict>> {
        self.run(Call::Log, move || self.store.log(worker, entries))
    }

    fn register(&self, now: Timestamp, monotonic_us: u64, worker: NewWorker) -> Reply<'_, Registration> {
        self.run(Call::Register, move || self.store.register(now, monotonic_us, worker))
    }

    fn renew(&self, now: Timestamp, monotonic_us: u64, worker: WorkerId) -> Reply<'_, Signals> {
        self.run(Call::Renew, move || self.store.renew(now, monotonic_us, worker))
    }

    fn signals(&self, worker: WorkerId) -> Reply<'_, Signals> {
        self.run(Call::Signals, move || self.store.signals(worker))
    }

    fn unregister(&self, now: Timestamp, worker: WorkerId) -> Reply<'_, ()> {
        self.run(Call::Unregister, move || self.store.unregister(now, worker))
    }

    fn order(&self, workers: Vec<WorkerId>, order: Order) -> Reply<'_, Vec<bool>> {
        self.store.order(workers, order)
    }

    fn change(
        &self,
        now: Timestamp,
        ids: Vec<JobId>,
        change: Change,
        actor: Actor,
        reason: Option<String>,
    ) -> Reply<'_, Vec<Changed>> {
        self.run(Call::Change, move || self.store.change(now, ids, change, actor, reason))
    }

    fn pause(
        &self,
        now: Timestamp,
        namespace: Namespace,
        queue: QueueName,
        paused: bool,
        actor: Actor,
    ) -> Reply<'_, bool> {
        self.store.pause(now, namespace, queue, paused, actor)
    }

    fn purge(
        &self,
        now: Timestamp,
        namespace: Namespace,
        queue: QueueName,
        actor: Actor,
        limit: usize,
    ) -> Reply<'_, usize> {
        self.store.purge(now, namespace, queue, actor, limit)
    }

    fn lead(&self, monotonic_us: u64, node: WorkerId, lease: Duration) -> Reply<'_, Option<Fence>> {
        self.run(Call::Lead, move || self.store.lead(monotonic_us, node, lease))
    }

    fn set_apart(&self, worker: WorkerId, jobs: Vec<(JobKey, u32)>) -> Reply<'_, ()> {
        self.store.set_apart(worker, jobs)
    }

    fn resign(&self, node: WorkerId) -> Reply<'_, ()> {
        self.store.resign(node)
    }

    fn promote(&self, now: Timestamp, limit: usize) -> Reply<'_, Promoted> {
        self.run(Call::Promote, move || self.store.promote(now, limit))
    }

    fn reclaim(&self, now: Timestamp, monotonic_us: u64) -> Reply<'_, Reclaimed> {
        self.run(Call::Reclaim, move || self.store.reclaim(now, monotonic_us))
    }

    fn prune(&self, now: Timestamp, keep: Retention, limit: usize) -> Reply<'_, Pruned> {
        self.run(Call::Prune, move || self.store.prune(now, keep, limit))
    }

    fn job(&self, id: JobId) -> Reply<'_, Option<JobDetail>> {
        self.store.job(id)
    }

    fn list(&self, filter: Filter, page: Page) -> Reply<'_, Paged> {
        self.store.list(filter, page)
    }

    fn logs(&self, id: JobId, from: u64, limit: usize) -> Reply<'_, Vec<LogChunk>> {
        self.store.logs(id, from, limit)
    }

    fn queues(&self, now: Timestamp, namespace: Option<Namespace>) -> Reply<'_, Vec<QueueView>> {
        self.store.queues(now, namespace)
    }

    fn workers(&self) -> Reply<'_, Vec<WorkerView>> {
        self.store.workers()
    }

    fn hints(&self) -> watch::Receiver<u64> {
        self.store.hints()
    }

    fn info(&self) -> StoreInfo {
        self.store.info()
    }

    fn counters(&self) -> Counters {
        self.store.counters()
    }

    fn close(&self) -> Reply<'_, ()> {
        self.store.close()
    }
}
