//! `stats`: how executions went, span by span, from roll-ups. What draws charts reads its JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;
use taskwright_core::rollup::{Grain, Histogram, RollUp};
use taskwright_core::{Namespace, Timestamp};
use taskwright_store::{Pattern, RollUpFilter, RollUpPlace, Store};

use super::Context;
use super::jobs::{micros, percent, time_or_dash};
use super::value::{Moment, in_order};
use crate::error::{Error, Exit};
use crate::output::{Column, Paint, Table};
use crate::text;

/// Tells how executions went, minute by minute or hour by hour.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright stats --since 3h
  taskwright stats --since 30d --by kind
  taskwright stats --every minute --queue mail --json

Reads roll-ups, which are kept when the jobs are gone: per minute for 2 days,
per hour for 400 days, unless [retention] says otherwise. What has just ended
is in them within a minute or so. Counts are exact, times within 6 %. Spans in
which nothing ended are left out.")]
pub(super) struct Stats {
    /// One line for each kind, or for each queue, or for all together
    #[arg(long, value_name = "WHAT", value_enum, default_value = "all")]
    by: By,
    /// How long a span is [default: minute for up to 3 h, else hour]
    #[arg(long, value_name = "SPAN", value_enum)]
    every: Option<Every>,
    /// Of this task; `*` stands for anything, here and below
    #[arg(long, value_name = "KIND")]
    kind: Vec<String>,
    /// Of this queue
    #[arg(long, value_name = "QUEUE")]
    queue: Vec<String>,
    /// From the span on that this time lies in, or this long ago
    #[arg(long, value_name = "TIME", default_value = "1h")]
    since: Moment,
    /// Spans that began before this time, or this long ago
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    /// All together
    All,
    /// Each task
    Kind,
    /// Each queue
    Queue,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Every {
    /// Each minute
    Minute,
    /// Each hour
    Hour,
}

/// Up to this long a window is told by the minute.
const MINUTES_MAX: Duration = Duration::from_secs(3 * 3_600);

/// Roll-ups that are read at once.
const PAGE: usize = 1_000;

const COLUMNS: [Column; 9] = [
    Column::new("from", 0),
    Column::new("name", 0),
    Column::new("runs", 0).right(),
    Column::new("success", 0).right(),
    Column::new("failures", 3).right(),
    Column::new("p50", 1).right(),
    Column::new("p95", 0).right(),
    Column::new("wait p50", 2).right(),
    Column::new("wait p95", 1).right(),
];

/// What one line is about.
type Key = (Timestamp, Namespace, String);

impl Stats {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        let now = context.env.now();
        let since = self.since.resolve(now);
        let until = self.until.map_or(now, |until| until.resolve(now));
        in_order("--since and --until", Some(since), Some(until))?;
        let grain = match self.every {
            Some(Every::Minute) => Grain::Minute,
            Some(Every::Hour) => Grain::Hour,
            None if until.since(since) <= MINUTES_MAX => Grain::Minute,
            None => Grain::Hour,
        };
        let patterns = |texts: &[String]| texts.iter().map(|text| Pattern::new(text)).collect();
        let filter = RollUpFilter {
            grain,
            from: grain.start(since),
            to: until,
            namespace: context.namespace.clone(),
            kinds: patterns(&self.kind),
            queues: patterns(&self.queue),
        };
        let mut lines: BTreeMap<Key, RollUp> = BTreeMap::new();
        each(&**context.store().await?, filter, |place, sum| {
            let name = match self.by {
                By::All => String::new(),
                By::Kind => place.kind.to_string(),
                By::Queue => place.queue.to_string(),
            };
            lines.entry((place.at, place.namespace, name)).or_default().merge(&sum);
        })
        .await?;
        if context.output.is_json() {
            for (key, sum) in &lines {
                context.output.json(&self.line(grain, key, sum))?;
            }
        } else if !lines.is_empty() {
            context.output.table(&mut table(&lines))?;
        }
        context.output.flush()?;
        if lines.is_empty() {
            context.output.note("nothing is rolled up that matches");
        }
        Ok(Exit::Ok)
    }

    fn line<'a>(&self, grain: Grain, (from, namespace, name): &'a Key, sum: &RollUp) -> Line<'a> {
        Line {
            from: *from,
            every: grain.as_str(),
            namespace,
            kind: matches!(self.by, By::Kind).then_some(name),
            queue: matches!(self.by, By::Queue).then_some(name),
            executions: sum.executions(),
            outcomes: sum.ends(),
            success_rate: sum.success_rate(),
            run: Times::of(&sum.run),
            wait: Times::of(&sum.wait),
        }
    }
}

/// Goes through all roll-ups that match.
pub(super) async fn each(
    store: &dyn Store,
    filter: RollUpFilter,
    mut visit: impl FnMut(RollUpPlace, RollUp),
) -> Result<(), Error> {
    let mut after = None;
    loop {
        let page = store.roll_ups(filter.clone(), after, PAGE).await?;
        page.roll_ups.into_iter().for_each(|(place, sum)| visit(place, sum));
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    from: Timestamp,
    every: &'static str,
    namespace: &'a Namespace,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'a String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<&'a String>,
    executions: u64,
    outcomes: BTreeMap<&'static str, u64>,
    success_rate: Option<f64>,
    run: Times,
    wait: Times,
}

/// What is known of times, in microseconds; `null` of none.
#[derive(Serialize)]
struct Times {
    count: u64,
    total_us: u64,
    p50_us: Option<u64>,
    p95_us: Option<u64>,
    p99_us: Option<u64>,
}

impl Times {
    fn of(times: &Histogram) -> Self {
        let quantile = |share| times.quantile(share).map(micros);
        Self {
            count: times.count(),
            total_us: micros(times.total()),
            p50_us: quantile(0.5),
            p95_us: quantile(0.95),
            p99_us: quantile(0.99),
        }
    }
}

fn table(lines: &BTreeMap<Key, RollUp>) -> Table {
    let mut table = Table::new(&COLUMNS);
    for ((from, namespace, name), sum) in lines {
        let plain = |text: String| (text, Paint::Plain);
        let failures = sum.failures();
        let name = match *namespace == Namespace::default() {
            true => name.clone(),
            false => format!("{namespace}/{name}"),
        };
        table.row(vec![
            plain(text::clock(*from)),
            plain(name),
            plain(sum.executions().to_string()),
            plain(percent(sum.success_rate())),
            (failures.to_string(), if failures > 0 { Paint::Bad } else { Paint::Plain }),
            plain(time_or_dash(sum.run.quantile(0.5))),
            plain(time_or_dash(sum.run.quantile(0.95))),
            plain(time_or_dash(sum.wait.quantile(0.5))),
            plain(time_or_dash(sum.wait.quantile(0.95))),
        ]);
    }
    table
}
