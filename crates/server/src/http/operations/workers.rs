//! `/api/v1/workers`: look at workers, quiet and stop them. Workers serve all namespaces.

use http::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use taskwright_core::WorkerId;
use taskwright_store::{Order, WorkerState, WorkerView};

use crate::answer::worker::Told;
use crate::http::operation::{Access, Call, Nothing, Operation};
use crate::http::permission::Permission as P;
use crate::http::problem::Problem;
use crate::http::reply::{Items, Json};

/// The operations.
pub(super) fn operations() -> Vec<Operation> {
    let change = Access::NeedsEverywhere(P::WorkersChange);
    vec![
        Operation::new(
            "workers.list",
            Method::GET,
            "/api/v1/workers",
            Access::NeedsEverywhere(P::WorkersView),
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
    Ok(Items::all(workers))
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
    let told = call.store().order(ids.clone(), order).await?;
    Ok(Items::all(ids.iter().zip(told).map(|(id, told)| Told { id: *id, order, told }).collect()))
}
