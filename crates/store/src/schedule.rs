//! Schedules as a store keeps them: a definition and a state that it does not read, and when to look at them.
//!
//! What fires is decided by [`taskwright_core::schedule::plan`]. A store gives out what is due
//! ([`due_schedules`](ScheduleStore::due_schedules)) and takes back what was decided
//! ([`write_schedules`](ScheduleStore::write_schedules)): jobs, history and new state in one transaction, and only if
//! nobody has written the schedule in between. So any number of nodes may decide about the same schedule at the same
//! time, and one of them is heard.

use taskwright_core::limit::SCHEDULE_WRITES_MAX;
use taskwright_core::outcome::Interest;
use taskwright_core::schedule::{FiringKind, SkipReason};
use taskwright_core::{
    Error as Refused, EventId, JobId, Namespace, NewJob, ScheduleName, State, Timestamp, TriggerId,
};

use crate::Reply;
use crate::error::Error;

/// What a store does for schedules. Part of [`Store`](crate::Store).
///
/// # Errors
///
/// As for every call of a [`Store`](crate::Store).
pub trait ScheduleStore: Send + Sync + 'static {
    /// Writes schedules with what they fire, each for itself, and answers in their order. At most
    /// [`SCHEDULE_WRITES_MAX`](taskwright_core::limit::SCHEDULE_WRITES_MAX).
    ///
    /// A write that is [stale](Written::Stale) changes nothing. Of an occurrence (schedule, trigger, due time) that has
    /// made a job before, no second one is made, whatever the state says; the same goes for an event.
    fn write_schedules(&self, now: Timestamp, writes: Vec<ScheduleWrite>) -> Reply<'_, Vec<Written>>;

    /// The schedules whose [`next`](StoredSchedule::next) has come, the longest due first, at most `limit`.
    fn due_schedules(&self, now: Timestamp, limit: usize) -> Reply<'_, DueSchedules>;

    /// One schedule.
    fn schedule(&self, namespace: Namespace, name: ScheduleName) -> Reply<'_, Option<StoredSchedule>>;

    /// Schedules of these names, one answer for each.
    fn schedules_named(
        &self,
        names: Vec<(Namespace, ScheduleName)>,
    ) -> Reply<'_, Vec<Option<StoredSchedule>>> {
        Box::pin(async move {
            let mut found = Vec::with_capacity(names.len());
            for (namespace, name) in names {
                found.push(self.schedule(namespace, name).await?);
            }
            Ok(found)
        })
    }

    /// Schedules of one namespace or of all, in the order of their registration, after `after`, at most `limit`.
    fn schedules(
        &self,
        namespace: Option<Namespace>,
        after: Option<ScheduleKey>,
        limit: usize,
    ) -> Reply<'_, Vec<StoredSchedule>>;

    /// Removes a schedule; `false` when there was none. Its jobs stay.
    fn remove_schedule(&self, schedule: ScheduleKey) -> Reply<'_, bool>;

    /// What a schedule fired and skipped, newest first, before the one of number `before`, at most `limit`.
    fn firings(&self, schedule: ScheduleKey, before: Option<u64>, limit: usize)
    -> Reply<'_, Vec<FiringView>>;

    /// The states of jobs, in the order of the ids; `None` for one that does not exist (any more).
    fn states(&self, jobs: Vec<JobId>) -> Reply<'_, Vec<Option<State>>>;

    /// Which occurrences made jobs, in the order of the ids; `None` for one that no schedule made, or of whose schedule nothing is
    /// kept any more.
    fn origins(&self, jobs: Vec<JobId>) -> Reply<'_, Vec<Option<JobOrigin>>>;
}

/// What made a job.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JobOrigin {
    /// The schedule.
    pub schedule: ScheduleName,
    /// When it was due.
    pub due: Timestamp,
    /// The event that fired it.
    pub event: Option<EventId>,
}

/// Names a schedule to the store. Never given again, not even after a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ScheduleKey(pub i64);

/// A schedule as it is stored.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StoredSchedule {
    /// Its key.
    pub key: ScheduleKey,
    /// The tenant.
    pub namespace: Namespace,
    /// The name.
    pub name: ScheduleName,
    /// What was registered, as JSON: a [`Schedule`](taskwright_core::Schedule).
    pub definition: String,
    /// What it has done, as JSON: a [`ScheduleState`](taskwright_core::ScheduleState).
    pub state: String,
    /// When somebody has to look at it; `None` when nothing is due by time.
    pub next: Option<Timestamp>,
    /// Counts the writes, from 1.
    pub version: u64,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When its definition was changed last.
    pub changed_at: Timestamp,
}

/// What is due.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DueSchedules {
    /// The schedules.
    pub schedules: Vec<StoredSchedule>,
    /// When the next one after these is due; a moment that has passed when the limit cut the list short.
    pub next: Option<Timestamp>,
}

/// One schedule, as it is to be from now on, and what it fires.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleWrite {
    /// Which.
    pub target: Target,
    /// The definition, if it changes.
    pub definition: Option<Definition>,
    /// The state.
    pub state: String,
    /// When somebody has to look again.
    pub next: Option<Timestamp>,
    /// Jobs that are asked to stop, so that those that it fires take their place. Nobody is, if the write is stale.
    pub cancel: Previous,
    /// What it fires and skips, for the history, with the jobs.
    pub firings: Vec<NewFiring>,
}

/// Jobs that make way.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Previous {
    /// Which. Those that are over, or gone, are left as they are.
    pub jobs: Vec<JobId>,
    /// What their timelines say.
    pub reason: String,
}

/// Which schedule is written.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// One that is not stored yet; stale when it is.
    New {
        /// The tenant.
        namespace: Namespace,
        /// The name.
        name: ScheduleName,
    },
    /// One that is stored; stale when anybody has written or removed it since it was read.
    Stored {
        /// Its key.
        key: ScheduleKey,
        /// The version that was read.
        version: u64,
    },
}

/// A definition that is to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// As JSON: a [`Schedule`](taskwright_core::Schedule).
    pub json: String,
    /// Whether events fire it: whether it is among those that whoever delivers events looks at.
    pub listens: bool,
    /// The ends of jobs that are to be told as events, for this schedule. See
    /// [`Schedule::outcome_interests`](taskwright_core::Schedule::outcome_interests).
    pub outcomes: Vec<Interest>,
}

/// Something that a schedule fires or skips now.
#[derive(Clone, Debug, PartialEq)]
pub struct NewFiring {
    /// The trigger; `None` when it was fired by hand.
    pub trigger: Option<TriggerId>,
    /// When it was due; of skipped ones, the first of them.
    pub due: Timestamp,
    /// The due time of the job before.
    pub previous_due: Option<Timestamp>,
    /// The event that fired it.
    pub event: Option<EventId>,
    /// What becomes of it.
    pub what: Fires,
}

/// What becomes of an occurrence.
#[derive(Clone, Debug, PartialEq)]
pub enum Fires {
    /// It makes a job. When the job has a unique key that another holds, it stands for that one.
    Job(FiringKind, Box<NewJob>),
    /// It does not, nor do those after it.
    Skip(SkippedRun),
}

/// What tells an occurrence from the others of its schedule: each makes one job.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Occurrence {
    /// A due time, whichever of the triggers says so.
    Due(Timestamp),
    /// An event, once for each trigger that it fires.
    Event(EventId, TriggerId),
}

impl NewFiring {
    /// The occurrence that it makes the job of, and whose it is; `None` for what may be as often as it likes.
    pub(crate) fn occurrence(&self) -> Option<(Occurrence, &TriggerId)> {
        match &self.what {
            Fires::Job(kind, _) => occurrence(*kind, self.trigger.as_ref(), self.due, self.event),
            Fires::Skip(_) => None,
        }
    }
}

/// As [`NewFiring::occurrence`]. What is fired by hand is no occurrence, whatever time it is pretended to be.
pub(crate) fn occurrence(
    kind: FiringKind,
    trigger: Option<&TriggerId>,
    due: Timestamp,
    event: Option<EventId>,
) -> Option<(Occurrence, &TriggerId)> {
    let trigger = trigger.filter(|_| kind != FiringKind::ByHand)?;
    let what = event.map_or(Occurrence::Due(due), |event| Occurrence::Event(event, trigger.clone()));
    Some((what, trigger))
}

/// Occurrences, one after the other, that made no job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SkippedRun {
    /// When the last of them was due.
    pub to: Timestamp,
    /// How many.
    pub count: u64,
    /// Whether that is exact; otherwise there were at least so many.
    pub exact: bool,
    /// Why.
    pub reason: SkipReason,
}

impl SkippedRun {
    /// What becomes of a due time that another trigger has made the job of.
    pub(crate) const fn same_due(due: Timestamp) -> Self {
        Self { to: due, count: 1, exact: true, reason: SkipReason::SameDue }
    }
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The schedule has this key, and was written.
    Done(ScheduleKey),
    /// Nothing was written: the schedule is not what it was when it was read.
    Stale,
}

/// Something that a schedule fired or skipped, as it is stored.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FiringView {
    /// Its number: newer ones have higher ones.
    pub number: u64,
    /// When it was decided.
    pub at: Timestamp,
    /// The trigger; `None` when it was fired by hand.
    pub trigger: Option<TriggerId>,
    /// When it was due; of skipped ones, the first of them.
    pub due: Timestamp,
    /// The due time of the job before.
    pub previous_due: Option<Timestamp>,
    /// The event that fired it.
    pub event: Option<EventId>,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: FiringOutcome,
}

/// What became of an occurrence.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum FiringOutcome {
    /// It made a job.
    Fired {
        /// Why.
        kind: FiringKind,
        /// The job, which may have been removed since.
        job: JobId,
        /// Whether the job was there already, and stands for this one, too: they have the same unique key.
        coalesced: bool,
    },
    /// It made none.
    Skipped(SkippedRun),
}

/// Refuses more than one call may write, and a new schedule that does not say what it is: the same on every store.
pub(crate) fn check_writes(writes: &[ScheduleWrite]) -> Result<(), Error> {
    if writes.len() > SCHEDULE_WRITES_MAX {
        let refused = Refused::too_large(
            format!("{} schedules to write", writes.len()),
            format!("one call writes at most {SCHEDULE_WRITES_MAX}"),
            "write them in several calls",
        );
        return Err(refused.into());
    }
    for write in writes {
        if let (Target::New { name, .. }, None) = (&write.target, &write.definition) {
            let refused = Refused::invalid(
                format!("the schedule {name}"),
                "it is new, and comes without a definition",
                "register it with what it makes and when",
            );
            return Err(refused.into());
        }
    }
    Ok(())
}
