//! Event sources: what makes events by itself, so that schedules can wait for it.
//!
//! | file | what |
//! |---|---|
//! | `file` | files of a directory that are created or changed |
//! | `scan` | looking at a directory, on a thread that may block |
//! | `watch` | the hints of the system that something happened there |
//! | `pattern` | which files count |
//! | `channel` | `NOTIFY` of PostgreSQL |
//!
//! A source is run as a [duty](crate::duty) is, by the same runner. Of files the scan is the truth and a hint only makes a
//! look come sooner; what was seen is in the store, so that it does not matter which process looks, nor how often.

#[cfg(feature = "postgres")]
pub(crate) mod channel;
pub(crate) mod file;
pub(crate) mod pattern;
pub(crate) mod scan;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use taskwright_core::source::Wanted;
use taskwright_core::{Namespace, SourceName, Topic};

pub use self::pattern::Pattern;

/// How long a file must stand still before it counts, unless somebody says otherwise: 500 ms.
pub const DEBOUNCE_DEFAULT: Duration = Duration::from_millis(500);
/// The time between two scans, unless somebody says otherwise: 60 s.
pub const RESCAN_DEFAULT: Duration = Duration::from_secs(60);
/// The same for what several machines see: 5 s, because no system tells what another machine did.
pub const RESCAN_SHARED_DEFAULT: Duration = Duration::from_secs(5);

/// An event source.
#[derive(Clone, Debug)]
pub struct EventSource {
    /// Its name, the same in all its lives: what was seen belongs to it.
    pub name: SourceName,
    /// The tenant of its events.
    pub namespace: Namespace,
    /// The topic of its events; `None` for `file.created` and `file.changed`, or `notify.NAME` of a channel.
    pub topic: Option<Topic>,
    /// Where its events come from.
    pub of: Origin,
}

/// Where the events of a source come from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// Files of a directory.
    Files(Files),
    /// A `NOTIFY` channel of PostgreSQL.
    #[cfg(feature = "postgres")]
    Channel(Channel),
}

/// Files of a directory.
#[derive(Clone, Debug)]
pub struct Files {
    /// The directory, as an absolute path.
    pub path: PathBuf,
    /// Whether directories inside it count. Links are never followed.
    pub recursive: bool,
    /// Which files count; none for all that do not begin with a dot.
    pub patterns: Vec<Pattern>,
    /// What is told of them.
    pub wanted: Wanted,
    /// How long a file must stand still before it counts. 0 for who moves whole files there.
    pub debounce: Duration,
    /// The time between two scans.
    pub rescan: Duration,
    /// Whether all machines see the same directory: then one of them looks at a time, and what it saw counts for all.
    pub shared: bool,
}

/// A `NOTIFY` channel of PostgreSQL. One node at a time listens; what is sent while none does is lost, as PostgreSQL has it.
#[cfg(feature = "postgres")]
#[derive(Clone, Debug)]
pub struct Channel {
    /// Its name.
    pub channel: String,
    /// The database.
    pub settings: Box<taskwright_store::postgres::Settings>,
}
