//! The place where a listing goes on, sealed.
//!
//! A page that has looked at its share of rows and found little goes on behind the last one, which may be a job that whoever asks may not
//! see: its id is the token of somebody else, and its number tells how many jobs there are. So they are given the number in a form that
//! only the store can read, by a key that is in the store and is given to nobody. It has the size of an id, and is the id of no job.

use taskwright_core::JobId;

/// The key, as it is made with the store.
pub(crate) struct Seal([u8; 32]);

impl Seal {
    /// By the bytes that the store keeps.
    pub(crate) fn new(secret: &[u8]) -> Self {
        Self(blake3::derive_key("taskwright 2026 place of a listing", secret))
    }

    /// Seals the number of a job.
    pub(crate) fn close(&self, seq: i64) -> JobId {
        let tag = self.tag(seq);
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&tag);
        bytes[8..].copy_from_slice(&(seq ^ self.mask(&tag)).to_be_bytes());
        JobId::from_bytes(bytes)
    }

    /// The number, if this is one that was sealed with this key.
    pub(crate) fn open(&self, sealed: JobId) -> Option<i64> {
        let ([tag, number], _) = sealed.as_bytes().as_chunks::<8>() else { return None };
        let seq = i64::from_be_bytes(*number) ^ self.mask(tag);
        (self.tag(seq) == *tag).then_some(seq)
    }

    fn tag(&self, seq: i64) -> [u8; 8] {
        self.hash(b'n', &seq.to_be_bytes())
    }

    fn mask(&self, tag: &[u8; 8]) -> i64 {
        i64::from_be_bytes(self.hash(b't', tag))
    }

    fn hash(&self, what: u8, bytes: &[u8; 8]) -> [u8; 8] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&[what]).update(bytes);
        let mut first = [0; 8];
        hasher.finalize_xof().fill(&mut first);
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_comes_back_and_does_not_show() {
        let (ours, theirs) = (Seal::new(b"ours"), Seal::new(b"theirs"));
        for seq in [0, 1, 2, 77_000_000_000, i64::MAX] {
            let sealed = ours.close(seq);
            assert_eq!(ours.open(sealed), Some(seq));
            assert_eq!(theirs.open(sealed), None);
            assert_ne!(sealed.as_bytes()[8..], seq.to_be_bytes());
        }
        assert_eq!(ours.open(JobId::from_parts(1_700_000_000_123, [7; 10])), None);
        let mut bytes = *ours.close(5).as_bytes();
        bytes[15] ^= 1;
        assert_eq!(ours.open(JobId::from_bytes(bytes)), None, "nobody makes one");
    }
}
