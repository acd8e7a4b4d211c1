//! What a worker asks for and what it is given.

use std::time::Duration;

use taskwright_core::{
    Args, Backoff, Delivery, JobId, Kind, MaxAttempts, Namespace, Owner, Priority, QueueName, Timestamp,
    WorkerId,
};

/// The store's own number of a job: given with a claim, and short on the way back. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JobKey(pub i64);

/// What a worker asks for.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Now.
    pub now: Timestamp,
    /// Who asks.
    pub worker: WorkerId,
    /// How many jobs at most; held at [`CLAIM_JOBS_MAX`](taskwright_core::limit::CLAIM_JOBS_MAX).
    pub limit: usize,
    /// The kinds it can run. A job of another kind stays where it is.
    pub kinds: Vec<Kind>,
    /// The queues it serves; `None` is all.
    pub queues: Option<Vec<QueueName>>,
    /// The namespace it serves; `None` is all.
    pub namespace: Option<Namespace>,
    /// Only jobs of this priority or better, as they were submitted: ageing does not lift a job over it.
    pub priority_max: Option<Priority>,
}

/// What a worker is given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Claimed {
    /// The jobs, the most urgent first.
    pub jobs: Vec<ClaimedJob>,
}

/// One job that a worker now holds.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimedJob {
    /// The store's number of it.
    pub key: JobKey,
    /// Its id.
    pub id: JobId,
    /// The number of this attempt, from 1; with the worker it is the fence.
    pub attempt: u32,
    /// The tenant.
    pub namespace: Namespace,
    /// Whose it is.
    pub owner: Option<Owner>,
    /// The task.
    pub kind: Kind,
    /// The queue.
    pub queue: QueueName,
    /// The priority as submitted.
    pub priority: Priority,
    /// The arguments.
    pub args: Args,
    /// When it was stored.
    pub created_at: Timestamp,
    /// When it was claimed.
    pub claimed_at: Timestamp,
    /// How many executions it gets.
    pub max_attempts: MaxAttempts,
    /// How long it waits after a failure, unless that is left to the task.
    pub backoff: Option<Backoff>,
    /// How long this attempt may take, unless that is left to the task.
    pub timeout: Option<Duration>,
    /// What happens when the worker is lost.
    pub delivery: Delivery,
}
