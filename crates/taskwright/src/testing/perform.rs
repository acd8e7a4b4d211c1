//! One attempt of one job, and what there is to see of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::de::DeserializeOwned;
use taskwright_core::{Actor, Outcome, State};
use taskwright_store::{Filter, JobDetail, Page, Progress, StepView};

use super::clock::Sim;
use super::kit::Kit;
use crate::app::App;
use crate::attempt::lock;
use crate::context::Context;
use crate::job::Job;
use crate::middleware::Next;
use crate::task::{Task, TaskError};

/// Chunks of log and jobs that are looked at.
const LOOKED_AT_MAX: usize = 1_000;

/// Runs one attempt of a job of this task, in a store of its own, and tells everything about it.
///
/// # Example
///
/// ```
/// use taskwright::testing::{perform, simulate};
/// use taskwright::{Context, Job, State, TaskError, task};
///
/// #[task("import")]
/// async fn import(ctx: Context, rows: Vec<u64>) -> Result<u64, TaskError> {
///     for (done, row) in rows.iter().enumerate() {
///         ctx.then(Job::new("row.index").args(row)?)?;
///         ctx.progress(done as u64 + 1, Some(rows.len() as u64), None);
///     }
///     ctx.log("all read");
///     Ok(rows.iter().sum())
/// }
///
/// simulate(1, async |sim| {
///     let performed = perform(Import { rows: vec![1, 2] }).run(&sim).await;
///     assert_eq!(performed.job.view.state, State::Completed);
///     assert_eq!(performed.output(), 3);
///     assert_eq!(performed.log, "all read\n");
///     assert_eq!(performed.progress.as_ref().unwrap().done, 2);
///     assert_eq!(performed.follow_ups.len(), 2);
/// });
/// ```
pub fn perform<T: Task>(task: T) -> Attempt<T> {
    Attempt { app: App::new().task::<T>(), job: Job::of(&task), task, number: 1, cancelled_after: None }
}

/// An attempt that [`perform`] is about to run.
#[must_use]
pub struct Attempt<T> {
    app: App,
    job: Job,
    task: T,
    number: u32,
    cancelled_after: Option<Duration>,
}

impl<T: Task> Attempt<T> {
    /// A value that the handler finds by its type.
    pub fn state<S: Send + Sync + 'static>(self, state: S) -> Self {
        Self { app: self.app.state(state), ..self }
    }

    /// The state and the middleware of an app that has the task.
    pub fn of(self, app: App) -> Self {
        Self { app, ..self }
    }

    /// The job as `change` makes it: with an owner, a namespace, another limit of attempts.
    pub fn job(self, change: impl FnOnce(Job) -> Job) -> Self {
        Self { job: change(Job::of(&self.task)), ..self }
    }

    /// Which attempt it is, from 1: those before have failed.
    pub fn attempt(self, number: u32) -> Self {
        Self { number: number.max(1), ..self }
    }

    /// Has the job cancelled once it has run for so long.
    pub fn cancelled_after(self, time: Duration) -> Self {
        Self { cancelled_after: Some(time), ..self }
    }

    /// Runs it, and gives what came of it.
    ///
    /// # Panics
    ///
    /// When the job is not accepted, or has no such attempt.
    pub async fn run(self, sim: &Sim) -> Performed<T::Output> {
        self.try_run(sim).await.unwrap_or_else(|error| panic!("{}: {error}", T::KIND))
    }

    async fn try_run(self, sim: &Sim) -> Result<Performed<T::Output>, crate::Error> {
        let Self { app, job, number, cancelled_after, .. } = self;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let note = Arc::clone(&seen);
        let watched = app.wrap(move |ctx: Context, next: Next| {
            let note = Arc::clone(&note);
            lock(&note).context = Some(ctx.clone());
            async move {
                let outcome = next.run(ctx).await;
                lock(&note).outcome = Some(outcome.clone());
                outcome
            }
        });
        let kit = Kit::of(watched).start(sim).await?;
        let client = kit.client();
        let id = client.enqueue(job).await?.id;
        for _ in 1..number {
            fail_once::<T>(&kit, sim).await?;
        }
        let mut running = std::pin::pin!(kit.run_next());
        let cancel = async {
            match cancelled_after {
                Some(time) => sim.env().sleep(time).await,
                None => std::future::pending().await,
            }
            client.cancel(id, Actor::system(), Some("the test".to_owned())).await
        };
        let ran = tokio::select! {
            ran = &mut running => ran?,
            cancelled = cancel => {
                cancelled?;
                running.await?
            }
        };
        let missing = || {
            let why = format!("it has no attempt {number}: what it may have is used up");
            taskwright_core::Error::invalid(
                format!("the job {id}"),
                why,
                "allow it more attempts with `job(..)`",
            )
        };
        let job = ran.filter(|job| job.view.id == id).ok_or_else(missing)?;
        let chunks = client.logs(id, 0, LOOKED_AT_MAX).await?;
        let of_this = chunks.iter().filter(|chunk| chunk.attempt == job.view.attempt);
        let log = of_this.flat_map(|chunk| chunk.bytes.iter().copied()).collect::<Vec<u8>>();
        let page = Page { after: None, limit: LOOKED_AT_MAX, oldest_first: true };
        let mut follow_ups = Vec::new();
        for other in client.store().list(Filter::default(), page).await?.jobs {
            if other.id != id {
                follow_ups.extend(client.job(other.id).await?);
            }
        }
        let steps = client.store().steps(id).await?;
        let seen = std::mem::take(&mut *lock(&seen));
        let progress = seen.context.and_then(|ctx| ctx.newest_progress());
        let log = String::from_utf8_lossy(&log).into_owned();
        let output = std::marker::PhantomData;
        Ok(Performed { job, outcome: seen.outcome, log, progress, follow_ups, steps, output })
    }
}

#[derive(Default)]
struct Seen {
    context: Option<Context>,
    outcome: Option<Outcome>,
}

/// Has an attempt fail that the handler hears nothing of.
async fn fail_once<T: Task>(kit: &Kit, sim: &Sim) -> Result<(), crate::Error> {
    let soon = Duration::from_millis(1);
    let failing = App::new()
        .handler(
            T::KIND,
            move |_| async move { Err::<(), _>(TaskError::retry_after("an earlier attempt", soon)) },
        )
        .env(sim.env())
        .store(Arc::clone(kit.client().store()));
    failing.run_until_empty().await?;
    sim.advance(soon).await;
    Ok(())
}

/// What came of an attempt.
#[derive(Clone, Debug)]
pub struct Performed<O> {
    /// The job as it is afterwards: its state, its result, what went wrong, its attempts and its timeline.
    pub job: JobDetail,
    /// What the handler returned; `None` when it was dropped before, since it did not stop in time when it was asked to.
    pub outcome: Option<Outcome>,
    /// What it logged.
    pub log: String,
    /// What it reported last.
    pub progress: Option<Progress>,
    /// The jobs that it left behind, oldest first: those of [`Context::then`].
    pub follow_ups: Vec<JobDetail>,
    /// The steps that are kept.
    pub steps: Vec<StepView>,
    output: std::marker::PhantomData<fn() -> O>,
}

impl<O> Performed<O> {
    /// What it gave back.
    ///
    /// # Panics
    ///
    /// When it did not complete.
    #[track_caller]
    pub fn output(&self) -> O
    where
        O: DeserializeOwned,
    {
        let JobDetail { view, result, .. } = &self.job;
        let error = view.error.as_deref().unwrap_or("no error");
        assert!(view.state == State::Completed, "it is {}, and did not complete: {error}", view.state);
        let json = result.as_deref().unwrap_or("null");
        serde_json::from_str(json).unwrap_or_else(|error| panic!("{json} is no output of the task: {error}"))
    }

    /// What went wrong, if anything did.
    pub fn error(&self) -> Option<&str> {
        self.job.view.error.as_deref()
    }
}
