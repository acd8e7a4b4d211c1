//! For how long somebody has had a store in sight, so that they may believe that a lease has run out.
//!
//! A worker renews its lease with the store. While the store is away, nobody can: after a failover that took longer than
//! leases last, every lease has run out, and every worker may be alive. So a lease that ran out says something only to
//! whoever has looked at the store all the time meanwhile: then its worker could have renewed it, too. Whoever could not
//! look for a while, or has only begun, gives each worker a whole lease of time from then on.
//!
//! The times are those of the clock that leases run by, as the store told them with each look. So it does not matter where a
//! look was held up, and a clock that is set forward is nothing else than a time in which nobody looked.

use std::time::Duration;

/// Shorter times between two looks are never told from looking all the time: 1 s.
const GAP_US_MIN: u64 = 1_000_000;

/// A worker renews its lease three times within: an outage of less than a third of it lets no lease run out.
const GAPS_IN_A_LEASE: u64 = 3;

/// After this a gap is forgotten, however long a lease is: 1 h.
const GAP_KEPT_US: u64 = 3_600_000_000;

/// For how long somebody has had a store in sight.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// When the first look was.
    since_us: Option<u64>,
    /// When the last look was.
    last_us: Option<u64>,
    /// The times in which nobody looked.
    gaps: Vec<Gap>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Gap {
    until_us: u64,
    length_us: u64,
}

impl Sight {
    /// The sight of somebody who has always looked. For whoever knows by other means that the store was never away.
    pub fn endless() -> Self {
        Self { since_us: Some(0), ..Self::default() }
    }

    /// Notes that the store has been looked at just now.
    pub fn look(&mut self, now_us: u64) {
        if self.last_us.is_some_and(|last_us| now_us < last_us) {
            // The clock was set back, or is another server's: nothing of before can be told by it.
            *self = Self::default();
        }
        if let Some(length_us) = self.last_us.map(|last_us| now_us - last_us).filter(|gap| *gap > GAP_US_MIN)
        {
            self.gaps.push(Gap { until_us: now_us, length_us });
        }
        self.gaps.retain(|gap| now_us - gap.until_us <= GAP_KEPT_US);
        self.since_us.get_or_insert(now_us);
        self.last_us = Some(now_us);
    }

    /// Whether the store has been in sight for as long as a lease lasts, as of the last look.
    ///
    /// ```
    /// use std::time::Duration;
    /// use taskwright_core::sight::Sight;
    ///
    /// let (mut sight, lease) = (Sight::default(), Duration::from_secs(15));
    /// for second in 100..=120 {
    ///     sight.look(second * 1_000_000);
    /// }
    /// assert!(sight.covers(lease));
    /// // A failover.
    /// sight.look(140_000_000);
    /// assert!(!sight.covers(lease));
    /// ```
    pub fn covers(&self, lease: Duration) -> bool {
        let lease_us = u64::try_from(lease.as_micros()).unwrap_or(u64::MAX);
        let Some((since_us, now_us)) = self.since_us.zip(self.last_us) else { return false };
        let is_over = |from_us: u64| from_us.saturating_add(lease_us) <= now_us;
        let hides = |gap: &Gap| gap.length_us > lease_us / GAPS_IN_A_LEASE && !is_over(gap.until_us);
        is_over(since_us) && !self.gaps.iter().any(hides)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(15);

    /// Looks twice a second from one second to another.
    fn looks(sight: &mut Sight, from_s: u64, to_s: u64) {
        for half in from_s * 2..=to_s * 2 {
            sight.look(half * 500_000);
        }
    }

    #[test]
    fn whoever_has_only_begun_waits_for_a_lease() {
        let mut sight = Sight::default();
        assert!(!sight.covers(Duration::ZERO), "nobody has looked");
        looks(&mut sight, 100, 114);
        assert!(!sight.covers(LEASE));
        looks(&mut sight, 115, 115);
        assert!(sight.covers(LEASE));
        assert!(!sight.covers(LEASE * 2), "each lease by its own length");
    }

    #[test]
    fn after_an_outage_workers_have_a_lease_of_time() {
        let mut sight = Sight::default();
        looks(&mut sight, 100, 200);
        looks(&mut sight, 220, 234);
        assert!(!sight.covers(LEASE));
        looks(&mut sight, 235, 235);
        assert!(sight.covers(LEASE));
    }

    #[test]
    fn an_outage_in_which_no_lease_can_run_out_hides_nothing() {
        let mut sight = Sight::default();
        looks(&mut sight, 100, 200);
        looks(&mut sight, 205, 205);
        assert!(sight.covers(LEASE), "5 s of 15");
        assert!(!sight.covers(Duration::from_secs(14)));
    }

    #[test]
    fn slow_looks_are_looks_all_the_same() {
        let mut sight = Sight::default();
        (0..10).for_each(|n| sight.look(100_000_000 + n * 4_000_000));
        assert!(sight.covers(LEASE));
        assert!(!sight.covers(Duration::from_secs(6)));
    }

    #[test]
    fn a_clock_that_is_set_is_time_in_which_nobody_looked() {
        for to_s in [50, 90_000] {
            let mut sight = Sight::default();
            looks(&mut sight, 100, 200);
            looks(&mut sight, to_s, to_s + 14);
            assert!(!sight.covers(LEASE), "set to {to_s}");
            looks(&mut sight, to_s + 15, to_s + 15);
            assert!(sight.covers(LEASE));
        }
    }

    #[test]
    fn whoever_has_always_looked_knows_at_once() {
        let mut sight = Sight::endless();
        sight.look(15_000_000);
        assert!(sight.covers(LEASE));
    }

    #[test]
    fn gaps_of_long_ago_are_forgotten() {
        let mut sight = Sight::default();
        (0..100).for_each(|hour| looks(&mut sight, hour * 7_200, hour * 7_200 + 1));
        assert_eq!(sight.gaps.len(), 1);
    }
}
