//! `generators pause`, `resume` and `poll`.

use clap::Args;
use taskwright_core::{Actor, GeneratorName};

use crate::answer::generator::Changed;
use crate::cli::{Context, context};
use crate::error::{Error, Exit};

/// Lets generators rest.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright generators pause invoices --reason 'the share is down'

It lasts through restarts. Items that were made run on: to stop these, too,
use `taskwright queues pause generator:NAME`.")]
pub(super) struct Pause {
    #[command(flatten)]
    named: Named,
    /// Why, for whoever looks at it
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Who does it [default: the user who is logged in]
    #[arg(long, value_name = "NAME")]
    actor: Option<Actor>,
}

/// Lets generators go on.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  taskwright generators resume invoices")]
pub(super) struct Resume {
    #[command(flatten)]
    named: Named,
}

/// Has generators asked at once.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright generators poll invoices

By the first program that knows it and has room; at once if one is running.")]
pub(super) struct Poll {
    #[command(flatten)]
    named: Named,
}

#[derive(Debug, Args)]
struct Named {
    /// The generators
    #[arg(required = true, value_name = "NAME")]
    names: Vec<GeneratorName>,
}

/// What is done to generators.
enum What {
    Pause { by: Actor, reason: Option<String> },
    Resume,
    Poll,
}

impl Pause {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        let by = context::actor(self.actor.as_ref());
        change(context, &self.named.names, &What::Pause { by, reason: self.reason }).await
    }
}

impl Resume {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        change(context, &self.named.names, &What::Resume).await
    }
}

impl Poll {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        change(context, &self.named.names, &What::Poll).await
    }
}

/// Each for itself: one that is unknown does not keep the others from what was asked.
async fn change(context: &Context, names: &[GeneratorName], what: &What) -> Result<Exit, Error> {
    let generators = super::client(context).await?;
    let namespace = context.namespace_or_default();
    let mut unknown = Vec::new();
    for name in names {
        let changed = match what {
            What::Pause { by, reason } => generators.pause(&namespace, name, by, reason.as_deref()).await,
            What::Resume => generators.resume(&namespace, name).await,
            What::Poll => generators.notify(&namespace, name).await.map(|()| true),
        };
        match changed {
            Err(error) if error.is_not_found() => unknown.push(super::unknown(context, name).await?),
            changed => tell(context, name, what, changed?).await?,
        }
    }
    if unknown.is_empty() {
        return Ok(Exit::Ok);
    }
    let reports = unknown.iter().flat_map(|error| error.reports().to_vec()).collect();
    Err(Error::several(Exit::Operational, reports))
}

async fn tell(context: &Context, name: &GeneratorName, what: &What, changed: bool) -> Result<(), Error> {
    let output = &context.output;
    let paused = match what {
        What::Pause { .. } => true,
        What::Resume => false,
        What::Poll => super::found(context, name).await?.record.paused.is_some(),
    };
    if output.is_json() {
        return output.json(&Changed { changed, name: name.clone(), paused });
    }
    let word = match (what, changed) {
        (What::Pause { .. }, true) => "paused",
        (What::Pause { .. }, false) => "skipped  it is paused already",
        (What::Resume, true) => "resumed",
        (What::Resume, false) => "skipped  it is not paused",
        (What::Poll, _) => "notified",
    };
    output.line(format!("{name}  {word}"))?;
    if paused && matches!(what, What::Poll) {
        output.note(format!("{name} is paused: it is asked once it is resumed"));
    }
    Ok(())
}
