//! Jobs that whoever stores them hands to a worker with nothing to do.
//!
//! The fetcher opens the hand while it waits and nothing more is in the store, and closes it when it looks again. One job
//! at a time is handed over: who stores more at once is better off with a claim of many.

use std::sync::atomic::{AtomicBool, Ordering};

use taskwright_core::attempt::may_be_last_chance;
use taskwright_core::{NewJob, Timestamp};
use taskwright_store::{Claim, ClaimedJob, JobKey, Taker};
use tokio::sync::Notify;

use super::buffer::RESERVED_FOR;
use super::incarnation::Incarnation;
use super::phase::Phase;

/// Whether a job may be handed to a worker.
#[derive(Default)]
pub(crate) struct Hand {
    open: AtomicBool,
    /// Somebody stores a job for the worker at this moment.
    offered: AtomicBool,
    /// Nobody knows what came of an offer: the store may have given the worker a job.
    doubts: AtomicBool,
    empty: Notify,
}

impl Hand {
    pub(super) fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::SeqCst);
    }

    /// Whether the store may have given a job of which the worker does not know, since this was asked last.
    pub(super) fn take_doubts(&self) -> bool {
        self.doubts.load(Ordering::Relaxed) && self.doubts.swap(false, Ordering::SeqCst)
    }

    /// Takes no more, and waits for what is just being handed over.
    pub(super) async fn close(&self) {
        self.set_open(false);
        while self.offered.load(Ordering::SeqCst) {
            self.empty.notified().await;
        }
    }

    fn withdraw(&self) {
        self.offered.store(false, Ordering::SeqCst);
        self.empty.notify_one();
    }
}

impl Taker for Incarnation {
    fn offer(&self, now: Timestamp, job: &NewJob) -> Option<Claim> {
        let hand = &self.hand;
        let level = self.buffer.level();
        let is_idle = hand.open.load(Ordering::SeqCst)
            && !self.phase.is_at_least(Phase::Quiet)
            && level.len == 0
            && (level.idle > 0 || (level.reserved > 0 && job.priority <= RESERVED_FOR));
        if !is_idle || !self.serves.includes(job) || hand.offered.swap(true, Ordering::SeqCst) {
            return None;
        }
        // It is not over while something may come.
        self.open.fetch_add(1, Ordering::SeqCst);
        if !hand.open.load(Ordering::SeqCst) {
            self.settled(1);
            hand.withdraw();
            return None;
        }
        Some(Claim {
            now,
            worker: self.id(),
            limit: 1,
            kinds: vec![job.kind.clone()],
            queues: Some(vec![job.queue.clone()]),
            namespace: Some(job.namespace.clone()),
            priority_max: self.serves.priority_max,
        })
    }

    fn take(&self, given: Option<Vec<ClaimedJob>>) {
        match given {
            Some(mut jobs) if !jobs.is_empty() => {
                self.open.fetch_add(jobs.len(), Ordering::SeqCst);
                let doubtful = self.ends.take_doubtful(&mut jobs);
                self.ends.give_back(&doubtful, "an earlier end of it is still being written");
                // Nobody can wait for the store here, and what comes this way is nearly always new.
                let last_chances: Vec<JobKey> =
                    jobs.iter().filter(|job| may_be_last_chance(job.attempt)).map(|job| job.key).collect();
                let now_us = self.host.env.monotonic_us();
                if let Err(jobs) = self.buffer.push(jobs, now_us, &last_chances, |_| None) {
                    self.ends.give_back(&jobs, "the worker stops");
                }
            }
            Some(_) => {}
            None => {
                self.hand.doubts.store(true, Ordering::SeqCst);
                self.buffer.low.notify_one();
            }
        }
        self.settled(1);
        self.hand.withdraw();
    }
}
