//! Removing what is over for long, a bounded number of rows at a time.
//!
//! Which sorts there are and how long each is kept is for [`taskwright_core::retention`] to say; a store removes, or only finds, what
//! is older than a moment.

use taskwright_core::retention::Garbage;
use taskwright_core::{JobId, Timestamp};

use crate::Reply;
use crate::claim::JobKey;

/// The part of a [`Store`](crate::Store) that removes what is over.
///
/// # Errors
///
/// As for every call of a [`Store`](crate::Store).
pub trait CollectStore: Send + Sync + 'static {
    /// Removes some of the garbage of one sort, or only looks.
    ///
    /// Jobs are met in the order in which they were stored, up to [`limit`](Collect::limit) of them in one call, whether or not they
    /// are old enough; so a call may remove nothing and still have [more](Collected::more) to look at. What was never over,
    /// or is no more because it was run again, stays.
    fn collect(&self, collect: Collect) -> Reply<'_, Collected>;
}

/// What is to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collect {
    /// Of this sort.
    pub garbage: Garbage,
    /// What was over before this moment.
    pub before: Timestamp,
    /// Jobs that were stored after this one; `None` begins with the first. Other sorts always begin with the first.
    pub after: Option<JobKey>,
    /// How many rows at most.
    pub limit: usize,
    /// Whether to look only: nothing is removed, and [`Collected`] tells what would be.
    pub dry_run: bool,
}

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// How many.
    pub rows: usize,
    /// Which jobs; told by a dry run only.
    pub jobs: Vec<JobId>,
    /// Of jobs, where to go on; `None` at the end.
    pub next: Option<JobKey>,
    /// Whether the limit cut the work short.
    pub more: bool,
}

impl Collected {
    /// What came of removing up to `limit` rows that are not jobs.
    pub(crate) fn rows(rows: usize, limit: usize) -> Self {
        Self { rows, more: rows >= limit, ..Self::default() }
    }
}
