//! What is due is due by the database's clock: a machine whose clock is wrong makes nothing late and nothing early, whether
//! it plans, promotes or runs.

use std::sync::Arc;
use std::time::Duration;

use taskwright::core::attempt::AttemptEnd;
use taskwright::env::{Clock, Randomness, Sleep};
use taskwright::store::SharedStore;
use taskwright::store::postgres::{PostgresStore, Settings};
use taskwright::{
    Client, Context, Duties, DutyConfig, Env, Job, Registry, State, TaskError, Timestamp, Worker,
};
use tokio::sync::oneshot;

use crate::cluster::{Cluster, Database};

/// By when something must have happened that takes a second or two.
const SOON: Duration = Duration::from_secs(20);

/// How wrong the clock is: five minutes.
const WRONG_US: i64 = 300_000_000;

/// A machine's clock that is wrong by so many microseconds.
struct Wrong(Env, i64);

impl Clock for Wrong {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.machine_now().as_micros() + self.1)
    }

    fn monotonic_us(&self) -> u64 {
        self.0.monotonic_us()
    }

    fn sleep_until_us(&self, monotonic_us: u64) -> Sleep {
        self.0.sleep_until_us(monotonic_us)
    }
}

/// A machine whose clock is wrong by so much, and the store as it has it.
async fn machine(database: &Database<'_>, run: &tempfile::TempDir, wrong_us: i64) -> (Env, SharedStore) {
    let env = Env::new(Wrong(Env::system(), wrong_us), Randomness::system());
    let settings = Settings::parse(&database.url()).unwrap();
    let store = Arc::new(PostgresStore::open(settings, run.path(), env.now()).await.unwrap());
    (env, store)
}

/// Fails once, after which it waits for its next attempt.
fn registry() -> Registry {
    let handler = |ctx: Context| async move {
        match ctx.attempt() {
            1 => Err(TaskError::retry_after("not yet", Duration::from_secs(1))),
            attempt => Ok(attempt),
        }
    };
    Registry::new().handler("order", handler).unwrap()
}

#[tokio::test]
async fn a_leader_whose_clock_is_wrong_makes_no_job_late_or_early() {
    for wrong_us in [-WRONG_US, WRONG_US] {
        let (database, run) = (Cluster::shared().database(), tempfile::tempdir().unwrap());
        let (env, store) = machine(&database, &run, wrong_us).await;
        let duties = Duties::start(&store, &env, &DutyConfig::default());
        // Another process: each finds the time by itself.
        let (env, store) = machine(&database, &run, wrong_us).await;
        let worker = Worker::builder(store.clone(), registry(), env.clone()).build();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async { drop(stopped.await) };
        let working = env.spawn("worker", async move { worker.run(shutdown).await.unwrap() });

        let (right, its_store) = machine(&database, &run, 0).await;
        let client = Client::new(its_store, right.clone());
        let enqueued = right.now();
        let late = client.enqueue(Job::new("order").run_in(Duration::from_secs(60))).await.unwrap();
        let soon = client.enqueue(Job::new("order").run_in(Duration::from_secs(1))).await.unwrap();
        let job = client.wait(soon.id, Some(SOON)).await.unwrap();
        assert_eq!(job.view.state, State::Completed, "wrong by {wrong_us}: {:?}", job.view);
        let ends: Vec<_> = job.attempts.iter().map(|attempt| attempt.end).collect();
        assert_eq!(ends, [AttemptEnd::Failed, AttemptEnd::Completed]);
        for attempt in &job.attempts {
            let after = attempt.ended_at.since(enqueued);
            assert!(after >= Duration::from_millis(900) && after < SOON, "told by one clock: {after:?}");
        }
        assert_eq!(client.job(late.id).await.unwrap().unwrap().view.state, State::Scheduled);
        drop(stop);
        working.await.unwrap();
        duties.stop().await;
    }
}
