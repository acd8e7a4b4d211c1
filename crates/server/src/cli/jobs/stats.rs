//! `jobs stats`.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::json;
use taskwright_core::limit::SAMPLE_MAX;
use taskwright_core::rollup::{Grain, Histogram, RollUp};
use taskwright_core::statistics::Tally;
use taskwright_core::{Garbage, Namespace, Timestamp, WorkerId};
use taskwright_store::{ExecutionFilter, RollUpFilter, Statistics};

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
and at the newest 100,000 executions of it; where there are more, it tells what
the roll-ups of the window say.")]
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
        let statistics = store.statistics(filter.clone(), SAMPLE_MAX).await?;
        // Roll-ups are told span by span over HTTP, and not as a store has them.
        if statistics.is_cut
            && context.server().is_none()
            && let Some(rolled) = self.rolled(context, &filter, statistics.executions).await?
        {
            return self.tell_rolled(context, since, until, &rolled);
        }
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

/// Roll-ups of a window, by namespace and name.
struct Rolled {
    grain: Grain,
    lines: BTreeMap<(Namespace, String), RollUp>,
}

impl Stats {
    /// The whole window from roll-ups, where these know of more executions than were read one by one. They do not know jobs.
    async fn rolled(
        &self,
        context: &Context,
        filter: &ExecutionFilter,
        sampled: u64,
    ) -> Result<Option<Rolled>, Error> {
        if !filter.ids.is_empty() {
            return Ok(None);
        }
        let now = context.env.now();
        let minutes_from = context.config.retention.cutoff(Garbage::Minutes, now);
        let since = filter.ended_from.unwrap_or(Timestamp::from_micros(0));
        let grain = if minutes_from.is_none_or(|from| since >= from) { Grain::Minute } else { Grain::Hour };
        let wanted = RollUpFilter {
            grain,
            from: grain.start(since),
            to: filter.ended_to.unwrap_or(Timestamp::MAX),
            namespace: filter.namespace.clone(),
            kinds: filter.kinds.clone(),
            queues: filter.queues.clone(),
        };
        let mut rolled = Rolled { grain, lines: BTreeMap::new() };
        crate::cli::stats::each(&**context.store().await?, wanted, |place, sum| {
            let name = match self.by {
                By::Kind => place.kind.to_string(),
                By::Queue => place.queue.to_string(),
            };
            rolled.lines.entry((place.namespace, name)).or_default().merge(&sum);
        })
        .await?;
        let known: u64 = rolled.lines.values().map(RollUp::executions).sum();
        Ok((known > sampled).then_some(rolled))
    }

    fn tell_rolled(
        &self,
        context: &Context,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
        rolled: &Rolled,
    ) -> Result<Exit, Error> {
        let span = rolled.grain.as_str();
        let mut table = Table::new(&COLUMNS);
        for ((namespace, name), sum) in &rolled.lines {
            let quantile = |times: &Histogram, share| times.quantile(share).map(micros);
            if context.output.is_json() {
                context.output.json(&Line {
                    namespace,
                    kind: matches!(self.by, By::Kind).then_some(name),
                    queue: matches!(self.by, By::Queue).then_some(name),
                    since: since.map(|since| rolled.grain.start(since)),
                    until,
                    rolled_up_by: Some(span),
                    is_cut: false,
                    oldest_end: None,
                    executions: sum.executions(),
                    outcomes: &sum.ends(),
                    success_rate: sum.success_rate(),
                    run_p50_us: quantile(&sum.run, 0.5),
                    run_p95_us: quantile(&sum.run, 0.95),
                    wait_p50_us: quantile(&sum.wait, 0.5),
                    wait_p95_us: quantile(&sum.wait, 0.95),
                    run_us: micros(sum.run.total()),
                    measured: 0,
                    usage: None,
                    workers: Vec::new(),
                })?;
                continue;
            }
            let times = [(&sum.run, 0.5), (&sum.run, 0.95), (&sum.wait, 0.5), (&sum.wait, 0.95)];
            let times = times.map(|(times, share)| times.quantile(share));
            let counts = (sum.executions(), sum.success_rate(), sum.failures());
            table.row(cells(namespace, name, counts, times, None));
        }
        if !table.is_empty() {
            context.output.table(&mut table)?;
        }
        context.output.flush()?;
        context.output.note(format!(
            "too many to be read one by one: these figures are of whole {span}s, and their times within 6 %"
        ));
        Ok(Exit::Ok)
    }
}

/// One row of the table.
fn cells(
    namespace: &Namespace,
    name: &str,
    (executions, success_rate, failures): (u64, Option<f64>, u64),
    times: [Option<Duration>; 4],
    busiest: Option<String>,
) -> Vec<(String, Paint)> {
    let plain = |text: String| (text, Paint::Plain);
    let name = match *namespace == Namespace::default() {
        true => name.to_owned(),
        false => format!("{namespace}/{name}"),
    };
    let mut cells = vec![
        plain(name),
        plain(executions.to_string()),
        plain(percent(success_rate)),
        (failures.to_string(), if failures > 0 { Paint::Bad } else { Paint::Plain }),
    ];
    cells.extend(times.map(|time| plain(time_or_dash(time))));
    cells.push((or_dash(busiest), Paint::Faint));
    cells
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
    #[serde(skip_serializing_if = "Option::is_none")]
    rolled_up_by: Option<&'static str>,
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
            rolled_up_by: None,
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
        let busiest = tally.workers().first().map(|(id, _)| match places.get(id) {
            Some((host, pid)) => format!("{} {pid}", text::one_line(host)),
            None => id.to_string(),
        });
        let times = [tally.run(0.5), tally.run(0.95), tally.wait(0.5), tally.wait(0.95)];
        let counts = (tally.executions(), tally.success_rate(), failures(tally));
        table.row(cells(namespace, name, counts, times, busiest));
    }
    table
}
