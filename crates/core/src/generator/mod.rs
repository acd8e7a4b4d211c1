//! When a generator is asked for work and for how much, and what becomes of the items that it made.
//!
//! A generator is a source of work that is asked when there is room, instead of filling a queue in advance. Its items are
//! ordinary jobs, made just in time: never more than its [window](Definition::window) are *outstanding*, which is to say made
//! and not settled. How it goes is kept in a [`Record`], which whoever asks the generator reads, decides by, and writes back
//! together with what the generator made.

mod definition;
mod record;

pub use self::definition::Definition;
pub use self::record::{Counts, Next, Paused, Polled, Record};

use crate::name::GeneratorName;
use crate::state::State;

/// What the names of collectors begin with: generators of Taskwright's own, which remove what is over for long.
pub const COLLECTOR_PREFIX: &str = "gc:";

/// The name of the generator that adds executions up per minute and hour.
pub const ROLL_UP: &str = "rollup";

/// The name of the generator that makes entries of the audit links of its chain.
pub const SEAL: &str = "audit:seal";

/// Whether a generator's name is kept for those that Taskwright brings itself.
pub fn is_reserved(name: &GeneratorName) -> bool {
    matches!(name.as_str(), ROLL_UP | SEAL) || name.as_str().starts_with(COLLECTOR_PREFIX)
}

/// How an item ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemEnd {
    /// Its job completed.
    Completed,
    /// Its job failed for good. It stays as a *dead letter*: an ordinary failed job, to be retried or deleted.
    Failed,
    /// Its job was cancelled.
    Cancelled,
    /// Its job was dropped.
    Dropped,
    /// Its job had been removed before anybody saw how it ended.
    Removed,
}

impl ItemEnd {
    /// What the state of an item's job says; `None` for the job is no more, and in the answer that it is not over.
    pub fn of(state: Option<State>) -> Option<Self> {
        match state {
            None => Some(Self::Removed),
            Some(State::Completed) => Some(Self::Completed),
            Some(State::Failed) => Some(Self::Failed),
            Some(State::Cancelled) => Some(Self::Cancelled),
            Some(State::Dropped) => Some(Self::Dropped),
            Some(_) => None,
        }
    }

    /// Whether the job stays when the item is settled.
    pub fn keeps_job(self) -> bool {
        self == Self::Failed
    }

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Dropped => "dropped",
            Self::Removed => "removed",
        }
    }
}
