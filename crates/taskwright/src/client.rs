//! The client: puts jobs into a store, and asks what became of them.

use std::collections::{BTreeSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use taskwright_core::audit::Behalf;
use taskwright_core::limit::{ENQUEUE_JOBS_MAX, PAGE_ROWS_MAX};
use taskwright_core::{Actor, EventId, JobId, Kind, Namespace, NewJob, Owner, QueueName, State, Timestamp};
use taskwright_store::{
    Change, Changed, Enqueued, Error as StoreError, Filter, JobDetail, LogChunk, Page, Reply, SharedStore,
    Store,
};
use tokio::sync::oneshot;

use crate::env::{Env, Spawned};
use crate::error::Error;
use crate::event::Event;
use crate::gather::{Asked, Gather};
use crate::handle::JobHandle;
use crate::job::{Enqueue, Job};
use crate::middleware::{Around, BeforeEnqueue, EnqueueMiddleware, through, with};

/// How often an enqueue is sent in all before its error is given to the caller.
const SENDS_MAX: u32 = 5;
/// The delay before the second send; it grows by the factor [`SEND_GROWTH`], so five sends take about 5 s.
const SEND_AGAIN: Duration = Duration::from_millis(125);
const SEND_GROWTH: u32 = 3;
/// Jobs of a batch, unless the caller says otherwise.
const BATCH_JOBS: usize = 1_000;
/// Bytes of arguments at which a batch is full, however few its jobs are: three batches are in memory at a time, and
/// 10,000 jobs with the largest arguments would be 10 GB.
const BATCH_ARGS_BYTES: usize = 16 << 20;
/// The first and the longest time between two looks at a job that is waited for.
const LOOK_FIRST: Duration = Duration::from_millis(5);
const LOOK_LONGEST: Duration = Duration::from_millis(250);

/// Batches that are under way at a time: while one is made durable, the store takes in the next.
const UNDERWAY_MAX: usize = 2;

/// Puts jobs into a store, and asks what became of them. Cheap to clone.
///
/// # Example
///
/// ```
/// # use taskwright::{Client, Env, Job};
/// # async fn example(store: taskwright::store::SharedStore) -> Result<(), taskwright::Error> {
/// let client = Client::new(store, Env::system());
/// let job = Job::new("report.monthly").args(&7)?.queue("reports").run_in(std::time::Duration::from_secs(60));
/// let id = client.enqueue(job).await?.id;
/// assert!(client.job(id).await?.is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    store: SharedStore,
    env: Env,
    batch_jobs: usize,
    /// Who its jobs belong to, whatever they say.
    owner: Option<Owner>,
    /// What looks at each job before it is stored.
    before: Vec<BeforeEnqueue>,
    /// What stands around their storing, if anything does.
    around: Option<Around>,
    /// What is done when jobs were stored, in the call that stored them.
    after: Option<AfterEnqueue>,
    together: Together,
}

/// Runs jobs that were stored, for tests.
pub(crate) type AfterEnqueue = Arc<dyn Fn() -> Running + Send + Sync>;
pub(crate) type Running = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// Where jobs gather that are asked for one by one.
#[derive(Clone)]
struct Together {
    gather: Arc<Gather>,
    /// The store for what is done on behalf of nobody.
    store: SharedStore,
    behalf: Option<Arc<Behalf>>,
}

impl Client {
    /// A client of this store.
    pub fn new(store: SharedStore, env: Env) -> Self {
        let together = Together { gather: Arc::default(), store: store.clone(), behalf: None };
        Self {
            store,
            env,
            batch_jobs: BATCH_JOBS,
            owner: None,
            before: Vec::new(),
            around: None,
            after: None,
            together,
        }
    }

    /// How many jobs [`enqueue_many`](Self::enqueue_many) commits together at most: 1 to 10,000, default 1,000. Jobs
    /// with large arguments make smaller batches.
    #[must_use]
    pub fn batch_jobs(self, jobs: usize) -> Self {
        Self { batch_jobs: jobs.clamp(1, ENQUEUE_JOBS_MAX), ..self }
    }

    /// The same on behalf of somebody, with another owner of its jobs.
    pub(crate) fn behalf(&self, behalf: Behalf, owner: Option<Owner>) -> Self {
        let store = self.together.store.on_behalf_of(behalf.clone());
        let together = Together { behalf: Some(Arc::new(behalf)), ..self.together.clone() };
        Self { store, owner, together, ..self.clone() }
    }

    /// Lets `look` see each job before it is stored by this client or a clone of it, also in a transaction; it may change the job, or
    /// refuse it. Those that were added first see it first. Jobs that others make are none of this client's: follow-ups of handlers,
    /// items of generators, and what schedules make.
    ///
    /// # Example
    ///
    /// ```
    /// use taskwright::core::Error;
    /// # fn example(client: taskwright::Client) {
    /// let client = client.before_enqueue(|job| match job.args.as_bytes().len() {
    ///     0..=10_000 => Ok(()),
    ///     bytes => Err(Error::too_large(
    ///         format!("the arguments of {}", job.kind),
    ///         format!("they have {bytes} bytes, and 10,000 are allowed here"),
    ///         "store what is large elsewhere, and enqueue where it is",
    ///     )),
    /// });
    /// # }
    /// ```
    #[must_use]
    pub fn before_enqueue(
        mut self,
        look: impl Fn(&mut NewJob) -> Result<(), taskwright_core::Error> + Send + Sync + 'static,
    ) -> Self {
        self.before.push(Arc::new(look));
        self
    }

    /// Puts something around the storing of jobs by this client or a clone of it, also in a transaction, where the commit comes later:
    /// it may change the jobs, refuse them, and see what became of them. What is put first is outermost; whatever looks
    /// [before](Self::before_enqueue) has done so by then. Jobs that others make are none of this client's, as there.
    ///
    /// With a transaction of SQLite, where the call is no future, it may await nothing but the rest of its way.
    ///
    /// # Example
    ///
    /// ```
    /// use taskwright::EnqueueNext;
    /// use taskwright::core::NewJob;
    /// # fn example(client: taskwright::Client) {
    /// let client = client.around_enqueue(async |jobs: Vec<NewJob>, next: EnqueueNext| {
    ///     let count = jobs.len();
    ///     let stored = next.run(jobs).await;
    ///     match &stored {
    ///         Ok(_) => println!("{count} jobs were stored"),
    ///         Err(error) => println!("{count} jobs were not stored: {error}"),
    ///     }
    ///     stored
    /// });
    /// # }
    /// ```
    #[must_use]
    pub fn around_enqueue(self, by: impl EnqueueMiddleware) -> Self {
        Self { around: Some(with(self.around.as_ref(), by)), ..self }
    }

    /// What stands around the enqueues of an app.
    pub(crate) fn within(self, around: Option<Around>) -> Self {
        Self { around, ..self }
    }

    /// What stands around its enqueues.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn around(&self) -> Option<&Around> {
        self.around.as_ref()
    }

    /// Has something done each time this client or a clone of it has stored jobs, before it answers.
    pub(crate) fn after_enqueue(self, after: AfterEnqueue) -> Self {
        Self { after: Some(after), ..self }
    }

    async fn stored(&self) -> Result<(), Error> {
        match &self.after {
            Some(after) => after().await,
            None => Ok(()),
        }
    }

    /// A job as it is stored.
    pub(crate) fn made(&self, job: impl Into<Job>) -> Result<NewJob, Error> {
        let mut job = job.into().into_new(&self.env)?;
        if self.owner.is_some() {
            job.owner.clone_from(&self.owner);
        }
        self.before.iter().try_for_each(|look| look(&mut job))?;
        Ok(job)
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The kinds of the 1,000 oldest available jobs, of one namespace or of all: one that no program knows shows up there before long,
    /// since its jobs stay.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn kinds_waiting(&self, namespace: Option<&Namespace>) -> Result<BTreeSet<Kind>, Error> {
        let namespaces = namespace.cloned().into();
        let filter = Filter { states: vec![State::Available], namespaces, ..Filter::default() };
        let page = Page { after: None, limit: PAGE_ROWS_MAX, oldest_first: true };
        Ok(self.store.list(filter, page).await?.jobs.into_iter().map(|job| job.kind).collect())
    }

    /// Stores a job. When the answer is there, the job is durable; it is a [handle](JobHandle) on it, to wait for its end and more.
    ///
    /// The id is made here, so a send whose answer was lost is repeated without making a second job. When many do this at the same
    /// time with this client and its clones, their jobs are stored some at a time; nobody waits for others to come.
    ///
    /// # Errors
    ///
    /// When something about the job is not accepted, or the store stays out of order for about 5 s.
    pub async fn enqueue<E: Enqueue>(&self, job: E) -> Result<JobHandle<E::Output>, Error> {
        let job = self.made(job)?;
        let stored = match &self.around {
            None => self.store_one(job).await?,
            // On the heap, so that the future of those who have nothing around is no larger. As many are answered as were given.
            Some(around) => {
                Box::pin(through(around, false, vec![job], |jobs| self.store_these(jobs))).await?[0]
            }
        };
        self.stored().await?;
        Ok(JobHandle::new(stored, self.clone()))
    }

    async fn store_one(&self, job: NewJob) -> Result<Enqueued, Error> {
        match self.hand_over(&job).await? {
            Some(stored) => Ok(stored),
            None => {
                let Together { gather, behalf, .. } = &self.together;
                gather.store(job, behalf.clone(), |asked| self.send_asked(asked)).await
            }
        }
    }

    /// Stores what came through the middleware.
    async fn store_these(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>, Error> {
        match <[NewJob; 1]>::try_from(jobs) {
            Ok([job]) => Ok(vec![self.store_one(job).await?]),
            Err(none) if none.is_empty() => Ok(Vec::new()),
            Err(several) => self.send(several).await,
        }
    }

    /// A job that was enqueued before, by whoever.
    pub fn handle(&self, id: JobId) -> JobHandle {
        JobHandle::new(Enqueued { id, existing: true }, self.clone())
    }

    /// Stores many jobs and answers in their order. See [`enqueue_each`](Self::enqueue_each) for millions.
    ///
    /// # Errors
    ///
    /// As for [`enqueue_each`](Self::enqueue_each).
    pub async fn enqueue_many<J: Into<Job>>(
        &self,
        jobs: impl IntoIterator<Item = J>,
    ) -> Result<Vec<Enqueued>, Error> {
        let jobs = jobs.into_iter();
        let mut all = Vec::with_capacity(jobs.size_hint().0);
        self.enqueue_each(jobs, |batch| all.extend_from_slice(batch)).await?;
        Ok(all)
    }

    /// Stores jobs as they come, in batches that are each committed whole; `stored` is told after each commit. Gives
    /// the number of jobs.
    ///
    /// # Errors
    ///
    /// At the first job that is not accepted, and when the store stays out of order. The batches that `stored` was
    /// told of are durable; of the batch in which it stopped, nothing was stored, unless the store could not say, and
    /// nothing of those behind it.
    pub async fn enqueue_each<J: Into<Job>>(
        &self,
        jobs: impl IntoIterator<Item = J>,
        mut stored: impl FnMut(&[Enqueued]),
    ) -> Result<u64, Error> {
        let mut jobs = jobs.into_iter();
        let mut count = 0;
        if let Some(around) = &self.around {
            // One batch after the other: each goes all the way.
            return loop {
                let answers = match self.batch(&mut jobs) {
                    Ok(batch) if batch.is_empty() => break self.stored().await.map(|()| count),
                    Ok(batch) => Box::pin(through(around, false, batch, |jobs| self.store_these(jobs))).await,
                    Err(error) => Err(error),
                };
                let answers = match answers {
                    Ok(answers) => answers,
                    Err(error) => {
                        // Of those before it everybody is told.
                        self.stored().await?;
                        break Err(error);
                    }
                };
                count += answers.len() as u64;
                stored(&answers);
            };
        }
        let mut line = Line::new(self);
        let mut next = self.batch(&mut jobs);
        loop {
            while line.takes_more()
                && let Some(batch) = next.as_mut().ok().map(std::mem::take).filter(|batch| !batch.is_empty())
            {
                line.start(batch);
                // The store works on those that are under way while this one is made.
                next = self.batch(&mut jobs);
            }
            match line.next().await? {
                Some(answers) => {
                    count += answers.len() as u64;
                    stored(&answers);
                }
                // Only now: what was stored before the job that is not accepted has been told.
                None => {
                    self.stored().await?;
                    return next.map(|_| count);
                }
            }
        }
    }

    /// The next batch; empty at the end.
    fn batch<J: Into<Job>>(&self, jobs: &mut impl Iterator<Item = J>) -> Result<Vec<NewJob>, Error> {
        let mut batch = Vec::with_capacity(self.batch_jobs.min(jobs.size_hint().0));
        let mut args_bytes = 0;
        while batch.len() < self.batch_jobs && args_bytes < BATCH_ARGS_BYTES {
            let Some(job) = jobs.next() else { break };
            let job = self.made(job)?;
            args_bytes += job.args.as_str().len();
            batch.push(job);
        }
        Ok(batch)
    }

    /// Stores a job for a worker of this process that has nothing to do, and hands it over; `None` when there is none, or when it
    /// is to be sent again.
    async fn hand_over(&self, job: &NewJob) -> Result<Option<Enqueued>, Error> {
        let now = self.env.now();
        let offer = self.store.takers().and_then(|takers| takers.offer(now, job));
        let Some(offer) = offer else { return Ok(None) };
        match self.store.enqueue_to(now, job.clone(), offer.claim()).await {
            Ok((stored, claimed)) => {
                offer.take(claimed.jobs);
                Ok(Some(stored))
            }
            // Nobody knows whether it is stored, and who has it. The worker finds out.
            Err(error) if error.is_transient() => Ok(None),
            Err(error) => {
                offer.take(Vec::new());
                Err(error.into())
            }
        }
    }

    /// Sends a batch; again, with the same ids, while the store is out of order.
    async fn send(&self, batch: Vec<NewJob>) -> Result<Vec<Enqueued>, Error> {
        self.send_again(batch.len(), || self.store.enqueue(self.env.now(), batch.clone())).await
    }

    /// Sends jobs that several asked for: all of them on behalf of somebody, or none.
    async fn send_asked(&self, asked: Vec<Arc<Asked>>) -> Result<Vec<Enqueued>, Error> {
        let store = &self.together.store;
        let job = |asked: &Arc<Asked>| asked.0.clone();
        let told = |asked: &Arc<Asked>| Some((asked.0.clone(), Arc::clone(asked.1.as_ref()?)));
        self.send_again(asked.len(), || match asked.first() {
            Some(first) if first.1.is_some() => {
                store.enqueue_told(self.env.now(), asked.iter().filter_map(told).collect())
            }
            _ => store.enqueue(self.env.now(), asked.iter().map(job).collect()),
        })
        .await
    }

    async fn send_again<'a>(
        &self,
        jobs: usize,
        send: impl Fn() -> Reply<'a, Vec<Enqueued>>,
    ) -> Result<Vec<Enqueued>, Error> {
        let mut delay = SEND_AGAIN;
        for _ in 1..SENDS_MAX {
            match send().await {
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, ?delay, jobs, "an enqueue is sent again");
                    self.env.sleep(self.env.spread(delay, 0.2)).await;
                    delay *= SEND_GROWTH;
                }
                answer => return Ok(answer?),
            }
        }
        Ok(send().await?)
    }

    /// Says that something happened: schedules that wait for it are offered it once. When the answer is there, the event is
    /// durable.
    ///
    /// # Errors
    ///
    /// When the topic or the payload is not accepted, or the store stays out of order for about 5 s.
    pub async fn emit(&self, event: Event) -> Result<EventId, Error> {
        let event = event.into_new(&self.env)?;
        let id = event.id;
        let mut delay = SEND_AGAIN;
        for _ in 1..SENDS_MAX {
            match self.store.emit(self.env.now(), vec![event.clone()]).await {
                Err(error) if error.is_transient() => {
                    self.env.sleep(self.env.spread(delay, 0.2)).await;
                    delay *= SEND_GROWTH;
                }
                answer => return Ok(answer.map(|()| id)?),
            }
        }
        Ok(self.store.emit(self.env.now(), vec![event]).await.map(|()| id)?)
    }

    /// A job with everything about it but its log.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub async fn job(&self, id: JobId) -> Result<Option<JobDetail>, Error> {
        Ok(self.store.job(id).await?)
    }

    /// Puts a comment on a job; `false` when there is no such job.
    ///
    /// # Errors
    ///
    /// When the text is empty, too long or has control characters, when there are too many comments on the job, or when the store is
    /// out of order.
    pub async fn comment(&self, id: JobId, actor: Actor, text: &str) -> Result<bool, Error> {
        Ok(self.store.comment(self.env.now(), id, actor, text.to_owned()).await?)
    }

    /// Notes that the owner of a job has read how it ended, for whoever has just shown that to it; gives the job with that. Nothing is
    /// noted for anybody else, and before it is over. Lists are not read in this sense.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub async fn consumed(&self, mut job: JobDetail, reader: &Owner) -> Result<JobDetail, Error> {
        let view = &mut job.view;
        let is_due = view.state.is_terminal() && view.consumed_at.is_none();
        if is_due && view.owner.as_ref() == Some(reader) {
            let now = self.env.now();
            if self.store.consume(now, vec![view.id], reader.clone()).await? == [true] {
                view.consumed_at = Some(now);
            }
        }
        Ok(job)
    }

    /// Waits until the job is over, at most for `limit`; gives the job as it is then.
    ///
    /// # Errors
    ///
    /// When there is no such job ([`Error::is_not_found`]), or the store is out of order.
    pub async fn wait(&self, id: JobId, limit: Option<Duration>) -> Result<JobDetail, Error> {
        let end_us = limit.map(|limit| self.env.monotonic_us().saturating_add(crate::env::micros(limit)));
        // Interest is registered before the first look.
        let mut hints = self.store.hints();
        let mut hints_open = true;
        let mut look = LOOK_FIRST;
        loop {
            hints.borrow_and_update();
            let job = self.store.job(id).await?.ok_or_else(|| Error::no_such_job(id))?;
            let left = end_us.map(|end_us| end_us.saturating_sub(self.env.monotonic_us()));
            if job.view.state.is_terminal() || left == Some(0) {
                return Ok(job);
            }
            let next = left.map_or(look, |left| look.min(Duration::from_micros(left)));
            tokio::select! {
                changed = hints.changed(), if hints_open => hints_open = changed.is_ok(),
                () = self.env.sleep(next) => {}
            }
            look = (look * 3 / 2).min(LOOK_LONGEST);
        }
    }

    /// Waits for jobs, with all that there is to say while they are not over: which have ended, that one has stalled, that the store
    /// does not answer.
    ///
    /// # Example
    ///
    /// ```
    /// use taskwright::core::patience::Patience;
    /// use taskwright::waiting::Waited;
    /// # async fn example(client: taskwright::Client, ids: Vec<taskwright::JobId>) -> Result<(), taskwright::Error> {
    /// let mut waiting = client.wait_for(ids, Patience::default());
    /// while let Waited::Ended(jobs) = waiting.next().await? {
    ///     jobs.iter().for_each(|job| println!("{} {}", job.id, job.state));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait_for(
        &self,
        ids: Vec<JobId>,
        patience: taskwright_core::patience::Patience,
    ) -> crate::waiting::Waiting {
        crate::waiting::Waiting::new(&self.store, &self.env, ids, patience)
    }

    /// Asks for a job to be cancelled: a waiting one ends at once, a running one when its handler does. `true` only
    /// for the call that set the request.
    ///
    /// # Errors
    ///
    /// When there is no such job ([`Error::is_not_found`]), or the store is out of order.
    pub async fn cancel(&self, id: JobId, actor: Actor, reason: Option<String>) -> Result<bool, Error> {
        let changed = self.change(vec![id], Change::Cancel, actor, reason).await?;
        match changed.first() {
            Some(Changed::Done | Changed::Requested) => Ok(true),
            Some(Changed::Skipped(_)) => Ok(false),
            Some(Changed::Unknown) | None => Err(Error::no_such_job(id)),
        }
    }

    /// Makes jobs available at once that their handlers [snoozed](crate::TaskError::snooze), and says of each whether it did. A
    /// job that is not asleep is left alone: one that failed and waits for its back-off, one that runs, one that is over.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub async fn awaken(&self, ids: Vec<JobId>, actor: Actor) -> Result<Vec<bool>, Error> {
        let changed = self.change(ids, Change::Awaken, actor, None).await?;
        Ok(changed.into_iter().map(|changed| changed == Changed::Done).collect())
    }

    /// Changes jobs, each for itself, and answers in the order of the ids.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub async fn change(
        &self,
        ids: Vec<JobId>,
        change: Change,
        actor: Actor,
        reason: Option<String>,
    ) -> Result<Vec<Changed>, Error> {
        Ok(self.store.change(self.env.now(), ids, change, actor, reason).await?)
    }

    /// Lets the jobs of a queue wait from now on, on every machine, until somebody [resumes](Self::resume_queue) it; what runs goes on.
    /// The queue need not have had a job yet. `false` when it was paused already.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub async fn pause_queue(
        &self,
        namespace: &Namespace,
        queue: &QueueName,
        actor: Actor,
    ) -> Result<bool, Error> {
        Ok(self.store.pause(self.env.now(), namespace.clone(), queue.clone(), true, actor).await?)
    }

    /// Lets the jobs of a queue run again; `false` when it was not paused.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub async fn resume_queue(
        &self,
        namespace: &Namespace,
        queue: &QueueName,
        actor: Actor,
    ) -> Result<bool, Error> {
        Ok(self.store.pause(self.env.now(), namespace.clone(), queue.clone(), false, actor).await?)
    }

    /// The log of a job from entry `from` on, at most `limit` entries.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub async fn logs(&self, id: JobId, from: u64, limit: usize) -> Result<Vec<LogChunk>, Error> {
        Ok(self.store.logs(id, from, limit).await?)
    }

    /// Time, randomness and ids of this client: what is dated by it has the same clock as its jobs, also in a test.
    pub fn env(&self) -> &Env {
        &self.env
    }

    /// Which store it is of.
    #[cfg(feature = "postgres")]
    pub(crate) fn store_info(&self) -> taskwright_store::StoreInfo {
        self.store.info()
    }

    /// Now, on the clock of this client.
    pub fn now(&self) -> Timestamp {
        self.env.now()
    }
}

/// Batches on their way into the store, in their order: none is stored unless the one before is.
struct Line<'a> {
    client: &'a Client,
    underway: VecDeque<Underway>,
    /// Sent to when the newest batch is stored; `None` when nobody says so any more, because some batch was not.
    newest: Option<oneshot::Receiver<()>>,
}

struct Underway {
    batch: Vec<NewJob>,
    answer: Spawned<Result<Option<Vec<Enqueued>>, StoreError>>,
}

impl<'a> Line<'a> {
    fn new(client: &'a Client) -> Self {
        Self { client, underway: VecDeque::new(), newest: None }
    }

    fn takes_more(&self) -> bool {
        match self.newest {
            // What comes behind a batch that was not stored would be refused: those that are under way are sent again first.
            None => self.underway.is_empty(),
            Some(_) => self.underway.len() < UNDERWAY_MAX,
        }
    }

    fn start(&mut self, batch: Vec<NewJob>) {
        let previous = self.newest.take().unwrap_or_else(already_stored);
        let (is_stored, newest) = oneshot::channel();
        let (store, now, jobs) = (Arc::clone(&self.client.store), self.client.env.now(), batch.clone());
        let answer = self.client.env.spawn("enqueue", async move {
            let answer = store.enqueue_behind(now, jobs, previous).await;
            if let Ok(Some(_)) = answer {
                // Nobody listens behind the last one.
                let _ = is_stored.send(());
            }
            answer
        });
        self.newest = Some(newest);
        self.underway.push_back(Underway { batch, answer });
    }

    /// The answers for the oldest batch; `None` when all are stored.
    async fn next(&mut self) -> Result<Option<Vec<Enqueued>>, Error> {
        let Some(oldest) = self.underway.pop_front() else { return Ok(None) };
        let answer = oldest.answer.await;
        let answer = answer.map_err(|died| StoreError::unavailable("the enqueue", died.to_string()))?;
        match answer {
            Ok(Some(answers)) => return Ok(Some(answers)),
            Err(error) if !error.is_transient() => return Err(error.into()),
            Ok(None) | Err(_) => self.newest = None,
        }
        self.client.send(oldest.batch).await.map(Some)
    }
}

fn already_stored() -> oneshot::Receiver<()> {
    let (stored, previous) = oneshot::channel();
    // It is received below.
    let _ = stored.send(());
    previous
}
