//! Kinds and queues that not everybody may use who may store jobs: asked on every way by which jobs come in. Which they are stands in
//! [`taskwright_core::authority`].

use taskwright_core::authority::{COMMAND_KIND, has, may_run, needed_in_queue};
use taskwright_core::{Permission as P, QueueName};

use crate::http::call::Call;
use crate::http::problem::{Problem, Sort};
use crate::submit;

/// Refuses kinds that are a right of their own to who does not have it: the task that runs any command, as the user of the workers, who
/// serves everybody; and those that Taskwright keeps for itself.
pub(super) fn check_kind<R, Q, B>(call: &Call<R, Q, B>, kind: &str) -> Result<(), Problem> {
    if may_run(call.caller.principal(), kind) {
        return Ok(());
    }
    if kind == COMMAND_KIND {
        return Err(Problem::new(
            Sort::Forbidden,
            format!("the task {kind}"),
            format!("it runs any command, which needs the permission {}", P::CommandsRun),
            "have an operator put the command into the config file as a task of its own, [tasks.NAME], and enqueue that",
        ));
    }
    Err(kept(format!("the kind {kind}"), "enqueue a task of your own; POST /api/v1/bulk creates a bulk"))
}

/// Refuses queues that Taskwright keeps for itself to who may not store into them; but the one that the operator has given to the task.
pub(super) fn check_queue<R, Q, B>(
    call: &Call<R, Q, B>,
    kind: &str,
    queue: &QueueName,
) -> Result<(), Problem> {
    let config = call.api.config();
    let of_task = submit::queue_of_task(&call.api.app, &config, kind);
    if of_task == Some(queue) || has(call.caller.principal(), needed_in_queue(queue)) {
        return Ok(());
    }
    Err(kept(format!("the queue {queue}"), "choose another queue, or leave it out"))
}

fn kept(what: String, fix: &str) -> Problem {
    let why = format!("Taskwright keeps it for itself; to use it needs the permission {}", P::ReservedUse);
    Problem::new(Sort::Forbidden, what, why, fix)
}
