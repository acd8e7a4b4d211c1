//! The HTTP API: what can be asked over the network, who may, and how the server that answers is run.
//!
//! | file | what |
//! |---|---|
//! | `operation.rs`, `operations/` | the one table of operations, and what each does |
//! | `authenticate.rs`, `caller.rs` | who asks, and of what their request may be |
//! | `pace.rs` | how much each may ask |
//! | `problem.rs`, `reply.rs` | what is answered when it did not go well, and when it did |
//! | `guard.rs`, `hosts.rs` | what every request passes first |
//! | `state.rs` | what all operations share |
//! | `watcher.rs` | looks at jobs for everybody who waits |
//! | `tail.rs` | reads what moves for everybody who follows many jobs |
//! | `openapi.rs`, `guide.rs` | what is documented, from the table |
//! | `metrics.rs` | what is measured |
//! | `mount.rs` | the same inside another program's server |
//! | `looks.rs` | one look at the store for many who want the same |
//! | `server.rs`, `stall.rs`, `tls.rs` | connections, their limits, their certificate, and their end |
//!
//! No rule and no SQL lives here: an operation reads a request, asks the store, and tells the answer in the words of
//! [`answer`](crate::answer).

mod authenticate;
mod body;
mod call;
mod caller;
pub(crate) mod cursor;
mod guard;
#[cfg(test)]
mod guide;
mod hosts;
mod looks;
mod metrics;
mod mount;
mod openapi;
mod operation;
mod operations;
mod pace;
mod problem;
mod readiness;
mod reply;
mod server;
mod stall;
mod state;
mod tail;
#[cfg(test)]
pub(crate) mod tests;
mod tls;
mod turns;
mod watcher;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::{MethodFilter, on};
use tower_http::catch_panic::CatchPanicLayer;

pub use self::mount::Mount;
pub(crate) use self::operations::gc;
pub(crate) use self::operations::{
    AttachmentPart, AuditQuery, BulkRequest, Emission, HistoryQuery, JobFilter, JobLog, NewEndpoint,
    NewGrants, NewPassword, NewToken, NewUser, SeenAt, Stored, Submission, Text, Trial,
};
pub(crate) use self::problem::Details;
pub(crate) use self::reply::Items;
pub(crate) use self::server::{Running, Server};
pub(crate) use self::state::Limits;

use self::operation::Operation;
use self::problem::{Problem, Sort};
use self::state::Api;

/// All routes, each of which comes from the table.
fn router(api: &Arc<Api>) -> Router {
    let mut router = Router::new();
    for operation in operations::table() {
        router = add(router, api, operation);
    }
    let unknown = {
        let api = Arc::clone(api);
        move |request: Request| {
            let problem = Problem::new(
                Sort::NotFound,
                "the path",
                "there is nothing at it",
                "look paths up in the OpenAPI document at /api/v1/openapi.json",
            );
            std::future::ready(guard::answer(&api, problem, request.uri().path()))
        }
    };
    let other_method = {
        let api = Arc::clone(api);
        move |request: Request| {
            let problem = Problem::new(
                Sort::MethodNotAllowed,
                "the request",
                format!("the path has no method {}", request.method()),
                "the header Allow names those that it has",
            );
            std::future::ready(guard::answer(&api, problem, request.uri().path()))
        }
    };
    router
        .fallback(unknown)
        .method_not_allowed_fallback(other_method)
        .layer(CatchPanicLayer::custom(guard::panicked))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(api), guard::guard))
}

fn add(router: Router, api: &Arc<Api>, operation: Operation) -> Router {
    let Ok(filter) = MethodFilter::try_from(operation.method.clone()) else {
        debug_assert!(false, "{} has a method of its own", operation.id);
        return router;
    };
    let (api, operation) = (Arc::clone(api), Arc::new(operation));
    let path = operation.path;
    let serve = move |request: Request| {
        let (api, operation) = (Arc::clone(&api), Arc::clone(&operation));
        async move { serve(api, &operation, request).await }
    };
    router.route(path, on(filter, serve))
}

async fn serve(api: Arc<Api>, operation: &Operation, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let mut response = match operation.run(Arc::clone(&api), parts, body).await {
        Ok(response) => response,
        Err(problem) => guard::answer(&api, problem, &path),
    };
    response.extensions_mut().insert(guard::Answered(operation.id));
    response
}
