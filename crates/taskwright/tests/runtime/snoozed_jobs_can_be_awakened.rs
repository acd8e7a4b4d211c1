//! PH-X4: a handler may put its job off, as often as its task says; whoever knows better calls it sooner.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use taskwright::{Actor, Context, Job, Registry, State, Task, TaskError};

use crate::support::{Notes, handles, job, seconds, world};

#[test]
fn ph_x4_a_snoozed_job_is_called_after_its_time_or_when_it_is_awakened() {
    world(async |world| {
        let calls = Notes::new();
        let notes = calls.clone();
        let _worker = world.start(world.worker(handles(move |ctx: Context| {
            notes.add((ctx.env().monotonic_us() / 1_000_000, ctx.attempt()));
            let is_last = notes.all().len() == 3;
            async move { if is_last { Ok(()) } else { Err(TaskError::snooze(seconds(60))) } }
        })));
        let id = world.enqueue(job()).await;
        assert_eq!(calls.reach(1).await, [(0, 1)]);
        world.sim.advance(seconds(59)).await;
        assert_eq!(calls.all().len(), 1, "not before its time");
        assert_eq!(calls.reach(2).await[1], (60, 1), "the attempt does not count");
        world.sim.advance(seconds(10)).await;
        assert_eq!(world.client.awaken(vec![id], Actor::system()).await.unwrap(), [true]);
        assert_eq!(calls.reach(3).await[2], (70, 1));
        assert_eq!(world.over(id).await.view.state, State::Completed);
    });
}

#[test]
fn a_job_that_failed_or_runs_is_not_awakened() {
    world(async |world| {
        let _worker = world.start(world.worker(handles(|ctx: Context| async move {
            if ctx.args::<bool>()? {
                ctx.pause(seconds(100)).await?;
            }
            Err::<(), _>(TaskError::retry("boom"))
        })));
        let fails = world.enqueue(job().args(&false).unwrap()).await;
        let runs = world.enqueue(job().args(&true).unwrap()).await;
        world.sim.advance(Duration::from_millis(500)).await;
        let before = (world.job(fails).await.view.run_at, world.job(runs).await.view.state);
        let awakened = world.client.awaken(vec![fails, runs], Actor::system()).await.unwrap();
        assert_eq!(awakened, [false, false]);
        let after = (world.job(fails).await.view.run_at, world.job(runs).await.view.state);
        assert_eq!((after, before.1), (before, State::Running));
    });
}

/// Never has what it waits for.
#[derive(Serialize, Deserialize)]
struct Poll;

impl Task for Poll {
    const KIND: &'static str = "poll";
    const SNOOZES_MAX: u32 = 2;
    type Output = ();

    async fn run(self, _: Context) -> Result<(), TaskError> {
        Err(TaskError::snooze(seconds(5)))
    }
}

#[test]
fn a_job_that_is_snoozed_more_often_than_its_task_allows_fails() {
    world(async |world| {
        let _worker = world.start(world.worker(Registry::new().register::<Poll>().unwrap()));
        let polls = world.over(world.enqueue(Job::of(&Poll)).await).await;
        assert_eq!(polls.view.state, State::Failed);
        assert_eq!(polls.view.error.as_deref(), Some("it was snoozed 2 times already, and 2 are allowed"));
        assert_eq!(world.elapsed_ms() / 1_000, 10, "two snoozes of 5 s");
    });
}
