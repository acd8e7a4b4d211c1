//! The heartbeat: keeps the worker's lease, and brings what the store has to say.
//!
//! It is a task of its own and does nothing else, so that no slow handler, claim or write can hold it up. It beats
//! until the incarnation is over, also while that drains.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use taskwright_store::Signals;

use super::incarnation::Incarnation;
use super::phase::Phase;
use crate::cancel::StopCause;
use crate::env::{Env, micros};

/// How long before the end of a lease that cannot be renewed the handlers are asked to stop: 3 s.
const NOTICE: Duration = Duration::from_secs(3);
/// How long before the end of the lease they are dropped: 2 s. From its end on the jobs may run elsewhere.
const ABORT: Duration = Duration::from_secs(2);
/// The shortest time between two tries to renew.
const RETRY: Duration = Duration::from_millis(200);

/// Whoever wakes so much later than it wanted to is held up, as by a job that keeps all threads to itself: 1 s.
const HELD_UP: Duration = Duration::from_secs(1);

/// How one beat ended.
enum Beat {
    Renewed(Signals),
    /// The lease could not be renewed in time.
    TooLate,
    /// The store has given the worker up.
    Lost,
}

/// Beats until the worker is lost. Whoever owns the task ends it after a shutdown.
pub(crate) async fn run(worker: Arc<Incarnation>) {
    let env = &worker.host.env;
    let mut lapsed = false;
    loop {
        let pause = if lapsed { RETRY } else { env.spread(worker.config.heartbeat, 0.1) };
        let mut held_up = is_held_up(env, pause).await;
        match beat(&worker, lapsed, &mut held_up).await {
            Beat::Renewed(signals) => {
                if std::mem::take(&mut lapsed) {
                    worker.renewed.notify_one();
                }
                super::signals::deliver(&worker, signals);
                env.follow_if_quick(&*worker.store).await;
            }
            Beat::TooLate if held_up => {
                tracing::warn!(worker = %worker.host.worker, "something held up this process, and the lease was renewed too late; the jobs are let go");
                return worker.lose(lease_end(&worker, ABORT));
            }
            Beat::TooLate => {
                tracing::warn!(worker = %worker.host.worker, "the store does not renew the lease; the jobs are let go, their attempts unspent");
                worker.lapse(lease_end(&worker, ABORT));
                lapsed = true;
            }
            // Its own end has reached the store, and the answer not yet this process.
            Beat::Lost if worker.leaving.load(Ordering::SeqCst) => return,
            Beat::Lost => {
                tracing::warn!(worker = %worker.host.worker, "this worker was declared lost; its jobs run elsewhere");
                return worker.lose(env.monotonic_us());
            }
        }
    }
}

/// Sleeps; whether it took much longer than it should.
async fn is_held_up(env: &Env, pause: Duration) -> bool {
    let until_us = env.monotonic_us() + micros(pause);
    env.sleep(pause).await;
    env.monotonic_us().saturating_sub(until_us) > micros(HELD_UP)
}

/// Renews the lease; tries again as long as there is time. Once it has lapsed, that is for as long as it takes: nobody may have
/// taken the jobs, and what became of them is to be written.
async fn beat(worker: &Incarnation, lapsed: bool, held_up: &mut bool) -> Beat {
    let env = &worker.host.env;
    let mut fails = lapsed;
    loop {
        let asked_us = env.monotonic_us();
        let left_us = match lapsed {
            true => micros(worker.config.lease),
            false => lease_end(worker, NOTICE).saturating_sub(asked_us),
        };
        if left_us == 0 {
            return Beat::TooLate;
        }
        let renew = worker.store.renew(env.now(), asked_us, worker.host.worker);
        match env.timeout(Duration::from_micros(left_us), renew).await {
            None if lapsed => {}
            None => return Beat::TooLate,
            Some(Ok(signals)) => {
                let until_us = asked_us + micros(worker.config.lease);
                worker.host.lease_until_us.store(until_us, Ordering::Relaxed);
                return Beat::Renewed(signals);
            }
            Some(Err(error)) if error.is_lost() => return Beat::Lost,
            Some(Err(error)) => {
                if !std::mem::replace(&mut fails, true) {
                    tracing::warn!(worker = %worker.host.worker, %error, "the lease was not renewed; it is tried again");
                }
                *held_up |= is_held_up(env, RETRY.min(Duration::from_micros(left_us))).await;
            }
        }
    }
}

/// This long before the end of the lease, in monotonic microseconds.
fn lease_end(worker: &Incarnation, before: Duration) -> u64 {
    worker.host.lease_until_us.load(Ordering::Relaxed).saturating_sub(micros(before))
}

impl Incarnation {
    /// Gives everything back, as far as that can be written once the store is back: what waits at once, what runs when it has
    /// been told, and dropped at `abort_at_us`.
    fn lapse(&self, abort_at_us: u64) {
        self.phase.raise(Phase::Lapsed);
        self.ends.give_back(&self.buffer.close(), "the lease could not be renewed");
        self.stop_running(&StopCause::Lost, abort_at_us);
    }

    /// Gives everything up: what waits is forgotten, what runs is told and dropped at `abort_at_us`.
    pub(crate) fn lose(&self, abort_at_us: u64) {
        self.phase.raise(Phase::Lost);
        drop(self.buffer.close());
        self.stop_running(&StopCause::Lost, abort_at_us);
    }
}
