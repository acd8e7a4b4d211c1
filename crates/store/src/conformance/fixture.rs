//! What scenarios are made of: moments, jobs, and the processes and workers that act on them.
//!
//! Moments are whole seconds after the start of a scenario, and jobs are numbers: `job(3)` has the id that `id(3)`
//! gives, and [`number`] gives the 3 back. The methods here expect their calls to succeed; a scenario about an error
//! asks [`Process::store`] itself.

use std::sync::Arc;
use std::time::Duration;

use taskwright_core::attempt::{AttemptEnd, Facts, decide};
use taskwright_core::sight::Sight;
use taskwright_core::{
    Actor, Args, Garbage, JobId, Kind, Namespace, NewJob, Outcome, QueueName, Retention, State, Timestamp,
    UniqueKey, UniqueScope, Verdict, WorkerId,
};

use super::Harness;
use crate::{
    Change, Changed, Claim, ClaimedJob, Collect, Enqueued, Filter, Finish, JobDetail, JobKey, JobView,
    NewStep, NewWorker, Page, Promoted, Reclaimed, SharedStore, Signals, StartMarks, Store,
};

/// When scenarios start: 2023-11-14T22:13:20Z.
const START_US: i64 = 1_700_000_000_000_000;

/// The lease of every worker: 15 s.
pub const LEASE_S: u64 = 15;

/// No jobs, to compare with.
pub const NONE: [u32; 0] = [];

/// The moment so many seconds after the start.
pub fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(START_US).plus(Duration::from_secs(seconds))
}

/// The id of job `n`; ids ascend with their numbers.
pub fn id(n: u32) -> JobId {
    let mut random = [0; 10];
    random[6..].copy_from_slice(&n.to_be_bytes());
    JobId::from_parts(START_US.unsigned_abs() / 1_000, random)
}

/// The number of a job.
pub fn number(id: JobId) -> u32 {
    let bytes = id.as_bytes();
    u32::from_be_bytes([bytes[12], bytes[13], bytes[14], bytes[15]])
}

/// Job `n`, of the kind `mail`, with every default.
pub fn job(n: u32) -> NewJob {
    NewJob::new(id(n), kind("mail"), Args::default())
}

/// Jobs with these numbers and every default.
pub fn jobs(numbers: impl IntoIterator<Item = u32>) -> Vec<NewJob> {
    numbers.into_iter().map(job).collect()
}

/// A kind.
pub fn kind(name: &str) -> Kind {
    Kind::new(name).expect("scenarios name kinds well")
}

/// A queue.
pub fn queue(name: &str) -> QueueName {
    QueueName::new(name).expect("scenarios name queues well")
}

/// A namespace.
pub fn namespace(name: &str) -> Namespace {
    Namespace::new(name).expect("scenarios name namespaces well")
}

/// A unique key.
pub fn unique(key: &str, scope: UniqueScope) -> Option<UniqueKey> {
    Some(UniqueKey::new(key).expect("scenarios name keys well").with_scope(scope))
}

/// Who changes jobs in scenarios.
pub fn alice() -> Actor {
    Actor::new("alice").expect("a plain name")
}

/// How a worker is named in a timeline.
pub fn by(worker: WorkerId) -> Actor {
    Actor::new(&format!("worker {worker}")).expect("a word and a UUID")
}

/// The id of worker `n`.
pub fn worker_id(n: u8) -> WorkerId {
    WorkerId::from_parts(START_US.unsigned_abs() / 1_000, [n; 10])
}

/// A handler that returned.
pub fn completed() -> Outcome {
    Outcome::Completed { result: None }
}

/// A handler that failed.
pub fn failed(error: &str) -> Outcome {
    Outcome::Retry { error: error.to_owned(), after: None, end: AttemptEnd::Failed }
}

/// A change that was not made, and why.
pub fn skipped(why: &str) -> Changed {
    Changed::Skipped(why.to_owned())
}

/// The numbers of claimed jobs, in their order.
pub fn numbers(claimed: &[ClaimedJob]) -> Vec<u32> {
    claimed.iter().map(|job| number(job.id)).collect()
}

/// Everything goes as soon as it may.
pub fn keep_nothing() -> Retention {
    Retention::shortest()
}

/// What was removed by [`Process::prune`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Jobs.
    pub jobs: usize,
    /// Workers.
    pub workers: usize,
}

/// One process that has the store open. Dropping it is its death.
pub struct Process {
    store: SharedStore,
}

impl Process {
    /// A new process on the jobs of the harness.
    pub async fn start(harness: &impl Harness) -> Self {
        Self { store: harness.open().await }
    }

    /// A process around a store that is open already.
    pub fn of(store: SharedStore) -> Self {
        Self { store }
    }

    /// The store itself.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Stores jobs.
    pub async fn enqueue(&self, now: u64, jobs: impl IntoIterator<Item = NewJob>) -> Vec<Enqueued> {
        self.store.enqueue(at(now), jobs.into_iter().collect()).await.expect("the jobs are stored")
    }

    /// Changes one job on behalf of [`alice`], who gives no reason.
    pub async fn change(&self, now: u64, n: u32, change: Change) -> Changed {
        let changed = self.store.change(at(now), vec![id(n)], change, alice(), None).await;
        let [changed] = changed.expect("the change is answered").try_into().expect("one answer for one id");
        changed
    }

    /// All about a job that is stored.
    pub async fn detail(&self, n: u32) -> JobDetail {
        self.store.job(id(n)).await.expect("the job is read").expect("the job is stored")
    }

    /// What a listing shows of a job that is stored.
    pub async fn view(&self, n: u32) -> JobView {
        self.detail(n).await.view
    }

    /// The state of a job that is stored.
    pub async fn state(&self, n: u32) -> State {
        self.view(n).await.state
    }

    /// Whether a job is stored.
    pub async fn has(&self, n: u32) -> bool {
        self.store.job(id(n)).await.expect("the job is looked for").is_some()
    }

    /// The numbers of all jobs that match, oldest first.
    pub async fn list(&self, filter: Filter) -> Vec<u32> {
        let mut found = Vec::new();
        let mut page = Page { after: None, limit: 100, oldest_first: true };
        loop {
            let paged = self.store.list(filter.clone(), page).await.expect("the jobs are listed");
            found.extend(paged.jobs.iter().map(|job| number(job.id)));
            page.after = paged.next;
            if page.after.is_none() {
                return found;
            }
        }
    }

    /// Promotes everything that is due.
    pub async fn promote(&self, now: u64) -> Promoted {
        self.store.promote(at(now), 1_000).await.expect("what is due is promoted")
    }

    /// Looks for lost workers, as somebody who has always had the store in sight.
    pub async fn reclaim(&self, now: u64) -> Reclaimed {
        Reclaimed { sight: Sight::default(), ..self.reclaim_seeing(now, Sight::endless()).await }
    }

    /// Looks for lost workers, as somebody who has seen this before.
    pub async fn reclaim_seeing(&self, now: u64, sight: Sight) -> Reclaimed {
        self.store.reclaim(at(now), monotonic_us(now), sight).await.expect("lost workers are looked for")
    }

    /// Removes jobs that are over for long, and forgets workers that are gone for long, in as many calls as it takes.
    pub async fn prune(&self, now: u64, keep: Retention) -> Pruned {
        let mut all = Pruned::default();
        for garbage in Garbage::ALL {
            let Some(before) = keep.cutoff(garbage, at(now)) else { continue };
            if garbage.state().is_some() {
                all.jobs += self.collect(garbage, before, 100).await;
            } else if garbage == Garbage::Workers {
                all.workers += self.collect(garbage, before, 100).await;
            }
        }
        all
    }

    /// Removes what is of this sort and was over before that moment, so many rows at a time; how many it was.
    pub async fn collect(&self, garbage: Garbage, before: Timestamp, limit: usize) -> usize {
        let mut collect = Collect { garbage, before, after: None, limit, dry_run: false };
        let mut rows = 0;
        loop {
            let collected = self.store.collect(collect).await.expect("what is over is removed");
            assert!(collected.rows <= limit, "{collected:?}");
            rows += collected.rows;
            collect.after = collected.next;
            if !collected.more {
                return rows;
            }
        }
    }

    /// Adds everything that ended to roll-ups; how many executions that was.
    pub async fn roll_up(&self) -> u64 {
        let mut executions = 0;
        loop {
            let rolled = self.store.roll_up(7).await.expect("what ended is rolled up");
            executions += rolled.executions;
            if !rolled.more {
                return executions;
            }
        }
    }

    /// Registers worker `n`, at the start.
    pub async fn worker(&self, n: u8) -> Worker<'_> {
        self.worker_at(0, n).await
    }

    /// Registers worker `n`.
    pub async fn worker_at(&self, now: u64, n: u8) -> Worker<'_> {
        let registered = self.store.register(at(now), monotonic_us(now), new_worker(n)).await;
        Worker { process: self, id: worker_id(n), marks: registered.expect("the worker is registered").marks }
    }
}

/// Worker `n` as it makes itself known.
pub fn new_worker(n: u8) -> NewWorker {
    NewWorker {
        id: worker_id(n),
        host: "host".to_owned(),
        pid: 1_000 + u32::from(n),
        concurrency: 4,
        queues: Vec::new(),
        lease: Duration::from_secs(LEASE_S),
    }
}

/// The monotonic clock, which scenarios let run beside the wall clock.
pub fn monotonic_us(now: u64) -> u64 {
    now * 1_000_000
}

/// A registered worker of a process.
pub struct Worker<'p> {
    process: &'p Process,
    /// Its id.
    pub id: WorkerId,
    marks: Arc<dyn StartMarks>,
}

impl Worker<'_> {
    /// A claim of everything of the kinds `mail` and `report`.
    pub fn ask(&self, now: u64, limit: usize) -> Claim {
        Claim {
            now: at(now),
            worker: self.id,
            limit,
            kinds: vec![kind("mail"), kind("report")],
            queues: None,
            namespace: None,
            priority_max: None,
        }
    }

    /// Claims as asked.
    pub async fn claim(&self, claim: Claim) -> Vec<ClaimedJob> {
        self.process.store.claim(claim).await.expect("the claim is answered").jobs
    }

    /// Claims up to 100 jobs.
    pub async fn claim_all(&self, now: u64) -> Vec<ClaimedJob> {
        self.claim(self.ask(now, 100)).await
    }

    /// Claims the one most urgent job, which there is.
    pub async fn take(&self, now: u64) -> ClaimedJob {
        self.claim(self.ask(now, 1)).await.pop().expect("there is a job to claim")
    }

    /// Claims the one most urgent job, which there is, and starts it.
    pub async fn start(&self, now: u64) -> ClaimedJob {
        let job = self.take(now).await;
        self.mark(&job);
        job
    }

    /// Notes that a claimed job is being started.
    pub fn mark(&self, job: &ClaimedJob) {
        self.marks.started(job.key, job.attempt);
    }

    /// Ends an attempt as the rules decide.
    pub async fn end(&self, now: u64, job: &ClaimedJob, outcome: Outcome) -> Verdict {
        self.finish(now, vec![ending(now, job, outcome)]).await[0]
    }

    /// Ends attempts.
    pub async fn finish(&self, now: u64, ends: Vec<Finish>) -> Vec<Verdict> {
        self.process.store.finish(at(now), self.id, ends).await.expect("the ends are answered")
    }

    /// Keeps what steps gave.
    pub async fn keep(&self, steps: Vec<NewStep>) -> Vec<Verdict> {
        self.process.store.keep_steps(self.id, steps).await.expect("it is answered")
    }

    /// Hands a job back.
    pub async fn give_back(&self, now: u64, job: &ClaimedJob) -> Verdict {
        let jobs: Vec<(JobKey, u32)> = vec![(job.key, job.attempt)];
        let given = self.process.store.give_back(at(now), self.id, jobs, "not soon".to_owned()).await;
        given.expect("the give-back is answered")[0]
    }

    /// Renews the lease.
    pub async fn renew(&self, now: u64) -> Signals {
        let renewed = self.process.store.renew(at(now), monotonic_us(now), self.id).await;
        renewed.expect("the lease is renewed")
    }

    /// What the worker must know.
    pub async fn signals(&self) -> Signals {
        self.process.store.signals(self.id).await.expect("the signals are read")
    }

    /// Ends the registration in good order.
    pub async fn unregister(self, now: u64) {
        self.process.store.unregister(at(now), self.id).await.expect("the worker is unregistered");
    }
}

/// The end of an attempt that was started when it was claimed, as the rules decide without any jitter: 10 s after a
/// first failure, unless the job says otherwise.
pub fn ending(now: u64, job: &ClaimedJob, outcome: Outcome) -> Finish {
    let facts = Facts {
        attempt: job.attempt,
        max_attempts: job.max_attempts,
        backoff: job.backoff.unwrap_or_default(),
        delivery: taskwright_core::Delivery::default(),
        on_shutdown: taskwright_core::OnShutdown::default(),
        cancel_requested: false,
        now: at(now),
        dice: 0.5,
    };
    Finish {
        key: job.key,
        attempt: job.attempt,
        started_at: job.claimed_at,
        ended_at: at(now),
        decision: decide(outcome, &facts),
        usage: None,
        follow_ups: Vec::new(),
        snoozes_max: taskwright_core::limit::SNOOZES_MAX,
    }
}
