use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use taskwright::core::attempt::AttemptEnd;
use taskwright::report::{AttemptReport, Report, Reporter, Reports, Who};
use taskwright::{Actor, Context, Env, MaxAttempts, Next, Registry, State, TaskError};

use crate::support::{Notes, World, handles, job, seconds, world};

/// Notes what it is told, and whether that nothing is tried again.
#[derive(Clone)]
pub(crate) struct Recorder(pub(crate) Notes<(Report, bool)>);

impl Recorder {
    pub(crate) fn new() -> Self {
        Self(Notes::new())
    }

    /// What it was told of each failure.
    pub(crate) fn failures(&self) -> Vec<Report> {
        self.0.all().into_iter().filter(|(_, is_final)| !is_final).map(|(report, _)| report).collect()
    }

    /// What it was told of those that are not tried again.
    pub(crate) fn final_ones(&self) -> Vec<Report> {
        self.0.all().into_iter().filter(|(_, is_final)| *is_final).map(|(report, _)| report).collect()
    }
}

impl Reporter for Recorder {
    async fn failed(&self, report: &Report) {
        self.0.add((report.clone(), false));
    }

    async fn gave_up(&self, report: &Report) {
        self.0.add((report.clone(), true));
    }
}

fn attempt(report: &Report) -> &AttemptReport {
    match &report.who {
        Who::Attempt(attempt) => attempt,
        other => panic!("{other:?}"),
    }
}

fn reports(world: &World, recorder: &Recorder) -> Reports {
    Reports::new(&world.sim.env()).to(recorder.clone())
}

fn tries(n: u32) -> taskwright::Job {
    job().max_attempts(MaxAttempts::limited(n).unwrap())
}

#[test]
fn each_failed_attempt_is_reported_and_the_last_one_apart() {
    world(async |world| {
        let recorder = Recorder::new();
        let registry = handles(|_| async { Err::<(), _>(TaskError::retry("the disk is full")) });
        let worker = world.start(world.worker(registry).reports(reports(&world, &recorder)));
        let id = world.enqueue(tries(2)).await;
        let job = world.over(id).await;
        worker.stop().await;

        let failures = recorder.failures();
        let told: Vec<_> = failures
            .iter()
            .map(|report| (attempt(report).attempt, report.is_final, report.retry_at.is_some()))
            .collect();
        assert_eq!(told, [(1, false, true), (2, true, false)]);
        let finals = recorder.final_ones();
        assert_eq!((finals.len(), attempt(&finals[0]).attempt), (1, 2));
        let (first, of) = (&failures[0], attempt(&failures[0]));
        assert_eq!((first.error.as_str(), of.job, of.kind.as_str()), ("the disk is full", id, "test"));
        assert_eq!(
            (of.end, of.worker, first.panic.is_none()),
            (AttemptEnd::Failed, job.attempts[0].worker, true)
        );
        assert_eq!(first.retry_at.unwrap(), failures[1].at, "it ran again when it was told that it would");
    });
}

#[test]
fn a_panic_is_reported_with_its_message_its_place_and_the_way_there() {
    fn bursts() {
        panic!("a pipe burst");
    }
    world(async |world| {
        let recorder = Recorder::new();
        let registry = handles(|_| async {
            bursts();
            Ok::<_, TaskError>(())
        });
        let worker = world.start(world.worker(registry).reports(reports(&world, &recorder)));
        let id = world.enqueue(tries(1)).await;
        world.over(id).await;
        worker.stop().await;

        let report = recorder.final_ones().remove(0);
        let panic = report.panic.as_ref().unwrap();
        assert_eq!(panic.message, "a pipe burst");
        assert!(panic.place.as_ref().unwrap().contains("failures_are_reported.rs:"), "{panic:?}");
        assert!(report.error.starts_with("panicked at ") && report.error.ends_with(": a pipe burst"));
        assert_eq!(attempt(&report).end, AttemptEnd::Panicked);
        let trace = panic.backtrace.as_ref().unwrap().to_string();
        assert!(trace.contains("bursts"), "{trace}");
        // As a command reads it.
        let json: serde_json::Value = serde_json::to_value(&report).unwrap();
        assert_eq!((&json["what"], &json["final"]), (&"attempt".into(), &true.into()));
        assert_eq!((&json["job"], &json["max_attempts"]), (&id.to_string().into(), &"1".into()));
        assert!(json["panic"]["backtrace"].as_str().unwrap().contains("bursts"));
    });
}

#[test]
fn a_panic_is_reported_as_whole_through_middleware_and_from_a_thread_for_what_blocks() {
    fn bursts() {
        panic!("a pipe burst");
    }
    let at_once = || {
        handles(|_| async {
            bursts();
            Ok::<_, TaskError>(())
        })
    };
    let on_a_thread = || {
        handles(|ctx: Context| async move {
            ctx.blocking(|_| {
                bursts();
                Ok(())
            })
            .await
        })
    };
    let within = |registry: Registry| {
        let pass = |ctx: Context, next: Next| next.run(ctx);
        registry.wrap(pass).wrap(pass)
    };
    for registry in [within(at_once()), on_a_thread(), within(on_a_thread())] {
        world(async |world| {
            let recorder = Recorder::new();
            let worker = world.start(world.worker(registry).reports(reports(&world, &recorder)));
            let id = world.enqueue(tries(1)).await;
            world.over(id).await;
            worker.stop().await;

            let report = recorder.final_ones().remove(0);
            let panic = report.panic.as_ref().unwrap();
            assert_eq!(
                (panic.message.as_str(), attempt(&report).end),
                ("a pipe burst", AttemptEnd::Panicked)
            );
            assert!(panic.place.as_ref().unwrap().contains("failures_are_reported.rs:"), "{panic:?}");
            assert!(report.error.starts_with("panicked at ") && report.error.ends_with(": a pipe burst"));
            let trace = panic.backtrace.as_ref().unwrap().to_string();
            assert!(trace.contains("bursts"), "{trace}");
        });
    }
}

#[test]
fn a_panic_that_middleware_made_something_else_of_is_not_reported_as_one() {
    world(async |world| {
        let recorder = Recorder::new();
        let registry = handles(|_| async { panic!("a pipe burst") as Result<(), TaskError> });
        let registry = registry.wrap(|ctx: Context, next: Next| async move {
            next.run(ctx).await;
            TaskError::permanent("no water").into()
        });
        let worker = world.start(world.worker(registry).reports(reports(&world, &recorder)));
        let id = world.enqueue(tries(3)).await;
        world.over(id).await;
        worker.stop().await;
        let report = recorder.final_ones().remove(0);
        assert_eq!((report.error.as_str(), report.panic.is_none()), ("no water", true));
    });
}

#[test]
fn what_somebody_wanted_is_no_failure() {
    world(async |world| {
        let recorder = Recorder::new();
        let snoozed = Arc::new(AtomicBool::new(false));
        let registry = handles(move |ctx: Context| {
            let snoozed = Arc::clone(&snoozed);
            async move {
                match ctx.args::<String>()?.as_str() {
                    "snooze" if !snoozed.swap(true, Ordering::Relaxed) => Err(TaskError::snooze(seconds(1))),
                    "cancel" => {
                        ctx.cancelled().await;
                        Err(TaskError::retry("stopped"))
                    }
                    _ => Ok(()),
                }
            }
        });
        let worker = world.start(world.worker(registry).reports(reports(&world, &recorder)));
        let fine = world.enqueue(job().args(&"snooze").unwrap()).await;
        let cancelled = world.enqueue(job().args(&"cancel").unwrap()).await;
        world.over(fine).await;
        world.client.cancel(cancelled, Actor::new("test").unwrap(), None).await.unwrap();
        assert_eq!(world.over(cancelled).await.view.state, State::Cancelled);
        worker.stop().await;
        assert_eq!(recorder.0.all().len(), 0);
    });
}

#[test]
fn a_time_limit_that_passed_is_a_failure() {
    world(async |world| {
        let recorder = Recorder::new();
        let registry = handles(|_| std::future::pending::<Result<(), TaskError>>());
        let worker = world.start(world.worker(registry).reports(reports(&world, &recorder)));
        let id = world.enqueue(tries(1).timeout(seconds(3))).await;
        world.over(id).await;
        worker.stop().await;
        let report = recorder.final_ones().remove(0);
        assert_eq!(attempt(&report).end, AttemptEnd::TimedOut);
        assert!(report.error.starts_with("timed out after "), "{}", report.error);
    });
}

#[test]
fn a_reporter_that_panics_costs_its_call_only() {
    struct Clumsy(Recorder);
    impl Reporter for Clumsy {
        async fn failed(&self, report: &Report) {
            assert!(attempt(report).attempt != 1, "the reporter falls over");
            self.0.failed(report).await;
        }
    }
    world(async |world| {
        let (clumsy, other) = (Recorder::new(), Recorder::new());
        let reports = Reports::new(&world.sim.env()).to(Clumsy(clumsy.clone())).to(other.clone());
        let registry = handles(|_| async { Err::<(), _>(TaskError::retry("no")) });
        let worker = world.start(world.worker(registry).reports(reports));
        let id = world.enqueue(tries(3)).await;
        assert_eq!(world.over(id).await.view.state, State::Failed);
        worker.stop().await;
        assert_eq!((clumsy.failures().len(), other.failures().len()), (2, 3));
    });
}

#[test]
fn a_reporter_that_is_slow_holds_up_nobody_and_hears_how_much_it_missed() {
    struct Slow(Recorder);
    impl Reporter for Slow {
        async fn failed(&self, report: &Report) {
            self.0.failed(report).await;
            if attempt(report).queue.as_str() == "default" {
                std::future::pending::<()>().await;
            }
        }

        async fn gave_up(&self, report: &Report) {
            self.0.gave_up(report).await;
        }
    }
    world(async |world| {
        let recorder = Recorder::new();
        let reports = Reports::new(&world.sim.env()).to(Slow(recorder.clone()));
        let registry = handles(|_| async { Err::<(), _>(TaskError::retry_after("no", seconds(3_600))) });
        let worker = world.start(world.worker(registry).reports(reports.clone()));
        let first = world.enqueue(tries(1)).await;
        world.over(first).await;
        assert_eq!(world.elapsed_ms(), 0, "the worker does not wait for the reporter");
        // The reporter has the first one in hand for 30 s; 256 wait behind it, and what is tried again goes first.
        let other = || job().queue("other");
        let again = MaxAttempts::limited(2).unwrap();
        for _ in 0..300 {
            world.enqueue(other().max_attempts(again)).await;
        }
        world.sim.settle().await;
        let pager = world.enqueue(other().max_attempts(MaxAttempts::limited(1).unwrap())).await;
        world.over(pager).await;
        assert!(world.elapsed_ms() < 100 && recorder.failures().len() == 1, "nobody waits for the reporter");
        world.sim.advance(Duration::from_secs(30)).await;
        let jobs: Vec<_> = recorder.final_ones().iter().map(|report| attempt(report).job).collect();
        assert_eq!(jobs, [first, pager], "what wakes somebody up is not dropped");
        let failures = recorder.failures();
        assert_eq!((failures.len(), failures[1].dropped_before), (1 + 256, 45));
        assert!(failures[2..].iter().all(|report| report.dropped_before == 0));
        drop(worker);
    });
}

#[test]
fn a_worker_that_ends_waits_for_its_reporter_for_a_moment_and_no_longer() {
    struct Late(Recorder, Env, Duration);
    impl Reporter for Late {
        async fn failed(&self, report: &Report) {
            self.1.sleep(self.2).await;
            self.0.failed(report).await;
        }
    }
    for (takes_s, told, ended_ms) in [(4, 1, 4_000), (6, 0, 5_000)] {
        world(async |world| {
            let (recorder, env) = (Recorder::new(), world.sim.env());
            let reports = Reports::new(&env).to(Late(recorder.clone(), env.clone(), seconds(takes_s)));
            let registry = handles(|_| async { Err::<(), _>(TaskError::permanent("no")) });
            world.enqueue(job()).await;
            let worker = world.start(world.worker(registry).reports(reports).until_empty());
            worker.ended().await;
            assert_eq!((recorder.failures().len(), world.elapsed_ms()), (told, ended_ms));
        });
    }
}
