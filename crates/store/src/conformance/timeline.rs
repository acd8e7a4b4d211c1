//! A job's timeline: every move once, in order, with who and why.

use std::time::Duration;

use taskwright_core::attempt::{AttemptEnd, Outcome};
use taskwright_core::{Actor, Cause, NewJob, Owner, Priority, State};

use super::Harness;
use super::fixture::*;
use crate::{Change, Changed, TimelineEntry};

fn entry(now: u64, cause: Option<Cause>, to: State, actor: Actor, reason: Option<&str>) -> TimelineEntry {
    TimelineEntry { at: at(now), cause, to, actor, reason: reason.map(str::to_owned) }
}

pub async fn a_life_is_told_from_its_creation_to_its_end(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    let owner = Some(Owner::new("zoë").expect("a plain text"));
    process.enqueue(1, [NewJob { run_at: Some(at(2)), owner, ..job(1) }]).await;
    process.promote(3).await;
    let first = worker.take(4).await;
    worker.end(5, &first, failed("boom")).await;
    process.change(6, 1, Change::RunNow).await;
    let second = worker.take(7).await;
    worker.end(8, &second, completed()).await;
    let (system, worker) = (Actor::system(), by(worker.id));
    let zoe = Actor::new("zoë").expect("a plain text");
    let expected = [
        entry(1, None, State::Scheduled, zoe, None),
        entry(3, Some(Cause::Promote), State::Available, system, None),
        entry(4, Some(Cause::Claim), State::Running, worker.clone(), None),
        entry(5, Some(Cause::Retry), State::Retryable, worker.clone(), Some("boom")),
        entry(6, Some(Cause::RunNow), State::Available, alice(), None),
        entry(7, Some(Cause::Claim), State::Running, worker.clone(), None),
        entry(8, Some(Cause::Complete), State::Completed, worker, None),
    ];
    assert_eq!(process.detail(1).await.timeline, expected);
}

pub async fn a_job_without_an_owner_was_made_by_the_system(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(1, [job(1)]).await;
    let created = entry(1, None, State::Available, Actor::system(), None);
    assert_eq!(process.detail(1).await.timeline, [created]);
}

pub async fn the_claim_of_a_running_attempt_is_told(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(1, [job(1)]).await;
    worker.take(2).await;
    let timeline = process.detail(1).await.timeline;
    assert_eq!(timeline[1..], [entry(2, Some(Cause::Claim), State::Running, by(worker.id), None)]);
}

pub async fn an_attempt_that_does_not_count_leaves_the_way_back(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(1, [job(1)]).await;
    let first = worker.take(2).await;
    worker.give_back(3, &first).await;
    let second = worker.take(4).await;
    worker.end(5, &second, Outcome::Snooze { delay: Duration::from_secs(9) }).await;
    let worker = by(worker.id);
    let expected = [
        entry(3, Some(Cause::GiveBack), State::Available, worker.clone(), Some("not soon")),
        entry(5, Some(Cause::Snooze), State::Scheduled, worker, Some("snoozed by its handler")),
    ];
    assert_eq!(process.detail(1).await.timeline[1..], expected);
}

pub async fn a_cancel_of_a_running_job_is_told_as_request_and_end(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(1, [job(1)]).await;
    let held = worker.take(2).await;
    let why = Some("too slow".to_owned());
    process.store().change(at(3), vec![id(1)], Change::Cancel, alice(), why).await.expect("answered");
    worker.end(4, &held, Outcome::Cancelled { reason: "stopped".to_owned() }).await;
    let worker = by(worker.id);
    let expected = [
        entry(2, Some(Cause::Claim), State::Running, worker.clone(), None),
        entry(3, None, State::Running, alice(), Some("cancel requested: too slow")),
        entry(4, Some(Cause::Cancel), State::Cancelled, worker, Some("stopped")),
    ];
    assert_eq!(process.detail(1).await.timeline[1..], expected);
}

pub async fn an_attempt_that_was_lost_is_told_as_lost_whatever_was_asked_of_it(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(1, jobs(1..=2)).await;
    worker.claim_all(2).await;
    for (n, asked, to) in [(1, Change::Cancel, State::Cancelled), (2, Change::Fail, State::Failed)] {
        assert_eq!(process.change(3, n, asked).await, Changed::Requested);
        assert_eq!(process.change(4, n, Change::Free).await, Changed::Done);
        let told = process.detail(n).await;
        let last = told.timeline.last().expect("there is a timeline");
        assert_eq!((last.cause, last.to, &last.actor), (Some(Cause::Lose), to, &Actor::system()), "{asked:?}");
        let ends: Vec<_> = told.attempts.iter().map(|attempt| attempt.end).collect();
        assert_eq!(ends, [AttemptEnd::Lost], "{asked:?}");
    }
}

pub async fn what_happens_in_one_moment_is_told_in_its_order(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(1, [job(1)]).await;
    process.change(1, 1, Change::Reprioritise { priority: Priority::HIGH }).await;
    let first = worker.take(1).await;
    worker.give_back(1, &first).await;
    let second = worker.take(1).await;
    process.change(1, 1, Change::Cancel).await;
    worker.end(1, &second, failed("boom")).await;
    process.change(1, 1, Change::Redo { repeat: false }).await;
    let third = worker.take(1).await;
    worker.end(1, &third, failed("boom")).await;
    process.change(1, 1, Change::RunNow).await;
    let fourth = worker.take(1).await;
    worker.end(1, &fourth, completed()).await;
    let causes: Vec<_> = process.detail(1).await.timeline.iter().map(|entry| entry.cause).collect();
    let expected = [
        None,
        None,
        Some(Cause::GiveBack),
        Some(Cause::Claim),
        None,
        Some(Cause::Cancel),
        Some(Cause::Redo),
        Some(Cause::Claim),
        Some(Cause::Retry),
        Some(Cause::RunNow),
        Some(Cause::Claim),
        Some(Cause::Complete),
    ];
    assert_eq!(causes, expected);
}
