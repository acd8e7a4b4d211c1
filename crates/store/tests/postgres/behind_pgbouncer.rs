//! The store works through a real PgBouncer in transaction mode, which gives each transaction another session.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use taskwright_core::Timestamp;
use taskwright_store::SharedStore;
use taskwright_store::conformance::{self, Harness};
use taskwright_store::postgres::{Connections, PostgresStore, Settings};

use crate::cluster::{Cluster, Database, Flavour};

const PORT: u16 = 6432;

/// A PgBouncer of its own, ended with the value.
struct Bouncer {
    program: Child,
    directory: tempfile::TempDir,
    database: Database<'static>,
}

impl Bouncer {
    /// Starts one with fewer sessions than the stores have connections, so that they take turns with them.
    fn start() -> Self {
        Self::before(Cluster::shared(), "pool_mode = transaction")
    }

    /// Starts one before this server, with these settings besides.
    fn before(cluster: &'static Cluster, settings: &str) -> Self {
        let database = cluster.database();
        let directory = tempfile::tempdir().unwrap();
        let socket = cluster.socket();
        let here = directory.path().display();
        let config = format!(
            "[databases]\n* = host={} port=5432 user=postgres\n\
             [pgbouncer]\n{settings}\ndefault_pool_size = 2\nmax_client_conn = 100\n\
             unix_socket_dir = {here}\nunix_socket_mode = 0777\nlisten_addr =\nlisten_port = {PORT}\n\
             auth_type = any\nlogfile = {here}/log\n",
            socket.parent().unwrap().display(),
        );
        let path = directory.path().join("pgbouncer.ini");
        std::fs::write(&path, config).unwrap();
        let mut command = Command::new(Self::program());
        command.arg(&path).stdout(Stdio::null()).stderr(Stdio::null());
        // It refuses to run as root, and so does the server: as that one's user.
        let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(socket).unwrap());
        if rustix::process::geteuid().is_root() {
            chown(directory.path(), Some(owner), None).unwrap();
            chown(&path, Some(owner), None).unwrap();
            command.uid(owner);
        }
        let bouncer = Self { program: command.spawn().unwrap(), directory, database };
        bouncer.wait();
        bouncer
    }

    fn program() -> PathBuf {
        let found =
            ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"].map(PathBuf::from).into_iter().find(|p| p.exists());
        found.expect("this test needs PgBouncer (Debian: apt-get install pgbouncer)")
    }

    /// Waits until it accepts connections.
    #[allow(clippy::disallowed_methods, reason = "another program starts in real time")]
    fn wait(&self) {
        let socket = self.directory.path().join(format!(".s.PGSQL.{PORT}"));
        for _ in 0..500 {
            if std::os::unix::net::UnixStream::connect(&socket).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        panic!("PgBouncer does not answer: {log}");
    }

    fn url(&self) -> String {
        format!("{}?pgbouncer=true", self.plain_url())
    }

    /// The URL of somebody who does not know, or say, what stands between.
    fn plain_url(&self) -> String {
        let host = self.directory.path().to_str().unwrap().replace('/', "%2F");
        format!("postgres://postgres@{host}:{PORT}/{}", self.database.name())
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        // It has no child and nothing to save.
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

impl Harness for Bouncer {
    async fn open(&self) -> SharedStore {
        let settings = Settings::parse(&self.url()).unwrap();
        let store =
            PostgresStore::open(settings, self.directory.path(), Timestamp::from_micros(0)).await.unwrap();
        Arc::new(store)
    }
}

#[tokio::test]
async fn whoever_does_not_say_that_it_is_one_is_told_to() {
    for settings in [
        "pool_mode = transaction",
        "pool_mode = session",
        // The start parameters that we need are dropped without a word.
        "pool_mode = session\nignore_startup_parameters = options",
    ] {
        let bouncer = Bouncer::before(Cluster::shared(), settings);
        let refused = Connections::open(Settings::parse(&bouncer.plain_url()).unwrap()).await.unwrap_err();
        assert!(refused.is_unreachable() && refused.why().contains("settings"), "{settings}: {refused}");
        assert!(refused.fix().contains("pgbouncer=true"), "{settings}: {}", refused.fix());
        Connections::open(Settings::parse(&bouncer.url()).unwrap()).await.unwrap();
    }
}

/// As docs/guide/postgresql.md has it: by default PgBouncer waits for 15 s, the lease of a worker, before it connects again.
#[tokio::test]
async fn a_restart_of_the_server_is_over_for_a_pooled_store_within_its_lease() {
    let flavour = Flavour { idle_seconds_max: 1, purpose: "restarts behind a pooler", ..Flavour::FAST };
    // The value lives as long as its user, which is the process.
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start(flavour)));
    let bouncer = Bouncer::before(cluster, "pool_mode = transaction\nserver_login_retry = 1");
    let store = bouncer.open().await;
    cluster.stop("fast");
    let refused = tokio::time::timeout(Duration::from_secs(1), store.workers()).await;
    assert!(!matches!(refused, Ok(Ok(_))), "there is no server");
    cluster.start_again();
    let began = tokio::time::Instant::now();
    while store.workers().await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(8), "it should answer by now");
    }
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

macro_rules! scenarios {
    ($($file:ident::$name:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $name() {
                conformance::$file::$name(&Bouncer::start()).await;
            }
        )*
    };
}

// One of each kind of call; the rest of the suite says nothing more about what stands between.
scenarios! {
    cancel::a_running_job_is_asked_to_stop,
    change::what_is_over_can_be_redone,
    claim::two_processes_never_get_the_same_job,
    claim::a_claim_is_held_at_its_limit,
    enqueue::a_batch_repeated_after_a_lost_answer_stores_each_job_once,
    event::a_delivery_that_is_stale_delivers_nothing,
    event::an_event_that_is_emitted_again_is_stored_once,
    event::events_are_listed_page_by_page,
    fence::an_attempt_ends_once_also_within_a_batch,
    fence::progress_and_logs_are_fenced,
    finish::a_snooze_does_not_count_as_an_attempt,
    query::pages_follow_insertion_in_both_directions,
    queue::a_purge_cancels_what_waits_in_the_queue,
    reclaim::the_death_of_a_process_is_seen_at_once,
    schedule::a_firing_whose_key_is_held_stands_for_the_job_that_holds_it,
    schedule::a_name_is_registered_once_in_its_namespace,
    schedule::a_removed_schedule_is_gone_and_its_jobs_stay,
    schedule::firings_are_told_page_by_page_and_forgotten_in_time,
    schedule::what_is_due_comes_in_its_order_with_the_time_of_the_rest,
    unique::a_key_that_is_held_answers_with_its_holder,
}
