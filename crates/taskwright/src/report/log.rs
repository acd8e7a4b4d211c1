//! Tells of failures in the program's log.

use super::{Report, Reporter};

/// Writes failures to [`tracing`]: a warning for each, an error for those after which nothing is tried again.
///
/// The backtrace of a panic is a field of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogReporter;

impl Reporter for LogReporter {
    async fn failed(&self, report: &Report) {
        if report.is_final {
            return;
        }
        match backtrace(report) {
            Some(backtrace) => tracing::warn!(backtrace, "{report}"),
            None => tracing::warn!("{report}"),
        }
    }

    async fn gave_up(&self, report: &Report) {
        match backtrace(report) {
            Some(backtrace) => tracing::error!(backtrace, "{report}"),
            None => tracing::error!("{report}"),
        }
    }
}

fn backtrace(report: &Report) -> Option<String> {
    report.panic.as_ref()?.backtrace.as_ref().map(ToString::to_string)
}
