//! Jobs that are stored with the completion of another, and jobs that sleep until they are awakened.

use std::time::Duration;

use taskwright_core::limit::ENQUEUE_JOBS_MAX;
use taskwright_core::{MaxAttempts, NewJob, Outcome, Priority, State, UniqueScope, Verdict};

use super::Harness;
use super::fixture::*;
use crate::{Change, Changed, ClaimedJob, Finish, JobKey};

/// The end of an attempt that makes these jobs if it completes.
fn making(now: u64, held: &ClaimedJob, outcome: Outcome, follow_ups: Vec<NewJob>) -> Finish {
    Finish { follow_ups, ..ending(now, held, outcome) }
}

/// PH-X5: success with two follow-ups, then both exist.
pub async fn ph_x5_follow_ups_are_stored_with_the_completion(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=3)).await;
    let held = worker.claim_all(1).await;
    let urgent = NewJob { priority: Priority::HIGH, ..job(10) };
    let later = NewJob { run_at: Some(at(60)), ..job(11) };
    // Among others that complete without any, and one of its own with a result.
    let ends = vec![
        ending(2, &held[0], completed()),
        making(2, &held[1], completed(), vec![urgent, later]),
        making(2, &held[2], Outcome::Completed { result: Some("7".to_owned()) }, vec![job(12)]),
    ];
    assert_eq!(worker.finish(2, ends).await, [Verdict::Accepted; 3]);
    for n in 1..=3 {
        assert_eq!(process.state(n).await, State::Completed);
    }
    assert_eq!(process.detail(3).await.result.as_deref(), Some("7"));
    let states = [process.state(10).await, process.state(11).await, process.state(12).await];
    assert_eq!(states, [State::Available, State::Scheduled, State::Available]);
    assert_eq!(process.view(10).await.created_at, at(2));
    assert_eq!(numbers(&worker.claim_all(3).await), [10, 12]);
}

/// PH-X5: failure, then none.
pub async fn ph_x5_an_end_that_is_no_completion_makes_no_follow_ups(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=5)).await;
    let held = worker.claim_all(1).await;
    let outcomes = [
        failed("boom"),
        Outcome::Fail { error: "bad".to_owned() },
        Outcome::Snooze { delay: Duration::from_secs(9) },
        Outcome::Cancelled { reason: "enough".to_owned() },
        Outcome::GiveBack { reason: "stop".to_owned() },
    ];
    let ends = (10..).zip(held.iter().zip(outcomes));
    let ends = ends.map(|(n, (held, outcome))| making(2, held, outcome, vec![job(n)])).collect();
    assert_eq!(worker.finish(2, ends).await, [Verdict::Accepted; 5]);
    for n in 10..15 {
        assert!(!process.has(n).await, "follow-up {n}");
    }
}

pub async fn a_stale_completion_makes_no_follow_ups(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let (worker, other) = (process.worker(1).await, process.worker(2).await);
    process.enqueue(0, [job(1)]).await;
    let held = worker.take(1).await;
    let stranger = Finish { key: JobKey(i64::MAX), ..making(2, &held, completed(), vec![job(10)]) };
    assert_eq!(worker.finish(2, vec![stranger]).await, [Verdict::Stale]);
    assert_eq!(other.finish(2, vec![making(2, &held, completed(), vec![job(11)])]).await, [Verdict::Stale]);
    let twice = vec![
        making(2, &held, completed(), vec![job(12)]),
        making(2, &held, completed(), vec![job(13)]),
    ];
    assert_eq!(worker.finish(2, twice).await, [Verdict::Accepted, Verdict::Stale]);
    assert_eq!(process.list(crate::Filter::default()).await, [1, 12]);
}

pub async fn follow_ups_of_a_second_attempt_and_of_a_job_with_a_key_are_stored(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [NewJob { unique: unique("invoice", UniqueScope::Active), ..job(1) }]).await;
    let first = worker.take(1).await;
    worker.finish(2, vec![making(2, &first, failed("boom"), vec![job(10)])]).await;
    process.promote(20).await;
    let second = worker.take(20).await;
    // The follow-up may have the key that its parent lets go.
    let heir = NewJob { unique: unique("invoice", UniqueScope::Active), ..job(11) };
    worker.finish(21, vec![making(21, &second, completed(), vec![heir])]).await;
    assert_eq!((process.state(1).await, process.state(11).await), (State::Completed, State::Available));
    assert!(!process.has(10).await);
}

pub async fn a_completion_counts_with_its_follow_ups_or_not_at_all(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let held = worker.take(1).await;
    let many = (0..).take(ENQUEUE_JOBS_MAX + 1).map(|n| job(100 + n)).collect();
    let end = making(2, &held, completed(), many);
    let refused = process.store().finish(at(2), worker.id, vec![end]).await.expect_err("too many");
    assert!(refused.is_domain());
    assert_eq!((process.state(1).await, process.has(100).await), (State::Running, false));
    assert_eq!(worker.end(3, &held, completed()).await, Verdict::Accepted);
}

pub async fn one_snooze_too_many_fails_the_job(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [NewJob { max_attempts: MaxAttempts::limited(1).expect("at least one"), ..job(1) }]).await;
    let snooze = |now, held: &_| {
        let outcome = Outcome::Snooze { delay: Duration::from_secs(4) };
        vec![Finish { snoozes_max: 3, ..ending(now, held, outcome) }]
    };
    for round in 0..2 {
        let start = 1_000 * round;
        for now in (0..4).map(|n| start + 10 * n) {
            process.promote(now).await;
            let held = worker.take(now).await;
            worker.finish(now + 1, snooze(now + 1, &held)).await;
        }
        let detail = process.detail(1).await;
        assert_eq!(detail.view.state, State::Failed);
        let why = "it was snoozed 3 times already, and 3 are allowed";
        assert_eq!(detail.view.error.as_deref(), Some(why));
        // Whoever asks for another run forgives the snoozes before.
        assert_eq!(process.change(start + 50, 1, Change::Redo { repeat: false }).await, Changed::Done);
    }
}

/// PH-X4: not run before its time, the attempt not counted; awakened it is ready at once.
pub async fn ph_x4_a_snoozed_job_can_be_awakened(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let held = worker.take(1).await;
    worker.end(2, &held, Outcome::Snooze { delay: Duration::from_secs(60) }).await;
    process.promote(61).await;
    assert_eq!(numbers(&worker.claim_all(61).await), NONE);
    // What was done to it without moving it changes nothing about why it sleeps.
    process.change(61, 1, Change::Reprioritise { priority: Priority::HIGH }).await;
    assert_eq!(process.change(61, 1, Change::Awaken).await, Changed::Done);
    let view = process.view(1).await;
    assert_eq!((view.state, view.run_at, view.attempt), (State::Available, at(61), 0));
    assert_eq!(worker.take(61).await.attempt, 1);
}

/// PH-X4: awaken on a failed or leased task does nothing.
pub async fn ph_x4_nothing_but_a_snoozed_job_is_awakened(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=4)).await;
    process.enqueue(0, [NewJob { run_at: Some(at(60)), ..job(5) }]).await;
    let held = worker.claim(worker.ask(1, 3)).await;
    worker.end(2, &held[1], failed("boom")).await;
    worker.end(2, &held[2], Outcome::Fail { error: "bad".to_owned() }).await;
    for (n, state) in [(1, "running"), (2, "retryable"), (3, "failed"), (4, "available")] {
        assert_eq!(process.change(3, n, Change::Awaken).await, skipped(&format!("it is {state}")));
        assert_eq!(process.state(n).await.as_str(), state);
    }
    let not_by_its_handler = skipped("it is scheduled, and not by its handler; run-now starts it at once");
    assert_eq!(process.change(3, 5, Change::Awaken).await, not_by_its_handler);
    // Somebody else has the last word about when it runs.
    worker.end(4, &held[0], Outcome::Snooze { delay: Duration::from_secs(60) }).await;
    process.change(5, 1, Change::Delay { until: at(600) }).await;
    assert_eq!(process.change(6, 1, Change::Awaken).await, not_by_its_handler);
    assert_eq!(process.change(6, 9, Change::Awaken).await, Changed::Unknown);
}
