//! Events: one as it is stored, and one that was emitted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use taskwright_core::{EventId, Namespace, Timestamp, Topic};
use taskwright_store::StoredEvent;

use crate::error::Error;

/// An event.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Event")]
pub(crate) struct Listed {
    /// Its id.
    pub(crate) id: EventId,
    /// The tenant.
    pub(crate) namespace: Namespace,
    /// What it is about.
    pub(crate) topic: Topic,
    /// What it is about more closely.
    pub(crate) key: Option<String>,
    /// When it was emitted.
    pub(crate) at: Timestamp,
    /// Whether it has been offered to the schedules.
    pub(crate) delivered: bool,
    /// What it carries.
    #[schemars(with = "serde_json::Value")]
    pub(crate) payload: Box<RawValue>,
}

impl Listed {
    /// What is told of an event.
    ///
    /// # Errors
    ///
    /// When what the store keeps of it is not JSON.
    pub(crate) fn of(stored: &StoredEvent) -> Result<Self, Error> {
        let event = &stored.event;
        Ok(Self {
            id: event.id,
            namespace: event.namespace.clone(),
            topic: event.topic.clone(),
            key: event.key.clone(),
            at: stored.at,
            delivered: stored.delivered,
            payload: event.payload.parse()?,
        })
    }
}

/// An event that was emitted.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "EventEmitted")]
pub(crate) struct Emitted {
    /// Its id.
    pub(crate) id: EventId,
}
