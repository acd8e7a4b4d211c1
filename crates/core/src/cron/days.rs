//! Which days of one month match.

use jiff::civil::Date;

/// What the two day fields say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Days {
    /// Days of the month by number: bit 1 to 31.
    pub(crate) of_month: u32,
    /// Days before the last by distance (`L`, `L-3`): bit 0 to 30.
    pub(crate) before_last: u32,
    /// The weekdays nearest to a day by its number (`15W`): bit 1 to 31.
    pub(crate) nearest_weekday: u32,
    /// The last weekday (`LW`).
    pub(crate) last_weekday: bool,
    /// Whether the day of the month was written with a `*` or `?`.
    pub(crate) any_of_month: bool,
    /// Days of the week, Sunday first: bit 0 to 6.
    pub(crate) of_week: u8,
    /// For each day of the week, the how-manieth of the month (`5#2`): bit 1 to 5.
    pub(crate) nth_of_week: [u8; 7],
    /// Days of the week whose last one counts (`5L`): bit 0 to 6.
    pub(crate) last_of_week: u8,
    /// Whether the day of the week was written with a `*` or `?`.
    pub(crate) any_of_week: bool,
}

/// Days of one month: bit 1 to 31.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DaySet(u32);

impl DaySet {
    pub(super) const NONE: Self = Self(0);

    pub(super) fn contains(self, day: i8) -> bool {
        self.0 & (1 << day) != 0
    }

    /// The first day after `day`.
    pub(super) fn after(self, day: i8) -> Option<i8> {
        let later = u64::from(self.0) >> (day + 1) << (day + 1);
        (later != 0).then(|| later.trailing_zeros() as i8)
    }
}

impl Days {
    /// The days of this month that match.
    pub(super) fn in_month(&self, year: i16, month: i8) -> DaySet {
        let Ok(first) = Date::new(year, month, 1) else { return DaySet::NONE };
        let length = first.days_in_month();
        let first_weekday = first.weekday().to_sunday_zero_offset();
        let by_month = self.by_month(length, first_weekday);
        let by_week = self.by_week(length, first_weekday);
        // As in cron since ever: two restrictions are alternatives, unless one was written with a star.
        let both = self.any_of_month || self.any_of_week;
        DaySet(if both { by_month & by_week } else { by_month | by_week })
    }

    fn by_month(&self, length: i8, first_weekday: i8) -> u32 {
        let mut days = self.of_month;
        let mut add = |day: i8| days |= if day >= 1 { 1 << day } else { 0 };
        bits(self.before_last).for_each(|distance| add(length - distance));
        for wanted in bits(self.nearest_weekday).filter(|day| *day <= length) {
            add(nearest_weekday(wanted, length, first_weekday));
        }
        if self.last_weekday {
            add(nearest_weekday(length, length, first_weekday));
        }
        days & all_days(length)
    }

    fn by_week(&self, length: i8, first_weekday: i8) -> u32 {
        let mut days = 0;
        for weekday in 0..7 {
            let first = 1 + (weekday - first_weekday).rem_euclid(7);
            for nth in 1..=5_i8 {
                let day = first + 7 * (nth - 1);
                let is_last = day + 7 > length;
                let named = self.of_week & (1 << weekday) != 0
                    || self.nth_of_week[weekday as usize] & (1 << nth) != 0
                    || (is_last && self.last_of_week & (1 << weekday) != 0);
                if day <= length && named {
                    days |= 1 << day;
                }
            }
        }
        days
    }
}

/// The day from Monday to Friday that is nearest to a day without leaving the month.
fn nearest_weekday(day: i8, length: i8, first_weekday: i8) -> i8 {
    match (first_weekday + day - 1).rem_euclid(7) {
        6 if day == 1 => day + 2,
        6 => day - 1,
        0 if day == length => day - 2,
        0 => day + 1,
        _ => day,
    }
}

fn all_days(length: i8) -> u32 {
    (u32::MAX >> (31 - length)) & !1
}

/// The numbers of the bits that are set.
pub(crate) fn bits(set: u32) -> impl Iterator<Item = i8> {
    (0..32).filter(move |bit| set & (1 << bit) != 0)
}
