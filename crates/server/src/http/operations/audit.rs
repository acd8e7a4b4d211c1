//! `/api/v1/audit`: who did what to what, and whether that was changed since.

use http::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use taskwright_core::Permission as P;
use taskwright_core::Timestamp;
use taskwright_core::audit::Place;
use taskwright_store::{AuditFilter, AuditView, Pattern};

use super::page_size;
use crate::answer::audit::Verified;
use crate::http::call::{Call, Nothing};
use crate::http::cursor;
use crate::http::operation::{Access, Operation};
use crate::http::problem::Problem;
use crate::http::reply::{Items, Json};

/// The operations.
pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            "audit.list",
            Method::GET,
            "/api/v1/audit",
            Access::Needs(P::AuditView),
            "List the entries of the audit, the newest first",
            list,
        ),
        Operation::new(
            "audit.verify",
            Method::GET,
            "/api/v1/audit/verify",
            Access::Needs(P::SystemView),
            "Walk the chain of the audit, and tell where it is broken",
            verify,
        )
        .stream(),
    ]
}

/// Which entries: AND between the parameters, OR within one that is repeated. `*` stands for anything.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Which {
    /// By these principals.
    pub(crate) who: Vec<String>,
    /// What was done, like `jobs.cancel` or `tokens.*`.
    pub(crate) action: Vec<String>,
    /// On what: an id, a name.
    pub(crate) object: Vec<String>,
    /// At this time or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<Timestamp>,
    /// At this time or earlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<Timestamp>,
    /// How many at most: 1 to 1,000, 100 unless it is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<u32>,
    /// Where to go on: `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cursor: Option<String>,
}

async fn list(call: Call<Nothing, Which>) -> Result<Json<Items<AuditView>>, Problem> {
    let before = call.query.cursor.as_deref().map(cursor::read::<u64>).transpose()?;
    let limit = page_size(call.query.limit)?;
    let patterns = |texts: &[String]| texts.iter().map(|text| Pattern::new(text)).collect();
    let filter = AuditFilter {
        namespace: call.namespace().cloned(),
        who: patterns(&call.query.who),
        actions: patterns(&call.query.action),
        objects: patterns(&call.query.object),
        from: call.query.after,
        to: call.query.before,
    };
    let page = call.client().audit().page(filter, before, limit).await?;
    Ok(Json(Items { items: page.entries, next: page.next.map(|next| cursor::write(&next)) }))
}

/// Against what.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Against {
    /// A place that was told before: the chain has to lead through it.
    expect: Option<String>,
}

async fn verify(call: Call<Nothing, Against>) -> Result<Json<Verified>, Problem> {
    let expected = call.query.expect.as_deref().map(str::parse::<Place>).transpose()?;
    Ok(Json(Verified::of(call.client().audit().verify(expected).await?)))
}
