//! `/api/v1/workers`: look at workers, quiet and stop them. Workers serve all namespaces.

use std::collections::HashSet;

use http::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use taskwright_core::Permission as P;
use taskwright_core::WorkerId;
use taskwright_store::{Order, WorkerState, WorkerView};

use crate::answer::worker::Told;
use crate::http::call::{Call, Nothing};
use crate::http::caller::Reach;
use crate::http::operation::{Access, Operation};
use crate::http::problem::Problem;
use crate::http::reply::{Items, Json};

/// The operations.
pub(super) fn operations() -> Vec<Operation> {
    let change = Access::Needs(P::WorkersChange);
    vec![
        Operation::new(
            "workers.list",
            Method::GET,
            "/api/v1/workers",
            Access::Needs(P::WorkersView),
            "List the workers, the living first",
            list,
        ),
        Operation::new(
            "workers.quiet",
            Method::POST,
            "/api/v1/workers/quiet",
            change,
            "Let workers finish what they run, and claim nothing more",
            quiet,
        ),
        Operation::new(
            "workers.stop",
            Method::POST,
            "/api/v1/workers/stop",
            change,
            "Let workers end in good order",
            stop,
        ),
    ]
}

/// Which workers.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Which {
    /// Stopped and lost ones, too.
    all: bool,
}

async fn list(call: Call<Nothing, Which>) -> Result<Json<Items<WorkerView>>, Problem> {
    let mut workers = call.store().workers().await?;
    workers.retain(|worker| call.query.all || worker.state == WorkerState::Alive);
    if !matches!(call.reach(), Reach::Everywhere) {
        let theirs = theirs(&call).await?;
        workers.retain_mut(|worker| is_for(worker, &theirs));
    }
    Ok(Items::all(workers))
}

/// The queues of the namespaces that the caller may see.
async fn theirs(call: &Call<Nothing, Which>) -> Result<HashSet<String>, Problem> {
    let namespaces = match call.reach() {
        Reach::In(namespace) => std::slice::from_ref(namespace),
        Reach::Among(namespaces) => namespaces,
        Reach::Seen(sight) => &sight.namespaces,
        Reach::Everywhere => &[],
    };
    let mut names = HashSet::new();
    for namespace in namespaces {
        let queues = call.store().queues(call.now(), Some(namespace.clone())).await?;
        names.extend(queues.into_iter().map(|queue| queue.name.to_string()));
    }
    Ok(names)
}

/// Whether a worker may run something of these queues, with the names of others taken out: those are of other namespaces, and so may
/// be what it remarked.
fn is_for(worker: &mut WorkerView, theirs: &HashSet<String>) -> bool {
    let is_for_all = worker.queues.is_empty();
    worker.queues.retain(|queue| theirs.contains(queue));
    worker.remark = None;
    is_for_all || !worker.queues.is_empty()
}

/// The workers that are told.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "WorkersOrder")]
pub(crate) struct These {
    /// Their ids.
    pub(crate) ids: Vec<WorkerId>,
}

async fn quiet(call: Call<Nothing, Nothing, These>) -> Result<Json<Items<Told>>, Problem> {
    tell(&call, Order::Quiet).await
}

async fn stop(call: Call<Nothing, Nothing, These>) -> Result<Json<Items<Told>>, Problem> {
    tell(&call, Order::Stop).await
}

async fn tell(call: &Call<Nothing, Nothing, These>, order: Order) -> Result<Json<Items<Told>>, Problem> {
    let ids = &call.body.ids;
    let named = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let told = call.acting(None, named).store().order(ids.clone(), order).await?;
    Ok(Items::all(ids.iter().zip(told).map(|(id, told)| Told { id: *id, order, told }).collect()))
}
