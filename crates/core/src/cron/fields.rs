//! What an expression says, as sets.

use jiff::civil::Time;

use super::days::{DaySet, Days};

/// The sets of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fields {
    /// Bit 0 to 59.
    pub(crate) seconds: Span,
    /// Bit 0 to 59.
    pub(crate) minutes: Span,
    /// Bit 0 to 23.
    pub(crate) hours: Span,
    /// Both day fields.
    pub(crate) days: Days,
    /// Bit 1 to 12.
    pub(crate) months: Span,
}

/// The numbers of one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// Bit n for the number n.
    pub(crate) set: u64,
    /// Whether it was written with a `*`, or names every number there is.
    pub(crate) wildcard: bool,
    /// The step of a field that is `*/n` and nothing else; 1 for `*`.
    pub(crate) step: Option<u8>,
}

const EVERY_HOUR: u64 = (1 << 24) - 1;

impl Fields {
    /// Whether minute or hour is a wildcard, so that the expression follows the wall clock where it repeats an hour.
    pub(super) fn is_wildcard(&self) -> bool {
        self.minutes.wildcard || self.hours.wildcard
    }

    /// Whether every hour matches.
    pub(super) fn every_hour(&self) -> bool {
        self.hours.set == EVERY_HOUR
    }

    /// The days of this month that match.
    pub(super) fn days(&self, year: i16, month: i8) -> DaySet {
        if self.months.contains(month) { self.days.in_month(year, month) } else { DaySet::NONE }
    }

    /// The first time of day that matches, at or after this one.
    pub(super) fn time_from(&self, hour: i8, minute: i8, second: i8) -> Option<Time> {
        let time = |hour, minute, second| Time::new(hour, minute, second, 0).ok();
        let (first_minute, first_second) = (self.minutes.from(0)?, self.seconds.from(0)?);
        if self.hours.contains(hour) {
            if self.minutes.contains(minute)
                && let Some(second) = self.seconds.from(second)
            {
                return time(hour, minute, second);
            }
            if let Some(minute) = self.minutes.from(minute + 1) {
                return time(hour, minute, first_second);
            }
        }
        time(self.hours.from(hour + 1)?, first_minute, first_second)
    }
}

impl Span {
    pub(super) fn contains(&self, number: i8) -> bool {
        self.set & (1 << number) != 0
    }

    /// The first number of the set that is not below `number`.
    fn from(&self, number: i8) -> Option<i8> {
        let rest = self.set >> number << number;
        (rest != 0).then(|| rest.trailing_zeros() as i8)
    }

    /// The numbers in order.
    pub(crate) fn numbers(&self) -> Vec<u8> {
        (0..64).filter(|number| self.set & (1 << number) != 0).collect()
    }
}
