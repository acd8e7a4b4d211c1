//! Who is claimed first.

use taskwright_core::{NewJob, Priority};

use super::Harness;
use super::fixture::*;
use crate::{Change, Changed};

fn with(n: u32, priority: Priority) -> NewJob {
    NewJob { priority, ..job(n) }
}

pub async fn the_lower_priority_number_goes_first(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    let batch = [with(1, Priority::IDLE), with(2, Priority(-32_768)), job(3), with(4, Priority::REALTIME)];
    process.enqueue(0, batch).await;
    assert_eq!(numbers(&worker.claim_all(1).await), [2, 4, 3, 1]);
}

pub async fn within_a_priority_the_older_goes_first(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(1, [job(2)]).await;
    process.enqueue(2, [NewJob { queue: queue("other"), ..job(1) }]).await;
    process.enqueue(3, [NewJob { kind: kind("report"), ..job(3) }]).await;
    assert_eq!(numbers(&worker.claim_all(4).await), [2, 1, 3]);
}

pub async fn within_a_moment_the_order_of_insertion_decides(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    let elsewhere = |n| NewJob { queue: queue("other"), ..job(n) };
    process.enqueue(1, [job(9), elsewhere(3), job(7), elsewhere(1), job(2)]).await;
    assert_eq!(numbers(&worker.claim_all(1).await), [9, 3, 7, 1, 2]);
}

pub async fn waiting_lifts_a_bulk_job_over_a_fresh_realtime_one(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [with(1, Priority::BULK)]).await;
    process.enqueue(14_399, [with(2, Priority::REALTIME)]).await;
    worker.renew(14_399).await;
    let first = worker.take(14_399).await;
    assert_eq!(number(first.id), 2, "a second before the fourth hour is over, realtime still goes first");
    worker.give_back(14_399, &first).await;
    assert_eq!(numbers(&worker.claim_all(14_400).await), [1, 2]);
}

pub async fn ageing_counts_from_when_a_job_became_available(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    let scheduled = NewJob { run_at: Some(at(600)), ..with(1, Priority::BULK) };
    process.enqueue(0, [scheduled]).await;
    process.enqueue(600, [with(2, Priority::HIGH)]).await;
    process.promote(601).await;
    assert_eq!(numbers(&worker.claim_all(601).await), [2, 1]);
}

pub async fn a_promoted_job_stands_where_its_time_puts_it(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [NewJob { run_at: Some(at(10)), ..job(1) }]).await;
    process.enqueue(5, [job(2)]).await;
    process.enqueue(15, [job(3)]).await;
    assert_eq!(process.promote(20).await.promoted, 1);
    assert_eq!(process.view(1).await.run_at, at(10));
    assert_eq!(numbers(&worker.claim_all(20).await), [2, 1, 3]);
}

pub async fn a_job_that_goes_back_keeps_its_place(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    process.enqueue(1, [job(2)]).await;
    let first = worker.take(2).await;
    assert_eq!(process.view(1).await.run_at, at(0));
    worker.give_back(3, &first).await;
    process.enqueue(4, [job(3)]).await;
    assert_eq!(numbers(&worker.claim_all(5).await), [1, 2, 3]);
}

pub async fn a_job_of_a_lost_worker_keeps_its_place(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let doomed = Process::start(harness).await;
    process.enqueue(0, [job(1)]).await;
    process.enqueue(1, [job(2)]).await;
    doomed.worker(1).await.start(2).await;
    drop(doomed);
    assert_eq!(process.reclaim(3).await.workers[0].requeued, 1);
    let worker = process.worker(2).await;
    assert_eq!(numbers(&worker.claim_all(4).await), [1, 2]);
}

pub async fn a_released_job_queues_from_its_release(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [NewJob { held: true, ..job(1) }]).await;
    process.enqueue(5, [job(2)]).await;
    assert_eq!(process.change(10, 1, Change::Release).await, Changed::Done);
    process.enqueue(15, [job(3)]).await;
    assert_eq!(numbers(&worker.claim_all(20).await), [2, 1, 3]);
}

pub async fn a_job_that_is_run_now_queues_from_now(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [NewJob { run_at: Some(at(100)), ..job(1) }]).await;
    process.enqueue(5, [job(2)]).await;
    assert_eq!(process.change(10, 1, Change::RunNow).await, Changed::Done);
    process.enqueue(15, [job(3)]).await;
    assert_eq!(numbers(&worker.claim_all(20).await), [2, 1, 3]);
}

pub async fn a_redone_job_queues_from_its_redo(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    process.change(1, 1, Change::Cancel).await;
    process.enqueue(5, [job(2)]).await;
    process.change(10, 1, Change::Redo { repeat: false }).await;
    process.enqueue(15, [job(3)]).await;
    assert_eq!(numbers(&worker.claim_all(20).await), [2, 1, 3]);
}

pub async fn a_new_priority_counts_at_once_and_waiting_still_does(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=3)).await;
    process.change(1, 3, Change::Reprioritise { priority: Priority::HIGH }).await;
    process.change(1, 1, Change::Reprioritise { priority: Priority::IDLE }).await;
    let claimed = worker.claim_all(2).await;
    assert_eq!(numbers(&claimed), [3, 2, 1]);
    assert_eq!(claimed.iter().map(|job| job.priority.0).collect::<Vec<_>>(), [1_500, 2_000, 4_000]);
}

/// Many lanes side by side, against a plain sort.
pub async fn a_claim_of_many_is_in_the_order_of_the_rule(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    let mut expected = Vec::new();
    for n in 1..=300_u32 {
        // A fixed scatter over priorities, moments, queues and kinds.
        let scatter = n.wrapping_mul(2_654_435_761) >> 8;
        let priority = [Priority::REALTIME, Priority::DEFAULT, Priority::BULK][(scatter % 3) as usize];
        let now = u64::from(scatter / 3 % 400);
        expected.push((priority, now, n));
    }
    expected.sort_by_key(|(_, now, n)| (*now, *n));
    for (priority, now, n) in &expected {
        let new = NewJob { queue: queue(["a", "b"][(n % 2) as usize]), ..with(*n, *priority) };
        let new = NewJob { kind: kind(["mail", "report"][(n / 2 % 2) as usize]), ..new };
        process.enqueue(*now, [new]).await;
    }
    // The sort is stable, so that insertion decides among equals.
    expected.sort_by_key(|(priority, now, _)| (priority.aged(at(400).since(at(*now))), *now));
    let mut claimed = Vec::new();
    for _ in 0..4 {
        claimed.extend(numbers(&worker.claim(worker.ask(400, 77)).await));
    }
    let expected: Vec<u32> = expected.into_iter().map(|(_, _, n)| n).collect();
    assert_eq!(claimed, expected[..300]);
}
