//! What those who submit jobs do with them besides.

use taskwright_core::{Actor, JobId, Owner, Timestamp};

use crate::Reply;

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
