//! Where a job is: the one way into each of the tables that say so.

use std::collections::{BTreeMap, HashMap};

use taskwright_core::{Cause, State};
use tokio_postgres::Row;

use super::enqueue::HOLDS_KEY;
use super::session::{Session, code, count, get, sql_code, sql_count, vanished};
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
pub(super) async fn put(session: &mut Session<'_>, seq: i64, placed: &Placed<'_>) -> Result<(), Error> {
    let (spent, state) = (sql_count(placed.spent), sql_code(placed.to.code()));
    if let Some(run_at) = placed.run_at {
        session.execute(MOVE_TIME, &[&seq, &run_at]).await?;
    }
    match placed.to {
        State::Available => {
            session.hint = true;
            session.execute(PUT_READY, &[&seq, &spent, &placed.flags]).await?;
        }
        State::Held | State::Blocked | State::Scheduled | State::Retryable => {
            // Whoever sleeps until the next due time must hear of an earlier one.
            session.hint = true;
            session.execute(PUT_WAITING, &[&seq, &state, &placed.run_at, &spent, &placed.flags]).await?;
        }
        State::Running | State::Completed => {}
        State::Failed | State::Cancelled | State::Dropped => {
            session.execute(PUT_OVER, &[&seq, &state, &placed.ended_at, &placed.reason]).await?;
        }
    }
    if placed.to.is_terminal() && placed.flags & HOLDS_KEY != 0 {
        session.execute(RELEASE_KEY, &[&seq]).await?;
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
pub(super) async fn note(session: &mut Session<'_>, seq: i64, line: &Move<'_>) -> Result<(), Error> {
    let cause = line.cause.map(|cause| sql_code(cause.code()));
    let (state, attempts) = (sql_code(line.to.code()), sql_count(line.attempts));
    session
        .execute(
            "INSERT INTO move (seq, at, cause, state, attempts, actor, reason) VALUES ($1, $2, $3, $4, $5, $6, $7)",
            &[&seq, &line.at, &cause, &state, &attempts, &line.actor, &line.reason],
        )
        .await?;
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
    /// Whether it is available in the stream of its lane, and has no row that says so.
    pub(super) streamed: bool,
}

/// The columns by which [`read_place`] finds the state of `job j`, and the joins that they need. A job is in at most one
/// of the tables; of one that is in none, its block and its attempts tell.
pub(super) const PLACE_COLUMNS: &str = "\
    CASE WHEN r.seq IS NOT NULL THEN 3::smallint WHEN w.seq IS NOT NULL THEN w.state
         WHEN x.seq IS NOT NULL THEN 4::smallint WHEN o.seq IS NOT NULL THEN o.state
         WHEN n.attempt IS NOT NULL THEN 6::smallint WHEN h.worker IS NOT NULL THEN 4::smallint
         WHEN d.worker IS NOT NULL THEN 6::smallint ELSE 3::smallint END,
    coalesce(r.attempts, w.attempts, x.attempt, n.attempt,
             CASE WHEN h.worker IS NOT NULL OR d.worker IS NOT NULL THEN 1 END, 0),
    coalesce(r.flags, w.flags, x.flags, 0::bigint), j.lane, j.run_at, x.cancel_at IS NOT NULL,
    r.seq IS NULL";

/// See [`PLACE_COLUMNS`]. The limits keep each lookup one by index.
pub(super) const PLACE_JOINS: &str = "\
    LEFT JOIN ready r ON r.lane = j.lane AND r.ready_at = j.run_at AND r.seq = j.seq
    LEFT JOIN waiting w ON w.seq = j.seq
    LEFT JOIN running x ON x.seq = j.seq
    LEFT JOIN over o ON o.seq = j.seq
    LEFT JOIN LATERAL (
        SELECT a.attempt, a.claimed_at, a.ended_at, a.worker, a.error FROM attempt a
        WHERE a.seq = j.seq ORDER BY a.attempt DESC LIMIT 1) n ON true
    LEFT JOIN LATERAL (
        SELECT b.worker, b.claimed_at FROM block b
        WHERE n.attempt IS NULL AND j.is_streamed AND b.seqs @> j.seq LIMIT 1) h ON true
    LEFT JOIN LATERAL (
        SELECT c.worker, c.claimed_at, c.claimed_at + time_at(c.times, place_in(c.seqs, j.seq), 1) AS ended_at
        FROM completion c
        WHERE n.attempt IS NULL AND h.worker IS NULL AND c.seqs @> j.seq LIMIT 1) d ON true";

/// Reads [`PLACE_COLUMNS`] from column `at` on.
pub(super) fn read_place(row: &Row, at: usize) -> Result<Place, Error> {
    let state = State::from_code(code(row, at)?).ok_or_else(|| vanished("a known state"))?;
    Ok(Place {
        state,
        attempts: count(row, at + 1)?,
        flags: get(row, at + 2)?,
        lane: get(row, at + 3)?,
        run_at: get(row, at + 4)?,
        cancel_requested: get(row, at + 5)?,
        streamed: state == State::Available && get(row, at + 6)?,
    })
}

/// Where jobs are now, as one statement sees them. Of many jobs, blocks and completions are looked up for those near each other
/// together: one lookup for each job, as by [`PLACE_JOINS`], takes 20 us in an index of ranges.
pub(super) async fn find(session: &mut Session<'_>, seqs: &[i64]) -> Result<HashMap<i64, Place>, Error> {
    let rows = session.all(FIND, &[&seqs]).await?;
    let (mut held, mut done, mut jobs) = (Spans::default(), Spans::default(), Vec::new());
    for row in &rows {
        match get::<i16>(row, 0)? {
            0 => jobs.push(row),
            1 => held.add(row)?,
            _ => done.add(row)?,
        }
    }
    let mut places = HashMap::with_capacity(jobs.len());
    for row in jobs {
        let (seq, is_streamed): (i64, bool) = (get(row, 3)?, get(row, 10)?);
        let known = get::<Option<i16>>(row, 4)?.map(|_| code(row, 4)).transpose()?;
        let attempts = get::<Option<i32>>(row, 5)?.map(|_| count(row, 5)).transpose()?;
        let is_held = attempts.is_none() && is_streamed && held.has(seq);
        let is_done = attempts.is_none() && !is_held && done.has(seq);
        let state = match known {
            Some(code) => State::from_code(code).ok_or_else(|| vanished("a known state"))?,
            None if is_held => State::Running,
            None if is_done => State::Completed,
            None => State::Available,
        };
        let place = Place {
            state,
            attempts: attempts.unwrap_or(u32::from(is_held || is_done)),
            flags: get(row, 6)?,
            lane: get(row, 7)?,
            run_at: get(row, 8)?,
            cancel_requested: get(row, 9)?,
            streamed: known.is_none() && state == State::Available,
        };
        places.insert(seq, place);
    }
    Ok(places)
}

/// Numbers of jobs, as the ranges of blocks or of completions.
#[derive(Default)]
struct Spans(BTreeMap<i64, i64>);

impl Spans {
    fn add(&mut self, row: &Row) -> Result<(), Error> {
        let (lows, highs): (Vec<i64>, Vec<i64>) = (get(row, 1)?, get(row, 2)?);
        self.0.extend(lows.into_iter().zip(highs));
        Ok(())
    }

    fn has(&self, seq: i64) -> bool {
        self.0.range(..=seq).next_back().is_some_and(|(_, high)| *high > seq)
    }
}

/// Keeps claims from the lanes until the end of the transaction. All that will be needed at once, in one order: claims
/// lock them so, too.
pub(super) async fn lock_lanes(session: &mut Session<'_>, lanes: &[i64]) -> Result<(), Error> {
    session.all(LOCK_LANES, &[&lanes]).await.map(drop)
}

/// Takes a job out of the table of its state; `false` when it is there no more, because somebody else moved it.
pub(super) async fn take(session: &mut Session<'_>, seq: i64, place: &Place) -> Result<bool, Error> {
    let (attempts, flags) = (sql_count(place.attempts), place.flags);
    let taken = match place.state {
        State::Available if place.streamed => {
            lock_lanes(session, &[place.lane]).await?;
            session.all(LEAVE_STREAM, &[&[seq].as_slice()]).await?.len() as u64
        }
        State::Available => {
            session.execute(TAKE_READY, &[&place.lane, &place.run_at, &seq, &attempts, &flags]).await?
        }
        State::Held | State::Blocked | State::Scheduled | State::Retryable => {
            let state = sql_code(place.state.code());
            session.execute(TAKE_WAITING, &[&seq, &state, &attempts, &flags]).await?
        }
        State::Running => session.execute("DELETE FROM running WHERE seq = $1", &[&seq]).await?,
        State::Failed | State::Cancelled | State::Dropped => session.execute(TAKE_OVER, &[&seq]).await?,
        State::Completed => 1,
    };
    Ok(taken == 1)
}

/// Of each job what the tables with rows of its own say, and the ranges of the blocks and completions near these jobs. The limits keep
/// each lookup one by index: by statistics of before a large fill a table is small enough to be walked for each job.
const FIND: &str = "SELECT 0::smallint, NULL::bigint[], NULL::bigint[], j.seq,
        CASE WHEN r.seq IS NOT NULL THEN 3::smallint WHEN w.seq IS NOT NULL THEN w.state
             WHEN x.seq IS NOT NULL THEN 4::smallint WHEN o.seq IS NOT NULL THEN o.state
             WHEN n.attempt IS NOT NULL THEN 6::smallint END,
        coalesce(r.attempts, w.attempts, x.attempt, n.attempt),
        coalesce(r.flags, w.flags, x.flags, 0::bigint), j.lane, j.run_at, x.cancel_at IS NOT NULL, j.is_streamed
    FROM job j
        LEFT JOIN LATERAL (
            SELECT r.seq, r.attempts, r.flags FROM ready r
            WHERE r.lane = j.lane AND r.ready_at = j.run_at AND r.seq = j.seq LIMIT 1) r ON true
        LEFT JOIN LATERAL (
            SELECT w.seq, w.state, w.attempts, w.flags FROM waiting w WHERE w.seq = j.seq LIMIT 1) w ON true
        LEFT JOIN LATERAL (
            SELECT x.seq, x.attempt, x.flags, x.cancel_at FROM running x WHERE x.seq = j.seq LIMIT 1) x ON true
        LEFT JOIN LATERAL (SELECT o.seq, o.state FROM over o WHERE o.seq = j.seq LIMIT 1) o ON true
        LEFT JOIN LATERAL (
            SELECT a.attempt FROM attempt a WHERE a.seq = j.seq ORDER BY a.attempt DESC LIMIT 1) n ON true
    WHERE j.seq = ANY($1::bigint[])
    UNION ALL
    SELECT 1::smallint, ARRAY(SELECT lower(r) FROM unnest(b.seqs) AS r), ARRAY(SELECT upper(r) FROM unnest(b.seqs) AS r),
           NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
    FROM spans($1::bigint[]) s JOIN block b ON b.seqs && s.span
    UNION ALL
    SELECT 2::smallint, ARRAY(SELECT lower(r) FROM unnest(c.seqs) AS r), ARRAY(SELECT upper(r) FROM unnest(c.seqs) AS r),
           NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
    FROM spans($1::bigint[]) s JOIN completion c ON c.seqs && s.span";
// The statements that move a job.
pub(super) const MOVE_TIME: &str = "UPDATE job SET run_at = $2 WHERE seq = $1";
pub(super) const PUT_READY: &str = "INSERT INTO ready (lane, ready_at, seq, attempts, flags)
    SELECT lane, run_at, seq, $2, $3 FROM job WHERE seq = $1";
pub(super) const PUT_WAITING: &str = "INSERT INTO waiting (seq, lane, state, due, attempts, flags)
    SELECT seq, lane, $2, $3, $4, $5 FROM job WHERE seq = $1";
pub(super) const PUT_OVER: &str = "INSERT INTO over (seq, state, ended_at, reason) VALUES ($1, $2, $3, $4)";
/// Keeps the key for a later run on request, and frees it.
pub(super) const RELEASE_KEY: &str = "WITH freed AS (
        DELETE FROM unique_key WHERE seq = $1 RETURNING seq, namespace, kind, key, scope)
    INSERT INTO unique_past (seq, namespace, kind, key, scope) SELECT seq, namespace, kind, key, scope FROM freed";
// With all that was read of the row: the job may have run meanwhile, and be back.
pub(super) const TAKE_READY: &str =
    "DELETE FROM ready WHERE lane = $1 AND ready_at = $2 AND seq = $3 AND attempts = $4 AND flags = $5";
pub(super) const TAKE_WAITING: &str =
    "DELETE FROM waiting WHERE seq = $1 AND state = $2 AND attempts = $3 AND flags = $4";
pub(super) const LOCK_LANES: &str =
    "SELECT FROM lane WHERE lane = ANY($1::bigint[]) ORDER BY lane FOR UPDATE";
/// Takes jobs out of the streams of their lanes, which are locked; gives what a row of `ready` would say of each. The `CASE` hides
/// the condition of the index of streams from the planner: by statistics of before a large fill that index is empty, and is walked.
pub(super) const LEAVE_STREAM: &str = "UPDATE job j SET is_streamed = false
    WHERE j.seq = ANY($1::bigint[]) AND CASE WHEN j.is_streamed THEN EXISTS (
        SELECT FROM (
            SELECT h.xid, h.seq, h.late_xid, h.late_seq FROM lane_head h WHERE h.lane = j.lane
            ORDER BY h.n DESC LIMIT 1) h
        WHERE (j.xid, j.seq) > (h.xid, h.seq) OR EXISTS (
            SELECT FROM unnest(h.late_xid, h.late_seq) AS late (xid, seq)
            WHERE late.xid = j.xid AND late.seq < j.seq)) END
    RETURNING j.seq, 3::smallint, 0, 0::bigint";
pub(super) const TAKE_OVER: &str = "DELETE FROM over WHERE seq = $1";
