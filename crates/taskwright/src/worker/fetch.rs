//! The fetcher: claims jobs in blocks, ahead of the slots.
//!
//! One claim costs the store about the same for one job and for a thousand, so a fast worker claims many at once; but
//! what lies here is kept from everybody else, so a slow one claims no more than it can start. The block is therefore
//! as large as [`BLOCK_TIME`] of work at the rate of just now, and what was not started within [`KEPT_MAX`] goes back.
//!
//! The fetcher looks again when the store hints that there is something new, when the buffer runs low after a claim
//! that was answered in full, and every [poll](super::Config::poll) in any case: hints may be missed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use taskwright_core::limit::CLAIM_JOBS_MAX;
use tokio::sync::watch;

use super::buffer::Level;
use super::incarnation::Incarnation;
use super::phase::Phase;
use crate::env::micros;

/// How much work is claimed ahead: 20 ms.
const BLOCK_TIME: Duration = Duration::from_millis(20);
/// How long a claimed job may wait to be started: 1 s.
const KEPT_MAX: Duration = Duration::from_secs(1);
/// How long the fetcher waits after a claim that failed.
const RETRY: Duration = Duration::from_millis(100);

/// Why the fetcher ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The worker stops.
    Stopped,
    /// Nothing is left to do, and it was asked to end then.
    Empty,
}

pub(crate) async fn run(worker: Arc<Incarnation>) -> Ended {
    let hints = worker.store.hints();
    let mut fetcher = Fetcher { hints, hints_open: true, pace: Pace::default(), dry: false, worker };
    fetcher.run().await
}

struct Fetcher {
    worker: Arc<Incarnation>,
    hints: watch::Receiver<u64>,
    hints_open: bool,
    pace: Pace,
    /// The newest claim was not answered in full: nothing more is there until something happens.
    dry: bool,
}

impl Fetcher {
    async fn run(&mut self) -> Ended {
        while !self.worker.phase.is_at_least(Phase::Stopping) {
            // Interest is registered before the look: in hints here, in the level of the buffer by arming it.
            if self.hints.has_changed().unwrap_or(false) {
                self.hints.borrow_and_update();
                self.dry = false;
            }
            self.give_back_old();
            let claims = !self.dry && !self.worker.phase.is_at_least(Phase::Quiet);
            self.worker.buffer.arm(claims.then(|| self.pace.low()));
            let want = self.pace.want(self.worker.buffer.level());
            if !claims || want == 0 {
                self.wait().await;
            } else if self.claim(want).await {
                return Ended::Empty;
            }
        }
        Ended::Stopped
    }

    /// Claims; `true` when there was nothing and nothing is under way, and the worker is to end then.
    async fn claim(&mut self, want: usize) -> bool {
        let worker = Arc::clone(&self.worker);
        let env = &worker.host.env;
        let idle = worker.open.load(Ordering::SeqCst) == 0;
        let claimed = tokio::select! {
            biased;
            // Whatever this claim yields goes to others with everything else that the lost worker held.
            () = worker.phase.reached(Phase::Lost) => return false,
            claimed = worker.source.next(env.now(), want) => claimed,
        };
        let jobs = match claimed {
            Ok(claimed) => claimed.jobs,
            Err(error) if error.is_lost() => {
                worker.lose(env.monotonic_us());
                return false;
            }
            Err(error) => {
                tracing::warn!(worker = %worker.id(), %error, "a claim failed; trying again");
                self.pause(RETRY).await;
                return false;
            }
        };
        self.dry = jobs.len() < want;
        if jobs.is_empty() {
            return idle && worker.config.until_empty;
        }
        worker.open.fetch_add(jobs.len(), Ordering::SeqCst);
        let now_us = env.monotonic_us();
        self.pace.claimed(now_us, worker.buffer.level());
        if let Err(jobs) = worker.buffer.push(jobs, now_us) {
            worker.ends.give_back(&jobs, "the worker stops");
        }
        false
    }

    /// Waits until there is a reason to look again.
    async fn wait(&mut self) {
        let worker = Arc::clone(&self.worker);
        let env = &worker.host.env;
        let poll_us = env.monotonic_us() + micros(env.spread(worker.config.poll, 0.2));
        let old_us = worker.buffer.oldest_us().map(|since_us| since_us + micros(KEPT_MAX));
        let polls = old_us.is_none_or(|old_us| poll_us < old_us);
        let wake = env.sleep_until_us(old_us.map_or(poll_us, |old_us| old_us.min(poll_us)));
        tokio::select! {
            biased;
            () = worker.phase.reached(Phase::Stopping) => {}
            changed = self.hints.changed(), if self.hints_open => {
                self.hints_open = changed.is_ok();
                self.dry = false;
            }
            () = worker.buffer.low.notified() => {}
            () = worker.all_settled.notified(), if worker.config.until_empty => self.dry = false,
            () = wake => self.dry &= !polls,
        }
    }

    async fn pause(&self, pause: Duration) {
        tokio::select! {
            biased;
            () = self.worker.phase.reached(Phase::Stopping) => {}
            () = self.worker.host.env.sleep(pause) => {}
        }
    }

    fn give_back_old(&self) {
        let now_us = self.worker.host.env.monotonic_us();
        let old = self.worker.buffer.take_older(now_us.saturating_sub(micros(KEPT_MAX)));
        if !old.is_empty() {
            tracing::debug!(worker = %self.worker.id(), jobs = old.len(), "jobs go back that were not started");
            self.worker.ends.give_back(&old, "not started within 1 s");
        }
    }
}

/// How fast the slots take jobs, and so how many are claimed ahead.
#[derive(Debug, Default)]
struct Pace {
    /// Jobs to claim ahead; 0 while they take longer than a block is to last.
    block: usize,
    claimed_us: u64,
    popped: u64,
}

impl Pace {
    /// How many jobs to claim now.
    fn want(&self, level: Level) -> usize {
        let target = self.block.max(level.idle);
        if level.len > self.low() && level.len >= level.idle {
            return 0;
        }
        target.saturating_sub(level.len).min(CLAIM_JOBS_MAX)
    }

    /// The level at which the next block is claimed, so that it is there when the last job is taken.
    fn low(&self) -> usize {
        self.block / 2
    }

    /// Measures anew after a claim. The block grows by the factor four at most, so that one lucky moment does not
    /// hoard.
    fn claimed(&mut self, now_us: u64, level: Level) {
        const ELAPSED_US_MIN: u64 = 100;
        let elapsed_us = now_us.saturating_sub(self.claimed_us).max(ELAPSED_US_MIN);
        let popped = level.popped - self.popped;
        let ahead = popped.saturating_mul(micros(BLOCK_TIME)) / elapsed_us;
        let most = (self.block.max(level.idle).max(1) * 4).min(CLAIM_JOBS_MAX);
        self.block = usize::try_from(ahead).unwrap_or(most).min(most);
        self.claimed_us = now_us;
        self.popped = level.popped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_worker_claims_only_what_it_can_start() {
        let mut pace = Pace::default();
        for second in 1..10 {
            let level = Level { len: 0, idle: 1, popped: second };
            assert_eq!(pace.want(level), 1);
            pace.claimed(second * 1_000_000, level);
        }
        assert_eq!(pace.want(Level { len: 0, idle: 0, popped: 10 }), 0);
    }

    #[test]
    fn a_fast_worker_claims_ahead_for_20_ms_up_to_the_limit() {
        let mut pace = Pace::default();
        let mut popped = 0;
        for ms in 1..20 {
            popped += 10;
            pace.claimed(ms * 1_000, Level { len: 0, idle: 4, popped });
        }
        assert_eq!(pace.want(Level { len: 0, idle: 4, popped }), 200);
        assert_eq!(pace.want(Level { len: 100, idle: 0, popped }), 100);
        assert_eq!(pace.want(Level { len: 101, idle: 0, popped }), 0);
        for ms in 20..40 {
            popped += 1_000;
            pace.claimed(ms * 1_000, Level { len: 0, idle: 4, popped });
        }
        assert_eq!(pace.want(Level { len: 0, idle: 4, popped }), CLAIM_JOBS_MAX);
    }
}
