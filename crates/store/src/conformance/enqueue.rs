//! Storing new jobs.

use std::time::Duration;

use taskwright_core::limit::ENQUEUE_JOBS_MAX;
use taskwright_core::{
    Args, Backoff, Delivery, MaxAttempts, NewJob, Owner, Priority, State, UniqueScope, WorkerId,
};

use tokio::sync::oneshot;

use super::Harness;
use super::fixture::*;
use crate::{Enqueued, Filter};

pub async fn a_job_without_a_time_is_available_at_once(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let stored = process.enqueue(5, [job(1)]).await;
    assert_eq!(stored, [Enqueued { id: id(1), existing: false }]);
    let view = process.view(1).await;
    assert_eq!((view.state, view.created_at, view.run_at), (State::Available, at(5), at(5)));
    assert_eq!((view.attempt, view.worker, view.ended_at, view.error), (0, None::<WorkerId>, None, None));
}

pub async fn a_job_with_a_later_time_is_scheduled(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(5, [NewJob { run_at: Some(at(6)), ..job(1) }]).await;
    let view = process.view(1).await;
    assert_eq!((view.state, view.run_at), (State::Scheduled, at(6)));
}

pub async fn a_time_that_has_passed_counts_as_now(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(5, [NewJob { run_at: Some(at(1)), ..job(1) }]).await;
    process.enqueue(5, [NewJob { run_at: Some(at(5)), ..job(2) }]).await;
    for n in [1, 2] {
        let view = process.view(n).await;
        assert_eq!((view.state, view.run_at), (State::Available, at(5)));
    }
}

pub async fn a_held_job_is_held_whatever_its_time(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let held = |n| NewJob { held: true, ..job(n) };
    process.enqueue(5, [held(1), NewJob { run_at: Some(at(9)), ..held(2) }]).await;
    assert_eq!((process.state(1).await, process.state(2).await), (State::Held, State::Held));
    assert_eq!(process.view(2).await.run_at, at(9));
}

pub async fn answers_come_in_the_order_of_the_jobs(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let order = [3, 1, 200, 2];
    let stored = process.enqueue(0, jobs(order)).await;
    assert_eq!(stored.iter().map(|stored| number(stored.id)).collect::<Vec<_>>(), order);
    assert_eq!(process.list(Filter::default()).await, order);
}

pub async fn an_empty_batch_stores_nothing(harness: &impl Harness) {
    let process = Process::start(harness).await;
    assert_eq!(process.enqueue(0, []).await, []);
    assert_eq!(process.list(Filter::default()).await, NONE);
}

pub async fn a_repeated_id_is_stored_once(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, [job(1)]).await;
    let stored = process.enqueue(1, [job(2), job(1), job(2)]).await;
    assert_eq!(stored.iter().map(|stored| stored.existing).collect::<Vec<_>>(), [false, true, true]);
    assert_eq!(process.list(Filter::default()).await, [1, 2]);
}

pub async fn a_repeated_id_leaves_the_stored_job_alone(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let running = worker.take(1).await;
    let before = process.detail(1).await;
    let other = NewJob { priority: Priority::HIGH, queue: queue("other"), held: true, ..job(1) };
    let stored = process.enqueue(2, [other]).await;
    assert_eq!(stored, [Enqueued { id: id(1), existing: true }]);
    assert_eq!(process.detail(1).await, before);
    assert!(worker.end(3, &running, completed()).await == taskwright_core::Verdict::Accepted);
}

pub async fn a_batch_repeated_after_a_lost_answer_stores_each_job_once(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, jobs(1..=130)).await;
    let stored = process.enqueue(1, jobs(60..=200)).await;
    let existing = stored.iter().filter(|stored| stored.existing).count();
    assert_eq!((stored.len(), existing), (141, 71));
    assert_eq!(process.list(Filter::default()).await, (1..=200).collect::<Vec<_>>());
}

pub async fn a_batch_over_the_limit_is_refused_whole(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let many = u32::try_from(ENQUEUE_JOBS_MAX).expect("a small limit") + 1;
    let refused = process.store().enqueue(at(0), jobs(1..=many)).await.expect_err("it is too large");
    assert!(refused.is_domain());
    assert_eq!(process.list(Filter::default()).await, NONE);
}

pub async fn a_batch_behind_another_is_inserted_after_it(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    for round in 0..10 {
        let (first, second) = (2 + round * 200, 102 + round * 200);
        let ((stored_first, is_first), (stored_second, is_second)) = (oneshot::channel(), oneshot::channel());
        stored_first.send(()).expect("it is received below");
        let one = async {
            let stored = process.store().enqueue_behind(at(1), jobs(first..=first + 99), is_first).await;
            assert_eq!(stored.unwrap().map(|stored| stored.len()), Some(100));
            stored_second.send(()).expect("it is waited for");
        };
        let other = process.store().enqueue_behind(at(1), jobs(second..=second + 99), is_second);
        let ((), other) = tokio::join!(one, other);
        assert_eq!(other.unwrap().map(|stored| stored.len()), Some(100));
    }
    let mut order = Vec::new();
    for _ in 0..3 {
        order.extend(numbers(&worker.claim(worker.ask(2, 1_000)).await));
    }
    assert_eq!(order, (1..=2_001).collect::<Vec<_>>());
}

pub async fn a_batch_behind_one_that_was_not_stored_is_not_stored(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, [job(1)]).await;
    let (never, previous) = oneshot::channel();
    drop(never);
    let stored = process.store().enqueue_behind(at(1), jobs(2..=9), previous).await;
    assert!(stored.unwrap().is_none());
    assert_eq!(process.list(Filter::default()).await, [1]);
}

pub async fn a_batch_behind_another_leaves_stored_jobs_alone(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, jobs(1..=5)).await;
    let (stored, previous) = oneshot::channel();
    stored.send(()).expect("it is received below");
    let stored = process.store().enqueue_behind(at(1), jobs(4..=8), previous).await.unwrap().unwrap();
    assert_eq!(stored.iter().map(|stored| stored.existing).collect::<Vec<_>>(), [true, true, false, false, false]);
    assert_eq!(process.list(Filter::default()).await, (1..=8).collect::<Vec<_>>());
}

pub async fn everything_that_was_submitted_reaches_the_worker(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    let full = full_job();
    process.enqueue(3, [full.clone()]).await;
    let claimed = worker.take(4).await;
    assert_eq!((claimed.id, &claimed.namespace, &claimed.owner), (full.id, &full.namespace, &full.owner));
    assert_eq!((&claimed.kind, &claimed.queue), (&full.kind, &full.queue));
    assert_eq!((claimed.priority, &claimed.args), (full.priority, &full.args));
    assert_eq!((claimed.max_attempts, claimed.backoff), (full.max_attempts, full.backoff));
    assert_eq!((claimed.timeout, claimed.delivery), (full.timeout, full.delivery));
    assert_eq!((claimed.created_at, claimed.claimed_at, claimed.attempt), (at(3), at(4), 1));
}

pub async fn everything_that_was_submitted_is_shown(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let full = full_job();
    process.enqueue(3, [full.clone()]).await;
    let detail = process.detail(1).await;
    assert_eq!((detail.args, detail.backoff), (full.args, full.backoff));
    assert_eq!((detail.timeout, detail.delivery), (full.timeout, full.delivery));
    assert_eq!((detail.unique.as_deref(), detail.result), (Some("invoice:1"), None));
    let view = detail.view;
    assert_eq!((view.namespace, view.owner, view.kind), (full.namespace, full.owner, full.kind));
    assert_eq!((view.queue, view.priority), (full.queue, full.priority));
    assert_eq!((view.max_attempts, view.created_at), (full.max_attempts, at(3)));
}

fn full_job() -> NewJob {
    NewJob {
        namespace: namespace("acme"),
        owner: Some(Owner::new("Zoë of accounts").expect("a plain text")),
        kind: kind("report"),
        queue: queue("slow/lane-2"),
        priority: Priority(-7),
        args: Args::from_json(r#"{"b": 1,  "a": [1.0, "ü"]}"#).expect("valid JSON"),
        max_attempts: MaxAttempts::Unlimited,
        backoff: Some(Backoff::Linear { step: Duration::from_secs(2), cap: Duration::from_secs(9) }),
        timeout: Some(Duration::from_millis(1_500)),
        delivery: Delivery::AtMostOnce,
        unique: unique("invoice:1", UniqueScope::Active),
        ..job(1)
    }
}
