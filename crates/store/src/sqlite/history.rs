//! What was executed: attempts, and completions (`completions.rs`). Both are kept in the order of their jobs and have no
//! index by time, which every end of a job would have to write to; so whoever asks walks them, the jobs that were stored
//! last first, up to a limit. Only the executions that are wanted are read whole.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, OptionalExtension, Row};
use taskwright_core::attempt::AttemptEnd;
use taskwright_core::limit::{ERROR_BYTES_MAX, PAGE_ROWS_MAX, SAMPLE_MAX};
use taskwright_core::name::clipped;
use taskwright_core::statistics::available_at;
use taskwright_core::{AttemptRecord, JobId, Kind, Namespace, QueueName, Timestamp, WorkerId};

use super::SqliteStore;
use super::completions::{self, Completed, Completion, Times};
use super::error::read_error;
use super::held::FIRST;
use super::list::lanes;
use super::session::name;
use crate::Reply;
use crate::claim::JobKey;
use crate::history::{
    Execution, ExecutionFilter, ExecutionPage, ExecutionPlace, Executions, HistoryStore, Newest, Sample,
    Statistics,
};

/// Executions that one question looks at.
const LOOKS_MAX: usize = 1_000_000;

/// How much the clock may have been set back between two jobs that were stored one after the other.
const CLOCK_SLACK: std::time::Duration = std::time::Duration::from_secs(60);

impl HistoryStore for SqliteStore {
    fn executions(&self, filter: ExecutionFilter, page: ExecutionPage) -> Reply<'_, Executions> {
        self.readers.read(move |conn| executions(conn, &filter, page).map_err(read_error))
    }

    fn statistics(&self, filter: ExecutionFilter, sample_max: usize) -> Reply<'_, Statistics> {
        self.readers.read(move |conn| statistics(conn, &filter, sample_max).map_err(read_error))
    }
}

fn executions(
    conn: &Connection,
    filter: &ExecutionFilter,
    page: ExecutionPage,
) -> rusqlite::Result<Executions> {
    let (newest, is_cut) = newest(conn, filter, page.after, page.limit.clamp(1, PAGE_ROWS_MAX))?;
    let more = newest.overflowed;
    let places = newest.into_sorted();
    let next = places.last().copied().filter(|_| more);
    let names = names(conn)?;
    let mut executions = Vec::with_capacity(places.len());
    for place in places {
        let Seen { job, lane, record, available_at, result } = read(conn, place, true)?;
        let (namespace, queue, kind) =
            names.get(&lane).cloned().ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        executions.push(Execution { job, kind, queue, namespace, available_at, record, result });
    }
    Ok(Executions { executions, next, is_cut })
}

fn statistics(
    conn: &Connection,
    filter: &ExecutionFilter,
    sample_max: usize,
) -> rusqlite::Result<Statistics> {
    let (newest, is_cut) = newest(conn, filter, None, sample_max.clamp(1, SAMPLE_MAX))?;
    let is_cut = is_cut || newest.overflowed;
    let mut sample = Sample::new();
    for place in newest.into_sorted() {
        let seen = read(conn, place, false)?;
        sample.add(seen.lane, &seen.record, seen.available_at);
    }
    let names = names(conn)?;
    Ok(sample.statistics(is_cut, |lane| names.get(lane).cloned()))
}

/// The newest places of executions that match, and whether the walk was ended by its limit.
fn newest(
    conn: &Connection,
    filter: &ExecutionFilter,
    after: Option<ExecutionPlace>,
    most: usize,
) -> rusqlite::Result<(Newest, bool)> {
    let mut sieve = Sieve {
        conn,
        filter,
        after,
        lanes: lanes(conn, &filter.names())?.map(HashSet::from_iter),
        workers: workers(conn, filter)?,
        newest: Newest::new(most),
        looked_at: 0,
    };
    if sieve.lanes.as_ref().is_some_and(HashSet::is_empty) {
        return Ok((sieve.newest, false));
    }
    let is_cut = if filter.ids.is_empty() { sieve.walk_all()? } else { sieve.walk_jobs()? };
    Ok((sieve.newest, is_cut))
}

/// Keeps what matches of the executions that come by.
struct Sieve<'a> {
    conn: &'a Connection,
    filter: &'a ExecutionFilter,
    after: Option<ExecutionPlace>,
    lanes: Option<HashSet<i64>>,
    workers: Option<HashSet<i64>>,
    newest: Newest,
    looked_at: usize,
}

impl Sieve<'_> {
    /// Walks back from the job that was stored last, through attempts and completions side by side.
    fn walk_all(&mut self) -> rusqlite::Result<bool> {
        let start = self.start()?;
        let (mut walk, mut next) =
            (self.conn.prepare_cached(WALK)?, self.conn.prepare_cached(completions::NEXT)?);
        let mut attempts = walk.query([start])?;
        let mut completions = next.query([start])?;
        let mut completion = completions.next()?.map(Completion::read).transpose()?;
        loop {
            let attempt = attempts.next()?.map(Met::read).transpose()?;
            while let Some(passed) = completion
                .take_if(|one| attempt.as_ref().is_none_or(|attempt| one.hi() >= attempt.place.key.0))
            {
                for completed in passed.jobs().filter(|completed| completed.seq <= start) {
                    if self.looked_at == LOOKS_MAX {
                        return Ok(true);
                    }
                    self.meet(&completed.into())?;
                }
                completion = completions.next()?.map(Completion::read).transpose()?;
            }
            let Some(attempt) = attempt else { return Ok(false) };
            if self.looked_at == LOOKS_MAX {
                return Ok(true);
            }
            self.meet(&attempt)?;
        }
    }

    /// Walks the executions of some jobs.
    fn walk_jobs(&mut self) -> rusqlite::Result<bool> {
        let mut find = self.conn.prepare_cached("SELECT seq FROM taskwright_job WHERE id = ?1")?;
        let mut statement = self.conn.prepare_cached(WALK_JOB)?;
        let ids: HashSet<JobId> = self.filter.ids.iter().take(PAGE_ROWS_MAX).copied().collect();
        for id in ids {
            let Some(seq) = find.query_row([id.as_bytes()], |row| row.get::<_, i64>(0)).optional()? else {
                continue;
            };
            if let Some(completed) = completions::of_job(self.conn, seq)? {
                self.meet(&completed.into())?;
            }
            let mut rows = statement.query([seq])?;
            while let Some(row) = rows.next()? {
                if self.looked_at >= LOOKS_MAX {
                    return Ok(true);
                }
                self.meet(&Met::read(row)?)?;
            }
        }
        Ok(false)
    }

    /// Keeps an execution if it matches.
    fn meet(&mut self, met: &Met) -> rusqlite::Result<()> {
        self.looked_at += 1;
        let matches = self.after.is_none_or(|after| met.place < after)
            && self.filter.includes(met.started_at, met.place.ended_at, met.end)
            && self.workers.as_ref().is_none_or(|workers| workers.contains(&met.worker));
        if matches && self.is_of_lanes(met.place.key.0)? {
            self.newest.offer(met.place);
        }
        Ok(())
    }

    fn is_of_lanes(&self, seq: i64) -> rusqlite::Result<bool> {
        let Some(lanes) = &self.lanes else { return Ok(true) };
        let lane = self.conn.prepare_cached(LANE)?.query_row([seq], |row| row.get::<_, i64>(0)).optional()?;
        Ok(lane.is_some_and(|lane| lanes.contains(&lane)))
    }

    /// Behind which job to start: nothing ends before it is stored. Jobs are stored in the order of their numbers, by a
    /// clock that may have been set, so the place is looked for by halves, and a little later.
    fn start(&self) -> rusqlite::Result<i64> {
        let bounds = [self.filter.ended_to, self.after.map(|after| after.ended_at)];
        let Some(to) = bounds.into_iter().flatten().min() else { return Ok(i64::MAX) };
        let to = to.plus(CLOCK_SLACK).as_micros();
        let mut near = self.conn.prepare_cached(NEAR)?;
        let mut created = |seq: i64| {
            near.query_row([seq], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))).optional()
        };
        let Some((mut high, newest)) = created(i64::MAX)? else { return Ok(i64::MAX) };
        if newest <= to {
            return Ok(i64::MAX);
        }
        let mut low = 0;
        while low < high {
            let middle = low + (high - low + 1) / 2;
            match created(middle)? {
                Some((_, at)) if at > to => high = middle - 1,
                // None so low: whatever is there is higher.
                _ => low = middle,
            }
        }
        Ok(low)
    }
}

/// The numbers of the workers that are asked for; `None` when any will do.
fn workers(conn: &Connection, filter: &ExecutionFilter) -> rusqlite::Result<Option<HashSet<i64>>> {
    if filter.workers.is_empty() {
        return Ok(None);
    }
    let mut find = conn.prepare_cached("SELECT worker FROM taskwright_worker WHERE id = ?1")?;
    let mut numbers = HashSet::new();
    for id in &filter.workers {
        numbers.extend(find.query_row([id.as_bytes()], |row| row.get::<_, i64>(0)).optional()?);
    }
    Ok(Some(numbers))
}

/// What each lane stands for.
fn names(conn: &Connection) -> rusqlite::Result<HashMap<i64, (Namespace, QueueName, Kind)>> {
    conn.prepare_cached(
        "SELECT l.lane, q.namespace, q.name, l.kind FROM taskwright_lane l JOIN taskwright_queue q ON q.queue = l.queue",
    )?
    .query_map([], |row| {
        let names = (name(row, 1, Namespace::new)?, name(row, 2, QueueName::new)?, name(row, 3, Kind::new)?);
        Ok((row.get(0)?, names))
    })?
    .collect()
}

/// An execution as it comes by.
struct Met {
    place: ExecutionPlace,
    started_at: Option<Timestamp>,
    end: AttemptEnd,
    worker: i64,
}

impl Met {
    /// Reads a row of [`WALK`].
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let ended_at = Timestamp::from_micros(row.get(2)?);
        Ok(Self {
            place: ExecutionPlace { ended_at, key: JobKey(row.get(0)?), attempt: row.get(1)? },
            started_at: row.get::<_, Option<i64>>(3)?.map(Timestamp::from_micros),
            end: end(row, 4)?,
            worker: row.get(5)?,
        })
    }
}

impl From<Completed> for Met {
    fn from(Completed { seq, worker, times }: Completed) -> Self {
        let place = ExecutionPlace { ended_at: times.ended_at(), key: JobKey(seq), attempt: FIRST };
        Self { place, started_at: Some(times.started_at()), end: AttemptEnd::Completed, worker }
    }
}

/// An execution that is wanted, with what is to be known of its job.
struct Seen {
    job: JobId,
    lane: i64,
    record: AttemptRecord,
    available_at: Option<Timestamp>,
    result: Option<String>,
}

/// Reads an execution; errors and results only if it is to be `whole`.
fn read(conn: &Connection, place: ExecutionPlace, whole: bool) -> rusqlite::Result<Seen> {
    let seq = place.key.0;
    let first = if place.attempt == FIRST {
        conn.prepare_cached(READ_COMPLETED)?.query_row([seq], read_completed).optional()?
    } else {
        None
    };
    match first {
        Some(seen) => Ok(seen),
        None => {
            conn.prepare_cached(READ)?.query_row((seq, place.attempt, whole), |row| read_attempt(row, place))
        }
    }
}

/// Reads a row of [`READ_COMPLETED`].
fn read_completed(row: &Row<'_>) -> rusqlite::Result<Seen> {
    let times = Times::read(row, 4)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    let record = times.record(WorkerId::from_bytes(row.get(3)?));
    let available_at = available_at(Timestamp::from_micros(row.get(2)?), None, record.ended_at);
    Ok(Seen { job: JobId::from_bytes(row.get(0)?), lane: row.get(1)?, record, available_at, result: None })
}

/// Reads a row of [`READ`].
fn read_attempt(row: &Row<'_>, place: ExecutionPlace) -> rusqlite::Result<Seen> {
    let record = AttemptRecord {
        attempt: place.attempt,
        worker: WorkerId::from_bytes(row.get(3)?),
        claimed_at: Timestamp::from_micros(row.get(4)?),
        started_at: row.get::<_, Option<i64>>(5)?.map(Timestamp::from_micros),
        ended_at: Timestamp::from_micros(row.get(6)?),
        end: end(row, 7)?,
        error: row.get(10)?,
        usage: row.get_ref(8)?.as_str_or_null()?.and_then(|usage| serde_json::from_str(usage).ok()),
    };
    let completed = Times::read(row, 12)?.filter(|_| place.attempt == FIRST + 1);
    let previous = row.get::<_, Option<i64>>(9)?.map(Timestamp::from_micros);
    let previous = previous.or(completed.map(Times::ended_at));
    let available_at = available_at(Timestamp::from_micros(row.get(2)?), previous, record.ended_at);
    let result: Option<String> = row.get(11)?;
    let result = result.map(|result| clipped(&result, ERROR_BYTES_MAX));
    Ok(Seen { job: JobId::from_bytes(row.get(0)?), lane: row.get(1)?, record, available_at, result })
}

fn end(row: &Row<'_>, column: usize) -> rusqlite::Result<AttemptEnd> {
    Ok(AttemptEnd::from_code(row.get(column)?).unwrap_or(AttemptEnd::Lost))
}

// The statements of history; plans.rs holds each of them to an index.
pub(super) const WALK: &str =
    "SELECT seq, attempt, ended_at, started_at, outcome, worker FROM taskwright_attempt
    WHERE seq <= ?1 ORDER BY seq DESC, attempt DESC";
pub(super) const WALK_JOB: &str =
    "SELECT seq, attempt, ended_at, started_at, outcome, worker FROM taskwright_attempt
    WHERE seq = ?1 ORDER BY attempt DESC";
pub(super) const LANE: &str = "SELECT lane FROM taskwright_job WHERE seq = ?1";
pub(super) const NEAR: &str =
    "SELECT seq, created_at FROM taskwright_job WHERE seq <= ?1 ORDER BY seq DESC LIMIT 1";
/// What is long is read only where it is asked for: `?3`. Of a result a little more than is shown, so that the cut shows.
pub(super) const READ: &str = "SELECT j.id, j.lane, j.run_at, k.id, a.claimed_at, a.started_at, a.ended_at, a.outcome,
        a.usage, (SELECT p.ended_at FROM taskwright_attempt p WHERE p.seq = a.seq AND p.attempt = a.attempt - 1),
        CASE WHEN ?3 THEN a.error END, CASE WHEN ?3 THEN substr(a.result, 1, 16385) END,
        d.claimed_at, substr(d.times, (?1 - d.lo) * 8 + 1, 8)
    FROM taskwright_attempt a CROSS JOIN taskwright_job j ON j.seq = a.seq
    CROSS JOIN taskwright_worker k ON k.worker = a.worker
    LEFT JOIN taskwright_completion d
        ON d.lo = (SELECT max(lo) FROM taskwright_completion WHERE lo <= ?1) AND d.hi >= ?1
    WHERE a.seq = ?1 AND a.attempt = ?2";
pub(super) const READ_COMPLETED: &str = "SELECT j.id, j.lane, j.run_at, k.id,
        d.claimed_at, substr(d.times, (?1 - d.lo) * 8 + 1, 8)
    FROM taskwright_completion d CROSS JOIN taskwright_job j ON j.seq = ?1
    CROSS JOIN taskwright_worker k ON k.worker = d.worker
    WHERE d.lo = (SELECT max(lo) FROM taskwright_completion WHERE lo <= ?1) AND d.hi >= ?1";
