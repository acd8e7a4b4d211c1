//! `stats`: how executions went, span by span, from roll-ups. What draws charts reads its JSON.

use std::time::Duration;

use ::http::Method;
use clap::{Args, ValueEnum};
use taskwright_core::rollup::{Grain, RollUp};
use taskwright_core::{Namespace, Timestamp};
use taskwright_store::{Pattern, RollUpFilter, RollUpPlace, Store};

use super::Context;
use super::jobs::{percent, time_or_dash};
use super::value::{Moment, in_order};
use crate::answer::stats::{self as answer, By, Line, MINUTES_MAX};
use crate::error::{Error, Exit};
use crate::http::Items;
use crate::output::{Column, Paint, Table};
use crate::remote::{self, Remote};
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
enum Every {
    /// Each minute
    Minute,
    /// Each hour
    Hour,
}

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
        let lines = match context.server() {
            Some(server) => self.ask(context, server, grain, since, until).await?,
            None => self.look(context, grain, since, until).await?,
        };
        if context.output.is_json() {
            lines.iter().try_for_each(|line| context.output.json(line))?;
        } else if !lines.is_empty() {
            context.output.table(&mut table(&lines))?;
        }
        context.output.flush()?;
        if lines.is_empty() {
            context.output.note("nothing is rolled up that matches");
        }
        Ok(Exit::Ok)
    }

    async fn look(
        &self,
        context: &Context,
        grain: Grain,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<Line>, Error> {
        let patterns = |texts: &[String]| texts.iter().map(|text| Pattern::new(text)).collect();
        let filter = RollUpFilter {
            grain,
            from: grain.start(since),
            to: until,
            namespace: context.namespace.clone(),
            kinds: patterns(&self.kind),
            queues: patterns(&self.queue),
        };
        let lines = answer::lines(&**context.store().await?, filter, self.by).await?;
        Ok(lines.iter().map(|(key, sum)| Line::of(self.by, grain, key, sum)).collect())
    }

    /// The same over HTTP.
    async fn ask(
        &self,
        context: &Context,
        server: &Remote,
        grain: Grain,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<Line>, Error> {
        #[derive(serde::Serialize)]
        struct Query<'a> {
            since: Timestamp,
            until: Timestamp,
            every: &'static str,
            by: By,
            kind: &'a [String],
            queue: &'a [String],
        }
        let every = grain.as_str();
        let query = Query { since, until, every, by: self.by, kind: &self.kind, queue: &self.queue };
        let (path, namespace) = ("/api/v1/stats", context.namespace.as_ref());
        let asked = server.ask(Method::GET, path, namespace, &query, remote::NO_BODY, &[]);
        let found: Option<Items<Line>> = asked.await?;
        Ok(found.map_or_else(Vec::new, |found| found.items))
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

fn table(lines: &[Line]) -> Table {
    let mut table = Table::new(&COLUMNS);
    for line in lines {
        let plain = |text: String| (text, Paint::Plain);
        let time = |us: Option<u64>| time_or_dash(us.map(Duration::from_micros));
        let failures = line.failures();
        let name = line.kind.as_ref().or(line.queue.as_ref()).cloned().unwrap_or_default();
        let name = match line.namespace == Namespace::default() {
            true => name,
            false => format!("{}/{name}", line.namespace),
        };
        table.row(vec![
            plain(text::clock(line.from)),
            plain(name),
            plain(line.executions.to_string()),
            plain(percent(line.success_rate)),
            (failures.to_string(), if failures > 0 { Paint::Bad } else { Paint::Plain }),
            plain(time(line.run.p50_us)),
            plain(time(line.run.p95_us)),
            plain(time(line.wait.p50_us)),
            plain(time(line.wait.p95_us)),
        ]);
    }
    table
}
