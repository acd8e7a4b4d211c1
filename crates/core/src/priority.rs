//! Who goes first: the lower number, then the older; and how waiting helps.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::error::Error;

/// How urgent a job is: **the lower number runs first**. Any `i16`; the named bands leave room between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(pub i16);

impl Priority {
    /// 1000: somebody is looking at the screen.
    pub const REALTIME: Self = Self(1000);
    /// 1500: soon.
    pub const HIGH: Self = Self(1500);
    /// 2000: what a job gets that says nothing.
    pub const DEFAULT: Self = Self(2000);
    /// 3000: mass work that must not be in the way.
    pub const BULK: Self = Self(3000);
    /// 4000: when there is nothing else to do.
    pub const IDLE: Self = Self(4000);

    const BANDS: [(&'static str, Self); 5] = [
        ("realtime", Self::REALTIME),
        ("high", Self::HIGH),
        ("default", Self::DEFAULT),
        ("bulk", Self::BULK),
        ("idle", Self::IDLE),
    ];

    /// The priority that a job counts with after it has been available for `waited`: one
    /// [step](AGEING_STEP) better for each whole [period](AGEING_PERIOD).
    ///
    /// So nothing waits for ever: a `bulk` job that has waited four hours stands beside a fresh `realtime` one, and goes
    /// first because it is older.
    pub fn aged(self, waited: Duration) -> i64 {
        let periods = i64::try_from(waited.as_micros() / AGEING_PERIOD.as_micros()).unwrap_or(i64::MAX);
        i64::from(self.0).saturating_sub(periods.saturating_mul(AGEING_STEP))
    }
}

/// How long a job waits for one step of ageing: 1 h. Long enough that an ordinary backlog of `bulk` never stands before
/// fresh `realtime` work, short enough that nothing waits for ever.
pub const AGEING_PERIOD: Duration = Duration::from_secs(3_600);

/// How much better one period of waiting makes a job: one band.
pub const AGEING_STEP: i64 = 500;

impl Default for Priority {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::BANDS.iter().find(|(_, band)| band == self) {
            Some((name, _)) => f.pad(name),
            None => f.pad(&self.0.to_string()),
        }
    }
}

impl FromStr for Priority {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if let Some((_, band)) = Self::BANDS.iter().find(|(name, _)| *name == text) {
            return Ok(*band);
        }
        text.parse().map(Self).map_err(|_| {
            Error::invalid(
                format!("the priority {:?}", crate::name::shown(text)),
                "it is neither a band nor a whole number from -32768 to 32767",
                "use realtime, high, default, bulk, idle, or a number (lower runs first)",
            )
        })
    }
}

impl serde::Serialize for Priority {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i16(self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Priority {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(i64),
            Name(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Number(number) => number.to_string().parse().map_err(serde::de::Error::custom),
            Form::Name(name) => name.parse().map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_read_and_print_by_name() {
        for (name, band) in Priority::BANDS {
            assert_eq!(name.parse::<Priority>().unwrap(), band);
            assert_eq!(band.to_string(), name);
        }
        assert_eq!("-5".parse::<Priority>().unwrap(), Priority(-5));
        assert_eq!(Priority(1234).to_string(), "1234");
    }

    #[test]
    fn a_number_outside_i16_is_refused() {
        for text in ["40000", "urgent", "", "1.5"] {
            assert!(text.parse::<Priority>().unwrap_err().is_invalid(), "{text}");
        }
    }

    #[test]
    fn a_bulk_job_reaches_realtime_after_four_hours() {
        let waited = |seconds| Priority::BULK.aged(Duration::from_secs(seconds));
        assert_eq!(waited(3_599), 3000);
        assert_eq!(waited(3_600), 2500);
        assert_eq!(waited(4 * 3_600), i64::from(Priority::REALTIME.0));
    }
}
