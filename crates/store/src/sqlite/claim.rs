//! Claiming: which jobs a worker gets, and taking them.
//!
//! Lanes are chosen as a whole, then merged by (aged priority, time, seq). What a claim takes of a lane is always a
//! prefix, so that two statements a lane take it: read, and delete a range of `ready`. What the claim took is a block
//! (`held.rs`); jobs that ran before, or hold a key, have rows of their own in `running`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use taskwright_core::limit::CLAIM_JOBS_MAX;
use taskwright_core::{Args, Delivery, JobId, MaxAttempts, Owner, Timestamp};

use super::error::read_error;
use super::held::{self, Fresh};
use super::session::{LaneInfo, Session};
use super::worker::alive;
use crate::claim::{Claim, Claimed, ClaimedJob, JobKey};
use crate::error::Error;

/// Rows read from a lane at a time when several lanes compete.
const MERGE_CHUNK_MIN: usize = 16;

/// Looks whether there is anything to claim; answers when there is not.
pub(super) fn peek(session: &mut Session<'_>, claim: &Claim) -> Result<Option<Claimed>, Error> {
    if claim.limit > 0 && !lanes(session, claim)?.is_empty() {
        return Ok(None);
    }
    alive(session, claim.worker)?;
    Ok(Some(Claimed::default()))
}

/// Takes the jobs. See [`Store::claim`](crate::Store::claim).
pub(super) fn claim(session: &mut Session<'_>, claim: &Claim) -> Result<Claimed, Error> {
    let worker = alive(session, claim.worker)?;
    let limit = claim.limit.min(CLAIM_JOBS_MAX);
    let mut lanes = lanes(session, claim)?;
    let order = choose(session, &mut lanes, claim.now, limit)?;

    let mut taken: Vec<VecDeque<ClaimedJob>> = Vec::with_capacity(lanes.len());
    let mut fresh: Vec<Fresh> = Vec::with_capacity(limit);
    for lane in &lanes {
        taken.push(take_prefix(session, lane, claim, worker, &mut fresh)?);
    }
    held::hold(session, worker, claim.now, fresh)?;
    for job in taken.iter().flatten() {
        session.moved_one(job.key.0)?;
    }
    let jobs: Vec<ClaimedJob> = order.into_iter().filter_map(|lane| taken[lane].pop_front()).collect();
    debug_assert!(taken.iter().all(VecDeque::is_empty), "what was taken must have been chosen");
    Ok(Claimed { jobs })
}

/// A lane that has available jobs and that the worker serves.
struct Lane {
    lane: i64,
    info: Arc<LaneInfo>,
    /// Rows read and not yet chosen: (`ready_at`, seq).
    heads: VecDeque<(i64, i64)>,
    /// The last row read; reading goes on behind it.
    read_to: (i64, i64),
    /// Whether everything has been read.
    exhausted: bool,
    /// The last row chosen, and how many were.
    chosen: Option<(i64, i64)>,
    count: usize,
}

impl Lane {
    /// Reads on when nothing read is left.
    fn refill(&mut self, session: &mut Session<'_>, rows: usize) -> Result<(), Error> {
        if !self.heads.is_empty() || self.exhausted {
            return Ok(());
        }
        let (ready_at, seq) = self.read_to;
        let read = session.all(
            REFILL,
            (self.lane, ready_at, seq, i64::try_from(rows).unwrap_or(i64::MAX)),
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        self.exhausted = read.len() < rows;
        if let Some(last) = read.last() {
            self.read_to = *last;
        }
        self.heads.extend(read);
        Ok(())
    }

    /// What its first job is compared by.
    fn rank(&self, now: Timestamp) -> Option<(i64, i64, i64)> {
        let (ready_at, seq) = *self.heads.front()?;
        let waited = now.since(Timestamp::from_micros(ready_at));
        Some((self.info.key.priority.aged(waited), ready_at, seq))
    }
}

/// The lanes that have something for this worker, found by hopping from one lane to the next in the index.
fn lanes(session: &mut Session<'_>, claim: &Claim) -> Result<Vec<Lane>, Error> {
    let paused = session.all(PAUSED, [], |row| row.get(0))?;
    let mut found = Vec::new();
    let mut after = i64::MIN;
    while let Some((lane, ready_at, seq)) =
        session.first(NEXT_LANE, [after], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
    {
        after = lane;
        let info = session.lane_info(lane)?;
        if serves(claim, &info, &paused) {
            found.push(Lane {
                lane,
                info,
                heads: VecDeque::from([(ready_at, seq)]),
                read_to: (ready_at, seq),
                exhausted: false,
                chosen: None,
                count: 0,
            });
        }
    }
    Ok(found)
}

fn serves(claim: &Claim, info: &LaneInfo, paused: &[i64]) -> bool {
    let key = &info.key;
    claim.kinds.contains(&key.kind)
        && claim.queues.as_ref().is_none_or(|queues| queues.contains(&key.queue))
        && claim.namespace.as_ref().is_none_or(|namespace| *namespace == key.namespace)
        && claim.priority_max.is_none_or(|worst| key.priority <= worst)
        && !paused.contains(&info.queue)
}

/// Decides which lane gives the next job, `limit` times: the order of the claim, as indexes of lanes.
fn choose(
    session: &mut Session<'_>,
    lanes: &mut [Lane],
    now: Timestamp,
    limit: usize,
) -> Result<Vec<usize>, Error> {
    let chunk = if lanes.len() == 1 { limit } else { MERGE_CHUNK_MIN.max(2 * limit / lanes.len().max(1)) };
    let mut order = Vec::with_capacity(limit);
    while order.len() < limit {
        let best = lanes
            .iter()
            .enumerate()
            .filter_map(|(index, lane)| Some((lane.rank(now)?, index)))
            .min()
            .map(|(_, index)| index);
        let Some(index) = best else { break };
        let lane = &mut lanes[index];
        lane.chosen = lane.heads.pop_front();
        lane.count += 1;
        order.push(index);
        lane.refill(session, chunk)?;
    }
    Ok(order)
}

/// Takes the chosen prefix of a lane out of `ready`, and reads its jobs. Those that ran before, or hold a key, go to
/// `running`; the others, which are to be in blocks, are added to `fresh`.
fn take_prefix(
    session: &mut Session<'_>,
    lane: &Lane,
    claim: &Claim,
    worker: i64,
    fresh: &mut Vec<Fresh>,
) -> Result<VecDeque<ClaimedJob>, Error> {
    let Some((ready_at, seq)) = lane.chosen else { return Ok(VecDeque::new()) };
    let mut jobs = VecDeque::with_capacity(lane.count);
    let (mut others, mut keyed) = (false, false);
    let mut statement = session.statement(READ_PREFIX)?;
    let mut rows = statement.query((lane.lane, ready_at, seq)).map_err(read_error)?;
    while let Some(row) = rows.next().map_err(read_error)? {
        let job = read_claimed(row, lane, claim.now).map_err(read_error)?;
        let is_keyed = row.get::<_, i64>(2).map_err(read_error)? != 0;
        if job.attempt == held::FIRST && !is_keyed {
            let available = (lane.lane, row.get(12).map_err(read_error)?);
            fresh.push(Fresh { seq: job.key.0, available });
        } else {
            others = true;
        }
        keyed |= is_keyed;
        jobs.push_back(job);
    }
    drop(rows);
    drop(statement);
    debug_assert_eq!(jobs.len(), lane.count, "a prefix is what was chosen of it");

    if others {
        session.execute(RUN_PREFIX, (lane.lane, ready_at, seq, worker, claim.now.as_micros()))?;
    }
    session.execute(TAKE_PREFIX, (lane.lane, ready_at, seq))?;
    if keyed {
        release_waiting_keys(session, &jobs)?;
    }
    Ok(jobs)
}

/// A key of scope `waiting` ends with the claim.
fn release_waiting_keys(session: &mut Session<'_>, jobs: &VecDeque<ClaimedJob>) -> Result<(), Error> {
    for job in jobs {
        if session.execute(KEEP_KEY, [job.key.0])? > 0 {
            session.execute(RELEASE_KEY, [job.key.0])?;
            session.execute(KEY_RELEASED, [job.key.0])?;
        }
    }
    Ok(())
}

fn read_claimed(row: &rusqlite::Row<'_>, lane: &Lane, now: Timestamp) -> rusqlite::Result<ClaimedJob> {
    let key = &lane.info.key;
    let spent: u32 = row.get(1)?;
    Ok(ClaimedJob {
        key: JobKey(row.get(0)?),
        id: JobId::from_bytes(row.get(3)?),
        attempt: spent + 1,
        namespace: key.namespace.clone(),
        owner: owner(row, 8)?,
        kind: key.kind.clone(),
        queue: key.queue.clone(),
        priority: key.priority,
        args: Args::from_store(row.get_ref(11)?.as_blob()?.into()),
        created_at: Timestamp::from_micros(row.get(4)?),
        claimed_at: now,
        max_attempts: max_attempts(row, 5, 6)?,
        backoff: backoff(row, 9)?,
        timeout: row.get::<_, Option<u64>>(10)?.map(Duration::from_micros),
        delivery: if row.get(7)? { Delivery::AtMostOnce } else { Delivery::AtLeastOnce },
    })
}

/// The limit of a job, with what it had spent when it was run again.
pub(super) fn max_attempts(
    row: &rusqlite::Row<'_>,
    limit: usize,
    base: usize,
) -> rusqlite::Result<MaxAttempts> {
    Ok(MaxAttempts::from_code(row.get(limit)?).on_top_of(row.get(base)?))
}

pub(super) fn owner(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Option<Owner>> {
    match row.get_ref(column)? {
        rusqlite::types::ValueRef::Null => Ok(None),
        _ => super::session::name(row, column, Owner::new).map(Some),
    }
}

pub(super) fn backoff(
    row: &rusqlite::Row<'_>,
    column: usize,
) -> rusqlite::Result<Option<taskwright_core::Backoff>> {
    match row.get_ref(column)? {
        rusqlite::types::ValueRef::Null => Ok(None),
        _ => super::session::name(row, column, str::parse).map(Some),
    }
}

// The statements of a claim; plans.rs holds each of them to an index.
pub(super) const PAUSED: &str = "SELECT queue FROM taskwright_queue WHERE paused = 1";
pub(super) const NEXT_LANE: &str = "SELECT lane, ready_at, seq FROM taskwright_ready
         WHERE lane > ?1 ORDER BY lane, ready_at, seq LIMIT 1";
pub(super) const REFILL: &str = "SELECT ready_at, seq FROM taskwright_ready
             WHERE lane = ?1 AND (ready_at, seq) > (?2, ?3) ORDER BY ready_at, seq LIMIT ?4";
pub(super) const READ_PREFIX: &str =
    "SELECT r.seq, r.attempts, r.flags, j.id, j.created_at, j.max_attempts, j.attempts_base, j.at_most_once,
                j.owner, j.backoff, j.timeout_us, j.args, r.ready_at
         FROM taskwright_ready r CROSS JOIN taskwright_job j ON j.seq = r.seq
         WHERE r.lane = ?1 AND (r.ready_at, r.seq) <= (?2, ?3) ORDER BY r.ready_at, r.seq";
pub(super) const RUN_PREFIX: &str = "INSERT INTO taskwright_running
            (seq, worker, attempt, claimed_at, flags, lane, ready_at)
         SELECT seq, ?4, attempts + 1, ?5, flags, lane, ready_at FROM taskwright_ready
         WHERE lane = ?1 AND (ready_at, seq) <= (?2, ?3) AND (attempts > 0 OR flags <> 0)";
pub(super) const TAKE_PREFIX: &str =
    "DELETE FROM taskwright_ready WHERE lane = ?1 AND (ready_at, seq) <= (?2, ?3)";
pub(super) const KEEP_KEY: &str = "INSERT INTO taskwright_unique_past (seq, namespace, kind, key, scope)
         SELECT seq, namespace, kind, key, scope FROM taskwright_unique WHERE seq = ?1 AND scope = 1";
pub(super) const RELEASE_KEY: &str = "DELETE FROM taskwright_unique WHERE seq = ?1";
pub(super) const KEY_RELEASED: &str = "UPDATE taskwright_running SET flags = 0 WHERE seq = ?1";
