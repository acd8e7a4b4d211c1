//! A program with services: a heartbeat, one that fails now and then, and a sampler; for three seconds.
//!
//! `cargo run -p taskwright --example services`

use std::sync::Arc;
use std::time::Duration;

use taskwright::report::{Report, Reporter, Reports};
use taskwright::service::{MetricsSampler, Restart, ServiceContext, ServiceError, ServiceOptions, Services};
use taskwright::store::SharedStore;
use taskwright::store::memory::MemoryStore;
use taskwright::{Backoff, Env};

/// Prints what failed.
struct Printer;

impl Reporter for Printer {
    async fn failed(&self, report: &Report) {
        println!("failed: {report}");
    }
}

async fn heartbeat(ctx: ServiceContext) -> Result<(), ServiceError> {
    while ctx.sleep(Duration::from_secs(1)).await {
        println!("{} is alive", ctx.name());
    }
    println!("{} was told to stop", ctx.name());
    Ok(())
}

async fn unlucky(ctx: ServiceContext) -> Result<(), ServiceError> {
    ctx.sleep(Duration::from_millis(700)).await;
    Err("the connection broke".into())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), taskwright::Error> {
    let env = Env::system();
    let store: SharedStore = Arc::new(MemoryStore::new());
    let again = Restart::OnFailure(Backoff::Fixed { delay: Duration::from_millis(500) });
    let sampler = MetricsSampler::new(&store, Duration::from_secs(1))
        .on_sample(|sample| println!("{} queues, {} workers", sample.queues.len(), sample.workers));
    let services = Services::new(&env, Reports::new(&env).to(Printer))
        .add("heartbeat", heartbeat)?
        .add_with("unlucky", ServiceOptions::new().restart(again), unlucky)?
        .add("sampler", sampler)?
        .shown_in(&store);

    // In a program that goes on: `tokio::signal::ctrl_c()` in the place of the sleep.
    let three_seconds = env.sleep(Duration::from_secs(3));
    let stopped = services.run_until(three_seconds).await;
    let statuses = services.statuses();
    for (service, stopped) in statuses.iter().zip(stopped) {
        println!("{}: {stopped:?}, restarted {} times", service.name, service.restarts);
    }
    assert!(statuses.iter().any(|service| service.restarts > 0), "the unlucky one is started again");
    Ok(())
}
