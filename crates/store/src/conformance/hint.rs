//! Hints: that there may be something new. And the end of a handle.

use taskwright_core::NewJob;

use super::Harness;
use super::fixture::*;
use crate::{Change, Order};

/// What `act` does must be hinted at by the time it is answered. Within one process, that is: across processes a hint
/// takes its time.
macro_rules! hinted {
    ($process:expr, $act:expr) => {
        let mut hints = $process.store().hints();
        hints.mark_unchanged();
        $act;
        assert!(hints.has_changed().expect("the store is open"), "{}", stringify!($act));
    };
}

pub async fn whatever_makes_work_is_hinted_at(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    let (space, lane) = (namespace("default"), queue("default"));
    hinted!(process, process.enqueue(0, [job(1), NewJob { held: true, ..job(2) }]).await);
    let held = worker.take(1).await;
    hinted!(process, worker.give_back(2, &held).await);
    hinted!(process, process.change(2, 2, Change::Release).await);
    hinted!(process, process.enqueue(2, [NewJob { run_at: Some(at(9)), ..job(3) }]).await);
    hinted!(process, process.promote(9).await);
    process.store().pause(at(9), space.clone(), lane.clone(), true, alice()).await.expect("paused");
    hinted!(process, process.store().pause(at(9), space, lane, false, alice()).await.expect("resumed"));
}

pub async fn whatever_a_worker_must_know_is_hinted_at(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    worker.take(1).await;
    hinted!(process, process.change(2, 1, Change::Cancel).await);
    hinted!(process, process.store().order(vec![worker.id], Order::Quiet).await.expect("told"));
}

pub async fn a_hint_reaches_another_process(harness: &impl Harness) {
    let (process, other) = (Process::start(harness).await, Process::start(harness).await);
    let mut hints = other.store().hints();
    hints.mark_unchanged();
    process.enqueue(0, [job(1)]).await;
    hints.changed().await.expect("the store is open");
}

pub async fn a_closed_handle_refuses_and_leaves_others_alone(harness: &impl Harness) {
    let (process, other) = (Process::start(harness).await, Process::start(harness).await);
    process.enqueue(0, [job(1)]).await;
    process.store().close().await.expect("closed");
    process.store().close().await.expect("closing again does nothing");
    assert!(process.store().enqueue(at(1), vec![job(2)]).await.expect_err("closed").is_closed());
    assert!(process.store().job(id(1)).await.expect_err("closed").is_closed());
    assert!(process.store().renew(at(1), 0, worker_id(1)).await.expect_err("closed").is_closed());
    assert!(other.has(1).await);
    other.enqueue(2, [job(2)]).await;
}

pub async fn a_store_says_what_it_is_and_what_it_did(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let info = process.store().info();
    assert!(info.url.starts_with(&format!("{}:", info.kind)));
    let before = process.store().counters();
    process.enqueue(0, [job(1)]).await;
    let after = process.store().counters();
    assert_eq!((after.calls - before.calls, after.commits - before.commits), (1, 1));
}
