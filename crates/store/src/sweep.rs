//! What the duties find.

use std::time::Duration;

use taskwright_core::sight::{Sight, overdue};
use taskwright_core::{Timestamp, WorkerId};

use crate::worker::lease_expired;

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
    /// For how long whoever looked has had the store in sight by now.
    pub sight: Sight,
}

/// How soon to look again at a worker whose lease ran out while nobody may have been able to renew one.
pub(crate) const SEEMS_LOST_AGAIN_IN: Duration = Duration::from_millis(500);

/// What speaks for it that a worker is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It is gone, in words how.
    Certain(&'static str),
    /// Its lease ran out, but whoever looks has not had the store in sight for long enough.
    Seeming,
    /// It should have renewed its lease by now.
    Overdue,
}

impl Loss {
    /// What its lease tells of a worker, to whoever has had the store in sight for as long as that lasts, or not.
    pub(crate) fn by_lease(
        lease: Duration,
        lease_until_us: u64,
        now_us: u64,
        in_sight: bool,
    ) -> Option<Self> {
        match lease_expired(lease_until_us, now_us) {
            true if in_sight => Some(Self::Certain("its lease ran out")),
            true => Some(Self::Seeming),
            false => overdue(lease, lease_until_us, now_us).then_some(Self::Overdue),
        }
    }

    pub(crate) fn certain(self) -> Option<&'static str> {
        match self {
            Self::Certain(how) => Some(how),
            Self::Seeming | Self::Overdue => None,
        }
    }
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
