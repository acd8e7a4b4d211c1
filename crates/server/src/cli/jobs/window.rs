//! Which executions, for the verbs that look back.

use std::time::Duration;

use clap::Args;
use taskwright_core::statistics::Tally;
use taskwright_core::{JobId, ScheduleName, Timestamp, Usage};
use taskwright_store::{ExecutionFilter, FiringOutcome, Pattern};

pub(super) use crate::answer::job::Used;
pub(in crate::cli) use crate::answer::micros;
use crate::cli::value::{Moment, in_order};
use crate::cli::{Context, schedules};
use crate::error::Error;
use crate::text;

/// Jobs of a schedule that are looked at.
const SCHEDULE_JOBS_MAX: usize = 1_000;

/// Which executions, by their jobs and by the time of their end.
#[derive(Debug, Args)]
#[command(next_help_heading = "Which executions")]
pub(super) struct Window {
    /// Of this task; `*` stands for anything, here and below
    #[arg(long, value_name = "KIND")]
    kind: Vec<String>,
    /// Of this queue
    #[arg(long, value_name = "QUEUE")]
    queue: Vec<String>,
    /// Of this schedule: its newest 1,000 jobs that were made by --until
    #[arg(long, value_name = "NAME")]
    schedule: Option<ScheduleName>,
    /// That ended at or after this time, or this long ago
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// That ended at or before this time, or this long ago
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
}

impl Window {
    /// The question to the store; `default` is how far back it goes unless that was said.
    pub(super) async fn filter(
        &self,
        context: &Context,
        default: Option<Duration>,
    ) -> Result<ExecutionFilter, Error> {
        let now = context.env.now();
        let until = self.until.map(|until| until.resolve(now));
        let since = self.since.map(|since| since.resolve(now));
        let since = since.or_else(|| default.map(|default| until.unwrap_or(now).minus(default)));
        in_order("--since and --until", since, until)?;
        let patterns = |texts: &[String]| texts.iter().map(|text| Pattern::new(text)).collect();
        let ids = match &self.schedule {
            Some(name) => jobs_of(context, name, since, until).await?,
            None => Vec::new(),
        };
        Ok(ExecutionFilter {
            ids,
            namespace: context.namespace.clone(),
            kinds: patterns(&self.kind),
            queues: patterns(&self.queue),
            ended_from: since,
            ended_to: until,
            ..ExecutionFilter::default()
        })
    }
}

/// The newest jobs that a schedule has made by that time; one that does not exist when there is none, so that nothing is found and
/// not everything. Says so when there are more that may belong to the window.
async fn jobs_of(
    context: &Context,
    name: &ScheduleName,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
) -> Result<Vec<JobId>, Error> {
    schedules::found(context, name).await?;
    let client = schedules::client(context).await?;
    let namespace = context.namespace_or_default();
    let mut before = match until {
        Some(until) => schedules::first_after(&client, &namespace, name, until).await?,
        None => None,
    };
    let mut jobs = Vec::new();
    while jobs.len() <= SCHEDULE_JOBS_MAX {
        let page = client.firings(&namespace, name, before, SCHEDULE_JOBS_MAX / 2).await?;
        let Some(oldest) = page.last() else { break };
        before = Some(oldest.number);
        jobs.extend(page.iter().filter_map(|firing| match firing.outcome {
            FiringOutcome::Fired { job, .. } => Some((job, firing.at)),
            FiringOutcome::Skipped(_) => None,
        }));
    }
    if let Some((_, made_at)) = jobs.get(SCHEDULE_JOBS_MAX)
        && since.is_none_or(|since| *made_at >= since)
    {
        context.output.note(format!(
            "{name} has made more than {SCHEDULE_JOBS_MAX} jobs in this window, of which the newest are looked at; an earlier --until \
             shows the others"
        ));
    }
    jobs.truncate(SCHEDULE_JOBS_MAX);
    if jobs.is_empty() {
        jobs.push((JobId::from_bytes([0; 16]), Timestamp::from_micros(0)));
    }
    Ok(jobs.into_iter().map(|(job, _)| job).collect())
}

/// Says that what was printed is not all of the window.
pub(super) fn tell_cut(context: &Context, executions: u64, oldest_end: Option<Timestamp>) {
    let back_to = match oldest_end {
        Some(oldest) => format!(", back to {}", text::clock(oldest)),
        None => String::new(),
    };
    context.output.note(format!(
        "these figures are of {executions} executions{back_to}; the window has more, or may have"
    ));
}

/// CPU time of both modes, microseconds.
pub(super) fn cpu_us(usage: &Usage) -> u64 {
    usage.cpu_user_us.saturating_add(usage.cpu_system_us)
}

/// Bytes read from and written to storage.
pub(super) fn io_bytes(usage: &Usage) -> u64 {
    usage.read_bytes.saturating_add(usage.written_bytes)
}

/// What is known, or a dash.
pub(super) fn or_dash(known: Option<String>) -> String {
    known.unwrap_or_else(|| "-".to_owned())
}

/// A duration that is known, or a dash.
pub(in crate::cli) fn time_or_dash(known: Option<Duration>) -> String {
    or_dash(known.map(text::measured))
}

/// CPU time, peak of memory, I/O: each in words, or a dash.
pub(super) fn usage_in_words(usage: Option<&Usage>) -> [String; 3] {
    let cpu = usage.map(|usage| text::measured(Duration::from_micros(cpu_us(usage))));
    let memory = usage.map(|usage| usage.rss_peak_bytes).filter(|bytes| *bytes > 0);
    let io = usage.map(|usage| text::bytes(io_bytes(usage)));
    [or_dash(cpu), or_dash(memory.map(text::bytes)), or_dash(io)]
}

/// A share of 1 as people write it: `99.2 %`.
pub(in crate::cli) fn percent(share: Option<f64>) -> String {
    or_dash(share.map(|share| {
        // What is not all is not to look like it.
        let percent = (share * 1_000.0).floor() / 10.0;
        if share < 1.0 { format!("{percent:.1} %") } else { "100 %".to_owned() }
    }))
}

/// How many ended otherwise than completed or cancelled.
pub(super) fn failures(tally: &Tally) -> u64 {
    use taskwright_core::attempt::AttemptEnd::{Cancelled, Completed};
    tally.executions() - tally.ended(Completed) - tally.ended(Cancelled)
}
