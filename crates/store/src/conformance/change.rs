//! Everything else that people do to jobs.

use taskwright_core::attempt::{AttemptEnd, Outcome};
use taskwright_core::{Cause, Delivery, MaxAttempts, NewJob, Priority, State, Verdict};

use super::Harness;
use super::fixture::*;
use crate::{Change, Changed, Filter};

const REDO: Change = Change::Redo { repeat: false };
const REPEAT: Change = Change::Redo { repeat: true };

/// One job in each state that can be brought about: 1 held, 2 scheduled, 3 available, 4 running, 5 retryable,
/// 6 completed, 7 failed, 8 cancelled, 9 dropped. All within ten seconds, but for the hold that expired.
async fn one_in_each_state(process: &Process) {
    let worker = process.worker(1).await;
    let held = |n| NewJob { held: true, ..job(n) };
    let urgent = |n| NewJob { priority: Priority::REALTIME, ..job(n) };
    process.enqueue(0, [held(9)]).await;
    assert_eq!(process.promote(3_600).await.expired, 1);
    let scheduled = NewJob { run_at: Some(at(9_000)), ..job(2) };
    process
        .enqueue(3_600, [held(1), scheduled, job(3), urgent(4), urgent(5), urgent(6), urgent(7), job(8)])
        .await;
    process.change(3_601, 8, Change::Cancel).await;
    let claimed = worker.claim(worker.ask(3_602, 4)).await;
    worker.end(3_603, &claimed[1], failed("boom")).await;
    worker.end(3_603, &claimed[2], completed()).await;
    worker.end(3_603, &claimed[3], Outcome::Fail { error: "bad".to_owned() }).await;
}

const STATES: [State; 9] = [
    State::Held,
    State::Scheduled,
    State::Available,
    State::Running,
    State::Retryable,
    State::Completed,
    State::Failed,
    State::Cancelled,
    State::Dropped,
];

/// Makes the change to a job in each state; the states in which it was done, and that the rest say why not.
async fn done_in(process: &Process, change: Change, skips: impl Fn(State) -> String) -> Vec<State> {
    one_in_each_state(process).await;
    let mut done = Vec::new();
    for (state, n) in STATES.into_iter().zip(1..) {
        assert_eq!(process.state(n).await, state, "job {n}");
        let before = process.detail(n).await;
        match process.change(3_610, n, change).await {
            Changed::Done => done.push(state),
            other => {
                assert_eq!(other, Changed::Skipped(skips(state)), "{state}");
                assert_eq!(process.detail(n).await, before, "{state}");
            }
        }
    }
    assert_eq!(process.change(3_610, 99, change).await, Changed::Unknown);
    done
}

fn it_is(state: State) -> String {
    format!("it is {state}")
}

pub async fn what_is_over_can_be_redone(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let why = |state| match state {
        State::Completed => "it is completed; --repeat runs it again".to_owned(),
        state => it_is(state),
    };
    let done = done_in(&process, REDO, why).await;
    assert_eq!(done, [State::Failed, State::Cancelled, State::Dropped]);
    for n in 7..=9 {
        let view = process.view(n).await;
        assert_eq!((view.state, view.run_at, view.ended_at), (State::Available, at(3_610), None));
    }
}

pub async fn what_is_completed_can_be_repeated(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let done = done_in(&process, REPEAT, it_is).await;
    assert_eq!(done, [State::Completed, State::Failed, State::Cancelled, State::Dropped]);
}

pub async fn what_waits_for_its_time_can_be_run_now(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let done = done_in(&process, Change::RunNow, it_is).await;
    assert_eq!(done, [State::Scheduled, State::Retryable]);
    for n in [2, 5] {
        let view = process.view(n).await;
        assert_eq!((view.state, view.run_at), (State::Available, at(3_610)));
    }
}

pub async fn what_is_held_can_be_released(harness: &impl Harness) {
    let process = Process::start(harness).await;
    assert_eq!(done_in(&process, Change::Release, it_is).await, [State::Held]);
    let view = process.view(1).await;
    assert_eq!((view.state, view.run_at), (State::Available, at(3_610)));
}

pub async fn what_waits_can_be_delayed(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let done = done_in(&process, Change::Delay { until: at(4_000) }, it_is).await;
    assert_eq!(done, [State::Scheduled, State::Available, State::Retryable]);
    for n in [2, 3, 5] {
        let view = process.view(n).await;
        assert_eq!((view.state, view.run_at), (State::Scheduled, at(4_000)));
    }
    assert_eq!(process.promote(4_000).await.promoted, 3);
}

pub async fn a_delay_to_a_moment_that_has_passed_is_refused(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, [job(1), NewJob { run_at: Some(at(99)), ..job(2) }]).await;
    for (n, until) in [(1, at(4)), (1, at(5)), (2, at(3))] {
        let changed = process.change(5, n, Change::Delay { until }).await;
        assert_eq!(changed, skipped("the moment has passed; run-now starts it at once"));
    }
    assert_eq!((process.state(1).await, process.view(2).await.run_at), (State::Available, at(99)));
}

pub async fn what_waits_can_get_another_priority(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let change = Change::Reprioritise { priority: Priority(77) };
    let done = done_in(&process, change, it_is).await;
    assert_eq!(done, [State::Held, State::Scheduled, State::Available, State::Retryable]);
    for (n, state) in [(1, State::Held), (2, State::Scheduled), (3, State::Available), (5, State::Retryable)]
    {
        let view = process.view(n).await;
        assert_eq!((view.priority, view.state), (Priority(77), state), "a priority moves nothing");
        let again = process.change(3_611, n, change).await;
        assert_eq!(again, skipped("it has that priority already"));
    }
    let worker = process.worker_at(3_612, 2).await;
    assert_eq!(numbers(&worker.claim_all(3_612).await), [3], "what is not yet due is not claimed");
    process.promote(3_613).await;
    let claimed = worker.claim_all(3_613).await;
    assert_eq!((numbers(&claimed), claimed[0].attempt), (vec![5], 2));
}

/// Jobs that have run before: 1 was given back, 2 failed for good and was redone, 3 completed and was repeated; 4 is
/// retryable from second 12 on, and 5 completed, was repeated, cancelled and redone.
async fn all_ran_before(process: &Process, change: Change) {
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=5)).await;
    let claimed = worker.claim_all(1).await;
    worker.give_back(2, &claimed[0]).await;
    worker.end(2, &claimed[1], Outcome::Fail { error: "bad".to_owned() }).await;
    worker.end(2, &claimed[2], completed()).await;
    worker.end(2, &claimed[3], failed("boom")).await;
    worker.end(2, &claimed[4], completed()).await;
    process.change(3, 2, REDO).await;
    process.change(3, 3, REPEAT).await;
    process.change(3, 5, REPEAT).await;
    for n in 1..=5 {
        assert_eq!(process.change(4, n, change).await, Changed::Done, "job {n}");
    }
    process.change(5, 5, Change::Cancel).await;
    process.change(6, 5, REDO).await;
}

pub async fn what_ran_before_runs_once_with_its_new_priority(harness: &impl Harness) {
    let process = Process::start(harness).await;
    all_ran_before(&process, Change::Reprioritise { priority: Priority(77) }).await;
    let queues = process.store().queues(at(6), None).await.expect("the queues are listed");
    assert_eq!((queues[0].available, queues[0].waiting, queues[0].running), (4, 1, 0));
    let worker = process.worker(2).await;
    let mut runs = Vec::new();
    for now in [7, 8] {
        runs.extend(worker.claim_all(now).await);
    }
    process.promote(12).await;
    for now in [12, 13] {
        runs.extend(worker.claim_all(now).await);
    }
    let mut told: Vec<_> = runs.iter().map(|job| (number(job.id), job.attempt)).collect();
    told.sort_unstable();
    assert_eq!(told, [(1, 1), (2, 2), (3, 2), (4, 2), (5, 2)]);
    for job in &runs {
        assert_eq!(worker.end(14, job, completed()).await, Verdict::Accepted);
    }
    for (n, attempts) in [(1, 1), (2, 2), (3, 2), (4, 2), (5, 2)] {
        let detail = process.detail(n).await;
        assert_eq!((detail.view.state, detail.attempts.len()), (State::Completed, attempts), "job {n}");
    }
}

pub async fn a_new_priority_stays_in_the_timeline(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, [job(1)]).await;
    process.change(1, 1, Change::Reprioritise { priority: Priority(5) }).await;
    let why = Some("the boss waits".to_owned());
    let change = Change::Reprioritise { priority: Priority::REALTIME };
    process.store().change(at(2), vec![id(1)], change, alice(), why).await.expect("answered");
    let timeline = process.detail(1).await.timeline;
    let told: Vec<_> = timeline[1..].iter().map(|entry| entry.reason.as_deref().unwrap_or("")).collect();
    assert_eq!(told, ["priority default -> 5", "priority 5 -> realtime: the boss waits"]);
    assert!(timeline[1..].iter().all(|entry| (entry.cause, entry.to) == (None, State::Available)));
    assert!(timeline[1..].iter().all(|entry| entry.actor == alice()));
}

pub async fn only_what_is_over_can_be_deleted(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let done = done_in(&process, Change::Delete, |state| format!("it is {state}; cancel it first")).await;
    assert_eq!(done, [State::Completed, State::Failed, State::Cancelled, State::Dropped]);
    let mut left = process.list(Filter::default()).await;
    left.sort_unstable();
    assert_eq!(left, [1, 2, 3, 4, 5]);
    assert_eq!(process.change(3_611, 6, REDO).await, Changed::Unknown);
}

pub async fn a_deleted_job_can_be_stored_anew(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let first = worker.take(1).await;
    worker.end(2, &first, failed("boom")).await;
    process.change(3, 1, Change::Cancel).await;
    assert_eq!(process.change(4, 1, Change::Delete).await, Changed::Done);
    assert!(!process.has(1).await);
    assert!(!process.enqueue(5, [job(1)]).await[0].existing);
    let detail = process.detail(1).await;
    assert_eq!((detail.view.attempt, detail.view.error, detail.timeline.len()), (0, None, 1));
    assert_eq!(worker.take(6).await.attempt, 1);
}

pub async fn a_redo_adds_as_many_attempts_as_the_job_had_at_first(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    let two = MaxAttempts::limited(2).expect("a small number");
    process.enqueue(0, [NewJob { max_attempts: two, ..job(1) }]).await;
    let mut now = 0;
    for limit in [2, 4, 6] {
        for _ in 0..2 {
            process.change(now, 1, Change::RunNow).await;
            let held = worker.take(now + 1).await;
            assert_eq!(held.max_attempts, MaxAttempts::limited(limit).expect("a small number"));
            worker.end(now + 2, &held, failed("boom")).await;
            now += 3;
        }
        let view = process.view(1).await;
        assert_eq!((view.state, view.attempt), (State::Failed, limit));
        process.change(now, 1, REDO).await;
    }
    assert_eq!(process.detail(1).await.attempts.len(), 6, "history is kept");
}

pub async fn a_redone_job_shows_what_went_wrong_last(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let held = worker.take(1).await;
    worker.end(2, &held, failed("boom")).await;
    let why = Some("not needed".to_owned());
    process.store().change(at(3), vec![id(1)], Change::Cancel, alice(), why).await.expect("answered");
    assert_eq!(process.view(1).await.error.as_deref(), Some("not needed"));
    process.change(4, 1, REDO).await;
    let view = process.view(1).await;
    assert_eq!((view.error.as_deref(), view.attempt, view.worker), (Some("boom"), 1, Some(worker.id)));
}

pub async fn a_release_of_a_job_whose_time_lies_ahead_schedules_it(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, [NewJob { held: true, run_at: Some(at(50)), ..job(1) }]).await;
    assert_eq!(process.change(10, 1, Change::Release).await, Changed::Done);
    let view = process.view(1).await;
    assert_eq!((view.state, view.run_at), (State::Scheduled, at(50)));
    let promoted = process.promote(50).await;
    assert_eq!((promoted.promoted, promoted.expired, promoted.next_due), (1, 0, None));
}

pub async fn a_release_after_its_time_makes_a_job_available(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, [NewJob { held: true, run_at: Some(at(50)), ..job(1) }]).await;
    process.change(60, 1, Change::Release).await;
    let view = process.view(1).await;
    assert_eq!((view.state, view.run_at), (State::Available, at(60)));
}

pub async fn every_change_is_told_with_its_actor_and_reason(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, [NewJob { held: true, ..job(1) }]).await;
    let steps = [
        (Change::Release, Cause::Release, State::Available),
        (Change::Delay { until: at(99) }, Cause::Delay, State::Scheduled),
        (Change::RunNow, Cause::RunNow, State::Available),
        (Change::Cancel, Cause::Cancel, State::Cancelled),
        (REDO, Cause::Redo, State::Available),
    ];
    for ((change, cause, to), now) in steps.into_iter().zip(1..) {
        let why = Some(format!("step {now}"));
        let changed = process.store().change(at(now), vec![id(1)], change, alice(), why.clone()).await;
        assert_eq!(changed.expect("answered"), [Changed::Done]);
        let timeline = process.detail(1).await.timeline;
        let last = timeline.last().expect("it has moved");
        assert_eq!((last.at, last.cause, last.to), (at(now), Some(cause), to));
        assert_eq!((&last.actor, &last.reason), (&alice(), &why));
    }
    assert_eq!(process.detail(1).await.timeline.len(), 6);
}

pub async fn what_runs_can_be_freed_and_runs_again_at_once(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let (hangs, other) = (process.worker(1).await, process.worker(2).await);
    process.enqueue(0, jobs(1..=3)).await;
    let held = hangs.claim_all(1).await;
    hangs.mark(&held[0]);
    assert_eq!(process.change(5, 1, Change::Free).await, Changed::Done);
    let again = other.take(6).await;
    assert_eq!((number(again.id), again.attempt), (1, 2));
    // Whoever had it may go on, and changes nothing any more; its other jobs are its own.
    assert_eq!(hangs.end(7, &held[0], completed()).await, Verdict::Stale);
    assert_eq!(hangs.end(7, &held[1], completed()).await, Verdict::Accepted);
    assert_eq!(other.end(8, &again, completed()).await, Verdict::Accepted);
    let detail = process.detail(1).await;
    let ends: Vec<AttemptEnd> = detail.attempts.iter().map(|attempt| attempt.end).collect();
    assert_eq!(ends, [AttemptEnd::Lost, AttemptEnd::Completed]);
    assert_eq!(detail.attempts[0].error.as_deref(), Some("freed by alice"));
    assert_eq!(detail.attempts[0].worker, hangs.id);
}

pub async fn a_freed_job_runs_again_though_no_attempt_is_left(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [NewJob { max_attempts: MaxAttempts::from_code(1), ..job(1) }]).await;
    for attempt in 1..=4 {
        assert_eq!(worker.start(attempt).await.attempt, u32::try_from(attempt).expect("small"));
        assert_eq!(process.change(attempt, 1, Change::Free).await, Changed::Done);
        assert_eq!(process.state(1).await, State::Available);
    }
}

pub async fn what_does_not_run_is_not_freed(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1), NewJob { run_at: Some(at(9)), ..job(2) }]).await;
    assert_eq!(process.change(1, 1, Change::Free).await, skipped("it is available"));
    assert_eq!(process.change(1, 2, Change::Free).await, skipped("it is scheduled"));
    let held = worker.take(1).await;
    worker.end(2, &held, completed()).await;
    assert_eq!(process.change(3, 1, Change::Free).await, skipped("it is completed"));
    assert_eq!(process.change(3, 7, Change::Free).await, Changed::Unknown);
}

pub async fn a_job_that_must_not_run_twice_is_not_freed(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [NewJob { delivery: Delivery::AtMostOnce, ..job(1) }]).await;
    let held = worker.start(1).await;
    let why = skipped("it must not run twice; cancel it instead");
    assert_eq!(process.change(2, 1, Change::Free).await, why);
    assert_eq!(worker.end(3, &held, completed()).await, Verdict::Accepted);
}

pub async fn a_job_that_is_freed_after_a_cancel_request_is_cancelled(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let held = worker.start(1).await;
    process.change(2, 1, Change::Cancel).await;
    assert_eq!(process.change(3, 1, Change::Free).await, Changed::Done);
    assert_eq!(process.state(1).await, State::Cancelled);
    assert_eq!(worker.end(4, &held, completed()).await, Verdict::Stale);
}
