//! Schedules, and what they fired.

use std::collections::BTreeMap;

use taskwright_core::limit::PAGE_ROWS_MAX;
use taskwright_core::outcome::Interest;
use taskwright_core::{Actor, JobId, Kind, Namespace, ScheduleName, State, Timestamp, TriggerId};

use super::MemoryStore;
use super::world::World;
use crate::Reply;
use crate::change::Change;
use crate::error::Error;
use crate::schedule::{
    DueSchedules, Fires, FiringOutcome, FiringView, JobOrigin, NewFiring, Occurrence, Previous, ScheduleKey,
    ScheduleStore, ScheduleWrite, SkippedRun, StoredSchedule, Target, Written, check_writes, occurrence,
};
use crate::subject::{Subject, Which};

/// All schedules.
#[derive(Debug, Default)]
pub(super) struct Schedules {
    rows: BTreeMap<ScheduleKey, Row>,
    names: BTreeMap<(Namespace, ScheduleName), ScheduleKey>,
    firings: BTreeMap<u64, (ScheduleKey, FiringView)>,
    /// What made a job, once and for all.
    fired: BTreeMap<(ScheduleKey, Occurrence), TriggerId>,
    last_key: i64,
    last_firing: u64,
}

#[derive(Debug)]
struct Row {
    stored: StoredSchedule,
    listens: bool,
    outcomes: Vec<Interest>,
}

impl ScheduleStore for MemoryStore {
    fn write_schedules(&self, now: Timestamp, writes: Vec<ScheduleWrite>) -> Reply<'_, Vec<Written>> {
        let about = self.about(|| Subject::of_schedules(&writes));
        self.act_about(about, |world| {
            check_writes(&writes)?;
            writes.into_iter().map(|write| world.write_schedule(now, write)).collect()
        })
    }

    fn due_schedules(&self, now: Timestamp, limit: usize) -> Reply<'_, DueSchedules> {
        self.ask(|world| Ok(world.schedules.due(now, limit)))
    }

    fn schedule(&self, namespace: Namespace, name: ScheduleName) -> Reply<'_, Option<StoredSchedule>> {
        self.ask(|world| {
            let key = world.schedules.names.get(&(namespace, name));
            Ok(key.map(|key| world.schedules.rows[key].stored.clone()))
        })
    }

    fn schedules(
        &self,
        namespace: Option<Namespace>,
        after: Option<ScheduleKey>,
        limit: usize,
    ) -> Reply<'_, Vec<StoredSchedule>> {
        self.ask(|world| {
            let rows = world.schedules.rows.values().map(|row| &row.stored);
            let wanted = rows
                .filter(|row| namespace.as_ref().is_none_or(|namespace| *namespace == row.namespace))
                .filter(|row| after.is_none_or(|after| row.key > after));
            Ok(wanted.take(limit.min(PAGE_ROWS_MAX)).cloned().collect())
        })
    }

    fn remove_schedule(&self, schedule: ScheduleKey) -> Reply<'_, bool> {
        let about = self.about(|| Subject::Schedules(vec![Which::Stored(schedule)]));
        self.act_about(about, |world| {
            let removed = world.schedules.rows.remove(&schedule);
            if let Some(row) = &removed {
                world.schedules.names.remove(&(row.stored.namespace.clone(), row.stored.name.clone()));
            }
            Ok(removed.is_some())
        })
    }

    fn firings(
        &self,
        schedule: ScheduleKey,
        before: Option<u64>,
        limit: usize,
    ) -> Reply<'_, Vec<FiringView>> {
        self.ask(|world| {
            let newest_first = world.schedules.firings.range(..before.unwrap_or(u64::MAX)).rev();
            let own = newest_first.filter(|(_, (of, _))| *of == schedule).map(|(_, (_, view))| view);
            Ok(own.take(limit.min(PAGE_ROWS_MAX)).cloned().collect())
        })
    }

    fn origins(&self, jobs: Vec<JobId>) -> Reply<'_, Vec<Option<JobOrigin>>> {
        self.ask(|world| Ok(jobs.iter().map(|job| world.schedules.origin(*job)).collect()))
    }

    fn states(&self, jobs: Vec<JobId>) -> Reply<'_, Vec<Option<State>>> {
        self.ask(|world| {
            let state = |id| world.keys.get(id).map(|key| world.jobs[key].state);
            Ok(jobs.iter().map(state).collect())
        })
    }
}

impl Schedules {
    /// The one that is meant.
    pub(super) fn which(&self, which: &Which<ScheduleKey, ScheduleName>) -> Option<&StoredSchedule> {
        let key = match which {
            Which::Stored(key) => key,
            Which::Named(namespace, name) => self.names.get(&(namespace.clone(), name.clone()))?,
        };
        self.rows.get(key).map(|row| &row.stored)
    }
}

impl World {
    /// Whether a write would find what it expects.
    pub(super) fn is_fresh(&self, target: &Target) -> bool {
        match target {
            Target::New { namespace, name } => {
                !self.schedules.names.contains_key(&(namespace.clone(), name.clone()))
            }
            Target::Stored { key, version } => {
                self.schedules.rows.get(key).is_some_and(|row| row.stored.version == *version)
            }
        }
    }

    pub(super) fn write_schedule(&mut self, now: Timestamp, write: ScheduleWrite) -> Result<Written, Error> {
        if !self.is_fresh(&write.target) {
            return Ok(Written::Stale);
        }
        let key = match write.target {
            Target::Stored { key, .. } => key,
            Target::New { namespace, name } => self.schedules.insert(now, namespace, name),
        };
        // It was found above, or has just been inserted.
        if let Some(row) = self.schedules.rows.get_mut(&key) {
            row.stored.version += 1;
            row.stored.state = write.state;
            row.stored.next = write.next;
            if let Some(definition) = write.definition {
                (row.stored.definition, row.listens) = (definition.json, definition.listens);
                row.outcomes = definition.outcomes;
                row.stored.changed_at = now;
            }
        }
        let Previous { jobs, reason } = write.cancel;
        for job in jobs {
            self.change(now, job, Change::Cancel, &Actor::system(), &Some(reason.clone()))?;
        }
        for firing in write.firings {
            self.fire(now, key, firing)?;
        }
        self.tell_news();
        Ok(Written::Done(key))
    }

    fn fire(&mut self, now: Timestamp, schedule: ScheduleKey, firing: NewFiring) -> Result<(), Error> {
        let once = firing.occurrence().map(|(occurrence, trigger)| ((schedule, occurrence), trigger.clone()));
        let fired_by =
            once.as_ref().and_then(|(occurrence, _)| self.schedules.fired.get(occurrence)).cloned();
        let NewFiring { trigger, due, previous_due, event, what } = firing;
        let outcome = match what {
            Fires::Skip(run) => FiringOutcome::Skipped(run),
            Fires::Job(..) if fired_by.is_some() && fired_by == trigger => return Ok(()),
            Fires::Job(..) if fired_by.is_some() => FiringOutcome::Skipped(SkippedRun::same_due(due)),
            Fires::Job(kind, job) => {
                self.schedules.fired.extend(once);
                let stored = self.enqueue(now, vec![*job])?[0];
                FiringOutcome::Fired { kind, job: stored.id, coalesced: stored.existing }
            }
        };
        self.schedules.last_firing += 1;
        let number = self.schedules.last_firing;
        let view = FiringView { number, at: now, trigger, due, previous_due, event, outcome };
        self.schedules.firings.insert(number, (schedule, view));
        Ok(())
    }

    /// Whether any schedule waits for jobs of this kind to end so.
    pub(super) fn interests_outcome(&self, namespace: &Namespace, kind: &Kind, state: State) -> bool {
        self.schedules.rows.values().any(|row| {
            let names =
                |one: &Interest| one.state == state && one.kind.as_ref().is_none_or(|named| named == kind);
            row.stored.namespace == *namespace && row.outcomes.iter().any(names)
        })
    }

    pub(super) fn listening(&self) -> Vec<StoredSchedule> {
        let listening = self.schedules.rows.values().filter(|row| row.listens);
        listening.map(|row| row.stored.clone()).collect()
    }

    pub(super) fn collect_firings(&mut self, before: Timestamp, limit: usize, dry_run: bool) -> usize {
        let old = self.schedules.firings.iter().filter(|(_, (_, view))| view.at < before);
        let old: Vec<u64> = old.map(|(number, _)| *number).take(limit).collect();
        if dry_run {
            return old.len();
        }
        for number in &old {
            // What was skipped has taken nothing that could be given back.
            if let Some((schedule, view)) = self.schedules.firings.remove(number)
                && let FiringOutcome::Fired { kind, .. } = view.outcome
                && let Some((taken, _)) = occurrence(kind, view.trigger.as_ref(), view.due, view.event)
            {
                self.schedules.fired.remove(&(schedule, taken));
            }
        }
        old.len()
    }
}

impl Schedules {
    /// What made a job.
    pub(super) fn origin(&self, job: JobId) -> Option<JobOrigin> {
        let made =
            |view: &FiringView| matches!(view.outcome, FiringOutcome::Fired { job: made, .. } if made == job);
        let (schedule, view) = self.firings.values().find(|(_, view)| made(view))?;
        let schedule = self.rows.get(schedule)?.stored.name.clone();
        Some(JobOrigin { schedule, due: view.due, event: view.event })
    }

    fn insert(&mut self, now: Timestamp, namespace: Namespace, name: ScheduleName) -> ScheduleKey {
        self.last_key += 1;
        let key = ScheduleKey(self.last_key);
        self.names.insert((namespace.clone(), name.clone()), key);
        let stored = StoredSchedule {
            key,
            namespace,
            name,
            definition: String::new(),
            state: String::new(),
            next: None,
            version: 0,
            created_at: now,
            changed_at: now,
        };
        self.rows.insert(key, Row { stored, listens: false, outcomes: Vec::new() });
        key
    }

    fn due(&self, now: Timestamp, limit: usize) -> DueSchedules {
        let mut waiting: Vec<&StoredSchedule> =
            self.rows.values().map(|row| &row.stored).filter(|row| row.next.is_some()).collect();
        waiting.sort_by_key(|row| (row.next, row.key));
        let due = waiting.iter().take(limit).take_while(|row| row.next <= Some(now)).count();
        DueSchedules {
            next: waiting.get(due).and_then(|row| row.next),
            schedules: waiting[..due].iter().map(|row| (*row).clone()).collect(),
        }
    }
}
