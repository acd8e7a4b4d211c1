//! What people do to jobs.

use taskwright_core::{Priority, Timestamp};

/// What is to be done to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// End it: a waiting job at once, a running one by asking its handler.
    Cancel,
    /// Run a job that is over once more, with all its attempts and its history kept. A completed one only when
    /// `repeat` says so, and one that had a unique key only when no other job holds it: it holds the key again.
    Redo {
        /// Whether a completed job may run again.
        repeat: bool,
    },
    /// Make a scheduled or retryable job available at once.
    RunNow,
    /// Let a held job go.
    Release,
    /// Not before this moment.
    Delay {
        /// The moment.
        until: Timestamp,
    },
    /// Give a waiting job another priority.
    Reprioritise {
        /// The new priority.
        priority: Priority,
    },
    /// Take a running job from its attempt, and make it available: for a handler that hangs on a worker that lives. Whoever
    /// runs it is not asked and may go on, so that it may run twice at a time; what it writes is stale. A job that must not run
    /// twice is left alone.
    Free,
    /// Remove a job that is over, with its history.
    Delete,
}

impl Change {
    /// The word for it in a timeline.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Redo { .. } => "retry",
            Self::RunNow => "run-now",
            Self::Release => "release",
            Self::Delay { .. } => "delay",
            Self::Reprioritise { .. } => "reprioritise",
            Self::Free => "free",
            Self::Delete => "delete",
        }
    }
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// Done, by this call.
    Done,
    /// A running job was asked to stop, by this call; it ends when its handler does.
    Requested,
    /// Nothing was changed, and why.
    Skipped(String),
    /// There is no such job.
    Unknown,
}

/// Why a running job that must not run twice is not freed.
pub(crate) const RUNS_ONCE: &str = "it must not run twice; cancel it instead";

/// What is told of a job that somebody freed.
pub(crate) fn freed(actor: &str, reason: Option<&str>) -> String {
    reason.map_or_else(|| format!("freed by {actor}"), |reason| format!("freed by {actor}: {reason}"))
}
