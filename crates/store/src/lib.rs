//! Where jobs live: the [`Store`] trait, and its implementations.
//!
//! A store makes *whole decisions in batches*: it claims up to n jobs, it finishes these 300, it finds the lost
//! workers. It is never asked to read a row so that the caller may write it back. Each call is one transaction: it
//! took place whole, and durably, or it did not take place.
//!
//! No rule lives here. A store asks [`taskwright_core`] which move is legal, what becomes of a lost job, how waiting
//! ages a priority, and writes down the answer; two stores that keep the same jobs give the same answers, and the
//! `conformance` suite (a feature of this crate) holds them to it.
//!
//! Time comes in with every call. Two clocks are in use:
//! - [`Timestamp`], the wall clock, for everything that people see or plan: the store's own, if it has one
//!   ([`Store::now`]), so that machines whose clocks differ agree on what is due;
//! - monotonic microseconds, for leases. They never jump, and are compared only with each other.
#![deny(unsafe_code)]

mod attachment;
mod audit;
mod bulk;
mod change;
mod claim;
mod collect;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod ended;
mod error;
mod event;
mod file;
mod finish;
mod generator;
mod history;
mod identity;
mod lead;
pub mod memory;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod migration;
mod moves;
mod outcome;
#[cfg(feature = "postgres")]
pub mod postgres;
mod presence;
mod query;
mod rollup;
mod schedule;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod seal;
mod service;
mod source;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod step;
mod subject;
mod submitter;
mod sweep;
mod table;
mod takers;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod timeline;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod walk;
mod webhook;
mod worker;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use taskwright_core::audit::Behalf;
use taskwright_core::sight::Sight;
use taskwright_core::{Actor, JobId, Namespace, NewJob, QueueName, Timestamp, Verdict, WorkerId};
use tokio::sync::{oneshot, watch};

pub use attachment::{Attached, AttachmentStore, AttachmentView};
pub use audit::{AuditEnds, AuditFilter, AuditPage, AuditStore, AuditView};
pub use bulk::{BulkStore, BulkWrite, NewBulk, StoredBulk};
pub use change::{Change, Changed, Seen};
pub use claim::{Claim, Claimed, ClaimedJob, JobKey};
pub use collect::{Collect, CollectStore, Collected};
pub use error::Error;
pub use event::{EventKey, EventStore, NewEvent, StoredEvent};
pub use file::{FileMark, FileWrite, KnownFile};
pub use finish::{Finish, LogEntry, LogStream, Progress, ProgressReport};
pub use generator::{
    AgainItem, Effect, EndedItem, GeneratorCommit, GeneratorKey, GeneratorStore, GeneratorWrite, ItemsEnded,
    ListeningGenerator, NewGenerator, NewItem, SettledItem, StoredGenerator, TakeGenerators, TakenGenerators,
};
pub use history::{
    Execution, ExecutionFilter, ExecutionPage, ExecutionPlace, Executions, Group, HistoryStore, Statistics,
};
pub use identity::{
    IdentityStore, Kept, NewSession, NewToken, NewUser, Rank, SessionView, StoredSession, StoredToken,
    StoredUser, UserWrite,
};
pub use lead::Fence;
pub use moves::{MovePlace, MoveStore, Moves, NoPlace};
pub use query::{
    Filter, JobDetail, JobView, LogChunk, Namespaces, Owners, Page, Paged, QueueView, TimelineEntry,
    WorkerView,
};
pub use rollup::{RollUpFilter, RollUpPage, RollUpPlace, RollUpStore, RolledUp};
pub use schedule::{
    Definition, DueSchedules, Fires, FiringOutcome, FiringView, JobOrigin, NewFiring, Previous, ScheduleKey,
    ScheduleStore, ScheduleWrite, SkippedRun, StoredSchedule, Target, Written,
};
pub use service::{ProcessPlace, ServiceRecord, ServiceStore, ServiceView};
pub use source::{Sighting, SourceKey, SourceNote, SourcePlace, SourceStore, SourceView};
pub use step::{NewStep, StepStore, StepView};
pub use submitter::{Comment, RequestKey, Requested, SubmitterStore, Whose};
pub use sweep::{LostWorker, Promoted, Reclaimed};
pub use table::{RowCursor, RowMark, RowOrder, RowsAfter, TableRow, TableRows};
pub use takers::{Offer, Taker, Takers};
pub use taskwright_core::Pattern;
pub use webhook::{
    DeliveryView, Listening, LogPage, NewDelivery, NewWebhook, ReadLog, RetrySet, RetryWrite, SeenRetry,
    Shape, StoredRetry, StoredWebhook, WebhookStore, WebhookTurn, WebhookWrite,
};
pub use worker::{CancelRequest, NewWorker, Order, Registration, Signals, StartMarks, WorkerState};

/// What a store's calls return: boxed, because a call is a batch and the box is paid once for hundreds of jobs.
pub type Reply<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// A place where jobs live. See the [crate documentation](crate).
///
/// All calls may be made concurrently. Dropping a reply before it is ready does not undo the call: what had been
/// asked may still take place.
///
/// # Errors
///
/// Every call may fail with an [`Error`] of its own accord: [busy](Error::is_busy), [full](Error::is_full),
/// [read-only](Error::is_read_only) or [closed](Error::is_closed). After such an error it is unknown whether the call
/// took place, and every call may safely be repeated. Further errors are named at the call.
pub trait Store:
    ScheduleStore
    + EventStore
    + SourceStore
    + GeneratorStore
    + WebhookStore
    + BulkStore
    + HistoryStore
    + RollUpStore
    + CollectStore
    + IdentityStore
    + AuditStore
    + SubmitterStore
    + MoveStore
    + AttachmentStore
    + StepStore
    + ServiceStore
{
    /// The same store for what is done on behalf of somebody: each call that changes something leaves an entry of the audit in its
    /// transaction, and one that changes nothing leaves none. For what people ask for; not for workers and duties.
    fn on_behalf_of(&self, behalf: Behalf) -> SharedStore;

    /// Stores new jobs, all or none, and answers in their order.
    ///
    /// A job whose id is stored already is left alone and answered as existing; so is a job whose unique key is held
    /// by another, which is then named. At most [`ENQUEUE_JOBS_MAX`](taskwright_core::limit::ENQUEUE_JOBS_MAX).
    fn enqueue(&self, now: Timestamp, jobs: Vec<NewJob>) -> Reply<'_, Vec<Enqueued>>;

    /// Stores new jobs that several asked for at the same time, and answers in their order: as [`enqueue`](Self::enqueue) does, with an
    /// entry of the audit for each that is new, on behalf of whoever asked for that one.
    fn enqueue_told(&self, now: Timestamp, jobs: Vec<(NewJob, Arc<Behalf>)>) -> Reply<'_, Vec<Enqueued>> {
        Box::pin(async move {
            let mut stored = Vec::with_capacity(jobs.len());
            for (job, behalf) in jobs {
                let behalf = Arc::unwrap_or_clone(behalf);
                stored.extend(self.on_behalf_of(behalf).enqueue(now, vec![job]).await?);
            }
            Ok(stored)
        })
    }

    /// As [`enqueue`](Self::enqueue), behind a batch that may still be under way: what was asked for first is inserted
    /// first, and nothing is stored, and `None` answered, unless `previous` says that the one before is stored, by being
    /// sent to. A store may work on both at once.
    fn enqueue_behind(
        &self,
        now: Timestamp,
        jobs: Vec<NewJob>,
        previous: oneshot::Receiver<()>,
    ) -> Reply<'_, Option<Vec<Enqueued>>> {
        Box::pin(async move {
            match previous.await {
                Ok(()) => self.enqueue(now, jobs).await.map(Some),
                Err(_) => Ok(None),
            }
        })
    }

    /// Stores a job, and lets a worker claim in the same transaction: it may then hold this one, or one that is more urgent, or
    /// none. A worker that is lost gets nothing, and the job is stored all the same.
    fn enqueue_to(&self, now: Timestamp, job: NewJob, claim: Claim) -> Reply<'_, (Enqueued, Claimed)> {
        let _ = claim;
        Box::pin(async move {
            let stored = self.enqueue(now, vec![job]).await?;
            // A store answers each job of a batch.
            Ok((stored[0], Claimed::default()))
        })
    }

    /// The workers of this process that take jobs from those who store them; `None` where nobody may, and everybody claims.
    fn takers(&self) -> Option<&Takers> {
        None
    }

    /// Gives a worker up to `claim.limit` available jobs of kinds and queues that it serves, the most urgent first:
    /// by [aged](taskwright_core::Priority::aged) priority, then the moment it became available, then insertion.
    ///
    /// # Errors
    ///
    /// [`Error::is_lost`] when the worker is not registered or was declared lost.
    fn claim(&self, claim: Claim) -> Reply<'_, Claimed>;

    /// Ends attempts. Each one is fenced for itself: a stale one changes nothing and is answered so.
    fn finish(&self, now: Timestamp, worker: WorkerId, ends: Vec<Finish>) -> Reply<'_, Vec<Verdict>>;

    /// Hands back jobs that were claimed and not started; the attempt does not count.
    fn give_back(
        &self,
        now: Timestamp,
        worker: WorkerId,
        jobs: Vec<(JobKey, u32)>,
        reason: String,
    ) -> Reply<'_, Vec<Verdict>>;

    /// Stores how far running attempts are; the newest report of an attempt replaces the one before.
    fn report(&self, worker: WorkerId, reports: Vec<ProgressReport>) -> Reply<'_, Vec<Verdict>>;

    /// Appends to the logs of running attempts.
    fn log(&self, worker: WorkerId, entries: Vec<LogEntry>) -> Reply<'_, Vec<Verdict>>;

    /// Which of these running attempts are their jobs' [last chance](taskwright_core::attempt::is_last_chance).
    fn last_chances(&self, attempts: Vec<(JobKey, u32)>) -> Reply<'_, Vec<JobKey>>;

    /// Prepares running attempts to be ended in transactions of somebody else's: what these hold until they end must not
    /// hold up other attempts. A store where there is nothing to prepare does nothing.
    fn set_apart(&self, worker: WorkerId, jobs: Vec<(JobKey, u32)>) -> Reply<'_, ()> {
        let _ = (worker, jobs);
        Box::pin(async { Ok(()) })
    }

    /// Makes a worker known, with a lease from now on.
    fn register(&self, now: Timestamp, monotonic_us: u64, worker: NewWorker) -> Reply<'_, Registration>;

    /// Renews a worker's lease, and tells it what it must know.
    ///
    /// # Errors
    ///
    /// [`Error::is_lost`] when the worker is not registered or was declared lost.
    fn renew(&self, now: Timestamp, monotonic_us: u64, worker: WorkerId) -> Reply<'_, Signals>;

    /// What a worker must know, without renewing.
    fn signals(&self, worker: WorkerId) -> Reply<'_, Signals>;

    /// Ends a worker's registration in good order. Whatever it still holds is decided about by its
    /// [start marks](StartMarks), as if it had been lost: what was not started goes back uncounted.
    fn unregister(&self, now: Timestamp, worker: WorkerId) -> Reply<'_, ()>;

    /// Keeps a line about a living worker, for people to see with it; a later one replaces it. Nothing happens when no such
    /// worker is alive.
    fn remark(&self, worker: WorkerId, remark: String) -> Reply<'_, ()>;

    /// Asks workers to quiet or stop; answers per worker whether there was one to ask.
    fn order(&self, workers: Vec<WorkerId>, order: Order) -> Reply<'_, Vec<bool>>;

    /// Changes jobs on somebody's behalf, each for itself, and answers in the order of the ids.
    fn change(
        &self,
        now: Timestamp,
        ids: Vec<JobId>,
        change: Change,
        actor: Actor,
        reason: Option<String>,
    ) -> Reply<'_, Vec<Changed>>;

    /// Changes jobs on somebody's behalf as [`change`](Self::change) does, but only those that are where they were seen.
    fn change_seen(
        &self,
        now: Timestamp,
        seen: Vec<Seen>,
        change: Change,
        actor: Actor,
        reason: Option<String>,
    ) -> Reply<'_, Vec<Changed>>;

    /// Pauses or resumes a queue, which need not have had jobs yet. `true` when that changed something.
    fn pause(
        &self,
        now: Timestamp,
        namespace: Namespace,
        queue: QueueName,
        paused: bool,
        actor: Actor,
    ) -> Reply<'_, bool>;

    /// Cancels up to `limit` waiting jobs of a queue, oldest first. Running ones are left alone.
    fn purge(
        &self,
        now: Timestamp,
        namespace: Namespace,
        queue: QueueName,
        actor: Actor,
        limit: usize,
    ) -> Reply<'_, usize>;

    /// Makes a node the one that does the duties, or keeps it so, from now on for as long as the lease; `None` while
    /// another node is.
    ///
    /// A leader asks again well before the lease ends, and counts it from the moment before it asked. Another node may
    /// lead once the lease has run out, or, where that can be seen, once the leader's process is gone.
    fn lead(&self, monotonic_us: u64, node: WorkerId, lease: Duration) -> Reply<'_, Option<Fence>>;

    /// Gives up the lead, so that another node can have it at once. Does nothing for a node that does not lead.
    fn resign(&self, node: WorkerId) -> Reply<'_, ()>;

    /// Duty: makes up to `limit` jobs available whose time has come, and drops held ones whose hold has expired.
    fn promote(&self, now: Timestamp, limit: usize) -> Reply<'_, Promoted>;

    /// Duty: finds workers that are gone, by presence or by lease, and decides about every job they held.
    ///
    /// Done by every node, whoever leads: a leader does not find its own end, and what is on a machine is best seen there.
    /// A lease that ran out counts only for whoever has had the store [in sight](Sight) for that long; what they have seen
    /// by now is in the answer, for the next look.
    fn reclaim(&self, now: Timestamp, monotonic_us: u64, sight: Sight) -> Reply<'_, Reclaimed>;

    /// One job with everything about it but its log.
    fn job(&self, id: JobId) -> Reply<'_, Option<JobDetail>>;

    /// One page of jobs.
    fn list(&self, filter: Filter, page: Page) -> Reply<'_, Paged>;

    /// The log of a job from entry `from` on, at most `limit` entries.
    fn logs(&self, id: JobId, from: u64, limit: usize) -> Reply<'_, Vec<LogChunk>>;

    /// All queues, of one namespace or of all.
    fn queues(&self, now: Timestamp, namespace: Option<Namespace>) -> Reply<'_, Vec<QueueView>>;

    /// All workers that are known, the living first.
    fn workers(&self) -> Reply<'_, Vec<WorkerView>>;

    /// A number that moves when there may be something new to claim or to be told: a hint. Missing one is harmless,
    /// because whoever waits also looks now and then.
    fn hints(&self) -> watch::Receiver<u64>;

    /// A number that moves when others have committed something that nobody told of, where that costs a look now and then:
    /// for a process that looks for others of its machine, and [rouses](Self::rouse) them.
    fn unannounced(&self) -> Option<watch::Receiver<u64>> {
        None
    }

    /// Hints at news in this process, for another one that looks for [them](Self::unannounced). From the first call on this
    /// process counts on that one, and hardly looks by itself.
    fn rouse(&self) {}

    /// The wall clock of the store, where that is another one than this machine's: by it all machines go.
    fn now(&self) -> Reply<'_, Option<Timestamp>> {
        Box::pin(async { Ok(None) })
    }

    /// Is ready when this job is over, or after so long, where whoever has the job tells so: a server. `None` where nobody
    /// does: look at the job then, at [hints](Self::hints).
    fn follow(&self, id: JobId, at_most: Duration) -> Option<Reply<'_, ()>> {
        let _ = (id, at_most);
        None
    }

    /// What kind of store it is and where.
    fn info(&self) -> StoreInfo;

    /// What the store has done since it was opened.
    fn counters(&self) -> Counters;

    /// Finishes what was asked and closes the store; later calls fail with [`Error::is_closed`].
    fn close(&self) -> Reply<'_, ()>;
}

/// A store that can be shared.
pub type SharedStore = Arc<dyn Store>;

/// What became of one job of an enqueue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enqueued {
    /// The job that stands for the request: the new one, or the one that exists.
    pub id: JobId,
    /// Whether nothing was stored, because the id or the unique key was there already.
    pub existing: bool,
}

/// What kind of store it is and where.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct StoreInfo {
    /// `memory`, `sqlite` or `postgres`.
    pub kind: &'static str,
    /// The URL without secrets.
    pub url: String,
    /// The engine and its version.
    pub engine: String,
    /// The schema version.
    pub schema: u32,
}

/// What a store has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counters {
    /// Calls that write.
    pub calls: u64,
    /// SQL statements executed by calls that write.
    pub statements: u64,
    /// Transactions committed.
    pub commits: u64,
    /// Flushes to the disk: those of commits, and those of checkpoints. 0 for a store that is not durable.
    pub flushes: u64,
}
