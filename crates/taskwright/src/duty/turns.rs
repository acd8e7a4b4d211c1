//! The turns of generators that this node has under way.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use taskwright_store::{GeneratorKey, SharedStore};

use crate::attempt::lock;
use crate::env::{Env, Spawned};

/// How long turns may go on when the node stops: 2 s. The others are let go of.
const STOP_MAX: Duration = Duration::from_secs(2);

/// Whose turns a turn is counted among.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lot {
    /// Those of the generators that Taskwright brings itself.
    Own,
    /// Those of other generators that are of no family.
    Single,
    /// Those of the family at this place.
    Family(usize),
}

/// The turns that are under way. Dropping the value ends them; their generators are free when the leases are over.
#[derive(Default)]
pub(super) struct Turns(Mutex<HashMap<GeneratorKey, UnderWay>>);

struct UnderWay {
    fence: u64,
    lot: Lot,
    turn: Spawned<()>,
}

impl Turns {
    pub(super) fn add(&self, generator: GeneratorKey, fence: u64, lot: Lot, turn: Spawned<()>) {
        lock(&self.0).insert(generator, UnderWay { fence, lot, turn });
    }

    /// How many there are of each lot.
    pub(super) fn counts(&self) -> HashMap<Lot, usize> {
        let mut turns = lock(&self.0);
        turns.retain(|_, one| !one.turn.is_finished());
        let mut counts = HashMap::new();
        for one in turns.values() {
            *counts.entry(one.lot).or_default() += 1;
        }
        counts
    }

    /// Waits until all are over, and after 2 s ends those that are not: another node can take their generators at once.
    pub(super) async fn stop(&self, store: &SharedStore, env: &Env) {
        let mut turns = std::mem::take(&mut *lock(&self.0));
        let all_over = async {
            for one in turns.values_mut() {
                // One that died has been told of by whoever began it.
                let _ = (&mut one.turn).await;
            }
        };
        let _ = env.timeout(STOP_MAX, all_over).await;
        for (generator, UnderWay { fence, turn, .. }) in turns {
            if turn.is_finished() {
                continue;
            }
            drop(turn);
            if let Err(error) = store.renew_generator(generator, fence, env.now()).await {
                tracing::debug!(%error, "a generator is free when its lease is over");
            }
        }
    }
}
