//! Event sources: what they have seen, so that nothing is told twice and nothing that came meanwhile is missed.
//!
//! A source of files looks at a directory, compares with what was [seen](SourceStore::seen_of), and
//! [writes](SourceStore::see) what is new, with its event, in one transaction. Each [sighting](Sighting) names what was seen
//! before: of two who see the same file one tells it, and a call whose answer was lost may be repeated.

use taskwright_core::limit::SIGHTINGS_MAX;
use taskwright_core::{Error as Refused, Fingerprint, Namespace, SourceName, Timestamp};

use crate::Reply;
use crate::error::Error;
use crate::event::NewEvent;

/// What a store does for event sources. Part of [`Store`](crate::Store).
///
/// # Errors
///
/// As for every call of a [`Store`](crate::Store).
pub trait SourceStore: Send + Sync + 'static {
    /// The key of a source at its place, which becomes known if it is not.
    fn open_source(&self, now: Timestamp, place: SourcePlace) -> Reply<'_, SourceKey>;

    /// What was seen of these files, in their order; `None` of one that is not known. At most [`SIGHTINGS_MAX`].
    fn seen_of(&self, source: SourceKey, paths: Vec<String>) -> Reply<'_, Vec<Option<Fingerprint>>>;

    /// The files that were seen, in the order of the bytes of their paths, from the one after `after` on, at most `limit`.
    fn seen(
        &self,
        source: SourceKey,
        after: Option<String>,
        limit: usize,
    ) -> Reply<'_, Vec<(String, Fingerprint)>>;

    /// Writes sightings with their events, each for itself, and answers in their order whether it took place: one whose
    /// `before` is not what the store knows changes nothing. At most [`SIGHTINGS_MAX`], each of another path.
    fn see(&self, now: Timestamp, source: SourceKey, sightings: Vec<Sighting>) -> Reply<'_, Vec<bool>>;

    /// Stores how a source is; `false` when it is not known (any more).
    fn note_source(&self, now: Timestamp, source: SourceKey, note: SourceNote) -> Reply<'_, bool>;

    /// All sources, of one namespace or of all, by name, host and path.
    fn sources(&self, namespace: Option<Namespace>) -> Reply<'_, Vec<SourceView>>;
}

/// Names a source at its place to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceKey(pub i64);

/// A source at its place: what was seen belongs to it. The same name on another machine, or for another path, is another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourcePlace {
    /// The tenant of its events.
    pub namespace: Namespace,
    /// Its name.
    pub name: SourceName,
    /// The machine that looks; empty when all machines see the same.
    pub host: String,
    /// Where it looks: an absolute path, or the name of a channel.
    pub path: String,
}

/// What somebody saw of one file.
#[derive(Clone, Debug, PartialEq)]
pub struct Sighting {
    /// Relative to the path of the source.
    pub path: String,
    /// What had been seen when this was decided; `None` for a file that was not known.
    pub before: Option<Fingerprint>,
    /// What is to be remembered; `None` for a file that is gone, which is forgotten.
    pub after: Option<Fingerprint>,
    /// What is told with it.
    pub event: Option<NewEvent>,
}

/// How a source is, as whoever runs it last said.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SourceNote {
    /// `watch` when the system tells of changes, `poll` when it is only looked, `listen` for a channel.
    pub mode: String,
    /// When the last whole scan ended.
    pub scanned_at: Option<Timestamp>,
    /// How many files that scan found.
    pub files: u64,
    /// What is wrong now.
    pub error: Option<String>,
}

/// A source as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceView {
    /// Its key.
    pub key: SourceKey,
    /// What and where it is.
    pub place: SourcePlace,
    /// When somebody last opened or noted it.
    pub noted_at: Timestamp,
    /// How it is; `None` until somebody says.
    pub note: Option<SourceNote>,
}

/// Refuses more sightings than one call may have.
pub(crate) fn check(count: usize) -> Result<(), Error> {
    if count > SIGHTINGS_MAX {
        return Err(Refused::too_large(
            format!("{count} files of a source"),
            format!("one call takes at most {SIGHTINGS_MAX}"),
            "hand them over in several calls",
        )
        .into());
    }
    Ok(())
}
