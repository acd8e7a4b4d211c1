//! PH-X5: what a handler wants done next is stored with its success, and not at all without.

use serde::{Deserialize, Serialize};
use taskwright::core::limit::FOLLOW_UPS_MAX;
use taskwright::store::{Filter, JobView, Page, Pattern};
use taskwright::{Context, Job, Priority, Registry, State, Task, TaskError};

use crate::support::{World, handles, job, seconds, world};

/// All jobs of the kind `next`, oldest first.
async fn follow_ups(world: &World) -> Vec<JobView> {
    let filter = Filter { kinds: vec![Pattern::new("next")], ..Filter::default() };
    let page = Page { after: None, limit: 1_000, oldest_first: true };
    world.store().list(filter, page).await.unwrap().jobs
}

#[test]
fn both_follow_ups_of_a_success_are_there_with_the_priority_of_their_parent_unless_they_have_their_own() {
    world(async |world| {
        let _worker = world.start(world.worker(handles(|ctx: Context| async move {
            ctx.then(Job::new("next"))?;
            let id = ctx.then(Job::new("next").priority(Priority::REALTIME).owner("bob").queue("other"))?;
            Ok::<_, TaskError>(id)
        })));
        let parent = job().priority(Priority(2_345)).owner("alice").namespace("shop");
        let parent = world.over(world.enqueue(parent).await).await;
        let made = follow_ups(&world).await;
        let priorities: Vec<_> = made.iter().map(|job| job.priority).collect();
        assert_eq!(priorities, [Priority(2_345), Priority::REALTIME]);
        let owners: Vec<_> = made.iter().map(|job| job.owner.as_ref().unwrap().as_str()).collect();
        assert_eq!(owners, ["alice", "bob"]);
        assert!(made.iter().all(|job| job.namespace.as_str() == "shop" && job.state == State::Available));
        assert_eq!(made[1].queue.as_str(), "other");
        assert_eq!(parent.result, Some(format!("\"{}\"", made[1].id)));
    });
}

/// Follows its parent.
#[derive(Serialize, Deserialize)]
struct Urgent;

impl Task for Urgent {
    const KIND: &'static str = "next";
    const PRIORITY: Priority = Priority::HIGH;
    type Output = ();

    async fn run(self, _: Context) -> Result<(), TaskError> {
        Ok(())
    }
}

#[test]
fn a_task_with_a_priority_of_its_own_keeps_it_as_a_follow_up() {
    world(async |world| {
        let _worker = world.start(world.worker(handles(|ctx: Context| async move {
            ctx.then(&Urgent)?;
            Ok::<_, TaskError>(())
        })));
        world.over(world.enqueue(job().priority(Priority::IDLE)).await).await;
        assert_eq!(follow_ups(&world).await[0].priority, Priority::HIGH);
    });
}

#[test]
fn a_failure_makes_none_and_the_attempt_that_succeeds_makes_its_own() {
    world(async |world| {
        let registry = Registry::new().handler("test", |ctx: Context| async move {
            ctx.then(Job::new("next").args(&ctx.attempt())?)?;
            match ctx.attempt() {
                1 => Err(TaskError::retry("not yet")),
                2 => Err(TaskError::snooze(seconds(1))),
                _ => panic!("never"),
            }
            .or_else(|error: TaskError| if ctx.args::<bool>().unwrap() { Ok(()) } else { Err(error) })
        });
        let _worker = world.start(world.worker(registry.unwrap()));
        let fails = world.enqueue(job().args(&false).unwrap()).await;
        world.sim.advance(seconds(30)).await;
        assert_eq!(world.job(fails).await.view.state, State::Scheduled, "it was called twice");
        assert_eq!(follow_ups(&world).await.len(), 0);
        world.over(world.enqueue(job().args(&true).unwrap()).await).await;
        assert_eq!(follow_ups(&world).await.len(), 1);
    });
}

#[test]
fn more_follow_ups_than_are_allowed_are_refused_where_they_are_made() {
    world(async |world| {
        let _worker = world.start(world.worker(handles(|ctx: Context| async move {
            for _ in 0..FOLLOW_UPS_MAX {
                ctx.then(Job::new("next"))?;
            }
            let refused = ctx.then(Job::new("next")).unwrap_err();
            assert!(ctx.then(Job::new("not a kind")).unwrap_err().is_invalid());
            Ok::<_, TaskError>(refused.is_too_large())
        })));
        let done = world.over(world.enqueue(job()).await).await;
        assert_eq!(done.result.as_deref(), Some("true"));
        assert_eq!(follow_ups(&world).await.len(), FOLLOW_UPS_MAX);
    });
}
