//! When a schedule fires.
//!
//! A trigger is a rule from (what it has done so far, now) to its next due time. It keeps nothing itself: what it has
//! done so far is a [`TriggerState`] that the store keeps with the schedule. A program's own triggers implement
//! [`TriggerRule`], as the built-in ones do, and are looked up by name in [`CustomTriggers`].
//!
//! The one reader of due times for running is [`plan`](crate::schedule::plan); [`next_n`] is the same for looking ahead.

mod calendar;
mod custom;
mod describe;
mod event;
mod fixed;
mod parse;

pub use calendar::{Daily, Monthly, TimeOfDay};
pub use custom::{Custom, CustomTriggers, Rule};
pub use event::{Comparison, Condition, EventFilter, OnEvent, PayloadPath, TopicPattern};
pub use fixed::{After, At, Every};
pub use parse::{TRIGGER_KEYS, read_moment};

pub use crate::cron::Cron;
use crate::error::Error;
use crate::time::Timestamp;

/// When a schedule fires.
///
/// The JSON form has the kind in `type`, for instance `{"type": "cron", "expression": "0 8 * * 1-5", "zone":
/// "Europe/Berlin"}`; stores keep it and the API shows it. [`Trigger::read`] reads the short text of the config file
/// and the command line, and [`describe`](Trigger::describe) says it in plain words.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Trigger {
    /// At a fixed rate from the last due time.
    Every(Every),
    /// By a cron expression.
    Cron(Cron),
    /// Once, at a moment.
    At(At),
    /// Once, this long after registration.
    After(After),
    /// Every day at a time of day.
    Daily(Daily),
    /// Every month on one day, or the last day of a month that has no such day.
    Monthly(Monthly),
    /// When an event arrives. It has no due times: whoever delivers events asks it.
    Event(OnEvent),
    /// A rule that the program brings itself.
    Custom(Custom),
}

/// What a trigger has done so far. Kept with the schedule, by [trigger id](crate::name::TriggerId).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TriggerState {
    /// When the trigger was first registered: where `every` and `after` count from.
    pub registered_at: Timestamp,
    /// When it was last changed; the registration at first. What is due by then was asked for late, not missed.
    pub changed_at: Timestamp,
    /// The newest due time that has been dealt with, be it fired or skipped. It never goes back, so neither does the
    /// trigger when the clock does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_due: Option<Timestamp>,
    /// How often it has fired.
    #[serde(default)]
    pub fired: u64,
    /// Whether its one time has been dealt with. Set when a one-time trigger's occurrence is fired or skipped, kept
    /// through every edit, and never taken back: that is how a one-time trigger does not fire twice.
    #[serde(default)]
    pub spent: bool,
}

impl TriggerState {
    /// The state of a trigger that is registered now.
    pub fn new(registered_at: Timestamp) -> Self {
        Self { registered_at, changed_at: registered_at, last_due: None, fired: 0, spent: false }
    }

    /// Where a recurring rule goes on from: the last due time, or the registration before there is one.
    pub fn base(&self) -> Timestamp {
        self.last_due.unwrap_or(self.registered_at)
    }
}

/// A rule that gives due times: the contract of every trigger, and how a program brings its own.
///
/// Implementations are pure: the same arguments give the same answer, on every machine and at any time.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use taskwright_core::trigger::{TriggerRule, TriggerState, next_n};
/// use taskwright_core::{Error, Timestamp};
///
/// /// Twice as long after each firing: 1 h, 2 h, 4 h, ...
/// struct Doubling;
///
/// impl TriggerRule for Doubling {
///     fn next(&self, state: &TriggerState, _now: Timestamp) -> Result<Option<Timestamp>, Error> {
///         let hours = 1_u64 << state.fired.min(20);
///         Ok(Some(state.base().plus(Duration::from_secs(3_600 * hours))))
///     }
/// }
///
/// let start: Timestamp = "2026-01-01T00:00:00Z".parse()?;
/// let next = next_n(&Doubling, &TriggerState::new(start), start, 3)?;
/// assert_eq!(next[2].to_string(), "2026-01-01T07:00:00.000000Z");
/// # Ok::<(), Error>(())
/// ```
pub trait TriggerRule: Send + Sync {
    /// The next due time after what `state` says has been done; `None` when there is none any more.
    ///
    /// It has to be strictly later than `state.last_due`. It may lie before `now`: whether what was missed is made up
    /// for is the [misfire policy](crate::schedule::Misfire)'s business, not the rule's.
    ///
    /// # Errors
    ///
    /// When the rule cannot say. The schedule then shows the error and this trigger rests until it is changed.
    fn next(&self, state: &TriggerState, now: Timestamp) -> Result<Option<Timestamp>, Error>;
}

/// Asks a rule for its next due time and holds it to its contract. `None` also when that lies beyond
/// [`Timestamp::MAX`].
///
/// # Errors
///
/// The rule's own; and [`is_stuck_trigger`](Error::is_stuck_trigger) when the answer is not later than the last due
/// time, since following it would fire for ever.
pub fn next_due(
    rule: &dyn TriggerRule,
    state: &TriggerState,
    now: Timestamp,
) -> Result<Option<Timestamp>, Error> {
    let Some(due) = rule.next(state, now)? else { return Ok(None) };
    match state.last_due {
        Some(last) if due <= last => Err(Error::stuck(
            "the trigger",
            format!("its next due time {due} is not later than its last one {last}"),
            "let the rule give a strictly later time, or none",
        )),
        _ => Ok((due <= Timestamp::MAX).then_some(due)),
    }
}

/// The next `n` due times after `now`, as far as the rule gives so many: what `schedules next -n` shows.
///
/// What is due already is left out. Gives up looking for later ones after 100,000 steps.
///
/// # Errors
///
/// As for [`next_due`].
pub fn next_n(
    rule: &dyn TriggerRule,
    state: &TriggerState,
    now: Timestamp,
    n: usize,
) -> Result<Vec<Timestamp>, Error> {
    const STEPS_MAX: usize = 100_000;
    let mut state = *state;
    let mut found = Vec::new();
    for _ in 0..STEPS_MAX {
        if found.len() >= n {
            break;
        }
        let Some(due) = next_due(rule, &state, now)? else { break };
        if due > now {
            found.push(due);
        }
        state.last_due = Some(due);
        state.fired += 1;
        state.spent = true;
    }
    Ok(found)
}

impl Trigger {
    /// The kind, as in the JSON form and as the key in the config file: `every`, `cron`, ...
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Every(_) => "every",
            Self::Cron(_) => "cron",
            Self::At(_) => "at",
            Self::After(_) => "after",
            Self::Daily(_) => "daily",
            Self::Monthly(_) => "monthly",
            Self::Event(_) => "event",
            Self::Custom(_) => "custom",
        }
    }

    /// The zone on whose wall clocks it is, if it is about any.
    pub fn zone(&self) -> Option<&crate::zone::Zone> {
        match self {
            Self::Cron(cron) => Some(cron.zone()),
            Self::At(at) => Some(at.zone()),
            Self::Daily(daily) => Some(daily.zone()),
            Self::Monthly(monthly) => Some(monthly.zone()),
            Self::Every(_) | Self::After(_) | Self::Event(_) | Self::Custom(_) => None,
        }
    }

    /// Whether it fires at most once in its life.
    pub fn is_one_time(&self) -> bool {
        matches!(self, Self::At(_) | Self::After(_))
    }

    /// Whether it is fired by events and has no due times.
    pub fn is_event(&self) -> bool {
        matches!(self, Self::Event(_))
    }
}
