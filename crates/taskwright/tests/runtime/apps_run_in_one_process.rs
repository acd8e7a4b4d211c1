//! `App`: a client that never claims, and a worker with its duties in good order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use taskwright::core::schedule::Overlap;
use taskwright::core::trigger::{Custom, TriggerRule, TriggerState};
use taskwright::core::{Error as Refused, Timestamp};
use taskwright::generator::{Cursor, CursorGenerator, Item, PollError, Row};
use taskwright::store::{SharedStore, WorkerState, memory::MemoryStore};
use taskwright::testing::simulate;
use taskwright::{App, Job, Schedule, State, TaskError, Trigger, task};
use tokio::sync::Notify;

use crate::support::{Notes, seconds};

/// How often the state was made.
static MADE: AtomicU64 = AtomicU64::new(0);

struct Made;

async fn make() -> Result<Made, std::io::Error> {
    MADE.fetch_add(1, Ordering::SeqCst);
    Ok(Made)
}

#[task("tick", schedule(every = "10s"))]
async fn tick(#[state] notes: &Notes<&'static str>, #[state] _made: &Made) -> Result<(), TaskError> {
    notes.add("tick");
    Ok(())
}

#[task("page.render")]
async fn render(page: u64, #[state] notes: &Notes<&'static str>) -> Result<u64, TaskError> {
    notes.add("render");
    Ok(page)
}

/// Once, 7 s after the registration.
struct Seven;

impl TriggerRule for Seven {
    fn next(&self, state: &TriggerState, _: Timestamp) -> Result<Option<Timestamp>, Refused> {
        Ok(state.last_due.is_none().then(|| state.registered_at.plus(seconds(7))))
    }
}

/// Three pages.
async fn pages(after: Option<Cursor>, limit: usize) -> Result<Vec<Row>, PollError> {
    let first = match after {
        Some(Cursor::Key(page)) => page.as_u64().unwrap_or_default() + 1,
        _ => 0,
    };
    Ok((first..3).take(limit).map(|page| Row::new(Cursor::key(page), Item::of(&Render { page }))).collect())
}

/// The same task before it was renamed, and after.
mod nightly {
    #[taskwright::task("clean.nightly", schedule(every = "10s"))]
    pub(super) async fn before(#[state] notes: &crate::support::Notes<&'static str>) {
        notes.add("before");
    }

    #[taskwright::task("clean.daily", aliases("clean.nightly", "clean.never"), schedule(every = "10s"))]
    pub(super) async fn after(#[state] notes: &crate::support::Notes<&'static str>) {
        notes.add("after");
    }
}

#[test]
fn the_schedule_of_a_task_that_was_renamed_takes_the_place_of_the_one_that_it_had() {
    simulate(1, async |sim| {
        let (store, notes) = (Arc::new(MemoryStore::new()) as SharedStore, Notes::<&'static str>::new());
        let app = || App::new().store(Arc::clone(&store)).env(sim.env()).state(notes.clone());
        let (before, after) = (app().task::<nightly::Before>(), app().task::<nightly::After>());
        let schedules = before.client().await.unwrap().schedules();
        let run = async |app: &App, time| app.run_until(sim.env().sleep(seconds(time))).await.unwrap();
        let named = async || {
            let all = schedules.list(None).await.unwrap();
            all.iter().map(|one| (one.schedule.name.to_string(), one.state.fired)).collect::<Vec<_>>()
        };
        assert_eq!(run(&before, 25).await.completed, 2);
        assert_eq!(named().await, [("clean.nightly".to_owned(), 2)]);
        // It goes on where it was: the third comes 30 s after the first registration, once.
        assert_eq!(run(&after, 10).await.completed, 1);
        assert_eq!(named().await, [("clean.daily".to_owned(), 3)]);
        assert_eq!(notes.all(), ["before", "before", "after"]);

        // Paused stays paused, and what somebody has registered by hand stays.
        let name = |name: &str| name.parse().unwrap();
        schedules.remove(&Default::default(), &name("clean.daily")).await.unwrap();
        run(&before, 1).await;
        schedules.pause(&Default::default(), &name("clean.nightly")).await.unwrap();
        let every = Trigger::read("every", "1h", None).unwrap();
        let other = Schedule::builder(name("clean.never"), "page.render".parse().unwrap()).trigger(every);
        schedules.put(&other.build().unwrap()).await.unwrap();
        assert_eq!(run(&after, 60).await.completed, 0);
        let names: Vec<_> = named().await.into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["clean.never", "clean.daily"]);
    });
}

#[test]
fn an_app_runs_its_tasks_schedules_generators_and_triggers_until_it_is_told_to_stop() {
    simulate(1, async |sim| {
        let notes = Notes::new();
        let own = Schedule::builder("seven".parse().unwrap(), "own".parse().unwrap())
            .trigger(Trigger::Custom(Custom {
                name: "seven".parse().unwrap(),
                spec: serde_json::Value::Null,
            }))
            .overlap(Overlap::Allow)
            .build()
            .unwrap();
        let of_rule = notes.clone();
        let app = App::new()
            .store("memory:")
            .env(sim.env())
            .state(notes.clone())
            .state_from(make)
            .task::<Tick>()
            .task::<Render>()
            .handler("own", move |_| {
                of_rule.add("own");
                async { Ok(()) }
            })
            .schedule(own)
            .with_trigger("seven".parse().unwrap(), |_| Ok(Arc::new(Seven)))
            .generators(|set, _, _| set.with(CursorGenerator::new("pages", pages)));

        let stop = Arc::new(Notify::new());
        let (running, stopped) = (app.clone(), Arc::clone(&stop));
        let run = sim.env().spawn("app", async move { running.run_until(stopped.notified()).await });
        sim.advance(seconds(35)).await;
        stop.notify_one();
        let summary = run.await.unwrap().unwrap();
        assert_eq!(summary.completed, 3 + 3 + 1);
        let count = |what| notes.all().iter().filter(|note| **note == what).count();
        assert_eq!((count("tick"), count("render"), count("own")), (3, 3, 1));
        assert_eq!(MADE.load(Ordering::SeqCst), 1, "the state is made once for each run");

        let store = app.client().await.unwrap().store().clone();
        let workers = store.workers().await.unwrap();
        assert!(
            workers.iter().all(|worker| worker.state == WorkerState::Stopped),
            "it has left: {workers:?}"
        );
    });
}

#[test]
fn a_producer_puts_jobs_in_and_claims_none() {
    simulate(1, async |sim| {
        let store: SharedStore = Arc::new(MemoryStore::new());
        let app =
            App::new().store(Arc::clone(&store)).env(sim.env()).state(Notes::<&str>::new()).task::<Render>();
        let producer = app.client().await.unwrap();
        let job = producer.enqueue(Render { page: 7 }).await.unwrap();
        sim.advance(seconds(3_600)).await;
        assert_eq!(job.job().await.unwrap().view.state, State::Available);
        assert!(store.workers().await.unwrap().is_empty());

        let summary = app.run_until_empty().await.unwrap();
        assert_eq!((summary.completed, job.output().await.unwrap()), (1, 7));
    });
}

#[test]
fn the_first_thing_that_is_wrong_is_told_by_whoever_starts_it() {
    simulate(1, async |sim| {
        let app = || App::new().env(sim.env());
        let told = async |app: App| app.client().await.err().unwrap().to_string();
        assert_eq!(
            told(app().store("jobs.db").task::<Render>().task::<Render>()).await,
            "the store URL \"jobs.db\": it does not say what kind of store it is"
        );
        let twice = app().store("memory:").task::<Render>().handler("page.render", |_| async { Ok(()) });
        assert_eq!(told(twice).await, "the task page.render: it is registered twice");
        let twice = app().store("memory:").schedule(every("a")).schedule(every("a"));
        assert_eq!(told(twice).await, "the schedule a: it is added twice");
        let secret = told(app().store("mysql://me:secret@host/db")).await;
        assert!(!secret.contains("secret"), "{secret}");
    });
}

fn every(name: &str) -> Schedule {
    let trigger = Trigger::read("every", "1h", None).unwrap();
    Schedule::builder(name.parse().unwrap(), "t".parse().unwrap()).trigger(trigger).build().unwrap()
}

#[test]
fn a_state_that_cannot_be_made_keeps_the_app_from_starting() {
    simulate(1, async |sim| {
        struct Pool;
        let broken = async || Err::<Pool, _>(std::io::Error::other("connection refused"));
        let app = App::new().store("memory:").env(sim.env()).state_from(broken).task::<Render>();
        app.client().await.unwrap().enqueue(Job::new("page.render")).await.unwrap();
        let error = app.run_until(std::future::pending::<()>()).await.unwrap_err();
        assert!(error.what().starts_with("making the state ") && error.what().ends_with("Pool"), "{error}");
        assert_eq!(error.why(), "connection refused");
    });
}

#[test]
fn what_the_work_gives_is_given_back_and_so_is_its_error() {
    simulate(1, async |sim| {
        let app = App::new().store("memory:").env(sim.env()).handler("test", |_| async { Ok("done") });
        let job = app.client().await.unwrap().enqueue(Job::new("test")).await.unwrap();
        let over = app.run_while(job.wait()).await.unwrap();
        assert_eq!(over.view.state, State::Completed);

        let error = app
            .run_while(async { Err::<(), taskwright::Error>(job.result::<u64>().await.unwrap_err()) })
            .await;
        assert!(error.unwrap_err().what().starts_with("the result of the job "));
    });
}

#[test]
fn work_is_told_when_the_worker_ends_before_it() {
    simulate(1, async |sim| {
        let worn = App::new().store("memory:").env(sim.env()).handler("test", |_| async { Ok("done") });
        let worn = worn.worker(|worker| worker.recycle_after_jobs(1));
        worn.client().await.unwrap().enqueue(Job::new("test")).await.unwrap();
        let error =
            worn.run_while(std::future::pending::<Result<(), taskwright::Error>>()).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "running jobs meanwhile: the worker was stopped, or has run for long enough"
        );
        assert_eq!(error.fix(), "start it again");
    });
}
