use taskwright::core::attempt::AttemptEnd;
use taskwright::{Context, MaxAttempts, Registry, State, StopCause, TaskError, TaskOptions};

use crate::support::{Notes, handles, job, seconds, world};

fn once() -> taskwright::Job {
    job().max_attempts(MaxAttempts::limited(1).unwrap())
}

#[test]
fn a_handler_is_told_at_its_time_limit_and_may_end() {
    world(async |world| {
        let told = Notes::new();
        let noted = told.clone();
        let worker = world.start(world.worker(handles(move |ctx: Context| {
            let noted = noted.clone();
            async move {
                let cause = ctx.cancelled().await.clone();
                noted.add((cause.clone(), ctx.env().now()));
                Err::<(), _>(TaskError::from(cause))
            }
        })));
        let id = world.enqueue(once().timeout(seconds(5))).await;
        let job = world.over(id).await;
        let started_at = job.attempts[0].started_at.unwrap();
        assert_eq!(told.all(), [(StopCause::TimedOut, started_at.plus(seconds(5)))]);
        assert_eq!((job.view.state, job.attempts[0].end), (State::Failed, AttemptEnd::TimedOut));
        assert_eq!(job.view.error.as_deref(), Some("timed out after 5s"));
        worker.stop().await;
    });
}

#[test]
fn a_handler_that_ignores_its_time_limit_is_dropped_after_the_grace() {
    world(async |world| {
        let worker = world.start(
            world.worker(handles(|_| async { std::future::pending::<Result<(), TaskError>>().await })),
        );
        let id = world.enqueue(once().timeout(seconds(5))).await;
        let job = world.over(id).await;
        assert_eq!(job.attempts[0].end, AttemptEnd::TimedOut);
        let took = job.attempts[0].ended_at.since(job.attempts[0].started_at.unwrap());
        assert_eq!(took, seconds(5) + TaskOptions::CANCEL_GRACE);
        worker.stop().await;
    });
}

#[test]
fn work_that_is_done_within_the_grace_counts() {
    world(async |world| {
        let worker = world.start(world.worker(handles(|ctx: Context| async move {
            ctx.env().sleep(seconds(6)).await;
            Ok(())
        })));
        let id = world.enqueue(once().timeout(seconds(5))).await;
        assert_eq!(world.over(id).await.view.state, State::Completed);
        worker.stop().await;
    });
}

#[test]
fn a_task_has_a_time_limit_and_a_job_may_have_another() {
    world(async |world| {
        let options = TaskOptions { timeout: Some(seconds(60)), ..TaskOptions::default() };
        let run = |ctx: Context| async move { Err::<(), _>(TaskError::from(ctx.cancelled().await)) };
        let registry = Registry::new().handler_with("test", options, run).unwrap();
        let worker = world.start(world.worker(registry));
        let by_task = world.enqueue(once()).await;
        let by_job = world.enqueue(once().timeout(seconds(2))).await;
        for (id, limit) in [(by_task, "timed out after 60s"), (by_job, "timed out after 2s")] {
            assert_eq!(world.over(id).await.view.error.as_deref(), Some(limit));
        }
        worker.stop().await;
    });
}
