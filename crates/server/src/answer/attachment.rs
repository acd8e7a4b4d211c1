//! What is attached to a job.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use taskwright_core::attachment::Sum;
use taskwright_core::{AttachmentName, JobId, Timestamp};
use taskwright_store::AttachmentView;

/// An attachment, without its bytes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Attachment")]
pub(crate) struct Listed {
    /// What it is called.
    pub(crate) name: AttachmentName,
    /// How many bytes it has.
    pub(crate) bytes: u64,
    /// Their SHA-256, as 64 hexadecimal digits.
    pub(crate) sha256: String,
    /// When it was attached.
    pub(crate) attached_at: Timestamp,
}

impl Listed {
    pub(crate) fn of(view: &AttachmentView) -> Self {
        let AttachmentView { name, bytes, sum, at } = view;
        Self { name: name.clone(), bytes: *bytes, sha256: sum.to_string(), attached_at: *at }
    }

    /// As a store has it; `None` when the sum is none.
    pub(crate) fn into_view(self) -> Option<AttachmentView> {
        let Self { name, bytes, sha256, attached_at: at } = self;
        let mut sum = [0; 32];
        let digits = sha256.as_bytes();
        if digits.len() != 2 * sum.len() || !digits.is_ascii() {
            return None;
        }
        for (byte, pair) in sum.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(AttachmentView { name, bytes, sum: Sum::from_bytes(sum), at })
    }
}

/// What was attached.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Attached")]
pub(crate) struct Added {
    /// The job.
    pub(crate) id: JobId,
    /// What it is called.
    pub(crate) name: AttachmentName,
    /// How many bytes it has.
    pub(crate) bytes: u64,
    /// Their SHA-256, as 64 hexadecimal digits.
    pub(crate) sha256: String,
}

impl Added {
    pub(crate) fn of(id: JobId, attachment: &taskwright_core::Attachment) -> Self {
        let (name, bytes) = (attachment.name().clone(), attachment.bytes().len() as u64);
        Self { id, name, bytes, sha256: attachment.sum().to_string() }
    }
}
