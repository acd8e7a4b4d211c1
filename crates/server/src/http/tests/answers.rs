//! What went wrong is told in one form, whatever it was, and says nothing of the inside.

use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use serde_json::json;

use super::Site;
use crate::http::operation::BODY_BYTES_MAX;

#[tokio::test]
async fn each_mistake_has_its_problem() {
    let site = Site::new();
    let id = site.job().await;
    for (path, sort) in [
        ("/nothing".to_owned(), "not-found"),
        ("/api/v1".to_owned(), "not-found"),
        ("/api/v1/jobs/not-an-id".to_owned(), "invalid"),
        (format!("/api/v1/jobs/{}", site.env.job_id()), "not-found"),
        ("/api/v1/jobs?state=nonsense".to_owned(), "invalid"),
        ("/api/v1/jobs?nonsense=1".to_owned(), "invalid"),
        ("/api/v1/jobs?limit=0".to_owned(), "invalid"),
        ("/api/v1/jobs?limit=1001".to_owned(), "invalid"),
        ("/api/v1/jobs?cursor=nonsense".to_owned(), "invalid"),
        ("/api/v1/jobs?owner=me&no_owner=true".to_owned(), "invalid"),
        ("/api/v1/jobs?after=yesterday".to_owned(), "invalid"),
        ("/api/v1/queues?namespace=a&namespace=b".to_owned(), "invalid"),
        (
            format!("/api/v1/jobs?{}", (0..101).map(|n| format!("namespace=n{n}&")).collect::<String>()),
            "invalid",
        ),
        ("/api/v1/jobs?args=customer".to_owned(), "invalid"),
        ("/api/v1/jobs?args=a..b=1".to_owned(), "invalid"),
        (format!("/api/v1/jobs?{}", "args=a=1&".repeat(9)), "invalid"),
        ("/api/v1/jobs?ended_after=yesterday".to_owned(), "invalid"),
        ("/api/v1/jobs?cancel_requested=perhaps".to_owned(), "invalid"),
        ("/api/v1/jobs?namespace=%20".to_owned(), "invalid"),
        (format!("/api/v1/jobs/{id}/wait?timeout=nonsense"), "invalid"),
        (format!("/api/v1/jobs/{id}/cancel"), "method-not-allowed"),
        ("/api/v1/queues/none".to_owned(), "not-found"),
        ("/api/v1/schedules/none".to_owned(), "not-found"),
        ("/api/v1/schedules/none/next".to_owned(), "not-found"),
        ("/api/v1/generators/none".to_owned(), "not-found"),
        ("/api/v1/webhooks/none".to_owned(), "not-found"),
        (format!("/api/v1/bulk/{id}"), "not-found"),
        ("/api/v1/stats?since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z".to_owned(), "invalid"),
        ("/api/v1/stats?every=minute&since=2020-01-02T00:00:00Z".to_owned(), "invalid"),
    ] {
        let answer = site.get(&path).await;
        assert_eq!(answer.problem(), sort, "{path}");
        assert_eq!(answer.json()["instance"], path.split('?').next().unwrap(), "{path}");
    }
    for (path, body, sort) in [
        ("/api/v1/jobs".to_owned(), json!({}), "invalid"),
        ("/api/v1/jobs".to_owned(), json!([]), "invalid"),
        ("/api/v1/jobs".to_owned(), json!({ "kind": "mail", "nonsense": 1 }), "invalid"),
        ("/api/v1/jobs".to_owned(), json!({ "kind": "unknown" }), "invalid"),
        ("/api/v1/jobs".to_owned(), json!({ "kind": "mail", "priority": 100_000 }), "invalid"),
        ("/api/v1/jobs".to_owned(), json!({ "kind": "mail", "args": "\u{0}" }), "invalid"),
        ("/api/v1/jobs".to_owned(), json!({ "kind": "exec", "args": {} }), "invalid"),
        (format!("/api/v1/jobs/{id}/delay"), json!({}), "invalid"),
        (
            format!("/api/v1/jobs/{id}/delay"),
            json!({ "in": "1h", "until": "2030-01-01T00:00:00Z" }),
            "invalid",
        ),
        (format!("/api/v1/jobs/{id}/reprioritise"), json!({}), "invalid"),
        (format!("/api/v1/jobs/{id}/cancel"), json!({ "reason": "" }), "invalid"),
        ("/api/v1/jobs/cancel".to_owned(), json!({ "ids": vec![id; 1_001] }), "invalid"),
        ("/api/v1/queues/q/pause".to_owned(), json!({ "nonsense": true }), "malformed"),
        (
            "/api/v1/bulk".to_owned(),
            json!({ "type": "lines", "params": { "path": "/etc/passwd" } }),
            "forbidden",
        ),
    ] {
        assert_eq!(site.post(&path, body.clone()).await.problem(), sort, "{path} {body}");
    }
}

#[tokio::test]
async fn a_body_that_is_no_json_or_too_large_is_refused() {
    let site = Site::new();
    let with = |body: String, kind: Option<&'static str>| {
        let mut request = Site::request(Method::POST, "/api/v1/jobs", None);
        *request.body_mut() = axum::body::Body::from(body);
        if let Some(kind) = kind {
            request.headers_mut().insert(CONTENT_TYPE, kind.parse().unwrap());
        }
        request
    };
    let json = Some("application/json; charset=utf-8");
    assert_eq!(site.send(with("{".to_owned(), json)).await.problem(), "malformed");
    assert_eq!(site.send(with("{\"kind\": \"mail\"}".to_owned(), None)).await.problem(), "not-json");
    assert_eq!(site.send(with(String::new(), None)).await.problem(), "invalid");
    let large = format!("{{\"kind\": \"mail\", \"args\": \"{}\"}}", "x".repeat(BODY_BYTES_MAX));
    let answer = site.send(with(large, json)).await;
    assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::PAYLOAD_TOO_LARGE, "too-large"));
    // Within the limit of the body, and over that of arguments.
    let large = format!("{{\"kind\": \"mail\", \"args\": \"{}\"}}", "x".repeat(1 << 20));
    assert_eq!(site.send(with(large, json)).await.problem(), "too-large");
    let most = format!("{{\"kind\": \"mail\", \"args\": \"{}\"}}", "x".repeat((1 << 20) - 2));
    assert_eq!(site.send(with(most, json)).await.status, StatusCode::CREATED);
}

/// S34.
#[tokio::test]
async fn a_store_that_is_out_of_order_is_told_as_such_and_nothing_of_its_inside() {
    use taskwright_store::Store as _;
    use taskwright_store::sqlite::{Options, SqliteStore};
    let directory = tempfile::tempdir().unwrap();
    let now = taskwright::Env::system().now();
    let store = SqliteStore::open(&directory.path().join("secret.db"), Options { now }).unwrap();
    let store = std::sync::Arc::new(store);
    let site_on_it = || Site::on(std::sync::Arc::clone(&store) as taskwright_store::SharedStore);
    let site = site_on_it();
    assert_eq!(site.get("/readyz").await.status, StatusCode::OK);
    store.close().await.unwrap();
    let answer = site.get("/api/v1/jobs").await;
    assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "unavailable"));
    assert!(answer.headers.contains_key("retry-after"));
    assert!(answer.json()["error_id"].is_string());
    assert!(!answer.text.contains("secret"), "{}", answer.text);
    // Another server, since an answer is told for a while.
    assert_eq!(site_on_it().get("/readyz").await.problem(), "unavailable");
    assert_eq!(site.get("/healthz").await.status, StatusCode::OK);
}
