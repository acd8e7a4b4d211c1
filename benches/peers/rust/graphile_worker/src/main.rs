//! graphile_worker, the port to Rust, with the settings of its own benchmark (`benches/perf_test.rs`): completed rows
//! are deleted.

use std::time::{Duration, Instant};

use common::{CALLS, Command, Result};
use graphile_worker::{
    IntoTaskHandlerResult, JobSpec, LocalQueueConfig, RawJobSpec, TaskHandler, Worker, WorkerContext,
    WorkerOptions, WorkerUtils,
};
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgPool, PgPoolOptions};

const SCHEMA: &str = "graphile_worker";
const CONNECTIONS: u32 = 100;
const JOBS_AT_ONCE: usize = 500;
const LOCAL_QUEUE: usize = 5_000;
const POLL_INTERVAL: Duration = Duration::from_millis(5);
const COMPLETION_DELAY: Duration = Duration::from_millis(5);

#[derive(Clone, Deserialize, Serialize)]
struct Noop {
    id: u64,
    data: String,
}

impl TaskHandler for Noop {
    const IDENTIFIER: &'static str = "noop";

    async fn run(self, _context: WorkerContext) -> impl IntoTaskHandlerResult {
        CALLS.count();
        Ok::<(), String>(())
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let (url, command) = common::arguments()?;
    let pool = PgPoolOptions::new().max_connections(CONNECTIONS).connect(&url).await?;
    let utils = WorkerUtils::new(pool.clone(), SCHEMA);
    match command {
        Command::Setup => Ok(utils.migrate().await?),
        Command::Enqueue { jobs, batch } => enqueue(&utils, jobs, batch).await,
        Command::Drain { jobs } => {
            let worker = serving(&pool).await?;
            CALLS.expect(jobs);
            let measured = async {
                CALLS.report_drain(common::until(async || all_deleted(&pool).await)).await?;
                worker.request_shutdown();
                Ok(())
            };
            tokio::try_join!(run(&worker), measured).map(|_| ())
        }
        Command::Latency { jobs } => {
            let worker = serving(&pool).await?;
            let measured = async {
                let add = async |id| Ok(utils.add_job(noop(id), JobSpec::default()).await.map(|_| ())?);
                CALLS.report_latency(jobs, add).await?;
                worker.request_shutdown();
                Ok(())
            };
            tokio::try_join!(run(&worker), measured).map(|_| ())
        }
    }
}

async fn serving(pool: &PgPool) -> Result<Worker> {
    let options = WorkerOptions::default()
        .pg_pool(pool.clone())
        .schema(SCHEMA)
        .concurrency(JOBS_AT_ONCE)
        .poll_interval(POLL_INTERVAL)
        .complete_job_batch_delay(COMPLETION_DELAY)
        .local_queue(LocalQueueConfig::default().with_size(LOCAL_QUEUE))
        .define_job::<Noop>();
    Ok(options.init().await?)
}

async fn run(worker: &Worker) -> Result<()> {
    Ok(worker.run().await?)
}

fn noop(id: u64) -> Noop {
    Noop { id, data: common::data() }
}

async fn enqueue(utils: &WorkerUtils, jobs: u64, batch: u64) -> Result<()> {
    let began = Instant::now();
    for ids in common::batches(jobs, batch) {
        if batch == 1 {
            utils.add_job(noop(ids.start), JobSpec::default()).await?;
        } else {
            let jobs = ids.map(raw).collect::<Result<Vec<_>>>()?;
            utils.add_raw_jobs(&jobs).await?;
        }
    }
    common::report_enqueue(began);
    Ok(())
}

fn raw(id: u64) -> Result<RawJobSpec> {
    let payload = serde_json::to_value(noop(id))?;
    Ok(RawJobSpec { identifier: Noop::IDENTIFIER.to_owned(), payload, spec: JobSpec::default() })
}

async fn all_deleted(pool: &PgPool) -> Result<bool> {
    let left = "SELECT EXISTS (SELECT 1 FROM graphile_worker._private_jobs)";
    Ok(!sqlx::query_scalar::<_, bool>(left).fetch_one(pool).await?)
}
