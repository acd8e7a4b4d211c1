//! A server on a store with real principals.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderValue, Method};
use serde_json::{Value, json};
use taskwright::identity::TokenRequest;
use taskwright::{Client, Env};
use taskwright_core::{Grants, Namespace, Principal, Role, UserName};
use taskwright_store::{AuditFilter, Rank, SharedStore};

use super::{Answer, Site, bearing};
use crate::http::authenticate::Principals;
use crate::http::guard::Peer;
use crate::http::state::{Limits, Made};

pub(super) const PASSWORD: &str = "correct horse battery";

/// A server on a store with real principals.
pub(super) struct Guarded {
    pub(super) site: Site,
    pub(super) client: Client,
    pub(super) root: String,
}

impl Guarded {
    pub(super) async fn new(limits: Limits) -> Self {
        Self::in_time(&Env::system(), limits).await
    }

    /// On this clock.
    pub(super) async fn in_time(env: &Env, limits: Limits) -> Self {
        let site = Site { env: env.clone(), ..Site::new() };
        let (known, served) = (Arc::new(site.store.handle()), Arc::new(site.store.handle()));
        Self::with(site, known, served, limits).await
    }

    /// On another store, for tests that look at it through the API.
    pub(super) async fn on(store: SharedStore, limits: Limits) -> Self {
        Self::with(Site::new(), Arc::clone(&store), store, limits).await
    }

    async fn with(mut site: Site, known: SharedStore, served: SharedStore, limits: Limits) -> Self {
        let client = Client::new(known, site.env.clone());
        let local = Principal::local("maker".parse().unwrap());
        let root = TokenRequest::new("root".parse().unwrap(), Rank::Superuser);
        let root = client.identities().create_token(&local, root).await.unwrap().unwrap();
        let principals = Principals::new(client.identities(), Some("local".parse().unwrap()));
        let made = super::made(&site.store, &site.env, Box::new(principals), limits);
        site.api = crate::http::state::Api::new(Made { store: served, ..made });
        site.router = crate::http::router(&site.api);
        Self { site, client, root: root.secret.reveal() }
    }

    /// All that is stored, in words.
    pub(super) fn stored(&self) -> String {
        let told = format!("{:?}", self.site.store);
        // Which processes look at it is no part of it.
        told.split_once(", processes: ").unwrap().0.to_owned()
    }

    /// A token in a namespace.
    pub(super) async fn token(&self, name: &str, namespace: &str, role: Role) -> String {
        let request =
            TokenRequest::new(name.parse().unwrap(), Rank::In(Namespace::new(namespace).unwrap(), role));
        let local = Principal::local("maker".parse().unwrap());
        self.client.identities().create_token(&local, request).await.unwrap().unwrap().secret.reveal()
    }

    pub(super) async fn user(&self, name: &str, grants: Grants) {
        let (local, name) = (Principal::local("maker".parse().unwrap()), UserName::new(name).unwrap());
        assert!(self.client.identities().add_user(&local, name, PASSWORD, grants).await.unwrap());
    }

    pub(super) async fn call(&self, token: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.site.send(bearing(token, Site::request(method, path, body))).await
    }

    pub(super) async fn log_in(&self, from: &str, name: &str, password: &str) -> Answer {
        let body = json!({ "name": name, "password": password });
        let mut request = Site::request(Method::POST, "/api/v1/sessions", Some(body));
        request.extensions_mut().insert(Peer(from.parse::<IpAddr>().unwrap()));
        self.site.send(request).await
    }

    /// What the answer to a login has set, as it is sent back.
    pub(super) fn cookie(answer: &Answer) -> String {
        let set = answer.headers[SET_COOKIE].to_str().unwrap();
        set.split(';').next().unwrap().to_owned()
    }

    pub(super) async fn with_cookie(&self, cookie: &str, method: Method, path: &str) -> Answer {
        let mut request = Site::request(method, path, None);
        request.headers_mut().insert(COOKIE, HeaderValue::from_str(cookie).unwrap());
        self.site.send(request).await
    }

    /// How many entries the audit has.
    pub(super) async fn entries(&self) -> usize {
        self.client.audit().page(AuditFilter::default(), None, 1_000).await.unwrap().entries.len()
    }
}
