//! How attempts end, and what becomes of their jobs.

use std::time::Duration;

use taskwright_core::attempt::{AttemptEnd, Outcome};
use taskwright_core::{
    AttemptRecord, Backoff, Cause, Decision, MaxAttempts, NewJob, State, UniqueScope, Usage, Verdict,
};

use super::Harness;
use super::fixture::*;
use crate::{Change, Finish};

pub async fn a_completed_job_keeps_its_result(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let held = worker.take(1).await;
    let result = Some(r#"{"sent": 3}"#.to_owned());
    assert_eq!(worker.end(2, &held, Outcome::Completed { result: result.clone() }).await, Verdict::Accepted);
    let detail = process.detail(1).await;
    assert_eq!((detail.result, detail.view.state), (result, State::Completed));
    assert_eq!((detail.view.ended_at, detail.view.attempt), (Some(at(2)), 1));
    assert_eq!((detail.view.worker, detail.view.claimed_at), (Some(worker.id), Some(at(1))));
    assert_eq!(detail.view.error, None);
}

pub async fn a_result_is_gone_once_the_job_runs_again(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let held = worker.take(1).await;
    worker.end(2, &held, Outcome::Completed { result: Some("1".to_owned()) }).await;
    process.change(3, 1, Change::Redo { repeat: true }).await;
    assert_eq!(process.detail(1).await.result, None);
    process.change(4, 1, Change::Cancel).await;
    assert_eq!(process.detail(1).await.result, None);
}

pub async fn an_attempt_leaves_its_record(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let held = worker.take(1).await;
    let usage = Usage { cpu_user_us: 1, cpu_system_us: 2, rss_peak_bytes: 3, read_bytes: 4, written_bytes: 5 };
    let end = Finish { started_at: at(2), usage: Some(usage), ..ending(3, &held, failed("boom")) };
    worker.finish(4, vec![end]).await;
    let record = AttemptRecord {
        attempt: 1,
        worker: worker.id,
        claimed_at: at(1),
        started_at: Some(at(2)),
        ended_at: at(3),
        end: AttemptEnd::Failed,
        error: Some("boom".to_owned()),
        usage: Some(usage),
    };
    assert_eq!(process.detail(1).await.attempts, [record]);
}

pub async fn a_completed_attempt_leaves_its_record_too(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    // The second one takes the way of jobs that have something to let go.
    let keyed = NewJob { unique: unique("k", UniqueScope::Active), ..job(2) };
    process.enqueue(0, [job(1), keyed]).await;
    let usage = Usage { cpu_user_us: 7, ..Usage::default() };
    let ends = worker.claim_all(1).await.into_iter();
    let ends = ends.map(|job| Finish { usage: Some(usage), ..ending(3, &job, completed()) });
    worker.finish(3, ends.collect()).await;
    for n in [1, 2] {
        let record = AttemptRecord {
            attempt: 1,
            worker: worker.id,
            claimed_at: at(1),
            started_at: Some(at(1)),
            ended_at: at(3),
            end: AttemptEnd::Completed,
            error: None,
            usage: Some(usage),
        };
        assert_eq!(process.detail(n).await.attempts, [record]);
    }
}

pub async fn a_failed_attempt_waits_for_its_next_one(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let held = worker.take(1).await;
    worker.end(2, &held, failed("boom")).await;
    let view = process.view(1).await;
    assert_eq!((view.state, view.attempt, view.run_at), (State::Retryable, 1, at(12)));
    assert_eq!((view.error.as_deref(), view.ended_at), (Some("boom"), None));
    assert_eq!((view.worker, view.claimed_at), (Some(worker.id), Some(at(1))));
    assert!(worker.claim_all(3).await.is_empty());
    process.promote(12).await;
    assert_eq!(worker.take(12).await.attempt, 2);
}

pub async fn three_attempts_are_three_executions(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    let backoff = Some(Backoff::Fixed { delay: Duration::ZERO });
    let three = MaxAttempts::limited(3).expect("a small number");
    process.enqueue(0, [NewJob { max_attempts: three, backoff, ..job(1) }]).await;
    for attempt in 1..=3 {
        process.promote(3 * attempt).await;
        let held = worker.take(3 * attempt).await;
        assert_eq!((u64::from(held.attempt), held.max_attempts), (attempt, three));
        worker.end(3 * attempt + 1, &held, failed(&format!("boom {attempt}"))).await;
    }
    let detail = process.detail(1).await;
    assert_eq!((detail.view.state, detail.view.attempt), (State::Failed, 3));
    assert_eq!((detail.view.error.as_deref(), detail.view.ended_at), (Some("boom 3"), Some(at(10))));
    assert_eq!(detail.attempts.iter().map(|record| record.attempt).collect::<Vec<_>>(), [1, 2, 3]);
}

pub async fn a_permanent_failure_is_the_last_attempt(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let held = worker.take(1).await;
    worker.end(2, &held, Outcome::Fail { error: "no such user".to_owned() }).await;
    let view = process.view(1).await;
    assert_eq!((view.state, view.error.as_deref()), (State::Failed, Some("no such user")));
}

pub async fn a_handler_may_cancel_its_job(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let held = worker.take(1).await;
    worker.end(2, &held, Outcome::Cancelled { reason: "account closed".to_owned() }).await;
    let detail = process.detail(1).await;
    assert_eq!(detail.view.state, State::Cancelled);
    assert_eq!(detail.view.error.as_deref(), Some("account closed"));
    assert_eq!(detail.attempts[0].end, AttemptEnd::Cancelled);
}

pub async fn a_snooze_does_not_count_as_an_attempt(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    for round in 0..7 {
        process.promote(10 * round).await;
        let held = worker.take(10 * round).await;
        assert_eq!(held.attempt, 1);
        worker.end(10 * round + 1, &held, Outcome::Snooze { delay: Duration::from_secs(4) }).await;
        let detail = process.detail(1).await;
        assert_eq!((detail.view.state, detail.view.attempt), (State::Scheduled, 0));
        assert_eq!((detail.view.run_at, detail.view.worker), (at(10 * round + 5), None));
        assert_eq!((detail.attempts, detail.view.claimed_at), (Vec::new(), None));
    }
}

pub async fn a_job_that_is_given_back_keeps_its_attempt(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let first = worker.take(1).await;
    worker.end(2, &first, failed("boom")).await;
    process.promote(20).await;
    let second = worker.take(20).await;
    assert_eq!(worker.give_back(21, &second).await, Verdict::Accepted);
    let detail = process.detail(1).await;
    assert_eq!((detail.view.state, detail.view.attempt), (State::Available, 1));
    assert_eq!((detail.view.run_at, detail.attempts.len()), (at(12), 1));
    assert_eq!(worker.take(22).await.attempt, 2);
}

pub async fn an_end_that_the_rules_forbid_refuses_the_whole_call(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=3)).await;
    let held = worker.claim_all(1).await;
    let impossible = Decision {
        cause: Cause::Promote,
        to: State::Available,
        run_at: None,
        end: Some(AttemptEnd::Failed),
        reason: None,
        result: None,
    };
    let ends = vec![
        ending(2, &held[0], completed()),
        Finish { decision: impossible, ..ending(2, &held[1], completed()) },
        ending(2, &held[2], failed("boom")),
    ];
    let refused = process.store().finish(at(2), worker.id, ends).await.expect_err("no such move");
    assert!(refused.is_domain());
    for n in 1..=3 {
        let detail = process.detail(n).await;
        assert_eq!((detail.view.state, detail.attempts.len()), (State::Running, 0));
    }
    assert_eq!(worker.end(3, &held[0], completed()).await, Verdict::Accepted);
}

pub async fn a_batch_of_every_end_takes_each_to_its_place(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=60)).await;
    let held = worker.claim_all(1).await;
    let outcome = |n: u32| match n % 5 {
        0 => Outcome::Snooze { delay: Duration::from_secs(9) },
        1 => completed(),
        2 => failed("boom"),
        3 => Outcome::Fail { error: "bad".to_owned() },
        _ => Outcome::GiveBack { reason: "stop".to_owned() },
    };
    let ends = held.iter().map(|job| ending(2, job, outcome(number(job.id)))).collect();
    assert!(worker.finish(2, ends).await.iter().all(|verdict| *verdict == Verdict::Accepted));
    for n in 1..=60 {
        let expected = match n % 5 {
            0 => State::Scheduled,
            1 => State::Completed,
            2 => State::Retryable,
            3 => State::Failed,
            _ => State::Available,
        };
        assert_eq!(process.state(n).await, expected, "job {n}");
    }
}
