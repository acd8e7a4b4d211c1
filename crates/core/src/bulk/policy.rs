//! What happens to a bulk when its items fail.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// What happens to a bulk when its items fail or are dropped. As text: `continue`, `stop`, a number as `100`, a share as `5%`.
///
/// # Example
///
/// ```
/// use taskwright_core::bulk::OnFailure;
///
/// let policy: OnFailure = "5%".parse()?;
/// assert_eq!(policy.stops(50, Some(1_000)), None);
/// assert!(policy.stops(51, Some(1_000)).is_some());
/// # Ok::<(), taskwright_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnFailure {
    /// They are counted, and the bulk completes.
    #[default]
    Continue,
    /// More than so many stop it: no more are made, and the bulk fails once those that were made are settled.
    StopAbove(u64),
    /// As many as are more than this share of all, in percent, stop it.
    StopAbovePercent(u8),
}

impl OnFailure {
    /// Why so many failures stop a bulk; `None` when they do not.
    pub fn stops(self, failures: u64, size: Option<u64>) -> Option<String> {
        let (above, most) = match self {
            Self::Continue => return None,
            Self::StopAbove(above) => (above, above.to_string()),
            Self::StopAbovePercent(percent) => {
                // Without a size it was refused.
                let above = u128::from(size?) * u128::from(percent) / 100;
                (u64::try_from(above).unwrap_or(u64::MAX), format!("{above} ({percent}%)"))
            }
        };
        let many = if failures == 1 { "1 item".to_owned() } else { format!("{failures} items") };
        (failures > above).then(|| match most.as_str() {
            "0" => format!("{many} failed or dropped, and one stops it"),
            most => format!("{many} failed or dropped, and more than {most} stop it"),
        })
    }

    /// Refuses a share of what nobody knows the number of.
    ///
    /// # Errors
    ///
    /// When this is a share, and there is no size.
    pub fn check(self, size: Option<u64>) -> Result<(), Error> {
        match (self, size) {
            (Self::StopAbovePercent(_), None) => Err(Error::invalid(
                format!("the policy on failures {self}"),
                "it is a share of the items, and how many there are is not known",
                "give a number of failures",
            )),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for OnFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Continue => f.pad("continue"),
            Self::StopAbove(0) => f.pad("stop"),
            Self::StopAbove(above) => f.pad(&above.to_string()),
            Self::StopAbovePercent(percent) => f.pad(&format!("{percent}%")),
        }
    }
}

impl FromStr for OnFailure {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let percent = text.strip_suffix('%').and_then(|number| number.parse().ok());
        match (text, text.parse(), percent) {
            ("continue", ..) => Ok(Self::Continue),
            ("stop", ..) => Ok(Self::StopAbove(0)),
            (_, Ok(above), _) => Ok(Self::StopAbove(above)),
            (_, _, Some(percent)) if percent <= 100 => Ok(Self::StopAbovePercent(percent)),
            _ => Err(Error::invalid(
                format!("the policy on failures {:?}", crate::name::shown(text)),
                "there is no such policy",
                "use continue, stop, the number of failures that are allowed (100), or their share (5%)",
            )),
        }
    }
}

impl serde::Serialize for OnFailure {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for OnFailure {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read_and_written_alike() {
        for (text, policy) in [
            ("continue", OnFailure::Continue),
            ("stop", OnFailure::StopAbove(0)),
            ("100", OnFailure::StopAbove(100)),
            ("5%", OnFailure::StopAbovePercent(5)),
        ] {
            assert_eq!(text.parse::<OnFailure>().unwrap(), policy);
            assert_eq!(policy.to_string(), text);
            let json = serde_json::to_string(&policy).unwrap();
            assert_eq!(serde_json::from_str::<OnFailure>(&json).unwrap(), policy);
        }
        for text in ["", "halt", "-1", "101%", "1.5%", "%"] {
            assert!(text.parse::<OnFailure>().unwrap_err().is_invalid(), "{text:?}");
        }
    }

    #[test]
    fn a_share_is_one_of_all_items_and_needs_their_number() {
        let five = OnFailure::StopAbovePercent(5);
        assert!(five.stops(1, Some(19)).is_some());
        assert_eq!(five.stops(1, Some(20)), None);
        assert_eq!(
            five.stops(2, Some(20)).unwrap(),
            "2 items failed or dropped, and more than 1 (5%) stop it"
        );
        assert!(five.check(None).unwrap_err().is_invalid());
        five.check(Some(0)).unwrap();
        OnFailure::StopAbove(5).check(None).unwrap();
    }

    #[test]
    fn one_failure_stops_a_bulk_that_says_stop() {
        let stop = OnFailure::StopAbove(0);
        assert_eq!(stop.stops(0, None), None);
        assert_eq!(stop.stops(1, None).unwrap(), "1 item failed or dropped, and one stops it");
    }
}
