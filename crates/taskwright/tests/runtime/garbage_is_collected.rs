//! What is over for long is removed in small batches, by one node at a time, and what is to be kept stays.

use std::sync::Arc;
use std::time::Duration;

use taskwright::core::retention::{Garbage, Retention};
use taskwright::generator::{GeneratorSet, Keep};
use taskwright::store::{Change, SharedStore};
use taskwright::testing::{Call, FaultyStore, When};
use taskwright::{Actor, Duties, DutyConfig, JobId, Namespace};

use crate::generators::{Scripted, nothing};
use crate::support::{World, job, seconds, world};

const DAY: Duration = Duration::from_secs(86_400);

/// So many cancelled jobs.
async fn cancelled(world: &World, count: usize) -> Vec<JobId> {
    let stored = world.client.enqueue_many((0..count).map(|_| job())).await.unwrap();
    let ids: Vec<JobId> = stored.iter().map(|stored| stored.id).collect();
    world.client.change(ids.clone(), Change::Cancel, Actor::system(), None).await.unwrap();
    ids
}

/// A node of its own, the calls of which are counted.
fn node(world: &World, keep: Retention) -> (Arc<FaultyStore>, Duties) {
    let store = FaultyStore::new(Arc::new(world.memory.handle()));
    let shared: SharedStore = store.clone();
    let config = DutyConfig { retention: keep, ..DutyConfig::default() };
    let duties = Duties::start(&shared, &world.sim.env(), &config);
    (store, duties)
}

async fn is_there(world: &World, id: JobId) -> bool {
    world.client.job(id).await.unwrap().is_some()
}

/// The world without its own node, and with nodes that keep cancelled jobs for so long.
fn with_nodes(world: World, keep: Option<Duration>) -> (World, [(Arc<FaultyStore>, Duties); 2]) {
    let world = World { duties: None, ..world };
    let keep = Garbage::ALL.into_iter().fold(Retention::default(), |all, sort| all.with(sort, keep));
    let nodes = [node(&world, keep), node(&world, keep)];
    (world, nodes)
}

/// Has the collector look now.
async fn look(world: &World) {
    let (namespace, name) = (Namespace::default(), Garbage::Cancelled.collector());
    world.client.generators().notify(&namespace, &name).await.unwrap();
    world.sim.advance(seconds(10)).await;
}

/// PH-X9: of two nodes one removes at a time, everything that is old enough and nothing else.
#[test]
fn ph_x9_every_job_that_is_over_for_long_is_removed_and_younger_ones_stay() {
    world(async |world| {
        let (world, nodes) = with_nodes(world, Some(seconds(36_000)));
        let old = cancelled(&world, 2_500).await;
        world.sim.advance(seconds(3_600)).await;
        let young = cancelled(&world, 1).await[0];
        let waiting = world.enqueue(job()).await;
        look(&world).await;
        assert!(is_there(&world, old[0]).await);
        world.sim.advance(seconds(36_000 - 3_600)).await;
        look(&world).await;
        for id in [old[0], old[1_234], old[2_499]] {
            assert!(!is_there(&world, id).await);
        }
        assert!(is_there(&world, young).await && is_there(&world, waiting).await);
        let view = world.client.collectors(Retention::default()).get(Garbage::Cancelled).await.unwrap();
        assert_eq!((view.removed, view.more), (2_500, false), "each was removed, and counted, once");
        let looks: u64 = nodes.iter().map(|(store, _)| store.count(Call::Collect)).sum();
        // Ten sorts, less and less often up to once an hour, in ten hours.
        assert!((100..400).contains(&looks), "{looks} looks");
    });
}

/// PH-X9: what is to be kept for ever is.
#[test]
fn ph_x9_what_is_to_be_kept_for_ever_is_never_looked_at() {
    world(async |world| {
        let (world, nodes) = with_nodes(world, None);
        let ids = cancelled(&world, 250).await;
        world.sim.advance(seconds(7_200)).await;
        look(&world).await;
        assert!(is_there(&world, ids[0]).await && is_there(&world, ids[249]).await);
        assert!(nodes.iter().all(|(store, _)| store.count(Call::Collect) == 0));
    });
}

#[test]
fn what_somebody_sets_counts_on_every_node_until_it_is_taken_back() {
    world(async |world| {
        let (world, _nodes) = with_nodes(world, Some(DAY * 100));
        let collectors = world.client.collectors(Retention::default());
        let refused = collectors.set(Garbage::Sources, Some(Keep::For(seconds(60)))).await.unwrap_err();
        assert!(refused.what().contains("sources that nobody runs"), "{refused}");
        let first = cancelled(&world, 3).await[0];
        world.sim.advance(seconds(600)).await;
        collectors.set(Garbage::Cancelled, Some(Keep::For(seconds(700)))).await.unwrap();
        world.sim.advance(seconds(50)).await;
        assert!(is_there(&world, first).await);
        collectors.set(Garbage::Cancelled, Some(Keep::For(seconds(60)))).await.unwrap();
        world.sim.advance(seconds(10)).await;
        assert!(!is_there(&world, first).await, "it looks at once");
        collectors.set(Garbage::Cancelled, None).await.unwrap();
        let second = cancelled(&world, 1).await[0];
        world.sim.advance(seconds(600)).await;
        look(&world).await;
        assert!(is_there(&world, second).await, "the configuration counts again");
    });
}

#[test]
fn a_collector_is_run_by_hand_and_a_dry_run_removes_nothing() {
    world(async |world| {
        drop(world.duties);
        let world = World { duties: None, ..world };
        let old = cancelled(&world, 1_300).await;
        world.sim.advance(DAY * 40).await;
        cancelled(&world, 1).await;
        let collectors = world.client.collectors(Retention::default());
        for (most, expected) in [(10_000, (1_300, false)), (700, (700, true))] {
            let found = collectors.dry_run(Garbage::Cancelled, most).await.unwrap();
            assert_eq!((found.rows, found.is_cut), expected);
            assert_eq!(found.jobs[0], old[0]);
        }
        assert!(is_there(&world, old[0]).await);
        // A walk is cut into turns: whoever has no time is told that there is more, and loses nothing of it.
        let mut rows = 0;
        loop {
            let removed = collectors.run_for(Garbage::Cancelled, Duration::ZERO).await.unwrap();
            rows += removed.rows;
            if !removed.more {
                break;
            }
        }
        assert_eq!(rows, 1_300);
        assert_eq!(collectors.run(Garbage::Cancelled).await.unwrap(), 0);
        assert_eq!(collectors.dry_run(Garbage::Cancelled, 10).await.unwrap().rows, 0);
        assert!(!is_there(&world, old[1_299]).await);
        let (namespace, name) = (Namespace::default(), Garbage::Cancelled.collector());
        world.client.generators().pause(&namespace, &name, &Actor::system(), None).await.unwrap();
        assert!(collectors.run(Garbage::Cancelled).await.unwrap_err().to_string().contains("paused"));
    });
}

#[test]
fn a_store_that_is_away_for_an_hour_leaves_no_collector_resting() {
    world(async |world| {
        let collectors = world.client.collectors(Retention::default());
        collectors.set(Garbage::Cancelled, Some(Keep::For(seconds(60)))).await.unwrap();
        world.faulty.fail(Call::Collect, 1..=u64::MAX, When::Before);
        let old = cancelled(&world, 1).await[0];
        world.sim.advance(seconds(3_600)).await;
        assert!(is_there(&world, old).await);
        world.faulty.heal();
        world.sim.advance(seconds(600)).await;
        assert!(!is_there(&world, old).await);
    });
}

#[test]
fn the_names_of_our_own_generators_are_kept_for_them() {
    struct Own(&'static str);
    impl taskwright::generator::Generator for Own {
        fn name(&self) -> &str {
            self.0
        }

        async fn poll(
            &self,
            poll: taskwright::generator::Poll,
        ) -> Result<taskwright::generator::Polled, taskwright::generator::PollError> {
            Ok(nothing(poll, taskwright::generator::Next::Idle))
        }
    }
    for name in ["rollup", "gc:completed", "gc:mine"] {
        let error = GeneratorSet::new().with(Own(name)).unwrap_err();
        assert!(error.is_invalid() && error.fix().contains("gc:"), "{error}");
    }
    let feed = Scripted::new(|poll| async { Ok(nothing(poll, taskwright::generator::Next::Idle)) });
    assert!(GeneratorSet::new().with(feed).is_ok());
}
