//! Jobs over HTTP do what the verbs do.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::Site;

#[tokio::test]
async fn a_job_is_stored_with_everything_that_is_said_about_it() {
    let site = Site::new();
    let said = json!({
        "kind": "mail", "args": { "to": 7 }, "queue": "outbox", "priority": "high", "max_attempts": "none",
        "backoff": "fixed:5s", "timeout": "90s", "unique": "k", "unique_until_over": true, "hold": true,
        "delivery": "at_most_once", "owner": "alice",
    });
    let answer = site.post("/api/v1/jobs?namespace=shop", said.clone()).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    let stored = answer.json();
    assert_eq!(stored["existing"], false);
    let job = site.get(&format!("/api/v1/jobs/{}", stored["id"].as_str().unwrap())).await.good();
    for (field, value) in [
        ("namespace", json!("shop")),
        ("queue", json!("outbox")),
        ("priority", json!(1500)),
        ("max_attempts", json!("none")),
        ("backoff", json!("fixed:5000000us")),
        ("timeout_us", json!(90_000_000)),
        ("state", json!("held")),
        ("delivery", json!("at_most_once")),
        ("owner", json!("alice")),
        ("unique", json!("k")),
        ("args", json!({ "to": 7 })),
    ] {
        assert_eq!(job[field], value, "{field}");
    }
    assert_eq!(job["timeline"][0]["to"], "held");
    // Another job of that key is answered with this one.
    let again = site.post("/api/v1/jobs?namespace=shop", said).await.good();
    assert_eq!((&again["id"], &again["existing"]), (&stored["id"], &json!(true)));
}

#[tokio::test]
async fn a_request_that_is_sent_twice_stores_one_job() {
    let site = Site::new();
    let with_key = |key: &str, body: Value, path: &str| {
        let mut request = Site::request(Method::POST, path, Some(body));
        request.headers_mut().insert("idempotency-key", key.parse().unwrap());
        request
    };
    let one = json!({ "kind": "mail", "args": 1 });
    let first = site.send(with_key("a", one.clone(), "/api/v1/jobs")).await.good();
    let second = site.send(with_key("a", one, "/api/v1/jobs")).await;
    // The same answer, status and all: whoever sends it again has not heard the first.
    assert_eq!((second.status.as_u16(), second.json()), (201, first.clone()));
    assert_eq!(first["existing"], json!(false));
    let keyed = json!({ "kind": "mail", "unique": "k" });
    site.post("/api/v1/jobs", keyed.clone()).await.good();
    let held = site.send(with_key("h", keyed.clone(), "/api/v1/jobs")).await.good();
    assert_eq!(held["existing"], json!(true), "by its unique key");
    assert_eq!(site.send(with_key("h", keyed, "/api/v1/jobs")).await.good(), held);
    let other = json!({ "kind": "mail", "args": 2 });
    assert_eq!(site.send(with_key("a", other.clone(), "/api/v1/jobs")).await.problem(), "other-request");
    assert_ne!(site.send(with_key("b", other, "/api/v1/jobs")).await.good()["id"], first["id"]);
    assert_eq!(
        site.send(with_key(&"x".repeat(256), json!({ "kind": "mail" }), "/api/v1/jobs")).await.problem(),
        "invalid"
    );

    let many = json!({ "jobs": [{ "kind": "mail" }, { "kind": "mail" }] });
    let first = site.send(with_key("a", many.clone(), "/api/v1/jobs/batch")).await.good();
    let second = site.send(with_key("a", many, "/api/v1/jobs/batch")).await.good();
    let ids = |answer: &Value| [0, 1].map(|at| answer["items"][at]["id"].clone());
    assert_eq!(ids(&first), ids(&second));
    let all = site.get("/api/v1/jobs").await.good();
    assert_eq!(all["items"].as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn many_jobs_are_stored_all_or_none() {
    let site = Site::new();
    let bad = json!({ "jobs": [{ "kind": "mail" }, { "kind": "unknown" }] });
    assert_eq!(site.post("/api/v1/jobs/batch", bad).await.problem(), "invalid");
    assert_eq!(site.get("/api/v1/jobs").await.good()["items"], json!([]));
    let good = json!({ "jobs": vec![json!({ "kind": "mail" }); 2_500] });
    let stored = site.post("/api/v1/jobs/batch", good).await.good();
    assert_eq!(stored["items"].as_array().unwrap().len(), 2_500);
    assert_eq!(site.post("/api/v1/jobs/batch", json!({ "jobs": [] })).await.good()["items"], json!([]));
}

#[tokio::test]
async fn a_listing_narrows_by_fields_widens_within_one_and_goes_on_where_it_stopped() {
    let site = Site::new();
    for (queue, owner) in [("a", Some("Alice")), ("a", None), ("b", Some("bob")), ("c", Some("alina"))] {
        let mut job = json!({ "kind": "mail", "queue": queue });
        if let Some(owner) = owner {
            job["owner"] = owner.into();
        }
        site.post("/api/v1/jobs", job).await.good();
    }
    let queues = async |query: &str| {
        let page = site.get(&format!("/api/v1/jobs?oldest_first=true&{query}")).await.good();
        let items = page["items"].as_array().unwrap().clone();
        items.iter().map(|job| job["queue"].as_str().unwrap().to_owned()).collect::<String>()
    };
    for (query, found) in [
        ("", "aabc"),
        ("queue=a&queue=c", "aac"),
        ("queue=a&owner=AL*", "a"),
        ("owner=al*&owner=BOB", "abc"),
        ("no_owner=true", "a"),
        ("state=held", ""),
        ("state=held&state=available", "aabc"),
        ("kind=m*l", "aabc"),
        ("kind=x", ""),
        ("min_priority=default&max_priority=2000", "aabc"),
        ("max_priority=high", ""),
        ("before=2000-01-01T00:00:00Z", ""),
        ("after=2000-01-01T00:00:00Z", "aabc"),
        ("namespace=default", "aabc"),
        ("namespace=other", ""),
    ] {
        assert_eq!(queues(query).await, found, "{query}");
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = site.get(&format!("/api/v1/jobs?limit=1{cursor}")).await.good();
        seen.extend(page["items"].as_array().unwrap().iter().map(|job| job["queue"].clone()));
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, ["c", "b", "a", "a"], "the newest first, each once");
}

#[tokio::test]
async fn a_listing_is_narrowed_by_who_ran_what_when_and_whether_it_was_to_stop() {
    let site = Site::new();
    for queue in ["a", "b", "c", "d"] {
        site.post("/api/v1/jobs", json!({ "kind": "mail", "queue": queue })).await.good();
    }
    let (first, second) = (site.claim_next().await, site.claim_next().await);
    let (of_first, of_second) = (first.0, second.0);
    let cancel = |id| format!("/api/v1/jobs/{id}/cancel");
    site.post(&cancel(second.1.id), json!({})).await.good();
    // Moments may be the same when nothing lies between them.
    let later = || {
        let now = site.env.now();
        std::iter::repeat_with(|| site.env.now()).find(|then| *then > now).unwrap()
    };
    site.complete(first, "1").await;
    let between = later();
    later();
    site.complete(second, "2").await;
    let third = site.claim_next().await.1;
    let queues = async |query: &str| {
        let page = site.get(&format!("/api/v1/jobs?oldest_first=true&{query}")).await.good();
        let items = page["items"].as_array().unwrap().clone();
        items.iter().map(|job| job["queue"].as_str().unwrap().to_owned()).collect::<String>()
    };
    let cases = [
        (format!("last_worker={of_first}&last_worker={of_second}"), "ab"),
        (format!("worker={of_first}"), ""),
        ("host=HER*".to_owned(), "abc"),
        ("host=there".to_owned(), ""),
        ("cancel_requested=true".to_owned(), "b"),
        ("cancel_requested=false".to_owned(), "acd"),
        (format!("ended_after={between}"), "b"),
        (format!("ended_before={between}&claimed_before={between}"), "a"),
        (format!("claimed_after={between}"), "c"),
        (format!("claimed_after={between}&ended_after={between}"), ""),
        (format!("state=running&host=here&claimed_after={between}"), "c"),
    ];
    for (query, found) in cases {
        assert_eq!(queues(&query).await, found, "{query}");
    }
    let told = site.get(&format!("/api/v1/jobs/{}", third.id)).await.good();
    assert_eq!(told["host"], "here", "what is asked by is told, too");
}

#[tokio::test]
async fn a_listing_is_narrowed_by_arguments_a_bounded_number_of_jobs_at_a_time() {
    let site = Site::new();
    let meant =
        json!({ "kind": "mail", "queue": "a", "args": { "customer": { "id": 42 }, "to": "Ann Lee" } });
    site.post("/api/v1/jobs", meant).await.good();
    let others = json!({ "jobs": vec![json!({ "kind": "mail", "queue": "b", "args": { "customer": { "id": 43 } } }); 2_500] });
    site.post("/api/v1/jobs/batch", others).await.good();
    let first = site.get("/api/v1/jobs?args=customer.id=42").await.good();
    assert_eq!(first["items"], json!([]), "a page may be empty, and go on");
    let cursor = first["next"].as_str().unwrap();
    let second = site.get(&format!("/api/v1/jobs?args=customer.id%3D42&cursor={cursor}")).await.good();
    assert_eq!((&second["items"][0]["queue"], &second["next"]), (&json!("a"), &json!(null)));
    for (query, count) in [
        ("queue=a&args=to=ann*", 1),
        ("queue=a&args=to=ann*&args=customer.id=41", 0),
        ("queue=a&args=customer.id=41&args=customer.id=42", 1),
        ("args=customer.id=43&limit=7", 7),
    ] {
        let page = site.get(&format!("/api/v1/jobs?{query}")).await.good();
        assert_eq!(page["items"].as_array().unwrap().len(), count, "{query}");
    }
}

#[tokio::test]
async fn changes_tell_what_became_of_each_job() {
    let site = Site::new();
    let id = site.job().await;
    let say =
        async |verb: &str, body: Value| site.post(&format!("/api/v1/jobs/{id}/{verb}"), body).await.good();
    assert_eq!(say("delay", json!({ "in": "1h" })).await["result"], "done");
    assert_eq!(site.get(&format!("/api/v1/jobs/{id}")).await.good()["state"], "scheduled");
    assert_eq!(say("run-now", json!({})).await["result"], "done");
    assert_eq!(say("reprioritise", json!({ "to": "realtime" })).await["result"], "done");
    assert_eq!(say("cancel", json!({ "reason": "not wanted" })).await["result"], "done");
    let skipped = say("cancel", json!({})).await;
    assert_eq!(skipped["result"], "skipped");
    assert!(skipped["reason"].is_string());
    assert_eq!(say("retry", json!({})).await["result"], "done");
    let job = site.get(&format!("/api/v1/jobs/{id}")).await.good();
    let cancelled =
        job["timeline"].as_array().unwrap().iter().find(|entry| entry["to"] == "cancelled").unwrap();
    assert_eq!((&cancelled["actor"], &cancelled["reason"]), (&json!("tester"), &json!("not wanted")));

    let running = site.claim_next().await;
    assert_eq!(say("cancel", json!({})).await["result"], "requested");
    site.complete(running, "{\"sent\": 3}").await;
    let result = site.get(&format!("/api/v1/jobs/{id}/result")).await.good();
    assert_eq!((&result["state"], &result["result"]["sent"]), (&json!("completed"), &json!(3)));
    assert_eq!(say("delete", json!({})).await["result"], "done");
    assert_eq!(site.get(&format!("/api/v1/jobs/{id}")).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn several_jobs_are_changed_each_for_itself_and_only_where_they_were_seen() {
    let site = Site::new();
    let (a, b, missing) = (site.job().await, site.job().await, site.env.job_id());
    site.post(&format!("/api/v1/jobs/{b}/cancel"), json!({})).await.good();
    let answer = site.post("/api/v1/jobs/cancel", json!({ "ids": [a, b, a, missing] })).await.good();
    let words: Vec<&str> =
        answer["items"].as_array().unwrap().iter().map(|one| one["result"].as_str().unwrap()).collect();
    assert_eq!(words, ["done", "skipped", "unknown"]);

    let c = site.job().await;
    let job = site.get(&format!("/api/v1/jobs/{c}")).await.good();
    let seen = json!({ "id": c, "state": job["state"], "attempt": job["attempt"], "run_at": job["run_at"] });
    site.post(&format!("/api/v1/jobs/{c}/delay"), json!({ "in": "1h" })).await.good();
    let answer = site.post("/api/v1/jobs/cancel", json!({ "seen": [seen] })).await.good();
    assert_eq!(answer["items"][0]["result"], "skipped");
    assert_eq!(site.get(&format!("/api/v1/jobs/{c}")).await.good()["state"], "scheduled");
}

#[tokio::test]
async fn what_a_job_wrote_is_read_on_from_where_one_was() {
    use taskwright_store::{LogEntry, LogStream, Store as _};
    let site = Site::new();
    let id = site.job().await;
    let (worker, job) = site.claim_next().await;
    let at = site.env.now();
    let entry = |stream, bytes: &[u8]| LogEntry {
        key: job.key,
        attempt: job.attempt,
        at,
        stream,
        bytes: bytes.to_vec(),
    };
    let entries = vec![entry(LogStream::Stdout, b"one\n"), entry(LogStream::Stderr, b"\xfftwo")];
    site.store.log(worker, entries).await.unwrap();
    let log = site.get(&format!("/api/v1/jobs/{id}/logs?limit=1")).await.good();
    assert_eq!((&log["items"][0]["text"], &log["items"][0]["stream"]), (&json!("one\n"), &json!("stdout")));
    let from = log["next_from"].as_u64().unwrap();
    let log = site.get(&format!("/api/v1/jobs/{id}/logs?from={from}")).await.good();
    assert_eq!(log["items"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&log["items"][0]["text"], &log["items"][0]["bytes"][0]),
        (&json!("\u{fffd}two"), &json!(255))
    );
    assert_eq!(log["is_over"], false);
}
