//! Deadlines: what becomes of jobs that run, or wait, for too long.
//!
//! A deadline is a rule about all jobs that it is for, and nothing that a job carries: when the rule changes, it has changed for
//! all of them at once.

use std::time::Duration;

use crate::error::Error;
use crate::priority::Priority;
use crate::state::State;
use crate::time::Timestamp;

/// The shortest deadline: 1 s.
const AFTER_MIN: Duration = Duration::from_secs(1);

/// A rule about jobs that take too long.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use taskwright_core::deadline::{Action, Deadline, Watched};
///
/// let rule = Deadline { watched: Watched::Running, after: Duration::from_secs(3_600), action: Action::Fail }.checked()?;
/// assert!(Deadline { watched: Watched::Waiting, ..rule }.checked().is_err(), "what waits has not failed: it is dropped");
/// # Ok::<(), taskwright_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// Which jobs are held to it.
    pub watched: Watched,
    /// How long they may take.
    pub after: Duration,
    /// What becomes of them after that.
    pub action: Action,
}

/// Which jobs are held to a deadline, and since when their time counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// Running jobs, each attempt since it was claimed.
    Running,
    /// Available jobs, since they became available: what waits for its time is not late.
    Waiting,
}

/// What becomes of a job that took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A running job is asked to stop, and has failed, whatever attempts are left.
    Fail,
    /// It is cancelled; a running one by asking it to stop.
    Cancel,
    /// A waiting job is dropped.
    Drop,
    /// A waiting job gets this priority, if it has a worse one.
    Escalate(Priority),
}

/// What a deadline must know about a job.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Its state.
    pub state: State,
    /// When it became available.
    pub run_at: Timestamp,
    /// When its running attempt was claimed.
    pub claimed_at: Option<Timestamp>,
    /// Its priority as it was submitted, or changed to.
    pub priority: Priority,
    /// Whether it was asked to stop before.
    pub cancel_requested: bool,
}

impl Watched {
    /// The state of the jobs that are held to it.
    pub const fn state(self) -> State {
        match self {
            Self::Running => State::Running,
            Self::Waiting => State::Available,
        }
    }
}

impl Deadline {
    /// The same, if it makes sense.
    ///
    /// # Errors
    ///
    /// When the time is shorter than 1 s, or what is to be done cannot be done to such jobs.
    pub fn checked(self) -> Result<Self, Error> {
        let refused = match (self.watched, self.action) {
            _ if self.after < AFTER_MIN => Some(("it is shorter than 1 s", "give it a second or more")),
            (Watched::Running, Action::Escalate(_) | Action::Drop) => Some((
                "a running job cannot be hurried or dropped",
                "use `fail` or `cancel`, or watch waiting jobs",
            )),
            (Watched::Waiting, Action::Fail) => Some((
                "a job that was not started has not failed",
                "use `drop`, `cancel` or `escalate`, or watch running jobs",
            )),
            _ => None,
        };
        match refused {
            Some((why, fix)) => Err(Error::invalid("the deadline", why, fix)),
            None => Ok(self),
        }
    }

    /// When something is to be done about a job; `None` when nothing is.
    pub fn due_at(&self, job: &Facts) -> Option<Timestamp> {
        if job.state != self.watched.state() || job.cancel_requested {
            return None;
        }
        let since = match self.watched {
            Watched::Running => job.claimed_at?,
            Watched::Waiting => job.run_at,
        };
        match self.action {
            Action::Escalate(priority) if job.priority <= priority => None,
            _ => Some(since.plus(self.after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: i64) -> Timestamp {
        Timestamp::from_micros(s * 1_000_000)
    }

    fn facts(state: State) -> Facts {
        let claimed_at = (state == State::Running).then(|| at(50));
        Facts { state, run_at: at(10), claimed_at, priority: Priority::DEFAULT, cancel_requested: false }
    }

    fn rule(watched: Watched, action: Action) -> Deadline {
        Deadline { watched, after: Duration::from_secs(100), action }
    }

    #[test]
    fn a_running_job_is_late_by_its_attempt_and_a_waiting_one_since_it_was_available() {
        let running = rule(Watched::Running, Action::Fail);
        assert_eq!(running.due_at(&facts(State::Running)), Some(at(150)));
        assert_eq!(running.due_at(&Facts { cancel_requested: true, ..facts(State::Running) }), None);
        let waiting = rule(Watched::Waiting, Action::Drop);
        assert_eq!(waiting.due_at(&facts(State::Available)), Some(at(110)));
        for state in State::ALL {
            assert_eq!(running.due_at(&facts(state)).is_some(), state == State::Running, "{state}");
            assert_eq!(waiting.due_at(&facts(state)).is_some(), state == State::Available, "{state}");
        }
    }

    #[test]
    fn who_has_that_priority_or_a_better_one_is_hurried_no_more() {
        let due = |to| rule(Watched::Waiting, Action::Escalate(to)).due_at(&facts(State::Available));
        assert_eq!(
            (due(Priority::HIGH), due(Priority::DEFAULT), due(Priority::BULK)),
            (Some(at(110)), None, None)
        );
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        let hurry = Action::Escalate(Priority::HIGH);
        for bad in [
            rule(Watched::Running, hurry),
            rule(Watched::Running, Action::Drop),
            rule(Watched::Waiting, Action::Fail),
            Deadline { after: Duration::from_millis(999), ..rule(Watched::Running, Action::Fail) },
        ] {
            assert!(bad.checked().unwrap_err().is_invalid(), "{bad:?}");
        }
        for good in [
            (Watched::Running, Action::Cancel),
            (Watched::Waiting, Action::Cancel),
            (Watched::Waiting, hurry),
        ] {
            rule(good.0, good.1).checked().unwrap();
        }
    }
}
