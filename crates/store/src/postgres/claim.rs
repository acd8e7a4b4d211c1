//! Claiming: which jobs a worker gets, and taking them.
//!
//! A claim is one call of the function `claim` (`migrations/0002_claims.sql`): one message and one transaction, in which the
//! lanes that it takes from are locked for no longer than the server works. Here its rows are read, and put in order.

use std::sync::Arc;
use std::time::Duration;

use taskwright_core::limit::CLAIM_JOBS_MAX;
use taskwright_core::priority::{AGEING_PERIOD, AGEING_STEP};
use taskwright_core::{
    Args, Backoff, Delivery, JobId, Kind, MaxAttempts, Namespace, NewJob, Owner, QueueName, Timestamp,
    WorkerId,
};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::enqueue::One;
use super::held::{Held, Where};
use super::session::{LaneKey, Lanes, Uuid, count, get, name_if_any, vanished};
use crate::claim::{Claim, Claimed, ClaimedJob, JobKey};
use crate::error::Error;

/// What a claim asks for, as parameters of [`CLAIM`].
pub(super) struct Ask<'a> {
    who: Uuid,
    most: i64,
    now: i64,
    kinds: Vec<&'a str>,
    queues: Option<Vec<&'a str>>,
    namespace: Option<&'a str>,
    worst: Option<i16>,
    ageing_us: i64,
    ageing_step: i64,
    turn: i64,
}

impl<'a> Ask<'a> {
    /// `turn` is its number among the claims of this process: see `unanswered.rs`.
    pub(super) fn of(claim: &'a Claim, turn: i64) -> Self {
        Self {
            who: claim.worker.into(),
            most: i64::try_from(claim.limit.min(CLAIM_JOBS_MAX)).unwrap_or(i64::MAX),
            now: claim.now.as_micros(),
            kinds: claim.kinds.iter().map(Kind::as_str).collect(),
            queues: claim.queues.as_ref().map(|queues| queues.iter().map(QueueName::as_str).collect()),
            namespace: claim.namespace.as_ref().map(Namespace::as_str),
            worst: claim.priority_max.map(|priority| priority.0),
            ageing_us: i64::try_from(AGEING_PERIOD.as_micros()).unwrap_or(i64::MAX),
            ageing_step: AGEING_STEP,
            turn,
        }
    }

    pub(super) fn parameters(&self) -> [(&(dyn ToSql + Sync), Type); 10] {
        [
            (&self.who, Type::UUID),
            (&self.most, Type::INT8),
            (&self.now, Type::INT8),
            (&self.kinds, Type::TEXT_ARRAY),
            (&self.queues, Type::TEXT_ARRAY),
            (&self.namespace, Type::TEXT),
            (&self.worst, Type::INT2),
            (&self.ageing_us, Type::INT8),
            (&self.ageing_step, Type::INT8),
            (&self.turn, Type::INT8),
        ]
    }
}

/// Whether a job is what the claim asks for.
pub(super) fn serves(claim: &Claim, job: &NewJob) -> bool {
    claim.kinds.contains(&job.kind)
        && claim.queues.as_ref().is_none_or(|queues| queues.contains(&job.queue))
        && claim.namespace.as_ref().is_none_or(|namespace| *namespace == job.namespace)
        && claim.priority_max.is_none_or(|worst| job.priority <= worst)
}

/// A job that is stored and claimed at once, as parameters of [`ENQUEUE_TO`].
pub(super) fn to<'a>(one: &'a One<'_>, who: &'a Uuid, turn: &'a i64) -> [(&'a (dyn ToSql + Sync), Type); 13] {
    let [id, lane, created, run, timeout, most, first, once, owner, backoff, args] = one.parameters();
    let (who, turn): ((&(dyn ToSql + Sync), Type), (&(dyn ToSql + Sync), Type)) =
        ((who, Type::UUID), (turn, Type::INT8));
    [who, turn, id, lane, created, run, timeout, most, first, once, owner, backoff, args]
}

/// Reads what [`ENQUEUE_TO`] gave: the job and its block, if it gave it.
pub(super) fn read_given(
    rows: &[Row],
    job: &NewJob,
    now: Timestamp,
) -> Result<Option<(ClaimedJob, i64)>, Error> {
    let row = rows.first().ok_or_else(|| vanished("a job"))?;
    let Some(block) = get::<Option<i64>>(row, 1)? else { return Ok(None) };
    let given = ClaimedJob {
        key: JobKey(get(row, 0)?),
        id: job.id,
        attempt: 1,
        namespace: job.namespace.clone(),
        owner: job.owner.clone(),
        kind: job.kind.clone(),
        queue: job.queue.clone(),
        priority: job.priority,
        args: job.args.clone(),
        created_at: now,
        claimed_at: now,
        max_attempts: job.max_attempts,
        backoff: job.backoff,
        timeout: job.timeout,
        delivery: job.delivery,
    };
    Ok(Some((given, block)))
}

/// Whether the rows say that the worker is not, or no longer, known.
pub(super) fn is_lost(rows: &[Row]) -> Result<bool, Error> {
    match rows.first() {
        Some(row) => Ok(get::<Option<i64>>(row, 0)?.is_none()),
        None => Ok(false),
    }
}

/// The lanes of the rows that are not known here yet.
pub(super) fn unknown_lanes(rows: &[Row], known: &Lanes) -> Result<Vec<i64>, Error> {
    let mut unknown = Vec::new();
    for row in rows {
        let lane = get(row, 2)?;
        if !unknown.contains(&lane) && known.info(lane).is_none() {
            unknown.push(lane);
        }
    }
    Ok(unknown)
}

/// Reads the jobs, the most urgent first, and notes in which blocks they are. All their lanes are known.
pub(super) fn read(
    rows: &[Row],
    known: &Lanes,
    held: &Held,
    worker: WorkerId,
    now: Timestamp,
) -> Result<Claimed, Error> {
    let mut jobs = Vec::with_capacity(rows.len());
    let mut places = Vec::with_capacity(rows.len());
    let mut last: Option<(i64, Arc<LaneKey>)> = None;
    for row in rows {
        let (seq, block, lane) = (get(row, 0)?, get(row, 1)?, get(row, 2)?);
        let info = match &last {
            Some((same, info)) if *same == lane => info.clone(),
            _ => known.info(lane).ok_or_else(|| vanished("a lane"))?,
        };
        let ready_at = Timestamp::from_micros(get(row, 6)?);
        let rank = (info.priority.aged(now.since(ready_at)), ready_at, seq);
        jobs.push((rank, read_job(row, &info, now)?));
        let place = if block == 0 { Where::Running } else { Where::Block { block, claimed_at: now } };
        places.push((seq, place));
        last = Some((lane, info));
    }
    held.add(worker, places.into_iter());
    // Those of one lane's stream come in its own order, which is that of their transactions.
    jobs.sort_by_key(|(rank, _)| *rank);
    Ok(Claimed { jobs: jobs.into_iter().map(|(_, job)| job).collect() })
}

fn read_job(row: &Row, key: &LaneKey, now: Timestamp) -> Result<ClaimedJob, Error> {
    Ok(ClaimedJob {
        key: JobKey(get(row, 0)?),
        id: JobId::from(get::<Uuid>(row, 4)?),
        attempt: count(row, 3)? + 1,
        namespace: key.namespace.clone(),
        owner: owner(row, 10)?,
        kind: key.kind.clone(),
        queue: key.queue.clone(),
        priority: key.priority,
        args: Args::from_store(get::<&[u8]>(row, 13)?.into()),
        created_at: Timestamp::from_micros(get(row, 5)?),
        claimed_at: now,
        max_attempts: max_attempts(row, 7, 8)?,
        backoff: backoff(row, 11)?,
        timeout: timeout(row, 12)?,
        delivery: if get(row, 9)? { Delivery::AtMostOnce } else { Delivery::AtLeastOnce },
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

/// See `migrations/0002_claims.sql`.
pub(super) const CLAIM: &str = "SELECT * FROM claim($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
pub(super) const ENQUEUE_TO: &str =
    "SELECT stored, held_in FROM enqueue_to($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
