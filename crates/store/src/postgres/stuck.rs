//! Lost workers whose jobs cannot go on, because one of their rows cannot be written: each is tried again by itself, ever
//! more slowly, so that it holds up no other.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The first and the longest pause before such a worker is looked at again.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// By the workers' numbers.
#[derive(Default)]
pub(super) struct Stuck {
    workers: Mutex<HashMap<i64, Again>>,
}

#[derive(Clone, Copy)]
struct Again {
    pause: Duration,
    /// In monotonic microseconds.
    due_us: u64,
}

impl Stuck {
    pub(super) fn is_due(&self, worker: i64, now_us: u64) -> bool {
        self.workers().get(&worker).is_none_or(|again| now_us >= again.due_us)
    }

    /// Notes a failure, and gives the pause before the next attempt.
    pub(super) fn note(&self, worker: i64, now_us: u64) -> Duration {
        let mut workers = self.workers();
        let pause = workers.get(&worker).map_or(PAUSE.0, |again| (again.pause * 2).min(PAUSE.1));
        let due_us = now_us.saturating_add(u64::try_from(pause.as_micros()).unwrap_or(u64::MAX));
        workers.insert(worker, Again { pause, due_us });
        pause
    }

    pub(super) fn forget(&self, worker: i64) {
        self.workers().remove(&worker);
    }

    fn workers(&self) -> MutexGuard<'_, HashMap<i64, Again>> {
        // Each change is complete in itself.
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_tried_ever_more_slowly_and_by_itself() {
        let stuck = Stuck::default();
        assert!(stuck.is_due(1, 0));
        let mut now_us = 0;
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(stuck.note(1, now_us), Duration::from_secs(seconds));
            now_us += seconds * 1_000_000;
            assert!(!stuck.is_due(1, now_us - 1) && stuck.is_due(1, now_us) && stuck.is_due(2, 0));
        }
        stuck.forget(1);
        assert_eq!(stuck.note(1, now_us), Duration::from_secs(1));
    }
}
