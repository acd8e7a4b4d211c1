//! Events that are not kept until an endpoint could be told of them are lost to it, and that is told.

use std::time::Duration;

use taskwright::core::webhook::{Backlog, DeliveryEnd, Endpoint, Order};
use taskwright::store::DeliveryView;
use taskwright::{Actor, Namespace};

use crate::support::{seconds, world};
use crate::webhooks::{Receivers, called, url};

const AT_ONCE: Duration = Duration::from_millis(2);

#[test]
fn a_parked_backlog_that_ages_out_is_counted_and_the_rest_is_sent() {
    world(async |world| {
        let receivers = Receivers::new(&world, |_| (200, AT_ONCE));
        world.endpoint("a", |endpoint| endpoint).await;
        let _node = world.delivering(&receivers);
        let (webhooks, namespace, name) = (world.webhooks(), Namespace::default(), called("a"));
        let by = Actor::system();
        assert!(webhooks.disable(&namespace, &name, &by, None, Backlog::Park).await.unwrap());
        world.happens(0..10).await;
        world.sim.advance(seconds(5)).await;
        assert_eq!(webhooks.gone(&world.webhook("a").await).await.unwrap(), 0);
        world.forget_events().await;
        world.happens(10..13).await;
        world.sim.advance(seconds(5)).await;
        let parked = world.webhook("a").await;
        assert_eq!((webhooks.gone(&parked).await.unwrap(), parked.progress.missed), (10, 0));

        assert!(webhooks.enable(&namespace, &name).await.unwrap());
        let enabled_at = world.sim.env().now();
        world.sim.advance(seconds(5)).await;
        assert_eq!(receivers.numbers(&url("a")), [10, 11, 12]);
        let told = world.webhook("a").await;
        assert_eq!((webhooks.gone(&told).await.unwrap(), told.progress.missed), (0, 10));
        assert!(told.progress.missed_at >= Some(enabled_at));
        world.forget_events().await;
        world.happens([13]).await;
        world.sim.advance(seconds(300)).await;
        assert_eq!(world.webhook("a").await.progress.missed, 10, "they are counted once");
        assert_eq!(receivers.numbers(&url("a")), [10, 11, 12, 13]);
    });
}

#[test]
fn an_endpoint_that_drops_its_backlog_misses_nothing() {
    world(async |world| {
        let receivers = Receivers::new(&world, |_| (200, AT_ONCE));
        world.endpoint("a", |endpoint| endpoint).await;
        let _node = world.delivering(&receivers);
        let (webhooks, namespace, name) = (world.webhooks(), Namespace::default(), called("a"));
        let by = Actor::system();
        assert!(webhooks.disable(&namespace, &name, &by, None, Backlog::Drop).await.unwrap());
        world.happens(0..10).await;
        world.sim.advance(seconds(5)).await;
        world.forget_events().await;
        assert_eq!(webhooks.gone(&world.webhook("a").await).await.unwrap(), 0);
        assert!(webhooks.enable(&namespace, &name).await.unwrap());
        world.sim.advance(seconds(5)).await;
        assert_eq!(world.webhook("a").await.progress.missed, 0);
    });
}

#[test]
fn an_event_that_is_gone_when_it_would_be_tried_again_is_given_up_in_the_history() {
    world(async |world| {
        let receivers = Receivers::new(&world, |sent| (if sent.number() == 1 { 500 } else { 200 }, AT_ONCE));
        world.endpoint("a", |endpoint| Endpoint { order: Order::Key, ..endpoint }).await;
        let _node = world.delivering(&receivers);
        // 4 and 7 wait for 1.
        let ids = world.happens(1..8).await;
        world.sim.advance(seconds(20)).await;
        assert_eq!(world.retry_count("a").await, 3);
        let sent = receivers.sent.all().len();
        world.forget_events().await;
        let last = world.happens([10]).await[0];
        world.sim.advance(seconds(600)).await;
        let of = async || {
            world.webhooks().deliveries(&Namespace::default(), &called("a"), None, 100).await.unwrap()
        };
        let brief = |view: &DeliveryView| (view.delivery.event, view.delivery.attempt);
        let (tried, gave_up): (Vec<_>, Vec<_>) =
            of().await.into_iter().partition(|view| view.delivery.end != DeliveryEnd::GaveUp);
        let given: Vec<_> = gave_up.iter().rev().map(brief).collect();
        assert_eq!(given, [(ids[0], 3), (ids[3], 1), (ids[6], 1)], "each is told of, in order");
        for view in &gave_up {
            let error = view.delivery.error.as_deref().unwrap();
            assert!(error.contains("not kept any more"), "{error}");
        }
        assert_eq!(brief(&tried[0]), (last, 1), "the next of the key has its turn");
        assert_eq!((receivers.sent.all().len(), world.retry_count("a").await), (sent + 1, 0));
        assert_eq!(world.webhook("a").await.progress.missed, 3);
    });
}
