//! What is told as JSON: by `--json` of a verb, and by the HTTP API, in the same words.
//!
//! One file a noun. Each type is made from what the store or a client of it gives, has its JSON schema, and knows neither
//! flags nor requests.

pub(crate) mod attachment;
pub(crate) mod audit;
pub(crate) mod bulk;
pub(crate) mod doctor;
pub(crate) mod event;
pub(crate) mod gc;
pub(crate) mod generator;
pub(crate) mod history;
pub(crate) mod job;
pub(crate) mod namespace;
pub(crate) mod principal;
pub(crate) mod queue;
pub(crate) mod schedule;
pub(crate) mod source;
pub(crate) mod stats;
pub(crate) mod step;
pub(crate) mod task;
pub(crate) mod webhook;
pub(crate) mod worker;

use std::time::Duration;

/// Whole microseconds.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Whole milliseconds.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
