//! After ten failures an endpoint is left alone but for one event every five minutes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use taskwright::Namespace;
use taskwright::testing::Call;

use crate::support::{seconds, world};
use crate::webhooks::{Receivers, called, url};

const AT_ONCE: Duration = Duration::from_millis(2);

/// PH-X11: given ten failures within 5 min, the eleventh delivery is not attempted until the window has passed.
#[test]
fn ph_x11_after_ten_failures_nothing_is_tried_for_five_minutes_and_then_one_event() {
    world(async |world| {
        let status = Arc::new(AtomicU16::new(500));
        let answers = Arc::clone(&status);
        let receivers = Receivers::new(&world, move |_| (answers.load(Ordering::Relaxed), AT_ONCE));
        world.endpoint("dead", |endpoint| endpoint).await;
        let _node = world.delivering(&receivers);
        world.happens(0..1_000).await;
        world.sim.advance(seconds(20)).await;
        let count = || receivers.sent.all().len();
        assert_eq!(count(), 10, "the eleventh is not tried");
        let (cursor, reads) =
            (world.webhook("dead").await.progress.cursor, world.faulty.count(Call::ReadLog));
        let polls = async || {
            let generators = world.client.generators().list(None).await.unwrap();
            let dead = generators.iter().find(|view| view.definition.name.as_str() == "webhook:dead");
            dead.map(|view| view.record.counts.polls)
        };
        let asked = polls().await;

        // Whatever happens meanwhile costs the endpoint nothing.
        for n in 0..20 {
            world.happens(1_000 + n..1_001 + n).await;
            world.sim.advance(seconds(13)).await;
        }
        assert_eq!((count(), world.faulty.count(Call::ReadLog)), (10, reads));
        assert_eq!(polls().await, asked);
        for probes in 1..=3 {
            world.sim.advance(seconds(300)).await;
            assert_eq!(count(), 10 + probes, "one event every 5 min");
        }
        assert_eq!(world.webhook("dead").await.progress.cursor, cursor, "the cursor stands still");
        let retries = world.store().retries(world.webhook("dead").await.retry_set, 1_000).await.unwrap();
        assert_eq!(retries.len(), 10, "nothing piles up");

        status.store(200, Ordering::Relaxed);
        world.sim.advance(seconds(400)).await;
        let mut all: Vec<u64> = receivers.numbers(&url("dead"));
        all.sort_unstable();
        all.dedup();
        assert_eq!(all, (0..1_020).collect::<Vec<_>>(), "once it answers it gets all");
    });
}

#[test]
fn who_answers_mostly_is_not_taken_for_dead() {
    world(async |world| {
        let receivers =
            Receivers::new(&world, |sent| (if sent.number() % 20 == 7 { 500 } else { 200 }, AT_ONCE));
        world.endpoint("a", |endpoint| endpoint).await;
        let _node = world.delivering(&receivers);
        world.happens(0..1_000).await;
        world.sim.advance(seconds(20)).await;
        let mut all = receivers.numbers(&url("a"));
        all.dedup();
        let first: Vec<u64> = (0..1_000).filter(|n| all.contains(n)).collect();
        assert_eq!(first.len(), 1_000);
    });
}

#[test]
fn enabling_it_forgives_the_failures() {
    world(async |world| {
        let receivers = Receivers::new(&world, |sent| (if sent.ms < 30_000 { 500 } else { 200 }, AT_ONCE));
        world.endpoint("a", |endpoint| endpoint).await;
        let _node = world.delivering(&receivers);
        world.happens(0..50).await;
        world.sim.advance(seconds(31)).await;
        let namespace = Namespace::default();
        assert!(world.webhook("a").await.progress.breaker.opened_at().is_some());
        assert!(world.webhooks().enable(&namespace, &called("a")).await.unwrap());
        world.sim.advance(seconds(5)).await;
        let numbers = receivers.numbers(&url("a"));
        assert!((10..50).all(|n| numbers.contains(&n)), "{numbers:?}");
        assert!(
            !world.webhooks().enable(&namespace, &called("a")).await.unwrap(),
            "there is nothing to forgive"
        );
    });
}

#[test]
fn who_asks_to_be_left_alone_is_for_that_time() {
    world(async |world| {
        let receivers = Receivers::new(&world, |sent| (if sent.ms < 20_000 { 429 } else { 200 }, AT_ONCE));
        world.endpoint("a", |endpoint| endpoint).await;
        let _node = world.delivering(&receivers);
        world.happens(0..5).await;
        world.sim.advance(seconds(58)).await;
        assert_eq!(receivers.numbers(&url("a")), [0], "nothing else is tried");
        world.sim.advance(seconds(60)).await;
        let mut numbers = receivers.numbers(&url("a"));
        assert_eq!(numbers.len(), 6);
        numbers.sort_unstable();
        assert_eq!(numbers, [0, 0, 1, 2, 3, 4]);
    });
}
