//! Where a worker's jobs come from and go back to.
//!
//! The worker loop knows only this; the queue is the first source. A generator will be another.

use std::sync::Arc;

use taskwright_core::{Kind, Namespace, Priority, QueueName, Timestamp, Verdict, WorkerId};
use taskwright_store::{Claim, Claimed, Finish, JobKey, Reply, SharedStore};

/// Gives jobs, and takes their ends.
pub(crate) trait Source: Send + Sync + 'static {
    /// Up to `capacity` jobs that this worker now holds, the most urgent first.
    fn next(&self, now: Timestamp, capacity: usize) -> Reply<'_, Claimed>;

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

impl Source for QueueSource {
    fn next(&self, now: Timestamp, capacity: usize) -> Reply<'_, Claimed> {
        self.store.claim(Claim {
            now,
            worker: self.worker,
            limit: capacity,
            kinds: self.serves.kinds.clone(),
            queues: self.serves.queues.clone(),
            namespace: self.serves.namespace.clone(),
            priority_max: self.serves.priority_max,
        })
    }

    fn settle(&self, now: Timestamp, ends: Vec<Finish>) -> Reply<'_, Vec<Verdict>> {
        self.store.finish(now, self.worker, ends)
    }

    fn give_back(&self, now: Timestamp, jobs: Vec<(JobKey, u32)>, reason: String) -> Reply<'_, Vec<Verdict>> {
        self.store.give_back(now, self.worker, jobs, reason)
    }
}
