//! Values of flags that need more than one type's own parser.

use std::str::FromStr;
use std::time::Duration;

use taskwright_core::time::{parse_duration, parse_time_limit};
use taskwright_core::{JobId, State, Timestamp};

use crate::error::{Error, nearest};

/// A moment in the past or the future: RFC 3339, or how long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    At(Timestamp),
    Ago(Duration),
}

impl Moment {
    /// The moment as it is meant now.
    pub(super) fn resolve(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(moment) => moment,
            Self::Ago(duration) => now.minus(duration),
        }
    }
}

/// The variable that says what a flag would; one that is set to nothing says nothing.
pub(super) fn set(variable: &'static str) -> Option<&'static str> {
    std::env::var_os(variable).is_none_or(|value| !value.is_empty()).then_some(variable)
}

/// Refuses a span of time that ends before it begins.
pub(super) fn in_order(flags: &str, from: Option<Timestamp>, to: Option<Timestamp>) -> Result<(), Error> {
    if from.zip(to).is_some_and(|(from, to)| from > to) {
        let why = "the first lies behind the second, so that nothing can match";
        return Err(Error::usage(flags, why, "swap them"));
    }
    Ok(())
}

impl FromStr for Moment {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if let Ok(duration) = parse_duration(text) {
            return Ok(Self::Ago(duration));
        }
        let moment: Result<Timestamp, _> = text.parse();
        moment.map(Self::At).map_err(|error| {
            Error::from(error)
                .with_fix("write a time like 2026-11-24T18:30:00Z, or how long ago, like 90s, 2h or 7d")
        })
    }
}

/// Yes or no.
pub(super) fn yes_or_no(text: &str) -> Result<bool, Error> {
    match text {
        "yes" | "true" => Ok(true),
        "no" | "false" => Ok(false),
        _ => Err(Error::usage(format!("{text:?}"), "it is neither yes nor no", "write yes or no")),
    }
}

/// A job id, or `-` for ids on standard input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IdArg {
    Id(JobId),
    Stdin,
}

impl FromStr for IdArg {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "-" => Ok(Self::Stdin),
            text => Ok(Self::Id(text.parse()?)),
        }
    }
}

/// How many, or `all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit(pub usize);

impl FromStr for Limit {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.parse() {
            _ if text == "all" => Ok(Self(usize::MAX)),
            Ok(number) if number > 0 => Ok(Self(number)),
            _ => Err(Error::usage(
                format!("the limit {:?}", taskwright_core::name::shown(text)),
                "it is neither a whole number above 0 nor `all`",
                "write for instance --limit 100 or --limit all",
            )),
        }
    }
}

/// A state, with the nearest one named when there is none of that name.
pub(super) fn state(text: &str) -> Result<State, Error> {
    text.parse().map_err(|error| {
        let error = Error::from(error);
        match nearest(text, State::ALL.map(State::as_str)) {
            Some(meant) => {
                let all = State::ALL.map(State::as_str).join(", ");
                error.with_fix(format!("write `{meant}`, if that is what you meant; there are {all}"))
            }
            None => error,
        }
    })
}

/// A duration.
pub(super) fn duration(text: &str) -> Result<Duration, Error> {
    Ok(parse_duration(text)?)
}

/// The lease of a worker.
pub(super) fn lease(text: &str) -> Result<Duration, Error> {
    let lease = parse_duration(text)?;
    if lease < LEASE_MIN {
        return Err(Error::usage(
            format!("the lease {:?}", taskwright_core::name::shown(text)),
            "a worker that is only slow for a moment would lose its jobs",
            "give at least 5s",
        ));
    }
    Ok(lease)
}

/// The shortest lease of a worker.
const LEASE_MIN: Duration = Duration::from_secs(5);

/// How long something may take.
pub(super) fn time_limit(text: &str) -> Result<Duration, Error> {
    Ok(parse_time_limit(text)?)
}

/// `NAME=VALUE`.
pub(super) fn assignment(text: &str) -> Result<(String, String), Error> {
    match text.split_once('=') {
        Some((name, value)) => Ok((crate::config::task::variable(name)?, value.to_owned())),
        None => Err(Error::usage(
            format!("the variable {:?}", taskwright_core::name::shown(text)),
            "it has no `=`",
            "write NAME=VALUE",
        )),
    }
}

/// A reason for a change: 1 to 1,024 bytes on one line.
pub(super) fn reason(text: &str) -> Result<String, Error> {
    taskwright_core::Actor::new(text).map(|_| text.to_owned()).map_err(|error| {
        let what = format!("the reason {:?}", taskwright_core::name::shown(text));
        Error::usage(what, error.why(), error.fix())
    })
}
