//! The builder of an event that is about to be emitted.

use serde::Serialize;
use taskwright_core::{Args, Error, EventId, Namespace, Topic};
use taskwright_store::NewEvent;

use crate::env::Env;

/// Something that happened, about to be said: a topic, and whatever it carries.
///
/// Names are taken as text; a bad one is reported when the event is emitted.
///
/// # Example
///
/// ```
/// use taskwright::Event;
///
/// let event = Event::new("order.paid").key("customer 7").payload(&serde_json::json!({"order": 4711, "total": 99.5}))?;
/// # Ok::<(), taskwright::core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Event {
    topic: Result<Topic, Error>,
    namespace: Result<Namespace, Error>,
    id: Option<EventId>,
    key: Option<String>,
    payload: Args,
}

impl Event {
    /// An event about this topic that carries nothing.
    pub fn new(topic: &str) -> Self {
        let payload = Args::default();
        Self { topic: Topic::new(topic), namespace: Ok(Namespace::default()), id: None, key: None, payload }
    }

    /// What it carries.
    ///
    /// # Errors
    ///
    /// When the value cannot be written as JSON, or is over the limits of a job's arguments.
    pub fn payload(self, payload: &impl Serialize) -> Result<Self, Error> {
        Ok(self.raw_payload(Args::of(payload)?))
    }

    /// What it carries, checked before.
    #[must_use]
    pub fn raw_payload(mut self, payload: Args) -> Self {
        self.payload = payload;
        self
    }

    /// What it is about more closely. Schedules may merge events of one key while their job waits.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The tenant: only its schedules are offered the event. Default `default`.
    #[must_use]
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.namespace = Namespace::new(namespace);
        self
    }

    /// An id that the caller made (with [`Env::event_id`]): emitting it twice stores one event.
    #[must_use]
    pub fn id(mut self, id: EventId) -> Self {
        self.id = Some(id);
        self
    }

    /// What a store takes.
    ///
    /// # Errors
    ///
    /// When a name was refused or the topic is one that ends of jobs are told under, the key is longer than [`EVENT_KEY_BYTES_MAX`](taskwright_core::limit::EVENT_KEY_BYTES_MAX), or the
    /// payload has a number that does not fit into 64 bits of floating point.
    pub fn into_new(self, env: &Env) -> Result<NewEvent, Error> {
        if let Some(key) = &self.key {
            taskwright_core::limit::check_event_key(key)?;
        }
        taskwright_core::limit::check_event_payload(&self.payload)?;
        let topic = self.topic?;
        taskwright_core::outcome::check_emitted(&topic)?;
        Ok(NewEvent {
            id: self.id.unwrap_or_else(|| env.event_id()),
            namespace: self.namespace?,
            topic,
            key: self.key,
            payload: self.payload,
        })
    }
}
