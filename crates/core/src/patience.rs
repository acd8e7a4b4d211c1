//! Waiting for jobs of others: when to look again, and when to give up.
//!
//! Pure: whoever waits tells what it saw and when, and is told what to do next. The rules are those of `lineage.md` 2.1, made
//! whole: whoever can be told of news listens; who cannot looks every 5 s to 2 min, more often while something moves. What
//! runs and does not move for an hour has stalled; that counts only from the start of a job, so that a long queue is no stall. A server
//! that does not answer is asked again, ten times in a row.

use std::time::Duration;

/// When somebody who waits gives up, and how often they look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long to wait in all; `None` is as long as it takes. Default `None`.
    pub timeout: Option<Duration>,
    /// How long a job may run without a sign of progress; `None` is as long as it takes. Default 1 h.
    pub stall: Option<Duration>,
    /// Questions in a row that may fail. Default 10.
    pub failures_max: u32,
    /// The shortest and the longest pause of somebody who is not told of news. Default 5 s and 2 min.
    pub pause: (Duration, Duration),
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            timeout: None,
            stall: Some(Duration::from_secs(3_600)),
            failures_max: 10,
            pause: (Duration::from_secs(5), Duration::from_secs(120)),
        }
    }
}

/// What each look without news adds to the pause.
const PAUSE_STEP: Duration = Duration::from_secs(1);

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Jobs that are not over.
    pub open: usize,
    /// Of these, those that run now.
    pub running: usize,
    /// Changes whenever a job starts, ends, or says how far it is.
    pub mark: u64,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing is open any more.
    Over,
    /// Listen for news for so long at most, then look. `None` is as long as it takes.
    Listen(Option<Duration>),
    /// Look again after this time.
    Pause(Duration),
    /// What runs has not moved for too long: look whether it writes anything, and [tell](Wait::wrote).
    Doubt,
    /// The time is up.
    TimeUp,
    /// Nothing has moved for this long.
    Stalled(Duration),
    /// So many questions in a row failed.
    Unreachable(u32),
}

/// One wait, under way. Times are monotonic microseconds of whoever waits.
#[derive(Clone, Debug)]
pub struct Wait {
    patience: Patience,
    began_us: u64,
    pause: Duration,
    mark: Option<u64>,
    /// Since when what runs has not moved; `None` while nothing runs.
    still_us: Option<u64>,
    failures: u32,
}

impl Wait {
    /// Begins.
    pub fn new(patience: Patience, now_us: u64) -> Self {
        let pause = patience.pause.0;
        Self { patience, began_us: now_us, pause, mark: None, still_us: None, failures: 0 }
    }

    /// A look succeeded; `is_told` says whether somebody tells of news from then on.
    pub fn found(&mut self, now_us: u64, found: Found, is_told: bool) -> Next {
        self.failures = 0;
        if found.open == 0 {
            return Next::Over;
        }
        let moved = self.mark.replace(found.mark) != Some(found.mark);
        let (least, most) = self.patience.pause;
        self.pause = if moved { (self.pause / 2).max(least) } else { (self.pause + PAUSE_STEP).min(most) };
        self.still_us = match self.still_us {
            _ if found.running == 0 => None,
            Some(since) if !moved => Some(since),
            _ => Some(now_us),
        };
        if self.time_left(now_us) == Some(Duration::ZERO) {
            return Next::TimeUp;
        }
        match self.stall_left(now_us) {
            Some(Duration::ZERO) => Next::Doubt,
            stall_left => {
                let limit = [self.time_left(now_us), stall_left].into_iter().flatten().min();
                match is_told {
                    true => Next::Listen(limit),
                    false => Next::Pause(limit.map_or(self.pause, |limit| limit.min(self.pause))),
                }
            }
        }
    }

    /// Whether what runs had written something, after [`Doubt`](Next::Doubt).
    pub fn wrote(&mut self, now_us: u64, something: bool) -> Next {
        if something {
            self.still_us = Some(now_us);
            return Next::Pause(Duration::ZERO);
        }
        let since =
            self.still_us.map_or(Duration::ZERO, |since| Duration::from_micros(now_us.saturating_sub(since)));
        Next::Stalled(since)
    }

    /// A look failed, in a way that may pass.
    pub fn failed(&mut self, now_us: u64) -> Next {
        self.failures += 1;
        if self.failures > self.patience.failures_max {
            return Next::Unreachable(self.failures);
        }
        let (least, most) = self.patience.pause;
        // The first ones at the pace of one who is not told; then slower.
        self.pause = (self.pause + PAUSE_STEP).clamp(least, most);
        match self.time_left(now_us) {
            Some(Duration::ZERO) => Next::TimeUp,
            left => Next::Pause(left.map_or(self.pause, |left| left.min(self.pause))),
        }
    }

    fn time_left(&self, now_us: u64) -> Option<Duration> {
        let waited = Duration::from_micros(now_us.saturating_sub(self.began_us));
        self.patience.timeout.map(|timeout| timeout.saturating_sub(waited))
    }

    fn stall_left(&self, now_us: u64) -> Option<Duration> {
        let still = Duration::from_micros(now_us.saturating_sub(self.still_us?));
        self.patience.stall.map(|stall| stall.saturating_sub(still))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000;

    fn waits(running: usize, mark: u64) -> Found {
        Found { open: 1, running, mark }
    }

    /// A wait on a clock of its own.
    struct Clock {
        wait: Wait,
        now_us: u64,
    }

    impl Clock {
        fn new(patience: Patience) -> Self {
            Self { wait: Wait::new(patience, 7 * S), now_us: 7 * S }
        }

        /// Looks, and lets the pause pass that it is told to make.
        fn polls(&mut self, found: Found) -> Next {
            let next = self.wait.found(self.now_us, found, false);
            if let Next::Pause(pause) = next {
                self.now_us += u64::try_from(pause.as_micros()).unwrap();
            }
            next
        }
    }

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn polling_slows_down_by_a_second_a_look_up_to_two_minutes_and_halves_when_something_moves() {
        let mut clock = Clock::new(Patience::default());
        assert_eq!(clock.polls(waits(0, 1)), Next::Pause(seconds(5)));
        for s in 6..=120 {
            assert_eq!(clock.polls(waits(0, 1)), Next::Pause(seconds(s)));
        }
        assert_eq!(clock.polls(waits(0, 1)), Next::Pause(seconds(120)));
        assert_eq!(clock.polls(waits(1, 2)), Next::Pause(seconds(60)));
        assert_eq!(clock.polls(waits(1, 3)), Next::Pause(seconds(30)));
        for mark in 4..9 {
            clock.polls(waits(1, mark));
        }
        assert_eq!(clock.polls(waits(1, 10)), Next::Pause(seconds(5)), "not more often than that");
        assert_eq!(clock.polls(Found { open: 0, running: 0, mark: 11 }), Next::Over);
    }

    #[test]
    fn an_hour_without_progress_is_a_stall_and_an_hour_in_the_queue_is_none() {
        let mut wait = Wait::new(Patience::default(), 0);
        let (hour, mut now) = (3_600 * S, 0);
        for _ in 0..100 {
            assert_eq!(wait.found(now, waits(0, 1), true), Next::Listen(None), "it waits in its queue");
            now += hour;
        }
        assert_eq!(wait.found(now, waits(1, 2), true), Next::Listen(Some(seconds(3_600))));
        now += hour - S;
        assert_eq!(wait.found(now, waits(1, 2), true), Next::Listen(Some(seconds(1))));
        now += S;
        assert_eq!(wait.found(now, waits(1, 2), true), Next::Doubt);
        // It wrote to its log: that is progress.
        assert_eq!(wait.wrote(now, true), Next::Pause(Duration::ZERO));
        assert_eq!(wait.found(now, waits(1, 2), true), Next::Listen(Some(seconds(3_600))));
        now += hour - S;
        // So is what it says itself, a moment before it would have been too late.
        assert_eq!(wait.found(now, waits(1, 3), true), Next::Listen(Some(seconds(3_600))));
        now += hour;
        assert_eq!(wait.found(now, waits(1, 3), true), Next::Doubt);
        assert_eq!(wait.wrote(now, false), Next::Stalled(seconds(3_600)));
    }

    #[test]
    fn what_waits_for_a_retry_does_not_stall_and_begins_anew() {
        let mut wait = Wait::new(Patience::default(), 0);
        let hour = 3_600 * S;
        assert_eq!(wait.found(0, waits(1, 1), true), Next::Listen(Some(seconds(3_600))));
        assert_eq!(wait.found(hour - S, waits(0, 2), true), Next::Listen(None));
        assert_eq!(wait.found(9 * hour, waits(1, 3), true), Next::Listen(Some(seconds(3_600))));
    }

    #[test]
    fn ten_failures_in_a_row_are_borne_and_a_success_forgets_them() {
        let mut wait = Wait::new(Patience::default(), 0);
        for round in 0..3 {
            for failure in 1..=10 {
                assert!(
                    matches!(wait.failed(failure), Next::Pause(pause) if pause >= seconds(5)),
                    "{round} {failure}"
                );
            }
            assert!(matches!(wait.found(0, waits(0, round), true), Next::Listen(None)));
        }
        for failure in 1..=10 {
            wait.failed(failure);
        }
        assert_eq!(wait.failed(0), Next::Unreachable(11));
    }

    #[test]
    fn the_time_is_up_whatever_happens_and_no_pause_is_longer_than_what_is_left() {
        let patience = Patience { timeout: Some(seconds(8)), stall: None, ..Patience::default() };
        let mut wait = Wait::new(patience, 0);
        assert_eq!(wait.found(0, waits(1, 1), false), Next::Pause(seconds(5)));
        assert_eq!(wait.found(5 * S, waits(1, 1), false), Next::Pause(seconds(3)));
        assert_eq!(wait.failed(6 * S), Next::Pause(seconds(2)));
        assert_eq!(wait.found(7 * S, waits(1, 2), true), Next::Listen(Some(seconds(1))));
        assert_eq!(wait.failed(8 * S), Next::TimeUp);
        assert_eq!(wait.found(8 * S, waits(1, 2), true), Next::TimeUp);
        let done = Found { open: 0, running: 0, mark: 3 };
        assert_eq!(wait.found(9 * S, done, true), Next::Over, "what is over is over");
    }
}
