//! What `bench` does.

use crate::cli::Context;
use crate::cli::bench::Bench;
use crate::error::{Error, Exit};

/// Measures, and prints what came out.
pub(crate) fn run(_context: &Context, _verb: &Bench) -> Result<Exit, Error> {
    Err(Error::operational("`bench`", "this build does not have it", "use a newer build"))
}
