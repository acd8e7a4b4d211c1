//! The audit: each entry is a link of the chain at once, as one transaction at a time writes.

use rusqlite::{Connection, Row};
use taskwright_core::Timestamp;
use taskwright_core::audit::{ChainHash, Entry, Link, Place};

use super::SqliteStore;
use super::error::read_error;
use super::schedule::{page, rows};
use super::session::{Session, vanished};
use crate::Reply;
use crate::audit::{AuditEnds, AuditFilter, AuditPage, AuditStore, Filling, SCAN_MAX, body, old};
use crate::error::Error;

impl AuditStore for SqliteStore {
    fn note_audit(&self, entry: Entry) -> Reply<'_, ()> {
        self.writer.without_behalf().write(move |session| append(session, &entry))
    }

    fn seal_audit(&self, _: usize) -> Reply<'_, usize> {
        Box::pin(async { Ok(0) })
    }

    fn audit_ends(&self) -> Reply<'_, AuditEnds> {
        self.readers.read(|conn| {
            conn.prepare_cached(ENDS).and_then(|mut ends| ends.query_row([], read_ends)).map_err(read_error)
        })
    }

    fn audit_links(&self, after: u64, limit: usize) -> Reply<'_, Vec<Link>> {
        self.readers.read(move |conn| {
            let after = i64::try_from(after).unwrap_or(i64::MAX);
            rows(conn, LINKS, (after, page(limit)), read_link)
        })
    }

    fn audit_page(&self, filter: AuditFilter, before: Option<u64>, limit: usize) -> Reply<'_, AuditPage> {
        self.readers.read(move |conn| fill(conn, Filling::new(filter, limit), before).map_err(read_error))
    }
}

/// Makes an entry a link of the chain.
pub(super) fn append(session: &mut Session<'_>, entry: &Entry) -> Result<(), Error> {
    append_all(session, std::slice::from_ref(entry))
}

/// Makes entries links of the chain, in their order.
pub(super) fn append_all(session: &mut Session<'_>, entries: &[Entry]) -> Result<(), Error> {
    if entries.is_empty() {
        return Ok(());
    }
    let ends = session.first(ENDS, [], read_ends)?.ok_or_else(|| vanished("the ends of the audit"))?;
    let mut head = ends.head;
    for entry in entries {
        let link = head.link(body(entry)?);
        head = link.place();
        session.execute(INSERT, (signed(link.position), &link.body, link.hash.0))?;
    }
    session.execute(MOVE_HEAD, (signed(head.position), head.hash.0))?;
    Ok(())
}

fn signed(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

/// Removes the oldest entries, if they are of before that moment.
pub(super) fn collect(session: &mut Session<'_>, before: Timestamp, limit: usize) -> Result<usize, Error> {
    let oldest = session.all(LINKS, (0, i64::try_from(limit).unwrap_or(i64::MAX)), read_link)?;
    let many = old(&oldest, before);
    if let Some(last) = oldest[..many].last() {
        let position = i64::try_from(last.position).unwrap_or(i64::MAX);
        session.execute(REMOVE, [position])?;
        session.execute(MOVE_ANCHOR, (position, last.hash.0))?;
    }
    Ok(many)
}

/// How many would be removed.
pub(super) fn count_old(conn: &Connection, before: Timestamp, limit: usize) -> rusqlite::Result<usize> {
    let mut find = conn.prepare_cached(LINKS)?;
    let oldest = find.query_map((0, i64::try_from(limit).unwrap_or(i64::MAX)), read_link)?;
    Ok(old(&oldest.collect::<Result<Vec<_>, _>>()?, before))
}

fn fill(conn: &Connection, mut filling: Filling, before: Option<u64>) -> rusqlite::Result<AuditPage> {
    let before = before.map_or(i64::MAX, |before| i64::try_from(before).unwrap_or(i64::MAX));
    let mut find = conn.prepare_cached(NEWEST)?;
    let mut rows = find.query((before, i64::try_from(SCAN_MAX).unwrap_or(i64::MAX)))?;
    while let Some(row) = rows.next()? {
        if !filling.take(row.get(0)?, row.get_ref(1)?.as_str()?) {
            return Ok(filling.end(false));
        }
    }
    Ok(filling.end(true))
}

fn read_link(row: &Row<'_>) -> rusqlite::Result<Link> {
    Ok(Link { position: row.get(0)?, body: row.get(1)?, hash: ChainHash(row.get(2)?) })
}

fn read_ends(row: &Row<'_>) -> rusqlite::Result<AuditEnds> {
    let place = |at: usize| -> rusqlite::Result<Place> {
        Ok(Place { position: row.get(at)?, hash: ChainHash(row.get(at + 1)?) })
    };
    Ok(AuditEnds { head: place(0)?, anchor: place(2)? })
}

// The statements of the audit; plans.rs holds each of them to an index.
pub(super) const ENDS: &str = "SELECT head_position, head_hash, anchor_position, anchor_hash
     FROM taskwright_audit_ends WHERE single = 1";
const INSERT: &str = "INSERT INTO taskwright_audit (position, body, hash) VALUES (?1, ?2, ?3)";
const MOVE_HEAD: &str =
    "UPDATE taskwright_audit_ends SET head_position = ?1, head_hash = ?2 WHERE single = 1";
const MOVE_ANCHOR: &str =
    "UPDATE taskwright_audit_ends SET anchor_position = ?1, anchor_hash = ?2 WHERE single = 1";
pub(super) const LINKS: &str =
    "SELECT position, body, hash FROM taskwright_audit WHERE position > ?1 ORDER BY position LIMIT ?2";
pub(super) const NEWEST: &str =
    "SELECT position, body FROM taskwright_audit WHERE position < ?1 ORDER BY position DESC LIMIT ?2";
pub(super) const REMOVE: &str = "DELETE FROM taskwright_audit WHERE position <= ?1";
