//! What those who submit jobs do with them besides.

use taskwright_core::limit::{COMMENTS_MAX, REQUEST_KEPT};
use taskwright_core::{Garbage, Namespace, NewJob, Owner, State, UniqueScope};

use super::Harness;
use super::fixture::*;
use crate::{Change, Changed, Collect, Enqueued, Filter, RequestKey, Requested, Whose};

fn owner(name: &str) -> Owner {
    Owner::new(name).expect("scenarios name owners well")
}

fn owned(n: u32, name: &str) -> NewJob {
    NewJob { owner: Some(owner(name)), ..job(n) }
}

async fn consume(process: &Process, now: u64, numbers: &[u32], name: &str) -> Vec<bool> {
    let ids = numbers.iter().map(|n| id(*n)).collect();
    process.store().consume(at(now), ids, owner(name)).await.expect("it is answered")
}

async fn comment(process: &Process, now: u64, n: u32, text: &str) -> bool {
    process.store().comment(at(now), id(n), alice(), text.to_owned()).await.expect("it is answered")
}

pub async fn whose_a_job_is_can_be_asked_alone(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let elsewhere = NewJob { namespace: Namespace::new("elsewhere").expect("a good name"), ..owned(2, "alice") };
    process.enqueue(0, vec![job(1), elsewhere]).await;
    let whose = async |n: u32| process.store().whose(id(n)).await.expect("it is answered");
    assert_eq!(whose(1).await, Some(Whose { namespace: Namespace::default(), owner: None }));
    let alices = Whose { namespace: Namespace::new("elsewhere").expect("a good name"), owner: Some(owner("alice")) };
    assert_eq!(whose(2).await, Some(alices.clone()));
    process.change(7, 2, Change::Cancel).await;
    assert_eq!(whose(2).await, Some(alices), "also once it is over");
    assert_eq!(whose(9).await, None);
}

pub async fn comments_are_shown_with_the_job_in_their_order(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, jobs(1..=2)).await;
    assert_eq!(process.detail(1).await.comments, []);
    assert!(comment(&process, 5, 1, "first\nof two lines").await);
    assert!(comment(&process, 4, 1, "second, by a slower clock").await);
    assert!(!comment(&process, 6, 9, "there is no such job").await);
    let comments = process.detail(1).await.comments;
    let told: Vec<_> = comments.iter().map(|one| (one.at, one.actor.clone(), one.text.as_str())).collect();
    assert_eq!(told, [(at(5), alice(), "first\nof two lines"), (at(4), alice(), "second, by a slower clock")]);
    assert_eq!(process.detail(2).await.comments, []);
    // Also on one that is over, and it changes nothing about the job.
    process.change(7, 1, Change::Cancel).await;
    let before = process.detail(1).await;
    assert!(comment(&process, 8, 1, "third").await);
    let after = process.detail(1).await;
    assert_eq!((after.view, after.timeline, after.comments.len()), (before.view, before.timeline, 3));
}

pub async fn comments_go_with_their_job(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, [job(1)]).await;
    comment(&process, 1, 1, "gone soon").await;
    process.change(2, 1, Change::Cancel).await;
    assert_eq!(process.change(3, 1, Change::Delete).await, Changed::Done);
    process.enqueue(4, [job(1)]).await;
    assert_eq!(process.detail(1).await.comments, []);
}

pub async fn too_many_comments_and_bad_ones_are_refused(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, [job(1)]).await;
    let error = process.store().comment(at(1), id(1), alice(), "\u{1b}[31m".to_owned()).await;
    assert!(error.expect_err("it is refused").is_domain());
    for _ in 0..COMMENTS_MAX {
        assert!(comment(&process, 1, 1, "again").await);
    }
    let error = process.store().comment(at(1), id(1), alice(), "once too often".to_owned()).await;
    assert!(error.expect_err("it is refused").is_domain());
    assert_eq!(process.detail(1).await.comments.len(), COMMENTS_MAX);
}

pub async fn comments_at_the_same_time_are_all_there(harness: &impl Harness) {
    let processes = [Process::start(harness).await, Process::start(harness).await];
    processes[0].enqueue(0, [job(1)]).await;
    for round in 0..5 {
        let (one, other) = tokio::join!(
            comment(&processes[0], round, 1, "from here"),
            comment(&processes[1], round, 1, "from there")
        );
        assert!(one && other);
    }
    assert_eq!(processes[0].detail(1).await.comments.len(), 10);
}

pub async fn reading_how_a_job_ended_is_noted_once_and_only_by_its_owner(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [owned(1, "bob"), owned(2, "bob"), job(3), owned(4, "Bob")]).await;
    assert_eq!(consume(&process, 1, &[1, 2, 3, 4], "bob").await, [false; 4], "none is over");
    for claimed in worker.claim_all(1).await {
        worker.end(2, &claimed, completed()).await;
    }
    // Showing and listing it is not reading it.
    assert_eq!(process.view(1).await.consumed_at, None);
    assert_eq!(process.list(Filter { consumed: Some(true), ..Filter::default() }).await, NONE);
    assert_eq!(consume(&process, 5, &[1], "carol").await, [false]);
    assert_eq!(consume(&process, 5, &[1, 9, 3, 4, 1], "bob").await, [true, false, false, false, false]);
    assert_eq!(process.view(1).await.consumed_at, Some(at(5)));
    assert_eq!(consume(&process, 6, &[1, 2], "bob").await, [false, true]);
    assert_eq!(process.view(1).await.consumed_at, Some(at(5)));
    assert_eq!(process.list(Filter { consumed: Some(true), ..Filter::default() }).await, [1, 2]);
    assert_eq!(process.list(Filter { consumed: Some(false), ..Filter::default() }).await, [3, 4]);
}

pub async fn each_way_to_end_can_be_read(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [owned(1, "bob")]).await;
    let claimed = worker.take(1).await;
    worker.end(2, &claimed, taskwright_core::Outcome::Fail { error: "bad".to_owned() }).await;
    process.enqueue(2, [owned(2, "bob"), owned(3, "bob"), owned(4, "bob")]).await;
    process.change(3, 2, Change::Cancel).await;
    process.change(3, 3, Change::Drop).await;
    let claimed = worker.take(3).await;
    assert_eq!(consume(&process, 4, &[4], "bob").await, [false], "it runs");
    worker.end(4, &claimed, failed("later")).await;
    assert_eq!(process.state(4).await, State::Retryable);
    assert_eq!(consume(&process, 5, &[1, 2, 3, 4], "bob").await, [true, true, true, false]);
}

pub async fn a_job_that_runs_again_has_another_end_to_be_read(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, [owned(1, "bob")]).await;
    process.change(1, 1, Change::Cancel).await;
    assert_eq!(consume(&process, 2, &[1], "bob").await, [true]);
    assert_eq!(process.change(3, 1, Change::Redo { repeat: false }).await, Changed::Done);
    assert_eq!(process.view(1).await.consumed_at, None);
    process.change(4, 1, Change::Cancel).await;
    assert_eq!(process.view(1).await.consumed_at, None);
    assert_eq!(consume(&process, 5, &[1], "bob").await, [true]);
    assert_eq!(process.view(1).await.consumed_at, Some(at(5)));
}

pub async fn jobs_whose_end_was_read_may_go_earlier(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, (1..=5).map(|n| owned(n, "bob"))).await;
    for claimed in worker.claim(worker.ask(1, 4)).await {
        worker.end(2, &claimed, completed()).await;
    }
    process.change(2, 5, Change::Cancel).await;
    consume(&process, 10, &[1, 3], "bob").await;
    consume(&process, 20, &[5], "bob").await;
    let look = async |before| {
        let collect =
            Collect { garbage: Garbage::Consumed, before: at(before), after: None, limit: 100, dry_run: true };
        let told = process.store().collect(collect).await.expect("looked at");
        told.jobs.iter().map(|id| number(*id)).collect::<Vec<_>>()
    };
    assert_eq!(look(10).await, NONE);
    assert_eq!((look(11).await, look(21).await), (vec![1, 3], vec![1, 3, 5]));
    assert_eq!(process.collect(Garbage::Consumed, at(11), 1).await, 2);
    assert_eq!(process.list(Filter::default()).await, [2, 4, 5]);
    assert_eq!(process.collect(Garbage::Consumed, at(1_000), 1).await, 1);
    assert_eq!(process.list(Filter::default()).await, [2, 4], "nobody has read how these ended");
}

pub async fn a_held_job_that_nobody_released_is_dropped_and_can_be_read(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, [NewJob { held: true, ..owned(1, "bob") }]).await;
    process.promote(3_599).await;
    assert_eq!(process.state(1).await, State::Held);
    process.promote(3_600).await;
    let view = process.view(1).await;
    assert_eq!((view.state, view.error.as_deref()), (State::Dropped, Some("hold expired: never released")));
    assert!(!view.cancel_requested);
    assert_eq!(consume(&process, 4_000, &[1], "bob").await, [true]);
}

fn request(key: u8, body: u8) -> RequestKey {
    RequestKey { key: [key; 32], body: [body; 32] }
}

fn new(n: u32) -> Enqueued {
    Enqueued { id: id(n), existing: false }
}

async fn once(process: &Process, now: u64, request: RequestKey, jobs: Vec<NewJob>) -> Requested {
    process.store().enqueue_once(at(now), request, jobs).await.expect("it is answered")
}

pub async fn a_request_that_is_sent_again_stores_nothing(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let stored = once(&process, 0, request(1, 1), vec![job(1), job(2)]).await;
    assert_eq!(stored, Requested::Stored(vec![new(1), new(2)]));
    // Whoever sends it again does not know the ids, and makes new ones.
    let again = once(&process, 5, request(1, 1), vec![job(3), job(4)]).await;
    assert_eq!(again, Requested::Again(vec![new(1), new(2)]));
    assert_eq!(once(&process, 6, request(1, 2), vec![job(5)]).await, Requested::Other);
    assert_eq!(process.list(Filter::default()).await, [1, 2]);
    let other = once(&process, 7, request(2, 1), vec![job(6)]).await;
    assert_eq!(other, Requested::Stored(vec![new(6)]));
    // What it stored may be gone by now.
    process.change(8, 1, Change::Cancel).await;
    process.change(9, 1, Change::Delete).await;
    let again = once(&process, 10, request(1, 1), vec![job(7)]).await;
    assert_eq!(again, Requested::Again(vec![new(1), new(2)]));
    assert_eq!(process.list(Filter::default()).await, [2, 6]);
}

pub async fn a_request_is_known_by_the_job_that_holds_its_unique_key(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let keyed = |n| NewJob { unique: unique("invoice", UniqueScope::Active), ..job(n) };
    process.enqueue(0, [keyed(1)]).await;
    let answer = vec![Enqueued { id: id(1), existing: true }, Enqueued { id: id(4), existing: false }];
    let stored = once(&process, 1, request(1, 1), vec![keyed(2), job(4)]).await;
    assert_eq!(stored, Requested::Stored(answer.clone()));
    // The same answer once more: which of them there was already is a part of it.
    let again = once(&process, 2, request(1, 1), vec![keyed(3), job(5)]).await;
    assert_eq!(again, Requested::Again(answer));
}

pub async fn a_request_is_known_for_a_day(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let day = REQUEST_KEPT.as_secs();
    once(&process, 0, request(1, 1), vec![job(1)]).await;
    let again = once(&process, day - 1, request(1, 1), vec![job(2)]).await;
    assert_eq!(again, Requested::Again(vec![new(1)]));
    let later = once(&process, day, request(1, 2), vec![job(3)]).await;
    assert_eq!(later, Requested::Stored(vec![new(3)]));
    assert_eq!(once(&process, day + 1, request(1, 2), vec![job(4)]).await, Requested::Again(vec![new(3)]));
}

pub async fn of_requests_that_come_at_once_one_stores_its_jobs(harness: &impl Harness) {
    let processes = [Process::start(harness).await, Process::start(harness).await];
    let (one, other) = tokio::join!(
        once(&processes[0], 0, request(1, 1), vec![job(1)]),
        once(&processes[1], 0, request(1, 1), vec![job(2)])
    );
    let listed = processes[0].list(Filter::default()).await;
    assert_eq!(listed.len(), 1, "{one:?} {other:?}");
    let first = Requested::Stored(vec![new(listed[0])]);
    let second = Requested::Again(vec![new(listed[0])]);
    assert!((one == first && other == second) || (one == second && other == first), "{one:?} {other:?}");
}

pub async fn a_request_that_is_refused_is_not_known(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let too_many = vec![job(1); taskwright_core::limit::ENQUEUE_JOBS_MAX + 1];
    assert!(process.store().enqueue_once(at(0), request(1, 1), too_many).await.is_err());
    let stored = once(&process, 1, request(1, 2), vec![job(1)]).await;
    assert_eq!(stored, Requested::Stored(vec![new(1)]));
}
