//! New jobs.

use std::collections::BTreeMap;

use taskwright_core::limit::ENQUEUE_JOBS_MAX;
use taskwright_core::{Actor, Error as Refused, NewJob, State, Timestamp};

use crate::Enqueued;
use crate::error::Error;
use crate::query::TimelineEntry;

use super::bulk::Bulk;
use super::job::Job;
use super::world::World;

/// Refuses a batch that is too large.
pub(super) fn check(jobs: &[NewJob]) -> Result<(), Error> {
    if jobs.len() > ENQUEUE_JOBS_MAX {
        let refused = Refused::too_large(
            "the jobs to enqueue",
            format!("there are {}, {ENQUEUE_JOBS_MAX} are allowed in one call", jobs.len()),
            "enqueue them in several calls",
        );
        return Err(refused.into());
    }
    Ok(())
}

impl World {
    pub(super) fn enqueue(&mut self, now: Timestamp, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>, Error> {
        check(&jobs)?;
        Ok(jobs.into_iter().map(|new| self.enqueue_one(now, new)).collect())
    }

    fn enqueue_one(&mut self, now: Timestamp, new: NewJob) -> Enqueued {
        if self.keys.contains_key(&new.id) {
            return Enqueued { id: new.id, existing: true };
        }
        let id = new.id;
        let key = self.next_key();
        let job = Job::created(key, now, new);
        if let Some(holder) = self.holder(&job) {
            return Enqueued { id: holder, existing: true };
        }
        self.insert(job);
        Enqueued { id, existing: false }
    }
}

impl Job {
    fn created(key: crate::JobKey, now: Timestamp, new: NewJob) -> Self {
        let run_at = new.run_at.map_or(now, |at| at.max(now));
        let state = match (new.held, run_at > now) {
            (true, _) => State::Held,
            (false, true) => State::Scheduled,
            (false, false) => State::Available,
        };
        let owner = new.owner.as_ref().and_then(|owner| Actor::new(owner.as_str()).ok());
        let actor = owner.unwrap_or_else(Actor::system);
        let created = TimelineEntry { at: now, cause: None, to: state, actor, reason: None };
        Self {
            key,
            state,
            priority: new.priority,
            created_at: now,
            run_at,
            ended_at: None,
            max_attempts: new.max_attempts,
            attempts_used: 0,
            attempts: Vec::new(),
            attempts_before_redo: 0,
            item_key: None,
            comments: Vec::new(),
            attachments: BTreeMap::new(),
            steps: Vec::new(),
            consumed_at: None,
            cancel_asked: false,
            unique: new.unique.clone(),
            result: None,
            results: BTreeMap::new(),
            end_reason: None,
            timeline: vec![created],
            log: Vec::new(),
            bulk: None,
            new,
        }
    }

    /// The parent of a bulk, which is blocked.
    pub(super) fn parent(key: crate::JobKey, now: Timestamp, new: NewJob, bulk: Bulk) -> Self {
        let new = NewJob { run_at: None, held: false, unique: None, ..new };
        let mut job = Self::created(key, now, new);
        job.state = State::Blocked;
        job.timeline[0].to = State::Blocked;
        Self { bulk: Some(Box::new(bulk)), ..job }
    }
}
