//! Flushes to the disk, which are what a durable store spends most of its time on, and their count.
//!
//! SQLite does not tell how often it flushes, so the count follows from what it does in WAL mode with
//! `synchronous = FULL` (<https://www.sqlite.org/pragma.html#pragma_synchronous>): a commit flushes the log; the first one
//! after the log was begun anew also flushes its header; a checkpoint flushes the log before it moves pages, and the
//! database file once nothing is left to move. docs/benchmarks.md compares it with what
//! strace counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;
use rusqlite::hooks::Wal;
use rusqlite::wal::CheckpointMode;

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
    /// Has the connection tell of its commits, and move the log on when it is long: what `wal_autocheckpoint` does, but
    /// so that it is seen.
    pub(super) fn watch(self: &Arc<Self>, conn: &mut Connection) -> rusqlite::Result<()> {
        let flushes = Arc::clone(self);
        conn.wal_hook(Some(move |wal: &mut Wal, pages| {
            flushes.committed(u64::try_from(pages).unwrap_or(0));
            if pages >= CHECKPOINT_PAGES as i32 {
                match wal.checkpoint_v2(CheckpointMode::PASSIVE) {
                    Ok((in_log, moved)) => flushes.checkpointed(i64::from(in_log), i64::from(moved)),
                    // The commit stands, and the next one tries again.
                    Err(error) => {
                        tracing::debug!(%error, "a checkpoint of the store failed; it is tried again");
                    }
                }
            }
            Ok(())
        }))
    }

    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn committed(&self, pages: u64) {
        let before = self.pages.swap(pages, Ordering::Relaxed);
        let is_new_log = pages <= before || before == 0;
        if is_new_log {
            self.moved.store(0, Ordering::Relaxed);
        }
        self.add(1 + u64::from(is_new_log));
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
