//! What one uses up is not missing to others, and guessing is slow.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;
use taskwright::testing::{Call, FaultyStore};
use taskwright_core::throttle::Pace;
use taskwright_core::{Actor, Grants, Role};
use taskwright_store::memory::MemoryStore;

use super::{Site, bearing};
use crate::http::caller::Caller;
use crate::http::state::Limits;

use super::guarded::{Guarded, PASSWORD};

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
async fn the_server_is_looked_over_once_at_a_time() {
    let site = Site::new();
    let busy = site.api.examining.lock().await;
    let mut waiting = std::pin::pin!(site.get("/api/v1/doctor"));
    for _ in 0..100 {
        assert!(super::is_pending(waiting.as_mut()));
        tokio::task::yield_now().await;
    }
    site.get("/api/v1/queues").await.good();
    drop(busy);
    assert!(waiting.await.good()["items"].as_array().unwrap().len() > 5);
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
    // Whoever does not wait as they are told is slow all the same.
    let began_us = guarded.site.env.monotonic_us();
    assert_eq!(guarded.site.get_as(&greedy, "/api/v1/queues").await.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(guarded.site.env.monotonic_us() - began_us >= 100_000);
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

/// S33: whoever asks beside others waits behind their own requests, and others do not.
#[tokio::test]
async fn s33_what_one_principal_asks_waits_behind_its_own_and_not_before_others() {
    let guarded = Guarded::new(Limits { requests_at_once: Some(2), ..Limits::default() }).await;
    let (greedy, other) = (&guarded.root, guarded.token("other", "a", Role::Viewer).await);
    let ask = async |token: &str, path: &str| {
        let answer = guarded.site.get_as(token, path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
    };
    // Whoever has the server looked over waits here, in the midst of it.
    let busy = guarded.site.api.examining.lock().await;
    let mut waiting = Vec::new();
    let mut begin = async |count: usize| {
        for _ in 0..count {
            let mut one = Box::pin(ask(greedy, "/api/v1/doctor"));
            for _ in 0..100 {
                assert!(super::is_pending(one.as_mut()));
                tokio::task::yield_now().await;
            }
            waiting.push(one);
        }
    };
    // Alone, as many as they like are worked on.
    begin(4).await;
    ask(greedy, "/api/v1/queues").await;
    // Beside others, two.
    ask(&other, "/api/v1/queues").await;
    begin(2).await;
    let mut third = Box::pin(ask(greedy, "/api/v1/queues"));
    for _ in 0..100 {
        assert!(super::is_pending(third.as_mut()));
        ask(&other, "/api/v1/queues").await;
    }
    drop(busy);
    tokio::join!(third, futures_util::future::join_all(waiting));
}

/// S33: of what was refused nothing is left that others wait for: the store is not asked what the request was about, and who comes next
/// is answered as soon as when nobody had asked.
#[tokio::test]
async fn s33_what_is_refused_keeps_nobody_else_waiting() {
    const ROUNDS: usize = 60;
    let pace = Pace { per_second: 1, burst: 5 };
    // Refused at once: it is about what is left of it.
    let limits = Limits { pace, refused_time: Duration::ZERO, ..Limits::default() };
    let faulty = FaultyStore::new(Arc::new(MemoryStore::new()));
    let guarded = Guarded::on(faulty.clone(), limits).await;
    let greedy = guarded.token("greedy", "a", Role::Viewer).await;
    // Whoever stays within its pace: a token for each few requests.
    let mut others = Vec::new();
    for number in 0..ROUNDS {
        others.push(guarded.token(&format!("other{number}"), "a", Role::Viewer).await);
    }
    let ask = async |token: &str| {
        let began_us = guarded.site.env.monotonic_us();
        let status = guarded.site.get_as(token, "/api/v1/jobs").await.status.as_u16();
        (status, guarded.site.env.monotonic_us() - began_us)
    };
    let (mut alone_us, mut after_us, mut taken) = (Vec::new(), Vec::new(), 0);
    for other in &others {
        let (status, us) = ask(other).await;
        assert_eq!(status, 200);
        alone_us.push(us);
        for _ in 0..20 {
            taken += u64::from(ask(&greedy).await.0 == 200);
        }
        let (status, us) = ask(other).await;
        assert_eq!(status, 200);
        after_us.push(us);
    }
    assert!(taken < 100, "{taken} of {}", 20 * ROUNDS);
    assert_eq!(faulty.count(Call::List), taken + 2 * ROUNDS as u64);
    let middle = |times: &mut Vec<u64>| {
        times.sort_unstable();
        times[times.len() / 2]
    };
    let (alone_us, after_us) = (middle(&mut alone_us), middle(&mut after_us));
    assert!(after_us <= 2 * alone_us, "{after_us} us after a flood, {alone_us} us without");
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
