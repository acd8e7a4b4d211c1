//! What people do to jobs, and to queues.

use taskwright_core::{
    Actor, Cause, JobId, Namespace, Priority, QueueName, State, Timestamp, attempt, state,
};

use super::attachment;
use super::bulk;
use super::completions;
use super::enqueue::{HOLDS_KEY, STOP_FAILS};
use super::finish::{array, end_attempt, read_running};
use super::held;
use super::place::{self, Move, PLACE_COLUMNS, PLACE_JOINS, Place, Placed};
use super::session::{LaneKey, Session};
use super::step;
use super::submitter::FORGET_CONSUMED;
use crate::bulk::NOT_REDONE;
use crate::change::{Change, Changed, RUNS_ONCE, Seen, check_asleep, freed};
use crate::ended::Ended;
use crate::error::Error;

/// Who does it, when and why.
pub(super) struct By<'a> {
    pub(super) now: Timestamp,
    pub(super) actor: &'a Actor,
    pub(super) reason: Option<&'a str>,
}

impl By<'_> {
    /// Tells of it in the job's timeline.
    fn note(
        &self,
        session: &mut Session<'_>,
        seq: i64,
        from: &Place,
        cause: Option<Cause>,
        to: State,
        reason: Option<&str>,
    ) -> Result<(), Error> {
        let (at, actor) = (self.now.as_micros(), self.actor.as_str());
        place::note(session, seq, &Move { at, cause, to, attempts: from.attempts, actor, reason })
    }
}

/// Changes jobs, each for itself. See [`Store::change`](crate::Store::change).
pub(super) fn change(
    session: &mut Session<'_>,
    ids: &[JobId],
    change: Change,
    by: &By<'_>,
) -> Result<Vec<Changed>, Error> {
    let find = format!("SELECT j.seq, {PLACE_COLUMNS} FROM taskwright_job j {PLACE_JOINS} WHERE j.id = ?1");
    let mut changed = Vec::with_capacity(ids.len());
    for id in ids {
        let found = session
            .first(&find, [id.as_bytes()], |row| Ok((row.get::<_, i64>(0)?, place::read_place(row, 1)?)))?;
        changed.push(match found {
            Some((seq, place)) => change_one(session, seq, &place, change, by)?,
            None => Changed::Unknown,
        });
    }
    Ok(changed)
}

/// Changes jobs that are where they were seen. See [`Store::change_seen`](crate::Store::change_seen).
pub(super) fn change_seen(
    session: &mut Session<'_>,
    seen: &[Seen],
    change: Change,
    by: &By<'_>,
) -> Result<Vec<Changed>, Error> {
    let find = format!("SELECT j.seq, {PLACE_COLUMNS} FROM taskwright_job j {PLACE_JOINS} WHERE j.id = ?1");
    let mut changed = Vec::with_capacity(seen.len());
    for seen in seen {
        let found = session.first(&find, [seen.id.as_bytes()], |row| {
            Ok((row.get::<_, i64>(0)?, place::read_place(row, 1)?))
        })?;
        changed.push(match found {
            Some((seq, place)) if seen.is_there(place.state, place.attempts, place.run_at) => {
                change_one(session, seq, &place, change, by)?
            }
            Some(_) => Seen::skipped(),
            None => Changed::Unknown,
        });
    }
    Ok(changed)
}

fn change_one(
    session: &mut Session<'_>,
    seq: i64,
    place: &Place,
    change: Change,
    by: &By<'_>,
) -> Result<Changed, Error> {
    let state = place.state;
    match change {
        Change::Cancel if state == State::Running => request_stop(session, seq, place, false, by),
        Change::Fail if state == State::Running => request_stop(session, seq, place, true, by),
        Change::Fail => Ok(Changed::Skipped(format!("it is {state}"))),
        Change::Drop if !state.is_waiting() => Ok(Changed::Skipped(format!("it is {state}"))),
        Change::Drop => move_to(session, seq, place, Cause::Drop, State::Dropped, None, by),
        Change::Cancel => move_to(session, seq, place, Cause::Cancel, State::Cancelled, None, by),
        Change::Redo { repeat: false } if state == State::Completed => {
            Ok(Changed::Skipped("it is completed; --repeat runs it again".to_owned()))
        }
        Change::Redo { .. } if state.is_terminal() => redo(session, seq, place, by),
        Change::Redo { .. } => Ok(Changed::Skipped(format!("it is {state}"))),
        Change::RunNow => move_to(session, seq, place, Cause::RunNow, State::Available, Some(by.now), by),
        Change::Awaken => match check_asleep(state, last_cause(session, seq)?) {
            Ok(()) => move_to(session, seq, place, Cause::RunNow, State::Available, Some(by.now), by),
            Err(why) => Ok(Changed::Skipped(why)),
        },
        Change::Release => {
            let later = place.run_at > by.now.as_micros();
            let to = if later { State::Scheduled } else { State::Available };
            let run_at = Timestamp::from_micros(place.run_at).max(by.now);
            move_to(session, seq, place, Cause::Release, to, Some(run_at), by)
        }
        Change::Delay { until } if state::may(state, Cause::Delay) && until <= by.now => {
            Ok(Changed::Skipped("the moment has passed; run-now starts it at once".to_owned()))
        }
        Change::Delay { until } => {
            move_to(session, seq, place, Cause::Delay, State::Scheduled, Some(until), by)
        }
        Change::Reprioritise { priority } => reprioritise(session, seq, place, priority, by),
        Change::Free => free(session, seq, place, by),
        Change::Delete => delete(session, seq, place),
    }
}

/// Why a job moved last.
fn last_cause(session: &mut Session<'_>, seq: i64) -> Result<Option<Cause>, Error> {
    let code = session.first(LAST_CAUSE, [seq], |row| row.get(0))?;
    Ok(code.and_then(Cause::from_code))
}

/// Runs a job once more that is over, under the unique key that it had.
fn redo(session: &mut Session<'_>, seq: i64, place: &Place, by: &By<'_>) -> Result<Changed, Error> {
    if bulk::is_parent(session, seq)? {
        return Ok(Changed::Skipped(NOT_REDONE.to_owned()));
    }
    if let Some(holder) = session.first(KEY_HOLDER, [seq], |row| row.get(0).map(JobId::from_bytes))? {
        return Ok(Changed::Skipped(format!("its unique key is held by {holder}")));
    }
    let keys = session.execute(RETAKE_KEY, [seq])?;
    if keys > 0 {
        session.execute(FORGET_KEY, [seq])?;
    }
    session.execute("UPDATE taskwright_job SET attempts_base = ?2 WHERE seq = ?1", (seq, place.attempts))?;
    if place.state == State::Completed {
        session.execute(step::FORGET, [seq])?;
    }
    session.execute(FORGET_CONSUMED, [seq])?;
    session.execute(FORGET_CANCEL, [seq])?;
    let place = Place { flags: if keys > 0 { HOLDS_KEY } else { 0 }, ..*place };
    move_to(session, seq, &place, Cause::Redo, State::Available, Some(by.now), by)
}

/// Moves a job as the table allows, or says where it is instead.
fn move_to(
    session: &mut Session<'_>,
    seq: i64,
    place: &Place,
    cause: Cause,
    to: State,
    run_at: Option<Timestamp>,
    by: &By<'_>,
) -> Result<Changed, Error> {
    if state::check(place.state, cause, to).is_err() {
        return Ok(Changed::Skipped(format!("it is {}", place.state)));
    }
    place::take(session, seq, place)?;
    let now = by.now.as_micros();
    place::put(
        session,
        seq,
        &Placed {
            to,
            run_at: run_at.map(Timestamp::as_micros),
            ended_at: now,
            spent: place.attempts,
            flags: place.flags,
            reason: by.reason,
        },
    )?;
    by.note(session, seq, place, Some(cause), to, by.reason)?;
    if place.state == State::Blocked {
        bulk::wake(session, by.now, seq)?;
    }
    Ok(Changed::Done)
}

/// Stores that a running job is to stop; its worker hears of it, and the job ends when its handler does.
fn request_stop(
    session: &mut Session<'_>,
    seq: i64,
    place: &Place,
    fails: bool,
    by: &By<'_>,
) -> Result<Changed, Error> {
    if place.cancel_requested {
        return Ok(Changed::Skipped("a cancel was requested already".to_owned()));
    }
    // A cancel is requested in a row of the job's own.
    held::set_apart(session, None, vec![seq])?;
    session.execute(
        REQUEST_STOP,
        (seq, by.now.as_micros(), by.actor.as_str(), by.reason, if fails { STOP_FAILS } else { 0 }),
    )?;
    if !fails {
        session.execute(ASK_CANCEL, [seq])?;
    }
    let what = if fails { "failure requested" } else { "cancel requested" };
    let told = by.reason.map_or_else(|| what.to_owned(), |reason| format!("{what}: {reason}"));
    by.note(session, seq, place, None, State::Running, Some(&told))?;
    session.hint = true;
    Ok(Changed::Requested)
}

fn reprioritise(
    session: &mut Session<'_>,
    seq: i64,
    place: &Place,
    priority: Priority,
    by: &By<'_>,
) -> Result<Changed, Error> {
    if !place.state.is_waiting() {
        return Ok(Changed::Skipped(format!("it is {}", place.state)));
    }
    let info = session.lane_info(place.lane)?;
    let old = info.key.priority;
    if old == priority {
        return Ok(Changed::Skipped("it has that priority already".to_owned()));
    }
    let lane = session.lane(&LaneKey { priority, ..info.key.clone() })?;
    // Only the ready table is sorted by lane.
    if place.state == State::Available {
        place::take(session, seq, place)?;
    }
    session.execute("UPDATE taskwright_job SET lane = ?2 WHERE seq = ?1", (seq, lane))?;
    if place.state == State::Available {
        let placed = Placed {
            to: State::Available,
            run_at: None,
            ended_at: 0,
            spent: place.attempts,
            flags: place.flags,
            reason: None,
        };
        place::put(session, seq, &placed)?;
    }
    let what = format!("priority {old} -> {priority}");
    let told = by.reason.map_or_else(|| what.clone(), |reason| format!("{what}: {reason}"));
    by.note(session, seq, place, None, place.state, Some(&told))?;
    Ok(Changed::Done)
}

/// Takes a running job from its attempt.
fn free(session: &mut Session<'_>, seq: i64, place: &Place, by: &By<'_>) -> Result<Changed, Error> {
    if place.state == State::Running {
        held::set_apart(session, None, vec![seq])?;
    }
    let found = session.first(RUNNING, [seq], |row| {
        Ok((read_running(row)?, row.get::<_, i64>(7)?, row.get::<_, bool>(8)?))
    })?;
    let Some((running, worker, at_most_once)) = found else {
        return Ok(Changed::Skipped(format!("it is {}", place.state)));
    };
    if at_most_once {
        return Ok(Changed::Skipped(RUNS_ONCE.to_owned()));
    }
    let ended = Ended::without_start(worker, &running, by.now, None);
    let decision = attempt::free(freed(by.actor.as_str(), by.reason));
    end_attempt(session, seq, running, decision, &ended)?;
    Ok(Changed::Done)
}

/// Removes a job that is over, and everything about it.
fn delete(session: &mut Session<'_>, seq: i64, place: &Place) -> Result<Changed, Error> {
    if !place.state.is_terminal() {
        return Ok(Changed::Skipped(format!("it is {}; cancel it first", place.state)));
    }
    remove(session, vec![seq])?;
    Ok(Changed::Done)
}

/// Removes every row of jobs that are over.
pub(super) fn remove(session: &mut Session<'_>, mut seqs: Vec<i64>) -> Result<(), Error> {
    if seqs.is_empty() {
        return Ok(());
    }
    seqs.sort_unstable();
    completions::forget(session, &seqs)?;
    let seqs = array(seqs.into_iter());
    for sql in REMOVE {
        session.execute(sql, [seqs.clone()])?;
    }
    Ok(())
}

/// Pauses or resumes a queue. See [`Store::pause`](crate::Store::pause).
pub(super) fn pause(
    session: &mut Session<'_>,
    namespace: &Namespace,
    queue: &QueueName,
    paused: bool,
) -> Result<bool, Error> {
    if paused {
        // It need not have had jobs yet.
        session.queue(namespace, queue)?;
    }
    let changed = session.execute(
        "UPDATE taskwright_queue SET paused = ?3 WHERE namespace = ?1 AND name = ?2 AND paused <> ?3",
        (namespace.as_str(), queue.as_str(), paused),
    )?;
    session.hint = !paused;
    Ok(changed > 0)
}

/// Cancels waiting jobs of a queue. See [`Store::purge`](crate::Store::purge).
pub(super) fn purge(
    session: &mut Session<'_>,
    namespace: &Namespace,
    queue: &QueueName,
    limit: usize,
    by: &By<'_>,
) -> Result<usize, Error> {
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    let lanes = session.all(
        "SELECT l.lane FROM taskwright_lane l JOIN taskwright_queue q ON q.queue = l.queue
         WHERE q.namespace = ?1 AND q.name = ?2",
        (namespace.as_str(), queue.as_str()),
        |row| row.get::<_, i64>(0),
    )?;
    let mut waiting = Vec::new();
    for lane in lanes {
        waiting.extend(waiting_in(session, lane, limit)?);
        waiting.extend(session.all(
            "SELECT seq FROM taskwright_ready WHERE lane = ?1 ORDER BY ready_at, seq LIMIT ?2",
            (lane, most),
            |row| row.get::<_, i64>(0),
        )?);
    }
    waiting.sort_unstable();
    waiting.truncate(limit);

    let find = format!("SELECT {PLACE_COLUMNS} FROM taskwright_job j {PLACE_JOINS} WHERE j.seq = ?1");
    let mut purged = 0;
    for seq in waiting {
        if let Some(place) = session.first(&find, [seq], |row| place::read_place(row, 0))? {
            let done = move_to(session, seq, &place, Cause::Cancel, State::Cancelled, None, by)?;
            purged += usize::from(done == Changed::Done);
        }
    }
    Ok(purged)
}

/// The oldest jobs of a lane that wait for something else than a worker.
///
/// The jobs of the lane and those that wait are both sorted by seq. Each tells where to go on in the other, so that
/// neither a lane full of finished jobs nor all that waits elsewhere is walked.
fn waiting_in(session: &mut Session<'_>, lane: i64, limit: usize) -> Result<Vec<i64>, Error> {
    let mut found = Vec::new();
    let mut from = 0;
    while found.len() < limit {
        let Some(in_lane) = session.first(NEXT_IN_LANE, (lane, from), |row| row.get::<_, i64>(0))? else {
            break;
        };
        let Some(waits) = session.first(NEXT_WAITING, [in_lane], |row| row.get::<_, i64>(0))? else { break };
        if waits == in_lane {
            found.push(waits);
            from = waits + 1;
        } else {
            from = waits;
        }
    }
    Ok(found)
}

// The statements of changes; plans.rs holds each of them to an index.
pub(super) const NEXT_IN_LANE: &str =
    "SELECT seq FROM taskwright_job WHERE lane = ?1 AND seq >= ?2 ORDER BY seq LIMIT 1";
pub(super) const NEXT_WAITING: &str =
    "SELECT seq FROM taskwright_waiting WHERE seq >= ?1 ORDER BY seq LIMIT 1";
pub(super) const LAST_CAUSE: &str =
    "SELECT cause FROM taskwright_move WHERE seq = ?1 AND cause IS NOT NULL ORDER BY move DESC LIMIT 1";
pub(super) const KEY_HOLDER: &str = "SELECT j.id FROM taskwright_unique_past p
         CROSS JOIN taskwright_unique u ON u.namespace = p.namespace AND u.kind = p.kind AND u.key = p.key
         CROSS JOIN taskwright_job j ON j.seq = u.seq WHERE p.seq = ?1";
pub(super) const RETAKE_KEY: &str = "INSERT INTO taskwright_unique (namespace, kind, key, seq, scope)
         SELECT namespace, kind, key, seq, scope FROM taskwright_unique_past WHERE seq = ?1";
pub(super) const REQUEST_STOP: &str = "UPDATE taskwright_running
     SET cancel_at = ?2, cancel_actor = ?3, cancel_reason = ?4, flags = flags | ?5 WHERE seq = ?1";
/// Keeps that somebody asked, for when the running row is gone.
const ASK_CANCEL: &str = "INSERT INTO taskwright_cancel_asked (seq) VALUES (?1) ON CONFLICT (seq) DO NOTHING";
pub(super) const FORGET_CANCEL: &str = "DELETE FROM taskwright_cancel_asked WHERE seq = ?1";
/// Removes what there is about jobs, each from its table.
pub(super) const REMOVE: [&str; 14] = [
    "DELETE FROM taskwright_over WHERE seq IN rarray(?1)",
    "DELETE FROM taskwright_attempt WHERE seq IN rarray(?1)",
    "DELETE FROM taskwright_move WHERE seq IN rarray(?1)",
    "DELETE FROM taskwright_log WHERE seq IN rarray(?1)",
    "DELETE FROM taskwright_unique WHERE seq IN rarray(?1)",
    "DELETE FROM taskwright_unique_past WHERE seq IN rarray(?1)",
    "DELETE FROM taskwright_bulk WHERE seq IN rarray(?1)",
    "DELETE FROM taskwright_comment WHERE seq IN rarray(?1)",
    "DELETE FROM taskwright_consumed WHERE seq IN rarray(?1)",
    "DELETE FROM taskwright_cancel_asked WHERE seq IN rarray(?1)",
    attachment::REMOVE[0],
    attachment::REMOVE[1],
    step::REMOVE,
    "DELETE FROM taskwright_job WHERE seq IN rarray(?1)",
];
pub(super) const FORGET_KEY: &str = "DELETE FROM taskwright_unique_past WHERE seq = ?1";
/// A running job, whoever runs it.
pub(super) const RUNNING: &str =
    "SELECT x.seq, x.attempt, x.claimed_at, x.flags, x.cancel_at IS NOT NULL, x.lane, x.ready_at,
            x.worker, j.at_most_once
     FROM taskwright_running x CROSS JOIN taskwright_job j ON j.seq = x.seq WHERE x.seq = ?1";

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rusqlite::StatementStatus;
    use taskwright_core::{NewJob, UniqueScope};

    use super::super::SqliteStore;
    use super::super::open::Options;
    use super::super::session::{Lanes, Session};
    use crate::conformance::fixture::*;
    use crate::{Change, Changed};

    /// The tables that have a row that belongs to some job.
    fn tables_with_jobs(conn: &rusqlite::Connection) -> Vec<String> {
        let sql =
            "SELECT DISTINCT t.name FROM sqlite_schema t JOIN pragma_table_info(t.name) c ON c.name IN ('seq', 'lo')
                   WHERE t.type = 'table' ORDER BY t.name";
        let mut statement = conn.prepare(sql).unwrap();
        let tables: Vec<String> =
            statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
        let holds = |table: &String| {
            conn.query_row(&format!("SELECT EXISTS (SELECT 1 FROM {table})"), [], |row| row.get(0)).unwrap()
        };
        tables.into_iter().filter(holds).collect()
    }

    #[tokio::test]
    async fn a_purge_steps_over_what_waits_elsewhere() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&directory.path().join("taskwright.db"), Options::default()).unwrap();
        let conn = store.opened.connect_reader().unwrap();
        let process = Process::of(Arc::new(store));
        // Three that are over in one queue, and between them a crowd that waits in another.
        for n in [0, 1_000, 2_000] {
            process.enqueue(0, [job(n)]).await;
            process.change(1, n, Change::Cancel).await;
            let elsewhere = NewJob { queue: queue("elsewhere"), run_at: Some(at(99)), ..job(0) };
            process.enqueue(1, (n + 1..n + 1_000).map(|n| NewJob { id: id(n), ..elsewhere.clone() })).await;
        }
        let sql = "SELECT lane FROM taskwright_job WHERE id = ?1";
        let lane = conn.query_row(sql, [id(0).as_bytes()], |row| row.get(0)).unwrap();
        let mut lanes = Lanes::default();
        let found = super::waiting_in(&mut Session::new(&conn, &mut lanes), lane, 10).unwrap();
        assert_eq!(found, Vec::<i64>::new());
        for sql in [super::NEXT_IN_LANE, super::NEXT_WAITING] {
            let steps = conn.prepare_cached(sql).unwrap().get_status(StatementStatus::VmStep);
            assert!((1..200).contains(&steps), "{steps} steps: {sql}");
        }
    }

    #[tokio::test]
    async fn a_deleted_job_leaves_no_row_behind() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&directory.path().join("taskwright.db"), Options::default()).unwrap();
        let conn = store.opened.connect_reader().unwrap();
        let process = Process::of(Arc::new(store));
        let worker = process.worker(1).await;
        let scopes = [UniqueScope::Waiting, UniqueScope::Active];
        for (n, scope) in (1..).zip(scopes) {
            process.enqueue(0, [NewJob { unique: unique("invoice", scope), ..job(n) }]).await;
            let claimed = worker.take(1).await;
            worker.end(2, &claimed, completed()).await;
        }
        process.enqueue(0, [job(3)]).await;
        let claimed = worker.take(1).await;
        worker.end(2, &claimed, completed()).await;
        let there = tables_with_jobs(&conn);
        for table in ["taskwright_unique_past", "taskwright_completion"] {
            assert!(there.contains(&table.to_owned()), "{table} {there:?}");
        }
        for n in [1, 2, 3] {
            assert_eq!(process.change(3, n, Change::Delete).await, Changed::Done);
        }
        assert_eq!(tables_with_jobs(&conn), Vec::<String>::new());
    }
}
