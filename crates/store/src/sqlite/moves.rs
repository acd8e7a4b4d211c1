//! Moves of jobs, as calls note them while somebody listens.
//!
//! A call that moves jobs says so to its session ([`Session::moved`]); at its end one row tells of all of them, in its transaction. While
//! nobody listens, that is one look into an empty table a call.

use std::collections::BTreeSet;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::SqliteStore;
use super::error::read_error;
use super::query::{read_view, view_query};
use super::session::{Session, vanished};
use crate::Reply;
use crate::error::Error;
use crate::moves::{JOBS_PER_NOTE_MAX, KEPT, MovePlace, MoveStore, Moves};

/// Notes that are removed at a time.
const FORGET_MAX: i64 = 10_000;
/// Notes that are read at a time.
const NOTES_MAX: i64 = 500;
/// Bytes of a range.
const RANGE_BYTES: usize = 16;

impl MoveStore for SqliteStore {
    fn listen(&self, lease: Duration) -> Reply<'_, MovePlace> {
        self.writer.without_behalf().write(move |session| listen(session, lease))
    }

    fn moves(&self, after: MovePlace, limit: usize) -> Reply<'_, Moves> {
        self.readers.read(move |conn| moves(conn, &after, limit).map_err(read_error))
    }
}

impl Session<'_> {
    /// These jobs moved, the ends of the range included.
    pub(super) fn moved(&mut self, lo: i64, hi: i64) -> Result<(), Error> {
        let is_listened = match self.is_listened {
            Some(known) => known,
            None => self.first(IS_LISTENED, [], |row| row.get(0))?.unwrap_or(false),
        };
        self.is_listened = Some(is_listened);
        if is_listened {
            match self.moved.last_mut() {
                Some((_, last)) if *last + 1 == lo => *last = hi,
                _ => self.moved.push((lo, hi)),
            }
        }
        Ok(())
    }

    /// The same for one.
    pub(super) fn moved_one(&mut self, seq: i64) -> Result<(), Error> {
        self.moved(seq, seq)
    }

    /// Writes down what moved, at the end of a call.
    pub(super) fn note_moves(&mut self) -> Result<(), Error> {
        let mut moved = std::mem::take(&mut self.moved);
        if moved.is_empty() {
            return Ok(());
        }
        moved.sort_unstable();
        moved.dedup();
        let (mut bytes, mut jobs) = (Vec::new(), 0);
        for (lo, hi) in moved.into_iter().flat_map(parts) {
            let many = usize::try_from(hi - lo + 1).unwrap_or(usize::MAX);
            if jobs + many > JOBS_PER_NOTE_MAX {
                self.execute(NOTE, [std::mem::take(&mut bytes)])?;
                jobs = 0;
            }
            jobs += many;
            bytes.extend([lo.to_be_bytes(), hi.to_be_bytes()].as_flattened());
        }
        self.execute(NOTE, [bytes]).map(drop)
    }
}

/// A range as several of which one note can tell.
fn parts((lo, hi): (i64, i64)) -> impl Iterator<Item = (i64, i64)> {
    (lo..=hi).step_by(JOBS_PER_NOTE_MAX).map(move |from| (from, hi.min(from + JOBS_PER_NOTE_MAX as i64 - 1)))
}

fn listen(session: &mut Session<'_>, lease: Duration) -> Result<MovePlace, Error> {
    let lease = i64::try_from(lease.as_micros()).unwrap_or(i64::MAX / 2);
    let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let (since, at) = session.first(LISTEN, [lease], read)?.ok_or_else(|| vanished("who listens"))?;
    session.execute(FORGET, (at - i64::try_from(KEPT.as_micros()).unwrap_or(i64::MAX), FORGET_MAX))?;
    let newest = session.first(NEWEST, [], |row| row.get(0))?.unwrap_or(0);
    Ok(MovePlace::of(since, at, newest))
}

fn moves(conn: &Connection, after: &MovePlace, limit: usize) -> rusqlite::Result<Moves> {
    let listening = conn
        .prepare_cached(LISTENING)?
        .query_row([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
        .optional()?;
    let newest: i64 = conn.prepare_cached(NEWEST)?.query_row([], |row| row.get(0)).optional()?.unwrap_or(0);
    let (since, now) = listening.unwrap_or_default();
    let number = after.number().filter(|number| *number <= newest && after.is_kept(since, now));
    let (Some(mut number), Some(_)) = (number, listening) else {
        return Ok(Moves::missed(MovePlace::of(since, now, newest)));
    };
    let (mut seqs, mut is_end) = (BTreeSet::new(), true);
    let mut read = conn.prepare_cached(BEHIND)?;
    let mut rows = read.query(params![number, NOTES_MAX])?;
    let mut notes = 0;
    while let Some(row) = rows.next()? {
        notes += 1;
        if seqs.len() >= limit.max(1) || notes == NOTES_MAX {
            is_end = false;
            break;
        }
        number = row.get(0)?;
        for range in row.get_ref(1)?.as_blob()?.chunks_exact(RANGE_BYTES) {
            let (lo, hi) = range.split_at(RANGE_BYTES / 2);
            seqs.extend(integer(lo)..=integer(hi));
        }
    }
    let mut view = conn.prepare_cached(&format!("{} WHERE j.seq = ?1", view_query()))?;
    let mut jobs = Vec::with_capacity(seqs.len());
    for seq in seqs {
        jobs.extend(view.query_row([seq], read_view).optional()?.map(|(_, job)| job));
    }
    Ok(Moves { jobs, place: MovePlace::of(since, now, number), is_end, missed: false })
}

/// The integer that these eight bytes are.
fn integer(bytes: &[u8]) -> i64 {
    bytes.try_into().map_or(0, i64::from_be_bytes)
}

// The statements; plans.rs holds each of them to an index. The clock is the machine's: all who have the file open are on it.
pub(super) const IS_LISTENED: &str = "SELECT EXISTS (
        SELECT 1 FROM taskwright_listening
        WHERE one = 1 AND until_at > CAST(unixepoch('subsec') * 1000000 AS INTEGER))";
const LISTEN: &str = "INSERT INTO taskwright_listening (one, since, until_at)
     SELECT 1, now, now + ?1 FROM (SELECT CAST(unixepoch('subsec') * 1000000 AS INTEGER) AS now) WHERE true
     ON CONFLICT (one) DO UPDATE
     SET since = CASE WHEN until_at >= excluded.since THEN since ELSE excluded.since END,
         until_at = max(until_at, excluded.until_at)
     RETURNING since, CAST(unixepoch('subsec') * 1000000 AS INTEGER)";
const LISTENING: &str =
    "SELECT since, CAST(unixepoch('subsec') * 1000000 AS INTEGER) FROM taskwright_listening WHERE one = 1";
const NEWEST: &str = "SELECT seq FROM sqlite_sequence WHERE name = 'taskwright_moved'";
pub(super) const BEHIND: &str =
    "SELECT moved, seqs FROM taskwright_moved WHERE moved > ?1 ORDER BY moved LIMIT ?2";
/// The oldest have the lowest numbers, so that the walk ends soon.
pub(super) const FORGET: &str = "DELETE FROM taskwright_moved WHERE moved IN (
        SELECT moved FROM (SELECT m.moved, m.at FROM taskwright_moved m WHERE m.moved > 0 ORDER BY m.moved LIMIT ?2)
        WHERE at < ?1)";
const NOTE: &str =
    "INSERT INTO taskwright_moved (at, seqs) VALUES (CAST(unixepoch('subsec') * 1000000 AS INTEGER), ?1)";
