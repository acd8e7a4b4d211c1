//! Queues, schedules, events, generators, webhooks, bulks, workers, statistics: each does what its verb does.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::Site;

fn delete(path: &str) -> http::Request<axum::body::Body> {
    Site::request(Method::DELETE, path, None)
}

#[tokio::test]
async fn queues_are_looked_at_paused_resumed_and_purged() {
    let site = Site::new();
    assert_eq!(site.get("/api/v1/queues").await.good()["items"], json!([]));
    for _ in 0..3 {
        site.post("/api/v1/jobs", json!({ "kind": "mail", "queue": "a/b" })).await.good();
    }
    let paused = site.post("/api/v1/queues/a%2Fb/pause", json!({})).await;
    assert_eq!(paused.problem(), "malformed", "it takes no body");
    let switch = async |verb: &str| {
        site.send(Site::request(Method::POST, &format!("/api/v1/queues/a%2Fb/{verb}"), None)).await.good()
    };
    assert_eq!(switch("pause").await, json!({ "changed": true, "paused": true, "queue": "a/b" }));
    assert_eq!(switch("pause").await["changed"], false);
    let queue = site.get("/api/v1/queues/a%2Fb").await.good();
    assert_eq!((&queue["paused"], &queue["available"]), (&json!(true), &json!(3)));
    assert_eq!(switch("resume").await["changed"], true);
    let purged = site.post("/api/v1/queues/a%2Fb/purge", json!({ "limit": 2 })).await.good();
    assert_eq!(purged["cancelled"], 2);
    assert_eq!(switch("purge").await["cancelled"], 1);
    assert_eq!(site.get("/api/v1/namespaces").await.good()["items"], json!([{ "name": "default" }]));
}

#[tokio::test]
async fn schedules_are_registered_looked_at_fired_and_removed() {
    let site = Site::new();
    let trigger = json!({ "type": "cron", "expression": "0 8 * * *", "zone": "Europe/Berlin" });
    let mut schedule =
        json!({ "name": "daily", "kind": "mail", "triggers": [{ "id": "t", "trigger": trigger }] });
    let put = async |schedule: &Value| site.post("/api/v1/schedules", schedule.clone()).await;
    assert_eq!(put(&schedule).await.good()["change"], "registered");
    assert_eq!(put(&schedule).await.good()["change"], "unchanged");
    schedule["queue"] = "reports".into();
    assert_eq!(put(&schedule).await.good()["change"], "changed");
    schedule["kind"] = "unknown".into();
    assert_eq!(put(&schedule).await.problem(), "invalid");
    let any = site.post("/api/v1/schedules?any_kind=true&namespace=other", schedule.clone()).await.good();
    assert_eq!(any["namespace"], "other");
    schedule["origin"] = json!({ "from": "config", "file": "/etc/x" });
    assert_eq!(put(&schedule).await.problem(), "invalid");

    let next = site.get("/api/v1/schedules/daily/next?limit=3&from=2099-01-01T00:00:00Z").await.good();
    assert_eq!(next["items"][0]["due"], "2099-01-01T07:00:00.000000Z");
    assert_eq!(next["items"].as_array().unwrap().len(), 3);
    let post =
        async |verb: &str, body: Value| site.post(&format!("/api/v1/schedules/daily/{verb}"), body).await;
    let fired = post("fire", json!({ "at": "2026-01-05T07:00:00Z" })).await;
    assert_eq!(fired.status, StatusCode::CREATED);
    let job = site.get(&format!("/api/v1/jobs/{}", fired.json()["id"].as_str().unwrap())).await.good();
    assert_eq!((&job["queue"], &job["made_by"]["schedule"]), (&json!("reports"), &json!("daily")));
    let history = site.get("/api/v1/schedules/daily/history").await.good();
    assert_eq!(
        (&history["items"][0]["outcome"], &history["items"][0]["kind"]),
        (&json!("fired"), &json!("by_hand"))
    );
    let switch = async |verb: &str| {
        site.send(Site::request(Method::POST, &format!("/api/v1/schedules/daily/{verb}"), None)).await.good()
    };
    assert_eq!(switch("pause").await, json!({ "changed": true, "name": "daily", "paused": true }));
    let shown = site.get("/api/v1/schedules/daily").await.good();
    assert_eq!(
        (&shown["state"], &shown["paused"], &shown["next"]),
        (&json!("paused"), &json!(true), &Value::Null)
    );
    assert_eq!(shown["open"].as_array().unwrap().len(), 1);
    assert_eq!(switch("resume").await["changed"], true);
    assert_eq!(switch("resume").await["changed"], false);
    let listed = site.get("/api/v1/schedules?limit=1").await.good();
    assert_eq!(listed["items"][0]["name"], "daily");
    let cursor = listed["next"].as_str().unwrap();
    let listed = site.get(&format!("/api/v1/schedules?limit=1&cursor={cursor}")).await.good();
    assert_eq!(listed["items"][0]["namespace"], "other");
    assert_eq!(site.send(delete("/api/v1/schedules/daily")).await.good()["removed"], true);
    assert_eq!(site.send(delete("/api/v1/schedules/daily")).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn events_are_emitted_once_per_id_and_listed() {
    let site = Site::new();
    let event =
        json!({ "topic": "order.paid", "payload": { "order": 7 }, "key": "7", "id": site.env.event_id() });
    for _ in 0..2 {
        assert_eq!(site.post("/api/v1/events", event.clone()).await.good()["id"], event["id"]);
    }
    site.post("/api/v1/events", json!({ "topic": "order.sent" })).await.good();
    let page = site.get("/api/v1/events?limit=1").await.good();
    assert_eq!(page["items"][0]["topic"], "order.sent");
    let cursor = page["next"].as_str().unwrap();
    let page = site.get(&format!("/api/v1/events?cursor={cursor}")).await.good();
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    assert_eq!((&page["items"][0]["payload"]["order"], &page["next"]), (&json!(7), &Value::Null));
    assert_eq!(site.get("/api/v1/events?topic=order.none").await.good()["items"], json!([]));
}

#[tokio::test]
async fn generators_are_looked_at_paused_resumed_and_notified() {
    use taskwright_core::generator::Definition;
    let site = Site::new();
    let definition = Definition::new("files".parse().unwrap());
    site.api.client.generators().register(&definition, json!({ "at": 3 })).await.unwrap();
    assert_eq!(site.get("/api/v1/generators").await.good()["items"][0]["name"], "files");
    let post = async |verb: &str, body: Option<Value>| {
        site.send(Site::request(Method::POST, &format!("/api/v1/generators/files/{verb}"), body)).await.good()
    };
    let paused = post("pause", Some(json!({ "reason": "share is down" }))).await;
    assert_eq!(paused, json!({ "changed": true, "name": "files", "paused": true }));
    let shown = site.get("/api/v1/generators/files").await.good();
    assert_eq!((&shown["status"], &shown["paused"]["reason"]), (&json!("paused"), &json!("share is down")));
    assert_eq!(shown["state"], json!({ "at": 3 }));
    assert_eq!(post("poll", None).await["paused"], true);
    assert_eq!(post("resume", None).await["changed"], true);
    assert_eq!(site.get("/api/v1/generators/files/dead").await.good()["items"], json!([]));
}

#[tokio::test]
async fn webhooks_are_added_with_a_secret_that_is_told_once_and_never_shown() {
    let site = Site::new();
    let hook =
        json!({ "name": "billing", "url": "https://example.org/", "topics": ["order.*"], "timeout": "5s" });
    let secret =
        site.post("/api/v1/webhooks", hook.clone()).await.good()["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("whsec_"));
    assert_eq!(site.post("/api/v1/webhooks", hook).await.problem(), "conflict");
    let private = json!({ "name": "local", "url": "http://127.0.0.1:1/" });
    assert_eq!(site.post("/api/v1/webhooks", private).await.problem(), "invalid");
    let given = json!({ "name": "given", "url": "https://example.org/", "secret": secret });
    assert_eq!(site.post("/api/v1/webhooks", given).await.good()["secret"], Value::Null);
    let post = async |verb: &str, body: Option<Value>| {
        site.send(Site::request(Method::POST, &format!("/api/v1/webhooks/billing/{verb}"), body)).await
    };
    assert_eq!(post("disable", Some(json!({ "backlog": "drop" }))).await.good()["changed"], true);
    assert_eq!(site.get("/api/v1/webhooks/billing").await.good()["status"], "disabled");
    assert_eq!(
        post("enable", None).await.good(),
        json!({ "changed": true, "enabled": true, "name": "billing" })
    );
    assert_ne!(post("rotate", None).await.good()["secret"], secret.as_str());
    let event = site.post("/api/v1/events", json!({ "topic": "order.paid" })).await.good()["id"].clone();
    let again = json!({ "events": [event, site.env.event_id()] });
    let again = post("redeliver", Some(again)).await.good();
    assert_eq!((&again["events"], again["unknown"].as_array().unwrap().len()), (&json!(1), 1));
    assert_eq!(site.get("/api/v1/webhooks/billing/deliveries").await.good()["items"], json!([]));
    for path in
        ["/api/v1/webhooks", "/api/v1/webhooks/billing", "/api/v1/webhooks/given", "/api/v1/openapi.json"]
    {
        let text = site.get(path).await.text;
        assert!(!text.contains(&secret["whsec_".len()..]), "{path}");
    }
    assert_eq!(site.send(delete("/api/v1/webhooks/billing")).await.good()["changed"], true);
    assert_eq!(site.send(delete("/api/v1/webhooks/billing")).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn bulks_are_created_looked_at_paused_and_cancelled() {
    let site = Site::new();
    let bulk =
        json!({ "type": "count", "params": { "kind": "mail", "size": 3 }, "on_failure": "5%", "window": 2 });
    let id = site.post("/api/v1/bulk", bulk).await.good()["id"].as_str().unwrap().to_owned();
    let shown = site.get(&format!("/api/v1/bulk/{id}")).await.good();
    assert_eq!((&shown["type"], &shown["size"], &shown["window"]), (&json!("count"), &json!(3), &json!(2)));
    assert_eq!(site.get("/api/v1/bulk").await.good()["items"][0]["id"], id.as_str());
    let post = async |verb: &str| {
        site.send(Site::request(Method::POST, &format!("/api/v1/bulk/{id}/{verb}"), None)).await.good()
    };
    assert_eq!(post("pause").await["changed"], true);
    assert_eq!(post("pause").await["changed"], false);
    assert_eq!(post("resume").await["changed"], true);
    assert_eq!(post("cancel").await["changed"], true);
    assert_eq!(site.get(&format!("/api/v1/bulk/{id}")).await.good()["state"], "cancelled");
}

#[tokio::test]
async fn workers_are_told_what_to_do() {
    let site = Site::new();
    let (worker, _) = site.claim(1).await;
    assert_eq!(site.get("/api/v1/workers").await.good()["items"][0]["id"], worker.to_string());
    let told =
        site.post("/api/v1/workers/quiet", json!({ "ids": [worker, site.env.worker_id()] })).await.good();
    let told: Vec<bool> = told["items"].as_array().unwrap().iter().map(|one| one["told"] == true).collect();
    assert_eq!(told, [true, false]);
    assert_eq!(site.get("/api/v1/workers").await.good()["items"][0]["order"], "quiet");
    site.post("/api/v1/workers/stop", json!({ "ids": [worker] })).await.good();
    assert_eq!(site.get("/api/v1/workers?all=true").await.good()["items"][0]["order"], "stop");
}

#[tokio::test]
async fn statistics_and_metrics_tell_what_went_on() {
    use taskwright_store::RollUpStore as _;
    let site = Site::new();
    site.job().await;
    let running = site.claim_next().await;
    site.complete(running, "null").await;
    site.job().await;
    site.store.roll_up(1_000).await.unwrap();
    let stats = site.get("/api/v1/stats?by=kind").await.good();
    let line = &stats["items"][0];
    assert_eq!(
        (&line["kind"], &line["executions"], &line["every"]),
        (&json!("mail"), &json!(1), &json!("minute"))
    );
    site.get("/api/v1/jobs/nonsense").await;
    let metrics = site.get("/metrics").await.text;
    for line in [
        "taskwright_jobs{namespace=\"default\",queue=\"default\",state=\"available\"} 1",
        "taskwright_workers{state=\"alive\"} 1",
        "taskwright_http_request_duration_seconds_count{operation=\"jobs.enqueue\",status=\"201\"} 2",
        "taskwright_http_request_duration_seconds_count{operation=\"jobs.show\",status=\"422\"} 1",
        "taskwright_uptime_seconds ",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
}

/// CR-9: a line that is gone looks like a server that is gone. A line is of a queue, not of a kind: of two kinds in one queue it has the sum.
#[tokio::test]
async fn cr_9_a_queue_that_was_drained_has_none_and_is_not_missing() {
    let site = Site::new();
    let waiting = async |queue: &str| {
        let line = format!("taskwright_jobs{{namespace=\"default\",queue=\"{queue}\",state=\"available\"}} ");
        let metrics = site.get("/metrics").await.text;
        let found = metrics.lines().find_map(|told| told.strip_prefix(line.as_str()));
        found.unwrap_or_else(|| panic!("{line} is missing: {metrics}")).to_owned()
    };
    for kind in ["mail", "image"] {
        let job = json!({ "kind": kind, "queue": kind, "any_kind": true });
        site.post("/api/v1/jobs", job).await.good();
        let job = json!({ "kind": kind, "queue": "both", "any_kind": true });
        site.post("/api/v1/jobs", job).await.good();
    }
    assert_eq!((waiting("mail").await.as_str(), waiting("image").await.as_str()), ("1", "1"));
    assert_eq!(waiting("both").await, "2");
    let (worker, mut jobs) = site.claim_of("mail", 1).await;
    site.complete((worker, jobs.pop().unwrap()), "null").await;
    assert_eq!((waiting("mail").await.as_str(), waiting("image").await.as_str()), ("0", "1"));
    for (kind, left) in [("mail", "1"), ("image", "0")] {
        let (worker, jobs) = site.claim_of(kind, 2).await;
        for job in jobs {
            site.complete((worker, job), "null").await;
        }
        assert_eq!(waiting("both").await, left);
    }
}
