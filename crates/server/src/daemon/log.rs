//! Messages of the runtime, on standard error.

use std::io::{self, Write};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

use crate::cli::Context;

/// As `RUST_LOG` has it.
const POOL_IS_QUIET: &str = "deadpool.postgres=error";

/// Starts logging: `RUST_LOG` decides what, or else `--verbose` and `--quiet`; `--json` makes it one object a line.
pub(crate) fn start(context: &Context) {
    let manner = context.output.manner();
    let level = match (manner.quiet, manner.verbose) {
        (true, _) => LevelFilter::ERROR,
        (_, true) => LevelFilter::DEBUG,
        _ => LevelFilter::WARN,
    };
    let mut filter = EnvFilter::builder().with_default_directive(level.into()).from_env_lossy();
    if level == LevelFilter::WARN && std::env::var_os(EnvFilter::DEFAULT_ENV).is_none() {
        // The pool tells of each connection that an outage cost, in the driver's words. What that means is told by whoever
        // used it.
        filter = filter.add_directive(POOL_IS_QUIET.parse().unwrap_or_else(|_| level.into()));
    }
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Unfailing)
        .with_ansi(context.output.colours_messages())
        .with_target(false);
    // A program that links us in may have set up logging of its own; that one stays.
    let _ = if manner.json { builder.json().try_init() } else { builder.compact().try_init() };
}

/// Standard error, as far as it can be written. What cannot be said is lost: a full disk or a closed pipe behind the log
/// must not end the work that it is about (the subscriber would complain of it with a macro that panics).
struct Unfailing;

impl Write for Unfailing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = io::stderr().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pools_directive_is_one() {
        let directive: tracing_subscriber::filter::Directive = POOL_IS_QUIET.parse().unwrap();
        assert_eq!(directive.to_string(), POOL_IS_QUIET);
    }
}
