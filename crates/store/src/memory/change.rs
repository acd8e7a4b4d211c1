//! What people do to jobs and queues.

use taskwright_core::{
    Actor, Cause, Delivery, JobId, Namespace, Priority, QueueName, State, Timestamp, attempt, state,
};

use crate::bulk::NOT_REDONE;
use crate::change::{Change, Changed, RUNS_ONCE, Seen, check_asleep, freed};
use crate::claim::JobKey;
use crate::error::Error;

use super::finish::Ending;
use super::job::{Cancel, Job};
use super::world::World;

/// Who wants a change, when and why.
struct Wish<'a> {
    now: Timestamp,
    actor: &'a Actor,
    reason: &'a Option<String>,
}

impl Wish<'_> {
    /// The reason, to be put behind what was done.
    fn why(&self) -> String {
        self.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default()
    }
}

impl World {
    pub(super) fn change(
        &mut self,
        now: Timestamp,
        id: JobId,
        change: Change,
        actor: &Actor,
        reason: &Option<String>,
    ) -> Result<Changed, Error> {
        let Some(key) = self.keys.get(&id).copied() else { return Ok(Changed::Unknown) };
        let wish = Wish { now, actor, reason };
        match change {
            Change::Cancel => {
                let changed = self.cancel(key, false, &wish)?;
                if changed == Changed::Done {
                    self.tell_bulk(now, key);
                }
                Ok(changed)
            }
            Change::Fail if self.running.contains_key(&key) => self.cancel(key, true, &wish),
            Change::Fail => Ok(self.jobs[&key].skipped()),
            Change::Drop => self.update(key, |job| job.drop_waiting(&wish)),
            Change::Delete => Ok(self.delete(key)),
            Change::Free => self.free(key, &wish),
            Change::Redo { repeat } => self.redo(key, repeat, &wish),
            Change::RunNow => self.update(key, |job| job.run_now(&wish)),
            Change::Awaken => self.update(key, |job| job.awaken(&wish)),
            Change::Release => self.update(key, |job| job.release(&wish)),
            Change::Delay { until } => self.update(key, |job| job.delay(until, &wish)),
            Change::Reprioritise { priority } => {
                Ok(self.update(key, |job| job.reprioritise(priority, &wish)))
            }
        }
    }

    /// Whether a job is where somebody has seen it; also when there is none.
    pub(super) fn is_where_seen(&self, seen: &Seen) -> bool {
        self.keys.get(&seen.id).is_none_or(|key| {
            let view = self.jobs[key].view(self.running.get(key));
            seen.is_there(view.state, view.attempt, view.run_at.as_micros())
        })
    }

    pub(super) fn pause(&mut self, namespace: Namespace, queue: QueueName, paused: bool) -> bool {
        let name = (namespace, queue);
        let before = self.queues.get(&name).copied().unwrap_or(false);
        if before == paused {
            return false;
        }
        self.queues.insert(name, paused);
        self.tell_news();
        true
    }

    pub(super) fn purge(
        &mut self,
        now: Timestamp,
        namespace: &Namespace,
        queue: &QueueName,
        actor: &Actor,
        limit: usize,
    ) -> Result<usize, Error> {
        let waits =
            |job: &&Job| job.new.namespace == *namespace && job.new.queue == *queue && job.state.is_waiting();
        let keys: Vec<JobKey> = self.jobs.values().filter(waits).map(|job| job.key).take(limit).collect();
        let reason = Some("queue purged".to_owned());
        let wish = Wish { now, actor, reason: &reason };
        for key in &keys {
            self.update(*key, |job| job.end(Cause::Cancel, State::Cancelled, &wish))?;
            self.tell_bulk(now, *key);
        }
        Ok(keys.len())
    }

    /// Drops a held job that nobody released in time.
    pub(super) fn expire_hold(&mut self, now: Timestamp, key: JobKey) -> Result<(), Error> {
        let reason = Some("hold expired: never released".to_owned());
        let wish = Wish { now, actor: &Actor::system(), reason: &reason };
        self.update(key, |job| {
            job.attachments.clear();
            job.end(Cause::Drop, State::Dropped, &wish)
        })
    }

    fn cancel(&mut self, key: JobKey, fails: bool, wish: &Wish<'_>) -> Result<Changed, Error> {
        if let Some(running) = self.running.get_mut(&key) {
            if running.cancel.is_some() {
                return Ok(Changed::Skipped("a cancel was requested already".to_owned()));
            }
            running.cancel = Some(Cancel { actor: wish.actor.clone(), reason: wish.reason.clone(), fails });
            self.update(key, |job| {
                job.cancel_asked |= !fails;
                job.note_stop(if fails { "failure" } else { "cancel" }, wish);
            });
            self.tell_news();
            return Ok(Changed::Requested);
        }
        self.update(key, |job| {
            if !state::may(job.state, Cause::Cancel) {
                return Ok(job.skipped());
            }
            job.end(Cause::Cancel, State::Cancelled, wish)?;
            Ok(Changed::Done)
        })
    }

    /// Runs a job once more, under the unique key that it had.
    fn redo(&mut self, key: JobKey, repeat: bool, wish: &Wish<'_>) -> Result<Changed, Error> {
        let holder = self.holder(&self.jobs[&key]);
        let changed = self.update(key, |job| job.redo(repeat, holder, wish))?;
        if changed == Changed::Done {
            self.take_unique(key);
        }
        Ok(changed)
    }

    /// Takes a running job from its attempt.
    fn free(&mut self, key: JobKey, wish: &Wish<'_>) -> Result<Changed, Error> {
        let job = &self.jobs[&key];
        let Some(running) = self.running.get(&key).cloned() else { return Ok(job.skipped()) };
        if job.new.delivery == Delivery::AtMostOnce {
            return Ok(Changed::Skipped(RUNS_ONCE.to_owned()));
        }
        let reason = freed(wish.actor.as_str(), wish.reason.as_deref());
        let ending = Ending {
            at: wish.now,
            started_at: None,
            usage: None,
            actor: Actor::system(),
            decision: attempt::free(reason),
        };
        self.end_attempt(wish.now, key, running, ending)?;
        Ok(Changed::Done)
    }

    fn delete(&mut self, key: JobKey) -> Changed {
        let state = self.jobs[&key].state;
        if !state.is_terminal() {
            return Changed::Skipped(format!("it is {state}; cancel it first"));
        }
        self.remove(key);
        Changed::Done
    }
}

impl Job {
    fn redo(&mut self, repeat: bool, holder: Option<JobId>, wish: &Wish<'_>) -> Result<Changed, Error> {
        if !state::may(self.state, Cause::Redo) {
            return Ok(self.skipped());
        }
        if self.state == State::Completed && !repeat {
            return Ok(Changed::Skipped("it is completed; --repeat runs it again".to_owned()));
        }
        if self.bulk.is_some() {
            return Ok(Changed::Skipped(NOT_REDONE.to_owned()));
        }
        if let Some(holder) = holder {
            return Ok(Changed::Skipped(format!("its unique key is held by {holder}")));
        }
        if self.state == State::Completed {
            self.steps.clear();
        }
        self.make(Cause::Redo, State::Available, wish)?;
        self.run_at = wish.now;
        self.max_attempts = self.new.max_attempts.on_top_of(self.attempts_used);
        self.attempts_before_redo = self.attempts.len();
        self.unique.clone_from(&self.new.unique);
        self.result = None;
        self.end_reason = None;
        self.consumed_at = None;
        self.cancel_asked = false;
        Ok(Changed::Done)
    }

    fn run_now(&mut self, wish: &Wish<'_>) -> Result<Changed, Error> {
        if !state::may(self.state, Cause::RunNow) {
            return Ok(self.skipped());
        }
        self.make(Cause::RunNow, State::Available, wish)?;
        self.run_at = wish.now;
        Ok(Changed::Done)
    }

    fn awaken(&mut self, wish: &Wish<'_>) -> Result<Changed, Error> {
        let last = self.timeline.iter().rev().find_map(|entry| entry.cause);
        match check_asleep(self.state, last) {
            Ok(()) => self.run_now(wish),
            Err(why) => Ok(Changed::Skipped(why)),
        }
    }

    fn release(&mut self, wish: &Wish<'_>) -> Result<Changed, Error> {
        if !state::may(self.state, Cause::Release) {
            return Ok(self.skipped());
        }
        let to = if self.run_at > wish.now { State::Scheduled } else { State::Available };
        self.make(Cause::Release, to, wish)?;
        self.run_at = self.run_at.max(wish.now);
        Ok(Changed::Done)
    }

    fn delay(&mut self, until: Timestamp, wish: &Wish<'_>) -> Result<Changed, Error> {
        if !state::may(self.state, Cause::Delay) {
            return Ok(self.skipped());
        }
        if until <= wish.now {
            let why = "the moment has passed; run-now starts it at once";
            return Ok(Changed::Skipped(why.to_owned()));
        }
        self.make(Cause::Delay, State::Scheduled, wish)?;
        self.run_at = until;
        Ok(Changed::Done)
    }

    fn reprioritise(&mut self, priority: Priority, wish: &Wish<'_>) -> Changed {
        if !self.state.is_waiting() {
            return self.skipped();
        }
        if self.priority == priority {
            return Changed::Skipped("it has that priority already".to_owned());
        }
        let old = self.priority;
        self.note(wish.now, wish.actor.clone(), format!("priority {old} -> {priority}{}", wish.why()));
        self.priority = priority;
        Changed::Done
    }

    fn note_stop(&mut self, what: &str, wish: &Wish<'_>) {
        self.note(wish.now, wish.actor.clone(), format!("{what} requested{}", wish.why()));
    }

    fn drop_waiting(&mut self, wish: &Wish<'_>) -> Result<Changed, Error> {
        if !self.state.is_waiting() {
            return Ok(self.skipped());
        }
        self.end(Cause::Drop, State::Dropped, wish)?;
        Ok(Changed::Done)
    }

    /// Ends the job without an attempt of it having ended.
    fn end(&mut self, cause: Cause, to: State, wish: &Wish<'_>) -> Result<(), Error> {
        self.make(cause, to, wish)?;
        self.end_reason.clone_from(wish.reason);
        Ok(())
    }

    fn make(&mut self, cause: Cause, to: State, wish: &Wish<'_>) -> Result<(), Error> {
        Ok(self.enter(wish.now, cause, to, wish.actor.clone(), wish.reason.clone())?)
    }

    fn skipped(&self) -> Changed {
        Changed::Skipped(format!("it is {}", self.state))
    }
}
