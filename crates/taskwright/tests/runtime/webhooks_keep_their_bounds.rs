//! The retry set of an endpoint has a bound: beyond it the cursor stands still, and nothing is lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use taskwright::Namespace;
use taskwright::core::webhook::{Backlog, Endpoint, Order};
use taskwright::testing::Call;

use crate::support::{seconds, world};
use crate::webhooks::{Receivers, called, url};

const AT_ONCE: Duration = Duration::from_millis(2);
/// Events that a retry set may have here.
const RETRIES_MAX: usize = 50;
/// By which it may be more: what is under way when it fills.
const UNDER_WAY: usize = 16;

#[test]
fn one_bad_event_of_a_key_does_not_make_rows_of_all_that_follow_it() {
    world(async |world| {
        let refuses = |sent_ms| sent_ms < 60_000;
        let receivers = Receivers::new(&world, move |sent| {
            (if sent.number() == 1 && refuses(sent.ms) { 500 } else { 200 }, AT_ONCE)
        });
        world.endpoint("a", |endpoint| Endpoint { order: Order::Key, ..endpoint }).await;
        let _node = world.delivering_with(world.store(), &receivers, RETRIES_MAX);
        // A third of them is of its key.
        world.happens(0..1_000).await;
        world.sim.advance(seconds(30)).await;
        let stuck = world.webhook("a").await;
        assert!(stuck.progress.full && stuck.progress.breaker.opened_at().is_none());
        let count = world.retry_count("a").await;
        assert!((RETRIES_MAX..=RETRIES_MAX + UNDER_WAY).contains(&count), "{count}");
        let sent = receivers.numbers(&url("a"));
        assert!(sent.iter().all(|n| n % 3 != 1 || *n == 1), "none overtakes it");

        // Whatever happens meanwhile makes no row, and nobody reads it.
        let reads = world.faulty.count(Call::ReadLog);
        world.happens(1_000..1_100).await;
        world.sim.advance(seconds(120)).await;
        assert_eq!(world.retry_count("a").await, count);
        assert_eq!(world.webhook("a").await.progress.cursor, stuck.progress.cursor);
        let looks = world.faulty.count(Call::ReadLog) - reads;
        assert_eq!(looks, 0, "the log is not read in vain");

        // It is taken at the third attempt.
        world.sim.advance(seconds(3_600)).await;
        assert!(!world.webhook("a").await.progress.full);
        assert_eq!(world.retry_count("a").await, 0);
        for key in 0..3 {
            let mut numbers: Vec<u64> =
                receivers.numbers(&url("a")).into_iter().filter(|n| n % 3 == key).collect();
            numbers.dedup();
            assert_eq!(numbers, (0..1_100).filter(|n| n % 3 == key).collect::<Vec<_>>());
        }
    });
}

#[test]
fn a_receiver_that_refuses_many_has_no_more_retries_than_that() {
    world(async |world| {
        let refuses = Arc::new(AtomicBool::new(true));
        let asked = Arc::clone(&refuses);
        let receivers = Receivers::new(&world, move |sent| {
            let refused = asked.load(Ordering::Relaxed) && sent.number() % 5 < 2;
            (if refused { 500 } else { 200 }, AT_ONCE)
        });
        world.endpoint("a", |endpoint| Endpoint { in_flight: 4, ..endpoint }).await;
        let _node = world.delivering_with(world.store(), &receivers, RETRIES_MAX);
        world.happens(0..2_000).await;
        for _ in 0..20 {
            world.sim.advance(seconds(60)).await;
            let count = world.retry_count("a").await;
            assert!(count <= RETRIES_MAX + UNDER_WAY, "{count}");
        }
        let progress = world.webhook("a").await.progress;
        assert!(progress.full && progress.cursor < 2_000, "{progress:?}");

        refuses.store(false, Ordering::Relaxed);
        world.sim.advance(seconds(3_600)).await;
        let delivered: BTreeSet<u64> = receivers.numbers(&url("a")).into_iter().collect();
        assert_eq!(delivered.len(), 2_000);
        assert_eq!(world.retry_count("a").await, 0, "all were taken in the end");
        assert!(!world.webhook("a").await.progress.full);
    });
}

#[test]
fn dropping_the_backlog_makes_room() {
    world(async |world| {
        let receivers =
            Receivers::new(&world, |sent| (if sent.number() % 3 == 1 { 500 } else { 200 }, AT_ONCE));
        world.endpoint("a", |endpoint| Endpoint { order: Order::Key, ..endpoint }).await;
        let _node = world.delivering_with(world.store(), &receivers, RETRIES_MAX);
        world.happens(0..1_000).await;
        world.sim.advance(seconds(30)).await;
        assert!(world.webhook("a").await.progress.full);
        let (namespace, by) = (Namespace::default(), taskwright::Actor::system());
        let (webhooks, name) = (world.webhooks(), called("a"));
        assert!(webhooks.disable(&namespace, &name, &by, None, Backlog::Drop).await.unwrap());
        assert!(!world.webhook("a").await.progress.full);
        assert!(webhooks.enable(&namespace, &name).await.unwrap());
        world.happens([3_000]).await;
        world.sim.advance(seconds(5)).await;
        assert_eq!(receivers.numbers(&url("a")).last(), Some(&3_000));
    });
}
