//! `/api/v1/jobs/history`: what was executed; and what that took, for a command line that adds it up itself.

use http::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use taskwright_core::attempt::AttemptEnd;
use taskwright_core::limit::SAMPLE_MAX;
use taskwright_core::{JobId, Permission as P, Timestamp, WorkerId};
use taskwright_store::{ExecutionFilter, ExecutionPage, ExecutionPlace, Pattern, Statistics};

use super::page_size;
use crate::answer::history::{Executed, Part};
use crate::http::call::{Call, Nothing};
use crate::http::cursor;
use crate::http::operation::{Access, Operation};
use crate::http::problem::Problem;
use crate::http::reply::Json;

/// The operations.
pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            "jobs.history",
            Method::GET,
            "/api/v1/jobs/history",
            Access::Needs(P::JobsView),
            "List what was executed: attempts that have ended, the last end first",
            history,
        ),
        Operation::new(
            "stored.statistics",
            Method::GET,
            "/api/v1/stored/statistics",
            Access::Needs(P::StatsView),
            "Give what the newest 100,000 executions took, each by itself, for the command line",
            statistics,
        ),
    ]
}

/// Which executions: AND between the parameters, OR within one that is repeated. In names `*` stands for anything.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Which {
    /// Of these jobs.
    pub(crate) id: Vec<JobId>,
    /// Of these tasks.
    pub(crate) kind: Vec<String>,
    /// In these queues.
    pub(crate) queue: Vec<String>,
    /// That ended so.
    pub(crate) outcome: Vec<AttemptEnd>,
    /// That these workers ran.
    pub(crate) worker: Vec<WorkerId>,
    /// That ended at this time or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<Timestamp>,
    /// That ended at this time or earlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<Timestamp>,
    /// How many at most: 1 to 1,000, 100 unless it is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<u32>,
    /// Where to go on: `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cursor: Option<String>,
}

fn filter(call: &Call<Nothing, Which>) -> ExecutionFilter {
    let Which { id, kind, queue, outcome, worker, since, until, .. } = call.query.clone();
    let patterns = |texts: Vec<String>| texts.iter().map(|text| Pattern::new(text)).collect();
    ExecutionFilter {
        ids: id,
        namespace: call.namespace().cloned(),
        kinds: patterns(kind),
        queues: patterns(queue),
        ends: outcome,
        workers: worker,
        started_from: None,
        started_to: None,
        ended_from: since,
        ended_to: until,
    }
}

async fn history(call: Call<Nothing, Which>) -> Result<Json<Part>, Problem> {
    let after = call.query.cursor.as_deref().map(cursor::read::<ExecutionPlace>).transpose()?;
    let page = ExecutionPage { after, limit: page_size(call.query.limit)? };
    let found = call.store().executions(filter(&call), page).await?;
    let jobs = found.executions.iter().map(|one| one.job).collect();
    let origins = call.store().origins(jobs).await?;
    let items =
        found.executions.iter().zip(origins).map(|(one, made_by)| Executed::of(one, made_by)).collect();
    Ok(Json(Part { items, next: found.next.map(|next| cursor::write(&next)), is_cut: found.is_cut }))
}

async fn statistics(call: Call<Nothing, Which>) -> Result<Json<Statistics>, Problem> {
    Ok(Json(call.store().statistics(filter(&call), SAMPLE_MAX).await?))
}
