//! Reading a trigger from the short text of the config file and the command line.

use serde_json::Value;

use super::{
    After, At, Comparison, Condition, Daily, EventFilter, Every, Monthly, OnEvent, PayloadPath, TimeOfDay,
};
use super::{TopicPattern, Trigger};
use crate::cron::Cron;
use crate::error::Error;
use crate::limit::TRIGGER_BYTES_MAX;
use crate::name::shown;
use crate::time::{Timestamp, parse_duration};
use crate::zone::{Zone, wall_seconds};

/// The keys that [`Trigger::read`] knows.
pub const TRIGGER_KEYS: [&str; 7] = ["every", "cron", "at", "after", "daily", "monthly", "event"];

impl Trigger {
    /// Reads what stands behind a key of the config file.
    ///
    /// | key | text |
    /// |---|---|
    /// | `every` | a [duration](parse_duration): `5m` |
    /// | `cron` | an [expression](Cron), or `@every 5m` |
    /// | `at` | RFC 3339, or without a zone on the wall clock of `zone`: `2026-12-24T18:00` |
    /// | `after` | a duration, from registration: `1h` |
    /// | `daily` | a time of day: `08:00` |
    /// | `monthly` | day and time of day: `31 08:00`, `last 23:59:59` |
    /// | `event` | a topic, and conditions: `order.* where total > 100 and country in ["DE", "AT"] and vip exists` |
    ///
    /// `zone` is the wall clock that a time of day is on, UTC when it is not given.
    ///
    /// # Errors
    ///
    /// When there is no such key or the text has not that form; the message names what is wrong, where, and what is
    /// allowed.
    pub fn read(key: &str, text: &str, zone: Option<Zone>) -> Result<Self, Error> {
        let zone = zone.unwrap_or_default();
        if text.len() > TRIGGER_BYTES_MAX {
            return Err(Error::too_large(
                format!("the trigger {:?}", shown(text)),
                format!("it has {} bytes, {TRIGGER_BYTES_MAX} are allowed", text.len()),
                "split it into several triggers",
            ));
        }
        match key {
            "every" => Ok(Self::Every(Every::new(parse_duration(text)?)?)),
            "cron" => match text.trim().strip_prefix("@every ") {
                Some(period) => Ok(Self::Every(Every::new(parse_duration(period)?)?)),
                None => Ok(Self::Cron(Cron::new(text, zone)?)),
            },
            "at" => Ok(Self::At(At::new(moment(text, &zone)?, zone))),
            "after" => Ok(Self::After(After::new(parse_duration(text)?)?)),
            "daily" => Ok(Self::Daily(Daily::new(time_of_day(text)?, zone))),
            "monthly" => monthly(text, zone).map(Self::Monthly),
            "event" => on_event(text).map(Self::Event),
            _ => Err(Error::invalid(
                format!("the trigger key {:?}", shown(key)),
                "there is no such trigger",
                format!("use one of {}", TRIGGER_KEYS.join(", ")),
            )),
        }
    }
}

/// Reads a moment: RFC 3339, or without a zone on the wall clock of `zone`, UTC when it is not given. Where that wall clock
/// skips the time, it is the next moment that it shows.
///
/// # Errors
///
/// When it is neither, or no date that the calendar has.
pub fn read_moment(text: &str, zone: Option<&Zone>) -> Result<Timestamp, Error> {
    moment(text, zone.unwrap_or(&Zone::utc()))
}

fn moment(text: &str, zone: &Zone) -> Result<Timestamp, Error> {
    let text = text.trim();
    check_date(text)?;
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let refuse = |why: &str| {
        Error::invalid(
            format!("the time {:?}", shown(text)),
            why.to_owned(),
            "write it like 2026-12-24T18:00 on the wall clock of the time zone, or with a zone like 2026-12-24T18:00:00Z",
        )
    };
    let shown: jiff::civil::DateTime =
        text.parse().map_err(|error: jiff::Error| refuse(&format!("it is no date and time: {error}")))?;
    let first = wall_seconds(shown).and_then(|wall| zone.first_moment(wall));
    first.ok_or_else(|| refuse("it lies beyond the years that can be written"))
}

/// Says where a date is wrong that is written as one and does not exist, such as 30 February.
fn check_date(text: &str) -> Result<(), Error> {
    let number = |from: usize, to: usize| text.get(from..to).and_then(|digits| digits.parse::<i16>().ok());
    let (Some(year), Some(month), Some(day)) = (number(0, 4), number(5, 7), number(8, 10)) else {
        return Ok(());
    };
    let refuse = |column: usize, why: String| {
        let what = format!("the time {:?}", shown(text));
        Err(Error::invalid(what, why, "write a date that the calendar has").at_column(column))
    };
    let Ok(first) = jiff::civil::Date::new(year, i8::try_from(month).unwrap_or(0), 1) else {
        return refuse(6, format!("there is no month {month}"));
    };
    let length = i16::from(first.days_in_month());
    if (1..=length).contains(&day) {
        return Ok(());
    }
    refuse(9, format!("{year}-{month:02} has no day {day}, it has {length} days"))
}

fn monthly(text: &str, zone: Zone) -> Result<Monthly, Error> {
    let refuse = |column: usize, why: &str| {
        Error::invalid(
            format!("the monthly trigger {:?}", shown(text)),
            why.to_owned(),
            "write a day and a time of day, as in `1 08:00`, `31 08:00` or `last 23:30`",
        )
        .at_column(column)
    };
    let (day, time) =
        text.trim().split_once(' ').ok_or_else(|| refuse(text.len() + 1, "the time of day is missing"))?;
    let time_at = text.trim_end().len() - time.len();
    let day = match day {
        "last" => Some(31),
        day => day.parse().ok().filter(|day| (1..=31).contains(day)),
    };
    let day = day.ok_or_else(|| refuse(1, "the day is neither a number from 1 to 31 nor `last`"))?;
    let time = time_of_day(time).map_err(|error| error.behind(time_at))?;
    Monthly::new(day, time, zone)
}

fn time_of_day(text: &str) -> Result<TimeOfDay, Error> {
    text.trim().parse().map_err(|error: Error| error.behind(blanks_before(text)))
}

/// How many bytes of blanks a text begins with.
fn blanks_before(text: &str) -> usize {
    text.len() - text.trim_start().len()
}

fn on_event(text: &str) -> Result<OnEvent, Error> {
    let (topic, conditions) = match text.split_once(" where ") {
        Some((topic, conditions)) => (topic, Some((conditions, topic.len() + " where ".len()))),
        None => (text, None),
    };
    let topic = TopicPattern::new(topic.trim()).map_err(|error| error.behind(blanks_before(topic)))?;
    let filter = match conditions {
        None => EventFilter::default(),
        Some((conditions, at)) => EventFilter::new(ConditionReader { text, at, rest: conditions }.all()?)?,
    };
    Ok(OnEvent { topic, filter, coalesce: false })
}

/// Reads conditions one after the other: `path op value`, with `and` between them.
struct ConditionReader<'a> {
    text: &'a str,
    at: usize,
    rest: &'a str,
}

impl<'a> ConditionReader<'a> {
    fn refuse(&self, why: &str) -> Error {
        Error::invalid(
            format!("the event trigger {:?}", shown(self.text)),
            why.to_owned(),
            r#"write conditions like total > 100, country = "DE", status in ["a", "b"], vip exists, with `and` between them"#,
        )
        .at_column(self.at + 1)
    }

    fn all(mut self) -> Result<Vec<Condition>, Error> {
        let mut found = vec![self.one()?];
        loop {
            self.skip_blanks();
            if self.rest.is_empty() {
                return Ok(found);
            }
            if self.word() != "and" {
                return Err(self.refuse("there is no `and` before the next condition"));
            }
            self.advance("and".len());
            found.push(self.one()?);
        }
    }

    fn one(&mut self) -> Result<Condition, Error> {
        self.skip_blanks();
        let word = self.word();
        let path =
            PayloadPath::new(word).map_err(|error| self.refuse(&format!("the field: {}", error.why())))?;
        self.advance(word.len());
        self.skip_blanks();
        let operator = self.word();
        let operator_at = self.at;
        self.advance(operator.len());
        let is = match operator {
            "exists" => Comparison::Exists(true),
            "missing" => Comparison::Exists(false),
            "=" => Comparison::Equals(self.value()?),
            "in" => Comparison::OneOf(self.list()?),
            "<" => Comparison::Less(self.number()?),
            "<=" => Comparison::AtMost(self.number()?),
            ">" => Comparison::Greater(self.number()?),
            ">=" => Comparison::AtLeast(self.number()?),
            _ => {
                self.at = operator_at;
                return Err(self.refuse("there is no comparison: =, in, exists, missing, <, <=, > or >="));
            }
        };
        Ok(Condition { path, is })
    }

    fn list(&mut self) -> Result<Vec<Value>, Error> {
        self.skip_blanks();
        let at = self.at;
        match self.value()? {
            Value::Array(values) => Ok(values),
            _ => Err(Self { at, ..*self }.refuse("what follows `in` is not a list")),
        }
    }

    fn number(&mut self) -> Result<serde_json::Number, Error> {
        self.skip_blanks();
        let at = self.at;
        match self.value()? {
            Value::Number(number) => Ok(number),
            _ => Err(Self { at, ..*self }.refuse("what is compared by size is not a number")),
        }
    }

    /// One JSON value, and goes on behind it.
    fn value(&mut self) -> Result<Value, Error> {
        self.skip_blanks();
        let mut values = serde_json::Deserializer::from_str(self.rest).into_iter::<Value>();
        match values.next() {
            Some(Ok(value)) => {
                let length = values.byte_offset();
                self.advance(length);
                Ok(value)
            }
            _ => Err(self.refuse("there is no JSON value")),
        }
    }

    fn word(&self) -> &'a str {
        self.rest.split(char::is_whitespace).next().unwrap_or_default()
    }

    fn skip_blanks(&mut self) {
        self.advance(blanks_before(self.rest));
    }

    fn advance(&mut self, bytes: usize) {
        self.at += bytes;
        self.rest = &self.rest[bytes..];
    }
}
