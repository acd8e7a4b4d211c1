//! Steps of jobs: what a handler has done already, however often it is called again.

use taskwright_core::limit::STEP_BYTES_MAX;
use taskwright_core::{Error as DomainError, JobId, StepName, Timestamp, Verdict, WorkerId};

use crate::Reply;
use crate::claim::JobKey;
use crate::error::Error;

/// What a store keeps of steps. Part of [`Store`](crate::Store).
///
/// They go with their job, and when one that completed is run once more.
///
/// # Errors
///
/// As for every call of a [`Store`](crate::Store).
pub trait StepStore: Send + Sync + 'static {
    /// Keeps what steps of running attempts gave, and says of each whether its attempt still holds the job; otherwise it is not kept. A
    /// step that is kept already is replaced.
    ///
    /// # Errors
    ///
    /// When one gave more than [`STEP_BYTES_MAX`].
    fn keep_steps(&self, worker: WorkerId, steps: Vec<NewStep>) -> Reply<'_, Vec<Verdict>>;

    /// The steps of a job, in the order in which they were kept; nothing when there is no such job.
    fn steps(&self, job: JobId) -> Reply<'_, Vec<StepView>>;
}

/// What a step of a running attempt gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewStep {
    /// The job.
    pub key: JobKey,
    /// The attempt.
    pub attempt: u32,
    /// When it was done.
    pub at: Timestamp,
    /// What it is called.
    pub name: StepName,
    /// What it gave, as JSON.
    pub result: String,
}

/// A step that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepView {
    /// What it is called.
    pub name: StepName,
    /// In which attempt it was done.
    pub attempt: u32,
    /// When.
    pub at: Timestamp,
    /// What it gave, as JSON.
    pub result: String,
}

/// Refuses what is too large to be kept.
pub(crate) fn check(steps: &[NewStep]) -> Result<(), Error> {
    let Some(large) = steps.iter().find(|step| step.result.len() > STEP_BYTES_MAX) else { return Ok(()) };
    Err(DomainError::too_large(
        format!("the step {}", large.name),
        format!("what it gave has {} bytes, {STEP_BYTES_MAX} are allowed", large.result.len()),
        "keep it elsewhere, and have the step give a reference to it",
    )
    .into())
}
