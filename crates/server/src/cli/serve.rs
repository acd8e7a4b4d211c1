//! The flags of `serve`; what it does stands in [`daemon`](crate::daemon).

use clap::Args;

use crate::config::Listen;

/// Runs the HTTP API only.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright serve
  taskwright serve --listen 127.0.0.1:0          a port that is free, and tell which

Jobs are stored, and run by the workers of others. TERM or INT ends it in good
order.")]
pub(crate) struct Serve {
    /// Where to listen [default: 127.0.0.1:7411]
    #[arg(long, value_name = "ADDRESS:PORT", env = super::value::set(super::up::LISTEN_VARIABLE), hide_env_values = true)]
    pub(crate) listen: Option<Listen>,
    /// Listen where others reach it though it has no certificate: behind a
    /// proxy that speaks TLS, or in a network of your own
    #[arg(long, env = super::value::set(super::up::CLEAR_TEXT_VARIABLE), hide_env_values = true)]
    #[arg(value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) allow_clear_text: bool,
    /// Take the place of the `serve` that listens there, without refusing a request
    #[arg(long)]
    pub(crate) replace: bool,
}
