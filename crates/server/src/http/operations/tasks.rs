//! `/api/v1/tasks`: which tasks there may be jobs of.

use http::Method;
use taskwright_core::{Kind, Permission as P};

use crate::answer::task::Known;
use crate::http::call::Call;
use crate::http::operation::{Access, Operation};
use crate::http::problem::Problem;
use crate::http::reply::{Items, Json};
use crate::submit;

/// The operations.
pub(super) fn operations() -> Vec<Operation> {
    vec![Operation::new(
        "tasks.list",
        Method::GET,
        "/api/v1/tasks",
        Access::Needs(P::TasksView),
        "List the tasks that this server knows, with what their jobs get that do not say it themselves",
        list,
    )]
}

async fn list(call: Call) -> Result<Json<Items<Known>>, Problem> {
    let config = call.api.config();
    let kinds = submit::kinds(&call.api.app, &config).into_iter().filter_map(|kind| Kind::new(kind).ok());
    let known = kinds.map(|kind| {
        let task = config.tasks.get(kind.as_str());
        let form = call.api.app.registry().form(&kind);
        Known::of(kind, task, form)
    });
    Ok(Items::all(known.collect()))
}
