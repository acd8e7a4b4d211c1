//! Delivers events: offers each to the schedules that wait for it, once.
//!
//! As with [`fire`](super::fire) every node does it and the leader goes first.

use std::sync::Arc;
use std::time::Duration;

use taskwright_core::trigger::CustomTriggers;
use taskwright_store::{Error, Reply, ScheduleWrite, SharedStore, StoredEvent};

use super::fire::{behind, cancel_all, states};
use super::lead::Terms;
use super::runner::{Duty, Next};
use crate::env::Env;
use crate::schedule::{Decider, Listener, open_ids};

/// Events of one call.
const EVENTS_MAX: usize = 200;
/// The longest time between two looks: 1 s.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Deliver {
    store: SharedStore,
    custom: Arc<CustomTriggers>,
    terms: Option<Terms>,
}

impl Deliver {
    pub(super) fn new(store: SharedStore, custom: Arc<CustomTriggers>, terms: Option<Terms>) -> Self {
        Self { store, custom, terms }
    }

    /// Offers events to everybody who listens; `false` when somebody else was faster.
    async fn deliver(&self, env: &Env, events: &[StoredEvent]) -> Result<bool, Error> {
        // After the events: whoever was registered before one of them was emitted is among these.
        let listeners = self.store.listeners().await?;
        let states = states(&self.store, listeners.iter().flat_map(open_ids).collect()).await?;
        let mut listeners: Vec<Listener> =
            listeners.into_iter().filter_map(|stored| Listener::new(stored, &states)).collect();
        let decider = Decider { env, now: env.now(), custom: &self.custom };
        let mut cancel = Vec::new();
        for event in events {
            // It was checked on its way in.
            let payload = event.event.payload.parse().unwrap_or_default();
            for listener in &mut listeners {
                let name = listener.stored.name.clone();
                if let Some(jobs) = decider.event(listener, event, &payload) {
                    cancel.push((name, jobs));
                }
            }
        }
        for (name, jobs) in cancel {
            cancel_all(&self.store, decider.now, name.as_str(), jobs).await?;
        }
        let writes: Vec<ScheduleWrite> =
            listeners.into_iter().filter_map(|listener| listener.write).collect();
        let keys = events.iter().map(|event| event.number).collect();
        self.store.deliver(decider.now, keys, writes).await
    }
}

impl Duty for Deliver {
    fn name(&self) -> &'static str {
        "deliver"
    }

    fn follows_hints(&self) -> bool {
        true
    }

    fn run_once<'a>(&'a self, env: &'a Env) -> Reply<'a, Next> {
        Box::pin(async move {
            let behind = behind(self.terms.as_ref(), env);
            let events = self.store.undelivered(EVENTS_MAX).await?;
            let Some(oldest) = events.first() else { return Ok(Next::After(LOOK_EVERY)) };
            let turn = oldest.at.plus(behind);
            if turn > env.now() {
                return Ok(Next::At(turn, LOOK_EVERY));
            }
            let done = self.deliver(env, &events).await?;
            Ok(match done {
                true if events.len() < EVENTS_MAX => Next::After(LOOK_EVERY),
                _ => Next::More,
            })
        })
    }
}
