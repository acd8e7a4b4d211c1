//! What `bench` does: measures the real client, store and worker on a fresh store, with the raw limit of plain SQLite
//! taken in the same rounds, so that the ratio holds on whatever machine.

mod drain;
mod enqueue;
mod latency;
mod report;
mod scene;

use crate::cli::Context;
use crate::cli::bench::{Bench, What};
use crate::error::{Error, Exit};

/// Measures, and prints what came out.
///
/// # Errors
///
/// When a store cannot be made beside the one of `--store`, or a worker process does not come up.
pub(crate) fn run(context: &Context, verb: &Bench) -> Result<Exit, Error> {
    if verb.serve {
        return drain::serve(context, verb);
    }
    let runtime = drain::runtime()?;
    runtime.block_on(async {
        match verb.what {
            What::Enqueue => enqueue::run(context, verb).await,
            What::Drain => drain::run(context, verb).await,
            What::Latency => latency::run(context, verb).await,
        }
    })?;
    Ok(Exit::Ok)
}
