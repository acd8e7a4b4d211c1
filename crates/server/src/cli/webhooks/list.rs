//! `webhooks list`.

use clap::Args;
use taskwright_core::{Namespace, Timestamp};

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
        let all = super::listed(context).await?;
        let now = context.env.now();
        let mut table = Table::new(&COLUMNS);
        for one in &all {
            if context.output.is_json() {
                context.output.json(one)?;
                continue;
            }
            let name = match one.namespace == Namespace::default() {
                true => one.name.to_string(),
                false => format!("{}/{}", one.namespace, one.name),
            };
            let plain = |text: String| (text, Paint::Plain);
            let ago = |at: Option<Timestamp>| at.map(|at| text::relative(at, now)).unwrap_or_default();
            let topics: Vec<&str> = one.topics.iter().map(|topic| topic.as_str()).collect();
            table.row(vec![
                plain(name),
                (one.status.clone(), super::painted(&one.status)),
                plain(one.backlog_max.to_string()),
                plain(topics.join(", ")),
                (ago(one.last_turn), Paint::Faint),
                plain(text::one_line(&one.url)),
            ]);
        }
        if !table.is_empty() {
            context.output.table(&mut table)?;
        }
        if all.is_empty() {
            context.output.note("no webhooks: add one with `taskwright webhooks add NAME URL`");
        }
        Ok(Exit::Ok)
    }
}
