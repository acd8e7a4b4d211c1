//! When a child that died is started again.

use std::time::Duration;

/// The first pause of a crash loop. Short, because it may be no loop yet: when somebody kills all workers again and again, the
/// jobs of the last one are to run again within a second.
const PAUSE_FIRST: Duration = Duration::from_millis(250);

/// The longest pause of a crash loop.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Deaths in a row, each soon after the start, that may still be accidents: somebody kills, or a job does, which is
/// quarantined after as many. Work must not wait for a proof of innocence.
const ACCIDENTS_MAX: u32 = 3;

/// A child that lived this long was no part of a crash loop: those die while they start.
const LIVED_WELL: Duration = Duration::from_secs(2);

/// How often a child has died soon after its start.
///
/// The first ones are taken for accidents: the successor starts at once. More of them in a row are a crash loop: 250 ms,
/// 500 ms, 1 s and so on, up to a minute.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    started_at_us: Option<u64>,
    in_a_row: u32,
}

impl Restarts {
    /// Notes a start.
    pub(super) fn started(&mut self, now_us: u64) {
        self.started_at_us = Some(now_us);
    }

    /// Notes a death, or a start that failed; after how long to start again.
    pub(super) fn died(&mut self, now_us: u64) -> Duration {
        let lived = self.started_at_us.take().map(|at| Duration::from_micros(now_us.saturating_sub(at)));
        if lived.is_some_and(|lived| lived >= LIVED_WELL) {
            self.in_a_row = 0;
        }
        self.in_a_row += 1;
        match self.in_a_row.checked_sub(ACCIDENTS_MAX + 1) {
            None => Duration::ZERO,
            Some(pauses) => PAUSE_FIRST.saturating_mul(1 << pauses.min(8)).min(PAUSE_MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_loop_slows_down_to_one_start_a_minute() {
        let mut restarts = Restarts::default();
        let pauses: Vec<u128> = (0..13)
            .map(|_| {
                restarts.started(0);
                restarts.died(1_000).as_millis()
            })
            .collect();
        assert_eq!(pauses, [0, 0, 0, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
    }

    #[test]
    fn a_death_after_a_good_life_is_followed_at_once_and_forgives_the_past() {
        let mut restarts = Restarts::default();
        let mut dies_after_us = |lived| {
            restarts.started(0);
            restarts.died(lived).as_millis()
        };
        assert_eq!([1, 1, 1, 1].map(&mut dies_after_us), [0, 0, 0, 250]);
        assert_eq!(dies_after_us(2_000_000), 0);
        assert_eq!([1, 1, 1].map(&mut dies_after_us), [0, 0, 250]);
    }
}
