//! What can be asked, and what comes back.

use taskwright_core::limit::{SEARCH_BYTES_MAX, SEARCH_JOBS_MAX};
use taskwright_core::permission::Sight;
use taskwright_core::{
    Actor, Args, ArgsSearch, AttemptRecord, Backoff, Cause, Delivery, GeneratorName, JobId, Kind,
    MaxAttempts, Namespace, Owner, Pattern, Priority, QueueName, State, Timestamp, WorkerId,
};

use crate::finish::{LogStream, Progress};
use crate::submitter::Comment;
use crate::worker::{Order, WorkerState};

/// Which jobs: AND between the fields, OR within one. An empty list means any.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// These ids.
    pub ids: Vec<JobId>,
    /// Of these namespaces.
    pub namespaces: Namespaces,
    /// Kinds.
    pub kinds: Vec<Pattern>,
    /// Queues.
    pub queues: Vec<Pattern>,
    /// States.
    pub states: Vec<State>,
    /// Running on one of these workers now.
    pub workers: Vec<WorkerId>,
    /// Running on one of these workers now, or ran on it last.
    pub last_workers: Vec<WorkerId>,
    /// Of machines whose workers run it now, or ran it last.
    pub hosts: Vec<Pattern>,
    /// Owners.
    pub owners: Owners,
    /// Created at this moment or later.
    pub created_from: Option<Timestamp>,
    /// Created at this moment or earlier.
    pub created_to: Option<Timestamp>,
    /// Whose newest attempt was [claimed](JobView::claimed_at) at this moment or later. One that never ran is not among these, nor
    /// among those of the other bound.
    pub claimed_from: Option<Timestamp>,
    /// Whose newest attempt was claimed at this moment or earlier.
    pub claimed_to: Option<Timestamp>,
    /// [Over](JobView::ended_at) since this moment or a later one. What is not over is not among these, nor among those of the other
    /// bound.
    pub ended_from: Option<Timestamp>,
    /// Over since this moment or an earlier one.
    pub ended_to: Option<Timestamp>,
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
    /// Whether somebody [asked](JobView::cancel_requested) for it to be cancelled; `None` is either.
    pub cancel_requested: Option<bool>,
    /// What stands in its arguments. One page looks into those of a bounded number of jobs, which the other fields have left.
    pub args: ArgsSearch,
    /// What whoever asks may see; `None` is everything.
    pub sight: Option<Sight>,
}

impl Filter {
    /// Whether a job is one of these, as it is, by all but its arguments.
    pub fn matches(&self, job: &JobView) -> bool {
        (self.states.is_empty() || self.states.contains(&job.state))
            && Pattern::any(&self.kinds, job.kind.as_str())
            && Pattern::any(&self.queues, job.queue.as_str())
            && (self.ids.is_empty() || self.ids.contains(&job.id))
            && self.includes_worker(job)
            && self.owners.include(job.owner.as_ref())
            && self.includes_times(job)
            && self.includes_rank(job)
            && self.shows(job)
    }

    /// Whether a job is of the namespaces that are meant, and whoever asks may see it: nothing is told of others.
    pub(crate) fn shows(&self, job: &JobView) -> bool {
        self.namespaces.include(&job.namespace)
            && self.sight.as_ref().is_none_or(|sight| sight.includes(&job.namespace, job.owner.as_ref()))
    }

    fn includes_worker(&self, job: &JobView) -> bool {
        let is_of =
            |workers: &[WorkerId]| workers.is_empty() || job.worker.is_some_and(|id| workers.contains(&id));
        (self.workers.is_empty() || (job.state == State::Running && is_of(&self.workers)))
            && is_of(&self.last_workers)
            && (self.hosts.is_empty()
                || job.host.as_ref().is_some_and(|host| Pattern::any(&self.hosts, host)))
    }

    fn includes_times(&self, job: &JobView) -> bool {
        self.includes_creation(job.created_at)
            && is_within(job.claimed_at, self.claimed_from, self.claimed_to)
            && is_within(job.ended_at, self.ended_from, self.ended_to)
    }

    /// Whether a job that was created then may be one of these.
    pub(crate) fn includes_creation(&self, created_at: Timestamp) -> bool {
        is_within(Some(created_at), self.created_from, self.created_to)
    }

    fn includes_rank(&self, job: &JobView) -> bool {
        let (priority, failures) = (job.priority, job.failures());
        self.priority_from.is_none_or(|from| priority >= from)
            && self.priority_to.is_none_or(|to| priority <= to)
            && self.failures_from.is_none_or(|from| failures >= from)
            && self.failures_to.is_none_or(|to| failures <= to)
            && self.consumed.is_none_or(|consumed| job.consumed_at.is_some() == consumed)
            && self.cancel_requested.is_none_or(|requested| job.cancel_requested == requested)
    }
}

/// Whether a moment is between two, which are part of it. What has no moment is within no bounds.
fn is_within(moment: Option<Timestamp>, from: Option<Timestamp>, to: Option<Timestamp>) -> bool {
    match moment {
        Some(moment) => from.is_none_or(|from| moment >= from) && to.is_none_or(|to| moment <= to),
        None => from.is_none() && to.is_none(),
    }
}

/// How much of a search in arguments one page has done.
#[derive(Debug, Default)]
pub(crate) struct Searched {
    jobs: usize,
    bytes: usize,
}

impl Searched {
    /// Notes that arguments of so many bytes are looked into.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.jobs += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Whether a page ends here, whatever it has found.
    pub(crate) fn is_enough(&self) -> bool {
        self.jobs >= SEARCH_JOBS_MAX || self.bytes >= SEARCH_BYTES_MAX
    }
}

/// Which namespaces. There is no job without one: who names none has stored it in `default`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Namespaces {
    /// All.
    #[default]
    Any,
    /// These.
    Of(Vec<Namespace>),
}

impl Namespaces {
    /// Whether a namespace is one of them.
    pub fn include(&self, namespace: &Namespace) -> bool {
        self.include_name(namespace.as_str())
    }

    /// The same of a name.
    pub(crate) fn include_name(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Of(names) => names.iter().any(|namespace| namespace.as_str() == name),
        }
    }
}

/// One namespace, or all.
impl From<Option<Namespace>> for Namespaces {
    fn from(namespace: Option<Namespace>) -> Self {
        namespace.map_or(Self::Any, Self::from)
    }
}

/// This one alone.
impl From<Namespace> for Namespaces {
    fn from(namespace: Namespace) -> Self {
        Self::Of(vec![namespace])
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
        self.include_name(owner.map(Owner::as_str))
    }

    /// The same of a name.
    pub(crate) fn include_name(&self, owner: Option<&str>) -> bool {
        match (self, owner) {
            (Self::Any, _) | (Self::Nobody, None) => true,
            (Self::Of(patterns), Some(owner)) => patterns.iter().any(|pattern| pattern.matches(owner)),
            (Self::Nobody, Some(_)) | (Self::Of(_), None) => false,
        }
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
    /// bounded number of rows for one page. It is the id of a job of the filter's, or no job's.
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
    /// The machine of that worker.
    pub host: Option<String>,
    /// How far it is, while it runs.
    pub progress: Option<Progress>,
    /// Whether somebody asked for it to be cancelled: told while it runs, and from then on, until it is run once more. One that completed
    /// all the same has it, and every one that is cancelled; what was dropped never has.
    pub cancel_requested: bool,
    /// What went wrong last, or why it ended.
    pub error: Option<String>,
    /// When whoever submitted it had read how it ended. Listing it is not reading it.
    pub consumed_at: Option<Timestamp>,
}

/// Whether it is told of a job that somebody asked for it to be cancelled: of the attempt that runs, or, once it is over, in the life that it
/// has had since it was stored or run once more.
pub(crate) fn tells_cancel(state: State, of_attempt: bool, asked: bool) -> bool {
    match state {
        State::Running => of_attempt,
        // However it was brought about: nothing is cancelled without somebody who wants that.
        State::Cancelled => true,
        State::Completed | State::Failed => asked,
        _ => false,
    }
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
