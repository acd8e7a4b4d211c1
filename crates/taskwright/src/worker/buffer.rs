//! Jobs that are claimed and not yet started, and the slots that wait for one.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use taskwright_core::Priority;
use taskwright_store::{ClaimedJob, JobKey};
use tokio::sync::Notify;

use super::room::Permit;
use crate::attempt::lock;

/// The local buffer, ordered most urgent first. The fetcher fills it and the slots empty it.
#[derive(Default)]
pub(crate) struct Buffer {
    state: Mutex<State>,
    /// Told when the buffer runs low while the fetcher wants to know ([`Buffer::arm`]).
    pub(crate) low: Notify,
}

#[derive(Default)]
struct State {
    /// Slots with a number below this take only urgent jobs.
    reserve: usize,
    jobs: VecDeque<Waiting>,
    /// A job that has no room yet; slots do not get it.
    kept: Option<Waiting>,
    /// Slots that have nothing to do, by number.
    idle: Vec<(usize, Waker)>,
    popped: u64,
    /// A job runs that has its last chance; another such job waits until the end of that one is written down.
    last_chance_runs: bool,
    /// Report once when no more than this many are left, or a slot has nothing to do.
    report_at: Option<usize>,
    closed: bool,
}

/// The worst priority that a reserved slot takes.
pub(crate) const RESERVED_FOR: Priority = Priority::REALTIME;

struct Waiting {
    /// The worst priority that the job can count with, see [`ranks`].
    rank: i16,
    /// When it came (monotonic microseconds).
    since_us: u64,
    job: ClaimedJob,
    /// Its part of the worker's budget.
    permit: Option<Permit>,
    /// One more lost worker quarantines it.
    is_last_chance: bool,
}

/// A job for a slot.
pub(crate) struct Taken {
    pub(crate) job: ClaimedJob,
    /// Its part of the worker's budget, until this is dropped.
    pub(crate) permit: Option<Permit>,
    /// One more lost worker quarantines it: [`Buffer::end_last_chance`] is to be called once its end is written down.
    pub(crate) is_last_chance: bool,
}

/// What the fetcher must know to decide.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Level {
    /// Jobs that wait.
    pub(crate) len: usize,
    /// Slots that wait for any job.
    pub(crate) idle: usize,
    /// Slots that wait for an urgent one.
    pub(crate) reserved: usize,
    /// Jobs taken by slots so far.
    pub(crate) popped: u64,
}

impl Buffer {
    /// A buffer for slots of which the first `reserve` take only urgent jobs.
    pub(crate) fn new(reserve: usize) -> Self {
        Self { state: Mutex::new(State { reserve, ..State::default() }), low: Notify::default() }
    }

    /// Puts a block of jobs, most urgent first, among those that wait, each with what `permit` gives for it. Gives them
    /// back when the buffer is closed. Of those with a last chance one runs at a time.
    pub(crate) fn push(
        &self,
        block: Vec<ClaimedJob>,
        now_us: u64,
        last_chances: &[JobKey],
        mut permit: impl FnMut(&ClaimedJob) -> Option<Permit>,
    ) -> Result<(), Vec<ClaimedJob>> {
        let state = lock(&self.state);
        if state.closed {
            return Err(block);
        }
        let ranks = ranks(&block);
        let block = block.into_iter().zip(ranks).map(|(job, rank)| {
            let permit = permit(&job);
            let is_last_chance = last_chances.contains(&job.key);
            Waiting { rank, since_us: now_us, job, permit, is_last_chance }
        });
        Self::add(state, block.collect());
        Ok(())
    }

    fn add(mut state: MutexGuard<'_, State>, block: VecDeque<Waiting>) {
        merge(&mut state.jobs, block);
        // One slot is enough: whoever takes a job and leaves some wakes the next.
        let slot = state.next_slot();
        drop(state);
        if let Some(waker) = slot {
            waker.wake();
        }
    }

    /// Keeps a job apart that has no room yet. Gives it back when the buffer is closed or keeps one already.
    pub(crate) fn keep(&self, job: ClaimedJob, now_us: u64, is_last_chance: bool) -> Option<ClaimedJob> {
        let mut state = lock(&self.state);
        if state.closed || state.kept.is_some() {
            return Some(job);
        }
        let rank = job.priority.0;
        state.kept = Some(Waiting { rank, since_us: now_us, job, permit: None, is_last_chance });
        None
    }

    pub(crate) fn keeps(&self) -> bool {
        lock(&self.state).kept.is_some()
    }

    /// Puts the job that was kept among those that wait, now that it has room.
    pub(crate) fn start_kept(&self, permit: impl FnOnce(&ClaimedJob) -> Option<Permit>) {
        let mut state = lock(&self.state);
        if let Some(mut kept) = state.kept.take() {
            kept.permit = permit(&kept.job);
            Self::add(state, VecDeque::from([kept]));
        }
    }

    /// Takes out the job that is kept, if it came at or before this moment.
    pub(crate) fn take_kept(&self, since_us: u64) -> Option<ClaimedJob> {
        lock(&self.state).kept.take_if(|kept| kept.since_us <= since_us).map(|kept| kept.job)
    }

    /// Takes the most urgent job; `None` when the buffer is closed and empty.
    pub(crate) async fn pop(&self, slot: usize) -> Option<Taken> {
        std::future::poll_fn(|cx| self.poll_pop(slot, cx)).await
    }

    fn poll_pop(&self, slot: usize, cx: &mut Context<'_>) -> Poll<Option<Taken>> {
        let mut state = lock(&self.state);
        let Some(waiting) = state.take(slot) else {
            if state.closed {
                return Poll::Ready(None);
            }
            state.idle.retain(|(known, _)| *known != slot);
            state.idle.push((slot, cx.waker().clone()));
            let report = state.report_at.take().is_some();
            drop(state);
            if report {
                self.low.notify_one();
            }
            return Poll::Pending;
        };
        state.popped += 1;
        let left = state.jobs.len();
        let next = state.next_slot();
        let report = state.report_at.take_if(|at| left <= *at).is_some();
        drop(state);
        if let Some(waker) = next {
            waker.wake();
        }
        if report {
            self.low.notify_one();
        }
        let Waiting { job, permit, is_last_chance, .. } = waiting;
        Poll::Ready(Some(Taken { job, permit, is_last_chance }))
    }

    /// The job that had its last chance has ended, and that is written down.
    pub(crate) fn end_last_chance(&self) {
        let mut state = lock(&self.state);
        state.last_chance_runs = false;
        let slot = state.next_slot();
        drop(state);
        if let Some(waker) = slot {
            waker.wake();
        }
    }

    /// Asks for one report on [`low`](Self::low) when no more than `at` jobs are left or a slot has nothing to do;
    /// `None` asks for none. Arm before looking at the [`level`](Self::level), or a change in between goes unseen.
    pub(crate) fn arm(&self, at: Option<usize>) {
        lock(&self.state).report_at = at;
    }

    pub(crate) fn level(&self) -> Level {
        let state = lock(&self.state);
        let reserved = state.idle.iter().filter(|(slot, _)| *slot < state.reserve).count();
        let idle = state.idle.len() - reserved;
        Level { len: state.jobs.len(), idle, reserved, popped: state.popped }
    }

    /// When the job came that waits for longest (monotonic microseconds).
    pub(crate) fn oldest_us(&self) -> Option<u64> {
        let state = lock(&self.state);
        state.jobs.iter().chain(&state.kept).map(|waiting| waiting.since_us).min()
    }

    /// Takes out every job that came at or before this moment.
    pub(crate) fn take_older(&self, since_us: u64) -> Vec<ClaimedJob> {
        self.take_if(|waiting| waiting.since_us <= since_us)
    }

    /// Takes out jobs that the caller names.
    pub(crate) fn take_matching(&self, named: impl Fn(&ClaimedJob) -> bool) -> Vec<ClaimedJob> {
        self.take_if(|waiting| named(&waiting.job))
    }

    fn take_if(&self, out: impl Fn(&Waiting) -> bool) -> Vec<ClaimedJob> {
        let mut state = lock(&self.state);
        if !state.jobs.iter().chain(&state.kept).any(&out) {
            return Vec::new();
        }
        let apart = state.kept.take_if(|kept| out(kept));
        let (taken, left): (VecDeque<_>, VecDeque<_>) = state.jobs.drain(..).partition(out);
        state.jobs = left;
        taken.into_iter().chain(apart).map(|waiting| waiting.job).collect()
    }

    /// Closes the buffer: gives what waits, wakes every slot, and takes nothing more.
    pub(crate) fn close(&self) -> Vec<ClaimedJob> {
        let mut state = lock(&self.state);
        state.closed = true;
        let jobs = std::mem::take(&mut state.jobs);
        let kept = state.kept.take();
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        for (_, waker) in idle {
            waker.wake();
        }
        jobs.into_iter().chain(kept).map(|waiting| waiting.job).collect()
    }
}

impl State {
    /// Takes the most urgent job that a slot may run.
    fn take(&mut self, slot: usize) -> Option<Waiting> {
        let taken = if slot >= self.reserve && !self.last_chance_runs {
            self.jobs.pop_front()?
        } else {
            let only_urgent = slot < self.reserve;
            let next = self.jobs.iter().position(|job| self.may_start(job, only_urgent))?;
            self.jobs.remove(next)?
        };
        self.last_chance_runs |= taken.is_last_chance;
        Some(taken)
    }

    fn may_start(&self, job: &Waiting, only_urgent: bool) -> bool {
        !(only_urgent && job.priority_is_common() || self.last_chance_runs && job.is_last_chance)
    }

    fn has_for_a_slot(&self, only_urgent: bool) -> bool {
        self.jobs.iter().any(|job| self.may_start(job, only_urgent))
    }

    /// A slot that has nothing to do and may run one of the jobs that wait; one that may run any before one that may not.
    fn next_slot(&mut self) -> Option<Waker> {
        if !self.has_for_a_slot(false) {
            return None;
        }
        let reserve = self.reserve;
        let idle = match self.idle.iter().rposition(|(slot, _)| *slot >= reserve) {
            Some(idle) => idle,
            None if reserve > 0 && self.has_for_a_slot(true) => self.idle.len().checked_sub(1)?,
            None => return None,
        };
        Some(self.idle.swap_remove(idle).1)
    }
}

impl Waiting {
    fn priority_is_common(&self) -> bool {
        self.job.priority > RESERVED_FOR
    }
}

/// The worst priority that each job of a block can count with.
///
/// The store orders a block by aged priority and does not say how much each has aged. But a job that stands before
/// another counts at least as much, so the best submitted priority from a job on to the end of its block bounds its
/// own. Two blocks merged by that bound keep the order of each, and ageing holds across blocks.
fn ranks(block: &[ClaimedJob]) -> Vec<i16> {
    let mut best = i16::MAX;
    let mut ranks: Vec<i16> = block
        .iter()
        .rev()
        .map(|job| {
            best = best.min(job.priority.0);
            best
        })
        .collect();
    ranks.reverse();
    ranks
}

/// Merges two lists that are sorted by rank; what waited before goes first among equals.
fn merge(jobs: &mut VecDeque<Waiting>, block: VecDeque<Waiting>) {
    let in_order = match (jobs.back(), block.front()) {
        (Some(last), Some(first)) => last.rank <= first.rank,
        _ => true,
    };
    if in_order {
        jobs.extend(block);
        return;
    }
    let mut merged = VecDeque::with_capacity(jobs.len() + block.len());
    for new in block {
        while jobs.front().is_some_and(|old| old.rank <= new.rank) {
            merged.extend(jobs.pop_front());
        }
        merged.push_back(new);
    }
    merged.append(jobs);
    *jobs = merged;
}

#[cfg(test)]
mod tests {
    use std::task::Context;

    use super::*;
    use taskwright_core::{Args, Delivery, JobId, Kind, MaxAttempts, Namespace, QueueName, Timestamp};

    fn job(key: i64, priority: i16) -> ClaimedJob {
        let now = Timestamp::from_micros(0);
        ClaimedJob {
            key: JobKey(key),
            id: JobId::from_parts(0, [0; 10]),
            attempt: 1,
            namespace: Namespace::default(),
            owner: None,
            kind: Kind::new("test").unwrap(),
            queue: QueueName::default(),
            priority: Priority(priority),
            args: Args::default(),
            created_at: now,
            claimed_at: now,
            max_attempts: MaxAttempts::default(),
            backoff: None,
            timeout: None,
            delivery: Delivery::default(),
        }
    }

    fn push(buffer: &Buffer, block: Vec<ClaimedJob>, now_us: u64) -> Result<(), Vec<ClaimedJob>> {
        buffer.push(block, now_us, &[], |_| None)
    }

    fn pop(buffer: &Buffer) -> Option<i64> {
        match buffer.poll_pop(0, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(taken) => taken.map(|taken| taken.job.key.0),
            Poll::Pending => None,
        }
    }

    fn drain(buffer: &Buffer) -> Vec<i64> {
        std::iter::from_fn(|| pop(buffer)).collect()
    }

    #[test]
    fn a_more_urgent_job_of_a_later_block_goes_first() {
        let buffer = Buffer::default();
        push(&buffer, vec![job(1, 2000), job(2, 2000), job(3, 3000)], 0).unwrap();
        push(&buffer, vec![job(4, 1000), job(5, 2000), job(6, 3000)], 0).unwrap();
        assert_eq!(drain(&buffer), [4, 1, 2, 5, 3, 6]);
    }

    #[test]
    fn an_aged_job_is_not_overtaken_by_what_it_had_overtaken_in_the_store() {
        let buffer = Buffer::default();
        // The store put the bulk job first, so it had aged beyond the realtime one.
        push(&buffer, vec![job(1, 3000), job(2, 1000)], 0).unwrap();
        push(&buffer, vec![job(3, 1000), job(4, 2000)], 0).unwrap();
        assert_eq!(drain(&buffer), [1, 2, 3, 4]);
    }

    #[test]
    fn what_has_waited_too_long_is_taken_out_and_the_rest_keeps_its_order() {
        let buffer = Buffer::default();
        push(&buffer, vec![job(1, 2000), job(2, 3000)], 10).unwrap();
        push(&buffer, vec![job(3, 1000)], 20).unwrap();
        assert_eq!(buffer.oldest_us(), Some(10));
        let keys: Vec<i64> = buffer.take_older(10).iter().map(|job| job.key.0).collect();
        assert_eq!(keys, [1, 2]);
        assert_eq!(drain(&buffer), [3]);
    }

    #[test]
    fn a_closed_buffer_gives_what_waits_and_takes_nothing_more() {
        let buffer = Buffer::default();
        push(&buffer, vec![job(1, 2000)], 0).unwrap();
        assert_eq!(buffer.close().len(), 1);
        assert_eq!(push(&buffer, vec![job(2, 2000)], 0).unwrap_err().len(), 1);
        assert!(matches!(buffer.poll_pop(0, &mut Context::from_waker(Waker::noop())), Poll::Ready(None)));
    }

    #[test]
    fn the_level_counts_a_slot_that_looks_twice_once() {
        let buffer = Buffer::default();
        assert_eq!((pop(&buffer), pop(&buffer)), (None, None));
        assert_eq!(buffer.level().idle, 1);
    }

    #[test]
    fn a_reserved_slot_takes_only_urgent_jobs_and_is_woken_for_nothing_else() {
        let buffer = Buffer::new(1);
        let take = |slot| match buffer.poll_pop(slot, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(taken) => taken.map(|taken| taken.job.key.0),
            Poll::Pending => None,
        };
        push(&buffer, vec![job(1, 2000), job(2, 3000)], 0).unwrap();
        assert_eq!((take(0), buffer.level().reserved, buffer.level().idle), (None, 1, 0));
        assert!(lock(&buffer.state).next_slot().is_none(), "what waits is not for that slot");
        push(&buffer, vec![job(3, 1000), job(4, 3000)], 0).unwrap();
        assert_eq!(buffer.level().reserved, 0, "the slot was woken");
        assert_eq!((take(0), take(0)), (Some(3), None));
        assert_eq!((take(1), take(1), take(1), take(1)), (Some(1), Some(2), Some(4), None));
        assert_eq!((buffer.level().reserved, buffer.level().idle), (1, 1));
    }

    #[test]
    fn of_jobs_with_a_last_chance_one_runs_at_a_time_and_others_pass_them() {
        let buffer = Buffer::default();
        let block = vec![job(1, 2000), job(2, 2000), job(3, 2000)];
        buffer.push(block, 0, &[JobKey(1), JobKey(2)], |_| None).unwrap();
        assert_eq!(drain(&buffer), [1, 3]);
        assert!(lock(&buffer.state).next_slot().is_none(), "nobody is woken for what must wait");
        buffer.end_last_chance();
        assert_eq!(buffer.level().idle, 0, "a slot was woken");
        assert_eq!(drain(&buffer), [2]);
        assert_eq!(buffer.keep(job(4, 2000), 0, true), None);
        buffer.start_kept(|_| None);
        assert_eq!(buffer.take_older(0).len(), 1, "what waits too long goes back as ever");
    }

    #[test]
    fn a_kept_job_is_given_to_no_slot_before_it_has_room_and_is_taken_out_like_any_other() {
        let buffer = Buffer::default();
        assert_eq!(buffer.keep(job(1, 2000), 10, false), None);
        assert_eq!(buffer.keep(job(2, 2000), 10, false).unwrap().key, JobKey(2), "one is enough");
        assert_eq!((pop(&buffer), buffer.oldest_us()), (None, Some(10)));
        assert_eq!(buffer.take_kept(9), None);
        assert_eq!(buffer.take_matching(|job| job.key == JobKey(1)).len(), 1);
        assert_eq!(buffer.keep(job(3, 2000), 20, false), None);
        push(&buffer, vec![job(4, 3000)], 20).unwrap();
        buffer.start_kept(|_| None);
        assert_eq!(drain(&buffer), [3, 4]);
        assert_eq!(buffer.keep(job(5, 2000), 30, false), None);
        assert_eq!(buffer.close().len(), 1);
    }
}
