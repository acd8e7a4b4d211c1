//! What generators of Taskwright's own need of a store: files that are remembered, dead letters that run again, and jobs that are changed
//! only where they were seen.

use taskwright_core::generator::ItemEnd;
use taskwright_core::attempt::Outcome;
use taskwright_core::{MaxAttempts, NewJob, Priority, State};

use super::Harness;
use super::fixture::*;
use super::generator::{commit, commit_of, generator, item, stored, take};
use crate::{
    AgainItem, Change, Changed, Effect, FileMark, FileWrite, Filter, GeneratorCommit, KnownFile, NewItem, Page,
    RowOrder, RowsAfter, Seen, SettledItem, StoredGenerator,
};

async fn feed(process: &Process) -> StoredGenerator {
    process.store().put_generators(at(0), vec![generator("feed", 0)]).await.expect("it is registered");
    stored(process, "feed").await
}

fn mark(size: u64) -> FileMark {
    FileMark { size, modified_ns: -7 }
}

/// Commits a write about files.
async fn write(process: &Process, now: u64, write: FileWrite) {
    let taken = take(process, now).await;
    let effects = vec![Effect::Files(taken.key, write)];
    assert!(commit(process, now, GeneratorCommit { effects, ..commit_of(&taken, now) }).await);
}

pub async fn files_are_remembered_with_a_commit_and_found_by_their_paths(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let feed = feed(&process).await;
    let paths = ["b", "a/b", "ä", "a"].map(str::to_owned);
    let given = paths.iter().zip(1..).map(|(path, size)| (path.clone(), mark(size))).collect();
    write(&process, 1, FileWrite::Remember(given)).await;
    let another_process = Process::start(harness).await;
    let of = async |paths: &[&str]| {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        another_process.store().files_of(feed.key, paths).await.expect("files are found")
    };
    let known = |size, open| Some(KnownFile { mark: mark(size), open });
    assert_eq!(of(&["a/b", "none", "b"]).await, [known(2, true), None, known(1, true)]);
    write(&process, 2, FileWrite::Close(vec!["b".to_owned(), "none".to_owned()])).await;
    write(&process, 3, FileWrite::Remember(vec![("a".to_owned(), mark(9))])).await;
    assert_eq!(of(&["b", "a"]).await, [known(1, false), known(9, true)]);
    let page = async |after: Option<&str>, limit| {
        let page = process.store().files(feed.key, after.map(str::to_owned), limit).await;
        page.expect("files are listed").into_iter().map(|(path, _)| path).collect::<Vec<_>>()
    };
    assert_eq!(page(None, 2).await, ["a", "a/b"]);
    assert_eq!(page(Some("a/b"), 9).await, ["b", "ä"], "by their bytes");
    write(&process, 4, FileWrite::Forget(vec!["a".to_owned()])).await;
    assert_eq!(page(None, 9).await, ["a/b", "b", "ä"]);
}

pub async fn files_go_with_their_generator_and_a_stale_commit_writes_none(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let feed = feed(&process).await;
    write(&process, 1, FileWrite::Remember(vec![("a".to_owned(), mark(1))])).await;
    let taken = take(&process, 2).await;
    let effects = vec![Effect::Files(taken.key, FileWrite::Remember(vec![("b".to_owned(), mark(1))]))];
    let stale = GeneratorCommit { version: taken.version + 1, effects, ..commit_of(&taken, 9) };
    assert!(!commit(&process, 2, stale).await);
    let count = async || process.store().files(feed.key, None, 9).await.expect("files are listed").len();
    assert_eq!(count().await, 1);
    assert!(process.store().remove_generator(feed.key).await.expect("it is removed"));
    assert_eq!(count().await, 0);
}

/// Lets `feed` make item 1, which fails, and settles it.
async fn with_dead_letter(process: &Process) {
    feed(process).await;
    let mut fails = item(1);
    fails.job.max_attempts = MaxAttempts::from_code(1);
    let taken = take(process, 0).await;
    assert!(commit(process, 0, GeneratorCommit { items: vec![fails], ..commit_of(&taken, 1) }).await);
    let worker = process.worker(1).await;
    let claimed = worker.take(1).await;
    worker.end(1, &claimed, failed("boom")).await;
    let taken = take(process, 2).await;
    let settled = vec![SettledItem { job: id(1), end: ItemEnd::Failed }];
    assert!(commit(process, 2, GeneratorCommit { settled, ..commit_of(&taken, 3) }).await);
}

pub async fn an_item_is_shown_with_its_generator_and_its_key_also_as_a_dead_letter(harness: &impl Harness) {
    let process = Process::start(harness).await;
    feed(&process).await;
    let identity = async |n: u32| {
        let view = process.view(n).await;
        let page = Page { after: None, limit: 100, oldest_first: true };
        let listed = process.store().list(Filter::default(), page).await.expect("jobs are listed").jobs;
        assert!(listed.contains(&view), "a listing says the same");
        (view.generator.map(|name| name.to_string()), view.item_key)
    };
    let of_feed = |key: Option<&str>| (Some("feed".to_owned()), key.map(str::to_owned));
    process.enqueue(0, [job(7), NewJob { queue: item(8).job.queue, ..job(8) }]).await;
    let mut fails = item(1);
    fails.job.max_attempts = MaxAttempts::from_code(1);
    let taken = take(&process, 0).await;
    let items = vec![fails, item(2), NewItem { key: None, ..item(3) }];
    assert!(commit(&process, 0, GeneratorCommit { items, ..commit_of(&taken, 1) }).await);
    assert_eq!(identity(1).await, of_feed(Some("key 1")));
    assert_eq!((identity(3).await, identity(8).await), (of_feed(None), of_feed(None)));
    assert_eq!(identity(7).await, (None, None));
    let worker = process.worker(1).await;
    let claimed = worker.claim_all(1).await;
    let first = claimed.iter().find(|job| job.id == id(1)).expect("it is there to be claimed");
    assert_eq!(identity(2).await, of_feed(Some("key 2")), "while it runs, too");
    worker.end(1, first, failed("boom")).await;
    let taken = take(&process, 2).await;
    let settled = vec![SettledItem { job: id(1), end: ItemEnd::Failed }];
    assert!(commit(&process, 2, GeneratorCommit { settled, ..commit_of(&taken, 3) }).await);
    assert_eq!(identity(1).await, of_feed(Some("key 1")), "a dead letter");
    let taken = take(&process, 4).await;
    assert!(commit(&process, 4, GeneratorCommit { again: again(1), ..commit_of(&taken, 5) }).await);
    assert_eq!(identity(1).await, of_feed(Some("once more")));
    assert!(process.store().remove_generator(taken.key).await.expect("it is removed"));
    assert_eq!(identity(2).await, of_feed(None), "an item no more");
}

pub async fn what_is_where_it_was_seen_is_changed_as_by_its_id(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let redo = Change::Redo { repeat: false };
    let waits = |n| NewJob { run_at: Some(at(500)), ..job(n) };
    process.enqueue(0, [job(1), job(2), waits(3), waits(4), waits(5)]).await;
    let worker = process.worker(1).await;
    let claimed = worker.claim_all(1).await;
    worker.end(1, &claimed[0], Outcome::Fail { error: "boom".to_owned() }).await;
    let change = async |n: u32, change| {
        let view = process.view(n).await;
        change_seen(&process, 2, Seen::from(&view), change).await
    };
    assert_eq!(change(1, redo).await, Changed::Done);
    assert_eq!(change(1, Change::Reprioritise { priority: Priority::IDLE }).await, Changed::Done);
    assert_eq!(change(1, Change::Cancel).await, Changed::Done);
    assert_eq!(change(1, Change::Delete).await, Changed::Done);
    assert!(!process.has(1).await);
    assert_eq!(change(2, Change::Cancel).await, Changed::Requested);
    assert_eq!(change(3, Change::RunNow).await, Changed::Done);
    assert_eq!(process.state(3).await, State::Available);
    assert_eq!(change(4, Change::Delay { until: at(900) }).await, Changed::Done);
    assert_eq!(process.view(4).await.run_at, at(900));
    assert!(matches!(change(5, redo).await, Changed::Skipped(_)));
}

fn again(n: u32) -> Vec<AgainItem> {
    vec![AgainItem { job: id(n), key: Some("once more".to_owned()) }]
}

pub async fn a_dead_letter_becomes_an_item_once_more_with_all_its_attempts(harness: &impl Harness) {
    let process = Process::start(harness).await;
    with_dead_letter(&process).await;
    let taken = take(&process, 4).await;
    assert!(commit(&process, 4, GeneratorCommit { again: again(1), ..commit_of(&taken, 5) }).await);
    assert_eq!(process.state(1).await, State::Available);
    let worker = process.worker(2).await;
    let claimed = worker.take(5).await;
    assert_eq!((claimed.id, claimed.attempt), (id(1), 2));
    worker.end(5, &claimed, completed()).await;
    let feed = stored(&process, "feed").await;
    let ended = process.store().ended_items(feed.key, 9).await.expect("ended items are found");
    assert_eq!((ended.len(), ended[0].key.as_deref(), ended[0].attempts), (1, Some("once more"), 2));
    let taken = take(&process, 6).await;
    let settled = vec![SettledItem { job: id(1), end: ItemEnd::Completed }];
    assert!(commit(&process, 6, GeneratorCommit { settled, ..commit_of(&taken, 7) }).await);
    assert!(!process.has(1).await);
}

pub async fn a_letter_that_is_dead_no_more_makes_the_whole_commit_stale(harness: &impl Harness) {
    let process = Process::start(harness).await;
    with_dead_letter(&process).await;
    assert_eq!(process.change(4, 1, Change::Redo { repeat: false }).await, Changed::Done);
    for n in [1, 2] {
        let now = 4 + u64::from(n);
        let taken = take(&process, now).await;
        let stale = GeneratorCommit { items: vec![item(3)], again: again(n), ..commit_of(&taken, 5) };
        assert!(!commit(&process, now, stale).await, "job {n} is no failed job");
    }
    assert_eq!(process.list(Filter::default()).await, [1]);
}

async fn change_seen(process: &Process, now: u64, seen: Seen, change: Change) -> Changed {
    let reason = Some("too late".to_owned());
    let changed = process.store().change_seen(at(now), vec![seen], change, alice(), reason).await;
    changed.expect("it is answered").remove(0)
}

pub async fn a_job_is_changed_only_where_it_was_seen(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, [job(1), job(2)]).await;
    let waits = process.view(1).await;
    let worker = process.worker(1).await;
    let claimed = worker.take(1).await;
    assert_eq!(claimed.id, id(1));
    let moved = skipped("it is no longer where it was seen");
    assert_eq!(change_seen(&process, 2, Seen::from(&waits), Change::Drop).await, moved);
    let runs = process.view(1).await;
    worker.end(2, &claimed, failed("boom")).await;
    process.promote(100).await;
    let claimed = worker.claim_all(101).await;
    assert_eq!(numbers(&claimed).len(), 2, "its second attempt runs");
    assert_eq!(change_seen(&process, 102, Seen::from(&runs), Change::Fail).await, moved);
    assert!(!process.view(1).await.cancel_requested);
    let unknown = Seen { id: id(9), ..Seen::from(&waits) };
    assert_eq!(change_seen(&process, 102, unknown, Change::Drop).await, Changed::Unknown);
    assert_eq!(change_seen(&process, 102, Seen::from(&process.view(1).await), Change::Fail).await, Changed::Requested);
}

pub async fn a_running_job_that_was_to_fail_has_failed_however_it_stops(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, jobs(1..=4)).await;
    let worker = process.worker(1).await;
    let claimed = worker.claim_all(1).await;
    for n in 1..=4 {
        assert_eq!(process.change(2, n, Change::Fail).await, Changed::Requested);
    }
    assert_eq!(process.change(2, 1, Change::Fail).await, skipped("a cancel was requested already"));
    worker.end(3, &claimed[0], failed("stopped")).await;
    worker.end(3, &claimed[1], completed()).await;
    let gives = (claimed[2].key, claimed[2].attempt);
    let back = process.store().give_back(at(3), worker.id, vec![gives], "stops".to_owned()).await;
    back.expect("it is given back");
    assert_eq!(process.state(1).await, State::Failed, "whatever attempts are left");
    assert_eq!(process.state(2).await, State::Completed, "it was done before it stopped");
    assert_eq!(process.state(3).await, State::Failed);
    assert_eq!(process.change(4, 1, Change::Redo { repeat: false }).await, Changed::Done);
    let once_more = worker.take(5).await;
    worker.end(5, &once_more, failed("boom")).await;
    assert_eq!(process.state(1).await, State::Retryable, "the wish is forgotten with the run that it was about");
}

pub async fn only_what_runs_fails_and_only_what_waits_is_dropped(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, [job(1), NewJob { run_at: Some(at(500)), priority: Priority::IDLE, ..job(2) }]).await;
    assert_eq!(process.change(1, 1, Change::Fail).await, skipped("it is available"));
    assert_eq!(process.change(1, 2, Change::Drop).await, Changed::Done);
    assert_eq!(process.state(2).await, State::Dropped);
    let worker = process.worker(1).await;
    let claimed = worker.take(1).await;
    assert_eq!(process.change(1, 1, Change::Drop).await, skipped("it is running"));
    worker.end(2, &claimed, completed()).await;
    for change in [Change::Drop, Change::Fail] {
        assert_eq!(process.change(3, 1, change).await, skipped("it is completed"));
    }
}

pub async fn rows_of_a_table_with_a_name_that_cannot_be_one_are_refused(harness: &impl Harness) {
    let process = Process::start(harness).await;
    for (table, column) in [("", "id"), ("a.", "id"), ("a", ""), ("a", "i\0d")] {
        let order = RowOrder::Key(column.to_owned());
        let rows = RowsAfter { table: table.to_owned(), order, after: None, limit: 1, newest: false, mark: None };
        process.store().rows_after(rows).await.expect_err("it is no name");
    }
    let modified = RowOrder::Modified { at: "at".to_owned(), id: "id".to_owned() };
    let rows = RowsAfter {
        table: "nowhere".to_owned(),
        order: modified,
        after: None,
        limit: 1,
        newest: true,
        mark: None,
    };
    process.store().rows_after(rows).await.expect_err("there is no such table");
}
