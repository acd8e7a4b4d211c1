//! Generators: taken by one at a time, and what came of asking them is written whole, once.

use std::time::Duration;

use taskwright_core::generator::ItemEnd;
use taskwright_core::limit::{GENERATOR_BATCH_MAX, GENERATOR_STATE_BYTES_MAX, ITEM_KEY_BYTES_MAX};
use taskwright_core::{GeneratorName, NewJob, Priority, State};

use super::Harness;
use super::fixture::*;
use crate::{
    Change, Changed, EndedItem, Filter, GeneratorCommit, GeneratorWrite, ItemsEnded, NewGenerator, NewItem, SettledItem,
    StoredGenerator, TakeGenerators, TakenGenerators,
};

/// The lease of every take: 30 s.
pub const LEASE_S: u64 = 30;

pub fn called(name: &str) -> GeneratorName {
    GeneratorName::new(name).expect("scenarios name generators well")
}

/// A generator that is due at a moment.
pub fn generator(name: &str, next: u64) -> NewGenerator {
    NewGenerator {
        namespace: namespace("default"),
        name: called(name),
        definition: "{\"window\": 7}".to_owned(),
        record: "{}".to_owned(),
        state: "null".to_owned(),
        next: Some(at(next)),
        best: Priority::DEFAULT,
        listens: false,
    }
}

pub async fn put(process: &Process, new: NewGenerator) -> bool {
    process.store().put_generators(at(0), vec![new]).await.expect("it is registered")[0]
}

pub fn asks(now: u64, names: &[&str]) -> TakeGenerators {
    TakeGenerators {
        names: names.iter().map(|name| (namespace("default"), called(name))).collect(),
        ..TakeGenerators::at(at(now), Duration::from_secs(LEASE_S), 10)
    }
}

async fn take_as(process: &Process, take: TakeGenerators) -> TakenGenerators {
    process.store().take_generators(take).await.expect("it is answered")
}

/// The names of those that are taken.
pub async fn names_taken(process: &Process, take: TakeGenerators) -> Vec<String> {
    take_as(process, take).await.generators.iter().map(|taken| taken.name.to_string()).collect()
}

/// Takes the generator `feed`, which is due.
pub async fn take(process: &Process, now: u64) -> StoredGenerator {
    let taken = take_as(process, asks(now, &["feed"])).await.generators.pop();
    taken.expect("the generator is due and free")
}

pub async fn stored(process: &Process, name: &str) -> StoredGenerator {
    let found = process.store().generator(namespace("default"), called(name)).await;
    found.expect("the generator is looked for").expect("the generator is stored")
}

/// A commit that makes and settles nothing, and wants to be looked at again at a moment.
pub fn commit_of(taken: &StoredGenerator, next: u64) -> GeneratorCommit {
    GeneratorCommit {
        generator: taken.key,
        version: taken.version,
        fence: taken.fence,
        notices: taken.notices,
        record: "{\"polls\": 1}".to_owned(),
        state: None,
        paused: false,
        next: Some(at(next)),
        look_after: 0,
        items: Vec::new(),
        settled: Vec::new(),
        again: Vec::new(),
        effects: Vec::new(),
    }
}

/// The item of job `n`, in the queue of the generator.
pub fn item(n: u32) -> NewItem {
    let job = NewJob { queue: called("feed").queue(), ..job(n) };
    NewItem { key: Some(format!("key {n}")), job }
}

pub fn settles(n: u32, end: ItemEnd) -> SettledItem {
    SettledItem { job: id(n), end }
}

pub async fn commit(process: &Process, now: u64, commit: GeneratorCommit) -> bool {
    process.store().commit_generator(at(now), commit).await.expect("it is answered")
}

/// Registers `feed`, and has it make these items.
pub async fn with_items(process: &Process, items: Vec<NewItem>) -> StoredGenerator {
    put(process, generator("feed", 0)).await;
    let taken = take(process, 0).await;
    assert!(commit(process, 0, GeneratorCommit { items, ..commit_of(&taken, 100) }).await);
    stored(process, "feed").await
}

async fn ended(process: &Process, feed: &StoredGenerator) -> Vec<EndedItem> {
    process.store().ended_items(feed.key, 100).await.expect("ended items are found")
}

pub async fn a_generator_is_found_as_it_was_registered(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let new = NewGenerator { state: "{\"after\": 7}".to_owned(), ..generator("feed", 5) };
    assert!(put(&process, new.clone()).await);
    let another_process = Process::start(harness).await;
    let feed = stored(&another_process, "feed").await;
    assert_eq!((&feed.definition, &feed.record, &feed.state), (&new.definition, &new.record, &new.state));
    assert_eq!((feed.next, feed.paused, feed.lease_until), (Some(at(5)), false, None));
    assert_eq!((feed.version, feed.notices, feed.created_at), (1, 0, at(0)));
    let elsewhere = process.store().generator(namespace("other"), called("feed")).await;
    assert_eq!(elsewhere.expect("it is answered"), None);
}

pub async fn a_new_definition_keeps_what_was_done(harness: &impl Harness) {
    let process = Process::start(harness).await;
    put(&process, generator("feed", 0)).await;
    let taken = take(&process, 0).await;
    let done = GeneratorCommit { state: Some("8".to_owned()), ..commit_of(&taken, 50) };
    assert!(commit(&process, 1, done).await);
    assert!(!put(&process, generator("feed", 3)).await, "it is known just so");
    let changed = NewGenerator { definition: "{\"window\": 8}".to_owned(), ..generator("feed", 3) };
    let changed = process.store().put_generators(at(9), vec![changed]).await.expect("it is registered");
    assert_eq!(changed, [true]);
    let feed = stored(&process, "feed").await;
    assert_eq!((feed.definition.as_str(), feed.state.as_str(), feed.next), ("{\"window\": 8}", "8", Some(at(50))));
    assert_eq!((feed.created_at, feed.changed_at), (at(0), at(9)));
}

pub async fn only_what_is_due_and_asked_for_is_taken(harness: &impl Harness) {
    let process = Process::start(harness).await;
    for (name, next) in [("b", 3), ("a", 4), ("c", 2), ("later", 9), ("foreign", 1)] {
        put(&process, generator(name, next)).await;
    }
    let elsewhere = NewGenerator { namespace: namespace("other"), ..generator("a", 0) };
    put(&process, elsewhere).await;
    put(&process, NewGenerator { next: None, ..generator("never", 0) }).await;
    let ask = |now| asks(now, &["a", "b", "c", "later", "never", "unknown"]);
    let early = take_as(&process, ask(1)).await;
    assert_eq!((early.generators, early.next), (vec![], Some(at(2))));
    assert_eq!(names_taken(&process, TakeGenerators { limit: 2, ..ask(5) }).await, ["c", "b"]);
    let rest = take_as(&process, TakeGenerators { now: at(6), ..ask(5) }).await;
    assert_eq!(rest.generators.len(), 1);
    assert_eq!((rest.generators[0].name.as_str(), rest.next), ("a", Some(at(9))));
    assert_eq!(rest.generators[0].lease_until, Some(at(6 + LEASE_S)), "from now on, not from when it was due");
}

pub async fn whatever_begins_as_is_asked_for_is_taken(harness: &impl Harness) {
    let process = Process::start(harness).await;
    for (name, next) in [("hook:a", 2), ("hook:b", 9), ("hook", 1), ("a-hook:c", 1), ("Hook:d", 1), ("single", 3)] {
        put(&process, generator(name, next)).await;
    }
    let elsewhere = NewGenerator { namespace: namespace("other"), ..generator("hook:a", 4) };
    put(&process, elsewhere).await;
    let ask = TakeGenerators { prefixes: vec!["hook:".to_owned(), "none:".to_owned()], ..asks(5, &["single"]) };
    assert_eq!(names_taken(&process, ask.clone()).await, ["hook:a", "single", "hook:a"]);
    assert_eq!(names_taken(&process, TakeGenerators { now: at(6), ..ask }).await, [""; 0]);
}

pub async fn who_takes_a_generator_has_it_until_the_lease_is_over(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let another_process = Process::start(harness).await;
    put(&process, generator("feed", 0)).await;
    let first = take(&process, 0).await;
    assert_eq!(names_taken(&another_process, asks(LEASE_S - 1, &["feed"])).await, [""; 0]);
    let second = take(&another_process, LEASE_S).await;
    assert!(second.fence > first.fence);
    let late = GeneratorCommit { items: vec![item(1)], state: Some("1".to_owned()), ..commit_of(&first, 0) };
    assert!(!commit(&process, LEASE_S, late).await);
    assert_eq!((stored(&process, "feed").await.state.as_str(), process.has(1).await), ("null", false));
    assert_eq!(names_taken(&process, asks(LEASE_S + 1, &["feed"])).await, [""; 0], "the second has it still");
    assert!(commit(&another_process, LEASE_S + 1, commit_of(&second, 99)).await);
    assert_eq!(names_taken(&process, asks(98, &["feed"])).await, [""; 0]);
    assert_eq!(names_taken(&process, asks(99, &["feed"])).await, ["feed"]);
}

pub async fn a_commit_makes_items_and_moves_the_state_together(harness: &impl Harness) {
    let process = Process::start(harness).await;
    put(&process, generator("feed", 0)).await;
    let taken = take(&process, 0).await;
    let made = GeneratorCommit {
        items: vec![item(1), NewItem { key: None, ..item(2) }],
        state: Some("{\"after\": 2}".to_owned()),
        record: "{\"made\": 2}".to_owned(),
        ..commit_of(&taken, 5)
    };
    assert!(commit(&process, 1, made.clone()).await);
    let feed = stored(&process, "feed").await;
    assert_eq!((&Some(feed.state), &feed.record), (&made.state, &made.record));
    assert_eq!((feed.next, feed.lease_until, feed.version), (Some(at(5)), None, taken.version + 1));
    assert_eq!(process.view(1).await.queue, queue("generator:feed"));
    assert_eq!(process.list(Filter::default()).await, [1, 2]);
}

pub async fn a_commit_that_is_repeated_makes_nothing_twice(harness: &impl Harness) {
    let process = Process::start(harness).await;
    put(&process, generator("feed", 0)).await;
    let taken = take(&process, 0).await;
    let made = GeneratorCommit { items: vec![item(1)], ..commit_of(&taken, 0) };
    assert!(commit(&process, 1, made.clone()).await);
    let worker = process.worker(1).await;
    let claimed = worker.take(1).await;
    worker.end(1, &claimed, completed()).await;
    let again = take(&process, 1).await;
    assert!(!commit(&process, 1, made).await);
    let settled = GeneratorCommit { settled: vec![settles(1, ItemEnd::Completed)], ..commit_of(&again, 0) };
    assert!(commit(&process, 1, settled).await, "the late one took nothing from who has it now");
    assert!(!process.has(1).await);
}

pub async fn items_are_jobs_like_any_other(harness: &impl Harness) {
    let process = Process::start(harness).await;
    with_items(&process, vec![item(1), item(2)]).await;
    process.enqueue(0, [NewJob { priority: taskwright_core::Priority::HIGH, ..job(3) }]).await;
    let worker = process.worker(1).await;
    let claimed = worker.claim_all(1).await;
    assert_eq!(numbers(&claimed), [3, 1, 2]);
    worker.end(1, &claimed[1], failed("boom")).await;
    assert_eq!(process.state(1).await, State::Retryable);
    assert_eq!(process.change(2, 2, Change::Cancel).await, Changed::Requested);
}

pub async fn items_are_found_however_they_ended(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let once = |n| {
        let mut item = item(n);
        item.job.max_attempts = taskwright_core::MaxAttempts::from_code(1);
        item
    };
    let mut held = item(4);
    held.job.held = true;
    let feed = with_items(&process, vec![once(1), once(2), item(3), held, item(5), item(6), item(7)]).await;
    let worker = process.worker(1).await;
    let claimed = worker.claim(worker.ask(1, 2)).await;
    worker.end(1, &claimed[0], completed()).await;
    worker.end(1, &claimed[1], failed("boom")).await;
    process.change(1, 3, Change::Cancel).await;
    process.change(1, 5, Change::Cancel).await;
    process.change(1, 5, Change::Delete).await;
    assert_eq!(worker.take(1).await.id, id(6));
    process.promote(3_601).await;
    let found = ended(&process, &feed).await;
    let ends: Vec<_> = found.iter().map(|one| (number(one.job), ItemEnd::of(one.state))).collect();
    let expected = [
        (1, ItemEnd::Completed),
        (2, ItemEnd::Failed),
        (3, ItemEnd::Cancelled),
        (4, ItemEnd::Dropped),
        (5, ItemEnd::Removed),
    ];
    assert_eq!(ends, expected.map(|(n, end)| (n, Some(end))), "6 runs, and 7 waits");
    assert_eq!((found[1].error.as_deref(), found[1].attempts, found[4].attempts), (Some("boom"), 1, 0));
    assert_eq!(found[0].key.as_deref(), Some("key 1"));
    let first = process.store().ended_items(feed.key, 2).await.expect("ended items are found");
    assert_eq!(first, found[..2]);
}

pub async fn what_others_put_into_the_queue_is_no_item(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let feed = with_items(&process, vec![item(1)]).await;
    process.enqueue(1, [item(2).job]).await;
    for n in [1, 2] {
        process.change(1, n, Change::Cancel).await;
    }
    assert_eq!(ended(&process, &feed).await.iter().map(|one| number(one.job)).collect::<Vec<_>>(), [1]);
    let taken = take(&process, 100).await;
    let strange = GeneratorCommit { settled: vec![settles(2, ItemEnd::Cancelled)], ..commit_of(&taken, 0) };
    assert!(!commit(&process, 100, strange).await);
    assert!(process.has(2).await);
}

pub async fn settled_items_are_removed_and_dead_letters_stay(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let mut fails = item(2);
    fails.job.max_attempts = taskwright_core::MaxAttempts::from_code(1);
    let feed = with_items(&process, vec![item(1), fails, item(3), item(4)]).await;
    let worker = process.worker(1).await;
    let claimed = worker.claim(worker.ask(1, 2)).await;
    worker.end(1, &claimed[0], completed()).await;
    worker.end(1, &claimed[1], failed("boom")).await;
    process.change(1, 3, Change::Cancel).await;
    let taken = take(&process, 100).await;
    let settled =
        vec![settles(3, ItemEnd::Cancelled), settles(1, ItemEnd::Completed), settles(2, ItemEnd::Failed)];
    assert!(commit(&process, 100, GeneratorCommit { settled, ..commit_of(&taken, 100) }).await);
    assert_eq!(process.list(Filter::default()).await, [2, 4]);
    assert_eq!(ended(&process, &feed).await, [], "the dead letter was told, too");
    // It is run again like any job that failed, and that is not told.
    assert_eq!(process.change(101, 2, Change::Redo { repeat: false }).await, Changed::Done);
    process.change(102, 2, Change::Cancel).await;
    assert_eq!(ended(&process, &feed).await, []);
}

pub async fn an_item_is_settled_once(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let mut fails = item(1);
    fails.job.max_attempts = taskwright_core::MaxAttempts::from_code(1);
    with_items(&process, vec![fails]).await;
    let worker = process.worker(1).await;
    let claimed = worker.take(1).await;
    worker.end(1, &claimed, failed("boom")).await;
    let settled = || vec![settles(1, ItemEnd::Failed)];
    let taken = take(&process, 100).await;
    assert!(commit(&process, 100, GeneratorCommit { settled: settled(), ..commit_of(&taken, 100) }).await);
    let taken = take(&process, 100).await;
    assert!(!commit(&process, 100, GeneratorCommit { settled: settled(), ..commit_of(&taken, 100) }).await);
}

pub async fn an_item_that_runs_again_meanwhile_is_not_settled(harness: &impl Harness) {
    let process = Process::start(harness).await;
    with_items(&process, vec![item(1)]).await;
    process.change(1, 1, Change::Cancel).await;
    let taken = take(&process, 100).await;
    assert_eq!(process.change(100, 1, Change::Redo { repeat: false }).await, Changed::Done);
    let settled = GeneratorCommit {
        settled: vec![settles(1, ItemEnd::Cancelled)],
        items: vec![item(2)],
        ..commit_of(&taken, 500)
    };
    assert!(!commit(&process, 100, settled).await);
    assert_eq!(process.list(Filter::default()).await, [1], "nothing of it took place");
    assert_eq!(names_taken(&process, asks(100, &["feed"])).await, [""; 0], "whoever was late lets others go first");
    let feed = take(&process, 101).await;
    assert_eq!(ended(&process, &feed).await, [], "it is outstanding, and was given back");
}

pub async fn a_pause_leaves_nothing_to_whoever_asks_at_that_time(harness: &impl Harness) {
    let process = Process::start(harness).await;
    put(&process, generator("feed", 0)).await;
    let taken = take(&process, 0).await;
    let write = |next: Option<u64>, version| GeneratorWrite {
        generator: taken.key,
        version,
        record: "{\"paused\": 1}".to_owned(),
        paused: next.is_none(),
        next: next.map(at),
        state: next.map(|_| "[7]".to_owned()),
    };
    let store = process.store();
    assert!(store.write_generator(at(1), write(None, taken.version)).await.expect("it is written"));
    assert!(!store.write_generator(at(1), write(Some(1), taken.version)).await.expect("it is answered"));
    let paused = stored(&process, "feed").await;
    assert_eq!((paused.paused, paused.next, paused.record.as_str()), (true, None, "{\"paused\": 1}"));
    assert_eq!(paused.state, taken.state);
    assert!(store.write_generator(at(2), write(Some(2), paused.version)).await.expect("it is written"));
    assert_eq!(stored(&process, "feed").await.state, "[7]");
    assert_eq!(names_taken(&process, asks(3, &["feed"])).await, [""; 0], "somebody is asking it still");
    assert!(!commit(&process, 4, GeneratorCommit { items: vec![item(1)], ..commit_of(&taken, 50) }).await);
    assert!(!process.has(1).await);
    assert_eq!(names_taken(&process, asks(5, &["feed"])).await, ["feed"], "and has let go of it");
}

pub async fn whoever_rests_is_not_given_back_to_be_asked(harness: &impl Harness) {
    let process = Process::start(harness).await;
    put(&process, generator("feed", 0)).await;
    let taken = take(&process, 0).await;
    let pause = GeneratorWrite {
        generator: taken.key,
        version: taken.version,
        record: "{}".to_owned(),
        paused: true,
        next: None,
        state: None,
    };
    assert!(process.store().write_generator(at(1), pause).await.expect("it is written"));
    assert!(!commit(&process, 2, commit_of(&taken, 0)).await);
    let feed = stored(&process, "feed").await;
    assert_eq!((feed.next, feed.lease_until), (None, None));
    assert_eq!(names_taken(&process, asks(999, &["feed"])).await, [""; 0]);
}

pub async fn a_notice_makes_a_generator_due_as_soon_as_it_is_free(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let notify = async |now, name| {
        let notified = process.store().notify_generator(at(now), namespace("default"), called(name)).await;
        notified.expect("it is answered")
    };
    put(&process, NewGenerator { next: None, ..generator("feed", 0) }).await;
    assert!(!notify(1, "unknown").await);
    assert!(notify(1, "feed").await);
    let taken = take(&process, 1).await;
    assert_eq!(taken.notices, 1);
    assert!(notify(2, "feed").await);
    assert_eq!(names_taken(&process, asks(3, &["feed"])).await, [""; 0], "it is taken");
    assert!(commit(&process, 4, GeneratorCommit { next: None, ..commit_of(&taken, 0) }).await);
    let taken = take(&process, 4).await;
    assert_eq!(taken.notices, 2);
    let rests = GeneratorCommit { next: None, paused: true, ..commit_of(&taken, 0) };
    assert!(notify(5, "feed").await);
    assert!(commit(&process, 5, rests).await);
    assert!(notify(6, "feed").await);
    let feed = stored(&process, "feed").await;
    assert_eq!((feed.notices, feed.next, feed.paused), (4, None, true), "whoever rests goes on resting");
}

pub async fn a_generator_is_due_once_enough_of_its_items_have_ended(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let tell = async |now, name, count| {
        let told = ItemsEnded { namespace: namespace("default"), name: called(name), count };
        process.store().items_ended(at(now), vec![told]).await.expect("it is noted")[0]
    };
    put(&process, generator("feed", 0)).await;
    let taken = take(&process, 0).await;
    let waits = |taken: &StoredGenerator, next| GeneratorCommit { look_after: 3, ..commit_of(taken, next) };
    assert!(commit(&process, 1, waits(&taken, 50)).await);
    assert_eq!((tell(2, "unknown", 9).await, tell(2, "feed", 2).await), (0, 1));
    assert_eq!(names_taken(&process, asks(3, &["feed"])).await, [""; 0]);
    assert_eq!(tell(4, "feed", 1).await, 0);
    assert_eq!(stored(&process, "feed").await.next, Some(at(4)));
    let taken = take(&process, 5).await;
    assert_eq!(tell(6, "feed", 2).await, 1, "what ended before the take is counted no more");
    tell(7, "feed", 1).await;
    assert_eq!(names_taken(&process, asks(8, &["feed"])).await, [""; 0], "it is taken");
    assert!(commit(&process, 9, waits(&taken, 50)).await);
    let taken = take(&process, 9).await;
    // Who waits for none is not made due by any, and nor is who rests.
    assert!(commit(&process, 10, GeneratorCommit { look_after: 0, ..commit_of(&taken, 20) }).await);
    assert_eq!((tell(11, "feed", 9).await, stored(&process, "feed").await.next), (0, Some(at(20))));
    let taken = take(&process, 20).await;
    let rests = GeneratorCommit { next: None, paused: true, ..waits(&taken, 0) };
    assert!(commit(&process, 21, rests).await);
    tell(22, "feed", 9).await;
    assert_eq!(stored(&process, "feed").await.next, None);
}

pub async fn generators_are_listed_page_by_page(harness: &impl Harness) {
    let process = Process::start(harness).await;
    for name in ["c", "a", "b"] {
        put(&process, generator(name, 0)).await;
    }
    put(&process, NewGenerator { namespace: namespace("other"), ..generator("a", 0) }).await;
    let list = async |of: Option<&str>, after, limit| {
        let page = process.store().generators(of.map(namespace), after, limit).await;
        page.expect("generators are listed")
    };
    let names = |page: &[StoredGenerator]| page.iter().map(|one| one.name.to_string()).collect::<Vec<_>>();
    let first = list(None, None, 2).await;
    assert_eq!(names(&first), ["c", "a"]);
    assert_eq!(names(&list(None, Some(first[1].key), 9).await), ["b", "a"]);
    assert_eq!(names(&list(Some("default"), Some(first[0].key), 9).await), ["a", "b"]);
    assert_eq!(list(Some("other"), None, 9).await.len(), 1);
}

pub async fn a_removed_generator_is_gone_and_its_jobs_stay(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let feed = with_items(&process, vec![item(1)]).await;
    let taken = take(&process, 100).await;
    let remove = async || process.store().remove_generator(feed.key).await.expect("it is answered");
    assert!(remove().await);
    assert!(!remove().await);
    assert!(!commit(&process, 100, commit_of(&taken, 0)).await);
    process.change(1, 1, Change::Cancel).await;
    assert_eq!((ended(&process, &feed).await, process.has(1).await), (vec![], true));
    assert!(put(&process, generator("feed", 0)).await);
    assert_ne!(stored(&process, "feed").await.key, feed.key, "nothing of the old one is taken for its own");
}

pub async fn too_much_at_once_is_refused_whole(harness: &impl Harness) {
    let process = Process::start(harness).await;
    put(&process, generator("feed", 0)).await;
    let taken = take(&process, 0).await;
    let most = u32::try_from(GENERATOR_BATCH_MAX).expect("it is small");
    let many = |count| GeneratorCommit { items: (0..count).map(item).collect(), ..commit_of(&taken, 100) };
    let mut long_key = item(1);
    long_key.key = Some("k".repeat(ITEM_KEY_BYTES_MAX + 1));
    let large = Some("x".repeat(GENERATOR_STATE_BYTES_MAX + 1));
    for refused in [
        many(most + 1),
        GeneratorCommit { items: vec![item(1), long_key], ..commit_of(&taken, 100) },
        GeneratorCommit { state: large, items: vec![item(1)], ..commit_of(&taken, 100) },
    ] {
        let error = process.store().commit_generator(at(1), refused).await.expect_err("it is too much");
        assert!(error.is_domain(), "{error}");
    }
    assert_eq!(process.list(Filter::default()).await, NONE);
    assert!(commit(&process, 1, many(most)).await);
    let ids: Vec<_> = (0..most).map(id).collect();
    process.store().change(at(2), ids, Change::Cancel, alice(), None).await.expect("they are cancelled");
    let taken = take(&process, 100).await;
    let found = process.store().ended_items(taken.key, GENERATOR_BATCH_MAX).await.expect("they are found");
    assert_eq!(found.len(), GENERATOR_BATCH_MAX);
    let settled = found.iter().map(|one| SettledItem { job: one.job, end: ItemEnd::Cancelled }).collect();
    assert!(commit(&process, 100, GeneratorCommit { settled, ..commit_of(&taken, 100) }).await);
    assert_eq!(process.list(Filter::default()).await, NONE);
}

pub async fn what_makes_a_generator_due_and_what_it_makes_is_heard_of(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let mut hints = process.store().hints();
    let mut heard = async || {
        let heard = tokio::time::timeout(Duration::from_secs(10), hints.changed()).await;
        heard.expect("somebody is told").expect("the store lives");
        hints.borrow_and_update();
    };
    put(&process, generator("feed", 0)).await;
    heard().await;
    process.store().notify_generator(at(0), namespace("default"), called("feed")).await.expect("it is notified");
    heard().await;
    let taken = take(&process, 0).await;
    assert!(commit(&process, 1, GeneratorCommit { items: vec![item(1)], ..commit_of(&taken, 5) }).await);
    heard().await;
}
