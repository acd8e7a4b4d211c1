//! `enqueue_in` stores a job in the caller's own transaction on the same file: committed, it runs; rolled back, it never
//! was.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use taskwright::store::memory::MemoryStore;
use taskwright::store::sqlite::rusqlite::{Connection, TransactionBehavior};
use taskwright::store::sqlite::{Options, SqliteStore};
use taskwright::{Client, Context, Env, Job, JobId, Registry, State, Worker};
use tokio::sync::mpsc;

const COMMITS: usize = 20;
/// What is promised: on a busy machine, in the middle.
const PROMISED: Duration = Duration::from_millis(100);
const SOON: Duration = Duration::from_secs(10);

/// CR-X5: given that the transaction is rolled back, the job never runs; given that it commits, it does within 100 ms.
#[tokio::test]
async fn a_job_in_the_callers_transaction_exists_only_if_that_commits() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("shop.db");
    let env = Env::system();
    let store = Arc::new(SqliteStore::open(&path, Options { now: env.now() }).unwrap());
    let client = Client::new(store.clone(), env.clone());
    let mut shop = Connection::open(&path).unwrap();
    shop.execute_batch("CREATE TABLE shop_order (id INTEGER PRIMARY KEY)").unwrap();

    let order = |shop: &mut Connection, commit: bool| -> JobId {
        let tx = shop.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        tx.execute("INSERT INTO shop_order DEFAULT VALUES", []).unwrap();
        let id = client.enqueue_in(&tx, Job::new("receipt")).unwrap().id;
        if commit {
            tx.commit().unwrap();
        } else {
            tx.rollback().unwrap();
        }
        id
    };
    let rolled_back = order(&mut shop, false);
    assert_eq!(client.job(rolled_back).await.unwrap(), None);

    // The worker is idle before the commit, and nobody tells it.
    let (starts, mut started) = mpsc::unbounded_channel();
    let registry = Registry::new().handler("receipt", move |ctx: Context| {
        starts.send((ctx.job_id(), ctx.env().monotonic_us())).unwrap();
        async { Ok(()) }
    });
    let worker = Worker::builder(store, registry.unwrap(), env.clone());
    let running = env.spawn("worker", worker.run(std::future::pending()));
    let mut waits = Vec::new();
    for _ in 0..COMMITS {
        order(&mut shop, false);
        let committed = order(&mut shop, true);
        let committed_us = env.monotonic_us();
        let (id, started_us) = env.timeout(SOON, started.recv()).await.expect("it runs").unwrap();
        assert_eq!(id, committed, "and none that was rolled back");
        waits.push(Duration::from_micros(started_us.saturating_sub(committed_us)));
        assert_eq!(client.wait(committed, Some(SOON)).await.unwrap().view.state, State::Completed);
    }
    waits.sort_unstable();
    assert!(waits[COMMITS / 2] < PROMISED, "{waits:?}");
    drop(running);

    // Who looks at jobs before they are stored sees this one, too.
    let refusing = client.before_enqueue(|job| {
        let what = format!("the job {}", job.kind);
        Err(taskwright::core::Error::invalid(what, "not here", "enqueue it elsewhere"))
    });
    let tx = shop.transaction().unwrap();
    assert_eq!(refusing.enqueue_in(&tx, Job::new("receipt")).unwrap_err().why(), "not here");
    drop(tx);

    let orders: i64 = shop.query_row("SELECT count(*) FROM shop_order", [], |row| row.get(0)).unwrap();
    assert_eq!(orders, COMMITS as i64);
}

#[tokio::test]
async fn a_transaction_on_another_file_is_refused_and_one_by_another_name_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let [path, other, alias] = ["shop.db", "other.db", "alias.db"].map(|name| directory.path().join(name));
    let env = Env::system();
    let open = |path: &Path| Arc::new(SqliteStore::open(path, Options { now: env.now() }).unwrap());
    let (store, others) = (open(&path), open(&other));
    let client = Client::new(store, env.clone());
    let why = |client: &Client, path: &Path| {
        let mut shop = Connection::open(path).unwrap();
        let tx = shop.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        let stored = client.enqueue_in(&tx, Job::new("receipt"));
        tx.commit().unwrap();
        stored.map(drop).map_err(|error| error.why().to_owned())
    };
    let refused = why(&client, &other).unwrap_err();
    assert!(refused.starts_with("it is on ") && refused.contains("other.db"), "{refused}");
    assert_eq!(
        Client::new(others, env.clone()).kinds_waiting(None).await.unwrap().len(),
        0,
        "nothing is stored"
    );
    let in_memory = Client::new(Arc::new(MemoryStore::new()), env.clone());
    let refused = why(&in_memory, &path).unwrap_err();
    assert_eq!(refused, "it is one of SQLite, and the jobs are in a store of the kind memory");

    std::os::unix::fs::symlink(&path, &alias).unwrap();
    why(&client, &alias).unwrap();
    assert_eq!(client.kinds_waiting(None).await.unwrap().len(), 1);
}
