//! A bulk rests, ends and fails when somebody or its policy says so, and what was counted stays.

use std::sync::atomic::Ordering;
use std::time::Duration;

use taskwright::bulk::OnFailure;
use taskwright::store::Filter;
use taskwright::{Actor, Context, Owner, State, TaskError};

use crate::bulks::{Numbers, numbers};
use crate::support::{Notes, handles, seconds, world};

fn system() -> Actor {
    Actor::system()
}

/// A pause is at once, and a resume goes on where it was.
#[test]
fn a_paused_bulk_makes_nothing_more_until_it_is_resumed() {
    world(async |world| {
        let kind = Numbers::default();
        let _node = world.bulk_node(&kind);
        let _worker = world.start(world.worker(handles(|_: Context| async { Ok::<_, TaskError>(()) })));
        let bulks = world.bulks(&kind);
        let id = bulks.create(numbers(100_000).window(10)).await.unwrap();
        world.sim.advance(seconds(5)).await;
        assert!(bulks.pause(id, &system(), Some("too loud")).await.unwrap());
        assert!(!bulks.pause(id, &system(), None).await.unwrap(), "it rested already");
        let made = world.bulk(id).await.tally.made;
        assert!(made > 0);
        world.sim.advance(seconds(600)).await;
        let bulk = world.bulk(id).await;
        assert_eq!((bulk.tally.made, bulk.parent.state), (made, State::Blocked));
        let reason = bulk.generator.unwrap().record.paused.unwrap().reason;
        assert_eq!(reason.as_deref(), Some("too loud"));
        assert!(bulks.resume(id).await.unwrap());
        world.sim.advance(seconds(5)).await;
        assert!(world.bulk(id).await.tally.made > made);
    });
}

#[test]
fn a_cancelled_bulk_makes_no_more_cancels_what_is_outstanding_and_keeps_its_counts() {
    world(async |world| {
        let (kind, stopped) = (Numbers::default(), Notes::new());
        let _node = world.bulk_node(&kind);
        let notes = stopped.clone();
        let _worker = world.start(world.worker(handles(move |ctx: Context| {
            let notes = notes.clone();
            async move {
                if ctx.args::<u64>()? >= 20 {
                    // Runs until it is asked to stop.
                    let cause = ctx.cancelled().await;
                    notes.add(cause.to_string());
                    return Err(cause.into());
                }
                Ok(())
            }
        })));
        let bulks = world.bulks(&kind);
        let id = bulks.create(numbers(1_000_000).window(50)).await.unwrap();
        world.sim.advance(seconds(30)).await;
        let reason = Some("enough".to_owned());
        assert!(bulks.cancel(id, system(), reason.clone()).await.unwrap());
        assert!(!bulks.cancel(id, system(), reason).await.unwrap());
        world.sim.advance(seconds(30)).await;
        let bulk = world.bulk(id).await;
        assert_eq!((bulk.parent.state, bulk.generator), (State::Cancelled, None));
        let tally = bulk.tally;
        assert_eq!((tally.completed, tally.made), (20, 70), "{tally:?}");
        assert_eq!(tally.cancelled, 50, "4 that ran and 46 that waited");
        assert_eq!(stopped.all().len(), 4);
        assert_eq!(world.job_count().await, 1);
        assert!(bulks.pause(id, &system(), None).await.unwrap_err().why().contains("cancelled"));
    });
}

/// A bulk that was cancelled and is not wound up yet must not rest: nobody would count what it made.
#[test]
fn a_bulk_that_was_cancelled_cannot_be_paused_before_it_is_wound_up() {
    world(async |world| {
        let kind = Numbers::default();
        let bulks = world.bulks(&kind);
        let id = bulks.create(numbers(1_000).window(30)).await.unwrap();
        {
            let _node = world.bulk_node(&kind);
            world.sim.advance(seconds(5)).await;
        }
        assert_eq!(world.job_count().await, 31);
        assert!(bulks.cancel(id, system(), None).await.unwrap());
        // No node is up: it cannot have been wound up.
        let refused = bulks.pause(id, &system(), None).await.unwrap_err();
        assert!(refused.why().contains("cancelled"), "{refused}");
        let _node = world.bulk_node(&kind);
        world.sim.advance(seconds(10)).await;
        let bulk = world.bulk(id).await;
        assert_eq!((bulk.tally.cancelled, bulk.generator), (30, None));
    });
}

/// Whoever cancels the parent as the job that it is has the same done, also while the bulk rests.
#[test]
fn a_bulk_that_rests_is_wound_up_when_its_parent_is_cancelled() {
    world(async |world| {
        let kind = Numbers::default();
        let _node = world.bulk_node(&kind);
        let bulks = world.bulks(&kind);
        let id = bulks.create(numbers(1_000).window(30)).await.unwrap();
        world.sim.advance(seconds(5)).await;
        bulks.pause(id, &system(), None).await.unwrap();
        assert_eq!(world.job_count().await, 31);
        assert!(world.client.cancel(id, system(), None).await.unwrap());
        world.sim.advance(seconds(5)).await;
        let bulk = world.bulk(id).await;
        assert_eq!((bulk.tally.cancelled, bulk.generator), (30, None));
        assert_eq!(world.job_count().await, 1);
    });
}

#[test]
fn more_failures_than_are_allowed_stop_a_bulk_and_it_fails_with_the_counts() {
    for (policy, least) in [(OnFailure::StopAbove(0), 1), (OnFailure::StopAbovePercent(1), 11)] {
        world(async |world| {
            let kind = Numbers::default();
            let _node = world.bulk_node(&kind);
            let _worker = world.start(world.worker(handles(|ctx: Context| async move {
                match ctx.args::<u64>()? % 5 {
                    0 => Err(TaskError::permanent("a five")),
                    _ => Ok(()),
                }
            })));
            let bulks = world.bulks(&kind);
            let id = bulks.create(numbers(1_000).window(20).on_failure(policy)).await.unwrap();
            let parent = world.over(id).await;
            assert_eq!(parent.view.state, State::Failed);
            let error = parent.view.error.unwrap();
            assert!(error.contains("failed or dropped"), "{error}");
            let tally = world.bulk(id).await.tally;
            assert!(tally.failed >= least && tally.made < 200, "{tally:?}");
            assert_eq!(tally.settled(), tally.made, "what it had made ran to its end");
        });
    }
}

#[test]
fn a_bulk_whose_author_loses_the_right_stops_and_fails() {
    world(async |world| {
        let kind = Numbers::default();
        let _node = world.bulk_node(&kind);
        let _worker = world.start(world.worker(handles(|_: Context| async { Ok::<_, TaskError>(()) })));
        let author = Owner::new("mallory").unwrap();
        let id = world.bulks(&kind).create(numbers(1_000_000).window(10).author(author)).await.unwrap();
        world.sim.advance(seconds(5)).await;
        kind.is_forbidden.store(true, Ordering::Relaxed);
        let parent = world.over(id).await;
        assert_eq!(parent.view.state, State::Failed);
        assert_eq!(parent.view.error.as_deref(), Some("its author may not have this done any more"));
        let tally = world.bulk(id).await.tally;
        assert!(tally.made > 0 && tally.completed == tally.made, "{tally:?}");
    });
}

#[test]
fn a_bulk_that_cannot_be_asked_is_tried_again_and_paused_after_five_errors() {
    world(async |world| {
        let kind = Numbers::default();
        let _node = world.bulk_node(&kind);
        let _worker = world.start(world.worker(handles(|_: Context| async { Ok::<_, TaskError>(()) })));
        let bulks = world.bulks(&kind);
        kind.errors.store(4, Ordering::Relaxed);
        let id = bulks.create(numbers(5)).await.unwrap();
        assert_eq!(world.over(id).await.view.state, State::Completed);
        kind.errors.store(5, Ordering::Relaxed);
        let id = bulks.create(numbers(5)).await.unwrap();
        world.sim.advance(Duration::from_secs(3_600)).await;
        let record = world.bulk(id).await.generator.unwrap().record;
        assert!(record.paused.unwrap().reason.unwrap().contains("it cannot be asked now"));
        assert!(bulks.resume(id).await.unwrap());
        assert_eq!(world.over(id).await.view.state, State::Completed);
    });
}

#[test]
fn a_parent_that_is_deleted_takes_its_bulk_along() {
    world(async |world| {
        let kind = Numbers::default();
        let bulks = world.bulks(&kind);
        let id = bulks.create(numbers(1_000).window(30)).await.unwrap();
        let node = world.bulk_node(&kind);
        world.sim.advance(seconds(5)).await;
        drop(node);
        world.client.cancel(id, system(), None).await.unwrap();
        let deleted = world.client.change(vec![id], taskwright::store::Change::Delete, system(), None).await;
        assert_eq!(deleted.unwrap(), [taskwright::store::Changed::Done]);
        assert!(bulks.get(id).await.unwrap().is_none());
        let _node = world.bulk_node(&kind);
        world.sim.advance(seconds(60)).await;
        let page = taskwright::store::Page { after: None, limit: 100, oldest_first: true };
        assert_eq!(world.store().list(Filter::default(), page).await.unwrap().jobs, []);
        let generators = world.client.generators().list(None).await.unwrap();
        let of_bulks =
            |view: &&taskwright::generator::GeneratorView| view.definition.name.as_str().starts_with("bulk:");
        assert_eq!(generators.iter().filter(of_bulks).count(), 0);
    });
}
