//! When a failed job is tried again: how often, and after how long.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use crate::error::Error;
use crate::limit::ATTEMPTS_MAX;

/// How many executions a job gets: n means exactly n. Default 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MaxAttempts {
    /// Exactly this many executions.
    Limited(NonZeroU32),
    /// As many as it takes; must be asked for by name (`none`).
    Unlimited,
}

impl MaxAttempts {
    /// Exactly `n` executions.
    ///
    /// # Errors
    ///
    /// When `n` is 0 or above [`ATTEMPTS_MAX`].
    pub fn limited(n: u32) -> Result<Self, Error> {
        match NonZeroU32::new(n) {
            Some(n) if n.get() <= ATTEMPTS_MAX => Ok(Self::Limited(n)),
            _ => Err(refused(&n.to_string())),
        }
    }

    /// Whether another execution may follow after `attempts` have been spent.
    pub fn allows_after(self, attempts: u32) -> bool {
        match self {
            Self::Limited(n) => attempts < n.get(),
            Self::Unlimited => true,
        }
    }

    /// The limit of a job that runs again on request after `spent` attempts: as many as it had at first, on top.
    #[must_use]
    pub fn on_top_of(self, spent: u32) -> Self {
        match self {
            Self::Limited(n) => Self::Limited(n.saturating_add(spent)),
            Self::Unlimited => Self::Unlimited,
        }
    }

    /// The number that stores keep: 0 for unlimited.
    pub fn code(self) -> u32 {
        match self {
            Self::Limited(n) => n.get(),
            Self::Unlimited => 0,
        }
    }

    /// The value of a [`code`](Self::code).
    pub fn from_code(code: u32) -> Self {
        NonZeroU32::new(code).map_or(Self::Unlimited, Self::Limited)
    }
}

impl Default for MaxAttempts {
    fn default() -> Self {
        Self::from_code(5)
    }
}

impl fmt::Display for MaxAttempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limited(n) => fmt::Display::fmt(n, f),
            Self::Unlimited => f.pad("none"),
        }
    }
}

impl FromStr for MaxAttempts {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "none" => Ok(Self::Unlimited),
            _ => Self::limited(text.parse().map_err(|_| refused(text))?),
        }
    }
}

fn refused(text: &str) -> Error {
    Error::invalid(
        format!("max attempts {:?}", crate::name::shown(text)),
        format!("it is neither `none` nor a whole number from 1 to {ATTEMPTS_MAX}"),
        "say how many executions the job gets in all, or `none` for no limit",
    )
}

/// How long a job waits after its k-th failure.
///
/// Every delay is spread by [`JITTER`] so that jobs that failed together do not return together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backoff {
    /// Always the same delay.
    Fixed {
        /// The delay.
        delay: Duration,
    },
    /// step, 2 step, 3 step, ... up to the cap.
    Linear {
        /// The delay after the first failure, and the growth.
        step: Duration,
        /// The longest delay.
        cap: Duration,
    },
    /// base, 2 base, 4 base, ... up to the cap.
    Exponential {
        /// The delay after the first failure.
        base: Duration,
        /// The longest delay.
        cap: Duration,
    },
}

/// The share by which a delay is spread to both sides.
pub const JITTER: f64 = 0.2;

impl Backoff {
    /// The delay after failure `failures` (from 1), before jitter.
    pub fn delay(&self, failures: u32) -> Duration {
        let k = failures.max(1);
        match *self {
            Self::Fixed { delay } => delay,
            Self::Linear { step, cap } => step.saturating_mul(k).min(cap),
            Self::Exponential { base, cap } => {
                let factor = 1_u32.checked_shl(k - 1).unwrap_or(u32::MAX);
                base.saturating_mul(factor).min(cap)
            }
        }
    }

    /// The delay after failure `failures`, spread by `dice` from [0, 1): 0 gives -20 %, 0.5 none, just below 1 +20 %.
    pub fn jittered(&self, failures: u32, dice: f64) -> Duration {
        debug_assert!((0.0..1.0).contains(&dice), "dice must lie in [0, 1), not {dice}");
        self.delay(failures).mul_f64(1.0 - JITTER + 2.0 * JITTER * dice)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::Exponential { base: Duration::from_secs(10), cap: Duration::from_secs(3_600) }
    }
}

/// Reads `fixed:30s`, `linear:15s`, `linear:15s:1h`, `exponential:10s`, `exponential:10s:1h`. The cap is 1 h unless given.
impl FromStr for Backoff {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut parts = text.split(':');
        let preset = parts.next().unwrap_or_default();
        let first = parts.next();
        let second = parts.next();
        let refuse = |why: &str| {
            Error::invalid(
                format!("the back-off {:?}", crate::name::shown(text)),
                why.to_owned(),
                "write fixed:DELAY, linear:STEP[:CAP] or exponential:BASE[:CAP], for instance exponential:10s:1h",
            )
        };
        if parts.next().is_some() {
            return Err(refuse("it has too many parts"));
        }
        let first = crate::time::parse_duration(first.ok_or_else(|| refuse("the delay is missing"))?)?;
        let cap = second.map(crate::time::parse_duration).transpose()?;
        let cap_or_hour = cap.unwrap_or(Duration::from_secs(3_600));
        match preset {
            "fixed" if cap.is_none() => Ok(Self::Fixed { delay: first }),
            "fixed" => Err(refuse("a fixed delay has no cap")),
            "linear" => Ok(Self::Linear { step: first, cap: cap_or_hour }),
            "exponential" => Ok(Self::Exponential { base: first, cap: cap_or_hour }),
            _ => Err(refuse("there is no such preset")),
        }
    }
}

/// Prints what [`FromStr`] reads.
impl fmt::Display for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = Duration::as_micros;
        match self {
            Self::Fixed { delay } => write!(f, "fixed:{}us", us(delay)),
            Self::Linear { step, cap } => write!(f, "linear:{}us:{}us", us(step), us(cap)),
            Self::Exponential { base, cap } => write!(f, "exponential:{}us:{}us", us(base), us(cap)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_doubles_from_ten_seconds_to_one_hour() {
        let delays: Vec<u64> = (1..=11).map(|k| Backoff::default().delay(k).as_secs()).collect();
        assert_eq!(delays, [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]);
        assert_eq!(Backoff::default().delay(u32::MAX).as_secs(), 3600);
    }

    #[test]
    fn jitter_spreads_a_delay_by_a_fifth_to_both_sides() {
        let delay = |dice| Backoff::default().jittered(1, dice).as_millis();
        assert_eq!((delay(0.0), delay(0.5), delay(0.999_999)), (8_000, 10_000, 11_999));
    }

    #[test]
    fn n_attempts_are_exactly_n_executions() {
        let five = MaxAttempts::default();
        assert!(five.allows_after(4) && !five.allows_after(5));
        assert!(MaxAttempts::Unlimited.allows_after(u32::MAX));
        for text in ["0", "-1", "x", "1000001", "unlimited"] {
            assert!(text.parse::<MaxAttempts>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_back_off_survives_its_text() {
        for text in ["fixed:30s", "linear:15s", "linear:15s:2h", "exponential:10s:1h"] {
            let policy: Backoff = text.parse().unwrap();
            assert_eq!(policy.to_string().parse::<Backoff>().unwrap(), policy, "{text}");
        }
        for text in ["", "fixed", "fixed:1s:2s", "cubic:1s", "linear:1s:2s:3s"] {
            assert!(text.parse::<Backoff>().is_err(), "{text}");
        }
    }
}
