//! What a claim gives, and what it leaves.

use taskwright_core::limit::CLAIM_JOBS_MAX;
use taskwright_core::{NewJob, Priority, State};

use super::Harness;
use super::fixture::*;
use crate::{Change, Claim};

pub async fn a_claim_gives_no_more_than_was_asked(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=5)).await;
    assert_eq!(numbers(&worker.claim(worker.ask(1, 2)).await), [1, 2]);
    assert_eq!(numbers(&worker.claim(worker.ask(1, 0)).await), NONE);
    assert_eq!(numbers(&worker.claim(worker.ask(1, 9)).await), [3, 4, 5]);
    assert_eq!(numbers(&worker.claim(worker.ask(1, 9)).await), NONE);
}

pub async fn a_claim_is_held_at_its_limit(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=1_001)).await;
    assert_eq!(worker.claim(worker.ask(1, usize::MAX)).await.len(), CLAIM_JOBS_MAX);
    assert_eq!(numbers(&worker.claim(worker.ask(1, usize::MAX)).await), [1_001]);
}

pub async fn a_claimed_job_runs_on_its_worker(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let claimed = worker.take(7).await;
    assert_eq!((claimed.attempt, claimed.claimed_at), (1, at(7)));
    let view = process.view(1).await;
    assert_eq!((view.state, view.attempt, view.worker), (State::Running, 1, Some(worker.id)));
    assert_eq!((view.claimed_at, view.run_at, view.cancel_requested), (Some(at(7)), at(0), false));
}

pub async fn two_processes_never_get_the_same_job(harness: &impl Harness) {
    let (one, two) = (Process::start(harness).await, Process::start(harness).await);
    let (first, second) = (one.worker(1).await, two.worker(2).await);
    one.enqueue(0, jobs(1..=40)).await;
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.extend(numbers(&first.claim(first.ask(1, 5)).await));
        seen.extend(numbers(&second.claim(second.ask(1, 5)).await));
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=40).collect::<Vec<_>>());
}

pub async fn only_available_jobs_are_claimed(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    let batch = [NewJob { held: true, ..job(1) }, NewJob { run_at: Some(at(9)), ..job(2) }, job(3), job(4)];
    process.enqueue(0, batch).await;
    process.change(0, 3, Change::Cancel).await;
    // Due, and not promoted: the duty decides when a job is available.
    assert_eq!(numbers(&worker.claim_all(10).await), [4]);
}

pub async fn a_kind_that_is_not_served_stays(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [NewJob { kind: kind("report"), ..job(1) }, job(2)]).await;
    let only_mail = |now| Claim { kinds: vec![kind("mail")], ..worker.ask(now, 9) };
    assert_eq!(numbers(&worker.claim(only_mail(1)).await), [2]);
    assert_eq!(numbers(&worker.claim(only_mail(2)).await), NONE);
    assert_eq!(process.state(1).await, State::Available);
    let nothing = Claim { kinds: Vec::new(), ..worker.ask(3, 9) };
    assert_eq!(numbers(&worker.claim(nothing).await), NONE);
}

pub async fn a_queue_that_is_not_served_stays(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    let lane = |n, name| NewJob { queue: queue(name), ..job(n) };
    process.enqueue(0, [lane(1, "a"), lane(2, "b"), lane(3, "c")]).await;
    let served = Claim { queues: Some(vec![queue("c"), queue("a")]), ..worker.ask(1, 9) };
    assert_eq!(numbers(&worker.claim(served).await), [1, 3]);
    assert_eq!(process.state(2).await, State::Available);
}

pub async fn a_namespace_that_is_not_served_stays(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1), NewJob { namespace: namespace("acme"), ..job(2) }]).await;
    let acme = Claim { namespace: Some(namespace("acme")), ..worker.ask(1, 9) };
    assert_eq!(numbers(&worker.claim(acme).await), [2]);
    assert_eq!(numbers(&worker.claim_all(2).await), [1]);
}

pub async fn a_worker_for_realtime_leaves_the_rest(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    let with = |n, priority| NewJob { priority, ..job(n) };
    process.enqueue(0, [with(1, Priority(1_001)), with(2, Priority::REALTIME), with(3, Priority(5))]).await;
    let urgent = |now| Claim { priority_max: Some(Priority::REALTIME), ..worker.ask(now, 9) };
    assert_eq!(numbers(&worker.claim(urgent(1)).await), [3, 2]);
    worker.renew(3_600).await;
    assert_eq!(numbers(&worker.claim(urgent(3_600)).await), NONE, "ageing lifts no job over the bar");
}

pub async fn a_worker_that_is_not_registered_gets_nothing(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let stranger = Claim { worker: worker_id(9), ..worker.ask(1, 9) };
    assert!(process.store().claim(stranger.clone()).await.expect_err("it is unknown").is_lost());
    assert_eq!(process.state(1).await, State::Available);
    worker.take(1).await;
    assert!(process.store().claim(stranger).await.expect_err("also when nothing is there").is_lost());
}

pub async fn a_worker_that_has_stopped_gets_nothing(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    let ask = worker.ask(2, 1);
    process.enqueue(0, [job(1)]).await;
    worker.unregister(1).await;
    assert!(process.store().claim(ask).await.expect_err("it has stopped").is_lost());
}

pub async fn a_worker_that_was_declared_lost_gets_nothing(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    assert_eq!(process.reclaim(LEASE_S + 1).await.workers.len(), 1);
    let refused = process.store().claim(worker.ask(17, 1)).await.expect_err("its lease ran out");
    assert!(refused.is_lost());
    assert_eq!(process.state(1).await, State::Available);
}
