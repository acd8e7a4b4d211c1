use serde::{Deserialize, Serialize};
use taskwright::core::attempt::AttemptEnd;
use taskwright::{Context, Registry, State, Task, TaskError};

use crate::support::{handles, job, world};

#[derive(Serialize, Deserialize)]
struct Sum {
    numbers: Vec<i64>,
}

impl Task for Sum {
    const KIND: &'static str = "sum";
    type Output = i64;

    async fn run(self, _: Context) -> Result<i64, TaskError> {
        Ok(self.numbers.iter().sum())
    }
}

#[test]
fn a_task_runs_with_its_arguments_and_its_result_is_kept() {
    world(async |world| {
        let id = world.client.enqueue(&Sum { numbers: vec![1, 2, 39] }).await.unwrap().id;
        let worker = world.start(world.worker(Registry::new().register::<Sum>().unwrap()));
        let job = world.over(id).await;
        assert_eq!((job.view.state, job.result.as_deref()), (State::Completed, Some("42")));
        assert_eq!(job.attempts.len(), 1);
        assert_eq!(job.attempts[0].end, AttemptEnd::Completed);
        assert!(job.attempts[0].started_at.unwrap() >= job.attempts[0].claimed_at);
        assert_eq!(worker.stop().await.completed, 1);
    });
}

#[test]
fn arguments_that_do_not_fit_fail_the_job_for_good_and_say_where() {
    world(async |world| {
        let job = taskwright::Job::new("sum").args(&serde_json::json!({"numbers": "many"})).unwrap();
        let id = world.enqueue(job).await;
        let worker = world.start(world.worker(Registry::new().register::<Sum>().unwrap()));
        let job = world.over(id).await;
        assert_eq!((job.view.state, job.attempts.len()), (State::Failed, 1));
        let error = job.view.error.unwrap();
        assert!(error.contains("they do not fit the task") && error.contains("line 1 column"), "{error}");
        worker.stop().await;
    });
}

#[test]
fn a_job_that_arrives_at_an_idle_worker_starts_at_once() {
    world(async |world| {
        let worker = world.start(world.worker(handles(|_| async { Ok(()) })));
        world.sim.advance(std::time::Duration::from_millis(1_234)).await;
        let before = world.sim.env().now();
        let id = world.enqueue(job()).await;
        world.sim.settle().await;
        let job = world.job(id).await;
        assert_eq!((job.view.state, job.view.ended_at), (State::Completed, Some(before)));
        worker.stop().await;
    });
}

#[test]
fn a_worker_that_drains_ends_when_nothing_can_run_now() {
    world(async |world| {
        let ids = world.client.enqueue_many((0..5_000).map(|_| job())).await.unwrap();
        let later = world.enqueue(job().run_in(std::time::Duration::from_secs(60))).await;
        let worker = world.worker(handles(|_| async { Ok(()) })).until_empty();
        let summary = world.start(worker).ended().await;
        assert_eq!(summary.completed, 5_000);
        assert_eq!(world.job(ids[4_999].id).await.view.state, State::Completed);
        assert_eq!(world.job(later).await.view.state, State::Scheduled);
    });
}

#[test]
fn a_worker_that_drains_waits_for_what_it_runs() {
    world(async |world| {
        world.client.enqueue_many((0..10).map(|_| job())).await.unwrap();
        let worker =
            world.worker(handles(|ctx| async move { ctx.pause(std::time::Duration::from_secs(7)).await }));
        let summary = world.start(worker.until_empty()).ended().await;
        assert_eq!(summary.completed, 10);
        assert_eq!(world.elapsed_ms(), 21_000, "ten jobs of 7 s, four at once");
    });
}

#[test]
fn the_runtime_works_on_many_threads_and_the_real_clock() {
    use std::sync::Arc;
    use taskwright::store::SharedStore;
    use taskwright::store::memory::MemoryStore;
    use taskwright::{Client, Env, Worker};

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        let store: SharedStore = Arc::new(MemoryStore::new());
        let client = Client::new(Arc::clone(&store), Env::system());
        let registry = handles(|ctx: Context| async move {
            tokio::task::yield_now().await;
            ctx.args::<u32>().map_err(TaskError::from)
        });
        let jobs = (0..3_000_u32).map(|number| job().args(&number).unwrap());
        let stored = client.enqueue_many(jobs).await.unwrap();
        let worker = Worker::builder(store, registry, Env::system()).concurrency(16).until_empty();
        let summary = worker.run(std::future::pending()).await.unwrap();
        assert_eq!((summary.completed, summary.stale), (3_000, 0));
        for (number, stored) in stored.iter().enumerate() {
            let job = client.job(stored.id).await.unwrap().unwrap();
            assert_eq!(job.result.unwrap(), number.to_string());
        }
    });
}
