//! Workers as the store sees them: registration, lease, presence, orders.

use std::sync::Arc;
use std::time::Duration;

use taskwright_core::WorkerId;

use crate::claim::JobKey;

/// A worker that makes itself known.
#[derive(Clone, Debug, PartialEq)]
pub struct NewWorker {
    /// This incarnation.
    pub id: WorkerId,
    /// The machine's name, for people.
    pub host: String,
    /// The process.
    pub pid: u32,
    /// How many jobs it runs at once.
    pub concurrency: u32,
    /// The queues it serves; empty is all.
    pub queues: Vec<String>,
    /// How long it may stay silent.
    pub lease: Duration,
}

/// What a registered worker is given.
#[derive(Clone)]
pub struct Registration {
    /// Where it notes which claimed jobs it really started.
    pub marks: Arc<dyn StartMarks>,
}

/// Where a worker notes that a claimed job is being started now.
///
/// A worker claims jobs in blocks, so when it is lost, some of what it held was never started. The marks tell them
/// apart: a job without a mark goes back with its attempt unspent, and cannot be blamed for the loss. They are worth
/// less than a transaction (a power cut may lose them, and then every job counts as started) and cost next to nothing.
pub trait StartMarks: Send + Sync {
    /// Notes that the handler of this attempt is about to be called. Only for a job that this worker holds: when it has given the job back,
    /// a later claim of it may have the same number, and would count as started.
    fn started(&self, key: JobKey, attempt: u32);
}

/// A request to cancel a running job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CancelRequest {
    /// The job.
    pub key: JobKey,
    /// The attempt that runs.
    pub attempt: u32,
    /// Who asked.
    pub actor: String,
    /// Why, if they said so.
    pub reason: Option<String>,
}

/// What a worker must know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// Running jobs of its that somebody wants cancelled; repeated until they end.
    pub cancels: Vec<CancelRequest>,
    /// What it was told to do.
    pub order: Option<Order>,
}

/// What a worker can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Claim nothing more; finish what runs; stay.
    Quiet,
    /// Shut down in good order.
    Stop,
}

/// What is known about a worker's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum WorkerState {
    /// Registered and within its lease.
    Alive,
    /// Ended in good order.
    Stopped,
    /// Declared lost.
    Lost,
}

impl WorkerState {
    /// The number that stores keep; never renumbered.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The value of a [`code`](Self::code); anything unknown is lost.
    pub const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Alive,
            1 => Self::Stopped,
            _ => Self::Lost,
        }
    }
}

/// Whether a worker whose lease ran to `lease_until_us` is over it.
pub(crate) fn lease_expired(lease_until_us: u64, monotonic_us: u64) -> bool {
    lease_until_us < monotonic_us
}
