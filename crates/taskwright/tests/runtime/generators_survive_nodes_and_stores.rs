//! Nothing is made twice and nothing is lost: with several nodes, deaths between poll and commit, and lost answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use taskwright::generator::{CursorGenerator, Generator, GeneratorSet, Next, Poll, Polled};
use taskwright::store::SharedStore;
use taskwright::testing::{Call, When};
use taskwright::{Context, Duties, Env, TaskError};

use crate::generators::{Scripted, count_to, nothing};
use crate::support::{Notes, World, handles, seconds, world};

/// Counts to `end`; an answer takes as long as it is told.
fn slow(env: Env, end: u64, takes: Duration) -> impl Generator {
    Scripted::new(move |poll: Poll| {
        let env = env.clone();
        async move {
            env.sleep(takes).await;
            Ok(count_to(end, &poll))
        }
    })
}

fn worker(world: &World) -> (crate::support::Running, Notes<u64>) {
    let ran = Notes::new();
    let notes = ran.clone();
    let running = world.start(world.worker(handles(move |ctx: Context| {
        notes.add(ctx.args::<u64>().unwrap());
        async { Ok::<_, TaskError>(()) }
    })));
    (running, ran)
}

fn each_once(ran: &Notes<u64>, end: u64) {
    let mut ran = ran.all();
    ran.sort_unstable();
    assert_eq!(ran, (0..end).collect::<Vec<_>>());
}

#[test]
fn a_node_that_dies_between_poll_and_commit_loses_and_doubles_nothing() {
    world(async |mut world| {
        drop(world.duties.take());
        let node = |takes: u64| world.generating(slow(world.sim.env(), 2_000, Duration::from_millis(takes)));
        let (_worker, ran) = worker(&world);
        // Each one dies while it asks, or while it commits, without a word.
        for n in 0..10 {
            let mortal = node(700);
            world.sim.advance(Duration::from_millis(650 + 20 * n)).await;
            drop(mortal);
            world.sim.advance(seconds(31)).await;
        }
        let made = world.feed().await.record.counts.made;
        let _node = node(10);
        let counts = world.settled(2_000).await.record.counts;
        assert!(made < 2_000, "{made}");
        assert_eq!((counts.made, counts.completed), (2_000, 2_000));
        each_once(&ran, 2_000);
    });
}

#[test]
fn a_commit_whose_answer_is_lost_is_made_once() {
    world(async |world| {
        let (_worker, ran) = worker(&world);
        for number in [1, 3, 5, 6, 9] {
            world.faulty.fail(Call::CommitGenerator, number..=number, When::After);
        }
        world.faulty.fail(Call::CommitGenerator, 12..=14, When::Before);
        let feed = Scripted { window: 20, ..Scripted::new(async |poll: Poll| Ok(count_to(500, &poll))) };
        let _node = world.generating_on(world.store(), feed);
        let counts = world.settled(500).await.record.counts;
        assert_eq!((counts.made, counts.completed, counts.outstanding()), (500, 500, 0));
        assert!(world.faulty.count(Call::CommitGenerator) > 14);
        each_once(&ran, 500);
    });
}

#[test]
fn a_store_that_is_away_for_a_while_is_made_up_for() {
    world(async |world| {
        let (_worker, ran) = worker(&world);
        world.faulty.fail(Call::PutGenerators, 1..=3, When::Before);
        world.faulty.fail(Call::TakeGenerators, 2..=9, When::Before);
        world.faulty.fail(Call::EndedItems, 4..=6, When::Before);
        let feed = Scripted::new(async |poll: Poll| Ok(count_to(500, &poll)));
        let _node = world.generating_on(world.store(), feed);
        world.settled(500).await;
        each_once(&ran, 500);
    });
}

/// Somebody who asks, until that is over or its node is gone.
struct Asking(Arc<AtomicUsize>);

impl Asking {
    fn begins(asking: &Arc<AtomicUsize>, most: &AtomicUsize) -> Self {
        most.fetch_max(asking.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        Self(Arc::clone(asking))
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn two_nodes_never_ask_one_generator_at_the_same_time() {
    world(async |world| {
        let (asking, most, polls) =
            (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Notes::new());
        let node = |node: u32| {
            let (env, polls) = (world.sim.env(), polls.clone());
            let (asking, most) = (Arc::clone(&asking), Arc::clone(&most));
            world.generating(Scripted::new(move |poll: Poll| {
                let (env, polls) = (env.clone(), polls.clone());
                let (asking, most) = (Arc::clone(&asking), Arc::clone(&most));
                async move {
                    let _one = Asking::begins(&asking, &most);
                    env.sleep(env.spread(Duration::from_millis(400), 0.9)).await;
                    polls.add(node);
                    let moved = poll.state.as_u64().unwrap_or(0) + 1;
                    Ok(Polled::new(Vec::new(), moved, Next::Now))
                }
            }))
        };
        let mut nodes: Vec<Duties> = (0..3).map(node).collect();
        world.sim.advance(seconds(60)).await;
        // Whoever led is gone.
        drop(nodes.remove(0));
        world.sim.advance(seconds(120)).await;
        assert_eq!(most.load(Ordering::SeqCst), 1);
        let polls = polls.all();
        assert!(polls.len() > 200, "{}", polls.len());
        assert!(polls.iter().any(|node| *node > 0), "somebody takes over");
        let moved = usize::try_from(world.feed().await.state.as_u64().unwrap()).unwrap();
        // What was answered last may not be committed, by the one that died and now.
        assert!((polls.len() - 2..=polls.len()).contains(&moved), "{moved} of {}", polls.len());
    });
}

#[test]
fn a_poll_that_outlives_its_time_is_an_error_and_commits_nothing() {
    world(async |world| {
        let env = world.sim.env();
        let _node = world.generating(slow(env, 10, seconds(26)));
        world.sim.advance(seconds(26)).await;
        let feed = world.feed().await;
        assert_eq!(feed.record.last_error.as_deref(), Some("it took longer than 25 s"));
        assert_eq!((feed.record.counts.made, feed.state), (0, serde_json::Value::Null));
    });
}

#[test]
fn one_that_is_slow_to_answer_holds_up_no_other() {
    world(async |world| {
        let env = world.sim.env();
        let sleepy = slow(env, 10, seconds(20));
        let quick = CursorGenerator::new("quick", async |_, _| Ok(Vec::new()));
        let generators = GeneratorSet::new().with(sleepy).unwrap().with(quick).unwrap();
        let config = taskwright::DutyConfig { generators, ..Default::default() };
        let store: SharedStore = Arc::new(world.memory.handle());
        let _node = Duties::start(&store, &world.sim.env(), &config);
        world.sim.advance(seconds(10)).await;
        let views = world.client.generators().list(None).await.unwrap();
        let polls = |name: &str| {
            let view = views.iter().find(|view| view.definition.name.as_str() == name).unwrap();
            view.record.counts.polls
        };
        assert_eq!((polls("feed"), polls("quick")), (0, 4), "at 0, 1, 3 and 7 s");
    });
}

#[test]
fn a_node_that_does_not_know_a_generator_leaves_it_alone() {
    world(async |world| {
        let node = world.generating(Scripted::new(async |poll: Poll| Ok(nothing(poll, Next::Idle))));
        world.sim.advance(seconds(2)).await;
        node.stop().await;
        let before = world.feed().await;
        // The world's own duties go on, and know no generator.
        world.sim.advance(seconds(600)).await;
        assert_eq!(world.feed().await, before);
    });
}
