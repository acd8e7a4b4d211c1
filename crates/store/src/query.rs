//! What can be asked, and what comes back.

use taskwright_core::permission::Sight;
use taskwright_core::{
    Actor, Args, AttemptRecord, Backoff, Cause, Delivery, GeneratorName, JobId, Kind, MaxAttempts, Namespace,
    Owner, Priority, QueueName, State, Timestamp, WorkerId,
};

use crate::finish::{LogStream, Progress};
use crate::submitter::Comment;
use crate::worker::{Order, WorkerState};

/// Which jobs: AND between the fields, OR within one. An empty list means any.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// These ids.
    pub ids: Vec<JobId>,
    /// This namespace; `None` is all.
    pub namespace: Option<Namespace>,
    /// Kinds.
    pub kinds: Vec<Pattern>,
    /// Queues.
    pub queues: Vec<Pattern>,
    /// States.
    pub states: Vec<State>,
    /// Running on one of these workers now.
    pub workers: Vec<WorkerId>,
    /// Owners.
    pub owners: Owners,
    /// Created at this moment or later.
    pub created_from: Option<Timestamp>,
    /// Created at this moment or earlier.
    pub created_to: Option<Timestamp>,
    /// Of this priority or a less urgent one: the number is this or greater.
    pub priority_from: Option<Priority>,
    /// Of this priority or a more urgent one.
    pub priority_to: Option<Priority>,
    /// With this many [failures](JobView::failures) or more.
    pub failures_from: Option<u32>,
    /// With this many failures or fewer.
    pub failures_to: Option<u32>,
    /// Whether whoever submitted it has read how it ended; `None` is either.
    pub consumed: Option<bool>,
    /// What whoever asks may see; `None` is everything.
    pub sight: Option<Sight>,
}

impl Filter {
    /// Whether whoever asks may see a job, whether its priority and failures match, and whether its end was read.
    pub(crate) fn includes_rank(&self, job: &JobView) -> bool {
        let (priority, failures) = (job.priority, job.failures());
        self.sight.as_ref().is_none_or(|sight| sight.includes(&job.namespace, job.owner.as_ref()))
            && self.priority_from.is_none_or(|from| priority >= from)
            && self.priority_to.is_none_or(|to| priority <= to)
            && self.failures_from.is_none_or(|from| failures >= from)
            && self.failures_to.is_none_or(|to| failures <= to)
            && self.consumed.is_none_or(|consumed| job.consumed_at.is_some() == consumed)
    }
}

impl Filter {
    /// Whether a job is one of these, as it is.
    pub fn matches(&self, job: &JobView) -> bool {
        (self.states.is_empty() || self.states.contains(&job.state))
            && Pattern::any(&self.kinds, job.kind.as_str())
            && Pattern::any(&self.queues, job.queue.as_str())
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == job.namespace)
            && (self.ids.is_empty() || self.ids.contains(&job.id))
            && (self.workers.is_empty()
                || (job.state == State::Running
                    && job.worker.is_some_and(|worker| self.workers.contains(&worker))))
            && self.owners.include(job.owner.as_ref())
            && self.created_from.is_none_or(|from| job.created_at >= from)
            && self.created_to.is_none_or(|to| job.created_at <= to)
            && self.includes_rank(job)
    }
}

/// Which owners.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Owners {
    /// Any, and none.
    #[default]
    Any,
    /// Only jobs without an owner.
    Nobody,
    /// One of these.
    Of(Vec<Pattern>),
}

impl Owners {
    /// Whether a job with this owner is one of theirs.
    pub(crate) fn include(&self, owner: Option<&Owner>) -> bool {
        match (self, owner) {
            (Self::Any, _) | (Self::Nobody, None) => true,
            (Self::Of(patterns), Some(owner)) => {
                patterns.iter().any(|pattern| pattern.matches(owner.as_str()))
            }
            (Self::Nobody, Some(_)) | (Self::Of(_), None) => false,
        }
    }
}

/// A text to compare names with: letters of either case, and `*` for any number of any characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Takes the text.
    pub fn new(text: &str) -> Self {
        Self(text.to_lowercase())
    }

    /// Whether a name matches one of them, or there are none to match.
    pub(crate) fn any(patterns: &[Self], name: &str) -> bool {
        patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(name))
    }

    /// Whether a name matches.
    ///
    /// # Example
    ///
    /// ```
    /// use taskwright_store::Pattern;
    ///
    /// assert!(Pattern::new("email.*").matches("Email.Welcome"));
    /// assert!(!Pattern::new("email").matches("email.welcome"));
    /// ```
    pub fn matches(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else { return false };
        let mut last = None;
        for part in parts {
            if let Some(middle) = last.replace(part) {
                let Some(at) = rest.find(middle) else { return false };
                rest = &rest[at + middle.len()..];
            }
        }
        last.map_or(rest.is_empty(), |last| rest.ends_with(last))
    }

    /// The text, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which part of a listing. Jobs come in the order of their insertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Go on after this job.
    pub after: Option<JobId>,
    /// How many at most; held at [`PAGE_ROWS_MAX`](taskwright_core::limit::PAGE_ROWS_MAX).
    pub limit: usize,
    /// Whether the oldest come first instead of the newest.
    pub oldest_first: bool,
}

/// A part of a listing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Paged {
    /// The jobs.
    pub jobs: Vec<JobView>,
    /// Where to go on; `None` at the end. A page may be short, even empty, and still go on: a store looks at a
    /// bounded number of rows for one page.
    pub next: Option<JobId>,
}

/// A job in a listing.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JobView {
    /// Its id.
    pub id: JobId,
    /// The task.
    pub kind: Kind,
    /// Where it is in its life.
    pub state: State,
    /// The queue.
    pub queue: QueueName,
    /// The priority.
    pub priority: Priority,
    /// The tenant.
    pub namespace: Namespace,
    /// Whose it is.
    pub owner: Option<Owner>,
    /// The generator in whose queue it is.
    pub generator: Option<GeneratorName>,
    /// What that calls it, if it is one of its items, or a dead letter.
    pub item_key: Option<String>,
    /// Attempts used, with the one that runs.
    pub attempt: u32,
    /// How many executions it gets; `none` is no limit.
    #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub max_attempts: MaxAttempts,
    /// When it was stored.
    pub created_at: Timestamp,
    /// When it may run, or could have.
    pub run_at: Timestamp,
    /// When the newest attempt was claimed.
    pub claimed_at: Option<Timestamp>,
    /// When it reached its terminal state.
    pub ended_at: Option<Timestamp>,
    /// Who runs it now, or ran it last.
    pub worker: Option<WorkerId>,
    /// How far it is, while it runs.
    pub progress: Option<Progress>,
    /// Whether somebody asked for it to be cancelled.
    pub cancel_requested: bool,
    /// What went wrong last, or why it ended.
    pub error: Option<String>,
    /// When whoever submitted it had read how it ended. Listing it is not reading it.
    pub consumed_at: Option<Timestamp>,
}

impl JobView {
    /// How many attempts came to nothing: all that were used, but for the one that runs or completed.
    pub fn failures(&self) -> u32 {
        let last = matches!(self.state, State::Running | State::Completed);
        self.attempt.saturating_sub(u32::from(last))
    }
}

fn as_text<T: std::fmt::Display, S: serde::Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn from_text<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: std::str::FromStr<Err = taskwright_core::Error>,
    D: serde::Deserializer<'de>,
{
    let text = <String as serde::Deserialize>::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

/// Everything about a job but its log.
#[derive(Clone, Debug, PartialEq)]
pub struct JobDetail {
    /// What a listing shows.
    pub view: JobView,
    /// The arguments.
    pub args: Args,
    /// Its own back-off.
    pub backoff: Option<Backoff>,
    /// Its own time limit.
    pub timeout: Option<std::time::Duration>,
    /// What happens when its worker is lost.
    pub delivery: Delivery,
    /// Its unique key, while it holds it.
    pub unique: Option<String>,
    /// Its result.
    pub result: Option<String>,
    /// Its attempts, oldest first, without the one that runs.
    pub attempts: Vec<AttemptRecord>,
    /// Its moves, oldest first.
    pub timeline: Vec<TimelineEntry>,
    /// What people said about it, oldest first.
    pub comments: Vec<Comment>,
}

/// One move of a job.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TimelineEntry {
    /// When.
    pub at: Timestamp,
    /// Why; `None` for its creation, and for a change that moved nothing (its priority).
    pub cause: Option<Cause>,
    /// The state it moved to.
    pub to: State,
    /// Who moved it.
    pub actor: Actor,
    /// Why, in words.
    pub reason: Option<String>,
}

/// A piece of a job's log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogChunk {
    /// Its number within the job, from 0.
    pub number: u64,
    /// The attempt that wrote it.
    pub attempt: u32,
    /// When.
    pub at: Timestamp,
    /// Where it came from.
    pub stream: LogStream,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// A queue.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct QueueView {
    /// The tenant.
    pub namespace: Namespace,
    /// The name.
    pub name: QueueName,
    /// Whether nothing is claimed from it.
    pub paused: bool,
    /// Available jobs, counted up to [`COUNT_MAX`](Self::COUNT_MAX).
    pub available: u64,
    /// Running jobs.
    pub running: u64,
    /// Scheduled, retryable, held and blocked jobs, counted up to [`COUNT_MAX`](Self::COUNT_MAX).
    pub waiting: u64,
    /// Since when the job waits that has been available for longest.
    pub oldest_available: Option<Timestamp>,
}

impl QueueView {
    /// Counts stop here: nobody acts differently on a larger number, and counting on would read the whole table.
    pub const COUNT_MAX: u64 = 100_000;
}

/// A worker.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WorkerView {
    /// This incarnation.
    pub id: WorkerId,
    /// The machine.
    pub host: String,
    /// The process.
    pub pid: u32,
    /// What is known about its life.
    pub state: WorkerState,
    /// What it was told to do.
    pub order: Option<Order>,
    /// How many jobs it runs at once.
    pub concurrency: u32,
    /// The queues it serves; empty is all.
    pub queues: Vec<String>,
    /// Jobs that it holds.
    pub running: u64,
    /// When it registered.
    pub started_at: Timestamp,
    /// When it was heard of last.
    pub seen_at: Timestamp,
    /// What it has to say about itself.
    pub remark: Option<String>,
}
