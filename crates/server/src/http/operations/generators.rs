//! `/api/v1/generators`: look at generators, pause, resume and notify them.

use http::Method;
use schemars::JsonSchema;
use serde::Deserialize;
use taskwright::bulk::BulkView;
use taskwright::generator::{GeneratorView, Generators};
use taskwright_core::Permission as P;
use taskwright_core::{GeneratorName, JobId, bulk};
use taskwright_store::{GeneratorKey, JobView};

use taskwright_core::generator::is_reserved;

use super::page_size;
use crate::answer::generator::{Changed, Listed, Removed, Whole};
use crate::generator::check_removable;
use crate::http::call::{Call, Nothing};
use crate::http::cursor;
use crate::http::operation::{Access, Operation};
use crate::http::problem::Problem;
use crate::http::reply::{Items, Json};

/// The operations.
pub(super) fn operations() -> Vec<Operation> {
    use Method as M;
    let (view, change) = (Access::Needs(P::GeneratorsView), Access::Needs(P::GeneratorsChange));
    vec![
        Operation::new("generators.list", M::GET, "/api/v1/generators", view, "List the generators", list),
        Operation::new(
            "generators.show",
            M::GET,
            "/api/v1/generators/{name}",
            view,
            "Show everything about a generator",
            show,
        ),
        Operation::new(
            "generators.dead",
            M::GET,
            "/api/v1/generators/{name}/dead",
            view,
            "List the dead letters of a generator: items that failed for good, the newest first",
            dead,
        ),
        Operation::new(
            "generators.pause",
            M::POST,
            "/api/v1/generators/{name}/pause",
            change,
            "Let a generator rest until it is resumed",
            pause,
        ),
        Operation::new(
            "generators.resume",
            M::POST,
            "/api/v1/generators/{name}/resume",
            change,
            "Let a generator go on, and forgive its errors",
            resume,
        ),
        Operation::new(
            "generators.poll",
            M::POST,
            "/api/v1/generators/{name}/poll",
            change,
            "Have a generator asked at once, whatever it said",
            poll,
        ),
        Operation::new(
            "generators.remove",
            M::DELETE,
            "/api/v1/generators/{name}",
            change,
            "Remove a generator with what it remembers; its dead letters stay",
            remove,
        ),
    ]
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Named {
    /// The generator.
    name: GeneratorName,
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

async fn list(call: Call<Nothing, Part>) -> Result<Json<Items<Listed>>, Problem> {
    let after = call.query.cursor.as_deref().map(cursor::read::<i64>).transpose()?.map(GeneratorKey);
    let limit = page_size(call.query.limit)?;
    let page = call.store().generators(call.namespace().cloned(), after, limit).await?;
    let next = page.last().filter(|_| page.len() == limit).map(|last| cursor::write(&last.key.0));
    // One that a newer program registered must not hide the others.
    let read = page.iter().filter_map(|stored| GeneratorView::read(stored).ok());
    Ok(Json(Items { items: read.map(|view| Listed::of(&view)).collect(), next }))
}

async fn found<Q, B>(call: &Call<Named, Q, B>) -> Result<GeneratorView, Problem> {
    let view = call.client().generators().get(&call.namespace_or_default(), &call.path.name).await?;
    view.ok_or_else(|| call.unknown("generator"))
}

/// The generators, to change the one that is named.
fn changing<Q, B>(call: &Call<Named, Q, B>) -> Generators {
    call.acting(Some(&call.namespace_or_default()), &call.path.name).generators()
}

/// Taskwright's own generators collect garbage, roll up and seal the audit, for all namespaces: resting them is for whoever may
/// change the system.
fn check_changeable<Q, B>(call: &Call<Named, Q, B>) -> Result<(), Problem> {
    match is_reserved(&call.path.name) && !call.caller.may_everywhere(P::SystemChange) {
        true => Err(Problem::forbidden(P::SystemChange.as_str())),
        false => Ok(()),
    }
}

/// Refuses the generator of a bulk whose kind the caller may have no jobs of: what is let go on makes some.
async fn check_kind<Q, B>(call: &Call<Named, Q, B>) -> Result<(), Problem> {
    let Some(parent) = bulk::parent_of(&call.path.name) else { return Ok(()) };
    let view = call.client().bulks(call.api.app.bulks()).get(parent).await?;
    let is_here = |view: &BulkView| view.parent.namespace == call.namespace_or_default();
    let Some(view) = view.filter(is_here) else { return Ok(()) };
    let kind = view.definition.making(&view.parent.namespace).kind;
    kind.map_or(Ok(()), |kind| super::reserved::check_kind(call, kind))
}

async fn show(call: Call<Named>) -> Result<Json<Whole>, Problem> {
    Ok(Json(Whole::of(&found(&call).await?)))
}

async fn dead(call: Call<Named, Part>) -> Result<Json<Items<JobView>>, Problem> {
    found(&call).await?;
    let after = call.query.cursor.as_deref().map(cursor::read::<JobId>).transpose()?;
    let limit = page_size(call.query.limit)?;
    let generators = call.client().generators();
    let namespace = call.namespace_or_default();
    let (items, next) = generators.dead_letters(&namespace, &call.path.name, after, limit).await?;
    Ok(Json(Items { items, next: next.map(|next| cursor::write(&next)) }))
}

/// Why.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "GeneratorPause")]
struct Why {
    /// For whoever looks at it.
    #[serde(default)]
    reason: Option<String>,
}

async fn pause(call: Call<Named, Nothing, Why>) -> Result<Json<Changed>, Problem> {
    let (call, why) = call.split();
    let reason = super::reason(why.reason)?;
    check_changeable(&call)?;
    let (namespace, name, actor) = (call.namespace_or_default(), call.path.name.clone(), call.actor());
    let changed = changing(&call).pause(&namespace, &name, &actor, reason.as_deref()).await?;
    Ok(Json(Changed { changed, name, paused: true }))
}

async fn resume(call: Call<Named>) -> Result<Json<Changed>, Problem> {
    check_changeable(&call)?;
    check_kind(&call).await?;
    let (namespace, name) = (call.namespace_or_default(), call.path.name.clone());
    let changed = changing(&call).resume(&namespace, &name).await?;
    Ok(Json(Changed { changed, name, paused: false }))
}

async fn poll(call: Call<Named>) -> Result<Json<Changed>, Problem> {
    check_changeable(&call)?;
    check_kind(&call).await?;
    let (namespace, name) = (call.namespace_or_default(), call.path.name.clone());
    changing(&call).notify(&namespace, &name).await?;
    let paused = found(&call).await?.record.paused.is_some();
    Ok(Json(Changed { changed: true, name, paused }))
}

async fn remove(call: Call<Named>) -> Result<Json<Removed>, Problem> {
    let (namespace, name) = (call.namespace_or_default(), call.path.name.clone());
    check_removable(&call.api.config(), &namespace, &name)?;
    match changing(&call).remove(&namespace, &name).await? {
        true => Ok(Json(Removed { name, removed: true })),
        false => Err(call.unknown("generator")),
    }
}
