//! Triggers without a calendar: at a rate, at a moment, after a while.

use std::time::Duration;

use super::{TriggerRule, TriggerState};
use crate::error::Error;
use crate::limit::{EVERY_MIN, SCHEDULE_SPAN_MAX};
use crate::text;
use crate::time::{Timestamp, format_duration};
use crate::zone::Zone;

/// Fires at a fixed rate: first one period after registration, then one period after the last due time, however late
/// that one was fired. A changed period counts from the last due time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "EveryForm", into = "EveryForm")]
pub struct Every {
    period: Duration,
}

/// Fires once, at a moment.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct At {
    at: Timestamp,
    #[serde(default, skip_serializing_if = "Zone::is_utc")]
    zone: Zone,
}

/// Fires once, this long after it was registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "AfterForm", into = "AfterForm")]
pub struct After {
    delay: Duration,
}

impl Every {
    /// At this rate.
    ///
    /// # Errors
    ///
    /// When the period is below [`EVERY_MIN`] or above [`SCHEDULE_SPAN_MAX`].
    pub fn new(period: Duration) -> Result<Self, Error> {
        if (EVERY_MIN..=SCHEDULE_SPAN_MAX).contains(&period) {
            return Ok(Self { period: whole_micros(period) });
        }
        Err(Error::invalid(
            format!("the period {}", format_duration(period)),
            format!(
                "it is not between {} and {}",
                format_duration(EVERY_MIN),
                format_duration(SCHEDULE_SPAN_MAX)
            ),
            "choose one in between; what has to happen more often is a service, not a schedule",
        ))
    }

    /// The time from one due time to the next.
    pub fn period(&self) -> Duration {
        self.period
    }
}

impl At {
    /// At this moment; the zone only says how it is shown.
    pub fn new(at: Timestamp, zone: Zone) -> Self {
        Self { at, zone }
    }

    /// The moment.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// The zone it is shown in.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }
}

impl After {
    /// This long after registration.
    ///
    /// # Errors
    ///
    /// When the delay is above [`SCHEDULE_SPAN_MAX`].
    pub fn new(delay: Duration) -> Result<Self, Error> {
        if delay <= SCHEDULE_SPAN_MAX {
            return Ok(Self { delay: whole_micros(delay) });
        }
        Err(Error::invalid(
            format!("the delay {}", format_duration(delay)),
            format!("it is longer than {}", format_duration(SCHEDULE_SPAN_MAX)),
            "choose a shorter one, or say the moment with `at`",
        ))
    }

    /// The time from registration to the firing.
    pub fn delay(&self) -> Duration {
        self.delay
    }
}

fn whole_micros(span: Duration) -> Duration {
    Duration::from_micros(u64::try_from(span.as_micros()).unwrap_or(u64::MAX))
}

impl TriggerRule for Every {
    fn next(&self, state: &TriggerState, _now: Timestamp) -> Result<Option<Timestamp>, Error> {
        let due = state.base().plus(self.period);
        // At the end of time `plus` stands still.
        Ok((due > state.base()).then_some(due))
    }
}

impl TriggerRule for At {
    fn next(&self, state: &TriggerState, _now: Timestamp) -> Result<Option<Timestamp>, Error> {
        Ok((!state.spent).then_some(self.at))
    }
}

impl TriggerRule for After {
    fn next(&self, state: &TriggerState, _now: Timestamp) -> Result<Option<Timestamp>, Error> {
        Ok((!state.spent).then(|| state.registered_at.plus(self.delay)))
    }
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct EveryForm {
    #[serde(with = "text::span")]
    period: Duration,
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct AfterForm {
    #[serde(with = "text::span")]
    delay: Duration,
}

impl TryFrom<EveryForm> for Every {
    type Error = Error;

    fn try_from(form: EveryForm) -> Result<Self, Error> {
        Self::new(form.period)
    }
}

impl From<Every> for EveryForm {
    fn from(every: Every) -> Self {
        Self { period: every.period }
    }
}

impl TryFrom<AfterForm> for After {
    type Error = Error;

    fn try_from(form: AfterForm) -> Result<Self, Error> {
        Self::new(form.delay)
    }
}

impl From<After> for AfterForm {
    fn from(after: After) -> Self {
        Self { delay: after.delay }
    }
}
