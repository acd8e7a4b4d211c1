//! `serve`: the HTTP API and nothing else; and the server of `up`.

use std::sync::Arc;
use std::time::Duration;

use taskwright_core::throttle::Pace;

use super::signals::Signals;
use crate::cli::Context;
use crate::cli::serve::Serve;
use crate::config::Listen;
use crate::error::{Error, Exit};
use crate::http::{Limits, Running, Server};

/// Runs the server until it is told to stop.
///
/// # Errors
///
/// When the store cannot be opened, or the address cannot be listened at.
pub(crate) fn serve(context: &Context, verb: &Serve) -> Result<Exit, Error> {
    super::log::start(context);
    context.block_on(run(context, verb))
}

async fn run(context: &Context, verb: &Serve) -> Result<Exit, Error> {
    let listen = verb.listen.or(context.config.server.listen).unwrap_or_default();
    if listen == Listen::Nowhere {
        return Err(Error::usage(
            "`serve` that listens at `none`",
            "there would be nothing for it to do",
            "name an address with --listen, or use `taskwright worker`",
        ));
    }
    let env = context.env.clone();
    context.store_or_new().await?;
    let signals = Signals::listen()?;
    let Some((server, url)) = start(context, listen).await? else { return Ok(Exit::Ok) };
    context.output.note(format!("taskwright {} serves {url}", env!("CARGO_PKG_VERSION")));
    context.output.note("Ctrl-C stops it in good order.");
    let stop = Arc::new(tokio::sync::Notify::new());
    let stopped = Arc::clone(&stop);
    let work = async move {
        stopped.notified().await;
        server.drain().await;
        server.close().await;
    };
    let ended = signals.around(&env, work, move || stop.notify_one(), || Duration::ZERO).await;
    match ended {
        Ok(()) => Ok(Exit::Ok),
        Err(signal) => Ok(Exit::Signal(signal)),
    }
}

/// Listens, and answers from then on; with where that is. `None` when it is not wanted.
pub(super) async fn start(context: &Context, listen: Listen) -> Result<Option<(Running, String)>, Error> {
    let Some(server) = Server::bind(listen).await? else { return Ok(None) };
    let url = server.url();
    let config = &context.config.server;
    let defaults = Limits::default();
    let limits = Limits {
        request_time: config.request_timeout.unwrap_or(defaults.request_time),
        connections_max: config.connections_max.unwrap_or(defaults.connections_max),
        streams_max: config.streams_max.unwrap_or(defaults.streams_max),
        streams_each_max: config.streams_each_max.unwrap_or(defaults.streams_each_max),
        pace: Pace {
            per_second: config.requests_per_second.unwrap_or(defaults.pace.per_second),
            burst: config.requests_burst.unwrap_or(defaults.pace.burst),
        },
        ..defaults
    };
    let store = Arc::clone(context.store_or_new().await?);
    super::principals::see_to(context, server.address()).await?;
    Ok(Some((server.start(context, store, limits), url)))
}
