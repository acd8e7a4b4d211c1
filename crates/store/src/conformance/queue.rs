//! Queues: pausing, purging, counting.

use taskwright_core::{NewJob, Priority, State};

use super::Harness;
use super::fixture::*;
use crate::{Change, Filter, QueueView};

fn lane(n: u32, name: &str) -> NewJob {
    NewJob { queue: queue(name), ..job(n) }
}

async fn pause(process: &Process, name: &str, paused: bool) -> bool {
    let (namespace, queue) = (namespace("default"), queue(name));
    process.store().pause(at(1), namespace, queue, paused, alice()).await.expect("answered")
}

async fn purge(process: &Process, now: u64, name: &str, limit: usize) -> usize {
    let (namespace, queue) = (namespace("default"), queue(name));
    process.store().purge(at(now), namespace, queue, alice(), limit).await.expect("purged")
}

async fn queues(process: &Process) -> Vec<QueueView> {
    process.store().queues(at(99), None).await.expect("read")
}

pub async fn nothing_is_claimed_from_a_paused_queue(harness: &impl Harness) {
    let (process, desk) = (Process::start(harness).await, Process::start(harness).await);
    let worker = process.worker(1).await;
    process.enqueue(0, [lane(1, "a"), lane(2, "b"), lane(3, "a")]).await;
    assert!(pause(&desk, "a", true).await);
    assert_eq!(numbers(&worker.claim_all(2).await), [2]);
    process.enqueue(3, [lane(4, "a")]).await;
    assert_eq!(numbers(&worker.claim_all(4).await), NONE);
    assert!(pause(&desk, "a", false).await);
    assert_eq!(numbers(&worker.claim_all(5).await), [1, 3, 4]);
}

pub async fn a_queue_may_be_paused_before_it_has_jobs(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    assert!(pause(&process, "a", true).await);
    process.enqueue(2, [lane(1, "a")]).await;
    assert_eq!(numbers(&worker.claim_all(3).await), NONE);
    assert!(queues(&process).await[0].paused);
}

pub async fn pausing_twice_changes_nothing_the_second_time(harness: &impl Harness) {
    let process = Process::start(harness).await;
    assert!(!pause(&process, "a", false).await);
    assert_eq!(queues(&process).await, [], "resuming what nobody knows does not make it known");
    assert!(pause(&process, "a", true).await);
    assert!(!pause(&process, "a", true).await);
    assert!(pause(&process, "a", false).await);
    assert!(!pause(&process, "a", false).await);
}

pub async fn a_pause_is_of_one_namespace(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [lane(1, "a"), NewJob { namespace: namespace("acme"), ..lane(2, "a") }]).await;
    pause(&process, "a", true).await;
    assert_eq!(numbers(&worker.claim_all(2).await), [2]);
}

pub async fn what_runs_in_a_paused_queue_goes_on(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [lane(1, "a")]).await;
    let held = worker.take(1).await;
    pause(&process, "a", true).await;
    assert_eq!(worker.end(2, &held, completed()).await, taskwright_core::Verdict::Accepted);
}

pub async fn a_purge_cancels_what_waits_in_the_queue(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    let urgent = NewJob { priority: Priority::REALTIME, ..lane(1, "a") };
    let held = NewJob { held: true, ..lane(2, "a") };
    let scheduled = NewJob { run_at: Some(at(99)), ..lane(3, "a") };
    let elsewhere = NewJob { namespace: namespace("acme"), ..lane(5, "a") };
    process.enqueue(0, [urgent, held, scheduled, lane(4, "a"), elsewhere, lane(6, "b")]).await;
    worker.take(1).await;
    assert_eq!(purge(&process, 2, "a", 100).await, 3);
    let mut cancelled =
        process.list(Filter { states: vec![State::Cancelled], ..Filter::default() }).await;
    cancelled.sort_unstable();
    assert_eq!(cancelled, [2, 3, 4]);
    assert_eq!(process.state(1).await, State::Running);
    let detail = process.detail(4).await;
    assert_eq!((detail.view.error.as_deref(), detail.view.ended_at), (Some("queue purged"), Some(at(2))));
    let last = detail.timeline.last().expect("it has moved");
    assert_eq!((&last.actor, last.reason.as_deref()), (&alice(), Some("queue purged")));
    assert_eq!(purge(&process, 3, "a", 100).await, 0);
    assert_eq!(purge(&process, 3, "unknown", 100).await, 0);
}

pub async fn a_purge_takes_the_oldest_up_to_its_limit(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let kinds = ["mail", "report"];
    let batch = (1..=6).map(|n| NewJob { kind: kind(kinds[(n % 2) as usize]), ..lane(n, "a") });
    process.enqueue(0, batch).await;
    assert_eq!(purge(&process, 1, "a", 4).await, 4);
    assert_eq!(process.list(Filter { states: vec![State::Available], ..Filter::default() }).await, [5, 6]);
}

pub async fn a_purge_leaves_out_what_lies_between_the_jobs_of_its_queue(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let later = |n, name| NewJob { run_at: Some(at(99)), ..lane(n, name) };
    let urgent = |n| NewJob { priority: Priority::REALTIME, ..later(n, "a") };
    let batch = [
        later(1, "b"),
        later(2, "a"),
        lane(3, "b"),
        lane(4, "a"),
        later(5, "a"),
        later(6, "b"),
        later(7, "b"),
        urgent(8),
        later(9, "a"),
        later(10, "b"),
    ];
    process.enqueue(0, batch).await;
    // One of the queue that is over already, and one that went to another lane after its insertion.
    process.change(1, 5, Change::Cancel).await;
    process.change(1, 2, Change::Reprioritise { priority: Priority::BULK }).await;
    let cancelled = async || {
        let over = Filter { states: vec![State::Cancelled], ..Filter::default() };
        let mut numbers = process.list(over).await;
        numbers.sort_unstable();
        numbers
    };
    assert_eq!(purge(&process, 2, "a", 3).await, 3);
    assert_eq!(cancelled().await, [2, 4, 5, 8]);
    assert_eq!(purge(&process, 3, "a", 3).await, 1);
    assert_eq!(cancelled().await, [2, 4, 5, 8, 9]);
    assert_eq!(purge(&process, 4, "a", 3).await, 0);
}

pub async fn a_queue_is_shown_with_what_it_holds(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(1, [lane(1, "b")]).await;
    let done = worker.take(1).await;
    worker.end(1, &done, completed()).await;
    process.enqueue(2, [lane(2, "a"), NewJob { held: true, ..lane(3, "a") }]).await;
    process.enqueue(3, [NewJob { run_at: Some(at(9)), ..lane(4, "a") }, lane(5, "a")]).await;
    process.enqueue(4, [NewJob { kind: kind("report"), ..lane(6, "a") }]).await;
    process.enqueue(4, [NewJob { namespace: namespace("acme"), ..lane(7, "a") }]).await;
    assert_eq!(number(worker.take(5).await.id), 2);
    let view = |space: &str, name: &str, available, running, waiting, oldest| QueueView {
        namespace: namespace(space),
        name: queue(name),
        paused: false,
        available,
        running,
        waiting,
        oldest_available: oldest,
    };
    let acme = view("acme", "a", 1, 0, 0, Some(at(4)));
    let a = view("default", "a", 2, 1, 2, Some(at(3)));
    let b = view("default", "b", 0, 0, 0, None);
    assert_eq!(queues(&process).await, [acme.clone(), a, b]);
    let of_acme = process.store().queues(at(9), Some(namespace("acme"))).await.expect("read");
    assert_eq!(of_acme, [acme]);
}
