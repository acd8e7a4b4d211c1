//! Several nodes ask one generator while workers run what it makes and somebody runs failed items again: each item is made
//! once and settled once, whoever is faster.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use taskwright_core::generator::ItemEnd;
use taskwright_core::{NewJob, Timestamp};
use taskwright_store::conformance::fixture::*;
use taskwright_store::conformance::generator;
use taskwright_store::postgres::{PostgresStore, Settings};
use taskwright_store::{
    Change, Filter, GeneratorCommit, NewItem, SettledItem, StoredGenerator, TakeGenerators,
};

use crate::cluster::{Cluster, Database};

const ITEMS: u32 = 2_000;
const WINDOW: u32 = 150;
/// Of so many items one fails.
const FAILS: u32 = 50;
const NODES: u8 = 3;

async fn open(database: &Database<'_>, run: &tempfile::TempDir) -> Process {
    let settings = Settings::parse(&format!("{}?pool=4", database.url())).unwrap();
    Process::of(Arc::new(PostgresStore::open(settings, run.path(), Timestamp::from_micros(0)).await.unwrap()))
}

/// What the generator has made, and what has been settled.
fn counts(generator: &StoredGenerator) -> (u32, u32) {
    serde_json::from_str(&generator.state).unwrap_or_default()
}

/// Asks the generator until all is settled; how many of its commits came too late.
async fn ask(process: &Process) -> u32 {
    let mut late = 0;
    loop {
        let take = TakeGenerators {
            names: vec![(namespace("default"), "feed".parse().unwrap())],
            ..TakeGenerators::at(at(2), Duration::from_secs(3_600), 1)
        };
        let taken = process.store().take_generators(take).await.unwrap().generators.pop();
        let Some(taken) = taken else {
            if counts(&generator::stored(process, "feed").await).1 == ITEMS {
                return late;
            }
            tokio::task::yield_now().await;
            continue;
        };
        let (made, settled) = counts(&taken);
        let ended = process.store().ended_items(taken.key, 100).await.unwrap();
        let ends: Vec<SettledItem> = ended
            .iter()
            .filter_map(|item| Some(SettledItem { job: item.job, end: ItemEnd::of(item.state)? }))
            .collect();
        let now_settled = settled + u32::try_from(ends.len()).unwrap();
        let now_made = ITEMS.min(now_settled + WINDOW).min(made + 100).max(made);
        let item = |n: u32| {
            let NewItem { key, job } = generator::item(n);
            let max_attempts = taskwright_core::MaxAttempts::from_code(1);
            NewItem { key, job: NewJob { max_attempts, ..job } }
        };
        let commit = GeneratorCommit {
            items: (made..now_made).map(item).collect(),
            settled: ends,
            // Nobody is asked any more once that is all.
            next: (now_settled < ITEMS).then(|| at(0)),
            state: Some(serde_json::to_string(&(now_made, now_settled)).unwrap()),
            ..generator::commit_of(&taken, 0)
        };
        late += u32::from(!generator::commit(process, 1, commit).await);
    }
}

/// Runs items until nobody asks any more; which ones it ran.
async fn work(process: &Process, worker: u8, asking: &tokio::sync::Semaphore) -> Vec<u32> {
    let worker = process.worker(worker).await;
    let mut ran = Vec::new();
    while !asking.is_closed() {
        let claimed = worker.claim(worker.ask(2, 20)).await;
        let outcome = |n: u32| if n.is_multiple_of(FAILS) { failed("boom") } else { completed() };
        let ends = claimed.iter().map(|job| ending(2, job, outcome(number(job.id))));
        worker.finish(2, ends.collect()).await;
        ran.extend(numbers(&claimed));
        tokio::task::yield_now().await;
    }
    ran
}

/// Runs failed jobs again, as long as somebody asks; how many.
async fn meddle(process: &Process, asking: &tokio::sync::Semaphore) -> usize {
    let mut redone = BTreeSet::new();
    while !asking.is_closed() {
        let failed = Filter { states: vec![taskwright_core::State::Failed], ..Filter::default() };
        for n in process.list(failed).await {
            // Each of them once, or nothing would ever end.
            if redone.insert(n) {
                process.change(3, n, Change::Redo { repeat: false }).await;
            }
        }
        tokio::task::yield_now().await;
    }
    redone.len()
}

#[tokio::test]
async fn nodes_that_ask_one_generator_count_each_item_once() {
    let database = Cluster::shared().database();
    let run = tempfile::tempdir().unwrap();
    let mut nodes = Vec::new();
    for _ in 0..NODES {
        nodes.push(open(&database, &run).await);
    }
    nodes[0].store().put_generators(at(0), vec![generator::generator("feed", 0)]).await.unwrap();
    let asking = tokio::sync::Semaphore::new(0);
    let ask_all = async {
        let late = tokio::join!(ask(&nodes[0]), ask(&nodes[1]), ask(&nodes[2]));
        asking.close();
        late
    };
    let (late, first, second, redone) = tokio::join!(
        ask_all,
        work(&nodes[1], 1, &asking),
        work(&nodes[2], 2, &asking),
        meddle(&nodes[0], &asking)
    );
    println!("too late: {late:?}, redone: {redone}");
    let mut ran = [first, second].concat();
    let distinct: BTreeSet<u32> = ran.iter().copied().collect();
    assert_eq!(distinct, (0..ITEMS).collect());
    ran.retain(|n| !n.is_multiple_of(FAILS));
    assert_eq!(ran.len() as u32, ITEMS - ITEMS.div_ceil(FAILS), "what completed ran once");
    assert_eq!(counts(&generator::stored(&nodes[0], "feed").await), (ITEMS, ITEMS));
    assert_eq!(database.sql("SELECT count(*) FROM taskwright.item"), "0");
    let left = nodes[0].list(Filter::default()).await;
    assert_eq!(
        left,
        (0..ITEMS).filter(|n| n.is_multiple_of(FAILS)).collect::<Vec<_>>(),
        "dead letters alone"
    );
    assert_eq!(
        database.sql("SELECT count(*) FROM taskwright.completion"),
        "0",
        "nothing of the others is left"
    );
}
