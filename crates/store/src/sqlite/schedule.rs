//! Schedules, and what they fired.
//!
//! Per firing: one statement for the schedule, one for the history, and those of an enqueue for the job. There is one
//! writer, so that what is looked at first cannot change before it is written.

use rusqlite::{Connection, OptionalExtension, Row, params};
use taskwright_core::limit::PAGE_ROWS_MAX;
use taskwright_core::outcome::Interest;
use taskwright_core::schedule::{FiringKind, SkipReason};
use taskwright_core::{
    Actor, EventId, JobId, Kind, Namespace, NewJob, ScheduleName, State, Timestamp, TriggerId,
};

use super::SqliteStore;
use super::change::{By, change};
use super::enqueue;
use super::error::read_error;
use super::place::{self, PLACE_COLUMNS, PLACE_JOINS};
use super::session::{Session, name, vanished};
use crate::Reply;
use crate::change::Change;
use crate::error::Error;
use crate::schedule::{
    Definition, DueSchedules, Fires, FiringOutcome, FiringView, JobOrigin, NewFiring, Occurrence, Previous,
    ScheduleKey, ScheduleStore, ScheduleWrite, SkippedRun, StoredSchedule, Target, Written, check_writes,
};
use crate::subject::{Subject, Which};

impl ScheduleStore for SqliteStore {
    fn write_schedules(&self, now: Timestamp, writes: Vec<ScheduleWrite>) -> Reply<'_, Vec<Written>> {
        let about = self.writer.about(|| Subject::of_schedules(&writes));
        self.writer.write_about(about, move |session| {
            check_writes(&writes)?;
            writes.iter().map(|one| write(session, now, one)).collect()
        })
    }

    fn due_schedules(&self, now: Timestamp, limit: usize) -> Reply<'_, DueSchedules> {
        self.readers.read(move |conn| due(conn, now, limit).map_err(read_error))
    }

    fn schedule(&self, namespace: Namespace, name: ScheduleName) -> Reply<'_, Option<StoredSchedule>> {
        self.readers.read(move |conn| by_name(conn, &namespace, &name))
    }

    fn schedules_named(
        &self,
        names: Vec<(Namespace, ScheduleName)>,
    ) -> Reply<'_, Vec<Option<StoredSchedule>>> {
        self.readers
            .read(move |conn| names.iter().map(|(namespace, name)| by_name(conn, namespace, name)).collect())
    }

    fn schedules(
        &self,
        namespace: Option<Namespace>,
        after: Option<ScheduleKey>,
        limit: usize,
    ) -> Reply<'_, Vec<StoredSchedule>> {
        self.readers.read(move |conn| {
            let (namespace, after) =
                (namespace.as_ref().map(Namespace::as_str), after.map_or(0, |key| key.0));
            rows(conn, LIST, params![after, namespace, page(limit)], read_schedule)
        })
    }

    fn remove_schedule(&self, schedule: ScheduleKey) -> Reply<'_, bool> {
        let about = self.writer.about(|| Subject::Schedules(vec![Which::Stored(schedule)]));
        self.writer.write_about(about, move |session| {
            session.execute(FORGET_INTERESTS, [schedule.0])?;
            Ok(session.execute(REMOVE, [schedule.0])? > 0)
        })
    }

    fn firings(
        &self,
        schedule: ScheduleKey,
        before: Option<u64>,
        limit: usize,
    ) -> Reply<'_, Vec<FiringView>> {
        let before = before.map_or(i64::MAX, |before| i64::try_from(before).unwrap_or(i64::MAX));
        self.readers
            .read(move |conn| rows(conn, FIRINGS, params![schedule.0, before, page(limit)], read_firing))
    }

    fn origins(&self, jobs: Vec<JobId>) -> Reply<'_, Vec<Option<JobOrigin>>> {
        self.readers.read(move |conn| origins(conn, &jobs).map_err(read_error))
    }

    fn states(&self, jobs: Vec<JobId>) -> Reply<'_, Vec<Option<State>>> {
        self.readers.read(move |conn| states(conn, &jobs).map_err(read_error))
    }
}

/// How many rows of a page.
pub(super) fn page(limit: usize) -> i64 {
    i64::try_from(limit.min(PAGE_ROWS_MAX)).unwrap_or(i64::MAX)
}

/// All rows of a query of a reader.
pub(super) fn rows<T>(
    conn: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, Error> {
    let found = conn.prepare_cached(sql).and_then(|mut query| query.query_map(params, read)?.collect());
    found.map_err(read_error)
}

/// Whether a write would find what it expects.
pub(super) fn is_fresh(session: &mut Session<'_>, target: &Target) -> Result<bool, Error> {
    let found = match target {
        Target::New { namespace, name } => {
            session.first(EXISTS, (namespace.as_str(), name.as_str()), |_| Ok(()))?.is_none()
        }
        Target::Stored { key, version } => {
            session.first("SELECT version FROM taskwright_schedule WHERE schedule = ?1", [key.0], |row| {
                row.get(0)
            })? == Some(*version)
        }
    };
    Ok(found)
}

/// Writes one schedule with what it fires, if it is what it was.
pub(super) fn write(
    session: &mut Session<'_>,
    now: Timestamp,
    write: &ScheduleWrite,
) -> Result<Written, Error> {
    let key = match &write.target {
        Target::New { namespace, name } => {
            let Some(Definition { json, listens, .. }) = &write.definition else {
                return Err(vanished("the definition of a new schedule"));
            };
            let next = write.next.map(Timestamp::as_micros);
            let values =
                (namespace.as_str(), name.as_str(), next, listens, now.as_micros(), json, &write.state);
            session.first(INSERT, values, |row| row.get(0))?
        }
        Target::Stored { key, version } => {
            let (json, listens) =
                write.definition.as_ref().map_or((None, None), |new| (Some(&new.json), Some(new.listens)));
            let next = write.next.map(Timestamp::as_micros);
            let values = (key.0, version, next, &write.state, json, listens, now.as_micros());
            (session.execute(UPDATE, values)? > 0).then_some(key.0)
        }
    };
    let Some(key) = key else { return Ok(Written::Stale) };
    if let Some(definition) = &write.definition {
        note_interests(session, key, &definition.outcomes)?;
    }
    let Previous { jobs, reason } = &write.cancel;
    if !jobs.is_empty() {
        change(session, jobs, Change::Cancel, &By { now, actor: &Actor::system(), reason: Some(reason) })?;
    }
    for firing in &write.firings {
        fire(session, now, key, firing)?;
    }
    session.hint = true;
    Ok(Written::Done(ScheduleKey(key)))
}

/// Notes whose ends are to be told for a schedule, instead of what was noted before.
fn note_interests(session: &mut Session<'_>, schedule: i64, ends: &[Interest]) -> Result<(), Error> {
    session.execute(FORGET_INTERESTS, [schedule])?;
    for Interest { kind, state } in ends {
        let kind = kind.as_ref().map_or("", Kind::as_str);
        session.execute(NOTE_INTEREST, (schedule, kind, state.code()))?;
    }
    Ok(())
}

fn fire(session: &mut Session<'_>, now: Timestamp, schedule: i64, firing: &NewFiring) -> Result<(), Error> {
    match &firing.what {
        Fires::Skip(run) => skip(session, now, schedule, firing, run),
        Fires::Job(kind, job) => match fired_by(session, schedule, firing)? {
            Some(by) if Some(by.as_str()) == trigger(firing) => Ok(()),
            Some(_) => skip(session, now, schedule, firing, &SkippedRun::same_due(firing.due)),
            None => fire_job(session, now, schedule, firing, *kind, job),
        },
    }
}

/// The trigger that has made the job of this occurrence before.
fn fired_by(session: &mut Session<'_>, schedule: i64, firing: &NewFiring) -> Result<Option<String>, Error> {
    match firing.occurrence() {
        Some((Occurrence::Due(due), _)) => {
            session.first(FIRED_AT, (schedule, due.as_micros()), |row| row.get(0))
        }
        Some((Occurrence::Event(event, trigger), _)) => {
            session.first(FIRED_BY_EVENT, (schedule, event.as_bytes(), trigger.as_str()), |row| row.get(0))
        }
        None => Ok(None),
    }
}

fn skip(
    session: &mut Session<'_>,
    now: Timestamp,
    schedule: i64,
    firing: &NewFiring,
    run: &SkippedRun,
) -> Result<(), Error> {
    let count = i64::try_from(run.count).unwrap_or(i64::MAX);
    let values = params![
        schedule,
        now.as_micros(),
        trigger(firing),
        firing.due.as_micros(),
        firing.previous_due.map(Timestamp::as_micros),
        event(firing),
        run.to.as_micros(),
        count,
        run.exact,
        code(&run.reason),
    ];
    session.execute(INSERT_SKIPPED, values)?;
    Ok(())
}

fn fire_job(
    session: &mut Session<'_>,
    now: Timestamp,
    schedule: i64,
    firing: &NewFiring,
    kind: FiringKind,
    job: &NewJob,
) -> Result<(), Error> {
    let stored = enqueue::enqueue(session, now, std::slice::from_ref(job))?;
    let stored = stored.first().ok_or_else(|| vanished("a job"))?;
    let values = params![
        schedule,
        now.as_micros(),
        // What is fired by hand is no occurrence of its trigger.
        trigger(firing).filter(|_| kind != FiringKind::ByHand),
        firing.due.as_micros(),
        firing.previous_due.map(Timestamp::as_micros),
        event(firing),
        code(&kind),
        stored.id.as_bytes().as_slice(),
        stored.existing,
    ];
    session.execute(INSERT_FIRED, values)?;
    Ok(())
}

fn trigger(firing: &NewFiring) -> Option<&str> {
    firing.trigger.as_ref().map(TriggerId::as_str)
}

/// The event that fired it; nothing but an empty blob where none did.
fn event(firing: &NewFiring) -> &[u8] {
    firing.event.as_ref().map_or(&[], |event| event.as_bytes())
}

fn due(conn: &Connection, now: Timestamp, limit: usize) -> rusqlite::Result<DueSchedules> {
    let ask = i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX);
    let mut statement = conn.prepare_cached(DUE)?;
    let mut schedules: Vec<StoredSchedule> = Vec::new();
    let mut rows = statement.query([ask])?;
    while let Some(row) = rows.next()? {
        let next: i64 = row.get(4)?;
        if next > now.as_micros() || schedules.len() == limit {
            return Ok(DueSchedules { schedules, next: Some(Timestamp::from_micros(next)) });
        }
        schedules.push(read_schedule(row)?);
    }
    Ok(DueSchedules { schedules, next: None })
}

fn states(conn: &Connection, jobs: &[JobId]) -> rusqlite::Result<Vec<Option<State>>> {
    let mut find = conn.prepare_cached(&states_query())?;
    let state = |id: &JobId| {
        find.query_row([id.as_bytes()], |row| place::read_place(row, 0).map(|place| place.state)).optional()
    };
    jobs.iter().map(state).collect()
}

fn origins(conn: &Connection, jobs: &[JobId]) -> rusqlite::Result<Vec<Option<JobOrigin>>> {
    let mut find = conn.prepare_cached(ORIGIN)?;
    let origin = |row: &Row<'_>| {
        let event: Vec<u8> = row.get(2)?;
        Ok(JobOrigin {
            schedule: name(row, 0, ScheduleName::new)?,
            due: Timestamp::from_micros(row.get(1)?),
            event: event.try_into().ok().map(EventId::from_bytes),
        })
    };
    jobs.iter().map(|id| find.query_row([id.as_bytes()], origin).optional()).collect()
}

/// Where one job is.
pub(super) fn states_query() -> String {
    format!("SELECT {PLACE_COLUMNS} FROM taskwright_job j {PLACE_JOINS} WHERE j.id = ?1")
}

/// The schedule of a name.
fn by_name(
    conn: &Connection,
    namespace: &Namespace,
    name: &ScheduleName,
) -> Result<Option<StoredSchedule>, Error> {
    let found = conn
        .prepare_cached(BY_NAME)
        .and_then(|mut find| find.query_row((namespace.as_str(), name.as_str()), read_schedule).optional());
    found.map_err(read_error)
}

pub(super) fn read_schedule(row: &Row<'_>) -> rusqlite::Result<StoredSchedule> {
    Ok(StoredSchedule {
        key: ScheduleKey(row.get(0)?),
        namespace: name(row, 1, Namespace::new)?,
        name: name(row, 2, ScheduleName::new)?,
        version: row.get(3)?,
        next: row.get::<_, Option<i64>>(4)?.map(Timestamp::from_micros),
        created_at: Timestamp::from_micros(row.get(5)?),
        changed_at: Timestamp::from_micros(row.get(6)?),
        definition: row.get(7)?,
        state: row.get(8)?,
    })
}

fn read_firing(row: &Row<'_>) -> rusqlite::Result<FiringView> {
    let outcome = match row.get::<_, Option<String>>(6)? {
        Some(kind) => FiringOutcome::Fired {
            kind: decode(6, &kind)?,
            job: JobId::from_bytes(row.get(7)?),
            coalesced: row.get(8)?,
        },
        None => FiringOutcome::Skipped(SkippedRun {
            to: Timestamp::from_micros(row.get(9)?),
            count: row.get::<_, i64>(10)?.unsigned_abs(),
            exact: row.get(11)?,
            reason: decode::<SkipReason>(12, &row.get::<_, String>(12)?)?,
        }),
    };
    let event: Vec<u8> = row.get(5)?;
    Ok(FiringView {
        number: row.get::<_, i64>(0)?.unsigned_abs(),
        at: Timestamp::from_micros(row.get(1)?),
        trigger: match row.get_ref(2)? {
            rusqlite::types::ValueRef::Null => None,
            _ => Some(name(row, 2, TriggerId::new)?),
        },
        due: Timestamp::from_micros(row.get(3)?),
        previous_due: row.get::<_, Option<i64>>(4)?.map(Timestamp::from_micros),
        event: event.try_into().ok().map(EventId::from_bytes),
        outcome,
    })
}

/// A word of the domain as text; they are all plain names.
fn code(word: &impl serde::Serialize) -> Option<String> {
    serde_json::to_value(word).ok().and_then(|value| value.as_str().map(str::to_owned))
}

fn decode<T: serde::de::DeserializeOwned>(column: usize, text: &str) -> rusqlite::Result<T> {
    serde_json::from_value(serde_json::Value::from(text)).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}

pub(super) const BY_NAME: &str =
    "SELECT schedule, namespace, name, version, next, created_at, changed_at, definition, state
     FROM taskwright_schedule WHERE namespace = ?1 AND name = ?2";
pub(super) const BY_KEY: &str =
    "SELECT schedule, namespace, name, version, next, created_at, changed_at, definition, state
     FROM taskwright_schedule WHERE schedule = ?1";
pub(super) const LIST: &str =
    "SELECT schedule, namespace, name, version, next, created_at, changed_at, definition, state
     FROM taskwright_schedule WHERE schedule > ?1 AND (?2 IS NULL OR namespace = ?2) ORDER BY schedule LIMIT ?3";
pub(super) const DUE: &str =
    "SELECT schedule, namespace, name, version, next, created_at, changed_at, definition, state
     FROM taskwright_schedule WHERE next IS NOT NULL ORDER BY next, schedule LIMIT ?1";
pub(super) const LISTENERS: &str =
    "SELECT schedule, namespace, name, version, next, created_at, changed_at, definition, state
     FROM taskwright_schedule WHERE listens ORDER BY schedule";
/// Which occurrence made a job, the first one if several were merged in it.
pub(super) const ORIGIN: &str = "SELECT s.name, f.due, f.event
     FROM taskwright_firing f JOIN taskwright_schedule s ON s.schedule = f.schedule
     WHERE f.job = ?1 ORDER BY f.firing LIMIT 1";
pub(super) const EXISTS: &str = "SELECT 1 FROM taskwright_schedule WHERE namespace = ?1 AND name = ?2";
pub(super) const REMOVE: &str = "DELETE FROM taskwright_schedule WHERE schedule = ?1";
pub(super) const FORGET_INTERESTS: &str = "DELETE FROM taskwright_interest WHERE schedule = ?1";
pub(super) const NOTE_INTEREST: &str = "INSERT INTO taskwright_interest (state, namespace, kind, schedule)
     SELECT ?3, namespace, ?2, schedule FROM taskwright_schedule WHERE schedule = ?1";
pub(super) const INSERT: &str = "INSERT INTO taskwright_schedule
        (namespace, name, version, next, listens, created_at, changed_at, definition, state)
     VALUES (?1, ?2, 1, ?3, ?4, ?5, ?5, ?6, ?7) ON CONFLICT (namespace, name) DO NOTHING RETURNING schedule";
pub(super) const UPDATE: &str = "UPDATE taskwright_schedule
     SET version = version + 1, next = ?3, state = ?4, definition = coalesce(?5, definition),
         listens = coalesce(?6, listens), changed_at = iif(?5 IS NULL, changed_at, ?7)
     WHERE schedule = ?1 AND version = ?2";
pub(super) const FIRED_AT: &str = "SELECT trigger_id FROM taskwright_firing
     WHERE schedule = ?1 AND due = ?2 AND kind IS NOT NULL AND trigger_id IS NOT NULL AND event = x''";
pub(super) const FIRED_BY_EVENT: &str = "SELECT trigger_id FROM taskwright_firing
     WHERE schedule = ?1 AND event = ?2 AND trigger_id = ?3 AND kind IS NOT NULL AND event > x''";
pub(super) const INSERT_FIRED: &str = "INSERT INTO taskwright_firing
        (schedule, decided_at, trigger_id, due, previous_due, event, kind, job, coalesced)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
pub(super) const INSERT_SKIPPED: &str = "INSERT INTO taskwright_firing
        (schedule, decided_at, trigger_id, due, previous_due, event, skipped_to, skipped_count, is_exact, reason)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
pub(super) const FIRINGS: &str =
    "SELECT firing, decided_at, trigger_id, due, previous_due, event, kind, job, coalesced,
            skipped_to, skipped_count, is_exact, reason
     FROM taskwright_firing WHERE schedule = ?1 AND firing < ?2 ORDER BY firing DESC LIMIT ?3";
/// The oldest are those with the lowest numbers, so that the walk ends at the first one that is to be kept.
pub(super) const PRUNE_FIRINGS: &str = "DELETE FROM taskwright_firing WHERE firing IN (
        SELECT firing FROM (SELECT firing, decided_at FROM taskwright_firing WHERE firing > 0 ORDER BY firing LIMIT ?2)
        WHERE decided_at < ?1)";
/// How many that would be.
pub(super) const OLD_FIRINGS: &str = "SELECT count(*) FROM (
        SELECT decided_at FROM taskwright_firing WHERE firing > 0 ORDER BY firing LIMIT ?2)
    WHERE decided_at < ?1";
