//! The generator that makes entries of the audit links of its chain, known to every node. Like a [collector](super::collector) it
//! makes no items.

use std::time::Duration;

use taskwright_core::generator::{Definition, SEAL};
use taskwright_store::SharedStore;

use super::collector::own;
use super::{Generator, Next, Poll, PollError, Polled};

/// Entries of one transaction, and such transactions of one poll.
const BATCH: usize = 1_000;
const BATCHES_MAX: usize = 100;
/// When it looks again after there was something: 1 s.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long it is left alone when nobody did anything: 1 s, doubling up to 30 s.
const IDLE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Seals.
pub(super) struct Sealer {
    store: SharedStore,
}

impl Sealer {
    pub(super) fn new(store: SharedStore) -> Self {
        Self { store }
    }
}

impl Generator for Sealer {
    fn name(&self) -> &str {
        SEAL
    }

    fn options(&self, defaults: Definition) -> Definition {
        own(defaults, IDLE)
    }

    async fn poll(&self, poll: Poll) -> Result<Polled, PollError> {
        let mut entries = 0;
        for _ in 0..BATCHES_MAX {
            let sealed = self.store.seal_audit(BATCH).await?;
            entries += sealed as u64;
            if sealed < BATCH {
                break;
            }
        }
        let next = if entries > 0 { Next::At(poll.now.plus(AGAIN_AFTER)) } else { Next::Idle };
        let before = poll.state["entries"].as_u64().unwrap_or(0);
        let state = match entries {
            0 => poll.state,
            _ => serde_json::json!({ "entries": before + entries }),
        };
        Ok(Polled::new(Vec::new(), state, next))
    }
}
