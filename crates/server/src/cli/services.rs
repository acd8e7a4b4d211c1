//! `services`: look at the services of processes.

use clap::{Args, Subcommand};
use taskwright_core::ServiceState;
use taskwright_store::ServiceView;

use super::Context;
use crate::error::{Error, Exit};
use crate::output::{Column, Paint, Table};
use crate::text;

/// Looks at services.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright services list
  taskwright services list --json")]
pub(super) struct Services {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the services of all processes, and how they are
    #[command(after_help = "\
Examples:
  taskwright services list
  taskwright services list --server http://127.0.0.1:7411

One is `silent` when its process was not heard of for 100 s: that has died, or cannot reach the store. After a day it is no longer
listed.")]
    List,
}

impl Services {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        match self.verb {
            Verb::List => list(context).await,
        }
    }
}

async fn list(context: &Context) -> Result<Exit, Error> {
    let now = context.env.now();
    let services = context.store().await?.services(now).await?;
    if context.output.is_json() {
        services.iter().try_for_each(|service| context.output.json(service))?;
        return Ok(Exit::Ok);
    }
    if services.is_empty() {
        context
            .output
            .note("no services: `taskwright up` has some, and so may programs that use the library");
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&[
        Column::new("name", 0),
        Column::new("state", 0),
        Column::new("since", 1).right(),
        Column::new("restarts", 2).right(),
        Column::new("pid", 2).right(),
        Column::new("host", 3),
        Column::new("seen", 4).right(),
        Column::new("last error", 0),
    ]);
    for service in &services {
        let plain = |text: String| (text, Paint::Plain);
        let error = service.last_error.as_deref().map(text::one_line);
        table.row(vec![
            plain(service.name.to_string()),
            described(service),
            plain(text::relative(service.since, now)),
            plain(service.restarts.to_string()),
            plain(service.pid.to_string()),
            plain(text::one_line(&service.host)),
            plain(text::relative(service.seen_at, now)),
            (error.unwrap_or_default(), Paint::Bad),
        ]);
    }
    context.output.table(&mut table)?;
    Ok(Exit::Ok)
}

/// The state, and what there is to say about it: `failed (restarts)`, `silent (running)`.
fn described(service: &ServiceView) -> (String, Paint) {
    use ServiceState as S;
    let state = service.state;
    if !service.heard {
        return (format!("silent ({state})"), Paint::Bad);
    }
    if service.restart_at.is_some() {
        return (format!("{state} (restarts)"), Paint::Warn);
    }
    let paint = match state {
        S::Running => Paint::Good,
        S::Starting | S::Stopping => Paint::Warn,
        S::Idle | S::Stopped | S::Finished => Paint::Faint,
        S::Failed => Paint::Bad,
    };
    (state.to_string(), paint)
}
