//! `#[tx]` on SQLite: what a task does in its transaction takes place together with the completion of its job, or not at all; and no
//! transaction stays open, however an attempt ends.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use taskwright::store::SharedStore;
use taskwright::store::memory::MemoryStore;
use taskwright::store::sqlite::rusqlite::Connection;
use taskwright::store::sqlite::{Options, SqliteStore};
use taskwright::transaction::SqliteTransaction;
use taskwright::{
    Actor, Backoff, Client, Context, Env, Job, JobId, Next, Registry, State, Summary, TaskError, Worker, task,
};

const AT_ONCE: Backoff = Backoff::Fixed { delay: Duration::from_millis(1) };

/// How the first attempt ends, after what it did in its transaction; later ones return `Ok`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum First {
    Returns,
    Fails,
    Panics,
    /// It is dropped when its time is over.
    Hangs,
    /// Returns `Ok`, but has ended itself what is to be committed.
    IsOver,
}

#[task("pay", backoff = AT_ONCE, cancel_grace = "1ms")]
async fn pay(
    first: First,
    #[tx] tx: &mut SqliteTransaction,
    #[state] client: &Client,
    ctx: &Context,
) -> Result<String, TaskError> {
    tx.execute("INSERT INTO effect VALUES (?1)", [format!("attempt {}", ctx.attempt())])?;
    ctx.log(format!("attempt {}", ctx.attempt()));
    client.enqueue_in(&*tx, Job::new("receipt").queue(&format!("attempt-{}", ctx.attempt())))?;
    match first {
        _ if ctx.attempt() > 1 => {}
        First::Returns => {}
        First::Fails => return Err(TaskError::retry("once more")),
        First::Panics => panic!("in the middle of a transaction"),
        First::Hangs => std::future::pending().await,
        First::IsOver => tx.execute_batch("ROLLBACK")?,
    }
    Ok("once".to_owned())
}

/// With time for what runs on a busy machine, and an end for what hangs.
fn timed(first: First) -> Job {
    Job::from(Pay { first }).timeout(Duration::from_secs(2))
}

struct Site {
    env: Env,
    store: SharedStore,
    client: Client,
    path: PathBuf,
    _directory: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let (directory, env) = (tempfile::tempdir().unwrap(), Env::system());
        let path = directory.path().join("shop.db");
        let store: SharedStore = Arc::new(SqliteStore::open(&path, Options { now: env.now() }).unwrap());
        let shop = Connection::open(&path).unwrap();
        shop.execute_batch("CREATE TABLE effect (what TEXT NOT NULL)").unwrap();
        let client = Client::new(store.clone(), env.clone());
        Self { env, store, client, path, _directory: directory }
    }

    fn strings(&self, sql: &str) -> Vec<String> {
        let shop = Connection::open(&self.path).unwrap();
        let mut rows = shop.prepare(sql).unwrap();
        rows.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }

    fn effects(&self) -> Vec<String> {
        self.strings("SELECT what FROM effect")
    }

    /// Whether anybody has the write lock.
    fn is_locked(&self) -> bool {
        let shop = Connection::open(&self.path).unwrap();
        shop.busy_timeout(Duration::from_secs(2)).unwrap();
        shop.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_err()
    }

    /// Runs what there is.
    async fn run(&self, registry: &Arc<Registry>) -> Summary {
        let worker = Worker::builder(self.store.clone(), Arc::clone(registry), self.env.clone());
        worker.concurrency(1).until_empty().run(std::future::pending()).await.unwrap()
    }

    async fn is_completed(&self, id: JobId) -> bool {
        self.client.job(id).await.unwrap().unwrap().view.state == State::Completed
    }

    async fn receipts(&self) -> Vec<String> {
        let kinds = vec![taskwright::store::Pattern::new("receipt")];
        let filter = taskwright::store::Filter { kinds, ..Default::default() };
        let page = taskwright::store::Page { after: None, limit: 10, oldest_first: true };
        let made = self.store.list(filter, page).await.unwrap().jobs;
        made.iter().map(|job| job.queue.as_str().to_owned()).collect()
    }
}

#[tokio::test]
async fn what_returns_ok_is_committed_with_the_completion() {
    let site = Site::new();
    let registry = Arc::new(Registry::new().state(site.client.clone()).register::<Pay>().unwrap());
    let job = site.client.enqueue(Pay { first: First::Returns }).await.unwrap();
    let summary = site.run(&registry).await;
    assert_eq!((summary.completed, summary.stale), (1, 0));
    assert_eq!(job.output().await.unwrap(), "once");
    assert_eq!((site.effects(), site.receipts().await), (vec!["attempt 1".into()], vec!["attempt-1".into()]));
}

#[tokio::test]
async fn what_ends_in_any_other_way_is_rolled_back_and_leaves_the_file_to_others() {
    for first in [First::Fails, First::Panics, First::Hangs, First::IsOver] {
        let site = Site::new();
        let registry = Arc::new(Registry::new().state(site.client.clone()).register::<Pay>().unwrap());
        let job = site.client.enqueue(timed(first)).await.unwrap();
        let summary = site.run(&registry).await;
        assert_eq!((summary.completed, summary.retried), (0, 1), "{first:?}");
        assert!(!site.is_locked(), "{first:?}");
        assert_eq!((site.effects(), site.receipts().await), (vec![], vec![]), "{first:?}");

        site.store.promote(site.env.now().plus(Duration::from_secs(1)), 10).await.unwrap();
        let summary = site.run(&registry).await;
        assert_eq!((summary.completed, summary.stale), (1, 0), "{first:?}");
        assert!(site.is_completed(job.id).await, "{first:?}");
        assert_eq!(site.effects(), ["attempt 2"], "{first:?}");
        assert_eq!(site.receipts().await, ["attempt-2"], "{first:?}");
    }
}

#[task("told")]
async fn told(#[tx] tx: &mut SqliteTransaction) -> Result<(), TaskError> {
    tx.execute("INSERT INTO effect VALUES ('told')", [])?;
    Ok(())
}

#[tokio::test]
async fn what_somebody_asked_to_cancel_or_another_has_by_then_is_rolled_back() {
    for is_lost in [true, false] {
        let site = Site::new();
        let another: SharedStore =
            Arc::new(SqliteStore::open(&site.path, Options { now: site.env.now() }).unwrap());
        let client = site.client.clone();
        // While the transaction is open nobody can do that, so it is done before.
        let interfere = move |ctx: Context, next: Next| {
            let (client, another) = (client.clone(), another.clone());
            async move {
                if is_lost && ctx.attempt() == 1 {
                    another.unregister(ctx.env().now(), ctx.worker_id()).await.unwrap();
                } else if !is_lost {
                    client.cancel(ctx.job_id(), Actor::system(), None).await.unwrap();
                }
                next.run(ctx).await
            }
        };
        let registry = Arc::new(Registry::new().wrap(interfere).register::<Told>().unwrap());
        let job = site.client.enqueue(Told).await.unwrap();
        site.run(&registry).await;
        let job = job.job().await.unwrap();
        let (state, attempts, effects) =
            if is_lost { (State::Completed, 2, vec!["told"]) } else { (State::Cancelled, 1, vec![]) };
        assert_eq!((job.view.state, job.attempts.len()), (state, attempts));
        assert_eq!(site.effects(), effects);
    }
}

#[tokio::test]
async fn what_was_logged_is_kept_however_the_transaction_ends() {
    for first in [First::Returns, First::Fails, First::Panics, First::Hangs, First::IsOver] {
        let site = Site::new();
        let log = |ctx: Context, next: Next| async move {
            ctx.log("before the transaction");
            next.run(ctx).await
        };
        let registry = Registry::new().state(site.client.clone()).wrap(log).register::<Pay>().unwrap();
        let job = site.client.enqueue(timed(first)).await.unwrap();
        site.run(&Arc::new(registry)).await;
        let logs = site.client.logs(job.id, 0, 10).await.unwrap();
        let lines: Vec<_> = logs.iter().map(|entry| String::from_utf8_lossy(&entry.bytes)).collect();
        assert_eq!(lines, ["before the transaction\n", "attempt 1\n"], "{first:?}");
    }
}

#[tokio::test]
async fn tasks_that_run_at_a_time_take_turns() {
    let site = Site::new();
    let registry = Arc::new(Registry::new().register::<Told>().unwrap());
    site.client.enqueue_many((0..20).map(|_| Told)).await.unwrap();
    let worker = Worker::builder(site.store.clone(), registry, site.env.clone()).concurrency(8);
    let summary = worker.until_empty().run(std::future::pending()).await.unwrap();
    assert_eq!((summary.completed, summary.retried, site.effects().len()), (20, 0, 20));
}

#[tokio::test]
async fn a_job_of_another_kind_of_store_has_none() {
    let env = Env::system();
    let store: SharedStore = Arc::new(MemoryStore::new());
    let job = Client::new(store.clone(), env.clone()).enqueue(Told).await.unwrap();
    let registry = Registry::new().register::<Told>().unwrap();
    let worker = Worker::builder(store, registry, env).until_empty();
    assert_eq!(worker.run(std::future::pending()).await.unwrap().retried, 1);
    let why = job.job().await.unwrap().view.error.unwrap();
    assert!(why.contains("kind memory"), "{why}");
}
