//! `schedules history`.

use clap::Args;
use taskwright::schedule::{ScheduleView, Schedules};
use taskwright_core::schedule::{FiringKind, SkipReason};
use taskwright_core::{Namespace, ScheduleName, Timestamp};
use taskwright_store::{FiringOutcome, FiringView, SkippedRun};

use crate::answer::schedule::{Fired, in_words};
use crate::cli::Context;
use crate::cli::value::{Limit, Moment, in_order};
use crate::error::{Error, Exit};
use crate::output::{Column, Paint, Table};
use crate::text;

/// Prints what a schedule fired and skipped, and why.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright schedules history tick
  taskwright schedules history tick --since 2h
  taskwright schedules history tick -n 100 --before 4711
  taskwright schedules history tick --json > firings.ndjson

A terminal gets 50 unless -n says otherwise, a pipe gets all that is kept.")]
pub(super) struct History {
    /// The schedule
    name: ScheduleName,
    /// How many at most, or `all`
    #[arg(long, short = 'n', value_name = "N")]
    limit: Option<Limit>,
    /// Only those before the one of this number
    #[arg(long, value_name = "NUMBER")]
    before: Option<u64>,
    /// Only what was decided at or after this time, or this long ago
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// Only what was decided at or before this time, or this long ago
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
}

/// Firings on a terminal, where nobody reads more.
const SEEN_MAX: usize = 50;

/// Firings that are read at once.
const PAGE: usize = 500;

impl History {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        let view = super::found(context, &self.name).await?;
        let client = super::client(context).await?;
        let namespace = context.namespace_or_default();
        let default = if context.output.is_seen() { SEEN_MAX } else { usize::MAX };
        let mut left = self.limit.map_or(default, |limit| limit.0);
        let now = context.env.now();
        let (since, until) =
            (self.since.map(|since| since.resolve(now)), self.until.map(|until| until.resolve(now)));
        in_order("--since and --until", since, until)?;
        let mut before = self.before;
        if let Some(until) = until
            && let Some(after) = first_after(&client, &namespace, &self.name, until).await?
        {
            before = Some(before.map_or(after, |before| before.min(after)));
        }
        let mut is_first = true;
        let mut table = table("");
        loop {
            let wanted = left.min(PAGE);
            let mut page = client.firings(&namespace, &self.name, before, wanted).await?;
            let is_last = page.len() < wanted;
            let lies_behind = |firing: &FiringView| since.is_some_and(|since| firing.at < since);
            let is_past = page.last().is_some_and(lies_behind);
            page.retain(|firing| !lies_behind(firing));
            left -= page.len();
            before = page.last().map(|oldest| oldest.number);
            if page.is_empty() && is_first {
                let is_all = since.is_none() && until.is_none() && self.before.is_none();
                context.output.note(if is_all { "nothing yet" } else { "nothing in that time" });
            }
            rows(context, &mut table, &view, &page, "")?;
            is_first = false;
            if is_last || is_past {
                return Ok(Exit::Ok);
            }
            if left == 0 {
                let more = client.firings(&namespace, &self.name, before, 1).await?;
                let is_over = more.first().is_none_or(lies_behind);
                if let (Some(before), false) = (before, is_over) {
                    context.output.note(format!("there are more: --before {before}, or -n all"));
                }
                return Ok(Exit::Ok);
            }
        }
    }
}

/// The number of the first firing that was decided after that time; `None` when there is none. Numbers go with time.
pub(in crate::cli) async fn first_after(
    client: &Schedules,
    namespace: &Namespace,
    name: &ScheduleName,
    time: Timestamp,
) -> Result<Option<u64>, Error> {
    let newest = client.firings(namespace, name, None, 1).await?;
    let Some(newest) = newest.first().filter(|newest| newest.at > time) else { return Ok(None) };
    let (mut not_after, mut after) = (0, newest.number);
    while after - not_after > 1 {
        let middle = not_after + (after - not_after) / 2;
        let found = client.firings(namespace, name, Some(middle + 1), 1).await?;
        match found.first() {
            Some(firing) if firing.at > time => after = firing.number,
            _ => not_after = middle,
        }
    }
    Ok(Some(after))
}

/// Prints firings of a schedule, the columns behind an indentation.
pub(super) fn print(
    context: &Context,
    view: &ScheduleView,
    firings: &[FiringView],
    indent: &str,
) -> Result<(), Error> {
    rows(context, &mut table(indent), view, firings, indent)
}

fn table(indent: &str) -> Table {
    Table::new(&[
        Column::new(if indent.is_empty() { "due" } else { "  due" }, 0),
        Column::new("trigger", 2).cut(),
        Column::new("outcome", 0),
        // The id of a job is whole or not there.
        Column::new("job, or why not", 1).cut_to(36),
        Column::new("number", 3).right(),
    ])
}

fn rows(
    context: &Context,
    table: &mut Table,
    view: &ScheduleView,
    firings: &[FiringView],
    indent: &str,
) -> Result<(), Error> {
    if context.output.is_json() {
        let told = |firing: &FiringView| context.output.json(&Fired::of(view, firing.clone()));
        firings.iter().try_for_each(told)?;
        return context.output.flush();
    }
    for firing in firings {
        let plain = |text: String| (text, Paint::Plain);
        let trigger = match (in_words(view, firing), &firing.trigger) {
            (Some(words), _) => text::one_line(&words),
            (None, Some(id)) => format!("{id}, changed since"),
            (None, None) => "-".to_owned(),
        };
        let (outcome, paint, what) = match &firing.outcome {
            FiringOutcome::Fired { kind, job, coalesced } => {
                let merged = if *coalesced { ", which was there already" } else { "" };
                (fired(*kind), Paint::Good, format!("{job}{merged}"))
            }
            FiringOutcome::Skipped(run) => ("skipped", Paint::Warn, skipped(run)),
        };
        table.row(vec![
            plain(format!("{indent}{}", text::clock(firing.due))),
            plain(trigger),
            (outcome.to_owned(), paint),
            plain(what),
            (firing.number.to_string(), Paint::Faint),
        ]);
    }
    if !table.is_empty() {
        context.output.table(table)?;
    }
    context.output.flush()
}

const fn fired(kind: FiringKind) -> &'static str {
    match kind {
        FiringKind::OnTime => "fired",
        FiringKind::Misfired => "made up",
        FiringKind::Event => "event",
        FiringKind::ByHand => "by hand",
    }
}

fn skipped(run: &SkippedRun) -> String {
    let why = match run.reason {
        SkipReason::Misfire => "missed, and not made up for",
        SkipReason::Off => "paused or not enabled",
        SkipReason::Edited => "changed: a later one fired for all",
        SkipReason::SameDue => "another trigger fired at this time",
        SkipReason::Overlap => "the job before it was not over",
        SkipReason::Ended => "outside its window, or after its last firing",
        SkipReason::Refused => "its arguments were refused",
        SkipReason::Forbidden => "who registered it may not have it any more",
    };
    match run.count {
        1 => why.to_owned(),
        count => {
            let least = if run.exact { "" } else { "at least " };
            format!("{why} ({least}{count} times)")
        }
    }
}
