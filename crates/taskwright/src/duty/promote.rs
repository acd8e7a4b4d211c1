//! Makes jobs available whose time has come, and drops held ones that nobody released in time.

use std::time::Duration;

use taskwright_store::{Reply, SharedStore};

use super::runner::{Duty, Next};
use crate::env::Env;

/// Jobs of one call.
const PROMOTE_JOBS_MAX: usize = 1_000;
/// The longest time between two looks: 1 s. A job that another process schedules may be due before the next known one,
/// and the hint may be missed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Promote {
    store: SharedStore,
}

impl Promote {
    pub(super) fn new(store: SharedStore) -> Self {
        Self { store }
    }
}

impl Duty for Promote {
    fn name(&self) -> &'static str {
        "promote"
    }

    fn follows_hints(&self) -> bool {
        true
    }

    fn run_once<'a>(&'a self, env: &'a Env) -> Reply<'a, Next> {
        Box::pin(async move {
            let now = env.now();
            let done = self.store.promote(now, PROMOTE_JOBS_MAX).await?;
            if done.promoted + done.expired > 0 {
                tracing::debug!(done.promoted, done.expired, "jobs have come due");
            }
            Ok(match done.next_due {
                Some(due) if due <= now => Next::More,
                Some(due) => Next::At(due, LOOK_EVERY),
                None => Next::After(LOOK_EVERY),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use taskwright_core::State;
    use taskwright_store::memory::MemoryStore;

    use super::*;
    use crate::duty::runner::exhaust;
    use crate::testing::simulate;
    use crate::{Client, Job};

    #[test]
    fn a_backlog_larger_than_one_call_is_promoted_whole_and_a_second_run_finds_nothing() {
        simulate(1, async |sim| {
            let store: SharedStore = Arc::new(MemoryStore::new());
            let client = Client::new(Arc::clone(&store), sim.env());
            let jobs = (0..2_500).map(|_| Job::new("a").run_in(Duration::from_secs(60)));
            let ids = client.enqueue_many(jobs).await.unwrap();
            let duty = Promote::new(Arc::clone(&store));

            let Next::At(due, _) = duty.run_once(&sim.env()).await.unwrap() else { panic!("all wait") };
            assert_eq!(due, sim.env().now().plus(Duration::from_secs(60)));
            sim.advance(Duration::from_secs(60)).await;
            for _ in 0..2 {
                exhaust(&duty, &sim.env()).await.unwrap();
            }
            for id in [ids[0].id, ids[2_499].id] {
                assert_eq!(client.job(id).await.unwrap().unwrap().view.state, State::Available);
            }
            assert_eq!(duty.run_once(&sim.env()).await.unwrap(), Next::After(LOOK_EVERY));
        });
    }
}
