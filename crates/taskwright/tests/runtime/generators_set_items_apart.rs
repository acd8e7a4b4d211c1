//! A cursor generator holds nothing up: what has failed is run again later, a busy group lets the others pass, and events have it asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use taskwright::core::generator::Definition;
use taskwright::generator::{Backlog, Cursor, CursorGenerator, Item, PollError, Row};
use taskwright::{Backoff, Context, Event, MaxAttempts, State, TaskError};

use crate::support::{Notes, handles, seconds, world};

fn key_of(after: Option<Cursor>) -> u64 {
    match after {
        Some(Cursor::Key(key)) => key.as_u64().unwrap(),
        _ => 0,
    }
}

/// The numbers up to `end`; each runs once. The group of one is what remains by `groups`.
async fn numbers(after: Option<Cursor>, limit: usize, end: u64, groups: u64) -> Result<Vec<Row>, PollError> {
    let row = |n: u64| {
        let item = Item::new("test").key(n.to_string()).args(&n)?.max_attempts(MaxAttempts::limited(1)?);
        Ok(Row::new(Cursor::key(n), item).group(&format!("g{}", n % groups)))
    };
    (key_of(after) + 1..=end).take(limit).map(row).collect()
}

#[test]
fn an_item_that_failed_is_run_again_while_the_cursor_moves_on_and_is_a_dead_letter_in_the_end() {
    world(async |world| {
        let backoff = Backoff::Fixed { delay: seconds(600) };
        let feed = CursorGenerator::new("feed", |after, limit| numbers(after, limit, 100, 1))
            .options(|defaults| Definition { window: 2, ..defaults })
            .retry(&world.store(), backoff, 2);
        let _node = world.generating(feed);
        let ran: Notes<u64> = Notes::new();
        let notes = ran.clone();
        let seventh = Arc::new(AtomicU32::new(0));
        let _worker = world.start(world.worker(handles(move |ctx: Context| {
            let n = ctx.args::<u64>().unwrap();
            notes.add(n);
            // One fails always, and another twice.
            let fails = n == 5 || (n == 7 && seventh.fetch_add(1, Ordering::Relaxed) < 2);
            async move { if fails { Err(TaskError::retry("it fails")) } else { Ok::<_, TaskError>(()) } }
        })));
        let counts = world.settled(100).await.record.counts;
        assert_eq!((counts.completed, counts.failed), (98, 2));
        world.sim.advance(seconds(500)).await;
        assert_eq!(ran.all().len(), 100, "they wait");
        world.sim.advance(seconds(200)).await;
        assert_eq!(ran.all().iter().filter(|n| [5, 7].contains(*n)).count(), 4);
        world.sim.advance(seconds(3_600)).await;
        let count = |n| ran.all().iter().filter(|ran| **ran == n).count();
        assert_eq!((count(5), count(7)), (3, 3));
        let counts = world.feed().await.record.counts;
        assert_eq!((counts.made, counts.completed, counts.outstanding()), (104, 99, 0));
        let letters = world.client.generators();
        let (left, _) =
            letters.dead_letters(&Default::default(), &"feed".parse().unwrap(), None, 10).await.unwrap();
        assert_eq!((left.len(), left[0].state), (1, State::Failed));
        assert_eq!(
            world.client.job(left[0].id).await.unwrap().unwrap().attempts.len(),
            3,
            "one job all the while"
        );
    });
}

#[test]
fn a_dead_letter_that_somebody_else_deals_with_is_left_to_them() {
    world(async |world| {
        let feed = CursorGenerator::new("feed", |after, limit| numbers(after, limit, 3, 1)).retry(
            &world.store(),
            Backoff::Fixed { delay: seconds(600) },
            9,
        );
        let _node = world.generating(feed);
        let ran: Notes<u64> = Notes::new();
        let notes = ran.clone();
        let _worker = world.start(world.worker(handles(move |ctx: Context| {
            notes.add(ctx.args::<u64>().unwrap());
            async { Err::<(), _>(TaskError::retry("it fails")) }
        })));
        world.settled(3).await;
        let alice = taskwright::Actor::new("alice").unwrap();
        let letters = world.client.generators();
        let (left, _) =
            letters.dead_letters(&Default::default(), &"feed".parse().unwrap(), None, 10).await.unwrap();
        let ids = vec![left[0].id];
        let delete = taskwright::store::Change::Delete;
        world.store().change(world.sim.env().now(), ids, delete, alice, None).await.unwrap();
        world.sim.advance(seconds(700)).await;
        let counts = world.feed().await.record.counts;
        assert_eq!((ran.all().len(), counts.made, counts.failed, counts.outstanding()), (5, 5, 5, 0));
    });
}

#[test]
fn a_busy_group_lets_the_others_pass_and_no_row_is_lost() {
    world(async |world| {
        let feed = CursorGenerator::new("feed", |after, limit| numbers(after, limit, 90, 3))
            .options(|defaults| Definition { window: 10, ..defaults })
            .per_group(2);
        let _node = world.generating(feed);
        let (ran, running): (Notes<u64>, Arc<std::sync::Mutex<BTreeMap<u64, u32>>>) =
            (Notes::new(), Arc::default());
        let notes = ran.clone();
        let _worker = world.start(
            world
                .worker(handles(move |ctx: Context| {
                    let (notes, running) = (notes.clone(), Arc::clone(&running));
                    async move {
                        let n = ctx.args::<u64>()?;
                        let at_once = {
                            let mut running = running.lock().unwrap();
                            let at_once = running.entry(n % 3).or_default();
                            *at_once += 1;
                            *at_once
                        };
                        assert!(at_once <= 2, "{at_once} of the group {}", n % 3);
                        // The items of one group take their time.
                        if n.is_multiple_of(3) {
                            ctx.env().sleep(seconds(100)).await;
                        }
                        *running.lock().unwrap().get_mut(&(n % 3)).unwrap() -= 1;
                        notes.add(n);
                        Ok::<_, TaskError>(())
                    }
                }))
                .concurrency(8),
        );
        world.sim.advance(seconds(90)).await;
        assert_eq!(ran.all().len(), 60, "all of the two quick groups");
        assert_eq!(world.settled(90).await.record.counts.made, 90);
        let mut all = ran.all();
        all.sort_unstable();
        assert_eq!(all, (1..=90).collect::<Vec<_>>());
        assert_eq!(world.feed().await.state, serde_json::json!({"key": 90}), "nothing is set apart any more");
    });
}

#[test]
fn an_item_that_is_to_run_again_and_whose_group_is_full_lets_the_others_pass() {
    world(async |world| {
        let feed = CursorGenerator::new("feed", |after, limit| numbers(after, limit, 3, 2))
            .options(|defaults| Definition { window: 2, ..defaults })
            .per_group(1)
            .retry(&world.store(), Backoff::Fixed { delay: seconds(10) }, 5);
        let _node = world.generating(feed);
        let ran: Notes<u64> = Notes::new();
        let notes = ran.clone();
        let _worker = world.start(world.worker(handles(move |ctx: Context| {
            let notes = notes.clone();
            async move {
                let n = ctx.args::<u64>()?;
                let is_first = !notes.all().contains(&n);
                notes.add(n);
                if n == 3 {
                    // It is of the group of 1, and takes its time.
                    ctx.env().sleep(seconds(100)).await;
                } else if is_first {
                    return Err(TaskError::retry("it fails the first time"));
                }
                Ok::<_, TaskError>(())
            }
        })));
        let count = |n| ran.all().iter().filter(|ran| **ran == n).count();
        world.sim.advance(seconds(60)).await;
        assert_eq!((count(1), count(2), count(3)), (1, 2, 1), "1 waits for 3, and 2 for nobody");
        world.sim.advance(seconds(60)).await;
        assert_eq!(count(1), 2);
        assert_eq!(world.feed().await.record.counts.outstanding(), 0);
    });
}

#[test]
fn an_item_with_a_key_that_is_too_long_is_noted_and_passed_over() {
    world(async |world| {
        let feed = CursorGenerator::new("feed", async |after, limit| {
            let row = |n: u64| {
                let key = if n == 3 { "x".repeat(510) } else { n.to_string() };
                let item = Item::new("test").key(key).args(&n)?;
                Ok(Row::new(Cursor::key(n), item).group("eu"))
            };
            (key_of(after) + 1..=9).take(limit).map(row).collect::<Result<_, PollError>>()
        });
        let _node = world.generating(feed.per_group(100));
        let _worker = world.start(world.worker(handles(|_: Context| async { Ok::<_, TaskError>(()) })));
        assert_eq!(world.settled(8).await.record.counts.made, 8);
        let feed = world.feed().await;
        assert_eq!(
            (feed.record.failures, &feed.state["after"], &feed.state["trouble"]),
            (
                0,
                &serde_json::json!({"key": 9}),
                &serde_json::json!({
                    "skipped": 1,
                    "last": "the row 3: its key, with its group, has 513 bytes, and 512 are allowed"
                })
            )
        );
    });
}

#[test]
fn many_failures_with_long_keys_pause_nobody() {
    world(async |world| {
        let feed = CursorGenerator::new("feed", async |after, limit| {
            let row = |n: u64| {
                let item = Item::new("test").key(format!("{n:0512}")).max_attempts(MaxAttempts::limited(1)?);
                Ok(Row::new(Cursor::key(n), item))
            };
            (key_of(after) + 1..=600).take(limit).map(row).collect::<Result<_, PollError>>()
        });
        let feed = feed.options(|defaults| Definition { window: 600, ..defaults }).retry(
            &world.store(),
            Backoff::Fixed { delay: seconds(3_600) },
            1,
        );
        let _node = world.generating(feed);
        let fails = |_: Context| async { Err::<(), _>(TaskError::retry("it fails")) };
        let _worker = world.start(world.worker(handles(fails)).concurrency(64));
        let feed = world.settled(600).await;
        assert_eq!((feed.record.failures, feed.record.paused, feed.record.counts.failed), (0, None, 600));
        let waiting = feed.state["retries"].as_array().unwrap().len();
        assert!((150..250).contains(&waiting), "as many as have room: {waiting}");
        world.sim.advance(seconds(7_200)).await;
        let counts = world.feed().await.record.counts;
        assert_eq!((counts.made, counts.failed), (600 + waiting as u64, 600 + waiting as u64));
    });
}

#[test]
fn many_rows_with_long_keys_ahead_of_one_that_waits_pause_nobody() {
    world(async |world| {
        const ROWS: u64 = 1_000;
        let feed = CursorGenerator::new("feed", async |after, limit| {
            let after = match after {
                Some(Cursor::Key(key)) => key.as_str().unwrap().parse().unwrap(),
                _ => 0,
            };
            let row = |n: u64| {
                let group = if n <= 2 { "slow".to_owned() } else { format!("{n:0200}") };
                Ok(Row::new(Cursor::key(format!("{n:0400}")), Item::new("test").args(&n)?).group(&group))
            };
            (after + 1..=ROWS).take(limit).map(row).collect::<Result<_, PollError>>()
        });
        let feed = feed.options(|defaults| Definition { window: 2_000, ..defaults }).per_group(1);
        let _node = world.generating(feed);
        let _worker = world.start(
            world
                .worker(handles(|ctx: Context| async move {
                    if ctx.args::<u64>()? <= 2 {
                        ctx.env().sleep(seconds(100)).await;
                    }
                    Ok::<_, TaskError>(())
                }))
                .concurrency(8),
        );
        world.sim.advance(seconds(50)).await;
        let record = world.feed().await.record;
        assert_eq!((record.failures, record.last_error), (0, None));
        assert!((100..200).contains(&record.counts.made), "as many as have room: {}", record.counts.made);
        let feed = world.settled(ROWS).await;
        assert_eq!((feed.record.counts.made, feed.record.failures), (ROWS, 0));
    });
}

#[test]
fn the_backlog_is_told_without_counting() {
    world(async |world| {
        let feed = CursorGenerator::new("feed", |after, limit| numbers(after, limit, 1_000_000, 1))
            .head(|| async { Ok(Some(Cursor::key(1_000_000))) });
        let _node = world.generating(feed);
        world.sim.advance(seconds(2)).await;
        assert_eq!(world.feed().await.backlog(), Some(Backlog::Keys(999_900)));
    });
}

#[test]
fn an_event_of_its_topic_has_it_asked() {
    world(async |world| {
        let asked = Notes::new();
        let notes = asked.clone();
        let feed = CursorGenerator::new("feed", move |_, _| {
            notes.add(());
            async { Ok(Vec::new()) }
        });
        let topics = vec![taskwright::core::trigger::TopicPattern::new("order.*").unwrap()];
        let idle = seconds(3_600);
        let feed = feed.options(move |defaults| Definition {
            topics: topics.clone(),
            idle_min: idle,
            idle_max: idle,
            ..defaults
        });
        let _node = world.generating(feed);
        world.sim.advance(seconds(10)).await;
        assert_eq!(asked.all().len(), 1);
        world.client.emit(Event::new("order.created")).await.unwrap();
        world.client.emit(Event::new("mail.created")).await.unwrap();
        world.sim.advance(seconds(3)).await;
        assert_eq!(asked.all().len(), 2);
    });
}
