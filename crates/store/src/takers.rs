//! Workers that take a job from whoever stores it.
//!
//! A job is stored, and then claimed: two transactions, two flushes, and a hint between them. When both happen in one process and
//! the worker has nothing to do, one transaction will do: whoever stores the job asks for it in the worker's name
//! ([`Store::enqueue_to`](crate::Store::enqueue_to)), and hands over what the store gave.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use taskwright_core::{NewJob, Timestamp};

use crate::claim::{Claim, ClaimedJob};

/// A worker that may take jobs from those who store them.
pub trait Taker: Send + Sync {
    /// What to ask for, if the worker would start this job at once. Every offer is followed by one [`take`](Self::take).
    fn offer(&self, now: Timestamp, job: &NewJob) -> Option<Claim>;

    /// What came of an offer: the jobs that the store gave; `None` when nobody knows what it gave.
    fn take(&self, given: Option<Vec<ClaimedJob>>);
}

/// The takers among the workers of a process on one store.
#[derive(Default)]
pub struct Takers(Mutex<Vec<Weak<dyn Taker>>>);

impl Takers {
    /// Adds a worker; it is forgotten when it is gone.
    pub fn join(&self, taker: Weak<dyn Taker>) {
        let mut takers = self.takers();
        takers.retain(|known| known.strong_count() > 0);
        takers.push(taker);
    }

    /// The offer of a worker that would start this job at once. Only jobs that may start at once, and have no unique key, are
    /// offered.
    pub fn offer(&self, now: Timestamp, job: &NewJob) -> Option<Offer> {
        if job.held || job.unique.is_some() || job.run_at.is_some_and(|run_at| run_at > now) {
            return None;
        }
        // Nobody is asked under the lock.
        let takers = self.takers().clone();
        takers.iter().filter_map(Weak::upgrade).find_map(|taker| {
            let claim = taker.offer(now, job)?;
            Some(Offer { taker, claim, taken: false })
        })
    }

    fn takers(&self) -> MutexGuard<'_, Vec<Weak<dyn Taker>>> {
        // Each change is complete in itself.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Takers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Takers").field(&self.takers().len()).finish()
    }
}

/// A worker that waits for the job that is just being stored. Dropped, it tells the worker that nobody knows what came of it.
pub struct Offer {
    taker: Arc<dyn Taker>,
    claim: Claim,
    taken: bool,
}

impl Offer {
    /// What to ask for.
    pub fn claim(&self) -> Claim {
        self.claim.clone()
    }

    /// Hands over what the store gave, be it nothing.
    pub fn take(mut self, given: Vec<ClaimedJob>) {
        self.taken = true;
        self.taker.take(Some(given));
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        if !self.taken {
            self.taker.take(None);
        }
    }
}

impl std::fmt::Debug for Offer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Offer").field("claim", &self.claim).finish_non_exhaustive()
    }
}
