//! The flags of `bench`; what it does stands in [`bench`](crate::bench).

use clap::{Args, ValueEnum};

/// Measures.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright bench enqueue
  taskwright bench drain --jobs 100000 --workers 2 --concurrency 16
  taskwright bench latency --json

Each round uses a fresh store beside the one of --store, and removes it.")]
pub(crate) struct Bench {
    /// What to measure: enqueue, drain or latency
    #[arg(hide_possible_values = true)]
    pub(crate) what: What,
    /// Jobs of a round [default: 100000; latency: 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(crate) jobs: Option<u64>,
    /// Size of the arguments
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..=1_048_576))]
    pub(crate) payload: u32,
    /// Worker processes; 0 runs the jobs in this one
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=64))]
    pub(crate) workers: u32,
    /// Jobs that each of them runs at once
    #[arg(long, value_name = "M", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=super::up::CONCURRENCY_MAX))]
    pub(crate) concurrency: u32,
    /// Jobs that are enqueued together
    #[arg(long, value_name = "B", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) batch: u32,
    /// Rounds, of which the median is told
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// Scheduled jobs that lie around while the others are drained
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=10_000_000))]
    pub(crate) scheduled: u64,
    /// Finished jobs that lie around while the others are drained
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=10_000_000))]
    pub(crate) finished: u64,
    /// Serve the jobs of another `bench` until standard input ends
    #[arg(long, hide = true)]
    pub(crate) serve: bool,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// Jobs stored per second.
    Enqueue,
    /// Jobs claimed and finished per second.
    Drain,
    /// From the enqueue to the call of the handler.
    Latency,
}
