//! What becomes of firings that come too late, or too early: misfire and overlap.

use std::fmt;
use std::str::FromStr;

use super::plan::SkipReason;
use crate::error::Error;
use crate::limit::CATCH_UP_MAX;

/// What is made up for when occurrences were missed, because nothing was up to fire them.
///
/// It reads and prints as `skip`, `once`, `all` (up to 100) or `all up to 10`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Misfire {
    /// Nothing.
    Skip,
    /// The newest one, for all of them: its previous due time says how far back it reaches. The default.
    #[default]
    Once,
    /// Each of the newest so many; what is older is skipped.
    All {
        /// How many at most, 1 to [`CATCH_UP_MAX`].
        at_most: u32,
    },
}

impl Misfire {
    /// How many `all` makes up for unless it says so itself.
    pub const ALL_DEFAULT: u32 = 100;

    /// Each of the newest `at_most`.
    ///
    /// # Errors
    ///
    /// When that is 0 or above [`CATCH_UP_MAX`].
    pub fn all(at_most: u32) -> Result<Self, Error> {
        match at_most {
            1..=CATCH_UP_MAX => Ok(Self::All { at_most }),
            _ => Err(refused_misfire(&format!("all up to {at_most}"))),
        }
    }

    /// How many of a backlog are fired at most.
    pub(super) fn keeps(self) -> usize {
        match self {
            Self::Skip => 0,
            Self::Once => 1,
            Self::All { at_most } => at_most.min(CATCH_UP_MAX) as usize,
        }
    }
}

impl fmt::Display for Misfire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skip => f.pad("skip"),
            Self::Once => f.pad("once"),
            Self::All { at_most } => f.pad(&format!("all up to {at_most}")),
        }
    }
}

impl FromStr for Misfire {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.trim() {
            "skip" => Ok(Self::Skip),
            "once" => Ok(Self::Once),
            "all" => Self::all(Self::ALL_DEFAULT),
            other => {
                let number = other.strip_prefix("all up to ").ok_or_else(|| refused_misfire(text))?;
                Self::all(number.trim().parse().map_err(|_| refused_misfire(text))?)
            }
        }
    }
}

fn refused_misfire(text: &str) -> Error {
    Error::invalid(
        format!("the misfire policy {:?}", crate::name::shown(text)),
        format!("it is none of skip, once, all, and `all up to N` with N from 1 to {CATCH_UP_MAX}"),
        "write skip, once, all, or for instance `all up to 10`",
    )
}

/// What happens when a schedule fires while a job of an earlier firing is not over.
///
/// It reads and prints as `skip`, `queue_one`, `allow`, `cancel_previous`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// No job is made, but for events: each of those makes its own. The default.
    #[default]
    Skip,
    /// One occurrence may wait until the job before it is over; further ones make no job.
    QueueOne,
    /// The job is made; the two may run side by side.
    Allow,
    /// The earlier ones are asked to stop, and the job is made.
    CancelPrevious,
}

impl Overlap {
    const NAMES: [(&'static str, Self); 4] = [
        ("skip", Self::Skip),
        ("queue_one", Self::QueueOne),
        ("allow", Self::Allow),
        ("cancel_previous", Self::CancelPrevious),
    ];
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(_, policy)| policy == self).map_or("skip", |(name, _)| name);
        f.pad(name)
    }
}

impl FromStr for Overlap {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let named = Self::NAMES.iter().find(|(name, _)| *name == text.trim());
        named.map(|(_, policy)| *policy).ok_or_else(|| {
            Error::invalid(
                format!("the overlap policy {:?}", crate::name::shown(text)),
                "there is no such policy",
                "write skip, queue_one, allow or cancel_previous",
            )
        })
    }
}

/// The jobs of one schedule that are not over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenJobs {
    /// How many.
    pub unfinished: u64,
    /// Whether an occurrence waits for them already.
    pub has_queued: bool,
}

/// What the overlap policy says about one firing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverlapDecision {
    /// The job is made.
    Fire,
    /// The job is made once the unfinished ones are over.
    Queue,
    /// The job is not made.
    Skip(SkipReason),
    /// The unfinished ones are asked to stop, and the job is made.
    FireAndCancel,
}

/// Decides about one firing, given the jobs of the schedule that are not over.
pub fn overlap(policy: Overlap, open: OpenJobs) -> OverlapDecision {
    match policy {
        _ if open.unfinished == 0 => OverlapDecision::Fire,
        Overlap::Allow => OverlapDecision::Fire,
        Overlap::CancelPrevious => OverlapDecision::FireAndCancel,
        Overlap::QueueOne if !open.has_queued => OverlapDecision::Queue,
        Overlap::QueueOne | Overlap::Skip => OverlapDecision::Skip(SkipReason::Overlap),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_survive_their_text() {
        for text in ["skip", "once", "all up to 10", "all up to 10000"] {
            assert_eq!(text.parse::<Misfire>().unwrap().to_string(), text);
        }
        assert_eq!("all".parse::<Misfire>().unwrap(), Misfire::All { at_most: 100 });
        for text in ["", "none", "all up to", "all up to 0", "all up to 10001", "all 5"] {
            assert!(text.parse::<Misfire>().unwrap_err().is_invalid(), "{text:?}");
        }
        for (text, policy) in Overlap::NAMES {
            assert_eq!((text.parse::<Overlap>().unwrap(), policy.to_string()), (policy, text.to_owned()));
        }
        assert!("queue".parse::<Overlap>().unwrap_err().is_invalid());
    }

    /// NU-X2: a schedule slower than its period.
    #[test]
    fn nu_x2_an_overlap_is_decided_by_what_is_open() {
        use OverlapDecision::{Fire, FireAndCancel, Queue, Skip};
        let none = OpenJobs::default();
        let running = OpenJobs { unfinished: 1, has_queued: false };
        let and_waiting = OpenJobs { unfinished: 1, has_queued: true };
        let skip = Skip(SkipReason::Overlap);
        for (policy, expected) in [
            (Overlap::Skip, [Fire, skip, skip]),
            (Overlap::QueueOne, [Fire, Queue, skip]),
            (Overlap::Allow, [Fire, Fire, Fire]),
            (Overlap::CancelPrevious, [Fire, FireAndCancel, FireAndCancel]),
        ] {
            assert_eq!([none, running, and_waiting].map(|open| overlap(policy, open)), expected, "{policy}");
        }
    }
}
