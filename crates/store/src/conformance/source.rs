//! Event sources: what was seen is remembered with what was told of it.

use taskwright_core::limit::SIGHTINGS_MAX;
use taskwright_core::{Args, EventId, Fingerprint, Garbage, SourceName, Topic};

use super::Harness;
use super::fixture::*;
use crate::{Collect, NewEvent, Sighting, SourceKey, SourceNote, SourcePlace};

fn place(name: &str, host: &str) -> SourcePlace {
    SourcePlace {
        namespace: namespace("default"),
        name: SourceName::new(name).expect("scenarios name sources well"),
        host: host.to_owned(),
        path: "/srv/inbox".to_owned(),
    }
}

/// What a file of so many bytes looks like.
fn print(size: u64) -> Fingerprint {
    Fingerprint { size, modified_ns: 1_700_000_000_123_456_789, inode: 7, born_ns: Some(-3) }
}

fn event(n: u32) -> NewEvent {
    NewEvent {
        id: EventId::from_bytes(*id(n).as_bytes()),
        namespace: namespace("default"),
        topic: Topic::new("file.created").expect("it is a topic"),
        key: Some(format!("/srv/inbox/{n}")),
        payload: Args::from_json(format!("{{\"n\": {n}}}")).expect("it is JSON"),
    }
}

/// A new file, with event `n`.
fn new_file(path: &str, size: u64, n: u32) -> Sighting {
    Sighting { path: path.to_owned(), before: None, after: Some(print(size)), event: Some(event(n)) }
}

fn gone(path: &str, size: u64) -> Sighting {
    Sighting { path: path.to_owned(), before: Some(print(size)), after: None, event: None }
}

async fn open(process: &Process, now: u64, place: SourcePlace) -> SourceKey {
    process.store().open_source(at(now), place).await.expect("the source is opened")
}

async fn see(process: &Process, source: SourceKey, sightings: Vec<Sighting>) -> Vec<bool> {
    process.store().see(at(5), source, sightings).await.expect("sightings are written")
}

async fn seen(process: &Process, source: SourceKey) -> Vec<(String, u64)> {
    let seen = process.store().seen(source, None, 100).await.expect("files are listed");
    seen.into_iter().map(|(path, print)| (path, print.size)).collect()
}

fn files(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
    expected.iter().map(|(path, size)| ((*path).to_owned(), *size)).collect()
}

/// The keys of the events that were told, in their order.
async fn told(process: &Process) -> Vec<String> {
    let events = process.store().undelivered(100).await.expect("events are found");
    events.into_iter().filter_map(|stored| stored.event.key).collect()
}

pub async fn a_source_at_its_place_has_one_key(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let first = open(&process, 1, place("inbox", "a")).await;
    let another_process = Process::start(harness).await;
    assert_eq!(open(&another_process, 2, place("inbox", "a")).await, first);
    let elsewhere = SourcePlace { path: "/srv/outbox".to_owned(), ..place("inbox", "a") };
    for other in [place("inbox", "b"), place("mail", "a"), elsewhere] {
        assert_ne!(open(&process, 3, other).await, first);
    }
}

pub async fn a_file_is_remembered_and_told_together(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let source = open(&process, 1, place("inbox", "a")).await;
    let other = open(&process, 1, place("inbox", "b")).await;
    let both = vec![new_file("b.csv", 2, 2), new_file("a.csv", 1, 1)];
    assert_eq!(see(&process, source, both).await, [true, true]);
    let another_process = Process::start(harness).await;
    assert_eq!(seen(&another_process, source).await, files(&[("a.csv", 1), ("b.csv", 2)]));
    assert_eq!(seen(&another_process, other).await, []);
    assert_eq!(told(&another_process).await, ["/srv/inbox/2", "/srv/inbox/1"], "as they were handed over");
    let stored = process.store().undelivered(1).await.expect("events are found");
    assert_eq!((&stored[0].event, stored[0].at), (&event(2), at(5)));
}

pub async fn a_file_without_an_event_is_only_remembered(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let source = open(&process, 1, place("inbox", "a")).await;
    let quiet = Sighting { event: None, ..new_file("a.csv", 1, 1) };
    assert_eq!(see(&process, source, vec![quiet]).await, [true]);
    assert_eq!(seen(&process, source).await, files(&[("a.csv", 1)]));
    assert_eq!(told(&process).await, [""; 0]);
}

pub async fn a_sighting_that_is_repeated_changes_and_tells_nothing(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let source = open(&process, 1, place("inbox", "a")).await;
    assert_eq!(see(&process, source, vec![new_file("a.csv", 1, 1)]).await, [true]);
    // With another event, as from another node: what was seen decides, not the id.
    let again = vec![new_file("a.csv", 1, 2), new_file("b.csv", 1, 3)];
    assert_eq!(see(&process, source, again).await, [false, true]);
    assert_eq!(told(&process).await, ["/srv/inbox/1", "/srv/inbox/3"]);
}

pub async fn only_what_looks_as_it_was_said_to_is_changed_or_forgotten(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let source = open(&process, 1, place("inbox", "a")).await;
    let new = ["a", "b", "c", "d"].map(|path| Sighting { event: None, ..new_file(path, 1, 0) });
    assert_eq!(see(&process, source, new.into()).await, [true; 4]);
    let change = |path, before, n| Sighting { before: Some(print(before)), ..new_file(path, 9, n) };
    let mixed = vec![change("a", 1, 1), change("b", 2, 2), gone("c", 1), gone("d", 2), change("e", 1, 3)];
    assert_eq!(see(&process, source, mixed).await, [true, false, true, false, false]);
    assert_eq!(seen(&process, source).await, files(&[("a", 9), ("b", 1), ("d", 1)]));
    assert_eq!(told(&process).await, ["/srv/inbox/1"]);
}

pub async fn a_file_that_was_forgotten_can_come_again(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let source = open(&process, 1, place("inbox", "a")).await;
    see(&process, source, vec![new_file("a.csv", 1, 1)]).await;
    see(&process, source, vec![gone("a.csv", 1)]).await;
    assert_eq!(see(&process, source, vec![new_file("a.csv", 1, 2)]).await, [true]);
    assert_eq!(told(&process).await, ["/srv/inbox/1", "/srv/inbox/2"]);
}

pub async fn what_was_seen_is_found_by_path_and_page_by_page(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let source = open(&process, 1, place("inbox", "a")).await;
    // By bytes: capitals first, and what is not ASCII last.
    let paths = ["B", "a", "a/b", "ab", "ä"];
    let new = paths.iter().zip(1..).map(|(path, size)| Sighting { event: None, ..new_file(path, size, 0) });
    let mut new: Vec<_> = new.collect();
    new.reverse();
    see(&process, source, new).await;
    let found = process.store().seen_of(source, vec!["ab".into(), "x".into(), "B".into()]).await;
    assert_eq!(found.expect("files are found"), [Some(print(4)), None, Some(print(1))]);
    let page = async |after: Option<&str>, limit| {
        let page = process.store().seen(source, after.map(str::to_owned), limit).await;
        page.expect("files are listed").into_iter().map(|(path, _)| path).collect::<Vec<_>>()
    };
    assert_eq!(page(None, 2).await, ["B", "a"]);
    assert_eq!(page(Some("a"), 9).await, ["a/b", "ab", "ä"]);
    assert_eq!(page(Some("ä"), 9).await, [""; 0]);
}

pub async fn too_many_sightings_at_once_are_refused_whole(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let source = open(&process, 1, place("inbox", "a")).await;
    let many = |count| (0..count).map(|n| Sighting { event: None, ..new_file(&n.to_string(), 1, 0) }).collect();
    process.store().see(at(5), source, many(SIGHTINGS_MAX + 1)).await.expect_err("it is too much");
    assert_eq!(seen(&process, source).await, []);
    assert_eq!(see(&process, source, many(SIGHTINGS_MAX)).await, vec![true; SIGHTINGS_MAX]);
    let paths = vec!["a".to_owned(); SIGHTINGS_MAX + 1];
    process.store().seen_of(source, paths).await.expect_err("it is too much");
}

pub async fn a_source_shows_how_it_is(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let source = open(&process, 1, place("inbox", "b")).await;
    open(&process, 2, SourcePlace { namespace: namespace("other"), ..place("inbox", "a") }).await;
    open(&process, 3, place("inbox", "a")).await;
    let note = SourceNote {
        mode: "watch".to_owned(),
        scanned_at: Some(at(8)),
        files: 12,
        error: Some("it is full".to_owned()),
    };
    assert!(process.store().note_source(at(9), source, note.clone()).await.expect("it is noted"));
    let list = async |of: Option<&str>| {
        process.store().sources(of.map(namespace)).await.expect("sources are listed")
    };
    let all = list(None).await;
    let hosts = |of: &[crate::SourceView]| of.iter().map(|one| one.place.host.clone()).collect::<Vec<_>>();
    assert_eq!(hosts(&all), ["a", "b", "a"]);
    assert_eq!((all[1].key, &all[1].note, all[1].noted_at), (source, &Some(note), at(9)));
    assert_eq!((&all[2].note, all[2].noted_at), (&None, at(2)));
    assert_eq!(hosts(&list(Some("other")).await), ["a"]);
}

pub async fn a_source_that_nobody_runs_is_forgotten_in_time(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let (old, young) = (open(&process, 1, place("old", "a")).await, open(&process, 1, place("young", "a")).await);
    for source in [old, young] {
        let new = ["a", "b", "c"].map(|path| Sighting { event: None, ..new_file(path, 1, 0) });
        see(&process, source, new.into()).await;
    }
    open(&process, 50, place("young", "a")).await;
    let prune = async |limit| {
        let garbage = Garbage::Sources;
        let collect = Collect { garbage, before: at(50), after: None, limit, dry_run: false };
        process.store().collect(collect).await.expect("it is forgotten").rows
    };
    assert_eq!(prune(2).await, 2);
    assert_eq!(seen(&process, old).await.len(), 1);
    assert_eq!(prune(9).await, 2, "the last file and the source");
    assert_eq!(prune(9).await, 0);
    assert_eq!(seen(&process, young).await.len(), 3);
    let note = SourceNote { mode: "poll".to_owned(), scanned_at: None, files: 0, error: None };
    assert!(!process.store().note_source(at(60), old, note).await.expect("it is answered"));
    assert_eq!(see(&process, old, vec![new_file("a", 1, 1)]).await, [false], "nobody would forget it");
    assert_eq!(told(&process).await, [""; 0]);
}

pub async fn what_a_source_tells_is_heard_of(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let source = open(&process, 1, place("inbox", "a")).await;
    let mut hints = process.store().hints();
    hints.borrow_and_update();
    see(&process, source, vec![new_file("a.csv", 1, 1)]).await;
    let heard = tokio::time::timeout(std::time::Duration::from_secs(10), hints.changed()).await;
    heard.expect("somebody is told").expect("the store lives");
    let listed = process.store().events(None, None, None, 9).await.expect("events are listed");
    assert_eq!(listed.len(), 1);
}
