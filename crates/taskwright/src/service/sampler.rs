//! Samples what there is to measure.

use std::sync::Arc;
use std::time::Duration;

use taskwright_core::Timestamp;
use taskwright_store::{QueueView, SharedStore, WorkerState};
use tokio::sync::watch;

use super::{Service, ServiceContext, ServiceError};
use crate::process::own_resident_bytes;

/// The shortest time between two samples: 100 ms.
const EVERY_MIN: Duration = Duration::from_millis(100);

/// What was measured at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Sample {
    /// When.
    pub at: Timestamp,
    /// How full each queue is.
    pub queues: Vec<QueueView>,
    /// How many workers are alive.
    pub workers: usize,
    /// The resident memory of this process, where the system tells.
    pub rss_bytes: Option<u64>,
}

/// Measures the queues, the workers and this process now and then, and hands that on: to a metrics library, a log, a dashboard.
///
/// A store that does not answer costs samples, and does not end the service.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use taskwright::service::MetricsSampler;
///
/// # fn example(store: &taskwright::store::SharedStore) {
/// let sampler = MetricsSampler::new(store, Duration::from_secs(10)).on_sample(|sample| {
///     for queue in &sample.queues {
///         println!("{}: {} available", queue.name, queue.available);
///     }
/// });
/// # }
/// ```
pub struct MetricsSampler {
    store: SharedStore,
    every: Duration,
    latest: watch::Sender<Option<Arc<Sample>>>,
    on_sample: Box<dyn Fn(&Sample) + Send + Sync>,
}

impl MetricsSampler {
    /// Samples so often; at least 100 ms apart.
    pub fn new(store: &SharedStore, every: Duration) -> Self {
        Self {
            store: Arc::clone(store),
            every: every.max(EVERY_MIN),
            latest: watch::Sender::new(None),
            on_sample: Box::new(|_| ()),
        }
    }

    /// Calls this for each sample. It must not block.
    #[must_use]
    pub fn on_sample(mut self, call: impl Fn(&Sample) + Send + Sync + 'static) -> Self {
        self.on_sample = Box::new(call);
        self
    }

    /// The newest sample, once there is one.
    pub fn latest(&self) -> watch::Receiver<Option<Arc<Sample>>> {
        self.latest.subscribe()
    }

    async fn sample(&self, now: Timestamp) -> Result<Sample, taskwright_store::Error> {
        let queues = self.store.queues(now, None).await?;
        let workers = self.store.workers().await?;
        let workers = workers.iter().filter(|worker| worker.state == WorkerState::Alive).count();
        Ok(Sample { at: now, queues, workers, rss_bytes: own_resident_bytes() })
    }
}

impl Service for MetricsSampler {
    async fn run(&self, ctx: ServiceContext) -> Result<(), ServiceError> {
        loop {
            match ctx.or_stopped(self.sample(ctx.env().now())).await {
                None => return Ok(()),
                Some(Ok(sample)) => {
                    (self.on_sample)(&sample);
                    self.latest.send_replace(Some(Arc::new(sample)));
                }
                Some(Err(error)) => tracing::debug!(%error, "a sample was missed: the store does not answer"),
            }
            if !ctx.sleep(self.every).await {
                return Ok(());
            }
        }
    }
}
