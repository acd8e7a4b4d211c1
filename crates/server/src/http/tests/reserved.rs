//! What Taskwright keeps for itself, kinds and queues, is not for members and admins, by whichever way jobs come in.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use taskwright::bulk::{Bulk, BulkSet};
use taskwright::{Job, State};
use taskwright_core::{Actor, JobId, Namespace, Role};
use taskwright_store::Change;

use super::guarded::Guarded;
use crate::config::Config;
use crate::http::state::Limits;

/// A queue of a bulk, and others.
const QUEUES: [&str; 3] =
    ["bulk", "generator:orders", "generator:bulk:count:01890000-0000-7000-8000-000000000000"];

fn schedule(kind: &str, queue: &str) -> Value {
    let trigger = json!({ "type": "every", "period": "1h" });
    json!({ "name": "s", "kind": kind, "queue": queue, "triggers": [{ "id": "t", "trigger": trigger }] })
}

/// A job of A that somebody stored, and cancelled if its state is to be that.
async fn job(guarded: &Guarded, kind: &str, state: State) -> JobId {
    let job = Job::new(kind).namespace("a").owner("token:member@a");
    let job = if state == State::Held { job.hold() } else { job };
    let id = guarded.client.enqueue(job).await.unwrap().id;
    if state == State::Cancelled {
        let (now, actor) = (guarded.client.now(), Actor::system());
        guarded.client.store().change(now, vec![id], Change::Cancel, actor, None).await.unwrap();
    }
    id
}

#[tokio::test]
async fn members_and_admins_store_no_reserved_kind_and_into_no_reserved_queue() {
    let guarded = Guarded::new(Limits::default()).await;
    let member = guarded.token("member", "a", Role::Member).await;
    let admin = guarded.token("admin", "a", Role::Admin).await;
    let refused = async |token: &str, path: &str, body: Value| {
        let sent = Some(body.clone()).filter(|body| !body.is_null());
        let answer = guarded.call(token, Method::POST, path, sent).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path} {body}: {}", answer.text);
        assert!(answer.json()["why"].as_str().unwrap().contains("reserved.use"), "{}", answer.text);
    };
    for token in [&member, &admin] {
        for kind in ["flood", "bulk"] {
            let job = json!({ "kind": kind, "any_kind": true });
            refused(token, "/api/v1/jobs", job.clone()).await;
            refused(token, "/api/v1/jobs", json!({ "kind": kind, "any_kind": true, "hold": true })).await;
            refused(token, "/api/v1/jobs/batch", json!({ "jobs": [{ "kind": "mail" }, job] })).await;
            let bulk = json!({ "type": "count", "params": { "kind": kind, "size": 1 } });
            refused(token, "/api/v1/bulk", bulk).await;
        }
        for queue in QUEUES {
            let job = json!({ "kind": "mail", "queue": queue });
            refused(token, "/api/v1/jobs", job.clone()).await;
            refused(token, "/api/v1/jobs/batch", json!({ "jobs": [{ "kind": "mail" }, job] })).await;
        }
    }
    for kind in ["flood", "bulk"] {
        refused(&admin, "/api/v1/schedules?any_kind=true", schedule(kind, "default")).await;
    }
    for queue in QUEUES {
        refused(&admin, "/api/v1/schedules", schedule("mail", queue)).await;
    }
    for noun in ["jobs", "bulk", "schedules"] {
        let listed = guarded.site.get_as(&guarded.root, &format!("/api/v1/{noun}")).await.good();
        assert_eq!(listed["items"], json!([]), "{noun}");
    }
    // What looks like it and is not, anybody may use.
    for queue in ["bulky", "generator", "flood"] {
        let job = json!({ "kind": "mail", "queue": queue });
        guarded.call(&member, Method::POST, "/api/v1/jobs", Some(job)).await.good();
    }
    // And an operator uses all of it.
    let flood = json!({ "kind": "flood", "queue": "generator:orders" });
    guarded.call(&guarded.root, Method::POST, "/api/v1/jobs?namespace=a", Some(flood)).await.good();
    let put = guarded.call(
        &guarded.root,
        Method::POST,
        "/api/v1/schedules?namespace=a",
        Some(schedule("flood", "default")),
    );
    put.await.good();
    // To fire it is to have such a job.
    refused(&member, "/api/v1/schedules/s/fire", json!({})).await;
    refused(&admin, "/api/v1/schedules/s/resume", Value::Null).await;
    // And so it is where the queue is reserved.
    let put = guarded.call(
        &guarded.root,
        Method::POST,
        "/api/v1/schedules?namespace=a",
        Some(json!({
            "name": "q", "kind": "mail", "queue": QUEUES[1],
            "triggers": [{ "id": "t", "trigger": { "type": "every", "period": "1h" } }],
        })),
    );
    put.await.good();
    refused(&member, "/api/v1/schedules/q/fire", json!({})).await;
    refused(&admin, "/api/v1/schedules/q/resume", Value::Null).await;
    guarded
        .call(&guarded.root, Method::POST, "/api/v1/schedules/q/fire?namespace=a", Some(json!({})))
        .await
        .good();
}

#[tokio::test]
async fn nobody_has_a_job_of_a_reserved_kind_run_again_who_may_not_store_one() {
    let guarded = Guarded::new(Limits::default()).await;
    let member = guarded.token("member", "a", Role::Member).await;
    let admin = guarded.token("admin", "a", Role::Admin).await;
    for kind in ["flood", "bulk"] {
        for (state, verb) in [(State::Cancelled, "retry"), (State::Held, "release")] {
            let id = job(&guarded, kind, state).await;
            let path = format!("/api/v1/jobs/{id}/{verb}");
            assert_eq!(
                guarded.call(&member, Method::POST, &path, None).await.problem(),
                "forbidden",
                "{path}"
            );
            let many = format!("/api/v1/jobs/{verb}");
            let told = guarded.call(&admin, Method::POST, &many, Some(json!({ "ids": [id] }))).await.good();
            assert_eq!(told["items"][0]["result"], "skipped", "{many} {told}");
            guarded.call(&guarded.root, Method::POST, &path, None).await.good();
        }
        // To end one is nobody's privilege.
        let path = format!("/api/v1/jobs/{}/cancel", job(&guarded, kind, State::Held).await);
        guarded.call(&member, Method::POST, &path, None).await.good();
    }
}

#[tokio::test]
async fn the_generator_of_a_bulk_goes_on_only_for_who_may_have_its_items() {
    let guarded = Guarded::new(Limits::default()).await;
    let admin = guarded.token("admin", "a", Role::Admin).await;
    let elsewhere = guarded.token("admin", "b", Role::Admin).await;
    for (kind, args, status) in
        [("flood", json!({}), 403), ("exec", json!({ "command": ["id"] }), 403), ("mail", json!(null), 200)]
    {
        let params = json!({ "kind": kind, "size": 3, "args": args });
        let bulk = Bulk::new("count").params(&params).unwrap().namespace(Namespace::new("a").unwrap());
        let id = guarded.client.bulks(&BulkSet::built_in()).create(bulk).await.unwrap();
        let generator = format!("/api/v1/generators/bulk:count:{id}");
        let status_of = async |token: &str, verb: &str| {
            let path = format!("{generator}/{verb}");
            guarded.call(token, Method::POST, &path, None).await.status.as_u16()
        };
        assert_eq!(status_of(&admin, "pause").await, 200, "{kind}");
        for verb in ["resume", "poll"] {
            assert_eq!(status_of(&admin, verb).await, status, "{kind} {verb}");
            // Whoever has nothing there does not learn from it that there is one.
            assert_eq!(status_of(&elsewhere, verb).await, 404, "{kind} {verb}");
            assert_eq!(status_of(&guarded.root, &format!("{verb}?namespace=a")).await, 200, "{kind} {verb}");
        }
    }
}

#[tokio::test]
async fn a_queue_that_the_operator_has_given_to_a_task_is_for_whoever_may_store_it() {
    let guarded = Guarded::new(Limits::default()).await;
    let member = guarded.token("member", "a", Role::Member).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("taskwright.toml");
    std::fs::write(&file, "[tasks.letters]\ncommand = \"true\"\nqueue = \"bulk\"\n").unwrap();
    guarded.site.api.reload(Config::load(&file).unwrap(), Limits::default());
    for (body, status) in [
        (json!({ "kind": "letters" }), 201),
        (json!({ "kind": "letters", "queue": "bulk" }), 201),
        (json!({ "kind": "letters", "queue": "generator:x" }), 403),
        (json!({ "kind": "mail", "queue": "bulk" }), 403),
    ] {
        let answer = guarded.call(&member, Method::POST, "/api/v1/jobs", Some(body.clone())).await;
        assert_eq!(answer.status.as_u16(), status, "{body}: {}", answer.text);
    }
}
