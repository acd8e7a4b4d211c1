//! Storing new jobs.
//!
//! Plain jobs, which are available at once and have no unique key, go into the stream of their lane: one row each, by one
//! statement, in a transaction of its own: a lone job by `INSERT`, several by `COPY`. Whatever else there is goes in with
//! one statement for every run of jobs without unique keys: the arrays are unnested, the rows of `job` written, and those
//! of `ready` or `waiting` after them.

use std::collections::HashSet;
use std::sync::Arc;

use taskwright_core::audit::Behalf;
use taskwright_core::limit::{ENQUEUE_JOBS_MAX, HOLD_MAX};
use taskwright_core::{
    Delivery, Error as DomainError, JobId, NewJob, State, Timestamp, UniqueKey, UniqueScope,
};

use tokio_postgres::types::{ToSql, Type};

use super::audit;
use super::session::{LaneKey, Lanes, Session, Uuid, get, sql_code};
use crate::Enqueued;
use crate::audit::entries;
use crate::error::{Area, Error};

/// Bit 1 of `flags`, only while the job runs: it was asked to stop because it has failed.
pub(super) const STOP_FAILS: i64 = 2;
/// Bit 0 of `flags`: the job holds a unique key.
pub(super) const HOLDS_KEY: i64 = 1;

/// How often a key is tried for whose holder is always gone when it is looked at.
const KEY_TRIES_MAX: usize = 10;

/// Refuses a batch that is too large.
pub(super) fn check(jobs: &[NewJob]) -> Result<(), Error> {
    if jobs.len() > ENQUEUE_JOBS_MAX {
        return Err(DomainError::too_large(
            format!("a batch of {} jobs", jobs.len()),
            format!("one call stores at most {ENQUEUE_JOBS_MAX}"),
            "cut it into smaller batches",
        )
        .into());
    }
    Ok(())
}

/// What tells the lane of a job.
pub(super) fn lane_key(job: &NewJob) -> LaneKey {
    LaneKey {
        namespace: job.namespace.clone(),
        queue: job.queue.clone(),
        kind: job.kind.clone(),
        priority: job.priority,
    }
}

/// Whether a job belongs into this lane.
pub(super) fn is_of(job: &NewJob, key: &LaneKey) -> bool {
    key.kind == job.kind
        && key.queue == job.queue
        && key.priority == job.priority
        && key.namespace == job.namespace
}

/// The jobs as rows, if all are plain and their lanes are known.
pub(super) fn plain<'a>(lanes: &Lanes, now: Timestamp, jobs: &'a [NewJob]) -> Option<Vec<NewRow<'a>>> {
    let mut rows = Vec::with_capacity(jobs.len());
    let mut last: Option<(LaneKey, i64)> = None;
    for job in jobs {
        let lane = match &last {
            Some((key, lane)) if is_of(job, key) => *lane,
            _ => {
                let key = lane_key(job);
                let lane = lanes.get(&key)?;
                last = Some((key, lane));
                lane
            }
        };
        let row = NewRow::new(job, lane, now);
        if !row.is_plain() {
            return None;
        }
        rows.push(row);
    }
    Some(rows)
}

/// Stores the jobs. See [`Store::enqueue`](crate::Store::enqueue).
pub(super) async fn enqueue(
    session: &mut Session<'_>,
    now: Timestamp,
    jobs: &[NewJob],
) -> Result<Vec<Enqueued>, Error> {
    check(jobs)?;
    let mut rows = Vec::with_capacity(jobs.len());
    let mut last: Option<(LaneKey, i64)> = None;
    for job in jobs {
        let lane = match &last {
            Some((key, lane)) if is_of(job, key) => *lane,
            _ => {
                let key = lane_key(job);
                let lane = session.lane(&key).await?;
                last = Some((key, lane));
                lane
            }
        };
        rows.push(NewRow::new(job, lane, now));
    }
    let mut enqueued = Vec::with_capacity(jobs.len());
    // Whatever has a unique key is looked at alone; the runs between are stored with one statement.
    for run in rows.chunk_by(|a, b| a.job.unique.is_none() && b.job.unique.is_none()) {
        match run {
            [row] if row.job.unique.is_some() => enqueued.push(insert_unique(session, row).await?),
            run => insert_run(session, run, &mut enqueued).await?,
        }
    }
    session.hint = true;
    Ok(enqueued)
}

/// Stores jobs that several asked for at the same time, and an entry of the audit for each that is new.
pub(super) async fn enqueue_told(
    session: &mut Session<'_>,
    now: Timestamp,
    jobs: &[NewJob],
    behalves: &[Arc<Behalf>],
) -> Result<Vec<Enqueued>, Error> {
    let stored = enqueue(session, now, jobs).await?;
    for entry in entries(&stored, behalves) {
        audit::note(session, &entry).await?;
    }
    Ok(stored)
}

/// The answer for a job that was stored.
pub(super) fn new(job: &NewJob) -> Enqueued {
    Enqueued { id: job.id, existing: false }
}

pub(super) fn all_new(jobs: &[NewJob]) -> Vec<Enqueued> {
    jobs.iter().map(new).collect()
}

/// A job with what it gets on the way in.
pub(super) struct NewRow<'a> {
    pub(super) job: &'a NewJob,
    pub(super) lane: i64,
    pub(super) created_at: i64,
    pub(super) run_at: i64,
    pub(super) state: State,
}

impl<'a> NewRow<'a> {
    fn new(job: &'a NewJob, lane: i64, now: Timestamp) -> Self {
        let run_at = job.run_at.unwrap_or(now).max(now);
        let state = if job.held {
            State::Held
        } else if run_at > now {
            State::Scheduled
        } else {
            State::Available
        };
        Self { job, lane, created_at: now.as_micros(), run_at: run_at.as_micros(), state }
    }

    /// Whether it goes into the stream of its lane.
    fn is_plain(&self) -> bool {
        self.state == State::Available && self.job.unique.is_none()
    }

    pub(super) fn timeout_us(&self) -> Option<i64> {
        self.job.timeout.map(|timeout| i64::try_from(timeout.as_micros()).unwrap_or(i64::MAX))
    }
}

/// One plain job, as parameters of [`INSERT_ONE`].
pub(super) struct One<'a> {
    id: Uuid,
    lane: i64,
    created_at: i64,
    run_at: i64,
    timeout_us: Option<i64>,
    max_attempts: i64,
    first_state: i16,
    at_most_once: bool,
    owner: Option<&'a str>,
    backoff: Option<String>,
    args: &'a [u8],
}

impl<'a> One<'a> {
    pub(super) fn of(row: &NewRow<'a>) -> Self {
        let job = row.job;
        Self {
            id: job.id.into(),
            lane: row.lane,
            created_at: row.created_at,
            run_at: row.run_at,
            timeout_us: row.timeout_us(),
            max_attempts: i64::from(job.max_attempts.code()),
            first_state: sql_code(row.state.code()),
            at_most_once: job.delivery == Delivery::AtMostOnce,
            owner: job.owner.as_ref().map(|owner| owner.as_str()),
            backoff: job.backoff.map(|backoff| backoff.to_string()),
            args: job.args.as_bytes(),
        }
    }

    pub(super) fn parameters(&self) -> [(&(dyn ToSql + Sync), Type); 11] {
        [
            (&self.id, Type::UUID),
            (&self.lane, Type::INT8),
            (&self.created_at, Type::INT8),
            (&self.run_at, Type::INT8),
            (&self.timeout_us, Type::INT8),
            (&self.max_attempts, Type::INT8),
            (&self.first_state, Type::INT2),
            (&self.at_most_once, Type::BOOL),
            (&self.owner, Type::TEXT),
            (&self.backoff, Type::TEXT),
            (&self.args, Type::BYTEA),
        ]
    }
}

/// The columns of new jobs, as arrays.
#[derive(Default)]
pub(super) struct Columns<'a> {
    ids: Vec<Uuid>,
    lanes: Vec<i64>,
    created_at: Vec<i64>,
    run_at: Vec<i64>,
    states: Vec<i16>,
    max_attempts: Vec<i64>,
    at_most_once: Vec<bool>,
    owners: Vec<Option<&'a str>>,
    backoffs: Vec<Option<String>>,
    timeouts: Vec<Option<i64>>,
    args: Vec<&'a [u8]>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(rows: &[NewRow<'a>]) -> Self {
        let mut columns = Self::default();
        for row in rows {
            let job = row.job;
            columns.ids.push(job.id.into());
            columns.lanes.push(row.lane);
            columns.created_at.push(row.created_at);
            columns.run_at.push(row.run_at);
            columns.states.push(sql_code(row.state.code()));
            columns.max_attempts.push(i64::from(job.max_attempts.code()));
            columns.at_most_once.push(job.delivery == Delivery::AtMostOnce);
            columns.owners.push(job.owner.as_ref().map(|owner| owner.as_str()));
            columns.backoffs.push(job.backoff.map(|backoff| backoff.to_string()));
            columns.timeouts.push(row.timeout_us());
            columns.args.push(job.args.as_bytes());
        }
        columns
    }

    /// As parameters of [`INSERT_SOME_TOLD`], with the entries.
    pub(super) fn parameters<'p>(&'p self, entries: &'p Vec<String>) -> [(&'p (dyn ToSql + Sync), Type); 12] {
        [
            (&self.ids, Type::UUID_ARRAY),
            (&self.lanes, Type::INT8_ARRAY),
            (&self.created_at, Type::INT8_ARRAY),
            (&self.run_at, Type::INT8_ARRAY),
            (&self.timeouts, Type::INT8_ARRAY),
            (&self.max_attempts, Type::INT8_ARRAY),
            (&self.states, Type::INT2_ARRAY),
            (&self.at_most_once, Type::BOOL_ARRAY),
            (&self.owners, Type::TEXT_ARRAY),
            (&self.backoffs, Type::TEXT_ARRAY),
            (&self.args, Type::BYTEA_ARRAY),
            (entries, Type::TEXT_ARRAY),
        ]
    }
}

/// Stores the rows whose ids are new; the ids that were.
async fn insert(
    session: &mut Session<'_>,
    rows: &[NewRow<'_>],
    flags: i64,
) -> Result<Vec<(JobId, i64)>, Error> {
    let columns = Columns::of(rows);
    let hold_until =
        rows.first().map(|row| Timestamp::from_micros(row.created_at).plus(HOLD_MAX).as_micros());
    let stored = session
        .all(
            INSERT,
            &[
                &columns.ids,
                &columns.lanes,
                &columns.created_at,
                &columns.run_at,
                &hold_until,
                &columns.states,
                &columns.max_attempts,
                &columns.at_most_once,
                &columns.owners,
                &columns.backoffs,
                &columns.timeouts,
                &columns.args,
                &flags,
            ],
        )
        .await?;
    stored.iter().map(|row| Ok((get::<Uuid>(row, 0)?.into(), get(row, 1)?))).collect()
}

/// Stores a run of jobs without unique keys.
async fn insert_run(
    session: &mut Session<'_>,
    run: &[NewRow<'_>],
    enqueued: &mut Vec<Enqueued>,
) -> Result<(), Error> {
    let mut stored: HashSet<JobId> = insert(session, run, 0).await?.into_iter().map(|(id, _)| id).collect();
    // An id that comes twice in one run is stored for its first job.
    enqueued.extend(run.iter().map(|row| Enqueued { id: row.job.id, existing: !stored.remove(&row.job.id) }));
    Ok(())
}

/// Stores one job with a unique key, unless its id exists or its key is held.
async fn insert_unique(session: &mut Session<'_>, row: &NewRow<'_>) -> Result<Enqueued, Error> {
    let Some(unique) = &row.job.unique else { return Err(Error::closed()) };
    let id = Uuid::from(row.job.id);
    for _ in 0..KEY_TRIES_MAX {
        if session.first("SELECT 1 FROM job WHERE id = $1", &[&id]).await?.is_some() {
            return Ok(Enqueued { id: row.job.id, existing: true });
        }
        // The key first: it is what two callers compete for, and the second one waits here until the first has ended.
        let Some(seq) = take_key(session, row, unique).await? else {
            match holder(session, row, unique).await? {
                Some(holder) => return Ok(Enqueued { id: holder, existing: true }),
                // It was released between the two looks.
                None => continue,
            }
        };
        let stored = insert(session, std::slice::from_ref(row), HOLDS_KEY).await?;
        if let [(_, number)] = stored[..] {
            session.execute("UPDATE unique_key SET seq = $2 WHERE seq = $1", &[&seq, &number]).await?;
            return Ok(Enqueued { id: row.job.id, existing: false });
        }
        // Somebody else has stored this very job meanwhile.
        session.execute("DELETE FROM unique_key WHERE seq = $1", &[&seq]).await?;
    }
    Err(Error::new(
        Area::Busy,
        "store the jobs",
        "others took and freed a unique key each time that it was looked at",
        "try again; nothing was stored",
    ))
}

/// Takes the unique key for a job that is about to be stored, under a number of its own; `None` when it is held.
async fn take_key(
    session: &mut Session<'_>,
    row: &NewRow<'_>,
    unique: &UniqueKey,
) -> Result<Option<i64>, Error> {
    let (namespace, kind) = (row.job.namespace.as_str(), row.job.kind.as_str());
    let taken =
        session.first(TAKE_KEY, &[&namespace, &kind, &unique.as_str(), &scope_code(unique.scope)]).await?;
    taken.map(|row| get(&row, 0)).transpose()
}

/// The job that holds a unique key.
async fn holder(
    session: &mut Session<'_>,
    row: &NewRow<'_>,
    unique: &UniqueKey,
) -> Result<Option<JobId>, Error> {
    let (namespace, kind) = (row.job.namespace.as_str(), row.job.kind.as_str());
    let held = session.first(KEY_HOLDER, &[&namespace, &kind, &unique.as_str()]).await?;
    held.map(|row| Ok(get::<Uuid>(&row, 0)?.into())).transpose()
}

/// The number that stands for a scope in the store.
pub(super) fn scope_code(scope: UniqueScope) -> i16 {
    match scope {
        UniqueScope::Waiting => 1,
        UniqueScope::Active => 2,
    }
}

// The statements of an enqueue.
//
/// One job into the stream of its lane.
pub(super) const INSERT_ONE: &str =
    "INSERT INTO job (id, lane, created_at, run_at, timeout_us, max_attempts, first_state,
        at_most_once, owner, backoff, args)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
/// The same, with an entry of the audit.
pub(super) const INSERT_ONE_TOLD: &str = "WITH told AS (INSERT INTO audit_entry (body) VALUES ($12))
    INSERT INTO job (id, lane, created_at, run_at, timeout_us, max_attempts, first_state,
        at_most_once, owner, backoff, args)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
/// Several, with an entry of the audit for each.
pub(super) const INSERT_SOME_TOLD: &str = "WITH told AS (
        INSERT INTO audit_entry (body) SELECT e.body FROM unnest($12::text[]) AS e (body))
    INSERT INTO job (id, lane, created_at, run_at, timeout_us, max_attempts, first_state,
        at_most_once, owner, backoff, args)
    SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
        $7::smallint[], $8::boolean[], $9::text[], $10::text[], $11::bytea[])";
pub(super) const INSERT: &str = "WITH new AS (
        INSERT INTO job (id, lane, created_at, run_at, first_state, max_attempts, at_most_once, owner, backoff,
                         timeout_us, args, is_streamed)
        SELECT id, lane, created_at, run_at, state, max_attempts, at_most_once, owner, backoff, timeout_us, args,
               state = 3 AND $13::bigint = 0
        FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $6::smallint[], $7::bigint[],
                    $8::boolean[], $9::text[], $10::text[], $11::bigint[], $12::bytea[])
             AS given (id, lane, created_at, run_at, state, max_attempts, at_most_once, owner, backoff,
                             timeout_us, args)
        ON CONFLICT (id) DO NOTHING
        RETURNING seq, id, lane, run_at, first_state, is_streamed),
    is_ready AS (
        INSERT INTO ready (lane, ready_at, seq, attempts, flags)
        SELECT lane, run_at, seq, 0, $13 FROM new WHERE first_state = 3 AND NOT is_streamed),
    waits AS (
        INSERT INTO waiting (seq, lane, state, due, attempts, flags)
        SELECT seq, lane, first_state, CASE first_state WHEN 2 THEN run_at ELSE $5::bigint END, 0, $13
        FROM new WHERE first_state <> 3)
    SELECT id, seq FROM new";
pub(super) const TAKE_KEY: &str = "INSERT INTO unique_key (namespace, kind, key, scope, seq)
    VALUES ($1, $2, $3, $4, -nextval(pg_get_serial_sequence('job', 'seq')))
    ON CONFLICT (namespace, kind, key) DO NOTHING RETURNING seq";
pub(super) const KEY_HOLDER: &str = "SELECT j.id FROM unique_key u
    CROSS JOIN LATERAL (SELECT id FROM job WHERE job.seq = u.seq LIMIT 1) j
    WHERE u.namespace = $1 AND u.kind = $2 AND u.key = $3";
