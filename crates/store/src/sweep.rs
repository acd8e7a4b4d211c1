//! What the duties find.

use std::time::Duration;

use taskwright_core::{Timestamp, WorkerId};

/// What a promotion did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promoted {
    /// Jobs that are available now.
    pub promoted: usize,
    /// Held jobs that were dropped.
    pub expired: usize,
    /// When the next one is due; a moment that has passed when the limit cut the work short.
    pub next_due: Option<Timestamp>,
}

/// What a reclaim found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// The workers that were found gone by this call.
    pub workers: Vec<LostWorker>,
    /// When to look again, sooner than usual, if at all: some worker seems to be gone, and a little later that will be
    /// certain.
    pub look_again_in: Option<Duration>,
}

/// One worker that is gone, and what became of its jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostWorker {
    /// The worker.
    pub id: WorkerId,
    /// Its process.
    pub pid: u32,
    /// How its loss was noticed, in words.
    pub how: String,
    /// Jobs that had been started and are available again.
    pub requeued: usize,
    /// Jobs that had not been started and are available again, their attempt unspent.
    pub given_back: usize,
    /// Jobs that ended: failed, dropped or cancelled.
    pub ended: usize,
}

impl LostWorker {
    /// A lost worker whose jobs have not been decided about.
    pub(crate) fn of(id: WorkerId, pid: u32, how: &str) -> Self {
        Self { id, pid, how: how.to_owned(), requeued: 0, given_back: 0, ended: 0 }
    }
}
