//! The connection breaks after the server has committed, and before it could say so. Whoever asked asks again: no job is
//! stored twice or lost, and none runs without an attempt that says so.

use std::sync::Arc;
use std::time::Duration;

use taskwright_core::attempt::AttemptEnd;
use taskwright_core::sight::Sight;
use taskwright_core::{NewJob, Outcome, Priority, State, Timestamp, UniqueScope, Verdict};
use taskwright_store::conformance::fixture::*;
use taskwright_store::postgres::tokio_postgres::{Client, Config, NoTls};
use taskwright_store::postgres::{PostgresStore, Settings};
use taskwright_store::{Change, Changed, ClaimedJob, Enqueued, Error, Finish, JobKey, Order, Store};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::cluster::{Cluster, Database};
use crate::proxy::Proxy;

/// A store behind the proxy, and one that sees the database as it is.
struct Scene {
    behind: Process,
    direct: Process,
    proxy: Proxy,
    database: Database<'static>,
    _run: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let cluster = Cluster::shared();
        let (database, run) = (cluster.database(), tempfile::tempdir().unwrap());
        let proxy = Proxy::before(&cluster.socket());
        let open = async |url: &str| {
            let settings = Settings::parse(url).unwrap();
            Process::of(Arc::new(
                PostgresStore::open(settings, run.path(), Timestamp::from_micros(0)).await.unwrap(),
            ))
        };
        let (behind, direct) = (open(&proxy.url(database.name())).await, open(&database.url()).await);
        Self { behind, direct, proxy, database, _run: run }
    }

    /// Makes the lane, so that jobs go into its stream by the quick way.
    async fn with_lane(self) -> Self {
        self.behind.enqueue(0, [job(1_000_000)]).await;
        let worker = self.behind.worker(100).await;
        worker.end(0, &worker.take(0).await, completed()).await;
        worker.unregister(0).await;
        self
    }

    /// Does it with its answer lost, and again; what the second time gave.
    async fn twice<T>(&self, what: &str, write: impl AsyncFnMut(&dyn Store) -> Result<T, Error>) -> T {
        self.twice_behind(0, what, write).await
    }

    /// The same for what looks so many times before it writes.
    async fn twice_behind<T>(
        &self,
        looks: u32,
        what: &str,
        mut write: impl AsyncFnMut(&dyn Store) -> Result<T, Error>,
    ) -> T {
        let before = self.proxy.lost();
        self.proxy.lose_behind(looks, 1);
        let Err(error) = write(self.behind.store()).await else { panic!("{what}: the answer arrived") };
        assert!(error.is_transient(), "{what}: {error}");
        assert_eq!(self.proxy.lost(), before + 1, "{what}: it failed before it was committed");
        write(self.behind.store()).await.unwrap_or_else(|error| panic!("{what}, repeated: {error}"))
    }

    async fn enqueue_twice(&self, what: &str, jobs: Vec<NewJob>) {
        let stored = self.twice(what, async |store| store.enqueue(at(0), jobs.clone()).await).await;
        let expected: Vec<_> = jobs.iter().map(|job| Enqueued { id: job.id, existing: true }).collect();
        assert_eq!(stored, expected, "{what}");
    }

    /// Everything that is there runs once and completes; which jobs that were.
    async fn drain(&self, now: u64) -> Vec<u32> {
        let worker = self.direct.worker(200).await;
        let claimed = worker.claim(worker.ask(now, 1_000)).await;
        let ends = claimed.iter().map(|job| ending(now, job, completed())).collect();
        assert_eq!(worker.finish(now, ends).await, vec![Verdict::Accepted; claimed.len()]);
        for job in &claimed {
            assert_eq!(
                self.ends(number(job.id)).await.len(),
                job.attempt as usize,
                "each run has an attempt"
            );
        }
        let mut numbers = numbers(&claimed);
        numbers.sort_unstable();
        numbers
    }

    /// How the attempts of a job ended.
    async fn ends(&self, n: u32) -> Vec<AttemptEnd> {
        self.direct.detail(n).await.attempts.iter().map(|attempt| attempt.end).collect()
    }

    /// A session of a user, which holds all lanes until it commits: claims wait for it.
    async fn hold_lanes(&self, sessions: &mut JoinSet<()>) -> Client {
        let config: Config = self.database.url().parse().unwrap();
        let (client, connection) = config.connect(NoTls).await.unwrap();
        sessions.spawn(async move { drop(connection.await) });
        client.batch_execute("BEGIN; SELECT FROM taskwright.lane FOR UPDATE").await.unwrap();
        client
    }

    /// Waits until a session waits for another's lock.
    async fn until_somebody_waits(&self) {
        let waiting = "SELECT count(*) > 0 FROM pg_stat_activity
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let waited = tokio::time::timeout(Duration::from_secs(20), async {
            while self.database.sql(waiting) != "t" {
                pause(Duration::from_millis(20)).await;
            }
        });
        waited.await.expect("a claim waits");
    }
}

#[allow(clippy::disallowed_methods, reason = "a real server takes real time")]
async fn pause(duration: Duration) {
    tokio::time::sleep(duration).await;
}

#[tokio::test]
async fn an_enqueue_that_is_repeated_finds_its_jobs() {
    let scene = Scene::new().await;
    scene.enqueue_twice("the first job of a lane", vec![job(1)]).await;
    scene.enqueue_twice("one job", vec![job(2)]).await;
    scene.enqueue_twice("many jobs, by COPY", jobs(3..=500)).await;
    let unique = |n| NewJob { unique: unique("invoice", UniqueScope::Active), ..job(n) };
    scene.enqueue_twice("a job with a unique key", vec![unique(501)]).await;
    let later = NewJob { run_at: Some(at(5)), ..job(502) };
    let held = NewJob { held: true, ..job(503) };
    scene.enqueue_twice("jobs that wait", vec![later, held]).await;
    assert_eq!(scene.drain(1).await, (1..=501).collect::<Vec<_>>());
    assert_eq!(scene.direct.promote(5).await.promoted, 1);
    assert_eq!(scene.database.sql("SELECT count(*) FROM taskwright.job"), "503");
}

#[tokio::test]
async fn a_batch_behind_another_that_is_repeated_finds_its_jobs() {
    let scene = Scene::new().await.with_lane().await;
    scene.behind.enqueue(0, jobs(1..=100)).await;
    let (told, previous) = oneshot::channel();
    told.send(()).unwrap();
    scene.proxy.lose(1);
    let stored = scene.behind.store().enqueue_behind(at(0), jobs(101..=200), previous).await;
    assert!(stored.unwrap_err().is_transient());
    assert_eq!(scene.proxy.lost(), 1);
    let again = scene.behind.enqueue(0, jobs(101..=200)).await;
    assert!(again.iter().all(|job| job.existing), "{again:?}");
    assert_eq!(scene.drain(1).await, (1..=200).collect::<Vec<_>>());
}

/// What a worker has after a claim whose answer was lost, and the next one.
async fn claim_twice(scene: &Scene, worker: &Worker<'_>, now: u64, limit: usize) -> Vec<ClaimedJob> {
    scene.twice("a claim", async |store| store.claim(worker.ask(now, limit)).await).await.jobs
}

#[tokio::test]
async fn a_claim_that_is_repeated_gives_what_the_lost_answer_gave() {
    let scene = Scene::new().await.with_lane().await;
    let worker = scene.behind.worker(1).await;
    scene.behind.enqueue(0, jobs(1..=40)).await;
    let first = worker.claim(worker.ask(1, 10)).await;
    assert_eq!(numbers(&first), (1..=10).collect::<Vec<_>>());
    let second = claim_twice(&scene, &worker, 2, 10).await;
    assert_eq!(numbers(&second), (11..=20).collect::<Vec<_>>(), "what was lost, and nothing that is known");
    assert!(second.iter().all(|job| job.attempt == 1), "it never started");
    assert_eq!(scene.drain(3).await, (21..=40).collect::<Vec<_>>());
    let ends = first.iter().chain(&second).map(|job| ending(4, job, completed())).collect();
    assert_eq!(worker.finish(4, ends).await, vec![Verdict::Accepted; 20]);
    for n in 1..=40 {
        assert_eq!(scene.ends(n).await, [AttemptEnd::Completed], "{n}");
    }
}

#[tokio::test]
async fn a_job_that_was_handed_over_in_a_lost_answer_goes_back() {
    let scene = Scene::new().await.with_lane().await;
    let worker = scene.behind.worker(1).await;
    let (stored, claimed) = scene
        .twice("a job handed over", async |store| store.enqueue_to(at(1), job(1), worker.ask(1, 1)).await)
        .await;
    assert_eq!(stored, Enqueued { id: id(1), existing: true });
    assert_eq!(numbers(&claimed.jobs), [0; 0]);
    // The worker knows of nothing, and nobody else may have it until that is settled: by its next claim.
    assert_eq!(scene.drain(2).await, [0; 0]);
    assert_eq!(numbers(&worker.claim_all(3).await), [1]);
    let (_, claimed) = scene.behind.store().enqueue_to(at(4), job(2), worker.ask(4, 1)).await.unwrap();
    assert_eq!(numbers(&claimed.jobs), [2], "jobs are handed over again");
}

#[tokio::test]
async fn a_claim_whose_answer_was_lost_several_times_loses_nothing() {
    let scene = Scene::new().await.with_lane().await;
    let worker = scene.behind.worker(1).await;
    scene.behind.enqueue(0, jobs(1..=9)).await;
    // Some of them on their second attempt, and so not in the stream.
    for job in worker.claim(worker.ask(1, 3)).await {
        worker.end(1, &job, failed("at first")).await;
    }
    scene.direct.promote(20).await;
    for _ in 0..4 {
        scene.proxy.lose(1);
        assert!(scene.behind.store().claim(worker.ask(20, 100)).await.is_err());
    }
    // The last one may be that of the taking back.
    let claimed = worker.claim_all(20).await;
    let mut found: Vec<_> = claimed.iter().map(|job| (number(job.id), job.attempt)).collect();
    found.sort_unstable();
    assert_eq!(found, (1..=9).map(|n| (n, if n <= 3 { 2 } else { 1 })).collect::<Vec<_>>());
    let ends = claimed.iter().map(|job| ending(21, job, completed())).collect();
    assert_eq!(worker.finish(21, ends).await, [Verdict::Accepted; 9]);
    assert_eq!(scene.ends(1).await, [AttemptEnd::Failed, AttemptEnd::Completed]);
    assert_eq!(scene.ends(9).await, [AttemptEnd::Completed]);
}

#[tokio::test]
async fn a_claim_that_takes_place_after_its_connection_broke_keeps_no_job() {
    let scene = Scene::new().await.with_lane().await;
    let worker = scene.behind.worker(1).await;
    let mut sessions = JoinSet::new();
    let holder = scene.hold_lanes(&mut sessions).await;
    scene.direct.enqueue(0, jobs(1..=3)).await;
    let (claimed, ()) = tokio::join!(scene.behind.store().claim(worker.ask(1, 2)), async {
        scene.until_somebody_waits().await;
        scene.proxy.cut_all();
    });
    assert!(claimed.unwrap_err().is_transient());
    // It still waits at the server, and takes its jobs when it may.
    let (claimed, ()) = tokio::join!(worker.claim(worker.ask(2, 100)), async {
        scene.until_somebody_waits().await;
        holder.batch_execute("COMMIT").await.unwrap();
    });
    assert_eq!(numbers(&claimed), [1, 2, 3]);
    let ends = claimed.iter().map(|job| ending(3, job, completed())).collect();
    assert_eq!(worker.finish(3, ends).await, [Verdict::Accepted; 3]);
}

#[tokio::test]
async fn an_end_that_is_repeated_ends_nothing_else() {
    let scene = Scene::new().await.with_lane().await;
    let worker = scene.behind.worker(1).await;
    let snooze = || Outcome::Snooze { delay: Duration::from_secs(5) };
    let outcomes: [(&str, Outcome, State, &[AttemptEnd]); 5] = [
        ("complete", completed(), State::Completed, &[AttemptEnd::Completed]),
        ("retry", failed("not yet"), State::Retryable, &[AttemptEnd::Failed]),
        ("fail", Outcome::Fail { error: "no".to_owned() }, State::Failed, &[AttemptEnd::Failed]),
        ("snooze", snooze(), State::Scheduled, &[]),
        (
            "cancel",
            Outcome::Cancelled { reason: "enough".to_owned() },
            State::Cancelled,
            &[AttemptEnd::Cancelled],
        ),
    ];
    for (n, (what, outcome, state, attempts)) in (1..).zip(outcomes) {
        scene.behind.enqueue(0, [job(n)]).await;
        let end: Vec<Finish> = vec![ending(1, &worker.take(1).await, outcome)];
        let finish = async |store: &dyn Store| store.finish(at(1), worker.id, end.clone()).await;
        assert_eq!(scene.twice(what, finish).await, [Verdict::Stale], "{what}: it has ended");
        assert_eq!(scene.direct.state(n).await, state, "{what}");
        assert_eq!(scene.ends(n).await, attempts, "{what}");
    }
    assert_eq!(scene.drain(1).await, NONE, "nothing is there a second time");
}

#[tokio::test]
async fn many_ends_that_are_repeated_end_once_each() {
    let scene = Scene::new().await.with_lane().await;
    let worker = scene.behind.worker(1).await;
    scene.behind.enqueue(0, jobs(1..=300)).await;
    let claimed = worker.claim(worker.ask(1, 300)).await;
    let outcome = |n| if n % 3 == 0 { failed("not yet") } else { completed() };
    let (all_good, mixed) = claimed.split_at(150);
    let good: Vec<Finish> = all_good.iter().map(|job| ending(2, job, completed())).collect();
    let mixed: Vec<Finish> = mixed.iter().map(|job| ending(2, job, outcome(number(job.id)))).collect();
    for ends in [good, mixed] {
        let finish = async |store: &dyn Store| store.finish(at(2), worker.id, ends.clone()).await;
        assert_eq!(scene.twice("ends", finish).await, vec![Verdict::Stale; 150]);
    }
    for n in 1..=300 {
        assert_eq!(scene.direct.detail(n).await.attempts.len(), 1, "{n}");
    }
}

#[tokio::test]
async fn jobs_that_are_given_back_twice_are_there_once() {
    let scene = Scene::new().await.with_lane().await;
    let worker = scene.behind.worker(1).await;
    scene.behind.enqueue(0, jobs(1..=5)).await;
    let jobs: Vec<(JobKey, u32)> =
        worker.claim_all(1).await.iter().map(|job| (job.key, job.attempt)).collect();
    let give = async |store: &dyn Store| {
        store.give_back(at(2), worker.id, jobs.clone(), "not soon".to_owned()).await
    };
    assert_eq!(scene.twice("a give-back", give).await, [Verdict::Stale; 5]);
    assert_eq!(scene.drain(3).await, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_change_that_is_repeated_changes_nothing_more() {
    let scene = Scene::new().await.with_lane().await;
    let waiting = || NewJob { run_at: Some(at(50)), ..job(1) };
    let held = || NewJob { held: true, ..job(2) };
    scene.behind.enqueue(0, [waiting(), held(), job(3), job(4), job(5)]).await;
    let change = async |n: u32, change: Change| {
        let asked = async |store: &dyn Store| store.change(at(1), vec![id(n)], change, alice(), None).await;
        scene.twice("a change", asked).await.remove(0)
    };
    let skips = |changed: &Changed| matches!(changed, Changed::Skipped(_));
    assert!(skips(&change(1, Change::RunNow).await));
    assert!(skips(&change(2, Change::Release).await));
    assert!(skips(&change(3, Change::Reprioritise { priority: Priority(1_000) }).await));
    assert!(skips(&change(4, Change::Cancel).await));
    assert!(skips(&change(4, Change::Redo { repeat: false }).await));
    assert_eq!(change(5, Change::Delay { until: at(60) }).await, Changed::Done, "again, to the same moment");
    assert_eq!(scene.drain(2).await, [1, 2, 3, 4]);
    assert!(skips(&change(3, Change::Redo { repeat: true }).await));
    assert_eq!(scene.drain(3).await, [3]);
    assert_eq!(change(3, Change::Delete).await, Changed::Unknown);

    let worker = scene.behind.worker(1).await;
    assert_eq!(scene.direct.promote(60).await.promoted, 1);
    let running = worker.take(60).await;
    assert!(skips(&change(5, Change::Cancel).await), "a cancel was requested already");
    assert_eq!(worker.end(61, &running, completed()).await, Verdict::Accepted);
    assert_eq!(scene.direct.detail(5).await.attempts.len(), 1);
}

#[tokio::test]
async fn duties_and_workers_calls_that_are_repeated_do_no_harm() {
    let scene = Scene::new().await.with_lane().await;
    let later = |n| NewJob { run_at: Some(at(5)), ..job(n) };
    scene.behind.enqueue(0, (1..=20).map(later)).await;
    let promoted = scene.twice_behind(1, "promote", async |store| store.promote(at(5), 1_000).await).await;
    assert_eq!(promoted.promoted, 0);

    let new = new_worker(1);
    let registered =
        scene.twice("register", async |store| store.register(at(5), monotonic_us(5), new.clone()).await);
    let marks = registered.await.marks;
    let id = worker_id(1);
    scene.twice("renew", async |store| store.renew(at(5), monotonic_us(5), id).await).await;
    scene.twice("order", async |store| store.order(vec![id], Order::Quiet).await).await;
    let worker = scene.behind.worker(1).await;
    let claimed = worker.claim(worker.ask(5, 20)).await;
    marks.started(claimed[0].key, 1);
    scene.twice("unregister", async |store| store.unregister(at(6), id).await).await;
    assert_eq!(scene.ends(number(claimed[0].id)).await, [AttemptEnd::Lost], "it had been started");

    let lost = scene.behind.worker_at(6, 2).await;
    assert_eq!(lost.claim(lost.ask(6, 20)).await.len(), 20);
    let late = 7 + LEASE_S;
    let reclaim =
        async |store: &dyn Store| store.reclaim(at(late), monotonic_us(late), Sight::endless()).await;
    assert!(
        scene.twice_behind(2, "reclaim", reclaim).await.workers.is_empty(),
        "it was found the first time"
    );
    let rest = scene.direct.worker(3).await;
    let claimed = rest.claim_all(late).await;
    let mut found = numbers(&claimed);
    found.sort_unstable();
    assert_eq!(found, (1..=20).collect::<Vec<_>>(), "each once");
}

#[tokio::test]
async fn a_purge_that_is_repeated_cancels_nothing_twice() {
    let scene = Scene::new().await.with_lane().await;
    scene.behind.enqueue(0, jobs(1..=8)).await;
    let purge = async |store: &dyn Store| {
        store.purge(at(1), namespace("default"), queue("default"), alice(), 5).await
    };
    assert_eq!(scene.twice("purge", purge).await, 3, "the other five were purged by the first");
    assert_eq!(scene.drain(2).await, NONE);
    let pause = async |store: &dyn Store| {
        store.pause(at(1), namespace("default"), queue("default"), true, alice()).await
    };
    assert!(!scene.twice("pause", pause).await, "it is paused already");
}
