//! Removing what is over for long.

use rusqlite::{Connection, Row};
use taskwright_core::retention::Garbage;
use taskwright_core::rollup::Grain;
use taskwright_core::{JobId, State};

use super::SqliteStore;
use super::change::remove;
use super::completions::Times;
use super::error::read_error;
use super::place::{self, PLACE_COLUMNS, PLACE_JOINS};
use super::session::Session;
use super::{audit, event, rollup, schedule, source, submitter, webhook};
use crate::Reply;
use crate::claim::JobKey;
use crate::collect::{Collect, CollectStore, Collected};
use crate::error::Error;

impl CollectStore for SqliteStore {
    fn collect(&self, collect: Collect) -> Reply<'_, Collected> {
        if collect.dry_run {
            return self.readers.read(move |conn| look(conn, &collect).map_err(read_error));
        }
        self.writer.write(move |session| match jobs_of(collect.garbage) {
            Some(jobs) => remove_jobs(session, &collect, jobs),
            None => remove_rows(session, &collect).map(|rows| Collected::rows(rows, collect.limit)),
        })
    }
}

/// Which jobs are garbage of a sort.
#[derive(Clone, Copy)]
enum Jobs {
    /// Those in this state, from their end on.
    In(State),
    /// Those whose end was read, from then on.
    Consumed,
}

/// Which jobs it is, if it is jobs.
fn jobs_of(garbage: Garbage) -> Option<Jobs> {
    if garbage == Garbage::Consumed { Some(Jobs::Consumed) } else { garbage.state().map(Jobs::In) }
}

fn look(conn: &Connection, collect: &Collect) -> rusqlite::Result<Collected> {
    if let Some(jobs) = jobs_of(collect.garbage) {
        let Met { old, next } = meet(conn, collect, jobs)?;
        let jobs: Vec<JobId> = old.into_iter().map(|(_, id)| id).collect();
        return Ok(Collected { rows: jobs.len(), jobs, next, more: next.is_some() });
    }
    let (before, most) = (collect.before.as_micros(), i64::try_from(collect.limit).unwrap_or(i64::MAX));
    let count = |sql: &str| conn.prepare_cached(sql)?.query_row((before, most), |row| row.get::<_, usize>(0));
    let rows = match collect.garbage {
        Garbage::Firings => count(schedule::OLD_FIRINGS)?,
        Garbage::Events => count(event::OLD_EVENTS)?,
        Garbage::Deliveries => (count(webhook::OLD)? + count(webhook::OLD_RETRIES)?).min(collect.limit),
        Garbage::Sources => (count(source::OLD_SEEN)? + count(source::OLD_SOURCES)?).min(collect.limit),
        Garbage::Workers => count(OLD_WORKERS)?,
        Garbage::Minutes => count(&rollup::old(Grain::Minute))?,
        Garbage::Hours => count(&rollup::old(Grain::Hour))?,
        Garbage::Audit => audit::count_old(conn, collect.before, collect.limit)?,
        Garbage::Completed | Garbage::Failed | Garbage::Cancelled | Garbage::Dropped | Garbage::Consumed => 0,
    };
    Ok(Collected::rows(rows, collect.limit))
}

fn remove_rows(session: &mut Session<'_>, collect: &Collect) -> Result<usize, Error> {
    let (before, most) = (collect.before.as_micros(), i64::try_from(collect.limit).unwrap_or(i64::MAX));
    match collect.garbage {
        Garbage::Firings => session.execute(schedule::PRUNE_FIRINGS, (before, most)),
        Garbage::Events => event::collect(session, before, most),
        Garbage::Deliveries => webhook::collect(session, before, collect.limit),
        Garbage::Sources => {
            let files = session.execute(source::PRUNE_SEEN, (before, most))?;
            let left = i64::try_from(collect.limit - files).unwrap_or(i64::MAX);
            Ok(files + session.execute(source::PRUNE, (before, left))?)
        }
        Garbage::Workers => session.execute(FORGET_WORKERS, (before, most)),
        Garbage::Minutes => session.execute(&rollup::forget(Grain::Minute), (before, most)),
        Garbage::Hours => session.execute(&rollup::forget(Grain::Hour), (before, most)),
        Garbage::Audit => audit::collect(session, collect.before, collect.limit),
        Garbage::Completed | Garbage::Failed | Garbage::Cancelled | Garbage::Dropped | Garbage::Consumed => {
            Ok(0)
        }
    }
}

fn remove_jobs(session: &mut Session<'_>, collect: &Collect, jobs: Jobs) -> Result<Collected, Error> {
    let Met { old, next } = meet(session.conn(), collect, jobs).map_err(read_error)?;
    remove(session, old.iter().map(|(seq, _)| *seq).collect())?;
    Ok(Collected { rows: old.len(), jobs: Vec::new(), next, more: next.is_some() })
}

/// The jobs that a call met.
struct Met {
    old: Vec<(i64, JobId)>,
    next: Option<JobKey>,
}

/// Meets jobs in the order of their insertion, at most as many as the limit says: those that completed among all jobs, up to the
/// first that is too young to have ended in time, and others by their state.
fn meet(conn: &Connection, collect: &Collect, jobs: Jobs) -> rusqlite::Result<Met> {
    let before = collect.before.as_micros();
    let (after, limit) = (collect.after.map_or(0, |after| after.0), collect.limit);
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut met = Vec::new();
    if let Jobs::In(State::Completed) = jobs {
        let mut find = conn.prepare_cached(&completed())?;
        let mut rows = find.query((after, most))?;
        while let Some(row) = rows.next()? {
            let is_old = row.get::<_, i64>(1)? < before;
            if !is_old {
                break;
            }
            let place = place::read_place(row, 4)?;
            let in_completion = Times::read(row, 10)?.map(|times| times.ended_at().as_micros());
            let ended_at = row.get::<_, Option<i64>>(3)?.or(in_completion);
            met.push(read_met(row, ended_at.filter(|_| place.state == State::Completed))?);
        }
    } else if let Jobs::In(state) = jobs {
        let mut find = conn.prepare_cached(OVER)?;
        let mut rows = find.query((after, most, state.code()))?;
        while let Some(row) = rows.next()? {
            met.push(read_met(row, row.get(1)?)?);
        }
    } else {
        let mut find = conn.prepare_cached(&submitter::consumed())?;
        let mut rows = find.query((after, most))?;
        while let Some(row) = rows.next()? {
            // A program that knows of no reading may have had it run again.
            let is_over = place::read_place(row, 4)?.state.is_terminal();
            met.push(read_met(row, row.get::<_, Option<i64>>(1)?.filter(|_| is_over))?);
        }
    }
    let next = met.last().filter(|_| met.len() == limit).map(|(seq, ..)| JobKey(*seq));
    let is_old = |ended_at: Option<i64>| ended_at.is_some_and(|ended_at| ended_at < before);
    let old = met.into_iter().filter(|(_, _, ended_at)| is_old(*ended_at)).map(|(seq, id, _)| (seq, id));
    Ok(Met { old: old.collect(), next })
}

fn read_met(row: &Row<'_>, ended_at: Option<i64>) -> rusqlite::Result<(i64, JobId, Option<i64>)> {
    Ok((row.get(0)?, JobId::from_bytes(row.get(2)?), ended_at))
}

/// Jobs with their places, and when their last attempts ended.
pub(super) fn completed() -> String {
    format!(
        "SELECT j.seq, j.created_at, j.id,
                coalesce(o.ended_at,
                    (SELECT ended_at FROM taskwright_attempt a WHERE a.seq = j.seq ORDER BY attempt DESC LIMIT 1)),
                {PLACE_COLUMNS}, d.claimed_at, substr(d.times, (j.seq - d.lo) * 8 + 1, 8)
         FROM taskwright_job j {PLACE_JOINS} WHERE j.seq > ?1 ORDER BY j.seq LIMIT ?2"
    )
}

// The statements of collecting; plans.rs holds each of them to an index.
pub(super) const OVER: &str = "SELECT o.seq, o.ended_at, j.id
     FROM taskwright_over o CROSS JOIN taskwright_job j ON j.seq = o.seq
     WHERE o.state = ?3 AND o.seq > ?1 ORDER BY o.seq LIMIT ?2";
/// Their rows stay, because attempts name them.
pub(super) const FORGET_WORKERS: &str = "UPDATE taskwright_worker SET forgotten = 1 WHERE worker IN (
        SELECT k.worker FROM taskwright_worker k
        WHERE k.state <> 0 AND k.forgotten = 0 AND k.seen_at < ?1 LIMIT ?2)";
const OLD_WORKERS: &str = "SELECT count(*) FROM (
        SELECT 1 FROM taskwright_worker WHERE state <> 0 AND forgotten = 0 AND seen_at < ?1 LIMIT ?2)";
