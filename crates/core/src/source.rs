//! Event sources: which event a look at a file makes, and when a file counts.
//!
//! A source remembers of each file what it looked like when it was last dealt with, as a [`Fingerprint`]. A look compares:
//! a file that is not known, or is another one under a known name, is *created*; one that is known and was written to is
//! *changed*. A file counts when it [stands still](Standing): half of a file is not an event.

use std::fmt;
use std::time::Duration;

/// What a file looks like from outside, without reading it.
///
/// # Example
///
/// ```
/// use taskwright_core::Fingerprint;
///
/// let print = Fingerprint { size: 12, modified_ns: 1_700_000_000_000_000_000, inode: 7, born_ns: None };
/// assert_eq!(Fingerprint::from_bytes(&print.to_bytes()), Some(print));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    /// Bytes.
    pub size: u64,
    /// When its content was last changed, in nanoseconds since 1970.
    pub modified_ns: i64,
    /// Its number in the file system.
    pub inode: u64,
    /// When the inode came into being, in nanoseconds since 1970, where the file system tells. Numbers are used again, often at once.
    pub born_ns: Option<i64>,
}

impl Fingerprint {
    /// How many bytes [`to_bytes`](Self::to_bytes) gives.
    pub const BYTES: usize = 33;

    /// The bytes under which it is stored.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.size.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.modified_ns.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.inode.to_be_bytes());
        bytes[24] = u8::from(self.born_ns.is_some());
        bytes[25..].copy_from_slice(&self.born_ns.unwrap_or(0).to_be_bytes());
        bytes
    }

    /// What was stored; `None` for bytes that are no fingerprint.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        let word = |from: usize| bytes[from..from + 8].try_into().ok();
        Some(Self {
            size: u64::from_be_bytes(word(0)?),
            modified_ns: i64::from_be_bytes(word(8)?),
            inode: u64::from_be_bytes(word(16)?),
            born_ns: (bytes[24] == 1).then_some(i64::from_be_bytes(word(25)?)),
        })
    }

    /// Whether both are of one file, be it written to in between.
    fn is_same_file(self, other: Self) -> bool {
        let same_birth = match (self.born_ns, other.born_ns) {
            (Some(one), Some(another)) => one == another,
            _ => true,
        };
        self.inode == other.inode && same_birth
    }
}

/// What happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileChange {
    /// It is there and was not, or it took the place of another one.
    Created,
    /// It was written to.
    Changed,
}

impl FileChange {
    /// The word for it in configuration and payloads.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
        }
    }

    /// The topic of its event unless the source names another.
    pub const fn topic(self) -> &'static str {
        match self {
            Self::Created => "file.created",
            Self::Changed => "file.changed",
        }
    }
}

impl fmt::Display for FileChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which changes a source tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// New files.
    pub created: bool,
    /// Files that were written to.
    pub changed: bool,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { created: true, changed: false }
    }
}

impl Wanted {
    /// What is to be told of a file that looked like `before` when it was last dealt with, and looks like `now`.
    ///
    /// A file that took the place of another one, as by `mv new.csv orders.csv`, is a created one; a source that tells
    /// only changes takes it for a change of what is under that name.
    ///
    /// # Example
    ///
    /// ```
    /// use taskwright_core::source::Wanted;
    /// use taskwright_core::{FileChange, Fingerprint};
    ///
    /// let small = Fingerprint { size: 1, modified_ns: 10, inode: 7, born_ns: None };
    /// let grown = Fingerprint { size: 2, modified_ns: 20, ..small };
    /// let both = Wanted { created: true, changed: true };
    /// assert_eq!(both.of(None, small), Some(FileChange::Created));
    /// assert_eq!(both.of(Some(small), grown), Some(FileChange::Changed));
    /// assert_eq!(both.of(Some(grown), grown), None);
    /// ```
    pub fn of(self, before: Option<Fingerprint>, now: Fingerprint) -> Option<FileChange> {
        let change = match before {
            Some(before) if before == now => return None,
            Some(before) if before.is_same_file(now) => FileChange::Changed,
            Some(_) if !self.created => FileChange::Changed,
            _ => FileChange::Created,
        };
        let told = match change {
            FileChange::Created => self.created,
            FileChange::Changed => self.changed,
        };
        told.then_some(change)
    }
}

/// A file that is watched until it stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    print: Fingerprint,
    /// In monotonic microseconds.
    since_us: u64,
}

impl Standing {
    /// A file that was looked at for the first time.
    pub fn new(print: Fingerprint, now_us: u64) -> Self {
        Self { print, since_us: now_us }
    }

    /// What a further look saw: a file that looks different begins anew.
    pub fn look(&mut self, print: Fingerprint, now_us: u64) {
        if self.print != print {
            *self = Self::new(print, now_us);
        }
    }

    /// What it looks like.
    pub fn print(&self) -> Fingerprint {
        self.print
    }

    /// The monotonic microsecond at which it counts, if it still looks the same.
    pub fn due_us(&self, debounce: Duration) -> u64 {
        self.since_us.saturating_add(u64::try_from(debounce.as_micros()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Fingerprint = Fingerprint { size: 10, modified_ns: 100, inode: 7, born_ns: Some(50) };
    const GROWN: Fingerprint = Fingerprint { size: 20, modified_ns: 200, ..OLD };
    /// The number of the file was used again.
    const OTHER: Fingerprint = Fingerprint { modified_ns: 300, born_ns: Some(300), ..OLD };
    const MOVED: Fingerprint = Fingerprint { inode: 8, ..OLD };

    const CREATED: Wanted = Wanted { created: true, changed: false };
    const CHANGED: Wanted = Wanted { created: false, changed: true };
    const BOTH: Wanted = Wanted { created: true, changed: true };

    #[test]
    fn what_is_told_follows_from_what_was_seen_and_what_is_wanted() {
        use FileChange::{Changed, Created};
        let table = [
            // before, now, created only, changed only, both
            (None, OLD, Some(Created), None, Some(Created)),
            (Some(OLD), OLD, None, None, None),
            (Some(OLD), GROWN, None, Some(Changed), Some(Changed)),
            (Some(OLD), OTHER, Some(Created), Some(Changed), Some(Created)),
            (Some(OLD), MOVED, Some(Created), Some(Changed), Some(Created)),
        ];
        for (before, now, created, changed, both) in table {
            let told = [CREATED, CHANGED, BOTH].map(|wanted| wanted.of(before, now));
            assert_eq!(told, [created, changed, both], "{before:?} {now:?}");
        }
    }

    #[test]
    fn a_file_system_that_knows_no_births_tells_files_apart_by_their_number() {
        let unborn = |print| Fingerprint { born_ns: None, ..print };
        assert_eq!(CREATED.of(Some(unborn(OLD)), unborn(GROWN)), None);
        assert_eq!(CREATED.of(Some(OLD), unborn(GROWN)), None, "it was told before and is not now");
        assert_eq!(CREATED.of(Some(unborn(OLD)), unborn(MOVED)), Some(FileChange::Created));
    }

    #[test]
    fn a_file_counts_when_it_has_looked_the_same_for_the_debounce() {
        let debounce = Duration::from_millis(500);
        let mut standing = Standing::new(OLD, 1_000);
        standing.look(OLD, 300_000);
        assert_eq!(standing.due_us(debounce), 501_000);
        standing.look(GROWN, 400_000);
        assert_eq!((standing.print(), standing.due_us(debounce)), (GROWN, 900_000));
    }

    #[test]
    fn a_fingerprint_is_stored_whole_and_nothing_else_is_one() {
        for print in [OLD, Fingerprint { modified_ns: -5, born_ns: None, ..OTHER }] {
            assert_eq!(Fingerprint::from_bytes(&print.to_bytes()), Some(print));
        }
        assert_eq!(Fingerprint::from_bytes(&[0; 12]), None);
    }
}
