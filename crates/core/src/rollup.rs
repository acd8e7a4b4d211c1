//! Roll-ups: executions added up per minute and per hour, so that weeks of them can be asked about without reading any.
//!
//! A [`RollUp`] says of the executions of one task in one queue that ended within one span of time how many ended in which
//! way, how long they ran and how long they had waited. Times are kept in a [`Histogram`] of fixed buckets: two of them are
//! added by adding their counts, and a quantile is off by at most a sixteenth.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::attempt::AttemptEnd;
use crate::statistics::available_at;
use crate::time::Timestamp;

/// The span of time that a roll-up is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grain {
    /// One minute.
    Minute,
    /// One hour.
    Hour,
}

impl Grain {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Minute, Self::Hour];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
        }
    }

    /// The number that stores keep; never renumbered.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// How long it is.
    pub const fn span(self) -> Duration {
        match self {
            Self::Minute => Duration::from_secs(60),
            Self::Hour => Duration::from_secs(3_600),
        }
    }

    /// When the span began that a moment is in; spans are those of UTC.
    ///
    /// # Example
    ///
    /// ```
    /// use taskwright_core::{Timestamp, rollup::Grain};
    ///
    /// let at: Timestamp = "2026-11-26T19:13:33Z".parse()?;
    /// assert_eq!(Grain::Minute.start(at), "2026-11-26T19:13:00Z".parse()?);
    /// assert_eq!(Grain::Hour.start(at), "2026-11-26T19:00:00Z".parse()?);
    /// # Ok::<(), taskwright_core::Error>(())
    /// ```
    pub fn start(self, at: Timestamp) -> Timestamp {
        let span = i64::try_from(self.span().as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(at.as_micros().div_euclid(span) * span)
    }
}

/// The end of one execution, as far as roll-ups go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How it ended.
    pub end: AttemptEnd,
    /// When it was claimed.
    pub claimed_at: Timestamp,
    /// When its handler was called; `None` when that is not known (the worker was lost).
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Timestamp,
    /// The job's moment: since when it was available, unless it ran before.
    pub run_at: Timestamp,
    /// When the execution before it ended.
    pub previous_end: Option<Timestamp>,
}

impl Ended {
    /// How long its handler ran, if that is known.
    pub fn run(&self) -> Option<Duration> {
        self.started_at.map(|started| self.ended_at.since(started))
    }

    /// How long it waited in its queue, if that is known.
    pub fn wait(&self) -> Option<Duration> {
        let available = available_at(self.run_at, self.previous_end, self.ended_at)?;
        Some(self.started_at.unwrap_or(self.claimed_at).since(available))
    }
}

/// Executions of one span of time, added up.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RollUp {
    /// How many ended in which way, by the [code](AttemptEnd::code) of the way.
    ends: BTreeMap<u8, u64>,
    /// How long handlers ran.
    pub run: Histogram,
    /// How long jobs waited in their queue.
    pub wait: Histogram,
}

impl RollUp {
    /// Counts one more.
    pub fn add(&mut self, ended: &Ended) {
        *self.ends.entry(ended.end.code()).or_default() += 1;
        ended.run().into_iter().for_each(|run| self.run.add(run));
        ended.wait().into_iter().for_each(|wait| self.wait.add(wait));
    }

    /// Takes all that another one counted, too.
    pub fn merge(&mut self, other: &Self) {
        for (end, count) in &other.ends {
            *self.ends.entry(*end).or_default() += count;
        }
        self.run.merge(&other.run);
        self.wait.merge(&other.wait);
    }

    /// How many were counted.
    pub fn executions(&self) -> u64 {
        self.ends.values().sum()
    }

    /// How many ended in this way.
    pub fn ended(&self, end: AttemptEnd) -> u64 {
        self.ends.get(&end.code()).copied().unwrap_or(0)
    }

    /// How many ended in each way, by the word for it; ways in which none ended are left out.
    pub fn ends(&self) -> BTreeMap<&'static str, u64> {
        let word = |(code, count): (&u8, &u64)| Some((AttemptEnd::from_code(*code)?.as_str(), *count));
        self.ends.iter().filter_map(word).collect()
    }

    /// How many neither completed nor were cancelled.
    pub fn failures(&self) -> u64 {
        self.executions() - self.ended(AttemptEnd::Completed) - self.ended(AttemptEnd::Cancelled)
    }

    /// The share of completed ones among those that nobody cancelled, from 0 to 1; `None` when there are none.
    pub fn success_rate(&self) -> Option<f64> {
        let counted = self.executions() - self.ended(AttemptEnd::Cancelled);
        #[expect(clippy::cast_precision_loss, reason = "a share; what is lost is below what is shown")]
        let rate = self.ended(AttemptEnd::Completed) as f64 / counted as f64;
        (counted > 0).then_some(rate)
    }
}

/// Buckets to each doubling of the time; a power of two.
const STEPS: u64 = 8;
const STEP_BITS: u32 = STEPS.trailing_zeros();

/// How often times were how long: counts in fixed buckets, eight to each doubling, from microseconds to any length. Below
/// 16 microseconds a bucket is one microsecond.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Histogram {
    /// By the number of the bucket; those that are empty are left out.
    counts: BTreeMap<u16, u64>,
    /// All times added up, in microseconds.
    total_us: u64,
}

impl Histogram {
    /// Counts a time.
    pub fn add(&mut self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        *self.counts.entry(bucket(us)).or_default() += 1;
        self.total_us = self.total_us.saturating_add(us);
    }

    /// Takes all that another one counted, too.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in &other.counts {
            *self.counts.entry(*bucket).or_default() += count;
        }
        self.total_us = self.total_us.saturating_add(other.total_us);
    }

    /// How many times were counted.
    pub fn count(&self) -> u64 {
        self.counts.values().sum()
    }

    /// All of them added up: this is exact.
    pub fn total(&self) -> Duration {
        Duration::from_micros(self.total_us)
    }

    /// The mean, exact; `None` of no times.
    pub fn mean(&self) -> Option<Duration> {
        self.total_us.checked_div(self.count()).map(Duration::from_micros)
    }

    /// The time that this share of them does not exceed, by nearest rank: the middle of its bucket, which is off by at most
    /// a sixteenth (6.25 %). `None` of no times.
    ///
    /// # Example
    ///
    /// ```
    /// use std::time::Duration;
    /// use taskwright_core::rollup::Histogram;
    ///
    /// let mut times = Histogram::default();
    /// (1..=100).for_each(|ms| times.add(Duration::from_millis(ms)));
    /// let p95 = times.quantile(0.95).unwrap().as_secs_f64();
    /// assert!((p95 / 0.095 - 1.0).abs() <= 1.0 / 16.0);
    /// ```
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rank; what is lost is below the width of a bucket"
        )]
        let rank = ((share * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut passed = 0;
        self.counts.iter().find_map(|(bucket, count)| {
            passed += count;
            (passed >= rank).then(|| Duration::from_micros(middle(*bucket)))
        })
    }
}

/// The bucket of a time in microseconds: of the number's leading bits, how many there are and the first four of them.
fn bucket(us: u64) -> u16 {
    if us < STEPS {
        return u16::try_from(us).unwrap_or_default();
    }
    let exponent = us.ilog2() - STEP_BITS;
    let step = (us >> exponent) - STEPS;
    u16::try_from(u64::from(exponent + 1) * STEPS + step).unwrap_or(u16::MAX)
}

/// The middle of a bucket, in microseconds.
fn middle(bucket: u16) -> u64 {
    let (octave, step) = (u64::from(bucket) / STEPS, u64::from(bucket) % STEPS);
    let Some(exponent) = octave.checked_sub(1) else { return step };
    let exponent = u32::try_from(exponent).unwrap_or(u32::MAX).min(u64::BITS - STEP_BITS - 1);
    let width = 1_u64 << exponent;
    (STEPS + step) * width + width / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(us: i64) -> Timestamp {
        Timestamp::from_micros(us)
    }

    fn ended(end: AttemptEnd, run_us: i64) -> Ended {
        Ended {
            end,
            claimed_at: at(90),
            started_at: Some(at(100)),
            ended_at: at(100 + run_us),
            run_at: at(60),
            previous_end: None,
        }
    }

    #[test]
    fn every_time_lies_within_a_sixteenth_of_the_middle_of_its_bucket() {
        let near_powers = (0..64).flat_map(|bit| {
            let power = 1_u64 << bit;
            [power - 1, power, power.saturating_add(1), power.saturating_add(power / 3)]
        });
        let mut last = 0;
        for us in near_powers.chain((0..5_000).map(|n| n * 37)) {
            let middle = middle(bucket(us));
            assert!(middle.abs_diff(us) <= us / 16 + u64::from(us > 15), "{us}: {middle}");
        }
        for us in 0..100_000 {
            let bucket = bucket(us);
            assert!(bucket == last || bucket == last + 1, "{us}");
            last = bucket;
        }
        assert!(bucket(u64::MAX) < 500);
    }

    #[test]
    fn times_below_16_us_are_exact() {
        for us in 0..16 {
            assert_eq!(middle(bucket(us)), us);
        }
    }

    #[test]
    fn a_quantile_is_that_of_the_values_within_a_sixteenth() {
        let values: Vec<u64> = (1..=1_000_u64).map(|n| n * n * 7).collect();
        let mut times = Histogram::default();
        values.iter().for_each(|us| times.add(Duration::from_micros(*us)));
        for share in [0.0, 0.01, 0.5, 0.9, 0.95, 0.999, 1.0] {
            let exact = crate::statistics::quantile(&values, share).unwrap().as_secs_f64();
            let near = times.quantile(share).unwrap().as_secs_f64();
            assert!((near / exact - 1.0).abs() <= 1.0 / 16.0, "{share}: {near} for {exact}");
        }
        assert_eq!(times.total(), Duration::from_micros(values.iter().sum()));
        assert_eq!(Histogram::default().quantile(0.5), None);
        assert_eq!(Histogram::default().mean(), None);
    }

    #[test]
    fn two_roll_ups_merged_are_one_of_both_and_survive_being_stored() {
        let ends = AttemptEnd::ALL.map(|end| ended(end, 1_000 * i64::from(end.code())));
        let (mut all, mut halves) = (RollUp::default(), [RollUp::default(), RollUp::default()]);
        for (index, one) in ends.iter().enumerate() {
            all.add(one);
            halves[index % 2].add(one);
        }
        let [mut merged, other] = halves;
        merged.merge(&other);
        assert_eq!(merged, all);
        let text = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<RollUp>(&text).unwrap(), all);
        assert_eq!((all.executions(), all.failures(), all.ends().len()), (6, 4, 6));
        assert_eq!(all.success_rate(), Some(0.2));
    }

    #[test]
    fn a_wait_is_from_the_jobs_moment_or_the_end_before_to_the_start() {
        let first = ended(AttemptEnd::Completed, 7);
        assert_eq!(
            (first.wait(), first.run()),
            (Some(Duration::from_micros(40)), Some(Duration::from_micros(7)))
        );
        let second = Ended { previous_end: Some(at(80)), ..first };
        assert_eq!(second.wait(), Some(Duration::from_micros(20)));
        let lost = Ended { started_at: None, ..first };
        assert_eq!((lost.wait(), lost.run()), (Some(Duration::from_micros(30)), None));
        let moved = Ended { run_at: at(5_000), ..first };
        assert_eq!(moved.wait(), None, "its moment was moved since");
    }

    #[test]
    fn spans_before_1970_begin_before_their_moments_too() {
        assert_eq!(Grain::Minute.start(at(-1)), at(-60_000_000));
        assert_eq!(Grain::Hour.start(at(0)), at(0));
    }
}
