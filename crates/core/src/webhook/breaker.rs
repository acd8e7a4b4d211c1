//! Whether an endpoint is tried at all.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Timestamp;

/// Failures that open it: 10.
const FAILURES: usize = 10;
/// Within this time: 5 min.
const WINDOW: Duration = Duration::from_secs(300);
/// How long it stays open, before one event is tried: 5 min.
const OPEN: Duration = Duration::from_secs(300);

/// Leaves alone who does not answer: after ten failures within 5 min, unless more than ten deliveries succeeded in between, nothing
/// is tried for 5 min. Then one event is, the *probe*: if it is delivered all goes on, and if not, another 5 min pass.
///
/// Successes count, so that an endpoint that refuses one event in a hundred is not taken for dead at a thousand a second.
///
/// # Example
///
/// ```
/// use taskwright_core::Timestamp;
/// use taskwright_core::webhook::{Breaker, Gate};
///
/// let mut breaker = Breaker::default();
/// let now = Timestamp::from_micros(0);
/// for _ in 0..10 {
///     assert_eq!(breaker.gate(now), Gate::Closed);
///     breaker.failed(now);
/// }
/// assert!(matches!(breaker.gate(now), Gate::Open(_)));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Breaker {
    /// The last failures: when each was, and how many deliveries had succeeded by then.
    failures: VecDeque<(Timestamp, u64)>,
    /// Deliveries that succeeded.
    successes: u64,
    /// Since when nothing is tried but probes.
    opened_at: Option<Timestamp>,
    /// Until when nothing is tried.
    rests_until: Option<Timestamp>,
}

/// What may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Everything.
    Closed,
    /// Nothing before this moment.
    Open(Timestamp),
    /// One event.
    Probe,
}

impl Breaker {
    /// What may be tried now.
    pub fn gate(&self, now: Timestamp) -> Gate {
        match (self.rests_until, self.opened_at) {
            (Some(until), _) if now < until => Gate::Open(until),
            (_, Some(_)) => Gate::Probe,
            (_, None) => Gate::Closed,
        }
    }

    /// Since when only probes are made.
    pub fn opened_at(&self) -> Option<Timestamp> {
        self.opened_at
    }

    /// A delivery succeeded: if it was the probe, all goes on.
    pub fn delivered(&mut self) {
        self.successes += 1;
        if self.opened_at.take().is_some() {
            (self.failures, self.rests_until) = (VecDeque::new(), None);
        }
    }

    /// A delivery failed.
    pub fn failed(&mut self, now: Timestamp) {
        if self.opened_at.is_some() {
            self.rests_until = Some(now.plus(OPEN));
            return;
        }
        self.failures.push_back((now, self.successes));
        while self.failures.len() > FAILURES {
            self.failures.pop_front();
        }
        let Some((first, before)) = self.failures.front().copied() else { return };
        let in_time = self.failures.len() == FAILURES && now.since(first) <= WINDOW;
        if in_time && self.successes - before <= FAILURES as u64 {
            (self.opened_at, self.rests_until) = (Some(now), Some(now.plus(OPEN)));
        }
    }

    /// The receiver asked to be left alone, which is no failure of it.
    pub fn rest(&mut self, until: Timestamp) {
        self.rests_until = self.rests_until.max(Some(until));
    }

    /// Somebody says that all is well again.
    pub fn reset(&mut self) {
        *self = Self { successes: self.successes, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(0).plus(Duration::from_secs(seconds))
    }

    #[test]
    fn ten_failures_within_five_minutes_open_it_and_nine_do_not() {
        let mut breaker = Breaker::default();
        for n in 0..9 {
            breaker.failed(at(n * 30));
        }
        assert_eq!(breaker.gate(at(270)), Gate::Closed);
        let mut slow = breaker.clone();
        slow.failed(at(301));
        assert_eq!(slow.gate(at(301)), Gate::Closed, "the first is more than 5 min ago");
        breaker.failed(at(300));
        assert_eq!(breaker.gate(at(300)), Gate::Open(at(600)));
        assert_eq!(breaker.gate(at(599)), Gate::Open(at(600)));
        assert_eq!(breaker.gate(at(600)), Gate::Probe);
    }

    #[test]
    fn a_probe_that_fails_leaves_it_open_and_one_that_succeeds_closes_it() {
        let mut breaker = Breaker::default();
        (0..10).for_each(|_| breaker.failed(at(0)));
        breaker.failed(at(300));
        assert_eq!((breaker.gate(at(300)), breaker.opened_at()), (Gate::Open(at(600)), Some(at(0))));
        breaker.delivered();
        assert_eq!((breaker.gate(at(600)), breaker.opened_at()), (Gate::Closed, None));
        (0..9).for_each(|_| breaker.failed(at(601)));
        assert_eq!(breaker.gate(at(601)), Gate::Closed, "it counts anew");
    }

    #[test]
    fn who_asks_to_be_left_alone_is_and_is_not_probed_after_that() {
        let mut breaker = Breaker::default();
        breaker.rest(at(60));
        assert_eq!((breaker.gate(at(59)), breaker.gate(at(60))), (Gate::Open(at(60)), Gate::Closed));
    }

    proptest! {
        #[test]
        fn who_answers_most_of_the_time_is_never_left_alone(
            answers in proptest::collection::vec((0_u64..20, 3_u64..200), 1..200),
        ) {
            // After each failure at least two deliveries succeed.
            let (mut breaker, mut now) = (Breaker::default(), 0);
            for (pause, good) in answers {
                now += pause;
                breaker.failed(at(now));
                (0..good).for_each(|_| breaker.delivered());
                prop_assert_eq!(breaker.gate(at(now)), Gate::Closed);
            }
        }

        #[test]
        fn while_it_is_open_at_most_one_event_is_tried_in_five_minutes(pauses in proptest::collection::vec(0_u64..400, 1..100)) {
            let mut breaker = Breaker::default();
            (0..10).for_each(|_| breaker.failed(at(0)));
            let (mut now, mut last) = (0, 0);
            for pause in pauses {
                now += pause;
                match breaker.gate(at(now)) {
                    Gate::Closed => prop_assert!(false, "nothing has succeeded"),
                    Gate::Open(until) => prop_assert!(until > at(now)),
                    Gate::Probe => {
                        prop_assert!(now - last >= 300);
                        breaker.failed(at(now));
                        last = now;
                    }
                }
            }
        }
    }
}
