//! Background work that must not get lost.
//!
//! A program defines [tasks](macro@task), enqueues [jobs](Job) with a [`Client`], and a [`Worker`] runs them: at least once,
//! the most urgent first, with retries, time limits, cancellation and progress, across crashes. An [`App`] holds all of it together.
//!
//! # Example
//!
//! ```
//! # #[cfg(feature = "macros")]
//! # mod example {
//! use taskwright::{App, TaskError, task};
//!
//! struct Greeting(&'static str);
//!
//! #[task("email.welcome", queue = "mail", max_attempts = 3)]
//! async fn welcome(user: u64, #[state] greeting: &Greeting) -> Result<String, TaskError> {
//!     Ok(format!("{}, user {user}", greeting.0))
//! }
//!
//! # pub fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let app = App::new().store("memory:").state(Greeting("Welcome")).task::<Welcome>();
//! let job = app.client().await?.enqueue(Welcome { user: 7 }).await?;
//! assert_eq!(app.run_while(job.output()).await?, "Welcome, user 7");
//! # Ok::<(), taskwright::Error>(()) })?;
//! # Ok(())
//! # }
//! # }
//! # #[cfg(feature = "macros")]
//! # example::main().unwrap();
//! ```
//!
//! The macro is sugar over the trait [`Task`], and an app over a [`Registry`], a [`Worker`] and its [`Duties`].
//!
//! # The way of a job
//!
//! It is a straight line: [`Client::enqueue`] stores it, the [worker] claims it, a handler runs it, the worker
//! writes down how it ended. Beside the line stand the [duties](duty), which make scheduled jobs available, find lost
//! workers and remove what is old. Time, randomness and ids come from an [`Env`], so that all of it runs on a
//! [virtual clock](testing) in tests.
//!
//! In a [transaction](mod@transaction) of the program's own, a job exists if and only if that commits, and a handler's
//! effects and the completion of its job take place together.
//!
//! A handler runs on the tokio runtime that the worker runs on. One that blocks its thread holds up everybody else on
//! it, also the worker's heartbeat: let such work be [`blocking`](Context::blocking), or run in a [process](child) of its own.
//!
//! # Features
//!
//! | feature | what it gives | default |
//! |---|---|---|
//! | `macros` | the attribute [`#[task]`](task) | yes |
//! | `sqlite` | stores in a file of [SQLite](store::sqlite), and jobs in transactions of `rusqlite`, also as `#[tx]` | yes |
//! | `postgres` | stores in PostgreSQL | |
//! | `tokio-postgres-0_7`, `deadpool-postgres-0_14`, `sqlx-0_9`, `diesel-async-0_9` | jobs in [transactions](mod@transaction) of these drivers, of exactly these versions, also as `#[tx]`; each brings `postgres` | |
//! | `sentry-0_49` | a [reporter](report) that tells Sentry of failures, by this version of `sentry-core` | |
#![deny(unsafe_code)]

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
mod app;
mod arguments;
mod attachment;
mod attempt;
pub mod audit;
pub mod bulk;
mod cancel;
pub mod child;
mod client;
mod clock;
mod context;
pub mod duty;
pub mod env;
mod error;
mod event;
mod extract;
mod gather;
pub mod generator;
mod handle;
mod handler;
pub mod identity;
mod job;
mod middleware;
mod outbox;
pub mod process;
mod registry;
pub mod report;
pub mod run_dir;
pub mod schedule;
pub mod service;
pub mod source;
mod step;
pub mod store_url;
pub mod supervisor;
mod task;
pub mod testing;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub mod transaction;
pub mod waiting;
pub mod webhook;
pub mod worker;

#[cfg(feature = "macros")]
pub use taskwright_macros::task;

pub use taskwright_core as core;
pub use taskwright_store as store;

pub use taskwright_core::{
    Actor, Args, Attachment, AttachmentName, Backoff, Budget, Delivery, IoNice, JobId, Kind, Limits,
    MaxAttempts, Namespace, NewJob, OnShutdown, Outcome, Owner, Priority, QueueName, Retention, Schedule,
    State, Timestamp, Trigger, UniqueKey, UniqueScope, Usage, Weight, WorkerId,
};

pub use self::app::{App, IntoStore, stop_signal};
pub use self::cancel::StopCause;
pub use self::client::Client;
pub use self::context::Context;
pub use self::duty::{Duties, DutyConfig};
pub use self::env::Env;
pub use self::error::Error;
pub use self::event::Event;
pub use self::extract::{CompleteIn, FromContext};
pub use self::handle::{JobHandle, ProgressStream};
pub use self::handler::{Handler, HandlerFuture};
pub use self::job::{Enqueue, Job};
pub use self::middleware::{EnqueueFuture, EnqueueMiddleware, EnqueueNext, Middleware, Next};
pub use self::registry::{Form, Registry, TaskOptions};
pub use self::report::{Report, Reporter, Reports};
pub use self::service::{Service, Services};
pub use self::store_url::StoreUrl;
pub use self::task::{Task, TaskError};
pub use self::worker::{Recycled, Summary, Worker};

/// The Rust of the guide, compiled and run as it stands there.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/library.md")]
mod guide {}

/// The same of the page about services.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/services.md")]
mod guide_to_services {}

/// The same of the recipes.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/recipes.md")]
mod recipes {}

/// The same of the page about tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/testing.md")]
mod guide_to_testing {}

/// The same of the page for those who come from elsewhere.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/moving.md")]
mod guide_to_moving {}
