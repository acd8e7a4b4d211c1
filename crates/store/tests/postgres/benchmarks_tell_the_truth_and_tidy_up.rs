//! What benchmarks do to a database beside measuring: finished jobs that are copies are as those that really ran, and what
//! a killed one left behind goes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use taskwright_core::{NewJob, Owner, State, Timestamp};
use taskwright_store::conformance::fixture::*;
use taskwright_store::postgres::{PostgresStore, Range, Settings};
use taskwright_store::{Filter, JobDetail, JobView, Page};

use crate::cluster::{Cluster, Database};

/// A schema to measure in, and a store there.
struct Scene {
    process: Process,
    range: Range,
    database: Database<'static>,
    _run: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let database = Cluster::shared().database();
        let (range, run) = (range(&database, "here").await, tempfile::tempdir().unwrap());
        let process = open(&range, &run).await;
        Self { process, range, database, _run: run }
    }

    /// Repeats what is finished; each repetition is made an hour after the one before.
    async fn repeat(&self, times: u64) -> Result<(), taskwright_store::Error> {
        let hours = AtomicU64::new(0);
        let stopwatch = || Duration::from_secs(3_600 * hours.fetch_add(1, Ordering::Relaxed));
        self.range.repeat_history(times, &stopwatch).await
    }

    /// All jobs, oldest first, in pages.
    async fn listed(&self, filter: Filter) -> Vec<JobView> {
        let mut page = Page { after: None, limit: 4, oldest_first: true };
        let mut all = Vec::new();
        loop {
            let paged = self.process.store().list(filter.clone(), page).await.unwrap();
            all.extend(paged.jobs);
            page.after = paged.next;
            if page.after.is_none() {
                return all;
            }
        }
    }
}

async fn range(database: &Database<'_>, tag: &str) -> Range {
    Range::connect(Settings::parse(&database.url()).unwrap(), tag).await.unwrap()
}

async fn open(range: &Range, run: &tempfile::TempDir) -> Process {
    let settings = range.settings().clone();
    Process::of(Arc::new(PostgresStore::open(settings, run.path(), Timestamp::from_micros(0)).await.unwrap()))
}

/// The job as it would be, had everything happened that much earlier, under that id.
fn earlier(mut job: JobDetail, by: Duration, as_of: &JobDetail) -> JobDetail {
    let by = i64::try_from(by.as_micros()).unwrap();
    let shift = |time: &mut Timestamp| *time = Timestamp::from_micros(time.as_micros() - by);
    job.view.id = as_of.view.id;
    shift(&mut job.view.created_at);
    shift(&mut job.view.run_at);
    job.view.claimed_at.iter_mut().chain(job.view.ended_at.iter_mut()).for_each(shift);
    for attempt in &mut job.attempts {
        shift(&mut attempt.claimed_at);
        shift(&mut attempt.ended_at);
        attempt.started_at.iter_mut().for_each(shift);
    }
    job.timeline.iter_mut().for_each(|entry| shift(&mut entry.at));
    job
}

const JOBS: u32 = 7;
const COPIES: u64 = 2;
const ALL: usize = 21;

/// Seven jobs of an owner, drained in parts and not in their order.
async fn drain(scene: &Scene) {
    let owned = |n| NewJob { owner: Some(Owner::new("alice").unwrap()), ..job(n) };
    scene.process.enqueue(0, (1..=4).map(owned)).await;
    scene.process.enqueue(1, (5..=JOBS).map(owned)).await;
    let worker = scene.process.worker(1).await;
    let claimed = worker.claim_all(2).await;
    let (odd, even): (Vec<_>, Vec<_>) = claimed.iter().partition(|job| number(job.id) % 2 == 1);
    for (now, part) in [(3, odd), (5, even)] {
        worker.finish(now, part.iter().map(|job| ending(now, job, completed())).collect()).await;
    }
    worker.unregister(6).await;
}

#[tokio::test]
async fn a_repeated_job_is_told_of_as_the_one_that_really_ran() {
    let scene = Scene::new().await;
    drain(&scene).await;
    scene.repeat(COPIES).await.unwrap();

    let views = scene.listed(Filter::default()).await;
    assert_eq!(views.len(), ALL);
    assert_eq!(views.iter().map(|view| view.id).collect::<BTreeSet<_>>().len(), views.len());
    let mut details = Vec::new();
    for view in &views {
        let detail = scene.process.store().job(view.id).await.unwrap().unwrap();
        assert_eq!(&detail.view, view);
        details.push(detail);
    }
    let (real, copied) = details.split_at(JOBS as usize);
    for (nth, copies) in copied.chunks(JOBS as usize).enumerate() {
        let later = Duration::from_secs(3_600) * u32::try_from(nth + 1).unwrap();
        for (job, copy) in real.iter().zip(copies) {
            assert_eq!(job.view.state, State::Completed);
            assert_eq!(&earlier(copy.clone(), later, job), job);
        }
    }
}

#[tokio::test]
async fn repeated_jobs_are_counted_filtered_and_removed_as_finished_ones() {
    let scene = Scene::new().await;
    drain(&scene).await;
    let before = scene.process.store().queues(at(10), None).await.unwrap();
    scene.repeat(COPIES).await.unwrap();
    assert_eq!(scene.process.store().queues(at(10), None).await.unwrap(), before);
    for (state, many) in [(State::Completed, ALL), (State::Available, 0), (State::Running, 0)] {
        let filter = Filter { states: vec![state], ..Filter::default() };
        assert_eq!(scene.listed(filter).await.len(), many, "{state}");
    }
    let newest = Filter { created_from: Some(at(7_200)), ..Filter::default() };
    assert_eq!(scene.listed(newest).await.len(), JOBS as usize);
    assert_eq!(scene.process.prune(100_000, keep_nothing()).await.jobs, ALL);
    let rest = "SELECT (SELECT count(*) FROM taskwright_bench_here.job), (SELECT count(*) FROM taskwright_bench_here.completion)";
    assert_eq!(scene.database.sql(rest), "0|0");
}

#[tokio::test]
async fn what_is_enqueued_behind_repeated_jobs_is_claimed_and_they_are_not() {
    let scene = Scene::new().await;
    drain(&scene).await;
    scene.repeat(COPIES).await.unwrap();
    let worker = scene.process.worker_at(10, 2).await;
    assert_eq!(numbers(&worker.claim_all(10).await), NONE);
    scene.process.enqueue(11, jobs(100..=102)).await;
    let claimed = worker.claim_all(12).await;
    assert_eq!(numbers(&claimed), [100, 101, 102]);
    for job in &claimed {
        worker.end(13, job, completed()).await;
    }
    assert_eq!(scene.process.state(101).await, State::Completed);
    let newest = scene.listed(Filter::default()).await.pop().unwrap();
    assert_eq!(number(newest.id), 102);
}

#[tokio::test]
async fn jobs_that_are_not_finished_are_not_repeated() {
    let scene = Scene::new().await;
    assert!(scene.repeat(1).await.unwrap_err().is_domain());
    drain(&scene).await;
    scene.process.enqueue(10, jobs([100])).await;
    assert!(scene.repeat(1).await.unwrap_err().is_domain());
    assert_eq!(scene.listed(Filter::default()).await.len(), JOBS as usize + 1);
}

#[tokio::test]
async fn nothing_is_analysed_before_it_is_settled() {
    let scene = Scene::new().await;
    scene.range.keep_unsettled().await.unwrap();
    drain(&scene).await;
    scene.repeat(COPIES).await.unwrap();
    let off = "SELECT count(*) FROM pg_class WHERE 'autovacuum_enabled=off' = ANY (reloptions)
               AND (relnamespace = 'taskwright_bench_here'::regnamespace OR relkind = 't')";
    let known = "SELECT reltuples FROM pg_class WHERE oid = 'taskwright_bench_here.job'::regclass";
    assert_ne!(scene.database.sql(off), "0");
    assert_eq!(scene.database.sql(known), "-1");
    scene.range.settle().await.unwrap();
    assert_eq!(scene.database.sql(off), "0");
    assert_eq!(scene.database.sql(known), "21");
}

#[tokio::test]
async fn the_schema_of_a_benchmark_goes_only_when_its_process_is_gone() {
    let database = Cluster::shared().database();
    let run = tempfile::tempdir().unwrap();
    let (killed, living) = (range(&database, "killed").await, range(&database, "living").await);
    for range in [&killed, &living] {
        drop(open(range, &run).await);
    }
    let next = range(&database, "next").await;
    assert!(next.clear_leftovers().await.unwrap().is_empty());
    drop(killed);
    // The server notices in its own time.
    let found = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            let found = next.clear_leftovers().await.unwrap();
            if !found.is_empty() {
                break found;
            }
        }
    });
    let found = found.await.expect("the schema of the one that is gone is found");
    assert_eq!(
        found.iter().map(|left| (left.schema.as_str(), left.dropped.is_ok())).collect::<Vec<_>>(),
        [("taskwright_bench_killed", true)]
    );
    let schemas =
        "SELECT string_agg(nspname, ' ' ORDER BY nspname) FROM pg_namespace WHERE nspname LIKE 'taskwright%'";
    assert_eq!(database.sql(schemas), "taskwright_bench_living");
    drop(living);
}

#[tokio::test]
async fn a_schema_that_another_user_left_is_told_and_does_no_harm() {
    let database = Cluster::shared().database();
    database.sql("CREATE SCHEMA taskwright_bench_of_another");
    let role = database.role("benchmarker", "");
    let settings = Settings::parse(&database.url_of(&role)).unwrap();
    let range = Range::connect(settings, "mine").await.unwrap();
    for _ in 0..2 {
        let found = range.clear_leftovers().await.unwrap();
        assert!(found.len() == 1 && found[0].dropped.is_err(), "{found:?}");
    }
}
