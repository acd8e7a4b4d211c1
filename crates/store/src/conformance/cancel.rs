//! Cancelling: waiting jobs at once, running ones by asking.

use std::time::Duration;

use taskwright_core::attempt::{AttemptEnd, Outcome};
use taskwright_core::{Cause, NewJob, State, Verdict};

use super::Harness;
use super::fixture::*;
use crate::{CancelRequest, Change, Changed, Signals};

pub async fn a_waiting_job_is_cancelled_at_once(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let failing = worker.take(1).await;
    worker.end(1, &failing, failed("boom")).await;
    let batch = [NewJob { held: true, ..job(2) }, NewJob { run_at: Some(at(99)), ..job(3) }, job(4)];
    process.enqueue(1, batch).await;
    for n in 1..=4 {
        assert!(process.state(n).await.is_waiting());
        assert_eq!(process.change(2, n, Change::Cancel).await, Changed::Done, "job {n}");
        let view = process.view(n).await;
        assert_eq!((view.state, view.ended_at), (State::Cancelled, Some(at(2))));
    }
    assert!(worker.claim_all(3).await.is_empty());
    assert_eq!(process.promote(10_000).await.next_due, None);
}

pub async fn a_cancelled_job_says_who_and_why(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, [job(1)]).await;
    let why = Some("wrong customer".to_owned());
    let changed = process.store().change(at(2), vec![id(1)], Change::Cancel, alice(), why.clone()).await;
    assert_eq!(changed.expect("answered"), [Changed::Done]);
    let detail = process.detail(1).await;
    assert_eq!(detail.view.error, why);
    let last = detail.timeline.last().expect("it has moved");
    assert_eq!((last.cause, last.to, last.at), (Some(Cause::Cancel), State::Cancelled, at(2)));
    assert_eq!((&last.actor, &last.reason), (&alice(), &why));
}

pub async fn a_cancel_without_a_reason_leaves_the_error_to_be_seen(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let failing = worker.take(1).await;
    worker.end(1, &failing, failed("boom")).await;
    process.change(2, 1, Change::Cancel).await;
    assert_eq!(process.view(1).await.error.as_deref(), Some("boom"));
}

pub async fn a_running_job_is_asked_to_stop(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    worker.take(1).await;
    assert_eq!(process.change(2, 1, Change::Cancel).await, Changed::Requested);
    let view = process.view(1).await;
    assert_eq!((view.state, view.cancel_requested, view.ended_at), (State::Running, true, None));
}

pub async fn only_the_first_request_counts(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=2)).await;
    worker.take(1).await;
    assert_eq!(process.change(2, 1, Change::Cancel).await, Changed::Requested);
    assert_eq!(process.change(3, 1, Change::Cancel).await, skipped("a cancel was requested already"));
    assert_eq!(process.change(3, 2, Change::Cancel).await, Changed::Done);
    assert_eq!(process.change(4, 2, Change::Cancel).await, skipped("it is cancelled"));
}

pub async fn a_job_that_is_over_cannot_be_cancelled(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=2)).await;
    let held = worker.claim_all(1).await;
    worker.end(2, &held[0], completed()).await;
    worker.end(2, &held[1], Outcome::Fail { error: "bad".to_owned() }).await;
    let before = process.detail(1).await;
    assert_eq!(process.change(3, 1, Change::Cancel).await, skipped("it is completed"));
    assert_eq!(process.change(3, 2, Change::Cancel).await, skipped("it is failed"));
    assert_eq!(process.change(3, 9, Change::Cancel).await, Changed::Unknown);
    assert_eq!(process.detail(1).await, before);
}

pub async fn each_id_of_a_call_is_answered_for_itself(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=2)).await;
    worker.take(1).await;
    let ids = vec![id(2), id(7), id(1), id(2)];
    let changed = process.store().change(at(2), ids, Change::Cancel, alice(), None).await;
    let expected = [Changed::Done, Changed::Unknown, Changed::Requested, skipped("it is cancelled")];
    assert_eq!(changed.expect("answered"), expected);
}

pub async fn a_worker_is_told_until_the_job_ends(harness: &impl Harness) {
    let (process, desk) = (Process::start(harness).await, Process::start(harness).await);
    let (worker, other) = (process.worker(1).await, process.worker(2).await);
    process.enqueue(0, jobs(1..=2)).await;
    let held = worker.claim_all(1).await;
    assert_eq!(worker.signals().await, Signals::default());
    let why = Some("too slow".to_owned());
    let asked = desk.store().change(at(2), vec![id(2)], Change::Cancel, alice(), why.clone()).await;
    assert_eq!(asked.expect("answered"), [Changed::Requested]);
    let request =
        CancelRequest { key: held[1].key, attempt: 1, actor: "alice".to_owned(), reason: why };
    let told = Signals { cancels: vec![request], order: None };
    assert_eq!(worker.signals().await, told);
    assert_eq!(worker.renew(3).await, told);
    assert_eq!(worker.renew(4).await, told);
    assert_eq!(other.signals().await, Signals::default());
    worker.end(5, &held[1], Outcome::Cancelled { reason: "stopped".to_owned() }).await;
    assert_eq!(worker.signals().await, Signals::default());
}

pub async fn after_a_request_nothing_starts_again(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=4)).await;
    let held = worker.claim_all(1).await;
    let ids = (1..=4).map(id).collect();
    process.store().change(at(2), ids, Change::Cancel, alice(), None).await.expect("answered");
    // The ends were decided before the request was seen.
    let ends = vec![
        ending(3, &held[0], failed("boom")),
        ending(3, &held[1], Outcome::Snooze { delay: Duration::from_secs(5) }),
        ending(3, &held[2], Outcome::GiveBack { reason: "stop".to_owned() }),
    ];
    assert_eq!(worker.finish(3, ends).await, [Verdict::Accepted; 3]);
    assert_eq!(worker.give_back(3, &held[3]).await, Verdict::Accepted);
    for n in 1..=4 {
        let detail = process.detail(n).await;
        assert_eq!((detail.view.state, detail.view.attempt), (State::Cancelled, 1), "job {n}");
        assert_eq!((detail.view.ended_at, detail.attempts.len()), (Some(at(3)), 1));
        assert!(detail.view.cancel_requested, "that somebody asked is told from then on");
    }
    assert_eq!(process.detail(1).await.attempts[0].end, AttemptEnd::Failed);
    assert_eq!(process.detail(2).await.attempts[0].end, AttemptEnd::Cancelled);
}

pub async fn work_that_was_done_counts_in_spite_of_a_request(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let held = worker.take(1).await;
    process.change(2, 1, Change::Cancel).await;
    worker.end(3, &held, Outcome::Completed { result: Some("7".to_owned()) }).await;
    let detail = process.detail(1).await;
    assert_eq!((detail.view.state, detail.result.as_deref()), (State::Completed, Some("7")));
}

pub async fn a_permanent_failure_stays_one_in_spite_of_a_request(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let held = worker.take(1).await;
    process.change(2, 1, Change::Cancel).await;
    worker.end(3, &held, Outcome::Fail { error: "bad".to_owned() }).await;
    assert_eq!(process.state(1).await, State::Failed);
}

pub async fn a_worker_that_stops_ends_what_was_to_be_cancelled(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=2)).await;
    worker.claim_all(1).await;
    process.change(2, 1, Change::Cancel).await;
    worker.unregister(3).await;
    assert_eq!((process.state(1).await, process.state(2).await), (State::Cancelled, State::Available));
}

pub async fn a_request_is_not_carried_over_to_a_later_run(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let first = worker.take(1).await;
    process.change(2, 1, Change::Cancel).await;
    worker.end(3, &first, failed("boom")).await;
    process.change(4, 1, Change::Redo { repeat: false }).await;
    let second = worker.take(5).await;
    assert_eq!(worker.signals().await, Signals::default());
    worker.end(6, &second, failed("again")).await;
    assert_eq!(process.state(1).await, State::Retryable);
}
