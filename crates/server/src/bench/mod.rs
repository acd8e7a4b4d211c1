//! What `bench` does: measures the real client, store and worker on a fresh store, with the raw limit of the plain engine
//! taken in the same rounds, so that the ratio holds on whatever machine.

mod drain;
mod enqueue;
mod flow;
mod generator;
mod http;
mod latency;
mod report;
mod scene;
mod workers;

use scene::Scene;

use crate::cli::Context;
use crate::cli::bench::{Bench, Serve, What};
use crate::error::{Error, Exit, in_words};

/// Measures, and prints what came out.
///
/// # Errors
///
/// When a store cannot be made beside the one of `--store`, or a worker process does not come up.
pub(crate) fn run(context: &Context, verb: &Bench) -> Result<Exit, Error> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(
            |error| Error::operational("starting", in_words(&error), "look at this user's limits: ulimit -a"),
        )?;
    runtime.block_on(async {
        match verb.serve {
            Some(Serve::Http) => http::serve(context, verb).await,
            Some(how) => workers::serve(context, verb, how == Serve::Drain).await,
            None => measure(context, verb).await,
        }
    })
}

async fn measure(context: &Context, verb: &Bench) -> Result<Exit, Error> {
    const INTERRUPT: i32 = 2;
    let scene = Scene::new(context, verb).await?;
    let done = tokio::select! {
        done = async {
            match verb.what {
                What::Enqueue => enqueue::run(context, verb, &scene).await,
                What::Drain => drain::run(context, verb, &scene).await,
                What::Generator => generator::run(context, verb, &scene).await,
                What::Http => http::run(context, verb, &scene).await,
                What::Latency => latency::run(context, verb, &scene).await,
            }
        } => done.map(|()| Exit::Ok),
        _ = tokio::signal::ctrl_c() => Ok(Exit::Signal(INTERRUPT)),
    };
    // Whatever came of it, nothing is left behind; what was measured counts more than an error in that.
    let cleared = scene.clear().await;
    done.and_then(|exit| cleared.map(|()| exit))
}
