//! The ways in which queues on PostgreSQL are known to die (docs/design/0009-ten-ways-to-die.md), as far as a test of a few
//! seconds can show that ours does not. What has a test of its own elsewhere is named there.

use std::sync::Arc;
use std::time::Duration;

use taskwright_core::generator::ItemEnd;
use taskwright_core::{GeneratorName, NewJob, Timestamp, UniqueScope};
use taskwright_store::conformance::fixture::*;
use taskwright_store::conformance::generator;
use taskwright_store::postgres::tokio_postgres::{Client, Config, NoTls};
use taskwright_store::postgres::{Connections, PostgresStore, Settings};
use taskwright_store::{GeneratorCommit, NewItem, QueueView, SettledItem, Store, TakeGenerators};
use tokio::task::JoinSet;

use crate::cluster::{Cluster, Database, Flavour};

/// How long the test waits for what must come.
const SOON: Duration = Duration::from_secs(30);

/// Whether somebody tells others.
const TELLING: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                       AND state <> 'idle' AND query LIKE '%NOTIFY \"taskwright_hint\"%' AND pid <> pg_backend_pid()";

/// A store, and sessions of others beside it.
struct Scene<'a> {
    process: Process,
    database: Database<'a>,
    sessions: JoinSet<()>,
    _run: tempfile::TempDir,
}

impl<'a> Scene<'a> {
    async fn new(database: Database<'a>) -> Self {
        let run = tempfile::tempdir().unwrap();
        let settings = Settings::parse(&format!("{}?pool=1", database.url())).unwrap();
        let store = PostgresStore::open(settings, run.path(), Timestamp::from_micros(0)).await.unwrap();
        Self { process: Process::of(Arc::new(store)), database, sessions: JoinSet::new(), _run: run }
    }

    /// A session of somebody else.
    async fn user(&mut self) -> Client {
        let config: Config = self.database.url().parse().unwrap();
        let (client, connection) = config.connect(NoTls).await.unwrap();
        self.sessions.spawn(async move { drop(connection.await) });
        client
    }

    /// Blocks that a claim of 100 jobs touches. It is rolled back.
    async fn blocks_of_a_claim(&self, who: u8) -> u64 {
        let connections = Connections::open(Settings::parse(&self.database.url()).unwrap()).await.unwrap();
        let mut connection = connections.get().await.unwrap();
        let mut fewest = u64::MAX;
        // The first one makes the session's plans; so does one that comes after statistics were taken, which is no part of a claim.
        for _ in 0..4 {
            let tx = connection.begin().await.unwrap();
            let sql = format!(
                "EXPLAIN (ANALYZE, BUFFERS, COSTS off, TIMING off, SUMMARY off)
                 SELECT * FROM claim('{}', 100, 0, '{{mail}}', NULL, NULL, NULL, 3600000000, 500, 1)",
                worker_id(who)
            );
            let plan = tx.query(&sql, &[]).await.unwrap();
            let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
            assert!(plan[0].contains("rows=100"), "{plan:#?}");
            let buffers = plan.iter().find(|line| line.contains("Buffers:")).unwrap();
            let blocks = buffers
                .split([' ', ','])
                .filter_map(|word| word.strip_prefix("hit=").or(word.strip_prefix("read=")))
                .map(|number| number.parse::<u64>().unwrap())
                .sum();
            fewest = fewest.min(blocks);
        }
        fewest
    }
}

/// Enqueues, claims and completes, a thousand at a time.
async fn churn(process: &Process, worker: &Worker<'_>, numbers: std::ops::Range<u32>) {
    for thousand in numbers.step_by(1_000) {
        process.enqueue(0, jobs(thousand..thousand + 1_000)).await;
        let claimed = worker.claim(worker.ask(0, 1_000)).await;
        assert_eq!(claimed.len(), 1_000);
        worker.finish(1, claimed.iter().map(|job| ending(1, job, completed())).collect()).await;
    }
}

/// Registers a generator, has it make an item, which completes and is settled, and removes it; where its queue had jobs.
async fn generator_that_was(process: &Process, worker: &Worker<'_>, n: u32) {
    let name: GeneratorName = format!("bulk:{n}").parse().unwrap();
    generator::put(process, generator::generator(name.as_str(), 0)).await;
    let take = TakeGenerators {
        names: vec![(namespace("default"), name.clone())],
        ..TakeGenerators::at(at(2), Duration::from_secs(9), 1)
    };
    let item = NewItem { key: None, job: NewJob { queue: name.queue(), ..job(n) } };
    let taken = process.store().take_generators(take.clone()).await.unwrap().generators.remove(0);
    let commit = GeneratorCommit { items: vec![item], ..generator::commit_of(&taken, 0) };
    assert!(generator::commit(process, 1, commit).await);
    let claimed = worker.take(1).await;
    worker.end(1, &claimed, completed()).await;
    let taken = process.store().take_generators(take).await.unwrap().generators.remove(0);
    let settled = vec![SettledItem { job: id(n), end: ItemEnd::Completed }];
    let commit = GeneratorCommit { settled, ..generator::commit_of(&taken, 0) };
    assert!(generator::commit(process, 1, commit).await);
    assert!(process.store().remove_generator(taken.key).await.unwrap());
}

#[tokio::test]
async fn queues_of_generators_that_are_gone_make_a_claim_read_no_more() {
    let scene = Scene::new(Cluster::shared().database()).await;
    let worker = scene.process.worker(1).await;
    churn(&scene.process, &worker, 0..10_000).await;
    scene.process.enqueue(1, jobs(1_000_000..1_000_100)).await;
    let before = scene.blocks_of_a_claim(1).await;
    worker.claim_all(1).await;
    for n in 2_000_000..2_000_300 {
        generator_that_was(&scene.process, &worker, n).await;
    }
    scene.process.enqueue(2, jobs(3_000_000..3_000_100)).await;
    let after = scene.blocks_of_a_claim(1).await;
    assert!(after <= before + 100, "{before} blocks before, {after} after 300 generators came and went");
}

/// 1 and 5.
#[tokio::test]
async fn neither_an_old_snapshot_nor_finished_jobs_make_a_claim_read_more() {
    let mut scene = Scene::new(Cluster::shared().database()).await;
    let worker = scene.process.worker(1).await;
    // As many as make the indexes as deep as they are later on.
    churn(&scene.process, &worker, 0..10_000).await;
    scene.process.enqueue(1, jobs(1_000_000..1_000_100)).await;
    let before = scene.blocks_of_a_claim(1).await;
    worker.claim_all(1).await;

    let other = scene.user().await;
    other
        .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM taskwright.job")
        .await
        .unwrap();
    let worker = scene.process.worker(2).await;
    churn(&scene.process, &worker, 10_000..40_000).await;
    scene
        .database
        .sql("VACUUM taskwright.job, taskwright.block, taskwright.completion, taskwright.lane_head");
    scene.process.enqueue(2, jobs(2_000_000..2_000_100)).await;
    let after = scene.blocks_of_a_claim(2).await;
    assert!(
        after <= before * 2,
        "{before} blocks before, {after} after 30,000 more jobs under an old snapshot"
    );
    other.batch_execute("COMMIT").await.unwrap();
}

/// 2.
#[tokio::test]
async fn the_connection_that_listens_is_read_all_the_time_and_holds_back_no_vacuum() {
    let mut scene = Scene::new(Cluster::shared().database()).await;
    let mut hints = scene.process.store().hints();
    let glances = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                   AND (query LIKE 'LISTEN%' OR query LIKE '%pg_current_snapshot()%') AND pid <> pg_backend_pid()";
    until(|| scene.database.sql(glances) != "0").await;

    // Sixty megabytes, far more than the buffers of a socket hold: whoever did not read would leave the server's session
    // waiting with a snapshot.
    let user = scene.user().await;
    for _ in 0..8 {
        user.batch_execute(
            "SELECT count(pg_notify('taskwright_hint', lpad(n::text, 7500, 'x'))) FROM generate_series(1, 1000) AS n",
        )
        .await
        .unwrap();
    }
    tokio::time::timeout(SOON, hints.changed()).await.unwrap().unwrap();
    until(|| {
        // What has been read is cleared away with the next one.
        scene.database.sql("NOTIFY taskwright_hint; SELECT pg_notification_queue_usage()") == "0"
    })
    .await;
    let old =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
               AND (wait_event = 'ClientWrite' OR clock_timestamp() - xact_start > '5 s')";
    until(|| scene.database.sql(old) == "0").await;
}

/// 3. A commit that notifies holds a lock over all databases. Here somebody's commit hangs with that lock, because it waits
/// for a standby that never comes.
#[tokio::test]
async fn a_commit_that_hangs_with_the_lock_of_notify_holds_up_no_job() {
    let cluster = Cluster::start(Flavour { idle_seconds_max: 1, purpose: "notify lock", ..Flavour::FAST });
    let database = cluster.database();
    // Nobody but one waits for it.
    database.sql("ALTER SYSTEM SET synchronous_commit = local");
    database.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    database.sql("SELECT pg_reload_conf()");
    let mut scene = Scene::new(database).await;
    let (hanging, user) = (scene.user().await, scene.user().await);
    scene.process.store().hints();
    let pid: i32 = hanging.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    scene.sessions.spawn(async move {
        let commit = "SET synchronous_commit = on; BEGIN; CREATE TABLE public.mine (); NOTIFY others; COMMIT";
        // It ends when the server ends its session.
        drop(hanging.batch_execute(commit).await);
    });
    let hangs = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND wait_event = 'SyncRep'");
    until(|| scene.database.sql(&hangs) == "1").await;
    user.batch_execute("SET lock_timeout = 300").await.unwrap();
    let notified = user.batch_execute("NOTIFY others").await;
    assert!(notified.is_err(), "whoever notifies waits");

    // A process that listens hears of others all the same, though nobody hears of it.
    let mut hints = scene.process.store().hints();
    for round in 0..3 {
        scene.process.enqueue(0, jobs(100 + round..=100 + round)).await;
        until(|| scene.database.sql(TELLING) == "0").await;
        hints.borrow_and_update();
        user.batch_execute("SELECT taskwright.enqueue('mail')").await.unwrap();
        let heard = tokio::time::timeout(Duration::from_secs(2), hints.changed());
        heard.await.expect("what others commit is seen").unwrap();
    }
    // One that only enqueues has its only connection for that.
    let run = tempfile::tempdir().unwrap();
    let settings = Settings::parse(&format!("{}?pool=1", scene.database.url())).unwrap();
    let only = PostgresStore::open(settings, run.path(), Timestamp::from_micros(0)).await.unwrap();
    let enqueued = async {
        for n in 200..280 {
            only.enqueue(at(0), vec![job(n)]).await.unwrap();
        }
        only.close().await.unwrap();
    };
    // With the time limit of every other statement, each would take 5 s.
    tokio::time::timeout(Duration::from_secs(10), enqueued).await.expect("nobody holds that up");

    let worker = scene.process.worker(1).await;
    let work = async {
        scene.process.enqueue(0, jobs(1..=10)).await;
        scene.process.enqueue(0, jobs(11..=11)).await;
        user.batch_execute("SELECT taskwright.enqueue('mail')").await.unwrap();
        let claimed = worker.claim_all(0).await;
        worker.finish(1, claimed.iter().map(|job| ending(1, job, completed())).collect()).await;
        claimed.len()
    };
    assert_eq!(tokio::time::timeout(SOON, work).await.unwrap(), 12 + 3 * 2 + 80);
    assert_eq!(scene.database.sql(&hangs), "1", "it hangs still");
    scene.database.sql(&format!("SELECT pg_terminate_backend({pid})"));
}

/// Callers who wait for something in the database, and have all the connections of the pool for that.
#[tokio::test]
async fn a_worker_says_that_it_lives_while_everybody_else_waits() {
    let mut scene = Scene::new(Cluster::shared().database()).await;
    let user = scene.user().await;
    let worker = scene.process.worker(1).await;
    user.batch_execute("BEGIN; SELECT taskwright.enqueue('mail', unique_key => 'k')").await.unwrap();
    let waiting = scene.process.enqueue(0, [NewJob { unique: unique("k", UniqueScope::Waiting), ..job(1) }]);
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let renewed = async {
        until(|| scene.database.sql(waits) == "1").await;
        worker.renew(1).await;
        worker.signals().await;
        assert_eq!(scene.database.sql(waits), "1", "it waits still");
        user.batch_execute("COMMIT").await.unwrap();
    };
    let (stored, ()) = tokio::join!(waiting, renewed);
    assert!(stored[0].existing);
}

/// Behind PgBouncer, where nothing is set for a session, a look that waits for a lock gives up as everything else does.
#[tokio::test]
async fn a_glance_behind_pgbouncer_waits_for_no_lock_for_long() {
    let mut scene = Scene::new(Cluster::shared().database()).await;
    let user = scene.user().await;
    let (settings, run) = (format!("{}?pgbouncer=true", scene.database.url()), tempfile::tempdir().unwrap());
    let settings = Settings::parse(&settings).unwrap();
    let pooled = PostgresStore::open(settings, run.path(), Timestamp::from_micros(0)).await.unwrap();
    user.batch_execute("BEGIN; LOCK TABLE taskwright.leader IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let _hints = pooled.hints();
    let glance = "SELECT pid || ' ' || query_start FROM pg_stat_activity WHERE datname = current_database()
                  AND wait_event_type = 'Lock' AND query LIKE '%pg_current_snapshot()%' AND pid <> pg_backend_pid()";
    let mut seen = std::collections::BTreeSet::new();
    // One gives up, and the next one waits.
    until(|| {
        seen.extend(scene.database.sql(glance).lines().map(str::to_owned));
        seen.len() > 1
    })
    .await;
}

/// 3 and 4.
#[tokio::test]
async fn no_trigger_meets_an_enqueue_or_a_claim_no_function_notifies_and_no_index_covers_what_jobs_carry() {
    let scene = Scene::new(Cluster::shared().database()).await;
    let told = scene.database.sql(
        "SELECT 'trigger', tgname || ' ' || relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
         WHERE relnamespace = 'taskwright'::regnamespace
         UNION ALL SELECT 'function', proname FROM pg_proc
         WHERE pronamespace = 'taskwright'::regnamespace AND prosrc ~* 'notify'
         UNION ALL SELECT 'index', indexname FROM pg_indexes
         WHERE schemaname = 'taskwright' AND (indexdef ~* 'using gin' OR indexdef ~ '\\m(args|result|error|text)\\M')",
    );
    let mut told: Vec<&str> = told.lines().collect();
    told.sort_unstable();
    // Once a statement, where attempts end that leave more than their times: they look whether any schedule waits for that, and
    // leave what roll-ups count.
    let triggers = ["leave_slips attempt", "tell_attempts attempt", "tell_over over"];
    assert_eq!(told, triggers.map(|trigger| format!("trigger|{trigger}")));
    let indexes = "SELECT count(*) FROM pg_index WHERE indrelid = 'taskwright.job'::regclass";
    assert_eq!(scene.database.sql(indexes), "4", "of which a job is in three");
}

/// 6.
#[tokio::test]
async fn jobs_that_come_and_go_change_no_row_that_others_need() {
    let scene = Scene::new(Cluster::shared().database()).await;
    let worker = scene.process.worker(1).await;
    churn(&scene.process, &worker, 0..10_000).await;
    // A session tells what it has done when it ends.
    scene.process.store().close().await.unwrap();
    drop(worker);
    let updates = || {
        scene.database.sql(
            "SELECT relname, n_tup_upd FROM pg_stat_user_tables
             WHERE schemaname = 'taskwright' AND n_tup_upd > 0 ORDER BY 1",
        )
    };
    let appended =
        "SELECT n_tup_ins FROM pg_stat_user_tables WHERE schemaname = 'taskwright' AND relname = 'job'";
    until(|| scene.database.sql(appended) == "10000").await;
    for line in updates().lines() {
        let (table, count) = line.split_once('|').unwrap();
        assert!(table == "block" && count.parse::<u64>().unwrap() <= 20, "{line} of 10,000 jobs");
    }
}

/// 8.
#[tokio::test]
async fn a_claim_that_is_under_way_locks_its_lane_and_no_job() {
    let mut scene = Scene::new(Cluster::shared().database()).await;
    let user = scene.user().await;
    let _worker = scene.process.worker(1).await;
    scene.process.enqueue(0, jobs(1..=5_000)).await;
    let connections = Connections::open(Settings::parse(&scene.database.url()).unwrap()).await.unwrap();
    let mut connection = connections.get().await.unwrap();
    let tx = connection.begin().await.unwrap();
    let claim = format!(
        "SELECT pg_backend_pid(), claim('{}', 1, 0, '{{mail}}', NULL, NULL, NULL, 1, 1, 1)",
        worker_id(1)
    );
    let claimed = tx.query(&claim, &[]).await.unwrap();
    let pid: i32 = claimed[0].get(0);
    let locks = format!("SELECT count(*) FROM pg_locks WHERE pid = {pid} AND locktype = 'advisory'");
    assert_eq!(scene.database.sql(&locks), "1", "that of its worker, shared");
    user.batch_execute("BEGIN; SELECT FROM taskwright.job FOR UPDATE NOWAIT; ROLLBACK").await.unwrap();
    let lane = user.batch_execute("SELECT FROM taskwright.lane FOR UPDATE NOWAIT").await;
    assert!(lane.is_err(), "the lane is locked");
    tx.commit().await.unwrap();
}

/// 10.
#[tokio::test]
async fn what_a_dashboard_shows_is_counted_up_to_a_bound() {
    let scene = Scene::new(Cluster::shared().database()).await;
    scene.process.enqueue(0, jobs(1..=1)).await;
    scene.database.sql(
        "INSERT INTO taskwright.job (id, lane, created_at, run_at, max_attempts, first_state, at_most_once, args)
         SELECT gen_random_uuid(), (SELECT lane FROM taskwright.lane), 0, 0, 5, 3, false, 'null'
         FROM generate_series(1, 120000)",
    );
    let queues = scene.process.store().queues(at(0), None).await.unwrap();
    assert_eq!(queues[0].available, QueueView::COUNT_MAX);
}

/// Looks until it is so.
async fn until(mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, waiting).await.expect("waited in vain");
}
