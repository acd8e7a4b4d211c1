//! Comments, and jobs whose end was read.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use taskwright_core::limit::check_comment;
use taskwright_core::{Actor, JobId, Namespace, NewJob, Owner, Timestamp};

use super::SqliteStore;
use super::claim::owner;
use super::enqueue;
use super::error::read_error;
use super::place::{self, PLACE_COLUMNS, PLACE_JOINS};
use super::session::{Session, name};
use crate::Reply;
use crate::error::Error;
use crate::submitter::{
    Comment, RequestKey, Requested, SubmitterStore, Whose, check_consume, check_count, keep_answer,
    known_since,
};

impl SubmitterStore for SqliteStore {
    fn comment(&self, now: Timestamp, job: JobId, actor: Actor, text: String) -> Reply<'_, bool> {
        self.writer.write(move |session| {
            check_comment(&text)?;
            let found = session.first(COUNT, [job.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let Some((seq, count)): Option<(i64, usize)> = found else { return Ok(false) };
            check_count(count)?;
            session.execute(INSERT, params![seq, count, now.as_micros(), actor.as_str(), text])?;
            Ok(true)
        })
    }

    fn consume(&self, now: Timestamp, jobs: Vec<JobId>, owner: Owner) -> Reply<'_, Vec<bool>> {
        self.writer.write(move |session| {
            check_consume(&jobs)?;
            jobs.iter().map(|job| consume(session, now, *job, &owner)).collect()
        })
    }

    fn enqueue_once(&self, now: Timestamp, request: RequestKey, jobs: Vec<NewJob>) -> Reply<'_, Requested> {
        self.writer.write(move |session| {
            let since = known_since(now).as_micros();
            session.execute(FORGET_REQUESTS, [since])?;
            let known = session.first(KNOWN_REQUEST, (request.key, since), |row| {
                Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?))
            })?;
            if let Some((body, jobs)) = known {
                return Ok(Requested::again(&request, &body, &jobs));
            }
            let stored = enqueue::enqueue(session, now, &jobs)?;
            session.execute(
                NOTE_REQUEST,
                params![request.key, request.body, keep_answer(&stored), now.as_micros()],
            )?;
            Ok(Requested::Stored(stored))
        })
    }

    fn whose(&self, job: JobId) -> Reply<'_, Option<Whose>> {
        self.readers.read(move |conn| {
            let found = conn.prepare_cached(WHOSE).and_then(|mut find| {
                find.query_row([job.as_bytes()], |row| {
                    Ok(Whose { namespace: name(row, 0, Namespace::new)?, owner: owner(row, 1)? })
                })
                .optional()
            });
            found.map_err(read_error)
        })
    }
}

fn consume(session: &mut Session<'_>, now: Timestamp, job: JobId, owner: &Owner) -> Result<bool, Error> {
    let find = format!(
        "SELECT j.seq, {PLACE_COLUMNS} FROM taskwright_job j {PLACE_JOINS} WHERE j.id = ?1 AND j.owner = ?2"
    );
    let found = session.first(&find, (job.as_bytes(), owner.as_str()), |row| {
        Ok((row.get::<_, i64>(0)?, place::read_place(row, 1)?))
    })?;
    match found {
        Some((seq, place)) if place.state.is_terminal() => {
            Ok(session.execute(CONSUME, (seq, now.as_micros()))? > 0)
        }
        _ => Ok(false),
    }
}

/// What was said about a job.
pub(super) fn comments(conn: &Connection, seq: i64) -> rusqlite::Result<Vec<Comment>> {
    let mut find = conn.prepare_cached(COMMENTS)?;
    let found = find.query_map([seq], read_comment)?;
    found.collect()
}

fn read_comment(row: &Row<'_>) -> rusqlite::Result<Comment> {
    Ok(Comment {
        at: Timestamp::from_micros(row.get(0)?),
        actor: name(row, 1, Actor::new)?,
        text: row.get(2)?,
    })
}

// The statements; plans.rs holds each of them to an index.
pub(super) const COUNT: &str = "SELECT j.seq, (SELECT count(*) FROM taskwright_comment c WHERE c.seq = j.seq) FROM taskwright_job j WHERE j.id = ?1";
const INSERT: &str =
    "INSERT INTO taskwright_comment (seq, number, at, actor, text) VALUES (?1, ?2, ?3, ?4, ?5)";
pub(super) const COMMENTS: &str =
    "SELECT at, actor, text FROM taskwright_comment WHERE seq = ?1 ORDER BY number";
const CONSUME: &str =
    "INSERT INTO taskwright_consumed (seq, at) VALUES (?1, ?2) ON CONFLICT (seq) DO NOTHING";
/// A job that runs again has another end to be read.
pub(super) const FORGET_CONSUMED: &str = "DELETE FROM taskwright_consumed WHERE seq = ?1";
/// Jobs whose end was read, with that moment and, to see that they are over still, their places.
pub(super) fn consumed() -> String {
    format!(
        "SELECT j.seq, c.at, j.id, NULL, {PLACE_COLUMNS}
         FROM taskwright_consumed c CROSS JOIN taskwright_job j ON j.seq = c.seq {PLACE_JOINS}
         WHERE c.seq > ?1 ORDER BY c.seq LIMIT ?2"
    )
}
/// A hundred at a time, of which each is one that somebody stored before: there are never many too many.
pub(super) const FORGET_REQUESTS: &str = "DELETE FROM taskwright_request WHERE key IN
     (SELECT key FROM taskwright_request WHERE created_at <= ?1 ORDER BY created_at LIMIT 100)";
pub(super) const WHOSE: &str = "SELECT q.namespace, j.owner FROM taskwright_job j
    JOIN taskwright_lane l ON l.lane = j.lane JOIN taskwright_queue q ON q.queue = l.queue WHERE j.id = ?1";

pub(super) const KNOWN_REQUEST: &str =
    "SELECT body, jobs FROM taskwright_request WHERE key = ?1 AND created_at > ?2";
const NOTE_REQUEST: &str =
    "INSERT INTO taskwright_request (key, body, jobs, created_at) VALUES (?1, ?2, ?3, ?4)
     ON CONFLICT (key) DO UPDATE
     SET body = excluded.body, jobs = excluded.jobs, created_at = excluded.created_at";
