//! Attachments of jobs: a row each, and one for each piece of its bytes.

use taskwright_core::attachment::{Room, Sum};
use taskwright_core::limit::ATTACHMENT_PIECE_BYTES;
use taskwright_core::{Attachment, AttachmentName, JobId, State, Timestamp};
use tokio_postgres::Row;

use super::place;
use super::session::{Session, Uuid, get, name, sql_code, vanished};
use crate::attachment::{Attached, AttachmentView};
use crate::error::Error;

/// See [`AttachmentStore::attach`](crate::AttachmentStore::attach).
pub(super) async fn attach(
    session: &mut Session<'_>,
    now: Timestamp,
    job: JobId,
    attachment: &Attachment,
) -> Result<Attached, Error> {
    // Others that attach something to it wait here, and so does whoever removes it.
    let Some(row) = session.first(LOCK, &[&Uuid::from(job)]).await? else { return Ok(Attached::Unknown) };
    let (seq, owner): (i64, Option<&str>) = (get(&row, 0)?, get(&row, 1)?);
    let held = sql_code(State::Held.code());
    // And whoever releases it.
    if session.first(LOCK_HELD, &[&seq, &held]).await?.is_none() {
        let place = place::find(session, &[seq]).await?.remove(&seq);
        return Ok(place.map_or(Attached::Unknown, |place| Attached::NotHeld(place.state)));
    }
    let (name, bytes) = (attachment.name().as_str(), attachment.bytes());
    session.execute(REMOVE_ONE, &[&seq, &name]).await?;
    let row = session.first(OF_JOB, &[&seq]).await?.ok_or_else(|| vanished("a sum"))?;
    let (count, of_job) = (number(get(&row, 0)?), number(get(&row, 1)?));
    let held_bytes = match owner {
        Some(owner) => {
            let row = session.first(HELD, &[&owner, &held]).await?.ok_or_else(|| vanished("a sum"))?;
            number(get(&row, 0)?)
        }
        None => 0,
    };
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    // A refusal undoes the call.
    Room { count, bytes: of_job, held_bytes }.check(bytes.len())?;
    let (length, sum) = (i64::try_from(bytes.len()).unwrap_or(i64::MAX), attachment.sum());
    let sum = sum.as_bytes().as_slice();
    session.execute(INSERT, &[&seq, &name, &owner, &length, &sum, &now.as_micros()]).await?;
    let pieces: Vec<&[u8]> = bytes.chunks(ATTACHMENT_PIECE_BYTES).collect();
    session.execute(INSERT_PIECES, &[&seq, &name, &pieces]).await?;
    Ok(Attached::Done)
}

/// A count or a sum of what is there.
fn number(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

pub(super) fn read_view(row: &Row) -> Result<AttachmentView, Error> {
    let sum: [u8; 32] = get::<&[u8]>(row, 2)?.try_into().map_err(|_| vanished("a sum"))?;
    Ok(AttachmentView {
        name: name(row, 0, AttachmentName::new)?,
        bytes: number(get(row, 1)?),
        sum: Sum::from_bytes(sum),
        at: Timestamp::from_micros(get(row, 3)?),
    })
}

// The statements.
const LOCK: &str = "SELECT seq, owner FROM job WHERE id = $1 FOR UPDATE";
const LOCK_HELD: &str = "SELECT FROM waiting WHERE seq = $1 AND state = $2 FOR UPDATE";
const REMOVE_ONE: &str = "WITH pieces AS (DELETE FROM attachment_piece WHERE seq = $1 AND name = $2)
    DELETE FROM attachment WHERE seq = $1 AND name = $2";
const OF_JOB: &str = "SELECT count(*), coalesce(sum(bytes), 0)::bigint FROM attachment WHERE seq = $1";
/// Of the newest of an owner, so that those of jobs that are over for long are not walked: a hold lasts an hour.
const HELD: &str = "SELECT coalesce(sum(a.bytes), 0)::bigint FROM (
        SELECT seq, bytes FROM attachment WHERE owner = $1 ORDER BY owner, seq DESC LIMIT 10000) a
    CROSS JOIN LATERAL (SELECT FROM waiting w WHERE w.seq = a.seq AND w.state = $2 LIMIT 1) w";
const INSERT: &str =
    "INSERT INTO attachment (seq, name, owner, bytes, sum, at) VALUES ($1, $2, $3, $4, $5, $6)";
const INSERT_PIECES: &str = "INSERT INTO attachment_piece (seq, name, number, bytes)
    SELECT $1, $2, (p.number - 1)::integer, p.bytes
    FROM unnest($3::bytea[]) WITH ORDINALITY AS p (bytes, number)";
/// What is attached to jobs whose hold has expired.
pub(super) const REMOVE: &str = "WITH pieces AS (DELETE FROM attachment_piece WHERE seq = ANY($1::bigint[]))
    DELETE FROM attachment WHERE seq = ANY($1::bigint[])";
pub(super) const LIST: &str = "SELECT a.name, a.bytes, a.sum, a.at
    FROM (SELECT seq FROM job WHERE id = $1 LIMIT 1) j CROSS JOIN LATERAL (
        SELECT * FROM attachment a WHERE a.seq = j.seq ORDER BY a.seq, a.name LIMIT 1000) a ORDER BY a.name COLLATE \"C\"";
pub(super) const PIECE: &str = "SELECT p.bytes
    FROM (SELECT seq FROM job WHERE id = $1 LIMIT 1) j CROSS JOIN LATERAL (
        SELECT p.bytes FROM attachment_piece p WHERE p.seq = j.seq AND p.name = $2 AND p.number = $3 LIMIT 1) p";
