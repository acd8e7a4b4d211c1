//! The end of a worker on another machine is seen within 2 s by its session, and a live worker is never taken for gone
//! because it has lost its session.
//!
//! Each store here is a machine of its own: they share no run directory, so that neither sees the other's files.

use std::path::Path;
use std::time::{Duration, Instant};

use taskwright_core::sight::Sight;
use taskwright_core::{Timestamp, WorkerId};
use taskwright_store::postgres::{self, Connections, PostgresStore, Settings};
use taskwright_store::{LostWorker, NewWorker, Store, WorkerState};

use crate::cluster::{Cluster, Database, Flavour};

/// Longer than any test here: nobody is found by the lease unless the test says so.
const LEASE: Duration = Duration::from_secs(60);

/// How often a duty looks, if nothing makes it look sooner.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// For as long a worker has to survive that nobody sees its session: longer than the grace, and every retry of it.
const WATCHED: Duration = Duration::from_secs(3);

/// The session that holds a lock for a worker, and nothing else that does.
const HOLDERS: &str =
    "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock' AND granted
                       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// What the rows say, if that is of this run of the server.
const TIED: &str = "SELECT count(*) FROM taskwright.tether
                    WHERE server = (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint";

/// One machine.
struct Machine {
    store: PostgresStore,
    _run: tempfile::TempDir,
    started: Instant,
}

#[allow(clippy::disallowed_methods, reason = "a test measures what a person would")]
fn now() -> Instant {
    Instant::now()
}

#[allow(clippy::disallowed_methods, reason = "real servers and sessions take real time")]
async fn pause(duration: Duration) {
    tokio::time::sleep(duration).await;
}

fn worker(n: u8) -> WorkerId {
    WorkerId::from_parts(1_700_000_000_000, [n; 10])
}

impl Machine {
    async fn start(url: &str) -> Self {
        let run = tempfile::tempdir().unwrap();
        Self { store: open(url, run.path()).await, _run: run, started: now() }
    }

    fn monotonic_us(&self) -> u64 {
        1_000_000_000 + u64::try_from(self.started.elapsed().as_micros()).unwrap()
    }

    async fn register(&self, n: u8, lease: Duration) {
        let new = NewWorker {
            id: worker(n),
            host: "elsewhere".to_owned(),
            pid: 7,
            concurrency: 1,
            queues: Vec::new(),
            lease,
        };
        self.store.register(Timestamp::from_micros(1), self.monotonic_us(), new).await.unwrap();
    }

    /// Looks as the duty does until somebody is lost, or the time is over.
    async fn watch(&self, limit: Duration) -> Option<(LostWorker, Duration)> {
        let (began, mut sight) = (now(), Sight::endless());
        while began.elapsed() < limit {
            let looked =
                self.store.reclaim(Timestamp::from_micros(2), self.monotonic_us(), sight.clone()).await;
            // While the server restarts, nobody can look.
            let soon = match looked {
                Ok(mut reclaimed) => {
                    sight = reclaimed.sight;
                    match reclaimed.workers.pop() {
                        Some(lost) => return Some((lost, began.elapsed())),
                        None => reclaimed.look_again_in,
                    }
                }
                Err(_) => None,
            };
            pause(soon.unwrap_or(LOOK_EVERY).min(LOOK_EVERY)).await;
        }
        None
    }

    async fn is_alive(&self, n: u8) -> bool {
        let workers = self.store.workers().await.unwrap();
        workers.iter().any(|view| view.id == worker(n) && view.state == WorkerState::Alive)
    }
}

async fn open(url: &str, run: &Path) -> PostgresStore {
    PostgresStore::open(Settings::parse(url).unwrap(), run, Timestamp::from_micros(0)).await.unwrap()
}

/// Waits until it is so.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(20), "waited in vain until {what}");
        pause(Duration::from_millis(10)).await;
    }
}

async fn until_tied(database: &Database<'_>) {
    until("the worker is tied", || database.sql(TIED) == "1" && database.sql(HOLDERS).lines().count() == 1)
        .await;
}

fn private(purpose: &'static str) -> Cluster {
    Cluster::start(Flavour { idle_seconds_max: 1, purpose, ..Flavour::FAST })
}

#[tokio::test]
async fn a_worker_whose_process_is_gone_is_lost_after_a_second_and_before_two() {
    let database = Cluster::shared().database();
    let (here, doomed) = (Machine::start(&database.url()).await, Machine::start(&database.url()).await);
    doomed.register(1, LEASE).await;
    until_tied(&database).await;
    assert_eq!(here.watch(WATCHED).await, None);
    drop(doomed);
    let (lost, after) = here.watch(Duration::from_secs(10)).await.expect("it is found");
    assert_eq!((lost.id, lost.how.as_str()), (worker(1), "its session is gone"));
    assert!(after >= Duration::from_secs(1) && after < Duration::from_secs(2), "{after:?}");
    assert_eq!(database.sql(TIED), "0");
}

#[tokio::test]
async fn a_worker_that_stops_in_good_order_leaves_nothing_to_be_missed() {
    let database = Cluster::shared().database();
    let (here, leaving) = (Machine::start(&database.url()).await, Machine::start(&database.url()).await);
    leaving.register(1, LEASE).await;
    leaving.register(2, LEASE).await;
    until("both are tied", || database.sql(TIED) == "2").await;
    leaving.store.unregister(Timestamp::from_micros(3), worker(1)).await.unwrap();
    until("one is left", || database.sql(TIED) == "1" && database.sql(HOLDERS).lines().count() == 1).await;
    assert_eq!(here.watch(WATCHED).await, None);
    assert!(here.is_alive(2).await);
}

#[tokio::test]
async fn a_session_that_an_operator_ends_is_made_again_before_anybody_is_lost() {
    let database = Cluster::shared().database();
    let (here, living) = (Machine::start(&database.url()).await, Machine::start(&database.url()).await);
    living.register(1, LEASE).await;
    for _ in 0..5 {
        until_tied(&database).await;
        let before = database.sql(HOLDERS);
        database.sql(&format!("SELECT pg_terminate_backend({before}, 5000)"));
        assert_eq!(here.watch(Duration::from_millis(1_600)).await, None);
        until_tied(&database).await;
        assert_ne!(database.sql(HOLDERS), before);
    }
    assert!(here.is_alive(1).await);
}

#[tokio::test]
async fn an_earlier_session_that_the_server_still_believes_in_is_ended() {
    let database = Cluster::shared().database();
    let living = Machine::start(&database.url()).await;
    living.register(1, LEASE).await;
    until_tied(&database).await;
    let first = database.sql(HOLDERS);
    let (class, number) = database
        .sql(&HOLDERS.replace("SELECT pid", "SELECT classid, objid"))
        .split_once('|')
        .map(|(class, number)| (class.parse::<u32>().unwrap().cast_signed(), number.to_owned()))
        .unwrap();
    let stale = Connections::open(Settings::parse(&database.url()).unwrap()).await.unwrap();
    let mut stale = stale.get().await.unwrap();
    let tx = stale.begin().await.unwrap();
    tx.run(&format!("SELECT pg_advisory_lock_shared({class}, {number})")).await.unwrap();
    tx.commit().await.unwrap();
    let both = database.sql(HOLDERS);
    assert_eq!(both.lines().count(), 2);
    database.sql(&format!("SELECT pg_terminate_backend({first}, 5000)"));
    until("a third one is all there is", || {
        let now = database.sql(HOLDERS);
        now.lines().count() == 1 && !both.lines().any(|before| before == now)
    })
    .await;
    assert!(stale.begin().await.is_err(), "it was ended");
}

#[tokio::test]
async fn a_restart_of_the_server_loses_nobody() {
    let cluster = private("restarts under workers");
    let database = cluster.database();
    let (here, living) = (Machine::start(&database.url()).await, Machine::start(&database.url()).await);
    living.register(1, LEASE).await;
    for mode in ["immediate", "fast"] {
        until_tied(&database).await;
        cluster.stop(mode);
        cluster.start_again();
        assert_eq!(here.watch(WATCHED).await, None, "{mode}");
        until_tied(&database).await;
    }
    assert!(here.is_alive(1).await);
    drop(living);
    assert!(here.watch(Duration::from_secs(5)).await.is_some(), "and its end is seen as before");
}

#[tokio::test]
async fn a_crash_that_leaves_the_servers_start_time_loses_nobody() {
    let cluster = private("crashes under workers");
    let database = cluster.database();
    let (here, living) = (Machine::start(&database.url()).await, Machine::start(&database.url()).await);
    living.register(1, LEASE).await;
    until_tied(&database).await;
    let started = database.sql("SELECT pg_postmaster_start_time()");
    let session = database.sql(HOLDERS).parse().unwrap();
    let session = rustix::process::Pid::from_raw(session).unwrap();
    rustix::process::kill_process(session, rustix::process::Signal::KILL).unwrap();
    assert_eq!(here.watch(WATCHED).await, None);
    until("the server answers", || cluster.answers()).await;
    assert_eq!(database.sql("SELECT pg_postmaster_start_time()"), started);
    until_tied(&database).await;
    assert!(here.is_alive(1).await);
}

/// A migrated database and the URL of a role that may only do what a worker needs.
async fn of_a_plain_role(database: &Database<'_>) -> (String, String) {
    let owner = Connections::open(Settings::parse(&database.url()).unwrap()).await.unwrap();
    postgres::migrate(&owner, Timestamp::from_micros(0)).await.unwrap();
    let role = database.role("worker", "");
    postgres::grant(&owner, &role).await.unwrap();
    owner.close();
    let url = database.url_of(&role);
    (role, url)
}

#[tokio::test]
async fn a_worker_that_cannot_have_its_session_again_lives_by_its_lease() {
    let database = Cluster::shared().database();
    let (role, url) = of_a_plain_role(&database).await;
    let (here, living) = (Machine::start(&database.url()).await, Machine::start(&url).await);
    living.register(1, LEASE).await;
    until_tied(&database).await;
    // Its pool keeps the connection that it has; there is no room for another.
    database.sql(&format!("ALTER ROLE {role} CONNECTION LIMIT 1"));
    database.sql(&format!("SELECT pg_terminate_backend(({HOLDERS}), 5000)"));
    assert_eq!(here.watch(WATCHED).await, None);
    assert_eq!(database.sql(TIED), "0", "the row was taken back");
    database.sql(&format!("ALTER ROLE {role} CONNECTION LIMIT -1"));
    until_tied(&database).await;
}

#[tokio::test]
async fn a_plain_role_sees_the_end_of_others() {
    let database = Cluster::shared().database();
    let (_, url) = of_a_plain_role(&database).await;
    let (here, doomed) = (Machine::start(&url).await, Machine::start(&database.url()).await);
    doomed.register(1, LEASE).await;
    until_tied(&database).await;
    drop(doomed);
    let (lost, _) = here.watch(Duration::from_secs(5)).await.expect("it is found");
    assert_eq!(lost.how, "its session is gone");
}

#[tokio::test]
async fn behind_pgbouncer_the_lease_decides() {
    let database = Cluster::shared().database();
    let url = format!("{}?pgbouncer=true", database.url());
    let (here, doomed) = (Machine::start(&url).await, Machine::start(&url).await);
    doomed.register(1, Duration::from_secs(4)).await;
    drop(doomed);
    assert_eq!(here.watch(WATCHED).await, None);
    assert_eq!((database.sql(TIED).as_str(), database.sql(HOLDERS).as_str()), ("0", ""));
    let (lost, _) = here.watch(Duration::from_secs(5)).await.expect("it is found");
    assert_eq!(lost.how, "its lease ran out");
}

#[tokio::test]
async fn schemas_of_one_database_do_not_take_each_others_workers_for_theirs() {
    let database = Cluster::shared().database();
    let other = format!("{}?schema=another", database.url());
    let (here, doomed) = (Machine::start(&database.url()).await, Machine::start(&database.url()).await);
    let namesake = Machine::start(&other).await;
    namesake.register(1, LEASE).await;
    doomed.register(1, LEASE).await;
    until("both are tied", || database.sql(HOLDERS).lines().count() == 2).await;
    until("the row is there", || database.sql(TIED) == "1").await;
    drop(doomed);
    assert!(here.watch(Duration::from_secs(5)).await.is_some());
    assert!(namesake.is_alive(1).await);
}
