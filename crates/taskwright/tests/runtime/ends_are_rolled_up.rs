//! What ends is in the roll-ups a minute later, counted once, whatever breaks meanwhile and however soon its job goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use taskwright::core::retention::{Garbage, Retention};
use taskwright::core::{Grain, Timestamp};
use taskwright::store::RollUpFilter;
use taskwright::testing::{Call, When};
use taskwright::{Duties, DutyConfig, MaxAttempts, TaskError};

use crate::support::{World, handles, job, seconds, world};

/// How many executions the roll-ups know of, and how many of them failed.
async fn counted(world: &World, grain: Grain) -> (u64, u64) {
    let (from, to) = (Timestamp::from_micros(0), Timestamp::MAX);
    let filter = RollUpFilter { grain, from, to, namespace: None, kinds: Vec::new(), queues: Vec::new() };
    let page = world.store().roll_ups(filter, None, 1_000).await.unwrap();
    let sums = page.roll_ups.iter().map(|(_, sum)| sum);
    sums.fold((0, 0), |(all, failed), sum| (all + sum.executions(), failed + sum.failures()))
}

#[test]
fn what_ended_is_counted_within_a_minute_in_both_grains() {
    world(async |world| {
        let calls = Arc::new(AtomicU64::new(0));
        let counts = Arc::clone(&calls);
        let worker = world.start(world.worker(handles(move |_| {
            let fails = counts.fetch_add(1, Ordering::Relaxed).is_multiple_of(3);
            async move { if fails { Err(TaskError::retry("no")) } else { Ok(()) } }
        })));
        for _ in 0..30 {
            world.enqueue(job()).await;
        }
        world.sim.advance(seconds(600)).await;
        let executions = calls.load(Ordering::Relaxed);
        assert!(executions > 30);
        worker.stop().await;
        world.sim.advance(seconds(70)).await;
        for grain in Grain::ALL {
            assert_eq!(counted(&world, grain).await, (executions, executions.div_ceil(3)));
        }
    });
}

#[test]
fn jobs_that_are_not_kept_are_counted_all_the_same() {
    world(async |world| {
        drop(world.duties);
        let world = World { duties: None, ..world };
        let retention = Retention::shortest();
        let config = DutyConfig { retention, ..DutyConfig::default() };
        let _duties = Duties::start(&world.store(), &world.sim.env(), &config);
        let worker = world.start(world.worker(handles(|_| async { Ok(()) })));
        let mut ids = Vec::new();
        for _ in 0..40 {
            ids.push(world.enqueue(job()).await);
            world.sim.advance(seconds(20)).await;
        }
        worker.stop().await;
        // The collector looks again within a minute as long as it finds something, and then more and more rarely.
        world.sim.advance(seconds(7_200)).await;
        for id in ids {
            assert!(world.client.job(id).await.unwrap().is_none());
        }
        assert_eq!(counted(&world, Grain::Hour).await, (40, 0));
        let removed = world.client.collectors(retention).get(Garbage::Completed).await.unwrap().removed;
        assert_eq!(removed, 40);
    });
}

#[test]
fn lost_answers_and_two_nodes_count_nothing_twice() {
    world(async |world| {
        let other = Arc::new(world.memory.handle());
        let shared: taskwright::store::SharedStore = other;
        let _second = Duties::start(&shared, &world.sim.env(), &DutyConfig::default());
        for number in [1, 3, 4, 7] {
            world.faulty.fail(Call::RollUp, number..=number, When::After);
            world.faulty.fail(Call::CommitGenerator, number..=number, When::After);
        }
        let once = MaxAttempts::limited(1).unwrap();
        let worker =
            world.start(world.worker(handles(|_| async { Err::<(), _>(TaskError::permanent("no")) })));
        for _ in 0..50 {
            world.enqueue(job().max_attempts(once)).await;
            world.sim.advance(seconds(11)).await;
        }
        worker.stop().await;
        world.sim.advance(seconds(600)).await;
        assert_eq!(counted(&world, Grain::Minute).await, (50, 50));
    });
}
