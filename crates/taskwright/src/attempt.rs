//! One attempt while it runs: what the handler's [`Context`](crate::Context) and the worker loop share.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

use taskwright_core::{NewJob, Timestamp, Usage, WorkerId};
use taskwright_store::{ClaimedJob, LogEntry, Progress, SharedStore};
use tokio::sync::Semaphore;

use crate::cancel::{StopCause, Token};
use crate::child::Link;
use crate::env::Env;
use crate::outbox::Outbox;
use crate::registry::Registry;
use crate::step::Steps;
use crate::worker::panic::Panic;

/// What the attempts of one worker incarnation have in common.
pub(crate) struct Host {
    pub(crate) env: Env,
    pub(crate) worker: WorkerId,
    pub(crate) registry: Arc<Registry>,
    pub(crate) outbox: Outbox,
    /// For handlers that complete their attempts in transactions, and that read what is attached to their jobs.
    pub(crate) store: SharedStore,
    /// Until when (monotonic microseconds) the worker's lease runs.
    pub(crate) lease_until_us: AtomicU64,
    /// Room for handlers that block their threads.
    pub(crate) blocking: Arc<Semaphore>,
    /// For the one attempt that has a transaction on the file of the store.
    #[cfg_attr(not(feature = "sqlite"), allow(dead_code, reason = "only a file has one writer"))]
    pub(crate) writing: Arc<Semaphore>,
    /// To the worker, in a process of one attempt: the store is not that of the job there, and the lease is another's.
    pub(crate) link: Option<Link>,
    /// Whether somebody wants to know how a thread got to a panic.
    pub(crate) with_trace: bool,
}

impl Host {
    pub(crate) fn new(
        env: Env,
        worker: WorkerId,
        registry: Arc<Registry>,
        store: SharedStore,
        blocking: Arc<Semaphore>,
    ) -> Self {
        let (outbox, lease_until_us) = (Outbox::default(), AtomicU64::new(u64::MAX));
        let writing = Arc::new(Semaphore::new(1));
        Self {
            env,
            worker,
            registry,
            outbox,
            store,
            lease_until_us,
            blocking,
            writing,
            link: None,
            with_trace: false,
        }
    }
}

/// One attempt while it runs.
pub(crate) struct Attempt {
    pub(crate) job: ClaimedJob,
    pub(crate) host: Arc<Host>,
    pub(crate) started_at: Timestamp,
    pub(crate) token: Token,
    /// Somebody asked for the job to be cancelled; the token may have fired for another cause before.
    pub(crate) cancel_requested: AtomicBool,
    /// Its handler completed it in a transaction of its own; whether that was committed is not known here.
    pub(crate) in_transaction: AtomicBool,
    /// Bytes of log accepted so far.
    pub(crate) logged_bytes: AtomicUsize,
    /// The newest progress, and whether it waits in the outbox.
    pub(crate) progress: Mutex<Option<Progress>>,
    pub(crate) progress_waits: AtomicBool,
    /// Its log, while a transaction of the handler's keeps the store from writing it.
    pub(crate) held_log: Mutex<Option<Vec<LogEntry>>>,
    pub(crate) usage: OnceLock<Usage>,
    /// What is to be stored with its completion.
    pub(crate) follow_ups: Mutex<Vec<NewJob>>,
    /// The steps that are done, once the first was asked for.
    pub(crate) steps: tokio::sync::OnceCell<Mutex<Steps>>,
    /// The newest panic of its handler that became an outcome before the worker could see it.
    pub(crate) panic: Mutex<Option<Box<Panic>>>,
    abort: Mutex<Abort>,
}

#[derive(Default)]
struct Abort {
    /// When (monotonic microseconds) the handler is dropped if it still runs, and why.
    due: Option<(u64, StopCause)>,
    /// The slot that drives the handler.
    slot: Option<Waker>,
}

impl Attempt {
    pub(crate) fn new(job: ClaimedJob, host: Arc<Host>, started_at: Timestamp) -> Self {
        Self {
            job,
            host,
            started_at,
            token: Token::default(),
            cancel_requested: AtomicBool::new(false),
            in_transaction: AtomicBool::new(false),
            logged_bytes: AtomicUsize::new(0),
            progress: Mutex::default(),
            progress_waits: AtomicBool::new(false),
            held_log: Mutex::default(),
            usage: OnceLock::new(),
            follow_ups: Mutex::default(),
            steps: tokio::sync::OnceCell::new(),
            panic: Mutex::default(),
            abort: Mutex::default(),
        }
    }

    /// Asks the handler to stop; it is dropped at `abort_at_us` if it has not. A later request may bring that moment
    /// forward, never put it off.
    pub(crate) fn stop(&self, cause: StopCause, abort_at_us: u64) {
        if matches!(cause, StopCause::Cancelled { .. }) {
            self.cancel_requested.store(true, Ordering::Relaxed);
        }
        self.token.fire(cause.clone());
        let mut abort = lock(&self.abort);
        if abort.due.as_ref().is_none_or(|(due, _)| abort_at_us < *due) {
            abort.due = Some((abort_at_us, cause));
            if let Some(slot) = abort.slot.take() {
                slot.wake();
            }
        }
    }

    /// Has everything stored that the handler has said so far.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) async fn store_what_was_said(&self) {
        let is_silent = self.logged_bytes.load(Ordering::Relaxed) == 0 && lock(&self.progress).is_none();
        if !is_silent {
            // An error says that the writer is over, with the worker.
            let _ = self.host.outbox.flush().await;
        }
    }

    /// The same, and the job set apart from others.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) async fn prepare_completion(&self) -> Result<(), taskwright_store::Error> {
        self.store_what_was_said().await;
        let fence = (self.job.key, self.job.attempt);
        self.host.store.set_apart(self.host.worker, vec![fence]).await
    }

    /// When and why the handler is to be dropped; `waker` is told when that changes.
    pub(crate) fn abort_due(&self, waker: &Waker) -> Option<(u64, StopCause)> {
        let mut abort = lock(&self.abort);
        if !abort.slot.as_ref().is_some_and(|known| known.will_wake(waker)) {
            abort.slot = Some(waker.clone());
        }
        abort.due.clone()
    }
}

/// Locks, also what a panicking thread left locked: every critical section here leaves its value whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
