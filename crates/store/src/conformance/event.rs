//! Events: stored once, delivered once to everybody, or not yet.

use taskwright_core::limit::EMIT_EVENTS_MAX;
use taskwright_core::outcome::Interest;
use taskwright_core::{Args, EventId, MaxAttempts, NewJob, State, Topic};

use super::Harness;
use super::fixture::*;
use super::schedule::{definition, fires, name, registration, rewrite, stored};
use crate::{
    JobOrigin,
    Change, Definition, EventKey, Filter, NewEvent, NewFiring, ScheduleWrite, StoredEvent, Written,
};

/// The id of event `n`.
pub fn event_id(n: u32) -> EventId {
    EventId::from_bytes(*id(n).as_bytes())
}

fn topic(text: &str) -> Topic {
    Topic::new(text).expect("scenarios name topics well")
}

/// Event `n`, about an order.
fn event(n: u32) -> NewEvent {
    NewEvent {
        id: event_id(n),
        namespace: namespace("default"),
        topic: topic("order.created"),
        key: None,
        payload: Args::from_json(format!("{{\"order\":  {n}}}")).expect("it is JSON"),
    }
}

async fn emit(process: &Process, now: u64, events: Vec<NewEvent>) {
    process.store().emit(at(now), events).await.expect("the events are stored");
}

async fn undelivered(process: &Process) -> Vec<StoredEvent> {
    process.store().undelivered(100).await.expect("events are found")
}

fn ids(events: &[StoredEvent]) -> Vec<EventId> {
    events.iter().map(|stored| stored.event.id).collect()
}

fn keys(events: &[StoredEvent]) -> Vec<EventKey> {
    events.iter().map(|stored| stored.number).collect()
}

async fn listen(process: &Process, text: &str) {
    let listener =
        ScheduleWrite { definition: Some(definition("1", true)), next: None, ..registration(text, 0) };
    let written = process.store().write_schedules(at(0), vec![listener]).await.expect("it is registered");
    assert!(matches!(written[..], [Written::Done(_)]));
}

pub async fn an_event_is_found_as_it_was_emitted(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let keyed = NewEvent { key: Some("customer 7".to_owned()), ..event(2) };
    emit(&process, 5, vec![event(1), keyed.clone()]).await;
    let another_process = Process::start(harness).await;
    let found = undelivered(&another_process).await;
    assert_eq!(found.iter().map(|one| &one.event).collect::<Vec<_>>(), [&event(1), &keyed]);
    assert!(found.iter().all(|one| one.at == at(5) && !one.delivered));
}

pub async fn an_event_that_is_emitted_again_is_stored_once(harness: &impl Harness) {
    let process = Process::start(harness).await;
    emit(&process, 1, vec![event(1), event(1)]).await;
    emit(&process, 2, vec![event(2), event(1)]).await;
    assert_eq!(ids(&undelivered(&process).await), [event_id(1), event_id(2)]);
}

pub async fn too_many_events_at_once_are_refused_whole(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let many = (0..=EMIT_EVENTS_MAX).map(|n| event(u32::try_from(n).expect("few"))).collect();
    process.store().emit(at(0), many).await.expect_err("it is too much");
    assert_eq!(undelivered(&process).await, []);
}

pub async fn only_those_that_listen_are_offered_events(harness: &impl Harness) {
    let process = Process::start(harness).await;
    listen(&process, "on-order").await;
    let deaf = registration("nightly", 60);
    process.store().write_schedules(at(0), vec![deaf]).await.expect("it is registered");
    let names = async || {
        let listening = process.store().listeners().await.expect("listeners are found");
        listening.iter().map(|one| one.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names().await, ["on-order"]);
    let stored = stored(&process, "on-order").await;
    let quiet = ScheduleWrite { definition: Some(definition("2", false)), ..rewrite(&stored, 9, Vec::new()) };
    process.store().write_schedules(at(1), vec![quiet]).await.expect("it is changed");
    assert_eq!(names().await, [""; 0]);
}

pub async fn a_delivery_makes_the_jobs_and_ends_the_wait(harness: &impl Harness) {
    let process = Process::start(harness).await;
    listen(&process, "on-order").await;
    emit(&process, 1, vec![event(1), event(2)]).await;
    let found = undelivered(&process).await;
    let schedule = stored(&process, "on-order").await;
    let fired = |n| NewFiring { event: Some(event_id(n)), ..fires(1, job(n)) };
    let writes = vec![ScheduleWrite { next: None, ..rewrite(&schedule, 0, vec![fired(1), fired(2)]) }];
    let delivered = process.store().deliver(at(2), keys(&found), writes).await.expect("it is delivered");
    assert!(delivered);
    assert_eq!(undelivered(&process).await, []);
    assert_eq!(process.list(Filter::default()).await, [1, 2]);
    let firings = process.store().firings(schedule.key, None, 9).await.expect("firings are told");
    assert_eq!(firings.iter().map(|one| one.event).collect::<Vec<_>>(), [Some(event_id(2)), Some(event_id(1))]);
}

pub async fn two_who_deliver_the_same_event_deliver_it_once(harness: &impl Harness) {
    let process = Process::start(harness).await;
    listen(&process, "on-order").await;
    emit(&process, 1, vec![event(1)]).await;
    let found = undelivered(&process).await;
    let schedule = stored(&process, "on-order").await;
    let write = |n| {
        let fired = NewFiring { event: Some(event_id(1)), ..fires(1, job(n)) };
        vec![ScheduleWrite { next: None, ..rewrite(&schedule, 0, vec![fired]) }]
    };
    let deliver = async |n| process.store().deliver(at(2), keys(&found), write(n)).await.expect("it is answered");
    assert!(deliver(1).await);
    assert!(!deliver(2).await);
    assert_eq!(process.list(Filter::default()).await, [1]);
}

pub async fn a_delivery_that_is_stale_delivers_nothing(harness: &impl Harness) {
    let process = Process::start(harness).await;
    listen(&process, "a").await;
    listen(&process, "b").await;
    emit(&process, 1, vec![event(1)]).await;
    let found = undelivered(&process).await;
    let (a, b) = (stored(&process, "a").await, stored(&process, "b").await);
    process.store().write_schedules(at(1), vec![rewrite(&b, 9, Vec::new())]).await.expect("b is changed");
    let fired = |n| NewFiring { event: Some(event_id(1)), ..fires(1, job(n)) };
    let writes = vec![rewrite(&a, 0, vec![fired(1)]), rewrite(&b, 0, vec![fired(2)])];
    let delivered = process.store().deliver(at(2), keys(&found), writes).await.expect("it is answered");
    assert!(!delivered);
    assert_eq!(ids(&undelivered(&process).await), [event_id(1)], "it is still to be delivered");
    assert_eq!(process.list(Filter::default()).await, NONE);
    assert_eq!(stored(&process, "a").await, a);
}

pub async fn an_event_that_nobody_waits_for_is_delivered_too(harness: &impl Harness) {
    let process = Process::start(harness).await;
    emit(&process, 1, vec![event(1)]).await;
    let found = undelivered(&process).await;
    assert!(process.store().deliver(at(2), keys(&found), Vec::new()).await.expect("it is answered"));
    assert_eq!(undelivered(&process).await, []);
}

pub async fn events_are_listed_page_by_page(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let elsewhere = NewEvent { namespace: namespace("other"), ..event(4) };
    let about_else = NewEvent { topic: topic("order.paid"), ..event(3) };
    emit(&process, 1, vec![event(1), event(2), about_else, elsewhere]).await;
    let list = async |of: Option<&str>, about: Option<&str>, before, limit| {
        let listed = process.store().events(of.map(namespace), about.map(topic), before, limit).await;
        listed.expect("events are listed")
    };
    let newest = list(None, None, None, 2).await;
    assert_eq!(ids(&newest), [event_id(4), event_id(3)]);
    assert_eq!(ids(&list(None, None, Some(newest[1].number), 9).await), [event_id(2), event_id(1)]);
    assert_eq!(ids(&list(Some("other"), None, None, 9).await), [event_id(4)]);
    assert_eq!(ids(&list(Some("default"), Some("order.created"), None, 9).await), [event_id(2), event_id(1)]);
}

pub async fn delivered_events_are_forgotten_in_time_and_others_are_not(harness: &impl Harness) {
    let process = Process::start(harness).await;
    emit(&process, 1, vec![event(1)]).await;
    emit(&process, 2, vec![event(2)]).await;
    emit(&process, 3, vec![event(3)]).await;
    let found = undelivered(&process).await;
    let two = vec![found[0].number, found[2].number];
    assert!(process.store().deliver(at(4), two, Vec::new()).await.expect("it is answered"));
    let prune = async |before| process.store().prune_events(at(before), 9).await.expect("events are forgotten");
    assert_eq!(prune(3).await, 1);
    assert_eq!(prune(100).await, 1);
    let left = process.store().events(None, None, None, 9).await.expect("events are listed");
    assert_eq!(ids(&left), [event_id(2)], "it has not been delivered");
    assert!(!left[0].delivered);
}

pub async fn an_event_is_heard_of(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let mut hints = process.store().hints();
    hints.borrow_and_update();
    emit(&process, 1, vec![event(1)]).await;
    let heard = tokio::time::timeout(std::time::Duration::from_secs(10), hints.changed()).await;
    heard.expect("somebody is told").expect("the store lives");
}

const ENDS: [State; 4] = [State::Completed, State::Failed, State::Cancelled, State::Dropped];

/// The ends of jobs of these kinds.
fn ends_of(kinds: &[Option<&str>], states: &[State]) -> Vec<Interest> {
    let of = |name: &Option<&str>| states.iter().map(|state| Interest { kind: name.map(kind), state: *state }).collect::<Vec<_>>();
    kinds.iter().flat_map(of).collect()
}

async fn listen_to(process: &Process, text: &str, kinds: &[Option<&str>]) {
    let outcomes = ends_of(kinds, &ENDS);
    let definition = Definition { outcomes, ..definition("1", true) };
    let listener = ScheduleWrite { definition: Some(definition), next: None, ..registration(text, 0) };
    let written = process.store().write_schedules(at(0), vec![listener]).await.expect("it is registered");
    assert!(matches!(written[..], [Written::Done(_)]));
}

/// Topics of what is to be delivered, with the jobs that they tell of.
async fn outcomes(process: &Process) -> Vec<(String, u32)> {
    let told = |stored: &StoredEvent| {
        let payload: serde_json::Value = stored.event.payload.parse().expect("it is JSON");
        let job = payload["job"].as_str().expect("the job is named").parse().expect("by its id");
        assert_eq!(stored.event.key.as_deref(), payload["job"].as_str());
        (stored.event.topic.to_string(), number(job))
    };
    undelivered(process).await.iter().map(told).collect()
}

pub async fn ends_of_jobs_are_told_when_they_are_of_interest(harness: &impl Harness) {
    let process = Process::start(harness).await;
    listen_to(&process, "after-mail", &[Some("mail")]).await;
    let worker = process.worker(1).await;
    let last = NewJob { max_attempts: MaxAttempts::limited(1).expect("one"), ..job(3) };
    process.enqueue(0, [job(1), job(2), last, job(4), NewJob { held: true, ..job(5) }]).await;
    process.enqueue(0, [NewJob { kind: kind("other"), ..job(6) }]).await;
    process.change(1, 4, Change::Cancel).await;
    process.change(1, 6, Change::Cancel).await;
    let held = worker.claim_all(1).await;
    assert_eq!(numbers(&held), [1, 2, 3]);
    worker.end(2, &held[0], completed()).await;
    worker.end(2, &held[1], failed("once more")).await;
    worker.end(2, &held[2], failed("for good")).await;
    process.promote(3_700).await;
    let told = outcomes(&process).await;
    let expected =
        [("job.cancelled", 4), ("job.completed", 1), ("job.failed", 3), ("job.dropped", 5)];
    assert_eq!(told, expected.map(|(topic, job)| (topic.to_owned(), job)));
    let payload: serde_json::Value = undelivered(&process).await[1].event.payload.parse().expect("it is JSON");
    let expected = serde_json::json!({
        "job": id(1), "kind": "mail", "queue": "default", "state": "completed", "attempts": 1,
        "schedule": null
    });
    assert_eq!(payload, expected);
}

pub async fn only_ends_that_somebody_waits_for_are_told(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let outcomes = ends_of(&[None], &[State::Failed, State::Dropped]);
    let definition = Definition { outcomes, ..definition("1", true) };
    let alarm = ScheduleWrite { definition: Some(definition), next: None, ..registration("alarm", 0) };
    process.store().write_schedules(at(0), vec![alarm]).await.expect("it is registered");
    let worker = process.worker(1).await;
    let last = NewJob { max_attempts: MaxAttempts::limited(1).expect("one"), ..job(2) };
    process.enqueue(0, [job(1), last, job(3), job(4)]).await;
    let held = worker.claim(worker.ask(1, 3)).await;
    worker.finish(2, vec![ending(2, &held[0], completed())]).await;
    worker.end(2, &held[1], failed("for good")).await;
    worker.end(2, &held[2], completed()).await;
    process.change(3, 4, Change::Cancel).await;
    assert_eq!(self::outcomes(&process).await, [("job.failed".to_owned(), 2)]);
}

pub async fn many_jobs_that_complete_at_once_are_each_told(harness: &impl Harness) {
    let process = Process::start(harness).await;
    listen_to(&process, "after-all", &[None]).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=120)).await;
    let held = worker.claim(worker.ask(1, 120)).await;
    worker.finish(2, held.iter().map(|job| ending(2, job, completed())).collect()).await;
    let mut told: Vec<u32> = process
        .store()
        .undelivered(1_000)
        .await
        .expect("events are found")
        .iter()
        .map(|stored| number(stored.event.key.as_deref().expect("a key").parse().expect("an id")))
        .collect();
    told.sort_unstable();
    assert_eq!(told, (1..=120).collect::<Vec<_>>());
}

pub async fn a_job_and_its_end_tell_which_schedule_made_it(harness: &impl Harness) {
    let process = Process::start(harness).await;
    listen_to(&process, "after-all", &[None]).await;
    let made = ScheduleWrite { firings: vec![fires(60, job(1))], ..registration("nightly", 60) };
    let written = process.store().write_schedules(at(60), vec![made]).await.expect("it is registered");
    assert!(matches!(written[..], [Written::Done(_)]));
    process.enqueue(60, [job(2)]).await;
    let origins = process.store().origins(vec![id(1), id(2), id(9)]).await.expect("it is told");
    let origin = JobOrigin { schedule: name("nightly"), due: at(60), event: None };
    assert_eq!(origins, [Some(origin), None, None]);
    let worker = process.worker(1).await;
    let held = worker.claim_all(61).await;
    worker.finish(62, held.iter().map(|job| ending(62, job, completed())).collect()).await;
    let mut told = Vec::new();
    for stored in undelivered(&process).await {
        let payload: serde_json::Value = stored.event.payload.parse().expect("it is JSON");
        told.push((payload["job"].clone(), payload["schedule"].clone()));
    }
    told.sort_by_key(|(job, _)| job.to_string());
    let expected = [(id(1), Some("nightly")), (id(2), None)];
    assert_eq!(told, expected.map(|(job, schedule)| (serde_json::json!(job), serde_json::json!(schedule))));
}

pub async fn nothing_is_told_once_nobody_is_interested(harness: &impl Harness) {
    let process = Process::start(harness).await;
    listen_to(&process, "after-mail", &[Some("mail"), Some("other")]).await;
    let schedule = stored(&process, "after-mail").await;
    let only = Definition { outcomes: ends_of(&[Some("other")], &ENDS), ..definition("2", true) };
    let write = ScheduleWrite { definition: Some(only), ..rewrite(&schedule, 0, Vec::new()) };
    process.store().write_schedules(at(0), vec![write]).await.expect("it is changed");
    process.enqueue(0, [job(1)]).await;
    process.change(1, 1, Change::Cancel).await;
    assert_eq!(outcomes(&process).await, []);
    assert!(process.store().remove_schedule(schedule.key).await.expect("it is removed"));
    process.enqueue(0, [NewJob { kind: kind("other"), ..job(2) }]).await;
    process.change(1, 2, Change::Cancel).await;
    assert_eq!(outcomes(&process).await, []);
}

pub async fn an_end_in_another_namespace_is_not_told(harness: &impl Harness) {
    let process = Process::start(harness).await;
    listen_to(&process, "after-mail", &[None]).await;
    process.enqueue(0, [NewJob { namespace: namespace("other"), ..job(1) }]).await;
    process.change(1, 1, Change::Cancel).await;
    assert_eq!(outcomes(&process).await, []);
}
