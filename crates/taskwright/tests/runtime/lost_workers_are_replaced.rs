use std::sync::Arc;

use taskwright::core::attempt::AttemptEnd;
use taskwright::core::sight::Sight;
use taskwright::store::{Order, SharedStore, WorkerState};
use taskwright::testing::{Call, FaultyStore, When};
use taskwright::{Context, Duties, DutyConfig, MaxAttempts, State, StopCause, TaskError};

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
            (State::Completed, 1),
            "the store was to blame: no attempt is spent"
        );
        assert_eq!(worker.stop().await.incarnations_lost, 1);
    });
}

/// Whatever a worker and the duties ask of a store.
const ALL_CALLS: [Call; 12] = [
    Call::Claim,
    Call::Finish,
    Call::GiveBack,
    Call::Report,
    Call::Log,
    Call::Register,
    Call::Renew,
    Call::Signals,
    Call::Unregister,
    Call::List,
    Call::Lead,
    Call::Reclaim,
];

#[test]
fn a_store_that_is_away_for_longer_than_leases_last_costs_no_attempt() {
    world(async |world| {
        let starts = Notes::new();
        let notes = starts.clone();
        let run = move |ctx: Context| {
            let notes = notes.clone();
            async move {
                let (queue, is_first) = (ctx.queue().to_string(), notes.all().len() < 4);
                notes.add((queue.clone(), ctx.attempt()));
                match queue.as_str() {
                    "short" => ctx.env().sleep(seconds(2)).await,
                    "polite" if is_first => {
                        ctx.cancelled().await;
                        return Err(TaskError::retry("told to stop"));
                    }
                    "deaf" if is_first => std::future::pending().await,
                    _ => {}
                }
                Ok(())
            }
        };
        // Two machines that lose their store together, and each looks for lost workers.
        let other = FaultyStore::new(Arc::new(world.memory.handle()));
        let elsewhere = Arc::clone(&other) as SharedStore;
        let duties = Duties::start(&elsewhere, &world.sim.env(), &DutyConfig::default());
        let once = |queue: &str| job().queue(queue).max_attempts(MaxAttempts::limited(1).unwrap());
        let mut ids = Vec::new();
        for queue in ["short", "polite", "deaf", "short"] {
            ids.push(world.enqueue(once(queue)).await);
        }
        let worker = world.start(world.worker(handles(run)));
        starts.reach(4).await;
        for store in [&world.faulty, &other] {
            ALL_CALLS.into_iter().for_each(|call| store.fail(call, 1..=u64::MAX, When::Before));
        }
        world.sim.advance(seconds(40)).await;
        [&world.faulty, &other].into_iter().for_each(|store| store.heal());
        for id in &ids {
            let job = world.over(*id).await;
            let ends: Vec<_> = job.attempts.iter().map(|attempt| attempt.end).collect();
            assert_eq!((job.view.state, &ends[..]), (State::Completed, &[AttemptEnd::Completed][..]));
        }
        assert_eq!(starts.all().len(), 6, "those that ended while the store was away have not run again");
        let summary = worker.stop().await;
        assert_eq!((summary.incarnations_lost, summary.completed, summary.given_back), (1, 4, 2));
        duties.stop().await;
    });
}

#[test]
fn a_worker_that_is_held_up_by_one_of_its_jobs_spends_the_attempt() {
    world(async |world| {
        let clock = world.sim.clock().clone();
        let run = move |ctx: Context| {
            let clock = clock.clone();
            async move {
                // Keeps the only thread to itself for 20 s.
                let until_us = ctx.env().monotonic_us() + 20_000_000;
                while ctx.attempt() == 1 && ctx.env().monotonic_us() < until_us {
                    assert!(clock.step());
                }
                tokio::task::yield_now().await;
                ctx.pause(seconds(5)).await
            }
        };
        let worker = world.start(world.worker(handles(run)));
        // Somebody has to sleep for so long, or there is no time to be held up for.
        let _alarm = world.sim.env().spawn("alarm", world.sim.env().sleep(seconds(25)));
        let job = world.over(world.enqueue(job()).await).await;
        let ends: Vec<_> = job.attempts.iter().map(|attempt| attempt.end).collect();
        assert_eq!(ends, [AttemptEnd::Lost, AttemptEnd::Completed]);
        worker.stop().await;
    });
}

#[test]
fn a_shutdown_does_not_wait_for_a_store_that_is_away() {
    world(async |world| {
        let started = Notes::new();
        let starts = started.clone();
        let worker = world.start(world.worker(handles(move |_| {
            starts.add(());
            std::future::pending::<Result<(), TaskError>>()
        })));
        let id = world.enqueue(job()).await;
        started.reach(1).await;
        ALL_CALLS.into_iter().for_each(|call| world.faulty.fail(call, 1..=u64::MAX, When::Before));
        // Its lease is over, and it waits for the store.
        world.sim.advance(seconds(60)).await;
        let asked_ms = world.elapsed_ms();
        assert_eq!(worker.stop().await.incarnations_lost, 1);
        assert_eq!(world.elapsed_ms(), asked_ms);
        world.faulty.heal();
        assert_eq!(world.job(id).await.view.state, State::Running, "whoever looks for lost workers takes it");
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
        let found =
            world.store().reclaim(world.sim.env().now(), end_of_lease_us, Sight::endless()).await.unwrap();
        assert_eq!(found.workers[0].id, lost);
        let heir = world.start(world.worker(handles(|ctx: Context| async move {
            ctx.pause(seconds(3)).await?;
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
        let worker = world.worker(handles(|ctx: Context| async move { ctx.pause(seconds(2)).await }));
        let worker = world.start(worker.until_empty());
        world.sim.advance(seconds(3)).await;
        let end_of_lease_us = world.sim.env().monotonic_us() + 16_000_000;
        world.store().reclaim(world.sim.env().now(), end_of_lease_us, Sight::endless()).await.unwrap();
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

#[test]
fn short_leases_and_outages_that_follow_each_other_cost_no_attempt_either() {
    for lease_s in [5, 15] {
        world(async |world| {
            let worker = world.worker(handles(|ctx: Context| async move {
                ctx.env().sleep(seconds(30)).await;
                Ok(())
            }));
            let worker = world.start(worker.lease(seconds(lease_s)));
            let id = world.enqueue(job()).await;
            world.sim.advance(seconds(1)).await;
            let outage = async |s| {
                ALL_CALLS.into_iter().for_each(|call| world.faulty.fail(call, 1..=u64::MAX, When::Before));
                world.sim.advance(seconds(s)).await;
                world.faulty.heal();
            };
            outage(6).await;
            world.sim.advance(seconds(1)).await;
            outage(15).await;
            let job = world.over(id).await;
            let ends: Vec<_> = job.attempts.iter().map(|attempt| attempt.end).collect();
            if lease_s == 15 {
                assert_eq!(ends, [AttemptEnd::Completed]);
            } else {
                // Given back once unspent, and then it might be the job.
                assert_eq!(ends, [AttemptEnd::Lost, AttemptEnd::Completed]);
            }
            worker.stop().await;
        });
    }
}

#[test]
fn a_worker_goes_on_as_another_when_a_store_that_is_back_does_not_take_what_it_has_to_write() {
    world(async |world| {
        let started = Notes::new();
        let starts = started.clone();
        let worker = world.start(world.worker(handles(move |ctx: Context| {
            starts.add(ctx.attempt());
            async { Ok(()) }
        })));
        world.faulty.fail(Call::Finish, 1..=u64::MAX, When::Before);
        let id = world.enqueue(job()).await;
        started.reach(1).await;
        ALL_CALLS.into_iter().for_each(|call| world.faulty.fail(call, 1..=u64::MAX, When::Before));
        world.sim.advance(seconds(20)).await;
        world.faulty.heal();
        world.faulty.fail(Call::Finish, 1..=u64::MAX, When::Before);
        world.sim.advance(seconds(10)).await;
        assert_eq!(world.store().workers().await.unwrap().len(), 1, "it has a lease of time to write");
        world.sim.advance(seconds(7)).await;
        assert_eq!(world.store().workers().await.unwrap().len(), 2);
        world.faulty.heal();
        let ends: Vec<_> = world.over(id).await.attempts.iter().map(|attempt| attempt.end).collect();
        assert_eq!(
            ends,
            [AttemptEnd::Lost, AttemptEnd::Completed],
            "it may have run, and nobody could say how it ended"
        );
        worker.stop().await;
    });
}
