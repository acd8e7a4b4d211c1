//! Steps of a job.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use taskwright_core::{StepName, Timestamp};
use taskwright_store::StepView;

/// A step that a job has done, and does not do again.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Step")]
pub(crate) struct Step {
    /// What it is called.
    pub(crate) name: StepName,
    /// In which attempt it was done.
    pub(crate) attempt: u32,
    /// When.
    pub(crate) done_at: Timestamp,
    /// What it gave.
    #[schemars(with = "serde_json::Value")]
    pub(crate) result: Box<RawValue>,
}

impl From<StepView> for Step {
    fn from(step: StepView) -> Self {
        let StepView { name, attempt, at: done_at, result } = step;
        // What is kept was written as JSON; should it be damaged, the step is told all the same.
        let result = RawValue::from_string(result).unwrap_or_else(|_| RawValue::NULL.to_owned());
        Self { name, attempt, done_at, result }
    }
}

impl From<Step> for StepView {
    fn from(step: Step) -> Self {
        let Step { name, attempt, done_at: at, result } = step;
        Self { name, attempt, at, result: result.get().to_owned() }
    }
}
