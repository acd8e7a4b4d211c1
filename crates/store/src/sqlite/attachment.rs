//! Attachments of jobs: a row each, and one for each piece of its bytes.

use rusqlite::{OptionalExtension as _, Row, params};
use taskwright_core::attachment::{Room, Sum};
use taskwright_core::limit::ATTACHMENT_PIECE_BYTES;
use taskwright_core::{Attachment, AttachmentName, JobId, State, Timestamp};

use super::SqliteStore;
use super::error::read_error;
use super::finish::array;
use super::place::{self, PLACE_COLUMNS, PLACE_JOINS};
use super::schedule::rows;
use super::session::{Session, name};
use crate::Reply;
use crate::attachment::{Attached, AttachmentStore, AttachmentView};
use crate::error::Error;

impl AttachmentStore for SqliteStore {
    fn attach(&self, now: Timestamp, job: JobId, attachment: Attachment) -> Reply<'_, Attached> {
        self.writer.write(move |session| attach(session, now, job, &attachment))
    }

    fn attachments(&self, job: JobId) -> Reply<'_, Vec<AttachmentView>> {
        self.readers.read(move |conn| rows(conn, LIST, [job.as_bytes()], read_view))
    }

    fn attachment_piece(&self, job: JobId, name: AttachmentName, number: u32) -> Reply<'_, Option<Vec<u8>>> {
        self.readers.read(move |conn| {
            let piece = conn.prepare_cached(PIECE).and_then(|mut find| {
                find.query_row((job.as_bytes(), name.as_str(), number), |row| row.get(0)).optional()
            });
            piece.map_err(read_error)
        })
    }
}

fn attach(
    session: &mut Session<'_>,
    now: Timestamp,
    job: JobId,
    attachment: &Attachment,
) -> Result<Attached, Error> {
    let find =
        format!("SELECT j.seq, j.owner, {PLACE_COLUMNS} FROM taskwright_job j {PLACE_JOINS} WHERE j.id = ?1");
    let found = session.first(&find, [job.as_bytes()], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, Option<String>>(1)?, place::read_place(row, 2)?))
    })?;
    let Some((seq, owner, place)) = found else { return Ok(Attached::Unknown) };
    if place.state != State::Held {
        return Ok(Attached::NotHeld(place.state));
    }
    let (name, bytes) = (attachment.name().as_str(), attachment.bytes());
    for remove in REMOVE_ONE {
        session.execute(remove, (seq, name))?;
    }
    let (count, of_job) =
        session.first(OF_JOB, [seq], |row| Ok((row.get(0)?, row.get(1)?)))?.unwrap_or_default();
    let held_bytes = match &owner {
        Some(owner) => session.first(HELD, (owner, State::Held.code()), |row| row.get(0))?.unwrap_or(0),
        None => 0,
    };
    // A refusal undoes the call.
    Room { count, bytes: of_job, held_bytes }.check(bytes.len())?;
    let sum = attachment.sum();
    let row = params![seq, name, owner, bytes.len(), sum.as_bytes(), now.as_micros()];
    session.execute(INSERT, row)?;
    for (number, piece) in bytes.chunks(ATTACHMENT_PIECE_BYTES).enumerate() {
        session.execute(INSERT_PIECE, params![seq, name, number, piece])?;
    }
    Ok(Attached::Done)
}

/// Removes what is attached to a job.
pub(super) fn remove(session: &mut Session<'_>, seq: i64) -> Result<(), Error> {
    for remove in REMOVE {
        session.execute(remove, [array(std::iter::once(seq))])?;
    }
    Ok(())
}

fn read_view(row: &Row<'_>) -> rusqlite::Result<AttachmentView> {
    Ok(AttachmentView {
        name: name(row, 0, AttachmentName::new)?,
        bytes: row.get(1)?,
        sum: Sum::from_bytes(row.get(2)?),
        at: Timestamp::from_micros(row.get(3)?),
    })
}

// The statements; plans.rs holds each of them to an index.
pub(super) const REMOVE: [&str; 2] = [
    "DELETE FROM taskwright_attachment WHERE seq IN rarray(?1)",
    "DELETE FROM taskwright_attachment_piece WHERE seq IN rarray(?1)",
];
pub(super) const REMOVE_ONE: [&str; 2] = [
    "DELETE FROM taskwright_attachment WHERE seq = ?1 AND name = ?2",
    "DELETE FROM taskwright_attachment_piece WHERE seq = ?1 AND name = ?2",
];
pub(super) const OF_JOB: &str =
    "SELECT count(*), coalesce(sum(bytes), 0) FROM taskwright_attachment WHERE seq = ?1";
/// Of the newest of an owner, so that those of jobs that are over for long are not walked: a hold lasts an hour.
pub(super) const HELD: &str = "SELECT coalesce(sum(size), 0) FROM (
        SELECT seq AS held, bytes AS size FROM taskwright_attachment
        WHERE owner = ?1 ORDER BY owner, seq DESC LIMIT 10000)
     CROSS JOIN taskwright_waiting w ON w.seq = held AND w.state = ?2";
const INSERT: &str =
    "INSERT INTO taskwright_attachment (seq, name, owner, bytes, sum, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const INSERT_PIECE: &str =
    "INSERT INTO taskwright_attachment_piece (seq, name, number, bytes) VALUES (?1, ?2, ?3, ?4)";
pub(super) const LIST: &str = "SELECT a.name, a.bytes, a.sum, a.at
     FROM taskwright_job j CROSS JOIN taskwright_attachment a ON a.seq = j.seq WHERE j.id = ?1 ORDER BY a.seq, a.name";
pub(super) const PIECE: &str = "SELECT p.bytes
     FROM taskwright_job j CROSS JOIN taskwright_attachment_piece p ON p.seq = j.seq AND p.name = ?2 AND p.number = ?3
     WHERE j.id = ?1";
