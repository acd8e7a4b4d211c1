//! What people do to jobs.

use taskwright_core::{Cause, Priority, State, Timestamp};

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
            Self::Awaken => "awaken",
            Self::Release => "release",
            Self::Delay { .. } => "delay",
            Self::Reprioritise { .. } => "reprioritise",
            Self::Delete => "delete",
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
