//! `/api/v1/queues`: look at queues, pause, resume and empty them.

use http::Method;
use schemars::JsonSchema;
use serde::Deserialize;
use taskwright_core::Permission as P;
use taskwright_core::QueueName;
use taskwright_store::QueueView;

use crate::answer::queue::{Purged, Switched};
use crate::http::call::{Call, Nothing};
use crate::http::operation::{Access, Operation};
use crate::http::problem::Problem;
use crate::http::reply::{Items, Json};

/// Jobs that are cancelled in one transaction.
pub(crate) const PURGE_JOBS: usize = 1_000;

/// The operations.
pub(super) fn operations() -> Vec<Operation> {
    let (view, change) = (Access::Needs(P::QueuesView), Access::Needs(P::QueuesChange));
    let about = "List the queues, with what waits and runs in them";
    vec![
        Operation::new("queues.list", Method::GET, "/api/v1/queues", view, about, list),
        Operation::new("queues.show", Method::GET, "/api/v1/queues/{queue}", view, "Show one queue", show),
        Operation::new(
            "queues.pause",
            Method::POST,
            "/api/v1/queues/{queue}/pause",
            change,
            "Claim nothing more from a queue; what runs goes on",
            pause,
        ),
        Operation::new(
            "queues.resume",
            Method::POST,
            "/api/v1/queues/{queue}/resume",
            change,
            "Claim from a queue again",
            resume,
        ),
        Operation::new(
            "queues.purge",
            Method::POST,
            "/api/v1/queues/{queue}/purge",
            change,
            "Cancel what waits in a queue; running jobs are left alone",
            purge,
        ),
    ]
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Named {
    /// The queue.
    queue: QueueName,
}

async fn list(call: Call) -> Result<Json<Items<QueueView>>, Problem> {
    Ok(Items::all(call.store().queues(call.now(), call.namespace().cloned()).await?))
}

async fn show(call: Call<Named>) -> Result<Json<QueueView>, Problem> {
    let queues = call.store().queues(call.now(), Some(call.namespace_or_default())).await?;
    let found = queues.into_iter().find(|queue| queue.name == call.path.queue);
    found.map(Json).ok_or_else(|| call.unknown("queue"))
}

async fn pause(call: Call<Named>) -> Result<Json<Switched>, Problem> {
    switch(&call, true).await
}

async fn resume(call: Call<Named>) -> Result<Json<Switched>, Problem> {
    switch(&call, false).await
}

async fn switch(call: &Call<Named>, paused: bool) -> Result<Json<Switched>, Problem> {
    let queue = call.path.queue.clone();
    let (now, namespace, actor) = (call.now(), call.namespace_or_default(), call.actor());
    let acting = call.acting(Some(&namespace), &queue);
    let changed = acting.store().pause(now, namespace, queue.clone(), paused, actor).await?;
    Ok(Json(Switched { changed, paused, queue }))
}

/// How much of a queue.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "QueuePurge")]
struct Most {
    /// At most so many jobs, the oldest first; all unless it is said.
    #[serde(default)]
    limit: Option<usize>,
}

async fn purge(call: Call<Named, Nothing, Most>) -> Result<Json<Purged>, Problem> {
    let queue = call.path.queue.clone();
    // It cancels what waits there, whoever submitted it.
    call.check(P::JobsCancel, &call.namespace_or_default(), None).await?;
    let mut left = call.body.limit.unwrap_or(usize::MAX);
    let mut cancelled = 0;
    while left > 0 {
        let wanted = left.min(PURGE_JOBS);
        let (now, namespace, actor) = (call.now(), call.namespace_or_default(), call.actor());
        let acting = call.acting(Some(&namespace), &queue);
        let batch = acting.store().purge(now, namespace, queue.clone(), actor, wanted).await?;
        cancelled += batch;
        left -= batch;
        if batch < wanted {
            break;
        }
    }
    Ok(Json(Purged { cancelled, queue }))
}
