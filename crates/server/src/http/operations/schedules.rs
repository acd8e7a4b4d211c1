//! `/api/v1/schedules`: look at schedules, register them, pause, resume, fire and remove them.

use http::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use taskwright::schedule::{ScheduleView, Schedules};
use taskwright_core::Permission as P;
use taskwright_core::schedule::Origin;
use taskwright_core::trigger::read_moment;
use taskwright_core::{Authority, Schedule, ScheduleName, State, Timestamp};
use taskwright_store::ScheduleKey;

use super::page_size;
use crate::answer::schedule::{Due, FIRINGS, Fired, Listed, Made, Registered, Removed, Switched, Whole};
use crate::config::TaskConfig;
use crate::http::call::{Call, Nothing};
use crate::http::cursor;
use crate::http::operation::{Access, Operation};
use crate::http::problem::Problem;
use crate::http::reply::{Created, Items, Json};
use crate::schedule::check_args;
use crate::submit;

/// Due times that are looked for at most.
const DUE_MAX: u32 = 1_000;
/// Due times, unless the request says otherwise.
const DUE_DEFAULT: u32 = 5;

/// The operations.
pub(super) fn operations() -> Vec<Operation> {
    use Method as M;
    let view = Access::Needs(P::SchedulesView);
    let change = Access::Needs(P::SchedulesChange);
    let fire_access = Access::Needs(P::SchedulesFire);
    vec![
        Operation::new("schedules.list", M::GET, "/api/v1/schedules", view, "List the schedules", list),
        Operation::new(
            "schedules.put",
            M::POST,
            "/api/v1/schedules",
            change,
            "Register a schedule, or change the one of that name",
            put,
        ),
        Operation::new(
            "schedules.show",
            M::GET,
            "/api/v1/schedules/{name}",
            view,
            "Show everything about a schedule",
            show,
        ),
        Operation::new(
            "schedules.next",
            M::GET,
            "/api/v1/schedules/{name}/next",
            view,
            "Tell when a schedule is due next, as if nothing were paused",
            next,
        ),
        Operation::new(
            "schedules.history",
            M::GET,
            "/api/v1/schedules/{name}/history",
            view,
            "Tell what a schedule fired and skipped, the newest first",
            history,
        ),
        Operation::new(
            "schedules.pause",
            M::POST,
            "/api/v1/schedules/{name}/pause",
            change,
            "Let a schedule rest until it is resumed",
            pause,
        ),
        Operation::new(
            "schedules.resume",
            M::POST,
            "/api/v1/schedules/{name}/resume",
            change,
            "Let a schedule go on, with what is due after now",
            resume,
        ),
        Operation::new(
            "schedules.fire",
            M::POST,
            "/api/v1/schedules/{name}/fire",
            fire_access,
            "Make a job of a schedule now",
            fire,
        ),
        Operation::new(
            "schedules.remove",
            M::DELETE,
            "/api/v1/schedules/{name}",
            change,
            "Remove a schedule; its jobs stay",
            remove,
        ),
    ]
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Named {
    /// The schedule.
    name: ScheduleName,
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
    let after = call.query.cursor.as_deref().map(cursor::read::<i64>).transpose()?.map(ScheduleKey);
    let limit = page_size(call.query.limit)?;
    let page = call.store().schedules(call.namespace().cloned(), after, limit).await?;
    let next = page.last().filter(|_| page.len() == limit).map(|last| cursor::write(&last.key.0));
    let now = call.now();
    // One that a newer program registered must not hide the others.
    let read = page.iter().filter_map(|stored| ScheduleView::read(stored).ok());
    Ok(Json(Items {
        items: read.map(|view| Listed::of(&view, call.api.app.triggers(), now)).collect(),
        next,
    }))
}

async fn found<Q, B>(call: &Call<Named, Q, B>) -> Result<ScheduleView, Problem> {
    let view = call.client().schedules().get(&call.namespace_or_default(), &call.path.name).await?;
    view.ok_or_else(|| call.unknown("schedule"))
}

/// The schedules, to change the one that is named.
fn changing<Q, B>(call: &Call<Named, Q, B>) -> Schedules {
    call.acting(Some(&call.namespace_or_default()), &call.path.name).schedules()
}

async fn show(call: Call<Named>) -> Result<Json<Whole>, Problem> {
    let mut view = found(&call).await?;
    retain_open(&call, &mut view).await?;
    let firings = call.client().schedules();
    let firings = firings.firings(&call.namespace_or_default(), &call.path.name, None, FIRINGS).await?;
    Ok(Json(Whole::of(view, firings, call.api.app.triggers(), call.now())))
}

/// What has ended since somebody last looked is not open.
async fn retain_open(call: &Call<Named>, view: &mut ScheduleView) -> Result<(), Problem> {
    let states = call.store().states(view.state.open.clone()).await?;
    let mut states = states.into_iter();
    let is_open = |state: Option<State>| state.is_some_and(|state| !state.is_terminal());
    view.state.open.retain(|_| states.next().is_some_and(is_open));
    Ok(())
}

/// Which due times.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Ahead {
    /// How many: 1 to 1,000, 5 unless it is said.
    limit: Option<u32>,
    /// After this time; now unless it is said.
    from: Option<Timestamp>,
}

async fn next(call: Call<Named, Ahead>) -> Result<Json<Items<Due>>, Problem> {
    let limit = call.query.limit.unwrap_or(DUE_DEFAULT);
    if !(1..=DUE_MAX).contains(&limit) {
        let why = format!("it is {limit}; 1 to {DUE_MAX} are allowed");
        return Err(Problem::invalid("limit", why, "ask for fewer, and go on with `from`"));
    }
    let view = found(&call).await?;
    let from = call.query.from.unwrap_or_else(|| call.now());
    let due = view.upcoming(from, limit as usize, call.api.app.triggers());
    Ok(Items::all(Due::all(&view.schedule, &due)))
}

async fn history(call: Call<Named, Part>) -> Result<Json<Items<Fired>>, Problem> {
    let before = call.query.cursor.as_deref().map(cursor::read::<u64>).transpose()?;
    let limit = page_size(call.query.limit)?;
    let view = found(&call).await?;
    let schedules = call.client().schedules();
    let page = schedules.firings(&call.namespace_or_default(), &call.path.name, before, limit).await?;
    let next = page.last().filter(|_| page.len() == limit).map(|oldest| cursor::write(&oldest.number));
    Ok(Json(Items { items: page.into_iter().map(|firing| Fired::of(&view, firing)).collect(), next }))
}

/// What a registration may say besides.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Manner {
    /// Accept a task that this server does not know: another program runs it.
    any_kind: bool,
}

/// A schedule, and what of its jobs was said: the rest comes from their task.
struct Registration {
    schedule: Schedule,
    says_queue: bool,
    says_priority: bool,
}

impl<'de> Deserialize<'de> for Registration {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let (says_queue, says_priority) = (value.get("queue").is_some(), value.get("priority").is_some());
        let schedule = serde_json::from_value(value).map_err(serde::de::Error::custom)?;
        Ok(Self { schedule, says_queue, says_priority })
    }
}

impl JsonSchema for Registration {
    fn inline_schema() -> bool {
        Schedule::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        Schedule::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Schedule::json_schema(generator)
    }
}

impl Registration {
    /// The schedule, with what `[tasks.NAME]` says of its jobs for what was not said.
    fn by(self, task: Option<&TaskConfig>) -> Schedule {
        let Self { mut schedule, says_queue, says_priority } = self;
        let Some(task) = task else { return schedule };
        if let Some(queue) = task.queue.as_ref().filter(|_| !says_queue) {
            schedule.queue.clone_from(queue);
        }
        if let Some(priority) = task.priority.filter(|_| !says_priority) {
            schedule.priority = priority;
        }
        schedule.max_attempts = schedule.max_attempts.or(task.max_attempts);
        schedule.backoff = schedule.backoff.or(task.backoff);
        schedule.timeout = schedule.timeout.or(task.timeout);
        schedule
    }
}

async fn put(call: Call<Nothing, Manner, Registration>) -> Result<Created<Registered>, Problem> {
    let (call, registration) = call.split();
    let config = call.api.config();
    let kind = registration.schedule.kind.as_str().to_owned();
    let mut schedule = registration.by(config.tasks.get(&kind));
    let namespace = call.namespace_or_default();
    if schedule.namespace != namespace && schedule.namespace != taskwright_core::Namespace::default() {
        let why = format!("it is another than that of the request, {namespace}");
        return Err(Problem::invalid(
            "the schedule's namespace",
            why,
            "name it once, as the parameter `namespace`",
        ));
    }
    schedule.namespace = namespace;
    if !matches!(schedule.origin, Origin::Code | Origin::Cli) {
        let why = "the server says itself who registers it, and `up` what its config file brings";
        return Err(Problem::invalid("the schedule's origin", why, "leave `origin` out"));
    }
    if let Some(by) = Authority::of(call.caller.principal()) {
        // Its jobs are theirs, as all that they submit.
        schedule.owner = Some(by.owner());
        schedule.origin = Origin::Principal { by };
    }
    let kind = schedule.kind.as_str();
    super::reserved::check_kind(&call, kind)?;
    super::reserved::check_queue(&call, kind, &schedule.queue)?;
    if !call.query.any_kind {
        submit::check_kind(&call.api.app, &call.api.config(), kind, "any_kind=true")?;
    }
    check_args(kind, schedule.args.as_str(), call.api.config().tasks.get(kind))?;
    let put = call.acting(Some(&schedule.namespace), &schedule.name).schedules().put(&schedule).await?;
    Ok(Created(Registered::of(&schedule, put)))
}

async fn pause(call: Call<Named>) -> Result<Json<Switched>, Problem> {
    let (namespace, name) = (call.namespace_or_default(), call.path.name.clone());
    let changed = changing(&call).pause(&namespace, &name).await?;
    Ok(Json(Switched { changed, name, paused: true }))
}

async fn resume(call: Call<Named>) -> Result<Json<Switched>, Problem> {
    let (namespace, name) = (call.namespace_or_default(), call.path.name.clone());
    check_reserved(&call, &found(&call).await?.schedule)?;
    let changed = changing(&call).resume(&namespace, &name).await?;
    Ok(Json(Switched { changed, name, paused: false }))
}

/// Refuses to have a schedule make jobs that whoever asks might not store.
fn check_reserved<B>(call: &Call<Named, Nothing, B>, schedule: &Schedule) -> Result<(), Problem> {
    super::reserved::check_kind(call, schedule.kind.as_str())?;
    super::reserved::check_queue(call, schedule.kind.as_str(), &schedule.queue)
}

/// How a job is made by hand.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ScheduleFire")]
struct ByHand {
    /// The due time that the job is told; now unless it is said. Without a zone it is meant in that of the schedule.
    #[serde(default)]
    at: Option<String>,
}

async fn fire(call: Call<Named, Nothing, ByHand>) -> Result<Created<Made>, Problem> {
    let view = found(&call).await?;
    check_reserved(&call, &view.schedule)?;
    let zone = view.schedule.triggers.iter().find_map(|named| named.trigger.zone());
    let at = call.body.at.as_deref().map(|text| read_moment(text, zone)).transpose()?;
    let schedule = call.path.name.clone();
    let id = changing(&call).fire(&view.schedule.namespace, &schedule, at).await?;
    Ok(Created(Made { id, schedule }))
}

async fn remove(call: Call<Named>) -> Result<Json<Removed>, Problem> {
    let name = call.path.name.clone();
    match changing(&call).remove(&call.namespace_or_default(), &name).await? {
        true => Ok(Json(Removed { name, removed: true })),
        false => Err(call.unknown("schedule")),
    }
}
