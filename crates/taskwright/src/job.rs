//! The builder of a job that is about to be enqueued.

use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;
use taskwright_core::{
    Args, Backoff, Delivery, Error, JobId, Kind, MaxAttempts, Namespace, NewJob, Owner, Priority, QueueName,
    Timestamp, UniqueKey,
};

use taskwright_store::ClaimedJob;

use crate::arguments;
use crate::env::{Env, micros};
use crate::task::Task;

/// A job that is about to be enqueued: a kind, and whatever differs from the defaults.
///
/// Names are taken as text; a bad one is reported when the job is enqueued.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use taskwright::{Job, Priority, UniqueKey};
///
/// let job = Job::new("invoice.send")
///     .args(&serde_json::json!({"invoice": 4711}))?
///     .queue("mail")
///     .priority(Priority::HIGH)
///     .run_in(Duration::from_secs(30))
///     .unique(UniqueKey::new("invoice:4711")?);
/// # Ok::<(), taskwright::core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Job {
    /// With a placeholder for the id until it is enqueued, and for a kind that was refused.
    new: NewJob,
    id: Option<JobId>,
    run_in: Option<Duration>,
    given: Given,
    /// The first thing that was refused.
    refused: Option<Error>,
}

/// Which of the things were said that a follow-up job otherwise has from the job that makes it.
#[derive(Clone, Copy, Debug, Default)]
struct Given {
    priority: bool,
    namespace: bool,
}

impl Job {
    /// A job of this kind without arguments.
    pub fn new(kind: &str) -> Self {
        let (kind, refused) = match Kind::new(kind) {
            Ok(kind) => (kind, None),
            // Never stored: the error is reported first.
            Err(error) => (Kind::new("refused").expect("a valid name"), Some(error)),
        };
        let new = NewJob::new(JobId::from_bytes([0; 16]), kind, Args::default());
        Self { new, id: None, run_in: None, given: Given::default(), refused }
    }

    /// A job of a task, with the task's defaults.
    pub fn of<T: Task>(task: &T) -> Self {
        let job = Self::new(T::KIND).queue(T::QUEUE).priority(T::PRIORITY).delivery(T::DELIVERY);
        let mut job = job.max_attempts(T::max_attempts());
        job.given.priority = T::PRIORITY != Priority::DEFAULT;
        match task.unique() {
            Ok(unique) => job.new.unique = unique,
            Err(error) => return job.refuse(error),
        }
        match arguments::write(task) {
            Ok(args) => job.raw_args(args),
            Err(error) => job.refuse(error),
        }
    }

    /// The arguments.
    ///
    /// # Errors
    ///
    /// When the value cannot be written as JSON, or is over a limit.
    pub fn args(self, args: &impl Serialize) -> Result<Self, Error> {
        Ok(self.raw_args(Args::of(args)?))
    }

    /// The arguments, checked before.
    #[must_use]
    pub fn raw_args(mut self, args: Args) -> Self {
        self.new.args = args;
        self
    }

    /// An id that the caller made (with [`Env::job_id`]): enqueueing it twice stores one job.
    #[must_use]
    pub fn id(mut self, id: JobId) -> Self {
        self.id = Some(id);
        self
    }

    /// The queue it waits in. Default `default`.
    #[must_use]
    pub fn queue(self, queue: &str) -> Self {
        self.parsed::<QueueName>(queue, |new, queue| new.queue = queue)
    }

    /// The tenant it belongs to. Default `default`.
    #[must_use]
    pub fn namespace(self, namespace: &str) -> Self {
        let mut job = self.parsed::<Namespace>(namespace, |new, namespace| new.namespace = namespace);
        job.given.namespace = true;
        job
    }

    /// Whose it is. Default nobody's.
    #[must_use]
    pub fn owner(self, owner: &str) -> Self {
        self.parsed::<Owner>(owner, |new, owner| new.owner = Some(owner))
    }

    /// How urgent it is: the lower number runs first. Default 2000.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.new.priority = priority;
        self.given.priority = true;
        self
    }

    /// Not before this much time has passed.
    #[must_use]
    pub fn run_in(mut self, delay: Duration) -> Self {
        self.run_in = Some(delay);
        self
    }

    /// Not before this moment.
    #[must_use]
    pub fn run_at(mut self, moment: Timestamp) -> Self {
        self.run_in = None;
        self.new.run_at = Some(moment);
        self
    }

    /// How many executions it gets. Default 5.
    #[must_use]
    pub fn max_attempts(mut self, max_attempts: MaxAttempts) -> Self {
        self.new.max_attempts = max_attempts;
        self
    }

    /// How long it waits after a failure. Default what its task says.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.new.backoff = Some(backoff);
        self
    }

    /// How long one attempt may take. Default what its task says.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.new.timeout = Some(timeout);
        self
    }

    /// What happens when its worker is lost. Default: it runs again.
    #[must_use]
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.new.delivery = delivery;
        self
    }

    /// At most one job of the kind holds this key at a time.
    #[must_use]
    pub fn unique(mut self, key: UniqueKey) -> Self {
        self.new.unique = Some(key);
        self
    }

    /// Waits for an explicit release, at most for an hour.
    #[must_use]
    pub fn hold(mut self) -> Self {
        self.new.held = true;
        self
    }

    /// With the priority, namespace and owner of the job that makes it, unless it says otherwise itself.
    pub(crate) fn following(mut self, parent: &ClaimedJob) -> Self {
        if !self.given.priority {
            self.new.priority = parent.priority;
        }
        if !self.given.namespace {
            self.new.namespace = parent.namespace.clone();
        }
        if self.new.owner.is_none() {
            self.new.owner = parent.owner.clone();
        }
        self
    }

    /// What a store takes.
    ///
    /// # Errors
    ///
    /// When one of the names was refused.
    pub fn into_new(mut self, env: &Env) -> Result<NewJob, Error> {
        if let Some(error) = self.refused {
            return Err(error);
        }
        self.new.id = self.id.unwrap_or_else(|| env.job_id());
        if let Some(delay) = self.run_in {
            // Whole microseconds, as the store keeps them.
            self.new.run_at = Some(env.now().plus(Duration::from_micros(micros(delay))));
        }
        Ok(self.new)
    }

    fn parsed<T: FromStr<Err = Error>>(mut self, text: &str, set: impl FnOnce(&mut NewJob, T)) -> Self {
        match text.parse() {
            Ok(value) => {
                set(&mut self.new, value);
                self
            }
            Err(error) => self.refuse(error),
        }
    }

    fn refuse(mut self, error: Error) -> Self {
        self.refused.get_or_insert(error);
        self
    }
}

/// What can be enqueued: a [`Job`], a reference to a [`Task`], and a task of `#[task]` itself. Says which result is expected.
pub trait Enqueue: Into<Job> {
    /// What the task gives back; [`serde_json::Value`] where that is not known.
    type Output;
}

impl Enqueue for Job {
    type Output = serde_json::Value;
}

impl Enqueue for NewJob {
    type Output = serde_json::Value;
}

impl<T: Task> Enqueue for &T {
    type Output = T::Output;
}

impl<T: Task> From<&T> for Job {
    fn from(task: &T) -> Self {
        Self::of(task)
    }
}

impl From<NewJob> for Job {
    fn from(new: NewJob) -> Self {
        Self {
            id: Some(new.id),
            new,
            run_in: None,
            given: Given { priority: true, namespace: true },
            refused: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_thing_that_is_refused_is_reported() {
        let error = Job::new("a b").queue("c d").into_new(&Env::system()).unwrap_err();
        assert_eq!(error.what(), "the kind \"a b\"");
    }

    #[test]
    fn a_delay_counts_from_the_enqueue() {
        let env = Env::system();
        let before = env.now();
        let run_at = Job::new("a").run_in(Duration::from_secs(60)).into_new(&env).unwrap().run_at.unwrap();
        assert!(
            run_at >= before.plus(Duration::from_secs(60)) && run_at < before.plus(Duration::from_secs(120))
        );
    }
}
