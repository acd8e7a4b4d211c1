//! The API inside another program's server.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::Next;
use futures_util::future::BoxFuture;
use taskwright::{Client, Env};
use taskwright_store::SharedStore;

use super::authenticate::Principals;
use super::guard::Peer;
use super::hosts::Hosts;
use super::state::{Api, Limits, Made};
use crate::App;
use crate::config::Config;

/// The HTTP API for the axum app of a program that listens itself.
///
/// Everybody needs a token or a session, wherever they come from: there is no local user here. `taskwright tokens create` makes the first
/// token where the store is. What the program's own server does, this does not: connections and their limits, TLS, and compression
/// are up to it.
///
/// The paths are those of the OpenAPI document, so [`merge`](axum::Router::merge) it into an app; nested under a path it answers, and
/// tells of other paths than it has.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use taskwright::Env;
/// use taskwright::store::{SharedStore, memory::MemoryStore};
/// use taskwright_server::Mount;
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let store: SharedStore = Arc::new(MemoryStore::new());
/// let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
/// let api = Mount::new(store, Env::system()).until(async { drop(stopped.await) }).router();
/// let app: axum::Router = axum::Router::new().merge(api);
/// # drop((app, stop));
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Mount {
    store: SharedStore,
    env: Env,
    app: App,
    hosts: Option<Vec<String>>,
    until: Option<BoxFuture<'static, ()>>,
}

impl Mount {
    /// The API of a store.
    pub fn new(store: SharedStore, env: Env) -> Self {
        Self { store, env, app: App::new(), hosts: None, until: None }
    }

    /// The tasks of the program, whose jobs may be stored by their names.
    #[must_use]
    pub fn app(self, app: App) -> Self {
        Self { app, ..self }
    }

    /// Answers requests for these hosts only, and for this machine's own names. Otherwise the program's server sees to that, or needs not:
    /// what a page of another site can send has no token.
    #[must_use]
    pub fn hosts(self, hosts: impl IntoIterator<Item = String>) -> Self {
        Self { hosts: Some(hosts.into_iter().collect()), ..self }
    }

    /// Once this is ready, streams end, and what would change something is refused with 503: give it what tells the program's server to
    /// stop, which otherwise waits for those who listen.
    #[must_use]
    pub fn until(self, stopped: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { until: Some(Box::pin(stopped)), ..self }
    }

    /// The router. Whoever's connection it is, which limits and the audit go by, is known where the app is served with
    /// [`into_make_service_with_connect_info`](axum::Router::into_make_service_with_connect_info) for [`SocketAddr`].
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn router(self) -> Router {
        let identities = Client::new(Arc::clone(&self.store), self.env.clone()).identities();
        let api = Api::new(Made {
            store: self.store,
            store_url: None,
            env: self.env.clone(),
            app: self.app,
            config: Config::default(),
            limits: Limits::default(),
            hosts: self.hosts.map_or_else(Hosts::any, |names| Hosts::of([127, 0, 0, 1].into(), &names)),
            tls: None,
            authenticate: Box::new(Principals::new(identities, None)),
        });
        let router = super::router(&api).layer(axum::middleware::from_fn(peer));
        let Some(until) = self.until else { return router };
        let stops = self.env.spawn("the end of the API", async move {
            until.await;
            api.stop();
        });
        // It lasts as long as the router does.
        router.layer(axum::Extension(Arc::new(stops)))
    }
}

/// Takes over from where a connection comes.
async fn peer(mut request: Request, next: Next) -> axum::response::Response {
    if let Some(ConnectInfo(address)) = request.extensions().get::<ConnectInfo<SocketAddr>>() {
        let peer = Peer(address.ip());
        request.extensions_mut().insert(peer);
    }
    next.run(request).await
}
