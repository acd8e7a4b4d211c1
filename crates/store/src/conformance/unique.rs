//! Unique keys: who holds one, and for how long.

use taskwright_core::{NewJob, State, UniqueScope};

use super::Harness;
use super::fixture::*;
use crate::{Change, Changed, Enqueued, Filter};

fn keyed(n: u32, scope: UniqueScope) -> NewJob {
    NewJob { unique: unique("invoice", scope), ..job(n) }
}

fn stored(n: u32) -> Enqueued {
    Enqueued { id: id(n), existing: false }
}

fn held_by(n: u32) -> Enqueued {
    Enqueued { id: id(n), existing: true }
}

pub async fn a_key_that_is_held_answers_with_its_holder(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, [keyed(1, UniqueScope::Waiting)]).await;
    let answer = process.enqueue(1, [job(2), keyed(3, UniqueScope::Waiting), job(4)]).await;
    assert_eq!(answer, [stored(2), held_by(1), stored(4)]);
    assert_eq!(process.list(Filter::default()).await, [1, 2, 4]);
}

pub async fn a_key_is_taken_within_a_batch(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let batch = [keyed(1, UniqueScope::Active), keyed(2, UniqueScope::Active)];
    assert_eq!(process.enqueue(0, batch).await, [stored(1), held_by(1)]);
}

pub async fn a_waiting_key_is_free_once_its_job_is_claimed(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [keyed(1, UniqueScope::Waiting)]).await;
    worker.take(1).await;
    assert_eq!(process.detail(1).await.unique, None);
    assert_eq!(process.enqueue(2, [keyed(2, UniqueScope::Waiting)]).await, [stored(2)]);
}

pub async fn a_waiting_key_is_not_taken_again_by_a_job_that_goes_back(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [keyed(1, UniqueScope::Waiting)]).await;
    let first = worker.take(1).await;
    worker.give_back(2, &first).await;
    assert_eq!(process.enqueue(3, [keyed(2, UniqueScope::Waiting)]).await, [stored(2)]);
    assert_eq!(process.enqueue(3, [keyed(3, UniqueScope::Waiting)]).await, [held_by(2)]);
}

pub async fn an_active_key_is_held_until_its_job_is_over(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [keyed(1, UniqueScope::Active)]).await;
    let first = worker.take(1).await;
    assert_eq!(process.enqueue(1, [keyed(2, UniqueScope::Active)]).await, [held_by(1)]);
    worker.end(2, &first, failed("boom")).await;
    assert_eq!(process.enqueue(2, [keyed(2, UniqueScope::Active)]).await, [held_by(1)]);
    process.promote(60).await;
    let second = worker.take(60).await;
    worker.end(61, &second, completed()).await;
    assert_eq!(process.detail(1).await.unique, None);
    assert_eq!(process.enqueue(62, [keyed(2, UniqueScope::Active)]).await, [stored(2)]);
}

pub async fn a_completed_job_of_a_batch_lets_its_key_go(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1), keyed(2, UniqueScope::Active), job(3)]).await;
    let claimed = worker.claim_all(1).await;
    worker.finish(2, claimed.iter().map(|job| ending(2, job, completed())).collect()).await;
    assert_eq!(process.state(2).await, State::Completed);
    assert_eq!(process.enqueue(3, [keyed(4, UniqueScope::Active)]).await, [stored(4)]);
}

pub async fn keys_of_other_kinds_and_namespaces_are_others(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let one = |n| keyed(n, UniqueScope::Active);
    let batch = [
        one(1),
        NewJob { kind: kind("report"), ..one(2) },
        NewJob { namespace: namespace("acme"), ..one(3) },
        NewJob { unique: unique("Invoice", UniqueScope::Active), ..job(4) },
        NewJob { queue: queue("other"), ..one(5) },
    ];
    let answer = process.enqueue(0, batch).await;
    assert_eq!(answer, [stored(1), stored(2), stored(3), stored(4), held_by(1)]);
}

pub async fn a_cancelled_job_lets_its_key_go(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, [NewJob { held: true, ..keyed(1, UniqueScope::Waiting) }]).await;
    assert_eq!(process.enqueue(1, [keyed(2, UniqueScope::Waiting)]).await, [held_by(1)]);
    assert_eq!(process.change(2, 1, Change::Cancel).await, Changed::Done);
    assert_eq!(process.enqueue(3, [keyed(2, UniqueScope::Waiting)]).await, [stored(2)]);
}

pub async fn a_repeated_id_is_answered_before_its_key_is_looked_at(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, [job(1), keyed(2, UniqueScope::Active)]).await;
    let again = process.enqueue(1, [keyed(1, UniqueScope::Active), keyed(2, UniqueScope::Active)]).await;
    assert_eq!(again, [held_by(1), held_by(2)]);
}

pub async fn a_redo_does_not_take_the_key_again(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, [keyed(1, UniqueScope::Active)]).await;
    process.change(1, 1, Change::Cancel).await;
    process.enqueue(2, [keyed(2, UniqueScope::Active)]).await;
    assert_eq!(process.change(3, 1, Change::Redo { repeat: false }).await, Changed::Done);
    assert_eq!(process.detail(1).await.unique, None);
    assert_eq!(process.enqueue(4, [keyed(3, UniqueScope::Active)]).await, [held_by(2)]);
}

pub async fn the_key_of_a_held_job_is_free_once_its_hold_has_expired(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, [NewJob { held: true, ..keyed(1, UniqueScope::Waiting) }]).await;
    assert_eq!(process.promote(3_600).await.expired, 1);
    assert_eq!(process.enqueue(3_601, [keyed(2, UniqueScope::Waiting)]).await, [stored(2)]);
}
