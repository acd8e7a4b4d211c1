//! The audit. An entry is put down by itself, with what it tells of, and becomes a link of the chain when it is sealed: a chain that
//! all wrote to would have each wait for the commit of the one before.

use taskwright_core::Timestamp;
use taskwright_core::audit::{ChainHash, Entry, Link, Place};
use tokio_postgres::Row;

use super::session::{Session, get, vanished};
use crate::audit::{AuditEnds, AuditPage, Filling, SCAN_MAX, body, old};
use crate::error::Error;

/// Puts an entry down.
pub(super) async fn note(session: &mut Session<'_>, entry: &Entry) -> Result<(), Error> {
    let body = body(entry)?;
    session.execute(NOTE, &[&body]).await.map(drop)
}

/// See [`AuditStore::seal_audit`](crate::AuditStore::seal_audit).
pub(super) async fn seal(session: &mut Session<'_>, limit: usize) -> Result<usize, Error> {
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    // Most of the time there is nothing, and then nobody is kept waiting.
    if session.first(ARE_SOME, &[]).await?.is_none() {
        return Ok(0);
    }
    let mut at = lock_ends(session).await?.head;
    let entries = session.all(TAKE, &[&most]).await?;
    let (mut positions, mut bodies, mut hashes) = (Vec::new(), Vec::new(), Vec::new());
    let mut entries: Vec<(i64, String)> =
        entries.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?))).collect::<Result<_, Error>>()?;
    entries.sort_unstable_by_key(|(number, _)| *number);
    for (_, body) in entries {
        let link = at.link(body);
        at = link.place();
        positions.push(signed(link.position));
        bodies.push(link.body);
        hashes.push(link.hash.0.to_vec());
    }
    if !positions.is_empty() {
        session.execute(INSERT, &[&positions, &bodies, &hashes]).await?;
        session.execute(MOVE_HEAD, &[&signed(at.position), &at.hash.0.as_slice()]).await?;
    }
    Ok(positions.len())
}

/// See [`AuditStore::audit_ends`](crate::AuditStore::audit_ends).
pub(super) async fn ends(session: &mut Session<'_>) -> Result<AuditEnds, Error> {
    read_ends(session.first(ENDS, &[]).await?)
}

async fn lock_ends(session: &mut Session<'_>) -> Result<AuditEnds, Error> {
    read_ends(session.first(LOCK_ENDS, &[]).await?)
}

/// See [`AuditStore::audit_links`](crate::AuditStore::audit_links).
pub(super) async fn links(session: &mut Session<'_>, after: u64, limit: i64) -> Result<Vec<Link>, Error> {
    session.all(LINKS, &[&signed(after), &limit]).await?.iter().map(read_link).collect()
}

/// Fills a page. See [`AuditStore::audit_page`](crate::AuditStore::audit_page).
pub(super) async fn page(
    session: &mut Session<'_>,
    mut filling: Filling,
    before: Option<u64>,
) -> Result<AuditPage, Error> {
    /// Links that are read at a time.
    const READ: i64 = 1_000;
    let mut before = before.map_or(i64::MAX, signed);
    for _ in 0..SCAN_MAX.div_ceil(1_000) {
        let rows = session.all(NEWEST, &[&before, &READ]).await?;
        for row in &rows {
            before = get(row, 0)?;
            if !filling.take(before.unsigned_abs(), get(row, 1)?) {
                return Ok(filling.end(false));
            }
        }
        if rows.len() < 1_000 {
            return Ok(filling.end(true));
        }
    }
    Ok(filling.end(false))
}

/// Removes the oldest entries, if they are of before that moment.
pub(super) async fn collect(
    session: &mut Session<'_>,
    before: Timestamp,
    limit: i64,
) -> Result<usize, Error> {
    lock_ends(session).await?;
    let oldest = links(session, 0, limit).await?;
    let many = old(&oldest, before);
    if let Some(last) = oldest[..many].last() {
        let position = signed(last.position);
        session.execute(REMOVE, &[&position]).await?;
        session.execute(MOVE_ANCHOR, &[&position, &last.hash.0.as_slice()]).await?;
    }
    Ok(many)
}

/// How many would be removed.
pub(super) async fn count_old(
    session: &mut Session<'_>,
    before: Timestamp,
    limit: i64,
) -> Result<usize, Error> {
    Ok(old(&links(session, 0, limit).await?, before))
}

fn signed(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

fn read_hash(row: &Row, column: usize) -> Result<ChainHash, Error> {
    let bytes: &[u8] = get(row, column)?;
    bytes.try_into().map(ChainHash).map_err(|_| vanished("a hash of the audit"))
}

fn read_link(row: &Row) -> Result<Link, Error> {
    Ok(Link { position: get::<i64>(row, 0)?.unsigned_abs(), body: get(row, 1)?, hash: read_hash(row, 2)? })
}

fn read_ends(row: Option<Row>) -> Result<AuditEnds, Error> {
    let row = row.ok_or_else(|| vanished("the ends of the audit"))?;
    let place = |at: usize| -> Result<Place, Error> {
        Ok(Place { position: get::<i64>(&row, at)?.unsigned_abs(), hash: read_hash(&row, at + 1)? })
    };
    Ok(AuditEnds { head: place(0)?, anchor: place(2)? })
}

// The statements of the audit.
const NOTE: &str = "INSERT INTO audit_entry (body) VALUES ($1)";
const ARE_SOME: &str = "SELECT FROM audit_entry WHERE entry > 0 LIMIT 1";
pub(super) const TAKE: &str = "DELETE FROM audit_entry WHERE entry = ANY(ARRAY(
        SELECT e.entry FROM audit_entry e WHERE e.entry > 0 ORDER BY e.entry LIMIT $1)) RETURNING entry, body";
const ENDS: &str =
    "SELECT head_position, head_hash, anchor_position, anchor_hash FROM audit_ends WHERE single";
const LOCK_ENDS: &str =
    "SELECT head_position, head_hash, anchor_position, anchor_hash FROM audit_ends WHERE single FOR UPDATE";
const INSERT: &str = "INSERT INTO audit (position, body, hash)
    SELECT l.position, l.body, l.hash FROM unnest($1::bigint[], $2::text[], $3::bytea[]) AS l (position, body, hash)";
const MOVE_HEAD: &str = "UPDATE audit_ends SET head_position = $1, head_hash = $2 WHERE single";
const MOVE_ANCHOR: &str = "UPDATE audit_ends SET anchor_position = $1, anchor_hash = $2 WHERE single";
pub(super) const LINKS: &str =
    "SELECT position, body, hash FROM audit WHERE position > $1 ORDER BY position LIMIT $2";
pub(super) const NEWEST: &str =
    "SELECT position, body FROM audit WHERE position < $1 ORDER BY position DESC LIMIT $2";
pub(super) const REMOVE: &str = "DELETE FROM audit WHERE position <= $1";
