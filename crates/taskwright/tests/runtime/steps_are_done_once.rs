//! A handler's steps are done once, wherever its worker dies and whatever fails.

use std::sync::Arc;
use std::time::Duration;

use taskwright::store::SharedStore;
use taskwright::testing::{Call, When};
use taskwright::{Context, MaxAttempts, State, TaskError};

use crate::support::{Notes, handles, job, seconds, world};

const STEPS: u32 = 30;
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

#[test]
fn a_job_of_thirty_steps_that_is_killed_after_each_does_each_once() {
    world(async |world| {
        let (effects, kept) = (Notes::new(), Notes::new());
        let (does, keeps) = (effects.clone(), kept.clone());
        let run = move |ctx: Context| {
            let (does, keeps) = (does.clone(), keeps.clone());
            async move {
                let mut sum = 0;
                for n in 0..STEPS {
                    let before = does.all().len();
                    sum += ctx
                        .step(&format!("step/{n}"), || async {
                            does.add(n);
                            Ok(n)
                        })
                        .await?;
                    if does.all().len() > before {
                        keeps.add(n);
                        // Here its process dies.
                        std::future::pending::<()>().await;
                    }
                }
                Ok(sum)
            }
        };
        let registry = || handles(run.clone());
        let id = world.enqueue(job().max_attempts(MaxAttempts::Unlimited)).await;
        for n in 0..STEPS as usize {
            let dying: SharedStore = Arc::new(world.memory.handle());
            let doomed = world.start(world.worker_on(dying, registry()));
            kept.reach(n + 1).await;
            drop(doomed);
            world.reclaim_now();
            world.sim.settle().await;
        }
        let heir = world.start(world.worker(registry()));
        let job = world.over(id).await;
        assert_eq!((job.view.state, job.view.attempt), (State::Completed, STEPS + 1));
        assert_eq!(job.result.as_deref(), Some("435"), "the sum of what all steps gave");
        assert_eq!(effects.all(), (0..STEPS).collect::<Vec<_>>());
        heir.stop().await;
    });
}

#[test]
fn a_step_waits_for_a_store_that_is_out_of_order_and_is_done_once() {
    for when in [When::Before, When::After] {
        world(async |world| {
            let effects = Notes::new();
            let does = effects.clone();
            world.faulty.fail(Call::KeepSteps, 1..=3, when);
            let _worker = world.start(world.worker(handles(move |ctx: Context| {
                let does = does.clone();
                async move {
                    let one = || async {
                        does.add(());
                        Ok(7)
                    };
                    ctx.step("one", one).await
                }
            })));
            let id = world.enqueue(job()).await;
            let job = world.over(id).await;
            assert_eq!((job.result.as_deref(), job.view.attempt), (Some("7"), 1));
            assert_eq!(effects.all().len(), 1);
            assert_eq!(world.faulty.count(Call::KeepSteps), 4);
        });
    }
}

#[test]
fn a_step_that_fails_is_tried_again_with_the_job_and_those_before_it_are_not() {
    world(async |world| {
        let calls = Notes::new();
        let notes = calls.clone();
        let _worker = world.start(world.worker(handles(move |ctx: Context| {
            let notes = notes.clone();
            async move {
                let first = || async {
                    notes.add("first");
                    Ok("a".to_owned())
                };
                let a: String = ctx.step("first", first).await?;
                let attempt = ctx.attempt();
                let second = || async {
                    notes.add("second");
                    if attempt < 3 { Err(TaskError::retry("not yet")) } else { Ok(a + "b") }
                };
                ctx.step("second", second).await
            }
        })));
        let id = world.enqueue(job()).await;
        assert_eq!(world.over(id).await.result.as_deref(), Some("\"ab\""));
        assert_eq!(calls.all(), ["first", "second", "second", "second"]);
    });
}

#[test]
fn a_step_that_its_handler_let_go_of_may_be_begun_again_in_the_same_attempt() {
    world(async |world| {
        let calls = Notes::new();
        let notes = calls.clone();
        let worker = world.start(world.worker(handles(move |ctx: Context| {
            let notes = notes.clone();
            async move {
                let slow = || async {
                    notes.add("slow");
                    std::future::pending::<Result<u8, TaskError>>().await
                };
                assert!(ctx.env().timeout(seconds(1), ctx.step("ask", slow)).await.is_none());
                let quick = || async {
                    notes.add("quick");
                    Ok(2)
                };
                let given = ctx.step("ask", quick).await?;
                // What is done is there once, as before.
                let twice = ctx.step("ask", || async { Ok(3) }).await;
                Ok((given, twice.is_err()))
            }
        })));
        let id = world.enqueue(job()).await;
        let job = world.over(id).await;
        assert_eq!((job.result.as_deref(), job.view.attempt), (Some("[2,true]"), 1), "{:?}", job.view.error);
        assert_eq!(calls.all(), ["slow", "quick"]);
        worker.stop().await;
    });
}

#[test]
fn a_step_that_its_handler_let_go_of_while_it_was_being_kept_is_not_done_again() {
    for when in [When::Before, When::After] {
        world(async |world| {
            let effects = Notes::new();
            let does = effects.clone();
            world.faulty.fail(Call::KeepSteps, 1..=3, when);
            let worker = world.start(world.worker(handles(move |ctx: Context| {
                let does = does.clone();
                async move {
                    let pay = |n: u8| {
                        let does = does.clone();
                        move || async move {
                            does.add(n);
                            Ok(n)
                        }
                    };
                    let soon = Duration::from_millis(50);
                    assert!(ctx.env().timeout(soon, ctx.step("pay", pay(1))).await.is_none());
                    ctx.step("pay", pay(2)).await
                }
            })));
            let id = world.enqueue(job()).await;
            let job = world.over(id).await;
            assert_eq!((job.result.as_deref(), job.view.attempt), (Some("1"), 1), "{:?}", job.view.error);
            assert_eq!(effects.all(), [1]);
            let kept = world.client.store().steps(id).await.unwrap();
            let kept: Vec<_> = kept.iter().map(|step| (step.name.as_str(), step.result.as_str())).collect();
            assert_eq!(kept, [("pay", "1")]);
            worker.stop().await;
        });
    }
}

#[test]
fn a_durable_sleep_outlives_the_worker_and_costs_no_attempt() {
    world(async |world| {
        let calls = Notes::new();
        let notes = calls.clone();
        let run = move |ctx: Context| {
            let notes = notes.clone();
            async move {
                notes.add((ctx.env().monotonic_us() / 1_000_000, ctx.attempt()));
                ctx.sleep_named("night", DAY).await?;
                ctx.sleep_named("moment", Duration::from_millis(500)).await?;
                Ok(ctx.env().monotonic_us() / 1_000)
            }
        };
        let first = world.start(world.worker(handles(run.clone())));
        let id = world.enqueue(job()).await;
        calls.reach(1).await;
        world.sim.settle().await;
        assert_eq!(world.job(id).await.view.state, State::Scheduled);
        first.stop().await;
        world.sim.advance(seconds(3_600)).await;
        let heir = world.start(world.worker(handles(run)));
        let job = world.over(id).await;
        let day = DAY.as_secs();
        assert_eq!(calls.all(), [(0, 1), (day, 1)]);
        assert_eq!(job.result, Some((day * 1_000 + 500).to_string()));
        heir.stop().await;
    });
}

#[test]
fn sleeps_without_names_are_told_apart_by_their_order() {
    world(async |world| {
        let calls = Notes::new();
        let notes = calls.clone();
        let worker = world.start(world.worker(handles(move |ctx: Context| {
            let notes = notes.clone();
            async move {
                notes.add(ctx.env().monotonic_us() / 1_000_000);
                ctx.sleep(HOUR).await?;
                let half = || async { Ok(1) };
                ctx.step("half", half).await?;
                ctx.sleep(2 * HOUR).await
            }
        })));
        let id = world.enqueue(job()).await;
        let job = world.over(id).await;
        assert_eq!((job.view.state, job.view.attempt), (State::Completed, 1));
        assert_eq!(calls.all(), [0, 3_600, 3 * 3_600]);
        let kept = world.client.store().steps(id).await.unwrap();
        assert_eq!(
            kept.iter().map(|step| step.name.as_str()).collect::<Vec<_>>(),
            ["sleep/1", "half", "sleep/2"]
        );
        worker.stop().await;
    });
}

#[test]
fn a_sleep_that_is_let_go_of_is_the_same_when_it_is_begun_again() {
    world(async |world| {
        let worker = world.start(world.worker(handles(|ctx: Context| async move {
            let (moment, most) = (Duration::from_millis(100), Duration::from_millis(800));
            if ctx.env().monotonic_us() < 1_000_000 {
                assert!(ctx.env().timeout(moment, ctx.sleep(most)).await.is_none());
                assert!(ctx.env().timeout(moment, ctx.sleep_named("named", most)).await.is_none());
            }
            ctx.sleep(most).await?;
            ctx.sleep_named("named", most).await?;
            let slept_ms = ctx.env().monotonic_us() / 1_000;
            ctx.sleep(HOUR).await?;
            Ok(slept_ms)
        })));
        let id = world.enqueue(job()).await;
        let job = world.over(id).await;
        assert_eq!((job.view.state, job.view.attempt), (State::Completed, 1), "{:?}", job.view.error);
        let kept = world.client.store().steps(id).await.unwrap();
        assert_eq!(
            kept.iter().map(|step| step.name.as_str()).collect::<Vec<_>>(),
            ["sleep/1", "named", "sleep/2"]
        );
        assert_eq!(world.elapsed_ms() / 1_000, 3_600);
        worker.stop().await;
    });
}

#[test]
fn a_sleep_without_a_name_is_refused_within_a_step_which_the_next_attempt_passes_over() {
    world(async |world| {
        let worker = world.start(world.worker(handles(|ctx: Context| async move {
            let asleep = || async {
                ctx.sleep(HOUR).await?;
                Ok(1)
            };
            ctx.step("asleep", asleep).await
        })));
        let id = world.enqueue(job()).await;
        let job = world.over(id).await;
        assert_eq!((job.view.state, job.view.attempt), (State::Failed, 1));
        assert!(job.view.error.unwrap().contains("sleep_named"));
        worker.stop().await;
    });
}

#[test]
fn what_is_no_step_fails_the_job_and_says_why() {
    world(async |world| {
        let _worker = world.start(world.worker(handles(|ctx: Context| async move {
            let ok = || async { Ok(1) };
            match ctx.args::<u8>()? {
                0 => {
                    ctx.step("same", ok).await?;
                    ctx.step("same", ok).await?;
                }
                1 => drop(ctx.step("", ok).await?),
                2 => {
                    ctx.step("large", || async { Ok("x".repeat(2 << 20)) }).await?;
                }
                _ if ctx.attempt() == 1 => {
                    ctx.step("number", ok).await?;
                    return Err(TaskError::retry("again"));
                }
                _ => drop(ctx.step("number", || async { Ok("text".to_owned()) }).await?),
            }
            Ok(())
        })));
        let expected = [
            "the step same is there twice: give each a name of its own, also in a loop, such as same/1",
            "the step",
            "what the step large gave has 2097154 bytes, 1048576 are allowed",
            "what the step number gave in an earlier attempt is no alloc::string::String",
        ];
        for (case, expected) in expected.iter().enumerate() {
            let id = world.enqueue(job().args(&case).unwrap()).await;
            let job = world.over(id).await;
            assert_eq!(job.view.state, State::Failed);
            let error = job.view.error.unwrap();
            assert!(error.contains(expected), "{error}");
        }
    });
}
