//! Lost workers, and what becomes of their jobs.

use std::time::Duration;

use taskwright_core::sight::Sight;
use taskwright_core::attempt::{AttemptEnd, Outcome};
use taskwright_core::{Actor, Cause, Delivery, MaxAttempts, NewJob, State, Verdict};

use super::Harness;
use super::fixture::*;
use crate::{Change, ClaimedJob, JobKey, LostWorker, Reclaimed, WorkerState};

pub async fn nobody_is_lost_while_processes_and_leases_last(harness: &impl Harness) {
    let (process, other) = (Process::start(harness).await, Process::start(harness).await);
    let worker = other.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    worker.start(1).await;
    assert_eq!(process.reclaim(LEASE_S).await, Reclaimed::default());
    assert_eq!(other.reclaim(LEASE_S).await, Reclaimed::default());
    assert_eq!(process.state(1).await, State::Running);
}

pub async fn the_death_of_a_process_is_seen_at_once(harness: &impl Harness) {
    let (process, doomed) = (Process::start(harness).await, Process::start(harness).await);
    process.enqueue(0, jobs(1..=3)).await;
    let worker = doomed.worker(1).await;
    let (id, pid) = (worker.id, new_worker(1).pid);
    worker.start(1).await;
    worker.take(1).await;
    drop(doomed);
    let how = "its process is gone".to_owned();
    let lost = LostWorker { id, pid, how, requeued: 1, given_back: 1, ended: 0 };
    assert_eq!(process.reclaim(1).await, Reclaimed { workers: vec![lost], ..Reclaimed::default() });
    assert_eq!(process.reclaim(1).await, Reclaimed::default(), "a worker is lost once");
    for n in 1..=3 {
        assert_eq!(process.state(n).await, State::Available);
    }
}

pub async fn a_lease_that_ran_out_loses_its_worker(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    worker.start(1).await;
    worker.renew(10).await;
    assert_eq!(process.reclaim(10 + LEASE_S).await, Reclaimed::default());
    let reclaimed = process.reclaim(11 + LEASE_S).await;
    assert_eq!(reclaimed.workers.len(), 1);
    assert_eq!((reclaimed.workers[0].how.as_str(), reclaimed.workers[0].requeued), ("its lease ran out", 1));
    let workers = process.store().workers().await.expect("read");
    assert_eq!((workers[0].state, workers[0].running), (WorkerState::Lost, 0));
}

pub async fn the_start_of_an_attempt_that_did_not_count_is_forgotten(harness: &impl Harness) {
    let (process, doomed) = (Process::start(harness).await, Process::start(harness).await);
    let jobs = (1..=2).map(|n| NewJob { delivery: Delivery::AtMostOnce, ..job(n) });
    process.enqueue(0, jobs).await;
    let worker = doomed.worker(1).await;
    let (snoozes, goes_back) = (worker.start(1).await, worker.start(1).await);
    worker.end(2, &snoozes, Outcome::Snooze { delay: Duration::from_secs(1) }).await;
    worker.give_back(2, &goes_back).await;
    process.promote(3).await;
    // Both claims have the numbers of the ones before, and none is started.
    assert_eq!((worker.take(4).await.attempt, worker.take(4).await.attempt), (1, 1));
    drop(doomed);
    assert_eq!(process.reclaim(5).await.workers[0].given_back, 2);
}

pub async fn other_workers_keep_their_jobs(harness: &impl Harness) {
    let (process, doomed) = (Process::start(harness).await, Process::start(harness).await);
    process.enqueue(0, jobs(1..=2)).await;
    doomed.worker(1).await.start(1).await;
    let survivor = process.worker(2).await;
    let held = survivor.start(1).await;
    drop(doomed);
    assert_eq!(process.reclaim(2).await.workers.len(), 1);
    assert_eq!(process.state(1).await, State::Available);
    assert_eq!(survivor.end(3, &held, completed()).await, Verdict::Accepted);
}

pub async fn a_started_job_of_a_lost_worker_has_spent_its_attempt(harness: &impl Harness) {
    let (process, doomed) = (Process::start(harness).await, Process::start(harness).await);
    process.enqueue(0, [job(1)]).await;
    doomed.worker(1).await.start(1).await;
    drop(doomed);
    process.reclaim(3).await;
    let detail = process.detail(1).await;
    assert_eq!((detail.view.state, detail.view.attempt), (State::Available, 1));
    assert_eq!((detail.view.error.as_deref(), detail.view.run_at), (Some("worker lost"), at(0)));
    let [record] = &detail.attempts[..] else { panic!("one attempt") };
    assert_eq!((record.end, record.worker), (AttemptEnd::Lost, worker_id(1)));
    assert_eq!((record.claimed_at, record.started_at, record.ended_at), (at(1), None, at(3)));
    let last = detail.timeline.last().expect("it has moved");
    assert_eq!((last.at, last.cause, &last.actor), (at(3), Some(Cause::Lose), &Actor::system()));
}

pub async fn an_unstarted_job_of_a_lost_worker_keeps_its_attempt(harness: &impl Harness) {
    let (process, doomed) = (Process::start(harness).await, Process::start(harness).await);
    process.enqueue(0, [job(1)]).await;
    doomed.worker(1).await.take(1).await;
    drop(doomed);
    assert_eq!(process.reclaim(3).await.workers[0].given_back, 1);
    let detail = process.detail(1).await;
    assert_eq!((detail.view.state, detail.view.attempt), (State::Available, 0));
    assert_eq!((detail.attempts, detail.view.error), (Vec::new(), None));
    let last = detail.timeline.last().expect("it has moved");
    assert_eq!((last.cause, &last.actor), (Some(Cause::GiveBack), &Actor::system()));
    assert_eq!(last.reason.as_deref(), Some("worker lost before the job was started"));
}

pub async fn the_mark_of_an_earlier_attempt_is_none_for_this_one(harness: &impl Harness) {
    let (process, doomed) = (Process::start(harness).await, Process::start(harness).await);
    process.enqueue(0, [job(1)]).await;
    let worker = doomed.worker(1).await;
    let first = worker.start(1).await;
    worker.end(2, &first, failed("boom")).await;
    process.change(3, 1, Change::RunNow).await;
    worker.take(4).await;
    drop(doomed);
    assert_eq!(process.reclaim(5).await.workers[0].given_back, 1);
    assert_eq!(process.view(1).await.attempt, 1);
}

pub async fn three_lost_workers_in_a_row_quarantine_a_job(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, [NewJob { max_attempts: MaxAttempts::Unlimited, ..job(1) }]).await;
    for n in 1..=3 {
        assert_eq!(process.state(1).await, State::Available);
        let doomed = Process::start(harness).await;
        doomed.worker(n).await.start(1).await;
        drop(doomed);
        assert_eq!(process.reclaim(2).await.workers[0].ended, usize::from(n == 3));
    }
    let view = process.view(1).await;
    assert_eq!((view.state, view.attempt), (State::Failed, 3));
    assert_eq!(view.error.as_deref(), Some("worker lost 3 times"));
}

pub async fn a_job_that_lost_two_workers_in_a_row_has_its_last_chance(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let survivor = process.worker(9).await;
    process.enqueue(0, [job(1), job(2)]).await;
    for n in 1..=2 {
        let doomed = Process::start(harness).await;
        let worker = doomed.worker(n).await;
        let held = [worker.start(1).await, worker.start(1).await];
        assert!(last_chances(&process, &held).await.is_empty());
        // The second job's failure breaks its row of losses.
        if n == 2 {
            let second = held.iter().find(|held| held.id == id(2)).expect("both are held");
            worker.end(1, second, failed("boom")).await;
            process.change(1, 2, Change::RunNow).await;
        }
        drop(doomed);
        process.reclaim(2).await;
    }
    let held = [survivor.start(3).await, survivor.start(3).await];
    let first = held.iter().find(|held| held.id == id(1)).expect("both are held");
    assert_eq!(last_chances(&process, &held).await, [first.key]);
}

async fn last_chances(process: &Process, held: &[ClaimedJob]) -> Vec<JobKey> {
    let attempts = held.iter().map(|held| (held.key, held.attempt)).collect();
    process.store().last_chances(attempts).await.unwrap()
}

pub async fn an_attempt_that_ended_in_between_breaks_the_row_of_losses(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let survivor = process.worker(9).await;
    process.enqueue(0, [NewJob { max_attempts: MaxAttempts::Unlimited, ..job(1) }]).await;
    for n in 1..=4 {
        let doomed = Process::start(harness).await;
        doomed.worker(n).await.start(1).await;
        drop(doomed);
        process.reclaim(2).await;
        if n == 2 {
            let held = survivor.start(2).await;
            survivor.end(2, &held, failed("boom")).await;
            process.change(2, 1, Change::RunNow).await;
        }
    }
    let view = process.view(1).await;
    assert_eq!((view.state, view.attempt), (State::Available, 5));
}

pub async fn a_redo_forgives_the_losses_before_it(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, [job(1)]).await;
    for n in 1..=5 {
        let doomed = Process::start(harness).await;
        doomed.worker(n).await.start(1).await;
        drop(doomed);
        process.reclaim(2).await;
        if n == 3 {
            assert_eq!(process.state(1).await, State::Failed);
            process.change(3, 1, Change::Redo { repeat: false }).await;
        }
    }
    assert_eq!(process.state(1).await, State::Available);
}

pub async fn a_loss_in_the_last_attempt_fails_the_job(harness: &impl Harness) {
    let (process, doomed) = (Process::start(harness).await, Process::start(harness).await);
    let one = MaxAttempts::limited(1).expect("a small number");
    process.enqueue(0, [NewJob { max_attempts: one, ..job(1) }]).await;
    doomed.worker(1).await.start(1).await;
    drop(doomed);
    process.reclaim(2).await;
    let view = process.view(1).await;
    assert_eq!((view.state, view.ended_at), (State::Failed, Some(at(2))));
    assert_eq!(view.error.as_deref(), Some("worker lost in attempt 1, the last one"));
}

pub async fn a_job_that_must_not_run_twice_is_dropped_if_it_may_have_run(harness: &impl Harness) {
    let (process, doomed) = (Process::start(harness).await, Process::start(harness).await);
    let once = |n| NewJob { delivery: Delivery::AtMostOnce, ..job(n) };
    process.enqueue(0, [once(1), once(2)]).await;
    let worker = doomed.worker(1).await;
    worker.start(1).await;
    worker.take(1).await;
    drop(doomed);
    process.reclaim(2).await;
    let view = process.view(1).await;
    assert_eq!((view.state, view.attempt), (State::Dropped, 1));
    assert_eq!(view.error.as_deref(), Some("worker lost, and the job must not run twice"));
    assert_eq!(process.state(2).await, State::Available, "it certainly was not started");
}

pub async fn a_job_that_was_to_be_cancelled_is_cancelled(harness: &impl Harness) {
    let (process, doomed) = (Process::start(harness).await, Process::start(harness).await);
    process.enqueue(0, jobs(1..=2)).await;
    let worker = doomed.worker(1).await;
    worker.start(1).await;
    worker.take(1).await;
    process.change(2, 1, Change::Cancel).await;
    process.change(2, 2, Change::Cancel).await;
    drop(doomed);
    assert_eq!(process.reclaim(3).await.workers[0].ended, 2);
    for n in 1..=2 {
        let view = process.view(n).await;
        assert_eq!((view.state, view.ended_at), (State::Cancelled, Some(at(3))));
        assert_eq!(view.error.as_deref(), Some("worker lost after a cancel request"));
    }
}

pub async fn a_closed_handle_counts_as_a_dead_process(harness: &impl Harness) {
    let (process, closing) = (Process::start(harness).await, Process::start(harness).await);
    process.enqueue(0, [job(1)]).await;
    let worker = closing.worker(1).await;
    worker.start(1).await;
    closing.store().close().await.expect("closed");
    assert_eq!(process.reclaim(2).await.workers.len(), 1, "though the marks of its worker are still held");
    assert_eq!(process.state(1).await, State::Available);
}

pub async fn a_lease_that_ran_out_counts_only_for_whoever_has_had_the_store_in_sight(harness: &impl Harness) {
    let (process, doomed) = (Process::start(harness).await, Process::start(harness).await);
    let (worker, other) = (process.worker(1).await, doomed.worker(2).await);
    process.enqueue(0, jobs(1..=2)).await;
    worker.start(1).await;
    other.start(1).await;
    let other = other.id;
    let late = 2 * LEASE_S;
    let begun = process.reclaim_seeing(late, Sight::default()).await;
    assert_eq!(begun.workers, [], "it has only begun to look");
    drop(doomed);
    let gone = process.reclaim_seeing(late, begun.sight).await;
    assert_eq!(gone.workers.len(), 1, "that a process is gone is seen at once");
    assert_eq!(gone.workers[0].id, other);
    let lapsed = process.reclaim_seeing(late, Sight::endless()).await;
    assert_eq!(lapsed.workers.len(), 1);
    assert_eq!((lapsed.workers[0].id, lapsed.workers[0].how.as_str()), (worker.id, "its lease ran out"));
}
