//! What attempts write: their end, their log, their progress.

use std::collections::BTreeSet;

use taskwright_core::attempt::{self, AttemptEnd};
use taskwright_core::{
    Actor, AttemptRecord, Cause, Decision, State, Timestamp, Usage, Verdict, WorkerId, state,
};

use crate::claim::JobKey;
use crate::error::Error;
use crate::finish::{Finish, LogEntry, ProgressReport};
use crate::query::LogChunk;

use super::claim::worker_actor;
use super::enqueue;
use super::job::{Job, Running};
use super::world::World;

/// The end of an attempt, whoever brought it about.
pub(super) struct Ending {
    pub(super) at: Timestamp,
    pub(super) started_at: Option<Timestamp>,
    pub(super) usage: Option<Usage>,
    pub(super) actor: Actor,
    pub(super) decision: Decision,
}

impl World {
    pub(super) fn finish(
        &mut self,
        now: Timestamp,
        worker: WorkerId,
        ends: Vec<Finish>,
    ) -> Result<Vec<Verdict>, Error> {
        self.check_ends(worker, &ends)?;
        let actor = worker_actor(worker);
        let mut verdicts = Vec::with_capacity(ends.len());
        for end in ends {
            let Some(running) = self.fenced(end.key, worker, end.attempt).cloned() else {
                verdicts.push(Verdict::Stale);
                continue;
            };
            let follow_ups = end.follow_ups().to_vec();
            let ending = Ending {
                at: end.ended_at,
                started_at: Some(end.started_at),
                usage: end.usage,
                actor: actor.clone(),
                decision: end.decision.under_snoozes(self.jobs[&end.key].snoozes(), end.snoozes_max),
            };
            self.end_attempt(now, end.key, running, ending)?;
            self.enqueue(now, follow_ups)?;
            verdicts.push(Verdict::Accepted);
        }
        Ok(verdicts)
    }

    pub(super) fn give_back(
        &mut self,
        now: Timestamp,
        worker: WorkerId,
        jobs: &[(JobKey, u32)],
        reason: &str,
    ) -> Result<Vec<Verdict>, Error> {
        let actor = worker_actor(worker);
        let mut verdicts = Vec::with_capacity(jobs.len());
        for (key, attempt) in jobs {
            let Some(running) = self.fenced(*key, worker, *attempt).cloned() else {
                verdicts.push(Verdict::Stale);
                continue;
            };
            let decision = attempt::give_back(reason.to_owned());
            let ending = Ending { at: now, started_at: None, usage: None, actor: actor.clone(), decision };
            self.end_attempt(now, *key, running, ending)?;
            verdicts.push(Verdict::Accepted);
        }
        Ok(verdicts)
    }

    pub(super) fn report(&mut self, worker: WorkerId, reports: Vec<ProgressReport>) -> Vec<Verdict> {
        let store = |report: ProgressReport| {
            let Some(running) = self.fenced_mut(report.key, worker, report.attempt) else {
                return Verdict::Stale;
            };
            running.progress = Some(report.progress);
            Verdict::Accepted
        };
        reports.into_iter().map(store).collect()
    }

    pub(super) fn log(&mut self, worker: WorkerId, entries: Vec<LogEntry>) -> Vec<Verdict> {
        let append = |entry: LogEntry| {
            if self.fenced(entry.key, worker, entry.attempt).is_none() {
                return Verdict::Stale;
            }
            self.update(entry.key, |job| job.append(entry));
            Verdict::Accepted
        };
        entries.into_iter().map(append).collect()
    }

    /// The running row of a job, if this attempt of this worker still holds it.
    pub(super) fn fenced(&self, key: JobKey, worker: WorkerId, attempt: u32) -> Option<&Running> {
        self.running.get(&key).filter(|running| running.worker == worker && running.attempt == attempt)
    }

    pub(super) fn fenced_mut(&mut self, key: JobKey, worker: WorkerId, attempt: u32) -> Option<&mut Running> {
        self.running.get_mut(&key).filter(|running| running.worker == worker && running.attempt == attempt)
    }

    /// Ends the attempt that `running` is about.
    pub(super) fn end_attempt(
        &mut self,
        now: Timestamp,
        key: JobKey,
        running: Running,
        ending: Ending,
    ) -> Result<(), Error> {
        let decision = decided(&running, ending.decision.clone());
        let (counts, run_at) = (decision.end.is_some(), self.jobs[&key].run_at);
        self.update(key, |job| job.end_attempt(now, &running, ending, decision))?;
        self.running.remove(&key);
        if counts {
            self.leave_slip(key, run_at);
        }
        Ok(())
    }

    /// Checks all moves of a call before any of them is made, so that a call takes place whole or not at all.
    fn check_ends(&self, worker: WorkerId, ends: &[Finish]) -> Result<(), Error> {
        let mut seen = BTreeSet::new();
        for end in ends {
            if let Some(running) = self.fenced(end.key, worker, end.attempt)
                && seen.insert(end.key)
            {
                let decision = decided(running, end.decision.clone());
                state::check(State::Running, decision.cause, decision.to)?;
                enqueue::check(end.follow_ups())?;
            }
        }
        Ok(())
    }
}

impl Job {
    fn end_attempt(
        &mut self,
        now: Timestamp,
        running: &Running,
        ending: Ending,
        decision: Decision,
    ) -> Result<(), Error> {
        let Decision { cause, to, run_at, end, reason, result } = decision;
        let reason = reason.filter(|_| end != Some(AttemptEnd::Completed));
        self.enter(ending.at, cause, to, ending.actor, reason.clone())?;
        self.keep_result(running.attempt, end, result.as_ref());
        if let Some(end) = end {
            self.attempts_used = running.attempt;
            self.attempts.push(AttemptRecord {
                attempt: running.attempt,
                worker: running.worker,
                claimed_at: running.claimed_at,
                started_at: ending.started_at,
                ended_at: ending.at,
                end,
                error: reason,
                usage: ending.usage,
            });
        } else {
            self.forget_claim();
        }
        if matches!(to, State::Scheduled | State::Retryable) {
            self.run_at = run_at.unwrap_or(now);
        }
        self.result = result.filter(|_| to == State::Completed);
        Ok(())
    }

    /// How often it was snoozed since it was last run again on request.
    fn snoozes(&self) -> u32 {
        let since_redo = self.timeline.iter().rev().take_while(|entry| entry.cause != Some(Cause::Redo));
        let snoozes = since_redo.filter(|entry| entry.cause == Some(Cause::Snooze)).count();
        u32::try_from(snoozes).unwrap_or(u32::MAX)
    }

    fn append(&mut self, entry: LogEntry) {
        let LogEntry { attempt, at, stream, bytes, .. } = entry;
        let number = self.log.len() as u64;
        self.log.push(LogChunk { number, attempt, at, stream, bytes });
    }
}

/// What is to become of a job, also when somebody asked meanwhile for it to be cancelled.
fn decided(running: &Running, decision: Decision) -> Decision {
    match &running.cancel {
        Some(cancel) if cancel.fails => decision.under_deadline(),
        Some(_) => decision.under_cancel(),
        None => decision,
    }
}
