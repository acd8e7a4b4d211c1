//! Reading: one job, its log, queues, workers. Listings are in `list.rs`.

use taskwright_core::attempt::AttemptEnd;
use taskwright_core::{
    Args, AttemptRecord, Delivery, GeneratorName, JobId, Kind, Namespace, QueueName, State, Timestamp,
    WorkerId,
};
use tokio_postgres::Row;

use super::claim::{backoff, max_attempts, owner, timeout};
use super::place::{self, PLACE_COLUMNS, PLACE_JOINS};
use super::session::{Session, Uuid, code, code_if_any, count, get, name, priority, vanished};
use super::submitter;
use super::timeline::moves;

use super::worker::order_of;
use crate::error::Error;
use crate::finish::LogStream;
use crate::query::{JobDetail, JobView, LogChunk, QueueView, WorkerView, tells_cancel};
use crate::timeline::{self, Attempt};
use crate::worker::WorkerState;

/// Holds the planner, for this transaction, to the indexes that give the order: where a limit ends the walk, it would at
/// times, by its statistics, rather read and sort a whole table. It also compiles what it takes for dear, and starts
/// processes for it; both take longer than what is read here.
pub(super) async fn walk_indexes(session: &mut Session<'_>) -> Result<(), Error> {
    session.first(WALK_INDEXES, &[]).await.map(drop)
}

const WALK_INDEXES: &str =
    "SELECT set_config('enable_sort', 'off', true), set_config('enable_mergejoin', 'off', true),
    set_config('jit', 'off', true), set_config('max_parallel_workers_per_gather', '0', true)";

/// The query for [`JobView`]s, up to its `WHERE`; [`read_view`] reads its rows.
pub(super) fn view_query() -> String {
    format!(
        "SELECT j.seq, {PLACE_COLUMNS}, j.id, l.kind, q.name, l.priority, q.namespace, j.owner,
                j.max_attempts, j.attempts_base, j.created_at, 
                coalesce(x.claimed_at, h.claimed_at, n.claimed_at, d.claimed_at),
                coalesce(o.ended_at, n.ended_at, d.ended_at), k.id,
                coalesce(x.progress, (SELECT b.progress FROM bulk b WHERE b.seq = j.seq)), o.reason, n.error,
                CASE WHEN starts_with(q.name, 'generator:') THEN coalesce((
                    SELECT i.key FROM item i WHERE i.job = j.id AND i.generator = (
                        SELECT g.generator FROM generator g
                        WHERE g.namespace = q.namespace AND g.name = substr(q.name, 11))), j.item_key) END,
                (SELECT e.at FROM consumed e WHERE e.seq = j.seq LIMIT 1), k.host,
                EXISTS (SELECT FROM cancel_asked e WHERE e.seq = j.seq)
         FROM job j {PLACE_JOINS}
         JOIN lane l ON l.lane = j.lane
         JOIN queue q ON q.queue = l.queue
         LEFT JOIN worker k ON k.worker = coalesce(x.worker, h.worker, n.worker, d.worker)"
    )
}

/// Reads a row of [`view_query`]: seq, and what a listing shows.
pub(super) fn read_view(row: &Row) -> Result<(i64, JobView), Error> {
    let place = place::read_place(row, 1)?;
    let over = place.state.is_terminal();
    let reason: Option<String> = get(row, 21)?;
    let queue = name(row, 10, QueueName::new)?;
    let view = JobView {
        id: get::<Uuid>(row, 8)?.into(),
        kind: name(row, 9, Kind::new)?,
        state: place.state,
        generator: GeneratorName::of_queue(&queue),
        item_key: get(row, 23)?,
        queue,
        priority: priority(row, 11)?,
        namespace: name(row, 12, Namespace::new)?,
        owner: owner(row, 13)?,
        attempt: place.attempts,
        max_attempts: max_attempts(row, 14, 15)?,
        created_at: Timestamp::from_micros(get(row, 16)?),
        run_at: Timestamp::from_micros(place.run_at),
        claimed_at: time_if_any(row, 17)?,
        ended_at: time_if_any(row, 18)?.filter(|_| over),
        worker: get::<Option<Uuid>>(row, 19)?.map(WorkerId::from),
        host: get(row, 25)?,
        progress: get::<Option<&str>>(row, 20)?.and_then(|progress| serde_json::from_str(progress).ok()),
        cancel_requested: tells_cancel(place.state, place.cancel_requested, get(row, 26)?),
        error: if over && reason.is_some() { reason } else { get(row, 22)? },
        consumed_at: time_if_any(row, 24)?.filter(|_| over),
    };
    Ok((get(row, 0)?, view))
}

/// One job. See [`Store::job`](crate::Store::job).
pub(super) async fn job(session: &mut Session<'_>, id: JobId) -> Result<Option<JobDetail>, Error> {
    let find = format!("{} WHERE j.id = $1", view_query());
    let Some(row) = session.first(&find, &[&Uuid::from(id)]).await? else { return Ok(None) };
    let (seq, view) = read_view(&row)?;
    detail(session, seq, view).await.map(Some)
}

async fn detail(session: &mut Session<'_>, seq: i64, view: JobView) -> Result<JobDetail, Error> {
    let (attempts, result) = attempts(session, seq).await?;
    let result = match (view.state, attempts.is_empty()) {
        // The parent of a bulk has no attempts.
        (State::Completed, true) => {
            let row = session.first("SELECT tally FROM bulk WHERE seq = $1", &[&seq]).await?;
            row.map(|row| get(&row, 0)).transpose()?
        }
        (State::Completed, false) => result,
        _ => None,
    };
    let row = session
        .first(
            "SELECT j.args, j.backoff, j.timeout_us, j.at_most_once, j.first_state,
                    (SELECT u.key FROM unique_key u WHERE u.seq = j.seq)
             FROM job j WHERE j.seq = $1",
            &[&seq],
        )
        .await?
        .ok_or_else(|| vanished("a job"))?;
    let timeline = timeline::of(&view, state(&row, 4)?, &attempts, moves(session, seq).await?);
    Ok(JobDetail {
        args: Args::from_store(get::<&[u8]>(&row, 0)?.into()),
        backoff: backoff(&row, 1)?,
        timeout: timeout(&row, 2)?,
        delivery: if get(&row, 3)? { Delivery::AtMostOnce } else { Delivery::AtLeastOnce },
        view,
        unique: get(&row, 5)?,
        result,
        attempts: attempts.into_iter().map(|(record, _)| record).collect(),
        timeline,
        comments: submitter::comments(session, seq).await?,
    })
}

/// Reads the code of a state.
pub(super) fn state(row: &Row, column: usize) -> Result<State, Error> {
    State::from_code(code(row, column)?).ok_or_else(|| vanished("a known state"))
}

fn time_if_any(row: &Row, column: usize) -> Result<Option<Timestamp>, Error> {
    Ok(get::<Option<i64>>(row, column)?.map(Timestamp::from_micros))
}

/// Reads a number that is never negative.
fn unsigned<T: TryFrom<i64> + Default>(row: &Row, column: usize) -> Result<T, Error> {
    Ok(T::try_from(get::<i64>(row, column)?).unwrap_or_default())
}

/// The attempts of a job, and the result of the newest.
async fn attempts(session: &mut Session<'_>, seq: i64) -> Result<(Vec<Attempt>, Option<String>), Error> {
    let rows = session
        .all(
            "SELECT a.attempt, k.id, a.claimed_at, a.started_at, a.ended_at, a.outcome, a.moved_to, a.error, a.usage,
                    a.result
             FROM attempt a JOIN worker k ON k.worker = a.worker WHERE a.seq = $1
             UNION ALL
             SELECT 1, k.id, c.claimed_at, c.claimed_at + time_at(c.times, p, 0), c.claimed_at + time_at(c.times, p, 1),
                    0::smallint, 6::smallint, NULL, NULL, NULL
             FROM completion c CROSS JOIN LATERAL place_in(c.seqs, $1) AS p JOIN worker k ON k.worker = c.worker
             WHERE c.seqs @> $1
             ORDER BY 1",
            &[&seq],
        )
        .await?;
    let result = rows.last().map(|row| get(row, 9)).transpose()?.flatten();
    let attempts: Result<_, Error> =
        rows.iter().map(|row| Ok((read_attempt(row)?, state(row, 6)?))).collect();
    Ok((attempts?, result))
}

fn read_attempt(row: &Row) -> Result<AttemptRecord, Error> {
    Ok(AttemptRecord {
        attempt: count(row, 0)?,
        worker: get::<Uuid>(row, 1)?.into(),
        claimed_at: Timestamp::from_micros(get(row, 2)?),
        started_at: time_if_any(row, 3)?,
        ended_at: Timestamp::from_micros(get(row, 4)?),
        end: AttemptEnd::from_code(code(row, 5)?).unwrap_or(AttemptEnd::Lost),
        error: get(row, 7)?,
        usage: get::<Option<&str>>(row, 8)?.and_then(|usage| serde_json::from_str(usage).ok()),
    })
}

/// A part of a job's log. See [`Store::logs`](crate::Store::logs).
pub(super) async fn logs(
    session: &mut Session<'_>,
    id: JobId,
    from: u64,
    limit: usize,
) -> Result<Vec<LogChunk>, Error> {
    let (from, most) = (i64::try_from(from).unwrap_or(i64::MAX), i64::try_from(limit).unwrap_or(i64::MAX));
    let rows = session
        .all(
            // Not a join: after one the index would not count as order, and the whole log would be read and sorted.
            "SELECT number, attempt, at, stream, bytes FROM log
             WHERE seq = (SELECT j.seq FROM job j WHERE j.id = $1) AND number >= $2 ORDER BY number LIMIT $3",
            &[&Uuid::from(id), &from, &most],
        )
        .await?;
    rows.iter().map(read_chunk).collect()
}

fn read_chunk(row: &Row) -> Result<LogChunk, Error> {
    Ok(LogChunk {
        number: unsigned(row, 0)?,
        attempt: count(row, 1)?,
        at: Timestamp::from_micros(get(row, 2)?),
        stream: LogStream::from_code(code(row, 3)?),
        bytes: get(row, 4)?,
    })
}

/// All queues. See [`Store::queues`](crate::Store::queues).
pub(super) async fn queues(
    session: &mut Session<'_>,
    namespace: Option<&Namespace>,
) -> Result<Vec<QueueView>, Error> {
    walk_indexes(session).await?;
    let rows = session.all(&queues_query(), &[&namespace.map(Namespace::as_str)]).await?;
    rows.iter()
        .map(|row| {
            Ok(QueueView {
                namespace: name(row, 0, Namespace::new)?,
                name: name(row, 1, QueueName::new)?,
                paused: get(row, 2)?,
                available: unsigned(row, 3)?,
                running: unsigned(row, 4)?,
                waiting: unsigned(row, 5)?,
                oldest_available: time_if_any(row, 6)?,
            })
        })
        .collect()
}

/// Each count stops at the limit: the inner query reads no more rows than that. What is joined by `LATERAL` with a
/// `LIMIT` is looked up by its index, row for row, whatever the statistics say. Lanes are joined once the jobs have been
/// counted: before, a plan may read them all again for each job.
fn queues_query() -> String {
    format!(
        "WITH runs AS MATERIALIZED (
             SELECT q.namespace, q.name, sum(c.jobs)::bigint AS jobs FROM (
                 SELECT j.lane, count(*) AS jobs FROM running x
                 CROSS JOIN LATERAL (SELECT j.lane FROM job j WHERE j.seq = x.seq LIMIT 1) j GROUP BY j.lane
                 UNION ALL SELECT h.lane, count(*) FROM held h GROUP BY h.lane) c
             CROSS JOIN LATERAL (
                 SELECT q.namespace, q.name FROM lane l JOIN queue q ON q.queue = l.queue
                 WHERE l.lane = c.lane LIMIT 1) q
             GROUP BY q.namespace, q.name)
         SELECT q.namespace, q.name, bool_or(q.paused), coalesce(least(sum(c.ready + c.streamed), {max}), 0)::bigint,
                coalesce(x.jobs, 0), coalesce(least(sum(c.waiting), {max}), 0)::bigint, min(c.oldest)
         FROM queue q LEFT JOIN runs x ON x.namespace = q.namespace AND x.name = q.name
         LEFT JOIN lane l ON l.queue = q.queue
         LEFT JOIN LATERAL (
             SELECT (SELECT count(*) FROM (
                         SELECT 1 FROM ready r WHERE r.lane = l.lane ORDER BY r.ready_at, r.seq LIMIT {max}) r) AS ready,
                    (SELECT count(*) FROM (SELECT 1 FROM stream s WHERE s.lane = l.lane LIMIT {max}) s) AS streamed,
                    (SELECT count(*) FROM (
                         SELECT 1 FROM waiting w WHERE w.lane = l.lane ORDER BY w.seq LIMIT {max}) w) AS waiting,
                    least((SELECT r.ready_at FROM ready r WHERE r.lane = l.lane ORDER BY r.ready_at LIMIT 1),
                          (SELECT u.run_at FROM upcoming(l.lane, 1) u)) AS oldest) c ON true
         WHERE $1::text IS NULL OR q.namespace = $1::text
         GROUP BY q.namespace, q.name, x.jobs
         ORDER BY q.namespace COLLATE \"C\", q.name COLLATE \"C\"",
        max = QueueView::COUNT_MAX
    )
}

/// All workers. See [`Store::workers`](crate::Store::workers).
pub(super) async fn workers(session: &mut Session<'_>) -> Result<Vec<WorkerView>, Error> {
    let rows = session
        .all(
            "SELECT k.id, k.host, k.pid, k.state, k.told, k.concurrency, k.queues, k.started_at, k.seen_at,
                    (SELECT count(*) FROM running x WHERE x.worker = k.worker)
                        + (SELECT count(*) FROM held h WHERE h.worker = k.worker),
                    k.remark
             FROM worker k WHERE NOT k.forgotten ORDER BY k.state <> 0, k.worker DESC",
            &[],
        )
        .await?;
    rows.iter().map(read_worker).collect()
}

fn read_worker(row: &Row) -> Result<WorkerView, Error> {
    let queues: &str = get(row, 6)?;
    Ok(WorkerView {
        id: get::<Uuid>(row, 0)?.into(),
        host: get(row, 1)?,
        pid: unsigned(row, 2)?,
        state: WorkerState::from_code(code(row, 3)?),
        order: code_if_any(row, 4)?.and_then(order_of),
        concurrency: unsigned(row, 5)?,
        queues: queues.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        running: unsigned(row, 9)?,
        started_at: Timestamp::from_micros(get(row, 7)?),
        seen_at: Timestamp::from_micros(get(row, 8)?),
        remark: get(row, 10)?,
    })
}
