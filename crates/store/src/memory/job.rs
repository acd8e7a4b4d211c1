//! A job and its running row, as the model keeps them.

use std::collections::BTreeMap;

use taskwright_core::attempt::AttemptEnd;
use taskwright_core::limit::HOLD_MAX;
use taskwright_core::{
    Actor, AttachmentName, AttemptRecord, Cause, Error, GeneratorName, JobId, MaxAttempts, NewJob, Priority,
    State, Timestamp, UniqueKey, WorkerId, state,
};

use super::attachment::Kept;
use super::bulk::Bulk;
use crate::claim::JobKey;
use crate::finish::Progress;
use crate::query::{JobDetail, JobView, LogChunk, TimelineEntry, tells_cancel};
use crate::step::StepView;
use crate::submitter::Comment;

/// A job with everything about it.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) key: JobKey,
    /// What was submitted, as it was submitted.
    pub(super) new: NewJob,
    pub(super) state: State,
    pub(super) priority: Priority,
    pub(super) created_at: Timestamp,
    /// While it waits for its time: the moment it is due. From then on, and while it runs: the moment from which it
    /// counts as available, so that a job that goes back keeps its place.
    pub(super) run_at: Timestamp,
    pub(super) ended_at: Option<Timestamp>,
    /// The limit in force: a redo raises it.
    pub(super) max_attempts: MaxAttempts,
    pub(super) attempts_used: u32,
    pub(super) attempts: Vec<AttemptRecord>,
    /// How many of the attempts were made before the last redo.
    pub(super) attempts_before_redo: usize,
    /// The unique key, while the job holds it.
    pub(super) unique: Option<UniqueKey>,
    pub(super) result: Option<String>,
    /// The results of attempts, by their numbers.
    pub(super) results: BTreeMap<u32, String>,
    /// Why it ended, if that was not the end of an attempt.
    pub(super) end_reason: Option<String>,
    pub(super) timeline: Vec<TimelineEntry>,
    pub(super) log: Vec<LogChunk>,
    /// What it has besides as the parent of a bulk.
    pub(super) bulk: Option<Box<Bulk>>,
    /// What its generator called it, once it is a dead letter.
    pub(super) item_key: Option<String>,
    pub(super) comments: Vec<Comment>,
    /// What is attached to it.
    pub(super) attachments: BTreeMap<AttachmentName, Kept>,
    pub(super) steps: Vec<StepView>,
    /// When its owner had read how it ended.
    pub(super) consumed_at: Option<Timestamp>,
    /// Whether somebody asked for it to be cancelled while it ran, since it was stored or run once more.
    pub(super) cancel_asked: bool,
}

/// What is known of a job only while it runs.
#[derive(Clone, Debug)]
pub(super) struct Running {
    pub(super) worker: WorkerId,
    pub(super) attempt: u32,
    pub(super) claimed_at: Timestamp,
    /// Whether its worker noted that it called the handler.
    pub(super) started: bool,
    pub(super) cancel: Option<Cancel>,
    pub(super) progress: Option<Progress>,
}

/// Somebody's wish that a running job ends.
#[derive(Clone, Debug)]
pub(super) struct Cancel {
    pub(super) actor: Actor,
    pub(super) reason: Option<String>,
    /// Whether it has failed then.
    pub(super) fails: bool,
}

/// Where a job stands while it waits, for the ordered sets that find it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// To be claimed: its priority, and since when it is available.
    Available(Priority, Timestamp),
    /// To be promoted or dropped at this moment.
    Due(Timestamp),
    /// Nothing waits for it.
    Nowhere,
}

impl Job {
    pub(super) fn id(&self) -> JobId {
        self.new.id
    }

    pub(super) fn place(&self) -> Place {
        match self.state {
            State::Available => Place::Available(self.priority, self.run_at),
            State::Scheduled | State::Retryable => Place::Due(self.run_at),
            State::Held => Place::Due(self.created_at.plus(HOLD_MAX)),
            _ => Place::Nowhere,
        }
    }

    /// Moves the job, with an entry in its timeline.
    ///
    /// # Errors
    ///
    /// When the transition table does not have the move; nothing was changed then.
    pub(super) fn enter(
        &mut self,
        at: Timestamp,
        cause: Cause,
        to: State,
        actor: Actor,
        reason: Option<String>,
    ) -> Result<(), Error> {
        state::check(self.state, cause, to)?;
        self.state = to;
        self.ended_at = to.is_terminal().then_some(at);
        self.timeline.push(TimelineEntry { at, cause: Some(cause), to, actor, reason });
        Ok(())
    }

    /// Notes in the timeline what moved nothing.
    pub(super) fn note(&mut self, at: Timestamp, actor: Actor, reason: String) {
        self.timeline.push(TimelineEntry { at, cause: None, to: self.state, actor, reason: Some(reason) });
    }

    /// Takes the claim of an attempt that does not count out of the timeline again.
    pub(super) fn forget_claim(&mut self) {
        if let Some(at) = self.timeline.iter().rposition(|entry| entry.cause == Some(Cause::Claim)) {
            self.timeline.remove(at);
        }
    }

    /// How many attempts in a row, up to the newest, were lost; those before the last redo are forgiven.
    pub(super) fn lost_in_a_row(&self) -> u32 {
        let since_redo = &self.attempts[self.attempts_before_redo..];
        let is_in_row =
            |record: &&AttemptRecord| record.end == AttemptEnd::Lost && !self.kept_a_step(record.attempt);
        let lost = since_redo.iter().rev().take_while(is_in_row).count();
        u32::try_from(lost).unwrap_or(u32::MAX)
    }

    /// Whether this attempt kept a step.
    pub(super) fn kept_a_step(&self, attempt: u32) -> bool {
        self.steps.iter().any(|step| step.attempt == attempt)
    }

    /// What a listing shows, but for what the world knows: its worker's machine, and what its generator calls it.
    pub(super) fn view(&self, running: Option<&Running>) -> JobView {
        let newest = self.attempts.last();
        let error = self.end_reason.as_ref().or(newest.and_then(|record| record.error.as_ref()));
        JobView {
            id: self.id(),
            kind: self.new.kind.clone(),
            state: self.state,
            queue: self.new.queue.clone(),
            priority: self.priority,
            namespace: self.new.namespace.clone(),
            owner: self.new.owner.clone(),
            generator: GeneratorName::of_queue(&self.new.queue),
            item_key: self.item_key.clone(),
            attempt: running.map_or(self.attempts_used, |running| running.attempt),
            max_attempts: self.max_attempts,
            created_at: self.created_at,
            run_at: self.run_at,
            claimed_at: running.map(|row| row.claimed_at).or(newest.map(|record| record.claimed_at)),
            ended_at: self.ended_at,
            worker: running.map(|row| row.worker).or(newest.map(|record| record.worker)),
            host: None,
            progress: match &self.bulk {
                Some(bulk) => Some(bulk.progress.clone()),
                None => running.and_then(|row| row.progress.clone()),
            },
            cancel_requested: tells_cancel(
                self.state,
                running.is_some_and(|row| row.cancel.is_some()),
                self.cancel_asked,
            ),
            error: error.cloned(),
            consumed_at: self.consumed_at,
        }
    }

    pub(super) fn detail(&self, running: Option<&Running>) -> JobDetail {
        let mut timeline = self.timeline.clone();
        timeline.sort_by_key(|entry| entry.at);
        JobDetail {
            view: self.view(running),
            args: self.new.args.clone(),
            backoff: self.new.backoff,
            timeout: self.new.timeout,
            delivery: self.new.delivery,
            unique: self.unique.as_ref().map(|unique| unique.as_str().to_owned()),
            result: self.result.clone(),
            attempts: self.attempts.clone(),
            timeline,
            comments: self.comments.clone(),
        }
    }
}
