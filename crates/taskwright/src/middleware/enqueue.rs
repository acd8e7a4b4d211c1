//! What stands around the storing of jobs by a client.
//!
//! A middleware owns the way to the store, so that every `async fn` can be one; but storing may need what the caller has only lent, its
//! transaction. So the way leads back: the innermost step asks, and whoever enqueues stores ([`through`]) while it polls the middleware.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use taskwright_core::{Error as DomainError, NewJob};
use taskwright_store::Enqueued;
use tokio::sync::oneshot;

use crate::error::Error;

/// What an [`EnqueueMiddleware`] gives.
pub type EnqueueFuture = Pin<Box<dyn Future<Output = Result<Vec<Enqueued>, Error>> + Send>>;

/// What stands around the storing of jobs by a client: it sees them before, may change or refuse them, and sees what became of them.
/// Every `async fn(Vec<NewJob>, EnqueueNext) -> Result<Vec<Enqueued>, Error>` is one.
///
/// It is called once for what is stored together: one job of [`Client::enqueue`](crate::Client::enqueue), a batch of
/// [`enqueue_many`](crate::Client::enqueue_many) or [`enqueue_each`](crate::Client::enqueue_each), all jobs of an
/// [`enqueue_in`](crate::Client::enqueue_in) or [`enqueue_many_in`](crate::Client::enqueue_many_in). It answers each job that it was
/// given, in their order; of what it adds itself it keeps the answers. A client without any pays nothing for it.
///
/// # Example
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use taskwright::core::NewJob;
/// use taskwright::store::Enqueued;
/// use taskwright::{App, EnqueueNext, Error};
///
/// static NEW: AtomicU64 = AtomicU64::new(0);
///
/// async fn counted(jobs: Vec<NewJob>, next: EnqueueNext) -> Result<Vec<Enqueued>, Error> {
///     let stored = next.run(jobs).await?;
///     let new = stored.iter().filter(|stored| !stored.existing).count();
///     NEW.fetch_add(new as u64, Ordering::Relaxed);
///     Ok(stored)
/// }
/// let app = App::new().around_enqueue(counted);
/// ```
pub trait EnqueueMiddleware: Send + Sync + 'static {
    /// Stores these jobs: by [`EnqueueNext::run`], or not at all.
    ///
    /// What it awaits is dropped with the call of the client.
    fn call(&self, jobs: Vec<NewJob>, next: EnqueueNext) -> EnqueueFuture;
}

impl<F, R> EnqueueMiddleware for F
where
    F: Fn(Vec<NewJob>, EnqueueNext) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Vec<Enqueued>, Error>> + Send + 'static,
{
    fn call(&self, jobs: Vec<NewJob>, next: EnqueueNext) -> EnqueueFuture {
        Box::pin(self(jobs, next))
    }
}

/// All that stand around the enqueues of a client, the first outermost.
pub(crate) type Around = Arc<[Arc<dyn EnqueueMiddleware>]>;

/// These, and one more inside of them.
pub(crate) fn with(around: Option<&Around>, by: impl EnqueueMiddleware) -> Around {
    let by: Arc<dyn EnqueueMiddleware> = Arc::new(by);
    around.into_iter().flat_map(|around| around.iter().cloned()).chain([by]).collect()
}

/// The rest of the way to the store.
pub struct EnqueueNext {
    around: Around,
    /// Whose turn it is; behind the last one it is the store's.
    next: usize,
    store: oneshot::Sender<Asked>,
    commits_later: bool,
}

/// Jobs that have come all the way.
struct Asked {
    jobs: Vec<NewJob>,
    answer: oneshot::Sender<Result<Vec<Enqueued>, Error>>,
}

impl EnqueueNext {
    /// Whether the jobs are stored in a transaction of the caller's: what is answered exists if and only if that commits.
    pub fn commits_later(&self) -> bool {
        self.commits_later
    }

    /// Goes on with these jobs, and answers them in their order, each with its id, and with whether a job that was there before
    /// [has its unique key](Enqueued::existing). Whoever answers before this has dropped it: whether they are stored is not known then.
    ///
    /// # Errors
    ///
    /// When they are not accepted, or the store stays out of order: nothing of them was stored then, unless the store could not say.
    pub async fn run(self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>, Error> {
        let given = jobs.len();
        let answers = match self.around.get(self.next).cloned() {
            Some(by) => by.call(jobs, Self { next: self.next + 1, ..self }).await?,
            None => {
                let (answer, answered) = oneshot::channel();
                self.store.send(Asked { jobs, answer }).map_err(|_| over())?;
                answered.await.map_err(|_| over())??
            }
        };
        if answers.len() == given { Ok(answers) } else { Err(uneven(given, answers.len())) }
    }
}

/// Lets each of these see the jobs, and stores what they let through.
pub(crate) async fn through<S, R>(
    around: &Around,
    commits_later: bool,
    jobs: Vec<NewJob>,
    store: S,
) -> Result<Vec<Enqueued>, Error>
where
    S: FnOnce(Vec<NewJob>) -> R,
    R: Future<Output = Result<Vec<Enqueued>, Error>>,
{
    let (ask, asked) = oneshot::channel::<Asked>();
    let first = EnqueueNext { around: Arc::clone(around), next: 0, store: ask, commits_later };
    let storing = async {
        if let Ok(Asked { jobs, answer }) = asked.await {
            // Nobody hears it who has answered already.
            let _ = answer.send(store(jobs).await);
        }
        std::future::pending().await
    };
    tokio::select! {
        biased;
        answers = first.run(jobs) => answers,
        never = storing => never,
    }
}

fn over() -> Error {
    DomainError::invalid(
        "the enqueue",
        "what stands around it has answered already",
        "await `next.run(..)` before you answer",
    )
    .into()
}

fn uneven(given: usize, answered: usize) -> Error {
    DomainError::invalid(
        "the answer of what stands around an enqueue",
        format!("{given} jobs were given, and {answered} are answered"),
        "answer each job that it was given, in their order; they may be stored all the same",
    )
    .into()
}
