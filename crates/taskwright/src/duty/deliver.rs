//! Delivers events: offers each to the schedules that wait for it, once, and wakes the endpoints of webhooks that do.
//!
//! As with [`fire`](super::fire) every node does it and the leader goes first.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use taskwright_core::generator::Definition;
use taskwright_core::trigger::{CustomTriggers, TopicPattern};
use taskwright_core::webhook::Topics;
use taskwright_core::{GeneratorName, Namespace, Topic};
use taskwright_store::{Error, Listening, Reply, ScheduleWrite, SharedStore, StoredEvent};
use tokio::sync::Mutex;

use super::fire::behind;
use super::lead::Terms;
use super::runner::{Duty, Next};
use crate::env::{Env, micros};
use crate::schedule::{Decider, Facts, Listener};

/// Events of one call.
const EVENTS_MAX: usize = 200;
/// Firings after which a call takes no further event. One event is offered to all at once, however many they are.
const FIRINGS_MAX: usize = 500;
/// The longest time between two looks: 1 s.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long it is remembered, while events are delivered, which generators they notify: 1 s. One that was registered since is asked
/// at once anyway.
const GENERATORS_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Deliver {
    store: SharedStore,
    custom: Arc<CustomTriggers>,
    terms: Option<Terms>,
    /// The generators that events notify, and when (monotonic microseconds) they are looked for again.
    notified: Mutex<(Vec<Notified>, u64)>,
}

/// A generator that events of these topics notify.
struct Notified {
    namespace: Namespace,
    name: GeneratorName,
    topics: Vec<TopicPattern>,
}

impl Deliver {
    pub(super) fn new(store: SharedStore, custom: Arc<CustomTriggers>, terms: Option<Terms>) -> Self {
        Self { store, custom, terms, notified: Mutex::default() }
    }

    /// Notifies the generators that wait for such events. Before these count as delivered: when this node dies in between, another
    /// does it once more.
    async fn notify(&self, env: &Env, events: &[StoredEvent]) -> Result<(), Error> {
        let mut notified = self.notified.lock().await;
        if env.monotonic_us() >= notified.1 {
            *notified = (waiting(&self.store).await?, env.monotonic_us() + micros(GENERATORS_EVERY));
        }
        let is_for = |one: &Notified, event: &StoredEvent| {
            event.event.namespace == one.namespace
                && one.topics.iter().any(|topic| topic.matches(&event.event.topic))
        };
        for one in &notified.0 {
            if events.iter().any(|event| is_for(one, event)) {
                self.store.notify_generator(env.now(), one.namespace.clone(), one.name.clone()).await?;
            }
        }
        Ok(())
    }

    /// Offers events to everybody who listens, as many as one transaction may make of them; `None` when somebody else was
    /// faster, and otherwise how many were delivered.
    async fn deliver(&self, env: &Env, events: &[StoredEvent]) -> Result<Option<usize>, Error> {
        // After the events: whoever was registered before one of them was emitted is among these.
        let listeners = self.store.listeners().await?;
        let facts = Facts::read(&self.store, env.now(), &listeners).await?;
        let mut listeners: Vec<Listener> =
            listeners.into_iter().filter_map(|stored| Listener::new(stored, &facts)).collect();
        let waits = listeners.iter().filter(|listener| listener.is_alarm());
        let alarms = waits.map(|listener| listener.stored.name.to_string()).collect();
        let decider = Decider { env, now: env.now(), custom: &self.custom, alarms: &alarms, facts: &facts };
        let (mut fired, mut delivered) = (0, 0);
        for event in events {
            if fired >= FIRINGS_MAX {
                break;
            }
            delivered += 1;
            let payload = event.event.payload.parse().unwrap_or_else(|error| {
                tracing::error!(event = %event.event.id, %error, "the payload of an event cannot be read: nothing in it matches");
                serde_json::Value::Null
            });
            for listener in &mut listeners {
                fired += usize::from(decider.event(listener, event, &payload));
            }
        }
        let writes: Vec<ScheduleWrite> =
            listeners.into_iter().filter_map(|listener| listener.write).collect();
        self.notify(env, &events[..delivered]).await?;
        let keys = events.iter().take(delivered).map(|event| event.number).collect();
        let done = self.store.deliver(decider.now, keys, writes).await?;
        Ok(done.then_some(delivered))
    }

    /// Wakes the endpoints of webhooks that wait for such events. They read these from the log: if nobody comes to wake them they
    /// are late, and miss nothing.
    async fn wake(&self, env: &Env, events: &[StoredEvent]) -> Result<(), Error> {
        if events.is_empty() {
            return Ok(());
        }
        let about: HashSet<(&Namespace, &Topic)> =
            events.iter().map(|stored| (&stored.event.namespace, &stored.event.topic)).collect();
        let wants = |one: &Listening| {
            // What cannot be read here is for a newer program, which is woken.
            let topics = serde_json::from_str::<Topics>(&one.topics).ok();
            let has = |topic| topics.as_ref().is_none_or(|topics| topics.has(topic));
            about.iter().any(|(namespace, topic)| **namespace == one.namespace && has(topic))
        };
        let listening = self.store.listening_webhooks().await?;
        let keys: Vec<_> = listening.iter().filter(|one| wants(one)).map(|one| one.generator).collect();
        if keys.is_empty() { Ok(()) } else { self.store.wake_webhooks(env.now(), keys).await }
    }
}

/// The generators that events notify.
async fn waiting(store: &SharedStore) -> Result<Vec<Notified>, Error> {
    let listening = store.listening_generators().await?;
    let notified = listening.into_iter().filter_map(|one| {
        // One of a newer program is notified by that.
        let definition = serde_json::from_str::<Definition>(&one.definition).ok()?;
        Some(Notified { namespace: one.namespace, name: one.name, topics: definition.topics })
    });
    Ok(notified.collect())
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
            let (now, turn) = (env.now(), oldest.at.plus(behind));
            // One that is stamped ahead of the clock, which somebody may have set back, must not hold up those behind it.
            if oldest.at <= now && now < turn {
                return Ok(Next::At(turn, LOOK_EVERY));
            }
            let delivered = self.deliver(env, &events).await?;
            self.wake(env, &events[..delivered.unwrap_or(0)]).await?;
            Ok(match delivered {
                Some(delivered) if delivered == events.len() && delivered < EVENTS_MAX => {
                    Next::After(LOOK_EVERY)
                }
                _ => Next::More,
            })
        })
    }
}
