//! `bulk`: create bulk jobs, look at them, pause, resume and cancel them, and run again what failed.

use clap::{Args, Subcommand};
use taskwright::bulk::{BulkView, Bulks, Tally};
use taskwright_core::JobId;

use super::Context;
use crate::error::{Error, Exit};

mod change;
mod create;
mod list;
mod show;

/// Creates bulk jobs, looks at them and changes them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright bulk create page.render --size 10000000 --args '{\"page\": \"{index}\"}' --any-kind
  taskwright bulk show ID
  taskwright jobs wait ID

A bulk is one job, the parent, and many items, which are made when there is room
for them. Waiting for the parent is waiting for all of them.")]
pub(super) struct Bulk {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Create a bulk and print the id of its parent
    Create(create::Create),
    /// List the bulks, newest first
    List(list::List),
    /// Show how far a bulk is and how its items ended
    Show(show::Show),
    /// Let bulks rest until they are resumed
    Pause(change::Pause),
    /// Let bulks go on, and forgive their errors
    Resume(change::Resume),
    /// End bulks: make no more items, and cancel those that were made
    Cancel(change::Cancel),
    /// Run again what failed of bulks
    Retry(change::Retry),
}

impl Bulk {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        match self.verb {
            Verb::Create(verb) => verb.run(context).await,
            Verb::List(verb) => verb.run(context).await,
            Verb::Show(verb) => verb.run(context).await,
            Verb::Pause(verb) => verb.run(context).await,
            Verb::Resume(verb) => verb.run(context).await,
            Verb::Cancel(verb) => verb.run(context).await,
            Verb::Retry(verb) => verb.run(context).await,
        }
    }
}

/// The bulks of the store, which must exist.
async fn client(context: &Context) -> Result<Bulks, Error> {
    Ok(context.client().await?.bulks(context.app.bulks()))
}

/// A bulk that there is, in the namespace that was asked for.
async fn found(context: &Context, id: JobId) -> Result<BulkView, Error> {
    let view = client(context).await?.get(id).await?;
    let is_ours =
        |view: &BulkView| context.namespace.as_ref().is_none_or(|name| *name == view.parent.namespace);
    view.filter(is_ours).ok_or_else(|| unknown(id))
}

fn unknown(id: JobId) -> Error {
    let fix = "see them all with `taskwright bulk list`; one that is over goes with its job in time";
    Error::operational(format!("the bulk {id}"), "there is no such bulk", fix)
}

/// How far a bulk is: `settled/size`.
fn far(tally: &Tally) -> String {
    let size = tally.size.map_or_else(|| "?".to_owned(), |size| size.to_string());
    format!("{}/{size}", tally.settled())
}
