//! What crates.io asks of its worker, and swirl before it (CR and SW of the lineage). Elsewhere are:
//!
//! | id | where |
//! |---|---|
//! | CR-6 | `store/tests/postgres/whoever_enqueues_tells_the_others.rs` |
//! | CR-9 | `server/src/http/tests/resources.rs`, by queues: the metrics do not tell kinds apart |
//! | CR-X1 | `tests/sqlite/killed_workers_lose_nothing.rs`, `tests/postgres/killed_workers_lose_nothing.rs`; a job that kills again and again: `tests/kill_loop_of_one_job_ends_in_quarantine.rs` |
//! | CR-X3, X4 | `tests/postgres/enqueue.rs`; within one store also `store/src/conformance/unique.rs` |
//! | CR-X5 | `tests/sqlite/a_job_in_the_callers_transaction..`, `tests/postgres/enqueue.rs`, `tests/postgres/latency.rs` |
//! | CR-X7 | `tests/postgres/the_queue_of_crates_io.rs`; for the session alone also `store/tests/postgres/whoever_listens_listens_again.rs` |
//! | CR-X8 | `functions_become_tasks.rs` |
//! | CR-X9 | here, and for what is told `tests/programs_bring_their_tasks.rs` |
//! | CR-X10 | `tests/stop_of_up_is_polite_then_final.rs`; within the worker also `shutdown_gives_back.rs` |
//! | SW-7, with connections of a pool | `tests/postgres/the_queue_of_crates_io.rs` |

use std::sync::Arc;

use taskwright::store::{Change, Filter, Page};
use taskwright::testing::{Call, When};
use taskwright::{Actor, Context, Job, JobId, MaxAttempts, Registry, State, TaskError, UniqueKey, task};
use tokio::sync::Semaphore;

use crate::support::{Notes, World, handles, job, seconds, world};

/// The states that a job was in, one after the other.
fn way(job: &taskwright::store::JobDetail) -> Vec<State> {
    job.timeline.iter().map(|entry| entry.to).collect()
}

async fn count(world: &World, states: &[State]) -> usize {
    let filter = Filter { states: states.to_vec(), ..Filter::default() };
    let page = Page { after: None, limit: 100, oldest_first: true };
    world.client.store().list(filter, page).await.unwrap().jobs.len()
}

/// A handler that waits at a gate, and notes the jobs that came there.
fn gated(gate: &Arc<Semaphore>, came: &Notes<JobId>) -> Registry {
    let (gate, came) = (Arc::clone(gate), came.clone());
    handles(move |ctx: Context| {
        let (gate, came) = (Arc::clone(&gate), came.clone());
        async move {
            came.add(ctx.job_id());
            gate.acquire().await?.forget();
            Ok(())
        }
    })
}

#[test]
fn cr_1_a_job_waits_then_runs_then_is_over() {
    world(async |world| {
        let (gate, came) = (Arc::new(Semaphore::new(0)), Notes::new());
        let id = world.enqueue(job()).await;
        assert_eq!(world.job(id).await.view.state, State::Available);
        let worker = world.start(world.worker(gated(&gate, &came)));
        came.reach(1).await;
        assert_eq!(world.job(id).await.view.state, State::Running);
        gate.add_permits(1);
        assert_eq!(world.over(id).await.view.state, State::Completed);
        worker.stop().await;
    });
}

#[test]
fn cr_2_nothing_waits_then_one_and_nothing_again_when_it_has_run() {
    world(async |world| {
        assert_eq!(count(&world, &[State::Available]).await, 0);
        world.enqueue(job()).await;
        assert_eq!(count(&world, &[State::Available]).await, 1);
        world.start(world.worker(handles(|_| async { Ok(()) })).until_empty()).ended().await;
        assert_eq!(count(&world, &[State::Available, State::Running]).await, 0);
    });
}

#[test]
fn cr_3_there_is_no_instant_at_which_a_job_that_panicked_waits_as_if_it_had_not() {
    world(async |world| {
        let worker =
            world.start(world.worker(handles(|_| async { panic!("at once") as Result<(), TaskError> })));
        let id = world.enqueue(job().max_attempts(MaxAttempts::limited(2).unwrap())).await;
        let over = world.over(id).await;
        let way = way(&over);
        let first_end = way.iter().position(|state| *state == State::Running).unwrap() + 1;
        assert_eq!(way[first_end], State::Retryable, "{way:?}");
        assert_eq!((over.view.state, over.attempts.len()), (State::Failed, 2));
        worker.stop().await;
    });
}

#[test]
fn cr_4_a_panic_is_one_failed_attempt_and_the_worker_goes_on() {
    world(async |world| {
        let worker = world.start(world.worker(handles(|ctx: Context| async move {
            assert!(ctx.attempt() > 1, "the first one");
            Ok(())
        })));
        let id = world.enqueue(job()).await;
        let over = world.over(id).await;
        assert_eq!((over.view.state, over.view.attempt), (State::Completed, 2));
        assert_eq!(worker.stop().await.retried, 1);
    });
}

#[task("image", unique)]
async fn image(
    name: String,
    #[state] gate: &Arc<Semaphore>,
    #[state] came: &Notes<String>,
) -> Result<(), TaskError> {
    came.add(name);
    gate.acquire().await?.forget();
    Ok(())
}

#[test]
fn cr_5_a_job_is_kept_out_by_its_like_that_waits_and_not_by_one_that_runs() {
    world(async |world| {
        let (gate, came): (_, Notes<String>) = (Arc::new(Semaphore::new(0)), Notes::new());
        let registry =
            Registry::new().state(Arc::clone(&gate)).state(came.clone()).register::<Image>().unwrap();
        let of = |name: &str| Image { name: name.to_owned() };
        let all = [State::Available, State::Running];

        let first = world.client.enqueue(of("foo")).await.unwrap();
        assert!(world.client.enqueue(of("foo")).await.unwrap().existing);
        assert_eq!(count(&world, &all).await, 1);
        let worker = world.start(world.worker(registry).concurrency(1));
        came.reach(1).await;
        let second = world.client.enqueue(of("foo")).await.unwrap();
        assert!(!second.existing && second.id != first.id);
        assert!(world.client.enqueue(of("foo")).await.unwrap().existing);
        assert!(!world.client.enqueue(of("bar")).await.unwrap().existing);
        assert_eq!(count(&world, &all).await, 3);
        gate.add_permits(3);
        second.wait().await.unwrap();
        worker.stop().await;
    });
}

#[test]
fn cr_7_an_idle_worker_that_looks_once_an_hour_runs_a_job_within_seconds() {
    world(async |world| {
        let worker = world.start(world.worker(handles(|_| async { Ok(()) })).poll(seconds(3_600)));
        world.sim.advance(seconds(60)).await;
        let before_ms = world.elapsed_ms();
        let id = world.enqueue(job()).await;
        world.over(id).await;
        assert!(world.elapsed_ms() - before_ms < 5_000);
        worker.stop().await;
    });
}

#[test]
fn cr_8_a_registry_tells_the_kinds_of_its_tasks() {
    let registry = handles(|_| async { Ok(()) }).register::<Image>().unwrap();
    let kinds: Vec<_> = registry.kinds().iter().map(ToString::to_string).collect();
    assert_eq!(kinds, ["image", "test"]);
}

#[test]
fn sw_1_two_workers_take_different_jobs_in_their_order() {
    world(async |world| {
        let (gate, came) = (Arc::new(Semaphore::new(0)), Notes::new());
        let (first, second) = (world.enqueue(job()).await, world.enqueue(job()).await);
        let one = world.start(world.worker(gated(&gate, &came)).concurrency(1));
        assert_eq!(came.reach(1).await, [first]);
        let two = world.start(world.worker(gated(&gate, &came)).concurrency(1));
        assert_eq!(came.reach(2).await, [first, second]);
        gate.add_permits(2);
        world.over(second).await;
        one.stop().await;
        two.stop().await;
    });
}

/// SW-2 wants a run that returns while jobs still run; here it is the other way round: what was begun has ended when it returns.
#[test]
fn sw_2_and_3_who_drains_a_store_has_ended_what_it_began() {
    world(async |world| {
        let slow = handles(|ctx: Context| async move { ctx.pause(seconds(60)).await });
        let (first, second) = (world.enqueue(job()).await, world.enqueue(job()).await);
        let summary = world.start(world.worker(slow).until_empty()).ended().await;
        assert_eq!((summary.completed, world.elapsed_ms() / 1_000), (2, 60));
        for id in [first, second] {
            assert_eq!(world.job(id).await.view.state, State::Completed);
        }
    });
}

#[test]
fn sw_4_failures_and_panics_are_counted_alike() {
    world(async |world| {
        let once = || job().max_attempts(MaxAttempts::limited(1).unwrap());
        for _ in 0..3 {
            world.enqueue(once()).await;
        }
        let fail = || handles(|_| async { Err::<(), _>(TaskError::retry("no")) });
        assert_eq!(world.start(world.worker(fail()).until_empty()).ended().await.failed, 3);

        world.enqueue(once()).await;
        world.enqueue(Job::new("panics").max_attempts(MaxAttempts::limited(1).unwrap())).await;
        let registry = fail().handler("panics", |_| async { panic!("no") as Result<(), TaskError> }).unwrap();
        assert_eq!(world.start(world.worker(registry).until_empty()).ended().await.failed, 2);
    });
}

#[test]
fn sw_5_who_waits_for_a_job_that_does_not_start_is_told_and_it_runs_later_all_the_same() {
    world(async |world| {
        let (gate, came) = (Arc::new(Semaphore::new(0)), Notes::new());
        let first = world.client.enqueue(job()).await.unwrap();
        let second = world.client.enqueue(job()).await.unwrap();
        let worker = world.start(world.worker(gated(&gate, &came)).concurrency(1));
        came.reach(1).await;
        let waiting = second.wait_for(seconds(1)).await.unwrap();
        assert!(!waiting.view.state.is_terminal() && waiting.attempts.is_empty());
        gate.add_permits(2);
        assert_eq!(first.wait().await.unwrap().view.state, State::Completed);
        assert_eq!(second.wait().await.unwrap().view.state, State::Completed);
        worker.stop().await;
    });
}

#[test]
fn sw_6_a_store_that_gives_nothing_costs_no_job_an_attempt() {
    world(async |world| {
        let id = world.enqueue(job()).await;
        world.faulty.fail(Call::Claim, 1..=3, When::Before);
        let worker = world.start(world.worker(handles(|_| async { Ok(()) })));
        let over = world.over(id).await;
        assert_eq!((over.view.state, over.view.attempt), (State::Completed, 1));
        assert_eq!(worker.stop().await.failed, 0);
    });
}

struct Environment(&'static str);

#[task("assert", max_attempts = 1)]
async fn check(arg: String, #[state] environment: &Environment) -> Result<(), TaskError> {
    match arg == environment.0 {
        true => Ok(()),
        false => Err(TaskError::permanent(format!("{arg} is not {}", environment.0))),
    }
}

#[test]
fn sw_7_arguments_and_state_reach_the_task() {
    world(async |world| {
        let registry = Registry::new().state(Environment("a")).register::<Check>().unwrap();
        let worker = world.start(world.worker(registry));
        let same = world.client.enqueue(Check { arg: "a".to_owned() }).await.unwrap();
        let other = world.client.enqueue(Check { arg: "b".to_owned() }).await.unwrap();
        assert!(same.output().await.is_ok());
        assert!(other.output().await.unwrap_err().to_string().ends_with("failed: b is not a"));
        assert_eq!(worker.stop().await.failed, 1);
    });
}

#[test]
fn cr_x2_a_job_that_waits_out_its_back_off_keeps_no_new_one_out() {
    world(async |world| {
        let worker = world.start(world.worker(handles(|ctx: Context| async move {
            match ctx.attempt() {
                1 => Err(TaskError::retry_after("later", seconds(3_600))),
                _ => Ok(()),
            }
        })));
        let keyed = || job().unique(UniqueKey::new("k").unwrap());
        let first = world.client.enqueue(keyed()).await.unwrap();
        world.sim.advance(seconds(10)).await;
        assert_eq!(first.job().await.unwrap().view.state, State::Retryable);
        let second = world.client.enqueue(keyed()).await.unwrap();
        assert!(!second.existing && second.id != first.id);
        worker.stop().await;
    });
}

#[test]
fn cr_x6_after_as_many_failures_as_it_may_have_a_job_is_dead_seen_and_can_be_run_again() {
    world(async |world| {
        let worker = world.start(world.worker(handles(|ctx: Context| async move {
            if ctx.attempt() <= 5 { Err(TaskError::retry("no")) } else { Ok("at last") }
        })));
        let job = world.client.enqueue(job()).await.unwrap();
        let over = job.wait().await.unwrap();
        assert_eq!((over.view.state, over.attempts.len()), (State::Failed, 5));
        assert_eq!(count(&world, &[State::Failed]).await, 1);
        world
            .client
            .change(vec![job.id], Change::Redo { repeat: false }, Actor::system(), None)
            .await
            .unwrap();
        assert_eq!(job.result::<String>().await.unwrap(), "at last");
        worker.stop().await;
    });
}

#[test]
fn cr_x9_a_job_that_no_worker_knows_stays() {
    world(async |world| {
        let worker = world.start(world.worker(handles(|_| async { Ok(()) })));
        let stranger = world.client.enqueue(Job::new("stranger")).await.unwrap();
        world.sim.advance(seconds(86_400)).await;
        let waiting = stranger.job().await.unwrap();
        assert_eq!((waiting.view.state, waiting.view.attempt), (State::Available, 0));
        worker.stop().await;
    });
}
