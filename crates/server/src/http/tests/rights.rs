//! Nobody does more than they may, gives more than they have, or keeps what was taken from them.

use std::sync::Arc;
use std::time::Duration;

use http::header::COOKIE;
use http::{HeaderValue, Method, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use taskwright::Client;
use taskwright::identity::TokenRequest;
use taskwright::testing::simulate;
use taskwright_core::{Grants, Namespace, Principal, Role, ServiceState, UserName};
use taskwright_store::{ProcessPlace, Rank, ServiceRecord, ServiceStore as _};

use super::{Site, bearing};
use crate::http::operations::table;
use crate::http::state::Limits;

use super::guarded::{Guarded, PASSWORD};

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
    let (known, last) = guarded.root.split_at(guarded.root.len() - 1);
    let unknown = format!("{known}{}", if last == "0" { "1" } else { "0" });
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
    for path in ["/api/v1/users", "/api/v1/namespaces/b/cancel-policy"] {
        assert_eq!(guarded.site.get_as(&admin, path).await.problem(), "forbidden", "{path}");
    }
}

/// S5: who lost a right is cut off within a second, also where a stream is open, whenever that is.
#[test]
fn s5_a_revoked_token_ends_with_the_next_request_and_its_streams_within_a_second() {
    simulate(5, async |sim| {
        let guarded = Guarded::in_time(&sim.env(), Limits::default()).await;
        for number in 0..10 {
            let viewer = guarded.token("viewer", "a", Role::Viewer).await;
            let stream = Site::request(Method::GET, "/api/v1/events/stream", None);
            let stream = guarded.site.raw(bearing(&viewer, stream)).await;
            assert_eq!(stream.status(), StatusCode::OK);
            let mut ended = std::pin::pin!(stream.into_body().collect());
            // While the right is there, it stays open.
            let open = Duration::from_millis(4_000 + 170 * number);
            assert!(sim.env().timeout(open, ended.as_mut()).await.is_none());
            let listed = guarded.site.get_as(&guarded.root, "/api/v1/tokens?namespace=a").await.good();
            let path = format!("/api/v1/tokens/{}", listed["items"][0]["id"].as_str().unwrap());
            let revoked = guarded.call(&guarded.root, Method::DELETE, &path, None).await;
            assert_eq!(revoked.good()["changed"], true);
            let revoked_us = sim.env().monotonic_us();
            let next = guarded.site.get_as(&viewer, "/api/v1/queues").await;
            assert_eq!(next.status, StatusCode::UNAUTHORIZED);
            let ended = sim.env().timeout(Duration::from_secs(20), ended).await;
            assert!(ended.is_some(), "the stream is open still");
            let took_us = sim.env().monotonic_us() - revoked_us;
            assert!(took_us <= 1_000_000, "{took_us} us");
        }
    });
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
        // Whoever has a role there may know.
        assert_eq!(guarded.site.get_as(&member, path).await.good()["policy"], policy);
        let job =
            guarded.call(&member, Method::POST, "/api/v1/jobs", Some(json!({ "kind": "mail" }))).await.good();
        let cancel_it = format!("/api/v1/jobs/{}/cancel", job["id"].as_str().unwrap());
        let told = guarded.call(&member, Method::POST, &cancel_it, None).await;
        assert_eq!(
            told.text.contains(&format!("its cancel policy is `{policy}`")),
            policy != "owner",
            "{}",
            told.text
        );
        // What cancels many at once is held to it, too.
        let purge = async |token: &str| {
            let body = Some(json!({ "kind": "mail" }));
            guarded.call(&member, Method::POST, "/api/v1/jobs", body).await.good();
            guarded
                .call(token, Method::POST, "/api/v1/queues/default/purge", Some(json!({})))
                .await
                .status
                .as_u16()
        };
        let may_admin = if policy == "superuser" { 403 } else { 200 };
        assert_eq!((purge(&admin).await, purge(&guarded.root).await), (may_admin, 200), "{policy}");
        let bulk = json!({ "type": "count", "params": { "kind": "mail", "size": 3 } });
        let bulk = guarded.call(&member, Method::POST, "/api/v1/bulk", Some(bulk)).await.good()["id"].clone();
        let path = format!("/api/v1/bulk/{}/cancel", bulk.as_str().unwrap());
        let ended = guarded.call(&member, Method::POST, &path, Some(json!({}))).await.status.as_u16();
        assert_eq!(ended, if policy == "owner" { 200 } else { 403 }, "{policy}");
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

/// S5: a token that is good for an hour is no way to get one that is good for ever.
#[tokio::test]
async fn s5_a_token_makes_none_that_outlives_it() {
    let guarded = Guarded::new(Limits::default()).await;
    let make = async |token: &str, name: &str, expires: Option<&str>| {
        let body = json!({ "name": name, "role": "viewer", "expires": expires });
        guarded.call(token, Method::POST, "/api/v1/tokens?namespace=a", Some(body)).await
    };
    let body = json!({ "name": "short", "role": "admin", "expires": "1h" });
    let short = guarded.call(&guarded.root, Method::POST, "/api/v1/tokens?namespace=a", Some(body)).await;
    let short = short.good()["token"].as_str().unwrap().to_owned();
    for longer in [None, Some("2h")] {
        let refused = make(&short, "long", longer).await;
        assert_eq!(refused.problem(), "forbidden", "{longer:?}");
        assert!(refused.text.contains("for longer than your token"), "{}", refused.text);
    }
    assert_eq!(make(&short, "shorter", Some("30m")).await.status, StatusCode::CREATED);
    // Nor a user, who would be good for ever.
    let body = json!({ "name": "root-for-an-hour", "superuser": true, "expires": "1h" });
    let made = guarded.call(&guarded.root, Method::POST, "/api/v1/tokens", Some(body)).await.good();
    let boss = made["token"].as_str().unwrap();
    guarded.user("alice", Grants::default()).await;
    for (method, path, body) in [
        (Method::POST, "users", Some(json!({ "name": "mallory", "password": PASSWORD, "superuser": true }))),
        (Method::POST, "users/alice/password", Some(json!({ "password": "battery staple" }))),
        (Method::PUT, "users/alice/grants", Some(json!({ "superuser": true }))),
        (Method::POST, "users/alice/enable", None),
    ] {
        let refused = guarded.call(boss, method, &format!("/api/v1/{path}"), body).await;
        assert_eq!(refused.problem(), "forbidden", "{path}");
    }
    assert_eq!(make(&guarded.root, "long", None).await.status, StatusCode::CREATED);
}

/// S22: a command that a superuser had run is not run again for somebody who may run none.
#[tokio::test]
async fn s22_nobody_has_a_command_run_again_that_they_could_not_have_run() {
    let guarded = Guarded::new(Limits::default()).await;
    let admin = guarded.token("admin", "a", Role::Admin).await;
    let post = async |token: &str, path: &str, body: Value| {
        guarded.call(token, Method::POST, &format!("{path}?namespace=a"), Some(body)).await
    };
    let store = async |kind: &str, hold: bool| {
        let body = json!({ "kind": kind, "any_kind": true, "args": { "command": ["true"] }, "hold": hold });
        let stored = post(&guarded.root, "/api/v1/jobs", body).await.good();
        stored["id"].as_str().unwrap().to_owned()
    };
    let (held, over, mail) =
        (store("exec", true).await, store("exec", false).await, store("mail", false).await);
    for id in [&over, &mail] {
        // To stop it is another matter.
        post(&admin, &format!("/api/v1/jobs/{id}/cancel"), json!({})).await.good();
    }
    for (verb, id) in [("release", &held), ("retry", &over), ("free", &over)] {
        let one = post(&admin, &format!("/api/v1/jobs/{id}/{verb}"), json!({})).await;
        assert_eq!(one.problem(), "forbidden", "{verb}");
        let many = post(&admin, &format!("/api/v1/jobs/{verb}"), json!({ "ids": [id] })).await;
        let told = many.good().to_string();
        assert!(told.contains("you may not do that with it"), "{verb}: {told}");
    }
    let schedule = json!({
        "name": "nightly", "kind": "exec", "args": { "command": ["true"] },
        "triggers": [{ "id": "t", "trigger": { "type": "every", "period": "1h" } }],
    });
    let put = post(&guarded.root, "/api/v1/schedules", schedule).await;
    assert_eq!(put.status, StatusCode::CREATED, "{}", put.text);
    for (verb, body) in [("fire", Some(json!({}))), ("resume", None)] {
        let path = format!("/api/v1/schedules/nightly/{verb}?namespace=a");
        assert_eq!(guarded.call(&admin, Method::POST, &path, body).await.problem(), "forbidden", "{verb}");
    }
    let mut attach = Site::request(Method::PUT, &format!("/api/v1/jobs/{held}/attachments/script"), None);
    attach.headers_mut().insert(http::header::CONTENT_TYPE, "application/octet-stream".parse().unwrap());
    assert_eq!(guarded.site.send(bearing(&admin, attach)).await.problem(), "forbidden");
    // What one registers is one's own, whoever one says it is of.
    let plain = json!({
        "name": "plain", "kind": "mail", "owner": "somebody",
        "triggers": [{ "id": "t", "trigger": { "type": "every", "period": "1h" } }],
    });
    assert_eq!(post(&admin, "/api/v1/schedules", plain).await.status, StatusCode::CREATED);
    let shown = guarded.site.get_as(&admin, "/api/v1/schedules/plain?namespace=a").await.good().to_string();
    assert!(shown.contains(r#""owner":"token:admin@a""#), "{shown}");
    post(&admin, &format!("/api/v1/jobs/{mail}/retry"), json!({})).await.good();
    post(&guarded.root, &format!("/api/v1/jobs/{over}/retry"), json!({})).await.good();
    post(&guarded.root, &format!("/api/v1/jobs/{held}/release"), json!({})).await.good();
}

/// A submitter that follows its job has read how it ended; somebody else who does has not.
#[tokio::test]
async fn whoever_follows_its_own_job_to_the_end_has_read_it() {
    let guarded = Guarded::new(Limits::default()).await;
    let member = guarded.token("member", "a", Role::Member).await;
    let body = json!({ "kind": "mail" });
    let stored = guarded.call(&member, Method::POST, "/api/v1/jobs?namespace=a", Some(body)).await.good();
    let job = format!("/api/v1/jobs/{}", stored["id"].as_str().unwrap());
    guarded.call(&member, Method::POST, &format!("{job}/cancel"), Some(json!({}))).await.good();
    let follow = async |token: &str| {
        let request = Site::request(Method::GET, &format!("{job}/events"), None);
        let stream = guarded.site.raw(bearing(token, request)).await;
        let told = stream.into_body().collect().await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&told).contains("\"cancelled\""), "{told:?}");
        guarded.site.get_as(&guarded.root, &job).await.good()["consumed_at"].clone()
    };
    assert_eq!(follow(&guarded.root).await, Value::Null);
    assert!(follow(&member).await.is_string());
}

#[tokio::test]
async fn what_went_wrong_with_a_service_is_told_to_superusers() {
    let guarded = Guarded::new(Limits::default()).await;
    let viewer = guarded.token("viewer", "a", Role::Viewer).await;
    let now = guarded.site.env.now();
    let place = ProcessPlace { id: guarded.site.env.process_id(), host: "here".to_owned(), pid: 7 };
    let service = ServiceRecord {
        name: "writer".parse().unwrap(),
        state: ServiceState::Failed,
        since: now,
        restarts: 0,
        restart_at: None,
        error: Some("no such row in b".to_owned()),
        error_at: Some(now),
    };
    guarded.site.store.tell_services(now, place, vec![service]).await.unwrap();
    for (token, told) in [(&guarded.root, json!("no such row in b")), (&viewer, Value::Null)] {
        let listed = guarded.site.get_as(token, "/api/v1/services").await.good();
        let service = &listed["items"][0];
        assert_eq!(
            (&service["name"], &service["state"], &service["last_error"]),
            (&json!("writer"), &json!("failed"), &told)
        );
        assert_eq!(service["heard"], true);
    }
}
