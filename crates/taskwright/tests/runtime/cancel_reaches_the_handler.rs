use std::sync::Arc;
use std::time::Duration;

use taskwright::core::attempt::AttemptEnd;
use taskwright::{Actor, Context, State, StopCause, TaskError, TaskOptions};
use tokio::sync::Semaphore;

use crate::support::{Notes, World, handles, job, seconds, world};

async fn cancel(world: &World, id: taskwright::JobId) -> bool {
    let actor = Actor::new("alice").unwrap();
    world.client.cancel(id, actor, Some("wrong file".to_owned())).await.unwrap()
}

#[test]
fn a_waiting_job_is_cancelled_at_once_and_never_runs() {
    world(async |world| {
        let id = world.enqueue(job()).await;
        assert!(cancel(&world, id).await);
        assert!(!cancel(&world, id).await, "only the first request counts");
        let calls = Notes::new();
        let noted = calls.clone();
        let worker = world.start(world.worker(handles(move |_| {
            noted.add(());
            async { Ok(()) }
        })));
        world.sim.advance(seconds(60)).await;
        let job = world.job(id).await;
        assert_eq!((job.view.state, job.attempts.len(), calls.all().len()), (State::Cancelled, 0, 0));
        worker.stop().await;
    });
}

#[test]
fn a_running_handler_sees_who_asked_and_why_and_the_job_ends_as_cancelled() {
    world(async |world| {
        let started = Notes::new();
        let told = Notes::new();
        let (starts, tells) = (started.clone(), told.clone());
        let worker = world.start(world.worker(handles(move |ctx: Context| {
            starts.add(());
            let tells = tells.clone();
            async move {
                let cause = ctx.cancelled().await;
                tells.add(cause.clone());
                Err::<(), _>(cause.into())
            }
        })));
        let id = world.enqueue(job()).await;
        started.reach(1).await;
        let before = world.elapsed_ms();
        assert!(cancel(&world, id).await);
        assert!(!cancel(&world, id).await, "only the first request counts");
        let job = world.over(id).await;
        assert!(world.elapsed_ms() - before <= 100, "the hint carries it");
        let cause = StopCause::Cancelled { actor: "alice".to_owned(), reason: Some("wrong file".to_owned()) };
        assert_eq!(told.all(), [cause]);
        assert_eq!((job.view.state, job.attempts[0].end), (State::Cancelled, AttemptEnd::Cancelled));
        assert_eq!(job.attempts[0].error.as_deref(), Some("cancelled by alice: wrong file"));
        let told = |state, words| {
            let is_told = |reason: &String| reason.contains(words);
            job.timeline.iter().find(|entry| entry.to == state && entry.reason.as_ref().is_some_and(is_told))
        };
        assert_eq!(told(State::Running, "wrong file").unwrap().actor.as_str(), "alice");
        assert!(told(State::Cancelled, "cancelled by alice: wrong file").is_some());
        assert_eq!(worker.stop().await.cancelled, 1);
    });
}

#[test]
fn a_handler_that_ignores_a_cancel_is_dropped_after_the_grace() {
    world(async |world| {
        let started = Notes::new();
        let starts = started.clone();
        let worker = world.start(world.worker(handles(move |_| {
            starts.add(());
            std::future::pending::<Result<(), TaskError>>()
        })));
        let id = world.enqueue(job()).await;
        started.reach(1).await;
        let before = world.sim.env().now();
        cancel(&world, id).await;
        let job = world.over(id).await;
        let ended_at = job.view.ended_at.unwrap();
        assert!(ended_at >= before.plus(TaskOptions::CANCEL_GRACE));
        assert!(ended_at <= before.plus(TaskOptions::CANCEL_GRACE + Duration::from_millis(100)));
        assert_eq!(job.view.state, State::Cancelled);
        assert!(job.attempts[0].error.as_ref().unwrap().contains("was dropped"));
        worker.stop().await;
    });
}

#[test]
fn a_handler_that_ignores_a_cancel_and_succeeds_completes() {
    world(async |world| {
        let started = Notes::new();
        let starts = started.clone();
        let worker = world.start(world.worker(handles(move |ctx: Context| {
            starts.add(());
            async move {
                ctx.env().sleep(seconds(10)).await;
                Ok("done")
            }
        })));
        let id = world.enqueue(job()).await;
        started.reach(1).await;
        cancel(&world, id).await;
        let job = world.over(id).await;
        assert_eq!((job.view.state, job.result.as_deref()), (State::Completed, Some("\"done\"")));
        worker.stop().await;
    });
}

#[test]
fn a_failure_after_a_cancel_is_not_tried_again() {
    world(async |world| {
        let started = Notes::new();
        let starts = started.clone();
        let worker = world.start(world.worker(handles(move |ctx: Context| {
            starts.add(ctx.attempt());
            async move {
                ctx.cancelled().await;
                Err::<(), _>(TaskError::retry("the download broke off"))
            }
        })));
        let id = world.enqueue(job()).await;
        started.reach(1).await;
        cancel(&world, id).await;
        assert_eq!(world.over(id).await.view.state, State::Cancelled);
        world.sim.advance(seconds(60)).await;
        assert_eq!(started.all(), [1]);
        worker.stop().await;
    });
}

#[test]
fn a_job_that_is_claimed_and_not_started_is_cancelled_without_a_start() {
    world(async |world| {
        let started = Notes::new();
        let starts = started.clone();
        let gate = Arc::new(Semaphore::new(0));
        let opens = Arc::clone(&gate);
        let worker = world.worker(handles(move |ctx: Context| {
            starts.add(ctx.job_id());
            let gate = Arc::clone(&opens);
            async move {
                if ctx.args::<bool>()? {
                    gate.acquire().await?.forget();
                }
                ctx.pause(Duration::from_millis(1)).await
            }
        }));
        let worker = world.start(worker.concurrency(1));
        // Fast jobs make the worker claim ahead; then one stands in the way of what it has claimed.
        let fast = (0..500).map(|_| job().args(&false).unwrap());
        let slow = job().args(&true).unwrap();
        let jobs: Vec<_> = fast.chain([slow]).chain((0..5).map(|_| job().args(&false).unwrap())).collect();
        let stored = world.client.clone().batch_jobs(10_000).enqueue_many(jobs).await.unwrap();
        let waits = stored[503].id;
        started.reach(501).await;
        world.sim.settle().await;
        assert_eq!(world.job(waits).await.view.state, State::Running, "claimed");
        assert!(cancel(&world, waits).await);
        world.sim.advance(Duration::from_millis(100)).await;
        assert_eq!(world.job(waits).await.view.state, State::Cancelled);
        gate.add_permits(1);
        worker.stop().await;
        assert!(!started.all().contains(&waits));
    });
}
