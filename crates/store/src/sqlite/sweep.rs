//! The duties' work: promoting what is due, reclaiming what lost workers held.

use std::collections::HashSet;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};
use taskwright_core::attempt::{AttemptEnd, LossFacts, decide_loss, is_last_chance};
use taskwright_core::sight::Sight;
use taskwright_core::{Cause, Delivery, State, Timestamp, WorkerId, state};

use super::attachment;
use super::claim::max_attempts;
use super::error::read_error;
use super::finish::{end_attempt, read_running};
use super::held;
use super::place::{self, Move, Placed};
use super::session::Session;
use super::step;
use super::worker::number;
use crate::claim::JobKey;
use crate::ended::{Ended, Running};
use crate::error::Error;
use crate::presence::Presence;
use crate::sweep::{Loss, LostWorker, Promoted, Reclaimed, SEEMS_LOST_AGAIN_IN};
use crate::worker::WorkerState;

/// Looks whether anything is due; answers when nothing is.
pub(super) fn peek_due(session: &mut Session<'_>, now: Timestamp) -> Result<Option<Promoted>, Error> {
    let next_due = next_due(session)?;
    Ok(next_due.is_none_or(|due| due > now).then_some(Promoted { next_due, ..Promoted::default() }))
}

fn next_due(session: &mut Session<'_>) -> Result<Option<Timestamp>, Error> {
    let due = session.first(NEXT_DUE, [], |row| row.get(0))?;
    Ok(due.map(Timestamp::from_micros))
}

/// Promotes what is due. See [`Store::promote`](crate::Store::promote).
pub(super) fn promote(session: &mut Session<'_>, now: Timestamp, limit: usize) -> Result<Promoted, Error> {
    let due = session.all(DUE, (now.as_micros(), i64::try_from(limit).unwrap_or(i64::MAX)), |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, u8>(1)?, row.get(3)?, row.get::<_, i64>(4)?))
    })?;
    let mut promoted = Promoted::default();
    for (seq, code, spent, flags) in due {
        let from = State::from_code(code).unwrap_or(State::Scheduled);
        let (cause, to, reason) = if from == State::Held {
            promoted.expired += 1;
            (Cause::Drop, State::Dropped, Some("hold expired: never released"))
        } else {
            promoted.promoted += 1;
            (Cause::Promote, State::Available, None)
        };
        state::check(from, cause, to)?;
        if to == State::Dropped {
            attachment::remove(session, seq)?;
        }
        session.execute(PROMOTE, [seq])?;
        let ended_at = now.as_micros();
        place::put(session, seq, &Placed { to, run_at: None, ended_at, spent, flags, reason })?;
        let (at, cause, actor) = (ended_at, Some(cause), "system");
        place::note(session, seq, &Move { at, cause, to, attempts: spent, actor, reason })?;
    }
    promoted.next_due = next_due(session)?;
    Ok(promoted)
}

/// A worker that is to be looked at.
struct Candidate {
    number: i64,
    id: WorkerId,
    pid: u32,
    boot: String,
    lease: Duration,
    lease_until_us: u64,
}

/// Who looks for lost workers, and how it sees them.
pub(super) struct Observer<'a> {
    pub(super) presence: &'a Presence,
    pub(super) boot: &'a str,
    pub(super) monotonic_us: u64,
    pub(super) sight: &'a Sight,
}

impl Candidate {
    /// What speaks for it that it is gone, if anything does.
    fn loss(&self, observer: &Observer<'_>) -> Option<Loss> {
        if self.boot != observer.boot {
            Some(Loss::Certain("the machine was restarted"))
        } else if !observer.presence.is_present(self.id) {
            Some(Loss::Certain("its process is gone"))
        } else {
            let now_us = observer.monotonic_us;
            Loss::by_lease(self.lease, self.lease_until_us, now_us, observer.sight.covers(self.lease, now_us))
        }
    }
}

fn candidates(session: &mut Session<'_>) -> Result<Vec<Candidate>, Error> {
    session.all(LIVING, [], |row| {
        Ok(Candidate {
            number: row.get(0)?,
            id: WorkerId::from_bytes(row.get(1)?),
            pid: row.get(2)?,
            boot: row.get(3)?,
            lease_until_us: row.get(4)?,
            lease: Duration::from_micros(row.get(5)?),
        })
    })
}

/// Looks whether any worker is gone, or overdue; answers when none is. Otherwise something is to be written: only that shows that
/// workers could renew their leases.
pub(super) fn peek_lost(
    session: &mut Session<'_>,
    observer: &Observer<'_>,
) -> Result<Option<Reclaimed>, Error> {
    let workers = candidates(session)?;
    let all_well = workers.iter().all(|worker| worker.loss(observer).is_none());
    Ok(all_well.then(|| nothing_yet(&workers, observer)))
}

fn nothing_yet(workers: &[Candidate], observer: &Observer<'_>) -> Reclaimed {
    let seems_lost = workers.iter().any(|worker| worker.loss(observer) == Some(Loss::Seeming));
    let look_again_in = seems_lost.then_some(SEEMS_LOST_AGAIN_IN);
    Reclaimed { look_again_in, sight: observer.sight.clone(), ..Reclaimed::default() }
}

/// Reclaims what lost workers held. See [`Store::reclaim`](crate::Store::reclaim).
pub(super) fn reclaim(
    session: &mut Session<'_>,
    observer: &Observer<'_>,
    now: Timestamp,
) -> Result<Reclaimed, Error> {
    let workers = candidates(session)?;
    let mut reclaimed = nothing_yet(&workers, observer);
    for worker in workers {
        let Some(loss) = worker.loss(observer) else { continue };
        let Some(how) = loss.certain() else {
            session.execute(TOUCH, [worker.number])?;
            continue;
        };
        session.execute(LOSE, (worker.number, WorkerState::Lost.code()))?;
        // Marks of another boot may be older than what the disk kept of the jobs.
        let marks = if worker.boot == observer.boot { observer.presence.marks(worker.id) } else { None };
        let mut lost = LostWorker::of(worker.id, worker.pid, how);
        take_jobs_of(session, worker.number, marks.as_ref(), now, &mut lost)?;
        reclaimed.workers.push(lost);
    }
    Ok(reclaimed)
}

/// Decides about every job that a worker of this process still holds when it leaves.
pub(super) fn let_go(
    session: &mut Session<'_>,
    presence: &Presence,
    now: Timestamp,
    worker: WorkerId,
) -> Result<(), Error> {
    let Some(number) = number(session, worker)? else { return Ok(()) };
    let marks = presence.marks(worker);
    take_jobs_of(session, number, marks.as_ref(), now, &mut LostWorker::of(worker, 0, ""))
}

/// Decides about every job that a worker which is gone held.
fn take_jobs_of(
    session: &mut Session<'_>,
    worker: i64,
    marks: Option<&HashSet<(i64, u32)>>,
    now: Timestamp,
    lost: &mut LostWorker,
) -> Result<(), Error> {
    held::set_all_apart(session, worker)?;
    let held = session.all(HELD, [worker], |row| {
        let limit = (max_attempts(row, 7, 8)?, row.get::<_, u32>(8)?, row.get::<_, bool>(9)?);
        Ok((row.get::<_, i64>(0)?, read_running(row)?, limit))
    })?;
    for (seq, running, (max_attempts, base, at_most_once)) in held {
        let decision = decide_loss(&LossFacts {
            attempt: running.attempt,
            max_attempts,
            lost_before: lost_before(session, seq, &running, base)?,
            kept_a_step: session
                .first(step::KEPT, (seq, running.attempt), |row| row.get(0))?
                .unwrap_or(false),
            started: marks.is_none_or(|marks| marks.contains(&(seq, running.attempt))),
            delivery: if at_most_once { Delivery::AtMostOnce } else { Delivery::AtLeastOnce },
            cancel_requested: running.cancel_requested,
        });
        match (decision.to, decision.cause) {
            (State::Available, Cause::GiveBack) => lost.given_back += 1,
            (State::Available, _) => lost.requeued += 1,
            _ => lost.ended += 1,
        }
        let ended = Ended::without_start(worker, &running, now, None);
        end_attempt(session, seq, running, decision, &ended)?;
    }
    Ok(())
}

/// How many attempts right before this one were lost, since the job was last run again on request.
fn lost_before(session: &mut Session<'_>, seq: i64, running: &Running, base: u32) -> Result<u32, Error> {
    let ends = session.all(LAST_ENDS, (seq, running.attempt, base), |row| row.get::<_, u8>(0))?;
    Ok(lost_in_a_row(&ends))
}

/// See [`Store::last_chances`](crate::Store::last_chances).
pub(super) fn last_chances(conn: &Connection, attempts: &[(JobKey, u32)]) -> Result<Vec<JobKey>, Error> {
    let mut last = Vec::new();
    for (key, attempt) in attempts {
        let base = conn
            .prepare_cached(ATTEMPTS_BASE)
            .and_then(|mut statement| statement.query_row([key.0], |row| row.get::<_, u32>(0)).optional())
            .map_err(read_error)?;
        let Some(base) = base else { continue };
        let ends: Vec<u8> = conn
            .prepare_cached(LAST_ENDS)
            .and_then(|mut statement| {
                statement.query_map((key.0, attempt, base), |row| row.get(0))?.collect()
            })
            .map_err(read_error)?;
        if is_last_chance(lost_in_a_row(&ends)) {
            last.push(*key);
        }
    }
    Ok(last)
}

fn lost_in_a_row(newest_first: &[u8]) -> u32 {
    let lost = newest_first.iter().take_while(|end| **end == AttemptEnd::Lost.code()).count();
    u32::try_from(lost).unwrap_or(u32::MAX)
}

// The statements of duties; plans.rs holds each of them to an index.
pub(super) const NEXT_DUE: &str =
    "SELECT due FROM taskwright_waiting WHERE due IS NOT NULL ORDER BY due LIMIT 1";
pub(super) const DUE: &str = "SELECT seq, state, due, attempts, flags FROM taskwright_waiting
         WHERE due IS NOT NULL AND due <= ?1 ORDER BY due, seq LIMIT ?2";
pub(super) const PROMOTE: &str = "DELETE FROM taskwright_waiting WHERE seq = ?1";
pub(super) const LIVING: &str = "SELECT worker, id, pid, boot, lease_until_us, lease_us FROM taskwright_worker WHERE state = 0 ORDER BY worker";
/// A write that changes nothing.
pub(super) const TOUCH: &str = "UPDATE taskwright_worker SET state = state WHERE worker = ?1";
pub(super) const LOSE: &str = "UPDATE taskwright_worker SET state = ?2 WHERE worker = ?1";
// CROSS keeps the few that run in front, whatever statistics say.
pub(super) const HELD: &str =
    "SELECT x.seq, x.attempt, x.claimed_at, x.flags, x.cancel_at IS NOT NULL, x.lane, x.ready_at,
                j.max_attempts, j.attempts_base, j.at_most_once
         FROM taskwright_running x CROSS JOIN taskwright_job j ON j.seq = x.seq
         WHERE x.worker = ?1 ORDER BY x.seq";
pub(super) const ATTEMPTS_BASE: &str = "SELECT attempts_base FROM taskwright_job WHERE seq = ?1";
/// How the last attempts ended; 255 for one that kept a step, which is in no row.
pub(super) const LAST_ENDS: &str =
    "SELECT iif(EXISTS (SELECT 1 FROM taskwright_step s WHERE s.seq = a.seq AND s.attempt = a.attempt), 255, outcome)
         FROM taskwright_attempt a WHERE seq = ?1 AND attempt < ?2 AND attempt > ?3
         ORDER BY attempt DESC LIMIT 3";
