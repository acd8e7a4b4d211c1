//! Reading an expression, with the place of whatever is wrong.

use super::days::Days;
use super::fields::{Fields, Span};
use crate::error::Error;
use crate::limit::TRIGGER_BYTES_MAX;

/// What one field may hold.
struct Field {
    name: &'static str,
    low: u8,
    high: u8,
    names: &'static [&'static str],
    /// What to write instead.
    fix: &'static str,
}

const SECOND: Field =
    Field { name: "second", low: 0, high: 59, names: &[], fix: "seconds are 0 to 59, as in 0, */10 or 0,30" };
const MINUTE: Field =
    Field { name: "minute", low: 0, high: 59, names: &[], fix: "minutes are 0 to 59, as in 30, */5 or 0-10" };
const HOUR: Field =
    Field { name: "hour", low: 0, high: 23, names: &[], fix: "hours are 0 to 23, as in 8, 9-17 or */2" };
const DAY_OF_MONTH: Field = Field {
    name: "day of the month",
    low: 1,
    high: 31,
    names: &[],
    fix: "days of the month are 1 to 31, as in 1, 1-7, L (last), L-3, 15W (nearest weekday) or LW",
};
const MONTH: Field = Field {
    name: "month",
    low: 1,
    high: 12,
    names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
    fix: "months are 1 to 12 or JAN to DEC, as in 1, JAN-MAR or */3",
};
const DAY_OF_WEEK: Field = Field {
    name: "day of the week",
    low: 0,
    high: 7,
    names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
    fix: "days of the week are 0 to 7 or SUN to SAT (0 and 7 are Sunday), as in 1-5, FRI#2 (second) or 5L (last)",
};

const ALIASES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// A piece of the expression and the byte it begins at.
#[derive(Clone, Copy)]
struct Piece<'a> {
    text: &'a str,
    at: usize,
}

/// Builds the errors of one expression.
#[derive(Clone, Copy)]
struct Reader<'a> {
    expression: &'a str,
}

pub(super) fn read(expression: &str) -> Result<Fields, Error> {
    let reader = Reader { expression };
    if expression.len() > TRIGGER_BYTES_MAX {
        let why = format!("it has {} bytes, {TRIGGER_BYTES_MAX} are allowed", expression.len());
        return Err(reader.refuse_at(TRIGGER_BYTES_MAX, &why, "split it into several triggers"));
    }
    let fields = split(expression);
    match fields[..] {
        [alias] if alias.text.starts_with('@') => read(reader.alias(alias)?),
        [minute, hour, day, month, weekday] => reader.fields(None, [minute, hour, day, month, weekday]),
        [second, minute, hour, day, month, weekday] => {
            reader.fields(Some(second), [minute, hour, day, month, weekday])
        }
        _ => {
            let at = fields.get(6).map_or(expression.len(), |extra| extra.at);
            let why = match fields.len() {
                1 => "it has 1 field, not 5 or 6".to_owned(),
                count => format!("it has {count} fields, not 5 or 6"),
            };
            Err(reader.refuse_at(at, &why, FORM))
        }
    }
}

const FORM: &str = "write minute, hour, day of the month, month, day of the week, with seconds first if you need them, as in 0 8 * * 1-5";

/// The error of an expression that means no date.
pub(super) fn impossible_date(expression: &str) -> Error {
    let fields = split(expression);
    let at = fields.len().checked_sub(3).and_then(|day| fields.get(day)).map_or(0, |day| day.at);
    Reader { expression }.refuse_at(
        at,
        "no year has such a date: these days do not occur in these months",
        "choose a day that its month has, or L for the last day of the month",
    )
}

fn split(expression: &str) -> Vec<Piece<'_>> {
    pieces(Piece { text: expression, at: 0 }, |c| c.is_ascii_whitespace())
        .filter(|piece| !piece.text.is_empty())
        .collect()
}

fn pieces<'a>(
    whole: Piece<'a>,
    is_separator: impl Fn(char) -> bool + 'a,
) -> impl Iterator<Item = Piece<'a>> + 'a {
    let start = whole.text.as_ptr() as usize;
    whole
        .text
        .split(is_separator)
        .map(move |text| Piece { text, at: whole.at + (text.as_ptr() as usize - start) })
}

impl<'a> Piece<'a> {
    /// What comes before and after the first `separator`.
    fn cut(self, separator: char) -> Option<(Self, Self)> {
        let (before, after) = self.text.split_once(separator)?;
        let at = self.at + before.len() + separator.len_utf8();
        Some((Piece { text: before, at: self.at }, Piece { text: after, at }))
    }

    fn without_suffix(self, suffix: char) -> Option<Self> {
        let last = self.text.chars().next_back()?;
        let rest = &self.text[..self.text.len() - last.len_utf8()];
        last.eq_ignore_ascii_case(&suffix).then_some(Piece { text: rest, at: self.at })
    }
}

impl<'a> Reader<'a> {
    fn refuse_at(self, at: usize, why: &str, fix: &str) -> Error {
        Error::invalid(
            format!("the cron expression {:?}", crate::name::shown(self.expression)),
            why.to_owned(),
            fix.to_owned(),
        )
        .at_column(at + 1)
    }

    fn refuse(self, piece: Piece<'_>, field: &Field, why: &str) -> Error {
        self.refuse_at(piece.at, why, field.fix)
    }

    fn alias(self, piece: Piece<'_>) -> Result<&'static str, Error> {
        let found = ALIASES.iter().find(|(alias, _)| piece.text.eq_ignore_ascii_case(alias));
        found.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let why = format!("there is no alias {}", crate::name::shown(piece.text));
            self.refuse_at(
                piece.at,
                &why,
                "use @hourly, @daily, @weekly, @monthly, @yearly, or @every with a duration",
            )
        })
    }

    fn fields(self, second: Option<Piece<'_>>, rest: [Piece<'_>; 5]) -> Result<Fields, Error> {
        let [minute, hour, day, month, weekday] = rest;
        let mut days = Days::default();
        let only_zero = Span { set: 1, wildcard: false, step: None };
        let seconds = second.map_or(Ok(only_zero), |piece| self.span(piece, &SECOND))?;
        let minutes = self.span(minute, &MINUTE)?;
        let hours = self.span(hour, &HOUR)?;
        self.days_of_month(day, &mut days)?;
        let months = self.span(month, &MONTH)?;
        self.days_of_week(weekday, &mut days)?;
        Ok(Fields { seconds, minutes, hours, days, months })
    }

    fn span(self, piece: Piece<'_>, field: &Field) -> Result<Span, Error> {
        let mut set = 0;
        let mut wildcard = false;
        for item in self.items(piece) {
            set |= self.item(item, field)?;
            wildcard |= item.text.starts_with('*');
        }
        let all = (field.low..=field.high).fold(0, |all, number| all | 1 << number);
        let step = match piece.text.strip_prefix('*') {
            Some("") => Some(1),
            Some(step) => step.strip_prefix('/').and_then(|step| step.parse().ok()),
            None => None,
        };
        Ok(Span { set, wildcard: wildcard || set == all, step })
    }

    fn items<'p>(self, piece: Piece<'p>) -> impl Iterator<Item = Piece<'p>> {
        pieces(piece, |c| c == ',')
    }

    /// One item of a list: `*`, `5`, `1-5`, each perhaps with `/2`. Gives its numbers as bits.
    fn item(self, item: Piece<'_>, field: &Field) -> Result<u64, Error> {
        let (range, step) = match item.cut('/') {
            Some((range, step)) => (range, Some(step)),
            None => (item, None),
        };
        let (low, high) = if range.text == "*" {
            // A step over weekdays must not count Sunday twice.
            (field.low, if field.high == 7 { 6 } else { field.high })
        } else if let Some((from, to)) = range.cut('-') {
            let (low, high) = (self.number(from, field)?, self.number(to, field)?);
            // FRI-SUN: Sunday ends a week as well as it begins one.
            let high = if field.high == 7 && high == 0 && low > 0 { 7 } else { high };
            if high < low {
                let why = format!("the range {} runs backwards", crate::name::shown(range.text));
                return Err(self.refuse(range, field, &why));
            }
            (low, high)
        } else {
            let number = self.number(range, field)?;
            (number, if step.is_some() { field.high } else { number })
        };
        let step = step.map_or(Ok(1), |step| self.step(step, field))?;
        Ok((low..=high).step_by(step).fold(0, |set, number| set | 1 << number))
    }

    fn step(self, piece: Piece<'_>, field: &Field) -> Result<usize, Error> {
        let most = usize::from(field.high);
        let digits = piece.text.bytes().all(|b| b.is_ascii_digit());
        let number = piece.text.parse().ok().filter(|step| digits && (1..=most).contains(step));
        number.ok_or_else(|| {
            let why =
                format!("the step {:?} is not a number from 1 to {most}", crate::name::shown(piece.text));
            self.refuse(piece, field, &why)
        })
    }

    fn number(self, piece: Piece<'_>, field: &Field) -> Result<u8, Error> {
        if let Some(index) = field.names.iter().position(|name| piece.text.eq_ignore_ascii_case(name)) {
            return Ok(field.low + index as u8);
        }
        let name = field.name;
        let shown = crate::name::shown(piece.text);
        if piece.text.is_empty() {
            return Err(self.refuse(piece, field, &format!("a {name} is missing")));
        }
        if !piece.text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(self.refuse(piece, field, &format!("{shown:?} is no {name}")));
        }
        let number = piece.text.parse().ok().filter(|number| (field.low..=field.high).contains(number));
        number.ok_or_else(|| {
            let why = format!("the {name} {shown} is not between {} and {}", field.low, field.high);
            self.refuse(piece, field, &why)
        })
    }

    fn days_of_month(self, piece: Piece<'_>, days: &mut Days) -> Result<(), Error> {
        let field = &DAY_OF_MONTH;
        if piece.text == "?" {
            (days.of_month, days.any_of_month) = (u32::MAX, true);
            return Ok(());
        }
        for item in self.items(piece) {
            if item.text.eq_ignore_ascii_case("L") {
                days.before_last |= 1;
            } else if item.text.eq_ignore_ascii_case("LW") || item.text.eq_ignore_ascii_case("WL") {
                days.last_weekday = true;
            } else if let Some(distance) =
                item.text.strip_prefix(['L', 'l']).and_then(|rest| rest.strip_prefix('-'))
            {
                let at = Piece { text: distance, at: item.at + 2 };
                let distance = distance.parse::<u8>().ok().filter(|distance| (1..=30).contains(distance));
                let why = "the distance from the last day is not a number from 1 to 30";
                let distance = distance.ok_or_else(|| self.refuse(at, field, why))?;
                days.before_last |= 1 << distance;
            } else if let Some(day) = item.without_suffix('W') {
                days.nearest_weekday |= 1 << self.number(day, field)?;
            } else {
                days.of_month |= self.item(item, field)? as u32;
                days.any_of_month |= item.text.starts_with('*');
            }
        }
        Ok(())
    }

    fn days_of_week(self, piece: Piece<'_>, days: &mut Days) -> Result<(), Error> {
        let field = &DAY_OF_WEEK;
        if piece.text == "?" {
            (days.of_week, days.any_of_week) = (u8::MAX >> 1, true);
            return Ok(());
        }
        for item in self.items(piece) {
            if let Some((weekday, nth)) = item.cut('#') {
                let weekday = self.number(weekday, field)? % 7;
                let number = nth.text.parse::<u8>().ok().filter(|nth| (1..=5).contains(nth));
                let why = "what follows # is not a number from 1 to 5";
                let number = number.ok_or_else(|| self.refuse(nth, field, why))?;
                days.nth_of_week[usize::from(weekday)] |= 1 << number;
            } else if let Some(weekday) = item.without_suffix('L') {
                days.last_of_week |= 1 << (self.number(weekday, field)? % 7);
            } else {
                let set = self.item(item, field)?;
                days.of_week |= (set & 0x7f) as u8 | (set >> 7) as u8;
                days.any_of_week |= item.text.starts_with('*');
            }
        }
        Ok(())
    }
}
