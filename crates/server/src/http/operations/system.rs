//! Whether the server lives and is ready, what there is to measure, what is wrong, which namespaces there are, and what can be asked.

use std::time::Duration;

use http::Method;
use taskwright_core::Permission as P;

use crate::answer::doctor::Check;
use crate::answer::namespace::Listed;
use crate::doctor::{self, Patient};
use crate::http::call::Call;
use crate::http::caller::Reach;
use crate::http::metrics;
use crate::http::operation::{Access, Operation};
use crate::http::problem::{Problem, Sort};
use crate::http::reply::{Document, Items, Json, Measured, Text};
use crate::{submit, text};

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
            "system.doctor",
            Method::GET,
            "/api/v1/doctor",
            system,
            "Look for what is wrong with the server, its store and its workers",
            doctor,
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

async fn namespaces(call: Call) -> Result<Json<Items<Listed>>, Problem> {
    if let Reach::Seen(sight) = call.reach() {
        return Ok(Items::all(sight.namespaces.iter().cloned().map(|name| Listed { name }).collect()));
    }
    Ok(Items::all(Listed::all(call.store(), call.now(), call.namespace()).await?))
}

async fn doctor(call: Call) -> Result<Json<Items<Check>>, Problem> {
    let (api, config) = (&call.api, call.api.config());
    // Who waits too long for their turn is told so as of any request.
    let _turn = api.examining.lock().await;
    let mut checks = of_the_server(&call).await?;
    let can_be_opened = match &api.store_url {
        Some(url) => doctor::look_at_database(url, &api.env, &mut checks).await?,
        None => true,
    };
    if can_be_opened {
        let patient = Patient {
            client: call.client(),
            env: &api.env,
            kinds: submit::kinds(&api.app, &config),
            namespace: call.namespace(),
        };
        checks.extend(doctor::look(&patient).await?);
    }
    Ok(Items::all(checks))
}

/// What a server can tell of itself.
async fn of_the_server(call: &Call) -> Result<Vec<Check>, Problem> {
    let api = &call.api;
    let up = Duration::from_micros(api.metrics.uptime_us(api.env.monotonic_us()));
    let (version, pid) = (env!("CARGO_PKG_VERSION"), std::process::id());
    let streams = text::count(api.open_streams(), "stream");
    let is = format!("taskwright {version}, process {pid}, for {}, {streams} open", text::duration(up));
    let process = match api.is_ending() {
        false => Check::fine("process", is),
        true => Check::wrong(
            "process",
            format!("{is}; it is being stopped"),
            "ask another one, or start it again",
        ),
    };
    let known = match call.api.identities().are_some().await? {
        true => "whoever asks has to say who they are",
        false => "nobody is known yet: whoever reaches this address of its machine may do everything",
    };
    let file = match &api.config().file {
        Some(file) => format!("as {} says", file.display()),
        None => "there is no file: the defaults".to_owned(),
    };
    Ok(vec![process, Check::fine("access", known), Check::fine("config", file)])
}
