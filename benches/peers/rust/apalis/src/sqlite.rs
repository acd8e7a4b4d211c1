//! The storage on SQLite.

use std::str::FromStr;

use apalis::prelude::{BackendExt, TaskSink, WorkerBuilder};
use apalis_sqlite::{Config, SqliteStorage};
use common::{CALLS, Command, Result};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

use crate::{FETCH, Noop, POLL_INTERVAL, Workers, enqueue, handle, noop};

const CONNECTIONS: u32 = 4;

pub(crate) async fn measure(url: &str, command: Command) -> Result<()> {
    match command {
        // A process of its own: `setup` puts the file into WAL mode, and its own connection into synchronous=OFF.
        Command::Setup => Ok(SqliteStorage::setup(&pool(url).await?).await?),
        Command::Enqueue { jobs, batch } => enqueue(storage(&pool(url).await?), jobs, batch).await,
        Command::Drain { jobs } => {
            let pool = pool(url).await?;
            CALLS.expect(jobs);
            let mut workers = Workers::default();
            let polling = storage(&pool).poll_with_interval(POLL_INTERVAL);
            let worker = WorkerBuilder::new("peer").backend(polling).build(handle);
            workers.spawn(worker.run_until(workers.stop()));
            CALLS.report_drain(workers.flush()).await?;
            all_done(&pool).await
        }
        Command::Latency { jobs } => {
            // The hook wakes workers of the process that enqueues. Its connections keep SQLite's default, FULL.
            let (pool, hook) = SqliteStorage::connect_with_callback(url)?;
            let mut workers = Workers::default();
            let waking = storage(&pool).with_callback(hook).poll_with_interval(POLL_INTERVAL);
            let worker = WorkerBuilder::new("peer").backend(waking).build(handle);
            workers.spawn(worker.run_until(workers.stop()));
            let mut sink = storage(&pool);
            CALLS.report_latency(jobs, async |id| Ok(sink.push(noop(id)).await?)).await?;
            workers.flush().await
        }
    }
}

/// Each commit flushed, as on PostgreSQL.
async fn pool(url: &str) -> Result<SqlitePool> {
    let options =
        SqliteConnectOptions::from_str(url)?.create_if_missing(true).synchronous(SqliteSynchronous::Full);
    Ok(SqlitePoolOptions::new().max_connections(CONNECTIONS).connect_with(options).await?)
}

fn storage(pool: &SqlitePool) -> SqliteStorage<Noop> {
    SqliteStorage::new(pool).with_config(Config::default().queue("noop").batch_size(FETCH))
}

async fn all_done(pool: &SqlitePool) -> Result<()> {
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM Jobs WHERE status <> 'Done'").fetch_one(pool).await?;
    if left == 0 { Ok(()) } else { Err(format!("{left} jobs are not stored as done").into()) }
}
