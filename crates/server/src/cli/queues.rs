//! `queues`: look at queues, pause, resume and empty them.

use clap::{Args, Subcommand};
use taskwright_core::{Actor, Namespace, QueueName};
use taskwright_store::QueueView;

use super::jobs::confirm;
use super::{Context, context};
use crate::answer::queue::{Purged, Switched};
use crate::error::{Error, Exit, nearest};
use crate::output::{Column, Paint, Table};
use crate::text;

/// Looks at queues and changes them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright queues list
  taskwright queues pause mail")]
pub(super) struct Queues {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the queues, with what waits and runs in them
    #[command(after_help = "Examples:\n  taskwright queues list --json")]
    List,
    /// Show one queue
    #[command(after_help = "Examples:\n  taskwright queues show mail")]
    Show(Named),
    /// Claim nothing more from queues; what runs goes on
    #[command(after_help = "Examples:\n  taskwright queues pause mail reports")]
    Pause(Switch),
    /// Claim from queues again
    #[command(after_help = "Examples:\n  taskwright queues resume mail")]
    Resume(Switch),
    /// Cancel everything that waits in a queue
    #[command(after_help = "Examples:\n  taskwright queues purge mail --yes\n\nRunning jobs are left alone.")]
    Purge(Purge),
}

#[derive(Debug, Args)]
struct Named {
    /// The queue
    queue: QueueName,
}

#[derive(Debug, Args)]
struct Switch {
    /// The queues
    #[arg(required = true, value_name = "QUEUE")]
    queues: Vec<QueueName>,
    /// Who acts [default: the user]
    #[arg(long, value_name = "NAME")]
    actor: Option<Actor>,
}

#[derive(Debug, Args)]
struct Purge {
    /// The queue
    queue: QueueName,
    /// Cancel more than 20 jobs without a question
    #[arg(long, short)]
    yes: bool,
    /// Who acts [default: the user]
    #[arg(long, value_name = "NAME")]
    actor: Option<Actor>,
}

/// Jobs that are cancelled in one transaction.
const PURGE_JOBS: usize = 1_000;

impl Queues {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        match self.verb {
            Verb::List => list(context).await,
            Verb::Show(verb) => show(context, &verb.queue).await,
            Verb::Pause(verb) => switch(context, verb, true).await,
            Verb::Resume(verb) => switch(context, verb, false).await,
            Verb::Purge(verb) => purge(context, verb).await,
        }
    }
}

async fn list(context: &Context) -> Result<Exit, Error> {
    let queues = context.store().await?.queues(context.env.now(), context.namespace.clone()).await?;
    if queues.is_empty() {
        context.output.note("no queues: they appear with their first job");
    }
    print(context, &queues)?;
    Ok(Exit::Ok)
}

async fn show(context: &Context, name: &QueueName) -> Result<Exit, Error> {
    let queue = found(context, name).await?;
    print(context, &[queue])?;
    Ok(Exit::Ok)
}

async fn found(context: &Context, name: &QueueName) -> Result<QueueView, Error> {
    let namespace = context.namespace_or_default();
    let queues = context.store().await?.queues(context.env.now(), Some(namespace)).await?;
    let names: Vec<String> = queues.iter().map(|queue| queue.name.to_string()).collect();
    queues.into_iter().find(|queue| queue.name == *name).ok_or_else(|| {
        let fix = match nearest(name.as_str(), names.iter().map(String::as_str)) {
            Some(meant) => format!("write `{meant}`, if that is what you meant"),
            None => "see them all with `taskwright queues list`".to_owned(),
        };
        Error::operational(format!("the queue {name}"), "it has had no job yet and is not paused", fix)
    })
}

async fn switch(context: &Context, verb: Switch, paused: bool) -> Result<Exit, Error> {
    let actor = context::actor(verb.actor.as_ref());
    let namespace = context.namespace_or_default();
    let word = if paused { "paused" } else { "resumed" };
    for queue in verb.queues {
        let now = context.env.now();
        let changed = context
            .store_or_new()
            .await?
            .pause(now, namespace.clone(), queue.clone(), paused, actor.clone())
            .await?;
        if context.output.is_json() {
            context.output.json(&Switched { changed, paused, queue })?;
        } else if changed {
            context.output.line(format!("{queue}  {word}"))?;
        } else {
            let why = if paused { "it is paused already" } else { "it is not paused" };
            context.output.line(format!("{queue}  skipped  {why}"))?;
        }
    }
    Ok(Exit::Ok)
}

async fn purge(context: &Context, verb: Purge) -> Result<Exit, Error> {
    let queue = found(context, &verb.queue).await?;
    let waiting = usize::try_from(queue.available + queue.waiting).unwrap_or(usize::MAX);
    if !verb.yes {
        confirm(context, "cancel", "waiting job", waiting)?;
    }
    let actor = context::actor(verb.actor.as_ref());
    let mut purged = 0;
    loop {
        let (now, namespace) = (context.env.now(), context.namespace_or_default());
        let batch = context
            .store()
            .await?
            .purge(now, namespace, verb.queue.clone(), actor.clone(), PURGE_JOBS)
            .await?;
        purged += batch;
        if batch < PURGE_JOBS {
            break;
        }
    }
    if context.output.is_json() {
        context.output.json(&Purged { cancelled: purged, queue: verb.queue })?;
    } else {
        context.output.line(format!("{}  {} cancelled", verb.queue, text::count(purged, "job")))?;
    }
    Ok(Exit::Ok)
}

fn print(context: &Context, queues: &[QueueView]) -> Result<(), Error> {
    if context.output.is_json() {
        return queues.iter().try_for_each(|queue| context.output.json(queue));
    }
    let mut table = Table::new(&[
        Column::new("queue", 0),
        Column::new("state", 0),
        Column::new("available", 1).right(),
        Column::new("running", 2).right(),
        Column::new("waiting", 3).right(),
        Column::new("oldest", 4).right(),
    ]);
    let now = context.env.now();
    for queue in queues {
        let name = if queue.namespace == Namespace::default() {
            queue.name.to_string()
        } else {
            format!("{}/{}", queue.namespace, queue.name)
        };
        let plain = |text: String| (text, Paint::Plain);
        let state = if queue.paused { ("paused", Paint::Warn) } else { ("open", Paint::Good) };
        let oldest = queue.oldest_available.map(|at| text::duration(now.since(at)));
        table.row(vec![
            plain(name),
            (state.0.to_owned(), state.1),
            plain(counted(queue.available)),
            plain(queue.running.to_string()),
            plain(counted(queue.waiting)),
            plain(oldest.unwrap_or_default()),
        ]);
    }
    if table.is_empty() { Ok(()) } else { context.output.table(&mut table) }
}

/// A count that stops at a bound.
fn counted(count: u64) -> String {
    if count >= QueueView::COUNT_MAX { format!("{}+", QueueView::COUNT_MAX) } else { count.to_string() }
}
