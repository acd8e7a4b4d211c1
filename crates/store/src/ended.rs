//! What is written about an attempt when it ends.

use taskwright_core::{Actor, Timestamp, WorkerId};

use crate::finish::Finish;
use crate::timeline::by_worker;

/// A running row, as far as its end needs it.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub(crate) attempt: u32,
    pub(crate) claimed_at: i64,
    pub(crate) flags: i64,
    pub(crate) cancel_requested: bool,
    /// Its lane, and since when it was available, where the row says so.
    #[cfg(feature = "sqlite")]
    pub(crate) place: Option<(i64, i64)>,
}

/// When and by whom an attempt was made, for its row.
pub(crate) struct Ended {
    pub(crate) worker: i64,
    pub(crate) attempt: u32,
    pub(crate) claimed_at: i64,
    pub(crate) started_at: Option<i64>,
    pub(crate) ended_at: i64,
    pub(crate) usage: Option<String>,
    pub(crate) now: i64,
    /// The worker whose doing it was; `None` for Taskwright itself.
    pub(crate) by: Option<WorkerId>,
}

impl Ended {
    pub(crate) fn of(end: &Finish, worker: i64, running: &Running, now: Timestamp, by: WorkerId) -> Self {
        Self {
            worker,
            attempt: end.attempt,
            claimed_at: running.claimed_at,
            started_at: Some(end.started_at.as_micros()),
            ended_at: end.ended_at.as_micros(),
            usage: usage_text(end),
            now: now.as_micros(),
            by: Some(by),
        }
    }

    /// For an attempt that was given back or lost: nobody knows when, or whether, it started.
    pub(crate) fn without_start(
        worker: i64,
        running: &Running,
        now: Timestamp,
        by: Option<WorkerId>,
    ) -> Self {
        let (attempt, claimed_at, now) = (running.attempt, running.claimed_at, now.as_micros());
        Self { worker, attempt, claimed_at, started_at: None, ended_at: now, usage: None, now, by }
    }

    /// How the timeline names who ended it.
    pub(crate) fn actor(&self) -> Actor {
        self.by.map_or_else(Actor::system, by_worker)
    }
}

pub(crate) fn usage_text(end: &Finish) -> Option<String> {
    // Usage is plain numbers: it cannot fail to be written.
    end.usage.as_ref().and_then(|usage| serde_json::to_string(usage).ok())
}
