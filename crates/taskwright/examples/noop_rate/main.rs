//! How fast the runtime is when nothing else costs: no-op jobs on one thread, and a store that only keeps count.
//!
//! `cargo run --release -p taskwright --example noop_rate [-- JOBS]` prints the rate on the memory store, and the time
//! per job of the runtime itself, measured with a store whose calls do next to nothing.

mod counting;

use std::sync::Arc;
use std::time::Duration;

use taskwright::store::SharedStore;
use taskwright::store::memory::MemoryStore;
use taskwright::{Client, Env, Job, Registry, Worker};

use crate::counting::CountingStore;

const CONCURRENCY: usize = 16;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let jobs: u64 = std::env::args().nth(1).map_or(Ok(500_000), |text| text.parse())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let memory: SharedStore = Arc::new(MemoryStore::new());
        let client = Client::new(Arc::clone(&memory), Env::system());
        client.enqueue_many((0..jobs).map(|_| Job::new("noop"))).await?;
        show("memory store", jobs, drain(memory).await?);
        show("runtime alone", jobs, drain(Arc::new(CountingStore::new(jobs))).await?);
        Ok(())
    })
}

/// Runs everything in the store, and says how long it took.
async fn drain(store: SharedStore) -> Result<Duration, Box<dyn std::error::Error>> {
    let env = Env::system();
    let registry = Registry::new().handler("noop", |_| async { Ok(()) })?;
    let began_us = env.monotonic_us();
    let worker = Worker::builder(store, registry, env.clone()).concurrency(CONCURRENCY).until_empty();
    worker.run(std::future::pending()).await?;
    Ok(Duration::from_micros(env.monotonic_us() - began_us))
}

#[expect(clippy::cast_precision_loss, reason = "numbers for people")]
fn show(what: &str, jobs: u64, took: Duration) {
    let rate = jobs as f64 / took.as_secs_f64();
    let each = took.as_secs_f64() * 1e6 / jobs as f64;
    println!("{what:>14}: {jobs} jobs in {took:.2?}, {rate:.0} jobs/s, {each:.2} us per job");
}
