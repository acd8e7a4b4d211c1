//! Endpoints of webhooks: one in a listing, everything about one, what became of a change. Never a secret, but the one that
//! was just made.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use taskwright::generator::Paused;
use taskwright::webhook::{Courier, Message, WebhookView};
use taskwright::{Env, Event};
use taskwright_core::trigger::TopicPattern;
use taskwright_core::webhook::{
    Backlog, Disabled, Endpoint, OldSecret, Order, Origin, RETRIES_MAX, Secret as Key, Topics, Verdict,
    verdict,
};
use taskwright_core::{EventId, Namespace, Timestamp, WebhookName};
use taskwright_store::{DeliveryView, Store};

use super::millis;
use crate::courier::HttpCourier;
use crate::error::Error;

/// Retries that are counted: ten times as many as there are without redeliveries.
pub(crate) const RETRIES_SEEN: usize = 10 * RETRIES_MAX;
/// Attempts that are shown with an endpoint.
pub(crate) const DELIVERIES_SEEN: usize = 5;

/// An endpoint, without its secrets.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "WebhookListed")]
pub(crate) struct Listed {
    /// Its name.
    pub(crate) name: WebhookName,
    /// The tenant.
    pub(crate) namespace: Namespace,
    /// on; failing: after ten failures within 5 min one event is tried every 5 min; full: as many events as may be wait to be
    /// tried again; disabled; paused, as a generator.
    pub(crate) status: String,
    /// Where to.
    pub(crate) url: String,
    /// Of which topics.
    pub(crate) topics: Vec<TopicPattern>,
    /// Requests at a time.
    pub(crate) in_flight: u32,
    /// What may overtake what.
    pub(crate) order: Order,
    /// How long one request may take, in milliseconds.
    pub(crate) timeout_ms: u64,
    /// Whether an address of the machine or a private network is accepted.
    pub(crate) allow_private: bool,
    /// Where it comes from.
    pub(crate) origin: Origin,
    /// That nothing is sent, and what becomes of what would have been.
    pub(crate) disabled: Option<Disabled>,
    /// Since when it fails.
    pub(crate) failing_since: Option<Timestamp>,
    /// Whether as many events as may be wait to be tried again.
    pub(crate) full: bool,
    /// Events that were not kept until it could be told of them, at most.
    pub(crate) missed_max: u64,
    /// When that was found last.
    pub(crate) missed_at: Option<Timestamp>,
    /// Events that it may have to be told of at most: also those that are not for it count.
    pub(crate) backlog_max: i64,
    /// Until when messages are signed with the secret before, too.
    pub(crate) old_secret_until: Option<Timestamp>,
    /// When its generator had its last turn.
    pub(crate) last_turn: Option<Timestamp>,
    /// When it was added.
    pub(crate) created_at: Timestamp,
}

/// Everything about an endpoint but its secrets.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Webhook")]
pub(crate) struct Whole {
    #[serde(flatten)]
    pub(crate) listed: Listed,
    /// Of the backlog, those that are not kept any more.
    pub(crate) gone_max: u64,
    /// Events that are tried again; up to 100,000.
    pub(crate) retries: usize,
    /// When the next of these is tried.
    pub(crate) next_retry: Option<Timestamp>,
    /// When its generator has its next turn.
    pub(crate) next_turn: Option<Timestamp>,
    /// Whether and why that rests.
    pub(crate) paused: Option<Paused>,
    /// What went wrong in that.
    pub(crate) error: Option<String>,
    /// What was tried last.
    pub(crate) deliveries: Vec<DeliveryView>,
}

/// How an endpoint is, in a word.
pub(crate) fn status(view: &WebhookView) -> &'static str {
    match &view.endpoint.disabled {
        Some(_) => "disabled",
        None if view.record.paused.is_some() => "paused",
        None if view.progress.breaker.opened_at().is_some() => "failing",
        None if view.progress.full => "full",
        None => "on",
    }
}

/// Events that it may have to be told of at most: also those that are not for it count.
pub(crate) fn backlog(view: &WebhookView, head: i64) -> i64 {
    match view.endpoint.disabled.as_ref().map(|disabled| disabled.backlog) {
        Some(Backlog::Drop) => 0,
        _ => (head - view.progress.cursor).max(0),
    }
}

impl Listed {
    /// What a listing tells of an endpoint; `head` is the position of the newest event.
    pub(crate) fn of(view: &WebhookView, head: i64) -> Self {
        let endpoint = &view.endpoint;
        Self {
            name: view.name.clone(),
            namespace: view.namespace.clone(),
            status: status(view).to_owned(),
            url: endpoint.url.clone(),
            topics: endpoint.topics.0.clone(),
            in_flight: endpoint.in_flight,
            order: endpoint.order,
            timeout_ms: millis(endpoint.timeout),
            allow_private: endpoint.allow_private,
            origin: endpoint.origin.clone(),
            disabled: endpoint.disabled.clone(),
            failing_since: view.progress.breaker.opened_at(),
            full: view.progress.full,
            missed_max: view.progress.missed,
            missed_at: view.progress.missed_at,
            backlog_max: backlog(view, head),
            old_secret_until: endpoint.old_secret.as_ref().map(|old| old.until),
            last_turn: view.record.last_poll,
            created_at: view.created_at,
        }
    }
}

impl Listed {
    /// The endpoint, with something in the place of its secrets, which are told to nobody.
    ///
    /// # Errors
    ///
    /// Never: what stands in their place is one.
    pub(crate) fn endpoint(&self) -> Result<Endpoint, taskwright_core::Error> {
        let stand_in = Key::from_bytes(&[0; 32])?;
        let mut endpoint = Endpoint::new(self.url.clone(), stand_in.clone());
        endpoint.topics = Topics(self.topics.clone());
        (endpoint.in_flight, endpoint.order) = (self.in_flight, self.order);
        endpoint.timeout = std::time::Duration::from_millis(self.timeout_ms);
        (endpoint.allow_private, endpoint.origin) = (self.allow_private, self.origin.clone());
        endpoint.disabled.clone_from(&self.disabled);
        endpoint.old_secret = self.old_secret_until.map(|until| OldSecret { secret: stand_in, until });
        Ok(endpoint)
    }
}

/// What there is to know about an endpoint besides itself.
pub(crate) struct Facts {
    pub(crate) head: i64,
    pub(crate) gone: u64,
    pub(crate) retries: usize,
    pub(crate) next_retry: Option<Timestamp>,
    pub(crate) tried: Vec<DeliveryView>,
}

impl Facts {
    /// Asks the store.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub(crate) async fn of(
        store: &dyn Store,
        webhooks: &taskwright::webhook::Webhooks,
        view: &WebhookView,
    ) -> Result<Self, taskwright::Error> {
        Ok(Self {
            head: store.log_head().await?,
            gone: webhooks.gone(view).await?,
            retries: webhooks.retry_count(view, RETRIES_SEEN).await?,
            next_retry: store.retries(view.retry_set, 1).await?.first().map(|retry| retry.next_at),
            tried: store.deliveries(view.generator, None, DELIVERIES_SEEN).await?,
        })
    }
}

impl Whole {
    /// What is told of an endpoint.
    pub(crate) fn of(view: &WebhookView, facts: Facts) -> Self {
        Self {
            listed: Listed::of(view, facts.head),
            gone_max: facts.gone,
            retries: facts.retries,
            next_retry: facts.next_retry,
            next_turn: view.record.poll_at,
            paused: view.record.paused.clone(),
            error: view.record.last_error.clone(),
            deliveries: facts.tried,
        }
    }
}

/// An endpoint that was enabled, disabled or removed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "WebhookChanged")]
pub(crate) struct Changed {
    /// Whether that changed something.
    pub(crate) changed: bool,
    /// Whether it was to be enabled.
    pub(crate) enabled: bool,
    /// The endpoint.
    pub(crate) name: WebhookName,
}

/// An endpoint that was added, or got a new secret.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "WebhookSecret")]
pub(crate) struct Secret {
    /// The endpoint.
    pub(crate) name: WebhookName,
    /// The secret, if it was made here. It is never shown again.
    pub(crate) secret: Option<String>,
}

/// Events that are delivered again.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "WebhookRedelivered")]
pub(crate) struct Redelivered {
    /// How many.
    pub(crate) events: usize,
    /// The endpoint.
    pub(crate) name: WebhookName,
    /// Those that there are not, in the namespace of the endpoint.
    pub(crate) unknown: Vec<EventId>,
}

/// What a message for a test is about unless it is said.
pub(crate) const TEST_TOPIC: &str = "webhook.test";

/// What became of a message for a test.
#[derive(Clone, Debug, Serialize, serde::Deserialize, JsonSchema)]
#[schemars(rename = "WebhookTested")]
pub(crate) struct Tested {
    /// The endpoint.
    pub(crate) name: WebhookName,
    /// The id of the event that it carried.
    pub(crate) event: EventId,
    /// Whether it was taken.
    pub(crate) delivered: bool,
    /// The status that was answered.
    pub(crate) status: Option<u16>,
    /// How long that took, in milliseconds.
    pub(crate) took_ms: u64,
    /// What went wrong.
    pub(crate) error: Option<String>,
    /// What was answered, cut; not told over HTTP.
    pub(crate) answer: Option<String>,
}

impl Tested {
    /// Sends a message to an endpoint now.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub(crate) async fn send(env: &Env, view: &WebhookView, topic: &str) -> Result<Self, Error> {
        let event = Event::new(topic).namespace(view.namespace.as_str());
        let event = event.payload(&serde_json::json!({ "test": true }))?.into_new(env)?;
        let now = env.now();
        let message = Message::of(&view.endpoint, &event, now, now);
        let began_us = env.monotonic_us();
        let answer = HttpCourier::new()?.send(message).await;
        Ok(Self {
            name: view.name.clone(),
            event: event.id,
            delivered: verdict(&answer) == Verdict::Delivered,
            status: answer.status,
            took_ms: env.monotonic_us().saturating_sub(began_us) / 1_000,
            error: answer.error,
            answer: answer.body,
        })
    }
}
