//! What all operations share: the store, who is known, limits, and whether the server is being stopped.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use taskwright::env::Spawned;
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
use super::readiness::Readiness;
use super::tail::Tail;
use super::tls::Tls;
use super::turns::Turns;
use super::watcher::Watcher;
use crate::App;
use crate::config::Config;
use crate::store_url::StoreUrl;

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
    /// Bytes of bodies that are read or worked on at a time.
    pub(crate) bodies_bytes_max: u64,
    /// Those of one principal.
    pub(crate) bodies_each_bytes_max: u64,
    /// Requests of one principal.
    pub(crate) pace: Pace,
    /// Requests of one principal that are worked on at a time while others ask, too, streams not counted; `None` is by the store.
    pub(crate) requests_at_once: Option<u32>,
    /// How long it takes at least to refuse who asks too much: whoever goes on all the same is slow.
    pub(crate) refused_time: Duration,
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
            bodies_bytes_max: 256 << 20,
            bodies_each_bytes_max: 64 << 20,
            pace: Pace { per_second: 10_000, burst: 20_000 },
            requests_at_once: None,
            refused_time: Duration::from_millis(100),
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
    /// Where the store is, if it was opened by that: what a database server says of itself is asked there.
    pub(crate) store_url: Option<StoreUrl>,
    /// The config file and the limits, which may change while the server runs.
    live: RwLock<Live>,
    /// The hosts that requests may be for.
    pub(crate) hosts: Hosts,
    /// The certificate, if the server speaks TLS.
    pub(crate) tls: Option<Tls>,
    pub(crate) watcher: Watcher,
    pub(crate) tail: Tail,
    pub(crate) metrics: Metrics,
    /// The OpenAPI document.
    pub(crate) document: Bytes,
    pub(crate) paces: Paces,
    pub(crate) turns: Turns,
    authenticate: Box<dyn Authenticate>,
    known: Known,
    readiness: Readiness,
    /// Held by whoever has the server looked over: one at a time, since that asks much of the store.
    pub(crate) examining: tokio::sync::Mutex<()>,
    streams: Arc<Semaphore>,
    /// Room for connections.
    pub(super) connections: Arc<Semaphore>,
    /// Take room away as it becomes free.
    shrinking: Mutex<Vec<Spawned<()>>>,
    stage: watch::Sender<Stage>,
    /// Requests that are under way, streams not counted.
    under_way: watch::Sender<usize>,
}

/// What may change while the server runs.
#[derive(Clone)]
struct Live {
    config: Arc<Config>,
    limits: Limits,
}

/// How far a server is in its life. It only goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// It answers.
    Serving,
    /// Another process answers at the same address: what still comes here is answered, and told to ask again there.
    Leaving,
    /// It is being stopped: what would change something is refused.
    Stopping,
}

/// What a server is made of.
pub(crate) struct Made {
    pub(crate) store: SharedStore,
    pub(crate) store_url: Option<StoreUrl>,
    pub(crate) env: Env,
    pub(crate) app: App,
    pub(crate) config: Config,
    pub(crate) limits: Limits,
    pub(crate) hosts: Hosts,
    pub(crate) tls: Option<Tls>,
    pub(crate) authenticate: Box<dyn Authenticate>,
}

impl Api {
    /// Puts it together. Must be called within a runtime.
    pub(crate) fn new(parts: Made) -> Arc<Self> {
        let Made { store, store_url, env, app, config, limits, hosts, tls, authenticate } = parts;
        let turns = Turns::on(&store);
        Arc::new(Self {
            client: Client::new(Arc::clone(&store), env.clone()),
            watcher: Watcher::start(Arc::clone(&store), env.clone()),
            tail: Tail::start(store, env.clone()),
            metrics: Metrics::new(env.monotonic_us()),
            document: super::openapi::document(&super::operations::table()).to_string().into(),
            streams: Arc::new(Semaphore::new(limits.streams_max as usize)),
            connections: Arc::new(Semaphore::new(limits.connections_max as usize)),
            shrinking: Mutex::default(),
            stage: watch::Sender::new(Stage::Serving),
            under_way: watch::Sender::new(0),
            env,
            app,
            store_url,
            live: RwLock::new(Live { config: Arc::new(config), limits }),
            hosts,
            tls,
            paces: Paces::default(),
            turns,
            authenticate,
            known: Known::default(),
            readiness: Readiness::default(),
            examining: tokio::sync::Mutex::default(),
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
                self.paces.stranger(Peer::of(parts), &self.limits(), now_us)?;
                return Err(problem);
            }
            found => found?,
        };
        self.paces.request(&caller, &self.limits(), now_us)?;
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

    /// Whether the store answers.
    pub(crate) async fn is_ready(&self) -> bool {
        self.readiness.ask(&self.env, self.client.store(), self.limits().ready_time).await
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
                    self.limits().streams_max
                ),
                "close those that nobody reads, or ask now and then instead",
            )
            .retry_after(AGAIN_S)
        })
    }

    /// Streams and long polls that are open.
    pub(crate) fn open_streams(&self) -> usize {
        (self.limits().streams_max as usize).saturating_sub(self.streams.available_permits())
    }

    /// The config file, as it was read last.
    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.live().config)
    }

    /// How much the server takes now.
    pub(crate) fn limits(&self) -> Limits {
        self.live().limits
    }

    fn live(&self) -> Live {
        self.live.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Goes by another config file and other limits from now on. Must be called within a runtime.
    pub(crate) fn reload(&self, config: Config, limits: Limits) {
        let live = Live { config: Arc::new(config), limits };
        let before = std::mem::replace(&mut *self.live.write().unwrap_or_else(PoisonError::into_inner), live);
        self.resize(&self.streams, before.limits.streams_max, limits.streams_max);
        self.resize(&self.connections, before.limits.connections_max, limits.connections_max);
    }

    /// More room at once, or less as it becomes free.
    fn resize(&self, room: &Arc<Semaphore>, before: u32, now: u32) {
        if now >= before {
            return room.add_permits((now - before) as usize);
        }
        let room = Arc::clone(room);
        // It ends when it has what it wants, or with the server.
        let shrink = async move {
            if let Ok(taken) = room.acquire_many(before - now).await {
                taken.forget();
            }
        };
        let mut shrinking = self.shrinking.lock().unwrap_or_else(PoisonError::into_inner);
        shrinking.retain(|task| !task.is_finished());
        shrinking.push(self.env.spawn("less room", shrink));
    }

    /// Takes nothing in from now on: what would change something is refused, and streams end.
    pub(crate) fn stop(&self) {
        self.go_on(Stage::Stopping);
    }

    /// Sends everybody to the process that has taken over: streams end, and each answer is the last one of its connection.
    pub(crate) fn leave(&self) {
        self.go_on(Stage::Leaving);
    }

    fn go_on(&self, to: Stage) {
        self.stage.send_if_modified(|stage| {
            let is_later = *stage < to;
            *stage = to.max(*stage);
            is_later
        });
    }

    /// Whether it is being stopped, and nobody has taken over.
    pub(crate) fn is_stopping(&self) -> bool {
        *self.stage.borrow() == Stage::Stopping
    }

    /// Whether whoever asks on is to do so elsewhere.
    pub(crate) fn is_ending(&self) -> bool {
        *self.stage.borrow() > Stage::Serving
    }

    /// Is ready once it is to end.
    pub(crate) fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut stage = self.stage.subscribe();
        async move {
            // The sender goes with the server: whoever waits then waits no more.
            let _ = stage.wait_for(|stage| *stage > Stage::Serving).await;
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
