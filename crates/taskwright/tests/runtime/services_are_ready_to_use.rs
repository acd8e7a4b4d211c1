use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use taskwright::report::Reports;
use taskwright::service::{
    Container, HealthSampler, MemoryWatchdog, MetricsSampler, Service, ServiceOptions, ServiceState,
};
use taskwright::testing::{Call, Sim, When, simulate};

use crate::support::{Notes, handles, job, seconds, world};

async fn started(sim: &Sim, service: impl Service) -> Container {
    let env = sim.env();
    let container =
        Container::new(&env, Reports::new(&env), "ready-made", ServiceOptions::new(), service).unwrap();
    container.start().await.unwrap();
    container
}

/// Memory that a test decides about.
fn memory(bytes: u64) -> (Arc<AtomicU64>, impl Fn() -> Option<u64>) {
    let memory = Arc::new(AtomicU64::new(bytes));
    let read = Arc::clone(&memory);
    (memory, move || Some(read.load(Ordering::Relaxed)))
}

#[test]
fn the_memory_watchdog_asks_when_memory_stays_above_the_limit() {
    simulate(1, async |sim| {
        let (memory, measure) = memory(1_000);
        let watchdog = MemoryWatchdog::new(1_000).look_every(seconds(5)).above_for(seconds(60));
        let watchdog = watchdog.measure_by(measure);
        let asked = watchdog.asked();
        let container = started(&sim, watchdog).await;
        sim.advance(seconds(3_600)).await;
        assert!(!*asked.borrow(), "the limit itself is allowed");
        // A peak that is over before the time is.
        memory.store(1_001, Ordering::Relaxed);
        sim.advance(seconds(59)).await;
        memory.store(900, Ordering::Relaxed);
        sim.advance(seconds(5)).await;
        memory.store(1_001, Ordering::Relaxed);
        sim.advance(seconds(60)).await;
        assert!(!*asked.borrow(), "it counts from the first look above the limit");
        sim.advance(seconds(5)).await;
        assert!(*asked.borrow());
        assert_eq!(container.over().await.state, ServiceState::Finished);
    });
}

#[test]
fn a_worker_that_the_watchdog_asks_for_ends_in_good_order() {
    world(async |world| {
        let (memory, measure) = memory(1);
        let watchdog = MemoryWatchdog::new(1_000).measure_by(measure);
        let worker = world.worker(handles(|_| async { Ok(()) })).recycle_on(watchdog.asked());
        let worker = world.start(worker);
        let _watchdog = started(&world.sim, watchdog).await;
        let id = world.enqueue(job()).await;
        world.over(id).await;
        memory.store(2_000, Ordering::Relaxed);
        let summary = worker.ended().await;
        assert_eq!((summary.completed, summary.recycled.is_some()), (1, true));
    });
}

#[test]
fn the_memory_watchdog_declines_where_nobody_tells_how_much_there_is() {
    simulate(1, async |sim| {
        let container = started(&sim, MemoryWatchdog::new(1).measure_by(|| None)).await;
        assert_eq!(container.status().state, ServiceState::Idle);
    });
}

#[test]
fn the_metrics_sampler_measures_now_and_then_also_after_the_store_was_away() {
    world(async |world| {
        let (store, depths) = (world.store(), Notes::new());
        let noted = depths.clone();
        let sampler = MetricsSampler::new(&store, seconds(10)).on_sample(move |sample| {
            noted.add(sample.queues.iter().map(|queue| queue.available).sum::<u64>());
        });
        let latest = sampler.latest();
        let container = started(&world.sim, sampler).await;
        world.sim.settle().await;
        world.enqueue(job()).await;
        world.enqueue(job()).await;
        world.sim.advance(seconds(10)).await;
        assert_eq!(depths.all(), [0, 2]);
        assert_eq!(latest.borrow().as_ref().unwrap().at, world.sim.env().now());
        container.stop().await;
        world.sim.advance(seconds(60)).await;
        assert_eq!(depths.all().len(), 2);
    });
}

#[test]
fn the_health_sampler_says_since_when_the_store_does_not_answer() {
    world(async |world| {
        let (store, env) = (world.store(), world.sim.env());
        let before = world.faulty.count(Call::ReadHead);
        world.faulty.fail(Call::ReadHead, before + 2..=before + 4, When::Before);
        let sampler = HealthSampler::new(&store, seconds(5));
        let latest = sampler.latest();
        let began = env.now();
        let container = started(&world.sim, sampler).await;
        world.sim.settle().await;
        let now = || latest.borrow().clone().unwrap();
        assert_eq!((now().is_well(), now().since, now().failures), (true, began, 0));
        world.sim.advance(seconds(10)).await;
        let ill = now();
        assert_eq!((ill.is_well(), ill.since, ill.failures), (false, began.plus(seconds(5)), 2));
        assert!(ill.error.is_some());
        world.sim.advance(seconds(10)).await;
        let well = now();
        assert_eq!((well.is_well(), well.since, well.failures), (true, began.plus(seconds(20)), 0));
        assert_eq!(container.status().state, ServiceState::Running);
    });
}
