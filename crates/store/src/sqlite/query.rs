//! Reading: one job, its log, queues, workers. Listings are in `list.rs`.

use rusqlite::{Connection, OptionalExtension, Row};
use taskwright_core::attempt::AttemptEnd;
use taskwright_core::{
    Args, AttemptRecord, Delivery, GeneratorName, JobId, Kind, Namespace, Priority, QueueName, State,
    Timestamp, WorkerId,
};

use super::claim::{backoff, max_attempts, owner};
use super::completions::{self, Times};
use super::error::read_error;
use super::place::{self, PLACE_COLUMNS, PLACE_JOINS};
use super::session::name;
use super::submitter;
use super::timeline::moves;

use super::worker::order_of;
use crate::error::Error;
use crate::finish::LogStream;
use crate::query::{JobDetail, JobView, LogChunk, QueueView, WorkerView, tells_cancel};
use crate::timeline::{self, Attempt};
use crate::worker::WorkerState;

/// The query for [`JobView`]s, up to its `WHERE`; [`read_view`] reads its rows.
pub(super) fn view_query() -> String {
    format!(
        "SELECT j.seq, {PLACE_COLUMNS}, j.id, l.kind, q.name, l.priority, q.namespace, j.owner,
                j.max_attempts, j.attempts_base, j.created_at,
                coalesce(x.claimed_at, b.claimed_at, a.claimed_at, d.claimed_at),
                coalesce(o.ended_at, a.ended_at), k.id,
                coalesce(x.progress, (SELECT u.progress FROM taskwright_bulk u WHERE u.seq = j.seq)), o.reason, a.error,
                CASE WHEN substr(q.name, 1, 10) = 'generator:' THEN coalesce((
                    SELECT i.key FROM taskwright_item i WHERE i.job = j.id AND i.generator = (
                        SELECT g.generator FROM taskwright_generator g
                        WHERE g.namespace = q.namespace AND g.name = substr(q.name, 11))), j.item_key) END,
                d.claimed_at, substr(d.times, (j.seq - d.lo) * 8 + 1, 8),
                (SELECT n.at FROM taskwright_consumed n WHERE n.seq = j.seq), k.host,
                EXISTS (SELECT 1 FROM taskwright_cancel_asked e WHERE e.seq = j.seq)
         FROM taskwright_job j {PLACE_JOINS}
         JOIN taskwright_lane l ON l.lane = j.lane
         JOIN taskwright_queue q ON q.queue = l.queue
         LEFT JOIN taskwright_attempt a ON a.seq = j.seq
              AND a.attempt = (SELECT max(attempt) FROM taskwright_attempt m WHERE m.seq = j.seq)
         LEFT JOIN taskwright_worker k ON k.worker = coalesce(x.worker, b.worker, a.worker, d.worker)"
    )
}

/// Reads a row of [`view_query`]: seq, and what a listing shows.
pub(super) fn read_view(row: &Row<'_>) -> rusqlite::Result<(i64, JobView)> {
    let place = place::read_place(row, 1)?;
    let over = place.state.is_terminal();
    let reason: Option<String> = row.get(20)?;
    let queue = name(row, 9, QueueName::new)?;
    let in_completion = Times::read(row, 23)?.map(Times::ended_at);
    let ended_at = row.get::<_, Option<i64>>(17)?.map(Timestamp::from_micros).or(in_completion);
    let view = JobView {
        id: JobId::from_bytes(row.get(7)?),
        kind: name(row, 8, Kind::new)?,
        state: place.state,
        generator: GeneratorName::of_queue(&queue),
        item_key: row.get(22)?,
        queue,
        priority: Priority(row.get(10)?),
        namespace: name(row, 11, Namespace::new)?,
        owner: owner(row, 12)?,
        attempt: place.attempts,
        max_attempts: max_attempts(row, 13, 14)?,
        created_at: Timestamp::from_micros(row.get(15)?),
        run_at: Timestamp::from_micros(place.run_at),
        claimed_at: row.get::<_, Option<i64>>(16)?.map(Timestamp::from_micros),
        ended_at: ended_at.filter(|_| over),
        worker: row.get::<_, Option<[u8; 16]>>(18)?.map(WorkerId::from_bytes),
        host: row.get(26)?,
        progress: row.get::<_, Option<String>>(19)?.and_then(|progress| serde_json::from_str(&progress).ok()),
        cancel_requested: tells_cancel(place.state, place.cancel_requested, row.get(27)?),
        error: if over && reason.is_some() { reason } else { row.get(21)? },
        consumed_at: row.get::<_, Option<i64>>(25)?.map(Timestamp::from_micros).filter(|_| over),
    };
    Ok((row.get(0)?, view))
}

/// One job. See [`Store::job`](crate::Store::job).
pub(super) fn job(conn: &Connection, id: JobId) -> Result<Option<JobDetail>, Error> {
    let found = conn
        .prepare_cached(&format!("{} WHERE j.id = ?1", view_query()))
        .and_then(|mut find| find.query_row([id.as_bytes()], read_view).optional())
        .map_err(read_error)?;
    let Some((seq, view)) = found else { return Ok(None) };
    detail(conn, seq, view).map(Some).map_err(read_error)
}

fn detail(conn: &Connection, seq: i64, view: JobView) -> rusqlite::Result<JobDetail> {
    let (attempts, result) = attempts(conn, seq)?;
    let result = match (view.state, attempts.is_empty()) {
        // The parent of a bulk has no attempts.
        (State::Completed, true) => conn
            .prepare_cached("SELECT tally FROM taskwright_bulk WHERE seq = ?1")?
            .query_row([seq], |row| row.get(0))
            .optional()?,
        (State::Completed, false) => result,
        _ => None,
    };
    let unique = conn
        .prepare_cached("SELECT key FROM taskwright_unique WHERE seq = ?1")?
        .query_row([seq], |row| row.get(0))
        .optional()?;
    conn.prepare_cached(
        "SELECT args, backoff, timeout_us, at_most_once, first_state FROM taskwright_job WHERE seq = ?1",
    )?
    .query_row([seq], |row| {
        let timeline = timeline::of(&view, state(row, 4)?, &attempts, moves(conn, seq)?);
        Ok(JobDetail {
            args: Args::from_store(row.get_ref(0)?.as_blob()?.into()),
            backoff: backoff(row, 1)?,
            timeout: row.get::<_, Option<u64>>(2)?.map(std::time::Duration::from_micros),
            delivery: if row.get(3)? { Delivery::AtMostOnce } else { Delivery::AtLeastOnce },
            view,
            unique,
            result,
            attempts: attempts.into_iter().map(|(record, _)| record).collect(),
            timeline,
            comments: submitter::comments(conn, seq)?,
        })
    })
}

pub(super) fn state(row: &Row<'_>, column: usize) -> rusqlite::Result<State> {
    let code: u8 = row.get(column)?;
    State::from_code(code).ok_or(rusqlite::Error::IntegralValueOutOfRange(column, i64::from(code)))
}

/// The attempts of a job, and the result of the newest.
fn attempts(conn: &Connection, seq: i64) -> rusqlite::Result<(Vec<Attempt>, Option<String>)> {
    let mut statement = conn.prepare_cached(
        "SELECT a.attempt, k.id, a.claimed_at, a.started_at, a.ended_at, a.outcome, a.moved_to, a.error, a.usage,
                a.result
         FROM taskwright_attempt a JOIN taskwright_worker k ON k.worker = a.worker
         WHERE a.seq = ?1 ORDER BY a.attempt",
    )?;
    let mut rows = statement.query([seq])?;
    let (mut attempts, mut result) = (Vec::new(), None);
    if let Some(first) = completions::of_job(conn, seq)? {
        let worker = conn
            .prepare_cached("SELECT id FROM taskwright_worker WHERE worker = ?1")?
            .query_row([first.worker], |row| row.get(0).map(WorkerId::from_bytes))?;
        attempts.push((first.times.record(worker), State::Completed));
    }
    while let Some(row) = rows.next()? {
        let record = AttemptRecord {
            attempt: row.get(0)?,
            worker: WorkerId::from_bytes(row.get(1)?),
            claimed_at: Timestamp::from_micros(row.get(2)?),
            started_at: row.get::<_, Option<i64>>(3)?.map(Timestamp::from_micros),
            ended_at: Timestamp::from_micros(row.get(4)?),
            end: AttemptEnd::from_code(row.get(5)?).unwrap_or(AttemptEnd::Lost),
            error: row.get(7)?,
            usage: row.get::<_, Option<String>>(8)?.and_then(|usage| serde_json::from_str(&usage).ok()),
        };
        attempts.push((record, state(row, 6)?));
        result = row.get(9)?;
    }
    Ok((attempts, result))
}

/// A part of a job's log. See [`Store::logs`](crate::Store::logs).
pub(super) fn logs(conn: &Connection, id: JobId, from: u64, limit: usize) -> Result<Vec<LogChunk>, Error> {
    conn.prepare_cached(
        "SELECT g.number, g.attempt, g.at, g.stream, g.bytes
         FROM taskwright_job j JOIN taskwright_log g ON g.seq = j.seq
         WHERE j.id = ?1 AND g.number >= ?2 ORDER BY g.number LIMIT ?3",
    )
    .and_then(|mut statement| {
        let most = i64::try_from(limit).unwrap_or(i64::MAX);
        statement
            .query_map((id.as_bytes(), i64::try_from(from).unwrap_or(i64::MAX), most), |row| {
                Ok(LogChunk {
                    number: row.get(0)?,
                    attempt: row.get(1)?,
                    at: Timestamp::from_micros(row.get(2)?),
                    stream: LogStream::from_code(row.get(3)?),
                    bytes: row.get(4)?,
                })
            })?
            .collect()
    })
    .map_err(read_error)
}

/// All queues. See [`Store::queues`](crate::Store::queues).
pub(super) fn queues(conn: &Connection, namespace: Option<&Namespace>) -> Result<Vec<QueueView>, Error> {
    // Each count stops at the limit: the inner query reads no more rows than that.
    let sql = format!(
        "WITH running AS (
             SELECT j.lane, count(*) AS jobs FROM taskwright_running x CROSS JOIN taskwright_job j ON j.seq = x.seq
             GROUP BY j.lane
             UNION ALL
             SELECT j.lane, count(*) FROM taskwright_block b
             CROSS JOIN taskwright_job j ON j.seq BETWEEN b.lo AND b.hi GROUP BY j.lane),
         waiting AS (
             SELECT j.lane, count(*) AS jobs FROM (SELECT seq FROM taskwright_waiting LIMIT {max}) w
             CROSS JOIN taskwright_job j ON j.seq = w.seq GROUP BY j.lane)
         SELECT q.namespace, q.name, q.paused,
                (SELECT count(*) FROM (SELECT 1 FROM taskwright_lane l
                     CROSS JOIN taskwright_ready r ON r.lane = l.lane WHERE l.queue = q.queue LIMIT {max})),
                (SELECT coalesce(sum(jobs), 0) FROM running JOIN taskwright_lane l USING (lane)
                     WHERE l.queue = q.queue),
                (SELECT coalesce(sum(jobs), 0) FROM waiting JOIN taskwright_lane l USING (lane)
                     WHERE l.queue = q.queue),
                (SELECT min((SELECT r.ready_at FROM taskwright_ready r WHERE r.lane = l.lane
                             ORDER BY r.ready_at LIMIT 1))
                 FROM taskwright_lane l WHERE l.queue = q.queue)
         FROM taskwright_queue q WHERE ?1 IS NULL OR q.namespace = ?1 ORDER BY q.namespace, q.name",
        max = QueueView::COUNT_MAX
    );
    conn.prepare_cached(&sql)
        .and_then(|mut statement| {
            statement
                .query_map([namespace.map(Namespace::as_str)], |row| {
                    Ok(QueueView {
                        namespace: name(row, 0, Namespace::new)?,
                        name: name(row, 1, QueueName::new)?,
                        paused: row.get(2)?,
                        available: row.get(3)?,
                        running: row.get(4)?,
                        waiting: row.get(5)?,
                        oldest_available: row.get::<_, Option<i64>>(6)?.map(Timestamp::from_micros),
                    })
                })?
                .collect()
        })
        .map_err(read_error)
}

/// All workers. See [`Store::workers`](crate::Store::workers).
pub(super) fn workers(conn: &Connection) -> Result<Vec<WorkerView>, Error> {
    conn.prepare_cached(
        "SELECT id, host, pid, state, told, concurrency, queues, started_at, seen_at,
                (SELECT count(*) FROM taskwright_running x WHERE x.worker = k.worker)
                    + (SELECT coalesce(sum(hi - lo + 1), 0) FROM taskwright_block b WHERE b.worker = k.worker), remark
         FROM taskwright_worker k WHERE forgotten = 0 ORDER BY state <> 0, worker DESC",
    )
    .and_then(|mut statement| {
        statement
            .query_map([], |row| {
                let queues: String = row.get(6)?;
                Ok(WorkerView {
                    id: WorkerId::from_bytes(row.get(0)?),
                    host: row.get(1)?,
                    pid: row.get(2)?,
                    state: WorkerState::from_code(row.get(3)?),
                    order: row.get::<_, Option<u8>>(4)?.and_then(order_of),
                    concurrency: row.get(5)?,
                    queues: queues.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
                    running: row.get(9)?,
                    started_at: Timestamp::from_micros(row.get(7)?),
                    seen_at: Timestamp::from_micros(row.get(8)?),
                    remark: row.get(10)?,
                })
            })?
            .collect()
    })
    .map_err(read_error)
}
