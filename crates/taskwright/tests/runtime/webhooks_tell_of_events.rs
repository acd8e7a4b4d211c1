//! An endpoint is told of every event of its topics, in order, and of no other.

use std::time::Duration;

use taskwright::core::webhook::{Endpoint, Secret, Topics};
use taskwright::store::DeliveryView;
use taskwright::{Event, Namespace};

use crate::support::{seconds, world};
use crate::webhooks::{Receivers, called, url};

const AT_ONCE: Duration = Duration::from_millis(2);

#[test]
fn each_event_is_delivered_once_and_in_order_from_the_moment_of_adding() {
    world(async |world| {
        let receivers = Receivers::new(&world, |_| (200, AT_ONCE));
        world.happens(0..10).await;
        world.sim.advance(seconds(2)).await;
        world.endpoint("a", |endpoint| endpoint).await;
        let _node = world.delivering(&receivers);
        world.happens(10..1_500).await;
        world
            .client
            .emit(Event::new("order.paid").namespace("elsewhere").payload(&99).unwrap())
            .await
            .unwrap();
        world.sim.advance(seconds(30)).await;
        assert_eq!(receivers.numbers(&url("a")), (10..1_500).collect::<Vec<_>>());
        // Idle now, and woken by the next.
        let before_ms = world.elapsed_ms();
        world.happens([1_500]).await;
        world.sim.advance(seconds(2)).await;
        let last = receivers.sent.all().pop().unwrap();
        assert_eq!(last.number(), 1_500);
        assert!(last.ms - before_ms <= 1_500, "{} ms later", last.ms - before_ms);
        let queues = world.store().queues(world.sim.env().now(), None).await.unwrap();
        assert_eq!(queues, [], "nothing was a job");
    });
}

#[test]
fn only_events_of_its_topics_are_sent() {
    world(async |world| {
        let receivers = Receivers::new(&world, |_| (204, AT_ONCE));
        let only = |patterns: &[&str]| Topics(patterns.iter().map(|one| one.parse().unwrap()).collect());
        world.endpoint("orders", |endpoint| Endpoint { topics: only(&["order.*"]), ..endpoint }).await;
        world
            .endpoint("users", |endpoint| Endpoint { topics: only(&["user.new", "user.*.gone"]), ..endpoint })
            .await;
        let _node = world.delivering(&receivers);
        for (topic, n) in
            [("order.paid", 1), ("user.new", 2), ("user.7.gone", 3), ("user.7", 4), ("order.a.b", 5)]
        {
            world.client.emit(Event::new(topic).payload(&n).unwrap()).await.unwrap();
        }
        world.sim.advance(seconds(5)).await;
        assert_eq!(receivers.numbers(&url("orders")), [1]);
        assert_eq!(receivers.numbers(&url("users")), [2, 3]);
    });
}

#[test]
fn a_message_is_signed_with_both_secrets_after_a_rotation_and_says_what_happened() {
    world(async |world| {
        let receivers = Receivers::new(&world, |_| (200, AT_ONCE));
        world.endpoint("a", |endpoint| endpoint).await;
        let old = world.webhook("a").await.endpoint.secret;
        let _node = world.delivering(&receivers);
        let new = world.webhooks().rotate(&Namespace::default(), &called("a")).await.unwrap();
        let ids = world.happens([7]).await;
        world.sim.advance(seconds(5)).await;
        let message = receivers.sent.all().pop().unwrap().message;
        let body: serde_json::Value = serde_json::from_slice(&message.body).unwrap();
        assert_eq!((body["type"].as_str(), body["key"].as_str()), (Some("order.paid"), Some("customer 1")));
        assert_eq!(
            (body["id"].as_str(), body["data"].as_u64()),
            (Some(ids[0].to_string().as_str()), Some(7))
        );
        assert_eq!(message.id, ids[0].to_string());
        let sign = |secret: &Secret| secret.sign(&message.id, message.unix_s, &message.body);
        assert_eq!(message.signature, format!("{} {}", sign(&new), sign(&old)));
    });
}

#[test]
fn what_was_tried_is_written_down() {
    world(async |world| {
        let receivers = Receivers::new(&world, |sent| (if sent.number() == 1 { 500 } else { 200 }, AT_ONCE));
        world.endpoint("a", |endpoint| endpoint).await;
        let _node = world.delivering(&receivers);
        let ids = world.happens([1, 2]).await;
        world.sim.advance(seconds(3)).await;
        let tried = world.webhooks().deliveries(&Namespace::default(), &called("a"), None, 10).await.unwrap();
        let brief = |view: &DeliveryView| (view.delivery.event, view.delivery.attempt, view.delivery.status);
        assert_eq!(
            tried.iter().map(brief).collect::<Vec<_>>(),
            [(ids[1], 1, Some(200)), (ids[0], 1, Some(500))]
        );
        assert_eq!(tried[1].delivery.error.as_deref(), Some("it answered 500"));
        assert_eq!(tried[0].delivery.took_ms, 2);
    });
}

/// A slow endpoint holds up only itself.
#[test]
fn one_that_is_slow_holds_up_no_other() {
    world(async |world| {
        let receivers =
            Receivers::new(&world, |sent| (200, if sent.url == url("slow") { seconds(14) } else { AT_ONCE }));
        for name in ["slow", "fine"] {
            world.endpoint(name, |endpoint| endpoint).await;
        }
        let _node = world.delivering(&receivers);
        world.happens(0..2_000).await;
        world.sim.advance(seconds(20)).await;
        assert_eq!(receivers.numbers(&url("fine")), (0..2_000).collect::<Vec<_>>());
        let slow = receivers.numbers(&url("slow"));
        assert!((1..=3).contains(&slow.len()), "{slow:?}");
        world.sim.advance(seconds(100)).await;
        let slow = receivers.numbers(&url("slow"));
        assert_eq!(slow, (0..slow.len() as u64).collect::<Vec<_>>());
        assert!(slow.len() >= 7, "{slow:?}");
    });
}

#[test]
fn as_many_requests_are_under_way_as_the_endpoint_takes() {
    world(async |world| {
        let receivers = Receivers::new(&world, |_| (200, seconds(1)));
        world.endpoint("a", |endpoint| Endpoint { in_flight: 4, ..endpoint }).await;
        let _node = world.delivering(&receivers);
        world.happens(0..40).await;
        world.sim.advance(seconds(30)).await;
        let sent = receivers.sent.all();
        assert_eq!(sent.len(), 40);
        for one in &sent {
            let at_once = sent.iter().filter(|other| (one.ms..one.ms + 1_000).contains(&other.ms)).count();
            assert!(at_once <= 4, "{at_once} at {} ms", one.ms);
        }
        let took_ms = sent.iter().map(|one| one.ms).max().unwrap() - sent[0].ms;
        assert!(took_ms < 15_000, "{took_ms} ms");
    });
}
