//! Bulk jobs: parents, and what is told of their items.
//!
//! A parent that completed has no attempt that tells of it. It is in `taskwright_over`, as those that failed are.

use rusqlite::types::ToSqlOutput;
use rusqlite::{OptionalExtension, Row, params};
use taskwright_core::{Delivery, GeneratorName, JobId, Namespace, NewJob, State, Timestamp, state};

use super::SqliteStore;
use super::enqueue::take_seqs;
use super::error::read_error;
use super::generator;
use super::outcome;
use super::place::{self, Move};
use super::schedule::{page, rows};
use super::session::{LaneKey, Session, name, vanished};
use crate::bulk::{BulkStore, BulkWrite, NewBulk, StoredBulk, moves_to};
use crate::claim::JobKey;
use crate::error::Error;
use crate::{Enqueued, Reply};

impl BulkStore for SqliteStore {
    fn create_bulk(&self, now: Timestamp, bulk: NewBulk) -> Reply<'_, Enqueued> {
        self.writer.write(move |session| create(session, now, &bulk))
    }

    fn bulk(&self, parent: JobId) -> Reply<'_, Option<StoredBulk>> {
        self.readers.read(move |conn| {
            let found = conn
                .prepare_cached(&by_parent())
                .and_then(|mut find| find.query_row([parent.as_bytes()], read_bulk).optional());
            found.map_err(read_error)
        })
    }

    fn bulks(
        &self,
        namespace: Option<Namespace>,
        after: Option<JobKey>,
        limit: usize,
    ) -> Reply<'_, Vec<StoredBulk>> {
        self.readers.read(move |conn| {
            let after = after.map_or(i64::MAX, |key| key.0);
            let namespace = namespace.as_ref().map(Namespace::as_str);
            rows(conn, &list(), params![after, namespace, page(limit)], read_bulk)
        })
    }
}

fn create(session: &mut Session<'_>, now: Timestamp, new: &NewBulk) -> Result<Enqueued, Error> {
    let parent = &new.parent;
    if session.first(FIND, [parent.id.as_bytes()], |_| Ok(()))?.is_some() {
        return Ok(Enqueued { id: parent.id, existing: true });
    }
    let generator = generator::put_and_find(session, now, &new.generator)?;
    let seq = insert_parent(session, now, parent)?;
    let (namespace, name) = (parent.namespace.as_str(), new.generator.name.as_str());
    let progress = serde_json::to_string(&new.progress).unwrap_or_default();
    session.execute(INSERT, params![seq, generator, namespace, name, new.definition, new.tally, progress])?;
    session.hint = true;
    Ok(Enqueued { id: parent.id, existing: false })
}

/// Stores the parent, blocked; its number.
fn insert_parent(session: &mut Session<'_>, now: Timestamp, parent: &NewJob) -> Result<i64, Error> {
    let lane = session.lane(&LaneKey {
        namespace: parent.namespace.clone(),
        queue: parent.queue.clone(),
        kind: parent.kind.clone(),
        priority: parent.priority,
    })?;
    let seq = take_seqs(session, 1)?;
    let owner = parent.owner.as_ref().map(|owner| owner.as_str());
    session.execute(
        INSERT_PARENT,
        params![
            seq,
            parent.id.as_bytes(),
            lane,
            now.as_micros(),
            parent.max_attempts.code(),
            parent.delivery == Delivery::AtMostOnce,
            owner,
            ToSqlOutput::from(parent.args.as_bytes()),
            State::Blocked.code(),
        ],
    )?;
    session.execute(PUT_BLOCKED, (seq, State::Blocked.code()))?;
    session.moved_one(seq)?;
    Ok(seq)
}

/// Whether the parent is as whoever writes about it has seen it.
pub(super) fn fits(session: &mut Session<'_>, write: &BulkWrite) -> Result<bool, Error> {
    let state = session.first(PARENT, [write.parent.as_bytes()], |row| row.get::<_, Option<u8>>(1))?;
    Ok((state.flatten() == Some(State::Blocked.code())) != write.is_over)
}

/// Writes what is told of the items, and ends the parent if all is over.
pub(super) fn write(session: &mut Session<'_>, now: Timestamp, write: &BulkWrite) -> Result<(), Error> {
    let Some(seq) = session.first(PARENT, [write.parent.as_bytes()], |row| row.get::<_, i64>(0))? else {
        return Ok(());
    };
    let progress = serde_json::to_string(&write.progress).unwrap_or_default();
    session.execute(TELL, params![seq, write.tally, progress])?;
    let Some((cause, to, reason)) = write.end.as_ref().and_then(moves_to) else { return Ok(()) };
    state::check(State::Blocked, cause, to)?;
    if session.execute(place::TAKE_WAITING, [seq])? != 1 {
        return Err(vanished("the parent of a bulk"));
    }
    let ended_at = now.as_micros();
    session.execute(place::PUT_OVER, (seq, to.code(), ended_at, reason))?;
    place::note(
        session,
        seq,
        &Move { at: ended_at, cause: Some(cause), to, attempts: 0, actor: "system", reason },
    )?;
    if outcome::are_of_interest(session, to)? {
        outcome::tell(session, seq, to, 0, ended_at)?;
    }
    // Whoever waits for it looks.
    session.hint = true;
    Ok(())
}

/// Has the generator of a bulk asked at once, whose parent was cancelled, even if it rests.
pub(super) fn wake(session: &mut Session<'_>, now: Timestamp, parent: i64) -> Result<(), Error> {
    if session.execute(WAKE, (parent, now.as_micros()))? > 0 {
        session.hint = true;
    }
    Ok(())
}

/// Whether a job is the parent of a bulk.
pub(super) fn is_parent(session: &mut Session<'_>, seq: i64) -> Result<bool, Error> {
    Ok(session.first(IS_PARENT, [seq], |_| Ok(()))?.is_some())
}

fn read_bulk(row: &Row<'_>) -> rusqlite::Result<StoredBulk> {
    Ok(StoredBulk {
        key: JobKey(row.get(0)?),
        parent: JobId::from_bytes(row.get(1)?),
        namespace: name(row, 2, Namespace::new)?,
        generator: name(row, 3, GeneratorName::new)?,
        definition: row.get(4)?,
        tally: row.get(5)?,
    })
}

/// What [`read_bulk`] reads.
const COLUMNS: &str = "b.seq, j.id, b.namespace, b.name, b.definition, b.tally";

pub(super) fn by_parent() -> String {
    format!(
        "SELECT {COLUMNS} FROM taskwright_job j CROSS JOIN taskwright_bulk b ON b.seq = j.seq WHERE j.id = ?1"
    )
}

pub(super) fn list() -> String {
    format!(
        "SELECT {COLUMNS} FROM taskwright_bulk b CROSS JOIN taskwright_job j ON j.seq = b.seq
         WHERE b.seq < ?1 AND (?2 IS NULL OR b.namespace = ?2) ORDER BY b.seq DESC LIMIT ?3"
    )
}

// The statements of bulks; plans.rs holds each of them to an index.
const FIND: &str = "SELECT 1 FROM taskwright_job WHERE id = ?1";
const INSERT: &str =
    "INSERT INTO taskwright_bulk (seq, generator, namespace, name, definition, tally, progress)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
const INSERT_PARENT: &str = "INSERT INTO taskwright_job
        (seq, id, lane, created_at, run_at, max_attempts, at_most_once, owner, args, first_state)
     VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6, ?7, ?8, ?9)";
const PUT_BLOCKED: &str =
    "INSERT INTO taskwright_waiting (seq, state, due, attempts, flags) VALUES (?1, ?2, NULL, 0, 0)";
pub(super) const PARENT: &str = "SELECT j.seq, w.state FROM taskwright_job j
     LEFT JOIN taskwright_waiting w ON w.seq = j.seq WHERE j.id = ?1";
pub(super) const TELL: &str = "UPDATE taskwright_bulk SET tally = ?2, progress = ?3 WHERE seq = ?1";
pub(super) const IS_PARENT: &str = "SELECT 1 FROM taskwright_bulk WHERE seq = ?1";
pub(super) const WAKE: &str = "UPDATE taskwright_generator
     SET notices = notices + 1, next = iif(coalesce(lease_until > ?2, 0), next, ?2)
     WHERE generator = (SELECT b.generator FROM taskwright_bulk b WHERE b.seq = ?1)";
