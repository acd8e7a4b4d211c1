//! What was enqueued, and what should have been.

use std::collections::HashSet;
use std::fmt::Write;
use std::time::Duration;

use serde_json::Value;
use taskwright_core::limit::PAGE_ROWS_MAX;
use taskwright_core::{JobId, State};
use taskwright_store::{Filter, JobView, Page};

use crate::client::Client;
use crate::job::{Enqueue, Job};

/// How often it is looked for what may still come: every 10 ms.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Jobs that a failure tells of.
const TOLD_MAX: usize = 20;

/// What [`assert_enqueued!`](crate::assert_enqueued) takes for a job: a task or a [`Job`], of which kind and arguments count, or the name
/// of a kind.
pub trait Expected {
    /// The kind and, where they count, the arguments.
    fn expected(self, client: &Client) -> Result<Wanted, crate::Error>;
}

/// A job that somebody expects.
pub struct Wanted {
    kind: String,
    args: Option<Value>,
}

impl Expected for &str {
    fn expected(self, _: &Client) -> Result<Wanted, crate::Error> {
        Ok(Wanted { kind: self.to_owned(), args: None })
    }
}

impl<E: Enqueue> Expected for E {
    fn expected(self, client: &Client) -> Result<Wanted, crate::Error> {
        let job: Job = self.into();
        let new = job.into_new(client.env())?;
        Ok(Wanted { kind: new.kind.to_string(), args: Some(new.args.parse()?) })
    }
}

/// Which jobs count.
#[derive(Clone, Debug)]
pub enum Among {
    /// Those that wait: held, blocked, scheduled, available, retryable.
    Waiting,
    /// Those that came since, whatever they do now.
    Since(HashSet<JobId>),
}

impl Among {
    /// Those that come from now on.
    pub async fn new_ones(client: &Client) -> Result<Self, crate::Error> {
        let all = list(client, Vec::new()).await?;
        Ok(Self::Since(all.into_iter().map(|job| job.id).collect()))
    }

    async fn jobs(&self, client: &Client) -> Result<Vec<JobView>, crate::Error> {
        match self {
            Self::Waiting => {
                list(client, State::ALL.into_iter().filter(|state| state.is_waiting()).collect()).await
            }
            Self::Since(before) => {
                let all = list(client, Vec::new()).await?;
                Ok(all.into_iter().filter(|job| !before.contains(&job.id)).collect())
            }
        }
    }
}

/// Waits at most so long for such a job; says what there is instead. What the macros call.
///
/// # Panics
///
/// When it is no job, or the store is out of order: then nobody knows.
pub async fn find(
    client: &Client,
    wanted: impl Expected,
    among: &Among,
    limit: Duration,
) -> Result<JobId, String> {
    let found = look(client, wanted, among, limit).await;
    found.unwrap_or_else(|error| panic!("nobody knows what was enqueued: {error}"))
}

async fn look(
    client: &Client,
    wanted: impl Expected,
    among: &Among,
    limit: Duration,
) -> Result<Result<JobId, String>, crate::Error> {
    let wanted = wanted.expected(client)?;
    let env = client.env();
    let until_us = env.monotonic_us() + crate::env::micros(limit);
    loop {
        let jobs = among.jobs(client).await?;
        if let Some(id) = wanted.of(client, &jobs).await? {
            return Ok(Ok(id));
        }
        if env.monotonic_us() >= until_us {
            return Ok(Err(wanted.missing(client, &jobs).await?));
        }
        env.sleep(LOOK_EVERY).await;
    }
}

impl Wanted {
    async fn of(&self, client: &Client, jobs: &[JobView]) -> Result<Option<JobId>, crate::Error> {
        for job in jobs.iter().filter(|job| job.kind.as_str() == self.kind) {
            let Some(args) = &self.args else { return Ok(Some(job.id)) };
            let Some(detail) = client.job(job.id).await? else { continue };
            if detail.args.parse::<Value>()? == *args {
                return Ok(Some(job.id));
            }
        }
        Ok(None)
    }

    async fn missing(&self, client: &Client, jobs: &[JobView]) -> Result<String, crate::Error> {
        let mut text = format!("no {} was enqueued", self.kind);
        if let Some(args) = &self.args {
            let _ = write!(text, " with {args}");
        }
        text.push_str(if jobs.is_empty() { "; nothing was" } else { "; there is" });
        for job in jobs.iter().take(TOLD_MAX) {
            let args = client.job(job.id).await?.map(|detail| detail.args);
            let args = args.as_ref().map_or("", |args| args.as_str());
            let _ = write!(text, "\n  {} {args} ({}, queue {})", job.kind, job.state, job.queue);
        }
        if jobs.len() > TOLD_MAX {
            let _ = write!(text, "\n  and {} more", jobs.len() - TOLD_MAX);
        }
        Ok(text)
    }
}

/// All jobs in these states, or in any.
async fn list(client: &Client, states: Vec<State>) -> Result<Vec<JobView>, crate::Error> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let filter = Filter { states: states.clone(), ..Filter::default() };
        let page = Page { after, limit: PAGE_ROWS_MAX, oldest_first: true };
        let page = client.store().list(filter, page).await?;
        all.extend(page.jobs);
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(all),
        }
    }
}

/// Asserts that a job was enqueued: that one waits with the kind and the arguments of the task or [`Job`](crate::Job), or with this name of a
/// kind. Gives its id. For `async` functions.
///
/// | | |
/// |---|---|
/// | `assert_enqueued!(client, Welcome { user: 7 })` | it waits now |
/// | `assert_enqueued!(client, "email.welcome")` | one of the kind does, whatever its arguments are |
/// | `assert_enqueued!(client, Welcome { user: 7 }, timeout = Duration::from_secs(5))` | it waits at some moment of the next 5 s |
/// | `assert_enqueued!(client, Welcome { user: 7 }, within = sign_up(&client).await)` | this enqueued it, whatever has become of it since; an equal one of before does not count |
/// | `assert_enqueued!(client, Welcome { user: 7 }, within = sign_up(&client).await, timeout = Duration::from_secs(5))` | this enqueued it, or what it began does within 5 s of its end |
///
/// # Panics
///
/// When there is none; the message says what is there.
///
/// # Example
///
/// See [`Kit`](crate::testing::Kit).
#[macro_export]
macro_rules! assert_enqueued {
    ($client:expr, $job:expr $(,)?) => {
        $crate::assert_enqueued!($client, $job, timeout = ::std::time::Duration::ZERO)
    };
    ($client:expr, $job:expr, timeout = $limit:expr $(,)?) => {{
        let among = $crate::testing::expect::Among::Waiting;
        match $crate::testing::expect::find(&$client, $job, &among, $limit).await {
            Ok(id) => id,
            Err(message) => panic!("{message}"),
        }
    }};
    ($client:expr, $job:expr, within = $block:expr $(,)?) => {
        $crate::assert_enqueued!($client, $job, within = $block, timeout = ::std::time::Duration::ZERO)
    };
    ($client:expr, $job:expr, timeout = $limit:expr, within = $block:expr $(,)?) => {
        $crate::assert_enqueued!($client, $job, within = $block, timeout = $limit)
    };
    ($client:expr, $job:expr, within = $block:expr, timeout = $limit:expr $(,)?) => {{
        let among = match $crate::testing::expect::Among::new_ones(&$client).await {
            Ok(among) => among,
            Err(error) => panic!("{error}"),
        };
        let _ = $block;
        match $crate::testing::expect::find(&$client, $job, &among, $limit).await {
            Ok(id) => id,
            Err(message) => panic!("{message}"),
        }
    }};
}

/// Asserts that no such job waits, or was enqueued by a block: the contrary of [`assert_enqueued!`](crate::assert_enqueued). With a block it
/// gives what that gave: one that failed has enqueued nothing, and shows nothing.
///
/// # Panics
///
/// When there is one.
///
/// # Example
///
/// ```
/// # use std::sync::Arc;
/// # use taskwright::store::{SharedStore, memory::MemoryStore};
/// use taskwright::{Client, Env, Job, assert_enqueued, refute_enqueued};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// # let client = Client::new(Arc::new(MemoryStore::new()), Env::system());
/// assert_enqueued!(client, "a", within = client.enqueue(Job::new("a")).await?);
/// refute_enqueued!(client, "a", within = client.enqueue(Job::new("b")).await?);
/// refute_enqueued!(client, "c");
/// # Ok::<(), taskwright::Error>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[macro_export]
macro_rules! refute_enqueued {
    ($client:expr, $job:expr $(,)?) => {{
        let among = $crate::testing::expect::Among::Waiting;
        let found = $crate::testing::expect::find(&$client, $job, &among, ::std::time::Duration::ZERO).await;
        if let Ok(id) = found {
            panic!("it was enqueued: {id}");
        }
    }};
    ($client:expr, $job:expr, within = $block:expr $(,)?) => {{
        let among = match $crate::testing::expect::Among::new_ones(&$client).await {
            Ok(among) => among,
            Err(error) => panic!("{error}"),
        };
        let value = $block;
        let found = $crate::testing::expect::find(&$client, $job, &among, ::std::time::Duration::ZERO).await;
        if let Ok(id) = found {
            panic!("it was enqueued: {id}");
        }
        value
    }};
}
