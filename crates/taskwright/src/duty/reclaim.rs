//! Finds workers that are gone, and hands their jobs on.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use taskwright_core::sight::Sight;
use taskwright_store::{Error, LostWorker, Reply, SharedStore};
use tokio::sync::Notify;

use super::runner::{Duty, Next};
use crate::attempt::lock;
use crate::env::{Env, micros};

/// How soon it looks again after somebody has seen a worker die, and after its own start: 10 ms, 20 ms and so on.
///
/// A process that is killed just when it starts a command leaves a copy of itself behind, until that has become the command; and
/// for so long the copy holds what the worker was seen by.
const SOON: [Duration; 5] = [
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(40),
    Duration::from_millis(80),
    Duration::from_millis(160),
];

/// How long whoever looks only once goes on looking at workers of which it is not certain: 1 min.
const CERTAIN_WITHIN: Duration = Duration::from_secs(60);

pub(super) struct Reclaim {
    store: SharedStore,
    every: Duration,
    on_lost: OnLost,
    haste: Arc<Haste>,
    /// What it has seen of the store so far.
    sight: Mutex<Sight>,
}

/// Makes it look at once, and again soon.
#[derive(Default)]
pub(super) struct Haste {
    asked: Arc<Notify>,
    /// How many of the soon looks were made.
    made: AtomicUsize,
}

impl Haste {
    /// Somebody has seen a worker die.
    pub(super) fn hurry(&self) {
        self.made.store(0, Ordering::Relaxed);
        self.asked.notify_one();
    }

    /// What asks for a look at once.
    pub(super) fn asked(&self) -> Arc<Notify> {
        Arc::clone(&self.asked)
    }

    /// When to look again, if that is soon.
    fn next(&self) -> Option<Duration> {
        let soon = SOON.get(self.made.load(Ordering::Relaxed))?;
        self.made.fetch_add(1, Ordering::Relaxed);
        Some(*soon)
    }
}

/// What is called for each worker that was found gone.
pub(super) type OnLost = Box<dyn Fn(&LostWorker) + Send + Sync>;

impl Reclaim {
    pub(super) fn new(store: SharedStore, every: Duration, on_lost: OnLost) -> Self {
        Self { store, every, on_lost, haste: Arc::default(), sight: Mutex::default() }
    }

    /// Looks until it is certain of everybody who seems to be gone, for whoever has only begun to look.
    pub(super) async fn until_certain(&self, env: &Env) -> Result<(), Error> {
        let until_us = env.monotonic_us() + micros(CERTAIN_WITHIN);
        while let Some(pause) = self.look(env).await?
            && env.monotonic_us() < until_us
        {
            env.sleep(pause).await;
        }
        Ok(())
    }

    /// Looks, and says how soon to look again if somebody seems to be gone.
    async fn look(&self, env: &Env) -> Result<Option<Duration>, Error> {
        let sight = lock(&self.sight).clone();
        let reclaimed = self.store.reclaim(env.now(), env.monotonic_us(), sight).await?;
        *lock(&self.sight) = reclaimed.sight;
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
        Ok(reclaimed.look_again_in)
    }

    /// What makes it hurry.
    pub(super) fn haste(&self) -> Arc<Haste> {
        Arc::clone(&self.haste)
    }
}

impl Duty for Reclaim {
    fn name(&self) -> &'static str {
        "reclaim"
    }

    fn run_once<'a>(&'a self, env: &'a Env) -> Reply<'a, Next> {
        Box::pin(async move {
            let soonest = self.look(env).await?.into_iter().chain(self.haste.next()).min();
            Ok(Next::After(soonest.map_or(self.every, |soon| soon.min(self.every))))
        })
    }
}

#[cfg(test)]
mod tests {
    use taskwright_store::memory::MemoryStore;
    use taskwright_store::{NewWorker, WorkerState};

    use super::*;
    use crate::testing::simulate;

    #[test]
    fn after_a_death_it_looks_again_soon_for_a_process_that_is_not_quite_gone() {
        simulate(1, async |sim| {
            let (env, every) = (sim.env(), Duration::from_millis(500));
            let duty = Reclaim::new(Arc::new(MemoryStore::new()), every, Box::new(|_| ()));
            let look = async || match duty.run_once(&env).await.unwrap() {
                Next::After(pause) => pause.as_millis(),
                next => panic!("{next:?}"),
            };
            let (mut at_first, mut after_a_death) = (Vec::new(), Vec::new());
            for _ in 0..7 {
                at_first.push(look().await);
            }
            duty.haste().hurry();
            for _ in 0..7 {
                after_a_death.push(look().await);
            }
            assert_eq!(at_first, [10, 20, 40, 80, 160, 500, 500]);
            assert_eq!(after_a_death, at_first);
        });
    }

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

            for _ in 0..=15 {
                duty.run_once(&env).await.unwrap();
                assert_eq!(state().await, WorkerState::Alive);
                sim.advance(Duration::from_secs(1)).await;
            }
            duty.run_once(&env).await.unwrap();
            assert_eq!(state().await, WorkerState::Lost);
            let again = store.reclaim(env.now(), env.monotonic_us(), Sight::endless()).await.unwrap();
            assert!(again.workers.is_empty());
        });
    }

    #[test]
    fn after_a_time_in_which_nobody_could_look_a_worker_has_a_lease_to_renew_its_own() {
        simulate(1, async |sim| {
            let (env, lease) = (sim.env(), Duration::from_secs(15));
            let store: SharedStore = Arc::new(MemoryStore::new());
            let id = env.worker_id();
            let worker =
                NewWorker { id, host: "here".into(), pid: 7, concurrency: 1, queues: Vec::new(), lease };
            store.register(env.now(), env.monotonic_us(), worker).await.unwrap();
            let duty = Reclaim::new(Arc::clone(&store), Duration::from_millis(500), Box::new(|_| ()));
            let looks = async |seconds: u32| {
                for _ in 0..seconds {
                    sim.advance(Duration::from_secs(1)).await;
                    duty.run_once(&env).await.unwrap();
                }
                store.workers().await.unwrap()[0].state
            };
            looks(10).await;

            sim.advance(lease).await;
            assert_eq!(looks(15).await, WorkerState::Alive, "its lease ran out while nobody could renew one");
            store.renew(env.now(), env.monotonic_us(), id).await.unwrap();
            assert_eq!(looks(15).await, WorkerState::Alive);
            assert_eq!(looks(1).await, WorkerState::Lost, "now everybody could");
        });
    }
}
