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

use taskwright_core::RuleName;
use taskwright_core::trigger::{CustomTriggers, TriggerRule};
use taskwright_store::Store;

mod answer;
mod bench;
mod cli;
mod command;
pub mod config;
mod courier;
mod daemon;
pub mod error;
pub mod exec;
pub mod flood;
mod generator;
mod http;
pub mod output;
mod profile;
mod remote;
#[cfg(feature = "postgres")]
mod run_dir;
mod schedule;
mod source;
pub mod store_url;
mod submit;
mod text;

pub use error::{Error, Exit};
pub use http::Mount;
pub use output::Io;

/// The tasks of a program.
#[derive(Clone, Debug, Default)]
pub struct App {
    kinds: Vec<String>,
    triggers: CustomTriggers,
}

impl App {
    /// A program without tasks of its own.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the kinds of a program's own tasks known, so that they can be enqueued by name.
    #[must_use]
    pub fn with_kinds(mut self, kinds: impl IntoIterator<Item = String>) -> Self {
        self.kinds.extend(kinds);
        self
    }

    /// Brings a trigger rule of the program's own: schedules whose trigger names it fire by it, and the verbs know when. `make`
    /// reads what such a trigger says (its `spec`) and refuses what it does not understand.
    #[must_use]
    pub fn with_trigger(
        mut self,
        name: RuleName,
        make: impl Fn(&serde_json::Value) -> Result<Arc<dyn TriggerRule>, taskwright_core::Error>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.triggers.register(name, make);
        self
    }

    /// The trigger rules of the program's own.
    pub fn triggers(&self) -> &CustomTriggers {
        &self.triggers
    }

    /// The kinds of the program's own tasks.
    pub fn kinds(&self) -> &[String] {
        &self.kinds
    }
}

/// Runs the command that this process was started with.
pub fn main(app: App) -> ExitCode {
    ExitCode::from(cli::run(app, std::env::args_os(), Io::of_process(), None).code())
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
