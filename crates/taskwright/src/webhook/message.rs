//! What is sent, and who carries it.

use std::future::Future;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use taskwright_core::webhook::{Answer, Endpoint};
use taskwright_core::{EventId, Namespace, Timestamp, Topic};
use taskwright_store::NewEvent;

/// One request to an endpoint: a `POST` in the form of [Standard Webhooks](https://www.standardwebhooks.com).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where to.
    pub url: String,
    /// The header `webhook-id`: the id of the event, the same for each attempt.
    pub id: String,
    /// The header `webhook-timestamp`: when it is sent, in seconds since 1970.
    pub unix_s: u64,
    /// The header `webhook-signature`.
    pub signature: String,
    /// JSON: `id`, `type` (the topic), `timestamp` (when it was emitted), `namespace`, `key` if there is one, and `data` (the payload).
    pub body: Vec<u8>,
    /// How long it may take, everything included.
    pub timeout: Duration,
    /// Whether it may go to an address that is not public.
    pub allow_private: bool,
}

impl Message {
    /// Tells an endpoint of an event that was emitted at that moment.
    pub fn of(endpoint: &Endpoint, event: &NewEvent, at: Timestamp, now: Timestamp) -> Self {
        let body = Body {
            id: event.id,
            topic: &event.topic,
            timestamp: at,
            namespace: &event.namespace,
            key: event.key.as_deref(),
            // A payload is JSON: it was checked before it was stored.
            data: serde_json::from_str(event.payload.as_str()).ok(),
        };
        // Names, text and JSON: nothing in it cannot be written.
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let id = event.id.to_string();
        Self {
            url: endpoint.url.clone(),
            signature: endpoint.signatures(&id, now, &body),
            unix_s: now.as_unix_millis() / 1_000,
            id,
            body,
            timeout: endpoint.timeout,
            allow_private: endpoint.allow_private,
        }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    id: EventId,
    #[serde(rename = "type")]
    topic: &'a Topic,
    timestamp: Timestamp,
    namespace: &'a Namespace,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    data: Option<&'a RawValue>,
}

/// Who carries messages to endpoints.
pub trait Courier: Send + Sync + 'static {
    /// Sends a message, once, within its time limit, and says what came back. It never panics, and goes nowhere where the message
    /// may not go.
    fn send(&self, message: Message) -> impl Future<Output = Answer> + Send;
}
