//! Recycling: a worker that has run for long enough ends in good order, so that another process takes its place.
//!
//! It takes on nothing more, gives back what it has not started, and waits for what runs, however long that takes: no
//! handler is told to stop, and no attempt is spent. Memory that handlers leak, or that an allocator keeps, goes with the
//! process.

use std::fmt;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use taskwright_core::size::Bytes;
use tokio::sync::watch;

use super::incarnation::Incarnation;
use super::phase::Phase;
use crate::process::own_resident_bytes;

/// How often the worker looks at its own memory: once a second.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why a worker was recycled. `Display` says it in words: `RSS 512 MiB above 400 MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Recycled {
    /// It has run as many jobs as it was to run.
    Jobs {
        /// How many that is.
        limit: u64,
    },
    /// Its process held more memory than it was to hold.
    Memory {
        /// The resident set that was seen.
        rss_bytes: u64,
        /// What was allowed.
        limit_bytes: u64,
    },
    /// Somebody asked for another in its place.
    Asked,
}

impl fmt::Display for Recycled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Jobs { limit: 1 } => f.write_str("1 job run"),
            Self::Jobs { limit } => write!(f, "{limit} jobs run"),
            Self::Memory { rss_bytes, limit_bytes } => {
                write!(f, "RSS {} above {}", Bytes(*rss_bytes), Bytes(*limit_bytes))
            }
            Self::Asked => f.write_str("another takes its place"),
        }
    }
}

/// How much a worker has behind it, over all its incarnations.
#[derive(Debug, Default)]
pub(crate) struct Wear {
    pub(super) jobs_max: Option<u64>,
    pub(super) rss_max_bytes: Option<u64>,
    /// Is `true` when somebody has asked.
    pub(super) asked: Option<watch::Receiver<bool>>,
    started: AtomicU64,
    /// Some job has ended: whatever the limits are, each process does some work.
    has_worked: AtomicBool,
    reason: OnceLock<Recycled>,
}

impl Wear {
    pub(crate) fn new(
        jobs_max: Option<u64>,
        rss_max_bytes: Option<u64>,
        asked: Option<watch::Receiver<bool>>,
    ) -> Self {
        Self { jobs_max, rss_max_bytes, asked, ..Self::default() }
    }

    /// Why the worker is to be recycled, if it is.
    pub(crate) fn reason(&self) -> Option<Recycled> {
        self.reason.get().copied()
    }

    /// Notes the end of a job.
    pub(crate) fn worked(&self) {
        if self.rss_max_bytes.is_some() {
            self.has_worked.store(true, Ordering::Relaxed);
        }
    }
}

impl Incarnation {
    /// Counts a job that is about to start; `false` when it must not, because the last one has started.
    pub(crate) fn may_start_one_more(&self) -> bool {
        let Some(limit) = self.wear.jobs_max else { return true };
        let started = self.wear.started.fetch_add(1, Ordering::SeqCst) + 1;
        if started >= limit {
            self.recycle(Recycled::Jobs { limit });
        }
        // Whoever told the worker to be quiet wants it to stay, and to finish what it holds.
        started <= limit || !self.phase.is_at_least(Phase::Recycling)
    }

    fn recycle(&self, reason: Recycled) {
        self.phase.leave_claiming(Phase::Recycling, || {
            // The phase is left once.
            let _ = self.wear.reason.set(reason);
        });
    }
}

/// Waits until somebody asks for another worker in the place of this one.
pub(super) async fn wait_until_asked(worker: Arc<Incarnation>, mut asked: watch::Receiver<bool>) {
    if asked.wait_for(|asked| *asked).await.is_err() {
        // Nobody can ask any more.
        return;
    }
    // The first reason stands.
    let _ = worker.wear.reason.set(Recycled::Asked);
    // Also one that is quiet: whoever takes its place is not.
    worker.phase.raise(Phase::Recycling);
}

/// Looks at the memory of the process until it is too much.
pub(super) async fn watch_memory(worker: Arc<Incarnation>, limit_bytes: u64) {
    loop {
        worker.host.env.sleep(LOOK_EVERY).await;
        if !worker.wear.has_worked.load(Ordering::Relaxed) {
            continue;
        }
        let Some(rss_bytes) = own_resident_bytes() else {
            tracing::warn!(
                "this system does not tell how much memory the worker has: it is not recycled for that"
            );
            return;
        };
        if rss_bytes > limit_bytes {
            worker.recycle(Recycled::Memory { rss_bytes, limit_bytes });
        }
    }
}
