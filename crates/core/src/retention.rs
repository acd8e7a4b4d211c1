//! How long what is over is kept.

use std::time::Duration;

use crate::state::State;
use crate::time::Timestamp;

/// How long jobs are kept after their end, per terminal state, and other history after it was made; `None` keeps it for
/// ever.
///
/// A job that is not over is never removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Default 7 days.
    pub completed: Option<Duration>,
    /// Default 30 days.
    pub failed: Option<Duration>,
    /// Default 30 days.
    pub cancelled: Option<Duration>,
    /// Default 30 days.
    pub dropped: Option<Duration>,
    /// What schedules fired and skipped. Default 30 days.
    pub firings: Option<Duration>,
    /// Events, once they are delivered. Default 7 days.
    pub events: Option<Duration>,
    /// Attempts to deliver events to webhooks. Default 7 days.
    pub deliveries: Option<Duration>,
}

const DAY: Duration = Duration::from_secs(86_400);

impl Default for Retention {
    fn default() -> Self {
        let (week, month) = (Some(DAY * 7), Some(DAY * 30));
        Self {
            completed: week,
            failed: month,
            cancelled: month,
            dropped: month,
            firings: month,
            events: week,
            deliveries: week,
        }
    }
}

impl Retention {
    /// The moment before which a job must have ended to be removed now; `None` when the state is kept for ever or
    /// is not terminal.
    pub fn cutoff(&self, state: State, now: Timestamp) -> Option<Timestamp> {
        let keep = match state {
            State::Completed => self.completed,
            State::Failed => self.failed,
            State::Cancelled => self.cancelled,
            State::Dropped => self.dropped,
            _ => None,
        };
        keep.map(|keep| now.minus(keep))
    }

    /// Whether a job that reached `state` at `ended_at` may be removed now.
    pub fn is_over(&self, state: State, ended_at: Timestamp, now: Timestamp) -> bool {
        self.cutoff(state, now).is_some_and(|cutoff| ended_at < cutoff)
    }

    /// The moment before which a job must have been *created* for any rule to remove it now: whatever is younger can
    /// be skipped unread. `None` when nothing is ever removed.
    pub fn newest_cutoff(&self, now: Timestamp) -> Option<Timestamp> {
        State::ALL.into_iter().filter_map(|state| self.cutoff(state, now)).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_completed_job_goes_after_a_week_and_a_failed_one_after_a_month() {
        let keep = Retention::default();
        let now = Timestamp::from_micros(0).plus(DAY * 100);
        let day = |n| Timestamp::from_micros(0).plus(DAY * n);
        assert!(keep.is_over(State::Completed, day(92), now));
        assert!(!keep.is_over(State::Completed, day(93), now));
        assert!(keep.is_over(State::Failed, day(69), now));
        assert!(!keep.is_over(State::Failed, day(92), now));
        assert_eq!(keep.newest_cutoff(now), Some(day(93)));
    }

    #[test]
    fn what_is_not_over_is_never_removed() {
        let keep = Retention { completed: Some(Duration::ZERO), ..Retention::default() };
        for state in State::ALL.into_iter().filter(|state| !state.is_terminal()) {
            assert!(!keep.is_over(state, Timestamp::from_micros(0), Timestamp::MAX), "{state}");
        }
    }
}
