//! Bulk jobs: a parent that is blocked until its items are settled, and ends with the commit that settles the last.

use taskwright_core::bulk::End;
use taskwright_core::generator::ItemEnd;
use taskwright_core::{Actor, Cause, NewJob, Owner, State};

use super::Harness;
use super::fixture::*;
use super::generator::{commit, commit_of, generator, item, stored, take};
use crate::{
    BulkWrite, Change, Changed, Effect, Filter, GeneratorCommit, GeneratorWrite, NewBulk, Page, Progress,
    SettledItem, StoredBulk,
};

/// The parent of every scenario's bulk; lower than those of its items.
const PARENT: u32 = 1;

fn parent(n: u32) -> NewJob {
    let owner = Some(Owner::new("alice").expect("a plain name"));
    NewJob { kind: kind("bulk"), queue: queue("bulk"), owner, ..job(n) }
}

fn progress(done: u64) -> Progress {
    Progress { done, total: Some(10), message: None }
}

/// A bulk whose parent is job `n`.
pub fn new_bulk(n: u32, generator_name: &str) -> NewBulk {
    NewBulk {
        parent: parent(n),
        generator: generator(generator_name, 0),
        definition: "{\"type\": \"count\"}".to_owned(),
        tally: "{\"made\": 0}".to_owned(),
        progress: progress(0),
    }
}

/// Creates a bulk whose generator is called `feed`.
async fn create(process: &Process) {
    let created = process.store().create_bulk(at(0), new_bulk(PARENT, "feed")).await.expect("it is created");
    assert!(!created.existing);
}

fn write(made: u64, end: Option<End>) -> BulkWrite {
    let tally = format!("{{\"made\": {made}}}");
    BulkWrite { parent: id(PARENT), is_over: false, tally, progress: progress(made), end }
}

async fn bulk(process: &Process, n: u32) -> Option<StoredBulk> {
    process.store().bulk(id(n)).await.expect("the bulk is looked for")
}

async fn has_generator(process: &Process) -> bool {
    let name = generator("feed", 0).name;
    process.store().generator(namespace("default"), name).await.expect("it is looked for").is_some()
}

/// Has the generator make these items, and tell of it.
async fn make(process: &Process, now: u64, numbers: std::ops::RangeInclusive<u32>) {
    let taken = take(process, now).await;
    let made = numbers.clone().count() as u64;
    let (items, effects) = (numbers.map(item).collect(), vec![Effect::Bulk(write(made, None))]);
    assert!(commit(process, now, GeneratorCommit { items, effects, ..commit_of(&taken, now + 1) }).await);
}

/// Runs what there is, and has the ends settled in a commit with this effect.
async fn settle(process: &Process, now: u64, ends: BulkWrite) -> bool {
    let worker = process.worker_at(now, u8::try_from(now).expect("scenarios are short")).await;
    for held in worker.claim_all(now).await {
        worker.end(now, &held, completed()).await;
    }
    let taken = take(process, now).await;
    let ended = process.store().ended_items(taken.key, 100).await.expect("they are found");
    let settled = ended.iter().map(|ended| SettledItem { job: ended.job, end: ItemEnd::Completed }).collect();
    let effects = vec![Effect::Bulk(ends)];
    commit(process, now, GeneratorCommit { settled, effects, ..commit_of(&taken, now + 1) }).await
}

pub async fn a_bulk_is_a_blocked_job_and_a_generator(harness: &impl Harness) {
    let process = Process::start(harness).await;
    create(&process).await;
    let detail = process.detail(PARENT).await;
    assert_eq!((detail.view.state, detail.view.queue.as_str()), (State::Blocked, "bulk"));
    assert_eq!(detail.view.progress, Some(progress(0)));
    assert_eq!(detail.view.owner.as_ref().map(|owner| owner.as_str()), Some("alice"));
    assert_eq!(detail.timeline[0].to, State::Blocked);
    let told = bulk(&process, PARENT).await.expect("it is a bulk");
    assert_eq!((told.parent, told.generator.as_str()), (id(PARENT), "feed"));
    assert_eq!((told.definition.as_str(), told.tally.as_str()), ("{\"type\": \"count\"}", "{\"made\": 0}"));
    assert_eq!(take(&process, 0).await.name.as_str(), "feed");
    // No worker gets it, nobody releases it, and its time never comes.
    let worker = process.worker(1).await;
    process.promote(1_000_000).await;
    assert_eq!(numbers(&worker.claim(crate::Claim { kinds: vec![kind("bulk")], ..worker.ask(1, 9) }).await), NONE);
    for change in [Change::Release, Change::RunNow, Change::Awaken, Change::Delay { until: at(9_999_999) }] {
        assert_eq!(process.change(1, PARENT, change).await, skipped("it is blocked"));
    }
}

pub async fn a_bulk_that_is_created_again_is_left_alone(harness: &impl Harness) {
    let process = Process::start(harness).await;
    create(&process).await;
    make(&process, 0, 11..=12).await;
    let again = process.store().create_bulk(at(5), new_bulk(PARENT, "feed")).await.expect("it is answered");
    assert!(again.existing && again.id == id(PARENT));
    assert_eq!(bulk(&process, PARENT).await.expect("it is a bulk").tally, "{\"made\": 2}");
    // So is any other job that has its id.
    process.enqueue(6, [job(2)]).await;
    let other = process.store().create_bulk(at(6), new_bulk(2, "other")).await.expect("it is answered");
    assert!(other.existing);
    assert_eq!((bulk(&process, 2).await, process.state(2).await), (None, State::Available));
}

pub async fn what_is_told_of_a_bulk_is_written_with_the_commit(harness: &impl Harness) {
    let process = Process::start(harness).await;
    create(&process).await;
    make(&process, 0, 11..=13).await;
    assert_eq!(process.view(PARENT).await.progress, Some(progress(3)));
    assert_eq!(bulk(&process, PARENT).await.expect("it is a bulk").tally, "{\"made\": 3}");
    // A commit that comes too late tells nothing.
    let taken = take(&process, 1).await;
    let stale = GeneratorCommit { fence: taken.fence + 1, ..commit_of(&taken, 2) };
    let effects = vec![Effect::Bulk(write(9, None))];
    assert!(!commit(&process, 1, GeneratorCommit { effects, ..stale }).await);
    assert_eq!(process.view(PARENT).await.progress, Some(progress(3)));
}

pub async fn a_parent_completes_with_the_commit_that_settles_the_last_item(harness: &impl Harness) {
    let process = Process::start(harness).await;
    create(&process).await;
    make(&process, 0, 11..=13).await;
    assert!(settle(&process, 1, write(3, Some(End::Completed))).await);
    let detail = process.detail(PARENT).await;
    assert_eq!((detail.view.state, detail.view.ended_at), (State::Completed, Some(at(1))));
    assert_eq!((detail.view.attempt, detail.view.error), (0, None));
    assert_eq!((detail.result.as_deref(), detail.view.progress), (Some("{\"made\": 3}"), Some(progress(3))));
    let last = detail.timeline.last().expect("its end is told");
    assert_eq!((last.cause, last.to, last.actor.clone()), (Some(Cause::Complete), State::Completed, Actor::system()));
    assert!(!has_generator(&process).await, "nobody asks it any more");
    assert!(bulk(&process, PARENT).await.is_some(), "what is told of it stays");
    assert_eq!(process.list(Filter::default()).await, [PARENT], "its items are gone");
    // It is found as completed, whatever else is asked for.
    for filter in [
        Filter { states: vec![State::Completed], ..Filter::default() },
        Filter { states: vec![State::Completed], kinds: vec![crate::Pattern::new("bulk")], ..Filter::default() },
        Filter { states: vec![State::Completed, State::Failed], ..Filter::default() },
    ] {
        assert_eq!(process.list(filter.clone()).await, [PARENT], "{filter:?}");
    }
}

pub async fn a_parent_fails_when_its_generator_says_so(harness: &impl Harness) {
    let process = Process::start(harness).await;
    create(&process).await;
    make(&process, 0, 11..=12).await;
    let reason = "2 items failed".to_owned();
    assert!(settle(&process, 1, write(2, Some(End::Failed { reason }))).await);
    let detail = process.detail(PARENT).await;
    assert_eq!((detail.view.state, detail.view.error.as_deref()), (State::Failed, Some("2 items failed")));
    assert_eq!((detail.result, detail.view.progress), (None, Some(progress(2))));
    assert!(!has_generator(&process).await);
    let failed = Filter { states: vec![State::Failed], ..Filter::default() };
    assert_eq!(process.list(failed).await, [PARENT]);
}

pub async fn nothing_is_made_once_a_parent_is_cancelled(harness: &impl Harness) {
    let process = Process::start(harness).await;
    create(&process).await;
    make(&process, 0, 11..=12).await;
    // Somebody is asking the generator while the parent is cancelled.
    let taken = take(&process, 1).await;
    assert_eq!(process.change(2, PARENT, Change::Cancel).await, Changed::Done);
    let (items, effects) = (vec![item(13)], vec![Effect::Bulk(write(3, None))]);
    let late = GeneratorCommit { items, effects, ..commit_of(&taken, 9) };
    assert!(!commit(&process, 2, late).await);
    assert!(!process.has(13).await);
    assert_eq!(process.view(PARENT).await.progress, Some(progress(2)));
    // It is due at once, and told so by its notices; who has seen the cancel may write.
    let taken = take(&process, 3).await;
    assert_eq!(taken.notices, 1);
    let ended = BulkWrite { is_over: true, ..write(2, Some(End::Cancelled)) };
    let ends = GeneratorCommit { effects: vec![Effect::Bulk(ended)], ..commit_of(&taken, 9) };
    assert!(commit(&process, 3, ends).await);
    let view = process.view(PARENT).await;
    assert_eq!((view.state, view.progress, view.ended_at), (State::Cancelled, Some(progress(2)), Some(at(2))));
    assert!(!has_generator(&process).await);
}

pub async fn a_cancelled_parent_has_its_generator_asked_even_if_that_rests(harness: &impl Harness) {
    let process = Process::start(harness).await;
    create(&process).await;
    let feed = stored(&process, "feed").await;
    let (record, next) = ("{}".to_owned(), None);
    let rest = GeneratorWrite { generator: feed.key, version: feed.version, record, paused: true, next, state: None };
    assert!(process.store().write_generator(at(1), rest).await.expect("it is written"));
    assert_eq!(stored(&process, "feed").await.next, None);
    process.change(2, PARENT, Change::Cancel).await;
    assert_eq!(stored(&process, "feed").await.next, Some(at(2)));
}

pub async fn a_purge_that_takes_a_parent_is_a_cancel(harness: &impl Harness) {
    let process = Process::start(harness).await;
    create(&process).await;
    let taken = take(&process, 0).await;
    assert!(commit(&process, 0, commit_of(&taken, 500)).await);
    let purged = process.store().purge(at(1), namespace("default"), queue("bulk"), alice(), 10).await;
    assert_eq!(purged.expect("the queue is purged"), 1);
    assert_eq!((process.state(PARENT).await, stored(&process, "feed").await.next), (State::Cancelled, Some(at(1))));
}

pub async fn a_parent_is_not_run_again(harness: &impl Harness) {
    let process = Process::start(harness).await;
    create(&process).await;
    make(&process, 0, 11..=11).await;
    assert!(settle(&process, 1, write(1, Some(End::Completed))).await);
    let why = "it is the parent of a bulk; `taskwright bulk retry` runs again what failed";
    assert_eq!(process.change(2, PARENT, Change::Redo { repeat: true }).await, skipped(why));
    assert_eq!(process.state(PARENT).await, State::Completed);
}

pub async fn what_is_told_of_a_bulk_goes_with_its_parent(harness: &impl Harness) {
    let process = Process::start(harness).await;
    create(&process).await;
    make(&process, 0, 11..=11).await;
    assert!(settle(&process, 1, write(1, Some(End::Completed))).await);
    process.store().create_bulk(at(2), new_bulk(50, "feed")).await.expect("it is created");
    process.change(3, 50, Change::Cancel).await;
    assert_eq!(process.change(4, 50, Change::Delete).await, Changed::Done);
    assert_eq!(bulk(&process, 50).await, None);
    // Its generator finds nothing, and goes.
    let taken = take(&process, 5).await;
    let ended = BulkWrite { parent: id(50), is_over: true, ..write(0, Some(End::Cancelled)) };
    let ends = GeneratorCommit { effects: vec![Effect::Bulk(ended)], ..commit_of(&taken, 9) };
    assert!(commit(&process, 5, ends).await);
    assert!(!has_generator(&process).await);
    // So it is when nobody wants to keep it any more.
    assert_eq!(process.prune(6, keep_nothing()).await.jobs, 1);
    assert_eq!((bulk(&process, PARENT).await, process.has(PARENT).await), (None, false));
}

pub async fn bulks_are_listed_newest_first_page_by_page(harness: &impl Harness) {
    let process = Process::start(harness).await;
    for n in 1..=5 {
        let new = new_bulk(n, &format!("feed{n}"));
        let of = namespace(if n == 3 { "elsewhere" } else { "default" });
        let parent = NewJob { namespace: of.clone(), ..new.parent };
        let generator = crate::NewGenerator { namespace: of, ..new.generator };
        process.store().create_bulk(at(0), NewBulk { parent, generator, ..new }).await.expect("it is created");
    }
    process.enqueue(1, jobs(20..=29)).await;
    let page = async |of: Option<&str>, after, limit| {
        let of = of.map(namespace);
        process.store().bulks(of, after, limit).await.expect("bulks are listed")
    };
    let ids = |bulks: &[StoredBulk]| bulks.iter().map(|bulk| number(bulk.parent)).collect::<Vec<_>>();
    let first = page(None, None, 2).await;
    assert_eq!(ids(&first), [5, 4]);
    assert_eq!(ids(&page(None, Some(first[1].key), 9).await), [3, 2, 1]);
    assert_eq!(ids(&page(Some("default"), None, 9).await), [5, 4, 2, 1]);
    assert_eq!(ids(&page(Some("elsewhere"), None, 9).await), [3]);
    let oldest = Page { after: None, limit: 9, oldest_first: true };
    let blocked = Filter { states: vec![State::Blocked], ..Filter::default() };
    assert_eq!(process.store().list(blocked, oldest).await.expect("they are listed").jobs.len(), 5);
}
