//! Deny by default, over all routes of the table: without a token, with a bad one, without permission, from another site, for
//! another host.

use axum::body::Body;
use http::header::{CONTENT_TYPE, HOST, ORIGIN};
use http::{Method, Request, StatusCode};
use taskwright_core::Permission;
use taskwright_core::permission::Scope;

use super::{Site, bearing, by_token, whole};
use crate::http::operation::{Access, Operation};
use crate::http::operations::table;

/// The path with something filled in for what is open.
fn path(operation: &Operation) -> String {
    let path = operation.path.replace("{id}", "01890000-0000-7000-8000-000000000000");
    let path = path.replace("{queue}", "q").replace("{name}", "n").replace("{namespace}", "a");
    whole(path.replace("{what}", "completed"))
}

fn request(operation: &Operation) -> Request<Body> {
    let body = operation.is_mutation().then(|| serde_json::json!({}));
    Site::request(operation.method.clone(), &path(operation), body)
}

/// S1.
#[tokio::test]
async fn without_a_token_that_is_known_every_route_but_health_answers_401_and_the_same() {
    let site = Site::with(by_token());
    let mut closed = 0;
    for operation in table() {
        let no_token = site.send(request(&operation)).await;
        let bad_token = site.send(bearing("bad-token", request(&operation))).await;
        if operation.access == Access::Anyone {
            assert_ne!(no_token.status, StatusCode::UNAUTHORIZED, "{}", operation.id);
            continue;
        }
        closed += 1;
        for answer in [no_token, bad_token] {
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", operation.id);
            assert_eq!(answer.problem(), "unauthenticated");
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
        }
    }
    assert!(closed > 60);
    let open: Vec<_> = table()
        .into_iter()
        .filter(|operation| operation.access == Access::Anyone)
        .map(|one| one.id)
        .collect();
    assert_eq!(open, ["sessions.login", "system.live", "system.ready"]);
}

/// S1.
#[tokio::test]
async fn without_the_permission_every_route_answers_403_before_it_reads_anything() {
    let site = Site::with(by_token());
    let mut refused = 0;
    for operation in table() {
        if operation.access.permission().is_none() {
            continue;
        }
        let answer = site.send(bearing("nobody", request(&operation))).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}: {answer:?}", operation.id);
        assert_eq!(answer.problem(), "forbidden");
        // A body that makes no sense makes no difference: it is not looked at.
        let mut nonsense = request(&operation);
        *nonsense.body_mut() = Body::from("nonsense");
        assert_eq!(site.send(bearing("nobody", nonsense)).await.text, answer.text, "{}", operation.id);
        refused += 1;
    }
    assert!(refused > 60);
}

/// S2.
#[tokio::test]
async fn who_may_look_in_one_namespace_may_change_nothing_and_see_nothing_of_all() {
    let site = Site::with(by_token());
    for operation in table() {
        // A stream has no end that could be waited for.
        let status = site.raw(bearing("a:viewer", request(&operation))).await.status();
        match operation.access.permission() {
            None => assert_ne!(status, StatusCode::FORBIDDEN, "{}", operation.id),
            Some(permission)
                if operation.is_mutation()
                    || permission.scope() == Scope::System
                    || matches!(permission, Permission::AuditView | Permission::TokensManage) =>
            {
                assert_eq!(status, StatusCode::FORBIDDEN, "{}", operation.id);
            }
            Some(_) => assert_ne!(status, StatusCode::FORBIDDEN, "{}", operation.id),
        }
    }
}

/// S8.
#[tokio::test]
async fn a_request_for_another_host_is_refused_on_every_route() {
    let site = Site::new();
    for operation in table() {
        for host in ["evil.example", "evil.example:7411", "10.0.0.1:7411"] {
            let mut request = request(&operation);
            request.headers_mut().insert(HOST, host.parse().unwrap());
            let answer = site.send(request).await;
            assert_eq!(
                (answer.status.as_u16(), answer.problem().as_str()),
                (421, "misdirected"),
                "{}",
                operation.id
            );
        }
    }
    let mut nameless = Site::request(Method::GET, "/healthz", None);
    nameless.headers_mut().remove(HOST);
    assert_eq!(site.send(nameless).await.status.as_u16(), 421);
    let mut twice = Site::request(Method::GET, "/healthz", None);
    twice.headers_mut().append(HOST, "evil.example".parse().unwrap());
    assert_eq!(site.send(twice).await.status.as_u16(), 421);
}

/// S7.
#[tokio::test]
async fn a_page_of_another_site_can_change_nothing() {
    let site = Site::new();
    let mutations = || table().into_iter().filter(Operation::is_mutation);
    assert!(mutations().count() > 40);
    for operation in mutations() {
        for of in ["cross-site", "same-site", "nonsense"] {
            let mut request = request(&operation);
            request.headers_mut().insert("sec-fetch-site", of.parse().unwrap());
            let answer = site.send(request).await;
            assert_eq!(answer.problem(), "cross-site", "{} from {of}", operation.id);
        }
        // A browser that does not tell that tells this.
        for origin in ["http://evil.example", "http://127.0.0.1:8000", "null"] {
            let mut request = request(&operation);
            request.headers_mut().insert(ORIGIN, origin.parse().unwrap());
            assert_eq!(site.send(request).await.problem(), "cross-site", "{} from {origin}", operation.id);
        }
        // What a form can send is no JSON.
        for kind in
            ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonp"]
        {
            let mut request = request(&operation);
            request.headers_mut().insert(CONTENT_TYPE, kind.parse().unwrap());
            assert_eq!(site.send(request).await.problem(), "not-json", "{} as {kind}", operation.id);
        }
    }
    let mut own = Site::request(Method::POST, "/api/v1/queues/q/pause", None);
    own.headers_mut().insert("sec-fetch-site", "same-origin".parse().unwrap());
    own.headers_mut().insert(ORIGIN, "http://127.0.0.1:7411".parse().unwrap());
    assert_eq!(site.send(own).await.status, StatusCode::OK);
}

/// S9.
#[tokio::test]
async fn no_other_site_is_told_that_it_may_read() {
    let site = Site::new();
    let mut preflight = Site::request(Method::OPTIONS, "/api/v1/jobs", None);
    preflight.headers_mut().insert(ORIGIN, "http://evil.example".parse().unwrap());
    preflight.headers_mut().insert("access-control-request-method", "POST".parse().unwrap());
    let answer = site.send(preflight).await;
    assert_eq!(answer.problem(), "method-not-allowed");
    for answer in [answer, site.get("/api/v1/jobs").await, site.get("/nothing").await] {
        assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("access-control")), "{answer:?}");
    }
}

/// S10.
#[tokio::test]
async fn every_answer_says_that_nothing_of_it_may_be_run_framed_kept_or_guessed() {
    let site = Site::new();
    for path in ["/healthz", "/api/v1/jobs", "/api/v1/jobs/nonsense", "/nothing", "/metrics"] {
        let headers = site.get(path).await.headers;
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{path}");
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(headers["x-frame-options"], "DENY", "{path}");
        assert_eq!(headers["cache-control"], "no-store", "{path}");
        assert_eq!(headers["referrer-policy"], "no-referrer", "{path}");
    }
}
