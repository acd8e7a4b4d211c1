//! The one error of this crate.

use std::error::Error as StdError;
use std::fmt;

/// Something a store could not do.
///
/// Opaque; ask it with the `is_*` predicates. [`Display`](fmt::Display) says what and why without the source;
/// [`fix`](Error::fix) says what to do.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    area: Area,
    what: String,
    why: String,
    fix: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Area {
    /// A rule of the domain.
    Domain,
    /// Somebody else holds what we need; trying again helps.
    Busy,
    /// No space is left.
    Full,
    /// The store cannot be written.
    ReadOnly,
    /// The store is of a newer version, or its migrations were edited.
    Version,
    /// The file is not a store, or is damaged.
    Damaged,
    /// It cannot be opened at all.
    Unreachable,
    /// The worker has been declared lost.
    Lost,
    /// The attempt has ended, or is to be cancelled.
    Refused,
    /// The store has been closed.
    Closed,
    /// Anything else.
    Failed,
}

impl Error {
    pub(crate) fn new(
        area: Area,
        what: impl Into<String>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self(Box::new(Inner { area, what: what.into(), why: why.into(), fix: fix.into(), source: None }))
    }

    /// A failure that may pass: for a store that is written outside this crate, or that wraps another.
    pub fn unavailable(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(Area::Failed, what, why, "try again")
    }

    pub(crate) fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.0.source = Some(Box::new(source));
        self
    }

    /// Says which file it is about.
    pub(crate) fn located(mut self, path: &std::path::Path) -> Self {
        self.0.what = format!("{} ({})", self.0.what, path.display());
        self
    }

    pub(crate) fn closed() -> Self {
        Self::new(Area::Closed, "the store", "it has been closed", "open it again")
    }

    pub(crate) fn lost(worker: taskwright_core::WorkerId) -> Self {
        Self::new(
            Area::Lost,
            format!("the worker {worker}"),
            "it is not registered, or was declared lost and its jobs were given to others",
            "stop what it runs, and start a new worker",
        )
    }

    /// What could not be done, or to what.
    pub fn what(&self) -> &str {
        &self.0.what
    }

    /// Why not.
    pub fn why(&self) -> &str {
        &self.0.why
    }

    /// What to do about it.
    pub fn fix(&self) -> &str {
        &self.0.fix
    }

    /// Whether the request broke a rule of the domain; trying again gives the same answer.
    pub fn is_domain(&self) -> bool {
        self.0.area == Area::Domain
    }

    /// Whether somebody else held the store for too long; trying again helps.
    pub fn is_busy(&self) -> bool {
        self.0.area == Area::Busy
    }

    /// Whether no space was left.
    pub fn is_full(&self) -> bool {
        self.0.area == Area::Full
    }

    /// Whether the store cannot be written.
    pub fn is_read_only(&self) -> bool {
        self.0.area == Area::ReadOnly
    }

    /// Whether this program is too old for the store, or the other way round.
    pub fn is_version(&self) -> bool {
        self.0.area == Area::Version
    }

    /// Whether the file is not a store, or is damaged.
    pub fn is_damaged(&self) -> bool {
        self.0.area == Area::Damaged
    }

    /// Whether the store cannot be opened as things are: nobody answers there, or whoever does refuses us.
    pub fn is_unreachable(&self) -> bool {
        self.0.area == Area::Unreachable
    }

    /// Whether the worker that asked has been declared lost.
    pub fn is_lost(&self) -> bool {
        self.0.area == Area::Lost
    }

    /// Whether an attempt was not completed in its handler's transaction, because it has ended or is to be cancelled.
    pub fn is_refused(&self) -> bool {
        self.0.area == Area::Refused
    }

    /// Whether the store has been closed.
    pub fn is_closed(&self) -> bool {
        self.0.area == Area::Closed
    }

    /// Whether trying the same thing again later can help: the store is busy, full, read-only or failing, and the
    /// request itself was sound.
    pub fn is_transient(&self) -> bool {
        matches!(self.0.area, Area::Busy | Area::Full | Area::ReadOnly | Area::Failed)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.what, self.0.why)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|source| &**source as &(dyn StdError + 'static))
    }
}

impl From<taskwright_core::Error> for Error {
    fn from(error: taskwright_core::Error) -> Self {
        Self::new(Area::Domain, error.what(), error.why(), error.fix())
    }
}
