//! Nodes that decide about the same schedules at the same time, in whatever order, make one job of each occurrence, and
//! none of them is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use taskwright_core::{Timestamp, UniqueScope};
use taskwright_store::conformance::fixture::*;
use taskwright_store::conformance::schedule::{fires, registration, rewrite};
use taskwright_store::postgres::{PostgresStore, Settings};
use taskwright_store::{ScheduleWrite, SharedStore, StoredSchedule, Target, Written};
use tokio::task::JoinSet;

use crate::cluster::{Cluster, Database};

const NODES: u32 = 6;
const SCHEDULES: usize = 200;
const ROUNDS: u64 = 5;

async fn open(database: &Database<'_>, run: &tempfile::TempDir) -> SharedStore {
    let settings = Settings::parse(&database.url()).unwrap();
    Arc::new(PostgresStore::open(settings, run.path(), Timestamp::from_micros(0)).await.unwrap())
}

async fn nodes(database: &Database<'_>, run: &tempfile::TempDir) -> Vec<SharedStore> {
    let mut nodes = Vec::new();
    for _ in 0..NODES {
        nodes.push(open(database, run).await);
    }
    nodes
}

/// The same in an order that each node has for itself.
fn in_order_of<T>(node: u32, mut all: Vec<T>) -> Vec<T> {
    if node % 2 == 1 {
        all.reverse();
    }
    let middle = all.len() * node as usize / NODES as usize;
    all.rotate_left(middle);
    all
}

/// All nodes write at once; how often each target was written.
async fn write_at_once(
    nodes: &[SharedStore],
    now: u64,
    write: impl Fn(u32) -> Vec<ScheduleWrite>,
) -> BTreeMap<String, usize> {
    let mut writing = JoinSet::new();
    for (node, store) in (0..).zip(nodes) {
        let (store, writes) = (store.clone(), in_order_of(node, write(node)));
        writing.spawn(async move {
            let targets: Vec<String> = writes.iter().map(|write| named(&write.target)).collect();
            let written = store.write_schedules(at(now), writes).await.expect("nobody is refused");
            targets.into_iter().zip(written).collect::<Vec<_>>()
        });
    }
    let mut times = BTreeMap::new();
    while let Some(written) = writing.join_next().await {
        for (target, written) in written.unwrap() {
            *times.entry(target).or_insert(0) += usize::from(written != Written::Stale);
        }
    }
    times
}

/// What a target is, whichever version it names.
fn named(target: &Target) -> String {
    match target {
        Target::New { name, .. } => name.to_string(),
        Target::Stored { key, .. } => format!("{key:?}"),
    }
}

async fn all(store: &SharedStore) -> Vec<StoredSchedule> {
    store.schedules(None, None, 1_000).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_is_registered_and_fired_by_one_of_them() {
    let database = Cluster::shared().database();
    let run = tempfile::tempdir().unwrap();
    let nodes = nodes(&database, &run).await;
    let registrations = |_| (0..SCHEDULES).map(|n| registration(&format!("s{n}"), 60)).collect();
    let registered = write_at_once(&nodes, 0, registrations).await;
    assert_eq!((registered.len(), registered.values().max()), (SCHEDULES, Some(&1)), "{registered:?}");

    for round in 1..=ROUNDS {
        let read = all(&nodes[0]).await;
        assert_eq!(read.len(), SCHEDULES);
        let due = round * 60;
        let fired = write_at_once(&nodes, due, |node| {
            let number = |n: usize| {
                u32::try_from(round).unwrap() * 1_000_000 + node * 1_000 + u32::try_from(n).unwrap()
            };
            let one = |(n, stored)| rewrite(stored, due + 60, vec![fires(due, job(number(n)))]);
            read.iter().enumerate().map(one).collect()
        })
        .await;
        assert!(fired.len() == SCHEDULES && fired.values().all(|times| *times == 1), "{fired:?}");
    }
    let jobs = database.sql("SELECT count(*) FROM taskwright.job");
    assert_eq!(jobs, (SCHEDULES as u64 * ROUNDS).to_string());
    assert_eq!(database.sql("SELECT count(*) FROM taskwright.firing"), jobs);
    assert_eq!(database.sql("SELECT count(*) FROM taskwright.schedule_due"), SCHEDULES.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_removal_in_between_leaves_nothing_that_is_due() {
    let database = Cluster::shared().database();
    let run = tempfile::tempdir().unwrap();
    let nodes = nodes(&database, &run).await;
    let registrations = (0..SCHEDULES).map(|n| registration(&format!("s{n}"), 60)).collect();
    nodes[0].write_schedules(at(0), registrations).await.unwrap();
    let read = all(&nodes[0]).await;

    let (writer, writes) =
        (nodes[1].clone(), read.iter().map(|stored| rewrite(stored, 120, Vec::new())).collect());
    let mut working = JoinSet::new();
    working.spawn(async move { writer.write_schedules(at(60), writes).await.map(drop) });
    for (node, part) in nodes[2..].iter().zip(read.chunks(SCHEDULES.div_ceil(nodes.len() - 2))) {
        let (node, keys) = (node.clone(), part.iter().map(|stored| stored.key).collect::<Vec<_>>());
        working.spawn(async move {
            for key in keys {
                assert!(node.remove_schedule(key).await?);
            }
            Ok(())
        });
    }
    while let Some(done) = working.join_next().await {
        done.unwrap().unwrap();
    }
    assert_eq!(database.sql("SELECT count(*) FROM taskwright.schedule"), "0");
    assert_eq!(database.sql("SELECT count(*) FROM taskwright.schedule_due"), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_shares_a_unique_key_is_one_job() {
    let database = Cluster::shared().database();
    let run = tempfile::tempdir().unwrap();
    let nodes = nodes(&database, &run).await;
    // Each node fires schedules of its own, and they share their keys in different orders.
    let mut writing = JoinSet::new();
    for (node, store) in (0..).zip(&nodes) {
        let registrations = (0..20).map(|n| registration(&format!("node{node}-{n}"), 60)).collect();
        store.write_schedules(at(0), registrations).await.unwrap();
        let own = all(store).await;
        let own = own.iter().filter(|stored| stored.name.as_str().starts_with(&format!("node{node}-")));
        let writes = own.enumerate().map(|(n, stored)| {
            let n = u32::try_from(n).unwrap();
            let key = if node % 2 == 0 { n } else { 19 - n };
            let keyed = unique(&format!("k{key}"), UniqueScope::Waiting);
            rewrite(
                stored,
                120,
                vec![fires(60, taskwright_core::NewJob { unique: keyed, ..job(node * 100 + n) })],
            )
        });
        let (store, writes) = (store.clone(), writes.collect());
        writing.spawn(async move { store.write_schedules(at(60), writes).await });
    }
    while let Some(written) = writing.join_next().await {
        let written = written.unwrap().expect("nobody is refused");
        assert!(written.iter().all(|one| *one != Written::Stale), "{written:?}");
    }
    assert_eq!(database.sql("SELECT count(*) FROM taskwright.job"), "20");
    assert_eq!(database.sql("SELECT count(*) FROM taskwright.firing WHERE NOT coalesced"), "20");
}
