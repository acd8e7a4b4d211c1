//! How a service is.

use std::time::Duration;

use taskwright_core::limit::ERROR_BYTES_MAX;
use taskwright_core::name::clipped;
use taskwright_core::service::{self, Cause, ServiceState};
use taskwright_core::{Error, ServiceName, Timestamp};

use super::container::Stopped;

/// How a service is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Its name.
    pub name: ServiceName,
    /// Where it is in its life.
    pub state: ServiceState,
    /// Since when.
    pub since: Timestamp,
    /// How often it was started again by its policy, since its owner started it.
    pub restarts: u64,
    /// When it is started again, while it waits for that.
    pub restart_at: Option<Timestamp>,
    /// What went wrong last, however long ago.
    pub last_error: Option<LastError>,
}

/// What went wrong with a service.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastError {
    /// When.
    pub at: Timestamp,
    /// What.
    pub error: String,
}

impl Status {
    /// Whether nothing of it runs, and nothing will unless somebody starts it.
    pub fn is_at_rest(&self) -> bool {
        !self.state.is_live() && self.restart_at.is_none()
    }
}

/// What everybody who has to do with a service sees and changes, one at a time.
#[derive(Clone, Debug)]
pub(super) struct Board {
    pub(super) status: Status,
    /// Counts how often its owner has started it: what belongs to an earlier life changes nothing any more.
    pub(super) life: u64,
    /// How the first start of this life went, once it has.
    pub(super) first: Option<Result<(), String>>,
    /// What it was told. This is flag and wake-up in one: nobody can see one without the other.
    pub(super) stop: Option<StopOrder>,
    /// How it stopped, once it has.
    pub(super) stopped: Option<Stopped>,
}

/// Somebody tells a service to stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct StopOrder {
    /// When it is dropped (monotonic microseconds).
    pub(super) by_us: u64,
    pub(super) limit: Duration,
}

impl Board {
    pub(super) fn new(name: ServiceName, now: Timestamp) -> Self {
        let status = Status {
            name,
            state: ServiceState::Idle,
            since: now,
            restarts: 0,
            restart_at: None,
            last_error: None,
        };
        Self { status, life: 0, first: None, stop: None, stopped: None }
    }

    /// Moves, if the table allows it.
    pub(super) fn step(&mut self, cause: Cause, to: ServiceState, now: Timestamp) -> Result<(), Error> {
        service::check(self.status.state, cause, to)?;
        (self.status.state, self.status.since, self.status.restart_at) = (to, now, None);
        Ok(())
    }

    pub(super) fn note_error(&mut self, at: Timestamp, error: &str) {
        self.status.last_error = Some(LastError { at, error: clipped(error, ERROR_BYTES_MAX) });
    }
}
