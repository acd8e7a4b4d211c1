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

const REPEAT: Change = Change::Redo { repeat: true };

fn skipped_for(n: u32) -> Changed {
    Changed::Skipped(format!("its unique key is held by {}", id(n)))
}

pub async fn a_redo_takes_a_waiting_key_again_until_the_next_claim(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [keyed(1, UniqueScope::Waiting)]).await;
    let first = worker.take(1).await;
    worker.end(2, &first, completed()).await;
    for round in [10, 20] {
        assert_eq!(process.change(round, 1, REPEAT).await, Changed::Done);
        assert_eq!(process.detail(1).await.unique.as_deref(), Some("invoice"));
        assert_eq!(process.enqueue(round, [keyed(2, UniqueScope::Waiting)]).await, [held_by(1)]);
        let again = worker.take(round + 1).await;
        assert_eq!(process.detail(1).await.unique, None);
        worker.end(round + 2, &again, completed()).await;
    }
    assert_eq!(process.enqueue(30, [keyed(2, UniqueScope::Waiting)]).await, [stored(2)]);
}

pub async fn a_redo_takes_an_active_key_again_until_the_job_is_over(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [keyed(1, UniqueScope::Active)]).await;
    process.change(1, 1, Change::Cancel).await;
    for round in [10, 20] {
        assert_eq!(process.change(round, 1, REPEAT).await, Changed::Done);
        let again = worker.take(round + 1).await;
        assert_eq!(process.detail(1).await.unique.as_deref(), Some("invoice"));
        assert_eq!(process.enqueue(round + 1, [keyed(2, UniqueScope::Active)]).await, [held_by(1)]);
        worker.end(round + 2, &again, completed()).await;
        assert_eq!(process.detail(1).await.unique, None);
    }
    assert_eq!(process.enqueue(30, [keyed(2, UniqueScope::Active)]).await, [stored(2)]);
}

pub async fn a_redo_is_skipped_while_another_job_holds_the_key(harness: &impl Harness) {
    let process = Process::start(harness).await;
    for (scope, one, other) in [(UniqueScope::Waiting, 1, 2), (UniqueScope::Active, 3, 4)] {
        process.enqueue(0, [keyed(one, scope)]).await;
        process.change(1, one, Change::Cancel).await;
        process.enqueue(2, [keyed(other, scope)]).await;
        assert_eq!(process.change(3, one, REPEAT).await, skipped_for(other));
        assert_eq!(process.state(one).await, State::Cancelled);
        assert_eq!(process.detail(one).await.unique, None);
        process.change(4, other, Change::Cancel).await;
        assert_eq!(process.change(5, one, REPEAT).await, Changed::Done);
        assert_eq!(process.change(6, other, REPEAT).await, skipped_for(one));
        process.change(7, one, Change::Cancel).await;
    }
}

pub async fn of_two_redone_jobs_with_one_key_the_first_gets_it(harness: &impl Harness) {
    let process = Process::start(harness).await;
    for n in [1, 2] {
        process.enqueue(0, [keyed(n, UniqueScope::Active)]).await;
        process.change(1, n, Change::Cancel).await;
    }
    let ids = vec![id(2), id(1)];
    let changed = process.store().change(at(2), ids, REPEAT, alice(), None).await.expect("changed");
    assert_eq!(changed, [Changed::Done, skipped_for(2)]);
}

pub async fn the_key_of_a_held_job_is_free_once_its_hold_has_expired(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, [NewJob { held: true, ..keyed(1, UniqueScope::Waiting) }]).await;
    assert_eq!(process.promote(3_600).await.expired, 1);
    assert_eq!(process.enqueue(3_601, [keyed(2, UniqueScope::Waiting)]).await, [stored(2)]);
}
