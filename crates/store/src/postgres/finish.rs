//! What attempts write: their end, their progress, their log.
//!
//! First attempts that completed leave their blocks, which are their fences (`streamed.rs`). Later attempts that completed
//! are one statement of the batch. Everything else (retries, cancels, jobs with a unique key) goes one by one, under the
//! lock of its running row; a job that has none yet is set apart from its block first.

use std::collections::{HashMap, HashSet};

use taskwright_core::attempt::{self, AttemptEnd};
use taskwright_core::{Cause, Decision, State, Timestamp, Verdict, WorkerId, state};
use tokio_postgres::Row;

use super::enqueue;
use super::enqueue::STOP_FAILS;
use super::held::{Held, Where};
use super::place::{self, Move, Placed};
use super::session::{Session, count, get, sql_code, sql_count};
use super::streamed::{COMPLETE, Streamed};
use super::worker::number;
use crate::claim::JobKey;
use crate::ended::{Ended, Running, usage_text};
use crate::error::Error;
use crate::finish::{Finish, LogEntry, ProgressReport};

/// Ends attempts, of whatever kind. See [`Store::finish`](crate::Store::finish).
pub(super) async fn finish(
    session: &mut Session<'_>,
    held: &Held,
    now: Timestamp,
    worker: WorkerId,
    ends: &[Finish],
) -> Result<Vec<Verdict>, Error> {
    let id = worker;
    let Some(worker) = number(session, id).await? else { return Ok(vec![Verdict::Stale; ends.len()]) };
    let verdicts = end_all(session, held, now, (id, worker), ends).await?;
    for (end, verdict) in ends.iter().zip(&verdicts) {
        if *verdict == Verdict::Accepted && !end.follow_ups().is_empty() {
            enqueue::enqueue(session, now, end.follow_ups()).await?;
        }
    }
    Ok(verdicts)
}

async fn end_all(
    session: &mut Session<'_>,
    held: &Held,
    now: Timestamp,
    (id, worker): (WorkerId, i64),
    ends: &[Finish],
) -> Result<Vec<Verdict>, Error> {
    let mut verdicts = vec![Verdict::Stale; ends.len()];
    let ended = end_in_blocks(session, held, id, worker, ends).await?;
    let completed = complete_running(session, worker, ends).await?;
    let mut rest = Vec::new();
    // A fence is used up by its first write, also within one batch.
    let mut used = HashSet::new();
    for (index, end) in ends.iter().enumerate() {
        if !used.insert((end.key, end.attempt)) {
            continue;
        }
        let is_done =
            ended.contains(&(end.key.0, end.attempt)) || completed.contains(&(end.key.0, end.attempt));
        if is_done && is_plain(end) {
            verdicts[index] = Verdict::Accepted;
        } else {
            rest.push((index, end));
        }
    }
    if rest.is_empty() {
        return Ok(verdicts);
    }
    // Jobs are locked in one order everywhere.
    rest.sort_by_key(|(_, end)| end.key);
    let mut running = held_by(session, worker, rest.iter().map(|(_, end)| end.key)).await?;
    for (index, end) in rest {
        let Some(running) = fence(&mut running, end.key, end.attempt) else { continue };
        let ended = Ended::of(end, worker, &running, now, id);
        let decision = within_snoozes(session, end).await?;
        end_attempt(session, end.key.0, running, decision, &ended).await?;
        verdicts[index] = Verdict::Accepted;
    }
    Ok(verdicts)
}

/// What is to become of a job, unless that is one snooze too many.
async fn within_snoozes(session: &mut Session<'_>, end: &Finish) -> Result<Decision, Error> {
    let decision = end.decision.clone();
    if decision.cause != Cause::Snooze {
        return Ok(decision);
    }
    let (snooze, redo) = (sql_code(Cause::Snooze.code()), sql_code(Cause::Redo.code()));
    let row = session.first(SNOOZES, &[&end.key.0, &snooze, &redo]).await?;
    let before = row.map_or(Ok(0), |row| get::<i64>(&row, 0))?;
    Ok(decision.under_snoozes(u32::try_from(before).unwrap_or(u32::MAX), end.snoozes_max))
}

/// Ends the plain ones that are in blocks, and sets the others apart that may be; which were ended.
async fn end_in_blocks(
    session: &mut Session<'_>,
    held: &Held,
    id: WorkerId,
    worker: i64,
    ends: &[Finish],
) -> Result<HashSet<(i64, u32)>, Error> {
    let places = held.find(id, ends.iter().map(|end| end.key.0));
    if places.iter().all(|place| *place == Where::Running) {
        return Ok(HashSet::new());
    }
    let (blocks, seqs): (Vec<i64>, Vec<i64>) = places
        .iter()
        .zip(ends)
        .filter_map(|(place, end)| match place {
            Where::Block { block, .. } => Some((*block, end.key.0)),
            _ => None,
        })
        .unzip();
    let rows = session.all(STILL_IN_BLOCKS, &[&blocks, &seqs, &worker]).await?;
    let possible = rows.iter().map(|row| get(row, 0)).collect::<Result<HashSet<i64>, Error>>()?;
    let chosen: Vec<Finish> = ends.iter().filter(|end| possible.contains(&end.key.0)).cloned().collect();
    let (streamed, _) = Streamed::of(id, &chosen, held);
    if !streamed.is_empty() {
        session.typed(COMPLETE, &streamed.parameters()).await?;
    }
    let done: HashSet<(i64, u32)> = streamed.seqs().map(|seq| (seq, 1)).collect();
    let rest: Vec<i64> = ends.iter().map(|end| end.key.0).filter(|seq| !done.contains(&(*seq, 1))).collect();
    session.set_apart(&rest, Some(worker)).await?;
    Ok(done)
}

/// Gives those of these running jobs that may be in blocks a row in `running`.
pub(super) async fn set_apart(
    session: &mut Session<'_>,
    held: &Held,
    id: WorkerId,
    worker: i64,
    keys: impl Iterator<Item = JobKey> + Clone,
) -> Result<(), Error> {
    let places = held.find(id, keys.clone().map(|key| key.0));
    let seqs: Vec<i64> =
        keys.zip(places).filter(|(_, place)| *place != Where::Running).map(|(key, _)| key.0).collect();
    if seqs.is_empty() { Ok(()) } else { session.set_apart(&seqs, Some(worker)).await }
}

/// Gives these running jobs rows of their own. See [`Store::set_apart`](crate::Store::set_apart).
pub(super) async fn set_apart_of(
    session: &mut Session<'_>,
    held: &Held,
    worker: WorkerId,
    jobs: &[(JobKey, u32)],
) -> Result<(), Error> {
    match number(session, worker).await? {
        Some(row) => set_apart(session, held, worker, row, jobs.iter().map(|(key, _)| *key)).await,
        None => Ok(()),
    }
}

/// Takes the running row of an attempt, if it is still that attempt's.
fn fence(held: &mut HashMap<i64, Running>, key: JobKey, attempt: u32) -> Option<Running> {
    if held.get(&key.0)?.attempt != attempt {
        return None;
    }
    held.remove(&key.0)
}

/// Hands jobs back. See [`Store::give_back`](crate::Store::give_back).
pub(super) async fn give_back(
    session: &mut Session<'_>,
    held: &Held,
    now: Timestamp,
    worker: WorkerId,
    jobs: &[(JobKey, u32)],
    reason: &str,
) -> Result<Vec<Verdict>, Error> {
    let id = worker;
    let Some(worker) = number(session, id).await? else { return Ok(vec![Verdict::Stale; jobs.len()]) };
    set_apart(session, held, id, worker, jobs.iter().map(|(key, _)| *key)).await?;
    let mut held = held_by(session, worker, jobs.iter().map(|(key, _)| *key)).await?;
    let mut verdicts = Vec::with_capacity(jobs.len());
    for (key, attempt) in jobs {
        let Some(running) = fence(&mut held, *key, *attempt) else {
            verdicts.push(Verdict::Stale);
            continue;
        };
        let ended = Ended::without_start(worker, &running, now, Some(id));
        end_attempt(session, key.0, running, attempt::give_back(reason.to_owned()), &ended).await?;
        verdicts.push(Verdict::Accepted);
    }
    Ok(verdicts)
}

/// Moves one job out of `running` as decided, whatever was decided; the general way. The caller has locked the row.
pub(super) async fn end_attempt(
    session: &mut Session<'_>,
    seq: i64,
    running: Running,
    decision: Decision,
    ended: &Ended,
) -> Result<(), Error> {
    let decision = match running.cancel_requested {
        true if running.flags & STOP_FAILS != 0 => decision.under_deadline(),
        true => decision.under_cancel(),
        false => decision,
    };
    state::check(State::Running, decision.cause, decision.to)?;
    session.execute(END_ONE, &[&seq]).await?;
    let reason = decision.reason.as_deref();
    let spent = match decision.end {
        Some(end) => {
            let error = reason.filter(|_| end != AttemptEnd::Completed);
            session
                .execute(
                    INSERT_ATTEMPT,
                    &[
                        &seq,
                        &sql_count(ended.attempt),
                        &ended.worker,
                        &ended.claimed_at,
                        &ended.started_at,
                        &ended.ended_at,
                        &sql_code(end.code()),
                        &sql_code(decision.to.code()),
                        &error,
                        &ended.usage,
                        &decision.result,
                    ],
                )
                .await?;
            ended.attempt
        }
        None => {
            let (actor, attempts) = (ended.actor(), ended.attempt - 1);
            let line = Move {
                at: ended.ended_at,
                cause: Some(decision.cause),
                to: decision.to,
                attempts,
                actor: actor.as_str(),
                reason,
            };
            place::note(session, seq, &line).await?;
            attempts
        }
    };
    // Only what waits for its time gets a new one: what goes back keeps its place.
    let waits = matches!(decision.to, State::Scheduled | State::Retryable);
    let run_at = waits.then(|| decision.run_at.map_or(ended.now, Timestamp::as_micros));
    let (ended_at, flags) = (ended.ended_at, running.flags);
    place::put(session, seq, &Placed { to: decision.to, run_at, ended_at, spent, flags, reason }).await
}

pub(super) fn is_plain(end: &Finish) -> bool {
    end.decision.cause == Cause::Complete && end.decision.to == State::Completed
}

/// Ends the plain cases in `running`, completed and without a unique key, set by set; which jobs those were.
async fn complete_running(
    session: &mut Session<'_>,
    worker: i64,
    ends: &[Finish],
) -> Result<HashSet<(i64, u32)>, Error> {
    let mut seqs = Vec::with_capacity(ends.len());
    let (mut attempts, mut started_at, mut ended_at) = (Vec::new(), Vec::new(), Vec::new());
    let (mut usages, mut results) = (Vec::new(), Vec::new());
    let mut seen = HashSet::with_capacity(ends.len());
    for end in ends {
        // The first write of an attempt in a batch is the one that counts, whatever it says.
        if !seen.insert((end.key, end.attempt)) || !is_plain(end) {
            continue;
        }
        state::check(State::Running, end.decision.cause, end.decision.to)?;
        seqs.push(end.key.0);
        attempts.push(sql_count(end.attempt));
        started_at.push(end.started_at.as_micros());
        ended_at.push(end.ended_at.as_micros());
        usages.push(usage_text(end));
        results.push(end.decision.result.as_deref());
    }
    if seqs.is_empty() {
        return Ok(HashSet::new());
    }
    let (outcome, to) = (sql_code(AttemptEnd::Completed.code()), sql_code(State::Completed.code()));
    let rows = session
        .all(
            COMPLETE_RUNNING,
            &[&seqs, &attempts, &started_at, &ended_at, &usages, &results, &worker, &outcome, &to],
        )
        .await?;
    rows.iter().map(|row| Ok((get(row, 0)?, count(row, 1)?))).collect()
}

/// The running rows of these jobs that belong to the worker: the fences, locked until the end of the transaction.
async fn held_by(
    session: &mut Session<'_>,
    worker: i64,
    keys: impl Iterator<Item = JobKey>,
) -> Result<HashMap<i64, Running>, Error> {
    let seqs: Vec<i64> = keys.map(|key| key.0).collect();
    let rows = session.all(FENCES, &[&seqs, &worker]).await?;
    rows.iter().map(|row| Ok((get(row, 0)?, read_running(row)?))).collect()
}

/// Reads columns 1 to 4: attempt, `claimed_at`, flags, whether a cancel was requested.
pub(super) fn read_running(row: &Row) -> Result<Running, Error> {
    Ok(Running {
        attempt: count(row, 1)?,
        claimed_at: get(row, 2)?,
        flags: get(row, 3)?,
        cancel_requested: get(row, 4)?,
        #[cfg(feature = "sqlite")]
        place: None,
    })
}

/// Stores progress. See [`Store::report`](crate::Store::report).
pub(super) async fn report(
    session: &mut Session<'_>,
    held: &Held,
    worker: WorkerId,
    reports: &[ProgressReport],
) -> Result<Vec<Verdict>, Error> {
    let id = worker;
    let Some(worker) = number(session, id).await? else { return Ok(vec![Verdict::Stale; reports.len()]) };
    set_apart(session, held, id, worker, reports.iter().map(|report| report.key)).await?;
    let mut verdicts = Vec::with_capacity(reports.len());
    for report in reports {
        let progress = serde_json::to_string(&report.progress).ok();
        let attempt = sql_count(report.attempt);
        let changed = session.execute(REPORT, &[&progress, &report.key.0, &worker, &attempt]).await?;
        verdicts.push(verdict(changed));
    }
    Ok(verdicts)
}

/// Appends to logs. See [`Store::log`](crate::Store::log).
pub(super) async fn log(
    session: &mut Session<'_>,
    held: &Held,
    worker: WorkerId,
    entries: &[LogEntry],
) -> Result<Vec<Verdict>, Error> {
    let id = worker;
    let Some(worker) = number(session, id).await? else { return Ok(vec![Verdict::Stale; entries.len()]) };
    set_apart(session, held, id, worker, entries.iter().map(|entry| entry.key)).await?;
    let mut verdicts = Vec::with_capacity(entries.len());
    for entry in entries {
        let (attempt, stream) = (sql_count(entry.attempt), sql_code(entry.stream.code()));
        let changed = session
            .execute(
                APPEND_LOG,
                &[&entry.key.0, &worker, &attempt, &entry.at.as_micros(), &stream, &entry.bytes],
            )
            .await?;
        verdicts.push(verdict(changed));
    }
    Ok(verdicts)
}

pub(super) fn verdict(changed: u64) -> Verdict {
    if changed == 0 { Verdict::Stale } else { Verdict::Accepted }
}

// The statements of ends.
//
/// Those that are in their blocks, and stay there until the end of the transaction but for what this one does.
const STILL_IN_BLOCKS: &str = "SELECT e.seq FROM unnest($1::bigint[], $2::bigint[]) AS e (block, seq)
    CROSS JOIN LATERAL (
        SELECT FROM block b WHERE b.block = e.block AND b.worker = $3 AND b.seqs @> e.seq FOR UPDATE) b
    ORDER BY e.block";
pub(super) const COMPLETE_RUNNING: &str = "WITH gone AS (
        DELETE FROM running x
        USING unnest($1::bigint[], $2::integer[], $3::bigint[], $4::bigint[], $5::text[], $6::text[])
              AS e (seq, attempt, started_at, ended_at, usage, result)
        WHERE x.seq = e.seq AND x.attempt = e.attempt AND x.worker = $7::bigint AND x.flags = 0
        RETURNING x.seq, x.attempt, x.claimed_at, e.started_at, e.ended_at, e.usage, e.result)
    INSERT INTO attempt (seq, attempt, worker, claimed_at, started_at, ended_at, outcome, moved_to, usage, result)
    SELECT seq, attempt, $7::bigint, claimed_at, started_at, ended_at, $8::smallint, $9::smallint, usage, result
    FROM gone RETURNING seq, attempt";
pub(super) const FENCES: &str = "SELECT seq, attempt, claimed_at, flags, cancel_at IS NOT NULL
    FROM running WHERE seq = ANY($1::bigint[]) AND worker = $2 ORDER BY seq FOR UPDATE";
pub(super) const END_ONE: &str = "DELETE FROM running WHERE seq = $1";
pub(super) const INSERT_ATTEMPT: &str = "INSERT INTO attempt
    (seq, attempt, worker, claimed_at, started_at, ended_at, outcome, moved_to, error, usage, result)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
/// How often a job was snoozed since it was last run again on request.
pub(super) const SNOOZES: &str = "SELECT count(*) FROM move WHERE seq = $1 AND cause = $2
    AND move > coalesce((SELECT max(move) FROM move WHERE seq = $1 AND cause = $3), 0)";
pub(super) const REPORT: &str =
    "UPDATE running SET progress = $1 WHERE seq = $2 AND worker = $3 AND attempt = $4";
pub(super) const APPEND_LOG: &str = "INSERT INTO log (seq, number, attempt, at, stream, bytes)
    SELECT seq, (SELECT coalesce(max(number) + 1, 0) FROM log WHERE seq = $1), attempt, $4, $5, $6
    FROM running WHERE seq = $1 AND worker = $2 AND attempt = $3 FOR UPDATE";
