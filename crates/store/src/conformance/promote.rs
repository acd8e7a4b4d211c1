//! Promotion: what is due becomes available, and what was held too long is dropped.

use std::time::Duration;

use taskwright_core::{Actor, Cause, NewJob, State};

use super::Harness;
use super::fixture::*;
use crate::{Change, Promoted};

/// How long a hold lasts: 1 h.
const HOLD_S: u64 = 3_600;

fn due(n: u32, seconds: u64) -> NewJob {
    NewJob { run_at: Some(at(seconds)), ..job(n) }
}

pub async fn nothing_is_due_in_an_empty_store(harness: &impl Harness) {
    let process = Process::start(harness).await;
    assert_eq!(process.promote(0).await, Promoted::default());
    process.enqueue(0, [job(1)]).await;
    assert_eq!(process.promote(1).await, Promoted::default());
}

pub async fn a_job_is_promoted_at_its_time_and_not_before(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, [due(1, 10)]).await;
    let early = Promoted { promoted: 0, expired: 0, next_due: Some(at(10)) };
    assert_eq!(process.promote(9).await, early);
    assert_eq!(process.state(1).await, State::Scheduled);
    assert_eq!(process.promote(10).await, Promoted { promoted: 1, expired: 0, next_due: None });
    assert_eq!(process.state(1).await, State::Available);
    assert_eq!(process.promote(11).await, Promoted::default(), "a duty that runs twice does nothing twice");
}

pub async fn the_earliest_due_goes_first_when_the_limit_cuts(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, [due(1, 30), due(2, 10), due(3, 20), due(4, 40)]).await;
    let cut = process.store().promote(at(35), 2).await.expect("promoted");
    assert_eq!(cut, Promoted { promoted: 2, expired: 0, next_due: Some(at(30)) });
    assert_eq!((process.state(1).await, process.state(2).await), (State::Scheduled, State::Available));
    let rest = process.store().promote(at(35), 2).await.expect("promoted");
    assert_eq!(rest, Promoted { promoted: 1, expired: 0, next_due: Some(at(40)) });
}

pub async fn a_retryable_job_is_promoted_after_its_back_off(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let held = worker.take(1).await;
    worker.end(2, &held, failed("boom")).await;
    assert_eq!(process.promote(11).await.next_due, Some(at(12)));
    assert_eq!(process.promote(12).await.promoted, 1);
    let view = process.view(1).await;
    assert_eq!((view.state, view.attempt, view.run_at), (State::Available, 1, at(12)));
}

pub async fn a_hold_expires_after_an_hour(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(5, [NewJob { held: true, ..due(1, 99_999) }]).await;
    let waiting = Promoted { promoted: 0, expired: 0, next_due: Some(at(5 + HOLD_S)) };
    assert_eq!(process.promote(4 + HOLD_S).await, waiting);
    assert_eq!(process.promote(5 + HOLD_S).await, Promoted { promoted: 0, expired: 1, next_due: None });
    let detail = process.detail(1).await;
    assert_eq!((detail.view.state, detail.view.ended_at), (State::Dropped, Some(at(5 + HOLD_S))));
    assert_eq!(detail.view.error.as_deref(), Some("hold expired: never released"));
    let last = detail.timeline.last().expect("it has moved");
    assert_eq!((last.cause, &last.actor), (Some(Cause::Drop), &Actor::system()));
    assert_eq!(last.reason.as_deref(), Some("hold expired: never released"));
}

pub async fn a_released_job_has_no_hold_that_could_expire(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, [NewJob { held: true, ..job(1) }]).await;
    process.change(1, 1, Change::Release).await;
    assert_eq!(process.promote(2 * HOLD_S).await, Promoted::default());
    assert_eq!(process.state(1).await, State::Available);
}

pub async fn a_delayed_job_is_due_at_its_new_time(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, [due(1, 10)]).await;
    process.change(1, 1, Change::Delay { until: at(50) }).await;
    assert_eq!(process.promote(49).await, Promoted { promoted: 0, expired: 0, next_due: Some(at(50)) });
    process.change(49, 1, Change::Delay { until: at(50).plus(Duration::from_micros(1)) }).await;
    assert_eq!(process.promote(50).await.promoted, 0);
    assert_eq!(process.promote(51).await.promoted, 1);
}
