//! Flushes to the disk, which are what a durable store spends most of its time on, and their count.
//!
//! SQLite does not tell how often it flushes, so the count follows from what it does in WAL mode with
//! `synchronous = FULL` (<https://www.sqlite.org/pragma.html#pragma_synchronous>): a commit flushes the log; the first one
//! after the log was begun anew also flushes its header; a checkpoint flushes the log before it moves pages, and the
//! database file once nothing is left to move. docs/benchmarks.md compares it with what
//! strace counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// Pages in the log at which a writer moves them on, however busy it is: 4 MB. An idle writer does so earlier, so
/// that a busy one seldom has to.
pub(super) const CHECKPOINT_PAGES: u32 = 1_000;

/// Flushes since a store was opened, by its writer.
#[derive(Debug, Default)]
pub(super) struct Flushes {
    count: AtomicU64,
    /// Pages in the log after the last commit, and how many of them have been moved since it was begun.
    pages: AtomicU64,
    moved: AtomicU64,
}

impl Flushes {
    /// Notes a commit, after which the log has so many pages; whether it has become so long that it is to be moved on.
    pub(super) fn committed(&self, pages: u64) -> bool {
        let before = self.pages.swap(pages, Ordering::Relaxed);
        let is_new_log = pages <= before || before == 0;
        if is_new_log {
            self.moved.store(0, Ordering::Relaxed);
        }
        self.add(1 + u64::from(is_new_log));
        pages >= u64::from(CHECKPOINT_PAGES)
    }

    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Notes a checkpoint: of `in_log` pages in the log, `moved` are in the database file by now (negative: unknown).
    pub(super) fn checkpointed(&self, in_log: i64, moved: i64) {
        let (in_log, moved) = (u64::try_from(in_log).unwrap_or(0), u64::try_from(moved).unwrap_or(0));
        if moved > self.moved.swap(moved, Ordering::Relaxed) {
            self.add(1 + u64::from(moved == in_log));
        }
    }

    fn add(&self, flushes: u64) {
        self.count.fetch_add(flushes, Ordering::Relaxed);
    }
}
