//! GL-1 to GL-20 and GL-X1 to GL-X6, under their ids. Where GitLab has a thread, this has a task of the runtime; where it joins one,
//! this waits within a limit; its tracker of errors is a reporter; and its daemon, of which a process has one by class, is a service
//! by name.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use taskwright::Env;
use taskwright::report::{Report, Reports, ServiceReport, ServiceStep, Who};
use taskwright::service::{
    Container, Restart, Service, ServiceContext, ServiceError, ServiceOptions, ServiceState, Services, Start,
    Stopped,
};
use taskwright::testing::{Sim, simulate};
use tokio::sync::Notify;

use crate::failures_are_reported::Recorder;
use crate::support::{Notes, seconds};

/// What the service of a scenario does, and what it has done.
#[derive(Clone)]
struct Scripted {
    notes: Notes<&'static str>,
    starts: Start,
    start_fails: bool,
    /// Whether it runs until it is told to stop.
    loops: bool,
    run_fails: bool,
    stop_fails: bool,
    /// The task that runs it.
    task: Notes<tokio::task::Id>,
}

impl Scripted {
    fn new() -> Self {
        Self {
            notes: Notes::new(),
            starts: Start::Go,
            start_fails: false,
            loops: true,
            run_fails: false,
            stop_fails: false,
            task: Notes::new(),
        }
    }

    fn count(&self, what: &str) -> usize {
        self.notes.all().iter().filter(|note| **note == what).count()
    }
}

impl Service for Scripted {
    async fn start(&self) -> Result<Start, ServiceError> {
        self.notes.add("start");
        if self.start_fails { Err("it cannot start".into()) } else { Ok(self.starts) }
    }

    async fn run(&self, ctx: ServiceContext) -> Result<(), ServiceError> {
        self.notes.add("run");
        self.task.add(tokio::task::id());
        if self.loops {
            ctx.stopped().await;
        }
        if self.run_fails { Err("the body broke".into()) } else { Ok(()) }
    }

    async fn stop(&self) -> Result<(), ServiceError> {
        self.notes.add("stop");
        if self.stop_fails { Err("it cannot stop".into()) } else { Ok(()) }
    }
}

/// A service in a container, and who is told of its failures.
struct Scene {
    sim: Sim,
    service: Scripted,
    recorder: Recorder,
    container: Container,
}

fn never() -> ServiceOptions {
    ServiceOptions::new().restart(Restart::Never)
}

fn scene(service: Scripted, options: ServiceOptions, test: impl AsyncFnOnce(Scene)) {
    simulate(1, async |sim| {
        let (env, recorder) = (sim.env(), Recorder::new());
        let reports = Reports::new(&env).to(recorder.clone());
        let container = Container::new(&env, reports, "scripted", options, service.clone()).unwrap();
        test(Scene { sim, service, recorder, container }).await;
    });
}

impl Scene {
    fn state(&self) -> ServiceState {
        self.container.status().state
    }

    /// What was reported: who failed in what, and how.
    async fn reported(&self) -> Vec<(String, ServiceStep, String)> {
        self.sim.settle().await;
        self.recorder.failures().iter().map(told).collect()
    }
}

fn told(report: &Report) -> (String, ServiceStep, String) {
    match &report.who {
        Who::Service(ServiceReport { service, step, .. }) => {
            (service.to_string(), *step, report.error.clone())
        }
        other => panic!("{other:?}"),
    }
}

fn failure(step: ServiceStep, error: &str) -> (String, ServiceStep, String) {
    ("scripted".to_owned(), step, error.to_owned())
}

#[test]
fn gl_1_a_new_container_does_not_run() {
    scene(Scripted::new(), never(), async |scene| {
        assert!(!scene.container.is_running());
        assert_eq!(scene.state(), ServiceState::Idle);
    });
}

#[test]
fn gl_2_a_start_runs_the_body_in_another_task_than_the_callers() {
    scene(Scripted::new(), never(), async |scene| {
        let own = scene.sim.env().spawn("owner", {
            let container = scene.container.clone();
            async move {
                container.start().await.unwrap();
                tokio::task::id()
            }
        });
        let own = own.await.unwrap();
        assert!(scene.container.is_running());
        assert_ne!(scene.service.task.reach(1).await, [own]);
    });
}

#[test]
fn gl_3_a_start_gives_the_container_itself() {
    scene(Scripted::new(), never(), async |scene| {
        let started = scene.container.start().await.unwrap();
        assert!(std::ptr::eq(started, &raw const scene.container));
    });
}

#[test]
fn gl_4_what_ends_the_process_stops_the_service() {
    simulate(1, async |sim| {
        let (env, exit, service) = (sim.env(), Arc::new(Notify::new()), Scripted::new());
        let services = Services::new(&env, Reports::new(&env)).add("scripted", service.clone()).unwrap();
        let services = Arc::new(services);
        let (watched, exits) = (Arc::clone(&services), Arc::clone(&exit));
        let running = env.spawn("program", async move { watched.run_until(exits.notified()).await });
        services.all()[0].until(|status| status.state == ServiceState::Running).await;
        exit.notify_one();
        assert_eq!(running.await.unwrap(), [Stopped::InTime]);
        assert!(!services.all()[0].is_running());
        assert_eq!(service.count("stop"), 1);
    });
}

#[test]
fn gl_5_a_start_calls_the_start_callback() {
    scene(Scripted::new(), never(), async |scene| {
        scene.container.start().await.unwrap();
        assert_eq!(scene.service.count("start"), 1);
    });
}

#[test]
fn gl_6_a_start_callback_that_agrees_lets_the_body_run() {
    scene(Scripted::new(), never(), async |scene| {
        scene.container.start().await.unwrap();
        assert_eq!(scene.service.notes.reach(2).await, ["start", "run"]);
    });
}

#[test]
fn gl_7_a_start_callback_that_declines_does_not() {
    let service = Scripted { starts: Start::Decline, ..Scripted::new() };
    scene(service, never(), async |scene| {
        scene.container.start().await.unwrap();
        scene.sim.advance(seconds(3_600)).await;
        assert_eq!((scene.state(), scene.service.notes.all()), (ServiceState::Idle, vec!["start"]));
        assert_eq!(scene.reported().await, []);
    });
}

#[test]
fn gl_8_a_synchronous_start_waits_for_the_body_and_others_can_stop_it() {
    scene(Scripted { loops: false, ..Scripted::new() }, never().synchronous(), async |scene| {
        scene.container.start().await.unwrap();
        assert_eq!((scene.state(), scene.service.count("run")), (ServiceState::Finished, 1));
    });
    scene(Scripted::new(), never().synchronous(), async |scene| {
        let container = scene.container.clone();
        let starting = scene.sim.env().spawn("owner", async move { container.start().await.map(|_| ()) });
        scene.service.notes.reach(2).await;
        assert!(!starting.is_finished());
        assert_eq!(scene.container.stop().await, Stopped::InTime);
        starting.await.unwrap().unwrap();
    });
}

#[test]
fn gl_9_a_stop_of_what_does_not_run_changes_nothing() {
    scene(Scripted::new(), never(), async |scene| {
        assert_eq!(scene.container.stop().await, Stopped::DidNotRun);
        scene.sim.settle().await;
        assert_eq!((scene.state(), scene.service.notes.all().len()), (ServiceState::Idle, 0));
    });
}

#[test]
fn gl_10_a_start_of_what_runs_is_an_error() {
    scene(Scripted::new(), never(), async |scene| {
        scene.container.start().await.unwrap();
        let error = scene.container.start().await.unwrap_err();
        assert!(error.is_already_started());
        assert_eq!(error.to_string(), "starting the service scripted: it is running");
        assert_eq!((scene.state(), scene.service.count("start")), (ServiceState::Running, 1));
    });
}

#[test]
fn gl_11_a_stop_of_what_runs_ends_it() {
    scene(Scripted::new(), never(), async |scene| {
        scene.container.start().await.unwrap();
        assert!(scene.container.is_running());
        assert_eq!(scene.container.stop().await, Stopped::InTime);
        assert_eq!(scene.state(), ServiceState::Stopped);
        assert_eq!(scene.container.stop().await, Stopped::DidNotRun, "a second stop finds nothing to do");
    });
}

#[test]
fn gl_12_a_stop_calls_the_stop_callback() {
    scene(Scripted::new(), never(), async |scene| {
        scene.container.start().await.unwrap();
        scene.container.stop().await;
        assert_eq!(scene.service.notes.all(), ["start", "run", "stop"]);
    });
}

#[test]
fn gl_13_a_stop_callback_that_fails_is_no_error_of_the_caller() {
    scene(Scripted { stop_fails: true, ..Scripted::new() }, never(), async |scene| {
        scene.container.start().await.unwrap();
        assert_eq!(scene.container.stop().await, Stopped::InTime);
        assert!(!scene.container.is_running());
    });
}

#[test]
fn gl_14_but_it_is_reported_with_the_name_of_the_container() {
    scene(Scripted { stop_fails: true, ..Scripted::new() }, never(), async |scene| {
        scene.container.start().await.unwrap();
        scene.container.stop().await;
        assert_eq!(scene.reported().await, [failure(ServiceStep::Stop, "it cannot stop")]);
        assert_eq!(scene.container.status().last_error.unwrap().error, "it cannot stop");
    });
}

#[test]
fn gl_15_a_body_that_fails_is_no_error_of_whoever_stops_it() {
    // On its way out, and long before.
    for loops in [true, false] {
        scene(Scripted { run_fails: true, loops, ..Scripted::new() }, never(), async |scene| {
            scene.container.start().await.unwrap();
            scene.sim.settle().await;
            let expected = if loops { Stopped::InTime } else { Stopped::DidNotRun };
            assert_eq!(scene.container.stop().await, expected);
            assert!(!scene.container.is_running());
        });
    }
}

#[test]
fn gl_16_exactly_its_error_is_reported_with_the_name_of_the_container() {
    for loops in [true, false] {
        scene(Scripted { run_fails: true, loops, ..Scripted::new() }, never(), async |scene| {
            scene.container.start().await.unwrap();
            scene.sim.settle().await;
            if !loops {
                assert_eq!(scene.recorder.failures().len(), 1, "at the moment of failure, not at the stop");
                assert_eq!(scene.recorder.final_ones().len(), 1, "and nobody starts it again");
            }
            scene.container.stop().await;
            assert_eq!(scene.reported().await, [failure(ServiceStep::Run, "the body broke")]);
        });
    }
}

/// The daemons of a process.
fn daemons(service: Scripted, test: impl AsyncFnOnce(Services, Scripted)) {
    simulate(1, async |sim| {
        let env = sim.env();
        let services = Services::new(&env, Reports::new(&env)).add("daemon", service.clone()).unwrap();
        test(services, service).await;
    });
}

#[test]
fn gl_17_a_name_means_one_service_and_the_process_stops_it() {
    daemons(Scripted::new(), async |services, service| {
        let (one, other) = (services.get("daemon").unwrap(), services.get("daemon").unwrap());
        assert!(std::ptr::eq(one, other));
        assert!(services.get("another").is_none());
        services.start().await;
        services.stop().await;
        assert_eq!(service.count("stop"), 1);
        let error = services.add("daemon", Scripted::new()).unwrap_err();
        assert_eq!(error.to_string(), "the service daemon: another service of this process has that name");
    });
}

#[test]
fn gl_18_an_enabled_daemon_that_is_stopped_starts_and_is_not_stopped_again() {
    daemons(Scripted::new(), async |services, service| {
        assert_eq!(services.stop().await, [Stopped::DidNotRun]);
        assert_eq!(service.notes.all().len(), 0);
        services.start().await;
        assert_eq!(service.notes.reach(2).await, ["start", "run"]);
    });
}

#[test]
fn gl_19_an_enabled_daemon_that_runs_is_not_started_twice_and_stops() {
    daemons(Scripted::new(), async |services, service| {
        services.start().await;
        services.start().await;
        assert_eq!(service.count("start"), 1);
        assert_eq!(services.stop().await, [Stopped::InTime]);
        assert_eq!((service.count("stop"), services.all()[0].is_running()), (1, false));
    });
}

#[test]
fn gl_20_a_disabled_daemon_never_runs_and_is_never_stopped() {
    daemons(Scripted { starts: Start::Decline, ..Scripted::new() }, async |services, service| {
        services.start().await;
        assert_eq!(services.all()[0].status().state, ServiceState::Idle);
        assert_eq!(services.stop().await, [Stopped::DidNotRun]);
        assert_eq!((service.count("run"), service.count("stop")), (0, 0));
    });
}

#[test]
fn gl_x1_a_body_that_ended_by_itself_is_told_as_such() {
    for (run_fails, expected) in [(false, ServiceState::Finished), (true, ServiceState::Failed)] {
        let service = Scripted { loops: false, run_fails, ..Scripted::new() };
        scene(service, never(), async |scene| {
            scene.container.start().await.unwrap();
            let status = scene.container.over().await;
            assert_eq!(status.state, expected);
            assert_eq!(status.last_error.is_some(), run_fails);
        });
    }
}

#[test]
fn gl_x2_a_body_is_waited_for_also_when_its_stop_callback_fails() {
    /// Hears only what the stop callback says, which fails before it says anything.
    struct Deaf(Arc<Notify>, Arc<AtomicBool>);
    impl Service for Deaf {
        async fn run(&self, ctx: ServiceContext) -> Result<(), ServiceError> {
            ctx.stopped().await;
            ctx.env().sleep(seconds(3)).await;
            self.1.store(true, Ordering::Relaxed);
            self.0.notified().await;
            Ok(())
        }

        async fn stop(&self) -> Result<(), ServiceError> {
            panic!("before it could tell");
        }
    }
    simulate(1, async |sim| {
        let (env, recorder, waited) = (sim.env(), Recorder::new(), Arc::new(AtomicBool::new(false)));
        let deaf = Deaf(Arc::default(), Arc::clone(&waited));
        let reports = Reports::new(&env).to(recorder.clone());
        let container = Container::new(&env, reports, "deaf", never(), deaf).unwrap();
        container.start().await.unwrap();
        assert_eq!(container.stop_within(seconds(5)).await, Stopped::Dropped);
        assert!(waited.load(Ordering::Relaxed), "it had its time");
        assert_eq!((env.monotonic_us() / 1_000_000, container.status().state), (5, ServiceState::Stopped));
        sim.settle().await;
        let steps: Vec<_> = recorder.failures().iter().map(|report| told(report).1).collect();
        assert_eq!(steps, [ServiceStep::Stop, ServiceStep::Overstay]);
        assert!(recorder.failures()[0].panic.is_some());
    });
}

#[test]
fn gl_x3_what_was_stopped_starts_again_and_is_stopped_once() {
    scene(Scripted::new(), never(), async |scene| {
        for round in 1..=3 {
            scene.container.start().await.unwrap();
            assert!(scene.container.is_running());
            assert_eq!(scene.container.stop().await, Stopped::InTime);
            assert_eq!((scene.service.count("run"), scene.service.count("stop")), (round, round));
        }
    });
}

#[test]
fn gl_x4_a_body_that_sleeps_is_stopped_at_once() {
    simulate(1, async |sim| {
        let env = sim.env();
        let sleeper = |ctx: ServiceContext| async move {
            while ctx.sleep(seconds(3_600)).await {}
            Ok(())
        };
        let container = Container::new(&env, Reports::new(&env), "sleeper", never(), sleeper).unwrap();
        // Before it lies down, and while it sleeps.
        for after in [0, 1, 3_599] {
            container.start().await.unwrap();
            sim.advance(seconds(after)).await;
            let before_us = env.monotonic_us();
            assert_eq!(container.stop().await, Stopped::InTime);
            assert_eq!(env.monotonic_us(), before_us);
        }
    });
}

#[test]
fn gl_x5_a_body_that_ignores_the_stop_is_dropped_when_its_time_is_over_and_that_is_reported() {
    simulate(1, async |sim| {
        let (env, recorder) = (sim.env(), Recorder::new());
        let reports = Reports::new(&env).to(recorder.clone());
        let stubborn = |_| std::future::pending::<Result<(), ServiceError>>();
        let container = Container::new(&env, reports, "stubborn", never(), stubborn).unwrap();
        container.start().await.unwrap();
        assert_eq!(container.stop_within(seconds(1)).await, Stopped::Dropped);
        assert_eq!((env.monotonic_us(), container.status().state), (1_000_000, ServiceState::Stopped));
        sim.settle().await;
        let error = "it did not end within 1s after it was told to stop, and is dropped";
        let failures: Vec<_> = recorder.failures().iter().map(told).collect();
        assert_eq!(failures, [("stubborn".to_owned(), ServiceStep::Overstay, error.to_owned())]);
        assert_eq!(container.status().last_error.unwrap().error, error);
    });
}

#[test]
fn gl_x5_a_body_that_blocks_its_thread_is_still_stopping_until_it_lets_go() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let env = Env::system();
        let (free, blocked) = std::sync::mpsc::channel::<()>();
        let blocked = std::sync::Mutex::new(blocked);
        let blocker = move |_| {
            let waited = blocked.lock().unwrap().recv();
            std::future::ready(waited.map_err(ServiceError::from))
        };
        let container = Container::new(&env, Reports::new(&env), "blocker", never(), blocker).unwrap();
        container.start().await.unwrap();
        assert_eq!(container.stop_within(Duration::from_millis(10)).await, Stopped::No);
        assert_eq!(container.status().state, ServiceState::Stopping);
        assert!(container.start().await.unwrap_err().is_already_started());
        free.send(()).unwrap();
        assert_eq!(container.over().await.state, ServiceState::Stopped);
    });
}

#[test]
fn gl_x6_a_body_that_stops_its_own_container_does_not_wait_for_itself() {
    simulate(1, async |sim| {
        let env = sim.env();
        let own = Arc::new(OnceLock::<Container>::new());
        let (inner, answers) = (Arc::clone(&own), Notes::new());
        let noted = answers.clone();
        let suicidal = move |ctx: ServiceContext| {
            let (own, noted) = (Arc::clone(&inner), noted.clone());
            async move {
                noted.add(own.get().unwrap().stop().await);
                assert!(ctx.is_stopping());
                Ok(())
            }
        };
        let container = Container::new(&env, Reports::new(&env), "suicidal", always(), suicidal).unwrap();
        own.set(container.clone()).unwrap();
        container.start().await.unwrap();
        assert_eq!(container.over().await.state, ServiceState::Stopped);
        assert_eq!((answers.all(), env.monotonic_us()), (vec![Stopped::Asked], 0));
    });
}

fn always() -> ServiceOptions {
    ServiceOptions::new().restart(Restart::Always(Restart::BACKOFF))
}
