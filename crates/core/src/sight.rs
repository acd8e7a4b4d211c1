//! For how long somebody has had a store in sight, so that they may believe that a lease has run out.
//!
//! A worker renews its lease with the store. While the store is away, or takes no writes, nobody can: after a failover that
//! took longer than leases last, every lease has run out, and every worker may be alive. So a lease that ran out says
//! something only to whoever has seen all the time meanwhile that the store takes writes: then its worker could have renewed
//! it, too. Whoever could not see that for a while, or has only begun to look, gives each worker a whole lease of time from
//! then on.
//!
//! A look that finds nobody [overdue](overdue()) counts by itself. Where somebody is, the store has to take a write of whoever looks:
//! somebody who hangs does not renew his lease, and with a full disk nobody does.
//!
//! The times are those of the clock that leases run by, as the store told them with each look. So it does not matter where a
//! look was held up, and a clock that is set forward is nothing else than a time in which nobody looked.

use std::time::Duration;

/// Shorter times between two looks are never told from looking all the time, and by so much a clock may be set back: 1 s.
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
        match self.last_us {
            // The clock was set back, or is another server's: nothing of before can be told by it.
            Some(last_us) if now_us + GAP_US_MIN < last_us => *self = Self::default(),
            Some(last_us) if now_us < last_us => return,
            _ => {}
        }
        if let Some(length_us) = self.last_us.map(|last_us| now_us - last_us).filter(|gap| *gap > GAP_US_MIN)
        {
            self.gaps.push(Gap { until_us: now_us, length_us });
        }
        self.gaps.retain(|gap| now_us - gap.until_us <= GAP_KEPT_US);
        self.since_us.get_or_insert(now_us);
        self.last_us = Some(now_us);
    }

    /// Whether at this moment the store has been in sight for as long as a lease lasts.
    ///
    /// ```
    /// use std::time::Duration;
    /// use taskwright_core::sight::Sight;
    ///
    /// let (mut sight, lease) = (Sight::default(), Duration::from_secs(15));
    /// for second in 100..=120 {
    ///     sight.look(second * 1_000_000);
    /// }
    /// assert!(sight.covers(lease, 120_000_000));
    /// // A failover.
    /// sight.look(140_000_000);
    /// assert!(!sight.covers(lease, 140_000_000));
    /// ```
    pub fn covers(&self, lease: Duration, now_us: u64) -> bool {
        let lease_us = micros(lease);
        let Some((since_us, last_us)) = self.since_us.zip(self.last_us) else { return false };
        let is_over = |from_us: u64| from_us.saturating_add(lease_us) <= now_us;
        let is_long = |length_us: u64| length_us > lease_us / GAPS_IN_A_LEASE;
        let hides = |gap: &Gap| is_long(gap.length_us) && !is_over(gap.until_us);
        is_over(since_us) && !is_long(now_us.saturating_sub(last_us)) && !self.gaps.iter().any(hides)
    }
}

/// Whether a worker should have renewed its lease by now: it does so when a third of it is over, give or take a tenth of that.
pub fn overdue(lease: Duration, lease_until_us: u64, now_us: u64) -> bool {
    let lease_us = micros(lease);
    let left_us = lease_until_us.saturating_sub(now_us);
    left_us < lease_us / 5 * 3
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(15);

    /// Looks twice a second from one second to another; whether a lease is covered then.
    fn looks(sight: &mut Sight, from_s: u64, to_s: u64) -> bool {
        for half in from_s * 2..=to_s * 2 {
            sight.look(half * 500_000);
        }
        sight.covers(LEASE, to_s * 1_000_000)
    }

    #[test]
    fn whoever_has_only_begun_waits_for_a_lease() {
        let mut sight = Sight::default();
        assert!(!sight.covers(Duration::ZERO, 0), "nobody has looked");
        assert!(!looks(&mut sight, 100, 114));
        assert!(looks(&mut sight, 115, 115));
        assert!(!sight.covers(LEASE * 2, 115_000_000), "each lease by its own length");
    }

    #[test]
    fn after_an_outage_workers_have_a_lease_of_time() {
        let mut sight = Sight::default();
        looks(&mut sight, 100, 200);
        assert!(!looks(&mut sight, 220, 234));
        assert!(looks(&mut sight, 235, 235));
    }

    #[test]
    fn while_an_outage_lasts_nothing_is_covered() {
        let mut sight = Sight::default();
        looks(&mut sight, 100, 200);
        assert!(sight.covers(LEASE, 205_000_000));
        assert!(!sight.covers(LEASE, 205_000_001));
    }

    #[test]
    fn an_outage_in_which_no_lease_can_run_out_hides_nothing() {
        let mut sight = Sight::default();
        looks(&mut sight, 100, 200);
        assert!(looks(&mut sight, 205, 205), "5 s of 15");
        assert!(!sight.covers(Duration::from_secs(14), 205_000_000));
    }

    #[test]
    fn slow_looks_are_looks_all_the_same() {
        let mut sight = Sight::default();
        (0..10).for_each(|n| sight.look(100_000_000 + n * 4_000_000));
        assert!(sight.covers(LEASE, 136_000_000));
        assert!(!sight.covers(Duration::from_secs(6), 136_000_000));
    }

    #[test]
    fn a_clock_that_is_set_is_time_in_which_nobody_looked() {
        for to_s in [50, 90_000] {
            let mut sight = Sight::default();
            looks(&mut sight, 100, 200);
            assert!(!looks(&mut sight, to_s, to_s + 14), "set to {to_s}");
            assert!(looks(&mut sight, to_s + 15, to_s + 15));
        }
    }

    #[test]
    fn a_clock_that_is_kept_right_by_small_steps_back_hides_nothing() {
        let mut sight = Sight::default();
        for second in 100..200 {
            sight.look(second * 1_000_000);
            sight.look(second * 1_000_000 - 200_000);
        }
        assert!(sight.covers(LEASE, 199_000_000));
    }

    #[test]
    fn whoever_has_always_looked_knows_at_once() {
        let mut sight = Sight::endless();
        sight.look(15_000_000);
        assert!(sight.covers(LEASE, 15_000_000));
    }

    #[test]
    fn gaps_of_long_ago_are_forgotten() {
        let mut sight = Sight::default();
        for hour in 0..100 {
            looks(&mut sight, hour * 7_200, hour * 7_200 + 1);
        }
        assert_eq!(sight.gaps.len(), 1);
    }

    #[test]
    fn a_worker_is_overdue_when_two_fifths_of_its_lease_are_over() {
        let until_us = 115_000_000;
        assert!(!overdue(LEASE, until_us, 100_000_000));
        assert!(!overdue(LEASE, until_us, 106_000_000));
        assert!(overdue(LEASE, until_us, 106_000_001));
        assert!(overdue(LEASE, until_us, 200_000_000));
    }
}
