//! `/api/v1/stats`: how executions went, minute by minute or hour by hour.

use std::time::Duration;

use http::Method;
use schemars::JsonSchema;
use serde::Deserialize;
use taskwright_core::Permission as P;
use taskwright_core::Timestamp;
use taskwright_core::rollup::Grain;
use taskwright_store::{Pattern, RollUpFilter};

use crate::answer::stats::{By, Line, MINUTES_MAX, lines};
use crate::http::call::{Call, Nothing};
use crate::http::operation::{Access, Operation};
use crate::http::problem::Problem;
use crate::http::reply::{Items, Json};

/// How far back it goes unless it is said.
const SINCE: Duration = Duration::from_secs(3_600);
/// Spans in one answer: 62 days by the hour.
const SPANS_MAX: u64 = 1_500;

/// The operations.
pub(super) fn operations() -> Vec<Operation> {
    vec![Operation::new(
        "stats.show",
        Method::GET,
        "/api/v1/stats",
        Access::Needs(P::StatsView),
        "Tell how executions went, span by span",
        show,
    )]
}

/// How long a span is.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "StatsEvery")]
enum Every {
    /// A minute.
    Minute,
    /// An hour.
    Hour,
}

/// Which spans.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Window {
    /// From the span on that this time lies in; an hour ago unless it is said.
    since: Option<Timestamp>,
    /// Spans that began before this time; now unless it is said.
    until: Option<Timestamp>,
    /// How long a span is: minutes for up to 3 h, else hours.
    every: Option<Every>,
    /// One line for all, for each kind or for each queue.
    by: By,
    /// Of these tasks; `*` stands for anything.
    kind: Vec<String>,
    /// Of these queues.
    queue: Vec<String>,
}

async fn show(call: Call<Nothing, Window>) -> Result<Json<Items<Line>>, Problem> {
    let Window { since, until, every, by, kind, queue } = &call.query;
    let until = until.unwrap_or_else(|| call.now());
    let since = since.unwrap_or_else(|| until.minus(SINCE));
    if since > until {
        let why = "the first lies behind the second, so that no span can match";
        return Err(Problem::invalid("since and until", why, "swap them"));
    }
    let window = until.since(since);
    let (grain, span_s) = match every {
        Some(Every::Minute) => (Grain::Minute, 60),
        None if window <= MINUTES_MAX => (Grain::Minute, 60),
        Some(Every::Hour) | None => (Grain::Hour, 3_600),
    };
    if window.as_secs() / span_s > SPANS_MAX {
        let why = format!("there are more than {SPANS_MAX} spans between them");
        return Err(Problem::invalid("since and until", why, "ask for a part, or by the hour"));
    }
    let patterns = |texts: &[String]| texts.iter().map(|text| Pattern::new(text)).collect();
    let filter = RollUpFilter {
        grain,
        from: grain.start(since),
        to: until,
        namespace: call.namespace().cloned(),
        kinds: patterns(kind),
        queues: patterns(queue),
    };
    let lines = lines(call.store(), filter, *by).await?;
    Ok(Items::all(lines.iter().map(|(key, sum)| Line::of(*by, grain, key, sum)).collect()))
}
