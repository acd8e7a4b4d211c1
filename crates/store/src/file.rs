//! Files that a generator remembers: what each looked like when it became an item.

/// What a file looked like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileMark {
    /// Its size in bytes.
    pub size: u64,
    /// When its content was changed last, in nanoseconds since 1970.
    pub modified_ns: i64,
}

/// A file that is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownFile {
    /// What it looked like.
    pub mark: FileMark,
    /// Whether its item is outstanding.
    pub open: bool,
}

/// What is written about the files of a generator.
#[derive(Clone, Debug, PartialEq)]
pub enum FileWrite {
    /// They became items, looking like this: by their paths.
    Remember(Vec<(String, FileMark)>),
    /// Their items have ended.
    Close(Vec<String>),
    /// They are gone.
    Forget(Vec<String>),
}
