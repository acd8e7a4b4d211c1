//! Schedules: written whole or not at all, by one of those who decided at the same time, and each occurrence once.

use std::time::Duration;

use taskwright_core::limit::SCHEDULE_WRITES_MAX;
use taskwright_core::schedule::{FiringKind, SkipReason};
use taskwright_core::{Actor, Garbage, Kind, NewJob, ScheduleName, State, Timestamp, TriggerId, UniqueScope};

use super::Harness;
use super::event::event_id;
use super::fixture::*;
use crate::{
    Collect, Definition, Filter, Fires, FiringOutcome, NewFiring, Previous, ScheduleKey, ScheduleWrite, SkippedRun, StoredSchedule,
    Target, Written,
};

/// A name.
pub fn name(text: &str) -> ScheduleName {
    ScheduleName::new(text).expect("scenarios name schedules well")
}

/// A trigger.
pub fn trigger(text: &str) -> TriggerId {
    TriggerId::new(text).expect("scenarios name triggers well")
}

/// A schedule that is not stored yet, and is to be looked at at that second.
pub fn registration(text: &str, next: u64) -> ScheduleWrite {
    ScheduleWrite {
        target: Target::New { namespace: namespace("default"), name: name(text) },
        definition: Some(definition("1", false)),
        state: "{\"fired\": 0}".to_owned(),
        next: Some(at(next)),
        cancel: Previous::default(),
        firings: Vec::new(),
    }
}

/// A definition, told by its text.
pub fn definition(text: &str, listens: bool) -> Definition {
    Definition { json: format!("{{\"definition\": \"{text}\"}}"), listens, outcomes: Vec::new() }
}

/// A write of a schedule as it was read, with the next look at that second.
pub fn rewrite(stored: &StoredSchedule, next: u64, firings: Vec<NewFiring>) -> ScheduleWrite {
    ScheduleWrite {
        target: Target::Stored { key: stored.key, version: stored.version },
        definition: None,
        state: stored.state.clone(),
        next: Some(at(next)),
        cancel: Previous::default(),
        firings,
    }
}

/// The trigger `every` fires job `n` that was due at that second.
pub fn fires(due: u64, job: NewJob) -> NewFiring {
    NewFiring {
        trigger: Some(trigger("every")),
        due: at(due),
        previous_due: due.checked_sub(60).map(at),
        event: None,
        what: Fires::Job(FiringKind::OnTime, Box::new(job)),
    }
}

async fn write(process: &Process, now: u64, writes: Vec<ScheduleWrite>) -> Vec<Written> {
    process.store().write_schedules(at(now), writes).await.expect("the schedules are written")
}

/// Registers a schedule.
pub async fn register(process: &Process, text: &str, next: u64) -> StoredSchedule {
    let written = write(process, 0, vec![registration(text, next)]).await;
    assert!(matches!(written[..], [Written::Done(_)]), "{written:?}");
    stored(process, text).await
}

/// A schedule as it is stored.
pub async fn stored(process: &Process, text: &str) -> StoredSchedule {
    let found = process.store().schedule(namespace("default"), name(text)).await;
    found.expect("the schedule is looked for").expect("it is stored")
}

async fn due(process: &Process, now: u64, limit: usize) -> (Vec<String>, Option<Timestamp>) {
    let due = process.store().due_schedules(at(now), limit).await.expect("what is due is found");
    (due.schedules.iter().map(|stored| stored.name.to_string()).collect(), due.next)
}

pub async fn a_schedule_is_found_as_it_was_registered(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let schedule = register(&process, "nightly", 60).await;
    assert_eq!(schedule.definition, "{\"definition\": \"1\"}");
    assert_eq!(schedule.state, "{\"fired\": 0}");
    assert_eq!((schedule.namespace.as_str(), schedule.version), ("default", 1));
    assert_eq!((schedule.next, schedule.created_at, schedule.changed_at), (Some(at(60)), at(0), at(0)));
    let other = process.store().schedule(namespace("other"), name("nightly")).await;
    assert_eq!(other.expect("the schedule is looked for"), None);
    let another_process = Process::start(harness).await;
    assert_eq!(stored(&another_process, "nightly").await, schedule);
}

pub async fn many_schedules_are_found_by_their_names_in_the_order_of_the_question(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let (one, two) = (register(&process, "one", 60).await, register(&process, "two", 60).await);
    let asked = [("default", "two"), ("default", "none"), ("other", "one"), ("default", "one"), ("default", "two")];
    let asked = asked.map(|(space, text)| (namespace(space), name(text)));
    let found = process.store().schedules_named(asked.to_vec()).await.expect("answered");
    assert_eq!(found, [Some(two.clone()), None, None, Some(one), Some(two)]);
    assert_eq!(process.store().schedules_named(Vec::new()).await.expect("answered"), []);
}

pub async fn a_name_is_registered_once_in_its_namespace(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let elsewhere = ScheduleWrite {
        target: Target::New { namespace: namespace("other"), name: name("nightly") },
        ..registration("nightly", 60)
    };
    let twice = vec![registration("nightly", 60), registration("nightly", 70), elsewhere];
    let written = write(&process, 0, twice).await;
    assert!(matches!(written[..], [Written::Done(a), Written::Stale, Written::Done(b)] if a != b), "{written:?}");
    assert_eq!(stored(&process, "nightly").await.next, Some(at(60)));
}

pub async fn what_was_read_before_somebody_wrote_is_not_written(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let read = register(&process, "nightly", 60).await;
    let first = write(&process, 60, vec![rewrite(&read, 120, vec![fires(60, job(1))])]).await;
    assert_eq!(first, [Written::Done(read.key)]);
    let second = write(&process, 60, vec![rewrite(&read, 180, vec![fires(120, job(2))])]).await;
    assert_eq!(second, [Written::Stale]);
    let now = stored(&process, "nightly").await;
    assert_eq!((now.version, now.next), (2, Some(at(120))));
    assert_eq!(process.list(Filter::default()).await, [1], "a stale write makes no job");
    assert_eq!(firings(&process, read.key).await.len(), 1, "nor history");
}

pub async fn one_of_a_call_that_is_stale_does_not_hold_up_the_others(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let (a, b) = (register(&process, "a", 60).await, register(&process, "b", 60).await);
    write(&process, 60, vec![rewrite(&a, 90, Vec::new())]).await;
    let both = vec![
        rewrite(&a, 120, vec![fires(60, job(1))]),
        rewrite(&b, 120, vec![fires(60, job(2))]),
    ];
    assert_eq!(write(&process, 60, both).await, [Written::Stale, Written::Done(b.key)]);
    assert_eq!(process.list(Filter::default()).await, [2]);
}

/// PH: exactly one job per schedule and due time, also when the state was set back.
pub async fn an_occurrence_makes_one_job_whatever_the_state_says(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let mut schedule = register(&process, "nightly", 60).await;
    for n in 1..=2 {
        let written = write(&process, 60, vec![rewrite(&schedule, 60, vec![fires(60, job(n))])]).await;
        assert_eq!(written, [Written::Done(schedule.key)], "the second time, only the state is written");
        schedule = stored(&process, "nightly").await;
    }
    assert_eq!(process.list(Filter::default()).await, [1]);
    assert_eq!(firings(&process, schedule.key).await.len(), 1);
    let other_trigger = NewFiring { trigger: Some(trigger("cron")), ..fires(60, job(3)) };
    let by_hand = |n| NewFiring {
        trigger: None,
        what: Fires::Job(FiringKind::ByHand, Box::new(job(n))),
        ..fires(60, job(n))
    };
    write(&process, 60, vec![rewrite(&schedule, 120, vec![other_trigger, by_hand(4), by_hand(5)])]).await;
    assert_eq!(process.list(Filter::default()).await, [1, 4, 5], "what is fired by hand is no occurrence");
    let said = firings(&process, schedule.key).await;
    let other = said.iter().find(|firing| firing.trigger == Some(trigger("cron"))).expect("it is told");
    let run = SkippedRun { to: at(60), count: 1, exact: true, reason: SkipReason::SameDue };
    assert_eq!(other.outcome, FiringOutcome::Skipped(run), "another trigger has made the job of this due time");
}

/// An event fires each trigger that it matches, and each of them once.
pub async fn an_event_makes_one_job_for_each_trigger(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let mut schedule = register(&process, "nightly", 60).await;
    let event = Some(event_id(7));
    for n in [1, 3] {
        let by = |text, n| NewFiring { trigger: Some(trigger(text)), event, ..fires(60, job(n)) };
        let both = vec![by("event", n), by("event-2", n + 1)];
        write(&process, 60, vec![rewrite(&schedule, 60, both)]).await;
        schedule = stored(&process, "nightly").await;
    }
    let other = NewFiring { event: Some(event_id(8)), ..fires(60, job(5)) };
    write(&process, 60, vec![rewrite(&schedule, 60, vec![other])]).await;
    assert_eq!(process.list(Filter::default()).await, [1, 2, 5]);
}

pub async fn what_fires_are_jobs_like_any_other(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let schedule = register(&process, "nightly", 60).await;
    let later = NewJob { run_at: Some(at(90)), ..job(2) };
    write(&process, 60, vec![rewrite(&schedule, 120, vec![fires(60, job(1)), fires(61, later)])]).await;
    let states = process.store().states(vec![id(2), id(7), id(1)]).await.expect("states are told");
    assert_eq!(states, [Some(State::Scheduled), None, Some(State::Available)]);
    let worker = process.worker(1).await;
    let held = worker.claim_all(60).await;
    assert_eq!(numbers(&held), [1]);
    let states = process.store().states(vec![id(1)]).await.expect("states are told");
    assert_eq!(states, [Some(State::Running)]);
    worker.end(61, &held[0], completed()).await;
    let states = process.store().states(vec![id(1)]).await.expect("states are told");
    assert_eq!(states, [Some(State::Completed)]);
}

pub async fn the_states_of_many_jobs_are_told_at_once(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, jobs(1..=3)).await;
    let worker = process.worker(1).await;
    let held = worker.claim_all(1).await;
    worker.end(2, &held[0], failed("boom")).await;
    worker.end(2, &held[1], completed()).await;
    process.enqueue(2, [NewJob { held: true, ..job(4) }, job(5)]).await;
    process.change(3, 5, crate::Change::Cancel).await;
    let ids = (1..=6).map(id).collect();
    let states = process.store().states(ids).await.expect("states are told");
    use State::{Cancelled, Completed, Held, Retryable, Running};
    assert_eq!(states, [Some(Retryable), Some(Completed), Some(Running), Some(Held), Some(Cancelled), None]);
}

pub async fn what_is_due_comes_in_its_order_with_the_time_of_the_rest(harness: &impl Harness) {
    let process = Process::start(harness).await;
    for (text, next) in [("c", 30), ("a", 10), ("b", 20)] {
        register(&process, text, next).await;
    }
    assert_eq!(due(&process, 9, 10).await, (vec![], Some(at(10))));
    assert_eq!(due(&process, 20, 10).await, (vec!["a".to_owned(), "b".to_owned()], Some(at(30))));
    assert_eq!(due(&process, 40, 2).await, (vec!["a".to_owned(), "b".to_owned()], Some(at(30))));
    assert_eq!(due(&process, 40, 10).await.1, None);
}

pub async fn what_is_not_due_by_time_is_never_due(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let unplanned = ScheduleWrite { next: None, ..registration("events", 0) };
    write(&process, 0, vec![unplanned]).await;
    assert_eq!(due(&process, 1_000_000, 10).await, (vec![], None));
}

pub async fn who_makes_way_is_cancelled_only_if_the_write_is_not_stale(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let schedule = register(&process, "nightly", 60).await;
    write(&process, 60, vec![rewrite(&schedule, 120, vec![fires(60, job(1))])]).await;
    let cancel = Previous { jobs: vec![id(1), id(9)], reason: "it fires again".to_owned() };
    let late = ScheduleWrite { cancel: cancel.clone(), ..rewrite(&schedule, 180, vec![fires(120, job(2))]) };
    assert_eq!(write(&process, 120, vec![late]).await, [Written::Stale]);
    assert_eq!(process.state(1).await, State::Available);

    let schedule = stored(&process, "nightly").await;
    let good = ScheduleWrite { cancel, ..rewrite(&schedule, 180, vec![fires(120, job(2))]) };
    write(&process, 120, vec![good]).await;
    assert_eq!((process.state(1).await, process.state(2).await), (State::Cancelled, State::Available));
    let last = process.detail(1).await.timeline.pop().expect("it has moved");
    assert_eq!((last.actor, last.reason.as_deref()), (Actor::system(), Some("it fires again")));
}

pub async fn what_was_skipped_is_told_with_its_reason(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let schedule = register(&process, "nightly", 60).await;
    let run = SkippedRun { to: at(600), count: 10, exact: true, reason: SkipReason::Misfire };
    let skipped = NewFiring { what: Fires::Skip(run), ..fires(60, job(1)) };
    write(&process, 660, vec![rewrite(&schedule, 720, vec![skipped, fires(660, job(2))])]).await;
    let [newest, oldest] = &firings(&process, schedule.key).await[..] else { panic!("two firings") };
    assert_eq!((oldest.due, oldest.at, &oldest.outcome), (at(60), at(660), &FiringOutcome::Skipped(run)));
    assert_eq!(oldest.trigger, Some(trigger("every")));
    assert_eq!(
        newest.outcome,
        FiringOutcome::Fired { kind: FiringKind::OnTime, job: id(2), coalesced: false }
    );
    assert_eq!((newest.due, newest.previous_due), (at(660), Some(at(600))));
    assert!(newest.number > oldest.number);
}

pub async fn a_firing_whose_key_is_held_stands_for_the_job_that_holds_it(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let schedule = register(&process, "nightly", 60).await;
    let keyed = |n| NewJob { unique: unique("k", UniqueScope::Waiting), ..job(n) };
    write(&process, 60, vec![rewrite(&schedule, 120, vec![fires(60, keyed(1)), fires(61, keyed(2))])]).await;
    let firings = firings(&process, schedule.key).await;
    assert_eq!(
        firings[0].outcome,
        FiringOutcome::Fired { kind: FiringKind::OnTime, job: id(1), coalesced: true }
    );
    assert_eq!(process.list(Filter::default()).await, [1]);
}

pub async fn a_changed_definition_is_told_with_its_time(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let schedule = register(&process, "nightly", 60).await;
    let changed = ScheduleWrite {
        definition: Some(definition("2", false)),
        state: "{\"fired\": 1}".to_owned(),
        next: None,
        ..rewrite(&schedule, 0, Vec::new())
    };
    write(&process, 7, vec![changed]).await;
    let now = stored(&process, "nightly").await;
    assert_eq!((now.definition.as_str(), now.state.as_str()), ("{\"definition\": \"2\"}", "{\"fired\": 1}"));
    assert_eq!((now.next, now.version, now.created_at, now.changed_at), (None, 2, at(0), at(7)));
}

pub async fn schedules_are_listed_page_by_page(harness: &impl Harness) {
    let process = Process::start(harness).await;
    for text in ["c", "a", "b"] {
        register(&process, text, 60).await;
    }
    let elsewhere = Target::New { namespace: namespace("other"), name: name("d") };
    write(&process, 0, vec![ScheduleWrite { target: elsewhere, ..registration("d", 60) }]).await;
    let list = async |of: Option<&str>, after: Option<ScheduleKey>, limit| {
        let listed = process.store().schedules(of.map(namespace), after, limit).await;
        listed.expect("schedules are listed")
    };
    let names = |listed: &[StoredSchedule]| listed.iter().map(|one| one.name.to_string()).collect::<Vec<_>>();
    let first = list(None, None, 2).await;
    assert_eq!(names(&first), ["c", "a"]);
    assert_eq!(names(&list(None, Some(first[1].key), 5).await), ["b", "d"]);
    assert_eq!(names(&list(Some("other"), None, 5).await), ["d"]);
    assert_eq!(names(&list(Some("nobody"), None, 5).await), [""; 0]);
}

pub async fn a_removed_schedule_is_gone_and_its_jobs_stay(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let schedule = register(&process, "nightly", 60).await;
    write(&process, 60, vec![rewrite(&schedule, 120, vec![fires(60, job(1))])]).await;
    let read = stored(&process, "nightly").await;
    let remove = async || process.store().remove_schedule(schedule.key).await.expect("it is removed");
    assert!(remove().await);
    assert!(!remove().await);
    assert_eq!(write(&process, 120, vec![rewrite(&read, 180, Vec::new())]).await, [Written::Stale]);
    assert_eq!(due(&process, 1_000, 10).await, (vec![], None));
    assert_eq!(process.list(Filter::default()).await, [1]);
    let again = register(&process, "nightly", 240).await;
    assert_ne!(again.key, schedule.key);
    write(&process, 240, vec![rewrite(&again, 300, vec![fires(60, job(2))])]).await;
    assert_eq!(process.list(Filter::default()).await, [1, 2], "it is another schedule");
}

pub async fn firings_are_told_page_by_page_and_forgotten_in_time(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let mut schedule = register(&process, "nightly", 0).await;
    let _other = register(&process, "other", 0).await;
    for n in 1..=5 {
        let next = u64::from(n) * 60;
        write(&process, next, vec![rewrite(&schedule, next + 60, vec![fires(next, job(n))])]).await;
        schedule = stored(&process, "nightly").await;
    }
    let page = async |before, limit| {
        process.store().firings(schedule.key, before, limit).await.expect("firings are told")
    };
    let first = page(None, 2).await;
    assert_eq!(first.iter().map(|one| one.due).collect::<Vec<_>>(), [at(300), at(240)]);
    let rest = page(Some(first[1].number), 9).await;
    assert_eq!(rest.iter().map(|one| one.due).collect::<Vec<_>>(), [at(180), at(120), at(60)]);
    let prune = async |before, limit| {
        let (garbage, before) = (Garbage::Firings, at(before));
        let collect = Collect { garbage, before, after: None, limit, dry_run: false };
        process.store().collect(collect).await.expect("firings are forgotten").rows
    };
    assert_eq!(prune(180, 1).await, 1);
    assert_eq!(prune(180, 9).await, 1);
    assert_eq!(prune(180, 9).await, 0);
    assert_eq!(page(None, 9).await.len(), 3);
}

pub async fn a_forgotten_skip_lets_no_occurrence_fire_again(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let mut schedule = register(&process, "nightly", 60).await;
    let run = SkippedRun { to: at(60), count: 1, exact: true, reason: SkipReason::Overlap };
    write(&process, 60, vec![rewrite(&schedule, 60, vec![NewFiring { what: Fires::Skip(run), ..fires(60, job(9)) }])]).await;
    schedule = stored(&process, "nightly").await;
    write(&process, 90, vec![rewrite(&schedule, 60, vec![fires(60, job(1))])]).await;
    let forgotten = process.collect(Garbage::Firings, at(70), 9).await;
    assert_eq!(forgotten, 1, "the skip, and not what fired later");
    schedule = stored(&process, "nightly").await;
    write(&process, 90, vec![rewrite(&schedule, 60, vec![fires(60, job(2))])]).await;
    assert_eq!(process.list(Filter::default()).await, [1]);
}

pub async fn a_new_schedule_without_a_definition_is_refused(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let undefined = ScheduleWrite { definition: None, ..registration("nightly", 60) };
    let refused = process.store().write_schedules(at(0), vec![registration("other", 60), undefined]).await;
    assert!(refused.expect_err("nobody knows what it makes").is_domain());
    assert_eq!(due(&process, 1_000, 10).await, (vec![], None), "the whole call is refused");
}

pub async fn too_many_schedules_at_once_are_refused_whole(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let many = (0..=SCHEDULE_WRITES_MAX).map(|n| registration(&format!("s{n}"), 60)).collect();
    let refused = process.store().write_schedules(at(0), many).await.expect_err("it is too much");
    assert!(refused.to_string().contains("1000"), "{refused}");
    assert_eq!(due(&process, 1_000, 10).await, (vec![], None));
}

pub async fn a_schedule_that_fires_is_heard_of(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let schedule = register(&process, "nightly", 60).await;
    let mut hints = process.store().hints();
    hints.borrow_and_update();
    write(&process, 60, vec![rewrite(&schedule, 120, vec![fires(60, job(1))])]).await;
    let heard = tokio::time::timeout(Duration::from_secs(10), hints.changed()).await;
    heard.expect("somebody is told").expect("the store lives");
}

pub async fn jobs_of_a_kind_that_is_not_known_are_stored_all_the_same(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let schedule = register(&process, "nightly", 60).await;
    let strange = NewJob { kind: Kind::new("never.heard.of").expect("a plain kind"), ..job(1) };
    write(&process, 60, vec![rewrite(&schedule, 120, vec![fires(60, strange)])]).await;
    assert_eq!(process.state(1).await, State::Available);
}

async fn firings(process: &Process, schedule: ScheduleKey) -> Vec<crate::FiringView> {
    process.store().firings(schedule, None, 100).await.expect("firings are told")
}
