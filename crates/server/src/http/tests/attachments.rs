//! Attachments over HTTP: bytes in and out as they are, for who may, while a job is held.

use axum::body::Body;
use http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, ETAG};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::json;
use taskwright_core::attachment::Sum;
use taskwright_core::limit::{ATTACHMENT_BYTES_MAX, ATTACHMENT_PIECE_BYTES};

use super::{Site, bearing, by_token};

fn put(id: &str, name: &str, bytes: Vec<u8>) -> Request<Body> {
    let path = format!("/api/v1/jobs/{id}/attachments/{name}");
    let mut request = Site::request(Method::PUT, &path, None);
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    *request.body_mut() = Body::from(bytes);
    request
}

async fn held(site: &Site, token: Option<&str>) -> String {
    let job = json!({ "kind": "mail", "hold": true });
    let stored = match token {
        Some(token) => site.post_as(token, "/api/v1/jobs", job).await,
        None => site.post("/api/v1/jobs", job).await,
    };
    stored.good()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_is_put_is_listed_and_given_back_as_it_is() {
    let site = Site::new();
    let id = held(&site, None).await;
    let bytes: Vec<u8> = (0..ATTACHMENT_PIECE_BYTES + 9).map(|n| u8::try_from(n % 253).unwrap()).collect();
    let sum = Sum::of(&bytes).to_string();
    let added = site.send(put(&id, "rows.csv", bytes.clone())).await;
    assert_eq!(added.status, StatusCode::CREATED);
    assert_eq!(added.json(), json!({ "id": id, "name": "rows.csv", "bytes": bytes.len(), "sha256": sum }));
    let items = site.get(&format!("/api/v1/jobs/{id}/attachments")).await.good()["items"].clone();
    assert_eq!((items.as_array().unwrap().len(), &items[0]["sha256"]), (1, &json!(sum)));
    let path = format!("/api/v1/jobs/{id}/attachments/rows.csv");
    let response = site.raw(Site::request(Method::GET, &path, None)).await;
    let headers = response.headers().clone();
    assert_eq!(headers[CONTENT_TYPE], "application/octet-stream");
    assert_eq!(headers[CONTENT_LENGTH], bytes.len().to_string());
    assert_eq!(headers[ETAG], format!("\"{sum}\""));
    assert_eq!(headers[CONTENT_DISPOSITION], "attachment; filename=\"rows.csv\"");
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), bytes);
    let piece = site.raw(Site::request(Method::GET, &format!("{path}?piece=1"), None)).await;
    assert_eq!(piece.into_body().collect().await.unwrap().to_bytes(), bytes[ATTACHMENT_PIECE_BYTES..]);
    for missing in [format!("{path}?piece=2"), path.replace("rows", "no")] {
        assert_eq!(site.get(&missing).await.problem(), "not-found", "{missing}");
    }
}

#[tokio::test]
async fn what_cannot_be_attached_is_refused_with_a_reason() {
    let site = Site::new();
    let id = held(&site, None).await;
    for (name, status, problem) in
        [("..%2Fetc", 422, "invalid"), (".hidden", 422, "invalid"), ("a%3Ab", 422, "invalid")]
    {
        let refused = site.send(put(&id, name, vec![1])).await;
        assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (status, problem), "{name}");
    }
    let large = site.send(put(&id, "large", vec![0; ATTACHMENT_BYTES_MAX + 1])).await;
    assert_eq!((large.status.as_u16(), large.problem().as_str()), (413, "too-large"));
    let mut text = put(&id, "text", vec![1]);
    text.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    let text = site.send(text).await;
    assert_eq!((text.status.as_u16(), text.problem().as_str()), (415, "not-json"));
    let unknown = site.env.job_id().to_string();
    assert_eq!(site.send(put(&unknown, "a", vec![1])).await.problem(), "not-found");
    site.post(&format!("/api/v1/jobs/{id}/release"), json!({})).await.good();
    let late = site.send(put(&id, "a", vec![1])).await;
    assert_eq!((late.status.as_u16(), late.problem().as_str()), (409, "conflict"));
    assert!(late.text.contains("it is available"), "{}", late.text);
    assert_eq!(site.get(&format!("/api/v1/jobs/{id}/attachments")).await.good()["items"], json!([]));
}

#[tokio::test]
async fn only_who_may_change_a_job_attaches_and_only_who_sees_it_reads() {
    let site = Site::with(by_token());
    let id = held(&site, Some("a:member")).await;
    for (who, status) in [("b", 404), ("a:viewer", 403), ("a:member", 201), ("a", 201), ("root", 201)] {
        let answer = site.send(bearing(who, put(&id, "a", who.into()))).await;
        assert_eq!(answer.status.as_u16(), status, "{who}: {}", answer.text);
    }
    let path = format!("/api/v1/jobs/{id}/attachments");
    for (who, status) in [("b", 404), ("a:viewer", 200), ("root", 200)] {
        assert_eq!(site.get_as(who, &path).await.status.as_u16(), status, "{who}");
        assert_eq!(site.get_as(who, &format!("{path}/a")).await.status.as_u16(), status, "{who}");
    }
    // Another member of the namespace sees what somebody is about to submit, and changes nothing of it.
    let theirs = held(&site, Some("a")).await;
    assert_eq!(
        site.send(bearing("a:member", put(&theirs, "a", vec![1]))).await.status,
        StatusCode::FORBIDDEN
    );
    let entries = site.get_as("a", "/api/v1/audit?action=jobs.attach").await.good()["items"].clone();
    assert_eq!(entries.as_array().unwrap().len(), 3, "{entries}");
}
