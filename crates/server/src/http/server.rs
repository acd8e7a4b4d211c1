//! Runs the server: where it listens, how many connections it takes, and how it ends.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use taskwright::Client;
use taskwright::env::Spawned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower_http::add_extension::AddExtension;

use super::authenticate::Principals;
use super::guard::Peer;
use super::hosts::Hosts;
use super::stall::Stall;
use super::state::{Api, Limits, Made};
use super::tls::Tls;
use crate::cli::Context;
use crate::config::{Config, Listen};
use crate::error::{Error, in_words};

/// Bytes of the head of a request.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// How long requests that are under way may take to end when the server is stopped.
const DRAIN_TIME: Duration = Duration::from_secs(5);
/// How long connections may go on that are to move to another process: whoever asks within this time is answered, and told
/// to connect again; who has nothing to ask is cut off.
const LINGER_TIME: Duration = Duration::from_secs(5);
/// How long to wait when no connection can be taken, for want of files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often it is looked whether the certificate was replaced.
const CERTIFICATE_LOOK: Duration = Duration::from_secs(5);

/// A server that listens, and answers nobody yet.
pub(crate) struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Tls>,
}

impl Server {
    /// Listens; `None` when that is not wanted.
    ///
    /// # Errors
    ///
    /// When somebody else listens there, or this user may not.
    pub(crate) async fn bind(listen: Listen) -> Result<Option<Self>, Error> {
        let Listen::At(asked) = listen else { return Ok(None) };
        let refused = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::AddrInUse => Error::operational(
                format!("listening at {asked}"),
                "another program listens there already: another `taskwright up` perhaps",
                format!(
                    "take its place with --replace, choose another port with --listen {}:0, or --listen none to go without the HTTP API",
                    asked.ip()
                ),
            ),
            _ => cannot_listen(&asked.to_string(), &error),
        };
        let listener = TcpListener::bind(asked).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Some(Self { listener, address, tls: None }))
    }

    /// Goes on with a socket that listens already: another process's, or the service manager's.
    ///
    /// # Errors
    ///
    /// When it is no such socket.
    pub(crate) fn of(listener: std::net::TcpListener) -> Result<Self, Error> {
        let refused = |error: std::io::Error| cannot_listen("the socket that was handed over", &error);
        listener.set_nonblocking(true).map_err(refused)?;
        let listener = TcpListener::from_std(listener).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { listener, address, tls: None })
    }

    /// Speaks TLS, if the config file has a certificate.
    ///
    /// # Errors
    ///
    /// When the certificate cannot be used.
    pub(crate) fn with_tls(mut self, config: &Config) -> Result<Self, Error> {
        let base = config.file.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
        self.tls = config.server.tls.as_ref().map(|files| Tls::new(files, base)).transpose()?;
        Ok(self)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it is, for a browser.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", if self.tls.is_some() { "https" } else { "http" }, self.address)
    }

    /// Another handle of the socket, to be handed on.
    ///
    /// # Errors
    ///
    /// When the process has as many files as it may.
    pub(crate) fn socket(&self) -> std::io::Result<std::os::fd::OwnedFd> {
        std::os::fd::AsFd::as_fd(&self.listener).try_clone_to_owned()
    }

    /// Answers from now on.
    pub(crate) fn start(
        self,
        context: &Context,
        store: taskwright_store::SharedStore,
        limits: Limits,
    ) -> Running {
        let ip = self.address.ip();
        let local = crate::config::is_here(ip).then(crate::cli::local_actor);
        let identities = Client::new(Arc::clone(&store), context.env.clone()).identities();
        let made = Made {
            store,
            store_url: context.opened_url().cloned(),
            env: context.env.clone(),
            app: context.app.clone(),
            config: context.config.clone(),
            limits,
            hosts: Hosts::of(ip, &context.config.server.hosts),
            tls: None,
            authenticate: Box::new(Principals::new(identities, local)),
        };
        self.run(made)
    }

    /// The same from its parts.
    pub(crate) fn run(self, made: Made) -> Running {
        let env = made.env.clone();
        let api = Api::new(Made { tls: self.tls, ..made });
        let (gate, passes) = watch::channel(Gate::Open);
        let task = env.spawn("http", accept(self.listener, Arc::clone(&api), passes));
        let looks =
            api.tls.is_some().then(|| env.spawn("certificate", look_for_certificate(Arc::clone(&api))));
        Running { api, gate, task: Mutex::new(Some(task)), _looks: looks }
    }
}

fn cannot_listen(at: &str, error: &std::io::Error) -> Error {
    Error::operational(
        format!("listening at {at}"),
        in_words(error),
        "choose another address with --listen ADDRESS:PORT, or --listen none to go without the HTTP API",
    )
}

/// Whether connections are taken. It only goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Gate {
    /// They are.
    Open,
    /// No new ones; those that there are go on for a while.
    Shut,
    /// They end.
    Closed,
}

/// A server that answers.
pub(crate) struct Running {
    api: Arc<Api>,
    gate: watch::Sender<Gate>,
    task: Mutex<Option<Spawned<()>>>,
    _looks: Option<Spawned<()>>,
}

impl Running {
    /// Takes nothing in any more, and waits until what was taken in has been answered; what is asked after that is still
    /// looked up or refused.
    pub(crate) fn drain(&self) -> impl Future<Output = ()> + Send + use<> {
        self.api.stop();
        let api = Arc::clone(&self.api);
        async move {
            if api.env.timeout(DRAIN_TIME, api.idle()).await.is_none() {
                tracing::warn!("requests are under way still: they are not waited for any longer");
            }
        }
    }

    /// Takes no connection any more, because another process does so at the same socket; whoever is connected is answered
    /// still, and told to connect again.
    pub(crate) fn leave(&self) {
        self.api.leave();
        self.go_on(Gate::Shut);
    }

    /// Ends: no connection is taken any more, and those that there are end with what they answer now. After
    /// [`leave`](Self::leave) they have time to move.
    pub(crate) async fn close(&self) {
        if *self.gate.borrow() == Gate::Open {
            self.api.stop();
            self.go_on(Gate::Closed);
        }
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            // It ends by itself, within the time that it gives connections.
            let _ = task.await;
        }
    }

    fn go_on(&self, to: Gate) {
        self.gate.send_if_modified(|gate| {
            let is_later = *gate < to;
            *gate = to.max(*gate);
            is_later
        });
    }

    /// Goes by another config file from now on, and reads the certificate again.
    ///
    /// # Errors
    ///
    /// When the certificate cannot be used; the one that was there stays.
    pub(crate) fn reload(&self, config: Config, limits: Limits) -> Result<bool, Error> {
        self.api.reload(config, limits);
        self.api.tls.as_ref().map_or(Ok(false), Tls::reread)
    }
}

/// Notices that somebody has put another certificate in the place of the one that is shown.
async fn look_for_certificate(api: Arc<Api>) {
    loop {
        api.env.sleep(CERTIFICATE_LOOK).await;
        match api.tls.as_ref().map(Tls::refresh) {
            None => return,
            Some(Ok(true)) => tracing::warn!("the TLS certificate was replaced, and is shown from now on"),
            Some(Ok(false)) => {}
            Some(Err(error)) => tracing::error!(%error, "the TLS certificate stays as it was"),
        }
    }
}

async fn accept(listener: TcpListener, api: Arc<Api>, mut gate: watch::Receiver<Gate>) {
    let router = super::router(&api);
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let room = Arc::clone(&api.connections);
        let permit = tokio::select! {
            permit = room.acquire_owned() => permit,
            _ = gate.wait_for(|gate| *gate > Gate::Open) => break,
        };
        let stream = tokio::select! {
            stream = listener.accept() => stream,
            _ = gate.wait_for(|gate| *gate > Gate::Open) => break,
        };
        let (stream, peer) = match stream {
            Ok((stream, peer)) => (stream, Peer(peer.ip())),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                api.env.sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let connection = serve(stream, peer, Arc::clone(&api), router.clone(), graceful.watcher());
        connections.spawn(async move {
            let _held = permit;
            connection.await;
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let moved = async { while connections.join_next().await.is_some() {} };
    tokio::select! {
        _ = gate.wait_for(|gate| *gate == Gate::Closed) => {}
        _ = api.env.timeout(LINGER_TIME, moved) => {}
    }
    // Where another process goes on, whoever was heard by this one is answered here.
    let is_ending = *gate.borrow() == Gate::Closed;
    let patience = if is_ending { DRAIN_TIME } else { api.limits().request_time.max(DRAIN_TIME) };
    if api.env.timeout(patience, graceful.shutdown()).await.is_none() {
        tracing::debug!("connections are cut that did not end");
    }
}

/// Notes on each request from where its connection comes.
fn from(router: axum::Router, peer: Peer) -> AddExtension<axum::Router, Peer> {
    AddExtension::new(router, peer)
}

/// One connection, to its end.
async fn serve(stream: TcpStream, peer: Peer, api: Arc<Api>, router: axum::Router, watcher: Watcher) {
    // Without it the last bytes of an answer wait for the reader's receipt of those before.
    let _ = stream.set_nodelay(true);
    let Some(tls) = &api.tls else { return talk(stream, peer, &api, router, watcher).await };
    match api.env.timeout(api.limits().head_time, tls.accept(stream)).await {
        Some(Ok(stream)) => talk(stream, peer, &api, router, watcher).await,
        Some(Err(error)) => tracing::debug!(%error, "a connection was not made"),
        None => tracing::debug!("a connection was not made in time"),
    }
}

async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    api: &Api,
    router: axum::Router,
    watcher: Watcher,
) {
    let limits = api.limits();
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.head_time).max_buf_size(HEAD_BYTES_MAX);
    let io = TokioIo::new(Stall::new(stream, api.env.clone(), limits.unread_time));
    let connection = builder.serve_connection(io, TowerToHyperService::new(from(router, peer)));
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection ended");
    }
}
