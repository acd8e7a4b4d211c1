//! A job that was enqueued, in the hands of whoever did so.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use taskwright_core::{Actor, JobId, State};
use taskwright_store::{Enqueued, JobDetail, Progress};
use tokio::sync::watch;

use crate::client::Client;
use crate::error::Error;
use crate::waiting::{Seen, look};

/// The first and the longest time between two looks at the progress of a job: 20 ms, 250 ms. It is stored ten times a second.
const LOOK_FIRST: Duration = Duration::from_millis(20);
const LOOK_LONGEST: Duration = Duration::from_millis(250);

/// A job that was enqueued: its id, and what can be done with it. `O` is what its task gives back. Cheap to clone.
///
/// It can be used as the [`Enqueued`] that it holds.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use taskwright::store::{SharedStore, memory::MemoryStore};
/// use taskwright::{Client, Context, Env, Registry, TaskError, Worker, task};
///
/// #[task("sum")]
/// async fn sum(numbers: Vec<u64>) -> Result<u64, TaskError> {
///     Ok(numbers.iter().sum())
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// # let (store, env): (SharedStore, _) = (Arc::new(MemoryStore::new()), Env::system());
/// let client = Client::new(store.clone(), env.clone());
/// let job = client.enqueue(Sum { numbers: vec![1, 2, 3] }).await?;
/// println!("{}", job.id);
/// # let worker = Worker::builder(store.clone(), Registry::new().register::<Sum>()?, env);
/// # worker.until_empty().run(std::future::pending()).await?;
/// assert_eq!(job.output().await?, 6);
/// # Ok::<(), taskwright::Error>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct JobHandle<O = Value> {
    enqueued: Enqueued,
    client: Client,
    output: PhantomData<fn() -> O>,
}

impl<O> JobHandle<O> {
    pub(crate) fn new(enqueued: Enqueued, client: Client) -> Self {
        Self { enqueued, client, output: PhantomData }
    }

    /// The same job of a task that gives back something else.
    pub fn typed<T>(self) -> JobHandle<T> {
        JobHandle::new(self.enqueued, self.client)
    }

    /// The job as it is now.
    ///
    /// # Errors
    ///
    /// When it is not there any more ([`Error::is_not_found`]), or the store is out of order.
    pub async fn job(&self) -> Result<JobDetail, Error> {
        self.client.job(self.id).await?.ok_or_else(|| Error::no_such_job(self.id))
    }

    /// Waits until the job is over, and gives it as it is then.
    ///
    /// # Errors
    ///
    /// When it is not there any more ([`Error::is_not_found`]), or the store is out of order.
    pub async fn wait(&self) -> Result<JobDetail, Error> {
        self.client.wait(self.id, None).await
    }

    /// Waits at most for `limit`; gives the job as it is then, over or not.
    ///
    /// # Errors
    ///
    /// As for [`wait`](Self::wait).
    pub async fn wait_for(&self, limit: Duration) -> Result<JobDetail, Error> {
        self.client.wait(self.id, Some(limit)).await
    }

    /// Waits until the job has completed, and gives what it gave back, as any type that fits.
    ///
    /// # Errors
    ///
    /// When it ended in any other way ([`Error::is_not_completed`]), its result does not fit, or as for [`wait`](Self::wait).
    pub async fn result<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let job = self.wait().await?;
        if job.view.state != State::Completed {
            return Err(Error::not_completed(self.id, job.view.state, job.view.error));
        }
        let result = job.result.as_deref().unwrap_or("null");
        serde_json::from_str(result).map_err(|error| Error::unfit_result(self.id, error))
    }

    /// Waits until the job has completed, and gives what its task gave back.
    ///
    /// # Errors
    ///
    /// As for [`result`](Self::result).
    pub async fn output(&self) -> Result<O, Error>
    where
        O: DeserializeOwned,
    {
        self.result().await
    }

    /// How far the job is, each time that it says so, until it is over.
    ///
    /// # Example
    ///
    /// ```
    /// # async fn example(job: taskwright::JobHandle) -> Result<(), taskwright::Error> {
    /// let mut progress = job.progress();
    /// while let Some(progress) = progress.next().await? {
    ///     println!("{} of {:?}", progress.done, progress.total);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn progress(&self) -> ProgressStream {
        ProgressStream {
            // Interest is registered before the first look.
            hints: self.client.store().hints(),
            hints_open: true,
            client: self.client.clone(),
            id: self.id,
            last: None,
            is_over: false,
        }
    }

    /// Asks for the job to be cancelled: a waiting one ends at once, a running one when its handler does. `true` only for the call
    /// that set the request.
    ///
    /// # Errors
    ///
    /// When it is not there any more ([`Error::is_not_found`]), or the store is out of order.
    pub async fn cancel(&self, actor: Actor, reason: Option<String>) -> Result<bool, Error> {
        self.client.cancel(self.id, actor, reason).await
    }
}

impl<O> Deref for JobHandle<O> {
    type Target = Enqueued;

    fn deref(&self) -> &Enqueued {
        &self.enqueued
    }
}

impl<O> From<JobHandle<O>> for Enqueued {
    fn from(handle: JobHandle<O>) -> Self {
        handle.enqueued
    }
}

impl<O> PartialEq for JobHandle<O> {
    fn eq(&self, other: &Self) -> bool {
        self.enqueued == other.enqueued
    }
}

impl<O> PartialEq<Enqueued> for JobHandle<O> {
    fn eq(&self, other: &Enqueued) -> bool {
        self.enqueued == *other
    }
}

impl<O> Clone for JobHandle<O> {
    fn clone(&self) -> Self {
        Self::new(self.enqueued, self.client.clone())
    }
}

impl<O> fmt::Debug for JobHandle<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobHandle")
            .field("id", &self.id)
            .field("existing", &self.existing)
            .finish_non_exhaustive()
    }
}

/// The progress of a job, one report after the other; made by [`JobHandle::progress`]. What is overtaken by a newer report before
/// anybody looks is not told.
pub struct ProgressStream {
    client: Client,
    id: JobId,
    hints: watch::Receiver<u64>,
    hints_open: bool,
    last: Option<Progress>,
    is_over: bool,
}

impl ProgressStream {
    /// The next report; `None` once the job is over, behind the last one.
    ///
    /// # Errors
    ///
    /// When the job is not there any more ([`Error::is_not_found`]), or the store is out of order.
    pub async fn next(&mut self) -> Result<Option<Progress>, Error> {
        let env = self.client.env().clone();
        let mut pause = LOOK_FIRST;
        while !self.is_over {
            self.hints.borrow_and_update();
            let Seen { open, ended, .. } = look(&**self.client.store(), None, &[self.id]).await?;
            self.is_over = open.is_empty();
            let job = open.into_iter().chain(ended).next().ok_or_else(|| Error::no_such_job(self.id))?;
            if job.progress.is_some() && job.progress != self.last {
                self.last.clone_from(&job.progress);
                return Ok(job.progress);
            }
            if self.is_over {
                break;
            }
            tokio::select! {
                changed = self.hints.changed(), if self.hints_open => self.hints_open = changed.is_ok(),
                () = env.sleep(pause) => {}
            }
            pause = (pause * 3 / 2).min(LOOK_LONGEST);
        }
        Ok(None)
    }
}

impl fmt::Debug for ProgressStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProgressStream")
            .field("id", &self.id)
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}
