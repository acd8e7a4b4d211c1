//! Tasks that a server knows.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use taskwright::Form;
use taskwright_core::{Backoff, Kind, MaxAttempts, Priority, QueueName};

use super::micros;
use crate::config::TaskConfig;

/// A task, and what its jobs get that do not say it themselves. Nothing of what it runs.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Task")]
pub(crate) struct Known {
    /// Its name.
    pub(crate) kind: Kind,
    /// The queue of its jobs.
    pub(crate) queue: Option<QueueName>,
    /// Their priority.
    pub(crate) priority: Option<Priority>,
    /// How many executions they get: a number, or `none`.
    pub(crate) max_attempts: Option<String>,
    /// How long they wait after a failure, like `exponential:10s:1h`.
    pub(crate) backoff: Option<String>,
    /// How long one attempt may take, in microseconds.
    pub(crate) timeout_us: Option<u64>,
}

impl Known {
    /// One with these settings of the config file, and else of the program, if it has any.
    pub(crate) fn of(kind: Kind, task: Option<&TaskConfig>, form: Option<&Form>) -> Self {
        let max_attempts = task.and_then(|task| task.max_attempts).or(form.map(|form| form.max_attempts));
        Self {
            kind,
            queue: task.and_then(|task| task.queue.clone()).or(form.map(|form| form.queue.clone())),
            priority: task.and_then(|task| task.priority).or(form.map(|form| form.priority)),
            max_attempts: max_attempts.map(|most| most.to_string()),
            backoff: task.and_then(|task| task.backoff).map(|backoff| backoff.to_string()),
            timeout_us: task.and_then(|task| task.timeout).map(micros),
        }
    }

    /// As the config file would have it: only what its jobs get. `None` when that is not understood.
    pub(crate) fn into_config(self) -> Option<(String, TaskConfig)> {
        let task = TaskConfig {
            queue: self.queue,
            priority: self.priority,
            max_attempts: self.max_attempts.map(|text| text.parse::<MaxAttempts>()).transpose().ok()?,
            backoff: self.backoff.map(|text| text.parse::<Backoff>()).transpose().ok()?,
            timeout: self.timeout_us.map(Duration::from_micros),
            ..TaskConfig::default()
        };
        Some((self.kind.to_string(), task))
    }
}
