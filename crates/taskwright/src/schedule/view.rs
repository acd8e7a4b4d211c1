//! A schedule, as people look at it.

use taskwright_core::schedule::upcoming;
use taskwright_core::trigger::CustomTriggers;
use taskwright_core::{Schedule, ScheduleState, Timestamp, TriggerId};
use taskwright_store::{ScheduleKey, StoredSchedule};

use crate::error::Error;

/// A schedule with what it has done.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleView {
    /// Its key in the store.
    pub key: ScheduleKey,
    /// What was registered.
    pub schedule: Schedule,
    /// What it has done.
    pub state: ScheduleState,
    /// When it is looked at next; `None` when nothing is due by time.
    pub next: Option<Timestamp>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When its definition was changed last.
    pub changed_at: Timestamp,
}

impl ScheduleView {
    /// Reads what is stored.
    ///
    /// # Errors
    ///
    /// When a newer program has stored what this one does not know.
    pub(crate) fn read(stored: &StoredSchedule) -> Result<Self, Error> {
        let unknown = |error: serde_json::Error| {
            taskwright_core::Error::unknown(
                format!("the schedule {}", stored.name),
                format!("this program does not understand what is stored of it: {error}"),
                "run the version of the program that registered it, or remove it and register it again",
            )
        };
        Ok(Self {
            key: stored.key,
            schedule: serde_json::from_str(&stored.definition).map_err(unknown)?,
            state: serde_json::from_str(&stored.state).map_err(unknown)?,
            next: stored.next,
            created_at: stored.created_at,
            changed_at: stored.changed_at,
        })
    }

    /// The next `n` due times after `now`, with the trigger of each, as if nothing were paused.
    pub fn upcoming(&self, now: Timestamp, n: usize, custom: &CustomTriggers) -> Vec<(Timestamp, TriggerId)> {
        upcoming(&self.schedule, &self.state, now, n, custom)
    }
}
