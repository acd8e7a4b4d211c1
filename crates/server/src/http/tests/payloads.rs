//! S21: what looks like SQL, like a page, like a path or like an order to a terminal is a text like any other, in every parameter, in
//! every field of a body, in headers, and in what jobs leave behind; on SQLite and on PostgreSQL.

use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, COOKIE, USER_AGENT};
use http::{HeaderName, HeaderValue, Method};
use serde_json::{Value, json};
use taskwright::Env;
use taskwright_core::attempt::Outcome;
use taskwright_core::{JobId, Kind};
use taskwright_store::sqlite::{Options, SqliteStore};
use taskwright_store::{Claim, LogEntry, LogStream, NewWorker, Progress, ProgressReport, SharedStore, Store};

use super::guarded::Guarded;
use super::{Site, bearing, matrix, whole};
use crate::http::authenticate::SESSION_COOKIE;
use crate::http::operation::Operation;
use crate::http::operations::table;
use crate::http::state::Limits;

/// What stands in all that is stored: no question that means nothing shows it.
const CANARY: &str = "canary-52d1";

/// How what stands before may be ended,
const ENDS: [&str; 10] = ["", "'", "\"", "')", "'))", "\\'", "`", "]", "$$", "%27"];

/// and what may then come.
const ORDERS: [&str; 20] = [
    " OR '1'='1",
    " OR 1=1 --",
    "; DROP TABLE job; --",
    "; DELETE FROM taskwright.job; --",
    "; UPDATE token SET superuser = 1; --",
    " UNION SELECT secret FROM webhook --",
    " UNION ALL SELECT NULL, NULL, NULL /*",
    "||(SELECT version())||'",
    " AND pg_sleep(5) --",
    " AND randomblob(1000000000) IS NULL --",
    "; COPY job TO PROGRAM 'id'; --",
    "; ATTACH DATABASE '/tmp/x.db' AS x; --",
    " ON CONFLICT DO NOTHING --",
    "$1 ?1 :a @a %s%n {x} ${jndi:ldap://x}",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "\u{1b}]8;;http://evil\u{7}\u{1b}[2J\u{9b}31m",
    "=HYPERLINK(\"http://evil\")\t+cmd|' /C calc'!A0",
    "../../../etc/passwd\u{0}.txt",
    "\u{202e}\u{2066}\u{feff}\u{ffff}\u{10ffff}",
    "\r\nSet-Cookie: a=b\r\n\r\n",
];

fn payloads() -> Vec<String> {
    ENDS.iter().flat_map(|end| ORDERS.map(|order| format!("x{end}{order}"))).collect()
}

/// Every byte by its number, as in a query or a path.
fn quoted(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn s21_payloads_are_texts_in_every_field_on_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let options = Options { now: Env::system().now() };
    let store = SqliteStore::open(&directory.path().join("s.db"), options).unwrap();
    payloads_are_texts(Arc::new(store)).await;
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn s21_payloads_are_texts_in_every_field_on_postgresql() {
    use taskwright_store::postgres::{PostgresStore, Settings};
    let (database, run) = (super::cluster::Cluster::shared().database(), tempfile::tempdir().unwrap());
    let settings = Settings::parse(&database.url()).unwrap();
    let store = PostgresStore::open(settings, run.path(), Env::system().now()).await.unwrap();
    payloads_are_texts(Arc::new(store)).await;
}

async fn payloads_are_texts(store: SharedStore) {
    assert_eq!(payloads().len(), 200);
    let limits = Limits { unknown_time: Duration::ZERO, ..Limits::default() };
    // Who asks is this machine's user, for whom nothing is hidden; but where it is about who asks.
    let site = Site::limited_on(Arc::clone(&store), limits);
    furnish(&site).await;
    let before = told(&site).await;
    no_question_finds_more(&site).await;
    assert_eq!(told(&site).await, before, "questions have changed something");
    no_body_is_obeyed(&site).await;
    what_is_stored_is_told_as_it_was(&site, &*store).await;
    no_header_is_believed(&Guarded::on(Arc::clone(&store), limits).await).await;
    // All that was there is there.
    let job = site.get(&format!("/api/v1/jobs?kind=mail&owner=alice&queue={CANARY}")).await.good();
    assert_eq!(job["items"].as_array().unwrap().len(), 1, "{job}");
    assert_eq!(site.get("/api/v1/audit/verify").await.good()["whole"], true);
}

/// Something in every place that can be asked about.
async fn furnish(site: &Site) {
    let trigger = json!({ "type": "every", "period": "1h" });
    for (path, body) in [
        ("jobs", json!({ "kind": "mail", "args": CANARY, "owner": "alice", "queue": CANARY })),
        (
            "schedules",
            json!({ "name": CANARY, "kind": "mail", "triggers": [{ "id": "t", "trigger": trigger }] }),
        ),
        ("webhooks", json!({ "name": CANARY, "url": "https://example.org/", "topics": [CANARY] })),
        ("events", json!({ "topic": CANARY, "payload": CANARY, "key": CANARY })),
        ("bulk", json!({ "type": "count", "params": { "kind": "mail", "size": 1, "args": CANARY } })),
    ] {
        site.post(&format!("/api/v1/{path}"), body).await.good();
    }
}

/// What listings tell of it.
async fn told(site: &Site) -> Vec<String> {
    let mut told = Vec::new();
    for path in ["jobs", "queues", "schedules", "webhooks", "events", "bulk", "users", "audit"] {
        let answer = site.get(&format!("/api/v1/{path}")).await;
        assert!(answer.status.is_success(), "{path}: {}", answer.text);
        told.push(answer.text);
    }
    assert!(told.iter().filter(|text| text.contains(CANARY)).count() >= 5, "{told:?}");
    told
}

/// Every parameter of every question that the document knows.
async fn no_question_finds_more(site: &Site) {
    let document = site.get("/api/v1/openapi.json").await.good();
    let looks = table().into_iter().filter(|operation| !operation.is_mutation() && !operation.is_stream);
    let mut asked = 0;
    for operation in looks {
        let described = &document["paths"][operation.path]["get"]["parameters"];
        for parameter in described.as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap();
            for payload in payloads() {
                let path = filled(operation.path, |of| {
                    (parameter["in"] == "path" && of == name).then(|| payload.clone())
                });
                let path = match parameter["in"] == "query" {
                    true => format!("{path}?{name}={}", quoted(&payload)),
                    false => path,
                };
                let answer = site.get(&path).await;
                let place = format!("{} {name} {payload:?}", operation.id);
                assert!(answer.status.as_u16() < 500, "{place}: {}", answer.text);
                assert!(!answer.text.contains(CANARY), "{place}: {}", answer.text);
                asked += 1;
            }
        }
    }
    assert!(asked > 100 * 200, "{asked}");
}

/// A path with something in each of its places that there is not: this, where it says so.
fn filled(path: &str, with: impl Fn(&str) -> Option<String>) -> String {
    let missing = [
        ("{id}", "01890000-0000-7000-8000-000000000000"),
        ("{name}", "nothing"),
        ("{queue}", "nothing"),
        ("{namespace}", "nothing"),
        ("{what}", "nothing"),
    ];
    let filled = missing.into_iter().fold(path.to_owned(), |path, (place, nothing)| {
        let said = with(place.trim_matches(['{', '}'])).map(|said| quoted(&said));
        path.replace(place, said.as_deref().unwrap_or(nothing))
    });
    whole(filled)
}

/// The fields that the document knows of the body of an operation.
fn fields(document: &Value, operation: &Operation) -> Vec<String> {
    let method = operation.method.as_str().to_lowercase();
    let body =
        &document["paths"][operation.path][method]["requestBody"]["content"]["application/json"]["schema"];
    let named = body["$ref"].as_str().and_then(|named| document.pointer(named.trim_start_matches('#')));
    let properties = named.unwrap_or(body)["properties"].as_object();
    properties.into_iter().flatten().map(|(name, _)| name.clone()).collect()
}

async fn no_header_is_believed(guarded: &Guarded) {
    for payload in payloads() {
        // What cannot be sent as a header is sent as far as it can.
        let text: String = payload.chars().filter(|c| !c.is_ascii_control()).collect();
        let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) else { continue };
        let cookie = HeaderValue::from_bytes(format!("{SESSION_COOKIE}={text}").as_bytes()).unwrap();
        let bearer = HeaderValue::from_bytes(format!("Bearer {text}").as_bytes()).unwrap();
        for (name, value) in [(AUTHORIZATION, bearer), (AUTHORIZATION, value.clone()), (COOKIE, cookie)] {
            let mut request = Site::request(Method::GET, "/api/v1/jobs", None);
            request.headers_mut().insert(name, value);
            let answer = guarded.site.send(request).await;
            assert_eq!(answer.status.as_u16(), 401, "{payload:?}: {}", answer.text);
        }
        for name in
            [USER_AGENT, HeaderName::from_static("x-request-id"), HeaderName::from_static("last-event-id")]
        {
            let mut request = Site::request(Method::GET, "/api/v1/jobs?kind=nothing", None);
            request.headers_mut().insert(name, value.clone());
            let answer = guarded.site.send(bearing(&guarded.root, request)).await;
            assert!(
                answer.status.as_u16() < 500 && !answer.text.contains(CANARY),
                "{payload:?}: {}",
                answer.text
            );
            assert!(!answer.headers.contains_key("set-cookie"), "{payload:?}");
        }
    }
}

/// Every field of every body, and every place of the paths that change something.
async fn no_body_is_obeyed(site: &Site) {
    let document = site.get("/api/v1/openapi.json").await.good();
    let (mut asked, mut optional) = (0, 0);
    for operation in table().into_iter().filter(|operation| operation.is_mutation()) {
        // Those make hashes of passwords, which takes its time: a few of each.
        let is_slow =
            matches!(operation.id, "sessions.login" | "users.create" | "users.password" | "whoami.password");
        let every = if is_slow { 23 } else { 1 };
        let places = ["id", "name", "queue", "namespace", "what"].into_iter();
        for place in places.filter(|place| operation.path.contains(&format!("{{{place}}}"))) {
            for payload in payloads().into_iter().step_by(every) {
                let path = filled(operation.path, |of| (of == place).then(|| payload.clone()));
                let body = Some(matrix::body(&operation, "unused").unwrap_or_else(|| json!({})));
                let answer = site.send(Site::request(operation.method.clone(), &path, body)).await;
                let told = format!("{} {place} {payload:?}: {}", operation.id, answer.text);
                assert!((400..500).contains(&answer.status.as_u16()), "{told}");
                assert!(!answer.text.contains(CANARY), "{told}");
                asked += 1;
            }
        }
        let mut body = matrix::body(&operation, "unused").unwrap_or_else(|| json!({}));
        if operation.id == "jobs.enqueue" {
            // Otherwise nothing but the kind would be looked at.
            body["any_kind"] = json!(true);
        }
        let path = filled(operation.path, |_| None);
        for field in fields(&document, &operation) {
            let is_needed = body.get(&field).is_some();
            // What may be left out gets every third.
            let every = if is_needed { every } else { every.max(3) };
            for payload in payloads().into_iter().step_by(every) {
                let mut body = body.clone();
                body[&field] = json!(payload);
                let answer = site.send(Site::request(operation.method.clone(), &path, Some(body))).await;
                let told = format!("{} {field} {payload:?}: {}", operation.id, answer.text);
                assert!(answer.status.as_u16() < 500 && !answer.text.contains(CANARY), "{told}");
                asked += 1;
                optional += usize::from(!is_needed);
            }
        }
    }
    assert!(asked > 40 * 200 && optional > 80 * 67, "{asked}, of which {optional} may be left out");
}

/// What takes any text gives it back as it was: what a job is given, what is said about it, and what it leaves behind.
async fn what_is_stored_is_told_as_it_was(site: &Site, store: &dyn Store) {
    let mut stored: Vec<(JobId, String)> = Vec::new();
    for payload in payloads() {
        let job = json!({
            "kind": "text", "any_kind": true, "max_attempts": 1, "unique": format!("{}", stored.len()),
            "args": { &payload: &payload },
        });
        let answer = site.post("/api/v1/jobs", job).await;
        if answer.status.as_u16() == 422 {
            // What PostgreSQL could not keep is refused everywhere.
            assert!(payload.contains('\u{0}'), "{payload:?}: {}", answer.text);
            continue;
        }
        let id: JobId = answer.good()["id"].as_str().unwrap().parse().unwrap();
        stored.push((id, payload.clone()));
        for (path, body) in
            [("comments", json!({ "text": payload })), ("cancel", json!({ "reason": payload }))]
        {
            if path == "cancel" && stored.len().is_multiple_of(2) {
                continue;
            }
            let path = format!("/api/v1/jobs/{id}/{path}");
            let said = site.post(&path, body).await;
            assert!(said.status.as_u16() < 500, "{payload:?}: {}", said.text);
        }
        if let Ok(key) = HeaderValue::from_str(&payload) {
            let job = json!({ "kind": "keyed", "any_kind": true });
            let mut request = Site::request(Method::POST, "/api/v1/jobs", Some(job));
            request.headers_mut().insert("idempotency-key", key);
            let answer = site.send(request).await;
            assert!(answer.status.as_u16() < 500, "{payload:?}: {}", answer.text);
        }
        // A filter by its arguments finds it and nothing else.
        let filter = quoted(&format!("{payload}={payload}"));
        let found = site.get(&format!("/api/v1/jobs?kind=text&args={filter}")).await;
        assert!(found.status.as_u16() < 500 && !found.text.contains(CANARY), "{payload:?}: {}", found.text);
    }
    assert!(stored.len() >= 190, "{}", stored.len());
    run(&site.env, store, &stored).await;
    for (id, payload) in &stored {
        let job = site.get(&format!("/api/v1/jobs/{id}")).await.good();
        assert_eq!(job["args"][payload], json!(payload));
        let comments = job["comments"].to_string();
        assert!(
            comments.contains(&json!(payload).to_string()) || payload.contains(['\u{1b}', '\r']),
            "{comments}"
        );
        if job["state"] == "failed" {
            assert_eq!(job["error"], json!(payload));
            let log = site.get(&format!("/api/v1/jobs/{id}/logs")).await.good();
            assert_eq!(log["items"][0]["text"], json!(payload), "{log}");
        } else {
            assert_eq!(job["state"], "cancelled", "{job}");
        }
    }
    assert!(stored.len() / 3 < failed(site).await, "half of them ran");
}

async fn failed(site: &Site) -> usize {
    let listed = site.get("/api/v1/jobs?kind=text&state=failed&limit=100").await;
    listed.good()["items"].as_array().unwrap().len()
}

/// Has a worker run what waits of them, which all say what they were given: as progress, as output, and as an error at the end.
async fn run(env: &Env, store: &dyn Store, stored: &[(JobId, String)]) {
    let worker = env.worker_id();
    let new = NewWorker {
        id: worker,
        host: payloads()[7].clone(),
        pid: 7,
        concurrency: 200,
        queues: Vec::new(),
        lease: Duration::from_secs(3_600),
    };
    store.register(env.now(), env.monotonic_us(), new).await.unwrap();
    let mut claimed = Vec::new();
    loop {
        let claim = Claim {
            worker,
            now: env.now(),
            kinds: vec![Kind::new("text").unwrap()],
            queues: None,
            namespace: None,
            priority_max: None,
            limit: 50,
        };
        let some = store.claim(claim).await.unwrap().jobs;
        if some.is_empty() {
            break;
        }
        claimed.extend(some);
    }
    for job in claimed {
        let text = &stored.iter().find(|(id, _)| *id == job.id).unwrap().1;
        let (key, attempt, at) = (job.key, job.attempt, env.now());
        let progress = Progress { done: 1, total: Some(2), message: Some(text.clone()) };
        store.report(worker, vec![ProgressReport { key, attempt, at, progress }]).await.unwrap();
        let entry =
            LogEntry { key, attempt, at, stream: LogStream::Stdout, bytes: text.clone().into_bytes() };
        store.log(worker, vec![entry]).await.unwrap();
        let finish = super::ending(env.now(), &job, Outcome::Fail { error: text.clone() });
        store.finish(env.now(), worker, vec![finish]).await.unwrap();
    }
    store.unregister(env.now(), worker).await.unwrap();
}
