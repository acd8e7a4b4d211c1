//! Why a handler is asked to stop, and the token that tells it.

use std::fmt;
use std::sync::OnceLock;

use tokio::sync::Notify;

/// Why a handler is asked to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopCause {
    /// Somebody wants the job ended.
    Cancelled {
        /// Who asked.
        actor: String,
        /// Why, if they said so.
        reason: Option<String>,
    },
    /// The worker shuts down; the job will run again elsewhere, and the attempt does not count.
    Shutdown,
    /// The attempt takes longer than it may.
    TimedOut,
    /// The worker no longer holds the job, or cannot renew its lease: the job may be running elsewhere already, or in a moment,
    /// and then nothing that this attempt writes will be kept.
    Lost,
}

impl fmt::Display for StopCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled { actor, reason: None } => write!(f, "cancelled by {actor}"),
            Self::Cancelled { actor, reason: Some(reason) } => write!(f, "cancelled by {actor}: {reason}"),
            Self::Shutdown => f.write_str("the worker shuts down"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Lost => f.write_str("the worker lost the job"),
        }
    }
}

/// Fires once, for the first cause. Lives inside the attempt and allocates nothing until somebody waits.
#[derive(Default)]
pub(crate) struct Token {
    cause: OnceLock<StopCause>,
    fired: Notify,
}

impl Token {
    /// Fires; `false` when it had fired before, and then the first cause stays.
    pub(crate) fn fire(&self, cause: StopCause) -> bool {
        let first = self.cause.set(cause).is_ok();
        if first {
            self.fired.notify_waiters();
        }
        first
    }

    pub(crate) fn cause(&self) -> Option<&StopCause> {
        self.cause.get()
    }

    pub(crate) async fn fired(&self) -> &StopCause {
        // The interest is registered before the look, or a token fired in between would be missed.
        let fired = self.fired.notified();
        if let Some(cause) = self.cause.get() {
            return cause;
        }
        fired.await;
        // A token wakes only after its cause is set.
        self.cause.get().expect("a fired token has a cause")
    }
}
