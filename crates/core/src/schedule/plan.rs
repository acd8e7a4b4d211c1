//! The one decision about a schedule: what fires now, what is skipped and why, and when to look again.
//!
//! ## What counts as missed
//!
//! The occurrences of one trigger that are due and not dealt with are its backlog. A backlog is **on time** when the
//! oldest of it is at most [`LATE_AFTER`] late and there are at most [`ON_TIME_MAX`] of it: somebody was up and a
//! little slow, and each occurrence fires. Otherwise nobody was up, all of it is missed, and the
//! [misfire policy](super::Misfire) says how many of the newest are made up for. Judging the backlog as a whole is what
//! makes `skip` mean nothing at all and `once` one job after three days of a minutely schedule, though the newest
//! occurrence is never a minute old.

use std::time::Duration;

use super::backlog::Cursor;
use super::definition::Schedule;
use super::outlook::{Outlook, Step, What};
use super::policy::{Misfire, OpenJobs, Overlap, OverlapDecision, overlap};
use super::state::ScheduleState;
use crate::error::Error;
use crate::name::TriggerId;
use crate::time::Timestamp;
use crate::trigger::{CustomTriggers, TriggerState};

/// How late an occurrence may be and still count as on time: 1 min.
pub const LATE_AFTER: Duration = Duration::from_secs(60);

/// How many occurrences of one trigger may be late together and still count as on time: 10. So a second's schedule that
/// stood still for half a minute fires by its misfire policy and not 30 times.
pub const ON_TIME_MAX: usize = 10;

/// How much one plan may hold.
#[derive(Clone, Copy)]
pub struct PlanLimits<'a> {
    /// Firings at most; what is left is due at once in the next plan. Default 1,000.
    pub firings_max: usize,
    /// How late an occurrence may be and still count as on time. Default [`LATE_AFTER`].
    pub late_after: Duration,
    /// The triggers that the program brings itself.
    pub custom: &'a CustomTriggers,
}

/// What a schedule does now. All of it and the new state belong into one transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The jobs to make, by due time.
    pub firings: Vec<Firing>,
    /// What does not fire, for the history.
    pub skipped: Vec<Skipped>,
    /// Triggers that cannot say when they are next due. They rest, after what they said before.
    pub faults: Vec<Fault>,
    /// When to plan again: the earliest due time that is not dealt with. It may have passed, when there was more than
    /// one plan may hold. `None` while the schedule is off, and when no trigger has a due time.
    pub next: Option<Timestamp>,
    /// Whether it will never fire again by itself: its triggers are spent, its window is over, or it has had all its firings.
    pub done: bool,
    /// What it has done so far, this plan included.
    pub new_state: ScheduleState,
    /// The due time before the first firing, from which overlap counts anew.
    last_due_before: Option<Timestamp>,
}

/// One job to make.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Firing {
    /// The trigger; `None` when it was fired by hand.
    pub trigger: Option<TriggerId>,
    /// When it was due: with the schedule, what no two jobs share.
    pub due: Timestamp,
    /// The due time of the job before it.
    pub previous_due: Option<Timestamp>,
    /// When the job may start: the due time, or now for what was missed, plus the jitter.
    pub run_at: Timestamp,
    /// Why it fires.
    pub kind: FiringKind,
    /// Whether the unfinished jobs of the schedule are asked to stop first.
    pub cancel_previous: bool,
}

/// Why a schedule fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum FiringKind {
    /// It is due.
    OnTime,
    /// It was missed, and the misfire policy makes up for it.
    Misfired,
    /// An event arrived.
    Event,
    /// Somebody asked for it.
    ByHand,
}

/// Occurrences of one trigger that do not fire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The trigger.
    pub trigger: TriggerId,
    /// The first of them.
    pub from: Timestamp,
    /// The last of them.
    pub to: Timestamp,
    /// How many.
    pub count: u64,
    /// Whether `count` is exact; otherwise there are at least so many.
    pub exact: bool,
    /// Why.
    pub reason: SkipReason,
}

/// Why an occurrence does not fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// It was missed, and the misfire policy does not make up for it.
    Misfire,
    /// The schedule was paused or not enabled.
    Off,
    /// The trigger was changed so that several due times had passed; the newest of them fires for all.
    Edited,
    /// Another trigger of the schedule made the job of this due time.
    SameDue,
    /// A job of an earlier firing was not over.
    Overlap,
    /// An event came outside the window, or after the last firing.
    Ended,
    /// What the job was to be given is not allowed: the values of an event may be too long.
    Refused,
    /// Whoever registered the schedule may not have it fire any more.
    Forbidden,
}

/// A trigger that cannot say when it is next due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The trigger.
    pub trigger: TriggerId,
    /// What is wrong. [`is_unknown`](Error::is_unknown) when only this program lacks it: leave the schedule to another.
    pub error: Error,
}

impl<'a> PlanLimits<'a> {
    /// The default limits.
    pub fn new(custom: &'a CustomTriggers) -> Self {
        Self { firings_max: 1_000, late_after: LATE_AFTER, custom }
    }
}

/// Decides what a schedule does now.
///
/// Pure and total: the same arguments give the same plan, and whatever the state, the clock and the triggers say it ends
/// after bounded work. Planned again with the new state and the same `now`, there is nothing more to do. No due time is
/// given out twice, also when the clock goes back: then nothing fires before it has passed the last due time again.
///
/// Overlap is a second look at the plan, [`Plan::with_overlap`], since it takes the jobs that are not over.
///
/// # Example
///
/// ```
/// use taskwright_core::schedule::{PlanLimits, Schedule, ScheduleState, plan};
/// use taskwright_core::trigger::{CustomTriggers, Trigger};
/// use taskwright_core::{Error, Timestamp};
///
/// let schedule = Schedule::builder("tick".parse()?, "tick".parse()?)
///     .trigger(Trigger::read("every", "5m", None)?)
///     .build()?;
/// let registered: Timestamp = "2026-01-01T00:00:00Z".parse()?;
/// let state = ScheduleState::new(&schedule, registered);
///
/// let custom = CustomTriggers::default();
/// let plan = plan(&schedule, &state, "2026-01-01T00:05:01Z".parse()?, &PlanLimits::new(&custom));
/// assert_eq!(plan.firings[0].due, "2026-01-01T00:05:00Z".parse()?);
/// assert_eq!(plan.next, Some("2026-01-01T00:10:00Z".parse()?));
/// # Ok::<(), Error>(())
/// ```
pub fn plan(schedule: &Schedule, state: &ScheduleState, now: Timestamp, limits: &PlanLimits<'_>) -> Plan {
    let mut plan = Plan::nothing(state);
    if state.is_off() {
        return plan;
    }
    if has_no_firing_left(schedule, state) {
        plan.done = true;
        return plan;
    }
    let off_until = state.off.and_then(|off| off.until);
    let mut steps = Vec::new();
    for (place, named) in schedule.triggers.iter().enumerate().filter(|(_, named)| !named.trigger.is_event())
    {
        let state =
            *plan.new_state.triggers.entry(named.id.clone()).or_insert_with(|| TriggerState::new(now));
        let outlook = Outlook { schedule, trigger: &named.trigger, place, state, off_until, now };
        match outlook.look(limits, &mut steps) {
            Ok(next) => plan.next = earlier(plan.next, next),
            Err(error) => plan.faults.push(Fault { trigger: named.id.clone(), error }),
        }
    }
    steps.sort_by_key(|step| (step.due, step.place));
    plan.take(schedule, &steps, now, limits.firings_max);
    plan
}

fn has_no_firing_left(schedule: &Schedule, state: &ScheduleState) -> bool {
    schedule.max_firings.is_some_and(|max| state.fired >= max.get())
}

fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

impl Plan {
    fn nothing(state: &ScheduleState) -> Self {
        Self {
            firings: Vec::new(),
            skipped: Vec::new(),
            faults: Vec::new(),
            next: None,
            done: false,
            new_state: state.clone(),
            last_due_before: state.last_due,
        }
    }

    /// Takes the steps of all triggers in the order of their due times, as far as the limits go.
    fn take(&mut self, schedule: &Schedule, steps: &[Step], now: Timestamp, firings_max: usize) {
        for step in steps {
            if has_no_firing_left(schedule, &self.new_state) {
                break;
            }
            if self.firings.len() >= firings_max.max(1) && matches!(step.what, What::Fire(_)) {
                self.next = Some(step.due);
                return;
            }
            self.take_one(schedule, step, now);
        }
        if self.faults.is_empty() {
            self.new_state.off = None;
        }
        let waits_for_events =
            schedule.has_event_trigger() && schedule.window.end().is_none_or(|end| now < end);
        if has_no_firing_left(schedule, &self.new_state) {
            (self.next, self.done) = (None, true);
        } else {
            self.done = self.next.is_none() && self.faults.is_empty() && !waits_for_events;
        }
    }

    fn take_one(&mut self, schedule: &Schedule, step: &Step, now: Timestamp) {
        let Some(named) = schedule.triggers.iter().nth(step.place) else { return };
        let last_due = self.new_state.last_due;
        let is_taken =
            last_due == Some(step.due) || self.firings.last().is_some_and(|firing| firing.due == step.due);
        let what = match step.what {
            What::Fire(_) if is_taken => {
                What::Skip { from: step.due, count: 1, exact: true, reason: SkipReason::SameDue }
            }
            what => what,
        };
        if let Some(trigger) = self.new_state.triggers.get_mut(&named.id) {
            trigger.last_due = trigger.last_due.max(Some(step.due));
            trigger.spent |= named.trigger.is_one_time();
            trigger.fired += u64::from(matches!(what, What::Fire(_)));
        }
        match what {
            What::Skip { from, count, exact, reason } => {
                let trigger = named.id.clone();
                self.skipped.push(Skipped { trigger, from, to: step.due, count, exact, reason });
            }
            What::Fire(kind) => {
                let start = if kind == FiringKind::Misfired { now } else { step.due };
                self.firings.push(Firing {
                    trigger: Some(named.id.clone()),
                    due: step.due,
                    previous_due: last_due.filter(|last| *last < step.due),
                    run_at: start.plus(schedule.jitter_of(step.due)),
                    kind,
                    cancel_previous: false,
                });
                self.new_state.fired += 1;
                self.new_state.last_due = last_due.max(Some(step.due));
            }
        }
    }

    /// The plan after the overlap policy has been asked about each firing in turn, given the jobs of the schedule that are
    /// not over.
    ///
    /// Under [`Overlap::QueueOne`](super::Overlap::QueueOne) the first firing that has to wait is kept in the state, and
    /// fires in the plan in which all jobs before it are over; whoever keeps the schedule looks again in a moment as long as
    /// there is [one](ScheduleState::queued). Events are never skipped under [`Overlap::Skip`](super::Overlap::Skip), which is
    /// about due times: their jobs are made.
    ///
    /// A firing that is skipped does not count as fired, and its due time is not the previous one of the next. What the
    /// policy [`Misfire::All`] makes up for is not asked about: all of it was asked for, and its jobs would be in each
    /// other's way.
    #[must_use]
    pub fn with_overlap(mut self, schedule: &Schedule, mut open: OpenJobs) -> Self {
        let is_catching_up = matches!(schedule.misfire, Misfire::All { .. });
        let mut last_due = self.last_due_before;
        let was_full = self.done;
        let planned = std::mem::take(&mut self.firings);
        if open.unfinished == 0
            && !self.new_state.is_off()
            && let Some(queued) = self.new_state.queued.take()
        {
            open.unfinished = 1;
            self.firings.push(queued);
        }
        for mut firing in planned {
            open.has_queued = self.new_state.queued.is_some();
            let decision = match firing.kind {
                FiringKind::Misfired if is_catching_up => OverlapDecision::Fire,
                FiringKind::ByHand => OverlapDecision::Fire,
                FiringKind::Event if schedule.overlap == Overlap::Skip => OverlapDecision::Fire,
                _ => overlap(schedule.overlap, open),
            };
            match decision {
                OverlapDecision::Skip(reason) => {
                    self.take_back(&firing, reason);
                    continue;
                }
                OverlapDecision::Queue => {
                    if firing.kind != FiringKind::Event {
                        firing.previous_due = last_due.filter(|last| *last < firing.due);
                        last_due = last_due.max(Some(firing.due));
                    }
                    self.new_state.queued = Some(firing);
                    continue;
                }
                OverlapDecision::Fire => {}
                OverlapDecision::FireAndCancel => firing.cancel_previous = true,
            }
            open.unfinished += 1;
            if firing.kind != FiringKind::Event {
                firing.previous_due = last_due.filter(|last| *last < firing.due);
                last_due = last_due.max(Some(firing.due));
            }
            self.firings.push(firing);
        }
        self.new_state.last_due = last_due;
        if was_full && schedule.max_firings.is_some() && !has_no_firing_left(schedule, &self.new_state) {
            // A firing was given back: look again at once at what the limit had cut off.
            self.done = false;
            self.next = earlier(self.next, self.skipped.last().map(|skipped| skipped.to));
        }
        self
    }

    fn take_back(&mut self, firing: &Firing, reason: SkipReason) {
        let Some(id) = &firing.trigger else { return };
        self.new_state.fired = self.new_state.fired.saturating_sub(1);
        if let Some(trigger) = self.new_state.triggers.get_mut(id) {
            trigger.fired = trigger.fired.saturating_sub(1);
        }
        let (from, to) = (firing.due, firing.due);
        self.skipped.push(Skipped { trigger: id.clone(), from, to, count: 1, exact: true, reason });
    }
}

/// The firing that somebody asks for now, for the due time `at` or for now.
///
/// It asks neither window nor pause nor overlap, and changes nothing of what the schedule has done: the next due time is the
/// same as before.
pub fn fire_by_hand(state: &ScheduleState, at: Option<Timestamp>, now: Timestamp) -> Firing {
    let due = at.unwrap_or(now);
    Firing {
        trigger: None,
        due,
        previous_due: state.last_due.filter(|last| *last < due),
        run_at: now,
        kind: FiringKind::ByHand,
        cancel_previous: false,
    }
}

/// What a schedule does about an event that arrives at one of its event triggers now: one firing, or one that is skipped.
///
/// The due time is the moment of the event, which two events may share: what makes the job unique is the event itself.
/// Whether topic and payload [match](crate::trigger::OnEvent::matches) has been asked before. `None` when the schedule has no
/// such event trigger. [`Plan::next`] is that of the schedule's other triggers.
pub fn fire_for_event(
    schedule: &Schedule,
    state: &ScheduleState,
    trigger: &TriggerId,
    emitted_at: Timestamp,
    now: Timestamp,
    limits: &PlanLimits<'_>,
) -> Option<Plan> {
    schedule.triggers.get(trigger).filter(|trigger| trigger.is_event())?;
    let mut plan = Plan::nothing(state);
    plan.next = upcoming(schedule, state, Timestamp::from_micros(i64::MIN), 1, limits.custom)
        .first()
        .map(|(due, _)| *due);
    let was_off = state
        .off
        .is_some_and(|off| off.since <= emitted_at && off.until.is_none_or(|until| emitted_at <= until));
    let outside = schedule.window.is_before_start(emitted_at) || schedule.window.is_over(emitted_at);
    let reason = if state.is_off() || was_off {
        SkipReason::Off
    } else if outside || has_no_firing_left(schedule, state) {
        SkipReason::Ended
    } else {
        let state = plan.new_state.triggers.entry(trigger.clone()).or_insert_with(|| TriggerState::new(now));
        let previous_due = state.last_due.filter(|last| *last < emitted_at);
        state.last_due = state.last_due.max(Some(emitted_at));
        state.fired += 1;
        plan.new_state.fired += 1;
        plan.firings.push(Firing {
            trigger: Some(trigger.clone()),
            due: emitted_at,
            previous_due,
            run_at: now.plus(schedule.jitter_of(emitted_at)),
            kind: FiringKind::Event,
            cancel_previous: false,
        });
        return Some(plan);
    };
    let (from, to) = (emitted_at, emitted_at);
    plan.skipped.push(Skipped { trigger: trigger.clone(), from, to, count: 1, exact: true, reason });
    Some(plan)
}

/// The next `n` due times after `now`, with the trigger of each: what `schedules next -n` shows.
///
/// It is what would fire if nothing were paused. A due time that two triggers share is given once; a trigger that cannot
/// say is left out.
pub fn upcoming(
    schedule: &Schedule,
    state: &ScheduleState,
    now: Timestamp,
    n: usize,
    custom: &CustomTriggers,
) -> Vec<(Timestamp, TriggerId)> {
    let left = schedule.max_firings.map_or(u64::MAX, |max| max.get().saturating_sub(state.fired));
    let n = n.min(usize::try_from(left).unwrap_or(usize::MAX));
    let mut found = std::collections::BTreeMap::new();
    for named in schedule.triggers.iter().filter(|named| !named.trigger.is_event()) {
        let state = state.triggers.get(&named.id).copied().unwrap_or_else(|| TriggerState::new(now));
        let Ok(mut cursor) = Cursor::new(&named.trigger, state, now, custom) else { continue };
        let start = schedule
            .window
            .start()
            .unwrap_or(now)
            .max(Timestamp::from_micros(now.as_micros().saturating_add(1)));
        if cursor.leave_out_before(start).is_err() {
            continue;
        }
        for _ in 0..n {
            let Ok(Some(due)) = cursor.next() else { break };
            if schedule.window.is_over(due) {
                break;
            }
            cursor.step(due);
            found.entry(due).or_insert_with(|| named.id.clone());
        }
    }
    found.into_iter().take(n).collect()
}
