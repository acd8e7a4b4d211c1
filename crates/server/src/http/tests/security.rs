//! The checklist of security (S1 to S34) as far as it is about the API and not shown elsewhere: `matrix.rs` has S1 and S2, `tenants.rs`
//! S3 and S4, `nobody_gets_in.rs` S7 to S10.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::header::{CONTENT_TYPE, COOKIE, SET_COOKIE};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use taskwright::Client;
use taskwright::identity::TokenRequest;
use taskwright_core::throttle::Pace;
use taskwright_core::{Actor, Grants, Namespace, Principal, Role, UserName};
use taskwright_store::{AuditFilter, Rank};

use super::{Answer, Site, bearing};
use crate::http::authenticate::{Principals, SESSION_COOKIE};
use crate::http::caller::Caller;
use crate::http::guard::Peer;
use crate::http::operations::table;
use crate::http::state::{Limits, Made};

const PASSWORD: &str = "correct horse battery";

/// A server on a store with real principals.
struct Guarded {
    site: Site,
    client: Client,
    root: String,
}

impl Guarded {
    async fn new(limits: Limits) -> Self {
        let mut site = Site::new();
        let client = Client::new(Arc::new(site.store.handle()), site.env.clone());
        let local = Principal::local("maker".parse().unwrap());
        let root = TokenRequest::new("root".parse().unwrap(), Rank::Superuser);
        let root = client.identities().create_token(&local, root).await.unwrap().unwrap();
        let principals = Principals::new(client.identities(), Some("local".parse().unwrap()));
        let made = super::made(&site.store, &site.env, Box::new(principals), limits);
        site.api = crate::http::state::Api::new(Made { ..made });
        site.router = crate::http::router(&site.api);
        Self { site, client, root: root.secret.reveal() }
    }

    /// A token in a namespace.
    async fn token(&self, name: &str, namespace: &str, role: Role) -> String {
        let request =
            TokenRequest::new(name.parse().unwrap(), Rank::In(Namespace::new(namespace).unwrap(), role));
        let local = Principal::local("maker".parse().unwrap());
        self.client.identities().create_token(&local, request).await.unwrap().unwrap().secret.reveal()
    }

    async fn user(&self, name: &str, grants: Grants) {
        let (local, name) = (Principal::local("maker".parse().unwrap()), UserName::new(name).unwrap());
        assert!(self.client.identities().add_user(&local, name, PASSWORD, grants).await.unwrap());
    }

    async fn call(&self, token: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.site.send(bearing(token, Site::request(method, path, body))).await
    }

    async fn log_in(&self, from: &str, name: &str, password: &str) -> Answer {
        let body = json!({ "name": name, "password": password });
        let mut request = Site::request(Method::POST, "/api/v1/sessions", Some(body));
        request.extensions_mut().insert(Peer(from.parse::<IpAddr>().unwrap()));
        self.site.send(request).await
    }

    /// What the answer to a login has set, as it is sent back.
    fn cookie(answer: &Answer) -> String {
        let set = answer.headers[SET_COOKIE].to_str().unwrap();
        set.split(';').next().unwrap().to_owned()
    }

    async fn with_cookie(&self, cookie: &str, method: Method, path: &str) -> Answer {
        let mut request = Site::request(method, path, None);
        request.headers_mut().insert(COOKIE, HeaderValue::from_str(cookie).unwrap());
        self.site.send(request).await
    }

    /// How many entries the audit has.
    async fn entries(&self) -> usize {
        self.client.audit().page(AuditFilter::default(), None, 1_000).await.unwrap().entries.len()
    }
}

#[tokio::test]
async fn s1_a_credential_that_is_not_good_is_no_better_than_none_and_no_worse() {
    let guarded = Guarded::new(Limits::default()).await;
    let (local, now) = (Principal::local("maker".parse().unwrap()), Duration::ZERO);
    let old = TokenRequest::new("old".parse().unwrap(), Rank::Superuser);
    let old = TokenRequest { good_for: Some(now), ..old };
    let old = guarded.client.identities().create_token(&local, old).await.unwrap().unwrap();
    let revoked = TokenRequest::new("gone".parse().unwrap(), Rank::Superuser);
    let revoked = guarded.client.identities().create_token(&local, revoked).await.unwrap().unwrap();
    guarded.client.identities().revoke_token(revoked.token.id).await.unwrap();
    let none = guarded.site.get("/api/v1/jobs").await;
    assert_eq!((none.status.as_u16(), none.problem().as_str()), (401, "unauthenticated"));
    let unknown = format!("{}0", &guarded.root[..guarded.root.len() - 1]);
    for bad in [&old.secret.reveal(), &revoked.secret.reveal(), &unknown, "nonsense"] {
        let answer = guarded.site.get_as(bad, "/api/v1/jobs").await;
        assert_eq!((answer.status, &answer.text), (none.status, &none.text));
        assert_eq!(answer.headers_but_id(), none.headers_but_id());
    }
    assert_eq!(guarded.site.get_as(&guarded.root, "/api/v1/jobs").await.status, StatusCode::OK);
}

#[tokio::test]
async fn s3_it_takes_as_long_to_say_no_whatever_the_reason_is() {
    let limits = Limits { unknown_time: Duration::from_millis(50), ..Limits::default() };
    let guarded = Guarded::new(limits).await;
    let (a, b) = (guarded.token("a", "a", Role::Admin).await, guarded.token("b", "b", Role::Admin).await);
    let body = json!({ "kind": "mail" });
    let stored = guarded.call(&b, Method::POST, "/api/v1/jobs", Some(body)).await.good();
    let foreign = format!("/api/v1/jobs/{}", stored["id"].as_str().unwrap());
    let missing = "/api/v1/jobs/01890000-0000-7000-8000-000000000000".to_owned();
    let missing_name = "/api/v1/schedules/nothing".to_owned();
    for path in [foreign, missing, missing_name] {
        let began_us = guarded.site.env.monotonic_us();
        assert_eq!(guarded.site.get_as(&a, &path).await.problem(), "not-found");
        assert!(guarded.site.env.monotonic_us() - began_us >= 50_000, "{path}");
    }
    let began_us = guarded.site.env.monotonic_us();
    assert_eq!(guarded.site.get_as("nobody", "/api/v1/jobs").await.problem(), "unauthenticated");
    assert!(guarded.site.env.monotonic_us() - began_us >= 50_000);
}

#[tokio::test]
async fn s5_nobody_gives_more_than_it_has() {
    let guarded = Guarded::new(Limits::default()).await;
    let (admin, member) =
        (guarded.token("admin", "a", Role::Admin).await, guarded.token("member", "a", Role::Member).await);
    let make = async |token: &str, path: &str, body: Value| {
        guarded.call(token, Method::POST, path, Some(body)).await
    };
    let tokens = "/api/v1/tokens";
    let own =
        make(&admin, tokens, json!({ "name": "x", "role": "admin", "scopes": ["tokens.manage"] })).await;
    let narrow = own.good()["token"].as_str().unwrap().to_owned();
    assert_eq!(make(&admin, tokens, json!({ "name": "y", "superuser": true })).await.problem(), "forbidden");
    assert_eq!(make(&member, tokens, json!({ "name": "y", "role": "viewer" })).await.problem(), "forbidden");
    let elsewhere = format!("{tokens}?namespace=b");
    assert_eq!(
        make(&admin, &elsewhere, json!({ "name": "y", "role": "viewer" })).await.problem(),
        "forbidden"
    );
    // A user has no scopes: a superuser's token that is held to managing users makes none, and becomes none.
    let request = json!({ "name": "held", "superuser": true, "scopes": ["users.manage"] });
    let held = make(&guarded.root, tokens, request).await.good()["token"].as_str().unwrap().to_owned();
    guarded.user("boss", Grants::superuser()).await;
    let boss = json!({ "name": "other", "password": PASSWORD, "superuser": true });
    assert_eq!(make(&held, "/api/v1/users", boss).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let path = "/api/v1/users/boss/password";
    let password = json!({ "password": "battery staple" });
    assert_eq!(make(&held, path, password).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let known = guarded.log_in("10.0.0.1", "boss", PASSWORD).await;
    assert_eq!(known.status, StatusCode::OK, "the password is the old one");
    // A token that is held to making tokens makes none that may do more.
    assert_eq!(make(&narrow, tokens, json!({ "name": "z", "role": "viewer" })).await.problem(), "forbidden");
    for path in ["/api/v1/users", "/api/v1/namespaces/a/cancel-policy"] {
        assert_eq!(guarded.site.get_as(&admin, path).await.problem(), "forbidden", "{path}");
    }
}

/// S5: who lost a right is cut off within a second, also where a stream is open.
#[tokio::test]
async fn s5_a_revoked_token_ends_with_the_next_request_and_its_streams_within_a_second() {
    let guarded = Guarded::new(Limits::default()).await;
    let viewer = guarded.token("viewer", "a", Role::Viewer).await;
    let stream = Site::request(Method::GET, "/api/v1/events/stream", None);
    let stream = guarded.site.raw(bearing(&viewer, stream)).await;
    assert_eq!(stream.status(), StatusCode::OK);
    let mut ended = std::pin::pin!(stream.into_body().collect());
    assert!(super::is_pending(ended.as_mut()));
    let listed = guarded.site.get_as(&guarded.root, "/api/v1/tokens?namespace=a").await.good();
    let id = listed["items"][0]["id"].as_str().unwrap().to_owned();
    let revoked = guarded.call(&guarded.root, Method::DELETE, &format!("/api/v1/tokens/{id}"), None).await;
    assert_eq!(revoked.good()["changed"], true);
    assert_eq!(guarded.site.get_as(&viewer, "/api/v1/queues").await.status, StatusCode::UNAUTHORIZED);
    let patience = Duration::from_secs(20);
    assert!(guarded.site.env.timeout(patience, ended).await.is_some(), "the stream is open still");
}

#[tokio::test]
async fn s5_a_right_that_is_taken_is_gone_with_the_next_request_of_the_session() {
    let guarded = Guarded::new(Limits::default()).await;
    guarded.user("alice", Grants::of(Namespace::new("a").unwrap(), Role::Admin)).await;
    let login = guarded.log_in("10.0.0.1", "alice", PASSWORD).await;
    let cookie = Guarded::cookie(&login);
    let see = async || guarded.with_cookie(&cookie, Method::GET, "/api/v1/queues").await.status.as_u16();
    assert_eq!(see().await, 200);
    let grants = json!({ "roles": { "b": "viewer" } });
    let path = "/api/v1/users/alice/grants";
    guarded.call(&guarded.root, Method::PUT, path, Some(grants)).await.good();
    let of_a = guarded.with_cookie(&cookie, Method::GET, "/api/v1/queues?namespace=a").await;
    assert_eq!(of_a.problem(), "forbidden");
    assert_eq!(see().await, 200, "those of b");
    guarded.call(&guarded.root, Method::POST, "/api/v1/users/alice/disable", None).await.good();
    assert_eq!(see().await, 401);
}

#[tokio::test]
async fn s6_the_last_superuser_cannot_go_and_is_told_what_to_do() {
    let guarded = Guarded::new(Limits::default()).await;
    let listed = guarded.site.get_as(&guarded.root, "/api/v1/tokens").await.good();
    let path = format!("/api/v1/tokens/{}", listed["items"][0]["id"].as_str().unwrap());
    let refused = guarded.call(&guarded.root, Method::DELETE, &path, None).await;
    assert_eq!(refused.problem(), "conflict");
    assert!(refused.text.contains("tokens create NAME --superuser"), "{}", refused.text);
    // With another one it can.
    guarded.user("boss", Grants::superuser()).await;
    assert_eq!(guarded.call(&guarded.root, Method::DELETE, &path, None).await.status, StatusCode::OK);
    let cookie = Guarded::cookie(&guarded.log_in("10.0.0.1", "boss", PASSWORD).await);
    let mut request = Site::request(Method::POST, "/api/v1/users/boss/disable", None);
    request.headers_mut().insert(COOKIE, HeaderValue::from_str(&cookie).unwrap());
    assert_eq!(guarded.site.send(request).await.problem(), "conflict");
}

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
            let path = path.replace("{queue}", "default").replace("{namespace}", "a");
            let answer = guarded.site.get_as(&guarded.root, &path).await;
            assert!(answer.status.as_u16() < 500, "{path}");
        }
    }
    assert_eq!(state().await, before);
}

#[tokio::test]
async fn s13_a_token_is_told_once_and_nowhere_kept() {
    let guarded = Guarded::new(Limits::default()).await;
    let body = json!({ "name": "ci", "role": "member" });
    let made = guarded.call(&guarded.root, Method::POST, "/api/v1/tokens?namespace=a", Some(body)).await;
    let secret = made.good()["token"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("tw_") && secret.len() > 3 + 64);
    let digits = &secret[3..];
    let kept = format!("{:?}", guarded.site.store);
    assert!(!kept.contains(digits));
    for operation in table().into_iter().filter(|one| !one.is_mutation() && !one.is_stream) {
        let answer = guarded.site.get_as(&guarded.root, operation.path).await;
        assert!(!answer.text.contains(digits), "{}", operation.id);
    }
    let listed = guarded.site.get_as(&guarded.root, "/api/v1/tokens?namespace=a").await.good();
    assert_eq!(listed["items"][0]["hint"], secret[..11], "{listed}");
    assert_eq!(listed["items"][0]["used_at"], Value::Null);
    assert_eq!(guarded.site.get_as(&secret, "/api/v1/whoami").await.good()["name"], "token:ci@a");
    let listed = guarded.site.get_as(&guarded.root, "/api/v1/tokens?namespace=a").await.good();
    assert!(listed["items"][0]["used_at"].is_string());
}

/// S13: a file with a token in it does not hold the token.
#[tokio::test]
async fn s13_no_file_of_a_store_has_a_secret() {
    use taskwright_store::sqlite::{Options, SqliteStore};
    let (directory, env) = (tempfile::tempdir().unwrap(), taskwright::Env::system());
    let store = SqliteStore::open(&directory.path().join("s.db"), Options { now: env.now() }).unwrap();
    let client = Client::new(Arc::new(store), env);
    let local = Principal::local("maker".parse().unwrap());
    let request = TokenRequest::new("ci".parse().unwrap(), Rank::Superuser);
    let made = client.identities().create_token(&local, request).await.unwrap().unwrap();
    let alice = UserName::new("alice").unwrap();
    assert!(client.identities().add_user(&local, alice, PASSWORD, Grants::superuser()).await.unwrap());
    let session = client.identities().log_in("alice", PASSWORD).await.unwrap().unwrap();
    let secrets = [made.secret.reveal()[3..67].to_owned(), session.secret.reveal()[3..67].to_owned()];
    let mut bytes = 0;
    for file in std::fs::read_dir(directory.path()).unwrap() {
        let file = file.unwrap();
        if !file.file_type().unwrap().is_file() {
            continue;
        }
        let content = std::fs::read(file.path()).unwrap();
        bytes += content.len();
        let text = String::from_utf8_lossy(&content);
        assert!(!text.contains(PASSWORD));
        for secret in &secrets {
            let raw: Vec<u8> =
                (0..32).map(|at| u8::from_str_radix(&secret[2 * at..2 * at + 2], 16).unwrap()).collect();
            assert!(!text.contains(secret) && !content.windows(32).any(|window| window == raw));
        }
    }
    assert!(bytes > 10_000, "{bytes}");
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
async fn s15_tries_to_log_in_are_slowed_down_by_address_and_name_and_nobody_is_locked_out() {
    let guarded = Guarded::new(Limits::default()).await;
    guarded.user("boss", Grants::superuser()).await;
    let (stranger, now_us): (Option<IpAddr>, _) =
        (Some("10.6.6.6".parse().unwrap()), guarded.site.env.monotonic_us());
    let paces = &guarded.site.api.paces;
    // 10,000 tries in a minute, of which few are looked at.
    let mut looked_at = 0;
    for try_us in (0..60_000_000).step_by(6_000) {
        // One that is not said to be right was wrong.
        looked_at += usize::from(paces.begin(stranger, "boss", now_us + try_us).is_ok());
    }
    assert!((10..100).contains(&looked_at), "{looked_at}");
    let refused = guarded.log_in("10.6.6.6", "boss", PASSWORD).await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (429, "too-many"));
    assert!(refused.headers["retry-after"].to_str().unwrap().parse::<u32>().unwrap() >= 1);
    // Whoever has the password gets in from elsewhere.
    assert_eq!(guarded.log_in("10.0.0.1", "boss", PASSWORD).await.status, StatusCode::OK);
    // With other names it is the address that waits.
    for number in 0..40 {
        let name = format!("user{number}");
        drop(paces.begin(Some("10.7.7.7".parse().unwrap()), &name, now_us));
    }
    assert_eq!(guarded.log_in("10.7.7.7", "boss", PASSWORD).await.status.as_u16(), 429);
    // Those who have their passwords may be as many as they like behind one address.
    for number in 0..1_000 {
        let name = format!("user{number}");
        paces.begin(Some("10.8.8.8".parse().unwrap()), &name, now_us).unwrap().forgive();
    }
    assert_eq!(guarded.log_in("10.8.8.8", "boss", PASSWORD).await.status, StatusCode::OK);
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

#[tokio::test]
async fn s22_s24_who_may_only_submit_runs_no_command_of_its_own() {
    let guarded = Guarded::new(Limits::default()).await;
    for (name, role) in [("member", Role::Member), ("admin", Role::Admin)] {
        let token = guarded.token(name, "a", role).await;
        let command = json!({ "kind": "exec", "args": { "command": ["id"] } });
        let refused = guarded.call(&token, Method::POST, "/api/v1/jobs", Some(command.clone())).await;
        assert_eq!(refused.problem(), "forbidden", "{name}");
        let batch = json!({ "jobs": [{ "kind": "mail" }, command] });
        let refused = guarded.call(&token, Method::POST, "/api/v1/jobs/batch", Some(batch)).await;
        assert_eq!(refused.problem(), "forbidden", "{name}");
        let bulk = json!({ "type": "count", "params": { "kind": "exec", "size": 1 } });
        let refused = guarded.call(&token, Method::POST, "/api/v1/bulk", Some(bulk)).await;
        assert_eq!(refused.problem(), "forbidden", "{name}");
        let trigger = json!({ "type": "every", "period": "1h" });
        let schedule = json!({ "name": "s", "kind": "exec", "args": { "command": ["id"] }, "triggers": [{ "id": "t", "trigger": trigger }] });
        let refused = guarded.call(&token, Method::POST, "/api/v1/schedules", Some(schedule)).await;
        assert_eq!(refused.problem(), "forbidden", "{name}");
        assert_eq!(guarded.site.get_as(&token, "/api/v1/jobs").await.good()["items"], json!([]));
    }
    let command = json!({ "kind": "exec", "args": { "command": ["id"] } });
    let stored =
        guarded.call(&guarded.root, Method::POST, "/api/v1/jobs?namespace=a", Some(command)).await.good();
    // To run it again is to run it: whoever may only look may not.
    let viewer = guarded.token("viewer", "a", Role::Viewer).await;
    let retry = format!("/api/v1/jobs/{}/retry", stored["id"].as_str().unwrap());
    assert_eq!(guarded.call(&viewer, Method::POST, &retry, None).await.problem(), "forbidden");
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

/// Who may cancel is for each namespace to say, and holds for one job as for many.
#[tokio::test]
async fn a_cancel_policy_holds_over_http() {
    let guarded = Guarded::new(Limits::default()).await;
    let (member, admin) =
        (guarded.token("member", "a", Role::Member).await, guarded.token("admin", "a", Role::Admin).await);
    let other = guarded.token("other", "a", Role::Member).await;
    let cancel = async |token: &str| {
        let body = json!({ "kind": "mail" });
        let job = guarded.call(&member, Method::POST, "/api/v1/jobs", Some(body)).await.good()["id"].clone();
        let many =
            guarded.call(token, Method::POST, "/api/v1/jobs/cancel", Some(json!({ "ids": [job] }))).await;
        let told = many.good()["items"][0]["result"].as_str().unwrap().to_owned();
        let path = format!("/api/v1/jobs/{}/cancel", job.as_str().unwrap());
        (told, guarded.call(token, Method::POST, &path, None).await.status.as_u16())
    };
    let expected = [
        ("owner", [("done", 200), ("skipped", 403), ("done", 200), ("done", 200)]),
        ("admin", [("skipped", 403), ("skipped", 403), ("done", 200), ("done", 200)]),
        ("superuser", [("skipped", 403), ("skipped", 403), ("skipped", 403), ("done", 200)]),
    ];
    for (policy, answers) in expected {
        let path = "/api/v1/namespaces/a/cancel-policy";
        guarded.call(&guarded.root, Method::PUT, path, Some(json!({ "policy": policy }))).await.good();
        for (token, (told, status)) in [&member, &other, &admin, &guarded.root].into_iter().zip(answers) {
            assert_eq!(cancel(token).await, (told.to_owned(), status), "{policy}");
        }
    }
}

/// Of jobs somebody sees what is theirs, wherever it is, also when a role is gone; and reading how it ended is noted.
#[tokio::test]
async fn a_submitter_keeps_its_jobs_without_a_role() {
    let guarded = Guarded::new(Limits::default()).await;
    guarded.user("alice", Grants::of(Namespace::new("a").unwrap(), Role::Member)).await;
    let cookie = Guarded::cookie(&guarded.log_in("10.0.0.1", "alice", PASSWORD).await);
    let mut request =
        Site::request(Method::POST, "/api/v1/jobs", Some(json!({ "kind": "mail", "owner": "bob" })));
    request.headers_mut().insert(COOKIE, HeaderValue::from_str(&cookie).unwrap());
    let id = guarded.site.send(request).await.good()["id"].as_str().unwrap().to_owned();
    guarded
        .call(&guarded.root, Method::POST, "/api/v1/jobs?namespace=a", Some(json!({ "kind": "mail" })))
        .await
        .good();
    let path = "/api/v1/users/alice/grants";
    guarded.call(&guarded.root, Method::PUT, path, Some(json!({}))).await.good();
    for listing in ["/api/v1/jobs", "/api/v1/jobs?namespace=a"] {
        let listed = guarded.with_cookie(&cookie, Method::GET, listing).await.good();
        let ids: Vec<&Value> = listed["items"].as_array().unwrap().iter().map(|job| &job["id"]).collect();
        assert_eq!(ids, [&json!(id)], "{listing}");
        assert_eq!(listed["items"][0]["owner"], "alice", "whatever it said");
    }
    let job = format!("/api/v1/jobs/{id}");
    assert_eq!(
        guarded.with_cookie(&cookie, Method::POST, &format!("{job}/cancel")).await.problem(),
        "forbidden"
    );
    guarded.call(&guarded.root, Method::POST, &format!("{job}/cancel"), None).await.good();
    assert_eq!(guarded.site.get_as(&guarded.root, &job).await.good()["consumed_at"], Value::Null);
    assert!(guarded.with_cookie(&cookie, Method::GET, &job).await.good()["consumed_at"].is_string());
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

#[tokio::test]
async fn s33_one_principal_does_not_use_up_what_is_there_for_others() {
    let pace = Pace { per_second: 1, burst: 5 };
    let guarded = Guarded::new(Limits { pace, streams_each_max: 2, ..Limits::default() }).await;
    let (greedy, other) =
        (guarded.token("greedy", "a", Role::Viewer).await, guarded.token("other", "a", Role::Viewer).await);
    let mut taken = 0;
    let refused = loop {
        let answer = guarded.site.get_as(&greedy, "/api/v1/queues").await;
        if answer.status != StatusCode::OK {
            break answer;
        }
        taken += 1;
        assert!(taken < 100);
    };
    assert!(taken >= 5, "{taken}");
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (429, "too-many"));
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(guarded.site.get_as(&other, "/api/v1/queues").await.status, StatusCode::OK);
    let follow = async |token: &str| {
        let request = bearing(token, Site::request(Method::GET, "/api/v1/events/stream", None));
        guarded.site.raw(request).await
    };
    let open = [follow(&other).await, follow(&other).await];
    assert!(open.iter().all(|one| one.status() == StatusCode::OK));
    let third = follow(&other).await;
    assert_eq!(third.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(third.headers().contains_key("retry-after"));
    drop(open);
    assert_eq!(follow(&other).await.status(), StatusCode::OK, "what was closed makes room");
}

/// S33: what is in memory of the bodies of one principal is bounded, and of all together.
#[tokio::test]
async fn s33_bodies_of_one_principal_leave_room_for_others() {
    let limits = Limits { bodies_each_bytes_max: 4_000, bodies_bytes_max: 6_000, ..Limits::default() };
    let guarded = Guarded::new(limits).await;
    let (greedy, other) =
        (guarded.token("greedy", "a", Role::Member).await, guarded.token("other", "a", Role::Member).await);
    let enqueue = async |token: &str, bytes: usize| {
        let body = json!({ "kind": "mail", "args": "x".repeat(bytes) });
        guarded.call(token, Method::POST, "/api/v1/jobs", Some(body)).await
    };
    let refused = enqueue(&greedy, 5_000).await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (429, "too-many"));
    assert_eq!(refused.headers["retry-after"], "1");
    enqueue(&greedy, 3_000).await.good();
    enqueue(&greedy, 3_000).await.good();
    let caller = Caller::local(Actor::system());
    let held = guarded.site.api.paces.body(&caller, &limits, 5_000).unwrap();
    assert_eq!(enqueue(&other, 2_000).await.status.as_u16(), 429, "of all together");
    drop(held);
    enqueue(&other, 2_000).await.good();
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
