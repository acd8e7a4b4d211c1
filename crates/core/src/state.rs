//! The states of a job and the one table of moves between them.
//!
//! Every store asks [`check`] before it writes a move; a move that is not in the table is an error and changes
//! nothing.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// Where a job is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Created, not yet released: its input is still arriving.
    Held,
    /// Waits for parents or a signal.
    Blocked,
    /// Its `run_at` lies in the future.
    Scheduled,
    /// May be claimed.
    Available,
    /// A worker holds it.
    Running,
    /// Failed, waits for its back-off.
    Retryable,
    /// Terminal: the handler said so.
    Completed,
    /// Terminal: no attempt is left, or the failure was permanent.
    Failed,
    /// Terminal: somebody asked.
    Cancelled,
    /// Terminal: the system could not run it.
    Dropped,
}

/// Why a job moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The submitter released a held job.
    Release,
    /// The last thing it waited for happened.
    Unblock,
    /// Its time has come.
    Promote,
    /// A worker took it.
    Claim,
    /// The handler returned a result; or what a blocked job waited for was all that there was to do.
    Complete,
    /// The handler failed and an attempt is left.
    Retry,
    /// The handler failed for good, or no attempt is left; or what a blocked job waited for failed.
    Fail,
    /// The handler asked to be called again later; the attempt does not count.
    Snooze,
    /// The worker hands it back: it stops, or could not start it soon. The attempt does not count.
    GiveBack,
    /// The worker is gone. The attempt counts.
    Lose,
    /// Somebody asked for it to end.
    Cancel,
    /// The system ends it: hold expired, waited too long, lost under at-most-once.
    Drop,
    /// Somebody asked for another run of something that had ended.
    Redo,
    /// Somebody moved its time.
    Delay,
    /// Somebody asked to run it without waiting.
    RunNow,
}

use Cause as C;
use State as S;

/// Every move there is: (from, cause, to).
pub const MOVES: &[(State, Cause, State)] = &[
    (S::Held, C::Release, S::Available),
    (S::Held, C::Release, S::Scheduled),
    (S::Held, C::Cancel, S::Cancelled),
    (S::Held, C::Drop, S::Dropped),
    (S::Blocked, C::Unblock, S::Available),
    (S::Blocked, C::Unblock, S::Scheduled),
    // What a job waits for may be all that there was to do.
    (S::Blocked, C::Complete, S::Completed),
    (S::Blocked, C::Fail, S::Failed),
    (S::Blocked, C::Cancel, S::Cancelled),
    (S::Blocked, C::Drop, S::Dropped),
    (S::Scheduled, C::Promote, S::Available),
    (S::Scheduled, C::RunNow, S::Available),
    (S::Scheduled, C::Delay, S::Scheduled),
    (S::Scheduled, C::Cancel, S::Cancelled),
    (S::Scheduled, C::Drop, S::Dropped),
    (S::Available, C::Claim, S::Running),
    (S::Available, C::Delay, S::Scheduled),
    (S::Available, C::Cancel, S::Cancelled),
    (S::Available, C::Drop, S::Dropped),
    (S::Running, C::Complete, S::Completed),
    (S::Running, C::Retry, S::Retryable),
    (S::Running, C::Fail, S::Failed),
    (S::Running, C::Snooze, S::Scheduled),
    (S::Running, C::GiveBack, S::Available),
    (S::Running, C::Lose, S::Available),
    (S::Running, C::Lose, S::Failed),
    (S::Running, C::Lose, S::Dropped),
    (S::Running, C::Lose, S::Cancelled),
    (S::Running, C::Cancel, S::Cancelled),
    (S::Running, C::Drop, S::Dropped),
    (S::Retryable, C::Promote, S::Available),
    (S::Retryable, C::RunNow, S::Available),
    (S::Retryable, C::Delay, S::Scheduled),
    (S::Retryable, C::Cancel, S::Cancelled),
    (S::Retryable, C::Drop, S::Dropped),
    (S::Completed, C::Redo, S::Available),
    (S::Failed, C::Redo, S::Available),
    (S::Cancelled, C::Redo, S::Available),
    (S::Dropped, C::Redo, S::Available),
];

/// Says whether a job may move from one state to another for this cause.
///
/// # Errors
///
/// [`Error::is_illegal_transition`] when [`MOVES`] has no such row.
///
/// # Example
///
/// ```
/// use taskwright_core::state::{self, Cause, State};
///
/// assert!(state::check(State::Available, Cause::Claim, State::Running).is_ok());
/// assert!(state::check(State::Completed, Cause::Cancel, State::Cancelled).is_err());
/// ```
pub fn check(from: State, cause: Cause, to: State) -> Result<(), Error> {
    if MOVES.contains(&(from, cause, to)) {
        return Ok(());
    }
    let legal: Vec<&str> =
        State::ALL.into_iter().filter(|state| may(*state, cause)).map(State::as_str).collect();
    Err(Error::transition(
        format!("{} a job that is {from}", cause.as_verb()),
        format!("only jobs that are {} can do that", legal.join(", ")),
        "look at the job with `taskwright jobs show ID`; nothing was changed",
    ))
}

/// Whether this cause can move a job that is in this state, wherever to.
pub fn may(from: State, cause: Cause) -> bool {
    MOVES.iter().any(|(state, why, _)| *state == from && *why == cause)
}

impl State {
    /// All states, in the order of a life.
    pub const ALL: [Self; 10] = [
        Self::Held,
        Self::Blocked,
        Self::Scheduled,
        Self::Available,
        Self::Running,
        Self::Retryable,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::Dropped,
    ];

    /// Whether the job is over, unless somebody asks for another run.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled | Self::Dropped)
    }

    /// Whether the job has not been started, or waits for its next attempt.
    pub const fn is_waiting(self) -> bool {
        matches!(self, Self::Held | Self::Blocked | Self::Scheduled | Self::Available | Self::Retryable)
    }

    /// The word for the state, in every surface.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Blocked => "blocked",
            Self::Scheduled => "scheduled",
            Self::Available => "available",
            Self::Running => "running",
            Self::Retryable => "retryable",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Dropped => "dropped",
        }
    }

    /// The number that stores keep; never renumbered.
    pub const fn code(self) -> u8 {
        match self {
            Self::Held => 0,
            Self::Blocked => 1,
            Self::Scheduled => 2,
            Self::Available => 3,
            Self::Running => 4,
            Self::Retryable => 5,
            Self::Completed => 6,
            Self::Failed => 7,
            Self::Cancelled => 8,
            Self::Dropped => 9,
        }
    }

    /// The state of a [`code`](Self::code).
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.code() == code)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for State {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| {
            let all: Vec<&str> = Self::ALL.into_iter().map(Self::as_str).collect();
            Error::invalid(
                format!("the state {:?}", crate::name::shown(text)),
                "there is no such state",
                format!("use one of {}", all.join(", ")),
            )
        })
    }
}

impl Cause {
    /// All causes.
    pub const ALL: [Self; 15] = [
        Self::Release,
        Self::Unblock,
        Self::Promote,
        Self::Claim,
        Self::Complete,
        Self::Retry,
        Self::Fail,
        Self::Snooze,
        Self::GiveBack,
        Self::Lose,
        Self::Cancel,
        Self::Drop,
        Self::Redo,
        Self::Delay,
        Self::RunNow,
    ];

    /// The word for the cause in a timeline.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Unblock => "unblock",
            Self::Promote => "promote",
            Self::Claim => "claim",
            Self::Complete => "complete",
            Self::Retry => "retry",
            Self::Fail => "fail",
            Self::Snooze => "snooze",
            Self::GiveBack => "give_back",
            Self::Lose => "lose",
            Self::Cancel => "cancel",
            Self::Drop => "drop",
            Self::Redo => "redo",
            Self::Delay => "delay",
            Self::RunNow => "run_now",
        }
    }

    /// The number that stores keep; never renumbered.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The cause of a [`code`](Self::code).
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.code() == code)
    }

    const fn as_verb(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Unblock => "unblock",
            Self::Promote => "promote",
            Self::Claim => "claim",
            Self::Complete => "complete",
            Self::Retry => "put off",
            Self::Fail => "fail",
            Self::Snooze => "snooze",
            Self::GiveBack => "give back",
            Self::Lose => "reclaim",
            Self::Cancel => "cancel",
            Self::Drop => "drop",
            Self::Redo => "retry",
            Self::Delay => "delay",
            Self::RunNow => "run now",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table, written a second time and in another form: a row of the first that changes must change here too.
    fn expected(from: State, cause: Cause, to: State) -> bool {
        let waiting_later = matches!(from, S::Scheduled | S::Retryable);
        match (cause, to) {
            (C::Release, S::Available | S::Scheduled) => from == S::Held,
            (C::Unblock, S::Available | S::Scheduled) => from == S::Blocked,
            (C::Promote | C::RunNow, S::Available) => waiting_later,
            (C::Claim, S::Running) => from == S::Available,
            (C::Complete, S::Completed) | (C::Fail, S::Failed) => matches!(from, S::Running | S::Blocked),
            (C::Retry, S::Retryable)
            | (C::Snooze, S::Scheduled)
            | (C::GiveBack, S::Available)
            | (C::Lose, S::Available | S::Failed | S::Dropped | S::Cancelled) => from == S::Running,
            (C::Cancel, S::Cancelled) | (C::Drop, S::Dropped) => !from.is_terminal(),
            (C::Redo, S::Available) => from.is_terminal(),
            (C::Delay, S::Scheduled) => waiting_later || from == S::Available,
            _ => false,
        }
    }

    #[test]
    fn every_combination_of_from_cause_and_to_is_decided_by_the_table() {
        let mut legal = 0;
        for from in State::ALL {
            for cause in Cause::ALL {
                for to in State::ALL {
                    let allowed = check(from, cause, to).is_ok();
                    assert_eq!(allowed, expected(from, cause, to), "{from} -{cause:?}-> {to}");
                    legal += usize::from(allowed);
                }
            }
        }
        assert_eq!(legal, MOVES.len(), "a row of the table stands twice");
    }

    #[test]
    fn a_terminal_state_is_left_only_by_a_redo() {
        for (from, cause, _) in MOVES {
            assert!(!from.is_terminal() || *cause == C::Redo);
        }
    }

    #[test]
    fn every_state_that_is_not_terminal_has_a_way_to_an_end() {
        for state in State::ALL {
            let mut seen = vec![state];
            let mut next = 0;
            while next < seen.len() {
                for (from, _, to) in MOVES {
                    if *from == seen[next] && !seen.contains(to) {
                        seen.push(*to);
                    }
                }
                next += 1;
            }
            assert!(seen.contains(&S::Completed) || state.is_terminal(), "{state} cannot complete");
        }
    }

    #[test]
    fn codes_and_words_are_unique_and_read_back() {
        for state in State::ALL {
            assert_eq!(State::from_code(state.code()), Some(state));
            assert_eq!(state.as_str().parse::<State>().unwrap(), state);
        }
        for cause in Cause::ALL {
            assert_eq!(Cause::from_code(cause.code()), Some(cause));
        }
    }

    #[test]
    fn an_illegal_move_says_what_would_have_been_legal() {
        let error = check(S::Completed, C::Cancel, S::Cancelled).unwrap_err();
        assert!(error.is_illegal_transition());
        assert_eq!(
            error.to_string(),
            "cancel a job that is completed: only jobs that are held, blocked, scheduled, available, running, \
             retryable can do that"
        );
    }
}
