//! Comments, and jobs whose end was read.

use std::collections::HashMap;

use taskwright_core::limit::check_comment;
use taskwright_core::{Actor, JobId, Namespace, NewJob, Owner, Timestamp};
use tokio_postgres::Row;

use super::change::LOCK_JOBS;
use super::claim::owner;
use super::session::{Session, Uuid, get, name, vanished};
use super::{enqueue, place};
use crate::error::Error;
use crate::submitter::{
    Comment, RequestKey, Requested, Whose, check_consume, check_count, keep_answer, known_since,
};

/// See [`SubmitterStore::comment`](crate::SubmitterStore::comment).
pub(super) async fn comment(
    session: &mut Session<'_>,
    now: Timestamp,
    job: JobId,
    actor: &Actor,
    text: &str,
) -> Result<bool, Error> {
    check_comment(text)?;
    // Others that comment on it wait here, and so does whoever removes it.
    let Some(row) = session.first(LOCK, &[&Uuid::from(job)]).await? else { return Ok(false) };
    let seq: i64 = get(&row, 0)?;
    let count = session.first(COUNT, &[&seq]).await?.map_or(Ok(0), |row| get::<i64>(&row, 0))?;
    check_count(usize::try_from(count).unwrap_or(usize::MAX))?;
    let number = i32::try_from(count).unwrap_or(i32::MAX);
    session.execute(INSERT, &[&seq, &number, &now.as_micros(), &actor.as_str(), &text]).await?;
    Ok(true)
}

/// See [`SubmitterStore::whose`](crate::SubmitterStore::whose).
pub(super) async fn whose(session: &mut Session<'_>, job: JobId) -> Result<Option<Whose>, Error> {
    let row = session.first(WHOSE, &[&Uuid::from(job)]).await?;
    let read = |row: &Row| Ok(Whose { namespace: name(row, 0, Namespace::new)?, owner: owner(row, 1)? });
    row.as_ref().map(read).transpose()
}

const WHOSE: &str =
    "SELECT q.namespace, j.owner FROM job j JOIN lane l ON l.lane = j.lane JOIN queue q ON q.queue = l.queue
    WHERE j.id = $1";

/// See [`SubmitterStore::consume`](crate::SubmitterStore::consume).
pub(super) async fn consume(
    session: &mut Session<'_>,
    now: Timestamp,
    jobs: &[JobId],
    owner: &Owner,
) -> Result<Vec<bool>, Error> {
    check_consume(jobs)?;
    let ids: Vec<Uuid> = jobs.iter().copied().map(Uuid::from).collect();
    let rows = session.all(FIND, &[&ids, &owner.as_str()]).await?;
    let seqs = rows.iter().map(|row| get(row, 0)).collect::<Result<Vec<i64>, Error>>()?;
    if seqs.is_empty() {
        return Ok(vec![false; jobs.len()]);
    }
    // Whoever runs one again waits, or is done: then it is not over.
    let rows = session.all(LOCK_JOBS, &[&seqs]).await?;
    let mut ids: HashMap<JobId, i64> = HashMap::new();
    for row in &rows {
        ids.insert(get::<Uuid>(row, 1)?.into(), get(row, 0)?);
    }
    let places = place::find(session, &seqs).await?;
    let is_over = |seq: &&i64| places.get(seq).is_some_and(|place| place.state.is_terminal());
    let over: Vec<i64> = ids.values().filter(is_over).copied().collect();
    let rows = session.all(CONSUME, &[&over, &now.as_micros()]).await?;
    let mut noted = rows.iter().map(|row| get(row, 0)).collect::<Result<Vec<i64>, Error>>()?;
    let mut note = |id: &JobId| {
        let place = ids.get(id).and_then(|seq| noted.iter().position(|noted| noted == seq));
        // An id that comes twice is noted once.
        place.map(|place| noted.swap_remove(place)).is_some()
    };
    Ok(jobs.iter().map(&mut note).collect())
}

/// What was said about a job.
pub(super) async fn comments(session: &mut Session<'_>, seq: i64) -> Result<Vec<Comment>, Error> {
    let rows = session.all(COMMENTS, &[&seq]).await?;
    let read = |row| {
        Ok(Comment {
            at: Timestamp::from_micros(get(row, 0)?),
            actor: name(row, 1, Actor::new)?,
            text: get(row, 2)?,
        })
    };
    rows.iter().map(read).collect()
}

// The statements.
const LOCK: &str = "SELECT seq FROM job WHERE id = $1 FOR UPDATE";
const COUNT: &str = "SELECT count(*) FROM job_comment WHERE seq = $1";
const INSERT: &str = "INSERT INTO job_comment (seq, number, at, actor, text) VALUES ($1, $2, $3, $4, $5)";
const COMMENTS: &str = "SELECT at, actor, text FROM job_comment WHERE seq = $1 ORDER BY number";
const FIND: &str = "SELECT seq FROM job WHERE id = ANY($1::uuid[]) AND owner = $2";
const CONSUME: &str =
    "INSERT INTO consumed (seq, at) SELECT s.seq, $2::bigint FROM unnest($1::bigint[]) AS s (seq)
    ON CONFLICT (seq) DO NOTHING RETURNING seq";
/// A job that runs again has another end to be read.
pub(super) const FORGET_CONSUMED: &str = "DELETE FROM consumed WHERE seq = $1";
pub(super) const CONSUMED: &str = "SELECT seq, at FROM consumed WHERE seq > $1 ORDER BY seq LIMIT $2";

/// See [`SubmitterStore::enqueue_once`](crate::SubmitterStore::enqueue_once). Whoever comes with the same key waits at the insert until
/// this transaction is over.
pub(super) async fn enqueue_once(
    session: &mut Session<'_>,
    now: Timestamp,
    request: &RequestKey,
    jobs: &[NewJob],
) -> Result<Requested, Error> {
    let (key, body) = (request.key.as_slice(), request.body.as_slice());
    let since = known_since(now).as_micros();
    session.execute(FORGET_REQUESTS, &[&since]).await?;
    // One that is too old, of which there may be more than were forgotten.
    session.execute(FORGET_REQUEST, &[&key, &since]).await?;
    if session.execute(NOTE_REQUEST, &[&key, &body, &now.as_micros()]).await? == 0 {
        let row = session.first(KNOWN_REQUEST, &[&key]).await?.ok_or_else(|| vanished("a request"))?;
        return Ok(Requested::again(request, get(&row, 0)?, get(&row, 1)?));
    }
    let stored = enqueue::enqueue(session, now, jobs).await?;
    session.execute(NOTE_JOBS, &[&key, &keep_answer(&stored)]).await?;
    Ok(Requested::Stored(stored))
}

const FORGET_REQUESTS: &str = "DELETE FROM request WHERE key IN
    (SELECT key FROM request WHERE created_at <= $1 ORDER BY created_at LIMIT 100 FOR UPDATE SKIP LOCKED)";
const FORGET_REQUEST: &str = "DELETE FROM request WHERE key = $1 AND created_at <= $2";
const NOTE_REQUEST: &str =
    "INSERT INTO request (key, body, created_at) VALUES ($1, $2, $3) ON CONFLICT (key) DO NOTHING";
const KNOWN_REQUEST: &str = "SELECT body, coalesce(jobs, ''::bytea) FROM request WHERE key = $1";
const NOTE_JOBS: &str = "UPDATE request SET jobs = $2 WHERE key = $1";
