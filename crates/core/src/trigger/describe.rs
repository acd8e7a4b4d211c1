//! Triggers in plain words.

use std::time::Duration;

use super::{OnEvent, Trigger};
use crate::cron::{Cron, Days, Fields, Span, bits};
use crate::time::Timestamp;
use crate::zone::{Zone, wall_datetime};

impl Trigger {
    /// The trigger in plain words, such as `every weekday at 08:00 Europe/Berlin`.
    pub fn describe(&self) -> String {
        match self {
            Self::Every(every) => format!("every {}", period(every.period())),
            Self::Cron(cron) => describe_cron(cron),
            Self::At(at) => {
                let zone = at.zone();
                let shown = wall_datetime(zone.wall(at.at()))
                    .map(|shown| shown.strftime("%Y-%m-%d %H:%M:%S").to_string());
                let shown = shown.unwrap_or_else(|| at.at().to_string());
                let fraction = match at.at().as_micros().rem_euclid(1_000_000) {
                    0 => String::new(),
                    micros => format!(".{micros:06}").trim_end_matches('0').to_owned(),
                };
                let time = match fraction.is_empty() {
                    true => shown.strip_suffix(":00").unwrap_or(&shown).to_owned(),
                    false => shown + &fraction,
                };
                format!("once at {time} {zone}{}", which_time(zone, at.at()))
            }
            Self::After(after) => format!("once, {} after registration", span(after.delay())),
            Self::Daily(daily) => format!("every day at {} {}", daily.time(), daily.zone()),
            Self::Monthly(monthly) => {
                let day = match monthly.day() {
                    31 => "last day of every month".to_owned(),
                    day @ 29..31 => format!("{} of every month, or its last day", ordinal(day)),
                    day => format!("{} of every month", ordinal(day)),
                };
                format!("at {} {} on the {day}", monthly.time(), monthly.zone())
            }
            Self::Event(event) => describe_event(event),
            Self::Custom(custom) if custom.spec.is_null() => format!("by the rule {}", custom.name),
            Self::Custom(custom) => format!("by the rule {} with {}", custom.name, custom.spec),
        }
    }
}

/// Which time that is, where the clock shows an hour, or half of one, twice.
fn which_time(zone: &Zone, at: Timestamp) -> &'static str {
    const SHIFTS: [Duration; 2] = [Duration::from_secs(1_800), Duration::from_secs(3_600)];
    let shown = zone.wall(at);
    if SHIFTS.iter().any(|shift| zone.wall(at.plus(*shift)) == shown) {
        ", the first time that the clock shows it"
    } else if SHIFTS.iter().any(|shift| zone.wall(at.minus(*shift)) == shown) {
        ", the second time that the clock shows it"
    } else {
        ""
    }
}

fn describe_event(event: &OnEvent) -> String {
    let mut words = format!("on event {}", event.topic);
    if !event.filter.is_empty() {
        words.push_str(&format!(" where {}", event.filter));
    }
    if event.coalesce {
        words.push_str(", one job for all of a key that wait");
    }
    words
}

/// A duration behind "every": `minute`, `5 minutes`.
fn period(of: Duration) -> String {
    let text = span(of);
    match text.strip_prefix("1 ") {
        // A day of the calendar may have 23.
        Some("day") => "24 hours".to_owned(),
        Some(unit) if !unit.contains(' ') => unit.to_owned(),
        _ => text,
    }
}

/// A duration: `1 hour 30 minutes`.
fn span(of: Duration) -> String {
    const UNITS: [(u128, &str); 6] = [
        (86_400_000_000, "day"),
        (3_600_000_000, "hour"),
        (60_000_000, "minute"),
        (1_000_000, "second"),
        (1_000, "millisecond"),
        (1, "microsecond"),
    ];
    let mut rest_us = of.as_micros();
    let mut parts = Vec::new();
    for (unit_us, unit) in UNITS {
        if rest_us >= unit_us {
            parts.push(counted(rest_us / unit_us, unit));
            rest_us %= unit_us;
        }
    }
    if parts.is_empty() { "0 seconds".to_owned() } else { parts.join(" ") }
}

fn counted(count: u128, unit: &str) -> String {
    if count == 1 { format!("1 {unit}") } else { format!("{count} {unit}s") }
}

fn ordinal(number: u8) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

/// `a`, `a and b`, `a, b and c`.
fn listed(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [before @ .., last] => format!("{} and {last}", before.join(", ")),
    }
}

/// Three or more neighbours as `first to last`, others in a list.
fn ranged(numbers: &[u8], name: impl Fn(u8) -> String) -> String {
    let is_run = numbers.windows(2).all(|pair| pair[1] == pair[0] + 1);
    match numbers {
        [first, _, .., last] if is_run && numbers.len() > 2 => format!("{} to {}", name(*first), name(*last)),
        _ => listed(&numbers.iter().map(|number| name(*number)).collect::<Vec<_>>()),
    }
}

/// Five or more at one distance as `every 7th minute from 0 to 56`, others as `minutes 0 and 30` or `minutes 0 to 9`.
fn numbered(numbers: &[u8], unit: &str) -> String {
    match numbers {
        [one] => format!("{unit} {one}"),
        [first, second, .., last] if numbers.len() > 4 && is_stepped(numbers) && second - first > 1 => {
            format!("every {} {unit} from {first} to {last}", ordinal(second - first))
        }
        _ => format!("{unit}s {}", ranged(numbers, |number| number.to_string())),
    }
}

fn is_stepped(numbers: &[u8]) -> bool {
    numbers.windows(3).all(|three| three[1] - three[0] == three[2] - three[1])
}

/// When in a day.
enum TimePart {
    /// `08:00 and 20:00`.
    At(String),
    /// `every 5 minutes`.
    Pace(String),
    /// `every 5 minutes from 09:00 to 17:59`: bound to what the clock shows.
    PaceOfDay(String),
}

/// On which days.
enum DayPart {
    Any,
    /// `every weekday`, behind which the months come.
    Week(String),
    /// `the 1st` of the months.
    Month(String),
    /// `the 1st` of the months, and besides `every Monday`.
    Either(String, String),
    /// `the 1st` or `the second Friday`, both of the months.
    EitherOfMonth(String, String),
    /// `the 1st` of the months, if it is `a Monday`.
    Both(String, String),
}

fn describe_cron(cron: &Cron) -> String {
    let fields = cron.fields();
    let time = time_part(fields).unwrap_or_else(|| any_time(fields));
    match day_part(&fields.days) {
        Some(day) => worded(&time, &day, &fields.months, cron.zone()),
        // No field that was read is without a day.
        None => format!("by cron {} {}", cron.expression(), cron.zone()),
    }
}

/// Times that no clock shows in a row: `at seconds 10 and 40 of minute 5 of hours 9 to 17`.
fn any_time(fields: &Fields) -> TimePart {
    let every_hour = fields.hours.is_all(0, 23);
    let every_minute = fields.minutes.is_all(0, 59);
    let every_second = fields.seconds.is_all(0, 59);
    let mut parts = Vec::new();
    if every_second {
        parts.push("every second".to_owned());
    } else if fields.seconds.numbers() != [0] {
        parts.push(numbered(&fields.seconds.numbers(), "second"));
    }
    if !every_minute {
        parts.push(numbered(&fields.minutes.numbers(), "minute"));
    } else if !every_second {
        parts.push("every minute".to_owned());
    }
    if !every_hour {
        parts.push(numbered(&fields.hours.numbers(), "hour"));
    } else if !every_minute {
        parts.push("every hour".to_owned());
    }
    let words = parts.join(" of ");
    let at = if every_second || (every_minute && parts.len() < 3 && words.starts_with("every minute")) {
        ""
    } else {
        "at "
    };
    TimePart::PaceOfDay(format!("{at}{words}"))
}

fn worded(time: &TimePart, day: &DayPart, months: &Span, zone: &Zone) -> String {
    let named = (!months.is_all(1, 12)).then(|| ranged(&months.numbers(), month_name));
    let in_months = match &named {
        Some(names) if names.contains(" to ") => format!(" from {names}"),
        Some(names) => format!(" in {names}"),
        None => String::new(),
    };
    let of_months = named.unwrap_or_else(|| "every month".to_owned());
    let day = match (time, day) {
        (TimePart::At(at), DayPart::Any) => return format!("every day{in_months} at {at} {zone}"),
        (TimePart::At(at), DayPart::Week(days)) => return format!("{days}{in_months} at {at} {zone}"),
        (TimePart::Pace(pace), DayPart::Any) if in_months.is_empty() => return pace.clone(),
        (TimePart::Pace(pace) | TimePart::PaceOfDay(pace), DayPart::Any) => {
            return format!("{pace}{in_months} {zone}");
        }
        (_, DayPart::Week(days)) => format!("{days}{in_months}"),
        (_, DayPart::Month(days)) => format!("on {days} of {of_months}"),
        (_, DayPart::Either(days, weekdays)) => format!("on {days} of {of_months} or {weekdays}{in_months}"),
        (_, DayPart::EitherOfMonth(days, weekdays)) => format!("on {days} or {weekdays} of {of_months}"),
        (_, DayPart::Both(days, weekdays)) => format!("on {days} of {of_months} if that is {weekdays}"),
    };
    match time {
        TimePart::At(at) => format!("at {at} {zone} {day}"),
        TimePart::Pace(pace) | TimePart::PaceOfDay(pace) => format!("{pace} {zone}, {day}"),
    }
}

fn time_part(fields: &Fields) -> Option<TimePart> {
    const TIMES_MAX: usize = 4;
    let (seconds, minutes, hours) =
        (fields.seconds.numbers(), fields.minutes.numbers(), fields.hours.numbers());
    let every_hour = fields.hours.is_all(0, 23);
    if seconds.len() > 1 {
        let all = every_hour && fields.minutes.is_all(0, 59);
        let pace = all.then(|| fields.seconds.pace("second", 60)).flatten()?;
        return Some(TimePart::Pace(pace));
    }
    let second = seconds.first().copied()?;
    if minutes.len() * hours.len() <= TIMES_MAX {
        let time = |hour: &u8, minute: &u8| match second {
            0 => format!("{hour:02}:{minute:02}"),
            _ => format!("{hour:02}:{minute:02}:{second:02}"),
        };
        let times: Vec<String> =
            hours.iter().flat_map(|hour| minutes.iter().map(move |minute| time(hour, minute))).collect();
        return Some(TimePart::At(listed(&times)));
    }
    if second != 0 {
        return None;
    }
    let (first_hour, last_hour) = (*hours.first()?, *hours.last()?);
    let is_run = hours.len() == usize::from(last_hour - first_hour) + 1;
    match minutes[..] {
        [minute] => {
            let pace = if is_run { Some("every hour".to_owned()) } else { fields.hours.pace("hour", 24) }?;
            Some(match (every_hour, is_run, minute) {
                (true, _, 0) => TimePart::PaceOfDay(pace),
                (true, _, _) => TimePart::PaceOfDay(format!("{pace} at minute {minute}")),
                (_, true, _) => TimePart::PaceOfDay(format!(
                    "{pace} from {first_hour:02}:{minute:02} to {last_hour:02}:{minute:02}"
                )),
                (_, _, 0) => TimePart::PaceOfDay(format!("{pace} from 00:00")),
                _ => TimePart::PaceOfDay(format!("{pace} at minute {minute}")),
            })
        }
        _ => {
            let pace = fields.minutes.pace("minute", 60)?;
            let last_minute = minutes.last()?;
            match (every_hour, is_run) {
                // Zones differ by quarters of an hour: the clocks of all of them show such a pace at the same moments.
                (true, _) if fields.minutes.step.is_none_or(|step| 15_u8.is_multiple_of(step)) => {
                    Some(TimePart::Pace(pace))
                }
                (true, _) => Some(TimePart::PaceOfDay(pace)),
                (_, true) => {
                    let to = format!("{last_hour:02}:{last_minute:02}");
                    Some(TimePart::PaceOfDay(format!("{pace} from {first_hour:02}:00 to {to}")))
                }
                _ => None,
            }
        }
    }
}

fn day_part(days: &Days) -> Option<DayPart> {
    const ALL_DAYS: u32 = !1;
    let every_day = days.any_of_month && days.of_month | 1 == ALL_DAYS | 1;
    let every_weekday = days.any_of_week && days.of_week == 0x7f;
    let of_month = || month_days(days);
    let of_week = || week_days(days);
    match (every_day, every_weekday) {
        (true, true) => Some(DayPart::Any),
        (false, true) => of_month().map(DayPart::Month),
        (true, false) => of_week(),
        (false, false) if !days.any_of_month && !days.any_of_week => match (of_month()?, of_week()?) {
            (days, DayPart::Week(weekdays)) => Some(DayPart::Either(days, weekdays)),
            (days, DayPart::Month(weekdays)) => Some(DayPart::EitherOfMonth(days, weekdays)),
            _ => None,
        },
        // A field with a star binds the other instead of adding to it.
        (false, false) if days.of_week == 0x7f => of_month().map(DayPart::Month),
        (false, false) => match (of_month()?, of_week()?) {
            (days, DayPart::Week(weekdays) | DayPart::Month(weekdays)) => {
                Some(DayPart::Both(days, one_of(&weekdays)))
            }
            _ => None,
        },
    }
}

/// `every Monday and Thursday` as `a Monday or Thursday`.
fn one_of(weekdays: &str) -> String {
    let article = if weekdays.starts_with("every ") { "a " } else { "" };
    format!("{article}{}", weekdays.trim_start_matches("every ").replace(" and ", " or "))
}

/// `the 1st and 15th`, `the last day`.
fn month_days(days: &Days) -> Option<String> {
    let numbers: Vec<u8> = bits(days.of_month).map(|day| day as u8).collect();
    let mut items: Vec<String> = Vec::new();
    match numbers[..] {
        [] => {}
        [first, second, .., last] if numbers.len() > 4 && is_stepped(&numbers) && second - first > 1 => {
            let step = ordinal(second - first);
            items.push(format!("every {step} day from the {} to the {}", ordinal(first), ordinal(last)));
        }
        _ => items.push(format!("the {}", ranged(&numbers, ordinal))),
    }
    items.extend(
        bits(days.nearest_weekday).map(|day| format!("the weekday nearest to the {}", ordinal(day as u8))),
    );
    items.extend(bits(days.before_last).map(|distance| match distance {
        0 => "the last day".to_owned(),
        distance => format!("the day {} before the last", counted(distance.unsigned_abs().into(), "day")),
    }));
    if days.last_weekday {
        items.push("the last weekday".to_owned());
    }
    (!items.is_empty()).then(|| listed(&items))
}

/// `every weekday`, `every Monday and Thursday`, or `the second Friday` of a month.
fn week_days(days: &Days) -> Option<DayPart> {
    const NTH: [&str; 6] = ["", "first", "second", "third", "fourth", "fifth"];
    let mut in_month: Vec<String> = Vec::new();
    for weekday in 0..7_u8 {
        let nth = bits(u32::from(days.nth_of_week[usize::from(weekday)]));
        in_month.extend(nth.map(|nth| format!("the {} {}", NTH[nth as usize % 6], day_name(weekday))));
        if days.last_of_week & (1 << weekday) != 0 {
            in_month.push(format!("the last {}", day_name(weekday)));
        }
    }
    let numbers: Vec<u8> = bits(u32::from(days.of_week)).map(|day| day as u8).collect();
    match (numbers.as_slice(), in_month.as_slice()) {
        ([], []) => None,
        ([], _) => Some(DayPart::Month(listed(&in_month))),
        ([1, 2, 3, 4, 5], []) => Some(DayPart::Week("every weekday".to_owned())),
        ([0, 6], []) => Some(DayPart::Week("every Saturday and Sunday".to_owned())),
        ([0, 1, 2, 3, 4, 5, 6], []) => Some(DayPart::Week("every day".to_owned())),
        (_, []) => {
            // Sunday ends a week that has others.
            let mut numbers = numbers;
            if numbers.len() > 1 && numbers[0] == 0 {
                numbers.rotate_left(1);
                numbers.pop();
                numbers.push(7);
            }
            let names = ranged(&numbers, day_name);
            let day = if names.contains(" to ") { "day from " } else { "" };
            Some(DayPart::Week(format!("every {day}{names}")))
        }
        (_, in_month) => {
            let names: Vec<String> = numbers.iter().map(|day| day_name(*day)).collect();
            Some(DayPart::Month(format!("every {} and {}", listed(&names), listed(in_month))))
        }
    }
}

fn day_name(weekday: u8) -> String {
    const NAMES: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
    NAMES[usize::from(weekday % 7)].to_owned()
}

fn month_name(month: u8) -> String {
    const NAMES: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    NAMES[usize::from(month.saturating_sub(1) % 12)].to_owned()
}

impl Span {
    fn is_all(&self, low: u8, high: u8) -> bool {
        self.numbers().len() == usize::from(high - low) + 1
    }

    /// `every minute`, `every 5 minutes`, when the step divides the circle; otherwise it is no pace.
    fn pace(&self, unit: &str, circle: u8) -> Option<String> {
        if self.is_all(0, circle - 1) {
            return Some(format!("every {unit}"));
        }
        match self.step? {
            1 => Some(format!("every {unit}")),
            step if circle.is_multiple_of(step) => Some(format!("every {step} {unit}s")),
            _ => None,
        }
    }
}
