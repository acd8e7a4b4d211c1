use std::sync::Arc;

use taskwright::store::{Order, SharedStore, WorkerState};
use taskwright::testing::{Call, FaultyStore, When};
use taskwright::{Context, State, StopCause, TaskError};

use crate::support::{Notes, handles, job, seconds, world};

#[test]
fn the_jobs_of_a_dead_process_run_elsewhere_within_a_second() {
    world(async |world| {
        let dying: SharedStore = Arc::new(world.memory.handle());
        let started = Notes::new();
        let starts = started.clone();
        let doomed = world.worker_on(
            dying,
            handles(move |_| {
                starts.add(());
                std::future::pending::<Result<(), TaskError>>()
            }),
        );
        let doomed = world.start(doomed);
        let id = world.enqueue(job()).await;
        started.reach(1).await;
        // The whole process dies: its tasks and its handle at once.
        drop(doomed);
        let died_ms = world.elapsed_ms();
        let heir = world.start(world.worker(handles(|ctx: Context| async move { Ok(ctx.attempt()) })));
        let job = world.over(id).await;
        assert_eq!(job.result.as_deref(), Some("2"), "a crash counts as an attempt");
        assert!(world.elapsed_ms() - died_ms <= 1_000, "{} ms", world.elapsed_ms() - died_ms);
        heir.stop().await;
    });
}

#[test]
fn a_reclaim_on_demand_hands_the_jobs_on_without_waiting() {
    world(async |world| {
        let dying: SharedStore = Arc::new(world.memory.handle());
        let started = Notes::new();
        let starts = started.clone();
        let doomed = world.start(world.worker_on(
            dying,
            handles(move |_| {
                starts.add(());
                std::future::pending::<Result<(), TaskError>>()
            }),
        ));
        let id = world.enqueue(job()).await;
        started.reach(1).await;
        drop(doomed);
        let heir = world.start(world.worker(handles(|_| async { Ok(()) })));
        world.sim.settle().await;
        let died_ms = world.elapsed_ms();
        world.reclaim_now();
        world.sim.settle().await;
        assert_eq!(world.job(id).await.view.state, State::Completed);
        assert_eq!(world.elapsed_ms(), died_ms);
        heir.stop().await;
    });
}

#[test]
fn a_worker_that_cannot_renew_stops_its_handlers_before_its_lease_ends_and_goes_on_as_another() {
    world(async |world| {
        let cut_off = FaultyStore::new(Arc::new(world.memory.handle()));
        let events = Notes::new();
        let notes = events.clone();
        let run = move |ctx: Context| {
            let notes = notes.clone();
            async move {
                let first = notes.all().is_empty();
                notes.add((ctx.attempt(), ctx.worker_id(), ctx.env().now(), None));
                if first {
                    let cause = ctx.cancelled().await.clone();
                    notes.add((1, ctx.worker_id(), ctx.env().now(), Some(cause)));
                    std::future::pending::<()>().await;
                }
                Ok(())
            }
        };
        let worker = world.start(world.worker_on(Arc::clone(&cut_off) as SharedStore, handles(run)));
        let registered_at = world.sim.env().now();
        let id = world.enqueue(job()).await;
        events.reach(1).await;
        cut_off.fail(Call::Renew, 1..=u64::MAX, When::Before);
        cut_off.fail(Call::Unregister, 1..=u64::MAX, When::Before);
        cut_off.fail(Call::Register, 2..=u64::MAX, When::Before);
        let told = events.reach(2).await[1].clone();
        assert_eq!(told.3, Some(StopCause::Lost));
        assert_eq!(told.2, registered_at.plus(seconds(12)), "3 s before the end of the lease");
        cut_off.heal();
        let job = world.over(id).await;
        let second = events.all()[2].clone();
        assert!(second.1 != told.1, "another incarnation");
        assert!(second.2 >= registered_at.plus(seconds(13)), "not before the first was dropped");
        assert_eq!(
            (job.view.state, second.0),
            (State::Completed, 2),
            "the first attempt had been started, and counts as lost"
        );
        assert_eq!(worker.stop().await.incarnations_lost, 1);
    });
}

#[test]
fn a_worker_that_was_declared_lost_changes_nothing_any_more() {
    world(async |world| {
        // Nothing tells it that it is lost: a process that was stopped and goes on.
        let stopped = FaultyStore::new(Arc::new(world.memory.handle()));
        let started = Notes::new();
        let starts = started.clone();
        let zombie = world.worker_on(
            Arc::clone(&stopped) as SharedStore,
            handles(move |ctx: Context| {
                starts.add(ctx.worker_id());
                async move {
                    ctx.env().sleep(seconds(1)).await;
                    Ok("from the zombie")
                }
            }),
        );
        let zombie = world.start(zombie);
        let id = world.enqueue(job()).await;
        let lost = started.reach(1).await[0];
        for call in [Call::Claim, Call::Renew, Call::Signals] {
            stopped.fail(call, 1..=u64::MAX, When::Before);
        }
        // Long after any lease, as far as the store can see.
        let end_of_lease_us = world.sim.env().monotonic_us() + 16_000_000;
        let found = world.store().reclaim(world.sim.env().now(), end_of_lease_us).await.unwrap();
        assert_eq!(found.workers[0].id, lost);
        let heir = world.start(world.worker(handles(|ctx: Context| async move {
            ctx.sleep(seconds(3)).await?;
            Ok("from the heir")
        })));
        let job = world.over(id).await;
        assert_eq!(job.result.as_deref(), Some("\"from the heir\""));
        assert_eq!(
            job.attempts.iter().map(|attempt| attempt.worker).filter(|worker| *worker == lost).count(),
            1
        );
        heir.stop().await;
        stopped.heal();
        assert_eq!(zombie.stop().await.stale, 1);
    });
}

#[test]
fn three_lost_workers_in_a_row_quarantine_a_job_and_the_queue_goes_on() {
    world(async |world| {
        let id = world.enqueue(job().queue("deadly")).await;
        for attempt in 1..=3 {
            let started = Notes::new();
            let starts = started.clone();
            let doomed = world.start(world.worker_on(
                Arc::new(world.memory.handle()),
                handles(move |ctx: Context| {
                    starts.add(ctx.attempt());
                    std::future::pending::<Result<(), TaskError>>()
                }),
            ));
            assert_eq!(started.reach(1).await, [attempt]);
            drop(doomed);
            world.sim.settle().await;
            world.reclaim_now();
            world.sim.settle().await;
        }
        let job = world.job(id).await;
        assert_eq!((job.view.state, job.view.error.as_deref()), (State::Failed, Some("worker lost 3 times")));
        let harmless = world.enqueue(crate::support::job()).await;
        let worker = world.start(world.worker(handles(|_| async { Ok(()) })));
        assert_eq!(world.over(harmless).await.view.state, State::Completed);
        worker.stop().await;
    });
}

#[test]
fn a_worker_that_drains_goes_on_as_another_after_it_was_lost() {
    world(async |world| {
        let ids = world.client.enqueue_many((0..20).map(|_| job())).await.unwrap();
        let worker = world.worker(handles(|ctx: Context| async move { ctx.sleep(seconds(2)).await }));
        let worker = world.start(worker.until_empty());
        world.sim.advance(seconds(3)).await;
        let end_of_lease_us = world.sim.env().monotonic_us() + 16_000_000;
        world.store().reclaim(world.sim.env().now(), end_of_lease_us).await.unwrap();
        let summary = worker.ended().await;
        assert_eq!(summary.incarnations_lost, 1);
        for stored in ids {
            assert_eq!(world.job(stored.id).await.view.state, State::Completed);
        }
        let workers = world.store().workers().await.unwrap();
        let states: Vec<_> = workers.iter().map(|worker| worker.state).collect();
        assert!(states.contains(&WorkerState::Lost) && states.contains(&WorkerState::Stopped), "{states:?}");
        assert!(!world.store().order(vec![workers[0].id], Order::Stop).await.unwrap()[0]);
    });
}
