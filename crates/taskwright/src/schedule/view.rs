//! A schedule, as people look at it.

use taskwright_core::schedule::upcoming;
use taskwright_core::trigger::CustomTriggers;
use taskwright_core::{Schedule, ScheduleState, Timestamp, Trigger, TriggerId};
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

/// Whether a schedule fires, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleStatus {
    /// It fires when it is due.
    On,
    /// An operator has paused it.
    Paused,
    /// Its definition says that it is not enabled.
    Disabled,
    /// It will never fire again by itself: its triggers are spent, its window is over, or it has had all its firings.
    Done,
}

impl ScheduleView {
    /// Reads what is stored.
    ///
    /// # Errors
    ///
    /// When a newer program has stored what this one does not know.
    pub fn read(stored: &StoredSchedule) -> Result<Self, Error> {
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

    /// Whether it fires, and why not.
    pub fn status(&self, now: Timestamp, custom: &CustomTriggers) -> ScheduleStatus {
        match (&self.schedule, &self.state) {
            _ if self.is_done(now, custom) => ScheduleStatus::Done,
            (schedule, _) if !schedule.enabled => ScheduleStatus::Disabled,
            (_, state) if state.paused => ScheduleStatus::Paused,
            _ => ScheduleStatus::On,
        }
    }

    /// Whether it will never fire again by itself, paused or not.
    fn is_done(&self, now: Timestamp, custom: &CustomTriggers) -> bool {
        let Self { schedule, state, .. } = self;
        if state.queued.is_some() {
            return false;
        }
        if schedule.max_firings.is_some_and(|max| state.fired >= max.get()) {
            return true;
        }
        let may_fire = |trigger: &Trigger| match trigger {
            Trigger::Event(_) => !schedule.window.is_over(now),
            // What a rule says that another program brings, that one knows.
            trigger => custom.rule(trigger).is_err(),
        };
        let every_time = Timestamp::from_micros(i64::MIN);
        !schedule.triggers.iter().any(|named| may_fire(&named.trigger))
            && upcoming(schedule, state, every_time, 1, custom).is_empty()
    }

    /// The next `n` due times after `now`, with the trigger of each, as if nothing were paused.
    pub fn upcoming(&self, now: Timestamp, n: usize, custom: &CustomTriggers) -> Vec<(Timestamp, TriggerId)> {
        upcoming(&self.schedule, &self.state, now, n, custom)
    }
}
