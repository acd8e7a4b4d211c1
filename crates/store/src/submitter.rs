//! What those who submit jobs do with them besides.

use taskwright_core::{Actor, JobId, Namespace, NewJob, Owner, Timestamp};

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

    /// Whose a job is; `None` when there is none. It costs the same however large the job is: nothing else of it is read.
    fn whose(&self, job: JobId) -> Reply<'_, Option<Whose>>;
}

/// Whose a job is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whose {
    /// In which namespace it is.
    pub namespace: Namespace,
    /// Who has submitted it, if that is known.
    pub owner: Option<Owner>,
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
    /// It was there before: what it was answered with then. The jobs may be gone by now.
    Again(Vec<Enqueued>),
    /// Another one was there with its key, that asked for something else. Nothing was stored.
    Other,
}

impl Requested {
    /// For one that was there before.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) fn again(request: &RequestKey, body: &[u8], jobs: &[u8]) -> Self {
        if body != request.body {
            return Self::Other;
        }
        Self::Again(kept_answer(jobs))
    }
}

/// What a request was answered with, as it is kept: its ids, and, if some of the jobs were there already, a bit for each of them, then
/// zeros so that the whole is no number of ids, and how many jobs there are.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) fn keep_answer(stored: &[Enqueued]) -> Vec<u8> {
    let mut kept: Vec<u8> = stored.iter().flat_map(|one| *one.id.as_bytes()).collect();
    if stored.iter().any(|one| one.existing) {
        let bits = |eight: &[Enqueued]| {
            eight.iter().enumerate().fold(0, |bits, (at, one)| bits | u8::from(one.existing) << at)
        };
        kept.extend(stored.chunks(8).map(bits));
        if (kept.len() + COUNT_BYTES).is_multiple_of(ID_BYTES) {
            kept.push(0);
        }
        // One call stores 10,000 jobs at most.
        kept.extend(u32::try_from(stored.len()).unwrap_or(0).to_le_bytes());
    }
    kept
}

/// Reads what [`keep_answer`] gives. Of a program of before, whose answers have no bits, all jobs count as new.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
fn kept_answer(kept: &[u8]) -> Vec<Enqueued> {
    let count = match kept.last_chunk::<COUNT_BYTES>() {
        Some(count) if !kept.len().is_multiple_of(ID_BYTES) => u32::from_le_bytes(*count) as usize,
        _ => kept.len() / ID_BYTES,
    };
    let (ids, bits) = kept.split_at((count * ID_BYTES).min(kept.len()));
    let is_existing = |at: usize| bits.get(at / 8).is_some_and(|bits| bits >> (at % 8) & 1 == 1);
    let (ids, _) = ids.as_chunks::<ID_BYTES>();
    let one = |(at, id): (usize, &[u8; ID_BYTES])| Enqueued {
        id: JobId::from_bytes(*id),
        existing: is_existing(at),
    };
    ids.iter().enumerate().map(one).collect()
}

#[cfg(any(feature = "postgres", feature = "sqlite"))]
const ID_BYTES: usize = 16;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
const COUNT_BYTES: usize = 4;

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

#[cfg(all(test, any(feature = "postgres", feature = "sqlite")))]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_kept_with_what_was_there_already() {
        let one = |at: usize, existing| {
            let mut id = [7; ID_BYTES];
            id[..8].copy_from_slice(&(at as u64).to_le_bytes());
            Enqueued { id: JobId::from_bytes(id), existing }
        };
        for count in (0..300).chain([9_999, 10_000]) {
            for every in [1, 3, 100, usize::MAX] {
                let stored: Vec<_> = (0..count).map(|at| one(at, at % every == every / 2)).collect();
                let kept = keep_answer(&stored);
                assert_eq!(kept_answer(&kept), stored, "{count} {every}");
                // So that a program of before reads a short answer as it was.
                assert!(count > 80 || kept.len() / ID_BYTES == count, "{count}: {}", kept.len());
            }
        }
        // What such a program has kept.
        let ids: Vec<u8> = (0..5).flat_map(|at| *one(at, false).id.as_bytes()).collect();
        assert_eq!(kept_answer(&ids), (0..5).map(|at| one(at, false)).collect::<Vec<_>>());
    }
}
