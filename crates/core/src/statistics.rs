//! What executions took, added up: how many went well, how long they ran and waited, what they used of the machine.
//!
//! A [`Tally`] keeps the time of each execution that it is given, so that its quantiles are exact: whoever fills one
//! bounds how many those are. Nothing here is kept from one question to the next; there are no counters that every end
//! of a job would have to change.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::attempt::{AttemptEnd, Usage};
use crate::id::WorkerId;
use crate::time::Timestamp;

/// One execution, as far as statistics go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// Who ran it.
    pub worker: WorkerId,
    /// How it ended.
    pub end: AttemptEnd,
    /// How long its handler ran; `None` when that is not known (the worker was lost).
    pub run: Option<Duration>,
    /// How long it waited in its queue; `None` when that is not known any more.
    pub wait: Option<Duration>,
    /// What it used, if it could be measured.
    pub usage: Option<Usage>,
}

/// Since when an execution could have been started, for its wait in the queue.
///
/// `run_at` is the job's moment as it is now. A retry moves it, so that it speaks only of the executions that ended
/// after it; of those before nobody knows any more, and the answer is `None`. An execution never waits while the one
/// before it runs: a job whose worker was lost keeps its place, but waits from then on.
pub fn available_at(run_at: Timestamp, previous_end: Option<Timestamp>, end: Timestamp) -> Option<Timestamp> {
    let available = previous_end.map_or(run_at, |previous| run_at.max(previous));
    (available <= end).then_some(available)
}

/// Executions added up. Written as JSON with all that it keeps, so that what is read back gives the same answers.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(from = "Parts", into = "Parts")]
pub struct Tally {
    ends: BTreeMap<&'static str, u64>,
    executions: u64,
    runs_us: Vec<u64>,
    waits_us: Vec<u64>,
    usage: Usage,
    measured: u64,
    workers: BTreeMap<WorkerId, Share>,
}

/// What one worker did of a [`Tally`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// How many executions.
    pub executions: u64,
    /// How long they ran, all together.
    pub run: Duration,
}

/// A [`Tally`] as it is written.
#[derive(serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct Parts {
    /// How many ended in which way.
    ends: Vec<(AttemptEnd, u64)>,
    /// How many there were.
    executions: u64,
    /// How long each of their handlers ran, where that is known.
    runs_us: Vec<u64>,
    /// How long each of them waited, where that is known.
    waits_us: Vec<u64>,
    /// What was used, all together.
    usage: Usage,
    /// Of how many that was measured.
    measured: u64,
    /// Each worker, how many it executed, and how long they ran.
    workers: Vec<(WorkerId, u64, u64)>,
}

impl From<Tally> for Parts {
    fn from(tally: Tally) -> Self {
        let Tally { ends, executions, runs_us, waits_us, usage, measured, workers } = tally;
        let count = |end: AttemptEnd| ends.get(end.as_str()).map(|count| (end, *count));
        Self {
            ends: AttemptEnd::ALL.into_iter().filter_map(count).collect(),
            executions,
            runs_us,
            waits_us,
            usage,
            measured,
            workers: workers
                .into_iter()
                .map(|(id, share)| (id, share.executions, micros(share.run)))
                .collect(),
        }
    }
}

impl From<Parts> for Tally {
    fn from(parts: Parts) -> Self {
        let Parts { ends, executions, runs_us, waits_us, usage, measured, workers } = parts;
        let share = |executions, run_us| Share { executions, run: Duration::from_micros(run_us) };
        Self {
            ends: ends.into_iter().map(|(end, count)| (end.as_str(), count)).collect(),
            executions,
            runs_us,
            waits_us,
            usage,
            measured,
            workers: workers
                .into_iter()
                .map(|(id, executions, run_us)| (id, share(executions, run_us)))
                .collect(),
        }
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Tally {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Tally".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Parts::json_schema(generator)
    }
}

impl Tally {
    /// Counts one more.
    pub fn add(&mut self, seen: &Observation) {
        self.executions += 1;
        *self.ends.entry(seen.end.as_str()).or_default() += 1;
        self.runs_us.extend(seen.run.map(micros));
        self.waits_us.extend(seen.wait.map(micros));
        if let Some(usage) = &seen.usage {
            self.measured += 1;
            self.usage.absorb(usage);
        }
        let share = self.workers.entry(seen.worker).or_default();
        share.executions += 1;
        share.run = share.run.saturating_add(seen.run.unwrap_or_default());
    }

    /// Takes all that another one counted, too.
    pub fn merge(&mut self, other: Self) {
        self.executions += other.executions;
        self.measured += other.measured;
        self.usage.absorb(&other.usage);
        self.runs_us.extend(other.runs_us);
        self.waits_us.extend(other.waits_us);
        for (end, count) in other.ends {
            *self.ends.entry(end).or_default() += count;
        }
        for (worker, theirs) in other.workers {
            let share = self.workers.entry(worker).or_default();
            share.executions += theirs.executions;
            share.run = share.run.saturating_add(theirs.run);
        }
    }

    /// How many were counted.
    pub fn executions(&self) -> u64 {
        self.executions
    }

    /// How many ended in this way.
    pub fn ended(&self, end: AttemptEnd) -> u64 {
        self.ends.get(end.as_str()).copied().unwrap_or(0)
    }

    /// How many ended in each way, by the word for it; ways in which none ended are left out.
    pub fn ends(&self) -> &BTreeMap<&'static str, u64> {
        &self.ends
    }

    /// The share of completed ones among those that nobody cancelled, from 0 to 1; `None` when there are none.
    pub fn success_rate(&self) -> Option<f64> {
        let counted = self.executions - self.ended(AttemptEnd::Cancelled);
        #[expect(clippy::cast_precision_loss, reason = "a share of at most a few million")]
        let rate = self.ended(AttemptEnd::Completed) as f64 / counted as f64;
        (counted > 0).then_some(rate)
    }

    /// The time within which this share of the handlers ran to their end, by [nearest rank](quantile).
    pub fn run(&self, share: f64) -> Option<Duration> {
        quantile(&self.runs_us, share)
    }

    /// The time within which this share had been started once they could be, by [nearest rank](quantile).
    pub fn wait(&self, share: f64) -> Option<Duration> {
        quantile(&self.waits_us, share)
    }

    /// How long handlers ran, all together.
    pub fn run_total(&self) -> Duration {
        let total = self.runs_us.iter().fold(0_u64, |total, us| total.saturating_add(*us));
        Duration::from_micros(total)
    }

    /// What those used that could be measured: sums, and of memory the peak. `None` when none could.
    pub fn usage(&self) -> Option<&Usage> {
        (self.measured > 0).then_some(&self.usage)
    }

    /// How many could be measured.
    pub fn measured(&self) -> u64 {
        self.measured
    }

    /// The workers that ran them, those that ran for longest first.
    pub fn workers(&self) -> Vec<(WorkerId, Share)> {
        let mut workers: Vec<_> = self.workers.iter().map(|(worker, share)| (*worker, *share)).collect();
        workers.sort_by_key(|(worker, share)| (std::cmp::Reverse((share.run, share.executions)), *worker));
        workers
    }
}

/// The smallest of the values that this share of them does not exceed: the nearest-rank method, `ceil(share * n)`-th of
/// the sorted values, which always gives one of them. `None` of no values.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use taskwright_core::statistics::quantile;
///
/// let values = [40, 10, 30, 20];
/// assert_eq!(quantile(&values, 0.5), Some(Duration::from_micros(20)));
/// assert_eq!(quantile(&values, 0.95), Some(Duration::from_micros(40)));
/// assert_eq!(quantile(&[], 0.5), None);
/// ```
pub fn quantile(values_us: &[u64], share: f64) -> Option<Duration> {
    let last = values_us.len().checked_sub(1)?;
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank among far fewer than 2^52 values; what is below the first is held at it"
    )]
    let rank = (share * values_us.len() as f64).ceil() as usize;
    let mut values = values_us.to_vec();
    let (_, value, _) = values.select_nth_unstable(rank.saturating_sub(1).min(last));
    Some(Duration::from_micros(*value))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(end: AttemptEnd, run_us: u64) -> Observation {
        Observation {
            worker: WorkerId::from_parts(1, [1; 10]),
            end,
            run: Some(Duration::from_micros(run_us)),
            wait: None,
            usage: None,
        }
    }

    fn at(us: i64) -> Timestamp {
        Timestamp::from_micros(us)
    }

    #[test]
    fn quantiles_are_values_that_were_there() {
        let values: Vec<u64> = (1..=100).rev().collect();
        let us = |share| quantile(&values, share).unwrap().as_micros();
        assert_eq!((us(0.0), us(0.5), us(0.95), us(1.0)), (1, 50, 95, 100));
        assert_eq!(quantile(&[7], 0.95), Some(Duration::from_micros(7)));
    }

    #[test]
    fn what_was_cancelled_is_neither_success_nor_failure() {
        let mut tally = Tally::default();
        assert_eq!(tally.success_rate(), None);
        tally.add(&seen(AttemptEnd::Cancelled, 1));
        assert_eq!(tally.success_rate(), None);
        for end in [AttemptEnd::Completed, AttemptEnd::Completed, AttemptEnd::Completed, AttemptEnd::Lost] {
            tally.add(&seen(end, 1));
        }
        assert_eq!(tally.success_rate(), Some(0.75));
        assert_eq!(tally.ends().values().sum::<u64>(), tally.executions());
    }

    #[test]
    fn cpu_time_adds_up_and_memory_has_a_peak() {
        let usage = |cpu, rss| {
            Some(Usage { cpu_user_us: cpu, rss_peak_bytes: rss, read_bytes: 1, ..Usage::default() })
        };
        let mut tally = Tally::default();
        assert_eq!(tally.usage(), None);
        tally.add(&Observation { usage: usage(10, 300), ..seen(AttemptEnd::Completed, 1) });
        tally.add(&Observation { usage: usage(20, 200), ..seen(AttemptEnd::Failed, 2) });
        tally.add(&seen(AttemptEnd::Completed, 3));
        let used = *tally.usage().unwrap();
        assert_eq!((used.cpu_user_us, used.rss_peak_bytes, used.read_bytes), (30, 300, 2));
        assert_eq!((tally.measured(), tally.run_total()), (2, Duration::from_micros(6)));
    }

    #[test]
    fn two_tallies_merged_are_one_of_both() {
        let all: Vec<_> = (1..=40)
            .map(|n| Observation {
                worker: WorkerId::from_parts(1, [u8::try_from(n % 3).unwrap(); 10]),
                wait: (n % 2 == 0).then(|| Duration::from_micros(n)),
                ..seen(if n % 5 == 0 { AttemptEnd::Failed } else { AttemptEnd::Completed }, n)
            })
            .collect();
        let tally = |part: &[Observation]| {
            let mut tally = Tally::default();
            part.iter().for_each(|seen| tally.add(seen));
            tally
        };
        let mut merged = tally(&all[..13]);
        merged.merge(tally(&all[13..]));
        assert_eq!(merged, tally(&all));
    }

    #[test]
    fn the_worker_that_ran_for_longest_comes_first() {
        let mut tally = Tally::default();
        for (worker, run_us) in [(1, 10), (2, 25), (1, 10)] {
            let worker = WorkerId::from_parts(1, [worker; 10]);
            tally.add(&Observation { worker, ..seen(AttemptEnd::Completed, run_us) });
        }
        let runs: Vec<_> =
            tally.workers().iter().map(|(_, share)| (share.executions, share.run.as_micros())).collect();
        assert_eq!(runs, [(1, 25), (2, 20)]);
    }

    #[test]
    fn a_wait_is_known_as_long_as_no_retry_has_moved_the_jobs_moment() {
        assert_eq!(available_at(at(5), None, at(9)), Some(at(5)));
        assert_eq!(available_at(at(20), None, at(9)), None, "it waits for a retry by now");
        assert_eq!(available_at(at(5), Some(at(7)), at(9)), Some(at(7)), "it ran until then, and was lost");
        assert_eq!(available_at(at(8), Some(at(7)), at(9)), Some(at(8)), "it waited for its back-off");
    }
}
