//! The room that runs operating-system commands.
//!
//! The executor of command tasks calls [`run()`] once per attempt and gets back how the command ended and
//! what it used; its output and progress come through channels while it runs. Nothing here knows about jobs,
//! stores or retries, and nothing here decides whether to try again.
//!
//! # What an attempt owns
//!
//! An attempt owns every process that it starts, also the ones that called `setsid` or forked twice to get
//! away. When the command ends, for whatever reason, what is left of its tree is killed: a job that is done
//! has no processes, so that the next attempt never meets the last one. A task that wants to start a daemon
//! hands it to the service manager of the machine (`systemd-run`, for example).
//!
//! Three things together find the tree (`tree.rs`): parent links, process groups and sessions, and a variable
//! in the environment that every descendant inherits. This process is made the *subreaper* of its
//! descendants, so that orphans come back to it and can be reaped. What escapes: a process that forks twice,
//! starts a session of its own *and* clears its environment before the attempt ends; one that a service
//! outside starts on demand (a container engine, `at`); and one of another user that we may not signal, which
//! is reported in [`Output::survivors`].
//!
//! # When this process dies
//!
//! The kernel kills the direct child with us (`PR_SET_PDEATHSIG`); its descendants stay behind. Whoever
//! notices that a worker was lost on this machine calls [`kill_tagged`] with the tag of the lost attempt.
//!
//! When memory runs out, the kernel picks a command a little more readily than this process
//! (`oom_score_adj`), so that the worker lives to tell the reason.
//!
//! # Rules of this room
//!
//! - A command is an argument vector. No shell is ever started, not even for a script without a `#!` line.
//! - Every buffer has a limit: 1 GB of output costs no more memory than 1 MB.
//! - `sys.rs` is the only file of the crate that may use `unsafe`.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

mod child;
mod command;
mod error;
mod exit;
mod host;
mod launch;
mod log;
mod memory;
mod proc_fs;
mod progress;
mod pump;
mod run;
mod strays;
mod sys;
mod tree;

pub use command::Command;
pub use error::SpawnError;
pub(crate) use error::words_of;
pub use exit::{Exit, Output, Stop};
pub use host::Host;
pub use log::{LogChunk, Stream};
pub use progress::Progress;
pub use run::{Reports, run};
pub use tree::kill_tagged;

pub(crate) use proc_fs::own_resident_bytes;

/// The environment variable that names the file descriptor a command writes its progress to.
///
/// See [`Progress`] for what may be written there.
pub const PROGRESS_FD: &str = "TASKWRIGHT_PROGRESS_FD";

/// The time as this room needs it, so that the caller decides whose clock runs.
pub trait Timing: Send + Sync {
    /// Microseconds since an arbitrary start; never goes back.
    fn monotonic_us(&self) -> u64;

    /// Completes after `duration`.
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}
