//! `jobs stats`.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::json;
use taskwright_core::limit::SAMPLE_MAX;
use taskwright_core::statistics::Tally;
use taskwright_core::{Namespace, Timestamp, WorkerId};
use taskwright_store::Statistics;

use super::window::{Used, Window, failures, micros, or_dash, percent, tell_cut, time_or_dash};
use crate::cli::Context;
use crate::error::{Error, Exit};
use crate::output::{Column, Paint, Table};
use crate::text;

/// Tells how executions went: how many succeeded, how long they took and waited.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright jobs stats
  taskwright jobs stats --since 24h --kind 'email.*'
  taskwright jobs stats --by queue --json

Looks at what ended within the last 15 minutes, unless --since says otherwise,
and at no more than the newest 100,000 executions of it.")]
pub(super) struct Stats {
    /// One line for each kind, or for each queue
    #[arg(long, value_name = "WHAT", value_enum, default_value = "kind")]
    by: By,
    #[command(flatten)]
    window: Window,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    /// Each task
    Kind,
    /// Each queue
    Queue,
}

/// How far back it looks.
const SINCE: Duration = Duration::from_secs(15 * 60);

/// Workers that are named of each kind.
const WORKERS_MAX: usize = 5;

const COLUMNS: [Column; 9] = [
    Column::new("name", 0),
    Column::new("runs", 0).right(),
    Column::new("success", 0).right(),
    Column::new("failures", 3).right(),
    Column::new("p50", 1).right(),
    Column::new("p95", 0).right(),
    Column::new("wait p50", 2).right(),
    Column::new("wait p95", 1).right(),
    Column::new("busiest worker", 4),
];

/// The hosts and processes of workers.
type Places = HashMap<WorkerId, (String, u32)>;

impl Stats {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        let store = context.store().await?;
        let filter = self.window.filter(context, Some(SINCE)).await?;
        let (since, until) = (filter.ended_from, filter.ended_to);
        let statistics = store.statistics(filter, SAMPLE_MAX).await?;
        let places: Places =
            store.workers().await?.into_iter().map(|worker| (worker.id, (worker.host, worker.pid))).collect();
        let Statistics { groups, executions, is_cut, oldest_end } = statistics;
        let mut lines: BTreeMap<(Namespace, String), Tally> = BTreeMap::new();
        for group in groups {
            let name = match self.by {
                By::Kind => group.kind.as_str(),
                By::Queue => group.queue.as_str(),
            };
            lines.entry((group.namespace, name.to_owned())).or_default().merge(group.tally);
        }
        let frame = Frame { since, until, is_cut, oldest_end, by: self.by };
        if context.output.is_json() {
            for ((namespace, name), tally) in &lines {
                context.output.json(&frame.line(namespace, name, tally, &places))?;
            }
        } else if !lines.is_empty() {
            context.output.table(&mut table(&lines, &places))?;
        }
        context.output.flush()?;
        if lines.is_empty() {
            context.output.note("nothing was executed that matches");
        } else if is_cut {
            tell_cut(context, executions, oldest_end);
        }
        Ok(Exit::Ok)
    }
}

/// What all lines have in common.
struct Frame {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    is_cut: bool,
    oldest_end: Option<Timestamp>,
    by: By,
}

#[derive(Serialize)]
struct Line<'a> {
    namespace: &'a Namespace,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<&'a str>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    is_cut: bool,
    oldest_end: Option<Timestamp>,
    executions: u64,
    outcomes: &'a BTreeMap<&'static str, u64>,
    success_rate: Option<f64>,
    run_p50_us: Option<u64>,
    run_p95_us: Option<u64>,
    wait_p50_us: Option<u64>,
    wait_p95_us: Option<u64>,
    run_us: u64,
    measured: u64,
    usage: Option<Used>,
    workers: Vec<serde_json::Value>,
}

impl Frame {
    fn line<'a>(
        &self,
        namespace: &'a Namespace,
        name: &'a str,
        tally: &'a Tally,
        places: &Places,
    ) -> Line<'a> {
        let workers = tally.workers().into_iter().take(WORKERS_MAX).map(|(id, share)| {
            let host = places.get(&id).map(|(host, _)| host);
            json!({ "worker": id, "host": host, "executions": share.executions, "run_us": micros(share.run) })
        });
        Line {
            namespace,
            kind: matches!(self.by, By::Kind).then_some(name),
            queue: matches!(self.by, By::Queue).then_some(name),
            since: self.since,
            until: self.until,
            is_cut: self.is_cut,
            oldest_end: self.oldest_end,
            executions: tally.executions(),
            outcomes: tally.ends(),
            success_rate: tally.success_rate(),
            run_p50_us: tally.run(0.5).map(micros),
            run_p95_us: tally.run(0.95).map(micros),
            wait_p50_us: tally.wait(0.5).map(micros),
            wait_p95_us: tally.wait(0.95).map(micros),
            run_us: micros(tally.run_total()),
            measured: tally.measured(),
            usage: tally.usage().copied().map(Used::from),
            workers: workers.collect(),
        }
    }
}

fn table(lines: &BTreeMap<(Namespace, String), Tally>, places: &Places) -> Table {
    let mut table = Table::new(&COLUMNS);
    for ((namespace, name), tally) in lines {
        let plain = |text: String| (text, Paint::Plain);
        let failures = failures(tally);
        let name = match *namespace == Namespace::default() {
            true => name.clone(),
            false => format!("{namespace}/{name}"),
        };
        let busiest = tally.workers().first().map(|(id, _)| match places.get(id) {
            Some((host, pid)) => format!("{} {pid}", text::one_line(host)),
            None => id.to_string(),
        });
        table.row(vec![
            plain(name),
            plain(tally.executions().to_string()),
            plain(percent(tally.success_rate())),
            (failures.to_string(), if failures > 0 { Paint::Bad } else { Paint::Plain }),
            plain(time_or_dash(tally.run(0.5))),
            plain(time_or_dash(tally.run(0.95))),
            plain(time_or_dash(tally.wait(0.5))),
            plain(time_or_dash(tally.wait(0.95))),
            (or_dash(busiest), Paint::Faint),
        ]);
    }
    table
}
