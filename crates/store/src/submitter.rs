//! What those who submit jobs do with them besides.

use taskwright_core::{Actor, JobId, NewJob, Owner, Timestamp};

use crate::{Enqueued, Reply};

/// What a store does for submitters. Part of [`Store`](crate::Store).
///
/// # Errors
///
/// As for every call of a [`Store`](crate::Store).
pub trait SubmitterStore: Send + Sync + 'static {
    /// Puts a comment on a job; `false`, and nothing is done, when there is no such job.
    ///
    /// # Errors
    ///
    /// When the text is [not accepted](taskwright_core::limit::check_comment), or there are
    /// [too many](taskwright_core::limit::COMMENTS_MAX) on the job.
    fn comment(&self, now: Timestamp, job: JobId, actor: Actor, text: String) -> Reply<'_, bool>;

    /// Notes that the owner of jobs has read how they ended. Answers in their order whether this call noted it: not for a job that
    /// is not over, that is somebody else's, or of which it was noted before. At most
    /// [`CONSUME_JOBS_MAX`](taskwright_core::limit::CONSUME_JOBS_MAX).
    fn consume(&self, now: Timestamp, jobs: Vec<JobId>, owner: Owner) -> Reply<'_, Vec<bool>>;

    /// Stores the jobs of a request, unless one with its key was there within the last
    /// [`REQUEST_KEPT`](taskwright_core::limit::REQUEST_KEPT): then its jobs are told, or that it asked for something else. Of several
    /// with the same key that come at once, one stores its jobs. What is known of the request is written in the transaction of its
    /// jobs.
    fn enqueue_once(&self, now: Timestamp, request: RequestKey, jobs: Vec<NewJob>) -> Reply<'_, Requested>;
}

/// What a request is known by that may be sent twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestKey {
    /// A hash of who sends it, where, and of what they call it.
    pub key: [u8; 32],
    /// A hash of what it asks for.
    pub body: [u8; 32],
}

/// What became of a request that may be sent twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requested {
    /// It is the first: each of its jobs, in their order.
    Stored(Vec<Enqueued>),
    /// It was there before: the jobs that it was answered with then. They may be gone by now.
    Again(Vec<JobId>),
    /// Another one was there with its key, that asked for something else. Nothing was stored.
    Other,
}

impl Requested {
    /// For one that was there before.
    pub(crate) fn again(request: &RequestKey, body: &[u8], jobs: &[u8]) -> Self {
        if body != request.body {
            return Self::Other;
        }
        let (jobs, _) = jobs.as_chunks::<16>();
        Self::Again(jobs.iter().map(|id| JobId::from_bytes(*id)).collect())
    }
}

/// The jobs of a request, as they are kept with it.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) fn ids(stored: &[Enqueued]) -> Vec<u8> {
    stored.iter().flat_map(|one| *one.id.as_bytes()).collect()
}

/// From when on requests are known, at that moment.
pub(crate) fn known_since(now: Timestamp) -> Timestamp {
    now.minus(taskwright_core::limit::REQUEST_KEPT)
}

/// What somebody said about a job.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Comment {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// What.
    pub text: String,
}

/// Refuses more than one call may ask about: the same on every store.
pub(crate) fn check_consume(jobs: &[JobId]) -> Result<(), crate::Error> {
    use taskwright_core::limit::CONSUME_JOBS_MAX;
    if jobs.len() <= CONSUME_JOBS_MAX {
        return Ok(());
    }
    let refused = taskwright_core::Error::too_large(
        format!("{} jobs whose end was read", jobs.len()),
        format!("one call takes at most {CONSUME_JOBS_MAX}"),
        "tell of them in several calls",
    );
    Err(refused.into())
}

/// Refuses one comment more on a job that has as many as it may.
pub(crate) fn check_count(comments: usize) -> Result<(), crate::Error> {
    use taskwright_core::limit::COMMENTS_MAX;
    if comments < COMMENTS_MAX {
        return Ok(());
    }
    let refused = taskwright_core::Error::too_large(
        "the comments on the job",
        format!("there are {comments}, and no more are allowed"),
        "write what is to be remembered somewhere else, and put a link to it here",
    );
    Err(refused.into())
}
