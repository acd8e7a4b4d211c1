//! Whoever asks a generator has it for as long as that takes, and no longer: after a kill another node has it within seconds, after
//! a stop at once. And whoever is slow to answer holds up nobody whose items are urgent.

use std::sync::Arc;
use std::time::Duration;

use taskwright::core::generator::Definition;
use taskwright::generator::{CursorGenerator, Generator, GeneratorSet, Next, Poll, Polled};
use taskwright::store::SharedStore;
use taskwright::{Duties, DutyConfig, Env, Priority, Timestamp};

use crate::generators::Scripted;
use crate::support::{Notes, World, seconds, world};

/// Asks of which it is noted when they began, and on which node; each takes as long as it is told.
fn noted(
    world: &World,
    node: u32,
    takes: Duration,
    notes: &Notes<(u32, Timestamp)>,
) -> impl Generator + use<> {
    let (env, notes) = (world.sim.env(), notes.clone());
    Scripted::new(move |poll: Poll| {
        let (env, notes) = (env.clone(), notes.clone());
        async move {
            notes.add((node, env.now()));
            env.sleep(takes).await;
            let moved = poll.state.as_u64().unwrap_or(0) + 1;
            Ok(Polled::new(Vec::new(), moved, Next::Now))
        }
    })
}

/// When the first of these was asked by a node, after a moment.
fn first(notes: &Notes<(u32, Timestamp)>, node: u32, after: Timestamp) -> Duration {
    let all = notes.all();
    let asked = all.iter().find(|(by, at)| *by == node && *at >= after);
    asked.unwrap_or_else(|| panic!("node {node} did not ask: {all:?}")).1.since(after)
}

#[test]
fn whoever_takes_long_to_answer_is_not_asked_by_another_meanwhile() {
    world(async |world| {
        let notes = Notes::new();
        let _nodes = [0, 1].map(|node| world.generating(noted(&world, node, seconds(20), &notes)));
        world.sim.advance(seconds(90)).await;
        let all = notes.all();
        assert!(all.windows(2).all(|two| two[1].1.since(two[0].1) >= seconds(20)), "{all:?}");
        assert!(all.len() >= 4, "{all:?}");
    });
}

#[test]
fn another_node_asks_seconds_after_one_was_killed() {
    world(async |world| {
        let notes = Notes::new();
        let killed = world.generating(noted(&world, 0, seconds(20), &notes));
        world.sim.advance(seconds(7)).await;
        assert_eq!(notes.all().len(), 1);
        let _other = world.generating(noted(&world, 1, seconds(20), &notes));
        world.sim.advance(seconds(3)).await;
        drop(killed);
        let died = world.sim.env().now();
        world.sim.advance(seconds(20)).await;
        let waited = first(&notes, 1, died);
        assert!(waited <= seconds(6), "{waited:?}");
    });
}

#[test]
fn another_node_asks_at_once_when_one_has_stopped() {
    world(async |world| {
        let notes = Notes::new();
        let stops = world.generating(noted(&world, 0, seconds(20), &notes));
        world.sim.advance(seconds(7)).await;
        let _other = world.generating(noted(&world, 1, seconds(20), &notes));
        world.sim.advance(seconds(1)).await;
        let env = world.sim.env();
        let began = env.now();
        let stopping = env.spawn("stop", stops.stop());
        world.sim.advance(seconds(4)).await;
        assert!(stopping.is_finished(), "a stop waits 2 s for turns");
        let waited = first(&notes, 1, began);
        assert!(waited <= Duration::from_millis(2_200), "{waited:?}");
    });
}

#[test]
fn a_stop_lets_a_turn_end_that_takes_no_longer() {
    world(async |world| {
        let notes = Notes::new();
        let stops = world.generating(noted(&world, 0, seconds(20), &notes));
        world.sim.advance(seconds(19)).await;
        let env = world.sim.env();
        let stopping = env.spawn("stop", stops.stop());
        world.sim.advance(seconds(2)).await;
        assert!(stopping.is_finished());
        assert_eq!(world.feed().await.state, 1, "what it gave is committed");
    });
}

/// One that never answers in time, or one that answers at once and notes when.
fn called(
    name: &str,
    best: Priority,
    env: &Env,
    hangs: bool,
    notes: &Notes<Timestamp>,
) -> impl Generator + use<> {
    let (env, notes) = (env.clone(), notes.clone());
    let fetch = move |_, _| {
        let (env, notes) = (env.clone(), notes.clone());
        async move {
            if hangs {
                env.sleep(seconds(3_600)).await;
            }
            notes.add(env.now());
            Ok(Vec::new())
        }
    };
    CursorGenerator::new(name, fetch).options(move |defaults| Definition {
        best,
        worst: Priority::IDLE,
        ..defaults
    })
}

#[test]
fn many_that_hang_hold_up_none_whose_items_are_urgent() {
    world(async |world| {
        let (env, notes) = (world.sim.env(), Notes::new());
        let mut generators = GeneratorSet::new();
        for n in 0..40 {
            generators =
                generators.with(called(&format!("bulk-{n}"), Priority::BULK, &env, true, &notes)).unwrap();
        }
        generators = generators.with(called("urgent", Priority::REALTIME, &env, false, &notes)).unwrap();
        let config = DutyConfig { generators, ..DutyConfig::default() };
        let store: SharedStore = Arc::new(world.memory.handle());
        let _node = Duties::start(&store, &env, &config);
        world.sim.advance(seconds(10)).await;
        let began = notes.all();
        assert_eq!(began.len(), 4, "asked at 0, 1, 3 and 7 s, as if there were no others: {began:?}");
    });
}
