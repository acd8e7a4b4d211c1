//! A task: a named kind of work, defined in code.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use taskwright_core::attempt::AttemptEnd;
use taskwright_core::limit::SNOOZES_MAX;
use taskwright_core::{
    Backoff, Delivery, Error, Limits, MaxAttempts, OnShutdown, Outcome, Priority, Schedule, UniqueKey, Weight,
};

use crate::cancel::StopCause;
use crate::context::Context;
use crate::registry::TaskOptions;

/// A kind of work: a value of the type is the arguments of one job, and [`run`](Task::run) does it.
///
/// Say only what differs from the defaults. See the [crate documentation](crate) for a whole program.
pub trait Task: Serialize + DeserializeOwned + Send + 'static {
    /// The name of the task, for instance `email.welcome`. Jobs keep it: who changes it names the earlier one among the
    /// [aliases](Task::ALIASES).
    const KIND: &'static str;
    /// Kinds that the task had before. Jobs that still have them are run as this one; new ones never get them. A worker of before
    /// the change does not know the new kind and leaves its jobs to others.
    const ALIASES: &'static [&'static str] = &[];
    /// The queue of a job that says nothing.
    const QUEUE: &'static str = "default";
    /// The priority of a job that says nothing.
    const PRIORITY: Priority = Priority::DEFAULT;
    /// How long one attempt may take, for a job that says nothing; `None` is as long as it takes.
    const TIMEOUT: Option<Duration> = None;
    /// What happens to a job whose worker is lost.
    const DELIVERY: Delivery = Delivery::AtLeastOnce;
    /// How long a handler may go on after it was asked to stop, before it is dropped at its next await.
    const CANCEL_GRACE: Duration = TaskOptions::CANCEL_GRACE;
    /// What one job counts in the [budget](crate::worker::Builder::budget) of a worker while it runs.
    const WEIGHT: Weight = Weight::NONE;
    /// How often one job may be [snoozed](TaskError::snooze), since it was last run again on request; the next time it fails.
    const SNOOZES_MAX: u32 = SNOOZES_MAX;
    /// What becomes of a job that a shutdown finds running, and that does not end within the grace; `None` leaves it to the
    /// [worker](crate::worker::Builder::on_shutdown).
    const ON_SHUTDOWN: Option<OnShutdown> = None;
    /// The version of the form of the arguments, from 1. Above 1 it is stored with them, as `$version` beside the fields, which is the
    /// name of no field; arguments without it are of version 1. A job of a newer version waits for a worker that knows it. Raise it with each change that jobs of before do not fit, and say in
    /// [`upgrade`](Task::upgrade) what becomes of them.
    const VERSION: u32 = 1;
    /// Whether each attempt runs in a [child process](crate::child) of its own, which may crash without any harm to others.
    const IN_CHILD: bool = false;
    /// What that process and its descendants may use, together. Above its memory or its CPU time it is ended, and the attempt has failed.
    /// Only for tasks that are [`IN_CHILD`](Task::IN_CHILD): elsewhere nobody could keep it.
    const LIMITS: Limits = Limits::NONE;

    /// What the task gives back: kept with the job as JSON, at most 1 MiB. `()` keeps nothing.
    type Output: Serialize;

    /// How many executions a job gets that says nothing. Default 5.
    fn max_attempts() -> MaxAttempts {
        MaxAttempts::default()
    }

    /// How long a job waits after a failure. Default 10 s, doubling up to 1 h.
    fn backoff() -> Backoff {
        Backoff::default()
    }

    /// The key of which at most one job of the task may be there at a time, for a job that says nothing. Default: none.
    ///
    /// # Errors
    ///
    /// When it is no key; then the job is not enqueued.
    fn unique(&self) -> Result<Option<UniqueKey>, Error> {
        Ok(None)
    }

    /// Makes arguments of the version `from` ones of the version after it. It is called once for each version between that of a
    /// job and [`VERSION`](Task::VERSION), and is given the arguments without `$version`.
    ///
    /// # Errors
    ///
    /// What it returns ends the attempt as if the handler had returned it. Default: the job fails.
    fn upgrade(from: u32, args: Value) -> Result<Value, TaskError> {
        drop(args);
        Err(TaskError::permanent(format!(
            "the arguments are of version {from}, and nothing makes them ones of version {}",
            from.saturating_add(1)
        )))
    }

    /// The schedules of the task, which an [`App`](crate::App) registers when it runs. Default: none.
    ///
    /// # Errors
    ///
    /// When one of them makes no sense; then the app does not start.
    fn schedules() -> Result<Vec<Schedule>, Error> {
        Ok(Vec::new())
    }

    /// Does the work of one job.
    ///
    /// It may be called more than once for the same job: when it fails, and when its worker dies.
    fn run(self, ctx: Context) -> impl Future<Output = Result<Self::Output, TaskError>> + Send;
}

/// How a handler says that a job did not complete.
///
/// Every error type turns into one with `?`, and then the job is tried again as long as it has attempts left. The
/// constructors say something else.
///
/// # Example
///
/// ```
/// use taskwright::TaskError;
///
/// fn parse(text: &str) -> Result<u32, TaskError> {
///     if text.is_empty() {
///         return Err(TaskError::permanent("an empty text will not become a number"));
///     }
///     Ok(text.parse()?) // tried again
/// }
/// # assert!(parse("7").is_ok() && parse("").is_err() && parse("x").is_err());
/// ```
pub struct TaskError(Outcome);

impl TaskError {
    /// Tried again after the back-off, as an error through `?` is.
    pub fn retry(error: impl fmt::Display) -> Self {
        Self(Outcome::Retry { error: error.to_string(), after: None, end: AttemptEnd::Failed })
    }

    /// Tried again after this much time instead of the back-off.
    pub fn retry_after(error: impl fmt::Display, after: Duration) -> Self {
        Self(Outcome::Retry { error: error.to_string(), after: Some(after), end: AttemptEnd::Failed })
    }

    /// Not now: called again after this much time (at least 1 ms), and this attempt does not count. Whoever knows that what it
    /// waits for is there calls it sooner, with [`Client::awaken`](crate::Client::awaken).
    ///
    /// A job may be snoozed [`SNOOZES_MAX`](Task::SNOOZES_MAX) times, 1,000 unless its task says otherwise; the next time it
    /// fails.
    pub fn snooze(delay: Duration) -> Self {
        Self(Outcome::Snooze { delay })
    }

    /// Will fail again: the job ends as failed, whatever attempts are left.
    pub fn permanent(error: impl fmt::Display) -> Self {
        Self(Outcome::Fail { error: error.to_string() })
    }

    /// As a panic: tried again after the back-off, and the attempt says that it panicked.
    pub(crate) fn panicked(message: String) -> Self {
        Self(Outcome::Retry { error: message, after: None, end: AttemptEnd::Panicked })
    }

    /// The job ends as cancelled.
    pub fn cancelled(reason: impl fmt::Display) -> Self {
        Self(Outcome::Cancelled { reason: reason.to_string() })
    }
}

impl TaskError {
    /// What it says.
    pub(crate) fn message(&self) -> String {
        match &self.0 {
            Outcome::Retry { error, .. } | Outcome::Fail { error } => error.clone(),
            Outcome::Cancelled { reason } | Outcome::GiveBack { reason } => reason.clone(),
            Outcome::Snooze { .. } => "not now".to_owned(),
            Outcome::Completed { .. } => String::new(),
        }
    }
}

impl<E: std::error::Error> From<E> for TaskError {
    /// Keeps the text of the error and of everything that caused it.
    fn from(error: E) -> Self {
        Self::retry(WithSources(&error))
    }
}

impl From<TaskError> for Outcome {
    fn from(error: TaskError) -> Self {
        error.0
    }
}

impl From<&StopCause> for TaskError {
    /// What a handler returns that stopped because its token fired: a cancel ends the job, everything else is up to
    /// the worker.
    fn from(cause: &StopCause) -> Self {
        match cause {
            StopCause::Cancelled { .. } => Self::cancelled(cause),
            StopCause::Shutdown | StopCause::TimedOut | StopCause::Lost => Self::retry(cause),
        }
    }
}

impl From<StopCause> for TaskError {
    fn from(cause: StopCause) -> Self {
        Self::from(&cause)
    }
}

impl fmt::Debug for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskError({:?})", self.0)
    }
}

/// An error and its sources on one line.
struct WithSources<'a>(&'a dyn std::error::Error);

impl fmt::Display for WithSources<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the mail was not sent")]
    struct NotSent(#[source] std::io::Error);

    #[test]
    fn an_error_keeps_the_text_of_its_sources() {
        let error = NotSent(std::io::Error::other("connection refused"));
        let Outcome::Retry { error, after: None, end: AttemptEnd::Failed } = TaskError::from(error).into()
        else {
            panic!("an error is tried again");
        };
        assert_eq!(error, "the mail was not sent: connection refused");
    }
}
