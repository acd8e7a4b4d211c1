//! Steps: what running attempts have done is kept for those that come after them.

use taskwright_core::limit::STEP_BYTES_MAX;
use taskwright_core::{MaxAttempts, NewJob, State, StepName, Verdict};

use super::Harness;
use super::fixture::*;
use crate::{Change, Changed, ClaimedJob, NewStep};

fn step(now: u64, job: &ClaimedJob, name: &str, result: &str) -> NewStep {
    let name = StepName::new(name).expect("scenarios name steps well");
    NewStep { key: job.key, attempt: job.attempt, at: at(now), name, result: result.to_owned() }
}

async fn keep(worker: &Worker<'_>, steps: Vec<NewStep>) -> Vec<Verdict> {
    worker.keep(steps).await
}

/// The steps of a job: by name, with attempt and result.
async fn kept(process: &Process, n: u32) -> Vec<(String, u32, String)> {
    let steps = process.store().steps(id(n)).await.expect("they are listed");
    steps.into_iter().map(|step| (step.name.to_string(), step.attempt, step.result)).collect()
}

fn told(name: &str, attempt: u32, result: &str) -> (String, u32, String) {
    (name.to_owned(), attempt, result.to_owned())
}

pub async fn what_an_attempt_kept_is_there_for_the_next_in_its_order(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=2)).await;
    let held = worker.claim_all(1).await;
    let mixed = vec![step(2, &held[0], "z", "1"), step(2, &held[1], "a", "true"), step(3, &held[0], "b", "[2]")];
    assert_eq!(keep(&worker, mixed).await, [Verdict::Accepted; 3]);
    worker.end(4, &held[0], failed("no")).await;
    process.change(5, 1, Change::RunNow).await;
    let again = worker.take(6).await;
    assert_eq!(keep(&worker, vec![step(7, &again, "a", "null")]).await, [Verdict::Accepted]);
    let another = Process::start(harness).await;
    assert_eq!(kept(&another, 1).await, [told("z", 1, "1"), told("b", 1, "[2]"), told("a", 2, "null")]);
    assert_eq!(kept(&another, 2).await, [told("a", 1, "true")]);
    assert_eq!(kept(&another, 9).await, []);
    let at_moments = another.store().steps(id(1)).await.expect("they are listed");
    assert!(at_moments.iter().map(|step| step.at).eq([at(2), at(3), at(7)]));
}

pub async fn an_attempt_that_does_not_hold_the_job_keeps_no_step(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let (worker, other) = (process.worker(1).await, process.worker(2).await);
    process.enqueue(0, [job(1)]).await;
    let held = worker.take(1).await;
    let later = ClaimedJob { attempt: 2, ..held.clone() };
    assert_eq!(keep(&worker, vec![step(2, &later, "a", "1")]).await, [Verdict::Stale]);
    assert_eq!(keep(&other, vec![step(2, &held, "a", "1")]).await, [Verdict::Stale]);
    assert_eq!(keep(&worker, vec![step(2, &held, "a", "1")]).await, [Verdict::Accepted]);
    worker.end(3, &held, failed("no")).await;
    process.change(4, 1, Change::RunNow).await;
    let again = other.take(5).await;
    assert_eq!(keep(&worker, vec![step(6, &held, "a", "2")]).await, [Verdict::Stale], "a zombie replaces nothing");
    assert_eq!(kept(&process, 1).await, [told("a", 1, "1")]);
    other.end(7, &again, completed()).await;
    assert_eq!(keep(&other, vec![step(8, &again, "b", "1")]).await, [Verdict::Stale]);
}

pub async fn a_step_that_is_kept_once_more_is_replaced(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let held = worker.take(1).await;
    for (name, result) in [("a", "1"), ("b", "2"), ("a", "3")] {
        assert_eq!(keep(&worker, vec![step(2, &held, name, result)]).await, [Verdict::Accepted]);
    }
    assert_eq!(kept(&process, 1).await, [told("b", 1, "2"), told("a", 1, "3")]);
}

pub async fn a_step_gives_no_more_than_it_may(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let held = worker.take(1).await;
    let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    let large = vec![step(2, &held, "a", "1"), step(2, &held, "b", &text(STEP_BYTES_MAX + 1))];
    let refused = process.store().keep_steps(worker.id, large).await.expect_err("it is too large");
    assert!(refused.is_domain());
    assert_eq!(kept(&process, 1).await, [], "all or none");
    assert_eq!(keep(&worker, vec![step(2, &held, "b", &text(STEP_BYTES_MAX))]).await, [Verdict::Accepted]);
}

pub async fn a_failed_job_that_runs_again_has_its_steps_and_a_completed_one_does_them_again(
    harness: &impl Harness,
) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, (1..=2).map(|n| NewJob { max_attempts: MaxAttempts::limited(1).expect("one"), ..job(n) })).await;
    for held in worker.claim_all(1).await {
        keep(&worker, vec![step(2, &held, "a", "1")]).await;
        let outcome = if number(held.id) == 1 { failed("no") } else { completed() };
        worker.end(3, &held, outcome).await;
    }
    assert_eq!(process.change(4, 1, Change::Redo { repeat: false }).await, Changed::Done);
    assert_eq!(process.change(4, 2, Change::Redo { repeat: true }).await, Changed::Done);
    assert_eq!((kept(&process, 1).await.len(), kept(&process, 2).await.len()), (1, 0));
}

pub async fn an_attempt_that_kept_a_step_is_not_one_of_three_lost_in_a_row(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, [NewJob { max_attempts: MaxAttempts::Unlimited, ..job(1) }]).await;
    // In each round one attempt comes further, and two do not.
    for n in 1..=9 {
        let doomed = Process::start(harness).await;
        let worker = doomed.worker(n).await;
        let held = worker.start(1).await;
        if n % 3 == 0 {
            assert_eq!(keep(&worker, vec![step(1, &held, &n.to_string(), "1")]).await, [Verdict::Accepted]);
        }
        drop(worker);
        drop(doomed);
        assert_eq!(process.reclaim(2).await.workers[0].ended, 0, "{n}");
    }
    for n in 10..=12 {
        let doomed = Process::start(harness).await;
        doomed.worker(n).await.start(1).await;
        drop(doomed);
        process.reclaim(2).await;
    }
    assert_eq!((process.state(1).await, process.view(1).await.attempt), (State::Failed, 12));
}
