//! The generator that adds what ended to roll-ups, known to every node. Like a [collector](super::collector) it makes no items.

use std::time::Duration;

use taskwright_core::generator::{Definition, ROLL_UP};
use taskwright_store::SharedStore;

use super::collector::own;
use super::{Generator, Next, Poll, PollError, Polled};
use crate::env::{Env, micros};

/// Executions of one transaction.
const BATCH: usize = 5_000;
/// How long one poll goes on: 1 s, and at most [`BATCHES_MAX`] batches. Between two batches it rests as long as the last one took.
const POLL_TIME: Duration = Duration::from_secs(1);
const BATCHES_MAX: usize = 100;
/// When it looks again after there was something: 5 s.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// How long it is left alone when nothing ended: 2 s, doubling up to 5 s. So what ends is seen five seconds later at most.
const IDLE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(5));

/// Rolls up.
pub(super) struct RollUps {
    store: SharedStore,
    env: Env,
}

impl RollUps {
    pub(super) fn new(store: SharedStore, env: Env) -> Self {
        Self { store, env }
    }
}

impl Generator for RollUps {
    fn name(&self) -> &str {
        ROLL_UP
    }

    fn options(&self, defaults: Definition) -> Definition {
        own(defaults, IDLE)
    }

    async fn poll(&self, poll: Poll) -> Result<Polled, PollError> {
        let until_us = self.env.monotonic_us() + micros(POLL_TIME);
        let mut executions = 0;
        let mut next = Next::At(poll.now);
        for _ in 0..BATCHES_MAX {
            let began_us = self.env.monotonic_us();
            let rolled = self.store.roll_up(BATCH).await?;
            let took = Duration::from_micros(self.env.monotonic_us() - began_us);
            executions += rolled.executions;
            if !rolled.more {
                next = if executions > 0 { Next::At(poll.now.plus(AGAIN_AFTER)) } else { Next::Idle };
                break;
            }
            if self.env.monotonic_us() >= until_us {
                break;
            }
            self.env.sleep(took).await;
        }
        let before = poll.state["executions"].as_u64().unwrap_or(0);
        let state = match executions {
            0 => poll.state,
            _ => serde_json::json!({ "executions": before + executions }),
        };
        Ok(Polled::new(Vec::new(), state, next))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use taskwright_core::Garbage;
    use taskwright_core::generator::SEAL;
    use taskwright_store::memory::MemoryStore;

    use super::*;
    use crate::duty::{self, DutyConfig};
    use crate::testing::simulate;

    /// PH-18: all that collects facts or garbage loads, each under a name of its own.
    #[test]
    fn ph_18_every_generator_of_our_own_has_a_name_of_its_own_and_is_registered() {
        simulate(1, async |sim| {
            let store: SharedStore = Arc::new(MemoryStore::new());
            duty::run_once(&store, &sim.env(), &DutyConfig::default(), |_| ()).await.unwrap();
            let stored = store.generators(None, None, 100).await.unwrap();
            let names: BTreeSet<String> = stored.iter().map(|one| one.name.to_string()).collect();
            let ours = Garbage::ALL.iter().map(|garbage| format!("gc:{}", garbage.as_str()));
            let ours: BTreeSet<String> = ours.chain([ROLL_UP.to_owned(), SEAL.to_owned()]).collect();
            assert_eq!((names, stored.len()), (ours, Garbage::ALL.len() + 2));
            for one in stored {
                assert!(is_well(&one.record), "{}: {}", one.name, one.record);
            }
        });
    }

    fn is_well(record: &str) -> bool {
        let record: taskwright_core::generator::Record = serde_json::from_str(record).unwrap();
        record.counts.polls > 0 && record.failures == 0
    }
}
