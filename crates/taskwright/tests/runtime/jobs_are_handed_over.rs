//! A job that is stored where a worker of the same process has nothing to do starts without a claim of its own, and whatever
//! goes wrong on that way loses it no more than any other.

use std::time::Duration;

use taskwright::core::UniqueKey;
use taskwright::store::Order;
use taskwright::testing::{Call, When};
use taskwright::{Context, Job, State, TaskError};

use crate::support::{Notes, World, handles, job, seconds, world};

/// A worker that has looked and found nothing, and the jobs that it runs.
async fn idle(world: &World, concurrency: usize) -> (crate::support::Running, Notes<taskwright::JobId>) {
    let ran = Notes::new();
    let notes = ran.clone();
    let run = move |ctx: Context| {
        let notes = notes.clone();
        async move {
            notes.add(ctx.job_id());
            ctx.pause(Duration::from_millis(10)).await
        }
    };
    let worker = world.start(world.worker(handles(run)).concurrency(concurrency));
    world.sim.advance(seconds(1)).await;
    (worker, ran)
}

#[test]
fn an_idle_worker_starts_what_its_process_stores_without_a_claim() {
    world(async |world| {
        let (worker, ran) = idle(&world, 4).await;
        let id = world.enqueue(job()).await;
        // It runs for somebody already, before anybody could have asked for it.
        assert_eq!(world.job(id).await.view.state, State::Running);
        assert_eq!((world.faulty.count(Call::EnqueueTo), world.faulty.count(Call::Enqueue)), (1, 0));
        assert_eq!(ran.reach(1).await, [id]);
        assert_eq!(world.over(id).await.attempts.len(), 1);
        assert_eq!(worker.stop().await.completed, 1);
    });
}

#[test]
fn what_an_idle_worker_does_not_serve_or_may_not_start_yet_is_left_to_others() {
    world(async |world| {
        let (worker, ran) = idle(&world, 4).await;
        world.enqueue(Job::new("other")).await;
        let later = world.enqueue(job().run_in(seconds(5))).await;
        world.enqueue(job().unique(UniqueKey::new("one").unwrap())).await;
        assert_eq!(world.faulty.count(Call::EnqueueTo), 0);
        world.over(later).await;
        assert_eq!(ran.all().len(), 2);
        worker.stop().await;
    });
}

#[test]
fn a_worker_whose_slots_are_taken_is_handed_nothing() {
    world(async |world| {
        let (worker, ran) = idle(&world, 2).await;
        let ids = [world.enqueue(job()).await, world.enqueue(job()).await, world.enqueue(job()).await];
        assert!(world.faulty.count(Call::EnqueueTo) <= 2);
        for id in ids {
            assert_eq!(world.over(id).await.view.attempt, 1);
        }
        assert_eq!(ran.all().len(), 3);
        worker.stop().await;
    });
}

#[test]
fn an_answer_that_is_lost_makes_no_second_job_and_loses_none() {
    for when in [When::Before, When::After] {
        world(async |world| {
            let (worker, ran) = idle(&world, 4).await;
            world.faulty.fail(Call::EnqueueTo, 1..=1, when);
            let id = world.enqueue(job()).await;
            let job = world.over(id).await;
            assert_eq!((job.view.state, ran.all()), (State::Completed, vec![id]), "{when:?}");
            assert!(job.attempts.iter().all(|attempt| attempt.attempt == 1), "{:?}", job.attempts);
            let next = world.enqueue(crate::support::job()).await;
            world.over(next).await;
            worker.stop().await;
            assert_eq!(ran.all(), [id, next]);
        });
    }
}

#[test]
fn a_caller_that_gives_up_meanwhile_leaves_the_job_to_the_worker() {
    world(async |world| {
        let (worker, ran) = idle(&world, 4).await;
        let client = world.client.clone();
        let stored = {
            let mut enqueue = std::pin::pin!(client.enqueue(job()));
            // As a timeout does it: asked once, and dropped.
            std::future::poll_fn(|cx| std::task::Poll::Ready(enqueue.as_mut().poll(cx).is_ready())).await
        };
        world.sim.advance(seconds(40)).await;
        assert!(stored || ran.all().len() <= 1);
        let next = world.enqueue(job()).await;
        assert_eq!(world.over(next).await.view.state, State::Completed);
        let summary = worker.stop().await;
        assert_eq!(summary.completed as usize, ran.all().len());
    });
}

#[test]
fn a_worker_that_stops_while_it_is_handed_a_job_runs_it_or_gives_it_back() {
    world(async |world| {
        let (worker, ran) = idle(&world, 4).await;
        let client = world.client.clone();
        let (stored, _) = tokio::join!(client.enqueue(job()), worker.stop());
        let id = stored.unwrap().id;
        let state = world.job(id).await.view.state;
        assert!(matches!(state, State::Available | State::Completed), "{state}");
        let (second, _) = idle(&world, 4).await;
        let job = world.over(id).await;
        assert_eq!(
            (job.view.state, job.view.attempt),
            (State::Completed, 1),
            "after {} starts",
            ran.all().len()
        );
        second.stop().await;
    });
}

#[test]
fn a_worker_that_was_told_to_be_quiet_is_handed_nothing() {
    world(async |world| {
        let (worker, ran) = idle(&world, 4).await;
        let id = world.store().workers().await.unwrap()[0].id;
        assert_eq!(world.store().order(vec![id], Order::Quiet).await.unwrap(), [true]);
        world.sim.advance(seconds(5)).await;
        world.enqueue(job()).await;
        assert_eq!((world.faulty.count(Call::EnqueueTo), ran.all().len()), (0, 0));
        worker.stop().await;
    });
}

#[test]
fn handed_jobs_wear_a_worker_out_as_others_do() {
    world(async |world| {
        let run = |_: Context| async { Ok::<_, TaskError>(()) };
        let worker = world.start(world.worker(handles(run)).recycle_after_jobs(3));
        world.sim.advance(seconds(1)).await;
        for _ in 0..3 {
            let id = world.enqueue(job()).await;
            world.over(id).await;
        }
        let summary = worker.ended().await;
        assert_eq!((summary.completed, summary.recycled.is_some()), (3, true));
    });
}
