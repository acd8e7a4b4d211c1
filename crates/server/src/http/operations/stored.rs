//! `/api/v1/stored`: schedules, generators, webhooks and bulks as the store has them, for a command line that reads them like a store.
//!
//! What is told there besides what `/api/v1/schedules` and the others tell is what due times and states are worked out from.

use http::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use taskwright_core::Permission as P;
use taskwright_core::{GeneratorName, JobId, ScheduleName, WebhookName};
use taskwright_store::{GeneratorKey, JobKey, ScheduleKey, StoredBulk, StoredGenerator, StoredSchedule};

use super::page_size;
use crate::http::call::{Call, Nothing};
use crate::http::cursor;
use crate::http::operation::{Access, Operation};
use crate::http::problem::Problem;
use crate::http::reply::{Items, Json};

/// The operations.
pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            "stored.schedules",
            Method::GET,
            "/api/v1/stored/schedules",
            Access::Needs(P::SchedulesView),
            "Give schedules as they are stored, for the command line",
            schedules,
        ),
        Operation::new(
            "stored.generators",
            Method::GET,
            "/api/v1/stored/generators",
            Access::Needs(P::GeneratorsView),
            "Give generators as they are stored, for the command line",
            generators,
        ),
        Operation::new(
            "stored.webhooks",
            Method::GET,
            "/api/v1/stored/webhooks/{name}",
            Access::Needs(P::WebhooksView),
            "Give what delivers to an endpoint as it is stored, without its secret, for the command line",
            webhook,
        ),
        Operation::new(
            "stored.bulks",
            Method::GET,
            "/api/v1/stored/bulks",
            Access::Needs(P::BulkView),
            "Give bulks as they are stored, for the command line",
            bulks,
        ),
    ]
}

/// Which of them: one by its name or id, or a part of the listing.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Which<N> {
    /// Only this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<N>,
    /// How many at most: 1 to 1,000, 100 unless it is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<u32>,
    /// Where to go on: `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cursor: Option<String>,
}

impl<N> Default for Which<N> {
    fn default() -> Self {
        Self { name: None, limit: None, cursor: None }
    }
}

impl<N> Which<N> {
    fn after(&self) -> Result<Option<i64>, Problem> {
        self.cursor.as_deref().map(cursor::read).transpose()
    }
}

/// A page, which goes on behind its last item if it is full.
fn page<T>(items: Vec<T>, limit: usize, key: impl Fn(&T) -> i64) -> Json<Items<T>> {
    let next = items.last().filter(|_| items.len() == limit).map(|last| cursor::write(&key(last)));
    Json(Items { items, next })
}

async fn schedules(call: Call<Nothing, Which<ScheduleName>>) -> Result<Json<Items<StoredSchedule>>, Problem> {
    if let Some(name) = call.query.name.clone() {
        let found = call.store().schedule(call.namespace_or_default(), name).await?;
        return Ok(Items::all(found.into_iter().collect()));
    }
    let (after, limit) = (call.query.after()?.map(ScheduleKey), page_size(call.query.limit)?);
    let found = call.store().schedules(call.namespace().cloned(), after, limit).await?;
    Ok(page(found, limit, |stored| stored.key.0))
}

async fn generators(
    call: Call<Nothing, Which<GeneratorName>>,
) -> Result<Json<Items<StoredGenerator>>, Problem> {
    if let Some(name) = call.query.name.clone() {
        let found = call.store().generator(call.namespace_or_default(), name).await?;
        return Ok(Items::all(found.into_iter().collect()));
    }
    let (after, limit) = (call.query.after()?.map(GeneratorKey), page_size(call.query.limit)?);
    let found = call.store().generators(call.namespace().cloned(), after, limit).await?;
    Ok(page(found, limit, |stored| stored.key.0))
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Named {
    /// The endpoint.
    name: WebhookName,
}

async fn webhook(call: Call<Named>) -> Result<Json<StoredGenerator>, Problem> {
    let found = call.store().generator(call.namespace_or_default(), call.path.name.generator()?).await?;
    found.map(Json).ok_or_else(|| call.unknown("webhook"))
}

async fn bulks(call: Call<Nothing, Which<JobId>>) -> Result<Json<Items<StoredBulk>>, Problem> {
    if let Some(id) = call.query.name {
        let found = call.store().bulk(id).await?.filter(|bulk| {
            call.reach().includes(&bulk.namespace) && call.caller.may(P::BulkView, &bulk.namespace, None)
        });
        return Ok(Items::all(found.into_iter().collect()));
    }
    let (after, limit) = (call.query.after()?.map(JobKey), page_size(call.query.limit)?);
    let found = call.store().bulks(call.namespace().cloned(), after, limit).await?;
    Ok(page(found, limit, |stored| stored.key.0))
}
