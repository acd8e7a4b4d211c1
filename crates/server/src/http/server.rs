//! Runs the server: where it listens, how many connections it takes, and how it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use taskwright::Client;
use taskwright::env::Spawned;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower_http::add_extension::AddExtension;

use super::authenticate::Principals;
use super::guard::Peer;
use super::hosts::Hosts;
use super::stall::Stall;
use super::state::{Api, Limits, Made};
use crate::cli::Context;
use crate::config::Listen;
use crate::error::{Error, in_words};

/// Bytes of the head of a request.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// How long requests that are under way may take to end when the server is stopped.
const DRAIN_TIME: Duration = Duration::from_secs(5);
/// How long to wait when no connection can be taken, for want of files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A server that listens, and answers nobody yet.
pub(crate) struct Server {
    listener: TcpListener,
    address: SocketAddr,
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
                    "choose another port with --listen {}:0, or --listen none to go without the HTTP API",
                    asked.ip()
                ),
            ),
            _ => Error::operational(
                format!("listening at {asked}"),
                in_words(&error),
                "choose another address with --listen ADDRESS:PORT, or --listen none to go without the HTTP API",
            ),
        };
        let listener = TcpListener::bind(asked).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Some(Self { listener, address }))
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it is, for a browser.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers from now on.
    pub(crate) fn start(
        self,
        context: &Context,
        store: taskwright_store::SharedStore,
        limits: Limits,
    ) -> Running {
        let ip = self.address.ip();
        let local = ip.is_loopback().then(crate::cli::local_actor);
        let identities = Client::new(Arc::clone(&store), context.env.clone()).identities();
        let made = Made {
            store,
            env: context.env.clone(),
            app: context.app.clone(),
            config: context.config.clone(),
            limits,
            hosts: Hosts::of(ip, &context.config.server.hosts),
            authenticate: Box::new(Principals::new(identities, local)),
        };
        self.run(made)
    }

    /// The same from its parts.
    pub(crate) fn run(self, made: Made) -> Running {
        let env = made.env.clone();
        let api = Api::new(made);
        let (close, closed) = watch::channel(false);
        let task = env.spawn("http", accept(self.listener, Arc::clone(&api), closed));
        Running { api, close, task }
    }
}

/// A server that answers.
pub(crate) struct Running {
    api: Arc<Api>,
    close: watch::Sender<bool>,
    task: Spawned<()>,
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

    /// Ends: no connection is taken any more, and those that there are end with what they answer now.
    pub(crate) async fn close(self) {
        self.api.stop();
        self.close.send_replace(true);
        // It ends by itself, within the time that it gives connections.
        let _ = self.task.await;
    }
}

async fn accept(listener: TcpListener, api: Arc<Api>, mut closed: watch::Receiver<bool>) {
    let router = super::router(&api);
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(api.limits.connections_max as usize));
    let mut connections = JoinSet::new();
    loop {
        let permit = tokio::select! {
            permit = Arc::clone(&room).acquire_owned() => permit,
            _ = closed.wait_for(|closed| *closed) => break,
        };
        let stream = tokio::select! {
            stream = listener.accept() => stream,
            _ = closed.wait_for(|closed| *closed) => break,
        };
        let (stream, peer) = match stream {
            Ok((stream, peer)) => (stream, Peer(peer.ip())),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                api.env.sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let connection = serve(stream, peer, &api, router.clone(), &graceful);
        connections.spawn(async move {
            let _held = permit;
            connection.await;
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    if api.env.timeout(DRAIN_TIME, graceful.shutdown()).await.is_none() {
        tracing::debug!("connections are cut that did not end");
    }
}

/// Notes on each request from where its connection comes.
fn from(router: axum::Router, peer: Peer) -> AddExtension<axum::Router, Peer> {
    AddExtension::new(router, peer)
}

/// One connection, to its end.
fn serve(
    stream: TcpStream,
    peer: Peer,
    api: &Api,
    router: axum::Router,
    graceful: &GracefulShutdown,
) -> impl Future<Output = ()> + Send + use<> {
    // Without it the last bytes of an answer wait for the reader's receipt of those before.
    let _ = stream.set_nodelay(true);
    let mut builder = Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(api.limits.head_time).max_buf_size(HEAD_BYTES_MAX);
    let io = TokioIo::new(Stall::new(stream, api.env.clone(), api.limits.unread_time));
    let connection = builder.serve_connection(io, TowerToHyperService::new(from(router, peer)));
    let connection = graceful.watch(connection);
    async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended");
        }
    }
}
