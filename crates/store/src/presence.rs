//! Who is there: a file per worker, locked for as long as its process lives.
//!
//! The kernel drops the lock when the process ends, however it ends, so that every other process on the machine can see
//! a death at once and without a time-out. The same file holds the worker's start marks: a ring of
//! (seq, attempt) pairs, written without a flush, which a kill does not lose and a power cut may. After a power cut the
//! boot id differs and the marks are not believed.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FlockOperation, flock};
use taskwright_core::WorkerId;

use crate::claim::JobKey;
use crate::worker::StartMarks;

/// Marks that are kept: more than a worker can hold at once, so that every job it holds and started is among them.
const MARKS_MAX: u64 = 16_384;

/// Bytes of a mark: seq, attempt, and padding to keep every mark within one page.
const MARK_BYTES: usize = 16;

/// The directory of the presence files of one store.
#[derive(Clone, Debug)]
pub(crate) struct Presence {
    directory: PathBuf,
}

impl Presence {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Establishes the presence of a worker of this process; it lasts until the value is dropped.
    pub(crate) fn enter(&self, worker: WorkerId) -> io::Result<Present> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.path(worker))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Present { file, next: Mutex::new(0), broken: AtomicBool::new(false) })
    }

    /// Whether the process of a worker lives. When that cannot be found out, it does: its lease will tell.
    pub(crate) fn is_present(&self, worker: WorkerId) -> bool {
        let file = match File::open(self.path(worker)) {
            Ok(file) => file,
            Err(error) => return error.kind() != io::ErrorKind::NotFound,
        };
        // Getting the lock proves that nobody holds it; closing the file gives it back.
        flock(&file, FlockOperation::NonBlockingLockShared).is_err()
    }

    /// The marks that a worker left; `None` when there are none to be believed.
    pub(crate) fn marks(&self, worker: WorkerId) -> Option<HashSet<(i64, u32)>> {
        let mut bytes = Vec::new();
        File::open(self.path(worker)).and_then(|mut file| file.read_to_end(&mut bytes)).ok()?;
        if bytes.len() % MARK_BYTES != 0 {
            return None;
        }
        Some(bytes.chunks_exact(MARK_BYTES).filter_map(decode).collect())
    }

    /// Removes what a gone worker left.
    pub(crate) fn forget(&self, worker: WorkerId) {
        // A file that stays behind is harmless: worker ids are never used again.
        drop(std::fs::remove_file(self.path(worker)));
    }

    fn path(&self, worker: WorkerId) -> PathBuf {
        self.directory.join(format!("{worker}.worker"))
    }
}

/// The presence of one worker of this process.
pub(crate) struct Present {
    file: File,
    next: Mutex<u64>,
    /// Marks could not be written: the file has been made unbelievable instead.
    broken: AtomicBool,
}

impl Present {
    /// Takes back the marks of attempts that were not counted: a later claim by this worker has the same numbers.
    ///
    /// Once that is committed, and not before: should the process end in between, the job is no longer its own.
    pub(crate) fn unstart(&self, fences: &HashSet<(i64, u32)>) {
        if fences.is_empty() {
            return;
        }
        let mut bytes = vec![0; usize::try_from(MARKS_MAX).unwrap_or(0) * MARK_BYTES];
        let read = self.file.read_at(&mut bytes, 0).unwrap_or(0);
        for (slot, mark) in (0..).zip(bytes[..read].chunks_exact(MARK_BYTES)) {
            if decode(mark).is_some_and(|mark| fences.contains(&mark)) {
                // A mark that stays makes a job count as started that was not: as everywhere without marks.
                drop(self.file.write_all_at(&[0; MARK_BYTES], slot * MARK_BYTES as u64));
            }
        }
    }

    /// Ends the presence now, whoever else still holds the value for its marks.
    pub(crate) fn leave(&self) {
        // Should the system refuse, the lease tells.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

impl StartMarks for Present {
    fn started(&self, key: JobKey, attempt: u32) {
        let slot = {
            let mut next = self.next.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let slot = *next % MARKS_MAX;
            *next += 1;
            slot
        };
        let written = self.file.write_all_at(&encode(key.0, attempt), slot * MARK_BYTES as u64);
        if written.is_err() && !self.broken.swap(true, Ordering::Relaxed) {
            // Half a mark at the end says that marks are missing, and every job then counts as started.
            let end = MARKS_MAX * MARK_BYTES as u64;
            drop(self.file.write_all_at(&[1], end));
            tracing::warn!(
                "start marks cannot be written; if this worker is lost, all its jobs count as started"
            );
        }
    }
}

fn encode(seq: i64, attempt: u32) -> [u8; MARK_BYTES] {
    let mut mark = [0; MARK_BYTES];
    mark[..8].copy_from_slice(&seq.to_le_bytes());
    mark[8..12].copy_from_slice(&attempt.to_le_bytes());
    mark
}

fn decode(mark: &[u8]) -> Option<(i64, u32)> {
    let seq = i64::from_le_bytes(mark.get(..8)?.try_into().ok()?);
    let attempt = u32::from_le_bytes(mark.get(8..12)?.try_into().ok()?);
    (attempt > 0).then_some((seq, attempt))
}

/// Tells one run of the machine from the next. Empty where the machine does not say; then every restart looks alike and
/// leases decide.
pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker() -> WorkerId {
        WorkerId::from_parts(1, [1; 10])
    }

    #[test]
    fn a_worker_is_present_until_its_handle_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let presence = Presence::new(directory.path().to_owned());
        assert!(!presence.is_present(worker()));
        let present = presence.enter(worker()).unwrap();
        assert!(presence.is_present(worker()));
        drop(present);
        assert!(!presence.is_present(worker()));
    }

    #[test]
    fn marks_outlive_the_worker_and_the_newest_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let presence = Presence::new(directory.path().to_owned());
        let present = presence.enter(worker()).unwrap();
        let last = i64::try_from(MARKS_MAX).unwrap() + 10;
        (1..=last).for_each(|seq| present.started(JobKey(seq), 2));
        drop(present);
        let marks = presence.marks(worker()).unwrap();
        assert!(marks.contains(&(last, 2)) && marks.contains(&(11, 2)));
        assert!(!marks.contains(&(10, 2)) && !marks.contains(&(last, 1)));
    }

    #[test]
    fn the_mark_of_an_attempt_that_was_not_counted_can_be_taken_back() {
        let directory = tempfile::tempdir().unwrap();
        let presence = Presence::new(directory.path().to_owned());
        let present = presence.enter(worker()).unwrap();
        (1..=3).for_each(|seq| present.started(JobKey(seq), 1));
        present.unstart(&HashSet::from([(2, 1), (3, 2)]));
        assert_eq!(presence.marks(worker()).unwrap(), HashSet::from([(1, 1), (3, 1)]));
    }

    #[test]
    fn a_torn_file_of_marks_is_not_believed() {
        let directory = tempfile::tempdir().unwrap();
        let presence = Presence::new(directory.path().to_owned());
        let present = presence.enter(worker()).unwrap();
        present.started(JobKey(1), 1);
        std::fs::write(presence.path(worker()), [0; MARK_BYTES + 1]).unwrap();
        assert_eq!(presence.marks(worker()), None);
    }
}
