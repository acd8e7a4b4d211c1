//! Removes what is over for longer than it is to be kept.

use std::time::Duration;

use taskwright_core::{Retention, Timestamp};
use taskwright_store::{Error, Reply, SharedStore};

use super::runner::{Duty, Next};
use crate::env::Env;

/// Jobs of one call. Small, so that a large backlog of old jobs never holds up the writers for long.
const PRUNE_JOBS_MAX: usize = 1_000;
/// Firings, and events, of one call.
const PRUNE_ROWS_MAX: usize = 5_000;
/// After this time what an event source has seen is forgotten, if nobody runs it any more: 90 days.
const SOURCE_GONE: Duration = Duration::from_secs(90 * 86_400);

pub(super) struct Prune {
    store: SharedStore,
    every: Duration,
    keep: Retention,
}

impl Prune {
    pub(super) fn new(store: SharedStore, every: Duration, keep: Retention) -> Self {
        Self { store, every, keep }
    }

    /// Removes old history of schedules, and old events; whether more is left.
    async fn forget(&self, now: Timestamp) -> Result<bool, Error> {
        let mut most = 0;
        if let Some(keep) = self.keep.firings {
            most = self.store.prune_firings(now.minus(keep), PRUNE_ROWS_MAX).await?;
        }
        if let Some(keep) = self.keep.events {
            most = most.max(self.store.prune_events(now.minus(keep), PRUNE_ROWS_MAX).await?);
        }
        if let Some(keep) = self.keep.deliveries {
            most = most.max(self.store.prune_deliveries(now.minus(keep), PRUNE_ROWS_MAX).await?);
        }
        let gone = now.minus(SOURCE_GONE);
        most = most.max(self.store.prune_sources(gone, PRUNE_ROWS_MAX).await?);
        Ok(most == PRUNE_ROWS_MAX)
    }
}

impl Duty for Prune {
    fn name(&self) -> &'static str {
        "prune"
    }

    fn run_once<'a>(&'a self, env: &'a Env) -> Reply<'a, Next> {
        Box::pin(async move {
            let done = self.store.prune(env.now(), self.keep, PRUNE_JOBS_MAX).await?;
            if done.jobs + done.workers > 0 {
                tracing::debug!(done.jobs, done.workers, "old jobs and workers were removed");
            }
            let more = self.forget(env.now()).await?;
            Ok(if done.more || more { Next::More } else { Next::After(self.every) })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use taskwright_core::Actor;
    use taskwright_store::Change;
    use taskwright_store::memory::MemoryStore;

    use super::*;
    use crate::duty::runner::exhaust;
    use crate::testing::simulate;
    use crate::{Client, Job};

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn every_job_that_is_over_for_long_is_removed_and_younger_ones_stay() {
        simulate(1, async |sim| {
            let env = sim.env();
            let store: SharedStore = Arc::new(MemoryStore::new());
            let client = Client::new(Arc::clone(&store), env.clone());
            let cancelled = async |count| {
                let jobs = (0..count).map(|_| Job::new("a"));
                let ids: Vec<_> =
                    client.enqueue_many(jobs).await.unwrap().iter().map(|stored| stored.id).collect();
                client.change(ids.clone(), Change::Cancel, Actor::system(), None).await.unwrap();
                ids
            };
            let old = cancelled(2_500).await;
            sim.advance(DAY * 20).await;
            let young = cancelled(1).await;
            let waiting = client.enqueue(Job::new("a")).await.unwrap().id;
            sim.advance(DAY * 11).await;

            let duty = Prune::new(Arc::clone(&store), DAY, Retention::default());
            for _ in 0..2 {
                exhaust(&duty, &env).await.unwrap();
            }
            for id in [old[0], old[2_499]] {
                assert!(client.job(id).await.unwrap().is_none());
            }
            for id in [young[0], waiting] {
                assert!(client.job(id).await.unwrap().is_some());
            }
        });
    }
}
