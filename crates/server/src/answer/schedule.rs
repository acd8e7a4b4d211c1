//! Schedules: one in a listing, everything about one, what it fired, when it is due, what became of a change.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use taskwright::schedule::{Put, ScheduleStatus, ScheduleView};
use taskwright_core::schedule::{Firing, NamedTrigger};
use taskwright_core::trigger::{CustomTriggers, Trigger};
use taskwright_core::{JobId, Kind, Namespace, Schedule, ScheduleName, Timestamp, TriggerId};
use taskwright_store::{FiringOutcome, FiringView};

/// A schedule.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ScheduleListed")]
pub(crate) struct Listed {
    /// Its name.
    name: ScheduleName,
    /// The tenant.
    namespace: Namespace,
    /// The task of its jobs.
    kind: Kind,
    /// on; paused; disabled, by its definition; done: it will never fire again by itself; new: not registered yet.
    state: &'static str,
    /// When it fires, in words.
    pub(crate) when: String,
    /// When it is due next.
    pub(crate) next: Option<Timestamp>,
    /// The newest due time that made a job.
    last: Option<Timestamp>,
    /// How many jobs it made by itself.
    fired: u64,
}

/// Everything about a schedule: the fields of its definition, and the rest.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ScheduleShown")]
pub(crate) struct Whole {
    #[serde(flatten)]
    schedule: Schedule,
    /// When it fires, in words.
    when: Vec<Described>,
    /// on; paused; disabled, by its definition; done: it will never fire again by itself; new: not registered yet.
    state: &'static str,
    /// Whether somebody paused it.
    paused: bool,
    /// How many jobs it made by itself.
    fired: u64,
    /// The newest due time that made a job.
    last_due: Option<Timestamp>,
    /// When it fired last, of the newest firings.
    last_fired_at: Option<Timestamp>,
    /// When it is due next.
    next: Option<Timestamp>,
    /// The occurrence that waits until the jobs before it are over.
    queued: Option<Firing>,
    /// Its jobs that are not over.
    open: Vec<JobId>,
    /// When it was registered.
    created_at: Option<Timestamp>,
    /// When its definition was changed last.
    changed_at: Option<Timestamp>,
    /// The newest of what it fired and skipped.
    firings: Vec<FiringView>,
}

/// A trigger in words.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TriggerDescribed")]
pub(crate) struct Described {
    /// Its name within the schedule.
    trigger: TriggerId,
    /// When it fires.
    when: String,
}

/// Of its firings, the newest that are shown with a schedule.
pub(crate) const FIRINGS: usize = 10;

/// The state of a schedule in a word.
pub(crate) const fn state(status: ScheduleStatus) -> &'static str {
    match status {
        ScheduleStatus::On => "on",
        ScheduleStatus::Paused => "paused",
        ScheduleStatus::Disabled => "disabled",
        ScheduleStatus::Done => "done",
    }
}

/// When it fires next; `None` when it does not, or when an event comes.
pub(crate) fn next_due(
    view: &ScheduleView,
    status: ScheduleStatus,
    custom: &CustomTriggers,
    now: Timestamp,
) -> Option<Timestamp> {
    if status != ScheduleStatus::On {
        return None;
    }
    let next = view.upcoming(now, 1, custom);
    // What another program's own rule says, the store knows.
    next.first().map(|(due, _)| *due).or(view.next)
}

/// When it last made a job, of these.
pub(crate) fn last_fired(firings: &[FiringView]) -> Option<Timestamp> {
    let fired = |firing: &&FiringView| matches!(firing.outcome, FiringOutcome::Fired { .. });
    firings.iter().find(fired).map(|firing| firing.at)
}

impl Listed {
    /// What a listing tells of a schedule.
    pub(crate) fn of(view: &ScheduleView, custom: &CustomTriggers, now: Timestamp) -> Self {
        let status = view.status(now, custom);
        let next = next_due(view, status, custom, now);
        Self::with(&view.schedule, state(status), next, view.state.last_due, view.state.fired)
    }

    /// The same of one that is only in a config file.
    pub(crate) fn not_registered(schedule: &Schedule) -> Self {
        Self::with(schedule, "new", None, None, 0)
    }

    fn with(
        schedule: &Schedule,
        state: &'static str,
        next: Option<Timestamp>,
        last: Option<Timestamp>,
        fired: u64,
    ) -> Self {
        Self {
            name: schedule.name.clone(),
            namespace: schedule.namespace.clone(),
            kind: schedule.kind.clone(),
            state,
            when: schedule.triggers.describe(),
            next,
            last,
            fired,
        }
    }
}

impl Whole {
    /// What is told of a schedule, with its newest firings.
    pub(crate) fn of(
        view: ScheduleView,
        firings: Vec<FiringView>,
        custom: &CustomTriggers,
        now: Timestamp,
    ) -> Self {
        let status = view.status(now, custom);
        let next = next_due(&view, status, custom, now);
        let state = view.state;
        Self {
            when: described(&view.schedule),
            schedule: view.schedule,
            state: self::state(status),
            paused: state.paused,
            fired: state.fired,
            last_due: state.last_due,
            last_fired_at: last_fired(&firings),
            next,
            queued: state.queued,
            open: state.open,
            created_at: Some(view.created_at),
            changed_at: Some(view.changed_at),
            firings,
        }
    }

    /// The same of one that is only in a config file.
    pub(crate) fn not_registered(schedule: &Schedule) -> Self {
        Self {
            when: described(schedule),
            schedule: schedule.clone(),
            state: "new",
            paused: false,
            fired: 0,
            last_due: None,
            last_fired_at: None,
            next: None,
            queued: None,
            open: Vec::new(),
            created_at: None,
            changed_at: None,
            firings: Vec::new(),
        }
    }
}

fn described(schedule: &Schedule) -> Vec<Described> {
    let of = |named: &NamedTrigger| Described { trigger: named.id.clone(), when: named.trigger.describe() };
    schedule.triggers.iter().map(of).collect()
}

/// A due time to come.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ScheduleDue")]
pub(crate) struct Due {
    /// When.
    due: Timestamp,
    /// By which trigger.
    trigger: TriggerId,
    /// That trigger in words.
    when: Option<String>,
}

impl Due {
    /// What is told of due times of a schedule.
    pub(crate) fn all(schedule: &Schedule, due: &[(Timestamp, TriggerId)]) -> Vec<Self> {
        let words: std::collections::HashMap<&TriggerId, String> =
            schedule.triggers.iter().map(|named| (&named.id, named.trigger.describe())).collect();
        let of = |(due, trigger): &(Timestamp, TriggerId)| Self {
            due: *due,
            when: words.get(trigger).cloned(),
            trigger: trigger.clone(),
        };
        due.iter().map(of).collect()
    }
}

/// Something that a schedule fired or skipped, with its trigger in words.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ScheduleFiring")]
pub(crate) struct Fired {
    #[serde(flatten)]
    firing: FiringView,
    /// Nothing for one that was fired by hand, and for a trigger that has been changed since.
    when: Option<String>,
}

/// The trigger of a firing in words. What a trigger was before the schedule was changed is not known any more.
pub(crate) fn in_words(view: &ScheduleView, firing: &FiringView) -> Option<String> {
    let id = firing.trigger.as_ref().filter(|_| firing.at >= view.changed_at);
    id.and_then(|id| view.schedule.triggers.get(id)).map(Trigger::describe)
}

impl Fired {
    /// What is told of a firing.
    pub(crate) fn of(view: &ScheduleView, firing: FiringView) -> Self {
        Self { when: in_words(view, &firing), firing }
    }
}

/// A schedule that was paused or resumed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ScheduleSwitched")]
pub(crate) struct Switched {
    /// Whether that changed something.
    pub(crate) changed: bool,
    /// The schedule.
    pub(crate) name: ScheduleName,
    /// Whether it is paused now.
    pub(crate) paused: bool,
}

/// A job that was made by hand.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ScheduleFired")]
pub(crate) struct Made {
    /// The job.
    pub(crate) id: JobId,
    /// The schedule.
    pub(crate) schedule: ScheduleName,
}

/// A schedule that was removed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ScheduleRemoved")]
pub(crate) struct Removed {
    /// The schedule.
    pub(crate) name: ScheduleName,
    /// That it was.
    pub(crate) removed: bool,
}

/// A schedule that was registered or changed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ScheduleRegistered")]
pub(crate) struct Registered {
    /// registered, changed or unchanged.
    pub(crate) change: String,
    /// The schedule.
    pub(crate) name: ScheduleName,
    /// The tenant.
    pub(crate) namespace: Namespace,
    /// When it fires, in words.
    pub(crate) when: String,
}

impl Registered {
    /// What is told of a schedule that was put.
    pub(crate) fn of(schedule: &Schedule, put: Put) -> Self {
        let change = match put {
            Put::Registered => "registered",
            Put::Changed => "changed",
            Put::Unchanged => "unchanged",
        };
        Self {
            change: change.to_owned(),
            name: schedule.name.clone(),
            namespace: schedule.namespace.clone(),
            when: schedule.triggers.describe(),
        }
    }
}
