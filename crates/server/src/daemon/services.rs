//! The services of `up`: samplers, which nothing else depends on, and those that the program brings.

use std::time::Duration;

use taskwright::report::LogReporter;
use taskwright::service::{HealthSampler, MetricsSampler, Sample, Services};
use taskwright::store::SharedStore;

use crate::cli::Context;
use crate::error::Error;

/// How often the queues are measured: every 15 s.
const SAMPLE_EVERY: Duration = Duration::from_secs(15);
/// How often the store is asked whether it answers: every 5 s.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// How long the end waits for them: 2 s.
const STOP_TIME: Duration = Duration::from_secs(2);
/// How long it waits then for those to be told who hear of failures: 2 s.
const REPORT_TIME: Duration = Duration::from_secs(2);

/// Those that there are, which have yet to be started.
pub(super) fn ready(context: &Context, store: &SharedStore) -> Result<Services, Error> {
    let env = &context.env;
    let services = Services::new(env, context.app.reports().to(LogReporter))
        .add("metrics-sampler", MetricsSampler::new(store, SAMPLE_EVERY).on_sample(tell))?
        .add("store-health", HealthSampler::new(store, ASK_EVERY))?
        .shown_in(store);
    Ok(context.app.add_services(services, store, env)?)
}

/// Stops them.
pub(super) async fn stop(services: &Services) {
    services.stop_within(STOP_TIME).await;
    if !services.reports().flush(REPORT_TIME).await {
        tracing::warn!("not all failures of services were reported");
    }
}

fn tell(sample: &Sample) {
    let available: u64 = sample.queues.iter().map(|queue| queue.available).sum();
    let running: u64 = sample.queues.iter().map(|queue| queue.running).sum();
    let Sample { workers, rss_bytes, .. } = sample;
    tracing::debug!(available, running, workers, rss_bytes, "sampled");
}
