//! Bulk jobs: parents, and what is told of their items.
//!
//! A parent that completed has no attempt that tells of it. It is in `over`, as those that failed are.
//!
//! Whoever locks the generator of a bulk and its parent locks the generator first, and then the parent, whose number is lower
//! than those of its items.

use taskwright_core::{Delivery, GeneratorName, JobId, Namespace, NewJob, State, Timestamp, state};
use tokio_postgres::Row;

use super::enqueue::lane_key;
use super::generator;
use super::place::{self, Move};
use super::schedule::page;
use super::session::{Session, Uuid, code, get, name, sql_code, vanished};
use crate::Enqueued;
use crate::bulk::{BulkWrite, NewBulk, StoredBulk, moves_to};
use crate::claim::JobKey;
use crate::error::Error;
use crate::finish::Progress;

/// See [`BulkStore::create_bulk`](crate::BulkStore::create_bulk).
pub(super) async fn create(
    session: &mut Session<'_>,
    now: Timestamp,
    new: &NewBulk,
) -> Result<Enqueued, Error> {
    let parent = &new.parent;
    let Some(seq) = insert_parent(session, now, parent).await? else {
        return Ok(Enqueued { id: parent.id, existing: true });
    };
    let generator = generator::put_and_find(session, now, &new.generator).await?;
    let (namespace, name) = (parent.namespace.as_str(), new.generator.name.as_str());
    session
        .execute(
            INSERT,
            &[&seq, &generator, &namespace, &name, &new.definition, &new.tally, &json(&new.progress)],
        )
        .await?;
    session.hint = true;
    Ok(Enqueued { id: parent.id, existing: false })
}

/// Stores the parent, blocked; its number, or `None` when there is a job with its id.
async fn insert_parent(
    session: &mut Session<'_>,
    now: Timestamp,
    parent: &NewJob,
) -> Result<Option<i64>, Error> {
    let lane = session.lane(&lane_key(parent)).await?;
    let owner = parent.owner.as_ref().map(|owner| owner.as_str());
    let row = session
        .first(
            INSERT_PARENT,
            &[
                &Uuid::from(parent.id),
                &lane,
                &now.as_micros(),
                &sql_code(State::Blocked.code()),
                &i64::from(parent.max_attempts.code()),
                &(parent.delivery == Delivery::AtMostOnce),
                &owner,
                &parent.args.as_bytes(),
            ],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let seq: i64 = get(&row, 0)?;
    let blocked = sql_code(State::Blocked.code());
    session.execute(place::PUT_WAITING, &[&seq, &blocked, &None::<i64>, &0_i32, &0_i64]).await?;
    Ok(Some(seq))
}

fn json(progress: &Progress) -> String {
    // Numbers and text: nothing in it cannot be written.
    serde_json::to_string(progress).unwrap_or_default()
}

/// Whether the parent, which is locked from now on, is as whoever writes about it has seen it.
pub(super) async fn fits(session: &mut Session<'_>, write: &BulkWrite) -> Result<bool, Error> {
    let parent = session.first(LOCK_PARENT, &[&Uuid::from(write.parent)]).await?;
    let Some(parent) = parent else { return Ok(write.is_over) };
    // A statement of its own: it must see what was committed while the lock was waited for.
    let waits = session.first(WAITS, &[&get::<i64>(&parent, 0)?]).await?;
    let state = waits.map(|row| code(&row, 0)).transpose()?;
    Ok((state == Some(State::Blocked.code())) != write.is_over)
}

/// Writes what is told of the items, and ends the parent if all is over. The caller has locked it.
pub(super) async fn write(session: &mut Session<'_>, now: Timestamp, write: &BulkWrite) -> Result<(), Error> {
    let Some(row) = session.first(LOCK_PARENT, &[&Uuid::from(write.parent)]).await? else { return Ok(()) };
    let seq: i64 = get(&row, 0)?;
    session.execute(TELL, &[&seq, &write.tally, &json(&write.progress)]).await?;
    let Some((cause, to, reason)) = write.end.as_ref().and_then(moves_to) else { return Ok(()) };
    state::check(State::Blocked, cause, to)?;
    let (blocked, ended_at) = (sql_code(State::Blocked.code()), now.as_micros());
    if session.execute(place::TAKE_WAITING, &[&seq, &blocked, &0_i32, &0_i64]).await? != 1 {
        return Err(vanished("the parent of a bulk"));
    }
    session.execute(place::PUT_OVER, &[&seq, &sql_code(to.code()), &ended_at, &reason]).await?;
    let line = Move { at: ended_at, cause: Some(cause), to, attempts: 0, actor: "system", reason };
    place::note(session, seq, &line).await?;
    // Whoever waits for it looks.
    session.hint = true;
    Ok(())
}

/// Locks the generators of those of these jobs that are parents.
pub(super) async fn lock_generators(session: &mut Session<'_>, parents: &[i64]) -> Result<(), Error> {
    session.all(LOCK_GENERATORS, &[&parents]).await.map(drop)
}

/// Has the generators of bulks asked at once, whose parents were cancelled, even if they rest.
pub(super) async fn wake(session: &mut Session<'_>, now: Timestamp, parents: &[i64]) -> Result<(), Error> {
    if session.execute(WAKE, &[&parents, &now.as_micros()]).await? > 0 {
        session.hint = true;
    }
    Ok(())
}

/// Whether a job is the parent of a bulk.
pub(super) async fn is_parent(session: &mut Session<'_>, seq: i64) -> Result<bool, Error> {
    Ok(session.first(IS_PARENT, &[&seq]).await?.is_some())
}

/// See [`BulkStore::bulk`](crate::BulkStore::bulk).
pub(super) async fn find(session: &mut Session<'_>, parent: JobId) -> Result<Option<StoredBulk>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM (SELECT seq, id FROM job WHERE id = $1 LIMIT 1) j
         CROSS JOIN LATERAL (SELECT * FROM bulk WHERE bulk.seq = j.seq LIMIT 1) b"
    );
    let row = session.first(&sql, &[&Uuid::from(parent)]).await?;
    row.as_ref().map(read_bulk).transpose()
}

/// See [`BulkStore::bulks`](crate::BulkStore::bulks).
pub(super) async fn list(
    session: &mut Session<'_>,
    namespace: Option<&Namespace>,
    after: Option<JobKey>,
    limit: usize,
) -> Result<Vec<StoredBulk>, Error> {
    let (after, most) = (after.map_or(i64::MAX, |key| key.0), page(limit));
    let namespace = namespace.map(Namespace::as_str);
    let rows = session.all(&list_query(), &[&after, &most, &namespace]).await?;
    rows.iter().map(read_bulk).collect()
}

/// The limit keeps the lookup of each job one by its number.
pub(super) fn list_query() -> String {
    format!(
        "SELECT {COLUMNS} FROM bulk b CROSS JOIN LATERAL (SELECT id FROM job WHERE job.seq = b.seq LIMIT 1) j
         WHERE b.seq < $1 AND ($3::text IS NULL OR b.namespace = $3::text) ORDER BY b.seq DESC LIMIT $2"
    )
}

fn read_bulk(row: &Row) -> Result<StoredBulk, Error> {
    Ok(StoredBulk {
        key: JobKey(get(row, 0)?),
        parent: get::<Uuid>(row, 1)?.into(),
        namespace: name(row, 2, Namespace::new)?,
        generator: name(row, 3, GeneratorName::new)?,
        definition: get(row, 4)?,
        tally: get(row, 5)?,
    })
}

/// What [`read_bulk`] reads.
const COLUMNS: &str = "b.seq, j.id, b.namespace, b.name, b.definition, b.tally";

const INSERT: &str = "INSERT INTO bulk (seq, generator, namespace, name, definition, tally, progress)
    VALUES ($1, $2, $3, $4, $5, $6, $7)";
const INSERT_PARENT: &str =
    "INSERT INTO job (id, lane, created_at, run_at, first_state, max_attempts, at_most_once,
        owner, args, is_streamed)
    VALUES ($1, $2, $3, $3, $4, $5, $6, $7, $8, false) ON CONFLICT (id) DO NOTHING RETURNING seq";
pub(super) const LOCK_PARENT: &str = "SELECT seq FROM job WHERE id = $1 FOR UPDATE";
pub(super) const WAITS: &str = "SELECT state FROM waiting WHERE seq = $1";
pub(super) const TELL: &str = "UPDATE bulk SET tally = $2, progress = $3 WHERE seq = $1";
pub(super) const IS_PARENT: &str = "SELECT FROM bulk WHERE seq = $1";
pub(super) const LOCK_GENERATORS: &str = "SELECT FROM generator g WHERE g.generator = ANY(ARRAY(
        SELECT b.generator FROM unnest($1::bigint[]) AS t (seq)
        CROSS JOIN LATERAL (SELECT generator FROM bulk WHERE bulk.seq = t.seq LIMIT 1) b))
    ORDER BY g.generator FOR UPDATE";
pub(super) const WAKE: &str = "UPDATE generator
    SET notices = notices + 1, next = CASE WHEN lease_until > $2 THEN next ELSE $2 END
    WHERE generator = ANY(ARRAY(SELECT b.generator FROM bulk b WHERE b.seq = ANY($1::bigint[])))";
