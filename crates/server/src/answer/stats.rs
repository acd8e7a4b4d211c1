//! How executions went, span by span.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use taskwright_core::attempt::AttemptEnd;
use taskwright_core::rollup::{Grain, Histogram, RollUp};
use taskwright_core::{Namespace, Timestamp};
use taskwright_store::{RollUpFilter, Store};

use super::micros;

/// What one span is told about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "StatsBy")]
pub(crate) enum By {
    /// All together
    #[default]
    All,
    /// Each task
    Kind,
    /// Each queue
    Queue,
}

/// What one line is about: when its span began, the tenant, the name of a kind or queue.
pub(crate) type Key = (Timestamp, Namespace, String);

/// Up to this long a window is told by the minute.
pub(crate) const MINUTES_MAX: Duration = Duration::from_secs(3 * 3_600);

/// Roll-ups that are read at once.
const PAGE: usize = 1_000;

/// What went on in one span.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "StatsLine")]
pub(crate) struct Line {
    /// When it began.
    pub(crate) from: Timestamp,
    /// How long it is: minute or hour.
    pub(crate) every: String,
    /// The tenant.
    pub(crate) namespace: Namespace,
    /// The task, if it was asked for each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<String>,
    /// The queue, if it was asked for each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) queue: Option<String>,
    /// Attempts that ended.
    pub(crate) executions: u64,
    /// How many ended how.
    pub(crate) outcomes: BTreeMap<String, u64>,
    /// The share that completed, 0 to 1.
    pub(crate) success_rate: Option<f64>,
    /// How long they ran.
    pub(crate) run: Times,
    /// How long they waited.
    pub(crate) wait: Times,
}

/// What is known of times, in microseconds; `null` of none.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "StatsTimes")]
pub(crate) struct Times {
    /// Of how many.
    pub(crate) count: u64,
    /// All together.
    pub(crate) total_us: u64,
    /// Half of them are not above this.
    pub(crate) p50_us: Option<u64>,
    /// 95 % of them are not above this.
    pub(crate) p95_us: Option<u64>,
    /// 99 % of them are not above this.
    pub(crate) p99_us: Option<u64>,
}

impl Times {
    fn of(times: &Histogram) -> Self {
        let quantile = |share| times.quantile(share).map(micros);
        Self {
            count: times.count(),
            total_us: micros(times.total()),
            p50_us: quantile(0.5),
            p95_us: quantile(0.95),
            p99_us: quantile(0.99),
        }
    }
}

impl Line {
    /// What is told of a span.
    pub(crate) fn of(by: By, grain: Grain, (from, namespace, name): &Key, sum: &RollUp) -> Self {
        Self {
            from: *from,
            every: grain.as_str().to_owned(),
            namespace: namespace.clone(),
            kind: (by == By::Kind).then(|| name.clone()),
            queue: (by == By::Queue).then(|| name.clone()),
            executions: sum.executions(),
            outcomes: sum.ends().into_iter().map(|(end, count)| (end.to_owned(), count)).collect(),
            success_rate: sum.success_rate(),
            run: Times::of(&sum.run),
            wait: Times::of(&sum.wait),
        }
    }
}

impl Line {
    /// How many neither completed nor were cancelled.
    pub(crate) fn failures(&self) -> u64 {
        let ended = |end: AttemptEnd| self.outcomes.get(end.as_str()).copied().unwrap_or(0);
        self.executions.saturating_sub(ended(AttemptEnd::Completed) + ended(AttemptEnd::Cancelled))
    }
}

/// All spans that match, added up by what they are told about.
///
/// # Errors
///
/// When the store is out of order.
pub(crate) async fn lines(
    store: &dyn Store,
    filter: RollUpFilter,
    by: By,
) -> Result<BTreeMap<Key, RollUp>, taskwright_store::Error> {
    let mut lines: BTreeMap<Key, RollUp> = BTreeMap::new();
    let mut after = None;
    loop {
        let page = store.roll_ups(filter.clone(), after, PAGE).await?;
        for (place, sum) in page.roll_ups {
            let name = match by {
                By::All => String::new(),
                By::Kind => place.kind.to_string(),
                By::Queue => place.queue.to_string(),
            };
            lines.entry((place.at, place.namespace, name)).or_default().merge(&sum);
        }
        after = page.next;
        if after.is_none() {
            return Ok(lines);
        }
    }
}
