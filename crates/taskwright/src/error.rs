//! The one error of this crate.

use std::fmt;

use taskwright_core::service::ServiceState;
use taskwright_core::{GeneratorName, JobId, ScheduleName, ServiceName, State, WebhookName};

/// Something the runtime could not do.
///
/// Opaque; ask it with the `is_*` predicates. [`Display`](fmt::Display) says what and why; [`fix`](Error::fix) says
/// what to do.
#[derive(Debug)]
pub struct Error(Inner);

#[derive(Debug)]
enum Inner {
    Domain(taskwright_core::Error),
    Store(taskwright_store::Error),
    NoSuchJob(JobId),
    NoSuchSchedule(ScheduleName),
    NoSuchGenerator(GeneratorName),
    NoSuchWebhook(WebhookName),
    NoSuchBulk(JobId),
    AlreadyStarted(ServiceName, String),
    NotStarted(ServiceName, String),
    WorkerEnded,
    NotCompleted {
        id: JobId,
        state: State,
        why: String,
    },
    NoState {
        what: &'static str,
        why: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    UnfitResult {
        id: JobId,
        why: String,
        source: serde_json::Error,
    },
    /// What a statement in the caller's transaction met.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "SQLite's errors are the store's"))]
    InTransaction(Box<InTransaction>),
}

/// An error of the caller's transaction.
#[derive(Debug)]
pub(crate) struct InTransaction {
    pub(crate) what: &'static str,
    pub(crate) why: String,
    pub(crate) fix: &'static str,
    /// The attempt has ended, or is to be cancelled.
    pub(crate) refused: bool,
    pub(crate) source: Box<dyn std::error::Error + Send + Sync>,
}

impl Error {
    pub(crate) fn no_such_job(id: JobId) -> Self {
        Self(Inner::NoSuchJob(id))
    }

    pub(crate) fn no_such_schedule(name: &ScheduleName) -> Self {
        Self(Inner::NoSuchSchedule(name.clone()))
    }

    pub(crate) fn no_such_generator(name: &GeneratorName) -> Self {
        Self(Inner::NoSuchGenerator(name.clone()))
    }

    pub(crate) fn no_such_webhook(name: &WebhookName) -> Self {
        Self(Inner::NoSuchWebhook(name.clone()))
    }

    pub(crate) fn no_such_bulk(id: JobId) -> Self {
        Self(Inner::NoSuchBulk(id))
    }

    pub(crate) fn already_started(service: &ServiceName, state: ServiceState) -> Self {
        Self(Inner::AlreadyStarted(service.clone(), format!("it is {state}")))
    }

    pub(crate) fn not_started(service: &ServiceName, why: String) -> Self {
        Self(Inner::NotStarted(service.clone(), why))
    }

    pub(crate) fn worker_ended() -> Self {
        Self(Inner::WorkerEnded)
    }

    pub(crate) fn not_completed(id: JobId, state: State, reason: Option<String>) -> Self {
        let why = match reason {
            Some(reason) => format!("it is {state}: {reason}"),
            None => format!("it is {state}"),
        };
        Self(Inner::NotCompleted { id, state, why })
    }

    pub(crate) fn no_state(
        what: &'static str,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self(Inner::NoState { what, why: source.to_string(), source: Box::new(source) })
    }

    pub(crate) fn unfit_result(id: JobId, source: serde_json::Error) -> Self {
        Self(Inner::UnfitResult { id, why: source.to_string(), source })
    }

    #[cfg(feature = "postgres")]
    pub(crate) fn in_transaction(error: InTransaction) -> Self {
        Self(Inner::InTransaction(Box::new(error)))
    }

    /// What could not be done, or to what.
    pub fn what(&self) -> String {
        match &self.0 {
            Inner::Domain(error) => error.what().to_owned(),
            Inner::Store(error) => error.what().to_owned(),
            Inner::NoSuchJob(id) => format!("the job {id}"),
            Inner::NoSuchSchedule(name) => format!("the schedule {name}"),
            Inner::NoSuchGenerator(name) => format!("the generator {name}"),
            Inner::NoSuchWebhook(name) => format!("the webhook {name}"),
            Inner::NoSuchBulk(id) => format!("the bulk {id}"),
            Inner::AlreadyStarted(name, _) | Inner::NotStarted(name, _) => {
                format!("starting the service {name}")
            }
            Inner::WorkerEnded => "running jobs meanwhile".to_owned(),
            Inner::NotCompleted { id, .. } => format!("the job {id}"),
            Inner::NoState { what, .. } => format!("making the state {what}"),
            Inner::UnfitResult { id, .. } => format!("the result of the job {id}"),
            Inner::InTransaction(error) => error.what.to_owned(),
        }
    }

    /// Why not.
    pub fn why(&self) -> &str {
        match &self.0 {
            Inner::Domain(error) => error.why(),
            Inner::Store(error) => error.why(),
            Inner::NoSuchJob(_) => "there is no such job",
            Inner::NoSuchSchedule(_) => "there is no such schedule",
            Inner::NoSuchGenerator(_) => "there is no such generator",
            Inner::NoSuchWebhook(_) => "there is no such webhook",
            Inner::NoSuchBulk(_) => "there is no such bulk",
            Inner::AlreadyStarted(_, why) | Inner::NotStarted(_, why) => why,
            Inner::WorkerEnded => "the worker was stopped, or has run for long enough",
            Inner::NotCompleted { why, .. } | Inner::NoState { why, .. } | Inner::UnfitResult { why, .. } => {
                why
            }
            Inner::InTransaction(error) => &error.why,
        }
    }

    /// What to do about it.
    pub fn fix(&self) -> &str {
        match &self.0 {
            Inner::Domain(error) => error.fix(),
            Inner::Store(error) => error.fix(),
            Inner::NoSuchJob(_) => {
                "look for it with `taskwright jobs list`; jobs that are over are removed in time"
            }
            Inner::NoSuchSchedule(_) => "look for it with `taskwright schedules list`, in its namespace",
            Inner::NoSuchGenerator(_) => "look for it with `taskwright generators list`, in its namespace",
            Inner::NoSuchWebhook(_) => "look for it with `taskwright webhooks list`, in its namespace",
            Inner::NoSuchBulk(_) => {
                "look for it with `taskwright bulk list`; a bulk that is over goes with its job"
            }
            Inner::AlreadyStarted(..) => "stop it first, or leave it as it is",
            Inner::NotStarted(..) => "mend what its `start` met, and start it again",
            Inner::WorkerEnded => "start it again",
            Inner::NotCompleted { .. } => {
                "look at its attempts with `taskwright jobs show`; `taskwright jobs retry` runs it again"
            }
            Inner::NoState { .. } => "look at what the program needs there, and start it again",
            Inner::UnfitResult { .. } => {
                "read it as the type that the task gives back, or as serde_json::Value"
            }
            Inner::InTransaction(error) => error.fix,
        }
    }

    /// Whether the request broke a rule of the domain; trying again gives the same answer.
    pub fn is_domain(&self) -> bool {
        match &self.0 {
            Inner::Domain(_) => true,
            Inner::Store(error) => error.is_domain(),
            Inner::NoSuchJob(_)
            | Inner::NoSuchSchedule(_)
            | Inner::NoSuchGenerator(_)
            | Inner::NoSuchWebhook(_)
            | Inner::NoSuchBulk(_)
            | Inner::AlreadyStarted(..)
            | Inner::NotStarted(..)
            | Inner::WorkerEnded
            | Inner::NotCompleted { .. }
            | Inner::NoState { .. }
            | Inner::UnfitResult { .. }
            | Inner::InTransaction(_) => false,
        }
    }

    /// Whether an attempt was not completed in its handler's transaction, because it has ended (the worker may have been
    /// lost) or is to be cancelled. The transaction must be rolled back.
    pub fn is_refused(&self) -> bool {
        match &self.0 {
            Inner::Store(error) => error.is_refused(),
            Inner::InTransaction(error) => error.refused,
            Inner::Domain(_)
            | Inner::NoSuchJob(_)
            | Inner::NoSuchSchedule(_)
            | Inner::NoSuchGenerator(_)
            | Inner::NoSuchWebhook(_)
            | Inner::NoSuchBulk(_)
            | Inner::AlreadyStarted(..)
            | Inner::NotStarted(..)
            | Inner::WorkerEnded
            | Inner::NotCompleted { .. }
            | Inner::NoState { .. }
            | Inner::UnfitResult { .. } => false,
        }
    }

    /// Whether a job ended, and not by completing: how is the [state](Self::job_state).
    pub fn is_not_completed(&self) -> bool {
        self.job_state().is_some()
    }

    /// How a job ended whose result was waited for.
    pub fn job_state(&self) -> Option<State> {
        match self.0 {
            Inner::NotCompleted { state, .. } => Some(state),
            _ => None,
        }
    }

    /// What there is none of, in a word, if that is what went wrong; otherwise `thing`.
    pub fn noun(&self) -> &'static str {
        match &self.0 {
            Inner::NoSuchJob(_) => "job",
            Inner::NoSuchSchedule(_) => "schedule",
            Inner::NoSuchGenerator(_) => "generator",
            Inner::NoSuchWebhook(_) => "webhook",
            Inner::NoSuchBulk(_) => "bulk",
            Inner::AlreadyStarted(..) | Inner::NotStarted(..) => "service",
            Inner::Domain(_)
            | Inner::Store(_)
            | Inner::WorkerEnded
            | Inner::NotCompleted { .. }
            | Inner::NoState { .. }
            | Inner::UnfitResult { .. }
            | Inner::InTransaction(_) => "thing",
        }
    }

    /// The store's own error, if it was the store that could not do something.
    ///
    /// # Errors
    ///
    /// This error again, when it was not.
    pub fn into_store(self) -> Result<taskwright_store::Error, Self> {
        match self.0 {
            Inner::Store(error) => Ok(error),
            other => Err(Self(other)),
        }
    }

    /// Whether a service was to be started that runs, or is about to or about to stop. Nothing has changed.
    pub fn is_already_started(&self) -> bool {
        matches!(self.0, Inner::AlreadyStarted(..))
    }

    /// Whether there is no such job, schedule, generator, webhook or bulk.
    pub fn is_not_found(&self) -> bool {
        matches!(
            self.0,
            Inner::NoSuchJob(_)
                | Inner::NoSuchSchedule(_)
                | Inner::NoSuchGenerator(_)
                | Inner::NoSuchWebhook(_)
                | Inner::NoSuchBulk(_)
        )
    }

    /// Whether trying the same thing again later can help.
    pub fn is_transient(&self) -> bool {
        self.as_store().is_some_and(taskwright_store::Error::is_transient)
    }

    /// The store's error, if it was one.
    pub fn as_store(&self) -> Option<&taskwright_store::Error> {
        match &self.0 {
            Inner::Store(error) => Some(error),
            Inner::Domain(_)
            | Inner::NoSuchJob(_)
            | Inner::NoSuchSchedule(_)
            | Inner::NoSuchGenerator(_)
            | Inner::NoSuchWebhook(_)
            | Inner::NoSuchBulk(_)
            | Inner::AlreadyStarted(..)
            | Inner::NotStarted(..)
            | Inner::WorkerEnded
            | Inner::NotCompleted { .. }
            | Inner::NoState { .. }
            | Inner::UnfitResult { .. }
            | Inner::InTransaction(_) => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what(), self.why())
    }
}

impl std::error::Error for Error {
    /// Transparent: the error of the store or of the domain is shown as this one, so its source is the next.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0 {
            Inner::Domain(error) => error.source(),
            Inner::Store(error) => error.source(),
            Inner::NoSuchJob(_)
            | Inner::NoSuchSchedule(_)
            | Inner::NoSuchGenerator(_)
            | Inner::NoSuchWebhook(_)
            | Inner::NoSuchBulk(_)
            | Inner::AlreadyStarted(..)
            | Inner::NotStarted(..)
            | Inner::WorkerEnded
            | Inner::NotCompleted { .. } => None,
            Inner::NoState { source, .. } => Some(source.as_ref()),
            Inner::UnfitResult { source, .. } => Some(source),
            Inner::InTransaction(error) => Some(error.source.as_ref()),
        }
    }
}

impl From<taskwright_core::Error> for Error {
    fn from(error: taskwright_core::Error) -> Self {
        Self(Inner::Domain(error))
    }
}

impl From<taskwright_store::Error> for Error {
    fn from(error: taskwright_store::Error) -> Self {
        Self(Inner::Store(error))
    }
}
