//! `/api/v1/webhooks`: endpoints that are told of events: look at them, add and change them, and deliver again.

use http::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use taskwright::webhook::{WebhookView, Webhooks};
use taskwright_core::Permission as P;
use taskwright_core::time::parse_time_limit;
use taskwright_core::trigger::TopicPattern;
use taskwright_core::webhook::{Backlog, Endpoint, Order, Secret as Key, Topics};
use taskwright_core::{EventId, Topic, WebhookName};
use taskwright_store::DeliveryView;

use super::page_size;
use crate::answer::webhook::{Changed, Facts, Listed, Redelivered, Secret, TEST_TOPIC, Tested, Whole};
use crate::http::call::{Call, Nothing};
use crate::http::cursor;
use crate::http::operation::{Access, Operation};
use crate::http::problem::{Problem, Sort};
use crate::http::reply::{Created, Items, Json};

/// The operations.
pub(super) fn operations() -> Vec<Operation> {
    use Method as M;
    let (view, change) = (Access::Needs(P::WebhooksView), Access::Needs(P::WebhooksChange));
    vec![
        Operation::new("webhooks.list", M::GET, "/api/v1/webhooks", view, "List the endpoints", list),
        Operation::new(
            "webhooks.create",
            M::POST,
            "/api/v1/webhooks",
            change,
            "Add an endpoint, and give its secret this once",
            create,
        ),
        Operation::new(
            "webhooks.show",
            M::GET,
            "/api/v1/webhooks/{name}",
            view,
            "Show everything about an endpoint but its secret",
            show,
        ),
        Operation::new(
            "webhooks.enable",
            M::POST,
            "/api/v1/webhooks/{name}/enable",
            change,
            "Send again, what was parked first, and forgive all failures",
            enable,
        ),
        Operation::new(
            "webhooks.disable",
            M::POST,
            "/api/v1/webhooks/{name}/disable",
            change,
            "Send nothing, and park or drop the backlog",
            disable,
        ),
        Operation::new(
            "webhooks.rotate",
            M::POST,
            "/api/v1/webhooks/{name}/rotate",
            change,
            "Sign with a new secret, and give it this once; for 24 h with the old one, too",
            rotate,
        ),
        Operation::new(
            "webhooks.deliveries",
            M::GET,
            "/api/v1/webhooks/{name}/deliveries",
            view,
            "List what was tried, the newest first",
            deliveries,
        ),
        Operation::new(
            "webhooks.redeliver",
            M::POST,
            "/api/v1/webhooks/{name}/redeliver",
            change,
            "Deliver events again, or for the first time",
            redeliver,
        ),
        Operation::new(
            "webhooks.test",
            M::POST,
            "/api/v1/webhooks/{name}/test",
            change,
            "Send an endpoint a message now, also when it is disabled; it is signed like all, and no part of the history",
            test,
        ),
        Operation::new(
            "webhooks.remove",
            M::DELETE,
            "/api/v1/webhooks/{name}",
            change,
            "Remove an endpoint",
            remove,
        ),
    ]
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Named {
    /// The endpoint.
    name: WebhookName,
}

async fn list(call: Call) -> Result<Json<Items<Listed>>, Problem> {
    let webhooks = call.client().webhooks();
    let views = webhooks.list(call.namespace()).await?;
    let head = webhooks.head().await?;
    Ok(Items::all(views.iter().map(|view| Listed::of(view, head)).collect()))
}

/// An endpoint that is to be added.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewWebhook")]
pub(crate) struct NewEndpoint {
    /// Its name.
    pub(crate) name: WebhookName,
    /// Where to send: https, or http.
    pub(crate) url: String,
    /// Of which topics, like `order.*`; all unless it is said. The ends of jobs have to be named: `job.*`.
    #[serde(default)]
    pub(crate) topics: Vec<TopicPattern>,
    /// What to sign with, `whsec_..`; one is made unless it is said.
    #[serde(default)]
    pub(crate) secret: Option<String>,
    /// Requests at a time, 1 to 16; 1 unless it is said.
    #[serde(default)]
    pub(crate) in_flight: Option<u32>,
    /// `key` to have events of one key wait for each other.
    #[serde(default)]
    pub(crate) order: Order,
    /// How long one request may take, 1s to 15s; 15s unless it is said.
    #[serde(default)]
    pub(crate) timeout: Option<String>,
    /// Accept an address of the machine or a private network.
    #[serde(default)]
    pub(crate) allow_private: bool,
}

async fn create(call: Call<Nothing, Nothing, NewEndpoint>) -> Result<Created<Secret>, Problem> {
    let (call, new) = call.split();
    if new.allow_private && !call.may_everywhere() {
        // It would let a tenant send requests to what only this machine, or the network of the operator, is to reach.
        return Err(Problem::new(
            Sort::Forbidden,
            "an endpoint at a private address",
            "only who may change webhooks in every namespace may allow one",
            "leave out allow_private, or ask an operator to add it",
        ));
    }
    let webhooks = call.client().webhooks();
    let given = new.secret.as_deref().map(str::parse::<Key>).transpose()?;
    let secret = match &given {
        Some(secret) => secret.clone(),
        None => webhooks.secret()?,
    };
    let mut endpoint = Endpoint::new(new.url, secret);
    if !new.topics.is_empty() {
        endpoint.topics = Topics(new.topics);
    }
    endpoint.in_flight = new.in_flight.unwrap_or(endpoint.in_flight);
    if let Some(timeout) = &new.timeout {
        endpoint.timeout = parse_time_limit(timeout)?;
    }
    (endpoint.order, endpoint.allow_private) = (new.order, new.allow_private);
    let endpoint = endpoint.checked()?;
    let namespace = call.namespace_or_default();
    let acting = call.acting(Some(&namespace), &new.name).webhooks();
    if !acting.add(&namespace, &new.name, &endpoint).await? {
        let name = &new.name;
        return Err(Problem::new(
            Sort::Conflict,
            format!("the webhook {name}"),
            "there is one of that name already",
            format!("choose another name, or remove it first: taskwright webhooks remove {name}"),
        ));
    }
    let made = given.is_none().then(|| endpoint.secret.reveal());
    Ok(Created(Secret { name: new.name, secret: made }))
}

async fn found<Q, B>(call: &Call<Named, Q, B>) -> Result<WebhookView, Problem> {
    let view = call.client().webhooks().get(&call.namespace_or_default(), &call.path.name).await?;
    view.ok_or_else(|| call.unknown("webhook"))
}

/// The endpoints, to change the one that is named.
fn changing<Q, B>(call: &Call<Named, Q, B>) -> Webhooks {
    call.acting(Some(&call.namespace_or_default()), &call.path.name).webhooks()
}

async fn show(call: Call<Named>) -> Result<Json<Whole>, Problem> {
    let view = found(&call).await?;
    let facts = Facts::of(call.store(), &call.client().webhooks(), &view).await?;
    Ok(Json(Whole::of(&view, facts)))
}

async fn enable(call: Call<Named>) -> Result<Json<Changed>, Problem> {
    let (namespace, name) = (call.namespace_or_default(), call.path.name.clone());
    let changed = changing(&call).enable(&namespace, &name).await?;
    Ok(Json(Changed { changed, enabled: true, name }))
}

/// What becomes of what is not sent, and why.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "WebhookDisable")]
struct Manner {
    /// `park` to send it later, `drop` to forget it at once.
    #[serde(default)]
    backlog: Backlog,
    /// For whoever looks at it.
    #[serde(default)]
    reason: Option<String>,
}

async fn disable(call: Call<Named, Nothing, Manner>) -> Result<Json<Changed>, Problem> {
    let (call, Manner { backlog, reason }) = call.split();
    let reason = super::reason(reason)?;
    let (namespace, name, by) = (call.namespace_or_default(), call.path.name.clone(), call.actor());
    let changed = changing(&call).disable(&namespace, &name, &by, reason.as_deref(), backlog).await?;
    Ok(Json(Changed { changed, enabled: false, name }))
}

async fn rotate(call: Call<Named>) -> Result<Json<Secret>, Problem> {
    let name = call.path.name.clone();
    let secret = changing(&call).rotate(&call.namespace_or_default(), &name).await?;
    Ok(Json(Secret { name, secret: Some(secret.reveal()) }))
}

/// A part of a listing.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Part {
    /// How many at most: 1 to 1,000, 100 unless it is said.
    limit: Option<u32>,
    /// Where to go on: `next` of the page before.
    cursor: Option<String>,
}

async fn deliveries(call: Call<Named, Part>) -> Result<Json<Items<DeliveryView>>, Problem> {
    let before = call.query.cursor.as_deref().map(cursor::read::<u64>).transpose()?;
    let limit = page_size(call.query.limit)?;
    let view = found(&call).await?;
    let mut items = call.store().deliveries(view.generator, before, limit).await?;
    // What a receiver says may be for the inside alone, where its address is.
    items.iter_mut().for_each(|view| view.delivery.answer = None);
    let next = items.last().filter(|_| items.len() == limit).map(|oldest| cursor::write(&oldest.number));
    Ok(Json(Items { items, next }))
}

/// Events that are to be delivered again.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "WebhookRedeliver")]
pub(crate) struct Again {
    /// Their ids; up to 1,000.
    pub(crate) events: Vec<EventId>,
}

async fn redeliver(call: Call<Named, Nothing, Again>) -> Result<Json<Redelivered>, Problem> {
    let (call, Again { events }) = call.split();
    let name = call.path.name.clone();
    let found = changing(&call).redeliver(&call.namespace_or_default(), &name, events.clone()).await?;
    let unknown = events.iter().zip(&found).filter(|(_, found)| !**found).map(|(id, _)| *id).collect();
    Ok(Json(Redelivered { events: found.iter().filter(|found| **found).count(), name, unknown }))
}

/// What the message is about.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "WebhookTest")]
pub(crate) struct Trial {
    /// The topic; `webhook.test` unless it is said.
    #[serde(default)]
    pub(crate) topic: Option<Topic>,
}

async fn test(call: Call<Named, Nothing, Trial>) -> Result<Json<Tested>, Problem> {
    let view = found(&call).await?;
    let topic = call.body.topic.as_ref().map_or(TEST_TOPIC, Topic::as_str);
    let tested = Tested::send(&call.api.env, &view, topic).await?;
    let outcome = if tested.delivered { "delivered" } else { "not delivered" };
    let entry = call.behalf(Some(&view.namespace), &call.path.name).entry(outcome);
    call.client().audit().note(entry).await?;
    // What it answered is for nobody who could name an address that only this server reaches.
    Ok(Json(Tested { answer: None, ..tested }))
}

async fn remove(call: Call<Named>) -> Result<Json<Changed>, Problem> {
    let name = call.path.name.clone();
    match changing(&call).remove(&call.namespace_or_default(), &name).await? {
        true => Ok(Json(Changed { changed: true, enabled: false, name })),
        false => Err(call.unknown("webhook")),
    }
}
