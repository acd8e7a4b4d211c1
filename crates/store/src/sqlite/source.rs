//! Event sources, and what they have seen.

use rusqlite::types::Type;
use rusqlite::{Row, params};
use taskwright_core::{Fingerprint, Namespace, SourceName, Timestamp};

use super::SqliteStore;
use super::event::emit;
use super::schedule::{page, rows};
use super::session::{Session, name};
use crate::Reply;
use crate::error::Error;
use crate::source::{Sighting, SourceKey, SourceNote, SourcePlace, SourceStore, SourceView, check};

impl SourceStore for SqliteStore {
    fn open_source(&self, now: Timestamp, place: SourcePlace) -> Reply<'_, SourceKey> {
        self.writer.write(move |session| open(session, now, &place))
    }

    fn seen_of(&self, source: SourceKey, paths: Vec<String>) -> Reply<'_, Vec<Option<Fingerprint>>> {
        self.readers.read(move |conn| {
            check(paths.len())?;
            let find = |path| {
                let found = rows(conn, SEEN_OF, params![source.0, path], |row| print(row, 0))?;
                Ok(found.first().copied())
            };
            paths.iter().map(find).collect()
        })
    }

    fn seen(
        &self,
        source: SourceKey,
        after: Option<String>,
        limit: usize,
    ) -> Reply<'_, Vec<(String, Fingerprint)>> {
        self.readers.read(move |conn| {
            // No file has the empty path.
            let after = after.unwrap_or_default();
            let read = |row: &Row<'_>| Ok((row.get(0)?, print(row, 1)?));
            rows(conn, SEEN, params![source.0, after, page(limit)], read)
        })
    }

    fn see(&self, now: Timestamp, source: SourceKey, sightings: Vec<Sighting>) -> Reply<'_, Vec<bool>> {
        self.writer.write(move |session| see(session, now, source, &sightings))
    }

    fn note_source(&self, now: Timestamp, source: SourceKey, note: SourceNote) -> Reply<'_, bool> {
        self.writer.write(move |session| {
            let scanned_at = note.scanned_at.map(Timestamp::as_micros);
            let files = i64::try_from(note.files).unwrap_or(i64::MAX);
            let values = params![source.0, now.as_micros(), note.mode, scanned_at, files, note.error];
            Ok(session.execute(NOTE, values)? > 0)
        })
    }

    fn sources(&self, namespace: Option<Namespace>) -> Reply<'_, Vec<SourceView>> {
        self.readers.read(move |conn| rows(conn, SOURCES, [namespace.as_ref().map(Namespace::as_str)], view))
    }
}

fn open(session: &mut Session<'_>, now: Timestamp, place: &SourcePlace) -> Result<SourceKey, Error> {
    let SourcePlace { namespace, name, host, path } = place;
    let values = (namespace.as_str(), name.as_str(), host, path, now.as_micros());
    let key = session.first(OPEN, values, |row| row.get(0))?;
    // The statement gives the row that it inserted or updated.
    Ok(SourceKey(key.ok_or_else(|| super::session::vanished("a source"))?))
}

fn see(
    session: &mut Session<'_>,
    now: Timestamp,
    source: SourceKey,
    sightings: &[Sighting],
) -> Result<Vec<bool>, Error> {
    check(sightings.len())?;
    let mut done = Vec::with_capacity(sightings.len());
    let mut events = Vec::new();
    for Sighting { path, before, after, event } in sightings {
        let bytes = |print: &Option<Fingerprint>| print.map(Fingerprint::to_bytes);
        let changed = match (bytes(before), bytes(after)) {
            (None, None) => 0,
            (None, Some(after)) => session.execute(INSERT, params![source.0, path, after])?,
            (Some(before), Some(after)) => session.execute(UPDATE, params![source.0, path, before, after])?,
            (Some(before), None) => session.execute(DELETE, params![source.0, path, before])?,
        };
        done.push(changed > 0);
        if changed > 0 {
            events.extend(event.clone());
        }
    }
    if !events.is_empty() {
        emit(session, now, &events)?;
    }
    Ok(done)
}

fn print(row: &Row<'_>, column: usize) -> rusqlite::Result<Fingerprint> {
    let bytes = row.get_ref(column)?.as_blob()?;
    Fingerprint::from_bytes(bytes).ok_or_else(|| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, "it is no fingerprint".into())
    })
}

fn view(row: &Row<'_>) -> rusqlite::Result<SourceView> {
    let mode: Option<String> = row.get(6)?;
    let note = mode.map(|mode| {
        let scanned_at = row.get::<_, Option<i64>>(7)?.map(Timestamp::from_micros);
        Ok::<_, rusqlite::Error>(SourceNote { mode, scanned_at, files: row.get(8)?, error: row.get(9)? })
    });
    Ok(SourceView {
        key: SourceKey(row.get(0)?),
        place: SourcePlace {
            namespace: name(row, 1, Namespace::new)?,
            name: name(row, 2, SourceName::new)?,
            host: row.get(3)?,
            path: row.get(4)?,
        },
        noted_at: Timestamp::from_micros(row.get(5)?),
        note: note.transpose()?,
    })
}

const OPEN: &str =
    "INSERT INTO taskwright_source (namespace, name, host, path, noted_at) VALUES (?1, ?2, ?3, ?4, ?5)
     ON CONFLICT (namespace, name, host, path) DO UPDATE SET noted_at = excluded.noted_at RETURNING source";
const NOTE: &str =
    "UPDATE taskwright_source SET noted_at = ?2, mode = ?3, scanned_at = ?4, files = ?5, error = ?6
     WHERE source = ?1";
pub(super) const SEEN_OF: &str = "SELECT print FROM taskwright_seen WHERE source = ?1 AND path = ?2";
pub(super) const SEEN: &str =
    "SELECT path, print FROM taskwright_seen WHERE source = ?1 AND path > ?2 ORDER BY path LIMIT ?3";
pub(super) const INSERT: &str = "INSERT INTO taskwright_seen (source, path, print)
     SELECT source, ?2, ?3 FROM taskwright_source WHERE source = ?1 ON CONFLICT (source, path) DO NOTHING";
pub(super) const UPDATE: &str =
    "UPDATE taskwright_seen SET print = ?4 WHERE source = ?1 AND path = ?2 AND print = ?3";
pub(super) const DELETE: &str = "DELETE FROM taskwright_seen WHERE source = ?1 AND path = ?2 AND print = ?3";
const SOURCES: &str = "SELECT source, namespace, name, host, path, noted_at, mode, scanned_at, files, error
     FROM taskwright_source WHERE ?1 IS NULL OR namespace = ?1 ORDER BY namespace, name, host, path";
pub(super) const PRUNE_SEEN: &str = "DELETE FROM taskwright_seen WHERE (source, path) IN (
        SELECT s.source, s.path FROM taskwright_source o CROSS JOIN taskwright_seen s ON s.source = o.source
        WHERE o.noted_at < ?1 LIMIT ?2)";
pub(super) const PRUNE: &str = "DELETE FROM taskwright_source WHERE source IN (
        SELECT o.source FROM taskwright_source o
        WHERE o.noted_at < ?1 AND NOT EXISTS (SELECT 1 FROM taskwright_seen s WHERE s.source = o.source) LIMIT ?2)";
/// How many files that would be, and how many sources.
pub(super) const OLD_SEEN: &str = "SELECT count(*) FROM (
        SELECT 1 FROM taskwright_source o CROSS JOIN taskwright_seen s ON s.source = o.source
        WHERE o.noted_at < ?1 LIMIT ?2)";
pub(super) const OLD_SOURCES: &str =
    "SELECT count(*) FROM (SELECT 1 FROM taskwright_source WHERE noted_at < ?1 LIMIT ?2)";
