//! Services and reporters of an app: they live as long as it runs jobs, and are told of everything that fails.

use std::sync::Arc;

use taskwright::report::{Report, Reporter, Who};
use taskwright::service::{MetricsSampler, Restart, ServiceContext, ServiceError, ServiceOptions};
use taskwright::store::{SharedStore, memory::MemoryStore};
use taskwright::testing::{Kit, Mode, simulate};
use taskwright::{App, Job, MaxAttempts, TaskError};

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
                    ctx.sleep(seconds(5)).await?;
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
        app.run_until(async {}).await.unwrap();
        assert_eq!(notes.all().iter().filter(|note| **note == "stopped").count(), 2);
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
