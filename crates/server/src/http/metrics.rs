//! What `/metrics` tells, in the text form of OpenMetrics.

use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use taskwright_store::{QueueView, WorkerState, WorkerView};

/// Upper ends of the buckets of how long requests take, in seconds.
const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    operation: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Jobs {
    namespace: String,
    queue: String,
    state: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Queue {
    namespace: String,
    queue: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Workers {
    state: String,
}

/// What is counted while the server runs. What the store knows is asked when somebody wants to know.
pub(crate) struct Metrics {
    requests: Family<Request, Histogram, fn() -> Histogram>,
    began_us: u64,
}

/// What the store knows.
pub(crate) struct Seen<'a> {
    pub(crate) queues: &'a [QueueView],
    pub(crate) workers: &'a [WorkerView],
    pub(crate) now: taskwright_core::Timestamp,
    pub(crate) monotonic_us: u64,
    pub(crate) streams: usize,
}

impl Metrics {
    /// Nothing yet.
    pub(crate) fn new(began_us: u64) -> Self {
        Self { requests: Family::new_with_constructor(|| Histogram::new(SECONDS)), began_us }
    }

    /// For how long the server runs, at this moment.
    pub(crate) fn uptime_us(&self, monotonic_us: u64) -> u64 {
        monotonic_us.saturating_sub(self.began_us)
    }

    /// Counts a request.
    pub(crate) fn answered(&self, operation: &str, status: StatusCode, took_us: u64) {
        let labels = Request { operation: operation.to_owned(), status: status.as_u16() };
        self.requests.get_or_create(&labels).observe(seconds(took_us));
    }

    /// Everything as text.
    pub(crate) fn text(&self, seen: &Seen<'_>) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::with_prefix("taskwright");
        registry.register_with_unit(
            "http_request_duration",
            "How long requests took",
            Unit::Seconds,
            self.requests.clone(),
        );
        let uptime: Gauge<f64, std::sync::atomic::AtomicU64> = Gauge::default();
        uptime.set(seconds(self.uptime_us(seen.monotonic_us)));
        registry.register_with_unit("uptime", "For how long the server runs", Unit::Seconds, uptime);
        let streams = Gauge::<i64>::default();
        streams.set(whole(seen.streams as u64));
        registry.register("http_streams", "Streams and long polls that are open", streams);
        self.jobs(&mut registry, seen);
        let workers = Family::<Workers, Gauge>::default();
        for (word, state) in
            [("alive", WorkerState::Alive), ("stopped", WorkerState::Stopped), ("lost", WorkerState::Lost)]
        {
            let count = seen.workers.iter().filter(|worker| worker.state == state).count();
            workers.get_or_create(&Workers { state: word.to_owned() }).set(whole(count as u64));
        }
        registry.register(
            "workers",
            "Workers that are alive, stopped, lost; for as long as they are kept",
            workers,
        );
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }

    fn jobs(&self, registry: &mut Registry, seen: &Seen<'_>) {
        let jobs = Family::<Jobs, Gauge>::default();
        let paused = Family::<Queue, Gauge>::default();
        let oldest = Family::<Queue, Gauge<f64, std::sync::atomic::AtomicU64>>::default();
        for queue in seen.queues {
            let (namespace, name) = (queue.namespace.to_string(), queue.name.to_string());
            for (state, count) in
                [("available", queue.available), ("running", queue.running), ("waiting", queue.waiting)]
            {
                let (namespace, queue) = (namespace.clone(), name.clone());
                jobs.get_or_create(&Jobs { namespace, queue, state: state.to_owned() }).set(whole(count));
            }
            let waited = queue.oldest_available.map_or(0, |at| crate::answer::micros(seen.now.since(at)));
            let labels = Queue { namespace, queue: name };
            oldest.get_or_create(&labels).set(seconds(waited));
            paused.get_or_create(&labels).set(i64::from(queue.paused));
        }
        registry.register("jobs", "Jobs that are available, running, or waiting (scheduled, retryable, held, blocked); counted up to 100,000", jobs);
        registry.register("queue_paused", "1 when nothing is claimed from the queue", paused);
        registry.register_with_unit(
            "queue_oldest_available",
            "For how long the job waits that has been available for longest; 0 when none is",
            Unit::Seconds,
            oldest,
        );
    }
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn seconds(us: u64) -> f64 {
    std::time::Duration::from_micros(us).as_secs_f64()
}
