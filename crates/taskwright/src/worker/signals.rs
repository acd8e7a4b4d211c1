//! What the store has to say to a worker: cancels of its running jobs, and orders.
//!
//! They come with every renewal of the lease, and sooner when the store hints that there is something new.

use std::sync::Arc;
use std::time::Duration;

use taskwright_store::{CancelRequest, Order, Signals};

use super::incarnation::Incarnation;
use super::phase::Phase;
use crate::cancel::StopCause;
use crate::env::micros;

/// The shortest time between two looks: 50 ms. Hints also come with every enqueue.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Looks after every hint, until the task is dropped.
pub(crate) async fn run(worker: Arc<Incarnation>) {
    let mut hints = worker.store.hints();
    // A closed channel is a store that is closing; the heartbeat will notice.
    while hints.changed().await.is_ok() {
        match worker.store.signals(worker.host.worker).await {
            Ok(signals) => deliver(&worker, signals),
            Err(error) => tracing::debug!(worker = %worker.host.worker, %error, "no look at the signals"),
        }
        worker.host.env.sleep(LOOK_EVERY).await;
    }
}

/// Passes signals on. They are repeated by the store until they have taken effect, so each is delivered once at most.
pub(crate) fn deliver(worker: &Incarnation, signals: Signals) {
    match signals.order {
        Some(Order::Quiet) => worker.phase.raise(Phase::Quiet),
        Some(Order::Stop) => worker.phase.raise(Phase::Stopping),
        None => {}
    }
    for request in signals.cancels {
        cancel(worker, request);
    }
}

fn cancel(worker: &Incarnation, request: CancelRequest) {
    let CancelRequest { key, attempt, actor, reason } = request;
    if let Some(running) = worker.find_running(key, attempt) {
        let grace = worker.options_of(&running.job).cancel_grace;
        let abort_at_us = worker.host.env.monotonic_us().saturating_add(micros(grace));
        running.stop(StopCause::Cancelled { actor, reason }, abort_at_us);
        return;
    }
    // Claimed and not started: the store turns the way back into the end that was asked for.
    let waiting = worker.buffer.take_matching(|job| job.key == key && job.attempt == attempt);
    worker.ends.give_back(&waiting, "cancelled before it was started");
}
