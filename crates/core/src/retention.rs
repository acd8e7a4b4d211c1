//! How long what is over is kept.
//!
//! What can be removed once it is old comes in sorts, [`Garbage`]; each has a collector of its own, which removes what is
//! older than the sort is to be kept.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::error::Error;
use crate::generator::COLLECTOR_PREFIX;
use crate::name::GeneratorName;
use crate::state::State;
use crate::time::Timestamp;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// A sort of what is removed when it is old enough. What is not over is of no sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Garbage {
    /// Jobs that completed, with their attempts and logs; from their end on.
    Completed,
    /// Jobs that failed.
    Failed,
    /// Jobs that were cancelled.
    Cancelled,
    /// Jobs that were dropped.
    Dropped,
    /// Jobs that are over, from when whoever submitted them had read how they ended.
    Consumed,
    /// What schedules fired and skipped.
    Firings,
    /// Events, once they are delivered.
    Events,
    /// Attempts to deliver events to webhooks.
    Deliveries,
    /// What event sources have seen, once nobody runs them any more.
    Sources,
    /// Workers that are gone, from when they were seen last. Attempts go on naming them.
    Workers,
    /// Roll-ups per minute.
    Minutes,
    /// Roll-ups per hour.
    Hours,
    /// Entries of the audit. What is left can still be verified.
    Audit,
}

impl Garbage {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::Dropped,
        Self::Consumed,
        Self::Firings,
        Self::Events,
        Self::Deliveries,
        Self::Sources,
        Self::Workers,
        Self::Minutes,
        Self::Hours,
        Self::Audit,
    ];

    /// The word for it: the key in `[retention]`, and what its collector is called by.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Dropped => "dropped",
            Self::Consumed => "consumed",
            Self::Firings => "firings",
            Self::Events => "events",
            Self::Deliveries => "deliveries",
            Self::Sources => "sources",
            Self::Workers => "workers",
            Self::Minutes => "minutes",
            Self::Hours => "hours",
            Self::Audit => "audit",
        }
    }

    /// What it is, in the plural.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Completed => "completed jobs",
            Self::Failed => "failed jobs",
            Self::Cancelled => "cancelled jobs",
            Self::Dropped => "dropped jobs",
            Self::Consumed => "jobs whose end was read",
            Self::Firings => "firings of schedules",
            Self::Events => "delivered events",
            Self::Deliveries => "deliveries to webhooks",
            Self::Sources => "files of sources that nobody runs",
            Self::Workers => "workers that are gone",
            Self::Minutes => "roll-ups per minute",
            Self::Hours => "roll-ups per hour",
            Self::Audit => "entries of the audit",
        }
    }

    /// The state of the jobs, if it is jobs.
    pub const fn state(self) -> Option<State> {
        match self {
            Self::Completed => Some(State::Completed),
            Self::Failed => Some(State::Failed),
            Self::Cancelled => Some(State::Cancelled),
            Self::Dropped => Some(State::Dropped),
            _ => None,
        }
    }

    /// How long it is kept unless somebody says otherwise.
    pub const fn kept_by_default(self) -> Duration {
        let days = match self {
            Self::Completed | Self::Events | Self::Deliveries | Self::Workers => 7,
            Self::Failed | Self::Cancelled | Self::Dropped | Self::Consumed | Self::Firings => 30,
            Self::Sources => 90,
            Self::Minutes => 2,
            Self::Hours | Self::Audit => 400,
        };
        Duration::from_secs(days * 86_400)
    }

    /// How long it is kept at least; a shorter retention is refused.
    ///
    /// A source that is switched off over a weekend must not meet every file as a new one, a worker of an hour ago is still
    /// asked for, roll-ups are there to be read when what they were made of is gone, and an audit is for those who come later.
    pub const fn kept_at_least(self) -> Duration {
        match self {
            Self::Sources => Duration::from_secs(7 * 86_400),
            Self::Workers | Self::Minutes => HOUR,
            Self::Hours => DAY,
            Self::Audit => Duration::from_secs(30 * 86_400),
            _ => Duration::ZERO,
        }
    }

    /// Checks how long it is to be kept.
    ///
    /// # Errors
    ///
    /// When that is shorter than [`kept_at_least`](Self::kept_at_least).
    pub fn check(self, keep: Option<Duration>) -> Result<(), Error> {
        let least = self.kept_at_least();
        if keep.is_none_or(|keep| keep >= least) {
            return Ok(());
        }
        let least = crate::time::format_duration(least);
        Err(Error::invalid(
            format!("the retention of {}", self.noun()),
            format!("it is shorter than {least}"),
            format!("keep them for {least} or longer, or for ever"),
        ))
    }

    /// The collector that removes it: a generator.
    pub fn collector(self) -> GeneratorName {
        let text = format!("{COLLECTOR_PREFIX}{}", self.as_str());
        // Letters and a colon.
        GeneratorName::new(&text).expect("the names of collectors are names")
    }
}

impl fmt::Display for Garbage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Garbage {
    type Err = Error;

    /// Reads the [word](Self::as_str), or the name of the collector.
    fn from_str(text: &str) -> Result<Self, Error> {
        let word = text.strip_prefix(COLLECTOR_PREFIX).unwrap_or(text);
        Self::ALL.into_iter().find(|garbage| garbage.as_str() == word).ok_or_else(|| {
            let words: Vec<&str> = Self::ALL.iter().map(|garbage| garbage.as_str()).collect();
            Error::unknown(
                format!("the collector `{text}`"),
                "there is none of this name",
                format!("use one of {}", words.join(", ")),
            )
        })
    }
}

/// How long each sort of [`Garbage`] is kept; `None` keeps it for ever.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use taskwright_core::retention::{Garbage, Retention};
///
/// let keep = Retention::default().with(Garbage::Failed, None);
/// assert_eq!(keep.of(Garbage::Completed), Some(Duration::from_secs(7 * 86_400)));
/// assert_eq!(keep.of(Garbage::Failed), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention([Option<Duration>; Garbage::ALL.len()]);

impl Default for Retention {
    fn default() -> Self {
        Self(Garbage::ALL.map(|garbage| Some(garbage.kept_by_default())))
    }
}

impl Retention {
    /// Keeps nothing for longer than it must be.
    pub fn shortest() -> Self {
        Self(Garbage::ALL.map(|garbage| Some(garbage.kept_at_least())))
    }

    /// The same, but for one sort.
    #[must_use]
    pub fn with(mut self, garbage: Garbage, keep: Option<Duration>) -> Self {
        self.0[garbage as usize] = keep;
        self
    }

    /// How long it is kept.
    pub fn of(&self, garbage: Garbage) -> Option<Duration> {
        self.0[garbage as usize]
    }

    /// The moment before which it must be over to be removed now; `None` when it is kept for ever.
    pub fn cutoff(&self, garbage: Garbage, now: Timestamp) -> Option<Timestamp> {
        self.of(garbage).map(|keep| now.minus(keep))
    }

    /// The same, if no sort is kept for less than it must be.
    ///
    /// # Errors
    ///
    /// When one is.
    pub fn checked(self) -> Result<Self, Error> {
        Garbage::ALL.into_iter().try_for_each(|garbage| garbage.check(self.of(garbage)))?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_completed_job_goes_after_a_week_and_a_failed_one_after_a_month() {
        let now = Timestamp::from_micros(0).plus(DAY * 100);
        let day = |n| Some(Timestamp::from_micros(0).plus(DAY * n));
        let keep = Retention::default();
        assert_eq!(keep.cutoff(Garbage::Completed, now), day(93));
        assert_eq!(keep.cutoff(Garbage::Failed, now), day(70));
        assert_eq!(keep.with(Garbage::Failed, None).cutoff(Garbage::Failed, now), None);
    }

    #[test]
    fn each_terminal_state_has_one_sort_and_no_other_state_has_any() {
        for state in State::ALL {
            let sorts = Garbage::ALL.into_iter().filter(|garbage| garbage.state() == Some(state)).count();
            assert_eq!(sorts, usize::from(state.is_terminal()), "{state}");
        }
    }

    #[test]
    fn what_is_too_short_is_refused_with_what_is_allowed() {
        for garbage in Garbage::ALL {
            let least = garbage.kept_at_least();
            garbage.check(Some(least)).unwrap();
            garbage.check(None).unwrap();
            garbage.check(Some(garbage.kept_by_default())).unwrap();
            if let Some(shorter) = least.checked_sub(Duration::from_secs(1)) {
                let error = garbage.check(Some(shorter)).unwrap_err();
                assert!(error.is_invalid() && error.what().contains(garbage.noun()), "{error}");
            }
        }
        assert!(Retention::shortest().checked().is_ok());
        assert!(Retention::default().with(Garbage::Hours, Some(HOUR)).checked().is_err());
    }

    #[test]
    fn a_collector_is_found_by_either_name() {
        for garbage in Garbage::ALL {
            assert_eq!(garbage.as_str().parse(), Ok(garbage));
            assert_eq!(garbage.collector().as_str().parse(), Ok(garbage));
        }
        let error = "gc:jobs".parse::<Garbage>().unwrap_err();
        assert!(error.is_unknown() && error.fix().contains("completed"), "{error}");
    }
}
