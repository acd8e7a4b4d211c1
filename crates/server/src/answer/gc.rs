//! What is removed when it is old enough, and how long it is kept.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use taskwright::generator::{CollectorView, DryRun};
use taskwright_core::{Garbage, JobId, Timestamp};

/// A collector.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Collector")]
pub(crate) struct Listed {
    /// What it removes.
    pub(crate) what: Garbage,
    /// The generator that it is.
    pub(crate) generator: String,
    /// `on`, `at it`, `paused`, `failing`, or `unknown` while no node has registered it.
    pub(crate) status: String,
    /// How long that is kept, in seconds; `null` is for ever.
    pub(crate) keep_s: Option<u64>,
    /// Whether somebody has set that, whatever the config file says.
    pub(crate) is_set: bool,
    /// How long it is kept unless somebody says otherwise.
    pub(crate) default_s: u64,
    /// How long it is kept at least.
    pub(crate) least_s: u64,
    /// How much it has removed.
    pub(crate) removed: u64,
    /// When it looks next.
    pub(crate) looks_at: Option<Timestamp>,
    /// When it looked last.
    pub(crate) looked_at: Option<Timestamp>,
    /// What went wrong then.
    pub(crate) error: Option<String>,
}

impl Listed {
    /// What is told of a collector.
    pub(crate) fn of(view: &CollectorView) -> Self {
        let record = view.generator.as_ref().map(|view| &view.record);
        Self {
            what: view.garbage,
            generator: view.garbage.collector().to_string(),
            status: status(view).to_owned(),
            keep_s: view.keep.map(|keep| keep.as_secs()),
            is_set: view.set.is_some(),
            default_s: view.garbage.kept_by_default().as_secs(),
            least_s: view.garbage.kept_at_least().as_secs(),
            removed: view.removed,
            looks_at: record.and_then(|record| record.poll_at.filter(|_| record.paused.is_none())),
            looked_at: record.and_then(|record| record.last_poll),
            error: record.and_then(|record| record.last_error.clone()),
        }
    }
}

/// How a collector is, in a word.
fn status(view: &CollectorView) -> &'static str {
    match view.generator.as_ref().map(|view| &view.record) {
        None => "unknown",
        Some(record) if record.paused.is_some() => "paused",
        Some(record) if record.failures > 0 => "failing",
        Some(_) if view.more => "at it",
        Some(_) => "on",
    }
}

/// What a collector would remove.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "CollectorDryRun")]
pub(crate) struct WouldGo {
    /// What.
    pub(crate) what: Garbage,
    /// How much.
    pub(crate) would_go: usize,
    /// Whether there may be more.
    pub(crate) is_cut: bool,
    /// Which jobs, the first 1,000.
    pub(crate) jobs: Vec<JobId>,
}

impl WouldGo {
    /// What is told of a dry run.
    pub(crate) fn of(what: Garbage, found: DryRun) -> Self {
        let DryRun { rows, is_cut, jobs } = found;
        Self { what, would_go: rows, is_cut, jobs }
    }
}

/// What a collector has removed by hand.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "CollectorRun")]
pub(crate) struct Removed {
    /// What.
    pub(crate) what: Garbage,
    /// How much.
    pub(crate) removed: u64,
    /// Whether there may be more, for another request.
    pub(crate) more: bool,
}
