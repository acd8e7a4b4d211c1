//! A shutdown that nobody has to fear: what was taken in is answered, what comes after is refused with what to do, and
//! whoever waits or follows is told.

use axum::body::Body;
use futures_util::StreamExt as _;
use http::{Method, Request, StatusCode};
use serde_json::json;

use super::{Site, whole};

#[tokio::test]
async fn what_would_change_something_is_refused_and_what_looks_is_answered() {
    let site = Site::new();
    let id = site.job().await;
    site.api.stop();
    for operation in crate::http::operations::table() {
        if !operation.is_mutation() {
            continue;
        }
        let path =
            operation.path.replace("{id}", &id.to_string()).replace("{name}", "n").replace("{queue}", "q");
        let path = whole(path.replace("{namespace}", "n").replace("{what}", "completed"));
        let answer = site.send(Site::request(operation.method.clone(), &path, Some(json!({})))).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", operation.id);
        assert_eq!(answer.problem(), "shutting-down", "{}", operation.id);
        assert!(answer.headers["retry-after"].to_str().unwrap().parse::<u32>().unwrap() > 0);
        assert_eq!(answer.headers["connection"], "close");
    }
    assert_eq!(site.get(&format!("/api/v1/jobs/{id}")).await.good()["state"], "available");
    assert_eq!(site.get("/healthz").await.status, StatusCode::OK);
    assert_eq!(site.get("/readyz").await.problem(), "shutting-down");
}

#[tokio::test]
async fn a_request_that_was_taken_in_is_answered_and_waited_for() {
    let site = Site::new();
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<bytes::Bytes, std::convert::Infallible>>(1);
    let body = futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|part| (part, receiver))
    });
    let request = Request::builder()
        .method(Method::POST)
        .uri("/api/v1/jobs")
        .header("host", "127.0.0.1")
        .header("content-type", "application/json")
        .body(Body::from_stream(body.boxed()))
        .unwrap();
    let answer = site.send(request);
    let rest = async {
        sender.send(Ok("{\"kind\":".into())).await.unwrap();
        site.api.stop();
        let mut idle = std::pin::pin!(site.api.idle());
        // It is under way.
        assert!(super::is_pending(idle.as_mut()));
        sender.send(Ok("\"mail\"}".into())).await.unwrap();
        drop(sender);
        idle.await;
    };
    let (answer, ()) = tokio::join!(answer, rest);
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(site.get("/api/v1/jobs").await.good()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn long_polls_and_streams_end_and_say_so() {
    let site = Site::new();
    let id = site.job().await;
    let path = format!("/api/v1/jobs/{id}/wait");
    let streams = [
        format!("/api/v1/jobs/{id}/events"),
        "/api/v1/events/stream".to_owned(),
        "/api/v1/jobs/stream".to_owned(),
    ];
    let open = streams.each_ref().map(|path| site.get(path));
    let (waited, ended, ()) =
        tokio::join!(site.get(&path), futures_util::future::join_all(open), async { site.api.stop() });
    assert_eq!(waited.good()["state"], "available");
    for answer in ended {
        assert!(
            answer.text.contains("event: end\ndata: {\"reason\":\"the server is being stopped"),
            "{}",
            answer.text
        );
    }
}
