//! Disabling parks or drops a backlog at once, however large it is.

use std::time::Duration;

use taskwright::core::webhook::Backlog;
use taskwright::store::Filter;
use taskwright::{Actor, Namespace};

use crate::support::{World, seconds, world};
use crate::webhooks::{Receivers, called, url};

const AT_ONCE: Duration = Duration::from_millis(2);

async fn disable(world: &World, backlog: Backlog) -> bool {
    let (namespace, by) = (Namespace::default(), Actor::new("alice").unwrap());
    world.webhooks().disable(&namespace, &called("a"), &by, Some("they move"), backlog).await.unwrap()
}

async fn enable(world: &World) -> bool {
    world.webhooks().enable(&Namespace::default(), &called("a")).await.unwrap()
}

/// PH-X10: given a disabled webhook with 10,000 waiting deliveries, the backlog is gone at once and does not occupy the queue.
#[test]
fn ph_x10_a_dropped_backlog_of_ten_thousand_is_gone_and_was_never_a_job() {
    world(async |world| {
        let receivers = Receivers::new(&world, |_| (200, AT_ONCE));
        world.endpoint("a", |endpoint| endpoint).await;
        world.happens(0..10_000).await;
        assert!(disable(&world, Backlog::Drop).await);
        assert!(!disable(&world, Backlog::Drop).await, "it is so already");
        let _node = world.delivering(&receivers);
        world.sim.advance(seconds(600)).await;
        assert_eq!(receivers.sent.all().len(), 0);
        let page = taskwright::store::Page { after: None, limit: 10, oldest_first: true };
        assert!(world.store().list(Filter::default(), page).await.unwrap().jobs.is_empty());
        world.happens(10_000..10_010).await;
        world.sim.advance(seconds(5)).await;
        assert!(enable(&world).await);
        world.happens(10_010..10_020).await;
        world.sim.advance(seconds(5)).await;
        assert_eq!(receivers.numbers(&url("a")), (10_010..10_020).collect::<Vec<_>>());
    });
}

#[test]
fn a_parked_backlog_is_sent_in_order_once_it_is_enabled() {
    world(async |world| {
        let receivers = Receivers::new(&world, |_| (200, AT_ONCE));
        world.endpoint("a", |endpoint| endpoint).await;
        let _node = world.delivering(&receivers);
        world.happens(0..10).await;
        world.sim.advance(seconds(5)).await;
        assert!(disable(&world, Backlog::Park).await);
        world.happens(10..3_000).await;
        world.sim.advance(seconds(600)).await;
        assert_eq!(receivers.numbers(&url("a")).len(), 10);
        assert!(enable(&world).await);
        world.sim.advance(seconds(60)).await;
        assert_eq!(receivers.numbers(&url("a")), (0..3_000).collect::<Vec<_>>());
    });
}

#[test]
fn a_turn_under_way_sends_nothing_more_once_it_could_not_be_written() {
    world(async |world| {
        let receivers = Receivers::new(&world, |_| (200, seconds(2)));
        world.endpoint("a", |endpoint| endpoint).await;
        let _node = world.delivering(&receivers);
        world.happens(0..100).await;
        world.sim.advance(seconds(4)).await;
        assert!(disable(&world, Backlog::Drop).await);
        let before = receivers.sent.all().len();
        world.sim.advance(seconds(600)).await;
        let after = receivers.sent.all().len();
        assert!(after <= before + 1, "{before} and {after}");
    });
}
