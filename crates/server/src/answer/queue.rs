//! Queues: what became of pausing and purging one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use taskwright_core::QueueName;

/// A queue that was paused or resumed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "QueueSwitched")]
pub(crate) struct Switched {
    /// Whether that changed something.
    pub(crate) changed: bool,
    /// Whether it is paused now.
    pub(crate) paused: bool,
    /// The queue.
    pub(crate) queue: QueueName,
}

/// A queue whose waiting jobs were cancelled.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "QueuePurged")]
pub(crate) struct Purged {
    /// How many.
    pub(crate) cancelled: usize,
    /// The queue.
    pub(crate) queue: QueueName,
}
