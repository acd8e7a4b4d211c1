//! How often somebody may do something: a bucket that refills, and a back-off after failures. Both are values; the clock is the
//! caller's.

use std::time::Duration;

/// So many at once, and so many a second on average.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// A second, on average; at least 1.
    pub per_second: u32,
    /// At once; at least 1.
    pub burst: u32,
}

/// What is left of a [`Pace`]: a bucket of `burst` that refills by `per_second`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// When it will be full again, in microseconds of the caller's clock.
    full_at_us: u64,
}

const SECOND_US: u64 = 1_000_000;

impl Bucket {
    /// A full one.
    pub const FULL: Self = Self { full_at_us: 0 };

    /// Takes one.
    ///
    /// # Errors
    ///
    /// When there is none: how long it takes until there is. Nothing is taken then.
    pub fn take(&mut self, pace: Pace, now_us: u64) -> Result<(), Duration> {
        let each_us = SECOND_US.div_ceil(u64::from(pace.per_second.max(1)));
        let all_us = each_us.saturating_mul(u64::from(pace.burst.max(1)));
        let full_at_us = self.full_at_us.max(now_us).saturating_add(each_us);
        let over_us = full_at_us.saturating_sub(now_us.saturating_add(all_us));
        if over_us > 0 {
            return Err(Duration::from_micros(over_us));
        }
        self.full_at_us = full_at_us;
        Ok(())
    }

    /// Whether it is full, so that it need not be kept.
    pub fn is_full(&self, now_us: u64) -> bool {
        self.full_at_us <= now_us
    }
}

/// Failures in a row, each of which costs more than the one before once there were too many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    count: u32,
    /// When the last one was, in microseconds of the caller's clock.
    last_us: u64,
    /// From when on the next try is looked at, in microseconds of the caller's clock.
    open_at_us: u64,
}

/// The longest that a failure costs.
pub const FAILURE_COST_MAX: Duration = Duration::from_secs(15 * 60);

impl Failures {
    /// How long the next try has to wait; `None` when it may be made.
    pub fn wait(&self, now_us: u64) -> Option<Duration> {
        self.open_at_us.checked_sub(now_us).filter(|left| *left > 0).map(Duration::from_micros)
    }

    /// One more. The first `free` cost nothing; then 1 s, and twice as much each time, up to [`FAILURE_COST_MAX`].
    /// Those that are past count no more.
    pub fn add(&mut self, free: u32, now_us: u64) {
        if self.is_past(now_us) {
            *self = Self::default();
        }
        self.count = self.count.saturating_add(1);
        self.last_us = now_us;
        if let Some(beyond) = self.count.checked_sub(free.saturating_add(1)) {
            let cost = Duration::from_secs(1).saturating_mul(1 << beyond.min(20)).min(FAILURE_COST_MAX);
            self.open_at_us = now_us.saturating_add(cost.as_micros() as u64);
        }
    }

    /// Takes back one that turned out to be none: `before` and `after` are what was known around it. What others did since stays.
    pub fn take_back(&mut self, before: Self, after: Self) {
        match *self == after {
            true => *self = before,
            false => self.count = self.count.saturating_sub(1),
        }
    }

    /// Whether they are so long ago that they can be forgotten.
    pub fn is_past(&self, now_us: u64) -> bool {
        now_us >= self.open_at_us.max(self.last_us).saturating_add(FAILURE_COST_MAX.as_micros() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_at_once_and_then_its_pace() {
        let pace = Pace { per_second: 10, burst: 5 };
        let mut bucket = Bucket::FULL;
        let at = 7 * SECOND_US;
        for _ in 0..5 {
            assert_eq!(bucket.take(pace, at), Ok(()));
        }
        assert_eq!(bucket.take(pace, at), Err(Duration::from_millis(100)));
        assert_eq!(bucket.take(pace, at + 99_999), Err(Duration::from_micros(1)));
        assert_eq!(bucket.take(pace, at + 100_000), Ok(()));
        assert!(!bucket.is_full(at + 100_000) && bucket.is_full(at + SECOND_US));
        let taken = (0..10 * SECOND_US)
            .step_by(1_000)
            .filter(|us| bucket.take(pace, at + 2 * SECOND_US + us).is_ok());
        assert_eq!(taken.count(), 104);
    }

    #[test]
    fn failures_cost_nothing_then_twice_as_much_each_time_up_to_a_quarter_of_an_hour() {
        let mut failures = Failures::default();
        for _ in 0..10 {
            failures.add(10, 0);
            assert_eq!(failures.wait(0), None);
        }
        for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
            failures.add(10, 0);
            assert_eq!(failures.wait(0), Some(Duration::from_secs(seconds)));
        }
        assert_eq!(failures.wait(900 * SECOND_US), None);
        assert!(!failures.is_past(1_799 * SECOND_US) && failures.is_past(1_800 * SECOND_US));
    }

    #[test]
    fn what_is_taken_back_costs_nothing_and_what_is_long_ago_counts_no_more() {
        let mut failures = Failures::default();
        for second in 0..100 {
            let before = failures;
            failures.add(3, second * SECOND_US);
            failures.take_back(before, failures);
        }
        assert_eq!(failures, Failures::default());
        (0..3).for_each(|_| failures.add(3, 0));
        let (before, mut after) = (failures, failures);
        after.add(3, 0);
        failures = after;
        failures.add(3, 0);
        failures.take_back(before, after);
        assert_eq!(failures.wait(0), Some(Duration::from_secs(2)), "what another did meanwhile");
        failures.add(3, 0);
        assert_eq!(failures.wait(0), Some(Duration::from_secs(2)), "the second of them that cost something");
        failures.add(3, 1_802 * SECOND_US);
        assert_eq!(failures.wait(1_802 * SECOND_US), None, "the first, after a while");
    }

    #[test]
    fn ten_thousand_tries_in_a_minute_are_fewer_than_a_hundred() {
        let mut failures = Failures::default();
        let mut tried = 0;
        for us in (0..60 * SECOND_US).step_by(6_000) {
            if failures.wait(us).is_none() {
                failures.add(10, us);
                tried += 1;
            }
        }
        assert!((10..100).contains(&tried), "{tried}");
    }
}
