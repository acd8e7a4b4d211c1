//! Attachments: what a held job is given besides its arguments, when it is too large for these.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::error::Error;
use crate::limit::{
    ATTACHMENT_BYTES_MAX, ATTACHMENTS_BYTES_MAX, ATTACHMENTS_HELD_BYTES_MAX, ATTACHMENTS_MAX,
};
use crate::name::AttachmentName;

/// What is attached to a job: a name, and any bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Attachment {
    name: AttachmentName,
    bytes: Arc<[u8]>,
    sum: Sum,
}

impl Attachment {
    /// Takes the bytes.
    ///
    /// # Errors
    ///
    /// When there are more than [`ATTACHMENT_BYTES_MAX`].
    ///
    /// # Example
    ///
    /// ```
    /// use taskwright_core::attachment::Attachment;
    ///
    /// let letter = Attachment::new("letter.txt".parse()?, b"abc".as_slice())?;
    /// assert!(letter.sum().to_string().starts_with("ba7816bf"));
    /// # Ok::<(), taskwright_core::Error>(())
    /// ```
    pub fn new(name: AttachmentName, bytes: impl Into<Arc<[u8]>>) -> Result<Self, Error> {
        let bytes = bytes.into();
        if bytes.len() > ATTACHMENT_BYTES_MAX {
            return Err(Error::too_large(
                format!("the attachment {name}"),
                format!("it has {} bytes, {ATTACHMENT_BYTES_MAX} are allowed", bytes.len()),
                "cut it into several, or keep it where all workers find it and pass a reference to it",
            ));
        }
        let sum = Sum(Sha256::digest(&bytes).into());
        Ok(Self { name, bytes, sum })
    }

    /// What it is called.
    pub fn name(&self) -> &AttachmentName {
        &self.name
    }

    /// The bytes.
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }

    /// The SHA-256 of the bytes.
    pub fn sum(&self) -> Sum {
        self.sum
    }
}

impl fmt::Debug for Attachment {
    /// Without the bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attachment({} {} {})", self.name, self.bytes.len(), self.sum)
    }
}

/// A SHA-256, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sum([u8; 32]);

impl Sum {
    /// The one of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// One that was kept.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// As it is kept.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is there already where another attachment is to go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Attachments of the job, without the one that is replaced.
    pub count: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of all that is attached to held jobs of the same owner, without the one that is replaced.
    pub held_bytes: u64,
}

impl Room {
    /// Whether there is room for so many bytes more.
    ///
    /// # Errors
    ///
    /// When there is none: on the job, or among all that its owner has attached to held jobs.
    pub fn check(&self, more: usize) -> Result<(), Error> {
        let fix = "release or cancel what waits, or keep the data where all workers find it and pass a reference to it";
        let refused = |what: &str, why: String| Err(Error::too_large(what.to_owned(), why, fix));
        if self.count >= ATTACHMENTS_MAX {
            return refused(
                "the attachments of the job",
                format!("there are {}, which is as many as are allowed", self.count),
            );
        }
        let bytes = self.bytes.saturating_add(more as u64);
        if bytes > ATTACHMENTS_BYTES_MAX {
            return refused(
                "the attachments of the job",
                format!("they would have {bytes} bytes, {ATTACHMENTS_BYTES_MAX} are allowed"),
            );
        }
        let bytes = self.held_bytes.saturating_add(more as u64);
        if bytes > ATTACHMENTS_HELD_BYTES_MAX {
            return refused(
                "the attachments of held jobs of this owner",
                format!("they would have {bytes} bytes, {ATTACHMENTS_HELD_BYTES_MAX} are allowed"),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_is_refused() {
        let name: AttachmentName = "a".parse().unwrap();
        assert!(Attachment::new(name.clone(), vec![0; ATTACHMENT_BYTES_MAX]).is_ok());
        assert!(Attachment::new(name, vec![0; ATTACHMENT_BYTES_MAX + 1]).unwrap_err().is_too_large());
    }

    #[test]
    fn there_is_room_up_to_each_limit_and_no_further() {
        let room = |count, bytes, held_bytes| Room { count, bytes, held_bytes };
        assert!(room(ATTACHMENTS_MAX - 1, ATTACHMENTS_BYTES_MAX - 7, 0).check(7).is_ok());
        for (room, more) in [
            (room(ATTACHMENTS_MAX, 0, 0), 0),
            (room(0, ATTACHMENTS_BYTES_MAX - 7, 0), 8),
            (room(0, 0, ATTACHMENTS_HELD_BYTES_MAX), 1),
            (room(0, u64::MAX, 0), 1),
        ] {
            assert!(room.check(more).unwrap_err().is_too_large(), "{room:?}");
        }
    }

    #[test]
    fn a_sum_is_the_one_that_others_compute() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Sum::of(b"").to_string(), empty);
    }
}
