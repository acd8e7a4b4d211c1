//! Nothing is lost when nodes die or answers get lost; what is sent twice has the same id.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use taskwright::testing::{Call, When};

use crate::support::{seconds, world};
use crate::webhooks::{Receivers, url};

const AT_ONCE: Duration = Duration::from_millis(2);

#[test]
fn a_node_that_dies_in_a_turn_leaves_at_most_that_turn_to_be_done_again() {
    world(async |world| {
        let receivers = Receivers::new(&world, |_| (200, AT_ONCE));
        world.endpoint("a", |endpoint| endpoint).await;
        world.happens(0..5_000).await;
        for n in 0..4 {
            let node = world.delivering_on(Arc::new(world.memory.handle()), &receivers);
            world.sim.advance(Duration::from_millis(2_300 + 170 * n)).await;
            drop(node);
            // The end of the lease.
            world.sim.advance(seconds(31)).await;
        }
        let _node = world.delivering_on(Arc::new(world.memory.handle()), &receivers);
        world.sim.advance(seconds(60)).await;
        let mut ids: HashMap<u64, Vec<String>> = HashMap::new();
        for sent in receivers.sent.all() {
            ids.entry(sent.number()).or_default().push(sent.id);
        }
        assert_eq!(ids.len(), 5_000, "nothing is lost");
        assert!(ids.values().all(|same| same.iter().all(|id| *id == same[0])), "one event, one id");
        let twice: usize = ids.values().map(|same| same.len() - 1).sum();
        assert!(twice <= 4 * 600, "{twice} were sent again");
        // Whatever is sent again is sent before what comes after it.
        let mut highest = 0;
        for number in receivers.numbers(&url("a")) {
            assert!(number <= highest + 1, "{number} came before {highest}");
            highest = highest.max(number);
        }
    });
}

#[test]
fn a_store_that_is_out_of_order_delays_and_loses_nothing() {
    world(async |world| {
        let receivers = Receivers::new(&world, |_| (200, AT_ONCE));
        world.endpoint("a", |endpoint| endpoint).await;
        let _node = world.delivering(&receivers);
        world.faulty.fail(Call::ReadLog, 2..=3, When::Before);
        world.faulty.fail(Call::CommitGenerator, 2..=7, When::Before);
        world.faulty.fail(Call::CommitGenerator, 9..=10, When::After);
        world.happens(0..2_000).await;
        world.sim.advance(seconds(300)).await;
        let mut all = receivers.numbers(&url("a"));
        all.sort_unstable();
        all.dedup();
        assert_eq!(all, (0..2_000).collect::<Vec<_>>());
    });
}

#[test]
fn a_wake_up_that_gets_lost_costs_a_minute_and_no_event() {
    world(async |world| {
        let receivers = Receivers::new(&world, |_| (200, AT_ONCE));
        world.endpoint("a", |endpoint| endpoint).await;
        let _node = world.delivering(&receivers);
        world.sim.advance(seconds(10)).await;
        world.faulty.fail(Call::WakeWebhooks, 1..=1_000_000, When::Before);
        world.happens([1]).await;
        world.sim.advance(seconds(70)).await;
        assert_eq!(receivers.numbers(&url("a")), [1]);
    });
}
