//! Items are made just in time, run as jobs do, and are counted once.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use taskwright::core::generator::{Definition, ItemEnd};
use taskwright::duty;
use taskwright::generator::{Generator, GeneratorSet, Item, Next, Poll, PollError, Polled};
use taskwright::store::{Filter, Page, SharedStore};
use taskwright::{Context, DutyConfig, Priority, State, TaskError};

use crate::generators::{Scripted, count_to, nothing};
use crate::support::{Notes, handles, seconds, world};

#[test]
fn every_item_runs_once_and_is_counted_once() {
    world(async |world| {
        let feed = Scripted::new(async |poll: Poll| Ok(count_to(1_000, &poll)));
        let (told, ran) = (feed.told.clone(), Notes::new());
        let _node = world.generating(feed);
        let notes = ran.clone();
        let _worker = world.start(world.worker(handles(move |ctx: Context| {
            notes.add(ctx.args::<u64>().unwrap());
            async { Ok::<_, TaskError>(()) }
        })));
        let counts = world.settled(1_000).await.record.counts;
        assert_eq!((counts.made, counts.completed, counts.outstanding()), (1_000, 1_000, 0));
        let mut ran = ran.all();
        ran.sort_unstable();
        assert_eq!(ran, (0..1_000).collect::<Vec<_>>());
        let keys: HashSet<_> = told.all().into_iter().map(|one| (one.key.unwrap(), one.end)).collect();
        assert_eq!((told.all().len(), keys.len()), (1_000, 1_000));
        assert!(keys.contains(&("999".to_owned(), ItemEnd::Completed)));
    });
}

/// What is pending is a state and no rows, however much it is.
#[test]
fn no_more_than_the_window_is_stored_at_any_time() {
    world(async |world| {
        let feed =
            Scripted { window: 7, ..Scripted::new(async |poll: Poll| Ok(count_to(10_000_000, &poll))) };
        let _node = world.generating(feed);
        let jobs = async || {
            let page = Page { after: None, limit: 1_000, oldest_first: true };
            world.store().list(Filter::default(), page).await.unwrap().jobs
        };
        world.sim.advance(seconds(5)).await;
        assert_eq!(jobs().await.len(), 7, "nobody works, and so nothing is made");
        let _worker = world.start(world.worker(handles(|_: Context| async { Ok::<_, TaskError>(()) })));
        for _ in 0..100 {
            world.sim.advance(Duration::from_millis(37)).await;
            assert!(jobs().await.len() <= 7);
        }
        let counts = world.feed().await.record.counts;
        assert!(counts.settled() > 50, "{counts:?}");
    });
}

/// Looks are 100 ms apart when nobody says that items have ended: 200 of them would take 20 s.
#[test]
fn what_has_ended_is_followed_by_more_before_the_next_look() {
    world(async |world| {
        let feed = Scripted { window: 10, ..Scripted::new(async |poll: Poll| Ok(count_to(2_000, &poll))) };
        let began = world.sim.env().now();
        let _node = world.generating(feed);
        let _worker = world.start(world.worker(handles(|_: Context| async { Ok::<_, TaskError>(()) })));
        let counts = world.settled(2_000).await.record.counts;
        let took = world.sim.env().now().since(began);
        assert!(took < seconds(6), "{took:?}: {counts:?}");
    });
}

#[test]
fn items_stand_beside_other_jobs_by_their_priority() {
    struct Ranked;
    impl Generator for Ranked {
        fn name(&self) -> &'static str {
            "feed"
        }

        fn options(&self, defaults: Definition) -> Definition {
            Definition { best: Priority::HIGH, worst: Priority::IDLE, ..defaults }
        }

        async fn poll(&self, _: Poll) -> Result<Polled, PollError> {
            let urgent = Item::new("test").args(&1)?.priority(Priority::HIGH);
            Ok(Polled::new(vec![Item::new("test").args(&3)?, urgent], 1, Next::Notified))
        }
    }
    world(async |world| {
        let _node = world.generating(Ranked);
        world.enqueue(crate::support::job().args(&2).unwrap()).await;
        world.sim.advance(seconds(1)).await;
        let ran = Notes::new();
        let notes = ran.clone();
        let handler = handles(move |ctx: Context| {
            notes.add(ctx.args::<u64>().unwrap());
            async { Ok::<_, TaskError>(()) }
        });
        let _worker = world.start(world.worker(handler).concurrency(1));
        assert_eq!(ran.reach(3).await, [1, 2, 3]);
    });
}

#[test]
fn a_cancelled_item_is_told_as_such() {
    world(async |world| {
        let feed = Scripted::new(async |poll: Poll| Ok(count_to(1, &poll)));
        let told = feed.told.clone();
        let _node = world.generating(feed);
        world.sim.advance(seconds(1)).await;
        let page = Page { after: None, limit: 9, oldest_first: true };
        let jobs = world.store().list(Filter::default(), page).await.unwrap().jobs;
        assert_eq!((jobs[0].state, jobs[0].queue.as_str()), (State::Available, "generator:feed"));
        let alice = taskwright::Actor::new("alice").unwrap();
        assert!(world.client.cancel(jobs[0].id, alice, Some("not needed".to_owned())).await.unwrap());
        let told = told.reach(1).await;
        assert_eq!((told[0].job, told[0].end), (jobs[0].id, ItemEnd::Cancelled));
        assert_eq!(told[0].error.as_deref(), Some("not needed"));
        assert_eq!(world.settled(1).await.record.counts.cancelled, 1);
        assert!(world.client.job(jobs[0].id).await.unwrap().is_none());
    });
}

#[test]
fn a_single_round_of_the_duties_asks_generators_too() {
    world(async |world| {
        let store: SharedStore = Arc::new(world.memory.handle());
        let feed = Scripted::new(async |poll: Poll| {
            Ok(if poll.state.is_null() { count_to(3, &poll) } else { nothing(poll, Next::Idle) })
        });
        let config =
            DutyConfig { generators: GeneratorSet::new().with(feed).unwrap(), ..DutyConfig::default() };
        duty::run_once(&store, &world.sim.env(), &config, |_| ()).await.unwrap();
        assert_eq!(world.feed().await.record.counts.outstanding(), 3);
    });
}

#[test]
fn a_name_is_given_once() {
    let feed = || Scripted::new(async |poll: Poll| Ok(nothing(poll, Next::Idle)));
    let error = GeneratorSet::new().with(feed()).unwrap().with(feed()).unwrap_err();
    assert!(error.to_string().contains("feed: it is added twice"), "{error}");
    let error = GeneratorSet::new().with(Scripted { window: 0, ..feed() }).unwrap_err();
    assert!(error.what().contains("window"), "{error}");
}
