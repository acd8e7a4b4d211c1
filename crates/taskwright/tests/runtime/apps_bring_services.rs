//! Services and reporters of an app: they live as long as it runs jobs, and are told of everything that fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use taskwright::report::{Report, Reporter, Who};
use taskwright::service::{
    MetricsSampler, Restart, Service, ServiceContext, ServiceError, ServiceOptions, Start,
};
use taskwright::store::{SharedStore, memory::MemoryStore};
use taskwright::testing::{Kit, Mode, Sim, simulate};
use taskwright::{App, Env, Job, MaxAttempts, TaskError};

use crate::support::{Notes, seconds};

/// Notes who failed, and whether that was the end.
struct Noted(Notes<String>);

impl Reporter for Noted {
    async fn failed(&self, report: &Report) {
        let who = match &report.who {
            Who::Attempt(attempt) => format!("{} {}", attempt.kind, attempt.attempt),
            Who::Service(service) => service.service.to_string(),
            _ => "somebody else".to_owned(),
        };
        self.0.add(format!("{who}: {}", report.error));
    }

    async fn gave_up(&self, _: &Report) {
        self.0.add("gave up".to_owned());
    }
}

#[test]
fn services_of_an_app_run_before_the_first_job_and_until_after_the_last_one() {
    simulate(1, async |sim| {
        let notes = Notes::new();
        let (of_service, of_job, of_sampler) = (notes.clone(), notes.clone(), notes.clone());
        let service = move |ctx: ServiceContext| {
            let notes = of_service.clone();
            async move {
                notes.add("service");
                ctx.stopped().await;
                notes.add("stopped");
                Ok(())
            }
        };
        let store: SharedStore = Arc::new(MemoryStore::new());
        let app = App::new()
            .env(sim.env())
            .store(Arc::clone(&store))
            .service("listener", service)
            .service_on_store("sampler", ServiceOptions::new(), move |store, _| {
                let notes = of_sampler.clone();
                MetricsSampler::new(store, seconds(10)).on_sample(move |_| notes.add("sample"))
            })
            .handler("test", move |ctx| {
                let notes = of_job.clone();
                async move {
                    ctx.pause(seconds(5)).await?;
                    notes.add("job");
                    Ok(())
                }
            });
        let job = app.client().await.unwrap().enqueue(Job::new("test")).await.unwrap();
        app.run_until(async {
            sim.advance(seconds(1)).await;
            let shown: Vec<String> = store
                .services(sim.env().now())
                .await
                .unwrap()
                .into_iter()
                .map(|view| view.name.to_string())
                .collect();
            assert_eq!(shown, ["listener", "sampler"]);
            job.wait().await.unwrap();
        })
        .await
        .unwrap();
        let told: Vec<&str> = notes.all().into_iter().filter(|note| *note != "sample").collect();
        assert_eq!(told, ["service", "job", "stopped"]);
        assert!(notes.all().contains(&"sample"));
        // Each run has its own.
        app.run_until(sim.env().sleep(seconds(1))).await.unwrap();
        assert_eq!(notes.all().iter().filter(|note| **note == "stopped").count(), 2);
        // Who is told to stop before anything was begun begins nothing.
        app.run_until(async {}).await.unwrap();
        assert_eq!(notes.all().iter().filter(|note| **note == "service").count(), 2);
    });
}

#[test]
fn reporters_of_an_app_hear_of_attempts_and_of_services() {
    simulate(1, async |sim| {
        let notes = Notes::new();
        let app = App::new()
            .report_to(Noted(notes.clone()))
            .service_with(
                "unlucky",
                ServiceOptions::new().restart(Restart::Never),
                |_: ServiceContext| async { Err::<(), ServiceError>("the line is dead".into()) },
            )
            .handler("test", |_| async { Err::<(), _>(TaskError::retry("no luck")) });
        let kit = Kit::of(app).mode(Mode::Drain).start(&sim).await.unwrap();
        notes.reach(2).await;
        let twice = MaxAttempts::limited(2).unwrap();
        kit.client().enqueue(Job::new("test").max_attempts(twice)).await.unwrap();
        assert_eq!(
            notes.reach(5).await,
            ["unlucky: the line is dead", "gave up", "test 1: no luck", "test 2: no luck", "gave up"]
        );
    });
}

#[test]
fn a_service_without_a_name_or_with_that_of_another_stops_the_start() {
    simulate(1, async |sim| {
        let idle = |ctx: ServiceContext| async move {
            ctx.stopped().await;
            Ok(())
        };
        let nameless = App::new().env(sim.env()).store("memory:").service("a b", idle);
        assert!(nameless.run_until(async {}).await.unwrap_err().to_string().contains("a b"));
        let twice = App::new().env(sim.env()).store("memory:").service("a", idle).service("a", idle);
        let error = twice.run_until(async {}).await.unwrap_err().to_string();
        assert!(error.contains("another service of this process has that name"), "{error}");
    });
}

/// Takes its time for each failure, and notes who failed, and how many calls there were at once.
struct Slow {
    env: Env,
    takes: Duration,
    calls: AtomicUsize,
    told: Notes<(String, usize)>,
}

impl Reporter for Slow {
    async fn failed(&self, report: &Report) {
        let at_once = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        self.env.sleep(self.takes).await;
        self.calls.fetch_sub(1, Ordering::SeqCst);
        self.told.add((report.error.clone(), at_once));
    }
}

/// Fails when it is told to stop.
struct Stubborn;

impl Service for Stubborn {
    async fn run(&self, ctx: ServiceContext) -> Result<(), ServiceError> {
        ctx.stopped().await;
        Ok(())
    }

    async fn stop(&self) -> Result<(), ServiceError> {
        Err("it does not want to".into())
    }
}

fn reporting(sim: &Sim, takes: Duration) -> (App, Notes<(String, usize)>) {
    let told = Notes::new();
    let slow = Slow { env: sim.env(), takes, calls: AtomicUsize::new(0), told: told.clone() };
    (App::new().env(sim.env()).store("memory:").report_to(slow), told)
}

#[test]
fn a_reporter_of_an_app_is_called_once_at_a_time_for_jobs_and_for_services() {
    simulate(1, async |sim| {
        let (app, told) = reporting(&sim, seconds(1));
        let unlucky = |_: ServiceContext| async { Err::<(), ServiceError>("the line is dead".into()) };
        let app = app
            .service_with("unlucky", ServiceOptions::new().restart(Restart::Never), unlucky)
            .handler("test", |_| async { Err::<(), _>(TaskError::permanent("no luck")) });
        let job = app.client().await.unwrap().enqueue(Job::new("test")).await.unwrap();
        app.run_until(async { drop(job.wait().await.unwrap()) }).await.unwrap();
        assert_eq!(told.all(), [("the line is dead".to_owned(), 1), ("no luck".to_owned(), 1)]);
    });
}

#[test]
fn what_fails_in_the_end_is_told_before_the_app_has_ended_which_waits_5_s_for_it() {
    for (takes_s, told_then, ended_ms) in [(4, 1, 4_000), (6, 0, 5_000)] {
        simulate(1, async |sim| {
            let (app, told) = reporting(&sim, seconds(takes_s));
            let app = app.service("stubborn", Stubborn);
            app.run_until(sim.env().sleep(seconds(1))).await.unwrap();
            let took_ms = sim.env().monotonic_us() / 1_000 - 1_000;
            assert_eq!((told.all().len(), took_ms), (told_then, ended_ms), "{:?}", told.all());
        });
    }
}

/// Never comes to run.
struct Hanging;

impl Service for Hanging {
    async fn start(&self) -> Result<Start, ServiceError> {
        std::future::pending().await
    }

    async fn run(&self, _: ServiceContext) -> Result<(), ServiceError> {
        unreachable!("it never starts")
    }
}

#[test]
fn a_service_that_hangs_in_its_start_holds_up_jobs_for_5_s_and_those_after_it_for_30_s() {
    simulate(1, async |sim| {
        let (app, told) = reporting(&sim, Duration::ZERO);
        let began_s = Notes::new();
        let (of_job, of_service, env) = (began_s.clone(), began_s.clone(), sim.env());
        let now_s = move || env.monotonic_us() / 1_000_000;
        let of_next = now_s.clone();
        let app = app
            .service_with("hanging", ServiceOptions::new().restart(Restart::Never), Hanging)
            .service("next", move |ctx: ServiceContext| {
                of_service.add(("service", of_next()));
                async move {
                    ctx.stopped().await;
                    Ok(())
                }
            })
            .handler("test", move |_| {
                of_job.add(("job", now_s()));
                async { Ok(()) }
            });
        app.client().await.unwrap().enqueue(Job::new("test")).await.unwrap();
        app.run_until(async { drop(began_s.reach(2).await) }).await.unwrap();
        assert_eq!(began_s.all(), [("job", 5), ("service", 30)]);
        assert_eq!(told.all(), [("its `start` did not end within 30s, and is dropped".to_owned(), 1)]);
    });
}

#[test]
fn an_app_that_is_told_to_stop_does_not_wait_for_a_service_to_start() {
    for first in [false, true] {
        simulate(1, async |sim| {
            let options = ServiceOptions::new().stop_within(seconds(2));
            let options = if first { options.synchronous() } else { options };
            let app = App::new().env(sim.env()).store("memory:").service_with("hanging", options, Hanging);
            app.run_until(sim.env().sleep(seconds(1))).await.unwrap();
            assert_eq!(sim.env().monotonic_us() / 1_000_000, 1 + 2, "what it may take to stop");
        });
    }
}

#[test]
fn what_is_to_be_done_first_is_done_before_any_job_runs_however_long_that_takes() {
    simulate(1, async |sim| {
        let notes = Notes::new();
        let (of_job, of_service) = (notes.clone(), notes.clone());
        let migrate = move |ctx: ServiceContext| {
            let notes = of_service.clone();
            async move {
                ctx.sleep(seconds(600)).await;
                notes.add("migrated");
                Ok(())
            }
        };
        let app = App::new()
            .env(sim.env())
            .store("memory:")
            .service_with("migrate", ServiceOptions::new().restart(Restart::Never).synchronous(), migrate)
            .service("hanging", Hanging)
            .handler("test", move |_| {
                of_job.add("job");
                async { Ok(()) }
            });
        app.client().await.unwrap().enqueue(Job::new("test")).await.unwrap();
        app.run_until(async { drop(notes.reach(2).await) }).await.unwrap();
        assert_eq!(notes.all(), ["migrated", "job"]);
    });
}
