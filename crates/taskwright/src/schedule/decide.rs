//! From what is due to what is written: the plan of the domain, with the jobs that it makes.

use std::collections::HashSet;
use std::time::Duration;

use taskwright_core::schedule::{
    EventValues, Firing, FiringValues, OpenJobs, Plan, PlanLimits, SkipReason, Skipped, fire_for_event, plan,
};
use taskwright_core::trigger::CustomTriggers;
use taskwright_core::{Error as Refused, EventId, JobId, NewJob, Schedule, Timestamp, Trigger, TriggerId};
use taskwright_store::{
    Fires, NewEvent, NewFiring, Previous, ScheduleWrite, SkippedRun, StoredEvent, StoredSchedule,
};

use super::facts::Facts;
use super::view::ScheduleView;
use super::{target, written};
use crate::env::Env;

/// How soon a schedule is looked at again while an occurrence of it waits for a job to end: 1 s.
const QUEUED_LOOK: Duration = Duration::from_secs(1);

/// What becomes of a schedule that is due.
pub(crate) enum Due {
    /// This is to be written.
    Write(ScheduleWrite),
    /// It is for another node, for this reason.
    Leave(String),
}

/// Decides about schedules, at one moment.
pub(crate) struct Decider<'a> {
    pub(crate) env: &'a Env,
    pub(crate) now: Timestamp,
    pub(crate) custom: &'a CustomTriggers,
    /// The names of the schedules that wait for ends of jobs, of all namespaces.
    pub(crate) alarms: &'a HashSet<String>,
    /// What was read for them.
    pub(crate) facts: &'a Facts,
}

/// The event that fires a schedule.
pub(super) struct Fired<'a> {
    stored: &'a StoredEvent,
    payload: &'a serde_json::Value,
    /// Whether it is merged with others of its key.
    coalesce: bool,
}

impl Decider<'_> {
    /// What a schedule that is due does.
    ///
    /// What this program does not know, a newer definition or somebody else's trigger rule, is left as it is, and stays due: a
    /// node that knows it finds it so.
    pub(crate) fn due(&self, stored: &StoredSchedule) -> Due {
        let mut view = match ScheduleView::read(stored) {
            Ok(view) => view,
            Err(error) => return Due::Leave(error.to_string()),
        };
        drop_ended(&mut view, self.facts);
        let planned = plan(&view.schedule, &view.state, self.now, &PlanLimits::new(self.custom));
        let mut unknown = None;
        for fault in &planned.faults {
            if fault.error.is_unknown() {
                unknown = Some(fault.error.to_string());
            } else {
                tracing::warn!(schedule = %stored.name, trigger = %fault.trigger, error = %fault.error, "a trigger rests");
            }
        }
        let planned = planned.with_overlap(&view.schedule, open_jobs(&view));
        match unknown {
            Some(why) if planned.firings.is_empty() && planned.skipped.is_empty() => Due::Leave(why),
            Some(_) => {
                let write = self.write(stored, &view, planned, None);
                Due::Write(ScheduleWrite { next: stored.next, ..write })
            }
            None => Due::Write(self.write(stored, &view, planned, None)),
        }
    }

    /// Offers an event to a schedule; whether it makes something of it. It is changed by that: the next event is offered to what
    /// it is then.
    pub(crate) fn event(
        &self,
        listener: &mut Listener,
        event: &StoredEvent,
        payload: &serde_json::Value,
    ) -> bool {
        let NewEvent { namespace, topic, .. } = &event.event;
        let view = &listener.view;
        if view.schedule.namespace != *namespace {
            return false;
        }
        let matching: Vec<(TriggerId, bool)> = view
            .schedule
            .triggers
            .iter()
            .filter_map(|named| match &named.trigger {
                Trigger::Event(on)
                    if on.matches(topic, payload)
                        && !view
                            .schedule
                            .ignores_outcome(on, topic, payload, |name| self.alarms.contains(name)) =>
                {
                    Some((named.id.clone(), on.coalesce))
                }
                _ => None,
            })
            .collect();
        let mut fired = false;
        for (trigger, coalesce) in matching {
            let limits = PlanLimits::new(self.custom);
            let view = &listener.view;
            let Some(planned) =
                fire_for_event(&view.schedule, &view.state, &trigger, event.at, self.now, &limits)
            else {
                continue;
            };
            let planned = planned.with_overlap(&view.schedule, open_jobs(view));
            let next = listener.stored.next;
            let write =
                self.write(&listener.stored, view, planned, Some(Fired { stored: event, payload, coalesce }));
            listener.take(write, next);
            fired = true;
        }
        fired
    }

    fn write(
        &self,
        stored: &StoredSchedule,
        view: &ScheduleView,
        planned: Plan,
        event: Option<Fired<'_>>,
    ) -> ScheduleWrite {
        let mut state = planned.new_state;
        let mut firings: Vec<NewFiring> = planned.skipped.iter().map(skipped).collect();
        let mut cancel = Vec::new();
        let event_id = event.as_ref().map(|event| event.stored.event.id);
        let is_allowed = planned.firings.is_empty() || self.facts.allow(&view.schedule);
        if !is_allowed {
            let origin = &view.schedule.origin;
            tracing::warn!(schedule = %stored.name, %origin, "a schedule does not fire: who registered it may not have that any more");
        }
        for firing in planned.firings {
            if !is_allowed {
                firings.push(not_made(&firing, event_id, SkipReason::Forbidden));
                continue;
            }
            if firing.cancel_previous {
                cancel.append(&mut state.open.clone());
            }
            match job(self.env, self.now, &view.schedule, &firing, event.as_ref()) {
                Ok(job) => {
                    state.opened(&view.schedule, job.id);
                    firings.push(new_firing(firing, event_id, job));
                }
                Err(error) => {
                    tracing::error!(schedule = %stored.name, %error, "a schedule cannot make its job");
                    firings.push(not_made(&firing, event_id, SkipReason::Refused));
                }
            }
        }
        if let Some(event) = &event {
            for firing in &mut firings {
                firing.event = Some(event.stored.event.id);
            }
        }
        supersede(&mut firings, &cancel);
        // So that the history tells of them in their order.
        firings.sort_by_key(|firing| firing.due);
        let queued_look = state.queued.is_some().then(|| self.now.plus(QUEUED_LOOK));
        let next = match (planned.next, queued_look) {
            (Some(next), Some(look)) => Some(next.min(look)),
            (next, look) => next.or(look),
        };
        let state = written(&state);
        let reason = format!("the schedule {} fires again, and cancels its previous job", stored.name);
        let cancel = Previous { jobs: cancel, reason };
        ScheduleWrite { target: target(stored), definition: None, state, next, cancel, firings }
    }
}

/// A schedule that events are offered to, one after the other, and what came of that.
pub(crate) struct Listener {
    pub(crate) stored: StoredSchedule,
    view: ScheduleView,
    /// What is written in the end; `None` when nothing fired.
    pub(crate) write: Option<ScheduleWrite>,
}

impl Listener {
    /// A schedule as it was read; `None`, with a warning, when it is not understood here.
    pub(crate) fn new(stored: StoredSchedule, facts: &Facts) -> Option<Self> {
        match ScheduleView::read(&stored) {
            Ok(mut view) => {
                drop_ended(&mut view, facts);
                Some(Self { stored, view, write: None })
            }
            Err(error) => {
                tracing::warn!(schedule = %stored.name, %error, "events are not offered to a schedule");
                None
            }
        }
    }

    /// Whether it waits for ends of jobs.
    pub(crate) fn is_alarm(&self) -> bool {
        !self.view.schedule.outcome_interests().is_empty()
    }

    fn take(&mut self, mut write: ScheduleWrite, next: Option<Timestamp>) {
        // An event does not move what is due by time; a queued occurrence may have to be looked at sooner.
        write.next = match (next, write.next) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        if let Ok(state) = serde_json::from_str(&write.state) {
            self.view.state = state;
        }
        self.stored.state.clone_from(&write.state);
        match &mut self.write {
            None => self.write = Some(write),
            Some(all) => {
                supersede(&mut all.firings, &write.cancel.jobs);
                (all.state, all.next) = (write.state, write.next);
                all.cancel.jobs.append(&mut write.cancel.jobs);
                all.firings.append(&mut write.firings);
            }
        }
    }
}

fn drop_ended(view: &mut ScheduleView, facts: &Facts) {
    view.state.open.retain(|id| facts.is_open(*id));
}

fn open_jobs(view: &ScheduleView) -> OpenJobs {
    let unfinished = if view.schedule.minds_open_jobs() { view.state.open.len() as u64 } else { 0 };
    OpenJobs { unfinished, has_queued: view.state.queued.is_some() }
}

/// The job that a firing makes.
///
/// # Errors
///
/// When its arguments would be too large.
pub(super) fn job(
    env: &Env,
    now: Timestamp,
    schedule: &Schedule,
    firing: &Firing,
    event: Option<&Fired<'_>>,
) -> Result<NewJob, Refused> {
    let args = schedule.args.render(&FiringValues {
        due: firing.due,
        previous_due: firing.previous_due,
        now,
        schedule: &schedule.name,
        trigger: firing.trigger.as_ref(),
        event: event.map(|event| EventValues { topic: &event.stored.event.topic, payload: event.payload }),
    })?;
    let key = event.filter(|event| event.coalesce).and_then(|event| event.stored.event.key.as_ref());
    let new = NewJob::new(env.job_id(), schedule.kind.clone(), args);
    Ok(NewJob {
        namespace: schedule.namespace.clone(),
        owner: schedule.owner.clone(),
        queue: schedule.queue.clone(),
        priority: schedule.priority,
        run_at: Some(firing.run_at).filter(|run_at| *run_at > now),
        max_attempts: schedule.max_attempts.unwrap_or(new.max_attempts),
        backoff: schedule.backoff,
        timeout: schedule.timeout,
        delivery: schedule.delivery.unwrap_or(new.delivery),
        unique: key.map(|key| schedule.coalescing_key(key)).transpose()?,
        ..new
    })
}

/// Of the jobs that are to be stopped, those that are about to be made are not made at all.
fn supersede(firings: &mut [NewFiring], cancel: &[JobId]) {
    for firing in firings {
        if let Fires::Job(_, job) = &firing.what
            && cancel.contains(&job.id)
        {
            let run = SkippedRun { to: firing.due, count: 1, exact: true, reason: SkipReason::Overlap };
            firing.what = Fires::Skip(run);
        }
    }
}

fn new_firing(firing: Firing, event: Option<EventId>, job: NewJob) -> NewFiring {
    NewFiring {
        trigger: firing.trigger,
        due: firing.due,
        previous_due: firing.previous_due,
        event,
        what: Fires::Job(firing.kind, Box::new(job)),
    }
}

/// An occurrence of which nothing is made, for this reason.
fn not_made(firing: &Firing, event: Option<EventId>, reason: SkipReason) -> NewFiring {
    let run = SkippedRun { to: firing.due, count: 1, exact: true, reason };
    NewFiring {
        trigger: firing.trigger.clone(),
        due: firing.due,
        previous_due: firing.previous_due,
        event,
        what: Fires::Skip(run),
    }
}

fn skipped(skipped: &Skipped) -> NewFiring {
    let Skipped { trigger, from, to, count, exact, reason } = skipped;
    NewFiring {
        trigger: Some(trigger.clone()),
        due: *from,
        previous_due: None,
        event: None,
        what: Fires::Skip(SkippedRun { to: *to, count: *count, exact: *exact, reason: *reason }),
    }
}
