//! What came out, for people and for programs.

use hdrhistogram::Histogram;
use serde::Serialize;

use super::flood::Flood;
use super::load::{Load, Took};
use super::{Listing, Round};
use crate::bench::report::{Spread, grouped, number, percent};
use crate::cli::Context;
use crate::cli::bench::Bench;
use crate::error::Error;

#[derive(Serialize)]
struct Rates {
    bench: &'static str,
    jobs: u64,
    payload_bytes: u32,
    connections: u32,
    rounds: usize,
    jobs_per_second: Spread,
    /// Of as many callers of the store in one process, each with a call of its own for each job.
    store_jobs_per_second: Spread,
    percent_of_store: Spread,
    /// Of as many callers of one `Client`, whose jobs are stored together.
    client_jobs_per_second: Spread,
    percent_of_client: Spread,
    /// Of requests that ask nothing of the store.
    empty_requests_per_second: Spread,
}

#[derive(Serialize)]
struct Pages<'a> {
    bench: &'static str,
    backlog: u64,
    history: u64,
    scheduled: u64,
    about: &'a str,
    first: Quantiles,
    later: Quantiles,
}

#[derive(Serialize)]
struct Loaded {
    bench: &'static str,
    streams: u32,
    idle: u32,
    /// Of these, those that were still connected in the end.
    idle_still: usize,
    events_per_second: u64,
    store_alone: Quantiles,
    store: Quantiles,
    read_alone: Quantiles,
    read: Quantiles,
    /// What the 99th percentile is of that alone, in percent.
    store_p99_percent: f64,
    read_p99_percent: f64,
    resident_bytes_before: u64,
    resident_bytes: u64,
    resident_bytes_busy: u64,
    resident_bytes_after: u64,
    emitted: u64,
    heard: u64,
}

#[derive(Serialize)]
struct Flooded {
    bench: &'static str,
    connections: u32,
    answered_per_second: f64,
    refused_per_second: f64,
    store_alone: Quantiles,
    store: Quantiles,
    read_alone: Quantiles,
    read: Quantiles,
    /// What the 99th percentile is of that alone, in percent.
    store_p99_percent: f64,
    read_p99_percent: f64,
}

/// Of microseconds.
#[derive(Clone, Copy, Serialize)]
struct Quantiles {
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
}

impl Quantiles {
    fn of(took: &Histogram<u64>) -> Self {
        Self { p50_us: took.value_at_quantile(0.5), p99_us: took.value_at_quantile(0.99), max_us: took.max() }
    }

    /// What the 99th percentile is of another's, in percent.
    fn share(self, alone: Self) -> f64 {
        100.0 * number(self.p99_us) / number(alone.p99_us.max(1))
    }

    fn show(self) -> String {
        let of = |us: u64| format!("{:>10}", grouped(number(us)));
        format!("{}{}{}", of(self.p50_us), of(self.p99_us), of(self.max_us))
    }
}

/// Prints how many jobs a second were stored.
pub(super) fn rates(context: &Context, verb: &Bench, jobs: u64, rounds: &[Round]) -> Result<(), Error> {
    let spread = |value: &dyn Fn(&Round) -> f64| Spread::of(rounds.iter().map(value));
    let result = Rates {
        bench: "http",
        jobs,
        payload_bytes: verb.payload,
        connections: verb.clients,
        rounds: rounds.len(),
        jobs_per_second: spread(&|round| number(jobs) / round.api.as_secs_f64()),
        store_jobs_per_second: spread(&|round| number(jobs) / round.direct.as_secs_f64()),
        percent_of_store: spread(&|round| percent(round.direct, round.api)),
        client_jobs_per_second: spread(&|round| number(jobs) / round.gathered.as_secs_f64()),
        percent_of_client: spread(&|round| percent(round.gathered, round.api)),
        empty_requests_per_second: spread(&|round| number(jobs) / round.idle.as_secs_f64()),
    };
    if context.output.manner().json {
        return context.output.json(&result);
    }
    let out = &context.output;
    out.line(format!(
        "http: {} jobs one by one over {} connections, median of {} rounds [least - most]",
        grouped(number(jobs)),
        verb.clients,
        rounds.len()
    ))?;
    let line = |name: &str, spread: Spread| out.line(format!("  {name:<23}{}", spread.show()));
    line("jobs/s", result.jobs_per_second)?;
    line("the store, jobs/s", result.store_jobs_per_second)?;
    line("% of it", result.percent_of_store)?;
    line("one client, jobs/s", result.client_jobs_per_second)?;
    line("% of it", result.percent_of_client)?;
    line("empty requests/s", result.empty_requests_per_second)
}

/// Prints how long pages took.
pub(super) fn listings(context: &Context, verb: &Bench, listings: &[Listing]) -> Result<(), Error> {
    let out = &context.output;
    if !out.manner().json {
        let many = grouped(number(verb.backlog + verb.history + verb.scheduled));
        out.line(format!("pages of 100 among {many} jobs, microseconds:"))?;
        out.line(format!("  {:<28}{:>10}{:>10}{:>10}", "", "p50", "p99", "max"))?;
    }
    for listing in listings {
        let (first, later) = (Quantiles::of(&listing.first), Quantiles::of(&listing.later));
        let Bench { backlog, history, scheduled, .. } = *verb;
        let about = listing.about;
        if out.manner().json {
            out.json(&Pages { bench: "http.pages", backlog, history, scheduled, about, first, later })?;
            continue;
        }
        out.line(format!("  {:<28}{}", format!("{about}, the first"), first.show()))?;
        if !listing.later.is_empty() {
            out.line(format!("  {:<28}{}", format!("{about}, later ones"), later.show()))?;
        }
    }
    Ok(())
}

/// Prints how long single requests of one took while another flooded the server.
pub(super) fn flood(context: &Context, verb: &Bench, flood: &Flood) -> Result<(), Error> {
    let Flood { alone, beside, answered, refused, took_us } = flood;
    let both = |of: fn(&Took) -> &Histogram<u64>| (Quantiles::of(of(alone)), Quantiles::of(of(beside)));
    let ((store_alone, store), (read_alone, read)) = (both(|took| &took.store), both(|took| &took.read));
    let per_second = |many: u64| number(many) * 1e6 / number((*took_us).max(1));
    let result = Flooded {
        bench: "http.flood",
        connections: verb.flood,
        answered_per_second: per_second(*answered),
        refused_per_second: per_second(*refused),
        store_alone,
        store,
        read_alone,
        read,
        store_p99_percent: store.share(store_alone),
        read_p99_percent: read.share(read_alone),
    };
    if context.output.manner().json {
        return context.output.json(&result);
    }
    let out = &context.output;
    out.line(format!(
        "beside one who floods over {} connections ({} answered and {} refused a second), microseconds:",
        verb.flood,
        grouped(result.answered_per_second),
        grouped(result.refused_per_second)
    ))?;
    out.line(format!("  {:<28}{:>10}{:>10}{:>10}", "", "p50", "p99", "max"))?;
    let line = |name: &str, took: Quantiles| out.line(format!("  {name:<28}{}", took.show()));
    line("store a job, alone", store_alone)?;
    line("store a job, beside them", store)?;
    line("read a job, alone", read_alone)?;
    line("read a job, beside them", read)?;
    out.line(format!(
        "  {:<28}{:.0} and {:.0} %",
        "p99 of that alone", result.store_p99_percent, result.read_p99_percent
    ))
}

/// Prints how long single requests took beside many others.
pub(super) fn load(context: &Context, verb: &Bench, load: &Load) -> Result<(), Error> {
    let Load { alone, beside, resident, silent_still, emitted, heard } = load;
    let both = |of: fn(&Took) -> &Histogram<u64>| (Quantiles::of(of(alone)), Quantiles::of(of(beside)));
    let ((store_alone, store), (read_alone, read)) = (both(|took| &took.store), both(|took| &took.read));
    let result = Loaded {
        bench: "http.load",
        streams: verb.streams,
        idle: verb.idle,
        idle_still: *silent_still,
        events_per_second: verb.rate,
        store_alone,
        store,
        read_alone,
        read,
        store_p99_percent: store.share(store_alone),
        read_p99_percent: read.share(read_alone),
        resident_bytes_before: resident[0],
        resident_bytes: resident[1],
        resident_bytes_busy: resident[2],
        resident_bytes_after: resident[3],
        emitted: *emitted,
        heard: *heard,
    };
    if context.output.manner().json {
        return context.output.json(&result);
    }
    let out = &context.output;
    out.line(format!(
        "beside {} who listen and {} connections that say nothing, microseconds:",
        grouped(verb.streams.into()),
        grouped(verb.idle.into())
    ))?;
    out.line(format!("  {:<28}{:>10}{:>10}{:>10}", "", "p50", "p99", "max"))?;
    let line = |name: &str, took: Quantiles| out.line(format!("  {name:<28}{}", took.show()));
    line("store a job, alone", store_alone)?;
    line("store a job, beside them", store)?;
    line("read a job, alone", read_alone)?;
    line("read a job, beside them", read)?;
    out.line(format!(
        "  {:<28}{:.0} and {:.0} %",
        "p99 of that alone", result.store_p99_percent, result.read_p99_percent
    ))?;
    out.line(format!("  {:<28}{}", "silent ones still there", grouped(number(*silent_still as u64))))?;
    let [before, there, busiest, after] = resident.map(|bytes| grouped(number(bytes >> 20)));
    out.line(format!(
        "  {:<28}{before}, {there} with them, {busiest} under load, {after} when they had gone",
        "memory of the server, MiB"
    ))?;
    if verb.rate > 0 {
        let of = grouped(number(emitted * u64::from(verb.streams)));
        out.line(format!("  {:<28}{} of {of}", "events that were heard", grouped(number(*heard))))?;
    }
    Ok(())
}
