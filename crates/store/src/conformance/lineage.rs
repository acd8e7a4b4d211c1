//! What the queue was tested for that generators and bulk jobs come from, under its own numbers: PH-1 to PH-12, and what its
//! users asked for on top of that. Where Taskwright promises something else, the scenario says what, and why.

use std::time::Duration;

use taskwright_core::attempt::AttemptEnd;
use taskwright_core::{Backoff, MaxAttempts, NewJob, Outcome, Priority, State, Verdict};

use super::Harness;
use super::fixture::*;
use crate::{Change, Changed};

pub async fn ph_1_a_queued_job_is_given(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    assert_eq!(numbers(&worker.claim(worker.ask(1, 1)).await), [1]);
}

pub async fn ph_2_a_job_that_somebody_has_is_not_given_again(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let (worker, other) = (process.worker(1).await, process.worker(2).await);
    process.enqueue(0, [job(1)]).await;
    worker.take(1).await;
    assert_eq!(numbers(&worker.claim_all(2).await), NONE);
    assert_eq!(numbers(&other.claim_all(2).await), NONE);
}

pub async fn ph_3_of_two_equal_jobs_the_older_comes_first(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(2)]).await;
    process.enqueue(1, [job(1)]).await;
    assert_eq!((number(worker.take(2).await.id), number(worker.take(2).await.id)), (2, 1));
}

/// Phabricator puts what was lost behind all that is new, so that a job which kills its workers cannot stop the queue. Here it
/// keeps its place, so that a lost worker delays nobody, and it is the third loss in a row that takes it out of the way.
pub async fn ph_4_a_job_whose_worker_was_lost_keeps_its_place_and_cannot_stop_the_queue(
    harness: &impl Harness,
) {
    let process = Process::start(harness).await;
    process.enqueue(0, jobs(1..=2)).await;
    for (n, now) in (1..=3).zip((0..).step_by(100)) {
        let doomed = Process::start(harness).await;
        let worker = doomed.worker_at(now, n).await;
        assert_eq!(number(worker.start(now + 1).await.id), 1);
        drop(doomed);
        process.reclaim(now + 2).await;
    }
    assert_eq!(process.state(1).await, State::Failed);
    let worker = process.worker_at(300, 9).await;
    assert_eq!(numbers(&worker.claim_all(301).await), [2]);
}

pub async fn ph_5_a_job_that_is_done_is_completed(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let held = worker.take(1).await;
    worker.end(2, &held, completed()).await;
    assert_eq!(process.state(1).await, State::Completed);
}

pub async fn ph_6_a_permanent_failure_ends_a_job_as_failed(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let held = worker.take(1).await;
    worker.end(2, &held, Outcome::Fail { error: "no such commit".to_owned() }).await;
    assert_eq!(process.state(1).await, State::Failed);
}

pub async fn ph_7_an_ordinary_failure_ends_no_job_and_is_told(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let held = worker.take(1).await;
    worker.end(2, &held, failed("the host is away")).await;
    let view = process.view(1).await;
    assert_eq!((view.state, view.error.as_deref()), (State::Retryable, Some("the host is away")));
}

/// Phabricator's three retries are four executions; three attempts are three here.
pub async fn ph_8_a_job_has_as_many_executions_as_it_may_have_attempts(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    let three = MaxAttempts::limited(3).expect("at least one");
    process.enqueue(0, [NewJob { max_attempts: three, ..job(1) }]).await;
    for (attempt, now) in (1..=3).zip((0..).step_by(1_000)) {
        process.promote(now).await;
        let held = worker.take(now).await;
        assert_eq!(held.attempt, attempt);
        worker.end(now + 1, &held, failed("boom")).await;
        let expected = if attempt < 3 { State::Retryable } else { State::Failed };
        assert_eq!((process.state(1).await, process.view(1).await.attempt), (expected, attempt));
    }
    process.promote(9_000).await;
    assert_eq!(numbers(&worker.claim_all(9_000).await), NONE);
}

pub async fn ph_9_nothing_comes_before_a_long_back_off_is_over(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    let backoff = Some(Backoff::Fixed { delay: Duration::from_secs(1_000_000) });
    process.enqueue(0, [NewJob { backoff, ..job(1) }]).await;
    let held = worker.take(1).await;
    worker.end(2, &held, failed("boom")).await;
    for (now, expected) in [(3, vec![]), (1_000_001, vec![]), (1_000_002, vec![1])] {
        process.promote(now).await;
        assert_eq!(numbers(&worker.claim_all(now).await), expected, "after {now} s");
    }
}

/// No job says how long it needs: a worker renews its own lease, for as long as it takes.
pub async fn ph_10_a_job_may_take_as_long_as_its_worker_lives(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let (worker, other) = (process.worker(1).await, process.worker_at(1_000_000, 2).await);
    process.enqueue(0, [job(1)]).await;
    let held = worker.start(1).await;
    worker.renew(999_999).await;
    process.reclaim(1_000_000).await;
    assert_eq!(numbers(&other.claim_all(1_000_000).await), NONE);
    assert_eq!(worker.end(1_000_001, &held, completed()).await, Verdict::Accepted);
}

/// Of two jobs whose workers were lost Phabricator gives first what was lost first; here the older one.
pub async fn ph_11_of_two_jobs_that_were_lost_the_older_comes_first(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, jobs(1..=2)).await;
    let worker = process.worker_at(0, 1).await;
    worker.start(1).await;
    let second = Process::start(harness).await;
    let doomed = second.worker_at(1, 2).await;
    assert_eq!(number(doomed.start(1).await.id), 2);
    drop(second);
    process.reclaim(2).await;
    process.reclaim(2 * LEASE_S).await;
    let worker = process.worker_at(2 * LEASE_S, 3).await;
    assert_eq!(numbers(&worker.claim_all(2 * LEASE_S).await), [1, 2]);
}

pub async fn ph_12_the_lower_number_comes_first_and_equals_in_their_order(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    let with = |n, priority| NewJob { priority: Priority(priority), ..job(n) };
    process.enqueue(0, [with(1, 2), with(2, 2), with(3, 1)]).await;
    let mut given = Vec::new();
    for _ in 0..3 {
        given.push(number(worker.take(1).await.id));
    }
    assert_eq!(given, [3, 1, 2]);
}

pub async fn ph_x1_a_new_job_that_is_to_wait_is_not_given_before_its_time(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [NewJob { run_at: Some(at(3_600)), ..job(1) }]).await;
    for (now, expected) in [(0, vec![]), (3_599, vec![]), (3_600, vec![1])] {
        process.promote(now).await;
        assert_eq!(numbers(&worker.claim_all(now).await), expected, "after {now} s");
    }
}

pub async fn ph_x2_what_a_worker_says_whose_lease_ran_out_is_refused(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let (slow, other) = (process.worker(1).await, process.worker_at(2 * LEASE_S, 2).await);
    process.enqueue(0, [job(1)]).await;
    let held = slow.start(1).await;
    process.reclaim(2 * LEASE_S).await;
    let again = other.take(2 * LEASE_S).await;
    assert_eq!(slow.end(40, &held, completed()).await, Verdict::Stale);
    assert_eq!(process.state(1).await, State::Running);
    assert_eq!(other.end(41, &again, completed()).await, Verdict::Accepted);
    assert_eq!(slow.end(42, &held, completed()).await, Verdict::Stale);
    let ends: Vec<_> = process.detail(1).await.attempts.iter().map(|record| record.end).collect();
    assert_eq!(ends, [AttemptEnd::Lost, AttemptEnd::Completed]);
}

/// In Phabricator what is new always wins. Here priority decides, and then the time since when a job could run.
pub async fn ph_x3_a_retry_and_a_new_job_go_by_their_priorities(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [NewJob { priority: Priority::HIGH, ..job(1) }]).await;
    let held = worker.take(0).await;
    worker.end(1, &held, failed("boom")).await;
    process.enqueue(2, [job(2)]).await;
    process.enqueue(30, [NewJob { priority: Priority::HIGH, ..job(3) }]).await;
    process.promote(30).await;
    assert_eq!(numbers(&worker.claim_all(30).await), [1, 3, 2]);
}

/// Phabricator ends the job at once, and what the handler says later is ignored. Here the handler is asked, so that nothing is
/// over while it still runs; what it says after the end is ignored all the same.
pub async fn ph_x6_a_running_job_that_is_cancelled_ends_once(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let held = worker.start(1).await;
    assert_eq!(process.change(2, 1, Change::Cancel).await, Changed::Requested);
    assert_eq!(worker.end(3, &held, failed("stopped")).await, Verdict::Accepted);
    assert_eq!(process.state(1).await, State::Cancelled);
    assert_eq!(worker.end(4, &held, completed()).await, Verdict::Stale);
    assert_eq!(process.state(1).await, State::Cancelled);
}

pub async fn ph_x7_a_completed_job_runs_again_only_when_it_is_said_twice(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let held = worker.take(1).await;
    worker.end(2, &held, completed()).await;
    let refused = process.change(3, 1, Change::Redo { repeat: false }).await;
    assert_eq!(refused, skipped("it is completed; --repeat runs it again"));
    assert_eq!(process.change(3, 1, Change::Redo { repeat: true }).await, Changed::Done);
    // As many failures are left to it as at first: its attempts are numbered on.
    let view = process.view(1).await;
    assert_eq!((view.state, view.attempt), (State::Available, 1));
    assert_eq!(view.max_attempts, MaxAttempts::default().on_top_of(1));
    assert_eq!(number(worker.take(4).await.id), 1);
}
