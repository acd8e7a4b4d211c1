//! Messages of the runtime, on standard error.

use std::io::{self, Write};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

use crate::cli::Context;
use crate::config::LogLevel;

/// As `RUST_LOG` has it.
const POOL_IS_QUIET: &str = "deadpool.postgres=error";

/// What is logged, and how that is changed while the program runs.
pub(crate) struct Logging {
    change: Option<Change>,
    rules: Rules,
}

type Change = Box<dyn Fn(EnvFilter) -> bool>;

/// What comes before the config file.
#[derive(Clone, Copy)]
struct Rules {
    quiet: bool,
    verbose: bool,
}

impl Logging {
    /// Logs as the config file says now; `false` when something comes before that.
    pub(super) fn obey(&self, level: Option<LogLevel>) -> bool {
        let overruled = self.rules.quiet || self.rules.verbose || is_named_by_environment();
        !overruled && self.change.as_ref().is_some_and(|change| change(self.rules.filter(level)))
    }
}

impl Rules {
    fn filter(self, level: Option<LogLevel>) -> EnvFilter {
        let level = match (self.quiet, self.verbose, level) {
            (true, _, _) | (_, false, Some(LogLevel::Error)) => LevelFilter::ERROR,
            (_, true, _) | (_, _, Some(LogLevel::Debug)) => LevelFilter::DEBUG,
            (_, _, Some(LogLevel::Info)) => LevelFilter::INFO,
            (_, _, Some(LogLevel::Trace)) => LevelFilter::TRACE,
            (_, _, Some(_) | None) => LevelFilter::WARN,
        };
        let filter = EnvFilter::builder().with_default_directive(level.into()).from_env_lossy();
        if level != LevelFilter::WARN || is_named_by_environment() {
            return filter;
        }
        // The pool tells of each connection that an outage cost, in the driver's words. What that means is told by whoever
        // used it.
        filter.add_directive(POOL_IS_QUIET.parse().unwrap_or_else(|_| level.into()))
    }
}

fn is_named_by_environment() -> bool {
    std::env::var_os(EnvFilter::DEFAULT_ENV).is_some()
}

/// Starts logging: `RUST_LOG` decides what, or else `--verbose` and `--quiet`, or else the config file; `--json` makes it one
/// object a line.
pub(crate) fn start(context: &Context) -> Logging {
    let manner = context.output.manner();
    let rules = Rules { quiet: manner.quiet, verbose: manner.verbose };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(rules.filter(context.config.log_level))
        .with_writer(|| Unfailing)
        .with_ansi(context.output.colours_messages())
        .with_target(false);
    // A program that links us in may have set up logging of its own; that one stays.
    let change: Option<Change> = if manner.json {
        let builder = builder.json().with_filter_reloading();
        let handle = builder.reload_handle();
        let change: Change = Box::new(move |filter| handle.reload(filter).is_ok());
        builder.try_init().is_ok().then_some(change)
    } else {
        let builder = builder.compact().with_filter_reloading();
        let handle = builder.reload_handle();
        let change: Change = Box::new(move |filter| handle.reload(filter).is_ok());
        builder.try_init().is_ok().then_some(change)
    };
    Logging { change, rules }
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

    #[test]
    fn flags_come_before_the_config_file() {
        let shown = |quiet, verbose, level| Rules { quiet, verbose }.filter(level).to_string();
        assert_eq!(shown(false, false, Some(LogLevel::Info)), "info");
        assert_eq!(shown(true, false, Some(LogLevel::Info)), "error");
        assert_eq!(shown(false, true, Some(LogLevel::Error)), "debug");
        assert!(shown(false, false, None).contains("warn"));
    }
}
