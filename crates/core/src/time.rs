//! Moments: microseconds since the Unix epoch, UTC, in an `i64`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::error::Error;

/// A moment in UTC, counted in whole microseconds since 1970-01-01T00:00:00Z.
///
/// It is what every store keeps and every rule compares; it reads and prints as RFC 3339.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The last moment that can be written in RFC 3339 with a year of four digits: 9999-12-30T22:00:00Z.
    pub const MAX: Self = Self(253_402_207_200_000_000);

    /// Takes microseconds since the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole milliseconds since the Unix epoch; 0 for anything before it.
    pub fn as_unix_millis(self) -> u64 {
        u64::try_from(self.0 / 1_000).unwrap_or(0)
    }

    /// This moment plus a duration, held at [`MAX`](Self::MAX) rather than wrapping.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(micros).min(Self::MAX.0))
    }

    /// This moment minus a duration, held at `i64::MIN` rather than wrapping.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(micros))
    }

    /// How much time has passed since `earlier`; zero when that lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(moment) => write!(f, "{moment:.6}"),
            Err(_) => write!(f, "{} us since 1970", self.0),
        }
    }
}

impl FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let moment: jiff::Timestamp = text.trim().parse().map_err(|_| {
            Error::invalid(
                format!("the time {:?}", crate::name::shown(text)),
                "it is not in RFC 3339 form with a zone",
                "write it like 2026-11-24T18:30:00Z or 2026-11-24T18:30:00+01:00",
            )
        })?;
        Ok(Self(moment.as_microsecond()))
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Reads a duration as people write it: `90`, `250ms`, `30s`, `5m`, `2h`, `7d`, `1h30m`; a bare number is seconds.
///
/// # Errors
///
/// When the text is empty, has an unknown unit, or is longer than 100 years.
pub fn parse_duration(text: &str) -> Result<Duration, Error> {
    let refuse = |why: &str| {
        Error::invalid(
            format!("the duration {:?}", crate::name::shown(text)),
            why.to_owned(),
            "write it like 250ms, 30s, 5m, 2h, 7d or 1h30m",
        )
    };
    duration_us(text.trim()).map(Duration::from_micros).map_err(refuse)
}

/// The microseconds of a duration as [`parse_duration`] reads it, without blanks around it; or why it is none. For durations that
/// stand in the source of a program, and are read when that is compiled.
///
/// # Errors
///
/// As [`parse_duration`].
pub const fn duration_us(text: &str) -> Result<u64, &'static str> {
    let bytes = text.as_bytes();
    if bytes.is_empty() {
        return Err("it is empty");
    }
    if bytes[0] == b'-' {
        return Err("it is negative");
    }
    let mut total_us: u128 = 0;
    let mut at = 0;
    while at < bytes.len() {
        let first = at;
        let number;
        (number, at) = digits(bytes, first);
        if at < bytes.len() && matches!(bytes[at], b'.' | b',') {
            return Err("it has a fraction");
        }
        let number = match number {
            Some(number) if at > first => number,
            _ => return Err("a number is missing or too large"),
        };
        let unit = at;
        while at < bytes.len() && bytes[at].is_ascii_alphabetic() {
            at += 1;
        }
        let unit_us: u128 = match bytes.split_at(at).0.split_at(unit).1 {
            b"us" => 1,
            b"ms" => 1_000,
            b"" if first == 0 && at == bytes.len() => 1_000_000,
            b"s" => 1_000_000,
            b"m" | b"min" => 60_000_000,
            b"h" => 3_600_000_000,
            b"d" => 86_400_000_000,
            b"w" => 604_800_000_000,
            _ => return Err("its unit is not one of us, ms, s, m, h, d, w"),
        };
        total_us += number as u128 * unit_us;
    }
    if total_us > 100 * 366 * 86_400_000_000 {
        return Err("it is longer than 100 years");
    }
    Ok(total_us as u64)
}

/// The number whose digits begin there, which is none when it is too large, and where they end.
pub(crate) const fn digits(bytes: &[u8], mut at: usize) -> (Option<u64>, usize) {
    let mut number = Some(0_u64);
    while at < bytes.len() && bytes[at].is_ascii_digit() {
        number = match number {
            Some(number) => match number.checked_mul(10) {
                Some(number) => number.checked_add((bytes[at] - b'0') as u64),
                None => None,
            },
            None => None,
        };
        at += 1;
    }
    (number, at)
}

/// Writes a duration exactly and as short as [`parse_duration`] reads it: `1h30m`, `250ms`, `0s`. What is below a
/// microsecond is dropped.
pub fn format_duration(duration: Duration) -> String {
    const UNITS: [(u128, &str); 6] = [
        (86_400_000_000, "d"),
        (3_600_000_000, "h"),
        (60_000_000, "m"),
        (1_000_000, "s"),
        (1_000, "ms"),
        (1, "us"),
    ];
    let mut rest_us = duration.as_micros();
    let mut text = String::new();
    for (unit_us, unit) in UNITS {
        if rest_us >= unit_us {
            text.push_str(&format!("{}{unit}", rest_us / unit_us));
            rest_us %= unit_us;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Reads how long something may take: a [duration](parse_duration) above 0.
///
/// # Errors
///
/// When it is no duration, or 0: nothing could end within that.
pub fn parse_time_limit(text: &str) -> Result<Duration, Error> {
    match parse_duration(text)? {
        Duration::ZERO => Err(Error::invalid(
            format!("the time limit {:?}", crate::name::shown(text)),
            "nothing can end within no time at all",
            "write a longer one like 30s, or leave it out for no limit",
        )),
        limit => Ok(limit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_prints_as_rfc_3339_and_reads_back() {
        let moment = Timestamp::from_micros(1_700_000_000_123_456);
        assert_eq!(moment.to_string(), "2023-11-14T22:13:20.123456Z");
        assert_eq!(moment.to_string().parse::<Timestamp>().unwrap(), moment);
        assert_eq!("2023-11-14T23:13:20.123456+01:00".parse::<Timestamp>().unwrap(), moment);
    }

    #[test]
    fn a_moment_without_a_zone_is_refused() {
        assert!("2023-11-14T22:13:20".parse::<Timestamp>().unwrap_err().is_invalid());
    }

    #[test]
    fn adding_past_the_end_of_time_holds_there() {
        assert_eq!(Timestamp::from_micros(0).plus(Duration::MAX), Timestamp::MAX);
        assert!(Timestamp::MAX.to_string().starts_with("9999-12-30"));
    }

    #[test]
    fn durations_read_as_people_write_them() {
        for (text, us) in [
            ("90", 90_000_000),
            ("250ms", 250_000),
            ("30s", 30_000_000),
            ("1h30m", 5_400_000_000),
            ("7d", 604_800_000_000),
        ] {
            assert_eq!(parse_duration(text).unwrap(), Duration::from_micros(us), "{text}");
        }
        for text in ["", "s", "5 m", "5x", "-1s", "1h30", "1.5s", "99999999999999999999s", "40000d"] {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn durations_print_as_they_read() {
        for text in ["0s", "250ms", "30s", "5m", "1h30m", "7d", "1d1h1m1s1ms1us"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
    }

    #[test]
    fn a_time_limit_of_nothing_is_refused() {
        for text in ["0", "0s", "0h0m"] {
            assert!(parse_time_limit(text).unwrap_err().is_invalid(), "{text}");
        }
        assert_eq!(parse_time_limit("1us").unwrap(), Duration::from_micros(1));
    }
}
