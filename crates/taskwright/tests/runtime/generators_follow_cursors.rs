//! A cursor generator makes an item of each row, once, and skips none that comes late.

use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use taskwright::generator::{Cursor, CursorGenerator, Generator, Item, PollError, Row};
use taskwright::{Context, TaskError, Timestamp};

use crate::support::{Notes, Running, World, handles, seconds, world};

type Fetch = Box<dyn Fn(Option<Cursor>, usize) -> Ready<Result<Vec<Row>, PollError>> + Send + Sync>;

/// A table of rows with the time of their last change, and who reads it.
#[derive(Clone, Default)]
struct Table(Arc<Mutex<Vec<(Timestamp, u64)>>>);

impl Table {
    fn insert(&self, at: Timestamp, id: u64) {
        self.0.lock().unwrap().push((at, id));
    }

    fn rows(&self, after: Option<Cursor>, limit: usize) -> Result<Vec<Row>, PollError> {
        let after = after.map(|after| match after {
            Cursor::Modified { at, id } => (at, id.as_u64().unwrap()),
            Cursor::Key(_) => panic!("it never gave one"),
        });
        let mut rows = self.0.lock().unwrap().clone();
        rows.sort_unstable();
        rows.retain(|row| after.is_none_or(|after| *row > after));
        let row =
            |(at, id): (Timestamp, u64)| Ok(Row::new(Cursor::modified(at, id), Item::new("test").args(&id)?));
        rows.into_iter().take(limit).map(row).collect()
    }

    fn generator(&self) -> CursorGenerator<Fetch> {
        let table = self.clone();
        CursorGenerator::new("feed", Box::new(move |after, limit| ready(table.rows(after, limit))))
    }
}

fn worker(world: &World) -> (Running, Notes<u64>) {
    let ran = Notes::new();
    let notes = ran.clone();
    let running = world.start(world.worker(handles(move |ctx: Context| {
        notes.add(ctx.args::<u64>().unwrap());
        async { Ok::<_, TaskError>(()) }
    })));
    (running, ran)
}

#[test]
fn every_row_of_a_growing_key_becomes_an_item_in_batches() {
    world(async |world| {
        let fetched = Notes::new();
        let notes = fetched.clone();
        let feed = CursorGenerator::new("feed", move |after: Option<Cursor>, limit: usize| {
            notes.add(limit);
            async move {
                let after = match after {
                    Some(Cursor::Key(key)) => key.as_u64().unwrap(),
                    _ => 0,
                };
                let row = |id: u64| Ok(Row::new(Cursor::key(id), Item::new("test").args(&id)?));
                (after + 1..=1_050).take(limit).map(row).collect()
            }
        });
        let feed = feed
            .batch(40)
            .options(|defaults| taskwright::core::generator::Definition { window: 90, ..defaults });
        let _node = world.generating(feed);
        let (_worker, ran) = worker(&world);
        world.settled(1_050).await;
        let mut ran = ran.all();
        ran.sort_unstable();
        assert_eq!(ran, (1..=1_050).collect::<Vec<_>>());
        assert!(fetched.all().iter().all(|limit| (1..=40).contains(limit)));
        assert_eq!(world.feed().await.state, serde_json::json!({"key": 1_050}));
    });
}

/// PH-X12: two updates within one second with the cursor between them.
#[test]
fn ph_x12_a_row_that_is_committed_late_is_not_skipped() {
    world(async |world| {
        let (table, start) = (Table::default(), world.sim.env().now());
        let _node = world.generating(table.generator());
        let (_worker, ran) = worker(&world);
        table.insert(start.plus(seconds(10)), 2);
        world.sim.advance(seconds(12)).await;
        // Within the same second, and of one that began before it: both are seen later.
        table.insert(start.plus(seconds(10)), 1);
        table.insert(start.plus(Duration::from_millis(9_999)), 3);
        world.sim.advance(Duration::from_millis(12_800)).await;
        assert_eq!(ran.all(), [0; 0], "not before the lag of 15 s is over");
        world.settled(3).await;
        let mut all = ran.all();
        all.sort_unstable();
        assert_eq!(all, [1, 2, 3]);
        world.sim.advance(seconds(600)).await;
        assert_eq!(ran.all().len(), 3, "each of them once");
    });
}

#[test]
fn what_ripens_is_taken_when_it_does() {
    world(async |world| {
        let (table, start) = (Table::default(), world.sim.env().now());
        for id in 0..5 {
            table.insert(start.plus(seconds(100 * id)), id);
        }
        let _node = world.generating(table.generator().lag(seconds(60)));
        let (_worker, ran) = worker(&world);
        for ripe in 0..5_u64 {
            let ripens = start.plus(seconds(100 * ripe + 60));
            world.sim.advance(ripens.since(world.sim.env().now()).saturating_sub(seconds(1))).await;
            assert_eq!(ran.all().len() as u64, ripe);
            world.sim.advance(seconds(2)).await;
            assert_eq!(ran.all().len() as u64, ripe + 1);
        }
    });
}

#[test]
fn a_row_of_the_far_future_keeps_away_nobody_who_comes_before_it() {
    world(async |world| {
        let (table, start) = (Table::default(), world.sim.env().now());
        let years = seconds(70 * 365 * 86_400);
        table.insert(start.plus(years), 9);
        let _node = world.generating(table.generator());
        let (_worker, ran) = worker(&world);
        for n in 1..=3 {
            world.sim.advance(seconds(3_600)).await;
            table.insert(world.sim.env().now(), n);
            // The lag, and as long again.
            world.sim.advance(seconds(31)).await;
            assert_eq!(ran.all(), (1..=n).collect::<Vec<_>>());
        }
        let record = world.feed().await.record;
        assert_eq!((record.failures, record.counts.made), (0, 3));
        assert!(record.counts.polls < 1_000, "{}", record.counts.polls);
    });
}

#[test]
fn a_row_may_be_passed_over_and_too_many_are_an_error() {
    world(async |world| {
        let feed = CursorGenerator::new("feed", async |after: Option<Cursor>, limit: usize| {
            let after = matches!(after, Some(Cursor::Key(Value::Number(_))));
            if after {
                return Ok(vec![Row::skip(Cursor::key(2)); limit + 1]);
            }
            Ok(vec![Row::new(Cursor::key(1), Item::new("test").args(&7)?), Row::skip(Cursor::key(2))])
        });
        assert_eq!(Generator::name(&feed), "feed");
        let _node = world.generating(feed.batch(2));
        world.sim.advance(seconds(1)).await;
        let feed = world.feed().await;
        assert_eq!((feed.record.counts.made, feed.state), (1, serde_json::json!({"key": 2})));
        assert_eq!(feed.record.last_error.as_deref(), Some("3 rows were fetched where 2 were asked for"));
    });
}
