//! `generators dead`: dead letters are listed, run again, or dropped.

use clap::Args;
use taskwright_core::limit::PAGE_ROWS_MAX;
use taskwright_core::{GeneratorName, JobId, State};
use taskwright_store::{Change, Filter, JobView, Pattern, Seen};

use crate::cli::jobs::{By, change_seen};
use crate::cli::{Context, look};
use crate::error::{Error, Exit};
use crate::output::{Column, Paint, Table};
use crate::text;

/// Lists the dead letters of a generator, runs them again, or drops them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright generators dead invoices
  taskwright generators dead invoices --json > dead.ndjson
  taskwright generators dead invoices --retry --limit 10
  taskwright generators dead invoices --drop --yes

Dead letters are failed jobs of the queue generator:NAME, the newest first: of
this generator and namespace alone. One by one they are retried or deleted by
their ids: `taskwright jobs retry ID`. A terminal lists 50 unless --limit says
otherwise.")]
pub(super) struct Dead {
    /// The generator
    name: GeneratorName,
    /// At most so many, the newest
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Run them again
    #[arg(long, conflicts_with = "drop")]
    retry: bool,
    /// Remove them, with their history
    #[arg(long)]
    drop: bool,
    #[command(flatten)]
    by: By,
}

/// Dead letters on a terminal, where nobody reads more.
const SEEN_MAX: usize = 50;

const COLUMNS: [Column; 5] = [
    Column::new("id", 0),
    Column::new("kind", 1),
    Column::new("try", 2),
    Column::new("ended", 3).right(),
    Column::new("about", 0).cut(),
];

impl Dead {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        super::found(context, &self.name).await?;
        match (self.retry, self.drop) {
            (true, _) => return self.change(context, Change::Redo { repeat: false }).await,
            (_, true) => return self.change(context, Change::Delete).await,
            (false, false) => self.by.check_unused("--retry or --drop")?,
        }
        let (generators, namespace) = (super::client(context).await?, context.namespace_or_default());
        let limit = self.limit.unwrap_or(if context.output.is_seen() { SEEN_MAX } else { usize::MAX });
        let mut table = Table::new(&COLUMNS);
        let (mut after, mut shown) = (None, 0);
        while shown < limit {
            let most = (limit - shown).min(PAGE_ROWS_MAX);
            let (letters, next) = generators.dead_letters(&namespace, &self.name, after, most).await?;
            shown += letters.len();
            for letter in &letters {
                match context.output.is_json() {
                    true => context.output.json(letter)?,
                    false => row(context, &mut table, letter),
                }
            }
            after = next;
            if after.is_none() {
                break;
            }
        }
        if !table.is_empty() {
            context.output.table(&mut table)?;
        }
        if after.is_some() {
            context
                .output
                .note(format!("{} shown, there may be more: --limit N", text::count(shown, "dead letter")));
        } else if shown == 0 {
            context.output.note(format!("no dead letters of {}", self.name));
        }
        Ok(Exit::Ok)
    }
}

impl Dead {
    /// Changes dead letters, as far as they are some still.
    async fn change(self, context: &Context, change: Change) -> Result<Exit, Error> {
        let (generators, namespace) = (super::client(context).await?, context.namespace_or_default());
        let limit = self.limit.unwrap_or(usize::MAX);
        let (mut seen, mut after): (Vec<Seen>, Option<JobId>) = (Vec::new(), None);
        while seen.len() < limit {
            let most = (limit - seen.len()).min(PAGE_ROWS_MAX);
            let (letters, next) = generators.dead_letters(&namespace, &self.name, after, most).await?;
            seen.extend(letters.iter().map(Seen::from));
            after = next;
            if after.is_none() {
                break;
            }
        }
        if seen.is_empty() {
            context.output.note(format!("no dead letters of {}", self.name));
            return Ok(Exit::Ok);
        }
        let filter = Filter {
            namespaces: namespace.into(),
            queues: vec![Pattern::new(self.name.queue().as_str())],
            states: vec![State::Failed],
            ..Filter::default()
        };
        change_seen(context, &self.by, &filter, seen, Vec::new(), change).await
    }
}

fn row(context: &Context, table: &mut Table, letter: &JobView) {
    let now = context.env.now();
    let plain = |text: String| (text, Paint::Plain);
    let ended = letter.ended_at.map(|at| text::duration(now.since(at))).unwrap_or_default();
    table.row(vec![
        plain(letter.id.to_string()),
        plain(letter.kind.to_string()),
        plain(format!("{}/{}", letter.attempt, letter.max_attempts)),
        (ended, Paint::Faint),
        plain(look::gist(letter, now)),
    ]);
}
