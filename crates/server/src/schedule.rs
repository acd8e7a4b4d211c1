//! What the command line and the config file have in common when they define a schedule.

use std::time::Duration;

use taskwright::Form;
use taskwright_core::schedule::ScheduleBuilder;
use taskwright_core::{Args, Backoff, MaxAttempts, Priority, QueueName};

use crate::config::TaskConfig;
use crate::error::Error;
use crate::exec::{self, ExecArgs};

/// What is said about the jobs of a schedule; what is not said comes from their task.
#[derive(Clone, Debug, Default)]
pub(crate) struct JobSettings {
    pub(crate) queue: Option<QueueName>,
    pub(crate) priority: Option<Priority>,
    pub(crate) max_attempts: Option<MaxAttempts>,
    pub(crate) backoff: Option<Backoff>,
    pub(crate) timeout: Option<Duration>,
}

impl JobSettings {
    /// The same, with what `[tasks.NAME]` says for what is not said.
    pub(crate) fn or_of(self, task: Option<&TaskConfig>) -> Self {
        let Some(task) = task else { return self };
        Self {
            queue: self.queue.or_else(|| task.queue.clone()),
            priority: self.priority.or(task.priority),
            max_attempts: self.max_attempts.or(task.max_attempts),
            backoff: self.backoff.or(task.backoff),
            timeout: self.timeout.or(task.timeout),
        }
    }

    /// The same, with what the program's own task says for what is still not said.
    pub(crate) fn or_of_program(self, form: Option<Form>) -> Self {
        let Some(form) = form else { return self };
        Self {
            queue: self.queue.or(Some(form.queue)),
            priority: self.priority.or(Some(form.priority)),
            max_attempts: self.max_attempts.or(Some(form.max_attempts)),
            ..self
        }
    }

    /// Says it about a schedule.
    pub(crate) fn apply(self, mut builder: ScheduleBuilder) -> ScheduleBuilder {
        if let Some(queue) = self.queue {
            builder = builder.queue(queue);
        }
        if let Some(priority) = self.priority {
            builder = builder.priority(priority);
        }
        if let Some(max_attempts) = self.max_attempts {
            builder = builder.max_attempts(max_attempts);
        }
        if let Some(backoff) = self.backoff {
            builder = builder.backoff(backoff);
        }
        if let Some(timeout) = self.timeout {
            builder = builder.timeout(timeout);
        }
        builder
    }
}

/// Refuses arguments that the task could not run with, before they are stored. Placeholders count as what they are: texts.
///
/// # Errors
///
/// When they lack what the task needs.
pub(crate) fn check_args(kind: &str, template: &str, task: Option<&TaskConfig>) -> Result<(), Error> {
    let args = Args::from_json(template)?;
    if kind == exec::KIND {
        return ExecArgs::read(&args).map(drop);
    }
    match task {
        Some(task) if task.needs_args() => task.check_args(&args.parse()?),
        _ => Ok(()),
    }
}
