//! Tells the store that items of generators have ended, so that these are asked for more before the next look.
//!
//! The store answers after how many more ends it wants to hear, and until then, or for a moment, they are gathered here. Whoever runs
//! no items has nothing to do with this.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use taskwright_core::{GeneratorName, Namespace, QueueName};
use taskwright_store::{Finish, ItemsEnded};
use tokio::sync::Notify;

use super::incarnation::Incarnation;
use crate::attempt::lock;

/// How long ends are gathered at most when the store does not want to hear of so few: 20 ms. As other workers may run items of
/// the same generator, the store may want to hear of fewer by then.
const GATHER_MAX: Duration = Duration::from_millis(20);
/// The shortest time between two calls: 1 ms.
const CALL_EVERY: Duration = Duration::from_millis(1);

/// Of more generators it is forgotten how many ends the store wants: 1,000.
const KEPT_MAX: usize = 1_000;

/// A generator.
pub(crate) type Of = (Namespace, GeneratorName);

/// Ends of items of which the store has not been told.
#[derive(Default)]
pub(crate) struct ItemEnds {
    waiting: Mutex<HashMap<Of, Waiting>>,
    /// Told when there are some, and when there are enough.
    arrived: Notify,
    enough: Notify,
}

/// Ends of items of one generator.
#[derive(Default)]
struct Waiting {
    count: u32,
    /// After how many the store wants to hear of it.
    wanted: u32,
}

impl ItemEnds {
    /// Adds items that have ended.
    pub(crate) fn add(&self, of: Vec<Of>) {
        if of.is_empty() {
            return;
        }
        let mut waiting = lock(&self.waiting);
        for of in of {
            waiting.entry(of).or_default().count += 1;
        }
        let is_enough = waiting.values().any(|one| one.count > 0 && one.count >= one.wanted);
        drop(waiting);
        self.arrived.notify_one();
        if is_enough {
            self.enough.notify_one();
        }
    }

    fn take(&self) -> Vec<ItemsEnded> {
        let mut waiting = lock(&self.waiting);
        let some = waiting.iter_mut().filter(|(_, one)| one.count > 0);
        let taken = some.map(|((namespace, name), one)| {
            let count = std::mem::take(&mut one.count);
            ItemsEnded { namespace: namespace.clone(), name: name.clone(), count }
        });
        let taken = taken.collect();
        if waiting.len() > KEPT_MAX {
            waiting.clear();
        }
        taken
    }

    fn note_wanted(&self, told: Vec<ItemsEnded>, wanted: Vec<u32>) {
        let mut waiting = lock(&self.waiting);
        for (told, wanted) in told.into_iter().zip(wanted) {
            // None more: it is looked at now, and then as many will be wanted as before.
            if wanted > 0 {
                waiting.entry((told.namespace, told.name)).or_default().wanted = wanted;
            }
        }
    }
}

/// The generator whose item has ended for good, if that is what an end says.
pub(crate) fn ended_item(end: &Finish, namespace: &Namespace, queue: &QueueName) -> Option<Of> {
    let name = GeneratorName::of_queue(queue).filter(|_| end.decision.to.is_terminal())?;
    Some((namespace.clone(), name))
}

/// Tells the store, until the task is dropped.
pub(crate) async fn run(worker: Arc<Incarnation>) {
    let (env, ends) = (&worker.host.env, &worker.item_ends);
    loop {
        ends.arrived.notified().await;
        tokio::select! {
            biased;
            () = ends.enough.notified() => {}
            () = env.sleep(GATHER_MAX) => {}
        }
        let told = ends.take();
        if told.is_empty() {
            continue;
        }
        match worker.store.items_ended(env.now(), told.clone()).await {
            Ok(wanted) => ends.note_wanted(told, wanted),
            // They are found at the next look all the same.
            Err(error) => tracing::debug!(worker = %worker.id(), %error, "nobody was told of ends of items"),
        }
        env.sleep(CALL_EVERY).await;
    }
}
