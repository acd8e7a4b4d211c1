//! Jobs that flow through the workers while others are measured; each tells in its arguments when it was sent.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Deserialize;
use taskwright::env::Spawned;
use taskwright::store::SharedStore;
use taskwright::{Client, Env, Registry};

use super::scene::{job_of, payload_with};
use crate::cli::bench::Bench;
use crate::error::Error;

/// Their task: it does nothing but note how long it took to be called.
const KIND: &str = "bench.flow";

/// How often they are sent: what is due by then, together.
const SENT_EVERY: Duration = Duration::from_millis(10);

/// How a worker process begins the line that tells what it has noted.
const TOLD: &str = "flow";

/// Sends jobs at a steady rate that nobody waits for, until it is dropped.
pub(super) struct Flow {
    sent: Arc<AtomicU64>,
    began_us: u64,
    _sending: Option<Spawned<()>>,
}

impl Flow {
    pub(super) fn start(env: &Env, store: &SharedStore, verb: &Bench) -> Self {
        let (sent, began_us) = (Arc::new(AtomicU64::new(0)), env.monotonic_us());
        let client = Client::new(Arc::clone(store), env.clone());
        let (rate, bytes, clock, counted) = (verb.rate, verb.payload, env.clone(), sent.clone());
        let sending = async move {
            loop {
                clock.sleep(SENT_EVERY).await;
                let now_us = clock.monotonic_us();
                let due = rate * (now_us - began_us) / 1_000_000;
                let from = counted.load(Ordering::Relaxed);
                let head = |number| format!(r#""id":{number},"sent_us":{now_us}"#);
                let jobs = (from..due).map(|number| job_of(KIND, payload_with(&head(number), bytes)));
                // What did not get through is sent with the next ones; that it happened shows in the rate.
                if client.enqueue_each(jobs, |_| ()).await.is_ok() {
                    counted.store(due, Ordering::Relaxed);
                }
            }
        };
        Self { sent, began_us, _sending: (rate > 0).then(|| env.spawn("bench-flow", sending)) }
    }

    /// Jobs that were stored, and since when.
    pub(super) fn so_far(&self, env: &Env) -> (u64, Duration) {
        let since = Duration::from_micros(env.monotonic_us() - self.began_us);
        (self.sent.load(Ordering::Relaxed), since)
    }
}

/// How long such jobs took from the call that sent them (its commit included) to the call of their handler.
#[derive(Clone)]
pub(super) struct Noted(Arc<Mutex<Histogram<u64>>>);

/// What such a job says in its arguments.
#[derive(Deserialize)]
struct Sent {
    sent_us: u64,
}

impl Noted {
    pub(super) fn new() -> Result<Self, Error> {
        Ok(Self(Arc::new(Mutex::new(histogram()?))))
    }

    /// The registry with the task of such jobs.
    pub(super) fn handle(&self, registry: Registry) -> Result<Registry, Error> {
        let noted = self.clone();
        Ok(registry.handler(KIND, move |context| {
            let took = context
                .args::<Sent>()
                .map(|Sent { sent_us }| context.env().monotonic_us().saturating_sub(sent_us));
            let noted = took.map(|us| noted.lock().saturating_record(us.max(1)));
            async { Ok(noted?) }
        })?)
    }

    /// What was noted, in a line for another process.
    pub(super) fn line(&self) -> String {
        let counts = self
            .lock()
            .iter_recorded()
            .map(|step| format!(" {}:{}", step.value_iterated_to(), step.count_at_value()))
            .collect::<String>();
        format!("{TOLD}{counts}")
    }

    /// Adds what another process has noted; lines about something else are passed over.
    pub(super) fn add(&self, line: &str) {
        let Some(counts) = line.strip_prefix(TOLD) else { return };
        let counts = counts.split(' ').filter_map(|step| step.split_once(':'));
        for (us, count) in counts.filter_map(|(us, count)| Some((us.parse().ok()?, count.parse().ok()?))) {
            self.lock().saturating_record_n(us, count);
        }
    }

    pub(super) fn histogram(&self) -> Histogram<u64> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Histogram<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For microseconds: from 1 to a minute, with three digits.
pub(super) fn histogram() -> Result<Histogram<u64>, Error> {
    Histogram::new_with_bounds(1, 60_000_000, 3)
        .map_err(|error| Error::operational("the histogram", error.to_string(), "please report this"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_worker_process_noted_is_told_whole() {
        let (there, here) = (Noted::new().unwrap(), Noted::new().unwrap());
        for us in [1, 7, 7, 1_500, 30_000_000] {
            there.lock().saturating_record(us);
        }
        here.add("ready");
        here.add(&there.line());
        assert_eq!(here.histogram(), there.histogram());
        here.add(&there.line());
        assert_eq!(here.histogram().len(), 10);
    }
}
