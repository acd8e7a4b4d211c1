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
use crate::env::micros;

/// How long before the end of a lease that cannot be renewed the handlers are asked to stop: 3 s.
const NOTICE: Duration = Duration::from_secs(3);
/// How long before the end of the lease they are dropped: 2 s. From its end on the jobs may run elsewhere.
const ABORT: Duration = Duration::from_secs(2);
/// The shortest time between two tries to renew.
const RETRY: Duration = Duration::from_millis(200);

/// How one beat ended.
enum Beat {
    Renewed(Signals),
    /// The store did not renew the lease, however often it was asked.
    Refused,
    /// The store was asked too late. Something holds up this process, which may well be one of the jobs.
    TooLate,
    /// The store has given the worker up.
    Lost,
}

/// Beats until the worker is lost. Whoever owns the task ends it after a shutdown.
pub(crate) async fn run(worker: Arc<Incarnation>) {
    let env = &worker.host.env;
    loop {
        env.sleep(env.spread(worker.config.heartbeat, 0.1)).await;
        match beat(&worker).await {
            Beat::Renewed(signals) => {
                super::signals::deliver(&worker, signals);
                env.follow_if_quick(&*worker.store).await;
            }
            Beat::Refused => {
                tracing::warn!(worker = %worker.host.worker, "the store does not renew the lease; the jobs are let go, their attempts unspent");
                return worker.lapse(lease_end(&worker, ABORT));
            }
            Beat::TooLate => {
                tracing::warn!(worker = %worker.host.worker, "the lease was renewed too late; the jobs are let go");
                return worker.lose(lease_end(&worker, ABORT));
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

/// Renews the lease; tries again as long as there is time.
async fn beat(worker: &Incarnation) -> Beat {
    let env = &worker.host.env;
    let mut fails = false;
    let first_us = env.monotonic_us();
    // Whoever blames the store has asked it for a while.
    let too_late = || match env.monotonic_us() - first_us >= micros(worker.config.heartbeat) {
        true => Beat::Refused,
        false => Beat::TooLate,
    };
    loop {
        let asked_us = env.monotonic_us();
        let left_us = lease_end(worker, NOTICE).saturating_sub(asked_us);
        if left_us == 0 {
            return too_late();
        }
        let renew = worker.store.renew(env.now(), asked_us, worker.host.worker);
        match env.timeout(Duration::from_micros(left_us), renew).await {
            None => return too_late(),
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
                env.sleep(RETRY.min(Duration::from_micros(left_us))).await;
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
