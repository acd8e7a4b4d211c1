//! Workers: what became of telling one what to do.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use taskwright_core::WorkerId;
use taskwright_store::Order;

/// A worker that was told what to do.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "WorkerTold")]
pub(crate) struct Told {
    /// The worker.
    pub(crate) id: WorkerId,
    /// What it was told.
    pub(crate) order: Order,
    /// Whether there was such a worker alive.
    pub(crate) told: bool,
}
