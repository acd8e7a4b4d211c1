//! What every request passes before its operation is asked, and every answer on its way back.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, HeaderName, ORIGIN, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::request::Parts;

use super::hosts;
use super::problem::{Problem, Sort};
use super::state::Api;

/// From where a connection comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

impl Peer {
    /// That of a request; `None` when it came over no network.
    pub(crate) fn of(parts: &Parts) -> Option<IpAddr> {
        parts.extensions.get::<Self>().map(|peer| peer.0)
    }
}

/// What a request is called in the log, in the audit and in its answer.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub(crate) String);

/// The header that says it.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Which operation gave an answer; for metrics.
#[derive(Clone, Copy)]
pub(crate) struct Answered(pub(crate) &'static str);

/// What is said of every answer: nothing of it may be run, framed, guessed at, kept, or read by another site.
const HEADERS: [(HeaderName, &str); 6] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Passes a request on, unless it is not for us, comes from another site, or comes too late.
pub(crate) async fn guard(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let began_us = api.env.monotonic_us();
    let (mut parts, body) = request.into_parts();
    let id = api.env.event_id().to_string();
    parts.extensions.insert(RequestId(id.clone()));
    let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
    let under_way = api.enter();
    let mut response = match check(&api, &parts) {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(problem) => answer(&api, problem, &path),
    };
    drop(under_way);
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    if api.is_ending() {
        // Whoever asks on has to find another server.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let operation = response.extensions().get::<Answered>().map_or("none", |answered| answered.0);
    let took_us = api.env.monotonic_us().saturating_sub(began_us);
    api.metrics.answered(operation, response.status(), took_us);
    tracing::debug!(%method, path, status = response.status().as_u16(), operation, took_us, request = id, "http");
    response
}

/// A problem as it is sent; what only the operator may know is logged under an id.
pub(crate) fn answer(api: &Api, problem: Problem, path: &str) -> Response {
    let mut problem = problem.at(path);
    if let Some((id, inside)) = problem.for_the_log(|| api.env.event_id().to_string()) {
        tracing::error!(error_id = id, path, "{inside}");
    }
    problem.into_response()
}

fn check(api: &Api, parts: &Parts) -> Result<(), Problem> {
    let host = hosts::of_request(parts);
    let is_ours = |host: &str| api.hosts.has(host) || api.tls.as_ref().is_some_and(|tls| tls.is_for(host));
    if !host.as_deref().is_some_and(is_ours) {
        return Err(Problem::new(
            Sort::Misdirected,
            "the request",
            "it is for a host that this server does not answer for",
            "ask http://127.0.0.1:PORT or http://localhost:PORT, as the server printed it",
        ));
    }
    if parts.method.is_safe() {
        return Ok(());
    }
    if !is_of_this_site(parts, host.as_deref().unwrap_or_default()) {
        return Err(Problem::new(
            Sort::CrossSite,
            "the request",
            "a page of another site sent it",
            "use the dashboard of this server, or a program that sends its token",
        ));
    }
    if api.is_stopping() { Err(Problem::shutting_down()) } else { Ok(()) }
}

/// Whether a browser sends it for a page of this server, or no browser sends it at all.
fn is_of_this_site(parts: &Parts, host: &str) -> bool {
    let site = parts.headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    let origin = parts.headers.get(ORIGIN).map(|origin| origin.to_str().unwrap_or_default());
    match (site, origin) {
        (Some(b"same-origin" | b"none"), _) => true,
        (Some(_), _) => false,
        (None, None) => true,
        // A browser that is too old to say so more plainly.
        (None, Some(origin)) => origin.split_once("://").is_some_and(|(_, of)| of.eq_ignore_ascii_case(host)),
    }
}

/// What a panic of a handler becomes.
pub(crate) fn panicked(_: Box<dyn std::any::Any + Send + 'static>) -> http::Response<Body> {
    // The message went to the log with its place; it may hold anything.
    let fix = "the operator finds the reason in the server's log; please report it";
    Problem::new(Sort::Internal, "the request", "the server made a mistake", fix).into_response()
}
