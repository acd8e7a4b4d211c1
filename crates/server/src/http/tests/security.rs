//! The checklist of security (S1 to S34) as far as it is about the API and not shown elsewhere: `matrix.rs` has S1 and S2, `tenants.rs`
//! S3 and S4, `rights.rs` S5, S6, S13 and S22, `nobody_gets_in.rs` S7 to S10, `limits.rs` S15 and S33.

use std::sync::Arc;

use axum::body::Body;
use http::header::{CONTENT_TYPE, SET_COOKIE};
use http::{HeaderValue, Method, Request};
use serde_json::{Value, json};
use taskwright::Client;
use taskwright_core::{Grants, Namespace, Role};

use super::{Site, bearing};
use crate::http::authenticate::{Principals, SESSION_COOKIE};
use crate::http::guard::Peer;
use crate::http::operations::table;
use crate::http::state::Limits;

use super::guarded::{Guarded, PASSWORD};

/// S7: a request that only looks changes nothing: no entry of the audit, and the store is as it was.
#[tokio::test]
async fn s7_looking_changes_nothing() {
    let guarded = Guarded::new(Limits::default()).await;
    let body = json!({ "kind": "mail" });
    let id = guarded.call(&guarded.root, Method::POST, "/api/v1/jobs", Some(body)).await.good()["id"].clone();
    let state = async || {
        let mut told = String::new();
        for path in [
            "jobs",
            "queues",
            "schedules",
            "generators",
            "webhooks",
            "events",
            "bulk",
            "users",
            "tokens?all=true",
        ] {
            let answer = guarded.site.get_as(&guarded.root, &format!("/api/v1/{path}")).await.good();
            // When a token was used is noted.
            told.push_str(&answer.to_string().replace("used_at", ""));
        }
        (told, guarded.entries().await)
    };
    let before = state().await;
    for _ in 0..2 {
        for operation in table().into_iter().filter(|one| !one.is_mutation() && !one.is_stream) {
            let path = operation.path.replace("{id}", id.as_str().unwrap()).replace("{name}", "n");
            let path =
                path.replace("{queue}", "default").replace("{namespace}", "a").replace("{what}", "completed");
            let answer = guarded.site.get_as(&guarded.root, &path).await;
            assert!(answer.status.as_u16() < 500, "{path}");
        }
    }
    assert_eq!(state().await, before);
}

#[tokio::test]
async fn s14_a_login_is_refused_in_the_same_words_whether_there_is_such_a_user_or_not() {
    let guarded = Guarded::new(Limits::default()).await;
    guarded.user("alice", Grants::superuser()).await;
    guarded.user("off", Grants::superuser()).await;
    guarded.call(&guarded.root, Method::POST, "/api/v1/users/off/disable", None).await.good();
    let wrong = guarded.log_in("10.0.0.1", "alice", "another password").await;
    assert_eq!(wrong.problem(), "unauthenticated");
    for (name, password) in [("nobody", PASSWORD), ("off", PASSWORD), ("a/b:c", PASSWORD), ("", PASSWORD)] {
        let answer = guarded.log_in("10.0.0.1", name, password).await;
        assert_eq!((answer.status, answer.text), (wrong.status, wrong.text.clone()), "{name}");
    }
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

/// S21: what looks like SQL is a text like any other.
#[tokio::test]
async fn s21_payloads_are_texts_in_every_field() {
    let guarded = Guarded::new(Limits::default()).await;
    let payloads = [
        "' OR '1'='1",
        "'; DROP TABLE taskwright_job; --",
        "\" OR 1=1 --",
        "1) UNION SELECT password FROM account --",
        "%27",
        "\\'; --",
        "$1",
        "?1",
        "{x}",
        "a'||(SELECT 1)||'",
        "x\u{0}y",
        "') ON CONFLICT DO NOTHING --",
        "${jndi:x}",
        "<script>alert(1)</script>",
        "\u{1b}]8;;http://evil\u{7}",
        "=HYPERLINK(\"x\")",
        "../../etc/passwd",
        "%s%n",
        "\u{202e}",
        "' AND sleep(5) --",
    ];
    guarded.call(&guarded.root, Method::POST, "/api/v1/jobs", Some(json!({ "kind": "mail" }))).await.good();
    for payload in payloads {
        let quoted: String = payload.bytes().map(|byte| format!("%{byte:02X}")).collect();
        for parameter in ["kind", "queue", "owner", "namespace", "cursor", "state", "id"] {
            let path = format!("/api/v1/jobs?{parameter}={quoted}");
            let answer = guarded.site.get_as(&guarded.root, &path).await;
            assert!(answer.status.as_u16() < 500, "{parameter} {payload}: {}", answer.text);
            assert!(!answer.text.contains("\"kind\":\"mail\""), "{parameter} {payload}: {}", answer.text);
        }
        for field in ["kind", "queue", "owner", "unique", "args", "max_attempts", "backoff"] {
            let mut body = json!({ "kind": "mail", "any_kind": true });
            body[field] = payload.into();
            let answer = guarded.call(&guarded.root, Method::POST, "/api/v1/jobs", Some(body)).await;
            assert!(answer.status.as_u16() < 500, "{field} {payload}: {}", answer.text);
        }
        let mut request = Site::request(Method::POST, "/api/v1/jobs", Some(json!({ "kind": "mail" })));
        if let Ok(key) = HeaderValue::from_str(payload) {
            request.headers_mut().insert("idempotency-key", key);
        }
        assert!(guarded.site.send(bearing(&guarded.root, request)).await.status.as_u16() < 500, "{payload}");
        assert!(guarded.log_in("10.0.0.1", payload, payload).await.status.as_u16() < 500);
    }
    let counted = guarded.site.get_as(&guarded.root, "/api/v1/queues").await.good();
    assert!(counted["items"].as_array().is_some_and(|queues| !queues.is_empty()));
}

/// S25: an address that only this server reaches is no address for a tenant's endpoint, and what it answers is told to nobody.
#[tokio::test]
async fn s25_no_tenant_sends_requests_to_what_only_the_server_reaches() {
    let guarded = Guarded::new(Limits::default()).await;
    let admin = guarded.token("admin", "a", Role::Admin).await;
    let addresses = [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "0.0.0.0",
        "[::]",
        "169.254.169.254",
        "[fe80::1]",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[::ffff:127.0.0.1]",
        "[::ffff:10.0.0.1]",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "224.0.0.1",
        "255.255.255.255",
        "[ff02::1]",
        "[::ffff:169.254.169.254]",
    ];
    for (number, address) in addresses.iter().enumerate() {
        let hook =
            json!({ "name": format!("h{number}"), "url": format!("http://{address}:9/"), "topics": ["x"] });
        let added = guarded.call(&admin, Method::POST, "/api/v1/webhooks", Some(hook)).await;
        if added.status.is_success() {
            let path = format!("/api/v1/webhooks/h{number}/test");
            let tried = guarded.call(&admin, Method::POST, &path, None).await.good();
            assert_eq!(
                (&tried["delivered"], &tried["status"]),
                (&json!(false), &Value::Null),
                "{address}: {tried}"
            );
            assert!(tried["error"].as_str().unwrap().contains("address"), "{address}: {tried}");
        }
    }
}

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

/// S34: what went wrong inside is told to the operator, under an id that the answer names, and S10: nothing is a page.
#[tokio::test]
async fn s34_no_answer_is_a_page_or_tells_of_the_inside() {
    let guarded = Guarded::new(Limits::default()).await;
    for operation in table().into_iter().filter(|one| !one.is_stream && one.id != "system.openapi") {
        let path = operation.path.replace("{id}", "%3Cscript%3E").replace("{name}", "%3Cscript%3E");
        let path = path.replace("{queue}", "%3Cscript%3E").replace("{namespace}", "%3Cscript%3E");
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
