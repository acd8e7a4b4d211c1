//! What all operations share: the store, who is known, limits, and whether the server is being stopped.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use taskwright::identity::Identities;
use taskwright::{Client, Env};
use taskwright_core::throttle::Pace;
use taskwright_store::SharedStore;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::authenticate::{Authenticate, Known};
use super::caller::Caller;
use super::guard::Peer;
use super::hosts::Hosts;
use super::metrics::Metrics;
use super::pace::Paces;
use super::problem::{Problem, Sort};
use super::watcher::Watcher;
use crate::App;
use crate::config::Config;

/// How much the server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// How long one request may take that is no stream.
    pub(crate) request_time: Duration,
    /// How long a body may take to come.
    pub(crate) body_time: Duration,
    /// How long the head of a request may take to come, and how long a connection may have nothing to ask.
    pub(crate) head_time: Duration,
    /// How long somebody may leave what a stream sends them unread.
    pub(crate) unread_time: Duration,
    /// How long the store may take to answer whether the server is ready.
    pub(crate) ready_time: Duration,
    /// Connections at a time.
    pub(crate) connections_max: u32,
    /// Streams and long polls at a time.
    pub(crate) streams_max: u32,
    /// Streams and long polls of one principal at a time.
    pub(crate) streams_each_max: u32,
    /// Requests of one principal.
    pub(crate) pace: Pace,
    /// Requests from one address with credentials that are good for nothing: a program with an old token is told so, and one that
    /// guesses is slow.
    pub(crate) strangers: Pace,
    /// How long it takes at least to say that there is no such thing, or that nobody is known: as long for what is somebody else's.
    pub(crate) unknown_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_time: Duration::from_secs(30),
            body_time: Duration::from_secs(20),
            head_time: Duration::from_secs(20),
            unread_time: Duration::from_secs(30),
            ready_time: Duration::from_secs(2),
            connections_max: 12_000,
            streams_max: 2_000,
            streams_each_max: 1_000,
            pace: Pace { per_second: 10_000, burst: 20_000 },
            strangers: Pace { per_second: 50, burst: 200 },
            unknown_time: Duration::from_millis(5),
        }
    }
}

/// What all operations share.
pub(crate) struct Api {
    pub(crate) client: Client,
    pub(crate) env: Env,
    pub(crate) app: App,
    pub(crate) config: Config,
    pub(crate) limits: Limits,
    /// The hosts that requests may be for.
    pub(crate) hosts: Hosts,
    pub(crate) watcher: Watcher,
    pub(crate) metrics: Metrics,
    /// The OpenAPI document.
    pub(crate) document: Bytes,
    pub(crate) paces: Paces,
    authenticate: Box<dyn Authenticate>,
    known: Known,
    streams: Arc<Semaphore>,
    stopping: watch::Sender<bool>,
    /// Requests that are under way, streams not counted.
    under_way: watch::Sender<usize>,
}

/// What a server is made of.
pub(crate) struct Made {
    pub(crate) store: SharedStore,
    pub(crate) env: Env,
    pub(crate) app: App,
    pub(crate) config: Config,
    pub(crate) limits: Limits,
    pub(crate) hosts: Hosts,
    pub(crate) authenticate: Box<dyn Authenticate>,
}

impl Api {
    /// Puts it together. Must be called within a runtime.
    pub(crate) fn new(parts: Made) -> Arc<Self> {
        let Made { store, env, app, config, limits, hosts, authenticate } = parts;
        Arc::new(Self {
            client: Client::new(Arc::clone(&store), env.clone()),
            watcher: Watcher::start(store, env.clone()),
            metrics: Metrics::new(env.monotonic_us()),
            document: super::openapi::document(&super::operations::table()).to_string().into(),
            streams: Arc::new(Semaphore::new(limits.streams_max as usize)),
            stopping: watch::Sender::new(false),
            under_way: watch::Sender::new(0),
            env,
            app,
            config,
            limits,
            hosts,
            paces: Paces::default(),
            authenticate,
            known: Known::default(),
        })
    }

    /// Who asks.
    ///
    /// # Errors
    ///
    /// When nobody is known by what the request says, or they ask too often.
    pub(crate) async fn authenticate(&self, parts: &Parts) -> Result<Caller, Problem> {
        let now_us = self.env.monotonic_us();
        let caller = match self.authenticate.who(parts).await {
            Err(problem) if problem.sort() == Sort::Unauthenticated => {
                self.paces.stranger(Peer::of(parts), &self.limits, now_us)?;
                return Err(problem);
            }
            found => found?,
        };
        self.paces.request(&caller, &self.limits, now_us)?;
        Ok(caller)
    }

    /// Is ready once who asked is nobody any more, or somebody with other rights: what they follow is then to end.
    pub(crate) async fn until_unknown(&self, parts: &Parts, caller: &Caller) {
        const EVERY: Duration = Duration::from_millis(400);
        loop {
            self.env.sleep(EVERY).await;
            let now_us = self.env.monotonic_us();
            if !self.known.is_still(&*self.authenticate, parts, caller, now_us).await {
                return;
            }
        }
    }

    /// The principals of the store.
    pub(crate) fn identities(&self) -> Identities {
        self.client.identities()
    }

    /// Room for one more stream.
    ///
    /// # Errors
    ///
    /// When there are as many as may be.
    pub(crate) fn stream_permit(&self) -> Result<OwnedSemaphorePermit, Problem> {
        const AGAIN_S: u32 = 10;
        Arc::clone(&self.streams).try_acquire_owned().map_err(|_| {
            Problem::new(
                Sort::TooMany,
                "the stream",
                format!(
                    "there are {} streams and long polls already, as many as may be",
                    self.limits.streams_max
                ),
                "close those that nobody reads, or ask now and then instead",
            )
            .retry_after(AGAIN_S)
        })
    }

    /// Streams and long polls that are open.
    pub(crate) fn open_streams(&self) -> usize {
        (self.limits.streams_max as usize).saturating_sub(self.streams.available_permits())
    }

    /// Takes nothing in from now on: what would change something is refused, and streams end.
    pub(crate) fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Whether it is being stopped.
    pub(crate) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Is ready once it is being stopped.
    pub(crate) fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut stopping = self.stopping.subscribe();
        async move {
            // The sender goes with the server: whoever waits then waits no more.
            let _ = stopping.wait_for(|stopping| *stopping).await;
        }
    }

    /// Counts a request as under way until what this gives is dropped.
    pub(crate) fn enter(&self) -> UnderWay {
        self.under_way.send_modify(|count| *count += 1);
        UnderWay(self.under_way.clone())
    }

    /// Is ready when no request is under way.
    pub(crate) async fn idle(&self) {
        let _ = self.under_way.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// A request that is under way.
pub(crate) struct UnderWay(watch::Sender<usize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
