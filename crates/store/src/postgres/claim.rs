//! Claiming: which jobs a worker gets, and taking them.
//!
//! The heads of every lane that the worker serves are read and locked at once, passing over what another claim has locked;
//! then they are merged by (aged priority, time, seq), and what was chosen is moved with one statement. A claim is four
//! statements, however many jobs it takes.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use taskwright_core::limit::CLAIM_JOBS_MAX;
use taskwright_core::{
    Args, Backoff, Delivery, JobId, Kind, MaxAttempts, Namespace, Owner, QueueName, Timestamp,
};
use tokio_postgres::Row;

use super::session::{LaneKey, Lanes, Session, Uuid, count, get, name, name_if_any, priority, vanished};
use super::worker::alive;
use crate::claim::{Claim, Claimed, ClaimedJob, JobKey};
use crate::error::Error;

/// Rows read from a lane at a time when several lanes compete.
const MERGE_CHUNK_MIN: usize = 16;

/// Takes the jobs. See [`Store::claim`](crate::Store::claim).
pub(super) async fn claim(session: &mut Session<'_>, known: &Lanes, claim: &Claim) -> Result<Claimed, Error> {
    let worker = alive(session, claim.worker).await?;
    let limit = claim.limit.min(CLAIM_JOBS_MAX);
    if limit == 0 {
        return Ok(Claimed::default());
    }
    let mut lanes = lanes(session, known, claim).await?;
    let chosen = choose(session, &mut lanes, claim.now, limit).await?;
    if chosen.is_empty() {
        return Ok(Claimed::default());
    }
    let mut jobs = take(session, &lanes, &chosen, claim.now, worker).await?;
    let order: HashMap<i64, usize> = (0..).zip(&chosen).map(|(order, head)| (head.seq, order)).collect();
    jobs.sort_unstable_by_key(|job| order.get(&job.key.0).copied());
    Ok(Claimed { jobs })
}

/// A lane that has available jobs and that the worker serves.
struct Lane {
    lane: i64,
    info: Arc<LaneKey>,
    /// Rows read, locked and not yet chosen.
    heads: VecDeque<Head>,
    /// The last row read; reading goes on behind it.
    read_to: (i64, i64),
    /// Whether everything has been read.
    exhausted: bool,
}

/// A row of `ready`.
#[derive(Clone, Copy, Debug)]
struct Head {
    /// The index of its lane.
    lane: usize,
    ready_at: i64,
    seq: i64,
}

impl Lane {
    /// What its first job is compared by.
    fn rank(&self, now: Timestamp) -> Option<(i64, i64, i64)> {
        let head = self.heads.front()?;
        let waited = now.since(Timestamp::from_micros(head.ready_at));
        Some((self.info.priority.aged(waited), head.ready_at, head.seq))
    }
}

/// The lanes that have something for this worker.
async fn lanes(session: &mut Session<'_>, known: &Lanes, claim: &Claim) -> Result<Vec<Lane>, Error> {
    let kinds: Vec<&str> = claim.kinds.iter().map(Kind::as_str).collect();
    let queues: Option<Vec<&str>> =
        claim.queues.as_ref().map(|queues| queues.iter().map(QueueName::as_str).collect());
    let namespace = claim.namespace.as_ref().map(Namespace::as_str);
    let worst = claim.priority_max.map(|priority| priority.0);
    let rows = session.all(LANES, &[&kinds, &queues, &namespace, &worst]).await?;
    rows.iter()
        .map(|row| {
            let lane = get(row, 0)?;
            Ok(Lane {
                lane,
                info: info(row, lane, known)?,
                heads: VecDeque::new(),
                read_to: (i64::MIN, i64::MIN),
                exhausted: false,
            })
        })
        .collect()
}

fn info(row: &Row, lane: i64, known: &Lanes) -> Result<Arc<LaneKey>, Error> {
    if let Some(info) = known.info(lane) {
        return Ok(info);
    }
    let key = LaneKey {
        namespace: name(row, 1, Namespace::new)?,
        queue: name(row, 2, QueueName::new)?,
        kind: name(row, 3, Kind::new)?,
        priority: priority(row, 4)?,
    };
    // It was read with rows that are available, so it is committed.
    Ok(known.remember(lane, key))
}

/// Reads on in every lane of which nothing read is left.
async fn refill(session: &mut Session<'_>, lanes: &mut [Lane], rows: usize) -> Result<(), Error> {
    let (mut indexes, mut numbers, mut times, mut seqs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (index, lane) in lanes.iter().enumerate() {
        if lane.heads.is_empty() && !lane.exhausted {
            indexes.push(index);
            numbers.push(lane.lane);
            times.push(lane.read_to.0);
            seqs.push(lane.read_to.1);
        }
    }
    if indexes.is_empty() {
        return Ok(());
    }
    let most = i64::try_from(rows).unwrap_or(i64::MAX);
    let read = session.all(HEADS, &[&numbers, &times, &seqs, &most]).await?;
    let index_of: HashMap<i64, usize> = numbers.iter().copied().zip(indexes.iter().copied()).collect();
    for row in &read {
        let index = index_of.get(&get(row, 0)?).copied().ok_or_else(|| vanished("a lane"))?;
        let head = Head { lane: index, ready_at: get(row, 1)?, seq: get(row, 2)? };
        lanes[index].read_to = (head.ready_at, head.seq);
        lanes[index].heads.push_back(head);
    }
    for index in indexes {
        lanes[index].exhausted = lanes[index].heads.len() < rows;
    }
    Ok(())
}

/// Decides which job comes next, `limit` times.
async fn choose(
    session: &mut Session<'_>,
    lanes: &mut [Lane],
    now: Timestamp,
    limit: usize,
) -> Result<Vec<Head>, Error> {
    let chunk = if lanes.len() == 1 { limit } else { MERGE_CHUNK_MIN.max(2 * limit / lanes.len().max(1)) };
    refill(session, lanes, chunk).await?;
    let mut chosen = Vec::with_capacity(limit);
    while chosen.len() < limit {
        let best = lanes
            .iter()
            .enumerate()
            .filter_map(|(index, lane)| Some((lane.rank(now)?, index)))
            .min()
            .map(|(_, index)| index);
        let Some(lane) = best.map(|index| &mut lanes[index]) else { break };
        chosen.extend(lane.heads.pop_front());
        if lane.heads.is_empty() && !lane.exhausted && chosen.len() < limit {
            refill(session, lanes, chunk).await?;
        }
    }
    Ok(chosen)
}

/// Moves the chosen rows from `ready` to `running`, and reads their jobs.
async fn take(
    session: &mut Session<'_>,
    lanes: &[Lane],
    chosen: &[Head],
    now: Timestamp,
    worker: i64,
) -> Result<Vec<ClaimedJob>, Error> {
    let numbers: Vec<i64> = chosen.iter().map(|head| lanes[head.lane].lane).collect();
    let times: Vec<i64> = chosen.iter().map(|head| head.ready_at).collect();
    let seqs: Vec<i64> = chosen.iter().map(|head| head.seq).collect();
    let lane_of: HashMap<i64, usize> = chosen.iter().map(|head| (head.seq, head.lane)).collect();
    let rows = session.all(TAKE, &[&numbers, &times, &seqs, &worker, &now.as_micros()]).await?;
    let mut keyed = Vec::new();
    let mut jobs = Vec::with_capacity(rows.len());
    for row in &rows {
        let seq = get(row, 0)?;
        let lane = lane_of.get(&seq).ok_or_else(|| vanished("a claimed job"))?;
        if get::<i64>(row, 2)? != 0 {
            keyed.push(seq);
        }
        jobs.push(read_claimed(row, &lanes[*lane].info, now)?);
    }
    if !keyed.is_empty() {
        // A key of scope `waiting` ends with the claim.
        session.execute(RELEASE_WAITING_KEYS, &[&keyed]).await?;
    }
    Ok(jobs)
}

fn read_claimed(row: &Row, key: &LaneKey, now: Timestamp) -> Result<ClaimedJob, Error> {
    Ok(ClaimedJob {
        key: JobKey(get(row, 0)?),
        id: JobId::from(get::<Uuid>(row, 3)?),
        attempt: count(row, 1)? + 1,
        namespace: key.namespace.clone(),
        owner: owner(row, 8)?,
        kind: key.kind.clone(),
        queue: key.queue.clone(),
        priority: key.priority,
        args: Args::from_store(get::<&[u8]>(row, 11)?.into()),
        created_at: Timestamp::from_micros(get(row, 4)?),
        claimed_at: now,
        max_attempts: max_attempts(row, 5, 6)?,
        backoff: backoff(row, 9)?,
        timeout: timeout(row, 10)?,
        delivery: if get(row, 7)? { Delivery::AtMostOnce } else { Delivery::AtLeastOnce },
    })
}

/// The limit of a job, with what it had spent when it was run again.
pub(super) fn max_attempts(row: &Row, limit: usize, base: usize) -> Result<MaxAttempts, Error> {
    let limit = u32::try_from(get::<i64>(row, limit)?).unwrap_or(0);
    Ok(MaxAttempts::from_code(limit).on_top_of(count(row, base)?))
}

pub(super) fn owner(row: &Row, column: usize) -> Result<Option<Owner>, Error> {
    name_if_any(row, column, Owner::new)
}

pub(super) fn backoff(row: &Row, column: usize) -> Result<Option<Backoff>, Error> {
    name_if_any(row, column, str::parse)
}

pub(super) fn timeout(row: &Row, column: usize) -> Result<Option<Duration>, Error> {
    let micros = get::<Option<i64>>(row, column)?.and_then(|micros| u64::try_from(micros).ok());
    Ok(micros.map(Duration::from_micros))
}

// The statements of a claim.
pub(super) const LANES: &str = "SELECT l.lane, q.namespace, q.name, l.kind, l.priority
    FROM lane l JOIN queue q ON q.queue = l.queue
    WHERE NOT q.paused AND l.kind = ANY($1::text[])
      AND ($2::text[] IS NULL OR q.name = ANY($2::text[]))
      AND ($3::text IS NULL OR q.namespace = $3::text)
      AND ($4::smallint IS NULL OR l.priority <= $4::smallint)
      AND EXISTS (SELECT 1 FROM ready r WHERE r.lane = l.lane)";
pub(super) const HEADS: &str = "SELECT l.lane, r.ready_at, r.seq
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS l (lane, ready_at, seq)
    CROSS JOIN LATERAL (
        SELECT h.ready_at, h.seq FROM ready h
        WHERE h.lane = l.lane AND (h.ready_at, h.seq) > (l.ready_at, l.seq)
        ORDER BY h.ready_at, h.seq LIMIT $4 FOR UPDATE SKIP LOCKED) r";
pub(super) const TAKE: &str = "WITH taken AS (
        DELETE FROM ready r USING unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS c (lane, ready_at, seq)
        WHERE r.lane = c.lane AND r.ready_at = c.ready_at AND r.seq = c.seq
        RETURNING r.seq, r.attempts, r.flags),
    run AS (
        INSERT INTO running (seq, worker, attempt, claimed_at, flags)
        SELECT seq, $4::bigint, attempts + 1, $5::bigint, flags FROM taken)
    SELECT t.seq, t.attempts, t.flags, j.id, j.created_at, j.max_attempts, j.attempts_base, j.at_most_once, j.owner,
           j.backoff, j.timeout_us, j.args
    FROM taken t JOIN job j ON j.seq = t.seq";
pub(super) const RELEASE_WAITING_KEYS: &str = "WITH freed AS (
        DELETE FROM unique_key WHERE seq = ANY($1::bigint[]) AND scope = 1 RETURNING seq, namespace, kind, key, scope),
    kept AS (
        INSERT INTO unique_past (seq, namespace, kind, key, scope)
        SELECT seq, namespace, kind, key, scope FROM freed)
    UPDATE running SET flags = 0 WHERE seq IN (SELECT seq FROM freed)";
