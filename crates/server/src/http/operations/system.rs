//! Whether the server lives and is ready, what there is to measure, which namespaces there are, and what can be asked.

use std::collections::BTreeSet;

use http::Method;
use schemars::JsonSchema;
use serde::Serialize;
use taskwright_core::Namespace;
use taskwright_core::Permission as P;

use crate::http::caller::Reach;
use crate::http::metrics;
use crate::http::operation::{Access, Call, Operation};
use crate::http::problem::{Problem, Sort};
use crate::http::reply::{Document, Items, Json, Measured, Text};

/// Registrations that are looked at for their namespaces.
const PAGE: usize = 500;

/// The operations.
pub(super) fn operations() -> Vec<Operation> {
    let system = Access::Needs(P::SystemView);
    vec![
        Operation::new(
            "system.live",
            Method::GET,
            "/healthz",
            Access::Anyone,
            "Say that the server lives",
            live,
        ),
        Operation::new(
            "system.ready",
            Method::GET,
            "/readyz",
            Access::Anyone,
            "Say whether the store answers and the server takes jobs",
            ready,
        ),
        Operation::new(
            "system.metrics",
            Method::GET,
            "/metrics",
            system,
            "Give what there is to measure, as OpenMetrics text",
            measure,
        ),
        Operation::new(
            "system.openapi",
            Method::GET,
            "/api/v1/openapi.json",
            Access::Known,
            "Give this document",
            document,
        ),
        Operation::new(
            "namespaces.list",
            Method::GET,
            "/api/v1/namespaces",
            Access::Needs(P::NamespacesView),
            "List the namespaces that have queues, schedules or generators",
            namespaces,
        ),
    ]
}

async fn live(_: Call) -> Result<Text, Problem> {
    Ok(Text("ok\n".to_owned()))
}

async fn ready(call: Call) -> Result<Text, Problem> {
    if call.api.is_stopping() {
        return Err(Problem::shutting_down());
    }
    match call.api.is_ready().await {
        true => Ok(Text("ok\n".to_owned())),
        false => Err(not_ready()),
    }
}

fn not_ready() -> Problem {
    const AGAIN_S: u32 = 2;
    let fix = "ask another server; the operator finds the reason in the server's log";
    Problem::new(Sort::Unavailable, "the server", "its store does not answer", fix).retry_after(AGAIN_S)
}

async fn measure(call: Call) -> Result<Measured, Problem> {
    let now = call.now();
    let queues = call.store().queues(now, None).await?;
    let workers = call.store().workers().await?;
    let seen = metrics::Seen {
        queues: &queues,
        workers: &workers,
        now,
        monotonic_us: call.api.env.monotonic_us(),
        streams: call.api.open_streams(),
    };
    let text = call.api.metrics.text(&seen).map_err(|error| {
        tracing::error!(%error, "metrics could not be written");
        Problem::new(Sort::Internal, "the metrics", "they could not be written", "please report it")
    })?;
    Ok(Measured(text))
}

async fn document(call: Call) -> Result<Document, Problem> {
    Ok(Document(call.api.document.clone()))
}

/// A namespace.
#[derive(Serialize, serde::Deserialize, JsonSchema)]
#[schemars(rename = "Namespace")]
struct Known {
    /// Its name.
    name: Namespace,
}

async fn namespaces(call: Call) -> Result<Json<Items<Known>>, Problem> {
    if let Reach::Seen(sight) = call.reach() {
        return Ok(Items::all(sight.namespaces.iter().cloned().map(|name| Known { name }).collect()));
    }
    let wanted = call.namespace().cloned();
    let store = call.store();
    let mut names: BTreeSet<Namespace> =
        store.queues(call.now(), wanted.clone()).await?.into_iter().map(|queue| queue.namespace).collect();
    let mut after = None;
    loop {
        let page = store.schedules(wanted.clone(), after, PAGE).await?;
        names.extend(page.iter().map(|schedule| schedule.namespace.clone()));
        after = page.last().filter(|_| page.len() == PAGE).map(|last| last.key);
        if after.is_none() {
            break;
        }
    }
    let mut after = None;
    loop {
        let page = store.generators(wanted.clone(), after, PAGE).await?;
        names.extend(page.iter().map(|generator| generator.namespace.clone()));
        after = page.last().filter(|_| page.len() == PAGE).map(|last| last.key);
        if after.is_none() {
            break;
        }
    }
    Ok(Items::all(names.into_iter().map(|name| Known { name }).collect()))
}
