//! Where a worker's jobs come from and go back to.
//!
//! The worker loop knows only this, and the queue is the one source: what a generator makes are jobs, too (docs/design/0019).

use std::sync::Arc;

use taskwright_core::{Kind, Namespace, NewJob, Priority, QueueName, Timestamp, Verdict, WorkerId};
use taskwright_store::{Claim, Claimed, Finish, JobKey, Reply, SharedStore};

/// What a worker wants of what it serves.
#[derive(Debug)]
pub(crate) struct Wish {
    /// So many jobs at most.
    pub(crate) capacity: usize,
    /// Only these kinds; `None` is all that it serves.
    pub(crate) kinds: Option<Vec<Kind>>,
    /// Only this priority or better.
    pub(crate) priority_max: Option<Priority>,
}

impl Wish {
    /// Anything.
    pub(crate) fn any(capacity: usize) -> Self {
        Self { capacity, kinds: None, priority_max: None }
    }
}

/// Gives jobs, and takes their ends.
pub(crate) trait Source: Send + Sync + 'static {
    /// Jobs that this worker now holds, the most urgent first.
    fn next(&self, now: Timestamp, wish: Wish) -> Reply<'_, Claimed>;

    /// Writes down how attempts ended, each under its fence.
    fn settle(&self, now: Timestamp, ends: Vec<Finish>) -> Reply<'_, Vec<Verdict>>;

    /// Takes back what was given and not started; the attempt does not count.
    fn give_back(&self, now: Timestamp, jobs: Vec<(JobKey, u32)>, reason: String) -> Reply<'_, Vec<Verdict>>;
}

/// The queue of a store, as one worker sees it.
pub(crate) struct QueueSource {
    pub(crate) store: SharedStore,
    pub(crate) worker: WorkerId,
    pub(crate) serves: Arc<Serves>,
}

/// Which jobs a worker takes.
#[derive(Debug)]
pub(crate) struct Serves {
    pub(crate) kinds: Vec<Kind>,
    pub(crate) queues: Option<Vec<QueueName>>,
    pub(crate) namespace: Option<Namespace>,
    pub(crate) priority_max: Option<Priority>,
}

impl Serves {
    pub(crate) fn includes(&self, job: &NewJob) -> bool {
        self.kinds.contains(&job.kind)
            && self.queues.as_ref().is_none_or(|queues| queues.contains(&job.queue))
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == job.namespace)
            && self.priority_max.is_none_or(|worst| job.priority <= worst)
    }
}

impl Source for QueueSource {
    fn next(&self, now: Timestamp, wish: Wish) -> Reply<'_, Claimed> {
        // The lower number is the better one.
        let priority_max = self.serves.priority_max.into_iter().chain(wish.priority_max).min();
        self.store.claim(Claim {
            now,
            worker: self.worker,
            limit: wish.capacity,
            kinds: wish.kinds.unwrap_or_else(|| self.serves.kinds.clone()),
            queues: self.serves.queues.clone(),
            namespace: self.serves.namespace.clone(),
            priority_max,
        })
    }

    fn settle(&self, now: Timestamp, ends: Vec<Finish>) -> Reply<'_, Vec<Verdict>> {
        self.store.finish(now, self.worker, ends)
    }

    fn give_back(&self, now: Timestamp, jobs: Vec<(JobKey, u32)>, reason: String) -> Reply<'_, Vec<Verdict>> {
        self.store.give_back(now, self.worker, jobs, reason)
    }
}
