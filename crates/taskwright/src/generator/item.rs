//! What a generator gives: a job that is made just in time.

use std::time::Duration;

use serde::Serialize;
use taskwright_core::generator::Definition;
use taskwright_core::limit::ITEM_KEY_BYTES_MAX;
use taskwright_core::{Args, Backoff, Error, MaxAttempts, Owner, Priority};
use taskwright_store::NewItem;

use crate::env::Env;
use crate::job::Job;
use crate::task::Task;

/// An item of a generator: a job that is made just in time, in the queue of the generator.
///
/// # Example
///
/// ```
/// use taskwright::generator::Item;
///
/// let item = Item::new("webhook.deliver").key("event 7").args(&serde_json::json!({"event": 7}))?;
/// # Ok::<(), taskwright::core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Item {
    job: Job,
    priority: Option<Priority>,
    key: Option<String>,
}

impl Item {
    /// An item of this kind without arguments.
    pub fn new(kind: &str) -> Self {
        Self { job: Job::new(kind), priority: None, key: None }
    }

    /// An item of a task, with the task's defaults but for queue and priority.
    pub fn of<T: Task>(task: &T) -> Self {
        Self { job: Job::of(task), priority: None, key: None }
    }

    /// The arguments.
    ///
    /// # Errors
    ///
    /// When the value cannot be written as JSON, or is over a limit.
    pub fn args(mut self, args: &impl Serialize) -> Result<Self, Error> {
        self.job = self.job.args(args)?;
        Ok(self)
    }

    /// What the generator calls it, and is told when it has ended; at most 512 bytes.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The key, if it was given one.
    pub(crate) fn key_if_any(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// How urgent it is, within the range of the generator. Default the worst of that.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// How many executions it gets. Default 5.
    #[must_use]
    pub fn max_attempts(mut self, max_attempts: MaxAttempts) -> Self {
        self.job = self.job.max_attempts(max_attempts);
        self
    }

    /// How long it waits after a failure. Default what its task says.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.job = self.job.backoff(backoff);
        self
    }

    /// How long one attempt may take. Default what its task says.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.job = self.job.timeout(timeout);
        self
    }

    /// The same as an item of a bulk: with its index as key, unless it has one, and with the author of the bulk as owner.
    pub(crate) fn of_bulk(mut self, index: u64, author: Option<&Owner>) -> Self {
        self.key.get_or_insert_with(|| index.to_string());
        if let Some(author) = author {
            self.job = self.job.owner(author.as_str());
        }
        self
    }

    /// Its arguments, if everything about it is accepted.
    ///
    /// # Errors
    ///
    /// When a name was refused.
    pub(crate) fn checked(self, env: &Env) -> Result<Args, Error> {
        self.job.into_new(env).map(|job| job.args)
    }

    /// What a store takes.
    ///
    /// # Errors
    ///
    /// When a name was refused, the key is too long, or the priority is out of the generator's range.
    pub(crate) fn into_new(self, env: &Env, definition: &Definition) -> Result<NewItem, Error> {
        let Self { job, priority, key } = self;
        let mut job = job.into_new(env)?;
        job.namespace = definition.namespace.clone();
        job.queue = definition.name.queue();
        job.priority = priority.unwrap_or(definition.worst);
        definition.check_priority(job.priority)?;
        if let Some(key) = key.as_ref().filter(|key| key.len() > ITEM_KEY_BYTES_MAX) {
            return Err(Error::too_large(
                "the key of an item",
                format!("it has {} bytes, {ITEM_KEY_BYTES_MAX} are allowed", key.len()),
                "use a short text that tells the item from others, or leave it out",
            ));
        }
        Ok(NewItem { key, job })
    }
}
