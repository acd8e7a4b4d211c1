//! One wall clock for all machines on a store: the store's.
//!
//! Machines' clocks differ, by minutes where nobody sets them. Whether a job is due must not depend on which machine looks,
//! so every process that plans, promotes or writes down times does it by the clock of the store, if that has one of its own:
//! this machine's, and by how much the store's is ahead. That is measured when a process begins to use the store, and again
//! with each heartbeat and each look for the lead.
//!
//! A measurement is as good as half of its round trip, and changes nothing when it agrees with the one before within that.

use std::time::Duration;

use taskwright_store::{Error, Store};

use crate::env::Env;

/// A round trip that took longer says too little: 500 ms.
const ROUND_TRIP_MAX: Duration = Duration::from_millis(500);

/// For how long a heartbeat waits for the answer: 1 s.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// A difference that somebody should hear of: 1 s.
const NOTABLE_US: u64 = 1_000_000;

impl Env {
    /// Sets the wall clock by the store's, if it has one of its own: from then on [`now`](Self::now) is the store's time.
    ///
    /// # Errors
    ///
    /// When the store does not answer; the clock is then left as it is.
    pub async fn follow(&self, store: &dyn Store) -> Result<(), Error> {
        let (asked, asked_us) = (self.machine_now(), self.monotonic_us());
        let Some(told) = store.now().await? else { return Ok(()) };
        let took_us = self.monotonic_us().saturating_sub(asked_us);
        if Duration::from_micros(took_us) > ROUND_TRIP_MAX {
            return Ok(());
        }
        let half_us = i64::try_from(took_us / 2).unwrap_or(i64::MAX);
        let ahead_us = told.as_micros().saturating_sub(asked.as_micros().saturating_add(half_us));
        let change_us = ahead_us.abs_diff(self.ahead_us());
        if change_us > half_us.unsigned_abs() {
            if change_us >= NOTABLE_US {
                let ahead_ms = ahead_us / 1_000;
                tracing::warn!(ahead_ms, "this machine's clock differs from the store's, by which all go");
            }
            self.set_ahead_us(ahead_us);
        }
        Ok(())
    }

    /// As [`follow`](Self::follow), for whoever has something else to do: a store that does not answer is asked another time.
    pub(crate) async fn follow_if_quick(&self, store: &dyn Store) {
        if let Some(Err(error)) = self.timeout(WAIT_MAX, self.follow(store)).await {
            tracing::debug!(%error, "the store does not tell the time");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use taskwright_store::memory::MemoryStore;

    use super::*;
    use crate::testing::{FaultyStore, simulate};

    #[test]
    fn the_wall_clock_is_the_stores_and_runs_on_with_this_machines() {
        simulate(1, async |sim| {
            let (env, store) = (sim.env(), FaultyStore::new(Arc::new(MemoryStore::new())));
            env.follow(&*store).await.unwrap();
            assert_eq!(env.now(), env.machine_now(), "a store of this machine has no other clock");

            let theirs = env.machine_now().plus(Duration::from_secs(300));
            store.tell_time(theirs);
            env.follow(&*store).await.unwrap();
            assert_eq!(env.now(), theirs);
            sim.advance(Duration::from_secs(60)).await;
            assert_eq!(env.now(), theirs.plus(Duration::from_secs(60)));
            assert!(env.machine_now() < theirs);
        });
    }
}
