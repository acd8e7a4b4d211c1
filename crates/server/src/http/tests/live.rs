//! Waiting for jobs, and following them and events, without asking again and again.

use std::time::Duration;

use axum::body::BodyDataStream;
use futures_util::StreamExt as _;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::Site;
use crate::http::state::Limits;

/// A stream of server-sent events, read event by event.
struct Stream {
    body: BodyDataStream,
    text: String,
}

#[derive(Debug, PartialEq)]
struct Event {
    name: String,
    id: String,
    data: Value,
}

impl Stream {
    async fn open(site: &Site, path: &str, last: Option<&str>) -> Self {
        let mut request = Site::request(Method::GET, path, None);
        if let Some(last) = last {
            request.headers_mut().insert("last-event-id", last.parse().unwrap());
        }
        let response = site.raw(request).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body().into_data_stream(), text: String::new() }
    }

    /// The next event; `None` at the end.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let line = event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                    line.unwrap_or_default().to_owned()
                };
                let data = field("data");
                let told = Event {
                    name: field("event"),
                    id: field("id"),
                    data: serde_json::from_str(&data).unwrap_or_default(),
                };
                self.text = rest.to_owned();
                if told.name.is_empty() {
                    continue;
                }
                return Some(told);
            }
            let bytes = self.body.next().await?.unwrap();
            self.text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }
}

#[tokio::test]
async fn a_wait_ends_when_the_job_does_and_not_before() {
    let site = Site::new();
    let id = site.job().await;
    let running = site.claim_next().await;
    let path = format!("/api/v1/jobs/{id}/wait?timeout=50s");
    let (waited, ()) = tokio::join!(site.get(&path), async {
        // It is under way by now, and not over.
        let soon = site.get(&format!("/api/v1/jobs/{id}/wait?timeout=0s")).await.good();
        assert_eq!(soon["state"], "running");
        site.complete(running, "null").await;
    });
    assert_eq!(waited.good()["state"], "completed");
    assert_eq!(site.get(&path).await.good()["state"], "completed");
}

#[tokio::test]
async fn a_wait_for_a_job_that_is_deleted_meanwhile_ends() {
    let site = Site::new();
    let id = site.job().await;
    let path = format!("/api/v1/jobs/{id}/wait");
    let (waited, ()) = tokio::join!(site.get(&path), async {
        site.post(&format!("/api/v1/jobs/{id}/cancel"), json!({})).await.good();
        site.post(&format!("/api/v1/jobs/{id}/delete"), json!({})).await.good();
    });
    assert_eq!(waited.status, StatusCode::OK);
}

#[tokio::test]
async fn a_job_is_followed_to_its_end_and_what_is_known_is_not_told_again() {
    let site = Site::new();
    let id = site.job().await;
    let path = format!("/api/v1/jobs/{id}/events");
    let mut stream = Stream::open(&site, &path, None).await;
    let first = stream.next().await.unwrap();
    assert_eq!((first.name.as_str(), &first.data["state"]), ("job", &json!("available")));
    let running = site.claim_next().await;
    let second = stream.next().await.unwrap();
    assert_eq!((second.name.as_str(), &second.data["state"]), ("job", &json!("running")));
    drop(stream);
    // Who knows the newest is told of the next.
    let mut stream = Stream::open(&site, &path, Some(&second.id)).await;
    site.complete(running, "null").await;
    let third = stream.next().await.unwrap();
    assert_eq!((third.name.as_str(), &third.data["state"]), ("job", &json!("completed")));
    assert_eq!(stream.next().await.unwrap().name, "end");
    assert_eq!(stream.next().await, None);
    // Who knows the end is told that it was that.
    let mut stream = Stream::open(&site, &path, Some(&third.id)).await;
    assert_eq!(stream.next().await.unwrap().name, "end");
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn events_are_followed_from_now_on_and_nothing_is_missed_between_two_connections() {
    let site = Site::new();
    let emit = async |topic: &str, n: u32| {
        site.post("/api/v1/events", json!({ "topic": topic, "payload": n })).await.good();
    };
    emit("order.paid", 0).await;
    let mut stream = Stream::open(&site, "/api/v1/events/stream?topic=order.*", None).await;
    let start = stream.next().await.unwrap();
    assert_eq!(start.name, "start");
    drop(stream);
    emit("order.paid", 1).await;
    // Nothing was told yet, and where it began is known.
    let mut stream = Stream::open(&site, "/api/v1/events/stream?topic=order.*", Some(&start.id)).await;
    emit("other", 2).await;
    emit("order.sent", 3).await;
    let one = stream.next().await.unwrap();
    assert_eq!((one.name.as_str(), &one.data["payload"]), ("event", &json!(1)));
    drop(stream);
    emit("order.paid", 4).await;
    let mut stream = Stream::open(&site, "/api/v1/events/stream?topic=order.*", Some(&one.id)).await;
    assert_eq!(stream.next().await.unwrap().data["payload"], 3);
    assert_eq!(stream.next().await.unwrap().data["payload"], 4);
    let mut request = Site::request(Method::GET, "/api/v1/events/stream", None);
    request.headers_mut().insert("last-event-id", "nonsense".parse().unwrap());
    assert_eq!(site.send(request).await.problem(), "invalid");
}

#[tokio::test]
async fn who_is_sent_away_is_told_where_from_though_nothing_was_theirs() {
    let site = Site::new();
    let mut jobs = Stream::open(&site, "/api/v1/jobs/stream?state=failed", None).await;
    let mut events = Stream::open(&site, "/api/v1/events/stream?topic=order.*", None).await;
    let begun = events.next().await.unwrap().id;
    site.post("/api/v1/events", json!({ "topic": "other" })).await.good();
    site.api.leave();
    let start = jobs.next().await.unwrap();
    assert_eq!((start.name.as_str(), start.id.is_empty()), ("start", false));
    assert_eq!(jobs.next().await.unwrap().name, "end");
    let end = events.next().await.unwrap();
    assert_eq!(end.name, "end");
    // It has looked at what is not the reader's, too, or not yet: what is told is a place of this log.
    assert!(end.id.parse::<i64>().unwrap() >= begun.parse().unwrap(), "{end:?}");
}

#[tokio::test]
async fn a_position_that_no_event_has_yet_is_told_and_does_not_wait() {
    let site = Site::new();
    let mut stream = Stream::open(&site, "/api/v1/events/stream", Some("1000000")).await;
    let told = stream.next().await.unwrap();
    assert_eq!(told.name, "missed");
    site.post("/api/v1/events", json!({ "topic": "t", "payload": 1 })).await.good();
    let next = stream.next().await.unwrap();
    assert_eq!((next.name.as_str(), &next.data["payload"]), ("event", &json!(1)));
    drop(stream);
    // Whoever got no further goes on from there.
    let mut stream = Stream::open(&site, "/api/v1/events/stream", Some(&told.id)).await;
    assert_eq!(stream.next().await.unwrap().data["payload"], 1);
}

/// What the next event of a stream of jobs says: the kind and the state.
async fn told(stream: &mut Stream) -> (String, String) {
    let event = stream.next().await.unwrap();
    assert_eq!(event.name, "job", "{event:?}");
    let text = |field: &str| event.data[field].as_str().unwrap().to_owned();
    (text("kind"), text("state"))
}

fn pair(kind: &str, state: &str) -> (String, String) {
    (kind.to_owned(), state.to_owned())
}

#[tokio::test]
async fn all_jobs_are_followed_and_each_state_that_is_seen_is_told_once() {
    let site = Site::new();
    site.job().await;
    let mut stream = Stream::open(&site, "/api/v1/jobs/stream", None).await;
    assert_eq!(stream.next().await.unwrap().name, "start");
    site.job().await;
    assert_eq!(told(&mut stream).await, pair("mail", "available"));
    let running = site.claim_next().await;
    assert_eq!(told(&mut stream).await, pair("mail", "running"));
    site.complete(running, "null").await;
    assert_eq!(told(&mut stream).await, pair("mail", "completed"));
    let id = site.job().await;
    assert_eq!(told(&mut stream).await, pair("mail", "available"));
    // A comment moves nothing.
    site.post(&format!("/api/v1/jobs/{id}/comments"), json!({ "text": "hm" })).await.good();
    site.post(&format!("/api/v1/jobs/{id}/cancel"), json!({})).await.good();
    assert_eq!(told(&mut stream).await, pair("mail", "cancelled"));
}

#[tokio::test]
async fn a_stream_of_jobs_tells_of_those_that_match_and_has_no_pages() {
    let site = Site::new();
    let mut stream = Stream::open(&site, "/api/v1/jobs/stream?state=completed&kind=m*", None).await;
    assert_eq!(stream.next().await.unwrap().name, "start");
    site.job().await;
    let running = site.claim_next().await;
    let other = json!({ "kind": "other", "any_kind": true });
    let other = site.post("/api/v1/jobs", other).await.good()["id"].as_str().unwrap().to_owned();
    site.post(&format!("/api/v1/jobs/{other}/cancel"), json!({})).await.good();
    site.complete(running, "null").await;
    assert_eq!(told(&mut stream).await, pair("mail", "completed"));
    for query in ["limit=5", "cursor=x", "oldest_first=true", "state=nonsense", "colour=red", "args=a=1"] {
        let refused = site.get(&format!("/api/v1/jobs/stream?{query}")).await;
        assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (422, "invalid"), "{query}");
    }
}

#[tokio::test]
async fn who_comes_back_to_a_stream_of_jobs_misses_nothing() {
    let site = Site::new();
    let mut stream = Stream::open(&site, "/api/v1/jobs/stream", None).await;
    let start = stream.next().await.unwrap();
    site.job().await;
    let first = stream.next().await.unwrap();
    drop(stream);
    site.job().await;
    site.claim(2).await;
    let mut stream = Stream::open(&site, "/api/v1/jobs/stream", Some(&first.id)).await;
    assert_eq!(told(&mut stream).await, pair("mail", "running"));
    assert_eq!(told(&mut stream).await, pair("mail", "running"));
    drop(stream);
    // Another server on the same store knows the place, too.
    let other = Site::on(std::sync::Arc::new(site.store.handle()));
    let mut stream = Stream::open(&other, "/api/v1/jobs/stream", Some(&start.id)).await;
    assert_eq!(told(&mut stream).await, pair("mail", "running"));
}

#[tokio::test]
async fn a_place_in_the_jobs_that_is_not_known_is_told_and_does_not_wait() {
    let site = Site::new();
    for place in ["1-2-3", "7fffffffffff-7fffffffffff-7fffffffffff"] {
        let mut stream = Stream::open(&site, "/api/v1/jobs/stream", Some(place)).await;
        assert_eq!(stream.next().await.unwrap().name, "missed", "{place}");
        site.job().await;
        assert_eq!(told(&mut stream).await, pair("mail", "available"));
    }
    let mut request = Site::request(Method::GET, "/api/v1/jobs/stream", None);
    request.headers_mut().insert("last-event-id", "nonsense".parse().unwrap());
    assert_eq!(site.send(request).await.problem(), "invalid");
}

#[tokio::test]
async fn a_thousand_who_follow_all_jobs_cost_the_store_what_one_does() {
    let site = Site::new();
    let mut streams = Vec::new();
    for _ in 0..1_000 {
        let mut stream = Stream::open(&site, "/api/v1/jobs/stream", None).await;
        assert_eq!(stream.next().await.unwrap().name, "start");
        streams.push(stream);
    }
    let before = site.api.tail.looks();
    let id = site.job().await;
    for stream in &mut streams {
        assert_eq!(stream.next().await.unwrap().data["id"], json!(id.to_string()));
    }
    // One look a quarter of a second at the latest, whoever follows.
    let looks = site.api.tail.looks() - before;
    assert!(looks < 200, "{looks} looks for one job");
}

#[tokio::test]
async fn a_stream_of_jobs_holds_no_more_than_may_be_for_whoever_does_not_read() {
    let site = Site::new();
    let mut stream = Stream::open(&site, "/api/v1/jobs/stream", None).await;
    assert_eq!(stream.next().await.unwrap().name, "start");
    let mut sight = Stream::open(&site, "/api/v1/jobs/stream", None).await;
    assert_eq!(sight.next().await.unwrap().name, "start");
    let mut seen = 0;
    // Somebody else reads all of it, and the one that does not finds out.
    for _ in 0..12 {
        let jobs: Vec<_> = (0..1_000).map(|_| json!({ "kind": "mail" })).collect();
        site.post("/api/v1/jobs/batch", json!({ "jobs": jobs })).await.good();
        for _ in 0..1_000 {
            assert_eq!(sight.next().await.unwrap().name, "job");
            seen += 1;
        }
    }
    assert_eq!(seen, 12_000);
    let first = stream.next().await.unwrap();
    assert_eq!(first.name, "missed", "{first:?}");
    site.job().await;
    assert_eq!(told(&mut stream).await, pair("mail", "available"));
}

#[tokio::test]
async fn a_reader_that_leaves_things_unread_is_told_so_and_cut_off() {
    let limits = Limits { unread_time: Duration::ZERO, ..Limits::default() };
    let site = Site::limited(super::local_user(&"me".parse().unwrap()), limits);
    for n in 0..3 {
        site.post("/api/v1/events", json!({ "topic": "t", "payload": n })).await.good();
    }
    let mut stream = Stream::open(&site, "/api/v1/events/stream", Some("0")).await;
    assert_eq!(stream.next().await.unwrap().data["payload"], 0);
    assert_eq!(stream.next().await.unwrap().name, "cut-off");
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn there_are_no_more_streams_than_may_be_and_a_closed_one_makes_room() {
    let limits = Limits { streams_max: 2, ..Limits::default() };
    let site = Site::limited(super::local_user(&"me".parse().unwrap()), limits);
    let id = site.job().await;
    let path = format!("/api/v1/jobs/{id}/events");
    let first = Stream::open(&site, &path, None).await;
    let _second = Stream::open(&site, "/api/v1/events/stream", None).await;
    let refused = site.get(&path).await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (429, "too-many"));
    assert!(refused.headers.contains_key("retry-after"));
    // Other requests go on.
    assert_eq!(site.get("/api/v1/jobs").await.status, StatusCode::OK);
    drop(first);
    Stream::open(&site, &path, None).await;
}

#[tokio::test]
async fn a_thousand_who_wait_for_one_job_are_all_told() {
    let site = Site::new();
    let id = site.job().await;
    let running = site.claim_next().await;
    let path = format!("/api/v1/jobs/{id}/wait");
    let waits = futures_util::future::join_all((0..1_000).map(|_| site.get(&path)));
    let (answers, ()) = tokio::join!(waits, site.complete(running, "null"));
    assert_eq!(answers.len(), 1_000);
    assert!(answers.into_iter().all(|answer| answer.good()["state"] == "completed"));
}
