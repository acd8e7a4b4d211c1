//! `/api/v1/jobs/{id}/VERB` and `/api/v1/jobs/VERB`: what people do to jobs, to one and to many.

use std::collections::{BTreeMap, HashMap, HashSet};

use http::Method;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use taskwright_core::Permission as P;
use taskwright_core::authority::may_run;
use taskwright_core::limit::PAGE_ROWS_MAX;
use taskwright_core::time::parse_duration;
use taskwright_core::{JobId, Namespace, Priority, State, Timestamp};
use taskwright_store::{Change, Changed, Page, Seen};

use super::jobs::Named;
use crate::answer::job::Became;
use crate::answer::micros;
use crate::http::call::{Call, Nothing};
use crate::http::operation::{Access, Operation};
use crate::http::problem::Problem;
use crate::http::reply::{Items, Json};

/// Jobs of one request that changes many.
const CHANGE_JOBS_MAX: usize = PAGE_ROWS_MAX;

/// So much longer a request takes at least for each of its jobs, if there is one that it cannot see.
const UNKNOWN_EACH_US: u64 = 20;

/// Where somebody has seen a job who wants to change it only there.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "JobSeen")]
pub(crate) struct SeenAt {
    /// The job.
    pub(crate) id: JobId,
    /// Its state.
    pub(crate) state: State,
    /// Attempts used.
    pub(crate) attempt: u32,
    /// When it became, or becomes, available.
    pub(crate) run_at: Timestamp,
}

/// What is to be done, with what has to be said about it.
trait Ask: DeserializeOwned + JsonSchema + Send + 'static {
    fn change(&self, now: Timestamp) -> Result<Change, Problem>;
    fn reason(self) -> Option<String>;
}

/// The same for several jobs.
trait AskMany: DeserializeOwned + JsonSchema + Send + 'static {
    type One: Ask;
    fn split(self) -> (Vec<JobId>, Vec<SeenAt>, Self::One);
}

/// A body for one job, and one for many that has the same fields.
macro_rules! ask {
    ($one:ident = $one_name:literal, $many:ident = $many_name:literal {
        $($(#[$attribute:meta])* $field:ident: $type:ty,)*
    }, |$ask:ident, $now:ident| $change:expr) => {
        #[derive(Debug, Default, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        #[schemars(rename = $one_name)]
        struct $one {
            $($(#[$attribute])* $field: $type,)*
            /// Why, for the timeline.
            #[serde(default)]
            reason: Option<String>,
        }

        #[derive(Debug, Default, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        #[schemars(rename = $many_name)]
        struct $many {
            /// The jobs, up to 1,000, wherever they are.
            #[serde(default)]
            ids: Vec<JobId>,
            /// Instead of `ids`: the jobs, where they were seen; one that has moved on since is skipped.
            #[serde(default)]
            seen: Vec<SeenAt>,
            $($(#[$attribute])* $field: $type,)*
            /// Why, for the timelines.
            #[serde(default)]
            reason: Option<String>,
        }

        impl Ask for $one {
            fn change(&self, $now: Timestamp) -> Result<Change, Problem> {
                let $ask = self;
                $change
            }

            fn reason(self) -> Option<String> {
                self.reason
            }
        }

        impl AskMany for $many {
            type One = $one;

            fn split(self) -> (Vec<JobId>, Vec<SeenAt>, $one) {
                let Self { ids, seen, $($field,)* reason } = self;
                (ids, seen, $one { $($field,)* reason })
            }
        }
    };
}

macro_rules! plain_asks {
    ($($one:ident = $one_name:literal, $many:ident = $many_name:literal: $change:expr;)*) => {
        $(ask! { $one = $one_name, $many = $many_name {}, |_ask, _now| Ok($change) })*
    };
}

plain_asks! {
    Cancel = "JobCancel", CancelMany = "JobsCancel": Change::Cancel;
    RunNow = "JobRunNow", RunNowMany = "JobsRunNow": Change::RunNow;
    Awaken = "JobAwaken", AwakenMany = "JobsAwaken": Change::Awaken;
    Release = "JobRelease", ReleaseMany = "JobsRelease": Change::Release;
    Free = "JobFree", FreeMany = "JobsFree": Change::Free;
    Delete = "JobDelete", DeleteMany = "JobsDelete": Change::Delete;
}

ask! { Retry = "JobRetry", RetryMany = "JobsRetry" {
    /// Run it again even if it completed.
    #[serde(default)]
    repeat: bool,
}, |ask, _now| Ok(Change::Redo { repeat: ask.repeat }) }

ask! { Delay = "JobDelay", DelayMany = "JobsDelay" {
    /// Not before this time.
    #[serde(default)]
    until: Option<Timestamp>,
    /// Instead of `until`: not before this much time has passed, like `2h`.
    #[serde(default, rename = "in")]
    after: Option<String>,
}, |ask, now| match (ask.until, &ask.after) {
    (Some(until), None) => Ok(Change::Delay { until }),
    (None, Some(after)) => Ok(Change::Delay { until: now.plus(parse_duration(after)?) }),
    _ => {
        let why = "it has to say until when, in one way";
        Err(Problem::invalid("the delay", why, "write \"in\": \"2h\", or \"until\" with a time"))
    }
} }

ask! { Reprioritise = "JobReprioritise", ReprioritiseMany = "JobsReprioritise" {
    /// The new priority.
    to: Option<Priority>,
}, |ask, _now| match ask.to {
    Some(priority) => Ok(Change::Reprioritise { priority }),
    None => Err(Problem::invalid("the priority", "it is missing", "write \"to\": \"high\", or a number")),
} }

/// Each change for one job, and for many.
pub(super) fn operations() -> Vec<Operation> {
    macro_rules! both {
        ($word:literal, $permission:ident, $one:ty, $many:ty, $about:literal) => {
            [
                Operation::new(
                    concat!("jobs.", $word),
                    Method::POST,
                    concat!("/api/v1/jobs/{id}/", $word),
                    Access::NeedsOwn(P::$permission),
                    concat!($about, ": one job"),
                    change_one::<$one>,
                ),
                Operation::new(
                    concat!("jobs.", $word, "-many"),
                    Method::POST,
                    concat!("/api/v1/jobs/", $word),
                    Access::NeedsOwn(P::$permission),
                    concat!($about, ": each of these jobs"),
                    change_many::<$many>,
                ),
            ]
        };
    }
    [
        both!("cancel", JobsCancel, Cancel, CancelMany, "End a waiting job, and ask a running one to stop"),
        both!("retry", JobsChange, Retry, RetryMany, "Run a job that is over once more"),
        both!(
            "run-now",
            JobsChange,
            RunNow,
            RunNowMany,
            "Run a scheduled job, or one that waits for a retry, at once"
        ),
        both!("awaken", JobsChange, Awaken, AwakenMany, "Run a job at once that its handler snoozed"),
        both!("release", JobsRelease, Release, ReleaseMany, "Let a held job go"),
        both!("delay", JobsChange, Delay, DelayMany, "Run a waiting job later"),
        both!(
            "reprioritise",
            JobsChange,
            Reprioritise,
            ReprioritiseMany,
            "Give a waiting job another priority"
        ),
        both!("free", JobsChange, Free, FreeMany, "Take a running job from its worker: it may run twice"),
        both!("delete", JobsDelete, Delete, DeleteMany, "Remove a job that is over, with its history"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

async fn change_one<A: Ask>(call: Call<Named, Nothing, A>) -> Result<Json<Became>, Problem> {
    let (call, ask) = call.split();
    let id = call.path.id;
    let job = call.job(id).await?.view;
    let (now, actor) = (call.now(), call.actor());
    let change = ask.change(now)?;
    if has_run(&change) {
        super::reserved::check_kind(&call, job.kind.as_str())?;
    }
    let reason = super::reason(ask.reason())?;
    let acting = call.acting(Some(&job.namespace), id);
    match acting.store().change(now, vec![id], change, actor, reason).await?.pop() {
        None | Some(Changed::Unknown) => Err(call.unknown("job")),
        Some(changed) => Ok(Json(Became::of(id, changed))),
    }
}

async fn change_many<A: AskMany>(call: Call<Nothing, Nothing, A>) -> Result<Json<Items<Became>>, Problem> {
    let began_us = call.api.env.monotonic_us();
    let (call, asked) = call.split();
    let (ids, seen, ask) = asked.split();
    if ids.len().max(seen.len()) > CHANGE_JOBS_MAX || (!ids.is_empty() && !seen.is_empty()) {
        let why = format!("it is either `ids` or `seen`, with at most {CHANGE_JOBS_MAX} jobs");
        return Err(Problem::invalid("ids", why, "send several requests"));
    }
    let (now, actor) = (call.now(), call.actor());
    let change = ask.change(now)?;
    let reason = super::reason(ask.reason())?;
    // One that is named twice is changed once, and told of once.
    let mut named = HashSet::new();
    let (mut ids, mut seen) = (ids, seen);
    ids.retain(|id| named.insert(*id));
    seen.retain(|seen| named.insert(seen.id));
    let asked: Vec<JobId> = ids.iter().copied().chain(seen.iter().map(|seen| seen.id)).collect();
    let mut became = HashMap::with_capacity(asked.len());
    for (namespace, allowed) in sort_out(&call, &change, &asked, &mut became).await? {
        let ours: Vec<JobId> = ids.iter().copied().filter(|id| allowed.contains(id)).collect();
        let places: Vec<Seen> =
            seen.iter().filter(|seen| allowed.contains(&seen.id)).map(Seen::from).collect();
        let count = ours.len() + places.len();
        let acting = call.acting(Some(&namespace), described(&ours, &places, count));
        let (actor, reason) = (actor.clone(), reason.clone());
        let changed_ids: Vec<JobId> =
            ours.iter().copied().chain(places.iter().map(|place| place.id)).collect();
        let answers = match places.is_empty() {
            true => acting.store().change(now, ours, change, actor, reason).await?,
            false => acting.store().change_seen(now, places, change, actor, reason).await?,
        };
        became.extend(changed_ids.into_iter().zip(answers));
    }
    let some_are_unknown = asked.iter().any(|id| became.get(id).is_none_or(|one| *one == Changed::Unknown));
    if some_are_unknown {
        // What there is and may not be seen takes longer to look up than what there is not.
        let least_us = micros(call.api.limits().unknown_time) + UNKNOWN_EACH_US * asked.len() as u64;
        call.api.env.sleep_until_us(began_us.saturating_add(least_us)).await;
    }
    let mut told = |id: JobId| Became::of(id, became.remove(&id).unwrap_or(Changed::Unknown));
    Ok(Items::all(asked.into_iter().map(&mut told).collect()))
}

/// Whether a job is run by that which would not be otherwise: then whoever asks must have the right to have such a job at all.
fn has_run(change: &Change) -> bool {
    matches!(change, Change::Redo { .. } | Change::Release | Change::Free)
}

/// What is changed, for the audit: the job, or how many.
fn described(ours: &[JobId], places: &[Seen], count: usize) -> String {
    let first = ours.first().copied().or_else(|| places.first().map(|place| place.id));
    match first {
        Some(first) if count == 1 => first.to_string(),
        Some(first) => format!("{count} jobs, {first} the first"),
        None => String::new(),
    }
}

/// Those of these jobs that the caller may do that with, by their namespaces. Of those that they only see it is noted why nothing is
/// done; what there is not, and what they may not see, look the same.
async fn sort_out<R, Q, B>(
    call: &Call<R, Q, B>,
    change: &Change,
    ids: &[JobId],
    became: &mut HashMap<JobId, Changed>,
) -> Result<BTreeMap<Namespace, HashSet<JobId>>, Problem> {
    let (mut allowed, mut policies) = (BTreeMap::<_, HashSet<JobId>>::new(), HashMap::new());
    let filter = taskwright_store::Filter { ids: ids.to_vec(), ..taskwright_store::Filter::default() };
    let mut after = None;
    while !ids.is_empty() {
        let page = Page { after, limit: PAGE_ROWS_MAX, oldest_first: true };
        let page = call.store().list(filter.clone(), page).await?;
        for job in page.jobs {
            let owner = job.owner.as_ref();
            if !call.sees(P::JobsView, &job.namespace, owner) {
                continue;
            }
            let is_runnable = !has_run(change) || may_run(call.caller.principal(), job.kind.as_str());
            if is_runnable && call.may(&job.namespace, owner, &mut policies).await? {
                allowed.entry(job.namespace).or_default().insert(job.id);
            } else {
                let why = match policies.get(&job.namespace) {
                    Some(policy) if is_runnable => {
                        format!(
                            "you may not do that with it: the cancel policy of its namespace is `{policy}`"
                        )
                    }
                    _ => "you may not do that with it".to_owned(),
                };
                became.insert(job.id, Changed::Skipped(why));
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(allowed)
}

impl From<&SeenAt> for Seen {
    fn from(seen: &SeenAt) -> Self {
        let SeenAt { id, state, attempt, run_at } = *seen;
        Self { id, state, attempt, run_at }
    }
}
