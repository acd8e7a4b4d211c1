//! Bulk jobs as a store keeps them: the parent, which is a job that is blocked until its items are settled, and what is told of
//! these. The items are those of a generator, which is stored together with the parent.

use taskwright_core::bulk::End;
use taskwright_core::{Cause, GeneratorName, JobId, Namespace, NewJob, State, Timestamp};

use crate::claim::JobKey;
use crate::finish::Progress;
use crate::generator::NewGenerator;
use crate::{Enqueued, Reply};

/// What a store does for bulk jobs. Part of [`Store`](crate::Store).
///
/// # Errors
///
/// As for every call of a [`Store`](crate::Store).
pub trait BulkStore: Send + Sync + 'static {
    /// Stores the parent of a bulk, blocked, and the generator of its items, both or neither. A parent whose id is stored already
    /// is left alone, with its generator, and answered as existing. Unique keys, holds and times of the parent count for nothing.
    fn create_bulk(&self, now: Timestamp, bulk: NewBulk) -> Reply<'_, Enqueued>;

    /// What is told of the bulk of this parent; `None` when that is no parent of a bulk, or no more.
    fn bulk(&self, parent: JobId) -> Reply<'_, Option<StoredBulk>>;

    /// Bulks of one namespace or of all, the newest first, behind `after`, at most `limit`.
    fn bulks(
        &self,
        namespace: Option<Namespace>,
        after: Option<JobKey>,
        limit: usize,
    ) -> Reply<'_, Vec<StoredBulk>>;
}

/// A bulk that is to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct NewBulk {
    /// The job that stands for it.
    pub parent: NewJob,
    /// The generator that makes its items.
    pub generator: NewGenerator,
    /// As JSON: a [`Definition`](taskwright_core::bulk::Definition).
    pub definition: String,
    /// As JSON: a [`Tally`](taskwright_core::bulk::Tally).
    pub tally: String,
    /// How far it is.
    pub progress: Progress,
}

/// What is told of a bulk. It stays for as long as the parent.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StoredBulk {
    /// The number of the parent: what a list goes on behind.
    pub key: JobKey,
    /// The parent.
    pub parent: JobId,
    /// The tenant.
    pub namespace: Namespace,
    /// The generator of its items, which is gone once the bulk is over.
    pub generator: GeneratorName,
    /// As JSON: a [`Definition`](taskwright_core::bulk::Definition).
    pub definition: String,
    /// As JSON: a [`Tally`](taskwright_core::bulk::Tally). It is the result of a parent that completed.
    pub tally: String,
}

/// What the generator of a bulk writes about it with a commit: an [`Effect`](crate::Effect).
///
/// The commit is stale, and does nothing, when the parent is not as is said here.
#[derive(Clone, Debug, PartialEq)]
pub struct BulkWrite {
    /// The parent.
    pub parent: JobId,
    /// Whether the parent is over, or gone; otherwise it is blocked.
    pub is_over: bool,
    /// As JSON: a [`Tally`](taskwright_core::bulk::Tally).
    pub tally: String,
    /// How far it is.
    pub progress: Progress,
    /// What becomes of the parent now. The generator is removed then.
    pub end: Option<End>,
}

/// Why and where a parent moves that ends so, and the reason that is told; `None` for it has ended before.
pub(crate) fn moves_to(end: &End) -> Option<(Cause, State, Option<&str>)> {
    match end {
        End::Completed => Some((Cause::Complete, State::Completed, None)),
        End::Failed { reason } => Some((Cause::Fail, State::Failed, Some(reason))),
        End::Cancelled => None,
    }
}

/// What is said to whoever would run a parent again.
pub(crate) const NOT_REDONE: &str =
    "it is the parent of a bulk; `taskwright bulk retry` runs again what failed";
