//! Attachments of jobs.

use taskwright_core::attachment::Sum;
use taskwright_core::{Attachment, AttachmentName, JobId, State, Timestamp};

use crate::Reply;

/// What a store keeps of attachments. Part of [`Store`](crate::Store).
///
/// They go with their job, and with a hold that expires.
///
/// # Errors
///
/// As for every call of a [`Store`](crate::Store).
pub trait AttachmentStore: Send + Sync + 'static {
    /// Attaches something to a held job, in the place of what has the same name.
    ///
    /// # Errors
    ///
    /// When there is [no room](taskwright_core::attachment::Room::check) for it.
    fn attach(&self, now: Timestamp, job: JobId, attachment: Attachment) -> Reply<'_, Attached>;

    /// What is attached to a job, by name; nothing when there is no such job.
    fn attachments(&self, job: JobId) -> Reply<'_, Vec<AttachmentView>>;

    /// A piece of an attachment, counted from 0: all have [`ATTACHMENT_PIECE_BYTES`](taskwright_core::limit::ATTACHMENT_PIECE_BYTES)
    /// but the last, which may have fewer. `None` when there is no such piece, or job, or attachment.
    fn attachment_piece(&self, job: JobId, name: AttachmentName, number: u32) -> Reply<'_, Option<Vec<u8>>>;
}

/// What became of an attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// It is there.
    Done,
    /// Nothing was done: there is no such job.
    Unknown,
    /// Nothing was done: the job is not held (any more).
    NotHeld(State),
}

/// What is attached to a job, without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachmentView {
    /// What it is called.
    pub name: AttachmentName,
    /// How many bytes it has.
    pub bytes: u64,
    /// Their SHA-256.
    pub sum: Sum,
    /// When it was attached.
    pub at: Timestamp,
}
