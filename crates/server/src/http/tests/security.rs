//! The checklist of security (S1 to S34) as far as it is about the API and not shown elsewhere: `matrix.rs` has S1 and S2, `tenants.rs`
//! S3 and S4, `rights.rs` S5, S6, S13 and S22, `nobody_gets_in.rs` S7 to S10, `times.rs` S14 and S3 by the clock, `limits.rs` S15 and
//! S33, `payloads.rs` S21.

use std::sync::Arc;

use axum::body::Body;
use http::header::{CONTENT_TYPE, SET_COOKIE};
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use taskwright::Client;
use taskwright_core::attempt::Outcome;
use taskwright_core::{Grants, Namespace, Role};
use taskwright_store::{SourceNote, SourcePlace, SourceStore as _, Store as _};

use super::{Site, bearing, ending, whole};
use crate::http::authenticate::{Principals, SESSION_COOKIE};
use crate::http::guard::Peer;
use crate::http::operations::table;
use crate::http::state::Limits;

use super::guarded::{Guarded, PASSWORD};

/// S7: a request that only looks changes nothing: the store is as it was, to the last row, whatever there is to look at, what waits, what
/// runs and what is over. But a submitter who reads how its job ended has that noted, once.
#[tokio::test]
async fn s7_looking_changes_nothing() {
    let guarded = Guarded::new(Limits::default()).await;
    let (viewer, member) =
        (guarded.token("viewer", "a", Role::Viewer).await, guarded.token("member", "a", Role::Member).await);
    let post = async |path: &str, body: Value| {
        guarded
            .call(&guarded.root, Method::POST, &format!("/api/v1/{path}?namespace=a"), Some(body))
            .await
            .good()
    };
    let mut ids = Vec::new();
    for _ in 0..3 {
        let stored =
            guarded.call(&member, Method::POST, "/api/v1/jobs", Some(json!({ "kind": "mail" }))).await;
        ids.push(stored.good()["id"].as_str().unwrap().to_owned());
    }
    guarded.site.complete(guarded.site.claim_next().await, "\"done\"").await;
    let _running = guarded.site.claim_next().await;
    let trigger = json!({ "type": "every", "period": "1h" });
    post(
        "schedules",
        json!({ "name": "n", "kind": "mail", "triggers": [{ "id": "t", "trigger": trigger }] }),
    )
    .await;
    post("webhooks", json!({ "name": "n", "url": "https://example.org/", "topics": ["x"] })).await;
    post("events", json!({ "topic": "x" })).await;
    post("bulk", json!({ "type": "count", "params": { "kind": "mail", "size": 3 } })).await;
    let looks = async || {
        let (mut good, before) = (0, guarded.stored());
        for operation in table().into_iter().filter(|one| !one.is_mutation() && !one.is_stream) {
            for id in &ids {
                let path = operation.path.replace("{id}", id).replace("{name}", "n");
                let path = path.replace("{queue}", "default").replace("{namespace}", "a");
                let path = whole(path.replace("{what}", "completed"));
                for who in [&guarded.root, &viewer] {
                    let answer = guarded.site.get_as(who, &path).await;
                    assert!(answer.status.as_u16() < 500, "{path}");
                    good += usize::from(answer.status.is_success());
                    assert!(guarded.stored() == before, "{} has changed something: {path}", operation.id);
                }
            }
        }
        assert!(good > 100, "{good}");
    };
    // That a token was used is noted, once a minute.
    for who in [&guarded.root, &viewer, &member] {
        guarded.site.get_as(who, "/api/v1/whoami").await.good();
    }
    let before = guarded.stored();
    for _ in 0..2 {
        looks().await;
    }
    assert!(guarded.stored() == before);
    // The one thing that is noted.
    let ended = format!("/api/v1/jobs/{}", ids[0]);
    for _ in 0..2 {
        assert!(guarded.site.get_as(&member, &ended).await.good()["consumed_at"].is_string());
    }
    let stored = guarded.stored();
    let at = guarded.site.get_as(&member, &ended).await.good()["consumed_at"].clone();
    guarded.site.get_as(&member, &format!("{ended}/result")).await.good();
    assert_eq!(guarded.site.get_as(&member, &ended).await.good()["consumed_at"], at, "the first time counts");
    assert!(stored != before);
    assert!(guarded.stored() == stored, "it is noted again");
}

#[tokio::test]
async fn s16_a_session_is_in_a_cookie_that_no_script_reads_and_ends_on_the_server() {
    let guarded = Guarded::new(Limits::default()).await;
    guarded.user("alice", Grants::of(Namespace::new("a").unwrap(), Role::Viewer)).await;
    let first = guarded.log_in("10.0.0.1", "alice", PASSWORD).await;
    let set = first.headers[SET_COOKIE].to_str().unwrap().to_owned();
    for part in ["; Path=/", "; HttpOnly", "; Secure", "; SameSite=Strict", "; Max-Age=604800"] {
        assert!(set.contains(part), "{set}");
    }
    let cookie = Guarded::cookie(&first);
    assert!(cookie.starts_with("__Host-") && !set.contains("Domain"), "{set}");
    assert!(!first.text.contains(&cookie[SESSION_COOKIE.len() + 1..]), "it is in the cookie alone");
    assert_eq!(first.json()["roles"], json!({ "a": "viewer" }));
    // One that somebody else has set is not taken over: each login has a new one.
    let second = Guarded::cookie(&guarded.log_in("10.0.0.1", "alice", PASSWORD).await);
    assert_ne!(cookie, second);
    let own = guarded.with_cookie(&cookie, Method::GET, "/api/v1/sessions").await.good();
    let current: Vec<&Value> = own["items"].as_array().unwrap().iter().map(|one| &one["current"]).collect();
    assert_eq!(current, [false, true], "the newest first");
    let out = guarded.with_cookie(&cookie, Method::DELETE, "/api/v1/sessions").await;
    assert!(out.headers[SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
    assert_eq!(out.good()["changed"], true);
    assert_eq!(guarded.with_cookie(&cookie, Method::GET, "/api/v1/whoami").await.status.as_u16(), 401);
    assert_eq!(guarded.with_cookie(&second, Method::GET, "/api/v1/whoami").await.good()["name"], "alice");
}

#[tokio::test]
async fn s17_without_a_principal_only_this_machine_gets_in_and_no_proxy_for_others() {
    let site = Site::new();
    let client = Client::new(Arc::new(site.store.handle()), site.env.clone());
    let with = |local: Option<&str>| {
        let principals = Principals::new(client.identities(), local.map(|name| name.parse().unwrap()));
        let made = super::made(&site.store, &site.env, Box::new(principals), Limits::default());
        let api = crate::http::state::Api::new(made);
        Site { store: site.store.handle(), env: site.env.clone(), router: crate::http::router(&api), api }
    };
    let (local, open) = (with(Some("me")), with(None));
    assert_eq!(open.get("/api/v1/jobs").await.status.as_u16(), 401, "an address that others reach");
    assert_eq!(local.get("/api/v1/whoami").await.good()["kind"], "local");
    for header in ["x-forwarded-for", "forwarded", "x-real-ip", "via"] {
        let mut request = Site::request(Method::GET, "/api/v1/jobs", None);
        request.headers_mut().insert(header, "10.0.0.1".parse().unwrap());
        assert_eq!(local.send(request).await.status.as_u16(), 401, "{header}");
    }
    // It ends with the first principal.
    let made = local.post("/api/v1/tokens", json!({ "name": "root", "superuser": true })).await.good();
    assert_eq!(local.get("/api/v1/jobs").await.status.as_u16(), 401);
    assert_eq!(local.get_as(made["token"].as_str().unwrap(), "/api/v1/jobs").await.status.as_u16(), 200);
}

/// S25: an address that only this server reaches is no address for a tenant's endpoint, and what it answers is told to nobody.
#[tokio::test]
async fn s25_no_tenant_sends_requests_to_what_only_the_server_reaches() {
    let guarded = Guarded::new(Limits::default()).await;
    let admin = guarded.token("admin", "a", Role::Admin).await;
    // Somebody listens at this machine: whatever reaches it is seen.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (mut refused, mut tried_in_vain) = (0, 0);
    for (number, address) in PRIVATE.iter().enumerate() {
        let hook = json!({ "name": format!("h{number}"), "url": format!("http://{address}:{port}/"), "topics": ["x"] });
        let added = guarded.call(&admin, Method::POST, "/api/v1/webhooks", Some(hook)).await;
        if !added.status.is_success() {
            assert_eq!(added.status.as_u16(), 422, "{address}: {}", added.text);
            refused += 1;
            continue;
        }
        let path = format!("/api/v1/webhooks/h{number}/test");
        let tried = guarded.call(&admin, Method::POST, &path, None).await.good();
        assert_eq!(
            (&tried["delivered"], &tried["status"]),
            (&json!(false), &Value::Null),
            "{address}: {tried}"
        );
        assert!(tried["error"].as_str().unwrap().contains("address"), "{address}: {tried}");
        tried_in_vain += 1;
    }
    assert!(refused >= 60 && tried_in_vain >= 3, "{refused} {tried_in_vain}");
    let reached = listener.accept().map(|(_, from)| from);
    assert_eq!(reached.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

/// This machine, its network, what is in the middle of it, and what means one of these, in whatever way it can be written.
const PRIVATE: &[&str] = &[
    "127.0.0.1",
    "127.0.0.2",
    "127.255.255.254",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "127.1",
    "127.0.1",
    "127.0.0.1.",
    "2130706433",
    "0x7f000001",
    "0X7F000001",
    "0x7f.1",
    "0x7f.0.0.1",
    "0177.0.0.1",
    "017700000001",
    "0",
    "0.0.0.0",
    "0x0",
    "0.1.2.3",
    "[::]",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::127.0.0.1]",
    "[::7f00:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::1]",
    "[2002:7f00:1::]",
    "[2002:a00:1::1]",
    "[2001:0:1:2:3:4:80ff:fffe]",
    "10.0.0.1",
    "10.255.255.255",
    "0xa.0.0.1",
    "167772161",
    "[::ffff:10.0.0.1]",
    "[64:ff9b::10.0.0.1]",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "3232235777",
    "[::ffff:192.168.1.1]",
    "100.64.0.1",
    "100.127.255.255",
    "169.254.169.254",
    "0xa9fea9fe",
    "2852039166",
    "0251.0376.0251.0376",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[64:ff9b::a9fe:a9fe]",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "[fe80::a9fe:a9fe]",
    "[fc00::1]",
    "[fdff:ffff::1]",
    "[fec0::1]",
    "[ff02::1]",
    "[2001:db8::1]",
    "[5f00::1]",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.9",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
];

/// S27: whatever a principal changes is told with who, with what, from where and by which request.
#[tokio::test]
async fn s27_a_change_is_told_with_who_from_where_and_by_which_request() {
    let guarded = Guarded::new(Limits::default()).await;
    let member = guarded.token("member", "a", Role::Member).await;
    let mut request =
        bearing(&member, Site::request(Method::POST, "/api/v1/jobs", Some(json!({ "kind": "mail" }))));
    request.extensions_mut().insert(Peer("10.1.2.3".parse().unwrap()));
    let stored = guarded.site.send(request).await;
    let id = stored.headers["x-request-id"].to_str().unwrap().to_owned();
    let listed =
        guarded.site.get_as(&guarded.root, "/api/v1/audit?namespace=a&action=jobs.enqueue").await.good();
    let entry = &listed["items"][0];
    assert_eq!(
        (&entry["who"], &entry["from"], &entry["kind"]),
        (&json!("token:member@a"), &json!("10.1.2.3"), &json!("token"))
    );
    assert_eq!((&entry["request"], &entry["object"]), (&json!(id), &json!("mail")));
    let tokens = guarded.site.get_as(&guarded.root, "/api/v1/tokens?namespace=a").await.good();
    assert_eq!(entry["token"], tokens["items"][0]["id"]);
    let job = stored.good()["id"].as_str().unwrap().to_owned();
    assert!(entry["outcome"].as_str().unwrap().contains(&job), "{entry}");
    // What is refused, and what changes nothing, leaves none.
    let before = guarded.entries().await;
    let cancel = format!("/api/v1/jobs/{job}/cancel");
    let viewer = guarded.token("viewer", "a", Role::Viewer).await;
    assert_eq!(guarded.call(&viewer, Method::POST, &cancel, None).await.problem(), "forbidden");
    assert_eq!(guarded.entries().await, before);
    guarded.call(&member, Method::POST, &cancel, None).await.good();
    assert_eq!(guarded.entries().await, before + 1);
    assert_eq!(guarded.call(&member, Method::POST, &cancel, None).await.good()["result"], "skipped");
    assert_eq!(guarded.entries().await, before + 1);
    let verified = guarded.site.get_as(&guarded.root, "/api/v1/audit/verify").await.good();
    assert_eq!((&verified["whole"], &verified["entries"]), (&json!(true), &json!(before + 1)));
}

/// S27: what was there before and is there since is in the entry, by hashes.
#[tokio::test]
async fn s27_what_a_change_found_and_left_is_told_by_hashes() {
    let guarded = Guarded::new(Limits::default()).await;
    let policy = "/api/v1/namespaces/a/cancel-policy";
    for name in ["admin", "owner"] {
        let body = Some(json!({ "policy": name }));
        guarded.call(&guarded.root, Method::PUT, policy, body).await.good();
    }
    let listed = guarded.site.get_as(&guarded.root, "/api/v1/audit?namespace=a").await.good();
    let (last, first) = (&listed["items"][0], &listed["items"][1]);
    assert_eq!(last["before"].as_str().unwrap().len(), 64);
    assert_eq!((&last["before"], &last["after"]), (&first["after"], &first["before"]), "{listed}");
}

/// S27: there is no reading of secrets to be told of: a secret is told by the answer to whoever had it made, and by nothing else.
#[tokio::test]
async fn s27_no_answer_reads_a_secret_back() {
    let guarded = Guarded::new(Limits::default()).await;
    let root = &guarded.root;
    let make =
        async |path: &str, body: Option<Value>| guarded.call(root, Method::POST, path, body).await.good();
    let hook = json!({ "name": "hook", "url": "https://example.org/", "topics": ["t"] });
    let hook = make("/api/v1/webhooks?namespace=a", Some(hook)).await;
    let rotated = make("/api/v1/webhooks/hook/rotate?namespace=a", None).await;
    let token = json!({ "name": "ci", "role": "viewer" });
    let token = make("/api/v1/tokens?namespace=a", Some(token)).await;
    guarded.user("boss", Grants::superuser()).await;
    let cookie = Guarded::cookie(&guarded.log_in("10.0.0.1", "boss", PASSWORD).await);
    let stored = guarded.client.identities().users(None, 10).await.unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let session = cookie.split_once('=').unwrap().1.to_owned();
    let mut secrets = vec![text(&hook["secret"]), text(&rotated["secret"]), text(&token["token"]), session];
    secrets.extend([PASSWORD.to_owned(), stored[0].user.password.clone(), root.clone()]);
    let mut asked = 0;
    for operation in table().into_iter().filter(|one| !one.is_mutation() && !one.is_stream) {
        for name in ["hook", "ci", "boss", "webhook:hook"] {
            let path = operation.path.replace("{name}", name).replace("{id}", &text(&token["id"]));
            let path = path.replace("{queue}", "default").replace("{namespace}", "a");
            let path = whole(path.replace("{what}", "completed"));
            for of in ["", "?namespace=a"] {
                let answer = guarded.site.get_as(root, &format!("{path}{of}")).await;
                for secret in &secrets {
                    assert!(!answer.text.contains(secret), "{path}{of}: {}", answer.text);
                }
                asked += usize::from(answer.status.is_success());
            }
        }
    }
    assert!(asked > 200, "{asked}");
    // What made them is in the audit.
    let told = guarded.site.get_as(root, "/api/v1/audit").await.text;
    for action in ["webhooks.create", "webhooks.rotate", "tokens.create", "sessions.login"] {
        assert!(told.contains(action), "{action}: {told}");
    }
}

/// S27: emptying by hand is one deed, however many transactions it takes: that it was begun, and what came of it.
#[tokio::test]
async fn s27_what_is_removed_by_hand_is_told_with_its_sum() {
    let guarded = Guarded::new(Limits::default()).await;
    for _ in 0..3 {
        guarded
            .call(&guarded.root, Method::POST, "/api/v1/jobs", Some(json!({ "kind": "mail" })))
            .await
            .good();
    }
    let (worker, jobs) = guarded.site.claim(3).await;
    let long_ago = guarded.site.env.now().minus(std::time::Duration::from_secs(90 * 86_400));
    let ends = jobs.iter().map(|job| ending(long_ago, job, Outcome::Completed { result: None })).collect();
    guarded.site.store.finish(long_ago, worker, ends).await.unwrap();
    let outcomes = async || -> Vec<String> {
        let listed = guarded.site.get_as(&guarded.root, "/api/v1/audit?action=gc.run").await.good();
        let items = listed["items"].as_array().unwrap();
        items.iter().map(|entry| entry["outcome"].as_str().unwrap().to_owned()).collect()
    };
    let run =
        async || guarded.call(&guarded.root, Method::POST, "/api/v1/gc/completed/run", None).await.good();
    assert_eq!(run().await["removed"], 3);
    assert_eq!(outcomes().await, ["3 removed", "begun"]);
    assert_eq!(run().await["removed"], 0);
    assert_eq!(outcomes().await, ["begun", "3 removed", "begun"]);
}

/// S27: what a retention was set to stands in the entry; a run that is refused leaves none.
#[tokio::test]
async fn s27_what_a_retention_was_set_to_is_told_and_a_run_that_is_refused_is_not() {
    let guarded = Guarded::new(Limits::default()).await;
    let call = async |method: Method, path: &str, body: Option<Value>| {
        guarded.call(&guarded.root, method, path, body).await
    };
    for keep in ["60d", "forever", "default"] {
        call(Method::PUT, "/api/v1/gc/audit", Some(json!({ "keep": keep }))).await.good();
    }
    let objects = async |action: &str| -> Vec<String> {
        let path = format!("/api/v1/audit?action={action}");
        let listed = guarded.site.get_as(&guarded.root, &path).await.good();
        let items = listed["items"].as_array().unwrap();
        items.iter().map(|entry| entry["object"].as_str().unwrap().to_owned()).collect()
    };
    // The first one made the collector known, too.
    let mut told = objects("gc.set").await;
    told.dedup();
    assert_eq!(told, ["audit keep default", "audit keep forever", "audit keep 60d"]);

    call(Method::POST, "/api/v1/generators/gc:audit/pause", None).await.good();
    let refused = call(Method::POST, "/api/v1/gc/audit/run", None).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.text);
    assert!(refused.text.contains("it is paused"), "{}", refused.text);
    assert_eq!(objects("gc.run").await, [""; 0]);
}

/// S34: paths and machines of event sources are for who may view the system.
#[tokio::test]
async fn s34_where_sources_look_is_told_to_the_operator_alone() {
    let guarded = Guarded::new(Limits::default()).await;
    let viewer = guarded.token("viewer", "a", Role::Viewer).await;
    let (now, store) = (guarded.site.env.now(), &guarded.site.store);
    let place = SourcePlace {
        namespace: Namespace::new("a").unwrap(),
        name: "inbox".parse().unwrap(),
        host: "machine-7".to_owned(),
        path: "/srv/inbox".to_owned(),
    };
    let key = store.open_source(now, place).await.unwrap();
    let error = Some("/srv/inbox cannot be read".to_owned());
    let note = SourceNote { mode: "poll".to_owned(), scanned_at: None, files: 3, error };
    assert!(store.note_source(now, key, note).await.unwrap());
    let seen = guarded.site.get_as(&viewer, "/api/v1/sources").await;
    assert!(!seen.text.contains("machine-7") && !seen.text.contains("/srv/inbox"), "{}", seen.text);
    let seen = &seen.good()["items"][0];
    assert_eq!((&seen["name"], &seen["files"], &seen["path"]), (&json!("inbox"), &json!(3), &Value::Null));
    assert!(seen["error"].is_string(), "that something is wrong is told");
    let seen = guarded.site.get_as(&guarded.root, "/api/v1/sources").await.good();
    assert_eq!(
        (&seen["items"][0]["path"], &seen["items"][0]["host"]),
        (&json!("/srv/inbox"), &json!("machine-7"))
    );
}

/// S34: what went wrong inside is told to the operator, under an id that the answer names, and S10: nothing is a page.
#[tokio::test]
async fn s34_no_answer_is_a_page_or_tells_of_the_inside() {
    let guarded = Guarded::new(Limits::default()).await;
    for operation in table().into_iter().filter(|one| !one.is_stream && one.id != "system.openapi") {
        let path = operation.path.replace("{id}", "%3Cscript%3E").replace("{name}", "%3Cscript%3E");
        let path = path.replace("{queue}", "%3Cscript%3E").replace("{namespace}", "%3Cscript%3E");
        let path = whole(path.replace("{what}", "%3Cscript%3E"));
        let body = operation.is_mutation().then(|| json!({ "<script>": "'" }));
        let answer = guarded.call(&guarded.root, operation.method.clone(), &path, body).await;
        assert!(answer.status.as_u16() < 500, "{}: {}", operation.id, answer.text);
        let kind = answer.headers[CONTENT_TYPE].to_str().unwrap();
        assert!(
            kind.contains("json") || kind.contains("text/plain") || kind.contains("openmetrics"),
            "{kind}"
        );
        for inside in ["src/", ".rs", "SELECT", "panicked", "RUST_BACKTRACE", "taskwright_job"] {
            assert!(!answer.text.contains(inside), "{}: {}", operation.id, answer.text);
        }
    }
    let request: Request<Body> = Site::request(Method::GET, "/nothing", None);
    assert_eq!(guarded.site.send(request).await.problem(), "not-found");
}
