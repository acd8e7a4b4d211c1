//! S3, S14: nobody learns by words or by the clock what they are not told. Requests that are compared are sent in turn, so that whatever
//! else the machine does is shared by all of them, and it is their medians that are compared.

use std::time::Duration;

use http::Method;
use serde_json::json;
use taskwright_core::{Grants, Role};

use super::guarded::{Guarded, PASSWORD};
use crate::http::state::Limits;

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

/// By the clock: a hash is made of the password in any case. Without one, a name that nobody has is told in a hundredth of the time.
#[tokio::test]
async fn s14_a_login_takes_as_long_whether_there_is_such_a_user_or_not() {
    const ROUNDS: usize = 25;
    let guarded = Guarded::new(Limits::default()).await;
    guarded.user("alice", Grants::superuser()).await;
    guarded.user("off", Grants::superuser()).await;
    guarded.call(&guarded.root, Method::POST, "/api/v1/users/off/disable", None).await.good();
    let names = ["alice", "nobody", "off", "a/b:c"];
    let medians = medians(&guarded, ROUNDS, names.len(), async |round, which| {
        // Each from an address of its own: those who guess are slowed down.
        let from = format!("10.0.{round}.{which}");
        let answer = guarded.log_in(&from, names[which], "another password").await;
        assert_eq!(answer.status.as_u16(), 401, "{}", answer.text);
    })
    .await;
    for (name, median) in names.iter().zip(&medians) {
        assert!(are_alike(*median, medians[0], 0.3), "{name}: {medians:?}");
    }
}

/// What is there and of others, and what is not there, for whoever has no role where it is.
#[tokio::test]
async fn s3_what_is_of_others_takes_as_long_as_what_there_is_not() {
    const ROUNDS: usize = 60;
    let guarded = Guarded::new(Limits::default()).await;
    let (a, b) = (guarded.token("a", "a", Role::Admin).await, guarded.token("b", "b", Role::Admin).await);
    let stored = guarded.call(&b, Method::POST, "/api/v1/jobs", Some(json!({ "kind": "mail" }))).await.good();
    let foreign = stored["id"].as_str().unwrap().to_owned();
    for (method, verb) in [
        (Method::GET, ""),
        (Method::GET, "/logs"),
        (Method::GET, "/result"),
        (Method::POST, "/cancel"),
        (Method::POST, "/retry"),
    ] {
        let medians = medians(&guarded, ROUNDS, 2, async |_, which| {
            let id = if which == 0 { foreign.clone() } else { guarded.site.env.job_id().to_string() };
            let body = (method == Method::POST).then(|| json!({}));
            let answer = guarded.call(&a, method.clone(), &format!("/api/v1/jobs/{id}{verb}"), body).await;
            assert_eq!(answer.status.as_u16(), 404, "{verb}: {}", answer.text);
        })
        .await;
        assert!(are_alike(medians[0], medians[1], 0.2), "{verb}: {medians:?}");
    }
}

/// How long each of some requests takes, by the median of so many rounds in which each is sent once.
async fn medians(
    guarded: &Guarded,
    rounds: usize,
    requests: usize,
    send: impl AsyncFn(usize, usize),
) -> Vec<Duration> {
    let mut took_us = vec![Vec::with_capacity(rounds); requests];
    for round in 0..rounds {
        for number in 0..requests {
            // Not always in the same order: who comes after whom must not matter.
            let which = (number + round) % requests;
            let began_us = guarded.site.env.monotonic_us();
            send(round, which).await;
            took_us[which].push(guarded.site.env.monotonic_us() - began_us);
        }
    }
    took_us
        .into_iter()
        .map(|mut times| {
            times.sort_unstable();
            Duration::from_micros(times[rounds / 2])
        })
        .collect()
}

/// Whether they differ by less than this part of the longer one.
fn are_alike(one: Duration, other: Duration, part: f64) -> bool {
    one.abs_diff(other).as_secs_f64() < part * one.max(other).as_secs_f64()
}
