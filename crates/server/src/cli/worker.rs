//! The flags of `worker`; what it does stands in [`daemon`](crate::daemon).

use std::time::Duration;

use clap::Args;
use taskwright_core::{NodeName, Priority, QueueName};

use super::up::CONCURRENCY_MAX;
use super::value;

/// Runs workers only.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright worker --concurrency 4
  taskwright worker --queues mail,reports --max-priority high
  taskwright worker --until-empty                drain what is ready, and exit")]
pub(crate) struct Worker {
    /// Jobs that run at once [default: 8]
    #[arg(long, value_name = "M", value_parser = clap::value_parser!(u32).range(1..=CONCURRENCY_MAX))]
    pub(crate) concurrency: Option<u32>,
    /// How many of these are kept for jobs of priority realtime or better [default: 0]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..CONCURRENCY_MAX))]
    pub(crate) reserve: Option<u32>,
    /// Only these queues [default: all]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) queues: Vec<QueueName>,
    /// Only jobs of this priority or better
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub(crate) max_priority: Option<Priority>,
    /// What this place is called where workers and jobs are listed [default: the machine's name]
    #[arg(long, value_name = "NAME", env = value::set(super::up::NODE_VARIABLE), hide_env_values = true)]
    pub(crate) node: Option<NodeName>,
    /// Exit when nothing is available any more; what generators would make next is not
    /// waited for
    #[arg(long)]
    pub(crate) until_empty: bool,
    /// How long a shutdown waits for what runs [default: 25s]
    #[arg(long, value_name = "D", value_parser = value::duration, allow_hyphen_values = true)]
    pub(crate) grace: Option<Duration>,
    /// How long a worker may be silent before its jobs go to others; at least 5 s
    /// [default: 15s]
    #[arg(long, value_name = "D", value_parser = value::lease, allow_hyphen_values = true)]
    pub(crate) lease: Option<Duration>,
    /// Started by `up`: end when standard input does, and leave the duties to it
    #[arg(long, hide = true)]
    pub(crate) supervised: bool,
}
