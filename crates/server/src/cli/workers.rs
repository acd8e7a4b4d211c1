//! `workers`: look at workers, quiet and stop them.

use clap::{Args, Subcommand};
use taskwright_core::{Pattern, WorkerId};
use taskwright_store::{Order, WorkerState, WorkerView};

use super::Context;
use crate::answer::worker::Told;
use crate::error::{Error, Exit};
use crate::output::{Column, Paint, Table};
use crate::text;

/// Looks at workers and tells them what to do.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright workers list
  taskwright workers stop --all")]
pub(super) struct Workers {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the workers, the living first
    List(List),
    /// Let workers finish what they run, and claim nothing more
    #[command(after_help = "Examples:\n  taskwright workers quiet ID\n  taskwright workers quiet --all")]
    Quiet(Which),
    /// Let workers end in good order
    #[command(after_help = "\
Examples:
  taskwright workers stop ID
  taskwright workers stop --host build-3

One that was stopped is not replaced: restart `up` to have all its workers again.")]
    Stop(Which),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  taskwright workers list\n  taskwright workers list --all --json")]
struct List {
    /// List stopped and lost workers, too
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Args)]
struct Which {
    /// The workers
    #[arg(value_name = "ID", required_unless_present_any = ["all", "host"])]
    ids: Vec<WorkerId>,
    /// All workers that are alive
    #[arg(long, conflicts_with_all = ["ids", "host"])]
    all: bool,
    /// All workers of the node of this name that are alive; `*` stands for
    /// anything, as in `jobs list --host`
    #[arg(long, value_name = "NAME", conflicts_with = "ids")]
    host: Option<String>,
}

impl Workers {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        match self.verb {
            Verb::List(verb) => list(context, &verb).await,
            Verb::Quiet(which) => order(context, which, Order::Quiet).await,
            Verb::Stop(which) => order(context, which, Order::Stop).await,
        }
    }
}

async fn list(context: &Context, verb: &List) -> Result<Exit, Error> {
    let mut workers = context.store().await?.workers().await?;
    if !context.output.is_json() && !verb.all {
        workers.retain(|worker| worker.state == WorkerState::Alive);
    }
    if context.output.is_json() {
        workers
            .iter()
            .filter(|worker| verb.all || worker.state == WorkerState::Alive)
            .try_for_each(|worker| context.output.json(worker))?;
        return Ok(Exit::Ok);
    }
    if workers.is_empty() {
        context.output.note("no workers: start some with `taskwright up` or `taskwright worker`");
        return Ok(Exit::Ok);
    }
    print(context, &workers)?;
    Ok(Exit::Ok)
}

fn print(context: &Context, workers: &[WorkerView]) -> Result<(), Error> {
    let mut table = Table::new(&[
        Column::new("id", 0),
        Column::new("state", 0),
        Column::new("runs", 1).right(),
        Column::new("pid", 2).right(),
        Column::new("host", 3),
        Column::new("up", 4).right(),
        Column::new("seen", 5).right(),
        Column::new("queues", 6),
    ]);
    let now = context.env.now();
    for worker in workers {
        let (state, paint) = match (worker.state, worker.order) {
            (WorkerState::Alive, None) if worker.remark.is_some() => ("", Paint::Warn),
            (WorkerState::Alive, None) => ("alive", Paint::Good),
            (WorkerState::Alive, Some(Order::Quiet)) => ("quiet", Paint::Warn),
            (WorkerState::Alive, Some(Order::Stop)) => ("stopping", Paint::Warn),
            (WorkerState::Stopped, _) => ("stopped", Paint::Faint),
            (WorkerState::Lost, _) => ("lost", Paint::Bad),
        };
        let plain = |text: String| (text, Paint::Plain);
        let state = described(state, worker.remark.as_deref());
        let until = if worker.state == WorkerState::Alive { now } else { worker.seen_at };
        let queues = if worker.queues.is_empty() { "all".to_owned() } else { worker.queues.join(" ") };
        table.row(vec![
            plain(worker.id.to_string()),
            (state, paint),
            plain(load(worker.running, worker.concurrency)),
            plain(worker.pid.to_string()),
            plain(text::one_line(&worker.host)),
            plain(text::duration(until.since(worker.started_at))),
            plain(text::relative(worker.seen_at, now)),
            plain(text::one_line(&queues)),
        ]);
    }
    context.output.table(&mut table)
}

/// The state with what the worker says about itself: `recycling: RSS 512 MiB above 400 MiB`, `stopped (recycling: ...)`.
fn described(state: &str, remark: Option<&str>) -> String {
    match remark.map(text::one_line) {
        None => state.to_owned(),
        Some(remark) if state.is_empty() => remark,
        Some(remark) => format!("{state} ({remark})"),
    }
}

/// The jobs that a worker runs of those that it can, and those that it holds in readiness beyond them.
fn load(held: u64, concurrency: u32) -> String {
    let runs = held.min(u64::from(concurrency));
    match held - runs {
        0 => format!("{runs}/{concurrency}"),
        more => format!("{runs}/{concurrency} +{more}"),
    }
}

async fn order(context: &Context, which: Which, order: Order) -> Result<Exit, Error> {
    let store = context.store().await?;
    let mut ids = which.ids;
    if ids.is_empty() {
        let host = which.host.as_deref().map(Pattern::new);
        let wanted = |worker: &WorkerView| host.as_ref().is_none_or(|host| host.matches(&worker.host));
        let alive = store.workers().await?.into_iter();
        let alive = alive.filter(|worker| worker.state == WorkerState::Alive && wanted(worker));
        ids = alive.map(|worker| worker.id).collect();
    }
    match which.host {
        Some(host) if ids.is_empty() => {
            return Err(Error::operational(
                format!("the node {:?}", taskwright_core::name::shown(&host)),
                "no worker of it is alive",
                "see the workers and their nodes with `taskwright workers list`",
            ));
        }
        // All of none are told.
        None if ids.is_empty() => {
            context.output.note("no worker is alive");
            return Ok(Exit::Ok);
        }
        _ => {}
    }
    let answers = store.order(ids.clone(), order).await?;
    let mut unknown = 0;
    for (id, told) in ids.iter().zip(answers) {
        unknown += usize::from(!told);
        if context.output.is_json() {
            context.output.json(&Told { id: *id, order, told })?;
        } else if told {
            context.output.line(format!("{id}  told"))?;
        } else {
            context.output.line(format!("{id}  unknown  no such worker is alive"))?;
        }
    }
    if unknown == 0 {
        return Ok(Exit::Ok);
    }
    Err(Error::operational(
        text::count(unknown, "worker"),
        "no such worker is alive",
        "see them with `taskwright workers list --all`",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_that_a_worker_holds_beyond_what_it_can_run_are_told_apart() {
        assert_eq!(load(0, 4), "0/4");
        assert_eq!(load(4, 4), "4/4");
        assert_eq!(load(8, 4), "4/4 +4");
    }
}
