//! An event that could not be delivered is tried again for days, while all others go on.

use std::time::Duration;

use taskwright::Namespace;
use taskwright::core::EventId;
use taskwright::core::webhook::{ATTEMPTS_MAX, DeliveryEnd, Endpoint, Order};
use taskwright::store::{Effect, EventKey, GeneratorCommit, RetryWrite, TakeGenerators, WebhookTurn};

use crate::support::{World, seconds, world};
use crate::webhooks::{Receivers, called, url};

const AT_ONCE: Duration = Duration::from_millis(2);
const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn one_bad_event_is_tried_again_later_and_later_and_holds_up_no_other() {
    world(async |world| {
        let receivers = Receivers::new(&world, |sent| (if sent.number() == 3 { 400 } else { 200 }, AT_ONCE));
        world.endpoint("a", |endpoint| endpoint).await;
        let _node = world.delivering(&receivers);
        let ids = world.happens(0..10).await;
        world.sim.advance(seconds(3)).await;
        assert_eq!(receivers.numbers(&url("a")), (0..10).collect::<Vec<_>>());
        world.sim.advance(HOUR).await;
        let tries: Vec<_> = receivers.sent.all().into_iter().filter(|sent| sent.number() == 3).collect();
        assert!(tries.iter().all(|sent| sent.id == ids[3].to_string()), "always the same id");
        // 5 s, 5 min and 30 min, each spread by a tenth.
        let pauses_s: Vec<u64> = tries.windows(2).map(|pair| (pair[1].ms - pair[0].ms) / 1_000).collect();
        assert_eq!(pauses_s.len(), 3, "{pauses_s:?}");
        for (pause, about) in pauses_s.iter().zip([5, 300, 1_800]) {
            assert!((about * 9 / 10 - 1..=about * 11 / 10 + 1).contains(pause), "{pauses_s:?}");
        }
        assert_eq!(world.store().retries(world.webhook("a").await.retry_set, 10).await.unwrap().len(), 1);
    });
}

#[test]
fn an_event_that_failed_for_the_last_time_is_given_up() {
    world(async |world| {
        let receivers = Receivers::new(&world, |_| (400, AT_ONCE));
        world.endpoint("a", |endpoint| endpoint).await;
        let id = world.happens([1]).await[0];
        has_failed(&world, id, ATTEMPTS_MAX - 1).await;
        let _node = world.delivering(&receivers);
        world.sim.advance(seconds(60)).await;
        assert_eq!(receivers.numbers(&url("a")), [1], "once more, and not again");
        let tried =
            world.webhooks().deliveries(&Namespace::default(), &called("a"), None, 100).await.unwrap();
        assert_eq!((tried[0].delivery.attempt, tried[0].delivery.end), (ATTEMPTS_MAX, DeliveryEnd::GaveUp));
        assert!(world.store().retries(world.webhook("a").await.retry_set, 10).await.unwrap().is_empty());
    });
}

/// Writes that the first event of the log has failed so often, as a turn would have.
async fn has_failed(world: &World, id: EventId, attempts: u32) {
    let (store, now) = (world.store(), world.sim.env().now());
    let prefixes = vec!["webhook:".to_owned()];
    let take = TakeGenerators { prefixes, ..TakeGenerators::at(now, seconds(30), 1) };
    let taken = store.take_generators(take).await.unwrap().generators.remove(0);
    let next_at = Some(now);
    let topic = "order.paid".parse().unwrap();
    let retries =
        vec![RetryWrite::Later { event: EventKey(1), id, topic, position: 1, key: None, attempts, next_at }];
    let set = world.webhook("a").await.retry_set;
    let turn = WebhookTurn { set, deliveries: Vec::new(), retries, listen: None, shape: None };
    let commit = GeneratorCommit {
        generator: taken.key,
        version: taken.version,
        fence: taken.fence,
        notices: taken.notices,
        record: taken.record,
        state: Some("{\"cursor\": 1}".to_owned()),
        paused: false,
        next: Some(now),
        items: Vec::new(),
        settled: Vec::new(),
        look_after: 0,
        again: Vec::new(),
        effects: vec![Effect::Webhook(Box::new(turn))],
    };
    assert!(store.commit_generator(now, commit).await.unwrap());
}

#[test]
fn events_of_one_key_wait_for_each_other_where_that_is_wanted() {
    world(async |world| {
        // 4 is of the key of 1, 7, 10, ...; it is taken at the third attempt.
        let receivers = Receivers::new(&world, |sent| {
            (if sent.number() == 4 && sent.ms < 60_000 { 500 } else { 200 }, AT_ONCE)
        });
        world.endpoint("free", |endpoint| endpoint).await;
        world.endpoint("strict", |endpoint| Endpoint { order: Order::Key, ..endpoint }).await;
        world.endpoint("wide", |endpoint| Endpoint { order: Order::Key, in_flight: 5, ..endpoint }).await;
        let _node = world.delivering(&receivers);
        world.happens(0..30).await;
        world.sim.advance(seconds(10)).await;
        let of_key = |name: &str, key: u64| {
            let mut numbers: Vec<u64> =
                receivers.numbers(&url(name)).into_iter().filter(|n| n % 3 == key).collect();
            numbers.dedup();
            numbers
        };
        let all = |key: u64| (0..30).filter(|n| n % 3 == key).collect::<Vec<_>>();
        for name in ["strict", "wide"] {
            assert_eq!((of_key(name, 0), of_key(name, 2)), (all(0), all(2)), "{name}");
            assert_eq!(of_key(name, 1), [1, 4], "{name}: what is behind waits");
        }
        assert!(of_key("free", 1).contains(&28));
        world.happens(30..40).await;
        world.sim.advance(seconds(1_000)).await;
        for name in ["strict", "wide"] {
            let expected: Vec<u64> = (0..40).filter(|n| n % 3 == 1).collect();
            assert_eq!(of_key(name, 1), expected, "{name}: in order, and none is left behind");
        }
    });
}

#[test]
fn a_receiver_that_says_gone_is_told_no_more_and_what_waits_is_parked() {
    world(async |world| {
        let receivers = Receivers::new(&world, |sent| (if sent.ms < 30_000 { 410 } else { 200 }, AT_ONCE));
        world.endpoint("a", |endpoint| endpoint).await;
        let _node = world.delivering(&receivers);
        world.happens(0..5).await;
        world.sim.advance(seconds(600)).await;
        assert_eq!(receivers.numbers(&url("a")), [0]);
        let disabled = world.webhook("a").await.endpoint.disabled.unwrap();
        assert_eq!(disabled.reason.as_deref(), Some("the receiver answered 410 Gone"));
        assert!(world.webhooks().enable(&Namespace::default(), &called("a")).await.unwrap());
        world.sim.advance(seconds(30)).await;
        let mut numbers = receivers.numbers(&url("a"));
        numbers.sort_unstable();
        assert_eq!(numbers, [0, 0, 1, 2, 3, 4]);
    });
}

#[test]
fn events_can_be_delivered_again_by_hand() {
    world(async |world| {
        let receivers = Receivers::new(&world, |_| (200, AT_ONCE));
        world.endpoint("a", |endpoint| endpoint).await;
        let _node = world.delivering(&receivers);
        let ids = world.happens(0..5).await;
        world.sim.advance(seconds(5)).await;
        let again = vec![ids[1], ids[3], world.sim.env().event_id()];
        let found = world.webhooks().redeliver(&Namespace::default(), &called("a"), again).await.unwrap();
        assert_eq!(found, [true, true, false]);
        world.sim.advance(seconds(5)).await;
        assert_eq!(receivers.numbers(&url("a")), [0, 1, 2, 3, 4, 1, 3]);
    });
}

#[test]
fn an_event_that_is_redelivered_while_it_is_sent_is_sent_once_more() {
    world(async |world| {
        // The first attempt of 2 fails; each takes a while.
        let receivers = Receivers::new(&world, |sent| {
            (if sent.number() == 2 && sent.ms < 2_500 { 500 } else { 200 }, seconds(3))
        });
        world.endpoint("a", |endpoint| Endpoint { in_flight: 2, ..endpoint }).await;
        let _node = world.delivering(&receivers);
        let ids = world.happens([1, 2]).await;
        world.sim.advance(seconds(3)).await;
        let numbers = || {
            let mut numbers = receivers.numbers(&url("a"));
            numbers.sort_unstable();
            numbers
        };
        assert_eq!(numbers(), [1, 2], "they are under way");
        let redeliver =
            async || world.webhooks().redeliver(&Namespace::default(), &called("a"), ids.clone()).await;
        assert_eq!(redeliver().await.unwrap(), [true; 2]);
        world.sim.advance(seconds(3)).await;
        assert_eq!(numbers(), [1, 1, 2, 2], "under way again, out of the retry set");
        assert_eq!(redeliver().await.unwrap(), [true; 2]);
        world.sim.advance(seconds(10)).await;
        assert_eq!(numbers(), [1, 1, 1, 2, 2, 2]);
        assert_eq!(world.retry_count("a").await, 0);
    });
}
