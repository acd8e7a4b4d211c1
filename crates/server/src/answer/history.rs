//! Executions: attempts that have ended, with what one wants to know of their jobs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use taskwright_core::attempt::AttemptEnd;
use taskwright_core::{AttemptRecord, JobId, Kind, Namespace, QueueName, Timestamp, WorkerId};
use taskwright_store::{Execution, JobOrigin};

use super::job::Used;
use super::micros;

/// An execution.
#[derive(Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Execution")]
pub(crate) struct Executed {
    /// The job.
    pub(crate) job: JobId,
    /// The task.
    kind: Kind,
    /// The queue.
    queue: QueueName,
    /// The tenant.
    namespace: Namespace,
    /// The number of the attempt, from 1.
    attempt: u32,
    /// How it ended.
    outcome: AttemptEnd,
    /// Who ran it.
    worker: WorkerId,
    /// Since when it could have been started, if that is known.
    available_at: Option<Timestamp>,
    /// When it was claimed.
    claimed_at: Timestamp,
    /// When its handler was called.
    started_at: Option<Timestamp>,
    /// When it ended.
    ended_at: Timestamp,
    /// How long it waited, in microseconds.
    wait_us: Option<u64>,
    /// How long its handler ran, in microseconds.
    run_us: Option<u64>,
    /// What went wrong.
    error: Option<String>,
    /// What it returned, cut if it is long.
    result: Option<String>,
    /// What it used of the machine.
    usage: Option<Used>,
    /// The schedule that made the job.
    pub(crate) made_by: Option<JobOrigin>,
}

impl Executed {
    /// What is told of an execution.
    pub(crate) fn of(execution: &Execution, made_by: Option<JobOrigin>) -> Self {
        let record = &execution.record;
        Self {
            job: execution.job,
            kind: execution.kind.clone(),
            queue: execution.queue.clone(),
            namespace: execution.namespace.clone(),
            attempt: record.attempt,
            outcome: record.end,
            worker: record.worker,
            available_at: execution.available_at,
            claimed_at: record.claimed_at,
            started_at: record.started_at,
            ended_at: record.ended_at,
            wait_us: execution.wait().map(micros),
            run_us: execution.run().map(micros),
            error: record.error.clone(),
            result: execution.result.clone(),
            usage: record.usage.map(Used::from),
            made_by,
        }
    }

    /// The execution as a store has it.
    pub(crate) fn into_execution(self) -> Execution {
        Execution {
            job: self.job,
            kind: self.kind,
            queue: self.queue,
            namespace: self.namespace,
            available_at: self.available_at,
            record: AttemptRecord {
                attempt: self.attempt,
                worker: self.worker,
                claimed_at: self.claimed_at,
                started_at: self.started_at,
                ended_at: self.ended_at,
                end: self.outcome,
                error: self.error,
                usage: self.usage.map(taskwright_core::Usage::from),
            },
            result: self.result,
        }
    }
}

/// A part of what was executed.
#[derive(Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Executions")]
pub(crate) struct Part {
    /// The executions, the last end first.
    pub(crate) items: Vec<Executed>,
    /// Where to go on; `null` at the end. A part may be short, even empty, and still go on.
    pub(crate) next: Option<String>,
    /// Whether there are executions of jobs stored long ago that nobody looked at.
    pub(crate) is_cut: bool,
}
