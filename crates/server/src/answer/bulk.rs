//! Bulk jobs: one in a listing, everything about one, what became of a change.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use taskwright::bulk::{BulkView, OnFailure, Tally};
use taskwright::generator::Paused;
use taskwright_core::name::BulkTypeName;
use taskwright_core::{Actor, Authority, GeneratorName, JobId, Namespace, Owner, State, Timestamp};

/// A bulk.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BulkListed")]
pub(crate) struct Listed {
    /// Its parent.
    id: JobId,
    /// What makes its items.
    #[serde(rename = "type")]
    kind: BulkTypeName,
    /// The tenant.
    namespace: Namespace,
    /// In whose name its items run.
    author: Option<Owner>,
    /// The state of its parent: blocked until its items are settled.
    state: State,
    #[serde(flatten)]
    tally: Tally,
    /// How many of its items have ended.
    settled: u64,
    /// What becomes of it when items fail.
    on_failure: OnFailure,
    /// Why it ended.
    error: Option<String>,
    /// The generator of its items, which is gone once it is over.
    generator: GeneratorName,
    /// When it was created.
    created_at: Timestamp,
    /// When it was over.
    ended_at: Option<Timestamp>,
}

/// Everything about a bulk.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Bulk")]
pub(crate) struct Whole {
    #[serde(flatten)]
    listed: Listed,
    /// Items that were made and are not over.
    outstanding: u64,
    /// How many may be, while it is not over.
    window: Option<u32>,
    /// Whether and why it rests.
    paused: Option<Paused>,
    /// What went wrong last in making items.
    last_error: Option<String>,
    /// By whose rights its items are made, asked again as it goes; none for those of whoever runs the server.
    authority: Option<Actor>,
    /// What it was created with.
    params: serde_json::Value,
}

impl Listed {
    /// What a listing tells of a bulk.
    pub(crate) fn of(view: &BulkView) -> Self {
        let (parent, definition) = (&view.parent, &view.definition);
        Self {
            id: parent.id,
            kind: definition.kind.clone(),
            namespace: parent.namespace.clone(),
            author: definition.author.clone(),
            state: parent.state,
            tally: view.tally,
            settled: view.tally.settled(),
            on_failure: definition.on_failure,
            error: parent.error.clone(),
            generator: view.generator_name.clone(),
            created_at: parent.created_at,
            ended_at: parent.ended_at,
        }
    }
}

impl Whole {
    /// What is told of a bulk.
    pub(crate) fn of(view: &BulkView) -> Self {
        let generator = view.generator.as_ref();
        Self {
            listed: Listed::of(view),
            outstanding: view.tally.made.saturating_sub(view.tally.settled()),
            window: generator.map(|generator| generator.definition.window),
            paused: generator.and_then(|generator| generator.record.paused.clone()),
            last_error: generator.and_then(|generator| generator.record.last_error.clone()),
            authority: view.definition.authority.as_ref().map(Authority::actor),
            params: view.definition.params.clone(),
        }
    }
}

/// A bulk that was created.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "BulkCreated")]
pub(crate) struct Created {
    /// Its parent.
    pub(crate) id: JobId,
}

/// A bulk that was paused, resumed or cancelled.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "BulkChanged")]
pub(crate) struct Changed {
    /// Whether that changed something.
    pub(crate) changed: bool,
    /// Its parent.
    pub(crate) id: JobId,
}

/// A bulk of which what failed runs again.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "BulkRetried")]
pub(crate) struct Retried {
    /// Its parent.
    pub(crate) id: JobId,
    /// How many items run again.
    pub(crate) retried: usize,
}
