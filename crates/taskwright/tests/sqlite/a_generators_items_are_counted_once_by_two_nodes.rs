//! Two nodes on one file ask one generator and run what it makes; one of them ends without a word. Every item is made once and
//! counted once, and only dead letters stay.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use taskwright::core::generator::Definition;
use taskwright::env::Spawned;
use taskwright::generator::{Cursor, CursorGenerator, GeneratorSet, Item, PollError, Row};
use taskwright::store::sqlite::{Options, SqliteStore};
use taskwright::store::{Filter, Page, SharedStore};
use taskwright::{
    Client, Context, Duties, DutyConfig, Env, MaxAttempts, Namespace, Registry, State, Summary, TaskError,
    Worker,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

const ITEMS: u64 = 3_000;
/// Of so many items one fails.
const FAILS: u64 = 100;

async fn numbers(after: Option<Cursor>, limit: usize) -> Result<Vec<Row>, PollError> {
    let after = match after {
        Some(Cursor::Key(key)) => key.as_u64().ok_or("it is a number")?,
        _ => 0,
    };
    let once = MaxAttempts::limited(1)?;
    let row = |n: u64| {
        let item = Item::new("number").key(n.to_string()).args(&n)?;
        let item = if n.is_multiple_of(FAILS) { item.max_attempts(once) } else { item };
        Ok(Row::new(Cursor::key(n), item))
    };
    (after + 1..=ITEMS).take(limit).map(row).collect()
}

/// A process on the file: duties and a worker. Dropping it is its death.
struct Node {
    store: SharedStore,
    _duties: Duties,
    _worker: Spawned<Result<Summary, taskwright::Error>>,
}

impl Node {
    fn start(path: &Path, env: &Env, ran: UnboundedSender<u64>) -> Self {
        let store: SharedStore = Arc::new(SqliteStore::open(path, Options { now: env.now() }).unwrap());
        let numbers = CursorGenerator::new("numbers", numbers)
            .options(|defaults| Definition { window: 400, ..defaults });
        let generators = GeneratorSet::new().with(numbers).unwrap();
        let config = DutyConfig { generators, ..DutyConfig::default() };
        let registry = Registry::new().handler("number", move |ctx: Context| {
            let ran = ran.clone();
            async move {
                let n: u64 = ctx.args()?;
                // Nobody listens any more at the end of the test.
                let _ = ran.send(n);
                if n.is_multiple_of(FAILS) { Err(TaskError::retry("a hundred")) } else { Ok(()) }
            }
        });
        let worker = Worker::builder(store.clone(), registry.unwrap(), env.clone()).concurrency(8).build();
        let duties = Duties::start(&store, env, &config);
        let run = async move { worker.run(std::future::pending()).await };
        Self { store, _duties: duties, _worker: env.spawn("worker", run) }
    }
}

/// Waits until so many different items have run.
async fn reach(ran: &mut UnboundedReceiver<u64>, met: &mut BTreeSet<u64>, count: usize) {
    while met.len() < count {
        let next = tokio::time::timeout(Duration::from_secs(60), ran.recv()).await;
        met.insert(next.expect("items go on").expect("a node lives"));
    }
}

#[tokio::test]
async fn a_generators_items_are_counted_once_by_two_nodes() {
    let (directory, env) = (tempfile::tempdir().unwrap(), Env::system());
    let path = directory.path().join("jobs.db");
    let (runs, mut ran) = unbounded_channel();
    let mortal = Node::start(&path, &env, runs.clone());
    let node = Node::start(&path, &env, runs);
    let mut met = BTreeSet::new();
    reach(&mut ran, &mut met, 500).await;
    drop(mortal);
    reach(&mut ran, &mut met, 3_000).await;
    assert_eq!(met, (1..=ITEMS).collect());

    let client = Client::new(node.store.clone(), env.clone());
    let (namespace, name) = (Namespace::default(), "numbers".parse().unwrap());
    let end_us = env.monotonic_us() + 60_000_000;
    let counts = loop {
        let counts = client.generators().get(&namespace, &name).await.unwrap().unwrap().record.counts;
        if counts.settled() == ITEMS {
            break counts;
        }
        assert!(env.monotonic_us() < end_us, "{counts:?}");
        tokio::task::yield_now().await;
    };
    assert_eq!((counts.made, counts.failed), (ITEMS, ITEMS / FAILS));
    assert_eq!(counts.completed, ITEMS - ITEMS / FAILS);
    let page = Page { after: None, limit: 1_000, oldest_first: true };
    let left = node.store.list(Filter::default(), page).await.unwrap().jobs;
    assert_eq!(left.len() as u64, ITEMS / FAILS);
    assert!(left.iter().all(|job| job.state == State::Failed));
}
