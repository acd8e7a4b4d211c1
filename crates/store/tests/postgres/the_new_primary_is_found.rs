//! After a failover the primary is another host: it is found, whatever the old one does, and nothing is spent on the way.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use taskwright_core::{Kind, Timestamp, WorkerId};
use taskwright_store::postgres::{self, Connection, Connections, PostgresStore, Settings};
use taskwright_store::{Claim, NewWorker, Store};

use crate::cluster::{Cluster, Database, Flavour};

const WAIT_MAX: Duration = Duration::from_secs(20);

async fn open(url: &str) -> Connections {
    Connections::open(Settings::parse(url).unwrap()).await.unwrap()
}

async fn run(connection: &mut Connection, sql: &str) -> Result<(), taskwright_store::Error> {
    let tx = connection.begin().await?;
    tx.run(sql).await?;
    tx.commit().await
}

/// Waits until it is so.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(WAIT_MAX, async {
        while !is_so().await {
            pause(Duration::from_millis(20)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

#[allow(clippy::disallowed_methods, reason = "a real server takes real time")]
async fn pause(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// The URL with another host before the real one.
fn behind(database: &Database<'_>, host: &str) -> String {
    database.url().replacen('@', &format!("@{host},"), 1)
}

#[tokio::test]
async fn a_host_that_says_nothing_hides_no_other() {
    let database = Cluster::shared().database();
    // As with a server that is stopped: the kernel accepts, and nobody answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = behind(&database, &silent.local_addr().unwrap().to_string());
    // One host alone may take 5 s.
    let connections = tokio::time::timeout(Duration::from_secs(4), open(&url)).await.expect("within 4 s");
    run(&mut connections.get().await.unwrap(), "CREATE TABLE public.here ()").await.unwrap();
}

#[tokio::test]
async fn a_host_where_nobody_listens_hides_no_other() {
    let database = Cluster::shared().database();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    open(&behind(&database, &address)).await;
}

#[tokio::test]
async fn where_all_hosts_are_standbys_that_is_said() {
    let database = Cluster::shared().database();
    database.sql(&format!("ALTER DATABASE {} SET default_transaction_read_only = on", database.name()));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    for url in [database.url(), behind(&database, &address)] {
        let error = Connections::open(Settings::parse(&url).unwrap()).await.unwrap_err();
        assert!(error.is_read_only() && error.why().contains("takes no writes"), "{error}: {}", error.why());
    }
}

#[tokio::test]
async fn connections_to_a_server_that_became_a_standby_are_all_left_at_the_first_refusal() {
    let database = Cluster::shared().database();
    let connections = open(&format!("{}?pool=2", database.url())).await;
    let mut one = connections.get().await.unwrap();
    let mut other = connections.get().await.unwrap();
    for connection in [&mut one, &mut other] {
        run(connection, "SET SESSION default_transaction_read_only = on").await.unwrap();
    }
    drop(other);
    let error = run(&mut one, "CREATE TABLE public.refused ()").await.unwrap_err();
    assert!(error.is_read_only() && error.is_transient(), "{error}");
    drop(one);
    let mut one = connections.get().await.unwrap();
    let mut other = connections.get().await.unwrap();
    run(&mut one, "CREATE TABLE public.first ()").await.unwrap();
    run(&mut other, "CREATE TABLE public.second ()").await.unwrap();
}

#[tokio::test]
async fn a_server_that_takes_no_writes_costs_no_attempt() {
    let cluster =
        Cluster::start(Flavour { idle_seconds_max: 1, purpose: "becomes a standby", ..Flavour::FAST });
    let database = cluster.database();
    let run_dir = tempfile::tempdir().unwrap();
    let settings = Settings::parse(&database.url()).unwrap();
    let store = PostgresStore::open(settings, run_dir.path(), Timestamp::from_micros(0)).await.unwrap();
    let worker = WorkerId::from_parts(1_700_000_000_000, [1; 10]);
    let new = NewWorker {
        id: worker,
        host: "here".to_owned(),
        pid: 7,
        concurrency: 1,
        queues: Vec::new(),
        lease: Duration::from_secs(60),
    };
    store.register(Timestamp::from_micros(1), 1, new).await.unwrap();
    let claim = || Claim {
        now: Timestamp::from_micros(2),
        worker,
        limit: 1,
        kinds: vec![Kind::new("work").unwrap()],
        queues: None,
        namespace: None,
        priority_max: None,
    };
    let refuses = |refuses: &str| {
        database.sql(&format!("ALTER SYSTEM SET default_transaction_read_only = {refuses}"));
        database.sql("SELECT pg_reload_conf()");
    };
    // Nothing to claim as yet, so that a claim that slips through changes nothing.
    refuses("on");
    until("claims are refused", async || store.claim(claim()).await.is_err()).await;
    database.sql("SET default_transaction_read_only = off; SELECT taskwright.enqueue('work')");
    for _ in 0..10 {
        let error = store.claim(claim()).await.unwrap_err();
        assert!(error.is_read_only() && error.is_transient(), "{error}");
    }
    database.sql("SET default_transaction_read_only = off; ALTER SYSTEM RESET default_transaction_read_only");
    database.sql("SELECT pg_reload_conf()");
    let mut jobs = Vec::new();
    until("the job is claimed", async || match store.claim(claim()).await {
        Ok(claimed) => {
            jobs.extend(claimed.jobs);
            !jobs.is_empty()
        }
        Err(_) => false,
    })
    .await;
    assert_eq!(jobs[0].attempt, 1);
}

/// A server that is stopped as by SIGSTOP: its kernel accepts connections, and nobody answers.
struct Stopped(String);

impl Stopped {
    fn all_of(cluster: &Cluster) -> Self {
        let pid_file = std::fs::read_to_string(cluster.directory().join("run/data/postmaster.pid")).unwrap();
        let stopped = Self(pid_file.lines().next().unwrap().to_owned());
        stopped.signal("STOP");
        stopped
    }

    /// The sessions of a database: each is a process of its own, and goes on without the server's first.
    fn sessions_of(database: &Database<'_>) -> Vec<Self> {
        let sessions = "SELECT pid FROM pg_stat_activity
                        WHERE datname = current_database() AND pid <> pg_backend_pid()";
        let stop = |pid: &str| {
            let stopped = Self(pid.to_owned());
            stopped.signal("STOP");
            stopped
        };
        database.sql(sessions).lines().map(stop).collect()
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").arg(format!("-{name}")).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.signal("CONT");
    }
}

#[tokio::test]
async fn a_call_that_is_under_way_when_the_primary_hangs_is_given_up_once_there_is_another() {
    let old = Cluster::start(Flavour { idle_seconds_max: 1, purpose: "hangs", ..Flavour::FAST });
    let new = Cluster::start(Flavour { idle_seconds_max: 1, purpose: "takes over", ..Flavour::FAST });
    let database = old.database();
    new.sql("postgres", &format!("CREATE DATABASE {}", database.name()));
    let host = |cluster: &Cluster| cluster.socket().parent().unwrap().to_str().unwrap().replace('/', "%2F");
    let url = format!("postgres://postgres@{},{}/{}", host(&old), host(&new), database.name());
    let connections = open(&url).await;
    let mut connection = connections.get().await.unwrap();
    let mut waiting = connections.get().await.unwrap();
    let began = tokio::time::Instant::now();
    let slow = run(&mut connection, "SELECT pg_sleep(25)");
    let stopped = async { Stopped::all_of(&old) };
    let (given_up, stopped) = tokio::join!(slow, stopped);
    let error = given_up.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    drop(connection);
    run(&mut connections.get().await.unwrap(), "CREATE TABLE public.moved ()").await.unwrap();
    assert_eq!(new.sql(database.name(), "SELECT count(*) FROM public.moved"), "0");
    // Others that were idle are left with it.
    drop(stopped);
    let _ = run(&mut waiting, "SELECT 1").await;
    new.sql("postgres", &format!("DROP DATABASE {} WITH (FORCE)", database.name()));
}

#[tokio::test]
async fn a_worker_shows_others_that_it_lives_on_the_new_primary_though_the_old_one_only_hangs() {
    let flavour = |purpose| Flavour { idle_seconds_max: 1, purpose, ..Flavour::FAST };
    let (old, new) =
        (Cluster::start(flavour("hangs with workers")), Cluster::start(flavour("has workers then")));
    let database = old.database();
    new.sql("postgres", &format!("CREATE DATABASE {}", database.name()));
    let host = |cluster: &Cluster| cluster.socket().parent().unwrap().to_str().unwrap().replace('/', "%2F");
    let (old_host, new_host) = (host(&old), host(&new));
    let url = |hosts: &str| format!("postgres://postgres@{hosts}/{}", database.name());
    let run_dir = tempfile::tempdir().unwrap();
    let start = async |hosts: &str| {
        let settings = Settings::parse(&url(hosts)).unwrap();
        PostgresStore::open(settings, run_dir.path(), Timestamp::from_micros(0)).await.unwrap()
    };
    drop(start(&new_host).await);
    let store = start(&format!("{old_host},{new_host}")).await;
    let worker = WorkerId::from_parts(1_700_000_000_000, [1; 10]);
    let new_worker = NewWorker {
        id: worker,
        host: "here".to_owned(),
        pid: 7,
        concurrency: 1,
        queues: Vec::new(),
        lease: Duration::from_secs(60),
    };
    store.register(Timestamp::from_micros(1), 1, new_worker).await.unwrap();
    let tied = "SELECT count(*) FROM taskwright.tether t JOIN pg_locks l ON l.objid::bigint = t.worker
                WHERE l.locktype = 'advisory' AND l.granted AND l.mode = 'ShareLock'
                  AND t.server = (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint";
    until("the worker is tied", async || database.sql(tied) == "1").await;

    let sessions = Stopped::sessions_of(&database);
    let stopped = Stopped::all_of(&old);
    let began = tokio::time::Instant::now();
    // The calls of a worker go on: one that is not answered finds the new primary.
    let _ = store.signals(worker).await;
    until("it is tied there", async || new.sql(database.name(), tied) == "1").await;
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    drop((sessions, stopped, store));
    new.sql("postgres", &format!("DROP DATABASE {} WITH (FORCE)", database.name()));
}

#[tokio::test]
async fn a_call_that_is_only_slow_is_waited_for() {
    let database = Cluster::shared().database();
    let connections = open(&database.url()).await;
    run(&mut connections.get().await.unwrap(), "SELECT pg_sleep(8)").await.unwrap();
}

/// A program of PostgreSQL's that follows the server as a standby does.
struct Follower(Child);

impl Follower {
    fn of(cluster: &Cluster, directory: &std::path::Path) -> Self {
        let mut program = Command::new(cluster.programs().join("pg_receivewal"));
        program.arg("-D").arg(directory).args(["-U", "postgres", "--no-sync"]);
        program.arg("-h").arg(cluster.socket().parent().unwrap());
        Self(program.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn whoever_follows_the_server_is_counted() {
    let cluster = Cluster::start(Flavour { idle_seconds_max: 1, purpose: "is followed", ..Flavour::FAST });
    let database = cluster.database();
    // Without any rights: what such a role may not see is not missing.
    let connections = open(&database.url_of(&database.role("watcher", ""))).await;
    let before = postgres::health(&connections).await.unwrap();
    assert_eq!((before.standbys, before.synchronous_standby_names.as_str()), (0, ""));
    let directory = tempfile::tempdir().unwrap();
    let _follower = Follower::of(&cluster, directory.path());
    until("it is counted", async || postgres::health(&connections).await.unwrap().standbys == 1).await;
    database.sql("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (a, b)'");
    database.sql("SET synchronous_commit = local; SELECT pg_reload_conf()");
    until("whom commits wait for is told", async || {
        postgres::health(&connections).await.unwrap().synchronous_standby_names == "ANY 1 (a, b)"
    })
    .await;
    database.sql("SET synchronous_commit = local; ALTER SYSTEM RESET synchronous_standby_names");
    database.sql("SELECT pg_reload_conf()");
    let is_reset =
        async || postgres::health(&connections).await.unwrap().synchronous_standby_names.is_empty();
    // Before the database is dropped, which would wait for them.
    until("nobody is waited for", is_reset).await;
}
