//! The fetcher: claims jobs in blocks, ahead of the slots.
//!
//! One claim costs the store about the same for one job and for a thousand, so a fast worker claims many at once; but
//! what lies here is kept from everybody else, so a slow one claims no more than it can start. The block is therefore
//! as large as [`BLOCK_TIME`] of work at the rate of just now, and what was not started within [`KEPT_MAX`] goes back.
//!
//! When jobs weigh something, the [`Gate`] says before each claim what there is room for.
//!
//! The fetcher looks again when the store hints that there is something new, when the buffer runs low after a claim
//! that was answered in full, and every [poll](super::Config::poll) in any case: hints may be missed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use taskwright_core::State;
use taskwright_core::admission::{Ask, Claim, Purpose};
use taskwright_core::attempt::may_be_last_chance;
use taskwright_core::limit::{CLAIM_JOBS_MAX, PAGE_ROWS_MAX};
use taskwright_store::{ClaimedJob, Error, Filter, JobKey, Page};
use tokio::sync::watch;

use super::buffer::{Level, RESERVED_FOR};
use super::incarnation::Incarnation;
use super::phase::Phase;
use super::room::Gate;
use super::source::Wish;
use crate::env::micros;

/// How much work is claimed ahead: 20 ms.
const BLOCK_TIME: Duration = Duration::from_millis(20);
/// The most jobs that are claimed ahead, by several claims: 20 ms of 200,000 jobs a second.
const BLOCK_JOBS_MAX: usize = 4 * CLAIM_JOBS_MAX;
/// How long a claimed job may wait to be started: 1 s.
const KEPT_MAX: Duration = Duration::from_secs(1);
/// How long the fetcher waits after a claim that failed.
const RETRY: Duration = Duration::from_millis(100);

/// How often, and how long apart, the store is asked whether the answer to a failed claim was lost with jobs in it.
const LOST_CLAIM_LOOKS: u32 = 3;
const LOST_CLAIM_PAUSE: Duration = Duration::from_millis(30);

/// Why the fetcher ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The worker stops.
    Stopped,
    /// Nothing is left to do, and it was asked to end then.
    Empty,
    /// The store gave jobs that never arrived; everything else is done. Whoever registers anew gets them back.
    Retired,
}

pub(crate) async fn run(worker: Arc<Incarnation>) -> Ended {
    let hints = worker.store.hints();
    let pace = Pace::default();
    let gate = Gate::new(&worker.host.registry, worker.config.budget, &worker.room);
    let mut fetcher = Fetcher {
        worker,
        hints,
        hints_open: true,
        pace,
        gate,
        dry: false,
        dry_of_urgent: false,
        retiring: false,
        doubts: false,
    };
    fetcher.run().await
}

struct Fetcher {
    worker: Arc<Incarnation>,
    hints: watch::Receiver<u64>,
    hints_open: bool,
    pace: Pace,
    /// Asked before each claim, when jobs weigh something here.
    gate: Option<Gate>,
    /// The newest claim was not answered in full: nothing more is there until something happens.
    dry: bool,
    /// The same of the newest claim for reserved slots.
    dry_of_urgent: bool,
    /// Some claim's answer was lost, with jobs in it.
    retiring: bool,
    /// A claim has failed, and no answer to a later one has told yet whether jobs were lost with it.
    doubts: bool,
}

impl Fetcher {
    async fn run(&mut self) -> Ended {
        while !self.worker.phase.is_at_least(Phase::Recycling) {
            // Interest is registered before the look: in hints here, in the level of the buffer by arming it.
            if self.hints.has_changed().unwrap_or(false) {
                self.hints.borrow_and_update();
                self.look_again();
            }
            if self.worker.hand.take_doubts() {
                self.doubts = true;
                self.look_again();
            }
            self.give_back_old();
            if self.retiring && self.worker.open.load(Ordering::SeqCst) == 0 {
                return Ended::Retired;
            }
            let claims = !self.dry && !self.retiring && !self.worker.phase.is_at_least(Phase::Quiet);
            self.worker.buffer.arm(claims.then(|| self.pace.low()));
            let level = self.worker.buffer.level();
            self.pace.measure(self.worker.host.env.monotonic_us(), level);
            let want = self.pace.want(level);
            if claims && want == 0 && level.idle == 0 && level.reserved > 0 && !self.dry_of_urgent {
                self.claim_urgent(level.reserved).await;
            } else if !claims || want == 0 {
                self.worker.hand.set_open(self.takes_what_is_stored());
                self.wait().await;
                self.worker.hand.set_open(false);
            } else if self.claim(want).await {
                return Ended::Empty;
            }
        }
        Ended::Stopped
    }

    /// Something has happened: there may be more.
    fn look_again(&mut self) {
        (self.dry, self.dry_of_urgent) = (false, false);
    }

    /// Claims for slots that are kept for urgent jobs. What weighs something waits for its room like all that does.
    async fn claim_urgent(&mut self, want: usize) {
        let kinds = self.gate.as_ref().map(Gate::weightless);
        let wish = Wish { capacity: want, kinds, priority_max: Some(RESERVED_FOR) };
        self.claim_this(None, wish, true).await;
    }

    /// Whether a job may be handed over: nothing more is in the store, and nobody says otherwise.
    fn takes_what_is_stored(&self) -> bool {
        self.dry
            && !self.retiring
            && !self.doubts
            && self.gate.is_none()
            && !self.worker.phase.is_at_least(Phase::Quiet)
    }

    /// Claims; `true` when there was nothing and nothing is under way, and the worker is to end then.
    async fn claim(&mut self, want: usize) -> bool {
        let Some(gate) = &mut self.gate else { return self.claim_this(None, Wish::any(want), false).await };
        let (env, buffer) = (&self.worker.host.env, &self.worker.buffer);
        match gate.ask(env.monotonic_us(), buffer.keeps(), want, env.dice()) {
            // Until something ends, or comes.
            Ask::Nothing => self.dry = true,
            Ask::StartKept => buffer.start_kept(|job| gate.permit(job)),
            Ask::Claim(claim) => {
                let wish = gate.wish(&claim);
                return self.claim_this(Some(claim), wish, false).await;
            }
        }
        false
    }

    async fn claim_this(&mut self, claim: Option<Claim>, wish: Wish, urgent: bool) -> bool {
        let want = wish.capacity;
        let worker = Arc::clone(&self.worker);
        let env = &worker.host.env;
        let idle = worker.open.load(Ordering::SeqCst) == 0;
        let claimed = tokio::select! {
            biased;
            // Whatever this claim yields goes back, or to others, with everything else that the worker held.
            () = worker.phase.reached(Phase::Lapsed) => return false,
            claimed = worker.source.next(env.now(), wish) => claimed,
        };
        let mut jobs = match claimed {
            Ok(claimed) => claimed.jobs,
            Err(error) if error.is_lost() => {
                worker.lose(env.monotonic_us());
                return false;
            }
            Err(error) => {
                if !std::mem::replace(&mut self.doubts, true) {
                    tracing::warn!(worker = %worker.id(), %error, "a claim failed; it is tried again until one succeeds");
                }
                self.pause(RETRY).await;
                return false;
            }
        };
        let now_us = env.monotonic_us();
        let mut is_for_all = !urgent;
        let dry = if urgent { &mut self.dry_of_urgent } else { &mut self.dry };
        *dry = jobs.len() < want;
        if let (Some(gate), Some(claim)) = (&mut self.gate, &claim) {
            self.dry = !gate.answered(now_us, claim, &jobs, env.dice());
            is_for_all = gate.is_for_all(claim);
        }
        if jobs.is_empty() {
            self.settle_doubts().await;
            return idle && is_for_all && worker.config.until_empty && !self.retiring;
        }
        worker.open.fetch_add(jobs.len(), Ordering::SeqCst);
        let doubtful = worker.ends.take_doubtful(&mut jobs);
        worker.ends.give_back(&doubtful, "an earlier end of it is still being written");
        self.pace.begin(now_us, worker.buffer.level());
        let last_chances = self.last_chances(&jobs).await;
        match claim {
            Some(Claim { purpose: Purpose::Look, .. }) => self.keep(jobs, now_us, &last_chances),
            _ => self.push(jobs, now_us, &last_chances),
        }
        self.settle_doubts().await;
        false
    }

    /// Those that one more lost worker quarantines. A store that does not say makes that all which may be: they run one at a time.
    async fn last_chances(&self, jobs: &[ClaimedJob]) -> Vec<JobKey> {
        let may_be = jobs.iter().filter(|job| may_be_last_chance(job.attempt));
        let attempts: Vec<(JobKey, u32)> = may_be.map(|job| (job.key, job.attempt)).collect();
        if attempts.is_empty() {
            return Vec::new();
        }
        self.worker.store.last_chances(attempts.clone()).await.unwrap_or_else(|error| {
            tracing::debug!(worker = %self.worker.id(), %error, "the store does not say which jobs were lost twice");
            attempts.iter().map(|(key, _)| *key).collect()
        })
    }

    fn push(&self, jobs: Vec<ClaimedJob>, now_us: u64, last_chances: &[JobKey]) {
        let permit = |job: &ClaimedJob| self.gate.as_ref().and_then(|gate| gate.permit(job));
        if let Err(jobs) = self.worker.buffer.push(jobs, now_us, last_chances, permit) {
            self.worker.ends.give_back(&jobs, "the worker stops");
        }
    }

    /// Keeps a job apart that has no room yet.
    fn keep(&self, jobs: Vec<ClaimedJob>, now_us: u64, last_chances: &[JobKey]) {
        for job in jobs {
            let is_last_chance = last_chances.contains(&job.key);
            if let Some(job) = self.worker.buffer.keep(job, now_us, is_last_chance) {
                self.worker.ends.give_back(&[job], "the worker stops");
            }
        }
    }

    /// After claims that failed, and one that was answered: a store may have answered that one with what the others
    /// took, or have taken that back. Otherwise this worker cannot go on.
    async fn settle_doubts(&mut self) {
        if !self.doubts {
            return;
        }
        match self.has_lost_a_claim().await {
            Ok(has_lost) => {
                (self.doubts, self.retiring) = (false, self.retiring || has_lost);
                tracing::info!(worker = %self.worker.id(), "claims succeed again");
            }
            // The next claim fails as well, or is followed by another look.
            Err(error) => tracing::debug!(worker = %self.worker.id(), %error, "the store does not answer"),
        }
    }

    /// Finds out whether the store gave jobs in a claim whose answer was lost: it counts more running jobs than are
    /// here. Nobody would ever end those, for the worker is alive and does not know of them.
    ///
    /// An end that is written and not yet counted here can hide a job, but not for long.
    async fn has_lost_a_claim(&self) -> Result<bool, Error> {
        for _ in 0..LOST_CLAIM_LOOKS {
            let here = self.worker.open.load(Ordering::SeqCst);
            let running = self.count_running().await?;
            if running > here {
                let lost = running - here;
                tracing::warn!(worker = %self.worker.id(), lost, "the answer to a claim was lost; registering anew");
                return Ok(true);
            }
            self.pause(LOST_CLAIM_PAUSE).await;
        }
        Ok(false)
    }

    /// How many jobs the store counts as running here.
    async fn count_running(&self) -> Result<usize, Error> {
        let mine =
            Filter { workers: vec![self.worker.id()], states: vec![State::Running], ..Filter::default() };
        let mut page = Page { after: None, limit: PAGE_ROWS_MAX, oldest_first: true };
        let mut count = 0;
        loop {
            let paged = self.worker.store.list(mine.clone(), page).await?;
            count += paged.jobs.len();
            match paged.next {
                Some(next) => page.after = Some(next),
                None => return Ok(count),
            }
        }
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
            () = worker.phase.reached(Phase::Recycling) => {}
            changed = self.hints.changed(), if self.hints_open => {
                self.hints_open = changed.is_ok();
                self.look_again();
            }
            () = worker.buffer.low.notified() => {}
            () = worker.room.freed.notified() => self.dry = false,
            () = worker.all_settled.notified(), if worker.config.until_empty || self.retiring => self.dry = false,
            () = wake => if polls {
                self.look_again();
            },
        }
    }

    async fn pause(&self, pause: Duration) {
        tokio::select! {
            biased;
            () = self.worker.phase.reached(Phase::Recycling) => {}
            () = self.worker.host.env.sleep(pause) => {}
        }
    }

    fn give_back_old(&self) {
        let now_us = self.worker.host.env.monotonic_us();
        // The clock may have begun less than that ago.
        let Some(old_us) = now_us.checked_sub(micros(KEPT_MAX)) else { return };
        if let Some(kept) = self.worker.buffer.take_kept(old_us) {
            self.worker.ends.give_back(&[kept], "no room for it beside what runs within 1 s");
        }
        let old = self.worker.buffer.take_older(old_us);
        if !old.is_empty() {
            tracing::debug!(worker = %self.worker.id(), jobs = old.len(), "jobs go back that were not started");
            self.worker.ends.give_back(&old, "not started within 1 s");
        }
    }
}

/// The shortest time that says something about the rate: 1 ms.
const MEASURED_US_MIN: u64 = 1_000;

/// How fast the slots take jobs, and so how many are claimed ahead.
#[derive(Debug, Default)]
struct Pace {
    /// Jobs to claim ahead; 0 while they take longer than a block is to last.
    block: usize,
    /// Since when (monotonic microseconds) jobs are counted, and how many had been taken before.
    since_us: u64,
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

    /// Measures anew. The block grows by the factor four at most, so that one lucky moment does not hoard; and a time
    /// shorter than a block is to last only lets it grow, because most of that time may have gone into a flush.
    fn measure(&mut self, now_us: u64, level: Level) {
        let elapsed_us = now_us.saturating_sub(self.since_us);
        if elapsed_us < MEASURED_US_MIN {
            return;
        }
        let ahead = (level.popped - self.popped).saturating_mul(micros(BLOCK_TIME)) / elapsed_us;
        let most = (self.block.max(level.idle).max(1) * 4).min(BLOCK_JOBS_MAX);
        let ahead = usize::try_from(ahead).unwrap_or(most).min(most);
        self.block = if elapsed_us < micros(BLOCK_TIME) { self.block.max(ahead) } else { ahead };
    }

    /// Measures once more and counts from now on, after a claim. A time that is too short to measure, such as that in
    /// which several slots end together, counts with the next.
    fn begin(&mut self, now_us: u64, level: Level) {
        if now_us.saturating_sub(self.since_us) >= MEASURED_US_MIN {
            // Claims that follow each other quickly may never meet a time that is long enough before they begin.
            self.measure(now_us, level);
            self.since_us = now_us;
            self.popped = level.popped;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_worker_claims_only_what_it_can_start() {
        let mut pace = Pace::default();
        for second in 1..10 {
            let level = Level { len: 0, idle: 1, reserved: 0, popped: second };
            pace.measure(second * 1_000_000, level);
            assert_eq!(pace.want(level), 1);
            pace.begin(second * 1_000_000, level);
        }
        assert_eq!(pace.want(Level { len: 0, idle: 0, reserved: 0, popped: 10 }), 0);
    }

    #[test]
    fn a_fast_worker_claims_ahead_for_20_ms_up_to_the_limit() {
        let mut pace = Pace::default();
        let mut popped = 0;
        for ms in 1..20 {
            popped += 10;
            pace.measure(ms * 1_000, Level { len: 0, idle: 4, reserved: 0, popped });
            pace.begin(ms * 1_000, Level { len: 0, idle: 4, reserved: 0, popped });
        }
        assert_eq!(pace.want(Level { len: 0, idle: 4, reserved: 0, popped }), 200);
        assert_eq!(pace.want(Level { len: 100, idle: 0, reserved: 0, popped }), 100);
        assert_eq!(pace.want(Level { len: 101, idle: 0, reserved: 0, popped }), 0);
        for ms in 20..40 {
            popped += 1_000;
            pace.measure(ms * 1_000, Level { len: 0, idle: 4, reserved: 0, popped });
            pace.begin(ms * 1_000, Level { len: 0, idle: 4, reserved: 0, popped });
        }
        assert_eq!(pace.want(Level { len: 0, idle: 4, reserved: 0, popped }), CLAIM_JOBS_MAX);
    }

    #[test]
    fn claims_that_follow_each_other_quickly_are_measured_too() {
        let mut pace = Pace { block: 0, since_us: 1, popped: 0 };
        let mut popped = 0;
        for round in 1..40 {
            popped += 16;
            let level = Level { len: 0, idle: 16, reserved: 0, popped };
            pace.measure(round * 1_400 - 500, level);
            pace.begin(round * 1_400, level);
        }
        assert!(pace.block >= 200, "{}", pace.block);
    }

    #[test]
    fn a_flush_that_takes_most_of_a_short_time_does_not_slow_a_fast_worker_down() {
        let mut pace = Pace { block: 800, since_us: 0, popped: 0 };
        pace.measure(5_000, Level { len: 0, idle: 4, reserved: 0, popped: 10 });
        assert_eq!(pace.want(Level { len: 0, idle: 4, reserved: 0, popped: 10 }), 800);
    }

    #[test]
    fn a_fast_worker_whose_slots_are_all_held_up_claims_nothing_more() {
        let mut pace = Pace { block: 200, since_us: 0, popped: 0 };
        let level = Level { len: 0, idle: 0, reserved: 0, popped: 4 };
        pace.measure(1_000_000, level);
        assert_eq!(pace.want(level), 0);
    }
}
