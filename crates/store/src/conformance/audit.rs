//! The audit: what is done on behalf of somebody leaves an entry, in a chain.

use std::sync::Arc;

use taskwright_core::audit::{Behalf, Broken, Link, Place, StateHash, Verifier};
use taskwright_core::webhook::Endpoint;
use taskwright_core::{
    Args, CancelPolicy, EventId, Garbage, Grants, NewJob, Principal, Priority, Role, Topic, UniqueScope,
};

use super::fixture::*;
use super::identity::token;
use super::{Harness, generator, identity, schedule, webhook};
use crate::{
    AuditFilter, AuditPage, Change, Changed, GeneratorWrite, Kept, NewEvent, NewGenerator, NewWebhook, Pattern,
    ScheduleWrite, Shape, SharedStore, UserWrite,
};

/// On behalf of [`alice`], something at some second.
fn behalf(now: u64, action: &str, object: &str) -> Behalf {
    Behalf::of(&Principal::local(alice()), at(now), action, object).within(namespace("default"))
}

fn acting(process: &Process, now: u64, action: &str, object: &str) -> SharedStore {
    process.store().on_behalf_of(behalf(now, action, object))
}

/// Seals everything.
async fn seal(process: &Process) {
    while process.store().seal_audit(2).await.expect("entries are sealed") > 0 {}
}

async fn page(process: &Process, filter: AuditFilter, before: Option<u64>, limit: usize) -> AuditPage {
    process.store().audit_page(filter, before, limit).await.expect("entries are listed")
}

/// All entries, oldest first: what was done to what, and how it went.
async fn told(process: &Process) -> Vec<(String, String, String)> {
    seal(process).await;
    let entries = page(process, AuditFilter::default(), None, 100).await.entries;
    let tell = |view: crate::AuditView| (view.entry.action, view.entry.object, view.entry.outcome);
    entries.into_iter().rev().map(tell).collect()
}

async fn links(process: &Process) -> Vec<Link> {
    process.store().audit_links(0, 100).await.expect("links are read")
}

async fn verify(process: &Process, expected: Option<Place>) -> Result<Place, Broken> {
    let ends = process.store().audit_ends().await.expect("the ends are read");
    let mut verifier = Verifier::after(ends.anchor, expected);
    let links = process.store().audit_links(ends.anchor.position, 1_000).await.expect("links are read");
    links.iter().try_for_each(|link| verifier.step(link))?;
    verifier.end(ends.head)
}

pub async fn what_is_done_on_behalf_of_somebody_leaves_an_entry(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let store = process.store().on_behalf_of(behalf(1, "jobs.enqueue", "mail").from("10.0.0.7"));
    store.enqueue(at(2), vec![job(1)]).await.expect("stored");
    seal(&process).await;
    let entry = page(&process, AuditFilter::default(), None, 10).await.entries.remove(0);
    assert_eq!(entry.position, 1);
    assert_eq!(entry.entry, behalf(1, "jobs.enqueue", "mail").from("10.0.0.7").entry(format!("stored {}", id(1))));
    assert!(process.has(1).await);
}

pub async fn jobs_that_came_together_leave_an_entry_each(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let asked = |job: NewJob, n: u64| (job, Arc::new(behalf(n, "jobs.enqueue", &n.to_string())));
    let taken = |n: u32| NewJob { unique: unique("one", UniqueScope::Active), ..job(n) };
    // The lane of plain jobs is there for the second time.
    process.store().enqueue_told(at(2), vec![asked(job(9), 1)]).await.expect("stored");
    for (first, new) in [(10, 3), (20, 4)] {
        let jobs = vec![asked(job(first), 2), asked(job(first + 1), 3), asked(job(first + 2), 4)];
        let stored = process.store().enqueue_told(at(2), jobs).await.expect("stored");
        assert!(stored.iter().map(|one| (number(one.id), one.existing)).eq((first..first + 3).map(|n| (n, false))));
        // Again, with one that is new, and one whose key is held in the second round.
        let again = vec![asked(job(first), 5), asked(job(first + new), 6), asked(taken(first + 5), 7)];
        let stored = process.store().enqueue_told(at(3), again).await.expect("stored");
        let told: Vec<_> = stored.iter().map(|one| (number(one.id), one.existing)).collect();
        assert_eq!(told, [(first, true), (first + new, false), (15, first == 20)]);
    }
    let objects: Vec<String> = told(&process).await.into_iter().map(|(_, object, _)| object).collect();
    assert_eq!(objects, ["1", "2", "3", "4", "6", "7", "2", "3", "4", "6"]);
    verify(&process, None).await.expect("the chain is whole");
}

pub async fn what_is_done_on_behalf_of_nobody_leaves_none(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=3)).await;
    process.change(1, 1, Change::Cancel).await;
    let claimed = worker.claim_all(1).await;
    worker.end(2, &claimed[0], completed()).await;
    process.store().pause(at(1), namespace("default"), queue("default"), true, alice()).await.expect("paused");
    process.store().add_token(at(1), token(1)).await.expect("stored");
    process.store().touch_token(at(2), token(1).id).await.expect("noted");
    assert_eq!(told(&process).await, []);
}

pub async fn each_sort_of_mutation_says_how_it_went(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let by = |action: &str| acting(&process, 1, action, "it");
    let held = NewJob { held: true, ..job(4) };
    by("jobs.enqueue").enqueue(at(1), vec![job(1), job(2), job(3)]).await.expect("stored");
    by("jobs.hold").enqueue(at(1), vec![held]).await.expect("stored");
    let cancelled = by("jobs.cancel").change(at(2), vec![id(1), id(9)], Change::Cancel, alice(), None).await;
    assert_eq!(cancelled.expect("changed"), [Changed::Done, Changed::Unknown]);
    let seen = process.view(2).await;
    let to = Change::Reprioritise { priority: Priority::HIGH };
    by("jobs.change").change_seen(at(2), vec![(&seen).into()], to, alice(), None).await.expect("changed");
    let (ours, default) = (namespace("default"), queue("default"));
    by("queues.pause").pause(at(2), ours.clone(), default.clone(), true, alice()).await.expect("paused");
    by("queues.purge").purge(at(2), ours.clone(), default, alice(), 10).await.expect("purged");
    let event = NewEvent {
        id: EventId::from_bytes(*id(1).as_bytes()),
        namespace: ours.clone(),
        topic: Topic::new("order.paid").expect("a topic"),
        key: None,
        payload: Args::default(),
    };
    by("events.emit").emit(at(2), vec![event]).await.expect("emitted");
    by("tokens.create").add_token(at(3), token(1)).await.expect("stored");
    by("namespaces.change").set_cancel_policy(at(3), ours, CancelPolicy::Admin).await.expect("set");
    by("jobs.comment").comment(at(3), id(2), alice(), "why?".to_owned()).await.expect("said");
    let expected = [
        ("jobs.enqueue", format!("stored {} and 2 more", id(1))),
        ("jobs.hold", format!("stored {}", id(4))),
        ("jobs.cancel", "1 done, 1 skipped".to_owned()),
        ("jobs.change", "1 done".to_owned()),
        ("queues.pause", "done".to_owned()),
        ("queues.purge", "3 done".to_owned()),
        ("events.emit", "done".to_owned()),
        ("tokens.create", "done".to_owned()),
        ("namespaces.change", "done".to_owned()),
        ("jobs.comment", "done".to_owned()),
    ];
    let expected = expected.map(|(action, outcome)| (action.to_owned(), "it".to_owned(), outcome));
    assert_eq!(told(&process).await, expected);
    verify(&process, None).await.expect("the chain is whole");
}

pub async fn what_changed_nothing_leaves_no_entry(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, [job(1)]).await;
    let by = |action: &str| acting(&process, 1, action, "it");
    by("jobs.enqueue").enqueue(at(1), vec![job(1)]).await.expect("answered");
    by("jobs.cancel").change(at(1), vec![id(9)], Change::Cancel, alice(), None).await.expect("answered");
    by("jobs.release").change(at(1), vec![id(1)], Change::Release, alice(), None).await.expect("answered");
    by("jobs.comment").comment(at(1), id(9), alice(), "why?".to_owned()).await.expect("answered");
    by("queues.resume")
        .pause(at(1), namespace("default"), queue("default"), false, alice())
        .await
        .expect("answered");
    // What is read, and what is refused, too.
    by("jobs.view").job(id(1)).await.expect("read");
    assert!(by("jobs.comment").comment(at(1), id(1), alice(), String::new()).await.is_err());
    assert_eq!(told(&process).await, []);
}

/// What the entries of the audit say was there before and is there since, oldest first.
async fn changes(process: &Process) -> Vec<(Option<StateHash>, Option<StateHash>)> {
    seal(process).await;
    let entries = page(process, AuditFilter::default(), None, 100).await.entries;
    entries.into_iter().rev().map(|view| (view.entry.before, view.entry.after)).collect()
}

/// That each entry found what the one before had left, from nothing on, or to nothing.
fn assert_hand_over(changes: &[(Option<StateHash>, Option<StateHash>)], ends_gone: bool) {
    assert_eq!(changes[0].0, None, "it was new");
    for (nth, pair) in changes.windows(2).enumerate() {
        assert!(pair[0].1.is_some() && pair[0].1 == pair[1].0, "{nth}: {pair:?}");
        assert_ne!(pair[1].0, pair[1].1, "{nth}");
    }
    assert_eq!(changes.last().is_some_and(|last| last.1.is_none()), ends_gone);
}

/// S27.
pub async fn an_entry_tells_what_was_there_before_and_what_is_there_since(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let by = |action: &str| acting(&process, 1, action, "it");
    by("tokens.create").add_token(at(1), token(1)).await.expect("stored");
    by("tokens.create").add_token(at(1), token(2)).await.expect("stored");
    by("tokens.revoke").revoke_token(at(2), token(2).id).await.expect("revoked");
    let tokens = changes(&process).await;
    assert_hand_over(&[tokens[1], tokens[2]], false);
    assert_ne!(tokens[0].1, tokens[1].1);

    let ours = namespace("default");
    let ours = || ours.clone();
    by("namespaces.change").set_cancel_policy(at(3), ours(), CancelPolicy::Admin).await.expect("set");
    by("namespaces.change").set_cancel_policy(at(3), ours(), CancelPolicy::Owner).await.expect("set");
    by("queues.pause").pause(at(3), ours(), queue("default"), true, alice()).await.expect("paused");
    by("queues.resume").pause(at(3), ours(), queue("default"), false, alice()).await.expect("resumed");
    let rest = &changes(&process).await[3..];
    assert!(rest[0].0.is_some() && rest[0].1 == rest[1].0 && rest[1].0 != rest[1].1, "{rest:?}");
    assert_eq!(rest[2], (rest[3].1, rest[3].0), "a queue that is resumed is what it was");
    assert!(rest[2].0.is_some() && rest[2].0 != rest[2].1);
}

/// S27.
pub async fn entries_about_one_thing_hand_over_from_each_to_the_next(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let by = |action: &str| acting(&process, 1, action, "it");
    let write = async |action: &str, write: ScheduleWrite| {
        by(action).write_schedules(at(1), vec![write]).await.expect("written")[0]
    };
    let state = |paused: bool| format!("{{\"triggers\": {{}}, \"paused\": {paused}}}");
    write("schedules.add", ScheduleWrite { state: state(false), ..schedule::registration("nightly", 60) }).await;
    let found = schedule::stored(&process, "nightly").await;
    let paused = ScheduleWrite { state: state(true), ..schedule::rewrite(&found, 60, vec![]) };
    write("schedules.pause", paused.clone()).await;
    // What does not take place, and what people do not decide about, leaves no hash: it has changed nothing of that.
    write("schedules.pause", paused).await;
    let found = schedule::stored(&process, "nightly").await;
    process.store().write_schedules(at(2), vec![schedule::rewrite(&found, 90, vec![])]).await.expect("written");
    let found = schedule::stored(&process, "nightly").await;
    let edited = ScheduleWrite {
        definition: Some(schedule::definition("2", false)),
        ..schedule::rewrite(&found, 60, vec![])
    };
    write("schedules.set", edited).await;
    by("schedules.remove").remove_schedule(found.key).await.expect("removed");
    let schedules = changes(&process).await;
    assert_eq!(schedules.len(), 4);
    assert_hand_over(&schedules, true);

    let new = generator::generator("feed", 5);
    by("generators.put").put_generators(at(1), vec![new.clone()]).await.expect("put");
    by("generators.put")
        .put_generators(at(1), vec![NewGenerator { definition: "{\"window\": 8}".to_owned(), ..new }])
        .await
        .expect("put");
    let feed = generator::stored(&process, "feed").await;
    by("generators.remove").remove_generator(feed.key).await.expect("removed");
    let generators = &changes(&process).await[4..];
    assert_hand_over(generators, true);
    verify(&process, None).await.expect("the chain is whole");
}

/// S27.
pub async fn entries_about_one_user_hand_over_from_each_to_the_next(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let by = |action: &str| acting(&process, 1, action, "it");
    let name = || identity::user_name("bob");
    let grants = || Grants::of(namespace("a"), Role::Viewer);
    // One more superuser, so that the other may go; it is no part of the entries.
    process.store().add_user(at(0), identity::user("alice", Grants::superuser())).await.expect("added");
    assert!(by("users.add").add_user(at(1), identity::user("bob", grants())).await.expect("added"));
    let writes = [
        UserWrite { password: Some("hashed anew".to_owned()), ..UserWrite::default() },
        UserWrite { grants: Some(Grants::superuser()), ..UserWrite::default() },
        UserWrite { disabled: Some(true), ..UserWrite::default() },
    ];
    for write in writes {
        let done = by("users.set").write_user(at(2), name(), write).await.expect("written");
        assert_eq!(done, Kept::Done);
    }
    let removed = by("users.remove").remove_user(at(4), name()).await.expect("removed");
    assert_eq!(removed, Kept::Done);
    let users = changes(&process).await;
    assert_eq!(users.len(), 5);
    assert_hand_over(&users, true);
    verify(&process, None).await.expect("the chain is whole");
}

/// S27.
pub async fn entries_about_one_endpoint_hand_over_from_each_to_the_next(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let by = |action: &str| acting(&process, 1, action, "it");
    let wanted = webhook::endpoint(&["**"]);
    let new = NewWebhook { generator: generator::generator("webhook:a", 0), shape: Shape::of(&wanted) };
    assert!(by("webhooks.create").add_webhook(at(0), new).await.expect("added"));
    let found = webhook::stored(&process, "webhook:a").await;
    // What it does by itself leaves no entry, and no gap between two.
    webhook::turn(&process, 1, "webhook:a", webhook::nothing(&found)).await;
    let others = [
        Endpoint { in_flight: 3, ..wanted.clone() },
        Endpoint { topics: webhook::topics(&["job.failed"]), ..wanted.clone() },
    ];
    for other in others {
        let found = webhook::stored(&process, "webhook:a").await;
        let write = webhook::write_of(&found, &other, false);
        assert!(by("webhooks.set").write_webhook(at(2), write).await.expect("written"));
    }
    let key = found.generator.key;
    assert!(by("webhooks.remove").remove_webhook(at(3), key).await.expect("removed"));
    let endpoints = changes(&process).await;
    assert_eq!(endpoints.len(), 4);
    assert_hand_over(&endpoints, true);
}

/// S27.
pub async fn a_generator_that_rests_and_goes_on_is_what_it_was(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let by = |action: &str| acting(&process, 1, action, "it");
    let new = generator::generator("feed", 5);
    assert!(by("generators.put").put_generators(at(1), vec![new]).await.expect("put")[0]);
    let mut versions = Vec::new();
    for paused in [true, false] {
        let found = generator::stored(&process, "feed").await;
        let write = GeneratorWrite {
            generator: found.key,
            version: found.version,
            record: "{}".to_owned(),
            paused,
            next: None,
            state: None,
        };
        versions.push(write.clone());
        assert!(by("generators.pause").write_generator(at(2), write).await.expect("written"));
    }
    assert!(!by("generators.pause").write_generator(at(3), versions.remove(0)).await.expect("answered"), "stale");
    let told = changes(&process).await;
    assert_eq!(told.len(), 3, "what is stale is no entry");
    assert_hand_over(&told, false);
    assert_eq!(told[0].1, told[2].1);
}

/// S27.
pub async fn what_is_done_to_jobs_is_told_of_those_that_changed(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let by = |action: &str| acting(&process, 1, action, "it");
    process.enqueue(0, jobs(1..=3)).await;
    let high = Change::Reprioritise { priority: Priority::HIGH };
    by("jobs.change").change(at(1), vec![id(1), id(9)], high, alice(), None).await.expect("changed");
    let later = Change::Delay { until: at(100) };
    by("jobs.change").change(at(1), vec![id(1)], later, alice(), None).await.expect("changed");
    by("jobs.cancel").change(at(2), vec![id(1), id(2)], Change::Cancel, alice(), None).await.expect("changed");
    by("jobs.delete").change(at(3), vec![id(2), id(3)], Change::Delete, alice(), None).await.expect("changed");
    let told = changes(&process).await;
    assert_eq!(told.len(), 4);
    assert!(told.iter().all(|(before, after)| before.is_some() && before != after), "{told:?}");
    assert_eq!(told[0].1, told[1].0, "of one job");
    assert_ne!(told[1].1, told[2].0, "there it is two");
    assert_eq!(told[3].1, None, "the one that was over is gone");
}

pub async fn a_handle_on_behalf_of_somebody_is_the_same_store(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    let store = acting(&process, 1, "jobs.enqueue", "mail");
    store.enqueue(at(1), vec![job(1)]).await.expect("stored");
    drop(store);
    assert_eq!(numbers(&worker.claim_all(2).await), [1]);
    // That the handle is gone is no death of the process.
    assert_eq!(process.reclaim(3).await.workers.len(), 0);
    assert_eq!(process.list(crate::Filter::default()).await, [1]);
}

pub async fn plain_jobs_in_every_number_leave_one_entry_a_call(harness: &impl Harness) {
    let process = Process::start(harness).await;
    // The second time their lane is known.
    for (round, first) in [1, 100].into_iter().enumerate() {
        let store = acting(&process, 1, "jobs.enqueue", "mail");
        store.enqueue(at(1), vec![job(first)]).await.expect("stored");
        store.enqueue(at(1), jobs(first + 1..first + 9)).await.expect("stored");
        let (stored, previous) = tokio::sync::oneshot::channel();
        stored.send(()).expect("it is received");
        store.enqueue_behind(at(1), jobs(first + 10..first + 12), previous).await.expect("stored");
        assert_eq!(told(&process).await.len(), 3 * (round + 1));
        // A second send of the same adds neither a job nor an entry.
        store.enqueue(at(1), vec![job(first)]).await.expect("answered");
        assert_eq!(told(&process).await.len(), 3 * (round + 1));
    }
    assert_eq!(process.list(crate::Filter::default()).await.len(), 22);
    verify(&process, None).await.expect("the chain is whole");
}

pub async fn entries_of_two_processes_make_one_chain(harness: &impl Harness) {
    let processes = [Process::start(harness).await, Process::start(harness).await];
    for n in 1..=6 {
        let process = &processes[n as usize % 2];
        acting(process, 1, "jobs.enqueue", &n.to_string()).enqueue(at(1), vec![job(n)]).await.expect("stored");
    }
    let (one, other) = tokio::join!(processes[0].store().seal_audit(4), processes[1].store().seal_audit(4));
    one.and(other).expect("sealed");
    seal(&processes[0]).await;
    let links = links(&processes[1]).await;
    assert_eq!(links.iter().map(|link| link.position).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    let head = verify(&processes[0], None).await.expect("the chain is whole");
    assert_eq!(verify(&processes[1], Some(links[3].place())).await, Ok(head));
    let other = Place { position: 4, ..links[2].place() };
    assert_eq!(verify(&processes[1], Some(other)).await.expect_err("it never was so").position, 4);
}

pub async fn entries_are_found_by_what_they_say_page_by_page(harness: &impl Harness) {
    let process = Process::start(harness).await;
    for n in 1..=5 {
        let action = if n % 2 == 0 { "queues.pause" } else { "queues.resume" };
        let entry = behalf(n, action, &format!("queue {n}")).entry("done");
        process.store().note_audit(entry).await.expect("noted");
    }
    let elsewhere = behalf(9, "queues.pause", "far").within(namespace("b")).entry("done");
    process.store().note_audit(elsewhere).await.expect("noted");
    seal(&process).await;
    let objects = async |filter: AuditFilter| {
        let entries = page(&process, filter, None, 100).await.entries;
        entries.into_iter().map(|view| view.entry.object).collect::<Vec<_>>()
    };
    let any = AuditFilter::default;
    let of = |text: &str| vec![Pattern::new(text)];
    assert_eq!(objects(AuditFilter { namespace: Some(namespace("b")), ..any() }).await, ["far"]);
    assert_eq!(objects(AuditFilter { actions: of("*.RESUME"), ..any() }).await, ["queue 5", "queue 3", "queue 1"]);
    assert_eq!(objects(AuditFilter { objects: of("queue 2"), ..any() }).await, ["queue 2"]);
    assert_eq!(objects(AuditFilter { who: of("bob"), ..any() }).await, Vec::<String>::new());
    let between = AuditFilter { from: Some(at(2)), to: Some(at(3)), ..any() };
    assert_eq!(objects(between).await, ["queue 3", "queue 2"]);

    let first = page(&process, any(), None, 4).await;
    assert_eq!(first.entries.len(), 4);
    let second = page(&process, any(), first.next, 4).await;
    assert_eq!(second.entries.iter().map(|view| view.position).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(second.next, None);
}

pub async fn old_entries_go_and_the_rest_can_still_be_verified(harness: &impl Harness) {
    let process = Process::start(harness).await;
    for n in 1..=7 {
        process.store().note_audit(behalf(10 * n, "a.b", &n.to_string()).entry("done")).await.expect("noted");
    }
    seal(&process).await;
    let all = links(&process).await;
    let dry = crate::Collect { garbage: Garbage::Audit, before: at(50), after: None, limit: 10, dry_run: true };
    assert_eq!(process.store().collect(dry).await.expect("looked at").rows, 4);
    assert_eq!(process.collect(Garbage::Audit, at(10), 2).await, 0);
    assert_eq!(process.collect(Garbage::Audit, at(50), 2).await, 4);
    assert_eq!(links(&process).await, all[4..]);
    let head = verify(&process, Some(all[5].place())).await.expect("the rest is whole");
    assert_eq!(head, all[6].place());
    assert!(verify(&process, Some(all[1].place())).await.is_err(), "that is gone, and not passed over");
    assert_eq!(process.collect(Garbage::Audit, at(1_000), 100).await, 3);
    assert_eq!(verify(&process, None).await, Ok(head));
    process.store().note_audit(behalf(99, "a.b", "8").entry("done")).await.expect("noted");
    seal(&process).await;
    assert_eq!(verify(&process, Some(head)).await.expect("it goes on").position, 8);
}
