//! What people do to jobs.

use taskwright_core::{Cause, JobId, Priority, State, Timestamp};

use crate::query::JobView;

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
    /// Make a job available at once that its handler snoozed. Anything else is left alone: what failed and waits for its
    /// back-off, what somebody else scheduled, what runs.
    Awaken,
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
    /// Fail a running job, by asking its handler to stop.
    Fail,
    /// Drop a waiting job: it was not run in time.
    Drop,
}

/// Where somebody has seen a job who wants to change it only there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The job.
    pub id: JobId,
    /// Its state.
    pub state: State,
    /// Attempts used; while it runs, the number of the running one.
    pub attempt: u32,
    /// When it became, or becomes, available.
    pub run_at: Timestamp,
}

impl Seen {
    /// Why a job is skipped that has moved on since.
    pub const MOVED: &'static str = "it is no longer where it was seen";

    /// Whether the job is there still.
    pub(crate) fn is_there(&self, state: State, attempt: u32, run_at: i64) -> bool {
        (self.state, self.attempt, self.run_at.as_micros()) == (state, attempt, run_at)
    }

    /// What becomes of a job that is not.
    pub(crate) fn skipped() -> Changed {
        Changed::Skipped(Self::MOVED.to_owned())
    }
}

impl From<&JobView> for Seen {
    fn from(job: &JobView) -> Self {
        Self { id: job.id, state: job.state, attempt: job.attempt, run_at: job.run_at }
    }
}

impl Change {
    /// The word for it in a timeline.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Redo { .. } => "retry",
            Self::RunNow => "run-now",
            Self::Awaken => "awaken",
            Self::Release => "release",
            Self::Delay { .. } => "delay",
            Self::Reprioritise { .. } => "reprioritise",
            Self::Free => "free",
            Self::Delete => "delete",
            Self::Fail => "fail",
            Self::Drop => "drop",
        }
    }
}

/// Whether a job sleeps because its handler said so, or why not; `last` is why it moved last.
pub(crate) fn check_asleep(state: State, last: Option<Cause>) -> Result<(), String> {
    match (state, last) {
        (State::Scheduled, Some(Cause::Snooze)) => Ok(()),
        (State::Scheduled, _) => {
            Err("it is scheduled, and not by its handler; run-now starts it at once".to_owned())
        }
        _ => Err(format!("it is {state}")),
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
