//! Jobs whose transactions end late, out of order or not at all: each one that is committed is claimed once.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use taskwright_core::{NewJob, State, Timestamp};
use taskwright_store::conformance::fixture::*;
use taskwright_store::postgres::tokio_postgres::{Client, NoTls};
use taskwright_store::postgres::{PostgresStore, Settings};
use tokio::task::JoinSet;

use crate::cluster::{Cluster, Database};

/// A store, and sessions of users beside it.
struct Scene {
    process: Process,
    database: Database<'static>,
    sessions: JoinSet<()>,
    run: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let database = Cluster::shared().database();
        let run = tempfile::tempdir().unwrap();
        let process = Process::of(open(&database, &run).await);
        // The lane is there, so that all jobs are in one stream.
        process.enqueue(0, [job(1_000_000)]).await;
        let worker = process.worker(100).await;
        worker.end(0, &worker.take(0).await, completed()).await;
        Self { process, database, sessions: JoinSet::new(), run }
    }

    /// A session of a user.
    async fn user(&mut self) -> Client {
        let config: taskwright_store::postgres::tokio_postgres::Config = self.database.url().parse().unwrap();
        let (client, connection) = config.connect(NoTls).await.unwrap();
        self.sessions.spawn(async move { drop(connection.await) });
        client
    }
}

async fn open(database: &Database<'_>, run: &tempfile::TempDir) -> Arc<PostgresStore> {
    let settings = Settings::parse(&database.url()).unwrap();
    Arc::new(PostgresStore::open(settings, run.path(), Timestamp::from_micros(0)).await.unwrap())
}

/// Enqueues in the user's transaction, as the schema's function does.
async fn enqueue(user: &Client, n: u32) {
    let id = id(n).to_string();
    let sql = format!("SELECT taskwright.enqueue('mail', '{n}', id => '{id}')");
    user.batch_execute(&sql).await.unwrap();
}

#[tokio::test]
async fn a_transaction_that_ends_late_has_its_jobs_claimed_then() {
    let mut scene = Scene::new().await;
    let (slow, slower) = (scene.user().await, scene.user().await);
    scene.process.enqueue(0, [job(1)]).await;
    slow.batch_execute("BEGIN").await.unwrap();
    slower.batch_execute("BEGIN").await.unwrap();
    enqueue(&slow, 2).await;
    enqueue(&slower, 3).await;
    scene.process.enqueue(0, [job(4)]).await;

    let worker = scene.process.worker(1).await;
    assert_eq!(numbers(&worker.claim_all(1).await), [1, 4]);
    slower.batch_execute("COMMIT").await.unwrap();
    assert_eq!(numbers(&worker.claim_all(2).await), [3]);
    scene.process.enqueue(2, [job(5)]).await;
    enqueue(&slow, 6).await;
    assert_eq!(numbers(&worker.claim_all(3).await), [5]);
    slow.batch_execute("COMMIT").await.unwrap();
    assert_eq!(numbers(&worker.claim_all(4).await), [2, 6]);
    assert_eq!(numbers(&worker.claim_all(5).await), [0; 0]);
}

#[tokio::test]
async fn a_transaction_that_is_rolled_back_leaves_nothing_to_claim() {
    let mut scene = Scene::new().await;
    let user = scene.user().await;
    user.batch_execute("BEGIN").await.unwrap();
    let xid: String = user.query_one("SELECT pg_current_xact_id()::text", &[]).await.unwrap().get(0);
    enqueue(&user, 1).await;
    scene.process.enqueue(0, [job(2)]).await;
    let worker = scene.process.worker(1).await;
    assert_eq!(numbers(&worker.claim_all(1).await), [2]);
    user.batch_execute("ROLLBACK").await.unwrap();
    scene.process.enqueue(1, [job(3)]).await;
    assert_eq!(numbers(&worker.claim_all(2).await), [3]);
    // Others of this server may be under way.
    let still = format!("SELECT '{xid}' = ANY (late_xid) FROM taskwright.lane_head ORDER BY n DESC LIMIT 1");
    assert_eq!(scene.database.sql(&still), "f", "what has ended is forgotten");
    assert!(!scene.process.has(1).await);
}

#[tokio::test]
async fn past_heads_are_removed_however_many_each_claim_takes() {
    let scene = Scene::new().await;
    let worker = scene.process.worker(1).await;
    // A claim of few goes another way than one of many, and each may be the one that reaches the boundary.
    for n in 1..=400 {
        scene.process.enqueue(0, [job(n)]).await;
        let limit = if n.is_multiple_of(3) { 100 } else { 10 };
        assert_eq!(numbers(&worker.claim(worker.ask(1, limit)).await), [n]);
    }
    let heads: i64 = scene.database.sql("SELECT count(*) FROM taskwright.lane_head").parse().unwrap();
    assert!(heads <= 192, "{heads} are left");
}

#[tokio::test]
async fn a_transaction_that_makes_a_queue_holds_up_nobody_who_needs_it_too() {
    let mut scene = Scene::new().await;
    let user = scene.user().await;
    let other = |n| NewJob { queue: queue("new"), ..job(n) };
    user.batch_execute("BEGIN").await.unwrap();
    let id = id(1).to_string();
    let sql = format!("SELECT taskwright.enqueue('mail', queue => 'new', id => '{id}')");
    user.batch_execute(&sql).await.unwrap();
    scene.process.enqueue(0, [other(2)]).await;
    let worker = scene.process.worker(1).await;
    assert_eq!(numbers(&worker.claim_all(1).await), [2]);
    scene.process.store().pause(at(1), namespace("default"), queue("new"), true, alice()).await.unwrap();
    user.batch_execute("COMMIT").await.unwrap();

    // There are two lanes now, of two rows of one queue, which is paused by either.
    assert_eq!(numbers(&worker.claim_all(4_000_000_000).await), [0; 0]);
    let queues = scene.process.store().queues(at(1), None).await.unwrap();
    let shown: Vec<_> =
        queues.iter().map(|queue| (queue.name.as_str(), queue.paused, queue.available)).collect();
    assert_eq!(shown, [("default", false, 0), ("new", true, 1)]);
    scene.process.store().pause(at(1), namespace("default"), queue("new"), false, alice()).await.unwrap();
    assert_eq!(numbers(&worker.claim_all(4_000_000_000).await), [1]);
}

#[tokio::test]
async fn a_late_transaction_with_many_jobs_is_claimed_in_pieces() {
    let mut scene = Scene::new().await;
    let user = scene.user().await;
    user.batch_execute("BEGIN").await.unwrap();
    for n in 1..=5 {
        enqueue(&user, n).await;
    }
    scene.process.enqueue(0, [job(6)]).await;
    let worker = scene.process.worker(1).await;
    assert_eq!(numbers(&worker.claim_all(1).await), [6]);
    user.batch_execute("COMMIT").await.unwrap();
    scene.process.enqueue(1, [job(7)]).await;
    for expected in [[1, 2], [3, 4], [5, 7]] {
        let mut claimed = numbers(&worker.claim(worker.ask(2, 2)).await);
        claimed.sort_unstable();
        assert_eq!(claimed, expected);
    }
}

#[tokio::test]
async fn a_waiting_job_that_is_taken_out_of_its_stream_is_not_claimed_from_it() {
    let scene = Scene::new().await;
    scene.process.enqueue(0, jobs(1..=4)).await;
    let worker = scene.process.worker(1).await;
    scene.process.change(1, 1, taskwright_store::Change::Cancel).await;
    let until = at(5);
    scene.process.change(1, 3, taskwright_store::Change::Delay { until }).await;
    assert_eq!(numbers(&worker.claim_all(2).await), [2, 4]);
    assert_eq!(scene.process.state(1).await, State::Cancelled);
    scene.process.promote(5).await;
    assert_eq!(numbers(&worker.claim_all(6).await), [3]);
}

/// A schema that another server wrote: its transactions have numbers that this one has not given yet.
fn pretend_it_was_restored(database: &Database<'_>) {
    database.sql(
        "SET search_path = taskwright;
         UPDATE job SET xid = (xid::text::bigint + 1000000000000)::text::xid8;
         UPDATE lane_head SET xid = (xid::text::bigint + 1000000000000)::text::xid8 WHERE n > 0;",
    );
}

#[tokio::test]
async fn a_store_that_was_restored_from_another_server_goes_on() {
    let scene = Scene::new().await;
    scene.process.enqueue(0, jobs(1..=6)).await;
    {
        let worker = scene.process.worker(1).await;
        let [first, second, third] = &worker.claim(worker.ask(1, 3)).await[..] else { panic!("three jobs") };
        worker.end(2, first, completed()).await;
        worker.end(2, second, failed("boom")).await;
        worker.mark(third);
        worker.give_back(2, third).await;
    }
    let Scene { process, database, run, .. } = scene;
    drop(process);
    pretend_it_was_restored(&database);
    database.sql(&format!("SELECT taskwright.enqueue('mail', '7', id => '{}')", id(7)));

    let process = Process::of(open(&database, &run).await);
    let worker = process.worker(2).await;
    process.enqueue(3, [job(8)]).await;
    let mut claimed = numbers(&worker.claim_all(4_000_000_000).await);
    claimed.sort_unstable();
    assert_eq!(claimed, [3, 4, 5, 6, 7, 8]);
    assert_eq!((process.state(1).await, process.state(2).await), (State::Completed, State::Retryable));
    process.enqueue(5, [job(9)]).await;
    assert_eq!(numbers(&worker.claim_all(4_000_000_001).await), [9]);
}

#[tokio::test]
async fn a_job_that_is_enqueued_while_a_restored_store_is_adopted_is_claimed() {
    let mut scene = Scene::new().await;
    let (blocker, adopter, enqueuer) = (scene.user().await, scene.user().await, scene.user().await);
    pretend_it_was_restored(&scene.database);
    // In the middle of the adoption: what is to be sorted has been found, and cannot be written yet.
    blocker.batch_execute("BEGIN; LOCK taskwright.ready IN SHARE MODE").await.unwrap();
    let adopt = "SET search_path = taskwright; SELECT adopt()";
    let mut adopting = JoinSet::new();
    adopting.spawn(async move { adopter.batch_execute(adopt).await.unwrap() });
    until_waiting(&scene.database, 1, &mut adopting).await;
    let mut enqueuing = JoinSet::new();
    enqueuing.spawn(async move { enqueue(&enqueuer, 7).await });
    until_waiting(&scene.database, 2, &mut enqueuing).await;
    blocker.batch_execute("COMMIT").await.unwrap();
    adopting.join_all().await;
    enqueuing.join_all().await;

    let worker = scene.process.worker(1).await;
    assert_eq!(numbers(&worker.claim_all(4_000_000_000).await), [7]);
}

/// Until so many sessions wait for locks, or the task is over.
async fn until_waiting(database: &Database<'_>, many: usize, task: &mut JoinSet<()>) {
    let waiting = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while database.sql(waiting) != many.to_string() && task.try_join_next().is_none() {
        tokio::task::yield_now().await;
    }
}

/// Sessions that enqueue in transactions of all sizes, some slow and some rolled back, against two that claim.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_order_transactions_end_in_each_committed_job_runs_once() {
    let mut scene = Scene::new().await;
    let mut enqueuers = JoinSet::new();
    // Others hand jobs over, to workers of their own, whenever nobody else is just at it.
    let mut handers = JoinSet::new();
    for session in 0..3_u8 {
        let store = open(&scene.database, &scene.run).await;
        handers.spawn(async move {
            let process = Process::of(store);
            let worker = process.worker(50 + session).await;
            let (mut ran, mut handed) = (Vec::new(), 0);
            for n in 0..300 {
                let n = 700_000 + u32::from(session) * 1_000 + n;
                let ask = worker.ask(4_000_000_000, 1);
                let (_, claimed) = process.store().enqueue_to(ask.now, job(n), ask).await.unwrap();
                handed += claimed.jobs.len();
                let mut held = claimed.jobs;
                if n % 10 == 0 {
                    held.extend(worker.claim(worker.ask(4_000_000_000, 20)).await);
                }
                ran.extend(numbers(&held));
                worker
                    .finish(
                        4_000_000_000,
                        held.iter().map(|job| ending(4_000_000_000, job, completed())).collect(),
                    )
                    .await;
            }
            (ran, handed)
        });
    }
    for session in 0..6_u32 {
        let user = scene.user().await;
        enqueuers.spawn(async move {
            let mut committed = Vec::new();
            for round in 0..25_u32 {
                user.batch_execute("BEGIN").await.unwrap();
                let first = session * 100_000 + round * 1_000 + 1;
                let many = [1, 3, 40, 7, 150][(session + round) as usize % 5];
                for n in first..first + many {
                    enqueue(&user, n).await;
                    if n == first && (session + round) % 4 == 0 {
                        user.batch_execute("SELECT pg_sleep(0.02)").await.unwrap();
                    }
                }
                if (session + round) % 5 == 4 {
                    user.batch_execute("ROLLBACK").await.unwrap();
                } else {
                    user.batch_execute("COMMIT").await.unwrap();
                    committed.extend(first..first + many);
                }
            }
            committed
        });
    }
    let (one, two) = (scene.process.worker(1).await, scene.process.worker(2).await);
    let mut runs: BTreeMap<u32, u32> = BTreeMap::new();
    let mut committed: HashSet<u32> = HashSet::new();
    let (mut quiet, mut handed) = (0, 0);
    while quiet < 3 {
        while let Some(more) = handers.try_join_next() {
            let (ran, many) = more.unwrap();
            handed += many;
            ran.into_iter().for_each(|n| *runs.entry(n).or_default() += 1);
        }
        while let Some(more) = enqueuers.try_join_next() {
            committed.extend(more.unwrap());
        }
        let mut found = 0;
        for (worker, limit) in [(&one, 30), (&two, 200)] {
            let claimed = worker.claim(worker.ask(4_000_000_000, limit)).await;
            found += claimed.len();
            for job in &claimed {
                *runs.entry(number(job.id)).or_default() += 1;
            }
            let ends = claimed.iter().map(|job| ending(4_000_000_000, job, completed())).collect();
            worker.finish(4_000_000_000, ends).await;
        }
        quiet = if found == 0 && enqueuers.is_empty() && handers.is_empty() { quiet + 1 } else { 0 };
    }
    committed.extend((0..3).flat_map(|session| (0..300).map(move |n| 700_000 + session * 1_000 + n)));
    assert!(handed > 100, "only {handed} were handed over");
    let expected: BTreeMap<u32, u32> = committed.iter().map(|n| (*n, 1)).collect();
    assert_eq!(runs, expected);
    assert_eq!(scene.database.sql("SELECT count(*) FROM taskwright.block"), "0", "no block is left");
}
