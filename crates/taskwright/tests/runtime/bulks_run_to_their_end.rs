//! A bulk is one job and as many items as there are, none of which is stored before there is room for it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use taskwright::bulk::{Bulk, OnFailure, Tally};
use taskwright::core::Actor;
use taskwright::{Context, Owner, Priority, State, TaskError};

use crate::bulks::{Numbers, numbers};
use crate::support::{Notes, handles, seconds, world};

#[test]
fn every_item_runs_once_in_the_name_of_the_author_and_the_parent_completes_with_the_counts() {
    world(async |world| {
        let (kind, ran) = (Numbers::default(), Notes::new());
        let _node = world.bulk_node(&kind);
        let notes = ran.clone();
        let _worker = world.start(world.worker(handles(move |ctx: Context| {
            let owner = ctx.owner().unwrap().as_str().to_owned();
            notes.add((ctx.args::<u64>().unwrap(), owner, ctx.queue().to_string()));
            async { Ok::<_, TaskError>(()) }
        })));
        let author = Owner::new("alice").unwrap();
        let id = world.bulks(&kind).create(numbers(2_500).author(author)).await.unwrap();
        let parent = world.over(id).await;
        assert_eq!(parent.view.state, State::Completed);
        let tally: Tally = serde_json::from_str(parent.result.as_ref().unwrap()).unwrap();
        let all = Tally { size: Some(2_500), made: 2_500, completed: 2_500, ..Tally::default() };
        assert_eq!(tally, all);
        let progress = parent.view.progress.unwrap();
        assert_eq!((progress.done, progress.total), (2_500, Some(2_500)));
        let mut ran = ran.all();
        ran.sort();
        assert_eq!(ran.iter().map(|one| one.0).collect::<Vec<_>>(), (0..2_500).collect::<Vec<_>>());
        let queue = format!("generator:bulk:numbers:{id}");
        assert!(ran.iter().all(|one| one.1 == "alice" && one.2 == queue));
        let bulk = world.bulk(id).await;
        assert_eq!((bulk.tally, bulk.generator), (all, None));
        assert_eq!(world.job_count().await, 1, "only the parent is left");
    });
}

#[test]
fn ten_million_items_are_one_row_until_somebody_works() {
    world(async |world| {
        let kind = Numbers::default();
        let id = world.bulks(&kind).create(numbers(10_000_000).window(50)).await.unwrap();
        assert_eq!(world.job_count().await, 1);
        let _node = world.bulk_node(&kind);
        world.sim.advance(seconds(60)).await;
        assert_eq!(world.job_count().await, 51, "the parent and the window");
        let _worker = world.start(world.worker(handles(|_: Context| async { Ok::<_, TaskError>(()) })));
        for _ in 0..50 {
            world.sim.advance(Duration::from_millis(137)).await;
            assert!(world.job_count().await <= 51);
        }
        let bulk = world.bulk(id).await;
        assert!(bulk.tally.settled() > 50, "{:?}", bulk.tally);
        assert_eq!(bulk.parent.progress.unwrap().done, bulk.tally.settled());
        assert_eq!(bulk.parent.state, State::Blocked);
    });
}

#[test]
fn failures_are_counted_and_can_be_run_again() {
    world(async |world| {
        let kind = Numbers::default();
        let _node = world.bulk_node(&kind);
        let heals = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let healed = heals.clone();
        let _worker = world.start(world.worker(handles(move |ctx: Context| {
            let fails = ctx.args::<u64>().unwrap().is_multiple_of(10) && !healed.load(Ordering::Relaxed);
            async move { if fails { Err(TaskError::permanent("a ten")) } else { Ok(()) } }
        })));
        let bulks = world.bulks(&kind);
        let id = bulks.create(numbers(100)).await.unwrap();
        let parent = world.over(id).await;
        assert_eq!(parent.view.state, State::Completed, "failures do not matter to it");
        let tally = world.bulk(id).await.tally;
        assert_eq!((tally.completed, tally.failed, tally.settled()), (90, 10, 100));
        assert_eq!(world.job_count().await, 11, "the dead letters stay");
        heals.store(true, Ordering::Relaxed);
        assert_eq!(bulks.retry(id, &taskwright::Actor::system()).await.unwrap(), 10);
        world.sim.advance(seconds(5)).await;
        assert_eq!(bulks.retry(id, &taskwright::Actor::system()).await.unwrap(), 0, "all have completed");
        assert_eq!(world.bulk(id).await.tally, tally, "what was counted stays");
    });
}

#[test]
fn a_bulk_without_items_completes_at_once() {
    world(async |world| {
        let kind = Numbers::default();
        let _node = world.bulk_node(&kind);
        let id = world.bulks(&kind).create(numbers(0)).await.unwrap();
        assert_eq!(world.over(id).await.view.state, State::Completed);
        assert_eq!(world.bulk(id).await.tally, Tally { size: Some(0), ..Tally::default() });
    });
}

#[test]
fn the_types_that_are_brought_make_items_from_templates() {
    world(async |world| {
        let (kind, ran) = (Numbers::default(), Notes::new());
        let _node = world.bulk_node(&kind);
        let notes = ran.clone();
        let _worker = world.start(world.worker(handles(move |ctx: Context| {
            notes.add((ctx.raw_args().as_str().to_owned(), ctx.max_attempts().to_string()));
            async { Ok::<_, TaskError>(()) }
        })));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{\"a\": 1}\n\n[2]\n").unwrap();
        let count = json!({"kind": "test", "size": 2, "args": {"n": "{index}"}, "max_attempts": 2});
        let lines = json!({"kind": "test", "path": file.path()});
        let bulks = world.bulks(&kind);
        for (name, params) in [("count", count), ("lines", lines)] {
            let id = bulks.create(Bulk::new(name).params(&params).unwrap()).await.unwrap();
            assert_eq!(world.over(id).await.view.state, State::Completed);
            assert_eq!(world.bulk(id).await.tally.size, Some(2), "{name}");
        }
        let mut ran = ran.all();
        ran.sort();
        let expected = [(r#"[2]"#, "5"), (r#"{"a":1}"#, "5"), (r#"{"n":0}"#, "2"), (r#"{"n":1}"#, "2")];
        assert_eq!(ran, expected.map(|(args, most)| (args.to_owned(), most.to_owned())));
    });
}

#[test]
fn a_line_that_is_no_json_is_an_item_that_failed_and_the_others_run() {
    world(async |world| {
        let kind = Numbers::default();
        let _node = world.bulk_node(&kind);
        let _worker = world.start(world.worker(handles(|_: Context| async { Ok::<_, TaskError>(()) })));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "1\noops\n{}\n").unwrap();
        let params = json!({"kind": "test", "path": file.path()});
        let bulks = world.bulks(&kind);
        let lines = || Bulk::new("lines").params(&params).unwrap();
        let id = bulks.create(lines()).await.unwrap();
        let parent = world.over(id).await;
        assert_eq!(parent.view.state, State::Completed);
        let told = parent.view.progress.unwrap().message.unwrap();
        assert!(told.starts_with("line 2 of ") && told.contains("it is not JSON"), "{told}");
        let all = Tally { size: Some(3), made: 3, completed: 2, failed: 1, refused: 1, ..Tally::default() };
        assert_eq!(world.bulk(id).await.tally, all);
        assert_eq!(bulks.retry(id, &Actor::system()).await.unwrap(), 0, "there is nothing to run again");
        let id = bulks.create(lines().on_failure(OnFailure::StopAbove(0))).await.unwrap();
        assert_eq!(world.over(id).await.view.state, State::Failed);
        let none = Tally { made: 1, failed: 1, refused: 1, ..Tally::default() };
        let tally = Tally { size: None, ..world.bulk(id).await.tally };
        assert_eq!(tally, none, "nothing is made any more");
    });
}

#[test]
fn what_is_not_accepted_is_refused_before_anything_is_stored() {
    world(async |world| {
        let bulks = world.bulks(&Numbers::default());
        let count = |params| Bulk::new("count").params(&params).unwrap();
        for bad in [
            Bulk::new("unheard"),
            Bulk::new("not a name"),
            Bulk::new("numbers"),
            count(json!({"kind": "test"})),
            count(json!({"kind": "not a kind", "size": 1})),
            count(json!({"kind": "test", "size": 1, "colour": "red"})),
            count(json!({"kind": "test", "size": 1, "max_attempts": 0})),
            Bulk::new("lines").params(&json!({"kind": "test", "path": "/no/such/file"})).unwrap(),
            numbers(1).window(0),
            numbers(1).window(10_001),
        ] {
            let error = bulks.create(bad.clone()).await.unwrap_err();
            assert!(error.is_domain(), "{bad:?}: {error}");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        let lines = Bulk::new("lines").params(&json!({"kind": "test", "path": file.path()})).unwrap();
        let share = lines.on_failure(OnFailure::StopAbovePercent(5));
        assert!(bulks.create(share).await.unwrap_err().why().contains("not known"));
        assert_eq!(world.job_count().await, 0);
        assert_eq!(bulks.list(None, None, 10).await.unwrap().0, []);
    });
}

#[test]
fn a_bulk_that_is_created_twice_under_one_id_is_one() {
    world(async |world| {
        let bulks = world.bulks(&Numbers::default());
        let id = world.sim.env().job_id();
        for _ in 0..2 {
            assert_eq!(bulks.create(numbers(3).id(id).priority(Priority::IDLE)).await.unwrap(), id);
        }
        let (listed, next) = bulks.list(None, None, 10).await.unwrap();
        assert_eq!((listed.len(), next), (1, None));
        assert_eq!((listed[0].parent.id, listed[0].parent.priority), (id, Priority::IDLE));
    });
}
