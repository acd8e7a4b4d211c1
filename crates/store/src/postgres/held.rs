//! Which jobs the workers of this process hold, and in which block each of them is.
//!
//! It saves the server a search: a completion names its block. Nothing depends on it being right: the server checks each
//! name, and a job that is not known here is searched for.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use taskwright_core::{Timestamp, WorkerId};

#[derive(Default)]
pub(super) struct Held {
    jobs: Mutex<HashMap<i64, Job>>,
}

struct Job {
    worker: WorkerId,
    place: Where,
}

/// Where a job that a worker of this process holds is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Where {
    Block {
        block: i64,
        claimed_at: Timestamp,
    },
    /// In `running`.
    Running,
    /// Not known here.
    Unknown,
}

impl Held {
    /// Notes what a claim gave.
    pub(super) fn add(&self, worker: WorkerId, jobs: impl Iterator<Item = (i64, Where)>) {
        self.jobs().extend(jobs.map(|(seq, place)| (seq, Job { worker, place })));
    }

    /// Where a worker's jobs are. What another worker of this process holds by now is not known of this one.
    pub(super) fn find(&self, worker: WorkerId, seqs: impl Iterator<Item = i64>) -> Vec<Where> {
        let jobs = self.jobs();
        let own = |seq| jobs.get(&seq).filter(|job| job.worker == worker);
        seqs.map(|seq| own(seq).map_or(Where::Unknown, |job| job.place)).collect()
    }

    /// Notes that a worker holds jobs no longer: not another one, that was given them since.
    pub(super) fn remove(&self, worker: WorkerId, seqs: impl Iterator<Item = i64>) {
        let mut jobs = self.jobs();
        for seq in seqs {
            if jobs.get(&seq).is_some_and(|job| job.worker == worker) {
                jobs.remove(&seq);
            }
        }
    }

    /// Notes that jobs have a row in `running` now.
    pub(super) fn set_apart(&self, seqs: &[i64]) {
        let mut jobs = self.jobs();
        for seq in seqs {
            if let Some(job) = jobs.get_mut(seq) {
                job.place = Where::Running;
            }
        }
    }

    /// Forgets what a worker held.
    pub(super) fn forget(&self, worker: WorkerId) {
        self.jobs().retain(|_, job| job.worker != worker);
    }

    fn jobs(&self) -> MutexGuard<'_, HashMap<i64, Job>> {
        // Whatever is missing after a panic is searched for by the server.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: Where = Where::Block { block: 7, claimed_at: Timestamp::from_micros(1) };

    #[test]
    fn a_job_is_where_its_claim_put_it_until_it_is_set_apart_or_ends() {
        let (held, worker) = (Held::default(), WorkerId::from_parts(1, [1; 10]));
        held.add(worker, [(1, BLOCK), (2, BLOCK), (3, BLOCK)].into_iter());
        held.set_apart(&[2, 4]);
        held.remove(worker, [3].into_iter());
        let found = held.find(worker, 1..=4);
        assert_eq!(found, [BLOCK, Where::Running, Where::Unknown, Where::Unknown]);
    }

    #[test]
    fn a_worker_that_is_gone_holds_nothing() {
        let held = Held::default();
        let (gone, other) = (WorkerId::from_parts(1, [1; 10]), WorkerId::from_parts(1, [2; 10]));
        held.add(gone, [(1, BLOCK)].into_iter());
        held.add(other, [(2, Where::Running)].into_iter());
        held.forget(gone);
        assert_eq!(held.find(gone, 1..=2), [Where::Unknown, Where::Unknown]);
        assert_eq!(held.find(other, 1..=2), [Where::Unknown, Where::Running]);
    }

    #[test]
    fn a_late_end_of_one_worker_takes_nothing_from_the_one_that_has_the_job_now() {
        let held = Held::default();
        let (late, current) = (WorkerId::from_parts(1, [1; 10]), WorkerId::from_parts(1, [2; 10]));
        held.add(late, [(1, BLOCK)].into_iter());
        held.add(current, [(1, Where::Running)].into_iter());
        held.remove(late, [1].into_iter());
        assert_eq!(held.find(current, [1].into_iter()), [Where::Running]);
        assert_eq!(held.find(late, [1].into_iter()), [Where::Unknown]);
    }
}
