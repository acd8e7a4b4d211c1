//! A store in a database of its own, with a table of the program's beside it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use taskwright::store::postgres::{self, Connections, PostgresStore, Settings};
use taskwright::store::{JobDetail, SharedStore};
use taskwright::{Client, Context, Env, JobId, Registry, Summary, TaskError, Timestamp, Worker};
use tokio::sync::{mpsc, oneshot};

use crate::cluster::{Cluster, Database};

/// By when something must have happened that takes a moment.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) struct Site {
    pub(crate) env: Env,
    pub(crate) store: SharedStore,
    pub(crate) client: Client,
    pub(crate) database: Database<'static>,
    run: tempfile::TempDir,
}

impl Site {
    pub(crate) async fn new() -> Self {
        Self::with("").await
    }

    /// A site whose store's URL ends with this.
    pub(crate) async fn with(query: &str) -> Self {
        let (run, env) = (tempfile::tempdir().unwrap(), Env::system());
        let database = Cluster::shared().database_like(&migrated());
        let store = open(&format!("{}{query}", database.url()), run.path(), &env).await;
        let client = Client::new(store.clone(), env.clone());
        Self { env, store, client, database, run }
    }

    /// The same store, as another process has it.
    pub(crate) async fn another(&self) -> SharedStore {
        open(&self.url(), self.run_dir(), &self.env).await
    }

    pub(crate) fn url(&self) -> String {
        self.database.url()
    }

    pub(crate) fn run_dir(&self) -> &Path {
        self.run.path()
    }

    /// How many effects have been committed.
    pub(crate) fn effects(&self) -> usize {
        self.database.sql("SELECT count(*) FROM effect").parse().unwrap()
    }

    /// Waits until a session of this database waits for a lock of another one.
    pub(crate) async fn until_one_waits_for_a_lock(&self) {
        let asked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
        let waits = async {
            while self.database.sql(asked) == "0" {
                self.env.sleep(Duration::from_millis(10)).await;
            }
        };
        self.env.timeout(SOON, waits).await.expect("nobody waits for a lock");
    }

    /// Starts a worker that runs one job at a time.
    pub(crate) fn worker(&self, registry: Registry) -> Running {
        self.worker_of(1, registry)
    }

    /// Starts a worker that runs so many jobs at a time. It hears soon when it was declared lost.
    pub(crate) fn worker_of(&self, concurrency: usize, registry: Registry) -> Running {
        let worker = Worker::builder(self.store.clone(), registry, self.env.clone());
        let worker = worker.concurrency(concurrency).lease(Duration::from_secs(5)).build();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            let _ = stopped.await;
        };
        Running { stop, summary: self.env.spawn("worker", async { worker.run(shutdown).await.unwrap() }) }
    }

    /// The job, when it is over.
    pub(crate) async fn over(&self, id: JobId) -> JobDetail {
        let job = self.client.wait(id, Some(SOON)).await.unwrap();
        assert!(job.view.state.is_terminal(), "{:?}", job.view);
        job
    }
}

pub(crate) struct Running {
    stop: oneshot::Sender<()>,
    summary: taskwright::env::Spawned<Summary>,
}

impl Running {
    /// Lets it end, and says what became of its jobs.
    pub(crate) async fn stop(self) -> Summary {
        drop(self.stop);
        self.summary.await.unwrap()
    }
}

/// A registry of one handler that hands out its context and ends when it is told, or asked to.
pub(crate) fn held_open(kind: &str) -> (Registry, mpsc::UnboundedReceiver<(Context, oneshot::Sender<()>)>) {
    let (contexts, taken) = mpsc::unbounded_channel();
    let registry = Registry::new().handler(kind, move |ctx: Context| {
        let (end, ended) = oneshot::channel::<()>();
        contexts.send((ctx, end)).unwrap();
        async move {
            let _ = ended.await;
            Ok::<_, TaskError>("the ordinary end")
        }
    });
    (registry.unwrap(), taken)
}

pub(crate) async fn open(url: &str, run_dir: &Path, env: &Env) -> SharedStore {
    let settings = Settings::parse(url).unwrap();
    Arc::new(PostgresStore::open(settings, run_dir, env.now()).await.unwrap())
}

/// What each database is a copy of.
fn migrated() -> String {
    let mut hasher = DefaultHasher::new();
    let test = std::env::current_exe().unwrap();
    (test.metadata().unwrap().modified().unwrap(), test).hash(&mut hasher);
    let name = format!("transactions_{:016x}", hasher.finish());
    Cluster::shared().template(&name, |url| {
        let settings = Settings::parse(url).unwrap();
        // A thread, because a runtime cannot be entered from within another.
        let prepare = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let connections = Connections::open(settings).await.unwrap();
                postgres::migrate(&connections, Timestamp::from_micros(0)).await.unwrap();
                let mut connection = connections.get().await.unwrap();
                let tx = connection.begin().await.unwrap();
                tx.run("CREATE TABLE public.effect (what text NOT NULL)").await.unwrap();
                tx.commit().await.unwrap();
            });
        };
        std::thread::spawn(prepare).join().unwrap();
    });
    name
}
