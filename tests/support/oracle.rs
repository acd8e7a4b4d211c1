//! When cron expressions are due, according to croner: somebody else's reading of them.
#![allow(dead_code, reason = "each test uses its part")]

use std::cmp::Ordering;
use std::str::FromStr;

use croner::errors::CronError;
use croner::{CivilDateTime, CronDateTime, Resolution};
use jiff::civil::DateTime;
use jiff::tz::Offset;
use taskwright_core::Timestamp;

/// Expressions on whose meaning there is no dispute. Where traditions differ (a star with a step in a day field beside a
/// restriction in the other), ours is tested elsewhere.
pub(crate) const EXPRESSIONS: [&str; 36] = [
    "* * * * *",
    "*/5 * * * *",
    "*/7 * * * *",
    "0 * * * *",
    "30 4 * * *",
    "0 8 * * 1-5",
    "0 8,12,18 * * *",
    "0 9-17 * * MON-FRI",
    "15,45 */3 * * *",
    "5-59/10 2 * * *",
    "10-40/15 6-8 * * *",
    "0 0 1 * *",
    "0 0 31 * *",
    "0 0 29 2 *",
    "0 0 1 1 *",
    "0 0 L * *",
    "0 0 L 2 *",
    "0 0 15W * *",
    "0 0 1W * *",
    "0 0 LW * *",
    "0 0 * * 0",
    "0 0 * * 7",
    "0 0 * * SUN,WED",
    "0 0 * * 5L",
    "0 0 * * 5#2",
    "0 0 * * MON#1",
    "0 0 * * FRI#5",
    "0 0 13 * 5",
    "0 12 1,15 * 1",
    "0 0 1 JAN,JUL *",
    "0 0 1 */3 *",
    "59 23 28-31 * *",
    "*/15 * * * * *",
    "30 */20 * * * *",
    "0 0 6 * 6-8 2",
    "0,59 59 23 31 12 *",
];

/// When an expression is due in UTC after a moment, for ever.
pub(crate) fn occurrences(expression: &str, after: Timestamp) -> impl Iterator<Item = Timestamp> {
    let cron = croner::Cron::from_str(expression).unwrap();
    let mut at = after;
    std::iter::from_fn(move || {
        at = cron.find_next_occurrence(&OnTheWall::of(at), false).unwrap().moment();
        Some(at)
    })
}

/// A wall clock in UTC, as croner asks for it.
#[derive(Clone)]
pub(crate) struct OnTheWall(pub(crate) DateTime);

impl OnTheWall {
    fn of(at: Timestamp) -> Self {
        Self(Offset::UTC.to_datetime(jiff::Timestamp::from_microsecond(at.as_micros()).unwrap()))
    }

    fn moment(&self) -> Timestamp {
        Timestamp::from_micros(Offset::UTC.to_timestamp(self.0).unwrap().as_microsecond())
    }
}

impl CronDateTime for OnTheWall {
    fn to_civil(&self) -> CivilDateTime {
        let [month, day, hour, minute, second] =
            [self.0.month(), self.0.day(), self.0.hour(), self.0.minute(), self.0.second()]
                .map(|part| part as u32);
        CivilDateTime::from_ymd_hms(self.0.year().into(), month, day, hour, minute, second).unwrap()
    }

    fn civil_weekday(&self) -> croner::Weekday {
        use croner::Weekday::{Friday, Monday, Saturday, Sunday, Thursday, Tuesday, Wednesday};
        let days = [Sunday, Monday, Tuesday, Wednesday, Thursday, Friday, Saturday];
        days[self.0.weekday().to_sunday_zero_offset() as usize]
    }

    fn resolve_civil(&self, civil: CivilDateTime) -> Result<Resolution<Self>, CronError> {
        let [month, day, hour, minute, second] =
            [civil.month(), civil.day(), civil.hour(), civil.minute(), civil.second()].map(|part| part as i8);
        let shown = DateTime::new(civil.year() as i16, month, day, hour, minute, second, 0).unwrap();
        Ok(Resolution::Single(Self(shown)))
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        self.0.checked_add(jiff::Span::new().try_seconds(seconds).ok()?).ok().map(Self)
    }

    fn cmp_instant(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}
