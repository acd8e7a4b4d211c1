//! `jobs list`.

use clap::Args;
use taskwright_core::Namespace;
use taskwright_store::JobView;

use crate::cli::select::{self, Selectors};
use crate::cli::{Context, look};
use crate::error::{Error, Exit};
use crate::output::{Column, Paint, Table};
use crate::text;

/// Lists jobs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright jobs list --state failed --after 24h
  taskwright jobs list --kind 'email.*' --queue mail --limit 10
  taskwright jobs list --json --limit all > jobs.ndjson

A terminal gets 50 jobs unless --limit says otherwise, a pipe gets all.")]
pub(super) struct List {
    /// List the oldest first
    #[arg(long)]
    oldest_first: bool,
    #[command(flatten)]
    selectors: Selectors,
}

/// Jobs on a terminal, where nobody reads more.
const SEEN_MAX: usize = 50;

const COLUMNS: [Column; 9] = [
    Column::new("id", 0),
    Column::new("state", 0),
    Column::new("kind", 1),
    Column::new("queue", 6),
    Column::new("priority", 7),
    Column::new("try", 4),
    Column::new("age", 3).right(),
    Column::new("owner", 8),
    Column::new("about", 2).cut(),
];

impl List {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        let ids = self.selectors.ids(context)?;
        let filter = self.selectors.filter(context, ids.clone())?;
        let default = if context.output.is_seen() { SEEN_MAX } else { usize::MAX };
        let limit = self.selectors.limit().unwrap_or(default);
        let mut table = Table::new(&COLUMNS);
        let mut found = Vec::new();
        let (mut shown, wants_found) = (0, !ids.is_empty() && !self.selectors.has_conditions());
        let store = context.store().await?;
        let more = select::each(&**store, &filter, limit, self.oldest_first, |jobs| {
            shown += jobs.len();
            if wants_found {
                found.extend(jobs.iter().map(|job| job.id));
            }
            print(context, &mut table, &jobs)
        })
        .await?;
        context.output.flush()?;
        if more {
            context.output.note(format!(
                "{} shown, there are more: --limit N or --limit all",
                text::count(shown, "job")
            ));
        } else if shown == 0 && !wants_found {
            context.output.note(if self.selectors.is_empty() { "no jobs" } else { "no job matches" });
        }
        let missing: Vec<_> = ids.into_iter().filter(|id| wants_found && !found.contains(id)).collect();
        if missing.is_empty() || more { Ok(Exit::Ok) } else { Err(select::unknown(&missing)) }
    }
}

fn print(context: &Context, table: &mut Table, jobs: &[JobView]) -> Result<(), Error> {
    if context.output.is_json() {
        jobs.iter().try_for_each(|job| context.output.json(job))?;
    } else {
        let now = context.env.now();
        let plain = |text: String| (text, Paint::Plain);
        let faint = |text: String| (text, Paint::Faint);
        for job in jobs {
            let mut owner =
                job.owner.as_ref().map(|owner| text::one_line(owner.as_str())).unwrap_or_default();
            if job.namespace != Namespace::default() {
                owner = format!("{}/{owner}", job.namespace);
            }
            table.row(vec![
                plain(job.id.to_string()),
                (job.state.to_string(), look::paint(job.state)),
                plain(job.kind.to_string()),
                plain(job.queue.to_string()),
                plain(job.priority.to_string()),
                plain(format!("{}/{}", job.attempt, job.max_attempts)),
                faint(text::duration(now.since(job.created_at))),
                faint(owner),
                plain(look::gist(job, now)),
            ]);
        }
        if !table.is_empty() {
            context.output.table(table)?;
        }
    }
    context.output.flush()
}
