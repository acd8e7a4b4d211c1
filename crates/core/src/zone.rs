//! Time zones: between moments and what the clock on the wall shows.
//!
//! The rules are those of the IANA database that is compiled in, whatever the machine has: two machines of one cluster
//! must not disagree about when 08:00 is. The rule for times that a wall clock skips or shows twice is written down in
//! `docs/design/0010-time-zones.md`.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase};

use crate::error::Error;
use crate::time::Timestamp;

/// An IANA time zone such as `Europe/Berlin`; `UTC` by default.
#[derive(Clone)]
pub struct Zone {
    name: Arc<str>,
    rules: TimeZone,
}

/// Seconds that a wall clock shows, counted as if the wall were in UTC.
pub(crate) type WallSeconds = i64;

/// A stretch of time during which a zone keeps one offset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    /// Seconds to add to UTC.
    pub(crate) offset_s: i64,
    /// The second at which the next one begins, and its offset.
    pub(crate) next: Option<(i64, i64)>,
}

impl Zone {
    /// Finds a zone by its IANA name, in whatever case.
    ///
    /// # Errors
    ///
    /// When there is no such zone; the error names one that ends alike.
    pub fn new(name: &str) -> Result<Self, Error> {
        let rules = database().get(name.trim()).map_err(|_| {
            let fix = match zone_that_ends_like(name.trim()) {
                Some(near) => format!("did you mean {near}?"),
                None => "use an IANA name such as Europe/Berlin, America/New_York or UTC".to_owned(),
            };
            Error::invalid(
                format!("the time zone {:?}", crate::name::shown(name)),
                "there is no such zone in the IANA database",
                fix,
            )
        })?;
        let name = rules.iana_name().unwrap_or("UTC").into();
        Ok(Self { name, rules })
    }

    /// Coordinated universal time, which knows no jumps.
    pub fn utc() -> Self {
        Self { name: "UTC".into(), rules: TimeZone::UTC }
    }

    /// The IANA name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether this is UTC.
    pub fn is_utc(&self) -> bool {
        &*self.name == "UTC"
    }

    /// What the wall clock shows at a moment, to the second, with the distance from UTC: `2026-11-27 08:00:00 +01:00`.
    pub fn clock(&self, at: Timestamp) -> String {
        let Some(shown) = wall_datetime(self.wall(at)) else { return at.to_string() };
        let minutes = self.offset_s(at.as_micros().div_euclid(1_000_000)) / 60;
        let (sign, minutes) = if minutes < 0 { ('-', -minutes) } else { ('+', minutes) };
        format!("{} {sign}{:02}:{:02}", shown.strftime("%Y-%m-%d %H:%M:%S"), minutes / 60, minutes % 60)
    }

    /// What the wall clock shows at a moment, whole seconds.
    pub(crate) fn wall(&self, at: Timestamp) -> WallSeconds {
        let second = at.as_micros().div_euclid(1_000_000);
        second.saturating_add(self.offset_s(second))
    }

    /// The moment at which the wall clock shows this for the first time; where it skips it, the next moment that it
    /// does show. `None` outside the years that can be written.
    pub(crate) fn first_moment(&self, wall: WallSeconds) -> Option<Timestamp> {
        let shown = wall_datetime(wall)?;
        let offset = match self.rules.to_ambiguous_timestamp(shown).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset,
            AmbiguousOffset::Fold { before, .. } => before,
            AmbiguousOffset::Gap { after, .. } => {
                let before_jump = after.to_timestamp(shown).ok()?;
                let jump = self.rules.following(before_jump).next()?;
                return moment(jump.timestamp().as_second());
            }
        };
        moment(wall - i64::from(offset.seconds()))
    }

    /// The stretch of one offset that the second lies in.
    pub(crate) fn stretch(&self, second: i64) -> Stretch {
        let offset_s = self.offset_s(second);
        let start = jiff::Timestamp::from_second(second).ok();
        let next = start.and_then(|start| {
            let mut jumps = self.rules.following(start);
            jumps.find(|jump| i64::from(jump.offset().seconds()) != offset_s)
        });
        let next = next.map(|jump| (jump.timestamp().as_second(), i64::from(jump.offset().seconds())));
        Stretch { offset_s, next }
    }

    /// Seconds to add to UTC at this second.
    pub(crate) fn offset_s(&self, second: i64) -> i64 {
        jiff::Timestamp::from_second(second).map_or(0, |at| i64::from(self.rules.to_offset(at).seconds()))
    }
}

/// The moment of a second since the epoch, unless it lies beyond [`Timestamp::MAX`].
pub(crate) fn moment(second: i64) -> Option<Timestamp> {
    let at = Timestamp::from_micros(second.checked_mul(1_000_000)?);
    (at <= Timestamp::MAX).then_some(at)
}

/// The date and time that a wall clock shows.
pub(crate) fn wall_datetime(wall: WallSeconds) -> Option<DateTime> {
    Some(Offset::UTC.to_datetime(jiff::Timestamp::from_second(wall).ok()?))
}

/// The seconds of a date and time on a wall clock.
pub(crate) fn wall_seconds(shown: DateTime) -> Option<WallSeconds> {
    Some(Offset::UTC.to_timestamp(shown).ok()?.as_second())
}

fn database() -> &'static TimeZoneDatabase {
    static DATABASE: OnceLock<TimeZoneDatabase> = OnceLock::new();
    DATABASE.get_or_init(TimeZoneDatabase::bundled)
}

/// A zone whose last part is the text, so that `Berlin` leads to `Europe/Berlin`.
fn zone_that_ends_like(text: &str) -> Option<String> {
    let last = |name: &str| name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    let wanted = last(text).replace(' ', "_");
    let mut names = database().available().map(|name| name.to_string());
    names.find(|name| last(name) == wanted && !wanted.is_empty())
}

impl Default for Zone {
    fn default() -> Self {
        Self::utc()
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Zone {}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.name)
    }
}

impl FromStr for Zone {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::new(text)
    }
}

impl serde::Serialize for Zone {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}

impl<'de> serde::Deserialize<'de> for Zone {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_found_in_any_case_and_keeps_its_own_name() {
        assert_eq!(Zone::new("europe/berlin").unwrap().name(), "Europe/Berlin");
        assert_eq!(Zone::new("UTC").unwrap(), Zone::utc());
    }

    #[test]
    fn an_unknown_zone_is_refused_and_its_neighbour_named() {
        let error = Zone::new("Berlin").unwrap_err();
        assert!(error.is_invalid());
        assert_eq!(error.fix(), "did you mean Europe/Berlin?");
        assert!(Zone::new("").is_err() && Zone::new("Mars/Olympus").is_err());
    }
}
