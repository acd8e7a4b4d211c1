//! How long the lock of a worker on another machine has been missing, as this process has seen it.
//!
//! One look proves nothing: a live process that has lost its session makes it again within moments (see
//! [`tether`](super::tether)). Only a lock that is missing in look after look for a whole second means that the process is
//! gone. Whatever speaks for its life in between begins the second anew: its lease was renewed, the server is another one,
//! or nobody has looked for too long.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a lock has to be missing.
const GRACE_US: u64 = 1_000_000;

/// The longest time between two looks that belong together.
const LOOK_EVERY_US_MAX: u64 = 1_000_000;

/// How soon to look again while a lock is missing: several times within the grace.
const LOOK_AGAIN_US_MAX: u64 = 250_000;

/// A worker whose lock is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Missing {
    /// The worker's number.
    pub(super) worker: i64,
    /// The run of the server, on which it held its lock.
    pub(super) server: i64,
    /// The end of its lease, by which is seen whether that was renewed.
    pub(super) lease_until_db: i64,
}

/// What this process has seen of missing locks. Times are of its monotonic clock.
#[derive(Default)]
pub(super) struct Absences {
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    since_us: HashMap<Missing, u64>,
    looked_us: u64,
}

impl Absences {
    /// Notes what a look found: everything that is missing now. Answers how soon to look again, if any of it may soon have
    /// been missing for long enough.
    pub(super) fn look(&self, now_us: u64, missing: &[Missing]) -> Option<Duration> {
        let mut seen = self.seen();
        let follows = now_us.saturating_sub(seen.looked_us) <= LOOK_EVERY_US_MAX;
        let before = std::mem::take(&mut seen.since_us);
        let since_us = |worker: &Missing| before.get(worker).copied().filter(|_| follows).unwrap_or(now_us);
        seen.since_us = missing.iter().map(|worker| (*worker, since_us(worker))).collect();
        seen.looked_us = now_us;
        let left_us = |since_us: &u64| (since_us + GRACE_US).saturating_sub(now_us);
        let waits = seen.since_us.values().map(left_us).filter(|left_us| *left_us > 0);
        waits.min().map(|left_us| Duration::from_micros(left_us.min(LOOK_AGAIN_US_MAX)))
    }

    /// Whether the lock of a worker has been missing for long enough at this moment.
    pub(super) fn is_long(&self, now_us: u64, worker: &Missing) -> bool {
        self.seen().since_us.get(worker).is_some_and(|since_us| now_us.saturating_sub(*since_us) >= GRACE_US)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // Each look is noted whole.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKER: Missing = Missing { worker: 1, server: 7, lease_until_db: 99 };

    /// Looks every 250 ms until the moment, and says whether the worker has been missing for long then.
    fn looks(absences: &Absences, from_us: u64, to_us: u64, worker: Missing) -> bool {
        for now_us in (from_us..=to_us).step_by(250_000) {
            absences.look(now_us, &[worker]);
        }
        absences.is_long(to_us, &worker)
    }

    #[test]
    fn a_lock_has_to_be_missing_for_a_second() {
        let absences = Absences::default();
        assert!(!looks(&absences, 5_000_000, 5_750_000, WORKER));
        assert!(!absences.is_long(5_999_999, &WORKER));
        assert!(looks(&absences, 6_000_000, 6_000_000, WORKER));
    }

    #[test]
    fn a_lock_that_was_back_in_between_is_missing_anew() {
        let absences = Absences::default();
        looks(&absences, 5_000_000, 5_750_000, WORKER);
        absences.look(5_900_000, &[]);
        assert!(!looks(&absences, 6_000_000, 6_750_000, WORKER));
        assert!(looks(&absences, 7_000_000, 7_000_000, WORKER));
    }

    #[test]
    fn a_renewed_lease_and_another_server_begin_anew() {
        for sign in [Missing { lease_until_db: 100, ..WORKER }, Missing { server: 8, ..WORKER }] {
            let absences = Absences::default();
            looks(&absences, 5_000_000, 5_750_000, WORKER);
            assert!(!looks(&absences, 6_000_000, 6_750_000, sign));
        }
    }

    #[test]
    fn two_looks_that_lie_far_apart_prove_nothing() {
        let absences = Absences::default();
        absences.look(5_000_000, &[WORKER]);
        absences.look(6_000_001, &[WORKER]);
        assert!(!absences.is_long(6_000_001, &WORKER));
    }

    #[test]
    fn whoever_misses_a_lock_looks_again_in_time() {
        let absences = Absences::default();
        assert_eq!(absences.look(5_000_000, &[]), None);
        assert_eq!(absences.look(5_000_000, &[WORKER]), Some(Duration::from_millis(250)));
        absences.look(5_500_000, &[WORKER]);
        assert_eq!(absences.look(5_900_000, &[WORKER]), Some(Duration::from_millis(100)));
        assert_eq!(absences.look(6_000_000, &[WORKER]), None);
    }
}
