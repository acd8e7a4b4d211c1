//! `/api/v1/bulk`: create bulk jobs, look at them, pause, resume and cancel them, and run again what failed.

use std::collections::HashMap;

use http::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use taskwright::bulk::{Bulk, BulkView, Bulks, OnFailure};
use taskwright_core::Permission as P;
use taskwright_core::name::BulkTypeName;
use taskwright_core::{Authority, JobId, Namespace, Owner, Priority};
use taskwright_store::JobKey;

use super::page_size;
use crate::answer::bulk::{Changed, Created as Made, Listed, Retried, Whole};
use crate::http::call::{Call, Nothing};
use crate::http::caller::Reach;
use crate::http::cursor;
use crate::http::operation::{Access, Operation};
use crate::http::problem::{Problem, Sort};
use crate::http::reply::{Created, Items, Json};

/// The type of bulk that reads a file of the machine that it runs on.
const LINES: &str = "lines";
/// That makes so many items of a kind.
const COUNT: &str = "count";
/// The most items at a time.
const WINDOW_MAX: u32 = 10_000;

/// The operations.
pub(super) fn operations() -> Vec<Operation> {
    use Method as M;
    let view = Access::Needs(P::BulkView);
    let (view_own, change) = (Access::NeedsOwn(P::BulkView), Access::NeedsOwn(P::BulkChange));
    vec![
        Operation::new("bulk.list", M::GET, "/api/v1/bulk", view, "List the bulks, the newest first", list),
        Operation::new("bulk.create", M::POST, "/api/v1/bulk", change, "Create a bulk", create),
        Operation::new(
            "bulk.show",
            M::GET,
            "/api/v1/bulk/{id}",
            view_own,
            "Show how far a bulk is, and how its items ended",
            show,
        ),
        Operation::new(
            "bulk.pause",
            M::POST,
            "/api/v1/bulk/{id}/pause",
            change,
            "Let a bulk rest until it is resumed",
            pause,
        ),
        Operation::new(
            "bulk.resume",
            M::POST,
            "/api/v1/bulk/{id}/resume",
            change,
            "Let a bulk go on, and forgive its errors",
            resume,
        ),
        Operation::new(
            "bulk.cancel",
            M::POST,
            "/api/v1/bulk/{id}/cancel",
            change,
            "End a bulk: make no more items, and cancel those that were made",
            cancel,
        ),
        Operation::new(
            "bulk.retry",
            M::POST,
            "/api/v1/bulk/{id}/retry",
            change,
            "Run again what failed of a bulk",
            retry,
        ),
    ]
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Named {
    /// The parent of the bulk.
    id: JobId,
}

/// A part of a listing.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Part {
    /// How many at most: 1 to 1,000, 100 unless it is said.
    limit: Option<u32>,
    /// Where to go on: `next` of the page before.
    cursor: Option<String>,
}

fn bulks<P, Q, B>(call: &Call<P, Q, B>) -> Bulks {
    call.client().bulks(call.api.app.bulks())
}

/// The same, to change one.
fn changing<Q, B>(call: &Call<Named, Q, B>, view: &BulkView) -> Bulks {
    call.acting(Some(&view.parent.namespace), call.path.id).bulks(call.api.app.bulks())
}

async fn list(call: Call<Nothing, Part>) -> Result<Json<Items<Listed>>, Problem> {
    let after = call.query.cursor.as_deref().map(cursor::read::<i64>).transpose()?.map(JobKey);
    let (views, next) = bulks(&call).list(call.namespace(), after, page_size(call.query.limit)?).await?;
    let next = next.map(|next| cursor::write(&next.0));
    Ok(Json(Items { items: views.iter().map(Listed::of).collect(), next }))
}

/// A bulk that is to be created.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewBulk")]
pub(crate) struct NewBulk {
    /// What makes its items, like `count`.
    #[serde(rename = "type")]
    pub(crate) kind: BulkTypeName,
    /// What that is given.
    #[serde(default)]
    pub(crate) params: serde_json::Value,
    /// How urgent its items are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) priority: Option<Priority>,
    /// Items that were made and are not over at a time, 1 to 10,000; 1,000 unless it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) window: Option<u32>,
    /// `continue`, `stop`, or how many may fail: `100` or `5%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) on_failure: Option<OnFailure>,
    /// Whose it is, and in whose name its items run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<Owner>,
}

async fn create(call: Call<Nothing, Nothing, NewBulk>) -> Result<Created<Made>, Problem> {
    let (call, mut new) = call.split();
    if new.kind.as_str() == LINES {
        // It would read whatever file of the server's machine somebody names.
        return Err(Problem::new(
            Sort::Forbidden,
            "a bulk of lines",
            "it reads a file of the machine that it runs on, which is not for others to name",
            "create it with the command line on that machine, or store the jobs with POST /api/v1/jobs/batch",
        ));
    }
    if let Some(kind) = new.params.get("kind").and_then(serde_json::Value::as_str) {
        super::reserved::check_kind(&call, kind)?;
        let most = crate::submit::attempts_of_items(&call.api.config(), kind);
        if let (COUNT, Some(most), Some(params)) = (new.kind.as_str(), most, new.params.as_object_mut()) {
            params.entry("max_attempts").or_insert_with(|| most.into());
        }
    }
    let namespace = match call.reach() {
        Reach::Seen(_) => {
            return Err(Problem::invalid(
                "the namespace",
                "it is missing",
                "name it as the parameter `namespace`",
            ));
        }
        _ => call.namespace_or_default(),
    };
    let mut bulk = Bulk::new(new.kind.as_str()).params(&new.params)?.namespace(namespace.clone());
    if let Some(priority) = new.priority {
        bulk = bulk.priority(priority);
    }
    if let Some(window) = new.window {
        if !(1..=WINDOW_MAX).contains(&window) {
            let why = format!("it is {window}; 1 to {WINDOW_MAX} are allowed");
            return Err(Problem::invalid("window", why, "leave it out for 1,000"));
        }
        bulk = bulk.window(window);
    }
    if let Some(policy) = new.on_failure {
        bulk = bulk.on_failure(policy);
    }
    if let Some(owner) = call.caller.owner().or(new.owner) {
        bulk = bulk.author(owner);
    }
    bulk = bulk.authority(Authority::of(call.caller.principal()));
    let bulks = call.acting(Some(&namespace), &new.kind).bulks(call.api.app.bulks());
    Ok(Created(Made { id: bulks.create(bulk).await? }))
}

/// A bulk that the caller may do that with.
async fn found<Q, B>(call: &Call<Named, Q, B>) -> Result<BulkView, Problem> {
    let view = bulks(call).get(call.path.id).await?;
    let parent = |view: &BulkView| (view.parent.namespace.clone(), view.parent.owner.clone());
    let is_seen =
        |(namespace, owner): (Namespace, Option<Owner>)| call.sees(P::BulkView, &namespace, owner.as_ref());
    let view = view.filter(|view| is_seen(parent(view))).ok_or_else(|| call.unknown("bulk"))?;
    let (namespace, owner) = parent(&view);
    match call.may(&namespace, owner.as_ref(), &mut HashMap::new()).await? {
        true => Ok(view),
        false => Err(Problem::forbidden(P::BulkChange.as_str())),
    }
}

/// Refuses a bulk of a kind that the caller may have no jobs of.
fn check_kind<Q, B>(call: &Call<Named, Q, B>, view: &BulkView) -> Result<(), Problem> {
    let kind = view.definition.making(&view.parent.namespace).kind;
    kind.map_or(Ok(()), |kind| super::reserved::check_kind(call, kind))
}

async fn show(call: Call<Named>) -> Result<Json<Whole>, Problem> {
    Ok(Json(Whole::of(&found(&call).await?)))
}

/// Why.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "BulkReason")]
struct Why {
    /// For whoever looks at it.
    #[serde(default)]
    reason: Option<String>,
}

async fn pause(call: Call<Named, Nothing, Why>) -> Result<Json<Changed>, Problem> {
    let (call, why) = call.split();
    let reason = super::reason(why.reason)?;
    let view = found(&call).await?;
    let id = view.parent.id;
    let changed = changing(&call, &view).pause(id, &call.actor(), reason.as_deref()).await?;
    Ok(Json(Changed { changed, id }))
}

async fn resume(call: Call<Named>) -> Result<Json<Changed>, Problem> {
    let view = found(&call).await?;
    check_kind(&call, &view)?;
    let id = view.parent.id;
    Ok(Json(Changed { changed: changing(&call, &view).resume(id).await?, id }))
}

async fn cancel(call: Call<Named, Nothing, Why>) -> Result<Json<Changed>, Problem> {
    let (call, why) = call.split();
    let reason = super::reason(why.reason)?;
    let view = found(&call).await?;
    call.check(P::JobsCancel, &view.parent.namespace, view.parent.owner.as_ref()).await?;
    let id = view.parent.id;
    Ok(Json(Changed { changed: changing(&call, &view).cancel(id, call.actor(), reason).await?, id }))
}

async fn retry(call: Call<Named>) -> Result<Json<Retried>, Problem> {
    let view = found(&call).await?;
    check_kind(&call, &view)?;
    let id = view.parent.id;
    Ok(Json(Retried { id, retried: changing(&call, &view).retry(id, &call.actor()).await? }))
}
