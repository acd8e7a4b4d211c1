//! The binary as a library: daemon, worker and command line around a set of tasks.
//!
//! A program calls [`main`] with its [`App`] and is then the daemon, the worker and the command line for its own
//! tasks; the `taskwright` binary does so with no tasks but the built-in ones. No rule and no SQL lives here: a verb
//! parses what it was given, asks the store, and shows the answer.
//!
//! | module | what |
//! |---|---|
//! | [`config`] | `taskwright.toml` |
//! | `cli` | the verbs, one file each |
//! | `answer` | what is told as JSON, by verbs and over HTTP |
//! | [`output`] | streams, tables, colours |
//! | [`error`] | what, why and fix; exit codes |
//! | [`exec`] | the arguments of the built-in command task |
//! | [`flood`] | the built-in task that is nothing but load |
//! | `daemon`, `bench` | what `up`, `worker` and `bench` do |
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use taskwright_store::Store;

mod answer;
mod bench;
mod cli;
mod command;
pub mod config;
mod courier;
mod daemon;
mod doctor;
pub mod error;
pub mod exec;
pub mod flood;
mod generator;
mod http;
pub mod output;
mod profile;
mod remote;
mod schedule;
mod source;
pub mod store_url;
mod submit;
mod text;

pub use courier::HttpCourier;
pub use error::{Error, Exit};
pub use http::Mount;
pub use output::Io;
pub use taskwright::App;

/// Runs the command that this process was started with.
///
/// The store is the one that `--store`, the environment or the config file name, or else that of the app. How many workers there are
/// and what they do is up to the flags and the config file.
///
/// # Example
///
/// ```no_run
/// use taskwright::{TaskError, task};
/// use taskwright_server::App;
///
/// #[task("email.welcome", queue = "mail")]
/// async fn welcome(user: u64) -> Result<(), TaskError> {
///     Ok(println!("welcome, user {user}"))
/// }
///
/// fn main() -> std::process::ExitCode {
///     taskwright_server::main(App::new().task::<Welcome>())
/// }
/// ```
pub fn main(app: App) -> ExitCode {
    if let Err(error) = serve_attempt(&app) {
        // Standard error goes to the log of the job.
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    ExitCode::from(cli::run(app, std::env::args_os(), Io::of_process(), None).code())
}

/// Runs one attempt and ends the process, if a worker started it for that.
fn serve_attempt(app: &App) -> Result<(), Box<dyn std::error::Error>> {
    if !taskwright::child::is_child() {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    Ok(runtime.block_on(app.serve_attempt())?)
}

/// Runs one command on a store that is open already, with streams of the caller's choice: for tests, and for
/// programs that bring their own store.
pub fn run_on(
    store: Arc<dyn Store>,
    app: App,
    args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    io: Io,
) -> Exit {
    cli::run(app, args, io, Some(store))
}
