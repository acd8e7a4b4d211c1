//! A worker with a budget takes on no job that would pass it, holds none from workers that have room, and lets no large
//! job wait for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use taskwright::store::SharedStore;
use taskwright::worker::Builder;
use taskwright::{Budget, Context, Job, Priority, Registry, State, TaskOptions, Weight};

use crate::support::{Notes, World, seconds, world};

fn cpus(milli: u32) -> Weight {
    Weight { cpu_milli: milli, memory_bytes: 0 }
}

const FOUR_CPUS: Budget = Budget { cpu_milli: Some(4_000), memory_bytes: None };

/// What runs now, in thousandths of a CPU, and the most that did; and which jobs have started.
#[derive(Clone)]
struct Watch {
    now: Arc<AtomicU32>,
    most: Arc<AtomicU32>,
    started: Notes<String>,
}

impl Watch {
    fn new() -> Self {
        Self { now: Arc::default(), most: Arc::default(), started: Notes::new() }
    }

    /// Jobs of three kinds, whose arguments are how many milliseconds they take.
    fn registry(&self) -> Registry {
        let kinds = [("large", 3_000), ("light", 1_000), ("none", 0)];
        kinds.into_iter().fold(Registry::new(), |registry, (kind, milli)| {
            let watch = self.clone();
            let options = TaskOptions { weight: cpus(milli), ..TaskOptions::default() };
            let run = move |ctx: Context| {
                let watch = watch.clone();
                async move {
                    let now = watch.now.fetch_add(milli, Ordering::SeqCst) + milli;
                    watch.most.fetch_max(now, Ordering::SeqCst);
                    watch.started.add(kind.to_owned());
                    let slept = ctx.pause(Duration::from_millis(ctx.args()?)).await;
                    watch.now.fetch_sub(milli, Ordering::SeqCst);
                    slept
                }
            };
            registry.handler_with(kind, options, run).unwrap()
        })
    }

    fn worker(&self, world: &World) -> Builder {
        world.worker(self.registry()).concurrency(8).budget(FOUR_CPUS)
    }
}

fn job(kind: &str, takes_ms: u64) -> Job {
    Job::new(kind).args(&takes_ms).unwrap()
}

#[test]
fn what_runs_at_once_never_weighs_more_than_the_budget() {
    world(async |world| {
        let watch = Watch::new();
        let jobs =
            (0..120).map(|n| job(["large", "light", "none", "light"][n % 4], 20 + (n as u64 * 37) % 300));
        let stored = world.client.enqueue_many(jobs).await.unwrap();
        let summary = watch.worker(&world).until_empty().run(std::future::pending()).await.unwrap();
        assert_eq!((summary.completed, watch.most.load(Ordering::SeqCst)), (120, 4_000));
        for stored in stored {
            assert_eq!(world.job(stored.id).await.view.attempt, 1);
        }
    });
}

#[test]
fn a_job_heavier_than_the_budget_runs_alone_beside_what_weighs_nothing() {
    world(async |world| {
        let watch = Watch::new();
        let budget = Budget { cpu_milli: Some(2_000), memory_bytes: None };
        let light = world.enqueue(job("light", 2_000)).await;
        let worker = world.start(watch.worker(&world).budget(budget));
        watch.started.reach(1).await;
        let large = world.enqueue(job("large", 1_000)).await;
        let none = world.enqueue(job("none", 1)).await;
        world.over(none).await;
        assert_eq!(world.job(light).await.view.state, State::Running);
        world.over(large).await;
        assert_eq!(watch.most.load(Ordering::SeqCst), 3_000, "what it really weighs, and nothing beside");
        worker.stop().await;
    });
}

#[test]
fn a_job_without_room_here_starts_at_once_on_a_worker_that_has_room() {
    world(async |world| {
        let (busy, free) = (Watch::new(), Watch::new());
        let first = world.start(busy.worker(&world));
        world.client.enqueue_many((0..2).map(|_| job("light", 600_000))).await.unwrap();
        busy.started.reach(2).await;
        let other: SharedStore = Arc::new(world.memory.handle());
        let second = world.start(world.worker_on(other, free.registry()).budget(FOUR_CPUS));
        for _ in 0..5 {
            let enqueued_ms = world.elapsed_ms();
            let large = world.enqueue(job("large", 1)).await;
            world.over(large).await;
            assert!(world.elapsed_ms() - enqueued_ms < 300, "{} ms", world.elapsed_ms() - enqueued_ms);
        }
        assert_eq!(busy.started.all().len(), 2);
        first.stop().await;
        second.stop().await;
    });
}

#[test]
fn a_large_job_that_waits_for_room_is_kept_from_others_for_a_second_at_most() {
    world(async |world| {
        let (busy, free) = (Watch::new(), Watch::new());
        let first = world.start(busy.worker(&world));
        world.client.enqueue_many((0..2).map(|_| job("light", 600_000))).await.unwrap();
        busy.started.reach(2).await;
        let large = world.enqueue(job("large", 1)).await;
        // The worker comes to reserve room for it, and has it here for a moment.
        while world.job(large).await.view.state != State::Running {
            world.sim.advance(Duration::from_millis(20)).await;
        }
        let kept_ms = world.elapsed_ms();
        assert!(kept_ms <= 3_400, "{kept_ms} ms");
        let other: SharedStore = Arc::new(world.memory.handle());
        let second = world.start(world.worker_on(other, free.registry()).budget(FOUR_CPUS));
        assert_eq!(world.over(large).await.view.attempt, 1, "the way back spent no attempt");
        let waited_ms = world.elapsed_ms() - kept_ms;
        assert!(waited_ms <= 1_400, "{waited_ms} ms");
        first.stop().await;
        second.stop().await;
    });
}

#[test]
fn a_large_job_gets_room_however_many_light_ones_come() {
    world(async |world| {
        let watch = Watch::new();
        let worker = world.start(watch.worker(&world));
        let light = |n: u64| job("light", 200 + n * 70 % 500);
        world.client.enqueue_many((0..20).map(light)).await.unwrap();
        watch.started.reach(4).await;
        let asked_ms = world.elapsed_ms();
        let large = world.enqueue(job("large", 50)).await;
        let mut n = 0;
        while world.job(large).await.view.state != State::Completed {
            world.client.enqueue_many((0..4).map(|k| light(n + k))).await.unwrap();
            n += 4;
            world.sim.advance(Duration::from_millis(50)).await;
            let waited_ms = world.elapsed_ms() - asked_ms;
            assert!(
                waited_ms <= 5_500,
                "{waited_ms} ms: 3 s at most, 700 ms for those that run, and the 20 before it"
            );
        }
        assert_eq!(watch.most.load(Ordering::SeqCst), 4_000);
        worker.stop().await;
    });
}

#[test]
fn what_is_more_urgent_overtakes_a_large_job_that_room_is_reserved_for() {
    world(async |world| {
        let watch = Watch::new();
        let worker = world.start(watch.worker(&world));
        world.client.enqueue_many((0..3).map(|_| job("light", 30_000))).await.unwrap();
        watch.started.reach(3).await;
        let large = world.enqueue(job("large", 1)).await;
        world.sim.advance(seconds(5)).await;
        let common = world.enqueue(job("light", 1)).await;
        let urgent = world.enqueue(job("light", 1).priority(Priority::REALTIME)).await;
        world.over(urgent).await;
        world.sim.advance(seconds(1)).await;
        assert_eq!(world.job(common).await.view.state, State::Available, "that room is for the large one");
        world.over(large).await;
        world.over(common).await;
        worker.stop().await;
    });
}
