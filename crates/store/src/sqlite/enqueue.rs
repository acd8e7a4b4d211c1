//! Storing new jobs.
//!
//! Per 1,000 plain jobs: 20 statements into `job`, 20 into `ready`, one for the counter. Rows go in by fifties because
//! a statement costs about as much as the row it writes (docs/design/0001-storage-shape.md).

use std::sync::LazyLock;

use rusqlite::types::ToSqlOutput;
use taskwright_core::limit::{ENQUEUE_JOBS_MAX, HOLD_MAX};
use taskwright_core::{
    Delivery, Error as DomainError, JobId, NewJob, State, Timestamp, UniqueKey, UniqueScope,
};

use super::error::write_error;
use super::many_rows::{ManyRows, insert_all};
use super::session::{LaneKey, Session, vanished};
use crate::Enqueued;
use crate::error::Error;

/// Bit 0 of `flags`: the job holds a unique key.
pub(super) const HOLDS_KEY: i64 = 1;

/// Bit 1 of `flags`, only while the job runs: it was asked to stop because it has failed.
pub(super) const STOP_FAILS: i64 = 2;

/// Stores the jobs. See [`Store::enqueue`](crate::Store::enqueue).
pub(super) fn enqueue(
    session: &mut Session<'_>,
    now: Timestamp,
    jobs: &[NewJob],
) -> Result<Vec<Enqueued>, Error> {
    if jobs.len() > ENQUEUE_JOBS_MAX {
        return Err(DomainError::too_large(
            format!("a batch of {} jobs", jobs.len()),
            format!("one call stores at most {ENQUEUE_JOBS_MAX}"),
            "cut it into smaller batches",
        )
        .into());
    }
    let first_seq = take_seqs(session, jobs.len())?;
    if let Some(last) = i64::try_from(jobs.len()).ok().filter(|many| *many > 0) {
        session.moved(first_seq, first_seq + last - 1)?;
    }
    let mut rows = Vec::with_capacity(jobs.len());
    let mut last: Option<(LaneKey, i64)> = None;
    for (job, seq) in jobs.iter().zip(first_seq..) {
        let lane = lane_of(session, job, &mut last)?;
        rows.push(NewRow::new(job, seq, lane, now));
    }
    let mut enqueued = Vec::with_capacity(jobs.len());
    // Whatever has a unique key is looked at alone; the runs between are stored many rows at a time.
    for run in rows.chunk_by(|a, b| a.job.unique.is_none() && b.job.unique.is_none()) {
        match run {
            [row] if row.job.unique.is_some() => enqueued.push(insert_one(session, row)?),
            run => insert_run(session, run, &mut enqueued)?,
        }
    }
    session.hint = true;
    Ok(enqueued)
}

/// Takes `count` numbers that nobody has had; the first of them.
pub(super) fn take_seqs(session: &mut Session<'_>, count: usize) -> Result<i64, Error> {
    let end: i64 = session
        .first(
            "UPDATE taskwright_counter SET value = value + ?1 WHERE name = 'seq' RETURNING value",
            [i64::try_from(count).unwrap_or(i64::MAX)],
            |row| row.get(0),
        )?
        .ok_or_else(|| vanished("the job counter"))?;
    Ok(end - i64::try_from(count).unwrap_or(i64::MAX))
}

/// The lane of a job. Jobs of one batch mostly share it, so the last one is tried first.
fn lane_of(session: &mut Session<'_>, job: &NewJob, last: &mut Option<(LaneKey, i64)>) -> Result<i64, Error> {
    if let Some((key, lane)) = last
        && key.kind == job.kind
        && key.queue == job.queue
        && key.priority == job.priority
        && key.namespace == job.namespace
    {
        return Ok(*lane);
    }
    let key = LaneKey {
        namespace: job.namespace.clone(),
        queue: job.queue.clone(),
        kind: job.kind.clone(),
        priority: job.priority,
    };
    let lane = session.lane(&key)?;
    *last = Some((key, lane));
    Ok(lane)
}

/// A job with what it gets on the way in.
struct NewRow<'a> {
    job: &'a NewJob,
    seq: i64,
    lane: i64,
    created_at: i64,
    run_at: i64,
    state: State,
    /// When it leaves the waiting table, if it goes there.
    due: i64,
}

impl<'a> NewRow<'a> {
    fn new(job: &'a NewJob, seq: i64, lane: i64, now: Timestamp) -> Self {
        let run_at = job.run_at.unwrap_or(now).max(now);
        let (state, due) = if job.held {
            (State::Held, now.plus(HOLD_MAX))
        } else if run_at > now {
            (State::Scheduled, run_at)
        } else {
            (State::Available, run_at)
        };
        Self {
            job,
            seq,
            lane,
            created_at: now.as_micros(),
            run_at: run_at.as_micros(),
            state,
            due: due.as_micros(),
        }
    }

    fn flags(&self) -> i64 {
        if self.job.unique.is_some() { HOLDS_KEY } else { 0 }
    }
}

/// Stores a run of jobs without unique keys.
fn insert_run(
    session: &mut Session<'_>,
    run: &[NewRow<'_>],
    enqueued: &mut Vec<Enqueued>,
) -> Result<(), Error> {
    let mut rest = run;
    while !rest.is_empty() {
        let (size, sql) = INSERT_JOB.next(rest.len());
        let (chunk, tail) = rest.split_at(size);
        rest = tail;
        if size > 1 && insert_chunk(session, chunk, sql)? {
            enqueued.extend(chunk.iter().map(|row| Enqueued { id: row.job.id, existing: false }));
        } else {
            // A single row, or one of these ids exists: look at each.
            for row in chunk {
                enqueued.push(insert_one(session, row)?);
            }
        }
    }
    Ok(())
}

/// Stores the rows unless one of their ids exists; then nothing is stored, and `false`.
fn insert_chunk(session: &mut Session<'_>, chunk: &[NewRow<'_>], sql: &str) -> Result<bool, Error> {
    match insert_jobs(session, chunk, sql) {
        Ok(()) => {}
        Err(error) if is_duplicate(&error) => return Ok(false),
        Err(error) => return Err(write_error(error)),
    }
    insert_places(session, chunk)?;
    Ok(true)
}

/// Stores one job, unless its id exists or its key is held.
fn insert_one(session: &mut Session<'_>, row: &NewRow<'_>) -> Result<Enqueued, Error> {
    let existing = |id| Ok(Enqueued { id, existing: true });
    let stored: Option<i64> =
        session.first("SELECT seq FROM taskwright_job WHERE id = ?1", [row.job.id.as_bytes()], |row| {
            row.get(0)
        })?;
    if stored.is_some() {
        return existing(row.job.id);
    }
    if let Some(unique) = &row.job.unique
        && let Some(holder) = take_key(session, row, unique)?
    {
        return existing(holder);
    }
    let chunk = std::slice::from_ref(row);
    insert_jobs(session, chunk, INSERT_JOB.next(1).1).map_err(write_error)?;
    insert_places(session, chunk)?;
    Ok(Enqueued { id: row.job.id, existing: false })
}

/// Takes the unique key for a new job, or names the job that holds it.
fn take_key(session: &mut Session<'_>, row: &NewRow<'_>, unique: &UniqueKey) -> Result<Option<JobId>, Error> {
    let (namespace, kind) = (row.job.namespace.as_str(), row.job.kind.as_str());
    let holder = session.first(
        "SELECT j.id FROM taskwright_unique u JOIN taskwright_job j ON j.seq = u.seq
         WHERE u.namespace = ?1 AND u.kind = ?2 AND u.key = ?3",
        (namespace, kind, unique.as_str()),
        |row| row.get(0).map(JobId::from_bytes),
    )?;
    if holder.is_none() {
        session.execute(
            "INSERT INTO taskwright_unique (namespace, kind, key, seq, scope) VALUES (?1, ?2, ?3, ?4, ?5)",
            (namespace, kind, unique.as_str(), row.seq, scope_code(unique.scope)),
        )?;
    }
    Ok(holder)
}

/// The number that stands for a scope in the store.
pub(super) fn scope_code(scope: UniqueScope) -> i64 {
    match scope {
        UniqueScope::Waiting => 1,
        UniqueScope::Active => 2,
    }
}

static INSERT_JOB: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::new(
        "INSERT INTO taskwright_job (seq, id, lane, created_at, run_at, max_attempts, at_most_once, owner, backoff, \
         timeout_us, args, first_state) VALUES ",
        12,
        "",
    )
});

static INSERT_READY: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::new("INSERT INTO taskwright_ready (lane, ready_at, seq, attempts, flags) VALUES ", 5, "")
});

static INSERT_WAITING: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::new("INSERT INTO taskwright_waiting (seq, state, due, attempts, flags) VALUES ", 5, "")
});

fn insert_jobs(session: &mut Session<'_>, chunk: &[NewRow<'_>], sql: &str) -> Result<(), rusqlite::Error> {
    insert_all(session, sql, chunk, |row, values| {
        let job = row.job;
        values.bind(row.seq)?;
        values.bind(job.id.as_bytes())?;
        values.bind(row.lane)?;
        values.bind(row.created_at)?;
        values.bind(row.run_at)?;
        values.bind(job.max_attempts.code())?;
        values.bind(job.delivery == Delivery::AtMostOnce)?;
        values.bind(job.owner.as_ref().map(|owner| owner.as_str()))?;
        values.bind(job.backoff.map(|backoff| backoff.to_string()))?;
        values.bind(job.timeout.map(|timeout| i64::try_from(timeout.as_micros()).unwrap_or(i64::MAX)))?;
        values.bind(ToSqlOutput::from(job.args.as_bytes()))?;
        values.bind(row.state.code())
    })
}

/// Puts each job where its state has it: ready, or waiting.
fn insert_places(session: &mut Session<'_>, chunk: &[NewRow<'_>]) -> Result<(), Error> {
    for run in chunk.chunk_by(|a, b| (a.state == State::Available) == (b.state == State::Available)) {
        if run[0].state == State::Available {
            let ready = |row: &NewRow<'_>| [row.lane, row.run_at, row.seq, 0, row.flags()];
            INSERT_READY.insert(session, run, |row, values| values.bind_all(ready(row)))?;
        } else {
            let waiting = |row: &NewRow<'_>| [row.seq, row.state.code().into(), row.due, 0, row.flags()];
            INSERT_WAITING.insert(session, run, |row, values| values.bind_all(waiting(row)))?;
        }
    }
    Ok(())
}

fn is_duplicate(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation)
}
