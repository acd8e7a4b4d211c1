//! Watches whether the store answers.

use std::sync::Arc;
use std::time::Duration;

use taskwright_core::Timestamp;
use taskwright_store::SharedStore;
use tokio::sync::watch;

use super::{Service, ServiceContext, ServiceError};
use crate::env::Env;

/// The shortest time between two looks: 100 ms.
const EVERY_MIN: Duration = Duration::from_millis(100);

/// How a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// When it was asked.
    pub at: Timestamp,
    /// Since when it is as it is: well, or not.
    pub since: Timestamp,
    /// How long its answer took, or was waited for.
    pub took: Duration,
    /// What is wrong, if anything is.
    pub error: Option<String>,
    /// How often in a row something was.
    pub failures: u32,
}

impl Health {
    /// Whether it answered in time.
    pub fn is_well(&self) -> bool {
        self.error.is_none()
    }
}

/// Asks the store now and then whether it answers, as `/readyz` does, and tells in the log when that changes.
///
/// The first look is made at once. A store that is not well does not end the service.
pub struct HealthSampler {
    store: SharedStore,
    every: Duration,
    within: Duration,
    latest: watch::Sender<Option<Health>>,
}

impl HealthSampler {
    /// Asks so often; at least 100 ms apart. An answer is waited for 2 s.
    pub fn new(store: &SharedStore, every: Duration) -> Self {
        Self {
            store: Arc::clone(store),
            every: every.max(EVERY_MIN),
            within: Duration::from_secs(2),
            latest: watch::Sender::new(None),
        }
    }

    /// How long an answer may take. Default 2 s.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.within = limit;
        self
    }

    /// How it was at the newest look, once there was one.
    pub fn latest(&self) -> watch::Receiver<Option<Health>> {
        self.latest.subscribe()
    }

    async fn look(&self, env: &Env) -> Health {
        let (at, began_us) = (env.now(), env.monotonic_us());
        let answer = env.timeout(self.within, self.store.log_head()).await;
        let took = Duration::from_micros(env.monotonic_us() - began_us);
        let error = match answer {
            Some(Ok(_)) => None,
            Some(Err(error)) => Some(error.to_string()),
            None => Some(format!("it did not answer within {:?}", self.within)),
        };
        Health { at, since: at, took, failures: u32::from(error.is_some()), error }
    }

    fn note(&self, mut health: Health) {
        let before = self.latest.borrow().clone();
        if let Some(before) = before.as_ref().filter(|before| before.is_well() == health.is_well()) {
            health.since = before.since;
            health.failures = if health.is_well() { 0 } else { before.failures.saturating_add(1) };
        } else if let Some(error) = &health.error {
            tracing::warn!(error, "the store does not answer");
        } else if let Some(before) = before {
            let silent = health.at.since(before.since);
            tracing::info!(failures = before.failures, "the store answers again, after {silent:?}");
        }
        self.latest.send_replace(Some(health));
    }
}

impl Service for HealthSampler {
    async fn run(&self, ctx: ServiceContext) -> Result<(), ServiceError> {
        loop {
            match ctx.or_stopped(self.look(ctx.env())).await {
                None => return Ok(()),
                Some(health) => self.note(health),
            }
            if !ctx.sleep(self.every).await {
                return Ok(());
            }
        }
    }
}
