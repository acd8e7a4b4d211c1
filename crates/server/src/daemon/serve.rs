//! `serve`: the HTTP API and nothing else; and the server of `up`.

use std::cell::{Cell, RefCell};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use taskwright_core::throttle::Pace;
use tokio::sync::Notify;

use super::handover::{self, Hands, Place, Taken};
use super::log::Logging;
use super::reload::Reloader;
use super::signals::{Asked, HangUp, HangUps, Signals};
use crate::cli::Context;
use crate::cli::serve::Serve;
use crate::config::{Config, Listen};
use crate::error::{Error, Exit, in_words};
use crate::http::{Limits, Running, Server};

/// Runs the server until it is told to stop.
///
/// # Errors
///
/// When the store cannot be opened, or the address cannot be listened at.
pub(crate) fn serve(context: &Context, verb: &Serve) -> Result<Exit, Error> {
    let logging = super::log::start(context);
    context.block_on(run(context, &logging, verb))
}

async fn run(context: &Context, logging: &Logging, verb: &Serve) -> Result<Exit, Error> {
    let listen = verb.listen.or(context.config.server.listen).unwrap_or_default();
    if listen == Listen::Nowhere {
        return Err(Error::usage(
            "`serve` that listens at `none`",
            "there would be nothing for it to do",
            "name an address with --listen, or use `taskwright worker`",
        ));
    }
    let env = context.env.clone();
    let store = Arc::clone(context.store_or_new().await?);
    let signals = Signals::listen()?;
    let mut hang_ups = HangUps::listen()?;
    let place = Place::of(context, "serve", listen)?;
    let mut taken = take_over(context, place.as_ref(), verb.replace).await?;
    let Some(bound) = bind(context, listen, verb.allow_clear_text, taken.as_mut()).await? else {
        return Ok(Exit::Ok);
    };
    let Started { server, url, socket, is_kept } = bound.answer(context).await?;
    let offer = place.map(|place| handover::offer(&env, &place, Hands { listener: socket, lock: None }));
    let offer = offer.transpose()?;
    context.output.note(format!("taskwright {} serves {url}", env!("CARGO_PKG_VERSION")));
    context.output.note("Ctrl-C stops it in good order.");
    took_over(context, taken);

    let (stop, asked) = (Notify::new(), Cell::new(None));
    let current = RefCell::new(context.config.clone());
    let reloader = Reloader { context, logging, store, server: Some(&server), current };
    let reloads = async {
        loop {
            match hang_ups.next().await {
                HangUp::TerminalGone => return,
                HangUp::Reload => match reloader.read(false) {
                    Err(error) => reloader.refuse(&error),
                    Ok((config, difference)) => {
                        reloader.tell(&config, &difference);
                        reloader.apply_server(&config, &difference);
                        reloader.current.replace(config);
                    }
                },
            }
        }
    };
    let otherwise = async {
        tokio::select! {
            () = super::taken(offer.as_ref()) => Asked::HandedOver,
            () = reloads => Asked::TerminalGone,
        }
    };
    let work = async {
        stop.notified().await;
        match asked.get() {
            // Nobody is refused: whoever asks does so elsewhere, or waits.
            Some(Asked::HandedOver) => server.leave(),
            _ if is_kept => server.leave(),
            _ => server.drain().await,
        }
        server.close().await;
    };
    let tell = |why| {
        asked.set(Some(why));
        stop.notify_one();
    };
    let ended = signals.around(&env, work, otherwise, tell, || Duration::ZERO).await;
    match ended {
        Ok(()) => Ok(Exit::Ok),
        Err(signal) => Ok(Exit::Signal(signal)),
    }
}

/// Asks whoever is at this place to hand over, if that is wanted.
pub(super) async fn take_over(
    context: &Context,
    place: Option<&Place>,
    is_wanted: bool,
) -> Result<Option<Taken>, Error> {
    let Some(place) = place.filter(|_| is_wanted) else { return Ok(None) };
    let taken = handover::ask(&context.env, place).await?;
    if let Some(taken) = &taken {
        context.output.note(format!("taking the place of process {} ({})", taken.pid, taken.version));
    }
    Ok(taken)
}

/// Tells the process whose place this one takes, once everything runs here.
pub(super) fn took_over(context: &Context, taken: Option<Taken>) {
    if let Some(taken) = taken {
        let pid = taken.pid;
        context.output.note(match taken.ready() {
            Ok(()) => format!("process {pid} takes nothing more, and ends when its work is done"),
            Err(error) => format!("process {pid} has ended already: {}", in_words(&error)),
        });
    }
}

/// A server that answers, and what there is to know of it.
pub(super) struct Started {
    pub(super) server: Running,
    pub(super) url: String,
    /// Its socket, to be handed on.
    pub(super) socket: Option<std::os::fd::OwnedFd>,
    /// Whether somebody else keeps the socket open when this process ends: then nobody is refused, but waits there.
    pub(super) is_kept: bool,
}

/// A server that listens, and does not answer yet.
pub(super) struct Bound {
    server: Server,
    socket: std::os::fd::OwnedFd,
    is_kept: bool,
}

impl Bound {
    /// Answers from now on, once it is known who may ask.
    pub(super) async fn answer(self, context: &Context) -> Result<Started, Error> {
        let Self { server, socket, is_kept } = self;
        let (url, address) = (server.url(), server.address());
        let store = Arc::clone(context.store_or_new().await?);
        super::principals::see_to(context, address).await?;
        if !crate::config::is_here(address.ip()) && context.config.server.tls.is_none() {
            context.output.note(format!(
                "warning: what is said to {address} crosses the network in the clear, tokens and passwords too; name tls_cert and \
                 tls_key in [server], or let only a proxy that speaks TLS reach it"
            ));
        }
        let server = server.start(context, store, limits(&context.config));
        Ok(Started { server, url, socket: Some(socket), is_kept })
    }
}

/// Listens; `None` when it is not wanted. A socket that was handed over comes first, then one of the service manager's.
pub(super) async fn bind(
    context: &Context,
    listen: Listen,
    may_be_clear: bool,
    taken: Option<&mut Taken>,
) -> Result<Option<Bound>, Error> {
    if let Listen::At(address) = listen {
        refuse_clear_text(context, address, may_be_clear)?;
    }
    let handed = taken.and_then(|taken| taken.listener.take());
    let activated = if handed.is_some() { None } else { of_service_manager()? };
    let is_kept = activated.is_some();
    let server = match handed.or(activated) {
        // The one before listened where this one is not to: that ends when it does.
        Some(listener) if !is_kept && !is_at(&listener, listen) => Server::bind(listen).await?,
        Some(listener) => Some(Server::of(listener)?),
        None => Server::bind(listen).await?,
    };
    let Some(server) = server else { return Ok(None) };
    // The service manager's socket is where its unit says.
    refuse_clear_text(context, server.address(), may_be_clear)?;
    let server = server.with_tls(&context.config)?;
    let socket = server.socket().map_err(|error| {
        Error::operational("keeping the socket", in_words(&error), "look at this user's limits: ulimit -n")
    })?;
    Ok(Some(Bound { server, socket, is_kept }))
}

/// Keeps tokens and passwords from crossing a network in the clear, unless somebody has said that they may.
fn refuse_clear_text(context: &Context, address: SocketAddr, is_allowed: bool) -> Result<(), Error> {
    if !context.config.server.is_too_open(address, is_allowed) {
        return Ok(());
    }
    Err(Error::usage(
        format!("listening at {address} without TLS"),
        "others than this machine reach it, and whoever is on the way reads their tokens and passwords",
        "name tls_cert and tls_key in [server]; behind a proxy that speaks TLS, or in a network of your own, say --allow-clear-text \
         (or `allow_clear_text = true` in [server])",
    ))
}

/// Whether a socket is where this process is to listen.
fn is_at(listener: &TcpListener, listen: Listen) -> bool {
    let Listen::At(wanted) = listen else { return false };
    let is_port = |port: u16| wanted.port() == 0 || wanted.port() == port;
    listener.local_addr().is_ok_and(|there| there.ip() == wanted.ip() && is_port(there.port()))
}

/// The socket that systemd, or who speaks as it does, has opened for this process (`LISTEN_FDS`, `sd_listen_fds(3)`).
fn of_service_manager() -> Result<Option<TcpListener>, Error> {
    let refuse = |why: String| {
        Error::operational(
            "the socket of the service manager",
            why,
            "give the unit one ListenStream= with an address and a port",
        )
    };
    let mut given = listenfd::ListenFd::from_env();
    match given.len() {
        0 => return Ok(None),
        1 => {}
        several => return Err(refuse(format!("there are {several}, and one is expected"))),
    }
    let listener = given.take_tcp_listener(0).map_err(|error| refuse(in_words(&error)))?;
    if let Some(listener) = &listener {
        // Workers and commands are not to have it.
        fcntl_setfd(listener, FdFlags::CLOEXEC).map_err(|error| refuse(error.to_string()))?;
    }
    Ok(listener)
}

/// How much a server takes.
pub(super) fn limits(config: &Config) -> Limits {
    let (config, defaults) = (&config.server, Limits::default());
    Limits {
        request_time: config.request_timeout.unwrap_or(defaults.request_time),
        connections_max: config.connections_max.unwrap_or(defaults.connections_max),
        streams_max: config.streams_max.unwrap_or(defaults.streams_max),
        streams_each_max: config.streams_each_max.unwrap_or(defaults.streams_each_max),
        pace: Pace {
            per_second: config.requests_per_second.unwrap_or(defaults.pace.per_second),
            burst: config.requests_burst.unwrap_or(defaults.pace.burst),
        },
        requests_at_once: config.requests_at_once,
        ..defaults
    }
}
