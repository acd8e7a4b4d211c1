//! apalis with its PostgreSQL and its SQLite storage: completed rows are kept.

mod postgres;
mod sqlite;

use std::future::Future;
use std::time::{Duration, Instant};

use apalis::prelude::{BoxDynError, TaskSink, WorkerError};
use common::{CALLS, Result};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Its best settings, as found by trial: fetches of 1,000; several workers in the process on PostgreSQL, one on SQLite.
const FETCH: usize = 1_000;

/// A worker that found nothing sleeps until something wakes it, the heartbeat after 30 s at the latest; and pub/sub or
/// hook now and then does not.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Noop {
    id: u64,
    data: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let (url, command) = common::arguments()?;
    if url.starts_with("sqlite:") {
        sqlite::measure(&url, command).await
    } else {
        postgres::measure(&url, command).await
    }
}

async fn handle(_job: Noop) -> Result<(), BoxDynError> {
    CALLS.count();
    Ok(())
}

fn noop(id: u64) -> Noop {
    Noop { id, data: common::data() }
}

async fn enqueue<Kind>(mut sink: impl TaskSink<Noop, Kind>, jobs: u64, batch: u64) -> Result<()> {
    let began = Instant::now();
    for ids in common::batches(jobs, batch) {
        let pushed = if batch == 1 {
            sink.push(noop(ids.start)).await
        } else {
            sink.push_bulk(ids.map(noop).collect()).await
        };
        pushed.map_err(|error| format!("{error:?}"))?;
    }
    common::report_enqueue(began);
    Ok(())
}

/// The running workers, and the switch that stops them, which makes them store what they have completed.
struct Workers {
    tasks: JoinSet<Result<(), WorkerError>>,
    stop: watch::Sender<bool>,
}

impl Default for Workers {
    fn default() -> Self {
        Self { tasks: JoinSet::new(), stop: watch::Sender::new(false) }
    }
}

impl Workers {
    fn spawn(&mut self, worker: impl Future<Output = Result<(), WorkerError>> + Send + 'static) {
        self.tasks.spawn(worker);
    }

    /// Resolves when the workers are to stop.
    fn stop(&self) -> impl Future<Output = Result<(), WorkerError>> + Send + use<> {
        let mut stop = self.stop.subscribe();
        async move {
            // An error says that there is nobody left to wait for, which is a stop too.
            let _ = stop.wait_for(|stop| *stop).await;
            Ok(())
        }
    }

    /// Stops the workers, which store what they have completed.
    async fn flush(mut self) -> Result<()> {
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(())
    }
}
