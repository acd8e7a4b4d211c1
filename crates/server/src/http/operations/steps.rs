//! `/api/v1/jobs/{id}/steps`: what a job has done, and does not do again.

use http::Method;
use taskwright_core::Permission as P;

use super::jobs::Named;
use crate::answer::step::Step;
use crate::http::call::Call;
use crate::http::operation::{Access, Operation};
use crate::http::problem::Problem;
use crate::http::reply::{Items, Json};

/// The operations.
pub(super) fn operations() -> Vec<Operation> {
    vec![Operation::new(
        "jobs.steps",
        Method::GET,
        "/api/v1/jobs/{id}/steps",
        Access::NeedsOwn(P::JobsView),
        "List the steps that a job has done",
        list,
    )]
}

async fn list(call: Call<Named>) -> Result<Json<Items<Step>>, Problem> {
    let id = call.path.id;
    call.job(id).await?;
    let steps = call.store().steps(id).await?;
    Ok(Items::all(steps.into_iter().map(Step::from).collect()))
}
