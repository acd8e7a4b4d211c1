//! A generator is asked when it may have something, and not otherwise.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use taskwright::generator::{Item, Next, Poll, Polled};
use taskwright::testing::Sim;
use taskwright::{Actor, Namespace, Priority};

use crate::generators::{Scripted, count_to, nothing};
use crate::support::{Notes, seconds, world};

fn now_ms(sim: &Sim) -> u64 {
    sim.env().monotonic_us() / 1_000
}

#[test]
fn who_has_nothing_is_asked_less_and_less_and_at_least_every_five_minutes() {
    world(async |world| {
        let asked = Notes::new();
        let (env, notes) = (world.sim.env(), asked.clone());
        let _node = world.generating(Scripted::new(move |poll: Poll| {
            notes.add(env.monotonic_us() / 1_000);
            async { Ok(nothing(poll, Next::Idle)) }
        }));
        world.sim.advance(seconds(3_600)).await;
        let asked = asked.all();
        let waits: Vec<u64> = asked.windows(2).map(|pair| (pair[1] - pair[0]) / 1_000).collect();
        for (wait, expected) in waits.iter().zip([1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]) {
            assert!(wait.abs_diff(expected) <= 1 + expected / 10, "{waits:?}");
        }
        assert!((15..=21).contains(&asked.len()), "{waits:?}");
    });
}

#[test]
fn a_notice_wakes_a_generator_and_it_begins_anew() {
    world(async |world| {
        let asked = Notes::new();
        let (env, notes) = (world.sim.env(), asked.clone());
        let _node = world.generating(Scripted::new(move |poll: Poll| {
            notes.add(env.monotonic_us() / 1_000);
            async { Ok(nothing(poll, Next::Notified)) }
        }));
        world.sim.advance(seconds(3_600)).await;
        assert_eq!(asked.all().len(), 1);
        let before = now_ms(&world.sim);
        world.client.generators().notify(&Namespace::default(), &"feed".parse().unwrap()).await.unwrap();
        let asked = asked.reach(2).await;
        assert!(asked[1] - before <= 200, "{asked:?} {before}");
        let unknown = world.client.generators().notify(&Namespace::default(), &"x".parse().unwrap()).await;
        assert!(unknown.unwrap_err().is_not_found());
    });
}

#[test]
fn a_generator_may_say_when_it_wants_to_be_asked() {
    world(async |world| {
        let asked = Notes::new();
        let (env, notes) = (world.sim.env(), asked.clone());
        let _node = world.generating(Scripted::new(move |poll: Poll| {
            notes.add(env.monotonic_us() / 1_000);
            let at = poll.now.plus(seconds(90));
            async move { Ok(nothing(poll, Next::At(at))) }
        }));
        world.sim.advance(seconds(200)).await;
        let asked = asked.all();
        assert_eq!(asked.len(), 3);
        assert!((asked[2] - asked[0]).abs_diff(180_000) <= 500, "{asked:?}");
    });
}

#[test]
fn ten_errors_in_a_row_pause_a_generator_with_the_reason_until_it_is_resumed() {
    world(async |world| {
        let works = Arc::new(AtomicBool::new(false));
        let heals = Arc::clone(&works);
        let _node = world.generating(Scripted::new(move |poll: Poll| {
            let works = heals.load(Ordering::Relaxed);
            async move { if works { Ok(count_to(3, &poll)) } else { Err("the feed is away".into()) } }
        }));
        world.sim.advance(seconds(3_600)).await;
        let record = world.feed().await.record;
        assert_eq!((record.failures, record.counts.polls), (10, 10));
        let paused = record.paused.unwrap();
        assert_eq!(
            (paused.by.as_str(), paused.reason.as_deref()),
            ("system", Some("10 errors in a row, the last: the feed is away"))
        );
        works.store(true, Ordering::Relaxed);
        world.sim.advance(seconds(3_600)).await;
        assert_eq!(world.feed().await.record.counts.polls, 10, "nobody asks it any more");
        let generators = world.client.generators();
        assert!(generators.resume(&Namespace::default(), &"feed".parse().unwrap()).await.unwrap());
        world.sim.advance(seconds(1)).await;
        let record = world.feed().await.record;
        assert_eq!(
            (record.counts.made, record.failures, record.last_error, record.paused),
            (3, 0, None, None)
        );
    });
}

/// What a generator gives, and what is said about it.
type Case = (fn() -> Vec<Item>, &'static str);

#[test]
fn what_is_not_accepted_is_an_error_that_says_so() {
    let cases: [Case; 5] = [
        (
            || vec![Item::new("test").priority(Priority::REALTIME)],
            "the priority realtime of an item: the generator feed has said bulk to bulk",
        ),
        (|| vec![Item::new("a b")], "the kind \"a b\""),
        (|| vec![Item::new("test").key("k".repeat(513))], "it has 513 bytes, 512 are allowed"),
        (|| vec![Item::new("test"); 101], "it gave 101 items where there was room for 100"),
        (|| panic!("it is broken"), "it is broken"),
    ];
    for (make, expected) in cases {
        world(async |world| {
            let _node = world.generating(Scripted::new(move |_: Poll| async move {
                Ok(Polled::new(make(), 1, Next::Now))
            }));
            world.sim.advance(Duration::from_millis(500)).await;
            let feed = world.feed().await;
            let error = feed.record.last_error.unwrap();
            assert!(error.contains(expected), "{error}");
            assert_eq!((feed.record.counts.made, feed.state), (0, serde_json::Value::Null));
        });
    }
}

#[test]
fn a_paused_generator_makes_nothing_whatever_was_under_way() {
    world(async |world| {
        let env = world.sim.env();
        let _node = world.generating(Scripted::new(move |poll: Poll| {
            let env = env.clone();
            async move {
                env.sleep(seconds(5)).await;
                Ok(count_to(10, &poll))
            }
        }));
        world.sim.advance(seconds(1)).await;
        let (generators, namespace, feed) =
            (world.client.generators(), Namespace::default(), "feed".parse().unwrap());
        let alice = Actor::new("alice").unwrap();
        assert!(generators.pause(&namespace, &feed, &alice, Some("too loud")).await.unwrap());
        assert!(!generators.pause(&namespace, &feed, &alice, None).await.unwrap());
        generators.notify(&namespace, &feed).await.unwrap();
        world.sim.advance(seconds(60)).await;
        let record = world.feed().await.record;
        assert_eq!((record.counts.made, record.paused.unwrap().reason.as_deref()), (0, Some("too loud")));
        assert!(generators.resume(&namespace, &feed).await.unwrap());
        assert!(!generators.resume(&namespace, &feed).await.unwrap());
        world.sim.advance(seconds(6)).await;
        assert_eq!(world.feed().await.record.counts.made, 10);
    });
}
