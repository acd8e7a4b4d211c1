//! The storage on PostgreSQL.

use apalis::prelude::{BackendExt, TaskSink, WorkerBuilder};
use apalis_postgres::{Config, PostgresStorage};
use common::{CALLS, Command, Result};
use sqlx::postgres::{PgPool, PgPoolOptions};

use crate::{FETCH, Noop, POLL_INTERVAL, Workers, enqueue, handle, noop};

const WORKERS: usize = 4;

pub(crate) async fn measure(url: &str, command: Command) -> Result<()> {
    let pool = PgPoolOptions::new().connect(url).await?;
    match command {
        Command::Setup => Ok(PostgresStorage::setup(&pool).await?),
        Command::Enqueue { jobs, batch } => enqueue(storage(&pool), jobs, batch).await,
        Command::Drain { jobs } => {
            CALLS.expect(jobs);
            let mut workers = Workers::default();
            for number in 0..WORKERS {
                let polling = storage(&pool).poll_with_interval(POLL_INTERVAL);
                let worker = WorkerBuilder::new(format!("peer-{number}")).backend(polling).build(handle);
                workers.spawn(worker.run_until(workers.stop()));
            }
            CALLS.report_drain(workers.flush()).await?;
            all_done(&pool).await
        }
        Command::Latency { jobs } => {
            let mut workers = Workers::default();
            let waking = storage(&pool).with_pubsub().poll_with_interval(POLL_INTERVAL);
            let worker = WorkerBuilder::new("peer").backend(waking).build(handle);
            workers.spawn(worker.run_until(workers.stop()));
            let mut sink = storage(&pool);
            CALLS.report_latency(jobs, async |id| Ok(sink.push(noop(id)).await?)).await?;
            workers.flush().await
        }
    }
}

fn storage(pool: &PgPool) -> PostgresStorage<Noop> {
    PostgresStorage::new(pool).with_config(Config::default().queue("noop").batch_size(FETCH))
}

async fn all_done(pool: &PgPool) -> Result<()> {
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM apalis.jobs WHERE status <> 'Done'").fetch_one(pool).await?;
    if left == 0 { Ok(()) } else { Err(format!("{left} jobs are not stored as done").into()) }
}
