//! `bulk list`.

use clap::Args;
use taskwright::bulk::BulkView;
use taskwright_core::State;

use super::far;
use crate::answer::bulk::Listed;
use crate::cli::Context;
use crate::error::{Error, Exit};
use crate::output::{Column, Paint, Table};
use crate::text;

/// Lists the bulks.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright bulk list
  taskwright bulk list --limit 5 --json

A bulk whose parent is blocked is not over. `settled` is how many of its items
have ended, and how many there are.")]
pub(super) struct List {
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
}

/// Bulks that are read at once.
const PAGE: usize = 500;

const COLUMNS: [Column; 8] = [
    Column::new("id", 0),
    Column::new("type", 2).cut_to(20),
    Column::new("state", 0),
    Column::new("settled", 0).right(),
    Column::new("failed", 1).right(),
    Column::new("author", 4).cut_to(20),
    Column::new("created", 3),
    Column::new("trouble", 0).cut(),
];

impl List {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        let bulks = super::client(context).await?;
        let mut table = Table::new(&COLUMNS);
        let (mut after, mut left) = (None, self.limit);
        while left > 0 {
            let page = left.min(PAGE);
            let (views, next) = bulks.list(context.namespace.as_ref(), after, page).await?;
            for view in &views {
                match context.output.is_json() {
                    true => context.output.json(&Listed::of(view))?,
                    false => row(context, &mut table, view),
                }
            }
            left -= views.len().min(left);
            after = next;
            if after.is_none() {
                break;
            }
        }
        if !table.is_empty() {
            context.output.table(&mut table)?;
        }
        if left == self.limit {
            context.output.note("no bulks: `taskwright bulk create` makes one");
        }
        Ok(Exit::Ok)
    }
}

fn row(context: &Context, table: &mut Table, view: &BulkView) {
    let (parent, tally, now) = (&view.parent, &view.tally, context.env.now());
    let paint = match parent.state {
        State::Completed => Paint::Good,
        State::Failed => Paint::Bad,
        State::Blocked => Paint::Busy,
        _ => Paint::Warn,
    };
    let plain = |text: String| (text, Paint::Plain);
    let author = view.definition.author.as_ref().map(|author| text::one_line(author.as_str()));
    table.row(vec![
        plain(parent.id.to_string()),
        plain(view.definition.kind.to_string()),
        (parent.state.to_string(), paint),
        plain(far(tally)),
        plain((tally.failed + tally.dropped).to_string()),
        plain(author.unwrap_or_default()),
        (text::relative(parent.created_at, now), Paint::Faint),
        (parent.error.as_ref().map(|error| text::one_line(error)).unwrap_or_default(), Paint::Bad),
    ]);
}
