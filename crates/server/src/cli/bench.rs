//! The flags of `bench`; what it does stands in [`bench`](crate::bench).

use clap::{Args, ValueEnum, value_parser};

use super::up::CONCURRENCY_MAX;

/// Measures.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright bench enqueue
  taskwright bench enqueue --batch 1 --clients 4
  taskwright bench drain --jobs 100000 --nodes 2 --concurrency 16
  taskwright bench drain --history 10000000 --scheduled 1000000
  taskwright bench latency --rate 5000 --json
  taskwright bench generator --window 10000
  taskwright bench http --clients 32 --backlog 1000000
  taskwright bench http --clients 32 --streams 1000 --idle 10000 --rate 5
  taskwright bench http --flood 32
  taskwright bench drain --hold-snapshot --jobs 1000000
  taskwright bench enqueue --batch 1 --clients 4 --nodes 4 --compare-hints

Each round uses a fresh store, beside the file or in the database of --store,
and removes it. What lies around (--history, --scheduled, --backlog) is measured
as a bulk fill leaves it: PostgreSQL has not analysed it, nor does until the
round is over; --settled measures what autovacuum makes of it in time.")]
pub(crate) struct Bench {
    /// What to measure: enqueue, drain, generator, latency or http
    #[arg(hide_possible_values = true)]
    pub(crate) what: What,
    /// Jobs of a round [default: 100000; one by one: 10000; latency: 1000]
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..=JOBS_MAX))]
    pub(crate) jobs: Option<u64>,
    /// Size of the arguments
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = value_parser!(u32).range(2..=1_048_576))]
    pub(crate) payload: u32,
    /// Worker processes, all started at once; 0 runs the jobs in this one (enqueue: nobody runs them)
    #[arg(long, visible_alias = "nodes", value_name = "N", default_value_t = 0, value_parser = value_parser!(u32).range(0..=64))]
    pub(crate) workers: u32,
    /// Jobs that each of them runs at once
    #[arg(long, value_name = "M", default_value_t = 16, value_parser = value_parser!(u32).range(1..=CONCURRENCY_MAX))]
    pub(crate) concurrency: u32,
    /// Jobs that are enqueued together
    #[arg(long, value_name = "B", default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=10_000))]
    pub(crate) batch: u32,
    /// Clients that enqueue at once, each with a store of its own; http: connections
    #[arg(long, value_name = "N", default_value_t = 1, hide_short_help = true, value_parser = value_parser!(u32).range(1..=64))]
    pub(crate) clients: u32,
    /// generator: items that are made and not settled at any time
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=10_000))]
    pub(crate) window: u32,
    /// Rounds, of which the median is told
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// Scheduled jobs that lie around meanwhile
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = value_parser!(u64).range(0..=JOBS_MAX))]
    pub(crate) scheduled: u64,
    /// Finished jobs that lie around meanwhile
    #[arg(long, visible_alias = "finished", value_name = "N", default_value_t = 0, value_parser = value_parser!(u64).range(0..=JOBS_MAX))]
    pub(crate) history: u64,
    /// Available jobs that lie around meanwhile, and are left when it ends
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = value_parser!(u64).range(0..=JOBS_MAX))]
    pub(crate) backlog: u64,
    /// Vacuum and analyse what lies around before it is measured (PostgreSQL)
    #[arg(long, hide_short_help = true)]
    pub(crate) settled: bool,
    /// http: those who listen to events while requests are measured
    #[arg(long, value_name = "N", default_value_t = 0, hide_short_help = true, value_parser = value_parser!(u32).range(0..=1_000))]
    pub(crate) streams: u32,
    /// http: connections that say nothing meanwhile
    #[arg(long, value_name = "N", default_value_t = 0, hide_short_help = true, value_parser = value_parser!(u32).range(0..=10_500))]
    pub(crate) idle: u32,
    /// http: connections of one principal that asks as fast as it is answered, within its limits or not, while requests of another
    /// are measured
    #[arg(long, value_name = "N", default_value_t = 0, hide_short_help = true, value_parser = value_parser!(u32).range(0..=1_000))]
    pub(crate) flood: u32,
    /// latency: other jobs a second that flow through the same workers, and are measured, too; http: events a second for who listens
    #[arg(long, value_name = "R", default_value_t = 0, value_parser = value_parser!(u64).range(0..=1_000_000))]
    pub(crate) rate: u64,
    /// drain: once more, while another session holds an old snapshot (PostgreSQL)
    #[arg(long)]
    pub(crate) hold_snapshot: bool,
    /// enqueue: each round with NOTIFY hints and without, whatever the URL says, and the ratio (PostgreSQL)
    #[arg(long, hide_short_help = true)]
    pub(crate) compare_hints: bool,
    /// Jobs are those of a task that reads its arguments, instead of a handler that does not
    #[arg(long, hide_short_help = true)]
    pub(crate) typed: bool,
    /// With or without hints, whatever the URL says
    #[arg(long, hide = true, action = clap::ArgAction::Set)]
    pub(crate) hints: Option<bool>,
    /// Serve the jobs of another `bench`
    #[arg(long, hide = true)]
    pub(crate) serve: Option<Serve>,
    /// The schema of that `bench`
    #[arg(long, hide = true)]
    pub(crate) schema: Option<String>,
}

impl Bench {
    /// Whether anything lies around meanwhile.
    pub(crate) fn is_crowded(&self) -> bool {
        self.history + self.scheduled + self.backlog > 0
    }
}

const JOBS_MAX: u64 = 100_000_000;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// Jobs stored per second.
    Enqueue,
    /// Jobs claimed and finished per second.
    Drain,
    /// Items of a generator made, run and settled per second.
    Generator,
    /// From the enqueue to the call of the handler.
    Latency,
    /// Requests to the HTTP API.
    Http,
}

/// What a worker process of `bench` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Serve {
    /// Runs jobs until standard input ends.
    Stay,
    /// Waits for a line, and runs jobs until none is left or standard input ends.
    Drain,
    /// Answers HTTP requests until standard input ends.
    Http,
}
