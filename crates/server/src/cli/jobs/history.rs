//! `jobs history`.

use clap::Args;
use taskwright_core::attempt::AttemptEnd;
use taskwright_core::name::shown;
use taskwright_core::{JobId, WorkerId};
use taskwright_store::{Execution, ExecutionFilter, ExecutionPage, JobOrigin};

use super::window::{Window, time_or_dash, usage_in_words};
use crate::answer::history::Executed;
use crate::cli::Context;
use crate::cli::value::Limit;
use crate::error::{Error, Exit, nearest};
use crate::output::{Column, Paint, Table};
use crate::text;

/// Lists what was executed: every attempt that has ended, the last end first.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright jobs history --since 1h --outcome failed,lost
  taskwright jobs history --kind 'email.*' --limit 10 --json
  taskwright jobs history --schedule nightly
  taskwright jobs history ID

A terminal gets 50 executions unless --limit says otherwise, a pipe gets all.")]
pub(super) struct History {
    /// Of these jobs
    #[arg(value_name = "ID", conflicts_with = "schedule")]
    ids: Vec<JobId>,
    #[command(flatten)]
    window: Window,
    #[arg(
        long,
        value_name = "OUTCOME",
        value_delimiter = ',',
        value_parser = outcome,
        help = "That ended so: completed, failed, panicked, timed_out, cancelled, lost"
    )]
    outcome: Vec<AttemptEnd>,
    /// That ran on this worker
    #[arg(long, value_name = "ID")]
    worker: Vec<WorkerId>,
    /// At most this many, or `all`
    #[arg(long, short = 'n', value_name = "N")]
    limit: Option<Limit>,
}

/// Executions on a terminal, where nobody reads more.
const SEEN_MAX: usize = 50;

/// The executions per request.
const PAGE: usize = 500;

const COLUMNS: [Column; 11] = [
    Column::new("ended", 0),
    Column::new("job", 0),
    Column::new("kind", 1),
    Column::new("try", 5).right(),
    Column::new("outcome", 0),
    Column::new("waited", 4).right(),
    Column::new("took", 2).right(),
    Column::new("cpu", 6).right(),
    Column::new("memory", 7).right(),
    Column::new("error", 3).cut(),
    Column::new("made by", 8).cut(),
];

impl History {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        let store = context.store().await?;
        let window = self.window.filter(context, None).await?;
        let ids = if self.ids.is_empty() { window.ids.clone() } else { self.ids };
        let filter = ExecutionFilter { ids, ends: self.outcome, workers: self.worker, ..window };
        let default = if context.output.is_seen() { SEEN_MAX } else { usize::MAX };
        let limit = self.limit.map_or(default, |limit| limit.0);
        let mut table = Table::new(&COLUMNS);
        let (mut left, mut after) = (limit, None);
        let more = loop {
            // One more than wanted tells whether there are more.
            let page = ExecutionPage { after, limit: left.saturating_add(1).min(PAGE) };
            let mut part = store.executions(filter.clone(), page).await?;
            let more = part.executions.len() > left;
            part.executions.truncate(left);
            left -= part.executions.len();
            let jobs = part.executions.iter().map(|one| one.job).collect();
            let origins = store.origins(jobs).await?;
            print(context, &mut table, &part.executions, &origins)?;
            after = part.next;
            if more || after.is_none() {
                if part.is_cut && !more {
                    context.output.note("executions of jobs that were stored long ago were not looked at");
                }
                break more;
            }
        };
        if more {
            context.output.note(format!(
                "{} shown, there are more: --limit N or --limit all",
                text::count(limit, "execution")
            ));
        } else if left == limit {
            context.output.note("nothing was executed that matches");
        }
        Ok(Exit::Ok)
    }
}

/// An outcome, with the nearest one named when there is none of that name.
fn outcome(word: &str) -> Result<AttemptEnd, Error> {
    let words = AttemptEnd::ALL.map(AttemptEnd::as_str);
    AttemptEnd::ALL.into_iter().find(|end| end.as_str() == word).ok_or_else(|| {
        let all = words.join(", ");
        let fix = match nearest(word, words) {
            Some(meant) => format!("write `{meant}`, if that is what you meant; there are {all}"),
            None => format!("write one of {all}"),
        };
        Error::usage(format!("the outcome {:?}", shown(word)), "there is none of that name", fix)
    })
}

fn print(
    context: &Context,
    table: &mut Table,
    executions: &[Execution],
    origins: &[Option<JobOrigin>],
) -> Result<(), Error> {
    if context.output.is_json() {
        let rows = executions.iter().zip(origins).map(|(one, made_by)| Executed::of(one, made_by.clone()));
        rows.into_iter().try_for_each(|row| context.output.json(&row))?;
        return context.output.flush();
    }
    let now = context.env.now();
    for (one, origin) in executions.iter().zip(origins) {
        let plain = |text: String| (text, Paint::Plain);
        let faint = |text: String| (text, Paint::Faint);
        let record = &one.record;
        let paint = match record.end {
            AttemptEnd::Completed => Paint::Good,
            AttemptEnd::Cancelled => Paint::Faint,
            _ => Paint::Bad,
        };
        let [cpu, memory, _] = usage_in_words(record.usage.as_ref());
        table.row(vec![
            faint(text::relative(record.ended_at, now)),
            plain(one.job.to_string()),
            plain(one.kind.to_string()),
            plain(record.attempt.to_string()),
            (record.end.as_str().to_owned(), paint),
            plain(time_or_dash(one.wait())),
            plain(time_or_dash(one.run())),
            plain(cpu),
            plain(memory),
            plain(record.error.as_deref().map(text::one_line).unwrap_or_default()),
            plain(origin.as_ref().map(maker).unwrap_or_default()),
        ]);
    }
    if !table.is_empty() {
        context.output.table(table)?;
    }
    context.output.flush()
}

/// What made a job, in words.
fn maker(origin: &JobOrigin) -> String {
    match origin.event {
        Some(event) => format!("schedule {}, event {event}", origin.schedule),
        None => format!("schedule {}", origin.schedule),
    }
}
