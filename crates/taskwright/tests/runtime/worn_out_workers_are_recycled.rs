//! A worker that has run for long enough ends by itself and says why; no job loses an attempt or is told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use taskwright::worker::Builder;
use taskwright::{Context, Recycled, Registry, State, TaskError};

use crate::support::{Notes, World, handles, job, seconds, world};

fn sleeps() -> Registry {
    handles(|ctx: Context| async move {
        ctx.env().sleep(Duration::from_millis(ctx.args()?)).await;
        if ctx.is_cancelled() { Err(TaskError::permanent("it was told to stop")) } else { Ok(()) }
    })
}

async fn to_the_end(worker: Builder) -> taskwright::Summary {
    worker.run(std::future::pending()).await.unwrap()
}

async fn enqueue(world: &World, takes_ms: &[u64]) -> Vec<taskwright::JobId> {
    let jobs = takes_ms.iter().map(|takes_ms| job().args(takes_ms).unwrap());
    world.client.enqueue_many(jobs).await.unwrap().into_iter().map(|stored| stored.id).collect()
}

#[test]
fn after_so_many_jobs_the_worker_ends_and_hands_back_what_it_has_not_started() {
    world(async |world| {
        let all = enqueue(&world, &[5; 50]).await;
        for _ in 0..5 {
            let summary = to_the_end(world.worker(sleeps()).recycle_after_jobs(10)).await;
            assert_eq!((summary.completed, summary.recycled), (10, Some(Recycled::Jobs { limit: 10 })));
        }
        for id in all {
            let job = world.job(id).await;
            assert_eq!((job.view.state, job.view.attempt), (State::Completed, 1));
        }
        let workers = world.store().workers().await.unwrap();
        assert_eq!(workers.len(), 5);
        for worker in workers {
            assert_eq!(worker.remark.as_deref(), Some("recycling: 10 jobs run"));
        }
    });
}

#[test]
fn what_runs_is_waited_for_beyond_the_grace_and_not_told_to_stop() {
    world(async |world| {
        let ids = enqueue(&world, &[600_000, 1, 1, 1, 1]).await;
        let worker = world.worker(sleeps()).grace(seconds(1)).recycle_after_jobs(3);
        let summary = to_the_end(worker).await;
        assert_eq!((summary.completed, summary.given_back > 0), (3, true), "{summary:?}");
        assert_eq!(world.job(ids[0]).await.view.state, State::Completed);
        assert!(world.elapsed_ms() >= 600_000);
        assert_eq!(world.job(ids[4]).await.view.attempt, 0);
    });
}

#[test]
fn a_worker_whose_process_is_too_large_ends_after_some_work_and_says_so() {
    world(async |world| {
        let worker = world.start(world.worker(sleeps()).recycle_above_rss(1));
        world.sim.advance(seconds(10)).await;
        assert_eq!(world.store().workers().await.unwrap()[0].remark, None, "it has done nothing yet");
        enqueue(&world, &[5_000]).await;
        let summary = worker.ended().await;
        let Some(reason @ Recycled::Memory { limit_bytes: 1, .. }) = summary.recycled else {
            panic!("it is recycled for its memory: {summary:?}")
        };
        let words = reason.to_string();
        assert!(words.starts_with("RSS ") && words.ends_with("iB above 1 bytes"), "{words}");
        assert_eq!(summary.completed, 1);
    });
}

#[test]
fn a_shutdown_meanwhile_is_a_shutdown() {
    world(async |world| {
        let started = Notes::new();
        let starts = started.clone();
        let registry = handles(move |ctx: Context| {
            starts.add(());
            async move { ctx.pause(seconds(600)).await }
        });
        let worker = world.start(world.worker(registry).recycle_after_jobs(1));
        let id = world.enqueue(job()).await;
        started.reach(1).await;
        world.sim.advance(seconds(1)).await;
        let summary = worker.stop().await;
        assert_eq!((summary.recycled, summary.given_back), (None, 1));
        assert_eq!(world.job(id).await.view.attempt, 0);
    });
}

#[test]
fn a_quiet_worker_stays() {
    world(async |world| {
        let worker = world.start(world.worker(sleeps()).recycle_above_rss(1));
        enqueue(&world, &[3_000]).await;
        world.sim.advance(Duration::from_millis(500)).await;
        let id = world.store().workers().await.unwrap()[0].id;
        world.store().order(vec![id], taskwright::store::Order::Quiet).await.unwrap();
        world.sim.advance(seconds(20)).await;
        let views = world.store().workers().await.unwrap();
        assert_eq!((views[0].state, views[0].remark.clone()), (taskwright::store::WorkerState::Alive, None));
        assert_eq!(worker.stop().await.recycled, None);
    });
}

/// PH-X15, adapted: given room for four and a long backlog, four run at once from the start and never more, and when nothing is left none
/// does. The seed grows a pool of processes from one to four in steps of 2 s and lets it shrink after 15 s, since each runs one task and has
/// its price; here a place that is free is no process and costs nothing, so that nothing has to grow, and a process that has grown
/// itself is replaced (`recycle_above_rss`, and the other tests here).
#[test]
fn ph_x15_a_backlog_fills_all_places_at_once_and_an_idle_worker_runs_nothing() {
    world(async |world| {
        enqueue(&world, &[1_000; 40]).await;
        let at_once = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&at_once);
        let worker = world.start(
            world
                .worker(handles(move |ctx: Context| {
                    let at_once = Arc::clone(&count);
                    async move {
                        assert!(at_once.fetch_add(1, Ordering::Relaxed) < 4, "never more than four");
                        ctx.env().sleep(Duration::from_millis(ctx.args()?)).await;
                        at_once.fetch_sub(1, Ordering::Relaxed);
                        Ok::<_, TaskError>(())
                    }
                }))
                .concurrency(4),
        );
        let running = || at_once.load(Ordering::Relaxed);
        for _ in 0..10 {
            world.sim.advance(Duration::from_millis(500)).await;
            assert_eq!(running(), 4);
            world.sim.advance(Duration::from_millis(500)).await;
        }
        world.sim.advance(seconds(15)).await;
        assert_eq!((running(), world.store().workers().await.unwrap()[0].running), (0, 0));
        let last = world.enqueue(job().args(&1).unwrap()).await;
        world.sim.advance(Duration::from_millis(200)).await;
        assert_eq!(world.job(last).await.view.state, State::Completed, "it is as quick as ever");
        assert_eq!(worker.stop().await.completed, 41);
    });
}

#[test]
fn a_worker_that_is_asked_ends_what_it_runs_and_says_so_also_when_it_was_quiet() {
    for is_quiet in [false, true] {
        world(async move |world| {
            let ids = enqueue(&world, &[600_000; 3]).await;
            let (ask, asked) = tokio::sync::watch::channel(false);
            let worker = world.worker(sleeps()).concurrency(2).grace(seconds(1)).recycle_on(asked);
            let (summary, ()) = tokio::join!(to_the_end(worker), async {
                world.sim.advance(seconds(5)).await;
                if is_quiet {
                    let id = world.store().workers().await.unwrap()[0].id;
                    world.store().order(vec![id], taskwright::store::Order::Quiet).await.unwrap();
                    world.sim.advance(seconds(30)).await;
                }
                ask.send_replace(true);
            });
            assert_eq!((summary.completed, summary.recycled), (2, Some(Recycled::Asked)));
            assert_eq!(world.job(ids[2]).await.view.attempt, 0);
        });
    }
}
