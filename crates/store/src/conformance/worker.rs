//! Workers: registration, lease, orders.

use taskwright_core::State;
use taskwright_core::attempt::AttemptEnd;

use super::Harness;
use super::fixture::*;
use crate::{NewWorker, Order, Signals, WorkerState, WorkerView};

pub async fn a_registered_worker_is_shown(harness: &impl Harness) {
    let (process, desk) = (Process::start(harness).await, Process::start(harness).await);
    let new = NewWorker { queues: vec!["a".to_owned(), "b/c".to_owned()], ..new_worker(1) };
    process.store().register(at(5), monotonic_us(5), new).await.expect("registered");
    let view = WorkerView {
        id: worker_id(1),
        host: "host".to_owned(),
        pid: 1_001,
        state: WorkerState::Alive,
        order: None,
        concurrency: 4,
        queues: vec!["a".to_owned(), "b/c".to_owned()],
        running: 0,
        started_at: at(5),
        seen_at: at(5),
        remark: None,
    };
    assert_eq!(desk.store().workers().await.expect("read"), [view]);
}

pub async fn a_worker_is_shown_with_what_it_runs_and_when_it_was_seen(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=3)).await;
    let held = worker.claim(worker.ask(1, 2)).await;
    worker.renew(7).await;
    let seen = process.store().workers().await.expect("read");
    assert_eq!((seen[0].running, seen[0].started_at, seen[0].seen_at), (2, at(0), at(7)));
    worker.end(8, &held[0], completed()).await;
    assert_eq!(process.store().workers().await.expect("read")[0].running, 1);
}

pub async fn what_a_worker_says_about_itself_is_shown_also_after_its_end(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    let remark = |text: &str| process.store().remark(worker_id(1), text.to_owned());
    remark("too large").await.expect("written");
    remark("recycling: 10 jobs run").await.expect("written");
    let shown = async || process.store().workers().await.expect("read")[0].remark.clone();
    assert_eq!(shown().await.as_deref(), Some("recycling: 10 jobs run"));
    worker.unregister(2).await;
    remark("I am still here").await.expect("nothing happens");
    process.store().remark(worker_id(9), "who?".to_owned()).await.expect("nor to an unknown one");
    assert_eq!(shown().await.as_deref(), Some("recycling: 10 jobs run"));
}

pub async fn a_registration_may_be_repeated(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let held = worker.take(1).await;
    let again = process.worker_at(10, 1).await;
    again.mark(&held);
    assert_eq!(process.store().workers().await.expect("read").len(), 1);
    assert_eq!(process.reclaim(20).await.workers, [], "the lease runs from the repetition");
    assert_eq!(process.reclaim(26).await.workers[0].requeued, 1, "and the mark was noted");
    let late = process.store().register(at(27), monotonic_us(27), new_worker(1)).await;
    assert!(late.err().expect("it was lost").is_lost());
}

pub async fn a_worker_that_is_not_alive_cannot_renew(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let renew = |n| process.store().renew(at(20), monotonic_us(20), worker_id(n));
    assert!(renew(1).await.expect_err("it is unknown").is_lost());
    process.worker(1).await.unregister(2).await;
    assert!(renew(1).await.expect_err("it has stopped").is_lost());
    process.worker(2).await;
    process.reclaim(LEASE_S + 1).await;
    assert!(renew(2).await.expect_err("it was lost").is_lost());
}

pub async fn nobody_has_anything_to_tell_an_unknown_worker(harness: &impl Harness) {
    let process = Process::start(harness).await;
    assert_eq!(process.store().signals(worker_id(1)).await.expect("read"), Signals::default());
}

pub async fn a_worker_that_stops_leaves_its_jobs_as_its_start_marks_say(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=2)).await;
    worker.start(1).await;
    worker.take(1).await;
    worker.unregister(2).await;
    let started = process.detail(1).await;
    assert_eq!((started.view.state, started.view.attempt), (State::Available, 1));
    assert_eq!((started.view.run_at, started.attempts[0].end), (at(0), AttemptEnd::Lost));
    let unstarted = process.detail(2).await;
    assert_eq!((unstarted.view.state, unstarted.view.attempt), (State::Available, 0));
    assert_eq!((unstarted.view.run_at, unstarted.attempts), (at(0), Vec::new()));
    let workers = process.store().workers().await.expect("read");
    assert_eq!((workers[0].state, workers[0].seen_at), (WorkerState::Stopped, at(2)));
}

pub async fn unregistering_again_does_nothing(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.worker(1).await.unregister(2).await;
    process.store().unregister(at(3), worker_id(1)).await.expect("it is a no-op");
    process.store().unregister(at(3), worker_id(9)).await.expect("so is an unknown one");
    assert_eq!(process.store().workers().await.expect("read")[0].seen_at, at(2));
}

pub async fn a_stopped_worker_is_not_lost_when_its_process_ends(harness: &impl Harness) {
    let (process, other) = (Process::start(harness).await, Process::start(harness).await);
    other.worker(1).await.unregister(1).await;
    drop(other);
    assert_eq!(process.reclaim(99).await.workers, []);
}

pub async fn an_order_reaches_the_living(harness: &impl Harness) {
    let (process, desk) = (Process::start(harness).await, Process::start(harness).await);
    let (first, second) = (process.worker(1).await, process.worker(2).await);
    let gone = process.worker(3).await;
    gone.unregister(1).await;
    let ids = vec![worker_id(2), worker_id(3), worker_id(9), worker_id(1)];
    let told = desk.store().order(ids, Order::Quiet).await.expect("answered");
    assert_eq!(told, [true, false, false, true]);
    for worker in [&first, &second] {
        assert_eq!(worker.signals().await.order, Some(Order::Quiet));
        assert_eq!(worker.renew(2).await.order, Some(Order::Quiet));
    }
    assert!(desk.store().workers().await.expect("read")[..2].iter().all(|w| w.order == Some(Order::Quiet)));
}

pub async fn a_stop_is_not_undone_by_a_quiet(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    for (order, then) in [(Order::Quiet, Order::Quiet), (Order::Stop, Order::Stop), (Order::Quiet, Order::Stop)] {
        assert_eq!(process.store().order(vec![worker.id], order).await.expect("answered"), [true]);
        assert_eq!(worker.signals().await.order, Some(then));
    }
}

pub async fn the_living_are_shown_first(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.worker(1).await.unregister(1).await;
    process.worker(2).await;
    process.worker(3).await.unregister(1).await;
    process.worker(4).await;
    let workers = process.store().workers().await.expect("read");
    let alive: Vec<bool> = workers.iter().map(|worker| worker.state == WorkerState::Alive).collect();
    assert_eq!(alive, [true, true, false, false]);
}
