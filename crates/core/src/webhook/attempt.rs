//! What an answer means, and when an event is tried again.

use std::time::Duration;

use crate::time::Timestamp;

/// How long after attempt `k` attempt `k + 1` is: 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h. Together 3 days and 3½
/// hours, as Svix has it: an endpoint may be down over a weekend.
const DELAYS: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3_600),
    Duration::from_secs(5 * 3_600),
    Duration::from_secs(10 * 3_600),
    Duration::from_secs(14 * 3_600),
    Duration::from_secs(20 * 3_600),
    Duration::from_secs(24 * 3_600),
];
/// Attempts that an event has: 10.
pub const ATTEMPTS_MAX: u32 = 10;
/// The share by which a delay is spread to both sides.
const SPREAD: f64 = 0.1;
/// The shortest and the longest that a receiver that asks to be left alone is: 10 s, in which one that asks for nothing gets no more
/// than a handful of events a minute, and 1 h.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3_600));

/// What a receiver answered, or that it did not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The status; `None` when there was no answer.
    pub status: Option<u16>,
    /// How long it asks to be left alone.
    pub retry_after: Option<Duration>,
    /// What went wrong, if anything.
    pub error: Option<String>,
    /// The beginning of what it said.
    pub body: Option<String>,
    /// How long that took.
    pub took: Duration,
}

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has the event: any status from 200 to 299.
    Delivered,
    /// It never wants to hear of us again: 410.
    Gone,
    /// It asks to be left alone for so long: 429 or 503 with a time.
    Busy(Duration),
    /// Anything else, a redirection that was not followed included.
    Failed,
}

/// What an answer means.
///
/// # Example
///
/// ```
/// use taskwright_core::webhook::{Answer, Verdict, verdict};
///
/// assert_eq!(verdict(&Answer { status: Some(204), ..Answer::default() }), Verdict::Delivered);
/// assert_eq!(verdict(&Answer { status: None, ..Answer::default() }), Verdict::Failed);
/// ```
pub fn verdict(answer: &Answer) -> Verdict {
    match (answer.status, answer.retry_after) {
        (Some(200..=299), _) => Verdict::Delivered,
        (Some(410), _) => Verdict::Gone,
        (Some(429 | 503), Some(after)) => Verdict::Busy(after.clamp(RETRY_AFTER.0, RETRY_AFTER.1)),
        _ => Verdict::Failed,
    }
}

/// When an event is tried again whose attempt of this number, counted from 1, did not succeed; `None` when it was the last. `dice`
/// from [0, 1) spreads the delay; it is not before the time that the receiver asked for.
pub fn next_attempt(attempt: u32, now: Timestamp, verdict: Verdict, dice: f64) -> Option<Timestamp> {
    let delay = DELAYS.get(attempt.saturating_sub(1) as usize)?;
    let delay = delay.mul_f64(1.0 - SPREAD + 2.0 * SPREAD * dice);
    Some(now.plus(match verdict {
        Verdict::Busy(after) => delay.max(after),
        _ => delay,
    }))
}

/// How one attempt to deliver an event ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum DeliveryEnd {
    /// The receiver has it.
    Delivered,
    /// It is tried again.
    Failed,
    /// It is not tried again.
    GaveUp,
}

impl DeliveryEnd {
    /// A number for it that never changes.
    pub const fn code(self) -> u8 {
        match self {
            Self::Delivered => 1,
            Self::Failed => 2,
            Self::GaveUp => 3,
        }
    }

    /// What a number stands for.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Delivered),
            2 => Some(Self::Failed),
            3 => Some(Self::GaveUp),
            _ => None,
        }
    }

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::GaveUp => "gave_up",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_tried_ten_times_over_three_days() {
        let zero = Timestamp::from_micros(0);
        let (mut now, mut tries) = (zero, 1);
        while let Some(next) = next_attempt(tries, now, Verdict::Failed, 0.5) {
            (now, tries) = (next, tries + 1);
        }
        assert_eq!(tries, ATTEMPTS_MAX);
        let hours = now.since(zero).as_secs_f64() / 3_600.0;
        assert!((75.0..76.0).contains(&hours), "{hours} h");
    }

    #[test]
    fn a_delay_is_spread_by_a_tenth_and_waits_as_long_as_it_is_asked() {
        let zero = Timestamp::from_micros(0);
        let after = |dice, verdict| next_attempt(1, zero, verdict, dice).unwrap().as_micros();
        assert_eq!((after(0.0, Verdict::Failed), after(0.5, Verdict::Failed)), (4_500_000, 5_000_000));
        assert_eq!(after(0.0, Verdict::Busy(Duration::from_secs(60))), 60_000_000);
    }

    #[test]
    fn what_a_status_means() {
        let of =
            |status, retry_after| verdict(&Answer { status: Some(status), retry_after, ..Answer::default() });
        let minute = Some(Duration::from_secs(60));
        assert!(
            [200, 201, 299].map(|status| of(status, minute)).iter().all(|one| *one == Verdict::Delivered)
        );
        assert!(
            [100, 301, 307, 400, 404, 500, 503]
                .map(|status| of(status, None))
                .iter()
                .all(|one| *one == Verdict::Failed)
        );
        assert_eq!(of(410, None), Verdict::Gone);
        assert_eq!(
            (of(429, minute), of(503, minute), of(500, minute)),
            (Verdict::Busy(Duration::from_secs(60)), Verdict::Busy(Duration::from_secs(60)), Verdict::Failed)
        );
        assert_eq!(of(429, Some(Duration::from_secs(86_400))), Verdict::Busy(Duration::from_secs(3_600)));
        assert_eq!(of(503, Some(Duration::ZERO)), Verdict::Busy(Duration::from_secs(10)));
    }
}
