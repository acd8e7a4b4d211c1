//! A store, a client and workers in one simulation.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use taskwright::core::schedule::{Overlap, ScheduleBuilder};
use taskwright::env::Spawned;
use taskwright::schedule::{Put, ScheduleView};
use taskwright::store::memory::MemoryStore;
use taskwright::store::{FiringOutcome, FiringView};
use taskwright::store::{JobDetail, SharedStore};
use taskwright::testing::{FaultyStore, Sim, simulate};
use taskwright::worker::Builder;
use taskwright::{
    Client, Context, Duties, DutyConfig, Job, JobId, Namespace, Registry, Schedule, Summary, TaskError,
    Timestamp, Trigger, Worker,
};
use tokio::sync::Notify;

/// A store with its duties, and a client.
pub(crate) struct World {
    pub(crate) sim: Sim,
    pub(crate) memory: MemoryStore,
    /// The handle of the process that the client and the duties live in; it can be made to fail.
    pub(crate) faulty: Arc<FaultyStore>,
    pub(crate) client: Client,
    pub(crate) duties: Option<Duties>,
}

/// A worker under way.
pub(crate) struct Running {
    stop: Arc<Notify>,
    worker: Spawned<Result<Summary, taskwright::Error>>,
}

/// Runs a test in a world of its own.
pub(crate) fn world(test: impl AsyncFnOnce(World)) {
    simulate(1, async |sim| {
        let memory = MemoryStore::new();
        let faulty = FaultyStore::new(Arc::new(memory.handle()));
        let store: SharedStore = Arc::clone(&faulty) as SharedStore;
        let client = Client::new(Arc::clone(&store), sim.env());
        let duties = Duties::start(&store, &sim.env(), &DutyConfig::default());
        test(World { sim, memory, faulty, client, duties: Some(duties) }).await;
    });
}

impl World {
    pub(crate) fn store(&self) -> SharedStore {
        Arc::clone(&self.faulty) as SharedStore
    }

    /// A worker that runs four jobs at once.
    pub(crate) fn worker(&self, registry: Registry) -> Builder {
        self.worker_on(self.store(), registry)
    }

    /// A worker of another process, which has a handle of its own.
    pub(crate) fn worker_on(&self, store: SharedStore, registry: Registry) -> Builder {
        Worker::builder(store, registry, self.sim.env()).concurrency(4)
    }

    pub(crate) fn start(&self, worker: Builder) -> Running {
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let run = async move { worker.run(stopped.notified()).await };
        Running { stop, worker: self.sim.env().spawn("worker", run) }
    }

    /// Enqueues one job and gives its id.
    pub(crate) async fn enqueue(&self, job: Job) -> JobId {
        self.client.enqueue(job).await.unwrap().id
    }

    pub(crate) async fn job(&self, id: JobId) -> JobDetail {
        self.client.job(id).await.unwrap().unwrap()
    }

    /// Waits until the job is over.
    pub(crate) async fn over(&self, id: JobId) -> JobDetail {
        self.client.wait(id, None).await.unwrap()
    }

    pub(crate) fn reclaim_now(&self) {
        self.duties.as_ref().unwrap().reclaim_now();
    }

    /// Whole milliseconds since the simulation began.
    pub(crate) fn elapsed_ms(&self) -> u64 {
        self.sim.env().monotonic_us() / 1_000
    }
}

impl Running {
    /// Shuts the worker down and gives what it did.
    pub(crate) async fn stop(self) -> Summary {
        self.stop.notify_one();
        self.worker.await.unwrap().unwrap()
    }

    /// Waits until the worker ends of itself.
    pub(crate) async fn ended(self) -> Summary {
        self.worker.await.unwrap().unwrap()
    }
}

/// A registry with one handler of the kind `test`.
pub(crate) fn handles<F, R, O>(run: F) -> Registry
where
    F: Fn(Context) -> R + Send + Sync + 'static,
    R: Future<Output = Result<O, TaskError>> + Send + 'static,
    O: serde::Serialize + 'static,
{
    Registry::new().handler("test", run).unwrap()
}

/// A job of the kind `test`.
pub(crate) fn job() -> Job {
    Job::new("test")
}

/// What handlers note down, for the test to look at.
#[derive(Clone)]
pub(crate) struct Notes<T>(Arc<Mutex<Vec<T>>>, Arc<Notify>);

impl<T: Clone> Notes<T> {
    pub(crate) fn new() -> Self {
        Self(Arc::default(), Arc::default())
    }

    pub(crate) fn add(&self, note: T) {
        self.0.lock().unwrap().push(note);
        self.1.notify_waiters();
    }

    pub(crate) fn all(&self) -> Vec<T> {
        self.0.lock().unwrap().clone()
    }

    /// Waits until there are so many.
    pub(crate) async fn reach(&self, count: usize) -> Vec<T> {
        loop {
            let added = self.1.notified();
            let notes = self.all();
            if notes.len() >= count {
                return notes;
            }
            added.await;
        }
    }
}

pub(crate) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A schedule of the kind `test` with one trigger, as the config file would say it; whether its jobs are over is not asked.
pub(crate) fn schedule(name: &str, trigger: &str, text: &str) -> ScheduleBuilder {
    let trigger = Trigger::read(trigger, text, None).unwrap();
    let schedule = Schedule::builder(name.parse().unwrap(), "test".parse().unwrap()).trigger(trigger);
    schedule.overlap(Overlap::Allow)
}

impl World {
    /// Registers a schedule.
    pub(crate) async fn put(&self, schedule: ScheduleBuilder) -> Put {
        self.client.schedules().put(&schedule.build().unwrap()).await.unwrap()
    }

    pub(crate) async fn view(&self, name: &str) -> ScheduleView {
        let found = self.client.schedules().get(&Namespace::default(), &name.parse().unwrap()).await;
        found.unwrap().unwrap()
    }

    /// What a schedule fired and skipped, oldest first.
    pub(crate) async fn history(&self, name: &str) -> Vec<FiringView> {
        let schedules = self.client.schedules();
        let mut firings =
            schedules.firings(&Namespace::default(), &name.parse().unwrap(), None, 1_000).await.unwrap();
        firings.reverse();
        firings
    }

    /// When the jobs that a schedule made were due, in whole milliseconds since the simulation began, oldest first.
    pub(crate) async fn fired_ms(&self, name: &str) -> Vec<i64> {
        let fired = |firing: &FiringView| matches!(firing.outcome, FiringOutcome::Fired { .. });
        self.history(name).await.iter().filter(|one| fired(one)).map(|one| since_begin_ms(one.due)).collect()
    }
}

/// Whole milliseconds since simulations begin.
pub(crate) fn since_begin_ms(moment: Timestamp) -> i64 {
    (moment.as_micros() - 1_767_225_600_000_000) / 1_000
}
