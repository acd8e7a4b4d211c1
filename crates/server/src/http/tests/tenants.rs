//! Nothing of one namespace is seen or changed from another, on any path, and nobody can tell what is not there from what is
//! not theirs.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use taskwright::{Client, Job};
use taskwright_core::attempt::Outcome;
use taskwright_core::{Kind, Namespace, ServiceName, ServiceState, StepName, Verdict};
use taskwright_store::{
    Claim, LogEntry, LogStream, NewStep, NewWorker, ProcessPlace, ServiceRecord, ServiceStore as _,
    SourceNote, SourcePlace, SourceStore as _, StepStore as _, Store as _,
};

use super::{Site, bearing, by_token, matrix, whole};

/// What stands in everything that belongs to the namespace `b`,
const CANARY: &str = "canary-7f3a";
/// and what it is called.
const NAME: &str = "named-91c4";

/// A job, a schedule, a webhook, an event, a bulk and a queue of `b`, all with the canary; jobs that ended, with it in their results,
/// errors, logs and steps; a comment, a token, an event source, a service, and a worker that serves the queue.
async fn furnish(site: &Site) -> Vec<String> {
    let mut ids = executed(site).await;
    ids.splice(0..0, stored(site).await);
    beside_the_jobs(site).await;
    let comment = json!({ "text": CANARY });
    site.post_as("b", &format!("/api/v1/jobs/{}/comments", ids[0]), comment).await.good();
    site.post_as("b", "/api/v1/tokens", json!({ "name": NAME, "role": "viewer" })).await.good();
    ids
}

/// A job that completed and one that failed.
async fn executed(site: &Site) -> Vec<String> {
    let mut ids = Vec::new();
    for is_good in [true, false] {
        let body = json!({ "kind": "mail", "args": CANARY, "queue": NAME, "max_attempts": 1 });
        let job = site.post_as("b", "/api/v1/jobs", body).await.good();
        ids.push(job["id"].as_str().unwrap().to_owned());
        let new = NewWorker {
            id: site.env.worker_id(),
            host: "here".to_owned(),
            pid: 7,
            concurrency: 4,
            queues: vec![NAME.to_owned()],
            lease: Duration::from_secs(3_600),
        };
        let worker = new.id;
        site.store.register(site.env.now(), site.env.monotonic_us(), new).await.unwrap();
        site.store.remark(worker, CANARY.to_owned()).await.unwrap();
        let claim = Claim {
            worker,
            now: site.env.now(),
            kinds: vec![Kind::new("mail").unwrap()],
            queues: None,
            namespace: None,
            priority_max: None,
            limit: 1,
        };
        let claimed = site.store.claim(claim).await.unwrap().jobs.pop().unwrap();
        let entry = LogEntry {
            key: claimed.key,
            attempt: claimed.attempt,
            at: site.env.now(),
            stream: LogStream::Stdout,
            bytes: CANARY.as_bytes().to_vec(),
        };
        site.store.log(worker, vec![entry]).await.unwrap();
        let step = NewStep {
            key: claimed.key,
            attempt: claimed.attempt,
            at: site.env.now(),
            name: StepName::new(NAME).unwrap(),
            result: format!("{CANARY:?}"),
        };
        assert_eq!(site.store.keep_steps(worker, vec![step]).await.unwrap(), [Verdict::Accepted]);
        let outcome = match is_good {
            true => Outcome::Completed { result: Some(format!("{CANARY:?}")) },
            false => Outcome::Fail { error: CANARY.to_owned() },
        };
        site.end((worker, claimed), outcome).await;
    }
    ids
}

/// An event source, and a service that failed at something of `b`.
async fn beside_the_jobs(site: &Site) {
    let (now, namespace) = (site.env.now(), Namespace::new("b").unwrap());
    let (host, path) = ("here".to_owned(), format!("/srv/{CANARY}"));
    let place = SourcePlace { namespace, name: NAME.parse().unwrap(), host, path };
    let key = site.store.open_source(now, place).await.unwrap();
    let note =
        SourceNote { mode: CANARY.to_owned(), scanned_at: None, files: 1, error: Some(CANARY.to_owned()) };
    assert!(site.store.note_source(now, key, note).await.unwrap());
    let place = ProcessPlace { id: site.env.process_id(), host: "here".to_owned(), pid: 7 };
    let service = ServiceRecord {
        name: ServiceName::new("reader").unwrap(),
        state: ServiceState::Failed,
        since: now,
        restarts: 1,
        restart_at: None,
        error: Some(CANARY.to_owned()),
        error_at: Some(now),
    };
    site.store.tell_services(now, place, vec![service]).await.unwrap();
}

async fn stored(site: &Site) -> Vec<String> {
    let job = site
        .post_as(
            "b",
            "/api/v1/jobs",
            json!({ "kind": "mail", "args": CANARY, "owner": CANARY, "queue": NAME, "hold": true }),
        )
        .await
        .good();
    let trigger = json!({ "type": "every", "period": "1h" });
    let schedule = json!({ "name": NAME, "kind": "mail", "queue": CANARY, "triggers": [{ "id": "t", "trigger": trigger }] });
    site.post_as("b", "/api/v1/schedules", schedule).await.good();
    let hook = json!({ "name": NAME, "url": "https://example.org/", "topics": [CANARY] });
    site.post_as("b", "/api/v1/webhooks", hook).await.good();
    let event =
        site.post_as("b", "/api/v1/events", json!({ "topic": CANARY, "payload": CANARY })).await.good();
    let bulk = json!({ "type": "count", "params": { "kind": "mail", "size": 3, "args": CANARY } });
    let bulk = site.post_as("b", "/api/v1/bulk", bulk).await.good();
    [&job["id"], &event["id"], &bulk["id"]].map(|id| id.as_str().unwrap().to_owned()).to_vec()
}

/// S4: whoever asks for it, and in whatever way: with a body that would do, so that what is asked about is looked for, and with others.
#[tokio::test]
async fn no_answer_to_another_namespace_has_anything_of_it() {
    let site = Site::with(by_token());
    let ids = furnish(&site).await;
    let mut asked = 0;
    let mut operations = crate::http::operations::table();
    // What is looked at comes first: who has named something in a change finds that name in the audit.
    operations.sort_by_key(|operation| operation.is_mutation());
    for operation in operations {
        // Those have no end; see below.
        if matches!(operation.id, "events.stream" | "jobs.stream") {
            continue;
        }
        // How a body that would do was answered to an admin.
        let mut answered = Vec::new();
        for id in &ids {
            let path = operation.path.replace("{id}", id).replace("{queue}", NAME).replace("{name}", NAME);
            let path = whole(path.replace("{namespace}", "b").replace("{what}", "completed"));
            let bodies = operation.is_mutation().then(|| {
                let good = matrix::body(&operation, &format!("made-{asked}"));
                let mut of_many = good.clone().unwrap_or_else(|| json!({}));
                of_many["ids"] = json!([id]);
                [good, Some(of_many), Some(json!({ "ids": [id] })), Some(json!({}))]
            });
            for who in ["a", "a:viewer", "a:member"] {
                for body in bodies.iter().flatten().cloned().chain([None]) {
                    let request = Site::request(operation.method.clone(), &path, body);
                    let answer = site.send(bearing(who, request)).await;
                    // What the caller has said may come back: it tells nothing new.
                    let mut secrets: Vec<&str> =
                        ids.iter().filter(|of| *of != id).map(String::as_str).collect();
                    secrets.push(CANARY);
                    secrets.extend((!path.contains(NAME)).then_some(NAME));
                    for secret in secrets {
                        assert!(!answer.text.contains(secret), "{} {path}: {}", operation.id, answer.text);
                    }
                    if who == "a" {
                        answered.push(answer.status.as_u16());
                    }
                    asked += 1;
                }
            }
        }
        // Refused for its form alone is nothing that was looked for.
        assert!(
            answered.iter().any(|status| !matches!(status, 400 | 415 | 422)),
            "{}: {answered:?}",
            operation.id
        );
    }
    assert!(asked > 5_000, "{asked}");
    // All of it is as it was.
    let job = site.get_as("b", &format!("/api/v1/jobs/{}", ids[0])).await.good();
    assert_eq!((job["state"].as_str(), job["timeline"].as_array().unwrap().len()), (Some("held"), 1));
    for id in &ids[3..] {
        let job = site.get_as("b", &format!("/api/v1/jobs/{id}")).await.good();
        assert!(job["state"] == "completed" || job["state"] == "failed", "{job}");
        let logged = site.get_as("b", &format!("/api/v1/jobs/{id}/logs")).await.text;
        assert!(logged.contains(CANARY), "{logged}");
        let kept = site.get_as("b", &format!("/api/v1/jobs/{id}/steps")).await.text;
        assert!(kept.contains(CANARY) && kept.contains(NAME), "{kept}");
    }
    // Those to whom it belongs see all of it, so that it was there to be seen.
    for path in
        ["jobs", "jobs/history", "workers", "tokens", "queues", "schedules", "webhooks", "events", "sources"]
    {
        let answer = site.get_as("b", &format!("/api/v1/{path}")).await.text;
        assert!(answer.contains(CANARY) || answer.contains(NAME), "{path}: {answer}");
    }
    assert_eq!(site.get_as("b", "/api/v1/schedules").await.good()["items"][0]["state"], "on");
    assert_eq!(site.get_as("b", "/api/v1/webhooks").await.good()["items"][0]["status"], "on");
}

/// S4: also what is followed.
#[tokio::test]
async fn no_stream_to_another_namespace_has_anything_of_it() {
    use http_body_util::BodyExt as _;
    let site = Site::with(by_token());
    let request = Site::request(Method::GET, "/api/v1/events/stream?topic=**", None);
    let stream = site.raw(bearing("a", request)).await;
    furnish(&site).await;
    site.post_as("a", "/api/v1/events", json!({ "topic": "ours" })).await.good();
    let mut body = stream.into_body();
    let mut frame = async || {
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        String::from_utf8(frame.to_vec()).unwrap()
    };
    assert!(frame().await.contains("event: start"));
    let text = frame().await;
    assert!(text.contains("ours") && !text.contains(CANARY), "{text}");
    // Nor by naming it, nor by the place in the log of somebody else's event.
    for (path, status) in [("?namespace=b", 403), ("?topic=**", 200)] {
        let mut request = Site::request(Method::GET, &format!("/api/v1/events/stream{path}"), None);
        request.headers_mut().insert("last-event-id", "0".parse().unwrap());
        let stream = site.raw(bearing("a", request)).await;
        assert_eq!(stream.status().as_u16(), status);
        if status == 200 {
            let frame = stream.into_body().frame().await.unwrap().unwrap().into_data().unwrap();
            let text = String::from_utf8(frame.to_vec()).unwrap();
            assert!(text.contains("ours") && !text.contains(CANARY), "{text}");
        }
    }
}

/// S4: also of the jobs that move, whoever follows and from wherever.
#[tokio::test]
async fn no_stream_of_jobs_to_another_namespace_has_anything_of_it() {
    use futures_util::FutureExt as _;
    use http_body_util::BodyExt as _;
    let site = Site::with(by_token());
    let open = async |who: &str, query: &str, last: Option<&str>| {
        let mut request = Site::request(Method::GET, &format!("/api/v1/jobs/stream{query}"), None);
        if let Some(last) = last {
            request.headers_mut().insert("last-event-id", last.parse().unwrap());
        }
        let stream = site.raw(bearing(who, request)).await;
        assert_eq!(stream.status(), StatusCode::OK);
        stream.into_body()
    };
    // All that comes until a job of one's own does.
    let until_own = async |mut body: axum::body::Body| {
        let mut text = String::new();
        while !text.contains("event: job") {
            let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
            text.push_str(std::str::from_utf8(&frame).unwrap());
        }
        text
    };
    // As after the role was taken from them: with a job of their own there, they may name the namespace.
    let client = Client::new(Arc::new(site.store.handle()), site.env.clone());
    let own_of_b = client.enqueue(Job::new("mail").namespace("b").owner("a")).await.unwrap().id.to_string();
    let mut start = open("a", "", None).await;
    let frame = start.frame().await.unwrap().unwrap().into_data().unwrap();
    let first = String::from_utf8(frame.to_vec()).unwrap();
    let place = first.lines().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned();
    // Naming another namespace gives what is one's own in it, of which nothing moves.
    let queries = ["", "?state=completed&state=held&state=available", "?kind=*", "?namespace=a"];
    let mut streams = Vec::new();
    for query in queries {
        streams.push(open("a", query, None).await);
        streams.push(open("a:viewer", query, Some(&place)).await);
    }
    let mut elsewhere = open("a", "?namespace=b", Some(&place)).await;
    furnish(&site).await;
    let own = site.post_as("a", "/api/v1/jobs", json!({ "kind": "mail" })).await.good();
    let own = own["id"].as_str().unwrap().to_owned();
    streams.push(start);
    streams.push(open("a", "", Some(&place)).await);
    for stream in streams {
        let text = until_own(stream).await;
        assert!(text.contains(&own) && !text.contains(CANARY) && !text.contains(NAME), "{text}");
    }
    // All that moved has been read by now: the others were told. Their own job there may come, and nothing else.
    let mut of_elsewhere = String::new();
    while let Some(frame) = elsewhere.frame().now_or_never() {
        of_elsewhere.push_str(std::str::from_utf8(&frame.unwrap().unwrap().into_data().unwrap()).unwrap());
    }
    assert!(!of_elsewhere.contains(CANARY) && !of_elsewhere.contains(NAME), "{of_elsewhere}");
    let mut told =
        of_elsewhere.lines().filter(|line| line.starts_with("data: ") && line.contains("\"kind\""));
    assert!(told.all(|line| line.contains(&own_of_b)), "{of_elsewhere}");
    // Those to whom it belongs see it.
    let text = until_own(open("b", "", Some(&place)).await).await;
    assert!(text.contains("\"namespace\":\"b\""), "{text}");
}

/// S3: by the text.
#[tokio::test]
async fn what_is_not_there_and_what_is_somebody_else_s_answer_the_same_bytes() {
    let site = Site::with(by_token());
    let ids = furnish(&site).await;
    let (foreign, missing) = (&ids[0], site.env.job_id().to_string());
    let places = ["", "/result", "/progress", "/logs", "/wait", "/events"];
    let looks = places.map(|place| (Method::GET, place.to_owned()));
    let verbs = ["cancel", "retry", "run-now", "awaken", "release", "free", "delete"];
    let changes = verbs.map(|verb| (Method::POST, format!("/{verb}")));
    for (method, place) in looks.into_iter().chain(changes) {
        let ask = |id: &str| {
            let body = (method == Method::POST).then(|| json!({}));
            bearing("a", Site::request(method.clone(), &format!("/api/v1/jobs/{id}{place}"), body))
        };
        let of_foreign = site.send(ask(foreign)).await;
        let of_missing = site.send(ask(&missing)).await;
        assert_eq!(of_foreign.status, StatusCode::NOT_FOUND, "{place}");
        assert_eq!(
            of_foreign.text.replace(foreign.as_str(), "ID"),
            of_missing.text.replace(&missing, "ID"),
            "{place}"
        );
        assert_eq!(of_foreign.headers_but_id(), of_missing.headers_but_id(), "{place}");
    }
    let many = |id: &str| json!({ "ids": [id] });
    let of_foreign = site.post_as("a", "/api/v1/jobs/cancel", many(foreign)).await;
    let of_missing = site.post_as("a", "/api/v1/jobs/cancel", many(&missing)).await;
    assert_eq!(of_foreign.text.replace(foreign.as_str(), "ID"), of_missing.text.replace(&missing, "ID"));
    assert_eq!(of_foreign.json()["items"][0]["result"], "unknown");
}

#[tokio::test]
async fn a_namespace_that_is_not_theirs_is_refused_whether_there_is_one_or_not() {
    let site = Site::with(by_token());
    furnish(&site).await;
    let of_foreign = site.get_as("a", "/api/v1/queues?namespace=b").await;
    let of_missing = site.get_as("a", "/api/v1/queues?namespace=c").await;
    assert_eq!(of_foreign.problem(), "forbidden");
    assert_eq!(of_foreign.text, of_missing.text);
    let of_foreign = site.get_as("a", "/api/v1/jobs?namespace=b").await;
    let of_missing = site.get_as("a", "/api/v1/jobs?namespace=c").await;
    assert_eq!(of_foreign.problem(), "forbidden");
    assert_eq!(of_foreign.text, of_missing.text);
    let of_stream = site.get_as("a", "/api/v1/jobs/stream?namespace=b").await;
    assert_eq!(of_stream.text.replace("/stream", ""), of_missing.text);
    // One that nobody names is their own.
    assert_eq!(site.get_as("a", "/api/v1/jobs").await.good()["items"], json!([]));
    assert_eq!(site.get_as("root", "/api/v1/jobs").await.good()["items"].as_array().unwrap().len(), 4);
    assert_eq!(site.get_as("root", "/api/v1/jobs?namespace=a").await.good()["items"], json!([]));
}

#[tokio::test]
async fn no_way_to_narrow_a_listing_shows_what_is_somebody_else_s() {
    let site = Site::with(by_token());
    furnish(&site).await;
    let of_a = json!({ "kind": "mail", "args": CANARY, "queue": NAME, "owner": CANARY });
    let theirs = site.post_as("a", "/api/v1/jobs", of_a).await.good();
    let all = "args=*=*&args=0=*";
    for query in [
        "",
        "host=*",
        "cancel_requested=false",
        "ended_after=2000-01-01T00:00:00Z",
        "claimed_before=2999-01-01T00:00:00Z",
        &format!("queue={NAME}"),
        "state=completed",
        all,
    ] {
        for who in ["a", "a:viewer", "nobody"] {
            let answer = site.get_as(who, &format!("/api/v1/jobs?{query}")).await;
            if who == "nobody" {
                assert_eq!(answer.problem(), "forbidden", "{query}");
                continue;
            }
            let page = answer.good();
            let items = page["items"].as_array().unwrap();
            assert!(items.iter().all(|job| job["id"] == theirs["id"]), "{who} {query}: {page}");
        }
    }
    let count = async |who: &str, query: &str| {
        let page = site.get_as(who, &format!("/api/v1/jobs?{query}")).await.good();
        page["items"].as_array().unwrap().len()
    };
    // Whoever may see both sees both, and one that is named twice once.
    assert_eq!(count("root", "namespace=a&namespace=b").await, 5);
    assert_eq!(count("root", "namespace=a&namespace=a").await, 1);
    assert_eq!(count("a", "namespace=a").await, 1);
    // One that is not theirs refuses the request, with or without another, and whether it is there or not.
    for (foreign, missing) in [
        ("namespace=b", "namespace=c"),
        ("namespace=a&namespace=b", "namespace=a&namespace=c"),
        ("namespace=b&namespace=a&host=*", "namespace=c&namespace=a&host=*"),
        ("namespace=b&namespace=c", "namespace=c&namespace=d"),
    ] {
        let of_foreign = site.get_as("a", &format!("/api/v1/jobs?{foreign}")).await;
        let of_missing = site.get_as("a", &format!("/api/v1/jobs?{missing}")).await;
        assert_eq!(of_foreign.problem(), "forbidden", "{foreign}");
        assert_eq!(of_foreign.text, of_missing.text, "{foreign}");
    }
}

#[tokio::test]
async fn whoever_has_a_job_in_a_namespace_may_name_it_and_sees_that_job_alone() {
    let site = Site::with(by_token());
    furnish(&site).await;
    // As after the role was taken from them.
    let client = Client::new(Arc::new(site.store.handle()), site.env.clone());
    let theirs = client.enqueue(Job::new("mail").namespace("b").owner("a")).await.unwrap().id;
    for query in ["namespace=b", "namespace=b&namespace=a", "namespace=b&state=available"] {
        let page = site.get_as("a", &format!("/api/v1/jobs?{query}")).await.good();
        let items: Vec<&Value> = page["items"].as_array().unwrap().iter().map(|job| &job["id"]).collect();
        assert_eq!(items, [theirs.to_string().as_str()], "{query}");
    }
    // Nothing of what they ask for, and still theirs.
    assert_eq!(site.get_as("a", "/api/v1/jobs?namespace=b&state=failed").await.good()["items"], json!([]));
    assert_eq!(site.get_as("c", "/api/v1/jobs?namespace=b").await.problem(), "forbidden");
    assert_eq!(site.get_as("a", "/api/v1/jobs?namespace=b&namespace=c").await.problem(), "forbidden");
}

#[tokio::test]
async fn a_namespace_inside_a_request_does_not_lead_elsewhere() {
    let site = Site::with(by_token());
    let trigger = json!({ "type": "every", "period": "1h" });
    let schedule = json!({ "name": "s", "namespace": "b", "kind": "mail", "triggers": [{ "id": "t", "trigger": trigger }] });
    assert_eq!(site.post_as("a", "/api/v1/schedules", schedule).await.problem(), "invalid");
    let job = json!({ "kind": "mail", "namespace": "b" });
    assert_eq!(site.post_as("a", "/api/v1/jobs", job).await.problem(), "invalid");
    // Nor to an address that is the operator's own.
    let hook = json!({ "name": "h", "url": "http://127.0.0.1:1/", "allow_private": true });
    assert_eq!(site.post_as("a", "/api/v1/webhooks", hook.clone()).await.problem(), "forbidden");
    assert!(site.post_as("root", "/api/v1/webhooks", hook).await.good()["secret"].is_string());
    // A key of one's own stands for one's own job, even when somebody else has the same.
    let with_key = |token: &str| {
        let mut request = Site::request(Method::POST, "/api/v1/jobs", Some(json!({ "kind": "mail" })));
        request.headers_mut().insert("idempotency-key", "same".parse().unwrap());
        bearing(token, request)
    };
    let stored: Vec<Value> =
        [site.send(with_key("a")).await.good(), site.send(with_key("b")).await.good()].to_vec();
    assert_ne!(stored[0]["id"], stored[1]["id"]);
    assert_eq!(stored[1]["existing"], false);
    // The cursor of a page says a place, and not whose.
    let page = site.get_as("b", "/api/v1/jobs?limit=1").await.good();
    let id: taskwright_core::JobId = stored[1]["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(page["items"][0]["id"], stored[1]["id"]);
    let cursor = crate::http::cursor::write(&id);
    let page = site.get_as("a", &format!("/api/v1/jobs?oldest_first=true&cursor={cursor}")).await.good();
    assert!(page["items"].as_array().unwrap().iter().all(|job| job["namespace"] == "a"), "{page}");
}
