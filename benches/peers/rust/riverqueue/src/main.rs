//! riverqueue, on PostgreSQL and on SQLite: completed rows are kept for a day.

use std::str::FromStr;
use std::time::{Duration, Instant};

use common::{CALLS, Command, Result};
use riverqueue::migrate::{PostgresMigrator, SqliteMigrator};
use riverqueue::{
    BoxError, Client, ClientBuilder, Job, JobArgs, QueueConfig, WorkContext, WorkOutcome, Workers,
};
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

/// As in the benchmark of its command-line tool.
const CONNECTIONS: u32 = 50;
const JOBS_AT_ONCE: usize = 2_000;
const COOLDOWN: Duration = Duration::from_millis(2);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The least it allows: the best pickup latency.
const COOLDOWN_MIN: Duration = Duration::from_millis(1);

#[derive(Clone, Deserialize, JobArgs, Serialize)]
#[river(kind = "noop")]
struct Noop {
    id: u64,
    data: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let (url, command) = common::arguments()?;
    if url.starts_with("sqlite:") {
        let pool = sqlite(&url).await?;
        if matches!(command, Command::Setup) {
            SqliteMigrator::new(pool.clone()).migrate_up().await?;
            return Ok(());
        }
        measure(command, Client::builder(pool.clone()), Database::Sqlite(pool)).await
    } else {
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS).connect(&url).await?;
        if matches!(command, Command::Setup) {
            PostgresMigrator::new(pool.clone()).migrate_up().await?;
            return Ok(());
        }
        measure(command, Client::builder(pool.clone()), Database::Postgres(pool)).await
    }
}

/// Each commit flushed, as on PostgreSQL.
async fn sqlite(url: &str) -> Result<SqlitePool> {
    let options = SqliteConnectOptions::from_str(url)?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(5));
    Ok(SqlitePoolOptions::new().connect_with(options).await?)
}

async fn measure(command: Command, client: ClientBuilder, database: Database) -> Result<()> {
    match command {
        Command::Setup => unreachable!("main has done that"),
        Command::Enqueue { jobs, batch } => enqueue(&client.build()?, jobs, batch).await,
        Command::Drain { jobs } => {
            let client = serving(client, COOLDOWN)?;
            CALLS.expect(jobs);
            let mut run = client.start()?;
            CALLS.report_drain(common::until(async || database.all_completed().await)).await?;
            run.stop().await?;
            Ok(())
        }
        Command::Latency { jobs } => {
            let client = serving(client, COOLDOWN_MIN)?;
            let mut run = client.start()?;
            run.wait_ready().await?;
            CALLS.report_latency(jobs, async |id| Ok(client.insert(noop(id)).await.map(|_| ())?)).await?;
            run.stop().await?;
            Ok(())
        }
    }
}

fn serving(client: ClientBuilder, cooldown: Duration) -> Result<Client> {
    let mut workers = Workers::new();
    workers.add_fn(handle)?;
    let queue = QueueConfig::new(JOBS_AT_ONCE).with_fetch_poll_interval(POLL_INTERVAL);
    Ok(client.workers(workers).fetch_cooldown(cooldown).queue(riverqueue::QUEUE_DEFAULT, queue).build()?)
}

async fn handle(_context: WorkContext, _job: Job<Noop>) -> Result<WorkOutcome, BoxError> {
    CALLS.count();
    Ok(WorkOutcome::Complete)
}

fn noop(id: u64) -> Noop {
    Noop { id, data: common::data() }
}

async fn enqueue(client: &Client, jobs: u64, batch: u64) -> Result<()> {
    let began = Instant::now();
    for ids in common::batches(jobs, batch) {
        if batch == 1 {
            client.insert(noop(ids.start)).await?;
        } else {
            client.insert_many(ids.map(noop)).await?;
        }
    }
    common::report_enqueue(began);
    Ok(())
}

enum Database {
    Postgres(PgPool),
    Sqlite(SqlitePool),
}

impl Database {
    async fn all_completed(&self) -> Result<bool> {
        let left =
            "SELECT EXISTS (SELECT 1 FROM river_job WHERE state IN ('available', 'running', 'retryable'))";
        let left: bool = match self {
            Self::Postgres(pool) => sqlx::query_scalar(left).fetch_one(pool).await?,
            Self::Sqlite(pool) => sqlx::query_scalar(left).fetch_one(pool).await?,
        };
        Ok(!left)
    }
}
