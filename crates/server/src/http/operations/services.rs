//! `/api/v1/services`: look at services. They belong to processes, and to no namespace.

use http::Method;
use taskwright_core::Permission as P;
use taskwright_store::ServiceView;

use crate::http::call::Call;
use crate::http::caller::Reach;
use crate::http::operation::{Access, Operation};
use crate::http::problem::Problem;
use crate::http::reply::{Items, Json};

/// The operations.
pub(super) fn operations() -> Vec<Operation> {
    vec![Operation::new(
        "services.list",
        Method::GET,
        "/api/v1/services",
        Access::Needs(P::ServicesView),
        "List the services of all processes, by name",
        list,
    )]
}

async fn list(call: Call) -> Result<Json<Items<ServiceView>>, Problem> {
    let mut services = call.store().services(call.now()).await?;
    if !matches!(call.reach(), Reach::Everywhere) {
        // What went wrong may be about another namespace.
        services.iter_mut().for_each(|service| service.last_error = None);
    }
    Ok(Items::all(services))
}
