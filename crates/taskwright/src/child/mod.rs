//! Handlers in a process of their own: a crash, a leak or an endless loop of theirs takes nobody along.
//!
//! For each attempt of a task with [`Task::IN_CHILD`](crate::Task::IN_CHILD) the worker starts its own program once more, with the
//! arguments that it was started with itself. There [`App::run_until`](crate::App::run_until) (or `taskwright_server::main`) sees that
//! the process is for one attempt, runs its handler instead, and ends. So what the program does *before* it calls that, it does for
//! each attempt, too: whatever it opens, it should open in [`App::state_from`](crate::App::state_from), which is called in the child as
//! in a worker.
//!
//! | file | what |
//! |---|---|
//! | `parent.rs` | the worker's side: starts the process, passes on what it says, tells how it ended |
//! | `attempt.rs` | the side of the child |
//! | `wire.rs` | what goes from one to the other: the job as JSON on standard input, the outcome in a file of its own |
//! | `link.rs` | what the child asks its worker meanwhile, on a socket |
//! | `forward.rs` | output and progress on their way to the job's log, for commands as well |
//!
//! Log and progress work as in the worker, as do [`check`](crate::Context::check) and [`then`](crate::Context::then); output goes to
//! the job's log. [Steps](crate::Context::step), [sleeps](crate::Context::sleep) and
//! [`heartbeat`](crate::Context::heartbeat) go by the worker, which has the store and the lease. A request to stop reaches the handler as a
//! shutdown, whatever the worker's reason is, which it sorts out itself. There is no other way to the store of the job:
//! [`complete_in`](crate::Context::complete_in) and attachments are refused there. When the worker dies, its children do.
//!
//! On Linux the child is the program that the worker is, also when its file was replaced or removed meanwhile. Elsewhere it is what stands
//! under that name, so let workers end before their program is replaced.
//!
//! The child may use what [`Task::LIMITS`](crate::Task::LIMITS) says. In a [kit](crate::testing::Kit), whose time no other process has,
//! the handler is called in the process of the test.

mod attempt;
mod forward;
mod link;
mod parent;
mod wire;

use std::sync::Arc;

use taskwright_core::WorkerId;
use taskwright_store::{LostWorker, SharedStore, Store};

pub(crate) use self::attempt::Asked;
pub use self::forward::forward;
pub(crate) use self::link::Link;
pub(crate) use self::parent::ChildHandler;
use crate::process::kill_tagged;

/// Says where a child writes how its attempt ended, behind the process that asked for it: whoever inherits the variable from a child is
/// none.
const VARIABLE: &str = "TASKWRIGHT_CHILD";

/// The socket on which the worker answers, beside the answer.
const LINK: &str = "link";

/// Whether this process was started for one attempt. A program that has asked this, or calls [`App::run_until`](crate::App::run_until),
/// can be.
pub fn is_child() -> bool {
    Asked::of_process().is_some()
}

/// Names the worker and its store in the environment of everything that its attempts start, so that what outlives it can
/// be found; and not by whoever opens a copy of the store, in which the same worker looks lost.
pub const OWNER: &str = "TASKWRIGHT_OWNER";

/// What [`OWNER`] says.
pub fn owner(worker: WorkerId, store: &dyn Store) -> String {
    format!("{worker} {}", store.info().url)
}

/// What kills, when a worker is found lost, whatever its commands left running on this machine.
pub fn orphan_killer(store: &SharedStore) -> impl Fn(&LostWorker) + Send + Sync + 'static {
    let store = Arc::clone(store);
    move |lost| kill_orphans_of(&*store, lost.id)
}

/// Kills what a lost worker's commands left running on this machine: their jobs run again, and two of them at once is one
/// too many.
pub fn kill_orphans_of(store: &dyn Store, lost: WorkerId) {
    let killed = kill_tagged(OWNER, &owner(lost, store));
    if killed > 0 {
        tracing::warn!(worker = %lost, killed, "processes of a lost worker were still running");
    }
}
