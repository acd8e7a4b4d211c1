use std::sync::Arc;
use std::time::Duration;

use taskwright::store::SharedStore;
use taskwright::testing::{Call, When};
use taskwright::{Context, State};

use crate::support::{Notes, handles, job, seconds, world};

#[test]
fn jobs_that_a_worker_claimed_ahead_and_cannot_start_go_to_others_after_a_second() {
    world(async |world| {
        let started = Notes::new();
        let starts = started.clone();
        let run = move |ctx: Context| {
            let starts = starts.clone();
            async move {
                starts.add((ctx.worker_id(), ctx.job_id()));
                let slow: bool = ctx.args()?;
                ctx.pause(if slow { seconds(3_600) } else { Duration::from_millis(1) }).await
            }
        };
        let registry = || handles(run.clone());
        let first = world.start(world.worker(registry()).concurrency(1));
        let fast = (0..500).map(|_| job().args(&false).unwrap());
        let slow = job().args(&true).unwrap();
        let behind = (0..10).map(|_| job().args(&false).unwrap());
        let client = world.client.clone().batch_jobs(10_000);
        let jobs: Vec<_> = fast.chain([slow]).chain(behind).collect();
        let stored = client.enqueue_many(jobs).await.unwrap();
        started.reach(501).await;
        let blocked_ms = world.elapsed_ms();
        let behind: Vec<_> = stored[501..].iter().map(|stored| stored.id).collect();
        assert_eq!(world.job(behind[0]).await.view.state, State::Running, "claimed ahead");

        let other: SharedStore = Arc::new(world.memory.handle());
        let second = world.start(world.worker_on(other, registry()).concurrency(1));
        for id in &behind {
            assert_eq!(world.over(*id).await.view.attempt, 1, "no attempt was spent by the way back");
        }
        let waited_ms = world.elapsed_ms() - blocked_ms;
        assert!((900..=1_300).contains(&waited_ms), "{waited_ms} ms");
        assert_eq!(second.stop().await.completed, 10);
        first.stop().await;
    });
}

#[test]
fn a_job_whose_way_back_may_be_repeated_is_not_started_meanwhile() {
    world(async |world| {
        let started = Notes::new();
        let starts = started.clone();
        let run = move |ctx: Context| {
            let starts = starts.clone();
            async move {
                starts.add((ctx.job_id(), ctx.attempt()));
                let millis: u64 = ctx.args()?;
                ctx.pause(Duration::from_millis(millis)).await
            }
        };
        let worker = world.start(world.worker(handles(run)).concurrency(1));
        // The answer is lost, and the write is repeated after 100 ms: the slot is free by then.
        world.faulty.fail(Call::GiveBack, 1..=1, When::After);
        let fast = (0..500).map(|_| job().args(&1).unwrap());
        let slow = job().args(&1_020).unwrap();
        let behind = (0..5).map(|_| job().args(&300).unwrap());
        let client = world.client.clone().batch_jobs(10_000);
        let stored = client.enqueue_many(fast.chain([slow]).chain(behind)).await.unwrap();
        for behind in &stored[501..] {
            assert_eq!(world.over(behind.id).await.view.attempt, 1);
        }
        assert!(world.faulty.count(Call::GiveBack) >= 2, "some were claimed ahead");
        let mut all = started.all();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!((all.len(), count), (506, 506), "each attempt ran once");
        worker.stop().await;
    });
}

#[test]
fn a_worker_with_slow_jobs_claims_only_what_it_can_start() {
    world(async |world| {
        let worker =
            world.start(world.worker(handles(|ctx: Context| async move { ctx.pause(seconds(60)).await })));
        world.client.enqueue_many((0..100).map(|_| job())).await.unwrap();
        for _ in 0..10 {
            world.sim.advance(seconds(30)).await;
            let running: u64 =
                world.store().workers().await.unwrap().iter().map(|worker| worker.running).sum();
            assert_eq!(running, 4);
        }
        worker.stop().await;
    });
}
