//! The API inside another program's app.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Request, StatusCode};
use taskwright::identity::TokenRequest;
use taskwright::{Client, Env};
use taskwright_core::{Actor, Principal, Role};
use taskwright_store::memory::MemoryStore;
use taskwright_store::{Rank, SharedStore};
use tokio::sync::oneshot;
use tower::ServiceExt as _;

use crate::{App, Mount};

/// An app with a page of its own and the API, a token of a member, and what tells it to stop.
async fn app(hosts: Option<&str>) -> (Router, String, oneshot::Sender<()>) {
    let (store, env): (SharedStore, _) = (Arc::new(MemoryStore::new()), Env::system());
    let local = Principal::local(Actor::new("local").unwrap());
    let rank = Rank::In("default".parse().unwrap(), Role::Member);
    let asked = TokenRequest::new("shop".parse().unwrap(), rank);
    let identities = Client::new(Arc::clone(&store), env.clone()).identities();
    let made = identities.create_token(&local, asked).await.unwrap().unwrap();
    let (stop, stopped) = oneshot::channel();
    let mut mount = Mount::new(store, env)
        .app(App::new().with_kinds(["mail".to_owned()]))
        .until(async { drop(stopped.await) });
    if let Some(host) = hosts {
        mount = mount.hosts([host.to_owned()]);
    }
    let own = Router::new().route("/", get(|| async { "a shop" }));
    (own.merge(mount.router()), made.secret.reveal(), stop)
}

async fn post(app: &Router, host: &str, token: Option<&str>) -> StatusCode {
    let mut request =
        Request::post("/api/v1/jobs").header(HOST, host).header(CONTENT_TYPE, "application/json");
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Body::from(r#"{"kind": "mail"}"#)).unwrap();
    app.clone().oneshot(request).await.unwrap().status()
}

#[tokio::test]
async fn it_answers_beside_the_program_s_own_pages_and_nobody_without_a_token() {
    let (app, token, stop) = app(None).await;
    let own = Request::get("/").body(Body::empty()).unwrap();
    assert_eq!(app.clone().oneshot(own).await.unwrap().status(), StatusCode::OK);
    assert_eq!(post(&app, "127.0.0.1", None).await, StatusCode::UNAUTHORIZED, "no local user");
    assert_eq!(post(&app, "shop.example", Some(&token)).await, StatusCode::CREATED);
    drop(stop);
    // The next turn of the runtime ends it.
    while post(&app, "shop.example", Some(&token)).await != StatusCode::SERVICE_UNAVAILABLE {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn where_hosts_are_named_no_other_is_answered_for() {
    let (app, token, _stop) = app(Some("shop.example")).await;
    assert_eq!(post(&app, "shop.example:8080", Some(&token)).await, StatusCode::CREATED);
    assert_eq!(post(&app, "evil.example", Some(&token)).await, StatusCode::MISDIRECTED_REQUEST);
}
