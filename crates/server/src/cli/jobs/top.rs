//! `jobs top`.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;
use taskwright_core::limit::{PAGE_ROWS_MAX, SAMPLE_MAX};
use taskwright_core::statistics::Tally;
use taskwright_core::{JobId, Kind, Namespace, State, Timestamp, WorkerId};
use taskwright_store::{Filter, JobView, Page, Store};

use super::window::{Used, Window, cpu_us, io_bytes, micros, tell_cut, usage_in_words};
use crate::cli::Context;
use crate::error::{Error, Exit};
use crate::output::{Column, Paint, Table};
use crate::text;

/// Tells who uses the machines: the jobs that run, and what each task has used.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright jobs top
  taskwright jobs top --by rss --since 24h -n 5
  taskwright jobs top --by io --json

What a job uses is measured when it ends, and only of commands: of jobs that
run there is the time. Looks at what ended within the last hour, unless --since
says otherwise, and at no more than the newest 100,000 executions of it.")]
pub(super) struct Top {
    /// What comes first: the most cpu, rss (memory), time or io
    #[arg(long, value_name = "WHAT", value_enum, default_value = "cpu", hide_possible_values = true)]
    by: By,
    /// At most this many of each
    #[arg(short = 'n', long = "number", value_name = "N", default_value_t = 20)]
    number: usize,
    #[command(flatten)]
    window: Window,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    /// CPU time, all together
    Cpu,
    /// The largest resident set
    Rss,
    /// How long handlers ran, all together
    Time,
    /// Bytes read and written, all together
    Io,
}

/// How far back it looks.
const SINCE: Duration = Duration::from_secs(60 * 60);

const RUNNING: [Column; 5] = [
    Column::new("running", 0),
    Column::new("kind", 1),
    Column::new("queue", 3),
    Column::new("time", 0).right(),
    Column::new("worker", 2),
];

const ENDED: [Column; 6] = [
    Column::new("task", 0),
    Column::new("runs", 1).right(),
    Column::new("time", 0).right(),
    Column::new("cpu", 0).right(),
    Column::new("memory", 0).right(),
    Column::new("i/o", 2).right(),
];

/// One task of one namespace, and what it used.
type Task = ((Namespace, Kind), Tally);

impl Top {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        let store = context.store().await?;
        let filter = self.window.filter(context, Some(SINCE)).await?;
        let jobs = Filter {
            namespaces: filter.namespace.clone().into(),
            kinds: filter.kinds.clone(),
            queues: filter.queues.clone(),
            states: vec![State::Running],
            ..Filter::default()
        };
        let running = running(&**store, jobs, self.number).await?;
        let statistics = store.statistics(filter, SAMPLE_MAX).await?;
        let mut tasks: BTreeMap<(Namespace, Kind), Tally> = BTreeMap::new();
        for group in statistics.groups {
            tasks.entry((group.namespace, group.kind)).or_default().merge(group.tally);
        }
        let mut tasks: Vec<Task> = tasks.into_iter().collect();
        tasks.sort_by_cached_key(|(_, tally)| Reverse(self.by.of(tally)));
        let shown = &tasks[..tasks.len().min(self.number)];
        if context.output.is_json() {
            print_json(context, &running, shown)?;
        } else {
            print(context, &running, shown)?;
        }
        context.output.flush()?;
        if running.is_empty() && tasks.is_empty() {
            context.output.note("nothing runs, and nothing was executed that matches");
        } else if statistics.is_cut {
            tell_cut(context, statistics.executions, statistics.oldest_end);
        }
        Ok(Exit::Ok)
    }
}

impl By {
    /// What is compared; what is not known is less than anything that is.
    fn of(self, tally: &Tally) -> (Option<u64>, Duration) {
        let usage = tally.usage();
        let known = match self {
            Self::Cpu => usage.map(cpu_us),
            Self::Rss => usage.map(|usage| usage.rss_peak_bytes).filter(|bytes| *bytes > 0),
            Self::Time => None,
            Self::Io => usage.map(io_bytes),
        };
        (known, tally.run_total())
    }
}

/// The jobs that run for longest, of those that are met first when there are very many.
async fn running(store: &dyn Store, filter: Filter, most: usize) -> Result<Vec<JobView>, Error> {
    let page = Page { after: None, limit: PAGE_ROWS_MAX, oldest_first: true };
    let mut jobs = store.list(filter, page).await?.jobs;
    jobs.sort_by_key(|job| (job.claimed_at, job.id));
    jobs.truncate(most);
    Ok(jobs)
}

/// A line of JSON: `"row"` tells the two sorts apart.
#[derive(Serialize)]
#[serde(tag = "row", rename_all = "snake_case")]
enum Row<'a> {
    /// A job that runs. What it uses is not known before it ends.
    Running {
        id: JobId,
        kind: &'a Kind,
        namespace: &'a Namespace,
        worker: Option<WorkerId>,
        claimed_at: Option<Timestamp>,
        run_us: Option<u64>,
        usage: Option<Used>,
    },
    /// What the executions of a task used that have ended.
    Task {
        kind: &'a Kind,
        namespace: &'a Namespace,
        executions: u64,
        run_us: u64,
        measured: u64,
        usage: Option<Used>,
    },
}

fn print_json(context: &Context, running: &[JobView], tasks: &[Task]) -> Result<(), Error> {
    let now = context.env.now();
    for job in running {
        context.output.json(&Row::Running {
            id: job.id,
            kind: &job.kind,
            namespace: &job.namespace,
            worker: job.worker,
            claimed_at: job.claimed_at,
            run_us: job.claimed_at.map(|at| micros(now.since(at))),
            usage: None,
        })?;
    }
    for ((namespace, kind), tally) in tasks {
        context.output.json(&Row::Task {
            kind,
            namespace,
            executions: tally.executions(),
            run_us: micros(tally.run_total()),
            measured: tally.measured(),
            usage: tally.usage().copied().map(Used::from),
        })?;
    }
    Ok(())
}

fn print(context: &Context, running: &[JobView], tasks: &[Task]) -> Result<(), Error> {
    let plain = |text: String| (text, Paint::Plain);
    if !running.is_empty() {
        let now = context.env.now();
        let mut table = Table::new(&RUNNING);
        for job in running {
            table.row(vec![
                plain(job.id.to_string()),
                plain(named(&job.namespace, &job.kind)),
                plain(job.queue.to_string()),
                plain(job.claimed_at.map_or("-".to_owned(), |at| text::duration(now.since(at)))),
                (job.worker.map_or("-".to_owned(), |worker| worker.to_string()), Paint::Faint),
            ]);
        }
        context.output.table(&mut table)?;
    }
    if tasks.is_empty() {
        return Ok(());
    }
    if !running.is_empty() {
        context.output.line("")?;
    }
    let mut table = Table::new(&ENDED);
    for ((namespace, kind), tally) in tasks {
        let [cpu, memory, io] = usage_in_words(tally.usage());
        table.row(vec![
            plain(named(namespace, kind)),
            plain(tally.executions().to_string()),
            plain(text::measured(tally.run_total())),
            plain(cpu),
            plain(memory),
            plain(io),
        ]);
    }
    context.output.table(&mut table)
}

fn named(namespace: &Namespace, kind: &Kind) -> String {
    if *namespace == Namespace::default() { kind.to_string() } else { format!("{namespace}/{kind}") }
}
