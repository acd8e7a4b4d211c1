//! `generators list`.

use clap::Args;
use taskwright::generator::GeneratorView;
use taskwright_core::{Namespace, Timestamp};

use crate::answer::generator::{Listed, next_poll};
use crate::cli::Context;
use crate::error::{Error, Exit};
use crate::output::{Column, Paint, Table};
use crate::text;

/// Lists the generators.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright generators list
  taskwright generators list --json

States: on; full: as many items are outstanding as may be; failing: it is
asked again after a while; paused.")]
pub(super) struct List {}

/// Generators that are read at once.
const PAGE: usize = 500;

const COLUMNS: [Column; 8] = [
    Column::new("name", 0).cut_to(32),
    Column::new("state", 0),
    Column::new("out", 1).right(),
    Column::new("made", 3).right(),
    Column::new("failed", 2).right(),
    Column::new("next", 4),
    Column::new("found", 5),
    Column::new("trouble", 0).cut(),
];

impl List {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        let store = context.store().await?;
        let mut table = Table::new(&COLUMNS);
        let (mut after, mut count) = (None, 0);
        loop {
            let page = store.generators(context.namespace.clone(), after, PAGE).await?;
            for stored in &page {
                match GeneratorView::read(stored) {
                    Ok(view) if context.output.is_json() => context.output.json(&Listed::of(&view))?,
                    Ok(view) => row(context, &mut table, &view),
                    // One that a newer program registered must not hide the others.
                    Err(error) => context.output.note(format!("warning: {error}")),
                }
            }
            count += page.len();
            after = page.last().filter(|_| page.len() == PAGE).map(|last| last.key);
            if after.is_none() {
                break;
            }
        }
        if !table.is_empty() {
            context.output.table(&mut table)?;
        }
        if count == 0 {
            context.output.note("no generators: programs register theirs when they start");
        }
        Ok(Exit::Ok)
    }
}

fn row(context: &Context, table: &mut Table, view: &GeneratorView) {
    let now = context.env.now();
    let (definition, record) = (&view.definition, &view.record);
    let name = match definition.namespace == Namespace::default() {
        true => definition.name.to_string(),
        false => format!("{}/{}", definition.namespace, definition.name),
    };
    let (status, paint) = super::status(view);
    let plain = |text: String| (text, Paint::Plain);
    let ago = |at: Option<Timestamp>| at.map(|at| text::relative(at, now)).unwrap_or_default();
    let trouble =
        record.paused.as_ref().and_then(|paused| paused.reason.as_ref()).or(record.last_error.as_ref());
    table.row(vec![
        plain(name),
        (status.to_owned(), paint),
        plain(format!("{}/{}", record.counts.outstanding(), definition.window)),
        plain(record.counts.made.to_string()),
        plain(record.counts.failed.to_string()),
        plain(ago(next_poll(view))),
        (ago(record.last_found), Paint::Faint),
        (trouble.map(|trouble| text::one_line(trouble)).unwrap_or_default(), Paint::Bad),
    ]);
}
