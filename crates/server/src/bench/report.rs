//! What came out, for people and for programs.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use taskwright::store::Counters;

use crate::cli::Context;
use crate::cli::bench::Bench;
use crate::error::Error;

/// One round of a throughput benchmark.
pub(super) struct Round {
    pub(super) took: Duration,
    /// What plain SQLite took for the same rows, in the same round.
    pub(super) raw: Duration,
    pub(super) counters: Counters,
}

#[derive(Serialize)]
struct Throughput<'a> {
    bench: &'a str,
    jobs: u64,
    payload_bytes: u32,
    batch: u32,
    worker_processes: u32,
    concurrency: u32,
    rounds: usize,
    jobs_per_second: Spread,
    raw_jobs_per_second: Spread,
    percent_of_raw: Spread,
    statements_per_1000_jobs: f64,
    commits_per_1000_jobs: f64,
    fsyncs_per_1000_jobs: f64,
}

#[derive(Serialize)]
struct Latency<'a> {
    bench: &'a str,
    jobs: u64,
    worker_processes: u32,
    rounds: usize,
    p50_us: Spread,
    p99_us: Spread,
    max_us: Spread,
}

/// The median of the rounds, with the smallest and the largest.
#[derive(Clone, Copy, Serialize)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let middle = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { at(middle) } else { f64::midpoint(at(middle - 1), at(middle)) };
        Self { median, min: at(0), max: at(sorted.len().saturating_sub(1)) }
    }

    fn show(self) -> String {
        format!("{} [{} - {}]", grouped(self.median), grouped(self.min), grouped(self.max))
    }
}

/// A number with its thousands set apart.
fn grouped(value: f64) -> String {
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
fn number(count: u64) -> f64 {
    count as f64
}

/// Prints a throughput benchmark.
pub(super) fn report(
    context: &Context,
    verb: &Bench,
    what: &str,
    jobs: u64,
    rounds: &[Round],
) -> Result<(), Error> {
    let rate = |time: Duration| number(jobs) / time.as_secs_f64();
    let per_1000 = |count: fn(&Counters) -> u64| {
        Spread::of(rounds.iter().map(|round| number(count(&round.counters)) * 1e3 / number(jobs))).median
    };
    let result = Throughput {
        bench: what,
        jobs,
        payload_bytes: verb.payload,
        batch: verb.batch,
        worker_processes: verb.workers,
        concurrency: verb.concurrency,
        rounds: rounds.len(),
        jobs_per_second: Spread::of(rounds.iter().map(|round| rate(round.took))),
        raw_jobs_per_second: Spread::of(rounds.iter().map(|round| rate(round.raw))),
        percent_of_raw: Spread::of(
            rounds.iter().map(|round| 100.0 * round.raw.as_secs_f64() / round.took.as_secs_f64()),
        ),
        statements_per_1000_jobs: per_1000(|counters| counters.statements),
        commits_per_1000_jobs: per_1000(|counters| counters.commits),
        fsyncs_per_1000_jobs: per_1000(|counters| counters.flushes),
    };
    if context.output.manner().json {
        return context.output.json(&result);
    }
    let out = &context.output;
    out.line(format!(
        "{what}: {} jobs, median of {} rounds [least - most]",
        grouped(number(jobs)),
        rounds.len()
    ))?;
    out.line(format!("  jobs/s            {}", result.jobs_per_second.show()))?;
    out.line(format!("  plain SQLite/s    {}", result.raw_jobs_per_second.show()))?;
    out.line(format!("  % of it           {}", result.percent_of_raw.show()))?;
    // Other processes count for themselves.
    if verb.workers == 0 {
        out.line(format!("  statements/1,000  {:.1}", result.statements_per_1000_jobs))?;
        out.line(format!("  commits/1,000     {:.1}", result.commits_per_1000_jobs))?;
        out.line(format!("  fsyncs/1,000      {:.1}", result.fsyncs_per_1000_jobs))?;
    }
    Ok(())
}

/// Prints a latency benchmark.
pub(super) fn latencies(
    context: &Context,
    verb: &Bench,
    jobs: u64,
    rounds: &[Histogram<u64>],
) -> Result<(), Error> {
    let quantile = |q: f64| Spread::of(rounds.iter().map(|round| number(round.value_at_quantile(q))));
    let result = Latency {
        bench: "latency",
        jobs,
        worker_processes: verb.workers,
        rounds: rounds.len(),
        p50_us: quantile(0.5),
        p99_us: quantile(0.99),
        max_us: Spread::of(rounds.iter().map(|round| number(round.max()))),
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
    for (name, spread) in [("p50", result.p50_us), ("p99", result.p99_us), ("max", result.max_us)] {
        out.line(format!("  {name}  {}", spread.show()))?;
    }
    Ok(())
}
