//! `bulk pause`, `resume`, `cancel` and `retry`.

use clap::Args;
use taskwright_core::{Actor, JobId};

use crate::answer::bulk::{Changed, Retried};
use crate::cli::jobs::confirm;
use crate::cli::{Context, context, value};
use crate::error::{Error, Exit};
use crate::text;

/// Lets bulks rest.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright bulk pause ID --reason 'the receiver is down'

It lasts through restarts. Items that were made run on, and are counted once the
bulk goes on.")]
pub(super) struct Pause {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    by: By,
}

/// Lets bulks go on.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  taskwright bulk resume ID")]
pub(super) struct Resume {
    #[command(flatten)]
    named: Named,
}

/// Ends bulks.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright bulk cancel ID --reason 'wrong template'

What was made and waits is cancelled, and what runs is asked to stop. What was
counted stays.")]
pub(super) struct Cancel {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    by: By,
}

/// Runs again what failed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright bulk retry ID

Also of bulks that are over. The counts of the bulk stay what they were.")]
pub(super) struct Retry {
    #[command(flatten)]
    named: Named,
    /// Run more than 20 items again without a question
    #[arg(long, short)]
    yes: bool,
    /// Who does it [default: the user who is logged in]
    #[arg(long, value_name = "NAME")]
    actor: Option<Actor>,
}

#[derive(Debug, Args)]
struct Named {
    /// The parents of the bulks
    #[arg(required = true, value_name = "ID")]
    ids: Vec<JobId>,
}

#[derive(Debug, Args)]
struct By {
    /// Why, for whoever looks at it
    #[arg(long, value_name = "TEXT", value_parser = value::reason)]
    reason: Option<String>,
    /// Who does it [default: the user who is logged in]
    #[arg(long, value_name = "NAME")]
    actor: Option<Actor>,
}

/// What is done to bulks.
enum What {
    Pause(Option<String>),
    Resume,
    Cancel(Option<String>),
    Retry,
}

impl Pause {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        let by = context::actor(self.by.actor.as_ref());
        change(context, &self.named.ids, &What::Pause(self.by.reason), &by).await
    }
}

impl Resume {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        change(context, &self.named.ids, &What::Resume, &context::actor(None)).await
    }
}

impl Cancel {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        let by = context::actor(self.by.actor.as_ref());
        change(context, &self.named.ids, &What::Cancel(self.by.reason), &by).await
    }
}

impl Retry {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        let by = context::actor(self.actor.as_ref());
        if !self.yes {
            let bulks = super::client(context).await?;
            let mut failed = 0;
            for id in &self.named.ids {
                // Those that are unknown are told of below.
                failed += bulks.get(*id).await?.map_or(0, |view| view.tally.failed - view.tally.refused);
            }
            confirm(context, "retry", "item", usize::try_from(failed).unwrap_or(usize::MAX))?;
        }
        change(context, &self.named.ids, &What::Retry, &by).await
    }
}

/// Each for itself: one that is unknown or over does not keep the others from what was asked.
async fn change(context: &Context, ids: &[JobId], what: &What, by: &Actor) -> Result<Exit, Error> {
    let bulks = super::client(context).await?;
    let mut refused = Vec::new();
    for id in ids {
        if let Err(error) = super::found(context, *id).await {
            refused.extend(error.reports().to_vec());
            continue;
        }
        let done = match what {
            What::Pause(reason) => bulks.pause(*id, by, reason.as_deref()).await.map(usize::from),
            What::Resume => bulks.resume(*id).await.map(usize::from),
            What::Cancel(reason) => bulks.cancel(*id, by.clone(), reason.clone()).await.map(usize::from),
            What::Retry => bulks.retry(*id, by).await,
        };
        match done {
            Err(error) if error.is_domain() => refused.extend(Error::from(error).reports().to_vec()),
            done => tell(context, *id, what, done?)?,
        }
    }
    if refused.is_empty() { Ok(Exit::Ok) } else { Err(Error::several(Exit::Operational, refused)) }
}

fn tell(context: &Context, id: JobId, what: &What, done: usize) -> Result<(), Error> {
    let output = &context.output;
    if output.is_json() {
        return match what {
            What::Retry => output.json(&Retried { id, retried: done }),
            _ => output.json(&Changed { changed: done > 0, id }),
        };
    }
    let word = match (what, done > 0) {
        (What::Pause(_), true) => "paused".to_owned(),
        (What::Pause(_), false) => "skipped  it is paused already".to_owned(),
        (What::Resume, true) => "resumed".to_owned(),
        (What::Resume, false) => "skipped  it is not paused".to_owned(),
        (What::Cancel(_), true) => "cancelled".to_owned(),
        (What::Cancel(_), false) => "skipped  it is over already".to_owned(),
        (What::Retry, _) => format!("{} run again", text::count(done, "item")),
    };
    output.line(format!("{id}  {word}"))
}
