//! The attribute `#[task]`: sugar over the trait `Task` of `taskwright`, which exports it, and never required.
//!
//! | file | what |
//! |---|---|
//! | `options.rs` | what stands in the parentheses of the attribute |
//! | `signature.rs` | what the parameters of the function are: arguments of the job, or what the worker brings |
//! | `expand.rs` | the type and the `impl Task` beside the function |
//!
//! It knows the form of things and none of their rules: durations and names are checked by functions of `taskwright_core` that the
//! compiler runs.
#![forbid(unsafe_code)]

mod expand;
mod options;
mod signature;

use proc_macro::TokenStream;

/// Makes a task of a function: beside it stands a type that is named after it, whose fields are its arguments, and which is the job
/// that calls it. The function stays as it is, and can be called.
///
/// # Example
///
/// ```ignore
/// #[task("email.welcome", queue = "mail", max_attempts = 3, timeout = "30s")]
/// async fn welcome(user: u64, #[state] mailer: &Mailer) -> Result<String, TaskError> {
///     Ok(mailer.send(user, "welcome").await?)
/// }
///
/// client.enqueue(Welcome { user: 7 }).await?;
/// let registry = Registry::new().state(mailer).register::<Welcome>()?;
/// ```
///
/// # Parameters
///
/// | a parameter | is given |
/// |---|---|
/// | `user: u64` | that field of the job's arguments; the type is one of serde's. `#[serde(default)]` and the like stand before it |
/// | `ctx: &Context`, `ctx: Context` | the context of the attempt |
/// | `#[state] mailer: &Mailer` | the value of this type that the registry or the app was given |
/// | `#[from] user: CurrentUser` | what the type's `FromContext` makes |
/// | `#[tx] tx: &mut Tx` | a transaction that is committed together with the completion of the job: one of `taskwright::transaction` or sqlx, or whatever implements `FromContext` and `CompleteIn` |
///
/// It gives back a `Result` whose error turns into a `TaskError`, as every error type does; or nothing.
///
/// # Options
///
/// | option | means | default |
/// |---|---|---|
/// | `"email.welcome"` | the kind; jobs keep it | none: it must be there |
/// | `name = SendWelcome` | the name of the type | the function's, in upper camel case |
/// | `queue = "mail"` | the queue | `default` |
/// | `priority = high`, `= 1500` | the priority: a band or a number | `default` |
/// | `max_attempts = 3`, `= none` | how many executions a job gets | 5 |
/// | `backoff = Backoff::Fixed { .. }` | how long it waits after a failure | 10 s, doubling, at most 1 h |
/// | `timeout = "30s"` | how long one attempt may take | as long as it takes |
/// | `cancel_grace = "10s"` | how long it may go on after it was asked to stop | 30 s |
/// | `snoozes_max = 10` | how often it may be snoozed | 1,000 |
/// | `at_most_once` | a lost worker ends the job | it runs again |
/// | `on_shutdown = OnShutdown::..` | what becomes of it when a shutdown finds it running | as the worker says |
/// | `weight = Weight { .. }` | what it counts in a worker's budget | nothing |
/// | `unique`, `unique(order)` | one job at a time with the same arguments, or with the same of these, while it waits | any number |
/// | `unique_active(order)` | the same until the job is over | |
/// | `aliases("mail.hello")` | earlier kinds: jobs that still have them are run | none |
/// | `version = 2, upgrade = f` | the version of the arguments, and what turns those of an earlier one into the next | 1 |
/// | `schedule(cron = "0 8 * * *", ..)` | a schedule of it: `cron` or `every`, `timezone`, `name`, `args` | none |
/// | `blocking` | the function blocks its thread, and is not `async`: it runs on a pool for such | |
/// | `process` | each attempt runs in a process of its own | |
/// | `max_rss = "512MiB"`, `max_cpu_time = "10m"` | what that process and its descendants may use; above it they are ended | nothing is limited |
/// | `nice = 10`, `ionice = IoNice::Idle` | how that process stands back behind others | as the worker |
/// | `derive(Clone, Debug)` | what else is derived for the type | |
/// | `crate = some::path` | where `taskwright` is, if it is called otherwise | `::taskwright` |
#[proc_macro_attribute]
pub fn task(options: TokenStream, function: TokenStream) -> TokenStream {
    expand::task(options.into(), function.into()).into()
}
