//! What a schedule has done so far, and what pausing, resuming and editing do to that.

use std::collections::BTreeMap;

use super::definition::Schedule;
use super::plan::Firing;
use crate::id::JobId;
use crate::name::TriggerId;
use crate::time::Timestamp;
use crate::trigger::TriggerState;

/// What a schedule has done so far. The store keeps it beside the definition and replaces it whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ScheduleState {
    /// What each trigger has done so far.
    pub triggers: BTreeMap<TriggerId, TriggerState>,
    /// How many firings made a job, all triggers together; those by hand not counted.
    #[serde(default)]
    pub fired: u64,
    /// The newest due time that made a job, of any trigger: the previous due time of the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_due: Option<Timestamp>,
    /// Whether an operator has paused it.
    #[serde(default)]
    pub paused: bool,
    /// Since when it does not fire, paused or not enabled, and until when it did not if that has not been accounted for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub off: Option<Off>,
    /// The occurrence that waits until the jobs before it are over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued: Option<Firing>,
    /// The jobs that it made and that were not over when last looked at, the newest last. Only the newest, where no policy asks
    /// for them: see [`Schedule::minds_open_jobs`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<JobId>,
}

/// A time during which a schedule does not fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Off {
    /// When it began.
    pub since: Timestamp,
    /// When it ended; `None` while it lasts. What was due by then is skipped by the next [`plan`](fn@super::plan).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// How many jobs are remembered that may not be over: 256.
pub const OPEN_JOBS_MAX: usize = 256;

/// How many spent one-time triggers are remembered after an edit took them out.
const RETIRED_MAX: usize = 32;

impl ScheduleState {
    /// The state of a schedule that is registered now.
    pub fn new(schedule: &Schedule, now: Timestamp) -> Self {
        Self::default().edited(None, schedule, now)
    }

    /// Whether it does not fire now, paused or not enabled.
    pub fn is_off(&self) -> bool {
        self.off.is_some_and(|off| off.until.is_none())
    }

    /// The state after an operator paused it now. Pausing twice is pausing once.
    #[must_use]
    pub fn pause(mut self, now: Timestamp) -> Self {
        self.paused = true;
        self.switch(false, now);
        self
    }

    /// The state after an operator resumed it now: it goes on at the next due time after now, and what was due meanwhile
    /// is skipped. A schedule that is not enabled stays off.
    #[must_use]
    pub fn resume(mut self, schedule: &Schedule, now: Timestamp) -> Self {
        self.paused = false;
        self.switch(schedule.enabled, now);
        self
    }

    /// The state after the definition was changed now from `before`, `None` when it is registered for the first time.
    ///
    /// Triggers are matched by their names. One that stays as it was keeps everything. One that was changed keeps its
    /// last due time, so that nothing fires a second time, and counts as changed now: if its next due time has passed it
    /// fires once at once. A one-time trigger whose time has been dealt with stays spent, also when it is taken out and
    /// comes back; to have it fire again, give it another name.
    #[must_use]
    pub fn edited(mut self, before: Option<&Schedule>, after: &Schedule, now: Timestamp) -> Self {
        let mut known = std::mem::take(&mut self.triggers);
        for named in &after.triggers {
            let state = match known.remove(&named.id) {
                None => TriggerState::new(now),
                Some(state) => match before.and_then(|before| before.triggers.get(&named.id)) {
                    Some(trigger) if *trigger == named.trigger => state,
                    // A time of its own is not bound by what a recurring rule did before it.
                    Some(trigger) if named.trigger.is_one_time() && !trigger.is_one_time() => {
                        TriggerState { changed_at: now, last_due: None, ..state }
                    }
                    _ => TriggerState { changed_at: now, ..state },
                },
            };
            self.triggers.insert(named.id.clone(), state);
        }
        let retired = known.into_iter().filter(|(_, state)| state.spent).take(RETIRED_MAX);
        self.triggers.extend(retired);
        self.switch(after.enabled && !self.paused, now);
        self
    }

    /// Notes a job that was made. Of very many the oldest are forgotten, and of those that nobody asks for all but the newest:
    /// the state is written at each firing.
    pub fn opened(&mut self, schedule: &Schedule, job: JobId) {
        let kept = if schedule.minds_open_jobs() { OPEN_JOBS_MAX - 1 } else { 0 };
        self.open.drain(..self.open.len().saturating_sub(kept));
        self.open.push(job);
    }

    fn switch(&mut self, on: bool, now: Timestamp) {
        self.off = match (on, self.off) {
            (true, Some(Off { since, until: None })) => Some(Off { since, until: Some(now) }),
            (true, off) => off,
            (false, Some(Off { since, .. })) => Some(Off { since, until: None }),
            (false, None) => Some(Off { since: now, until: None }),
        };
    }
}
