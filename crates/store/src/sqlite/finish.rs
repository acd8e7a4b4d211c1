//! What attempts write: their end, their progress, their log.
//!
//! First attempts that completed leave their blocks, which are their fences (`completions.rs`). Later attempts that
//! completed go together: one statement reads the fences, one in fifty rows inserts attempts, one deletes the running rows.
//! Either way one statement leaves a slip for the roll-ups and tells whether anybody waits for such ends. Everything else
//! (retries, cancels, jobs with a unique key) goes one by one; a job that has no running row yet is set apart from its block
//! first.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::LazyLock;

use rusqlite::types::Value;
use taskwright_core::attempt::{self, AttemptEnd};
use taskwright_core::{Cause, Decision, State, Timestamp, Verdict, WorkerId, state};

use super::completions::{Rest, complete_held};
use super::enqueue::{self, STOP_FAILS};
use super::held;
use super::many_rows::ManyRows;
use super::outcome;
use super::place::{self, Move, Placed};
use super::rollup::Slip;
use super::session::Session;
use super::worker::number;
use crate::claim::JobKey;
use crate::ended::{Ended, Running, usage_text};
use crate::error::{Area, Error};
use crate::finish::{Finish, LogEntry, ProgressReport};

/// Ends attempts. See [`Store::finish`](crate::Store::finish).
pub(super) fn finish(
    session: &mut Session<'_>,
    now: Timestamp,
    worker: WorkerId,
    ends: Vec<Finish>,
) -> Result<Vec<Verdict>, Error> {
    let id = worker;
    let Some(worker) = number(session, id)? else { return Ok(vec![Verdict::Stale; ends.len()]) };
    let mut verdicts = vec![Verdict::Stale; ends.len()];
    let rest = complete_held(session, worker, &ends, &mut verdicts)?;
    if !rest.ends.is_empty() {
        end_others(session, now, (id, worker), &ends, rest, &mut verdicts)?;
    }
    for (end, verdict) in ends.iter().zip(&verdicts) {
        if *verdict == Verdict::Accepted && !end.follow_ups().is_empty() {
            enqueue::enqueue(session, now, end.follow_ups())?;
        }
    }
    Ok(verdicts)
}

/// Ends what is not completed out of a block, and has their verdicts say so.
fn end_others(
    session: &mut Session<'_>,
    now: Timestamp,
    (id, worker): (WorkerId, i64),
    ends: &[Finish],
    rest: Rest,
    verdicts: &mut [Verdict],
) -> Result<(), Error> {
    let Rest { ends: mut rest, in_blocks } = rest;
    rest.sort_unstable();
    held::set_apart(session, Some(worker), in_blocks)?;
    let mut held = held_by(session, worker, rest.iter().map(|index| ends[*index].key))?;
    let mut completed = Vec::with_capacity(rest.len());
    for index in rest {
        let end = &ends[index];
        // A fence is used up by its first write, also within one batch.
        let running = match held.remove(&end.key.0) {
            Some(running) if running.attempt == end.attempt => running,
            other => {
                other.and_then(|running| held.insert(end.key.0, running));
                continue;
            }
        };
        verdicts[index] = Verdict::Accepted;
        if is_plain(end) && running.flags == 0 {
            state::check(State::Running, end.decision.cause, end.decision.to)?;
            completed.push((end, running));
        } else {
            let ended = Ended::of(end, worker, &running, now, id);
            let decision = within_snoozes(session, end)?;
            end_attempt(session, end.key.0, running, decision, &ended)?;
        }
    }
    complete(session, worker, &completed)
}

/// Whether an end is a completion, with whatever it leaves behind.
pub(super) fn is_plain(end: &Finish) -> bool {
    end.decision.cause == Cause::Complete
}

/// What is to become of a job, unless that is one snooze too many.
fn within_snoozes(session: &mut Session<'_>, end: &Finish) -> Result<Decision, Error> {
    let decision = end.decision.clone();
    if decision.cause != Cause::Snooze {
        return Ok(decision);
    }
    let codes = (end.key.0, Cause::Snooze.code(), Cause::Redo.code());
    let before = session.first(SNOOZES, codes, |row| row.get::<_, u32>(0))?.unwrap_or(0);
    Ok(decision.under_snoozes(before, end.snoozes_max))
}

/// Completes one attempt in the caller's transaction. See [`complete_in`](super::complete_in).
pub(super) fn complete_one(
    session: &mut Session<'_>,
    now: Timestamp,
    worker: WorkerId,
    end: &Finish,
) -> Result<(), Error> {
    let id = worker;
    let running = match number(session, id)? {
        Some(worker) => {
            set_apart(session, Some(worker), std::iter::once((end.key, end.attempt)))?;
            session
                .first(FENCE, (end.key.0, worker), read_running)?
                .filter(|running| running.attempt == end.attempt)
                .map(|running| (worker, running))
        }
        None => None,
    };
    let Some((worker, running)) = running else {
        return Err(refused(
            end,
            "it runs no more on this worker",
            "roll back: the attempt has ended, or the job runs, or has run, elsewhere",
        ));
    };
    if running.cancel_requested {
        let why = "somebody has asked for this job to be cancelled";
        return Err(refused(end, why, "roll back, and return from the handler"));
    }
    let ended = Ended::of(end, worker, &running, now, id);
    end_attempt(session, end.key.0, running, end.decision.clone(), &ended)?;
    if !end.follow_ups().is_empty() {
        enqueue::enqueue(session, now, end.follow_ups())?;
    }
    Ok(())
}

fn refused(end: &Finish, why: &str, fix: &str) -> Error {
    Error::new(Area::Refused, format!("complete attempt {} in the transaction", end.attempt), why, fix)
}

/// Gives those of these jobs that a worker holds in blocks a row in `running`; nobody holds anything where it is not known.
pub(super) fn set_apart(
    session: &mut Session<'_>,
    worker: Option<i64>,
    attempts: impl Iterator<Item = (JobKey, u32)>,
) -> Result<(), Error> {
    let firsts = attempts.filter(|(_, attempt)| *attempt == held::FIRST);
    match worker {
        Some(_) => held::set_apart(session, worker, firsts.map(|(key, _)| key.0).collect()),
        None => Ok(()),
    }
}

/// Hands jobs back. See [`Store::give_back`](crate::Store::give_back).
pub(super) fn give_back(
    session: &mut Session<'_>,
    now: Timestamp,
    worker: WorkerId,
    jobs: Vec<(JobKey, u32)>,
    reason: &str,
) -> Result<Vec<Verdict>, Error> {
    let id = worker;
    let Some(worker) = number(session, id)? else { return Ok(vec![Verdict::Stale; jobs.len()]) };
    set_apart(session, Some(worker), jobs.iter().copied())?;
    let mut held = held_by(session, worker, jobs.iter().map(|(key, _)| *key))?;
    let mut verdicts = Vec::with_capacity(jobs.len());
    for (key, attempt) in jobs {
        match held.get(&key.0) {
            Some(running) if running.attempt == attempt => {
                let running = running.clone();
                held.remove(&key.0);
                let ended = Ended::without_start(worker, &running, now, Some(id));
                end_attempt(session, key.0, running, attempt::give_back(reason.to_owned()), &ended)?;
                verdicts.push(Verdict::Accepted);
            }
            _ => verdicts.push(Verdict::Stale),
        }
    }
    Ok(verdicts)
}

/// Moves one job out of `running` as decided, whatever was decided; the general way.
pub(super) fn end_attempt(
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
    session.execute(END_ONE, [seq])?;
    let reason = decision.reason.as_deref();
    let spent = match decision.end {
        Some(end) => {
            session.execute(
                "INSERT INTO taskwright_attempt
                 (seq, attempt, worker, claimed_at, started_at, ended_at, outcome, moved_to, error, usage, result)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                (
                    seq,
                    ended.attempt,
                    ended.worker,
                    ended.claimed_at,
                    ended.started_at,
                    ended.ended_at,
                    end.code(),
                    decision.to.code(),
                    reason.filter(|_| end != AttemptEnd::Completed),
                    &ended.usage,
                    &decision.result,
                ),
            )?;
            let mut slip = Slip::default();
            slip.add(session, seq, &running, end, ended.started_at, ended.ended_at)?;
            slip.leave(session)?;
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
            place::note(session, seq, &line)?;
            attempts
        }
    };
    // Only what waits for its time gets a new one: what goes back keeps its place.
    let waits = matches!(decision.to, State::Scheduled | State::Retryable);
    let run_at = waits.then(|| decision.run_at.map_or(ended.now, Timestamp::as_micros));
    place::put(
        session,
        seq,
        &Placed { to: decision.to, run_at, ended_at: ended.ended_at, spent, flags: running.flags, reason },
    )
}

static INSERT_COMPLETED: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::new(
        "INSERT INTO taskwright_attempt (seq, attempt, worker, claimed_at, started_at, ended_at, outcome, moved_to, \
         usage, result) VALUES ",
        10,
        "",
    )
});

/// Completed, with a row in `running` and no unique key. Set by set.
fn complete(session: &mut Session<'_>, worker: i64, completed: &[(&Finish, Running)]) -> Result<(), Error> {
    if completed.is_empty() {
        return Ok(());
    }
    let own: Vec<_> = completed.iter().map(|(end, running)| (*end, running.claimed_at)).collect();
    insert_completed(session, worker, &own)?;
    let seqs = array(completed.iter().map(|(end, _)| end.key.0));
    session.execute(END_COMPLETED, [seqs])?;
    tell_completed(session, completed)
}

/// Leaves a slip of completions for the roll-ups, and makes events of them if those are of interest.
pub(super) fn tell_completed(
    session: &mut Session<'_>,
    completed: &[(&Finish, Running)],
) -> Result<(), Error> {
    let mut slip = Slip::default();
    for (end, running) in completed {
        session.moved_one(end.key.0)?;
        let (started_at, ended_at) = (end.started_at.as_micros(), end.ended_at.as_micros());
        slip.add(session, end.key.0, running, AttemptEnd::Completed, Some(started_at), ended_at)?;
    }
    if slip.leave(session)? {
        for (end, _) in completed {
            let (seq, ended_at) = (end.key.0, end.ended_at.as_micros());
            outcome::tell(session, seq, State::Completed, end.attempt, ended_at)?;
        }
    }
    Ok(())
}

/// Gives completed attempts rows of their own; each comes with when it was claimed.
pub(super) fn insert_completed(
    session: &mut Session<'_>,
    worker: i64,
    completed: &[(&Finish, i64)],
) -> Result<(), Error> {
    INSERT_COMPLETED.insert(session, completed, |(end, claimed_at), values| {
        values.bind(end.key.0)?;
        values.bind(end.attempt)?;
        values.bind(worker)?;
        values.bind(claimed_at)?;
        values.bind(end.started_at.as_micros())?;
        values.bind(end.ended_at.as_micros())?;
        values.bind(AttemptEnd::Completed.code())?;
        values.bind(State::Completed.code())?;
        values.bind(usage_text(end))?;
        values.bind(&end.decision.result)
    })
}

/// The running rows of these jobs that belong to the worker: the fences, read under the write lock that everything
/// which could change them needs.
fn held_by(
    session: &mut Session<'_>,
    worker: i64,
    keys: impl Iterator<Item = JobKey>,
) -> Result<HashMap<i64, Running>, Error> {
    let rows = session.all(FENCES, rusqlite::params![array(keys.map(|key| key.0)), worker], |row| {
        Ok((row.get(0)?, read_running(row)?))
    })?;
    Ok(rows.into_iter().collect())
}

/// Reads columns 1 to 6: attempt, `claimed_at`, flags, whether a cancel was requested, lane, `ready_at`.
pub(super) fn read_running(row: &rusqlite::Row<'_>) -> rusqlite::Result<Running> {
    Ok(Running {
        attempt: row.get(1)?,
        claimed_at: row.get(2)?,
        flags: row.get(3)?,
        cancel_requested: row.get(4)?,
        place: row.get::<_, Option<i64>>(5)?.zip(row.get(6)?),
    })
}

/// A list of numbers as one parameter.
pub(super) fn array(numbers: impl Iterator<Item = i64>) -> Rc<Vec<Value>> {
    Rc::new(numbers.map(Value::from).collect())
}

/// Stores progress. See [`Store::report`](crate::Store::report).
pub(super) fn report(
    session: &mut Session<'_>,
    worker: WorkerId,
    reports: Vec<ProgressReport>,
) -> Result<Vec<Verdict>, Error> {
    let worker = number(session, worker)?;
    set_apart(session, worker, reports.iter().map(|report| (report.key, report.attempt)))?;
    let mut verdicts = Vec::with_capacity(reports.len());
    for report in reports {
        let progress = serde_json::to_string(&report.progress).ok();
        let changed = session.execute(REPORT, (progress, report.key.0, worker, report.attempt))?;
        verdicts.push(verdict(changed));
    }
    Ok(verdicts)
}

/// Appends to logs. See [`Store::log`](crate::Store::log).
pub(super) fn log(
    session: &mut Session<'_>,
    worker: WorkerId,
    entries: Vec<LogEntry>,
) -> Result<Vec<Verdict>, Error> {
    let worker = number(session, worker)?;
    set_apart(session, worker, entries.iter().map(|entry| (entry.key, entry.attempt)))?;
    let mut verdicts = Vec::with_capacity(entries.len());
    for entry in entries {
        let changed = session.execute(
            APPEND_LOG,
            (entry.key.0, worker, entry.attempt, entry.at.as_micros(), entry.stream.code(), entry.bytes),
        )?;
        verdicts.push(verdict(changed));
    }
    Ok(verdicts)
}

pub(super) fn verdict(changed: usize) -> Verdict {
    if changed == 0 { Verdict::Stale } else { Verdict::Accepted }
}

// The statements of ends; plans.rs holds each of them to an index.
pub(super) const FENCES: &str =
    "SELECT seq, attempt, claimed_at, flags, cancel_at IS NOT NULL, lane, ready_at
         FROM taskwright_running WHERE seq IN rarray(?1) AND worker = ?2";
pub(super) const FENCE: &str = "SELECT seq, attempt, claimed_at, flags, cancel_at IS NOT NULL, lane, ready_at
         FROM taskwright_running WHERE seq = ?1 AND worker = ?2";
pub(super) const END_COMPLETED: &str = "DELETE FROM taskwright_running WHERE seq IN rarray(?1)";
pub(super) const END_ONE: &str = "DELETE FROM taskwright_running WHERE seq = ?1";
/// How often a job was snoozed since it was last run again on request.
pub(super) const SNOOZES: &str = "SELECT count(*) FROM taskwright_move WHERE seq = ?1 AND cause = ?2
         AND move > coalesce((SELECT max(move) FROM taskwright_move WHERE seq = ?1 AND cause = ?3), 0)";
pub(super) const REPORT: &str =
    "UPDATE taskwright_running SET progress = ?1 WHERE seq = ?2 AND worker = ?3 AND attempt = ?4";
pub(super) const APPEND_LOG: &str =
    "INSERT INTO taskwright_log (seq, number, attempt, at, stream, bytes)
             SELECT seq, (SELECT coalesce(max(number) + 1, 0) FROM taskwright_log WHERE seq = ?1), attempt, ?4, ?5, ?6
             FROM taskwright_running WHERE seq = ?1 AND worker = ?2 AND attempt = ?3";
