//! `complete_in` on SQLite: the handler's effects in the same file and the completion of the job take place together.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use taskwright::store::sqlite::rusqlite::{Connection, TransactionBehavior};
use taskwright::store::sqlite::{Options, SqliteStore};
use taskwright::store::{Filter, Page, Pattern, SharedStore};
use taskwright::{Backoff, Client, Context, Env, Error, Job, Registry, State, Summary, TaskError, Worker};

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

    fn effects(&self) -> i64 {
        let shop = Connection::open(&self.path).unwrap();
        shop.query_row("SELECT count(*) FROM effect", [], |row| row.get(0)).unwrap()
    }

    /// Runs what there is.
    async fn run(&self, registry: Registry) -> Summary {
        let worker = Worker::builder(self.store.clone(), registry, self.env.clone());
        worker.concurrency(1).until_empty().run(std::future::pending()).await.unwrap()
    }
}

/// An effect and the completion in one transaction.
fn pay(path: &Path, ctx: &Context, commits: bool) -> Result<(), Error> {
    let mut shop = Connection::open(path).unwrap();
    shop.busy_timeout(Duration::from_secs(5)).unwrap();
    let tx = shop.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    tx.execute("INSERT INTO effect VALUES ('paid')", []).unwrap();
    ctx.complete_in(&tx, &"in the transaction")?;
    if commits {
        tx.commit().unwrap();
    }
    Ok(())
}

#[tokio::test]
async fn a_commit_does_both_and_a_rollback_neither() {
    let site = Site::new();
    let path = site.path.clone();
    let registry = Registry::new().handler("pay", move |ctx: Context| {
        let path = path.clone();
        async move {
            ctx.log("before the transaction");
            ctx.prepare_completion().await?;
            let commits = ctx.attempt() == 2;
            // PH-X5: stored by the transaction that commits, and not by the one that is rolled back.
            ctx.then(Job::new("receipt").queue(if commits { "second" } else { "first" }))?;
            pay(&path, &ctx, commits)?;
            if commits { Ok("ignored") } else { Err(TaskError::retry("rolled back")) }
        }
    });
    let at_once = Backoff::Fixed { delay: Duration::from_millis(1) };
    let id = site.client.enqueue(Job::new("pay").backoff(at_once)).await.unwrap().id;
    let registry = Arc::new(registry.unwrap());
    let first = Worker::builder(site.store.clone(), registry.clone(), site.env.clone()).until_empty();
    assert_eq!(first.run(std::future::pending()).await.unwrap().retried, 1);
    assert_eq!(site.effects(), 0);

    site.store.promote(site.env.now().plus(Duration::from_secs(1)), 10).await.unwrap();
    let second = Worker::builder(site.store.clone(), registry, site.env.clone()).until_empty();
    let summary = second.run(std::future::pending()).await.unwrap();
    assert_eq!((summary.completed, summary.stale), (1, 0));
    let job = site.client.job(id).await.unwrap().unwrap();
    assert_eq!(job.view.state, State::Completed);
    assert_eq!(job.result.as_deref(), Some("\"in the transaction\""));
    assert_eq!(site.effects(), 1);
    assert_eq!(site.client.logs(id, 0, 10).await.unwrap().len(), 2);
    let receipts = Filter { kinds: vec![Pattern::new("receipt")], ..Filter::default() };
    let page = Page { after: None, limit: 10, oldest_first: true };
    let made = site.store.list(receipts, page).await.unwrap().jobs;
    assert_eq!(made.iter().map(|job| job.queue.as_str()).collect::<Vec<_>>(), ["second"]);
}

#[tokio::test]
async fn an_attempt_that_has_ended_or_is_to_be_cancelled_is_refused() {
    let site = Site::new();
    for cancelled in [true, false] {
        let (path, client) = (site.path.clone(), site.client.clone());
        let registry = Registry::new().handler("pay", move |ctx: Context| {
            let (path, client) = (path.clone(), client.clone());
            async move {
                if cancelled {
                    client.cancel(ctx.job_id(), taskwright::Actor::system(), None).await?;
                } else {
                    pay(&path, &ctx, true)?;
                }
                let error = pay(&path, &ctx, true).unwrap_err();
                assert!(error.is_refused(), "{error}");
                Ok(())
            }
        });
        site.client.enqueue(Job::new("pay")).await.unwrap();
        let summary = site.run(registry.unwrap()).await;
        assert_eq!(summary.failed + summary.retried, 0);
    }
    assert_eq!(site.effects(), 1);
}
