//! What running attempts have to tell and nobody has written yet: log entries and progress.
//!
//! Handlers put in without waiting; the worker's [writer](crate::worker) takes everything out at least every
//! [`FLUSH_EVERY`], and before it writes the end of an attempt.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use taskwright_store::{LogEntry, ProgressReport};
use tokio::sync::{Notify, oneshot};

use crate::attempt::{Attempt, lock};
use crate::env::Env;

/// How long an entry waits for others to be written with: 100 ms. So progress is stored at most ten times a second.
pub(crate) const FLUSH_EVERY: Duration = Duration::from_millis(100);

/// When this much log waits, it is written at once: 256 KiB.
const LOG_BYTES_EAGER: usize = 256 << 10;

#[derive(Default)]
pub(crate) struct Outbox {
    waiting: Mutex<Waiting>,
    /// Spares the writer the lock, for workers whose handlers tell nothing.
    filled: AtomicBool,
    /// Somebody put something into an empty outbox, or it has become large.
    pub(crate) arrived: Notify,
}

#[derive(Default)]
struct Waiting {
    log: Vec<LogEntry>,
    log_bytes: usize,
    progress: Vec<Arc<Attempt>>,
    /// Those who wait until what is here is written.
    flushes: Vec<oneshot::Sender<()>>,
}

/// What was taken out to be written.
pub(crate) struct Taken {
    pub(crate) log: Vec<LogEntry>,
    pub(crate) progress: Vec<ProgressReport>,
    /// To be told, or dropped, when it is written.
    pub(crate) flushes: Vec<oneshot::Sender<()>>,
}

impl Outbox {
    pub(crate) fn put_log(&self, entry: LogEntry) {
        let mut waiting = lock(&self.waiting);
        waiting.log_bytes += entry.bytes.len();
        waiting.log.push(entry);
        let large = waiting.log_bytes >= LOG_BYTES_EAGER;
        drop(waiting);
        self.announce(large);
    }

    /// Notes that an attempt has new progress; call it once until that was taken.
    pub(crate) fn put_progress(&self, attempt: Arc<Attempt>) {
        lock(&self.waiting).progress.push(attempt);
        self.announce(false);
    }

    /// Has everything written that is here; the receiver hears of that, or that it never will be.
    #[cfg_attr(not(feature = "sqlite"), allow(dead_code, reason = "not by every driver"))]
    pub(crate) fn flush(&self) -> oneshot::Receiver<()> {
        let (done, told) = oneshot::channel();
        lock(&self.waiting).flushes.push(done);
        self.announce(true);
        told
    }

    fn announce(&self, large: bool) {
        if !self.filled.swap(true, Ordering::Relaxed) || large {
            self.arrived.notify_one();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.filled.load(Ordering::Relaxed)
    }

    /// Whether so much waits, or somebody does, that it should be written at once.
    pub(crate) fn is_urgent(&self) -> bool {
        let waiting = lock(&self.waiting);
        waiting.log_bytes >= LOG_BYTES_EAGER || !waiting.flushes.is_empty()
    }

    /// Takes everything.
    pub(crate) fn take(&self, env: &Env) -> Taken {
        let mut waiting = lock(&self.waiting);
        self.filled.store(false, Ordering::Relaxed);
        let Waiting { log, progress, flushes, .. } = std::mem::take(&mut *waiting);
        drop(waiting);
        let now = env.now();
        let report = |attempt: Arc<Attempt>| {
            // Cleared before the look, so that what is put in meanwhile is taken now or announced again.
            attempt.progress_waits.store(false, Ordering::SeqCst);
            let progress = lock(&attempt.progress).clone()?;
            Some(ProgressReport { key: attempt.job.key, attempt: attempt.job.attempt, at: now, progress })
        };
        Taken { log, progress: progress.into_iter().filter_map(report).collect(), flushes }
    }
}
