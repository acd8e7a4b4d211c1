//! PH-X13: whoever dies, a bulk ends, with each item counted once.

use std::sync::Arc;
use std::time::Duration;

use taskwright::bulk::Tally;
use taskwright::testing::{Call, FaultyStore, When};
use taskwright::{Context, State, TaskError};

use crate::bulks::{Numbers, numbers};
use crate::support::{handles, seconds, world};

#[test]
fn ph_x13_workers_and_nodes_that_die_again_and_again_leave_the_counts_right() {
    world(async |world| {
        let kind = Numbers::default();
        let id = world.bulks(&kind).create(numbers(3_000).window(100)).await.unwrap();
        for round in 0..12_u64 {
            let store = Arc::new(world.memory.handle());
            let node = world.bulk_node_on(Arc::clone(&store) as _, &kind);
            let registry = handles(|ctx: Context| async move {
                ctx.pause(Duration::from_millis(3)).await?;
                Ok::<_, TaskError>(())
            });
            let worker = world.start(world.worker_on(Arc::clone(&store) as _, registry));
            world.sim.advance(Duration::from_millis(700 + 37 * round)).await;
            // The process dies: nothing of it says so.
            drop((node, worker, store));
            world.reclaim_now();
            world.sim.advance(seconds(31)).await;
        }
        let _node = world.bulk_node(&kind);
        let _worker = world.start(world.worker(handles(|_: Context| async { Ok::<_, TaskError>(()) })));
        let parent = world.over(id).await;
        assert_eq!(parent.view.state, State::Completed);
        let tally = world.bulk(id).await.tally;
        let lost = tally.failed;
        assert_eq!((tally.made, tally.settled()), (3_000, 3_000), "{tally:?}");
        assert_eq!(tally.completed + lost, 3_000, "what lost three workers in a row failed: {lost}");
        assert!(lost < 100);
    });
}

#[test]
fn a_commit_whose_answer_is_lost_counts_once() {
    world(async |world| {
        let kind = Numbers::default();
        let faulty = FaultyStore::new(Arc::new(world.memory.handle()));
        let _node = world.bulk_node_on(Arc::clone(&faulty) as _, &kind);
        let _worker = world.start(world.worker(handles(|_: Context| async { Ok::<_, TaskError>(()) })));
        let id = world.bulks(&kind).create(numbers(500).window(50)).await.unwrap();
        for number in [1, 3, 4, 7, 9, 12] {
            faulty.fail(Call::CommitGenerator, number..=number, When::After);
        }
        faulty.fail(Call::CommitGenerator, 15..=17, When::Before);
        assert_eq!(world.over(id).await.view.state, State::Completed);
        let all = Tally { size: Some(500), made: 500, completed: 500, ..Tally::default() };
        assert_eq!(world.bulk(id).await.tally, all);
    });
}
