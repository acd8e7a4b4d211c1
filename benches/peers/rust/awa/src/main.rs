//! awa, on PostgreSQL: completed jobs stay in its rings until they rotate.
//!
//! Many jobs at once, its default claims of 512, no deadline per job (which lets it keep its bookkeeping of running jobs
//! in batches), short polls. Bulk enqueue is COPY at the level of its storage, 36 times as fast as its `insert_many`.

use std::time::{Duration, Instant};

use awa::model::migrations;
use awa::{
    Client, InsertOpts, InsertParams, JobArgs, JobResult, QueueConfig, QueueStorage, QueueStorageConfig,
};
use common::{CALLS, Command, Result};
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgPool, PgPoolOptions};

const CONNECTIONS: u32 = 50;
const JOBS_AT_ONCE: u32 = 2_000;
const POLL_INTERVAL: Duration = Duration::from_millis(20);

#[derive(Clone, Deserialize, JobArgs, Serialize)]
struct Noop {
    id: u64,
    data: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let (url, command) = common::arguments()?;
    let pool = PgPoolOptions::new().max_connections(CONNECTIONS).connect(&url).await?;
    match command {
        Command::Setup => setup(&pool).await,
        Command::Enqueue { jobs, batch } => enqueue(&pool, jobs, batch).await,
        Command::Drain { jobs } => {
            let client = serving(&pool)?;
            let before = completed(&pool).await?;
            CALLS.expect(jobs);
            client.start().await?;
            let all_stored = async || Ok(completed(&pool).await? >= before + i64::try_from(jobs)?);
            CALLS.report_drain(common::until(all_stored)).await?;
            client.shutdown(Duration::from_secs(10)).await;
            Ok(())
        }
        Command::Latency { jobs } => {
            let client = serving(&pool)?;
            client.start().await?;
            CALLS
                .report_latency(jobs, async |id| Ok(awa::insert(&pool, &noop(id)).await.map(|_| ())?))
                .await?;
            client.shutdown(Duration::from_secs(10)).await;
            Ok(())
        }
    }
}

async fn setup(pool: &PgPool) -> Result<()> {
    migrations::run(pool).await?;
    QueueStorage::new(QueueStorageConfig::default())?.install(pool).await?;
    Ok(())
}

fn serving(pool: &PgPool) -> Result<Client> {
    let queue = QueueConfig {
        max_workers: JOBS_AT_ONCE,
        poll_interval: POLL_INTERVAL,
        deadline_duration: Duration::ZERO,
        ..QueueConfig::default()
    };
    let client = Client::builder(pool.clone())
        .queue("default", queue)
        .register::<Noop, _, _>(|_job: Noop, _context| async {
            CALLS.count();
            Ok(JobResult::Completed)
        })
        .build()?;
    Ok(client)
}

fn noop(id: u64) -> Noop {
    Noop { id, data: common::data() }
}

async fn enqueue(pool: &PgPool, jobs: u64, batch: u64) -> Result<()> {
    let storage = QueueStorage::new(QueueStorageConfig::default())?;
    let began = Instant::now();
    for ids in common::batches(jobs, batch) {
        if batch == 1 {
            awa::insert(pool, &noop(ids.start)).await?;
        } else {
            let jobs = ids.map(params).collect::<Result<Vec<_>>>()?;
            storage.enqueue_params_copy(pool, &jobs).await?;
        }
    }
    common::report_enqueue(began);
    Ok(())
}

fn params(id: u64) -> Result<InsertParams> {
    let args = serde_json::to_value(noop(id))?;
    Ok(InsertParams { kind: Noop::kind().to_owned(), args, opts: InsertOpts::default() })
}

/// All that ever ended: completions still in a ring, terminal rows of the other kind, and the sums of rings truncated.
async fn completed(pool: &PgPool) -> Result<i64> {
    let sums = "SELECT (SELECT coalesce(sum(completed_count), 0) FROM awa.receipt_completion_batches)::bigint
        + (SELECT count(*) FROM awa.done_entries)
        + (SELECT coalesce(sum(pruned_completed_count), 0) FROM awa.queue_terminal_rollups)::bigint";
    Ok(sqlx::query_scalar(sums).fetch_one(pool).await?)
}
