//! `/api/v1/events`: say that something happened, and look at what was said.

use http::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use taskwright::Event;
use taskwright_core::Permission as P;
use taskwright_core::{Args, EventId, Topic};
use taskwright_store::EventKey;

use super::page_size;
use crate::answer::event::{Emitted, Listed};
use crate::http::call::{Call, Nothing};
use crate::http::cursor;
use crate::http::operation::{Access, Operation};
use crate::http::problem::Problem;
use crate::http::reply::{Created, Items, Json};

/// The operations.
pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            "events.list",
            Method::GET,
            "/api/v1/events",
            Access::Needs(P::EventsView),
            "List events, the newest first",
            list,
        ),
        Operation::new(
            "events.emit",
            Method::POST,
            "/api/v1/events",
            Access::Needs(P::EventsEmit),
            "Say that something happened: schedules that wait for it are offered it once",
            emit,
        ),
    ]
}

/// Which events.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Which {
    /// About this.
    topic: Option<Topic>,
    /// How many at most: 1 to 1,000, 100 unless it is said.
    limit: Option<u32>,
    /// Where to go on: `next` of the page before.
    cursor: Option<String>,
}

async fn list(call: Call<Nothing, Which>) -> Result<Json<Items<Listed>>, Problem> {
    let before = call.query.cursor.as_deref().map(cursor::read::<i64>).transpose()?.map(EventKey);
    let limit = page_size(call.query.limit)?;
    let (namespace, topic) = (call.namespace().cloned(), call.query.topic.clone());
    let page = call.store().events(namespace, topic, before, limit).await?;
    let next = page.last().filter(|_| page.len() == limit).map(|oldest| cursor::write(&oldest.number.0));
    let items = page.iter().map(Listed::of).collect::<Result<_, _>>()?;
    Ok(Json(Items { items, next }))
}

/// An event that is to be emitted.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewEvent")]
pub(crate) struct Emission {
    /// What it is about, like `order.paid`.
    pub(crate) topic: Topic,
    /// What it carries: any JSON up to 1 MiB.
    #[serde(default)]
    #[schemars(with = "serde_json::Value")]
    pub(crate) payload: Option<Box<RawValue>>,
    /// What it is about more closely: events of one key may be merged.
    #[serde(default)]
    pub(crate) key: Option<String>,
    /// An id of your own, so that emitting twice is emitting once.
    #[serde(default)]
    pub(crate) id: Option<EventId>,
}

async fn emit(call: Call<Nothing, Nothing, Emission>) -> Result<Created<Emitted>, Problem> {
    let (call, emission) = call.split();
    let (namespace, topic) = (call.namespace_or_default(), emission.topic);
    let mut event = Event::new(topic.as_str()).namespace(namespace.as_str());
    if let Some(payload) = emission.payload {
        event = event.raw_payload(Args::from_json(payload.get())?);
    }
    if let Some(key) = emission.key {
        event = event.key(key);
    }
    if let Some(id) = emission.id {
        event = event.id(id);
    }
    Ok(Created(Emitted { id: call.acting(Some(&namespace), &topic).emit(event).await? }))
}
