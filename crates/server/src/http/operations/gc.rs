//! `/api/v1/gc`: what is removed when it is old enough, how long it is kept, and removing it by hand. It is about all namespaces.

use std::time::Duration;

use http::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use taskwright::generator::{Collectors, Keep};
use taskwright_core::Permission as P;
use taskwright_core::retention::Garbage;
use taskwright_core::time::{format_duration, parse_duration};

use crate::answer::gc::{Listed, Removed, WouldGo};
use crate::http::call::{Call, Nothing};
use crate::http::operation::{Access, Operation};
use crate::http::problem::Problem;
use crate::http::reply::{Items, Json};

/// How long one request removes: well within what a request may take.
const RUN_TIME: Duration = Duration::from_secs(5);
/// A dry run counts up to here.
pub(crate) const DRY_RUN_MAX: usize = 10_000;
/// Words for what is no duration.
pub(crate) const FOREVER: &str = "forever";
pub(crate) const DEFAULT: &str = "default";

/// The operations.
pub(super) fn operations() -> Vec<Operation> {
    use Method as M;
    let (view, change) = (Access::Needs(P::SystemView), Access::Needs(P::SystemChange));
    vec![
        Operation::new(
            "gc.list",
            M::GET,
            "/api/v1/gc",
            view,
            "List what is removed when it is old, and how long it is kept",
            list,
        ),
        Operation::new(
            "gc.show",
            M::GET,
            "/api/v1/gc/{what}",
            view,
            "Show how long something is kept, and its collector",
            show,
        ),
        Operation::new(
            "gc.set",
            M::PUT,
            "/api/v1/gc/{what}",
            change,
            "Set how long something is kept, whatever the config files of the nodes say",
            set,
        ),
        Operation::new(
            "gc.dry-run",
            M::GET,
            "/api/v1/gc/{what}/dry-run",
            view,
            "Count what would be removed now, up to 10,000, and name the first jobs",
            dry_run,
        ),
        Operation::new(
            "gc.run",
            M::POST,
            "/api/v1/gc/{what}/run",
            change,
            "Remove what is old enough, for some seconds: `more` says whether to ask again",
            run,
        ),
    ]
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Named {
    /// What.
    what: Garbage,
}

/// The collectors, to look at.
fn collectors<P, Q, B>(call: &Call<P, Q, B>) -> Collectors {
    call.client().collectors(call.api.config().retention)
}

async fn list(call: Call) -> Result<Json<Items<Listed>>, Problem> {
    let views = collectors(&call).list().await?;
    Ok(Items::all(views.iter().map(Listed::of).collect()))
}

async fn show(call: Call<Named>) -> Result<Json<Listed>, Problem> {
    Ok(Json(Listed::of(&collectors(&call).get(call.path.what).await?)))
}

/// How long something is to be kept.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CollectorKeep")]
pub(crate) struct Retention {
    /// A duration like `3d`, `forever`, or `default` for as long as the config file says.
    pub(crate) keep: String,
}

/// What is set to what, as the audit tells it: a generator's state, where it is kept, has no hash there.
pub(crate) fn deed(what: Garbage, keep: Option<Keep>) -> String {
    match keep {
        None => format!("{what} keep {DEFAULT}"),
        Some(Keep::Forever) => format!("{what} keep {FOREVER}"),
        Some(Keep::For(keep)) => format!("{what} keep {}", format_duration(keep)),
    }
}

async fn set(call: Call<Named, Nothing, Retention>) -> Result<Json<Listed>, Problem> {
    let what = call.path.what;
    let keep = match call.body.keep.as_str() {
        DEFAULT => None,
        FOREVER => Some(Keep::Forever),
        text => Some(Keep::For(parse_duration(text)?)),
    };
    let acting = call.acting(None, deed(what, keep));
    acting.collectors(call.api.config().retention).set(what, keep).await?;
    Ok(Json(Listed::of(&collectors(&call).get(what).await?)))
}

async fn dry_run(call: Call<Named>) -> Result<Json<WouldGo>, Problem> {
    let what = call.path.what;
    Ok(Json(WouldGo::of(what, collectors(&call).dry_run(what, DRY_RUN_MAX).await?)))
}

async fn run(call: Call<Named>) -> Result<Json<Removed>, Problem> {
    let what = call.path.what;
    let (ours, behalf) = (collectors(&call), call.behalf(None, what));
    let before = ours.awake(what).await?.removed;
    // That it was begun is told first: what is removed stays removed, whatever becomes of this request. Its many transactions leave
    // no entries of their own.
    call.store().note_audit(behalf.entry("begun")).await?;
    let done = ours.run_for(what, RUN_TIME).await;
    let rows = match &done {
        Ok(done) => done.rows,
        Err(_) => ours.get(what).await?.removed.saturating_sub(before),
    };
    if rows > 0 {
        call.store().note_audit(behalf.entry(format!("{rows} removed"))).await?;
    }
    let done = done?;
    Ok(Json(Removed { what, removed: done.rows, more: done.more }))
}
