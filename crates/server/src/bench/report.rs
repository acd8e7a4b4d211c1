//! What came out, for people and for programs.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use taskwright::store::Counters;

use super::scene::{Log, Tables};
use crate::cli::Context;
use crate::cli::bench::Bench;
use crate::error::Error;

/// One round of a throughput benchmark.
pub(super) struct Round {
    pub(super) took: Duration,
    /// What the plain engine took for the same rows, in the same round.
    pub(super) raw: Duration,
    pub(super) counters: Counters,
    /// What the server said of its log before and after.
    pub(super) log: Option<(Log, Log)>,
    /// How long it took without hints, in the same round.
    pub(super) unhinted: Option<Duration>,
    /// The same once more, while another session held a snapshot.
    pub(super) held: Option<Held>,
}

/// A drain while another session held a snapshot.
pub(super) struct Held {
    /// How long it took without.
    pub(super) free: Duration,
    pub(super) took: Duration,
    /// The time that the jobs of the last step took without, and with.
    pub(super) free_last: Duration,
    pub(super) last: Duration,
    /// How many these are.
    pub(super) last_jobs: u64,
    pub(super) before: Tables,
    pub(super) after: Tables,
}

/// One round of a benchmark of a generator.
pub(super) struct Made {
    pub(super) took: Duration,
    pub(super) counters: Counters,
    /// How often it was asked.
    pub(super) polls: u64,
}

/// One round of a latency benchmark.
pub(super) struct Picked {
    pub(super) measured: Histogram<u64>,
    /// How many other jobs were sent meanwhile, in what time.
    pub(super) flowed: (u64, Duration),
    /// How long those took, as far as they were started.
    pub(super) flow: Histogram<u64>,
}

#[derive(Serialize)]
struct Throughput<'a> {
    bench: &'a str,
    jobs: u64,
    payload_bytes: u32,
    batch: u32,
    clients: u32,
    worker_processes: u32,
    concurrency: u32,
    scheduled: u64,
    history: u64,
    backlog: u64,
    settled: bool,
    rounds: usize,
    jobs_per_second: Spread,
    yardstick: &'a str,
    raw_jobs_per_second: Spread,
    percent_of_raw: Spread,
    statements_per_1000_jobs: f64,
    commits_per_1000_jobs: f64,
    fsyncs_per_1000_jobs: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_bytes_per_job: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    without_hints: Option<Unhinted>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held_snapshot: Option<UnderSnapshot>,
}

#[derive(Serialize)]
struct Unhinted {
    jobs_per_second: Spread,
    /// What the rate with hints is of that without.
    percent_with: Spread,
}

#[derive(Serialize)]
struct UnderSnapshot {
    jobs_per_second: Spread,
    percent_of_without: Spread,
    last_step_jobs_per_second: Spread,
    last_step_percent_of_without: Spread,
    dead_rows_before: Spread,
    dead_rows_after: Spread,
    table_bytes_before: Spread,
    table_bytes_after: Spread,
}

#[derive(Serialize)]
struct Items<'a> {
    bench: &'a str,
    items: u64,
    payload_bytes: u32,
    window: u32,
    worker_processes: u32,
    concurrency: u32,
    rounds: usize,
    items_per_second: Spread,
    items_per_poll: Spread,
    statements_per_1000_items: Spread,
    commits_per_1000_items: Spread,
    fsyncs_per_1000_items: Spread,
}

#[derive(Serialize)]
struct Latency<'a> {
    bench: &'a str,
    jobs: u64,
    worker_processes: u32,
    rounds: usize,
    #[serde(flatten)]
    picked: Quantiles,
    #[serde(skip_serializing_if = "Option::is_none")]
    flow: Option<Flowed>,
}

/// How long it took from the enqueue call to the call of the handler.
#[derive(Clone, Copy, Serialize)]
struct Quantiles {
    p50_us: Spread,
    p99_us: Spread,
    max_us: Spread,
}

#[derive(Serialize)]
struct Flowed {
    jobs_per_second: Spread,
    #[serde(flatten)]
    picked: Quantiles,
    /// Jobs that had been stored and not been started when the measured ones had been.
    not_started: Spread,
}

/// The median of the rounds, with the smallest and the largest.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    pub(super) fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let middle = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { at(middle) } else { f64::midpoint(at(middle - 1), at(middle)) };
        Self { median, min: at(0), max: at(sorted.len().saturating_sub(1)) }
    }

    pub(super) fn show(self) -> String {
        format!("{} [{} - {}]", grouped(self.median), grouped(self.min), grouped(self.max))
    }
}

/// A number with its thousands set apart.
pub(super) fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut shown = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^53")]
pub(super) fn number(count: u64) -> f64 {
    count as f64
}

/// Prints a throughput benchmark.
pub(super) fn report(
    context: &Context,
    verb: &Bench,
    what: &str,
    yardstick: &str,
    jobs: u64,
    rounds: &[Round],
) -> Result<(), Error> {
    let rate = |time: Duration| number(jobs) / time.as_secs_f64();
    let per_1000 = |count: fn(&Counters) -> u64| {
        Spread::of(rounds.iter().map(|round| number(count(&round.counters)) * 1e3 / number(jobs))).median
    };
    let on_server = rounds.iter().any(|round| round.log.is_some());
    let result = Throughput {
        bench: what,
        jobs,
        payload_bytes: verb.payload,
        batch: verb.batch,
        clients: verb.clients,
        worker_processes: verb.workers,
        concurrency: verb.concurrency,
        scheduled: verb.scheduled,
        history: verb.history,
        backlog: verb.backlog,
        settled: verb.settled,
        rounds: rounds.len(),
        jobs_per_second: Spread::of(rounds.iter().map(|round| rate(round.took))),
        yardstick,
        raw_jobs_per_second: Spread::of(rounds.iter().map(|round| rate(round.raw))),
        percent_of_raw: Spread::of(rounds.iter().map(|round| percent(round.raw, round.took))),
        statements_per_1000_jobs: per_1000(|counters| counters.statements),
        commits_per_1000_jobs: per_1000(|counters| counters.commits),
        fsyncs_per_1000_jobs: match on_server {
            true => logged(rounds, |log| log.flushes).map(|flushes| flushes * 1e3 / number(jobs)),
            false => Some(per_1000(|counters| counters.flushes)),
        },
        log_bytes_per_job: logged(rounds, |log| Some(log.bytes)).map(|bytes| bytes / number(jobs)),
        without_hints: without_hints(jobs, rounds),
        held_snapshot: under_snapshot(jobs, rounds),
    };
    match context.output.manner().json {
        true => context.output.json(&result),
        false => show(context, &result),
    }
}

fn show(context: &Context, result: &Throughput<'_>) -> Result<(), Error> {
    let out = &context.output;
    let line = |name: &str, value: String| out.line(format!("  {name:<23}{value}"));
    out.line(format!(
        "{}: {} jobs, median of {} rounds [least - most]",
        result.bench,
        grouped(number(result.jobs)),
        result.rounds
    ))?;
    line("jobs/s", result.jobs_per_second.show())?;
    line(&format!("{}/s", result.yardstick), result.raw_jobs_per_second.show())?;
    line("% of it", result.percent_of_raw.show())?;
    // Other processes count for themselves.
    if result.worker_processes == 0 {
        line("statements/1,000", format!("{:.1}", result.statements_per_1000_jobs))?;
        line("commits/1,000", format!("{:.1}", result.commits_per_1000_jobs))?;
    }
    if let Some(fsyncs) = result
        .fsyncs_per_1000_jobs
        .filter(|_| result.worker_processes == 0 || result.log_bytes_per_job.is_some())
    {
        line("fsyncs/1,000", format!("{fsyncs:.1}"))?;
    }
    if let Some(bytes) = result.log_bytes_per_job {
        line("log bytes/job", format!("{bytes:.0}"))?;
    }
    if let Some(without) = &result.without_hints {
        line("without hints, jobs/s", without.jobs_per_second.show())?;
        line("% of it with hints", without.percent_with.show())?;
    }
    let Some(held) = &result.held_snapshot else { return Ok(()) };
    out.line("while another session holds a snapshot:")?;
    line("jobs/s", held.jobs_per_second.show())?;
    line("% of without", held.percent_of_without.show())?;
    line("last tenth, jobs/s", held.last_step_jobs_per_second.show())?;
    line("% of that without", held.last_step_percent_of_without.show())?;
    line(
        "dead rows",
        format!("{} -> {}", grouped(held.dead_rows_before.median), grouped(held.dead_rows_after.median)),
    )?;
    line(
        "table bytes",
        format!("{} -> {}", grouped(held.table_bytes_before.median), grouped(held.table_bytes_after.median)),
    )
}

pub(super) fn percent(part: Duration, of: Duration) -> f64 {
    100.0 * part.as_secs_f64() / of.as_secs_f64()
}

/// By how much a count of the server's log has grown, in the median round.
fn logged(rounds: &[Round], count: fn(&Log) -> Option<u64>) -> Option<f64> {
    let grown = rounds.iter().map(|round| {
        let (before, after) = round.log.as_ref()?;
        Some(number(count(after)?.saturating_sub(count(before)?)))
    });
    grown.collect::<Option<Vec<f64>>>().map(|grown| Spread::of(grown.into_iter()).median)
}

fn without_hints(jobs: u64, rounds: &[Round]) -> Option<Unhinted> {
    let both: Vec<_> =
        rounds.iter().map(|round| Some((round.took, round.unhinted?))).collect::<Option<_>>()?;
    Some(Unhinted {
        jobs_per_second: Spread::of(both.iter().map(|(_, without)| number(jobs) / without.as_secs_f64())),
        percent_with: Spread::of(both.iter().map(|(with, without)| percent(*without, *with))),
    })
}

fn under_snapshot(jobs: u64, rounds: &[Round]) -> Option<UnderSnapshot> {
    let held: Vec<&Held> = rounds.iter().map(|round| round.held.as_ref()).collect::<Option<_>>()?;
    let spread = |value: &dyn Fn(&Held) -> f64| Spread::of(held.iter().map(|held| value(held)));
    Some(UnderSnapshot {
        jobs_per_second: spread(&|held| number(jobs) / held.took.as_secs_f64()),
        percent_of_without: spread(&|held| percent(held.free, held.took)),
        last_step_jobs_per_second: spread(&|held| number(held.last_jobs) / held.last.as_secs_f64()),
        last_step_percent_of_without: spread(&|held| percent(held.free_last, held.last)),
        dead_rows_before: spread(&|held| number(held.before.dead_rows)),
        dead_rows_after: spread(&|held| number(held.after.dead_rows)),
        table_bytes_before: spread(&|held| number(held.before.bytes)),
        table_bytes_after: spread(&|held| number(held.after.bytes)),
    })
}

/// Prints a benchmark of a generator. What worker processes do to the store is not counted.
pub(super) fn made(context: &Context, verb: &Bench, items: u64, rounds: &[Made]) -> Result<(), Error> {
    let spread = |value: &dyn Fn(&Made) -> f64| Spread::of(rounds.iter().map(value));
    let per_1000 =
        |count: fn(&Counters) -> u64| spread(&|round| number(count(&round.counters)) * 1e3 / number(items));
    let result = Items {
        bench: "generator",
        items,
        payload_bytes: verb.payload,
        window: verb.window,
        worker_processes: verb.workers,
        concurrency: verb.concurrency,
        rounds: rounds.len(),
        items_per_second: spread(&|round| number(items) / round.took.as_secs_f64()),
        items_per_poll: spread(&|round| number(items) / number(round.polls.max(1))),
        statements_per_1000_items: per_1000(|counters| counters.statements),
        commits_per_1000_items: per_1000(|counters| counters.commits),
        fsyncs_per_1000_items: per_1000(|counters| counters.flushes),
    };
    if context.output.manner().json {
        return context.output.json(&result);
    }
    let out = &context.output;
    out.line(format!(
        "generator with a window of {}: {} items, median of {} rounds [least - most]",
        grouped(verb.window.into()),
        grouped(number(items)),
        rounds.len()
    ))?;
    let line = |name: &str, spread: Spread| out.line(format!("  {name:<18}{}", spread.show()));
    line("items/s", result.items_per_second)?;
    line("items/poll", result.items_per_poll)?;
    line("statements/1,000", result.statements_per_1000_items)?;
    line("commits/1,000", result.commits_per_1000_items)?;
    line("fsyncs/1,000", result.fsyncs_per_1000_items)
}

/// Prints a latency benchmark.
pub(super) fn latencies(context: &Context, verb: &Bench, jobs: u64, rounds: &[Picked]) -> Result<(), Error> {
    let result = Latency {
        bench: "latency",
        jobs,
        worker_processes: verb.workers,
        rounds: rounds.len(),
        picked: quantiles(rounds, |round| &round.measured),
        flow: (verb.rate > 0).then(|| Flowed {
            jobs_per_second: Spread::of(
                rounds.iter().map(|round| number(round.flowed.0) / round.flowed.1.as_secs_f64()),
            ),
            picked: quantiles(rounds, |round| &round.flow),
            not_started: Spread::of(
                rounds.iter().map(|round| number(round.flowed.0.saturating_sub(round.flow.len()))),
            ),
        }),
    };
    if context.output.manner().json {
        return context.output.json(&result);
    }
    let out = &context.output;
    let place = if verb.workers == 0 { "in one process" } else { "across processes" };
    out.line(format!(
        "latency {place}: {} jobs, median of {} rounds [least - most], microseconds",
        grouped(number(jobs)),
        rounds.len()
    ))?;
    show_quantiles(context, result.picked)?;
    let Some(flow) = result.flow else { return Ok(()) };
    out.line(format!("meanwhile {} other jobs/s:", flow.jobs_per_second.show()))?;
    show_quantiles(context, flow.picked)?;
    out.line(format!("  not started at the end  {}", flow.not_started.show()))
}

fn quantiles(rounds: &[Picked], of: impl Fn(&Picked) -> &Histogram<u64>) -> Quantiles {
    let quantile = |q| Spread::of(rounds.iter().map(|round| number(of(round).value_at_quantile(q))));
    Quantiles {
        p50_us: quantile(0.5),
        p99_us: quantile(0.99),
        max_us: Spread::of(rounds.iter().map(|round| number(of(round).max()))),
    }
}

fn show_quantiles(context: &Context, picked: Quantiles) -> Result<(), Error> {
    for (name, spread) in [("p50", picked.p50_us), ("p99", picked.p99_us), ("max", picked.max_us)] {
        context.output.line(format!("  {name}  {}", spread.show()))?;
    }
    Ok(())
}
