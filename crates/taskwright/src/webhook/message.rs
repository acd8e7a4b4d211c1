//! What is sent, and who carries it.

use std::future::Future;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use taskwright_core::webhook::{Answer, Endpoint};
use taskwright_core::{EventId, Namespace, Timestamp};
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
        Self::signed(
            endpoint,
            now,
            &Body {
                id: event.id,
                topic: event.topic.as_str(),
                timestamp: at,
                namespace: Some(&event.namespace),
                key: event.key.as_deref(),
                // A payload is JSON: it was checked before it was stored.
                data: serde_json::from_str::<&RawValue>(event.payload.as_str()).ok(),
            },
        )
    }

    /// Tells an endpoint of what is no event of the log: by an id of its own, what it is called, and when it happened.
    pub(crate) fn about(
        endpoint: &Endpoint,
        (id, topic, timestamp): (EventId, &str, Timestamp),
        namespace: Option<&Namespace>,
        data: &impl Serialize,
        now: Timestamp,
    ) -> Self {
        Self::signed(endpoint, now, &Body { id, topic, timestamp, namespace, key: None, data })
    }

    fn signed(endpoint: &Endpoint, now: Timestamp, body: &Body<'_, impl Serialize>) -> Self {
        let id = body.id.to_string();
        // Names, text and JSON: nothing in it cannot be written.
        let body = serde_json::to_vec(body).unwrap_or_default();
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
struct Body<'a, T> {
    id: EventId,
    #[serde(rename = "type")]
    topic: &'a str,
    timestamp: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a Namespace>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    data: T,
}

/// Who carries messages to endpoints.
pub trait Courier: Send + Sync + 'static {
    /// Sends a message, once, within its time limit, and says what came back. It never panics, and goes nowhere where the message
    /// may not go.
    fn send(&self, message: Message) -> impl Future<Output = Answer> + Send;
}
