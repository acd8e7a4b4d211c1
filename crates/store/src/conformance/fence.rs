//! Writes of an attempt that no longer holds its job change nothing.

use taskwright_core::{State, Verdict};

use super::Harness;
use super::fixture::*;
use crate::{Change, ClaimedJob, Finish, JobKey, LogEntry, LogStream, Progress, ProgressReport};

const ACCEPTED: Verdict = Verdict::Accepted;
const STALE: Verdict = Verdict::Stale;

pub async fn a_worker_cannot_end_the_job_of_another(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let (holder, other) = (process.worker(1).await, process.worker(2).await);
    process.enqueue(0, [job(1)]).await;
    let held = holder.take(1).await;
    let before = process.detail(1).await;
    assert_eq!(other.end(2, &held, completed()).await, STALE);
    assert_eq!(other.give_back(2, &held).await, STALE);
    assert_eq!(process.detail(1).await, before);
    assert_eq!(holder.end(3, &held, completed()).await, ACCEPTED);
}

pub async fn an_attempt_with_another_number_is_stale(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let held = worker.take(1).await;
    for attempt in [0, 2] {
        let wrong = ClaimedJob { attempt, ..held.clone() };
        assert_eq!(worker.end(2, &wrong, completed()).await, STALE);
        assert_eq!(worker.give_back(2, &wrong).await, STALE);
    }
    assert_eq!(process.state(1).await, State::Running);
}

pub async fn an_attempt_ends_once(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let held = worker.take(1).await;
    assert_eq!(worker.end(2, &held, completed()).await, ACCEPTED);
    let before = process.detail(1).await;
    assert_eq!(worker.end(3, &held, failed("late")).await, STALE);
    assert_eq!(worker.give_back(3, &held).await, STALE);
    assert_eq!(process.detail(1).await, before);
}

pub async fn an_attempt_ends_once_also_within_a_batch(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=2)).await;
    let held = worker.claim_all(1).await;
    let ends = vec![
        ending(2, &held[0], failed("first")),
        ending(2, &held[0], completed()),
        ending(2, &held[1], completed()),
        ending(2, &held[1], failed("second")),
    ];
    assert_eq!(worker.finish(2, ends).await, [ACCEPTED, STALE, ACCEPTED, STALE]);
    assert_eq!((process.state(1).await, process.state(2).await), (State::Retryable, State::Completed));
}

pub async fn a_job_is_given_back_once_within_a_batch(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let held = worker.take(1).await;
    let twice = vec![(held.key, 1), (held.key, 1)];
    let given = process.store().give_back(at(2), worker.id, twice, "stop".to_owned()).await;
    assert_eq!(given.expect("it is answered"), [ACCEPTED, STALE]);
    assert_eq!(numbers(&worker.claim_all(3).await), [1]);
}

pub async fn each_end_of_a_batch_is_fenced_for_itself(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let (worker, other) = (process.worker(1).await, process.worker(2).await);
    process.enqueue(0, jobs(1..=3)).await;
    let mine = worker.claim(worker.ask(1, 1)).await;
    let theirs = other.take(1).await;
    let last = worker.take(1).await;
    let unknown = Finish { key: JobKey(i64::MAX), ..ending(2, &last, completed()) };
    let ends = vec![
        ending(2, &theirs, completed()),
        ending(2, &mine[0], completed()),
        unknown,
        ending(2, &last, failed("boom")),
    ];
    assert_eq!(worker.finish(2, ends).await, [STALE, ACCEPTED, STALE, ACCEPTED]);
    assert_eq!(process.state(2).await, State::Running);
    assert_eq!((process.state(1).await, process.state(3).await), (State::Completed, State::Retryable));
}

pub async fn a_worker_that_nobody_knows_is_stale(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let held = worker.take(1).await;
    let ends = vec![ending(2, &held, completed())];
    let verdicts = process.store().finish(at(2), worker_id(9), ends).await;
    assert_eq!(verdicts.expect("it is answered"), [STALE]);
    assert_eq!(process.state(1).await, State::Running);
}

pub async fn a_zombie_cannot_complete_a_reclaimed_job(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let zombie = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let lost = zombie.start(1).await;
    assert_eq!(process.reclaim(16).await.workers[0].requeued, 1);
    assert_eq!(zombie.end(17, &lost, completed()).await, STALE);
    assert_eq!(process.state(1).await, State::Available);

    let heir = process.worker_at(18, 2).await;
    let again = heir.start(18).await;
    assert_eq!(again.attempt, 2);
    assert_eq!(zombie.end(19, &lost, completed()).await, STALE);
    assert_eq!(zombie.end(19, &again, completed()).await, STALE);
    assert_eq!(heir.end(20, &again, completed()).await, ACCEPTED);
}

pub async fn a_zombie_cannot_complete_a_job_that_was_given_back_for_it(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let zombie = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let lost = zombie.take(1).await;
    assert_eq!(process.reclaim(16).await.workers[0].given_back, 1);
    let heir = process.worker_at(18, 2).await;
    // The attempt was not spent, so the heir's has the same number; the worker tells them apart.
    assert_eq!(heir.take(18).await.attempt, lost.attempt);
    assert_eq!(zombie.end(19, &lost, completed()).await, STALE);
    assert_eq!(process.state(1).await, State::Running);
}

pub async fn an_attempt_from_before_a_redo_is_stale(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let first = worker.take(1).await;
    worker.end(2, &first, completed()).await;
    process.change(3, 1, Change::Redo { repeat: true }).await;
    let second = worker.take(4).await;
    assert_eq!((second.key, second.attempt), (first.key, 2));
    assert_eq!(worker.end(5, &first, failed("late")).await, STALE);
    assert_eq!(worker.end(5, &second, completed()).await, ACCEPTED);
}

pub async fn the_key_of_a_deleted_job_is_never_given_again(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let first = worker.take(1).await;
    worker.end(2, &first, completed()).await;
    process.change(3, 1, Change::Delete).await;
    process.enqueue(4, [job(1)]).await;
    let second = worker.take(5).await;
    assert!(second.key != first.key);
    assert_eq!(worker.end(6, &first, completed()).await, STALE);
}

pub async fn progress_and_logs_are_fenced(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let (worker, other) = (process.worker(1).await, process.worker(2).await);
    process.enqueue(0, [job(1)]).await;
    let held = worker.take(1).await;
    let report = |attempt| ProgressReport {
        key: held.key,
        attempt,
        at: at(2),
        progress: Progress { done: 1, total: None, message: None },
    };
    let entry = |attempt| LogEntry {
        key: held.key,
        attempt,
        at: at(2),
        stream: LogStream::Log,
        bytes: b"x".to_vec(),
    };
    let store = process.store();
    assert_eq!(store.report(other.id, vec![report(1)]).await.expect("answered"), [STALE]);
    assert_eq!(store.log(other.id, vec![entry(1)]).await.expect("answered"), [STALE]);
    assert_eq!(store.report(worker.id, vec![report(2), report(1)]).await.expect("answered"), [STALE, ACCEPTED]);
    assert_eq!(store.log(worker.id, vec![entry(2), entry(1)]).await.expect("answered"), [STALE, ACCEPTED]);
    assert_eq!(store.logs(id(1), 0, 9).await.expect("read").len(), 1);
    worker.end(3, &held, completed()).await;
    assert_eq!(store.report(worker.id, vec![report(1)]).await.expect("answered"), [STALE]);
    assert_eq!(store.log(worker.id, vec![entry(1)]).await.expect("answered"), [STALE]);
    assert_eq!(store.logs(id(1), 0, 9).await.expect("read").len(), 1);
}

pub async fn the_writes_of_a_stopped_worker_are_stale(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    let stopped = worker.id;
    process.enqueue(0, [job(1)]).await;
    let held = worker.take(1).await;
    worker.unregister(2).await;
    let ends = vec![ending(3, &held, completed())];
    assert_eq!(process.store().finish(at(3), stopped, ends).await.expect("answered"), [STALE]);
    assert_eq!(process.state(1).await, State::Available);
}
