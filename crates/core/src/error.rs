//! The one error of this crate: what was refused, why, and what to do about it.

use std::fmt;

/// A rule of the domain that was not kept.
///
/// The type is opaque; ask it with the `is_*` predicates. [`Display`](fmt::Display) gives one sentence of what and
/// why; [`fix`](Error::fix) says what to do, and the binary prints it on a line of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(Box<Inner>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    area: Area,
    what: String,
    why: String,
    fix: String,
    /// The byte of the text that it is about, from 1.
    column: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Area {
    Invalid,
    TooLarge,
    Transition,
    Stuck,
    Unknown,
}

impl Error {
    /// A value that can never be accepted: a malformed name, arguments that are not JSON, and so on.
    pub fn invalid(what: impl Into<String>, why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(Area::Invalid, what, why, fix)
    }

    /// A value over one of the limits in [`limit`](crate::limit).
    pub fn too_large(what: impl Into<String>, why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(Area::TooLarge, what, why, fix)
    }

    /// A move that the transition table does not have.
    pub(crate) fn transition(
        what: impl Into<String>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::new(Area::Transition, what, why, fix)
    }

    /// A trigger whose next due time is not later than its last: following it would fire for ever.
    pub(crate) fn stuck(what: impl Into<String>, why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(Area::Stuck, what, why, fix)
    }

    /// Something that this program does not have, though another one may.
    pub fn unknown(what: impl Into<String>, why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(Area::Unknown, what, why, fix)
    }

    fn new(area: Area, what: impl Into<String>, why: impl Into<String>, fix: impl Into<String>) -> Self {
        let (what, why, fix) = (what.into(), why.into(), fix.into());
        Self(Box::new(Inner { area, what, why, fix, column: None }))
    }

    /// The same error about one place in the text that was refused; [`why`](Self::why) says it, too.
    pub(crate) fn at_column(mut self, column: usize) -> Self {
        debug_assert!(self.0.column.is_none(), "an error has one place");
        self.0.why.push_str(&column_in_words(column));
        self.0.column = Some(column);
        self
    }

    /// The same error when the text begins so many bytes behind the start of a longer one.
    pub(crate) fn behind(mut self, bytes: usize) -> Self {
        let Some(column) = self.0.column.take() else { return self };
        let shown = self.0.why.len().saturating_sub(column_in_words(column).len());
        self.0.why.truncate(shown);
        self.at_column(column + bytes)
    }

    /// What was refused, for instance `the name "a b"`.
    pub fn what(&self) -> &str {
        &self.0.what
    }

    /// Why it was refused.
    pub fn why(&self) -> &str {
        &self.0.why
    }

    /// What the caller can do about it.
    pub fn fix(&self) -> &str {
        &self.0.fix
    }

    /// Where in the text that was refused the fault is: the byte, from 1.
    pub fn column(&self) -> Option<usize> {
        self.0.column
    }

    /// Whether a value was malformed.
    pub fn is_invalid(&self) -> bool {
        self.0.area == Area::Invalid
    }

    /// Whether a value was over a limit.
    pub fn is_too_large(&self) -> bool {
        self.0.area == Area::TooLarge
    }

    /// Whether a job was asked to make a move that the transition table does not have.
    pub fn is_illegal_transition(&self) -> bool {
        self.0.area == Area::Transition
    }

    /// Whether a trigger gave a due time that is not later than its last one.
    pub fn is_stuck_trigger(&self) -> bool {
        self.0.area == Area::Stuck
    }

    /// Whether something was named that this program does not have, such as a trigger of the user's own.
    pub fn is_unknown(&self) -> bool {
        self.0.area == Area::Unknown
    }
}

fn column_in_words(column: usize) -> String {
    format!(" (at column {column})")
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.what, self.0.why)
    }
}

impl std::error::Error for Error {}

/// An error of the operating system without its number.
pub fn in_words(error: &std::io::Error) -> String {
    use std::io::ErrorKind as K;
    match error.kind() {
        K::NotFound => "it does not exist".to_owned(),
        K::PermissionDenied => "this user may not do that".to_owned(),
        K::IsADirectory => "it is a directory".to_owned(),
        K::NotADirectory => "a part of its path is not a directory".to_owned(),
        K::InvalidData => "it is not UTF-8 text".to_owned(),
        K::StorageFull | K::QuotaExceeded => "no space is left on the disk".to_owned(),
        K::ReadOnlyFilesystem => "the file system is read-only".to_owned(),
        K::BrokenPipe => "the other end was closed".to_owned(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or(&text).to_lowercase()
        }
    }
}
