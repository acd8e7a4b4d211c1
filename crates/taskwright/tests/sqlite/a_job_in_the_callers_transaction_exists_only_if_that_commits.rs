//! `enqueue_in` stores a job in the caller's own transaction on the same file: committed, it runs; rolled back, it never
//! was.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use taskwright::core::NewJob;
use taskwright::store::memory::MemoryStore;
use taskwright::store::sqlite::rusqlite::{Connection, TransactionBehavior};
use taskwright::store::sqlite::{Options, SqliteStore};
use taskwright::{Client, Context, EnqueueNext, Env, Job, JobId, Registry, State, Worker};
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

/// Notes what it sees; the job `slow` makes it wait.
fn noting(client: Client, notes: &Arc<Mutex<Vec<String>>>) -> Client {
    let notes = Arc::clone(notes);
    client.around_enqueue(move |jobs: Vec<NewJob>, next: EnqueueNext| {
        let notes = Arc::clone(&notes);
        async move {
            let kind = jobs[0].kind.to_string();
            let waits = kind == "slow" && next.commits_later();
            let note = |note: String| notes.lock().unwrap().push(note);
            note(format!("{kind} {} {}", jobs.len(), next.commits_later()));
            let stored = next.run(jobs).await;
            if waits {
                Env::system().sleep(Duration::from_millis(1)).await;
            }
            note(match &stored {
                Ok(stored) => format!("{} stored", stored.len()),
                Err(error) => format!("error: {}", error.why()),
            });
            stored
        }
    })
}

#[tokio::test]
async fn what_stands_around_enqueues_stands_around_the_statement() {
    let directory = tempfile::tempdir().unwrap();
    let (path, other) = (directory.path().join("shop.db"), directory.path().join("other.db"));
    let env = Env::system();
    let store = Arc::new(SqliteStore::open(&path, Options { now: env.now() }).unwrap());
    let notes = Arc::default();
    let client = noting(noting(Client::new(store, env), &notes), &notes);
    let noted = || std::mem::take(&mut *notes.lock().unwrap());

    let mut shop = Connection::open(&path).unwrap();
    let tx = shop.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    let kept = client.enqueue_in(&tx, Job::new("receipt")).unwrap().id;
    assert_eq!(noted(), ["receipt 1 true", "receipt 1 true", "1 stored", "1 stored"]);
    client.enqueue_many_in(&tx, [Job::new("receipt"), Job::new("mail")]).unwrap();
    assert_eq!(noted(), ["receipt 2 true", "receipt 2 true", "2 stored", "2 stored"]);
    tx.commit().unwrap();
    assert!(client.job(kept).await.unwrap().is_some());

    // This call is no future, so nothing can wait in it.
    let tx = shop.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    let error = client.enqueue_in(&tx, Job::new("slow")).unwrap_err();
    assert!(error.why().contains("waits") && error.fix().contains("roll back"), "{error}");
    drop(tx);
    assert_eq!(noted(), ["slow 1 true", "slow 1 true"]);

    let mut elsewhere = Connection::open(&other).unwrap();
    let tx = elsewhere.transaction().unwrap();
    assert!(client.enqueue_in(&tx, Job::new("receipt")).is_err());
    assert!(noted().is_empty(), "a transaction that cannot be the store's is refused before");
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
