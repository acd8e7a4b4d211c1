use std::time::Duration;

use taskwright::testing::{Call, When};
use taskwright::{Context, Delivery, Recycled, State, StopCause, TaskError};

use crate::support::{Notes, handles, job, seconds, world};

#[test]
fn a_handler_that_ends_within_the_grace_completes() {
    world(async |world| {
        let told = Notes::new();
        let tells = told.clone();
        let worker = world.start(world.worker(handles(move |ctx: Context| {
            let tells = tells.clone();
            async move {
                tells.add(ctx.cancelled().await.clone());
                ctx.env().sleep(seconds(20)).await;
                Ok(())
            }
        })));
        let id = world.enqueue(job()).await;
        world.sim.settle().await;
        let summary = worker.stop().await;
        assert_eq!(told.all(), [StopCause::Shutdown]);
        assert_eq!((summary.completed, summary.given_back), (1, 0));
        assert_eq!(world.job(id).await.view.state, State::Completed);
    });
}

#[test]
fn a_handler_that_does_not_end_is_dropped_after_the_grace_and_its_attempt_is_not_spent() {
    world(async |world| {
        let worker = world.start(
            world.worker(handles(|_| async { std::future::pending::<Result<(), TaskError>>().await })),
        );
        let id = world.enqueue(job()).await;
        world.sim.advance(seconds(3)).await;
        let before = world.elapsed_ms();
        let summary = worker.stop().await;
        assert_eq!(world.elapsed_ms() - before, 25_000);
        assert_eq!((summary.given_back, summary.failed), (1, 0));
        let job = world.job(id).await;
        assert_eq!((job.view.state, job.view.attempt, job.attempts.len()), (State::Available, 0, 0));
    });
}

#[test]
fn an_error_of_a_handler_that_was_told_to_stop_does_not_spend_its_attempt() {
    world(async |world| {
        let worker =
            world.start(world.worker(handles(|ctx: Context| async move { ctx.pause(seconds(3_600)).await })));
        let id = world.enqueue(job()).await;
        world.sim.settle().await;
        let before = world.elapsed_ms();
        worker.stop().await;
        assert_eq!(world.elapsed_ms(), before, "nobody waits for the grace when all have ended");
        let job = world.job(id).await;
        assert_eq!((job.view.state, job.view.attempt), (State::Available, 0));
    });
}

#[test]
fn what_was_claimed_and_not_started_goes_back_at_once() {
    world(async |world| {
        let started = Notes::new();
        let starts = started.clone();
        let worker = world.worker(handles(move |ctx: Context| {
            starts.add(ctx.job_id());
            async move {
                let slow: bool = ctx.args()?;
                ctx.pause(if slow { seconds(3_600) } else { Duration::from_millis(1) }).await
            }
        }));
        let worker = world.start(worker.concurrency(1));
        let fast = (0..500).map(|_| job().args(&false).unwrap());
        let slow = (0..100).map(|_| job().args(&true).unwrap());
        let client = world.client.clone().batch_jobs(10_000);
        let stored = client.enqueue_many(fast.chain(slow).collect::<Vec<_>>()).await.unwrap();
        started.reach(501).await;
        let summary = worker.stop().await;
        assert!(summary.given_back > 1, "the worker had claimed ahead: {summary:?}");
        assert_eq!(started.all().len(), 501);
        for stored in &stored[500..] {
            let job = world.job(stored.id).await;
            assert_eq!((job.view.state, job.view.attempt), (State::Available, 0));
        }
        assert!(world.store().workers().await.unwrap().iter().all(|worker| worker.running == 0));
    });
}

#[test]
fn a_job_that_was_given_back_runs_on_the_next_worker_as_its_first_attempt() {
    world(async |world| {
        let first =
            world.start(world.worker(handles(|ctx: Context| async move { ctx.pause(seconds(3_600)).await })));
        let id = world.enqueue(job()).await;
        world.sim.settle().await;
        first.stop().await;
        let second = world.start(world.worker(handles(|ctx: Context| async move { Ok(ctx.attempt()) })));
        assert_eq!(world.over(id).await.result.as_deref(), Some("1"));
        second.stop().await;
    });
}

#[test]
fn the_lease_is_kept_while_a_worker_shuts_down() {
    world(async |world| {
        let worker = world.worker(handles(|ctx: Context| async move {
            ctx.env().sleep(seconds(100)).await;
            Ok(ctx.heartbeat())
        }));
        let worker = world.start(worker.grace(seconds(200)));
        let id = world.enqueue(job()).await;
        world.sim.settle().await;
        assert_eq!(worker.stop().await.completed, 1);
        assert_eq!(world.job(id).await.result.as_deref(), Some("true"));
    });
}

#[test]
fn a_started_job_that_must_not_run_twice_is_dropped_instead() {
    world(async |world| {
        let worker = world.start(
            world.worker(handles(|_| async { std::future::pending::<Result<(), TaskError>>().await })),
        );
        let id = world.enqueue(job().delivery(Delivery::AtMostOnce)).await;
        world.sim.advance(seconds(3)).await;
        worker.stop().await;
        let job = world.job(id).await;
        assert_eq!((job.view.state, job.view.attempt, job.attempts.len()), (State::Dropped, 1, 1));
    });
}

#[test]
fn the_policy_of_the_worker_drops_what_is_left_and_that_of_a_task_comes_first() {
    world(async |world| {
        let worker = world
            .worker(handles(|_| async { std::future::pending::<Result<(), TaskError>>().await }))
            .on_shutdown(taskwright::OnShutdown::Drop);
        let worker = world.start(worker);
        let id = world.enqueue(job()).await;
        world.sim.advance(seconds(3)).await;
        assert_eq!(worker.stop().await.given_back, 0);
        let job = world.job(id).await;
        assert_eq!((job.view.state, job.attempts.len()), (State::Dropped, 1));
        assert!(!job.view.cancel_requested, "dropping is not cancelling");
        let reason = job.timeline.last().and_then(|entry| entry.reason.clone()).unwrap_or_default();
        assert!(reason.contains("the worker stops") && reason.contains("on_shutdown"), "{reason}");
    });
}

#[test]
fn a_worker_that_is_lost_while_it_shuts_down_ends_all_the_same() {
    world(async |world| {
        let started = Notes::new();
        let starts = started.clone();
        let worker = world.worker(handles(move |ctx: Context| {
            starts.add(());
            async move {
                ctx.env().sleep(seconds(600)).await;
                Ok(())
            }
        }));
        let worker = world.start(worker.grace(seconds(300)));
        world.enqueue(job()).await;
        started.reach(1).await;
        world.faulty.fail(Call::Renew, 1..=u64::MAX, When::Before);
        assert_eq!(worker.stop().await.incarnations_lost, 1);
        assert!(world.elapsed_ms() < 20_000, "with its lease, long before the grace is over");
    });
}

#[test]
fn a_worker_that_is_lost_while_it_is_recycled_ends_as_recycled() {
    world(async |world| {
        let worker = world.worker(handles(|ctx: Context| async move {
            ctx.env().sleep(seconds(600)).await;
            Ok(())
        }));
        let worker = world.start(worker.recycle_after_jobs(1));
        world.faulty.fail(Call::Renew, 1..=u64::MAX, When::Before);
        world.enqueue(job()).await;
        let summary = worker.ended().await;
        assert_eq!((summary.incarnations_lost, summary.recycled), (1, Some(Recycled::Jobs { limit: 1 })));
    });
}
