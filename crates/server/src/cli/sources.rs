//! `sources`: look at event sources.

use clap::{Args, Subcommand};

use super::Context;
use crate::answer::source::Listed;
use crate::error::{Error, Exit};
use crate::output::{Column, Paint, Table};
use crate::text;

/// Looks at event sources.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright sources list
  taskwright sources list --json")]
pub(super) struct Sources {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the event sources that somebody has run, and how they are
    #[command(
        after_help = "Examples:\n  taskwright sources list\n  taskwright sources list --namespace shop"
    )]
    List,
}

impl Sources {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        match self.verb {
            Verb::List => list(context).await,
        }
    }
}

async fn list(context: &Context) -> Result<Exit, Error> {
    let sources = context.store().await?.sources(context.namespace.clone()).await?;
    if context.output.is_json() {
        sources.into_iter().try_for_each(|source| context.output.json(&Listed::from(source)))?;
        return Ok(Exit::Ok);
    }
    if sources.is_empty() {
        context.output.note("no sources: write [sources.NAME] to the config file, and start `taskwright up`");
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(&[
        Column::new("name", 0),
        Column::new("mode", 1),
        Column::new("files", 2).right(),
        Column::new("scanned", 3).right(),
        Column::new("seen", 4).right(),
        Column::new("host", 5),
        Column::new("path", 0),
        Column::new("trouble", 0),
    ]);
    let now = context.env.now();
    for source in &sources {
        let plain = |text: String| (text, Paint::Plain);
        let note = source.note.as_ref();
        let said = |value: Option<String>| plain(value.unwrap_or_else(|| "-".to_owned()));
        let error = note.and_then(|note| note.error.as_deref()).map(text::one_line);
        table.row(vec![
            plain(source.place.name.to_string()),
            said(note.map(|note| text::one_line(&note.mode))),
            said(note.and_then(|note| note.scanned_at.map(|_| note.files.to_string()))),
            said(note.and_then(|note| note.scanned_at).map(|at| text::relative(at, now))),
            plain(text::relative(source.noted_at, now)),
            plain(text::one_line(&source.place.host)),
            plain(text::one_line(&source.place.path)),
            (error.unwrap_or_default(), Paint::Bad),
        ]);
    }
    context.output.table(&mut table)?;
    Ok(Exit::Ok)
}
