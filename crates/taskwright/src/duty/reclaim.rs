//! Finds workers that are gone, and hands their jobs on.

use std::time::Duration;

use taskwright_store::{LostWorker, Reply, SharedStore};

use super::runner::{Duty, Next};
use crate::env::Env;

pub(super) struct Reclaim {
    store: SharedStore,
    every: Duration,
    on_lost: OnLost,
}

/// What is called for each worker that was found gone.
pub(super) type OnLost = Box<dyn Fn(&LostWorker) + Send + Sync>;

impl Reclaim {
    pub(super) fn new(store: SharedStore, every: Duration, on_lost: OnLost) -> Self {
        Self { store, every, on_lost }
    }
}

impl Duty for Reclaim {
    fn name(&self) -> &'static str {
        "reclaim"
    }

    fn run_once<'a>(&'a self, env: &'a Env) -> Reply<'a, Next> {
        Box::pin(async move {
            let reclaimed = self.store.reclaim(env.now(), env.monotonic_us()).await?;
            for lost in reclaimed.workers {
                tracing::warn!(
                    worker = %lost.id,
                    pid = lost.pid,
                    how = lost.how,
                    requeued = lost.requeued,
                    given_back = lost.given_back,
                    ended = lost.ended,
                    "a worker was lost and its jobs go on",
                );
                (self.on_lost)(&lost);
            }
            Ok(Next::After(reclaimed.look_again_in.map_or(self.every, |soon| soon.min(self.every))))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use taskwright_store::memory::MemoryStore;
    use taskwright_store::{NewWorker, WorkerState};

    use super::*;
    use crate::testing::simulate;

    #[test]
    fn a_worker_whose_lease_ran_out_is_found_once() {
        simulate(1, async |sim| {
            let env = sim.env();
            let store: SharedStore = Arc::new(MemoryStore::new());
            let lease = Duration::from_secs(15);
            let worker = NewWorker {
                id: env.worker_id(),
                host: "here".to_owned(),
                pid: 7,
                concurrency: 1,
                queues: Vec::new(),
                lease,
            };
            store.register(env.now(), env.monotonic_us(), worker).await.unwrap();
            let duty = Reclaim::new(Arc::clone(&store), Duration::from_millis(500), Box::new(|_| ()));
            let state = async || store.workers().await.unwrap()[0].state;

            sim.advance(lease).await;
            assert_eq!(duty.run_once(&env).await.unwrap(), Next::After(Duration::from_millis(500)));
            assert_eq!(state().await, WorkerState::Alive);
            sim.advance(Duration::from_micros(1)).await;
            duty.run_once(&env).await.unwrap();
            assert_eq!(state().await, WorkerState::Lost);
            assert!(store.reclaim(env.now(), env.monotonic_us()).await.unwrap().workers.is_empty());
        });
    }
}
