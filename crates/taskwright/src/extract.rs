//! What a function with `#[task]` can take besides its arguments.

use std::future::Future;

use serde::Serialize;

use crate::context::Context;
use crate::task::TaskError;

/// What can be made of the context of an attempt: what `#[from]` before a parameter of a [task](macro@crate::task) takes, and `#[tx]`.
///
/// # Example
///
/// ```
/// use taskwright::{Context, FromContext, TaskError, task};
///
/// /// The language of whoever the job belongs to.
/// struct Language(String);
///
/// impl FromContext for Language {
///     async fn from_context(ctx: &Context) -> Result<Self, TaskError> {
///         let owner = ctx.owner().ok_or_else(|| TaskError::permanent("the job is nobody's"))?;
///         Ok(Self(if owner.as_str().ends_with(".de") { "de" } else { "en" }.to_owned()))
///     }
/// }
///
/// #[task("email.welcome")]
/// async fn welcome(user: u64, #[from] Language(language): Language) -> Result<String, TaskError> {
///     Ok(format!("{language}: {user}"))
/// }
/// ```
pub trait FromContext: Sized {
    /// Makes it.
    ///
    /// # Errors
    ///
    /// What it returns ends the attempt as if the handler had returned it.
    fn from_context(ctx: &Context) -> impl Future<Output = Result<Self, TaskError>> + Send;
}

/// A transaction that a function with `#[task]` takes as `#[tx] tx: &mut Tx`: made of the context before the function is called, and
/// committed together with the completion of the job when it has returned `Ok`. So what it does there takes place exactly once. If
/// it returns an error, the transaction is dropped, which rolls it back.
///
/// There is one for each [driver](mod@crate::transaction), most of them a type of that module. For another one, implement this for a type
/// of your own that has its connection and rolls back when it is dropped: it is, when the function returns an error or panics, when it did
/// not stop in time, and when the completion is refused.
pub trait CompleteIn: FromContext {
    /// Completes the job in the transaction ([`Context::complete_in`]), and commits it.
    ///
    /// # Errors
    ///
    /// When that is refused or does not work; nothing of the transaction took place then.
    fn complete<O: Serialize + Sync>(
        self,
        ctx: &Context,
        output: &O,
    ) -> impl Future<Output = Result<(), TaskError>> + Send;
}
