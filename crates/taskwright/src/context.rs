//! What a handler is given: its arguments, the facts of its attempt, and the ways to talk to the worker.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::de::DeserializeOwned;
use taskwright_core::limit::{FOLLOW_UPS_BYTES_MAX, FOLLOW_UPS_MAX, LOG_BYTES_MAX, TEXT_BYTES_MAX};
use taskwright_core::name::clipped;
use taskwright_core::{
    Args, Error, JobId, Kind, Limits, MaxAttempts, Namespace, NewJob, Owner, QueueName, Usage, WorkerId,
};
use taskwright_store::{ClaimedJob, JobKey, LogEntry, LogStream, Progress, StepStore, Store};

use crate::attempt::{Attempt, lock};
use crate::cancel::StopCause;
use crate::env::Env;
use crate::job::Job;
use crate::step::Steps;
use crate::task::TaskError;
use crate::worker::panic::{Panic, caught_whole};

/// One attempt of one job, from its handler's side. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Context(Arc<Attempt>);

impl Context {
    pub(crate) fn new(attempt: Arc<Attempt>) -> Self {
        Self(attempt)
    }

    /// The arguments as a type.
    ///
    /// # Errors
    ///
    /// When they do not have the form of the type; the message names line and column.
    pub fn args<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.0.job.args.parse()
    }

    /// The arguments as the exact bytes that were enqueued.
    pub fn raw_args(&self) -> &Args {
        &self.0.job.args
    }

    /// The job.
    pub fn job_id(&self) -> JobId {
        self.0.job.id
    }

    /// The task.
    pub fn kind(&self) -> &Kind {
        &self.0.job.kind
    }

    /// The queue it came from.
    pub fn queue(&self) -> &QueueName {
        &self.0.job.queue
    }

    /// The tenant.
    pub fn namespace(&self) -> &Namespace {
        &self.0.job.namespace
    }

    /// Whose job it is.
    pub fn owner(&self) -> Option<&Owner> {
        self.0.job.owner.as_ref()
    }

    /// The number of this attempt, from 1.
    pub fn attempt(&self) -> u32 {
        self.0.job.attempt
    }

    /// How many executions the job gets.
    pub fn max_attempts(&self) -> MaxAttempts {
        self.0.job.max_attempts
    }

    /// Whether no other attempt follows when this one fails.
    pub fn is_last_attempt(&self) -> bool {
        !self.max_attempts().allows_after(self.attempt())
    }

    /// What the child processes of this attempt may use.
    pub fn limits(&self) -> Limits {
        self.0.host.registry.entry(self.kind()).map_or_else(Limits::default, |entry| entry.options.limits)
    }

    /// The worker that runs it.
    pub fn worker_id(&self) -> WorkerId {
        self.0.host.worker
    }

    /// What tells the job from others in the store.
    pub(crate) fn key(&self) -> JobKey {
        self.0.job.key
    }

    pub(crate) fn attempt_steps(&self) -> &tokio::sync::OnceCell<std::sync::Mutex<Steps>> {
        &self.0.steps
    }

    /// The store that it came from.
    pub(crate) fn store(&self) -> &dyn Store {
        &*self.0.host.store
    }

    /// Where the steps of the job are.
    pub(crate) fn step_store(&self) -> &dyn StepStore {
        match &self.0.host.link {
            Some(link) => link,
            None => self.store(),
        }
    }

    /// Refuses what needs the store of the job where there is no way to it: in a process of one attempt.
    ///
    /// # Errors
    ///
    /// There.
    pub(crate) fn must_be_in_worker(&self, what: &str) -> Result<(), Error> {
        match &self.0.host.link {
            None => Ok(()),
            Some(_) => Err(Error::invalid(
                format!("{what} in the job {}", self.job_id()),
                "its task runs in a process of its own (`process`), which has no way to the store of the job",
                "leave `process` out, or do this part in a follow-up job of a task without it",
            )),
        }
    }

    /// Time and randomness, on whatever clock the worker runs.
    pub fn env(&self) -> &Env {
        &self.0.host.env
    }

    /// The value of this type that the [registry](crate::Registry::state) was given.
    ///
    /// # Errors
    ///
    /// When there is none. The job is tried again: the program that runs it then may know better.
    pub fn state<S: 'static>(&self) -> Result<&S, TaskError> {
        let missing = || {
            let name = std::any::type_name::<S>();
            TaskError::retry(format!("no state of type {name}: give it to the registry with `.state(..)`"))
        };
        self.0.host.registry.shared().ok_or_else(missing)
    }

    /// Runs what blocks its thread, or computes for long, on a thread for such work, so that neither other handlers nor the worker's
    /// heartbeat have to wait. `#[task(.., blocking)]` does it.
    ///
    /// There are [as many](crate::worker::Builder::blocking) as the worker says; further ones wait. A thread cannot be dropped: after
    /// the grace the attempt ends without it, and it goes on until it looks at [`check`](Self::check) or is done.
    ///
    /// # Errors
    ///
    /// What the work returns; why the handler was asked to stop while it waited for its turn; a panic of the work, as one.
    ///
    /// # Example
    ///
    /// ```
    /// use taskwright::{Context, TaskError};
    ///
    /// async fn hash(ctx: Context) -> Result<u64, TaskError> {
    ///     let rounds: u64 = ctx.args()?;
    ///     ctx.blocking(move |ctx| {
    ///         let mut hash: u64 = 1;
    ///         for round in 0..rounds {
    ///             ctx.check()?;
    ///             hash = hash.rotate_left(7) ^ round;
    ///         }
    ///         Ok(hash)
    ///     })
    ///     .await
    /// }
    /// ```
    pub async fn blocking<O: Send + 'static>(
        &self,
        work: impl FnOnce(Self) -> Result<O, TaskError> + Send + 'static,
    ) -> Result<O, TaskError> {
        let turn = Arc::clone(&self.0.host.blocking).acquire_owned();
        let turn = tokio::select! {
            turn = turn => turn,
            cause = self.cancelled() => return Err(cause.into()),
        };
        let ctx = self.clone();
        let with_trace = self.traces_panics();
        let run = move || {
            let ran = caught_whole(with_trace, || work(ctx));
            drop(turn);
            ran
        };
        self.env().blocking(run).await.unwrap_or_else(|panic| Err(self.panicked(panic)))
    }

    /// Whether somebody wants to know how a thread of the handler got to a panic.
    pub(crate) fn traces_panics(&self) -> bool {
        self.0.host.with_trace
    }

    /// The error that a panic of the handler is. It is kept for the report, if the attempt ends with it.
    pub(crate) fn panicked(&self, panic: Box<Panic>) -> TaskError {
        let error = TaskError::panicked(panic.to_string());
        self.note_panic(panic);
        error
    }

    /// The same with a panic that has become an outcome already.
    pub(crate) fn note_panic(&self, panic: Box<Panic>) {
        *lock(&self.0.panic) = Some(panic);
    }

    /// What was reported last.
    pub(crate) fn newest_progress(&self) -> Option<Progress> {
        lock(&self.0.progress).clone()
    }

    /// The job as it was claimed.
    pub(crate) fn claimed(&self) -> &ClaimedJob {
        &self.0.job
    }

    /// Adds follow-up jobs that were checked before.
    pub(crate) fn follow(&self, jobs: Vec<NewJob>) {
        lock(&self.0.follow_ups).extend(jobs);
    }

    /// Whether the handler has been asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.token.cause().is_some()
    }

    /// Why the handler has been asked to stop, if it has.
    pub fn stop_cause(&self) -> Option<&StopCause> {
        self.0.token.cause()
    }

    /// Waits until the handler is asked to stop, and says why.
    pub async fn cancelled(&self) -> &StopCause {
        self.0.token.fired().await
    }

    /// Goes on unless the handler has been asked to stop: `ctx.check()?` between two steps of the work.
    ///
    /// # Errors
    ///
    /// When it has been asked to stop; the handler returns the error as it is.
    pub fn check(&self) -> Result<(), TaskError> {
        self.stop_cause().map_or(Ok(()), |cause| Err(cause.into()))
    }

    /// Waits within the attempt, and wakes early when the handler is asked to stop. For hours and days, [`sleep`](Self::sleep) needs no
    /// worker meanwhile.
    ///
    /// # Errors
    ///
    /// When it has been asked to stop; the handler returns the error as it is.
    pub async fn pause(&self, duration: Duration) -> Result<(), TaskError> {
        tokio::select! {
            biased;
            cause = self.cancelled() => Err(cause.into()),
            () = self.env().sleep(duration) => Ok(()),
        }
    }

    /// Says how far the work is. Call it as often as you like: the newest report is stored at most ten times a second.
    pub fn progress(&self, done: u64, total: Option<u64>, message: Option<&str>) {
        let message = message.map(|message| clipped(message, TEXT_BYTES_MAX));
        *lock(&self.0.progress) = Some(Progress { done, total, message });
        if !self.0.progress_waits.swap(true, Ordering::SeqCst) {
            self.0.host.outbox.put_progress(Arc::clone(&self.0));
        }
    }

    /// Adds a line to the job's log. It is stored within 200 ms, and before the end of the attempt.
    ///
    /// An attempt may write 1 MiB; what comes after is dropped, with a marker at the cut.
    pub fn log(&self, text: impl AsRef<str>) {
        let text = text.as_ref();
        let mut line = Vec::with_capacity(text.len() + 1);
        line.extend_from_slice(text.as_bytes());
        line.push(b'\n');
        self.log_bytes(LogStream::Log, line);
    }

    /// Adds bytes to the job's log as they are; they need be neither UTF-8 nor whole lines.
    ///
    /// The limit of [`log`](Self::log) counts over all streams together.
    pub fn log_bytes(&self, stream: LogStream, mut bytes: Vec<u8>) {
        let before = self.0.logged_bytes.fetch_add(bytes.len(), Ordering::Relaxed);
        if before > LOG_BYTES_MAX {
            return;
        }
        // One call at most crosses the limit, so there is one marker.
        let cut = before + bytes.len() > LOG_BYTES_MAX;
        if cut {
            bytes.truncate(LOG_BYTES_MAX - before);
        }
        if !bytes.is_empty() {
            self.put_log(stream, bytes);
        }
        if cut {
            let marker = format!("\n[log cut here: an attempt may write {LOG_BYTES_MAX} bytes]\n");
            self.put_log(LogStream::Log, marker.into_bytes());
        }
    }

    fn put_log(&self, stream: LogStream, bytes: Vec<u8>) {
        let (key, attempt) = (self.0.job.key, self.0.job.attempt);
        let entry = LogEntry { key, attempt, at: self.env().now(), stream, bytes };
        match &mut *lock(&self.0.held_log) {
            Some(held) => held.push(entry),
            None => self.0.host.outbox.put_log(entry),
        }
    }

    /// Has a job stored together with the completion of this one: it exists if and only if this attempt completes, however often
    /// workers die in between. If the attempt ends in any other way, it makes nothing. Gives the id that the job will have.
    ///
    /// It has the priority, the namespace and the owner of this job unless it says otherwise; a task that has a priority of its
    /// own says so. At most 1,000 jobs with 4 MiB of arguments.
    ///
    /// With [`complete_in`](Self::complete_in) it is stored in that transaction, if it was given before that call.
    ///
    /// # Errors
    ///
    /// When something about the job is not accepted, or there would be too many.
    ///
    /// # Example
    ///
    /// ```
    /// use taskwright::{Context, Job, TaskError};
    ///
    /// async fn import(ctx: Context) -> Result<(), TaskError> {
    ///     let rows: Vec<u64> = ctx.args()?;
    ///     for row in rows {
    ///         ctx.then(Job::new("row.index").args(&row)?)?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn then(&self, job: impl Into<Job>) -> Result<JobId, Error> {
        let new = job.into().following(&self.0.job).into_new(self.env())?;
        let id = new.id;
        let mut follow_ups = lock(&self.0.follow_ups);
        let bytes: usize = follow_ups.iter().chain([&new]).map(|job| job.args.as_bytes().len()).sum();
        let refused = |why: String| {
            let fix = "make one follow-up job that makes the others, or enqueue them at once";
            Err(Error::too_large("the follow-up jobs of an attempt", why, fix))
        };
        if follow_ups.len() >= FOLLOW_UPS_MAX {
            return refused(format!("there are {FOLLOW_UPS_MAX} already, which is as many as are allowed"));
        }
        if bytes > FOLLOW_UPS_BYTES_MAX {
            return refused(format!(
                "their arguments have {bytes} bytes, {FOLLOW_UPS_BYTES_MAX} are allowed"
            ));
        }
        follow_ups.push(new);
        Ok(id)
    }

    /// Prepares for [`complete_in`](Self::complete_in): stores what was logged and reported so far, and sets the job apart
    /// from those that were claimed together with it.
    ///
    /// On PostgreSQL `complete_in` does the same at first; but a transaction of the isolation level `REPEATABLE READ` or
    /// `SERIALIZABLE` does not see it any more, so call this before such a one begins. On SQLite, where nobody else can
    /// write while a transaction does, call it before the transaction if something was logged.
    ///
    /// # Errors
    ///
    /// When the store is out of order; in a task with `process`.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub async fn prepare_completion(&self) -> Result<(), crate::Error> {
        self.must_be_in_worker("a completion in a transaction")?;
        Ok(self.0.prepare_completion().await?)
    }

    /// Has everything stored that was logged and reported so far.
    #[cfg(feature = "sqlite")]
    pub(crate) async fn store_what_was_said(&self) {
        self.0.store_what_was_said().await;
    }

    /// Keeps what is logged from now on here, for whoever has the store's write lock.
    #[cfg(feature = "sqlite")]
    pub(crate) fn hold_log(&self) {
        *lock(&self.0.held_log) = Some(Vec::new());
    }

    /// For the one attempt of the worker that has a transaction on the file of the store.
    #[cfg(feature = "sqlite")]
    pub(crate) fn writing(&self) -> &Arc<tokio::sync::Semaphore> {
        &self.0.host.writing
    }

    /// What was logged since.
    #[cfg(feature = "sqlite")]
    pub(crate) fn held_log(&self) -> Vec<LogEntry> {
        lock(&self.0.held_log).clone().unwrap_or_default()
    }

    /// It was stored; what is logged from now on goes its usual way.
    #[cfg(feature = "sqlite")]
    pub(crate) fn forget_held_log(&self) {
        *lock(&self.0.held_log) = None;
    }

    /// Has it stored as what is logged otherwise, if it is still here.
    #[cfg(feature = "sqlite")]
    pub(crate) fn let_go_of_log(&self) {
        let held = lock(&self.0.held_log).take();
        held.into_iter().flatten().for_each(|entry| self.0.host.outbox.put_log(entry));
    }

    /// Completes this attempt in a transaction of the handler's, on the database of the store: the handler's effects
    /// there and the completion of the job take place together, if it commits, or not at all. So those effects take
    /// place exactly once, however often the job runs. With a transaction of PostgreSQL this is a future.
    ///
    /// Call it last, commit, and return `Ok`, whose value is then of no interest: `result` is what is kept. Until the
    /// transaction ends, whoever would cancel the job or give it to somebody else waits.
    ///
    /// If the transaction was rolled back, the attempt ends as the handler returns: so pass errors on. Once it is
    /// committed the job is completed, whatever the handler returns; if that is an error, it is logged. What the handler
    /// logs after this call is lost.
    ///
    /// # Errors
    ///
    /// When the attempt has ended, since the worker was declared lost, or somebody has asked for the job to be cancelled
    /// ([`Error::is_refused`](crate::Error::is_refused)); when the result cannot be kept; in a task with `process`; and as for
    /// [`enqueue_in`](crate::Client::enqueue_in). The transaction must be rolled back then.
    ///
    /// # Example
    ///
    /// ```
    /// # #[cfg(feature = "sqlx-0_9")]
    /// # mod example {
    /// use taskwright::{Context, TaskError};
    ///
    /// async fn pay(ctx: Context) -> Result<(), TaskError> {
    ///     let account: i64 = ctx.args()?;
    ///     let mut tx = ctx.state::<sqlx::PgPool>()?.begin().await?;
    ///     sqlx::query("UPDATE account SET balance = balance + 100 WHERE id = $1")
    ///         .bind(account)
    ///         .execute(&mut *tx)
    ///         .await?;
    ///     ctx.complete_in(&mut tx, &"paid").await?;
    ///     tx.commit().await?;
    ///     Ok(())
    /// }
    /// # }
    /// ```
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub fn complete_in<X: crate::transaction::CallersTransaction>(
        &self,
        tx: X,
        result: &impl serde::Serialize,
    ) -> X::Answer<()> {
        tx.complete(crate::transaction::completion(&self.0, result))
    }

    /// Whether this attempt still owns the job: the worker's lease holds, as far as this process can know.
    ///
    /// The worker renews the lease by itself. Ask before a step that must not happen twice. A task with `process` asks its worker, which
    /// takes a fraction of a millisecond, and is told no by one that says nothing for 1 s.
    pub fn heartbeat(&self) -> bool {
        if let Some(link) = &self.0.host.link {
            return link.heartbeat();
        }
        let lost = matches!(self.stop_cause(), Some(StopCause::Lost));
        !lost && self.env().monotonic_us() < self.0.host.lease_until_us.load(Ordering::Relaxed)
    }

    /// Notes what the attempt used of the machine; the first call counts.
    pub fn set_usage(&self, usage: Usage) {
        // A second measurement of the same attempt is a mistake of the handler, and not worth failing its job.
        let _ = self.0.usage.set(usage);
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("job", &self.job_id())
            .field("kind", self.kind())
            .field("attempt", &self.attempt())
            .finish_non_exhaustive()
    }
}
