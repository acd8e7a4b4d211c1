//! What `up` and `worker` do.

use crate::cli::Context;
use crate::cli::up::Up;
use crate::cli::worker::Worker;
use crate::error::{Error, Exit};

/// Runs the daemon until it is told to stop.
pub(crate) fn up(_context: &Context, _verb: &Up) -> Result<Exit, Error> {
    Err(missing("up"))
}

/// Runs a worker until it is told to stop, or nothing is left to do.
pub(crate) fn worker(_context: &Context, _verb: &Worker) -> Result<Exit, Error> {
    Err(missing("worker"))
}

fn missing(verb: &str) -> Error {
    Error::operational(format!("`{verb}`"), "this build does not have it", "use a newer build")
}
