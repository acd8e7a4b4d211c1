//! Triggers by the calendar: every day, every month.
//!
//! The date comes from the last due time and the time of day from the trigger. So an edit of the time neither loses nor
//! doubles a day, and the 31st comes back after a shorter month.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, Time};

use super::{TriggerRule, TriggerState};
use crate::error::Error;
use crate::text;
use crate::time::Timestamp;
use crate::zone::{Zone, wall_datetime, wall_seconds};

/// A time of day on a wall clock, to the second: `08:00` or `23:59:59`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay {
    hour: i8,
    minute: i8,
    second: i8,
}

/// Fires every day at a time of day.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Daily {
    #[serde(with = "text::one")]
    time: TimeOfDay,
    #[serde(default)]
    zone: Zone,
}

/// Fires every month on one day of it; in a month that has no such day on its last, and on the day itself again in the
/// next month that has it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "MonthlyForm", into = "MonthlyForm")]
pub struct Monthly {
    day: i8,
    time: TimeOfDay,
    zone: Zone,
}

impl TimeOfDay {
    /// This time of day.
    ///
    /// # Errors
    ///
    /// When no wall clock shows it.
    pub fn new(hour: u8, minute: u8, second: u8) -> Result<Self, Error> {
        if hour < 24 && minute < 60 && second < 60 {
            return Ok(Self { hour: hour as i8, minute: minute as i8, second: second as i8 });
        }
        Err(Error::invalid(
            format!("the time of day {hour:02}:{minute:02}:{second:02}"),
            "hours are 0 to 23, minutes and seconds 0 to 59",
            "write it like 08:00 or 23:59:59",
        ))
    }

    fn on(self, date: Date, zone: &Zone) -> Option<Timestamp> {
        let time = Time::new(self.hour, self.minute, self.second, 0).ok()?;
        zone.first_moment(wall_seconds(date.to_datetime(time))?)
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.hour, self.minute)?;
        if self.second > 0 { write!(f, ":{:02}", self.second) } else { Ok(()) }
    }
}

impl FromStr for TimeOfDay {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |column: usize, why: &str| {
            Error::invalid(
                format!("the time of day {:?}", crate::name::shown(text)),
                why.to_owned(),
                "write it like 08:00 or 23:59:59",
            )
            .at_column(column)
        };
        let mut parts = [0_u8; 3];
        let mut column = 1;
        let mut count = 0;
        for part in text.split(':') {
            let (most, why) = match count {
                0 => (23, "the hour is not a number from 0 to 23"),
                1 => (59, "the minute is not a number from 0 to 59"),
                2 => (59, "the second is not a number from 0 to 59"),
                _ => return Err(refuse(column, "it has too many parts")),
            };
            let digits = (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
            let number = part.parse().ok().filter(|number| digits && *number <= most);
            parts[count] = number.ok_or_else(|| refuse(column, why))?;
            count += 1;
            column += part.len() + 1;
        }
        if count < 2 {
            return Err(refuse(text.len() + 1, "the minute is missing"));
        }
        Self::new(parts[0], parts[1], parts[2])
    }
}

impl Daily {
    /// Every day at this time of this zone's wall clocks.
    pub fn new(time: TimeOfDay, zone: Zone) -> Self {
        Self { time, zone }
    }

    /// The time of day.
    pub fn time(&self) -> TimeOfDay {
        self.time
    }

    /// The zone.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }
}

impl Monthly {
    /// Every month on this day, 1 to 31, at this time of this zone's wall clocks.
    ///
    /// # Errors
    ///
    /// When no month has that day.
    pub fn new(day: u8, time: TimeOfDay, zone: Zone) -> Result<Self, Error> {
        if (1..=31).contains(&day) {
            return Ok(Self { day: day as i8, time, zone });
        }
        Err(Error::invalid(
            format!("the day {day} of the month"),
            "days are 1 to 31",
            "choose one of them; 31 is the last day of every month",
        ))
    }

    /// The day of the month, 1 to 31.
    pub fn day(&self) -> u8 {
        self.day.unsigned_abs()
    }

    /// The time of day.
    pub fn time(&self) -> TimeOfDay {
        self.time
    }

    /// The zone.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// The day in the month that is so many months after the date's.
    fn date(&self, of: Date, months: i32) -> Option<Date> {
        let month = i32::from(of.year()) * 12 + i32::from(of.month()) - 1 + months;
        let year = i16::try_from(month.div_euclid(12)).ok()?;
        let first = Date::new(year, month.rem_euclid(12) as i8 + 1, 1).ok()?;
        Date::new(first.year(), first.month(), self.day.min(first.days_in_month())).ok()
    }
}

/// The first due time later than the base. `date` gives the date that is so many steps away from another one, and the
/// step after the last due time's own date, day or month, is the one that is due.
fn next_by_date(
    state: &TriggerState,
    time: TimeOfDay,
    zone: &Zone,
    date: impl Fn(Date, i32) -> Option<Date>,
) -> Option<Timestamp> {
    const STEPS_MAX: i32 = 4;
    let base = state.base();
    let shown = wall_datetime(zone.wall(base))?.date();
    let due = |step| time.on(date(shown, step)?, zone);
    let first = match state.last_due {
        // What was due in a gap of the wall clock fired after it, which may be the next day already.
        Some(last) if due(-1) == Some(last) => 0,
        Some(_) => 1,
        None => 0,
    };
    (first..first + STEPS_MAX).map_while(due).find(|due| *due > base)
}

impl TriggerRule for Daily {
    fn next(&self, state: &TriggerState, _now: Timestamp) -> Result<Option<Timestamp>, Error> {
        let day = |from: Date, steps: i32| from.checked_add(jiff::Span::new().days(steps)).ok();
        Ok(next_by_date(state, self.time, &self.zone, day))
    }
}

impl TriggerRule for Monthly {
    fn next(&self, state: &TriggerState, _now: Timestamp) -> Result<Option<Timestamp>, Error> {
        Ok(next_by_date(state, self.time, &self.zone, |from, steps| self.date(from, steps)))
    }
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct MonthlyForm {
    day: u8,
    #[serde(with = "text::one")]
    time: TimeOfDay,
    #[serde(default)]
    zone: Zone,
}

impl TryFrom<MonthlyForm> for Monthly {
    type Error = Error;

    fn try_from(form: MonthlyForm) -> Result<Self, Error> {
        Self::new(form.day, form.time, form.zone)
    }
}

impl From<Monthly> for MonthlyForm {
    fn from(monthly: Monthly) -> Self {
        Self { day: monthly.day(), time: monthly.time, zone: monthly.zone }
    }
}
