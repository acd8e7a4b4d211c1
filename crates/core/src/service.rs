//! Services: loops of a process with a life of their own. Their states, the one table of moves between them, and when one that has
//! ended is started again.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::error::Error;
use crate::limit::SERVICE_SILENT_AFTER;
use crate::retry::Backoff;
use crate::time::Timestamp;

/// Where a service is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "ServiceState"))]
#[serde(rename_all = "lowercase")]
pub enum ServiceState {
    /// Made and not started, or it declined to start.
    Idle,
    /// Its start is under way.
    Starting,
    /// It runs.
    Running,
    /// It was told to stop, and has not ended.
    Stopping,
    /// It ended because it was told to.
    Stopped,
    /// It ended by itself, with nothing wrong.
    Finished,
    /// It failed; it may be started again.
    Failed,
}

/// Why a service moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// Its owner starts it, or its restart policy does.
    Start,
    /// Its start went well.
    Go,
    /// It does not want to start.
    Decline,
    /// It ended by itself.
    Finish,
    /// It returned an error, or panicked.
    Fail,
    /// Somebody tells it to stop.
    Stop,
    /// It has ended after it was told to.
    End,
}

use Cause as C;
use ServiceState as S;

/// Every move there is: (from, cause, to).
pub const MOVES: &[(ServiceState, Cause, ServiceState)] = &[
    (S::Idle, C::Start, S::Starting),
    (S::Stopped, C::Start, S::Starting),
    (S::Finished, C::Start, S::Starting),
    (S::Failed, C::Start, S::Starting),
    (S::Starting, C::Go, S::Running),
    (S::Starting, C::Decline, S::Idle),
    (S::Starting, C::Fail, S::Failed),
    (S::Starting, C::Stop, S::Stopping),
    (S::Running, C::Finish, S::Finished),
    (S::Running, C::Fail, S::Failed),
    (S::Running, C::Stop, S::Stopping),
    (S::Stopping, C::End, S::Stopped),
    // Nothing of it runs while it waits to be started again.
    (S::Finished, C::Stop, S::Stopped),
    (S::Failed, C::Stop, S::Stopped),
];

/// Says whether a service may move from one state to another for this cause.
///
/// # Errors
///
/// [`Error::is_illegal_transition`] when [`MOVES`] has no such row.
///
/// # Example
///
/// ```
/// use taskwright_core::service::{self, Cause, ServiceState};
///
/// assert!(service::check(ServiceState::Stopped, Cause::Start, ServiceState::Starting).is_ok());
/// assert!(service::check(ServiceState::Running, Cause::Start, ServiceState::Starting).is_err());
/// ```
pub fn check(from: ServiceState, cause: Cause, to: ServiceState) -> Result<(), Error> {
    if MOVES.contains(&(from, cause, to)) {
        return Ok(());
    }
    let legal: Vec<&str> = S::ALL.into_iter().filter(|state| may(*state, cause)).map(S::as_str).collect();
    Err(Error::transition(
        format!("{} a service that is {from}", cause.as_verb()),
        format!("only services that are {} can do that", legal.join(", ")),
        "look at its state first; nothing was changed",
    ))
}

/// Whether this cause can move a service that is in this state.
pub fn may(from: ServiceState, cause: Cause) -> bool {
    MOVES.iter().any(|(state, why, _)| *state == from && *why == cause)
}

impl ServiceState {
    /// All states, by code.
    pub const ALL: [Self; 7] = [
        Self::Idle,
        Self::Starting,
        Self::Running,
        Self::Stopping,
        Self::Stopped,
        Self::Finished,
        Self::Failed,
    ];

    /// Whether something of the service may run.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Stopping)
    }

    /// The word for the state, in every surface.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Finished => "finished",
            Self::Failed => "failed",
        }
    }

    /// The number that stores keep; never renumbered.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The state of a [`code`](Self::code).
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.code() == code)
    }
}

impl fmt::Display for ServiceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Cause {
    const fn as_verb(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Go => "let run",
            Self::Decline => "let decline",
            Self::Finish => "finish",
            Self::Fail => "fail",
            Self::Stop => "stop",
            Self::End => "end",
        }
    }
}

/// Whether a service that has ended by itself is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// It stays as it is.
    Never,
    /// It is when it failed, after the back-off.
    OnFailure(Backoff),
    /// It is, after the back-off, also when nothing was wrong.
    Always(Backoff),
}

impl Restart {
    /// A service that has run for so long counts as having recovered: what ends it then is the first failure of a row: 60 s.
    pub const STEADY_AFTER: Duration = Duration::from_secs(60);

    /// The back-off of the default: 1 s, 2 s and so on, up to a minute.
    pub const BACKOFF: Backoff =
        Backoff::Exponential { base: Duration::from_secs(1), cap: Duration::from_secs(60) };

    /// After how long a service is started again that has ended by itself; `None` when it is not. `ends` is how often it has now
    /// ended in a row, from 1; `dice`, from [0, 1), spreads the delay.
    pub fn after(&self, has_failed: bool, ends: u32, dice: f64) -> Option<Duration> {
        match self {
            Self::OnFailure(backoff) if has_failed => Some(backoff.jittered(ends, dice)),
            Self::Always(backoff) => Some(backoff.jittered(ends, dice)),
            Self::Never | Self::OnFailure(_) => None,
        }
    }

    /// The number of ends in a row, counted on: a service that ran [for long enough](Self::STEADY_AFTER) begins anew.
    pub fn count(ends: u32, ran: Duration) -> u32 {
        if ran >= Self::STEADY_AFTER { 1 } else { ends.saturating_add(1) }
    }
}

/// On failure, after 1 s, 2 s, 4 s and so on up to a minute.
impl Default for Restart {
    fn default() -> Self {
        Self::OnFailure(Self::BACKOFF)
    }
}

/// Prints what [`FromStr`] reads.
impl fmt::Display for Restart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("never"),
            Self::OnFailure(backoff) => write!(f, "on-failure:{backoff}"),
            Self::Always(backoff) => write!(f, "always:{backoff}"),
        }
    }
}

/// Reads `never`, `on-failure`, `always`, and either of the latter with a back-off: `on-failure:exponential:1s:1m`.
impl FromStr for Restart {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (word, backoff) = match text.split_once(':') {
            Some((word, backoff)) => (word, Some(backoff.parse()?)),
            None => (text, None),
        };
        match (word, backoff) {
            ("never", None) => Ok(Self::Never),
            ("on-failure", backoff) => Ok(Self::OnFailure(backoff.unwrap_or(Self::BACKOFF))),
            ("always", backoff) => Ok(Self::Always(backoff.unwrap_or(Self::BACKOFF))),
            _ => Err(Error::invalid(
                format!("the restart policy {:?}", crate::name::shown(text)),
                "there is no such policy",
                "write never, on-failure or always, the latter two with a back-off if you like: on-failure:exponential:1s:1m",
            )),
        }
    }
}

/// Whether a process was heard of lately.
pub fn is_heard(seen_at: Timestamp, now: Timestamp) -> bool {
    now.since(seen_at) <= SERVICE_SILENT_AFTER
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_takes_place_if_and_only_if_the_table_has_it() {
        let causes = [C::Start, C::Go, C::Decline, C::Finish, C::Fail, C::Stop, C::End];
        let mut legal = 0;
        for from in S::ALL {
            for cause in causes {
                for to in S::ALL {
                    let listed = MOVES.contains(&(from, cause, to));
                    assert_eq!(check(from, cause, to).is_ok(), listed, "{from} {cause:?} {to}");
                    legal += usize::from(listed);
                }
            }
        }
        assert_eq!(legal, MOVES.len(), "a move is listed twice");
    }

    #[test]
    fn only_what_runs_is_live_and_only_what_does_not_can_be_started() {
        for state in S::ALL {
            assert_eq!(may(state, C::Start), !state.is_live(), "{state}");
        }
    }

    #[test]
    fn a_refused_move_names_the_states_that_allow_it() {
        let error = check(S::Running, C::Start, S::Starting).unwrap_err();
        assert!(error.is_illegal_transition());
        assert_eq!(
            error.to_string(),
            "start a service that is running: only services that are idle, stopped, finished, failed can do that"
        );
    }

    #[test]
    fn a_code_survives() {
        for state in S::ALL {
            assert_eq!(S::from_code(state.code()), Some(state));
        }
        assert_eq!(S::from_code(7), None);
    }

    #[test]
    fn the_policy_decides_by_how_it_ended() {
        let fixed = Backoff::Fixed { delay: Duration::from_secs(4) };
        let after = |policy: Restart, failed| policy.after(failed, 1, 0.5).map(|delay| delay.as_secs());
        assert_eq!((after(Restart::Never, true), after(Restart::Never, false)), (None, None));
        assert_eq!(
            (after(Restart::OnFailure(fixed), true), after(Restart::OnFailure(fixed), false)),
            (Some(4), None)
        );
        assert_eq!(
            (after(Restart::Always(fixed), true), after(Restart::Always(fixed), false)),
            (Some(4), Some(4))
        );
    }

    #[test]
    fn a_service_that_ran_for_long_begins_its_back_off_anew() {
        let short = Restart::STEADY_AFTER.checked_sub(Duration::from_micros(1)).unwrap();
        assert_eq!((Restart::count(0, short), Restart::count(7, short)), (1, 8));
        assert_eq!(
            (Restart::count(7, Restart::STEADY_AFTER), Restart::count(u32::MAX, short)),
            (1, u32::MAX)
        );
    }

    #[test]
    fn a_policy_survives_its_text() {
        for text in ["never", "on-failure", "always", "on-failure:fixed:30s", "always:exponential:1s:1m"] {
            let policy: Restart = text.parse().unwrap();
            assert_eq!(policy.to_string().parse::<Restart>().unwrap(), policy, "{text}");
        }
        for text in ["", "sometimes", "never:fixed:1s", "always:", "on-failure:cubic:1s"] {
            assert!(text.parse::<Restart>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_process_is_heard_of_until_it_has_been_silent_for_too_long() {
        let at = Timestamp::from_micros(0);
        assert!(is_heard(at, at.plus(SERVICE_SILENT_AFTER)));
        assert!(!is_heard(at, at.plus(SERVICE_SILENT_AFTER + Duration::from_micros(1))));
        assert!(crate::limit::SERVICE_TOLD_EVERY * 3 < SERVICE_SILENT_AFTER, "two refreshes may be lost");
    }
}
