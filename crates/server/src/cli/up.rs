//! The flags of `up`; what it does stands in [`daemon`](crate::daemon).

use std::time::Duration;

use clap::Args;
use taskwright_core::NodeName;

use super::value;
use crate::config::Listen;

/// The variable that says what `--listen` would.
pub(super) const LISTEN_VARIABLE: &str = "TASKWRIGHT_LISTEN";

/// The variable that says what `--allow-clear-text` would.
pub(super) const CLEAR_TEXT_VARIABLE: &str = "TASKWRIGHT_ALLOW_CLEAR_TEXT";

/// The variable that says what `--node` would.
pub(super) const NODE_VARIABLE: &str = "TASKWRIGHT_NODE";

/// Runs the daemon.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright up
  taskwright up --workers 2 --concurrency 8
  taskwright up --workers 0                      accept jobs and run none
  taskwright up --replace                        restart it without a gap

TERM or INT ends it in good order: it claims nothing more, tells what runs,
waits for the grace, and hands back the rest. A second signal ends it at once.
HUP reads the config file again.")]
pub(crate) struct Up {
    /// Where the HTTP API listens, or `none` [default: 127.0.0.1:7411]
    #[arg(long, value_name = "ADDRESS:PORT", env = value::set(LISTEN_VARIABLE), hide_env_values = true)]
    pub(crate) listen: Option<Listen>,
    /// Listen where others reach it though it has no certificate: behind a
    /// proxy that speaks TLS, or in a network of your own
    #[arg(long, env = value::set(CLEAR_TEXT_VARIABLE), hide_env_values = true)]
    #[arg(value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) allow_clear_text: bool,
    /// Worker processes [default: one per CPU]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=PROCESSES_MAX))]
    pub(crate) workers: Option<u32>,
    /// Jobs that each of them runs at once [default: 8]
    #[arg(long, value_name = "M", value_parser = clap::value_parser!(u32).range(1..=CONCURRENCY_MAX))]
    pub(crate) concurrency: Option<u32>,
    /// How many of these are kept for jobs of priority realtime or better [default: 0]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..CONCURRENCY_MAX))]
    pub(crate) reserve: Option<u32>,
    /// How long a shutdown waits for what runs [default: 25s]
    #[arg(long, value_name = "D", value_parser = value::duration, allow_hyphen_values = true)]
    pub(crate) grace: Option<Duration>,
    /// What this place is called where workers and jobs are listed [default: the machine's name]
    #[arg(long, value_name = "NAME", env = value::set(NODE_VARIABLE), hide_env_values = true)]
    pub(crate) node: Option<NodeName>,
    /// Take the place of the `up` that runs here: its socket goes on
    /// listening, and no request is refused
    #[arg(long)]
    pub(crate) replace: bool,
    /// How long a worker may be silent before its jobs go to others; at least 5 s
    /// [default: 15s]
    #[arg(long, value_name = "D", value_parser = value::lease, allow_hyphen_values = true)]
    pub(crate) lease: Option<Duration>,
}

pub(super) const PROCESSES_MAX: i64 = crate::config::PROCESSES_MAX as i64;
pub(super) const CONCURRENCY_MAX: i64 = crate::config::CONCURRENCY_MAX as i64;
