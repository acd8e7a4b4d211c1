//! `webhooks list`.

use clap::Args;
use taskwright_core::{Namespace, Timestamp};

use crate::answer::webhook::{Listed, backlog};
use crate::cli::Context;
use crate::error::{Error, Exit};
use crate::output::{Column, Paint, Table};
use crate::text;

/// Lists the endpoints.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright webhooks list
  taskwright webhooks list --json

States: on; failing: after ten failures within 5 min one event is tried every
5 min; full: as many events as may be wait to be tried again, and no new one is
sent; disabled; paused, as a generator. The backlog is how many events there
are behind the last one that was looked at, for whomever they are.")]
pub(super) struct List {}

const COLUMNS: [Column; 6] = [
    Column::new("name", 0).cut_to(32),
    Column::new("state", 0),
    Column::new("backlog", 1).right(),
    Column::new("topics", 3).cut(),
    Column::new("last turn", 4),
    Column::new("url", 2).cut(),
];

impl List {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        let webhooks = super::client(context).await?;
        let views = webhooks.list(context.namespace.as_ref()).await?;
        let head = webhooks.head().await?;
        let now = context.env.now();
        let mut table = Table::new(&COLUMNS);
        for view in &views {
            if context.output.is_json() {
                context.output.json(&Listed::of(view, head))?;
                continue;
            }
            let (status, paint) = super::status(view);
            let name = match view.namespace == Namespace::default() {
                true => view.name.to_string(),
                false => format!("{}/{}", view.namespace, view.name),
            };
            let plain = |text: String| (text, Paint::Plain);
            let ago = |at: Option<Timestamp>| at.map(|at| text::relative(at, now)).unwrap_or_default();
            let topics: Vec<&str> = view.endpoint.topics.0.iter().map(|topic| topic.as_str()).collect();
            table.row(vec![
                plain(name),
                (status.to_owned(), paint),
                plain(backlog(view, head).to_string()),
                plain(topics.join(", ")),
                (ago(view.record.last_poll), Paint::Faint),
                plain(text::one_line(&view.endpoint.url)),
            ]);
        }
        if !table.is_empty() {
            context.output.table(&mut table)?;
        }
        if views.is_empty() {
            context.output.note("no webhooks: add one with `taskwright webhooks add NAME URL`");
        }
        Ok(Exit::Ok)
    }
}
