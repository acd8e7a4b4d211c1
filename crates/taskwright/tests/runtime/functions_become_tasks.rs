//! `#[task]`: what it makes of a function, as seen by whoever enqueues and by the function.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use taskwright::{
    Args, Backoff, Context, Delivery, FromContext, Job, Kind, MaxAttempts, OnShutdown, Priority, Registry,
    State, Task, TaskError, UniqueKey, UniqueScope, Weight, task,
};

use crate::support::world;

/// What tasks share.
struct Mailer {
    sent: AtomicU64,
}

/// Somebody that a job is about.
struct Reader(String);

impl FromContext for Reader {
    async fn from_context(ctx: &Context) -> Result<Self, TaskError> {
        let owner = ctx.owner().ok_or_else(|| TaskError::permanent("the job is nobody's"))?;
        Ok(Self(owner.to_string()))
    }
}

/// Sends a welcome.
#[task("email.welcome", queue = "mail", priority = high, max_attempts = 3, timeout = "30s", derive(Clone, Debug, PartialEq))]
async fn welcome(
    user: u64,
    #[state] mailer: &Mailer,
    #[serde(default)] greeting: Option<String>,
    #[from] Reader(reader): Reader,
    ctx: &Context,
) -> Result<String, TaskError> {
    let number = mailer.sent.fetch_add(1, Ordering::Relaxed);
    let greeting = greeting.unwrap_or_else(|| "Hello".to_owned());
    Ok(format!("{greeting} {user} from {reader}, mail {number}, attempt {}", ctx.attempt()))
}

#[task("sweep")]
async fn sweep() {}

#[task(
    kind = "report",
    name = MonthlyReport,
    priority = 2500,
    max_attempts = none,
    backoff = Backoff::Fixed { delay: Duration::from_secs(60) },
    timeout = Duration::from_secs(9),
    cancel_grace = "1m30s",
    snoozes_max = 7,
    at_most_once,
    on_shutdown = OnShutdown::Drop,
    weight = Weight { cpu_milli: 500, memory_bytes: 1 << 20 },
    unique_active(month),
    aliases("report.old", "report.older"),
    schedule(cron = "0 8 1 * *", timezone = "Europe/Berlin", args = r#"{"month": 1, "copies": 2}"#),
    schedule(name = "report.often", every = "1h", args = r#"{"month": 2, "copies": 1}"#)
)]
async fn report(mut month: u32, copies: u32, _ctx: Context) -> std::io::Result<u32> {
    month += copies;
    Ok(month)
}

/// One that is known by the same arguments, all of them.
#[task("text", unique)]
async fn text(text: String) {
    drop(text);
}

#[test]
fn the_function_is_given_its_arguments_and_what_the_worker_brings() {
    world(async |world| {
        let registry =
            Registry::new().state(Mailer { sent: AtomicU64::new(7) }).register::<Welcome>().unwrap();
        let worker = world.start(world.worker(registry));
        let task = Welcome { user: 5, greeting: None };
        let job = world.client.enqueue(Job::of(&task).owner("ada")).await.unwrap();
        assert_eq!(job.result::<String>().await.unwrap(), "Hello 5 from ada, mail 7, attempt 1");

        let stored = job.job().await.unwrap();
        assert_eq!(stored.args.parse::<Welcome>().unwrap(), task);
        assert_eq!((stored.view.kind.as_str(), stored.view.queue.as_str()), ("email.welcome", "mail"));
        assert_eq!(
            (stored.view.priority, stored.view.max_attempts.to_string().as_str()),
            (Priority::HIGH, "3")
        );

        let nobodys =
            world.client.enqueue(Welcome { user: 5, greeting: Some("Hi".to_owned()) }).await.unwrap();
        let over = nobodys.wait().await.unwrap();
        assert_eq!(
            (over.view.state, over.view.error.as_deref()),
            (State::Failed, Some("the job is nobody's"))
        );
        worker.stop().await;
    });
}

#[test]
fn the_function_stays_one_that_can_be_called() {
    assert!(Welcome::KIND == "email.welcome" && Welcome::TIMEOUT == Some(Duration::from_secs(30)));
    futures_of(async {
        sweep().await;
        text(String::new()).await;
    });
}

fn futures_of(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future);
}

#[test]
fn every_option_reaches_the_task() {
    assert_eq!(MonthlyReport::KIND, "report");
    assert_eq!((MonthlyReport::QUEUE, MonthlyReport::PRIORITY), ("default", Priority(2500)));
    assert_eq!(MonthlyReport::max_attempts(), MaxAttempts::Unlimited);
    assert_eq!(MonthlyReport::backoff(), Backoff::Fixed { delay: Duration::from_secs(60) });
    assert_eq!(MonthlyReport::TIMEOUT, Some(Duration::from_secs(9)));
    assert_eq!(MonthlyReport::CANCEL_GRACE, Duration::from_secs(90));
    assert_eq!(MonthlyReport::SNOOZES_MAX, 7);
    assert_eq!(MonthlyReport::DELIVERY, Delivery::AtMostOnce);
    assert_eq!(MonthlyReport::ON_SHUTDOWN, Some(OnShutdown::Drop));
    assert_eq!(MonthlyReport::WEIGHT, Weight { cpu_milli: 500, memory_bytes: 1 << 20 });
    assert_eq!(MonthlyReport::ALIASES, ["report.old", "report.older"]);
    let schedules = MonthlyReport::schedules().unwrap();
    let named: Vec<_> = schedules.iter().map(|one| (one.name.as_str(), one.triggers.describe())).collect();
    assert_eq!(named[0], ("report", "at 08:00 Europe/Berlin on the 1st of every month".to_owned()));
    assert_eq!(named[1], ("report.often", "every hour".to_owned()));
}

#[test]
fn a_key_of_arguments_keeps_others_out_as_long_as_it_says() {
    let key = MonthlyReport { month: 3, copies: 1 }.unique().unwrap().unwrap();
    assert_eq!(key, UniqueKey::new("[3]").unwrap().with_scope(UniqueScope::Active));
    assert_eq!(MonthlyReport { month: 3, copies: 9 }.unique().unwrap(), Some(key), "of `month` alone");
    let key = |letters: usize| Text { text: "x".repeat(letters) }.unique().unwrap().unwrap();
    assert_eq!(key(3).as_str(), r#"{"text":"xxx"}"#);
    assert_ne!(key(600), key(601), "what is long is told apart all the same");
    assert!(key(600).as_str().len() < 100);

    world(async |world| {
        let first = world.client.enqueue(Text { text: "a".to_owned() }).await.unwrap();
        let second = world.client.enqueue(Text { text: "a".to_owned() }).await.unwrap();
        let other = world.client.enqueue(Text { text: "b".to_owned() }).await.unwrap();
        assert!(second.existing && second.id == first.id && !other.existing);
    });
}

#[test]
fn a_job_of_an_earlier_kind_is_run_by_the_task_that_has_it_as_an_alias() {
    world(async |world| {
        let registry = Registry::new().register::<MonthlyReport>().unwrap();
        assert_eq!(registry.kinds().len(), 3);
        let worker = world.start(world.worker(registry));
        let args = serde_json::json!({"month": 3, "copies": 4});
        let job = world.client.enqueue(Job::new("report.older").args(&args).unwrap()).await.unwrap();
        assert_eq!(job.result::<u32>().await.unwrap(), 7);
        worker.stop().await;
    });
}

#[test]
fn an_alias_that_another_task_has_is_refused() {
    let registry = Registry::new().handler("report.old", |_| async { Ok(()) }).unwrap();
    let error = registry.register::<MonthlyReport>().unwrap_err();
    assert_eq!((error.what(), error.why()), ("the task report.old", "it is registered twice"));
}

#[test]
fn a_task_without_arguments_takes_whatever_people_write_for_none() {
    world(async |world| {
        let worker = world.start(world.worker(Registry::new().register::<Sweep>().unwrap()));
        for args in ["null", "{}", r#"{"due": "now"}"#] {
            let job = Job::new("sweep").raw_args(Args::from_json(args).unwrap());
            assert_eq!(world.over(world.enqueue(job).await).await.view.state, State::Completed, "{args}");
        }
        assert!(world.client.enqueue(Sweep).await.unwrap().output().await.is_ok());
        worker.stop().await;
    });
}

/// CR-X8
#[test]
fn arguments_that_do_not_fit_fail_the_job_with_what_is_wrong() {
    world(async |world| {
        let registry = Registry::new().register::<MonthlyReport>().unwrap();
        let worker = world.start(world.worker(registry));
        let job = Job::new("report").args(&serde_json::json!({"month": "March", "copies": 1})).unwrap();
        let over = world.over(world.enqueue(job).await).await;
        let error = over.view.error.unwrap();
        assert!(over.view.state == State::Failed && error.contains("do not fit the task"), "{error}");
        assert!(error.contains("invalid type: string \"March\""), "{error}");
        worker.stop().await;
    });
}

#[test]
fn what_is_not_said_about_a_job_comes_from_the_type_of_its_task() {
    let registry = Registry::new().register::<Welcome>().unwrap().register::<MonthlyReport>().unwrap();
    let form = registry.form(&Kind::new("email.welcome").unwrap()).unwrap();
    assert_eq!((form.queue.as_str(), form.priority), ("mail", Priority::HIGH));
    assert_eq!(form.unique(&Args::from_json(r#"{"user": 1}"#).unwrap()).unwrap(), None);
    assert!(form.unique(&Args::from_json(r#"{"user": -1}"#).unwrap()).is_err());
    let report = registry.form(&Kind::new("report").unwrap()).unwrap();
    assert_eq!((report.delivery, report.max_attempts), (Delivery::AtMostOnce, MaxAttempts::Unlimited));
    let args = Args::from_json(r#"{"month": 4, "copies": 1}"#).unwrap();
    assert_eq!(report.unique(&args).unwrap().unwrap().as_str(), "[4]");
}
