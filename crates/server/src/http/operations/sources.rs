//! `/api/v1/sources`: look at event sources.

use http::Method;
use taskwright_core::Permission as P;

use crate::answer::source::Listed;
use crate::http::call::Call;
use crate::http::operation::{Access, Operation};
use crate::http::problem::Problem;
use crate::http::reply::{Items, Json};

/// The operations.
pub(super) fn operations() -> Vec<Operation> {
    vec![Operation::new(
        "sources.list",
        Method::GET,
        "/api/v1/sources",
        Access::Needs(P::EventsView),
        "List the event sources that somebody has run, and how they are",
        list,
    )]
}

async fn list(call: Call) -> Result<Json<Items<Listed>>, Problem> {
    let sources = call.store().sources(call.namespace().cloned()).await?;
    let listed = sources.into_iter().map(Listed::from);
    // Machines and their paths are the operator's.
    let sees_all = call.caller.may_everywhere(P::SystemView);
    Ok(Items::all(listed.map(|source| if sees_all { source } else { source.at_a_distance() }).collect()))
}
