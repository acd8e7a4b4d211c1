//! Cron expressions: which moments they mean.
//!
//! An expression is read once into sets of seconds, minutes, hours, days and months. Looking for the next moment
//! walks wall-clock time by whole days and months, never by minutes, and then asks the [zone](crate::zone) which moment
//! that is. Why this is our own code: `docs/design/0011-cron.md`.

mod days;
mod fields;
mod read;

use std::fmt;
use std::sync::Arc;

use crate::error::Error;
use crate::time::Timestamp;
use crate::trigger::{TriggerRule, TriggerState};
use crate::zone::{WallSeconds, Zone, moment, wall_datetime, wall_seconds};
pub(crate) use days::{Days, bits};
pub(crate) use fields::{Fields, Span};

/// A cron expression in a time zone.
///
/// Five fields (minute, hour, day of month, month, day of week) or six, with seconds first. A field is a list of `*`,
/// numbers, ranges `a-b`, each with a step `/n`; months and weekdays also by name (`JAN`, `MON`), Sunday is 0 or 7. Days
/// of the month may be `L` (last), `L-3` (third before the last), `15W` (the weekday nearest to the 15th), `LW` (last
/// weekday); days of the week `5L` (last Friday), `5#2` (second Friday). `?` is `*` in either.
///
/// When both days are restricted, either is enough, as in cron since ever; when one of them is written with a `*`, both
/// have to hold. `@hourly`, `@daily`, `@midnight`, `@weekly`, `@monthly`, `@yearly`, `@annually` stand for what they say.
///
/// # Example
///
/// ```
/// use taskwright_core::cron::Cron;
///
/// let cron = Cron::new("0 8 L * *", "Europe/Berlin".parse()?)?;
/// let next = cron.next_after("2026-02-01T00:00:00Z".parse()?).expect("there is one every month");
/// assert_eq!(next.to_string(), "2026-02-28T07:00:00.000000Z");
///
/// let error = Cron::new("0 25 * * *", Default::default()).unwrap_err();
/// assert_eq!(error.why(), "the hour 25 is not between 0 and 23 (at column 3)");
/// # Ok::<(), taskwright_core::Error>(())
/// ```
#[derive(Clone, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub struct Cron {
    expression: Arc<str>,
    zone: Zone,
    fields: Arc<Fields>,
}

/// How many years ahead an expression is followed: between two 29ths of February that are the fifth Friday of their month
/// lie at most 40.
const YEARS_MAX: i32 = 100;

impl Cron {
    /// Reads an expression.
    ///
    /// # Errors
    ///
    /// When it is malformed, out of range, or means no date at all such as 30 February. The message says the column of the
    /// fault (bytes, from 1) and what is allowed there.
    pub fn new(expression: &str, zone: Zone) -> Result<Self, Error> {
        let fields = read::read(expression)?;
        let cron = Self { expression: expression.trim().into(), zone, fields: Arc::new(fields) };
        // The years from 2000 hold every kind of year and every kind of month.
        match cron.next_wall(946_684_800) {
            Some(_) => Ok(cron),
            None => Err(read::impossible_date(expression)),
        }
    }

    /// The expression as it was given, without the blanks around it.
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// The zone whose wall clocks it is about.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// What the expression says, field by field.
    pub(crate) fn fields(&self) -> &Fields {
        &self.fields
    }

    /// The first moment strictly after `after`.
    ///
    /// Where the wall clock jumps ahead, a time that it skips counts at the next moment that it shows, once; unless every hour
    /// matches, since then the next hour has a time of its own. Where it goes back, a fixed time counts the first time it is
    /// shown; an expression whose minute or hour is a wildcard follows the wall clock, both times.
    ///
    /// `None` beyond [`Timestamp::MAX`].
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        if self.fields.is_wildcard() { self.next_as_shown(after) } else { self.next_fixed(after) }
    }

    /// The first moment at which a wall clock shows, for the first time, what matches.
    fn next_fixed(&self, after: Timestamp) -> Option<Timestamp> {
        // While the wall clock repeats an hour, everything up to the end of that hour lies behind: at most its seconds.
        const STEPS_MAX: usize = 100_000;
        let mut wall = self.zone.wall(after);
        for _ in 0..STEPS_MAX {
            wall = self.next_wall(wall.checked_add(1)?)?;
            let due = self.zone.first_moment(wall)?;
            if due > after {
                return Some(due);
            }
        }
        None
    }

    /// The first moment at which a wall clock shows what matches, every time it does.
    fn next_as_shown(&self, after: Timestamp) -> Option<Timestamp> {
        const DAY_S: i64 = 86_400;
        const JUMPS_MAX: usize = 1_000;
        let second = after.as_micros().div_euclid(1_000_000);
        let offset_s = self.zone.offset_s(second);
        let mut wall = second + offset_s + 1;
        let due = self.next_wall(wall)? - offset_s;
        if due - second < DAY_S && self.zone.offset_s(due) == offset_s {
            return moment(due);
        }
        // There may be a jump in between: go from one to the next.
        let mut stretch = self.zone.stretch(second);
        for _ in 0..JUMPS_MAX {
            let shown = self.next_wall(wall)?;
            let due = shown - stretch.offset_s;
            let Some((jump, offset_s)) = stretch.next else { return moment(due) };
            if due < jump {
                return moment(due);
            }
            if shown < jump + offset_s && !self.fields.every_hour() {
                return moment(jump);
            }
            wall = jump + offset_s;
            stretch = self.zone.stretch(jump);
        }
        None
    }

    /// The first time on a wall clock, at or after `from`, that matches.
    fn next_wall(&self, from: WallSeconds) -> Option<WallSeconds> {
        let start = wall_datetime(from)?;
        let (date, time) = (start.date(), start.time());
        let days = self.fields.days(date.year(), date.month());
        if days.contains(date.day())
            && let Some(time) = self.fields.time_from(time.hour(), time.minute(), time.second())
        {
            return wall_seconds(date.to_datetime(time));
        }
        let later = days.after(date.day()).map(|day| (date.year(), date.month(), day));
        let (year, month, day) = later.or_else(|| self.next_month(date.year(), date.month()))?;
        let date = jiff::civil::Date::new(year, month, day).ok()?;
        wall_seconds(date.to_datetime(self.fields.time_from(0, 0, 0)?))
    }

    /// The first date that matches in the months after this one.
    fn next_month(&self, year: i16, month: i8) -> Option<(i16, i8, i8)> {
        let this = i32::from(year) * 12 + i32::from(month) - 1;
        (this + 1..=this + YEARS_MAX * 12).find_map(|index| {
            let year = i16::try_from(index.div_euclid(12)).ok()?;
            let month = index.rem_euclid(12) as i8 + 1;
            let day = self.fields.days(year, month).after(0)?;
            Some((year, month, day))
        })
    }
}

impl TriggerRule for Cron {
    fn next(&self, state: &TriggerState, _now: Timestamp) -> Result<Option<Timestamp>, Error> {
        Ok(self.next_after(state.base()))
    }
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.expression == other.expression && self.zone == other.zone
    }
}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cron({:?} {})", self.expression, self.zone)
    }
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    expression: String,
    #[serde(default)]
    zone: Zone,
}

impl TryFrom<Form> for Cron {
    type Error = Error;

    fn try_from(form: Form) -> Result<Self, Error> {
        Self::new(&form.expression, form.zone)
    }
}

impl From<Cron> for Form {
    fn from(cron: Cron) -> Self {
        Self { expression: cron.expression.to_string(), zone: cron.zone }
    }
}
