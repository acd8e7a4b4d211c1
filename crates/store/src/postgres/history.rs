//! What was executed: attempts, by the index of their ends, and completions (`completions.rs`), side by side.
//!
//! Each of the two gives its executions in the order of their ends; the later one goes first. What comes is looked up
//! some thousands at a time, with the jobs that it was of, and held against the filter. An answer looks at a bounded
//! number of executions and may come back short; the caller goes on from where it stopped.

use std::collections::{HashMap, HashSet, VecDeque};

use taskwright_core::attempt::AttemptEnd;
use taskwright_core::limit::{ERROR_BYTES_MAX, PAGE_ROWS_MAX, SAMPLE_MAX};
use taskwright_core::name::clipped;
use taskwright_core::statistics::available_at;
use taskwright_core::{AttemptRecord, JobId, Timestamp, WorkerId};
use tokio_postgres::Row;

use super::completions::Completions;
use super::list::lanes;
use super::query::walk_indexes;
use super::session::{LaneKey, Session, Uuid, code, count, get, sql_count, vanished};
use crate::claim::JobKey;
use crate::error::Error;
use crate::history::{
    Execution, ExecutionFilter, ExecutionPage, ExecutionPlace, Executions, Sample, Statistics,
};

/// Executions that one page looks at.
const PAGE_LOOKS_MAX: usize = 20_000;

/// Executions that statistics look at: several times what they keep, for those of a kind that is not run often.
const LOOKS_MAX: usize = 5 * SAMPLE_MAX;

/// Executions that are looked up with one statement.
const REACH: usize = 10_000;

/// Attempts of jobs that are asked for by their ids, of each.
const ATTEMPTS_MAX: i64 = 100_000;

/// One page. See [`HistoryStore::executions`](crate::HistoryStore::executions).
pub(super) async fn executions(
    session: &mut Session<'_>,
    filter: &ExecutionFilter,
    page: ExecutionPage,
) -> Result<Executions, Error> {
    let limit = page.limit.clamp(1, PAGE_ROWS_MAX);
    let Some(mut walk) = Walk::start(session, filter, page.after, true).await? else {
        return Ok(Executions::default());
    };
    let mut found = Executions::default();
    let (mut looked_at, mut reach) = (0, limit);
    loop {
        let seen = walk.next(session, reach).await?;
        let is_last = seen.len() < reach;
        for one in walk.look_up(session, seen).await? {
            looked_at += 1;
            if let Some(job) = one.job
                && walk.sieve.matches(&one.seen, job.lane)
            {
                found.executions.push(walk.execution(one.seen.clone(), job)?);
            }
            if found.executions.len() == limit || looked_at >= PAGE_LOOKS_MAX {
                found.next = Some(one.seen.place);
                return Ok(found);
            }
        }
        if is_last {
            return Ok(found);
        }
        reach = REACH;
    }
}

/// What the newest ones took. See [`HistoryStore::statistics`](crate::HistoryStore::statistics).
pub(super) async fn statistics(
    session: &mut Session<'_>,
    filter: &ExecutionFilter,
    sample_max: usize,
) -> Result<Statistics, Error> {
    let most = sample_max.clamp(1, SAMPLE_MAX);
    let Some(mut walk) = Walk::start(session, filter, None, false).await? else {
        return Ok(Statistics::default());
    };
    let mut sample = Sample::new();
    let (mut looked_at, mut sampled) = (0, 0);
    let is_cut = 'walk: loop {
        let seen = walk.next(session, REACH).await?;
        let is_last = seen.len() < REACH;
        for one in walk.look_up(session, seen).await? {
            let Some(job) = one.job.filter(|job| walk.sieve.matches(&one.seen, job.lane)) else { continue };
            if sampled == most {
                break 'walk true;
            }
            sampled += 1;
            let (record, available_at) = walk.record(one.seen, job.run_at)?;
            sample.add(job.lane, &record, available_at);
        }
        looked_at += REACH;
        if is_last || looked_at >= LOOKS_MAX {
            break !is_last;
        }
    };
    let named = |lane: &i64| {
        walk.lanes.get(lane).map(|key| (key.namespace.clone(), key.queue.clone(), key.kind.clone()))
    };
    Ok(sample.statistics(is_cut, named))
}

/// An execution as it comes by.
#[derive(Clone, Debug)]
struct Seen {
    place: ExecutionPlace,
    worker: i64,
    claimed_at: i64,
    started_at: Option<i64>,
    end: AttemptEnd,
    previous_end: Option<i64>,
    usage: Option<String>,
    error: Option<String>,
    result: Option<String>,
}

/// What is to be known of its job.
#[derive(Clone, Copy, Debug)]
struct Job {
    id: JobId,
    lane: i64,
    run_at: i64,
}

/// The two together; no job where it was removed.
struct Found {
    seen: Seen,
    job: Option<Job>,
}

/// What the filter says, in the numbers of this store.
struct Sieve<'f> {
    filter: &'f ExecutionFilter,
    lanes: Option<HashSet<i64>>,
    workers: Option<HashSet<i64>>,
}

impl Sieve<'_> {
    fn matches(&self, seen: &Seen, lane: i64) -> bool {
        let started_at = seen.started_at.map(Timestamp::from_micros);
        self.filter.includes(started_at, seen.place.ended_at, seen.end)
            && self.lanes.as_ref().is_none_or(|lanes| lanes.contains(&lane))
            && self.workers.as_ref().is_none_or(|workers| workers.contains(&seen.worker))
    }
}

/// Goes back through everything that was executed.
struct Walk<'f> {
    sieve: Sieve<'f>,
    from: Timestamp,
    /// Attempts behind this place have not been read.
    attempts_after: ExecutionPlace,
    attempts: VecDeque<Seen>,
    attempts_are_read: bool,
    completions: Option<Completions>,
    /// Whether errors and results are wanted.
    is_whole: bool,
    lanes: HashMap<i64, LaneKey>,
    workers: HashMap<i64, WorkerId>,
}

impl<'f> Walk<'f> {
    /// `None` when nothing can match.
    async fn start(
        session: &mut Session<'_>,
        filter: &'f ExecutionFilter,
        after: Option<ExecutionPlace>,
        is_whole: bool,
    ) -> Result<Option<Self>, Error> {
        let lanes = lanes(session, &filter.names()).await?.map(HashSet::from_iter);
        if lanes.as_ref().is_some_and(HashSet::is_empty) {
            return Ok(None);
        }
        let sieve = Sieve { filter, lanes, workers: workers_of(session, filter).await? };
        walk_indexes(session).await?;
        let after = after.unwrap_or(ExecutionPlace::BEFORE_ALL);
        let to = filter.ended_to.map_or(ExecutionPlace::BEFORE_ALL, |to| ExecutionPlace {
            ended_at: to,
            ..ExecutionPlace::BEFORE_ALL
        });
        let after = after.min(to);
        let from = filter.earliest();
        let mut walk = Self {
            sieve,
            from,
            attempts_after: after,
            attempts: VecDeque::new(),
            attempts_are_read: false,
            completions: Some(Completions::new(after, from)),
            is_whole,
            lanes: HashMap::new(),
            workers: HashMap::new(),
        };
        if !filter.ids.is_empty() {
            walk.read_jobs(session).await?;
        }
        Ok(Some(walk))
    }

    /// Reads all executions of the jobs that are asked for, instead of going back through those of all.
    async fn read_jobs(&mut self, session: &mut Session<'_>) -> Result<(), Error> {
        let ids = self.sieve.filter.ids.iter().take(PAGE_ROWS_MAX);
        let ids: Vec<Uuid> = ids.copied().map(Uuid::from).collect();
        let rows = session.all(READ_JOBS, &[&ids, &ATTEMPTS_MAX, &self.is_whole]).await?;
        let mut seen = rows.iter().map(read_seen).collect::<Result<Vec<_>, _>>()?;
        seen.retain(|seen| seen.place < self.attempts_after && seen.place.ended_at >= self.from);
        seen.sort_unstable_by_key(|seen| std::cmp::Reverse(seen.place));
        self.attempts = seen.into();
        self.attempts_are_read = true;
        self.completions = None;
        Ok(())
    }

    /// The next ones, at most `reach`; fewer only at the end.
    async fn next(&mut self, session: &mut Session<'_>, reach: usize) -> Result<Vec<Seen>, Error> {
        let mut next = Vec::with_capacity(reach);
        while next.len() < reach {
            if self.attempts.is_empty() && !self.attempts_are_read {
                self.read_attempts(session, reach).await?;
            }
            let completed = match &mut self.completions {
                Some(completions) => {
                    completions.fill(session).await?;
                    completions.next()
                }
                None => None,
            };
            let attempted = self.attempts.front().map(|seen| seen.place);
            if attempted.is_some() && attempted >= completed {
                next.extend(self.attempts.pop_front());
            } else if let Some(completed) = self.completions.as_mut().and_then(Completions::take) {
                next.push(Seen {
                    place: completed.place,
                    worker: completed.worker,
                    claimed_at: completed.claimed_at,
                    started_at: Some(completed.started_at),
                    end: AttemptEnd::Completed,
                    previous_end: None,
                    usage: None,
                    error: None,
                    result: None,
                });
            } else {
                break;
            }
        }
        Ok(next)
    }

    async fn read_attempts(&mut self, session: &mut Session<'_>, reach: usize) -> Result<(), Error> {
        let ExecutionPlace { ended_at, key, attempt } = self.attempts_after;
        let most = i64::try_from(reach).unwrap_or(i64::MAX);
        let rows = session
            .all(
                READ_ATTEMPTS,
                &[
                    &ended_at.as_micros(),
                    &key.0,
                    &sql_count(attempt),
                    &self.from.as_micros(),
                    &most,
                    &self.is_whole,
                ],
            )
            .await?;
        self.attempts = rows.iter().map(read_seen).collect::<Result<_, _>>()?;
        self.attempts_are_read = self.attempts.len() < reach;
        if let Some(last) = self.attempts.back() {
            self.attempts_after = last.place;
        }
        Ok(())
    }

    /// Finds the jobs, and what the numbers of lanes and workers stand for.
    async fn look_up(&mut self, session: &mut Session<'_>, seen: Vec<Seen>) -> Result<Vec<Found>, Error> {
        if seen.is_empty() {
            return Ok(Vec::new());
        }
        let seqs: HashSet<i64> = seen.iter().map(|seen| seen.place.key.0).collect();
        let rows = session.all(JOBS, &[&Vec::from_iter(seqs)]).await?;
        let jobs = rows
            .iter()
            .map(|row| {
                let job = Job { id: get::<Uuid>(row, 1)?.into(), lane: get(row, 2)?, run_at: get(row, 3)? };
                Ok((get(row, 0)?, job))
            })
            .collect::<Result<HashMap<i64, Job>, Error>>()?;
        let new: HashSet<i64> =
            jobs.values().map(|job| job.lane).filter(|lane| !self.lanes.contains_key(lane)).collect();
        if !new.is_empty() {
            self.lanes.extend(session.read_lanes(&Vec::from_iter(new)).await?);
        }
        let new: HashSet<i64> =
            seen.iter().map(|seen| seen.worker).filter(|worker| !self.workers.contains_key(worker)).collect();
        if !new.is_empty() {
            for row in session.all(WORKERS, &[&Vec::from_iter(new)]).await? {
                self.workers.insert(get(&row, 0)?, get::<Uuid>(&row, 1)?.into());
            }
        }
        Ok(seen
            .into_iter()
            .map(|seen| {
                let job = jobs.get(&seen.place.key.0).copied();
                Found { seen, job }
            })
            .collect())
    }

    fn execution(&self, seen: Seen, job: Job) -> Result<Execution, Error> {
        let lane = self.lanes.get(&job.lane).ok_or_else(|| vanished("a lane"))?.clone();
        let result = seen.result.as_deref().map(|result| clipped(result, ERROR_BYTES_MAX));
        let (record, available_at) = self.record(seen, job.run_at)?;
        let LaneKey { namespace, queue, kind, .. } = lane;
        Ok(Execution { job: job.id, kind, queue, namespace, available_at, record, result })
    }

    fn record(&self, seen: Seen, run_at: i64) -> Result<(AttemptRecord, Option<Timestamp>), Error> {
        let previous = seen.previous_end.map(Timestamp::from_micros);
        let ended_at = seen.place.ended_at;
        let available_at = available_at(Timestamp::from_micros(run_at), previous, ended_at);
        let record = AttemptRecord {
            attempt: seen.place.attempt,
            worker: *self.workers.get(&seen.worker).ok_or_else(|| vanished("a worker"))?,
            claimed_at: Timestamp::from_micros(seen.claimed_at),
            started_at: seen.started_at.map(Timestamp::from_micros),
            ended_at,
            end: seen.end,
            error: seen.error,
            usage: seen.usage.and_then(|usage| serde_json::from_str(&usage).ok()),
        };
        Ok((record, available_at))
    }
}

/// The numbers of the workers that are asked for; `None` when any will do.
async fn workers_of(
    session: &mut Session<'_>,
    filter: &ExecutionFilter,
) -> Result<Option<HashSet<i64>>, Error> {
    if filter.workers.is_empty() {
        return Ok(None);
    }
    let ids: Vec<Uuid> = filter.workers.iter().copied().map(Uuid::from).collect();
    let rows = session.all("SELECT worker FROM worker WHERE id = ANY($1::uuid[])", &[&ids]).await?;
    rows.iter().map(|row| get(row, 0)).collect::<Result<_, _>>().map(Some)
}

/// Reads a row of [`READ_ATTEMPTS`] or [`READ_JOBS`].
fn read_seen(row: &Row) -> Result<Seen, Error> {
    let place = ExecutionPlace {
        ended_at: Timestamp::from_micros(get(row, 2)?),
        key: JobKey(get(row, 0)?),
        attempt: count(row, 1)?,
    };
    Ok(Seen {
        place,
        worker: get(row, 3)?,
        claimed_at: get(row, 4)?,
        started_at: get(row, 5)?,
        end: AttemptEnd::from_code(code(row, 6)?).unwrap_or(AttemptEnd::Lost),
        previous_end: get(row, 7)?,
        usage: get(row, 8)?,
        error: get(row, 9)?,
        result: get(row, 10)?,
    })
}

/// What is long is read only where it is asked for. Of a result a little more than is shown, so that the cut shows.
const READ_ATTEMPTS: &str =
    "SELECT a.seq, a.attempt, a.ended_at, a.worker, a.claimed_at, a.started_at, a.outcome,
        CASE WHEN a.attempt > 1 THEN (
            SELECT p.ended_at FROM attempt p WHERE p.seq = a.seq AND p.attempt = a.attempt - 1) END,
        a.usage, CASE WHEN $6 THEN a.error END, CASE WHEN $6 THEN left(a.result, 16385) END
    FROM attempt a WHERE (a.ended_at, a.seq, a.attempt) < ($1, $2, $3) AND a.ended_at >= $4
    ORDER BY a.ended_at DESC, a.seq DESC, a.attempt DESC LIMIT $5";
const READ_JOBS: &str = "SELECT a.* FROM job j CROSS JOIN LATERAL (
        SELECT a.seq, a.attempt, a.ended_at, a.worker, a.claimed_at, a.started_at, a.outcome,
               CASE WHEN a.attempt > 1 THEN (
                   SELECT p.ended_at FROM attempt p WHERE p.seq = a.seq AND p.attempt = a.attempt - 1) END,
               a.usage, CASE WHEN $3 THEN a.error END, CASE WHEN $3 THEN left(a.result, 16385) END
        FROM attempt a WHERE a.seq = j.seq ORDER BY a.attempt DESC LIMIT $2) a
    WHERE j.id = ANY($1::uuid[])
    UNION ALL
    SELECT j.seq, 1, c.claimed_at + time_at(c.times, c.place, 1), c.worker, c.claimed_at,
           c.claimed_at + time_at(c.times, c.place, 0), 0::smallint, NULL, NULL, NULL, NULL
    FROM job j CROSS JOIN LATERAL (
        SELECT c.worker, c.claimed_at, c.times, place_in(c.seqs, j.seq) AS place
        FROM completion c WHERE c.seqs @> j.seq LIMIT 1) c
    WHERE j.id = ANY($1::uuid[])";
const JOBS: &str = "SELECT seq, id, lane, run_at FROM job WHERE seq = ANY($1::bigint[])";
const WORKERS: &str = "SELECT worker, id FROM worker WHERE worker = ANY($1::bigint[])";
