//! Handlers: what the executor calls.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;

use serde::Serialize;
use taskwright_core::Outcome;
use taskwright_core::limit::RESULT_BYTES_MAX;

use crate::arguments;
use crate::context::Context;
use crate::task::{Task, TaskError};

/// Runs the jobs of one kind. The executor's view of a [`Task`]; implement it directly for kinds that are known only
/// at run time.
pub trait Handler: Send + Sync + 'static {
    /// Runs one attempt of one job.
    fn call(&self, ctx: Context) -> HandlerFuture;

    /// Whether it does its work in child processes, and keeps the [limits](Context::limits) of its task by giving them to
    /// [`process::Command`](crate::process::Command). A task whose handler does not cannot have any.
    fn runs_child_processes(&self) -> bool {
        false
    }
}

/// What a handler returns: boxed, once for each attempt.
pub type HandlerFuture = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// The handler of a [`Task`].
pub(crate) struct TaskHandler<T>(PhantomData<fn() -> T>);

impl<T> TaskHandler<T> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: Task> Handler for TaskHandler<T> {
    fn call(&self, ctx: Context) -> HandlerFuture {
        Box::pin(async move {
            match arguments::read::<T>(&ctx) {
                Ok(task) => outcome(task.run(ctx).await),
                Err(error) => error.into(),
            }
        })
    }
}

/// The handler of a closure.
pub(crate) struct FnHandler<F>(pub(crate) F);

impl<F, R, O> Handler for FnHandler<F>
where
    F: Fn(Context) -> R + Send + Sync + 'static,
    R: Future<Output = Result<O, TaskError>> + Send + 'static,
    O: Serialize,
{
    fn call(&self, ctx: Context) -> HandlerFuture {
        let run = (self.0)(ctx);
        Box::pin(async move { outcome(run.await) })
    }
}

/// Turns what a handler returned into an outcome. A result that cannot be kept fails the job for good: its work would
/// only be done again.
fn outcome<O: Serialize>(returned: Result<O, TaskError>) -> Outcome {
    let output = match returned {
        Ok(output) => output,
        Err(error) => return error.into(),
    };
    match kept(&output) {
        Ok(result) => Outcome::Completed { result },
        Err(error) => Outcome::Fail { error },
    }
}

/// A result as it is kept: JSON, and nothing for `null`; or why it cannot be.
pub(crate) fn kept(result: &impl Serialize) -> Result<Option<String>, String> {
    match serde_json::to_string(result) {
        Ok(json) if json == "null" => Ok(None),
        Ok(json) if json.len() <= RESULT_BYTES_MAX => Ok(Some(json)),
        Ok(json) => Err(format!("the result has {} bytes, {RESULT_BYTES_MAX} are allowed", json.len())),
        Err(error) => Err(format!("the result cannot be written as JSON: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_kept_as_json_and_nothing_is_kept_for_nothing() {
        assert_eq!(outcome(Ok(())), Outcome::Completed { result: None });
        assert_eq!(outcome(Ok(vec![1, 2])), Outcome::Completed { result: Some("[1,2]".to_owned()) });
    }

    #[test]
    fn a_result_over_the_limit_fails_the_job() {
        assert!(matches!(outcome(Ok("x".repeat(RESULT_BYTES_MAX))), Outcome::Fail { .. }));
    }
}
