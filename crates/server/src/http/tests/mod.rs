//! The API against a store in memory: in process where it can be, over real connections where it has to be.

mod answers;
mod attachments;
#[cfg(feature = "postgres")]
#[path = "../../../../../tests/support/cluster.rs"]
mod cluster;
mod connections;
mod document;
mod guarded;
mod jobs;
mod limits;
mod live;
mod matrix;
mod mount;
mod nobody_gets_in;
mod payloads;
mod reserved;
mod resources;
mod rights;
mod security;
mod shutdown;
mod tenants;
mod times;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use taskwright::Env;
use taskwright_core::attempt::{self, Facts, Outcome};
use taskwright_core::{
    Actor, Grants, JobId, Kind, Namespace, Principal, PrincipalKind, Role, Scopes, Timestamp, WorkerId,
};
use taskwright_store::memory::MemoryStore;
use taskwright_store::{Claim, ClaimedJob, Finish, NewWorker, SharedStore, Store};
use tower::ServiceExt as _;

use super::authenticate::{Authenticate, Local, unknown};
use super::caller::Caller;
use super::hosts::Hosts;
use super::problem::Problem;
use super::state::{Api, Limits, Made};
use crate::App;
use crate::config::Config;

/// A store and the API on it.
pub(super) struct Site {
    pub(super) store: MemoryStore,
    pub(super) env: Env,
    pub(super) api: Arc<Api>,
    router: Router,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: http::HeaderMap,
    pub(super) text: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The headers, without what the request is called.
    pub(super) fn headers_but_id(&self) -> http::HeaderMap {
        let mut headers = self.headers.clone();
        assert!(headers.remove("x-request-id").is_some());
        headers
    }

    /// The end of the type of the problem that it is.
    pub(super) fn problem(&self) -> String {
        assert_eq!(self.headers[CONTENT_TYPE], "application/problem+json", "{self:?}");
        let json = self.json();
        assert_eq!(json["status"], self.status.as_u16());
        for field in ["title", "detail", "what", "why", "fix", "instance"] {
            assert!(json[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {json}");
        }
        let kind = json["type"].as_str().unwrap();
        kind.strip_prefix("urn:taskwright:problem:").unwrap().to_owned()
    }

    /// The answer, which must be good.
    pub(super) fn good(self) -> Value {
        assert!(self.status.is_success(), "{self:?}");
        self.json()
    }
}

pub(crate) fn made(
    store: &MemoryStore,
    env: &Env,
    authenticate: Box<dyn Authenticate>,
    limits: Limits,
) -> Made {
    let store: SharedStore = Arc::new(store.handle());
    let (app, config) = (App::new().with_kinds(["mail".to_owned()]), Config::default());
    let hosts = Hosts::of("127.0.0.1".parse().unwrap(), &[]);
    Made { store, store_url: None, env: env.clone(), app, config, limits, hosts, tls: None, authenticate }
}

impl Site {
    /// With the local user, who may do everything.
    pub(super) fn new() -> Self {
        Self::with(local_user(&Actor::new("tester").unwrap()))
    }

    pub(super) fn with(authenticate: Box<dyn Authenticate>) -> Self {
        Self::limited(authenticate, Limits::default())
    }

    pub(super) fn limited(authenticate: Box<dyn Authenticate>, limits: Limits) -> Self {
        let (env, store) = (Env::system(), MemoryStore::new());
        let api = Api::new(made(&store, &env, authenticate, limits));
        let router = super::router(&api);
        Self { store, env, api, router }
    }

    /// The same on a store that others look at, too.
    fn on_memory(store: &MemoryStore) -> Self {
        let env = Env::system();
        let user = local_user(&Actor::new("tester").unwrap());
        let api = Api::new(made(store, &env, user, Limits::default()));
        let router = super::router(&api);
        Self { store: store.handle(), env, api, router }
    }

    /// The same on another store, for tests that look at it through the API alone.
    pub(super) fn on(store: SharedStore) -> Self {
        Self::limited_on(store, Limits::default())
    }

    fn limited_on(store: SharedStore, limits: Limits) -> Self {
        let mut site = Self::new();
        let user = local_user(&Actor::new("tester").unwrap());
        site.api = Api::new(Made { store, ..made(&site.store, &site.env, user, limits) });
        site.router = super::router(&site.api);
        site
    }

    /// A request as a program of this machine sends it.
    pub(super) fn request(method: Method, path: &str, body: Option<Value>) -> Request<Body> {
        let request = Request::builder().method(method).uri(path).header(HOST, "127.0.0.1:7411");
        match body {
            None => request.body(Body::empty()).unwrap(),
            Some(body) => {
                let request = request.header(CONTENT_TYPE, "application/json");
                request.body(Body::from(body.to_string())).unwrap()
            }
        }
    }

    pub(super) async fn raw(&self, request: Request<Body>) -> Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Answer {
        let (parts, body) = self.raw(request).await.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.into()).unwrap(),
        }
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send(Self::request(Method::GET, path, None)).await
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Self::request(Method::POST, path, Some(body))).await
    }

    /// The same as somebody who has this token.
    pub(super) async fn get_as(&self, token: &str, path: &str) -> Answer {
        self.send(bearing(token, Self::request(Method::GET, path, None))).await
    }

    pub(super) async fn post_as(&self, token: &str, path: &str, body: Value) -> Answer {
        self.send(bearing(token, Self::request(Method::POST, path, Some(body)))).await
    }

    /// Stores a job of the kind `mail`, and gives its id.
    pub(super) async fn job(&self) -> JobId {
        let stored = self.post("/api/v1/jobs", serde_json::json!({ "kind": "mail" })).await.good();
        stored["id"].as_str().unwrap().parse().unwrap()
    }

    /// A worker, with what it claims.
    pub(super) async fn claim(&self, limit: usize) -> (WorkerId, Vec<ClaimedJob>) {
        self.claim_of("mail", limit).await
    }

    async fn claim_of(&self, kind: &str, limit: usize) -> (WorkerId, Vec<ClaimedJob>) {
        let worker = self.env.worker_id();
        let new = NewWorker {
            id: worker,
            host: "here".to_owned(),
            pid: 7,
            concurrency: 4,
            queues: Vec::new(),
            lease: Duration::from_secs(3_600),
        };
        self.store.register(self.env.now(), self.env.monotonic_us(), new).await.unwrap();
        let claim = Claim {
            worker,
            now: self.env.now(),
            kinds: vec![Kind::new(kind).unwrap()],
            queues: None,
            namespace: None,
            priority_max: None,
            limit,
        };
        (worker, self.store.claim(claim).await.unwrap().jobs)
    }

    /// Has a worker claim the next job.
    pub(super) async fn claim_next(&self) -> (WorkerId, ClaimedJob) {
        let (worker, mut jobs) = self.claim(1).await;
        (worker, jobs.pop().unwrap())
    }

    /// Ends what that worker runs, with this result.
    pub(super) async fn complete(&self, claimed: (WorkerId, ClaimedJob), result: &str) {
        self.end(claimed, Outcome::Completed { result: Some(result.to_owned()) }).await;
    }

    /// Ends what that worker runs.
    pub(super) async fn end(&self, (worker, job): (WorkerId, ClaimedJob), outcome: Outcome) {
        let now = self.env.now();
        let finish = ending(now, &job, outcome);
        self.store.finish(now, worker, vec![finish]).await.unwrap();
    }
}

/// How an attempt that has just begun ends.
pub(super) fn ending(now: Timestamp, job: &ClaimedJob, outcome: Outcome) -> Finish {
    let facts = Facts {
        attempt: job.attempt,
        max_attempts: job.max_attempts,
        backoff: taskwright_core::Backoff::default(),
        delivery: taskwright_core::Delivery::default(),
        on_shutdown: taskwright_core::OnShutdown::default(),
        cancel_requested: false,
        now,
        dice: 0.5,
    };
    Finish {
        key: job.key,
        attempt: job.attempt,
        started_at: now,
        ended_at: now,
        decision: attempt::decide(outcome, &facts),
        usage: None,
        follow_ups: Vec::new(),
        snoozes_max: 0,
    }
}

/// A path in which every place is filled: one that nobody thought of would show nothing.
#[track_caller]
pub(super) fn whole(path: String) -> String {
    assert!(!path.contains('{'), "{path}: fill in what is open");
    path
}

pub(super) fn bearing(token: &str, mut request: Request<Body>) -> Request<Body> {
    request.headers_mut().insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    request
}

/// Knows `root`, who may do everything; `NAMESPACE`, who is admin there; `NAMESPACE:ROLE`; `nobody`, whose token is held to nothing;
/// and lets nobody else in.
struct ByToken;

pub(super) fn by_token() -> Box<dyn Authenticate> {
    Box::new(ByToken)
}

impl Authenticate for ByToken {
    fn who<'a>(&'a self, parts: &'a http::request::Parts) -> BoxFuture<'a, Result<Caller, Problem>> {
        let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(|header| header.strip_prefix("Bearer "));
        let known = token.filter(|token| !token.starts_with("bad")).map(principal);
        Box::pin(std::future::ready(known.map(Caller::of).ok_or_else(unknown)))
    }
}

fn principal(token: &str) -> Principal {
    let (namespace, role) = token.split_once(':').unwrap_or((token, "admin"));
    let (grants, scopes) = match token {
        "root" => (Grants::superuser(), Scopes::all()),
        "nobody" => (Grants::default(), Scopes::only([])),
        _ => {
            let role: Role = role.parse().unwrap();
            (Grants::of(Namespace::new(namespace).unwrap(), role), Scopes::all())
        }
    };
    Principal { name: Actor::new(token).unwrap(), kind: PrincipalKind::Token, grants, scopes }
}

/// Whether something is not ready, after it was begun.
pub(super) fn is_pending(future: std::pin::Pin<&mut impl Future>) -> bool {
    future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_pending()
}

/// As whoever is known to a store, and nobody else.
pub(crate) fn principals_of(store: &MemoryStore) -> Box<dyn Authenticate> {
    let client = taskwright::Client::new(Arc::new(store.handle()), Env::system());
    Box::new(super::authenticate::Principals::new(client.identities(), None))
}

/// As the user of this machine.
pub(crate) fn local_user(actor: &Actor) -> Box<dyn Authenticate> {
    Box::new(Local(actor.clone()))
}

/// Stores a job of this kind, and has a worker complete it.
pub(crate) async fn run_one(store: &MemoryStore, kind: &str) {
    let site = Site::on_memory(store);
    let job = serde_json::json!({ "kind": kind, "any_kind": true });
    site.post("/api/v1/jobs", job).await.good();
    let (worker, mut jobs) = site.claim_of(kind, 1).await;
    site.complete((worker, jobs.pop().unwrap()), "null").await;
    site.store.unregister(site.env.now(), worker).await.unwrap();
}
