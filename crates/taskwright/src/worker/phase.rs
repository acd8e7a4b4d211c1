//! How far a worker incarnation is in its life.

use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::watch;

/// How far a worker incarnation is in its life. It only goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Claims and runs.
    Claiming,
    /// Runs what it holds and claims nothing more.
    Quiet,
    /// Is to be replaced: gives back what it has not started, and ends when what runs has ended.
    Recycling,
    /// Shuts down: nothing more is started.
    Stopping,
    /// Its lease could not be renewed, since the store was away: nothing runs any more, and what there is to write is written
    /// once the store is back, unless somebody has taken the jobs by then.
    Lapsed,
    /// Its jobs are no longer its own: nothing more is written.
    Lost,
}

/// The phase, for whoever looks and for whoever waits.
pub(crate) struct PhaseCell {
    watch: watch::Sender<Phase>,
    /// The same phase, for the look before every job.
    code: AtomicU8,
}

impl PhaseCell {
    pub(crate) fn new() -> Self {
        Self { watch: watch::Sender::new(Phase::Claiming), code: AtomicU8::new(Phase::Claiming as u8) }
    }

    /// Goes on to a later phase; an earlier one changes nothing.
    pub(crate) fn raise(&self, to: Phase) {
        self.watch.send_if_modified(|phase| {
            let later = *phase < to;
            if later {
                *phase = to;
                self.code.store(to as u8, Ordering::SeqCst);
            }
            later
        });
    }

    /// Goes on to a later phase from the first, and does `first` before anybody sees that; nothing when it has left the
    /// first already.
    pub(crate) fn leave_claiming(&self, to: Phase, first: impl FnOnce()) {
        self.watch.send_if_modified(|phase| {
            let claiming = *phase == Phase::Claiming;
            if claiming {
                first();
                *phase = to;
                self.code.store(to as u8, Ordering::SeqCst);
            }
            claiming
        });
    }

    pub(crate) fn is_at_least(&self, phase: Phase) -> bool {
        self.code.load(Ordering::SeqCst) >= phase as u8
    }

    pub(crate) fn is(&self, phase: Phase) -> bool {
        self.code.load(Ordering::SeqCst) == phase as u8
    }

    pub(crate) async fn reached(&self, phase: Phase) {
        // The sender lives in `self`, so the channel cannot close while we wait.
        let _ = self.watch.subscribe().wait_for(|now| *now >= phase).await;
    }
}
