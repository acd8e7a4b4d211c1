//! Who does the duties: a small file in the run directory.
//!
//! It is not in the database, where every renewal would be a flush to the disk. All who may lead are processes of one
//! boot of one machine, so what a power cut loses nobody needs: there is no leader left whose fence could be compared.
//!
//! A leader is followed when its lease has run out, and at once when its process is gone: it holds a lock on a file of
//! its own, as a worker does (see [`presence`](crate::presence)).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use taskwright_core::WorkerId;

use crate::error::{Area, Error};
use crate::lead::Fence;
use crate::presence::{self, Presence, Present};

/// The way of one process to the lead.
pub(super) struct Lead {
    path: PathBuf,
    presence: Presence,
    boot: [u8; BOOT_BYTES],
    /// As whom this process leads, or has led.
    present: Mutex<Option<(WorkerId, Present)>>,
}

/// What the file holds: the newest leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Leader {
    node: WorkerId,
    fence: u64,
    /// In monotonic microseconds of that boot.
    until_us: u64,
    boot: [u8; BOOT_BYTES],
}

/// Bytes of a boot id, as text.
const BOOT_BYTES: usize = 36;

/// Bytes of the file. They are written in one piece, which a kill does not divide.
const LEADER_BYTES: usize = 16 + 8 + 8 + BOOT_BYTES;

impl Lead {
    pub(super) fn new(run_directory: &Path, presence: Presence) -> Self {
        let mut boot = [0; BOOT_BYTES];
        let id = presence::boot_id();
        let bytes = id.len().min(BOOT_BYTES);
        boot[..bytes].copy_from_slice(&id.as_bytes()[..bytes]);
        Self { path: run_directory.join("leader"), presence, boot, present: Mutex::default() }
    }

    /// Makes a node the leader, or keeps it so. See [`Store::lead`](crate::Store::lead).
    pub(super) fn lead(
        &self,
        monotonic_us: u64,
        node: WorkerId,
        lease: Duration,
    ) -> Result<Option<Fence>, Error> {
        self.try_lead(monotonic_us, node, lease).map_err(|error| self.explain(error))
    }

    /// Gives up the lead. See [`Store::resign`](crate::Store::resign).
    pub(super) fn resign(&self, node: WorkerId) -> Result<(), Error> {
        self.try_resign(node).map_err(|error| self.explain(error))
    }

    /// Ends the presence of this process: others may lead at once.
    pub(super) fn leave(&self) {
        if let Some((node, present)) = self.present().take() {
            present.leave();
            self.presence.forget(node);
        }
    }

    fn try_lead(&self, monotonic_us: u64, node: WorkerId, lease: Duration) -> io::Result<Option<Fence>> {
        let Some(file) = self.open()? else { return Ok(None) };
        let before = read(&file)?;
        let fence = match before {
            None => 1,
            Some(leader) if leader.node == node => leader.fence,
            Some(leader) if self.has_ended(&leader, monotonic_us) => leader.fence + 1,
            Some(_) => return Ok(None),
        };
        self.show(node)?;
        let until_us = monotonic_us.saturating_add(u64::try_from(lease.as_micros()).unwrap_or(u64::MAX));
        file.write_all_at(&encode(&Leader { node, fence, until_us, boot: self.boot }), 0)?;
        // One that hangs keeps its file, by which it is seen should it lead again.
        if let Some(leader) = before.filter(|leader| !self.presence.is_present(leader.node)) {
            self.presence.forget(leader.node);
        }
        Ok(Some(Fence(fence)))
    }

    fn try_resign(&self, node: WorkerId) -> io::Result<()> {
        // Where somebody else is at the file, the presence tells.
        if let Some(file) = self.open()?
            && let Some(leader) = read(&file)?.filter(|leader| leader.node == node)
        {
            file.write_all_at(&encode(&Leader { until_us: 0, ..leader }), 0)?;
        }
        if self.present().as_ref().is_some_and(|(own, _)| *own == node) {
            self.leave();
        }
        Ok(())
    }

    fn has_ended(&self, leader: &Leader, monotonic_us: u64) -> bool {
        leader.boot != self.boot || leader.until_us <= monotonic_us || !self.presence.is_present(leader.node)
    }

    /// Establishes the presence of a node of this process, unless that was done before.
    fn show(&self, node: WorkerId) -> io::Result<()> {
        let mut present = self.present();
        if present.as_ref().is_none_or(|(own, _)| *own != node) {
            *present = Some((node, self.presence.enter(node)?));
        }
        Ok(())
    }

    /// The file, locked until it is closed; `None` while another process is at it, which may have been stopped there.
    fn open(&self) -> io::Result<Option<File>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&self.path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(error) if error == rustix::io::Errno::WOULDBLOCK => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn present(&self) -> MutexGuard<'_, Option<(WorkerId, Present)>> {
        // Each change is complete in itself.
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn explain(&self, error: io::Error) -> Error {
        Error::new(
            Area::ReadOnly,
            format!("the file {}", self.path.display()),
            "it cannot be made or written",
            "give this user the right to write there, and check that the disk is not full",
        )
        .with_source(error)
    }
}

fn read(file: &File) -> io::Result<Option<Leader>> {
    let mut bytes = [0; LEADER_BYTES];
    match file.read_exact_at(&mut bytes, 0) {
        Ok(()) => Ok(decode(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

fn encode(leader: &Leader) -> [u8; LEADER_BYTES] {
    let mut bytes = [0; LEADER_BYTES];
    bytes[..16].copy_from_slice(leader.node.as_bytes());
    bytes[16..24].copy_from_slice(&leader.fence.to_le_bytes());
    bytes[24..32].copy_from_slice(&leader.until_us.to_le_bytes());
    bytes[32..].copy_from_slice(&leader.boot);
    bytes
}

/// What a file says; one of zeros, which a power cut may leave, says nothing.
fn decode(bytes: &[u8; LEADER_BYTES]) -> Option<Leader> {
    let number = |from: usize| Some(u64::from_le_bytes(bytes.get(from..from + 8)?.try_into().ok()?));
    let fence = number(16).filter(|fence| *fence > 0)?;
    Some(Leader {
        node: WorkerId::from_bytes(bytes[..16].try_into().ok()?),
        fence,
        until_us: number(24)?,
        boot: bytes[32..].try_into().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(3);

    fn node(n: u8) -> WorkerId {
        WorkerId::from_parts(1, [n; 10])
    }

    fn process(directory: &Path) -> Lead {
        Lead::new(directory, Presence::new(directory.to_owned()))
    }

    #[test]
    fn a_leader_whose_process_is_gone_is_followed_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let (first, second) = (process(directory.path()), process(directory.path()));
        assert_eq!(first.lead(1, node(1), LEASE).unwrap(), Some(Fence(1)));
        assert_eq!(second.lead(2, node(2), LEASE).unwrap(), None);
        drop(first);
        assert_eq!(second.lead(3, node(2), LEASE).unwrap(), Some(Fence(2)));
    }

    #[test]
    fn a_leader_that_hangs_is_followed_when_its_lease_ends() {
        let directory = tempfile::tempdir().unwrap();
        let (first, second) = (process(directory.path()), process(directory.path()));
        first.lead(1, node(1), LEASE).unwrap();
        assert_eq!(second.lead(3_000_000, node(2), LEASE).unwrap(), None);
        assert_eq!(second.lead(3_000_001, node(2), LEASE).unwrap(), Some(Fence(2)));
        assert_eq!(first.lead(3_000_002, node(1), LEASE).unwrap(), None, "and finds that out");
    }

    #[test]
    fn a_leader_of_another_boot_is_followed_whatever_its_lease_says() {
        let directory = tempfile::tempdir().unwrap();
        let (mut first, second) = (process(directory.path()), process(directory.path()));
        first.boot = [7; BOOT_BYTES];
        first.lead(1 << 60, node(1), LEASE).unwrap();
        assert_eq!(second.lead(1, node(2), LEASE).unwrap(), Some(Fence(2)));
    }

    #[test]
    fn whoever_stopped_in_the_middle_holds_up_nobody() {
        let directory = tempfile::tempdir().unwrap();
        let (first, second) = (process(directory.path()), process(directory.path()));
        let held = first.open().unwrap();
        assert_eq!(second.lead(1, node(2), LEASE).unwrap(), None);
        drop(held);
        assert_eq!(second.lead(2, node(2), LEASE).unwrap(), Some(Fence(1)));
    }

    #[test]
    fn a_file_of_zeros_says_nothing() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("leader"), [0; LEADER_BYTES]).unwrap();
        assert_eq!(process(directory.path()).lead(1, node(1), LEASE).unwrap(), Some(Fence(1)));
    }

    #[test]
    fn leaders_leave_no_files_behind() {
        let directory = tempfile::tempdir().unwrap();
        let (first, second) = (process(directory.path()), process(directory.path()));
        first.lead(1, node(1), LEASE).unwrap();
        first.resign(node(1)).unwrap();
        second.lead(2, node(2), LEASE).unwrap();
        second.leave();
        let names = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["leader"]);
    }
}
