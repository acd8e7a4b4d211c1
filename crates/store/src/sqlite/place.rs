//! Where a job is: the one way into each of the tables that say so.

use taskwright_core::{Cause, State};

use super::enqueue::HOLDS_KEY;
use super::held;
use super::outcome;
use super::session::Session;
use crate::error::Error;

/// Where a job goes, after it was taken out of where it was.
pub(super) struct Placed<'a> {
    pub(super) to: State,
    /// When it may run: required for scheduled and retryable; `None` keeps the place it had.
    pub(super) run_at: Option<i64>,
    /// When it ended, if it did.
    pub(super) ended_at: i64,
    /// Attempts used.
    pub(super) spent: u32,
    pub(super) flags: i64,
    pub(super) reason: Option<&'a str>,
}

/// Puts a job into the table of its new state. Whoever calls has asked the transition table, and has taken the job out
/// of the table of its old state in the same transaction.
pub(super) fn put(session: &mut Session<'_>, seq: i64, placed: &Placed<'_>) -> Result<(), Error> {
    session.moved_one(seq)?;
    if let Some(run_at) = placed.run_at {
        session.execute(MOVE_TIME, (seq, run_at))?;
    }
    match placed.to {
        State::Available => {
            session.hint = true;
            session.execute(PUT_READY, (seq, placed.spent, placed.flags))?;
        }
        State::Held | State::Blocked | State::Scheduled | State::Retryable => {
            // Whoever sleeps until the next due time must hear of an earlier one.
            session.hint = true;
            session.execute(
                "INSERT INTO taskwright_waiting (seq, state, due, attempts, flags) VALUES (?1, ?2, ?3, ?4, ?5)",
                (seq, placed.to.code(), placed.run_at, placed.spent, placed.flags),
            )?;
        }
        State::Running | State::Completed => {}
        State::Failed | State::Cancelled | State::Dropped => {
            session.execute(PUT_OVER, (seq, placed.to.code(), placed.ended_at, placed.reason))?;
        }
    }
    if placed.to.is_terminal() && placed.flags & HOLDS_KEY != 0 {
        session.execute(KEEP_KEY, [seq])?;
        session.execute(FREE_KEY, [seq])?;
    }
    if placed.to.is_terminal() && outcome::are_of_interest(session, placed.to)? {
        outcome::tell(session, seq, placed.to, placed.spent, placed.ended_at)?;
    }
    Ok(())
}

/// A line of a job's timeline.
pub(super) struct Move<'a> {
    pub(super) at: i64,
    /// `None` when nothing was moved.
    pub(super) cause: Option<Cause>,
    pub(super) to: State,
    /// Attempts used by then, with the one that runs.
    pub(super) attempts: u32,
    pub(super) actor: &'a str,
    pub(super) reason: Option<&'a str>,
}

/// Writes a line of a job's timeline.
pub(super) fn note(session: &mut Session<'_>, seq: i64, line: &Move<'_>) -> Result<(), Error> {
    session.moved_one(seq)?;
    let cause = line.cause.map(Cause::code);
    session.execute(
        "INSERT INTO taskwright_move (seq, at, cause, state, attempts, actor, reason)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        (seq, line.at, cause, line.to.code(), line.attempts, line.actor, line.reason),
    )?;
    Ok(())
}

/// Where a job is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) state: State,
    /// Attempts used; while it runs, the number of the running one.
    pub(super) attempts: u32,
    pub(super) flags: i64,
    pub(super) lane: i64,
    pub(super) run_at: i64,
    pub(super) cancel_requested: bool,
}

/// The columns by which [`read_place`] finds the state of `taskwright_job j`, and the joins that they need. A job is in
/// at most one of the tables or in a block; otherwise it is completed. Whether it is in a completion says only how its first
/// attempt ended.
pub(super) const PLACE_COLUMNS: &str = "\
    CASE WHEN r.seq IS NOT NULL THEN 3 WHEN w.seq IS NOT NULL THEN w.state WHEN x.seq IS NOT NULL THEN 4
         WHEN o.seq IS NOT NULL THEN o.state WHEN b.lo IS NOT NULL THEN 4 ELSE 6 END,
    coalesce(r.attempts, w.attempts, x.attempt, CASE WHEN b.lo IS NOT NULL THEN 1 END,
             (SELECT max(attempt) FROM taskwright_attempt a WHERE a.seq = j.seq), d.lo IS NOT NULL),
    coalesce(r.flags, w.flags, x.flags, 0), j.lane, j.run_at, x.cancel_at IS NOT NULL";

/// See [`PLACE_COLUMNS`].
pub(super) const PLACE_JOINS: &str = "\
    LEFT JOIN taskwright_ready r ON r.lane = j.lane AND r.ready_at = j.run_at AND r.seq = j.seq
    LEFT JOIN taskwright_waiting w ON w.seq = j.seq
    LEFT JOIN taskwright_running x ON x.seq = j.seq
    LEFT JOIN taskwright_over o ON o.seq = j.seq
    LEFT JOIN taskwright_block b
        ON b.lo = (SELECT max(lo) FROM taskwright_block WHERE lo <= j.seq) AND b.hi >= j.seq
    LEFT JOIN taskwright_completion d
        ON d.lo = (SELECT max(lo) FROM taskwright_completion WHERE lo <= j.seq) AND d.hi >= j.seq";

/// Reads [`PLACE_COLUMNS`] from column `at` on.
pub(super) fn read_place(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<Place> {
    let code: u8 = row.get(at)?;
    let state =
        State::from_code(code).ok_or(rusqlite::Error::IntegralValueOutOfRange(at, i64::from(code)))?;
    Ok(Place {
        state,
        attempts: row.get(at + 1)?,
        flags: row.get(at + 2)?,
        lane: row.get(at + 3)?,
        run_at: row.get(at + 4)?,
        cancel_requested: row.get(at + 5)?,
    })
}

/// Takes a job out of the table of its state.
pub(super) fn take(session: &mut Session<'_>, seq: i64, place: &Place) -> Result<(), Error> {
    let taken = match place.state {
        State::Available => session.execute(TAKE_READY, (place.lane, place.run_at, seq))?,
        State::Held | State::Blocked | State::Scheduled | State::Retryable => {
            session.execute(TAKE_WAITING, [seq])?
        }
        State::Running => {
            held::set_apart(session, None, vec![seq])?;
            session.execute("DELETE FROM taskwright_running WHERE seq = ?1", [seq])?
        }
        State::Failed | State::Cancelled | State::Dropped => session.execute(TAKE_OVER, [seq])?,
        State::Completed => 1,
    };
    debug_assert_eq!(taken, 1, "a job is where it was found");
    Ok(())
}

// The statements that move a job; plans.rs holds each of them to an index.
pub(super) const MOVE_TIME: &str = "UPDATE taskwright_job SET run_at = ?2 WHERE seq = ?1";
pub(super) const PUT_READY: &str = "INSERT INTO taskwright_ready (lane, ready_at, seq, attempts, flags)
                 SELECT lane, run_at, seq, ?2, ?3 FROM taskwright_job WHERE seq = ?1";
pub(super) const KEEP_KEY: &str = "INSERT INTO taskwright_unique_past (seq, namespace, kind, key, scope)
                 SELECT seq, namespace, kind, key, scope FROM taskwright_unique WHERE seq = ?1";
pub(super) const FREE_KEY: &str = "DELETE FROM taskwright_unique WHERE seq = ?1";
pub(super) const TAKE_READY: &str =
    "DELETE FROM taskwright_ready WHERE lane = ?1 AND ready_at = ?2 AND seq = ?3";
pub(super) const TAKE_WAITING: &str = "DELETE FROM taskwright_waiting WHERE seq = ?1";
pub(super) const PUT_OVER: &str =
    "INSERT INTO taskwright_over (seq, state, ended_at, reason) VALUES (?1, ?2, ?3, ?4)";
pub(super) const TAKE_OVER: &str = "DELETE FROM taskwright_over WHERE seq = ?1";
