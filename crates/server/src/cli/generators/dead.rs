//! `generators dead`.

use clap::Args;
use taskwright_core::GeneratorName;
use taskwright_core::limit::PAGE_ROWS_MAX;
use taskwright_store::JobView;

use crate::cli::{Context, look};
use crate::error::{Error, Exit};
use crate::output::{Column, Paint, Table};
use crate::text;

/// Lists the dead letters of a generator.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright generators dead webhooks
  taskwright generators dead webhooks --json > dead.ndjson
  taskwright jobs retry --queue generator:webhooks --state failed --yes
  taskwright jobs delete --queue generator:webhooks --state failed --yes

Dead letters are failed jobs of the queue generator:NAME, the newest first;
retry or delete them as such. A terminal gets 50 unless --limit says otherwise.")]
pub(super) struct Dead {
    /// The generator
    name: GeneratorName,
    /// List at most so many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
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
