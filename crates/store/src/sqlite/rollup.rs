//! Roll-ups, and the slips that ends leave for them.
//!
//! A slip holds what ended together, added up already: whoever rolls up reads a few hundred bytes for hundreds of ends, and no
//! job.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row, params};
use taskwright_core::attempt::AttemptEnd;
use taskwright_core::limit::PAGE_ROWS_MAX;
use taskwright_core::rollup::{Ended, Grain, RollUp};
use taskwright_core::{Kind, Namespace, QueueName, State, Timestamp};

use super::SqliteStore;
use super::completions;
use super::error::read_error;
use super::held::FIRST;
use super::session::{Session, name, vanished};
use crate::Reply;
use crate::ended::Running;
use crate::error::Error;
use crate::rollup::{RollUpFilter, RollUpPage, RollUpPlace, RollUpStore, RolledUp, Sums};

/// Slips that one call takes at most.
const SLIPS_MAX: i64 = 1_000;

impl RollUpStore for SqliteStore {
    fn roll_up(&self, most: usize) -> Reply<'_, RolledUp> {
        self.writer.write_unless(peek, move |session| roll_up(session, most))
    }

    fn roll_ups(
        &self,
        filter: RollUpFilter,
        after: Option<RollUpPlace>,
        limit: usize,
    ) -> Reply<'_, RollUpPage> {
        self.readers.read(move |conn| page(conn, &filter, after, limit).map_err(read_error))
    }
}

/// What ended together, by lane and minute.
#[derive(Default)]
pub(super) struct Slip(BTreeMap<(i64, i64), RollUp>);

impl Slip {
    /// Adds the end of an attempt. A job whose lane is not known there is looked up.
    pub(super) fn add(
        &mut self,
        session: &mut Session<'_>,
        seq: i64,
        running: &Running,
        end: AttemptEnd,
        started_at: Option<i64>,
        ended_at: i64,
    ) -> Result<(), Error> {
        let at = Timestamp::from_micros;
        let (lane, run_at) = match running.place {
            Some(place) => place,
            None => session
                .first(JOB, [seq], |row| Ok((row.get(0)?, row.get(1)?)))?
                .ok_or_else(|| vanished("a job"))?,
        };
        let previous_end = previous_end(session, seq, running.attempt)?;
        let ended = Ended {
            end,
            claimed_at: at(running.claimed_at),
            started_at: started_at.map(at),
            ended_at: at(ended_at),
            run_at: at(run_at),
            previous_end,
        };
        let minute = Grain::Minute.start(ended.ended_at).as_micros();
        self.0.entry((lane, minute)).or_default().add(&ended);
        Ok(())
    }

    /// Writes it. Answers whether anybody waits for jobs to complete, so that whoever ends them needs no statement more to
    /// know that.
    pub(super) fn leave(self, session: &mut Session<'_>) -> Result<bool, Error> {
        let body: Vec<(i64, i64, RollUp)> =
            self.0.into_iter().map(|((lane, minute), sum)| (lane, minute, sum)).collect();
        // Numbers: nothing in it cannot be written.
        let body = serde_json::to_string(&body).unwrap_or_default();
        let interested = session.first(LEAVE, (body, State::Completed.code()), |row| row.get(0))?;
        interested.ok_or_else(|| vanished("a slip"))
    }
}

/// When the attempt before this one ended.
fn previous_end(session: &mut Session<'_>, seq: i64, attempt: u32) -> Result<Option<Timestamp>, Error> {
    if attempt == FIRST {
        return Ok(None);
    }
    let ended_at = session.first(PREVIOUS_END, (seq, attempt - 1), |row| row.get::<_, i64>(0))?;
    if ended_at.is_none() && attempt == FIRST + 1 {
        let completed = completions::of_job(session.conn(), seq).map_err(read_error)?;
        return Ok(completed.map(|completed| completed.times.ended_at()));
    }
    Ok(ended_at.map(Timestamp::from_micros))
}

fn peek(session: &mut Session<'_>) -> Result<Option<RolledUp>, Error> {
    let any = session.first("SELECT 1 FROM taskwright_slip LIMIT 1", [], |_| Ok(()))?;
    Ok(any.is_none().then(RolledUp::default))
}

fn roll_up(session: &mut Session<'_>, most: usize) -> Result<RolledUp, Error> {
    let slips =
        session.all(SLIPS, [SLIPS_MAX], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
    let most = u64::try_from(most.max(1)).unwrap_or(u64::MAX);
    let (mut sums, mut last, mut taken) = (Sums::default(), i64::MIN, 0);
    for (slip, body) in &slips {
        if sums.executions() >= most {
            break;
        }
        for (lane, minute, ended) in read_slip(body)? {
            let key = &session.lane_info(lane)?.key;
            let place = RollUpPlace {
                at: Timestamp::from_micros(minute),
                namespace: key.namespace.clone(),
                queue: key.queue.clone(),
                kind: key.kind.clone(),
            };
            sums.add(place, &ended);
        }
        (last, taken) = (*slip, taken + 1);
    }
    session.execute(FORGET_SLIPS, [last])?;
    let executions = sums.executions();
    for ((grain, place), sum) in sums.into_sums() {
        put(session, grain, &place, sum)?;
    }
    let more = taken < slips.len() || i64::try_from(slips.len()).is_ok_and(|read| read == SLIPS_MAX);
    Ok(RolledUp { executions, more })
}

fn read_slip(body: &str) -> Result<Vec<(i64, i64, RollUp)>, Error> {
    serde_json::from_str(body).map_err(|error| {
        let fix = "delete the rows of taskwright_slip that are no JSON: their ends are not counted then";
        Error::new(crate::error::Area::Damaged, "a slip of what ended", error.to_string(), fix)
    })
}

fn put(session: &mut Session<'_>, grain: Grain, place: &RollUpPlace, mut sum: RollUp) -> Result<(), Error> {
    let key = (
        grain.code(),
        place.at.as_micros(),
        place.namespace.as_str(),
        place.queue.as_str(),
        place.kind.as_str(),
    );
    let body = session.first(GET, key, |row| row.get::<_, String>(0))?;
    if let Some(before) = body.and_then(|body| serde_json::from_str::<RollUp>(&body).ok()) {
        sum.merge(&before);
    }
    // Numbers: nothing in it cannot be written.
    let body = serde_json::to_string(&sum).unwrap_or_default();
    session.execute(PUT, params![key.0, key.1, key.2, key.3, key.4, body])?;
    Ok(())
}

fn page(
    conn: &Connection,
    filter: &RollUpFilter,
    after: Option<RollUpPlace>,
    limit: usize,
) -> rusqlite::Result<RollUpPage> {
    let limit = limit.clamp(1, PAGE_ROWS_MAX);
    let grain = filter.grain.code();
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    let (from, to) = (filter.from.as_micros(), filter.to.as_micros());
    let (at, namespace, queue, kind) = match &after {
        Some(place) => (
            place.at.as_micros().max(from),
            place.namespace.as_str(),
            place.queue.as_str(),
            place.kind.as_str(),
        ),
        None => (from, "", "", ""),
    };
    let mut statement = conn.prepare_cached(PAGE)?;
    let rows = statement.query_map(params![grain, at, namespace, queue, kind, to, most], read_rollup)?;
    let mut roll_ups = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    let next = roll_ups.last().filter(|_| roll_ups.len() == limit).map(|(place, _)| place.clone());
    roll_ups.retain(|(place, _)| filter.includes(place));
    Ok(RollUpPage { roll_ups, next })
}

fn read_rollup(row: &Row<'_>) -> rusqlite::Result<(RollUpPlace, RollUp)> {
    let place = RollUpPlace {
        at: Timestamp::from_micros(row.get(0)?),
        namespace: name(row, 1, Namespace::new)?,
        queue: name(row, 2, QueueName::new)?,
        kind: name(row, 3, Kind::new)?,
    };
    // One that a newer program wrote, and this one does not understand, counts nothing.
    let body = serde_json::from_str(row.get_ref(4)?.as_str()?).unwrap_or_default();
    Ok((place, body))
}

/// Counts roll-ups of spans before a moment (`?1`), up to so many (`?2`).
pub(super) fn old(grain: Grain) -> String {
    format!("SELECT count(*) FROM ({})", old_keys(grain))
}

/// Removes them.
pub(super) fn forget(grain: Grain) -> String {
    format!(
        "DELETE FROM taskwright_rollup WHERE (grain, at, namespace, queue, kind) IN ({})",
        old_keys(grain)
    )
}

fn old_keys(grain: Grain) -> String {
    format!(
        "SELECT grain, at, namespace, queue, kind FROM taskwright_rollup
         WHERE grain = {} AND at < ?1 ORDER BY at LIMIT ?2",
        grain.code()
    )
}

// The statements of roll-ups; plans.rs holds each of them to an index.
pub(super) const LEAVE: &str = "INSERT INTO taskwright_slip (body) VALUES (?1)
     RETURNING EXISTS (SELECT 1 FROM taskwright_interest WHERE state = ?2)";
pub(super) const JOB: &str = "SELECT lane, run_at FROM taskwright_job WHERE seq = ?1";
pub(super) const PREVIOUS_END: &str =
    "SELECT ended_at FROM taskwright_attempt WHERE seq = ?1 AND attempt = ?2";
pub(super) const SLIPS: &str = "SELECT slip, body FROM taskwright_slip WHERE slip > 0 ORDER BY slip LIMIT ?1";
pub(super) const FORGET_SLIPS: &str = "DELETE FROM taskwright_slip WHERE slip <= ?1";
pub(super) const GET: &str = "SELECT body FROM taskwright_rollup
     WHERE grain = ?1 AND at = ?2 AND namespace = ?3 AND queue = ?4 AND kind = ?5";
pub(super) const PUT: &str = "INSERT INTO taskwright_rollup (grain, at, namespace, queue, kind, body)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6)
     ON CONFLICT (grain, at, namespace, queue, kind) DO UPDATE SET body = excluded.body";
pub(super) const PAGE: &str = "SELECT at, namespace, queue, kind, body FROM taskwright_rollup
     WHERE grain = ?1 AND (at, namespace, queue, kind) > (?2, ?3, ?4, ?5) AND at < ?6
     ORDER BY at, namespace, queue, kind LIMIT ?7";
