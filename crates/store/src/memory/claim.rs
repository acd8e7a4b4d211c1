//! What a worker is given.

use taskwright_core::limit::CLAIM_JOBS_MAX;
use taskwright_core::{Actor, Cause, State, UniqueScope, WorkerId};

use crate::claim::{Claim, Claimed, ClaimedJob, JobKey};
use crate::error::Error;

use super::job::{Job, Running};
use super::world::World;

impl World {
    pub(super) fn claim(&mut self, claim: &Claim) -> Result<Claimed, Error> {
        self.living(claim.worker)?;
        let actor = worker_actor(claim.worker);
        let keys = self.most_urgent(claim);
        let jobs: Result<_, Error> = keys.into_iter().map(|key| self.claim_one(key, claim, &actor)).collect();
        Ok(Claimed { jobs: jobs? })
    }

    /// The jobs that the worker gets, the most urgent first.
    ///
    /// Within one priority the older job is never less urgent, whatever the ageing; so the first few of each priority
    /// are enough to choose from.
    fn most_urgent(&self, claim: &Claim) -> Vec<JobKey> {
        let limit = claim.limit.min(CLAIM_JOBS_MAX);
        let mut candidates = Vec::new();
        for (priority, jobs) in &self.available {
            if claim.priority_max.is_some_and(|max| *priority > max) {
                continue;
            }
            let served = jobs.iter().filter(|(_, key)| self.is_served(&self.jobs[key], claim));
            candidates.extend(served.take(limit).map(|(since, key)| {
                let urgency: (i64, _, _) = (priority.aged(claim.now.since(*since)), *since, *key);
                urgency
            }));
        }
        candidates.sort_unstable();
        candidates.into_iter().take(limit).map(|(_, _, key)| key).collect()
    }

    fn is_served(&self, job: &Job, claim: &Claim) -> bool {
        let new = &job.new;
        let paused = self.queues.get(&(new.namespace.clone(), new.queue.clone())) == Some(&true);
        !paused
            && claim.kinds.contains(&new.kind)
            && claim.queues.as_ref().is_none_or(|queues| queues.contains(&new.queue))
            && claim.namespace.as_ref().is_none_or(|namespace| *namespace == new.namespace)
    }

    fn claim_one(&mut self, key: JobKey, claim: &Claim, actor: &Actor) -> Result<ClaimedJob, Error> {
        let claimed = self.update(key, |job| {
            job.enter(claim.now, Cause::Claim, State::Running, actor.clone(), None)?;
            Ok::<_, Error>(job.claimed(claim))
        })?;
        let scope = self.jobs[&key].unique.as_ref().map(|unique| unique.scope);
        if scope == Some(UniqueScope::Waiting) {
            self.release_unique(key);
        }
        let running = Running {
            worker: claim.worker,
            attempt: claimed.attempt,
            claimed_at: claim.now,
            started: false,
            cancel: None,
            progress: None,
        };
        self.running.insert(key, running);
        Ok(claimed)
    }
}

impl Job {
    fn claimed(&self, claim: &Claim) -> ClaimedJob {
        let new = &self.new;
        ClaimedJob {
            key: self.key,
            id: new.id,
            attempt: self.attempts_used + 1,
            namespace: new.namespace.clone(),
            owner: new.owner.clone(),
            kind: new.kind.clone(),
            queue: new.queue.clone(),
            priority: self.priority,
            args: new.args.clone(),
            created_at: self.created_at,
            claimed_at: claim.now,
            max_attempts: self.max_attempts,
            backoff: new.backoff,
            timeout: new.timeout,
            delivery: new.delivery,
        }
    }
}

/// How a worker is named in a timeline.
pub(super) fn worker_actor(worker: WorkerId) -> Actor {
    Actor::new(&format!("worker {worker}")).expect("a word and a UUID are printable and short")
}
