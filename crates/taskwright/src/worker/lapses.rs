//! Whom a worker has given back because the store was away.
//!
//! Once for each job that costs it no attempt. A second time in the same process it does, and counts as a lost worker: a job may
//! be what keeps the store from taking writes, as with a long transaction of its own, and would run for ever otherwise.

use std::collections::HashSet;
use std::sync::Mutex;

use taskwright_store::JobKey;

use crate::attempt::lock;

/// Jobs that are remembered.
const JOBS_MAX: usize = 10_000;

/// The jobs that were given back so far, over all incarnations of a worker.
#[derive(Debug, Default)]
pub(crate) struct Lapses(Mutex<HashSet<JobKey>>);

impl Lapses {
    /// Notes a job; whether it is the first time.
    pub(crate) fn is_first(&self, job: JobKey) -> bool {
        let mut jobs = lock(&self.0);
        if jobs.len() >= JOBS_MAX {
            jobs.clear();
        }
        jobs.insert(job)
    }
}
