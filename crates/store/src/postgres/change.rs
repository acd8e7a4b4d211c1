//! What people do to jobs, and to queues.
//!
//! Whoever changes a job locks its row in `job` first, so that there is one such change of it at a time. Claims,
//! promotions and ends of attempts do not: they go by the row of its place. So a change takes that row as it has read it,
//! or reads again.

use std::collections::HashMap;

use taskwright_core::{
    Actor, Cause, JobId, Namespace, Priority, QueueName, State, Timestamp, attempt, state,
};
use tokio_postgres::Row;

use super::bulk;
use super::enqueue::{HOLDS_KEY, STOP_FAILS};
use super::finish::{end_attempt, read_running};
use super::place::{self, LEAVE_STREAM, Move, Place, Placed};
use super::rest;
use super::rollup;
use super::session::{LaneKey, Session, Uuid, code, get, sql_code, sql_count, vanished};
use super::step;
use super::submitter::FORGET_CONSUMED;
use crate::bulk::NOT_REDONE;
use crate::change::{Change, Changed, RUNS_ONCE, Seen, check_asleep, freed};
use crate::ended::Ended;
use crate::error::{Area, Error};

/// How often a job is looked at that is always gone from where it was seen.
const LOOKS_MAX: usize = 10;

/// Who does it, when and why.
pub(super) struct By<'a> {
    pub(super) now: Timestamp,
    pub(super) actor: &'a Actor,
    pub(super) reason: Option<&'a str>,
}

impl By<'_> {
    /// Tells of it in the job's timeline.
    async fn note(
        &self,
        session: &mut Session<'_>,
        seq: i64,
        from: &Place,
        cause: Option<Cause>,
        to: State,
        reason: Option<&str>,
    ) -> Result<(), Error> {
        let (at, actor) = (self.now.as_micros(), self.actor.as_str());
        place::note(session, seq, &Move { at, cause, to, attempts: from.attempts, actor, reason }).await
    }
}

/// Changes jobs, each for itself. See [`Store::change`](crate::Store::change).
pub(super) async fn change(
    session: &mut Session<'_>,
    ids: &[JobId],
    change: Change,
    by: &By<'_>,
) -> Result<Vec<Changed>, Error> {
    let locked = lock(session, ids, change).await?;
    // A statement of its own: it must see what was committed while locks were waited for.
    let mut places = place::find(session, &locked.values().copied().collect::<Vec<_>>()).await?;
    lock_streams(session, &places).await?;
    let mut changed = Vec::with_capacity(ids.len());
    for id in ids {
        changed.push(match locked.get(id) {
            // A place is used once: it may be another one afterwards.
            Some(seq) => change_one(session, *seq, places.remove(seq), None, change, by).await?,
            None => Changed::Unknown,
        });
    }
    Ok(changed)
}

/// Changes jobs that are where they were seen. See [`Store::change_seen`](crate::Store::change_seen).
pub(super) async fn change_seen(
    session: &mut Session<'_>,
    seen: &[Seen],
    change: Change,
    by: &By<'_>,
) -> Result<Vec<Changed>, Error> {
    let ids: Vec<JobId> = seen.iter().map(|seen| seen.id).collect();
    let locked = lock(session, &ids, change).await?;
    let mut places = place::find(session, &locked.values().copied().collect::<Vec<_>>()).await?;
    lock_streams(session, &places).await?;
    let mut changed = Vec::with_capacity(seen.len());
    for seen in seen {
        changed.push(match locked.get(&seen.id) {
            Some(seq) => change_one(session, *seq, places.remove(seq), Some(seen), change, by).await?,
            None => Changed::Unknown,
        });
    }
    Ok(changed)
}

/// Locks the jobs against all other changes, and gives their numbers.
pub(super) async fn lock(
    session: &mut Session<'_>,
    ids: &[JobId],
    change: Change,
) -> Result<HashMap<JobId, i64>, Error> {
    let wanted: Vec<Uuid> = ids.iter().map(|id| Uuid::from(*id)).collect();
    let rows = session.all(FIND, &[&wanted]).await?;
    let seqs = rows.iter().map(|row| get(row, 0)).collect::<Result<Vec<i64>, Error>>()?;
    if change == Change::Cancel {
        bulk::lock_generators(session, &seqs).await?;
    }
    if matches!(change, Change::Cancel | Change::Fail | Change::Free) {
        // A cancel is requested in a row of the job's own, and an attempt ended.
        session.set_apart(&seqs, None).await?;
        // Whoever ends an attempt locks its running row, and then its job: here in the same order.
        session.all(LOCK_RUNNING, &[&seqs]).await?;
    }
    let rows = session.all(LOCK_JOBS, &[&seqs]).await?;
    rows.iter().map(|row| Ok((get::<Uuid>(row, 1)?.into(), get(row, 0)?))).collect()
}

/// Keeps claims from the jobs that are in streams.
async fn lock_streams(session: &mut Session<'_>, places: &HashMap<i64, Place>) -> Result<(), Error> {
    let mut lanes: Vec<i64> =
        places.values().filter(|place| place.streamed).map(|place| place.lane).collect();
    lanes.sort_unstable();
    lanes.dedup();
    if lanes.is_empty() { Ok(()) } else { place::lock_lanes(session, &lanes).await }
}

/// Changes a job that is locked. `seen` is where it was seen, if it was; somewhere else than is `expected` nothing is done.
async fn change_one(
    session: &mut Session<'_>,
    seq: i64,
    mut seen: Option<Place>,
    expected: Option<&Seen>,
    change: Change,
    by: &By<'_>,
) -> Result<Changed, Error> {
    for _ in 0..LOOKS_MAX {
        if seen.is_none() {
            seen = place::find(session, &[seq]).await?.remove(&seq);
        }
        // This very call may have removed it.
        let Some(place) = seen.take() else { return Ok(Changed::Unknown) };
        if expected.is_some_and(|seen| !seen.is_there(place.state, place.attempts, place.run_at)) {
            return Ok(Seen::skipped());
        }
        if let Some(changed) = change_at(session, seq, &place, change, by).await? {
            return Ok(changed);
        }
    }
    Err(Error::new(
        Area::Busy,
        "change the job",
        "it moved each time that it was to be changed",
        "try again; nothing was changed",
    ))
}

/// Changes a job that was seen at this place; `None`, and nothing is done, when it is there no more.
async fn change_at(
    session: &mut Session<'_>,
    seq: i64,
    place: &Place,
    change: Change,
    by: &By<'_>,
) -> Result<Option<Changed>, Error> {
    let state = place.state;
    match change {
        Change::Cancel if state == State::Running => request_stop(session, seq, place, false, by).await,
        Change::Fail if state == State::Running => request_stop(session, seq, place, true, by).await,
        Change::Fail => skipped(format!("it is {state}")),
        Change::Drop if !state.is_waiting() => skipped(format!("it is {state}")),
        Change::Drop => move_to(session, seq, place, Cause::Drop, State::Dropped, None, by).await,
        Change::Cancel => move_to(session, seq, place, Cause::Cancel, State::Cancelled, None, by).await,
        Change::Redo { repeat: false } if state == State::Completed => {
            skipped("it is completed; --repeat runs it again".to_owned())
        }
        Change::Redo { .. } if state.is_terminal() => redo(session, seq, place, by).await,
        Change::Redo { .. } => skipped(format!("it is {state}")),
        Change::RunNow => {
            move_to(session, seq, place, Cause::RunNow, State::Available, Some(by.now), by).await
        }
        Change::Awaken => match check_asleep(state, last_cause(session, seq).await?) {
            Ok(()) => move_to(session, seq, place, Cause::RunNow, State::Available, Some(by.now), by).await,
            Err(why) => skipped(why),
        },
        Change::Release => {
            let later = place.run_at > by.now.as_micros();
            let to = if later { State::Scheduled } else { State::Available };
            let run_at = Timestamp::from_micros(place.run_at).max(by.now);
            move_to(session, seq, place, Cause::Release, to, Some(run_at), by).await
        }
        Change::Delay { until } if state::may(state, Cause::Delay) && until <= by.now => {
            skipped("the moment has passed; run-now starts it at once".to_owned())
        }
        Change::Delay { until } => {
            move_to(session, seq, place, Cause::Delay, State::Scheduled, Some(until), by).await
        }
        Change::Reprioritise { priority } => reprioritise(session, seq, place, priority, by).await,
        Change::Free if state == State::Running => free(session, seq, by).await,
        Change::Free => skipped(format!("it is {state}")),
        Change::Delete => delete(session, seq, place).await,
    }
}

fn skipped(why: String) -> Result<Option<Changed>, Error> {
    Ok(Some(Changed::Skipped(why)))
}

/// Why a job moved last.
async fn last_cause(session: &mut Session<'_>, seq: i64) -> Result<Option<Cause>, Error> {
    let row = session.first(LAST_CAUSE, &[&seq]).await?;
    Ok(row.map(|row| code(&row, 0)).transpose()?.and_then(Cause::from_code))
}

/// Runs a job once more that is over, under the unique key that it had. Only who holds the lock moves a job that is over.
async fn redo(
    session: &mut Session<'_>,
    seq: i64,
    place: &Place,
    by: &By<'_>,
) -> Result<Option<Changed>, Error> {
    if bulk::is_parent(session, seq).await? {
        return skipped(NOT_REDONE.to_owned());
    }
    let flags = match retake_key(session, seq).await? {
        Key::None => 0,
        Key::Taken => HOLDS_KEY,
        Key::HeldBy(holder) => return skipped(format!("its unique key is held by {holder}")),
    };
    let attempts = sql_count(place.attempts);
    session.execute("UPDATE job SET attempts_base = $2 WHERE seq = $1", &[&seq, &attempts]).await?;
    if place.state == State::Completed {
        session.execute(step::FORGET, &[&seq]).await?;
    }
    session.execute(FORGET_CONSUMED, &[&seq]).await?;
    session.execute(FORGET_CANCEL, &[&seq]).await?;
    rest::end_in(session, place.lane).await?;
    let place = Place { flags, ..*place };
    let moved = move_to(session, seq, &place, Cause::Redo, State::Available, Some(by.now), by).await?;
    moved.map(Some).ok_or_else(|| vanished("a job that is over"))
}

/// What became of a unique key that a job had.
enum Key {
    /// It had none.
    None,
    Taken,
    HeldBy(JobId),
}

/// Takes the unique key that a job had, unless another holds it.
async fn retake_key(session: &mut Session<'_>, seq: i64) -> Result<Key, Error> {
    for _ in 0..LOOKS_MAX {
        // Waits for whoever is taking the key, or freeing it, at this moment.
        if session.execute(RETAKE_KEY, &[&seq]).await? > 0 {
            session.execute(FORGET_KEY, &[&seq]).await?;
            return Ok(Key::Taken);
        }
        let Some(row) = session.first(KEY_HOLDER, &[&seq]).await? else { return Ok(Key::None) };
        // Without a holder, it was freed between the two looks.
        if let Some(holder) = get::<Option<Uuid>>(&row, 0)? {
            return Ok(Key::HeldBy(holder.into()));
        }
    }
    Err(Error::new(
        Area::Busy,
        "run the job again",
        "others took and freed its unique key each time that it was looked at",
        "try again; nothing was changed",
    ))
}

/// Moves a job as the table allows, or says where it is instead.
async fn move_to(
    session: &mut Session<'_>,
    seq: i64,
    place: &Place,
    cause: Cause,
    to: State,
    run_at: Option<Timestamp>,
    by: &By<'_>,
) -> Result<Option<Changed>, Error> {
    if state::check(place.state, cause, to).is_err() {
        return skipped(format!("it is {}", place.state));
    }
    if !place::take(session, seq, place).await? {
        return Ok(None);
    }
    let placed = Placed {
        to,
        run_at: run_at.map(Timestamp::as_micros),
        ended_at: by.now.as_micros(),
        spent: place.attempts,
        flags: place.flags,
        reason: by.reason,
    };
    place::put(session, seq, &placed).await?;
    by.note(session, seq, place, Some(cause), to, by.reason).await?;
    if place.state == State::Blocked {
        bulk::wake(session, by.now, &[seq]).await?;
    }
    Ok(Some(Changed::Done))
}

/// Stores that a running job is to stop; its worker hears of it, and the job ends when its handler does.
async fn request_stop(
    session: &mut Session<'_>,
    seq: i64,
    place: &Place,
    fails: bool,
    by: &By<'_>,
) -> Result<Option<Changed>, Error> {
    if place.cancel_requested {
        return skipped("a cancel was requested already".to_owned());
    }
    let (attempt, at, actor) = (sql_count(place.attempts), by.now.as_micros(), by.actor.as_str());
    let flags = if fails { STOP_FAILS } else { 0 };
    let requested = session.execute(REQUEST_STOP, &[&seq, &attempt, &at, &actor, &by.reason, &flags]).await?;
    if requested == 0 {
        // It was claimed after the jobs had been set apart, and is in a block; or it has ended.
        session.set_apart(&[seq], None).await?;
        return Ok(None);
    }
    if !fails {
        session.execute(ASK_CANCEL, &[&seq]).await?;
    }
    let what = if fails { "failure requested" } else { "cancel requested" };
    let told = by.reason.map_or_else(|| what.to_owned(), |reason| format!("{what}: {reason}"));
    by.note(session, seq, place, None, State::Running, Some(&told)).await?;
    session.hint = true;
    Ok(Some(Changed::Requested))
}

async fn reprioritise(
    session: &mut Session<'_>,
    seq: i64,
    place: &Place,
    priority: Priority,
    by: &By<'_>,
) -> Result<Option<Changed>, Error> {
    if !place.state.is_waiting() {
        return skipped(format!("it is {}", place.state));
    }
    let info = session.lane_info(place.lane).await?;
    let old = info.priority;
    if old == priority {
        return skipped("it has that priority already".to_owned());
    }
    let lane = session.lane(&LaneKey { priority, ..(*info).clone() }).await?;
    // What is available is sorted by lane. Elsewhere it is enough that no promotion goes by the old lane meanwhile.
    let is_ready = place.state == State::Available;
    let is_there = if is_ready {
        place::take(session, seq, place).await?
    } else {
        session.first(LOCK_WAITING, &[&seq, &sql_code(place.state.code())]).await?.is_some()
    };
    if !is_there {
        return Ok(None);
    }
    session.execute(CHANGE_LANE, &[&seq, &lane]).await?;
    if is_ready {
        let placed = Placed {
            to: State::Available,
            run_at: None,
            ended_at: 0,
            spent: place.attempts,
            flags: place.flags,
            reason: None,
        };
        place::put(session, seq, &placed).await?;
    }
    // A promotion that met the lock has passed over the job, and must look again.
    session.hint = true;
    let what = format!("priority {old} -> {priority}");
    let told = by.reason.map_or_else(|| what.clone(), |reason| format!("{what}: {reason}"));
    by.note(session, seq, place, None, place.state, Some(&told)).await?;
    Ok(Some(Changed::Done))
}

/// Takes a running job from its attempt.
async fn free(session: &mut Session<'_>, seq: i64, by: &By<'_>) -> Result<Option<Changed>, Error> {
    let Some(row) = session.first(RUNNING, &[&seq]).await? else {
        // It was claimed after the jobs had been set apart, and is in a block; or it has ended.
        session.set_apart(&[seq], None).await?;
        return Ok(None);
    };
    let (running, worker) = (read_running(&row)?, get::<i64>(&row, 5)?);
    if get(&row, 6)? {
        return skipped(RUNS_ONCE.to_owned());
    }
    let ended = Ended::without_start(worker, &running, by.now, None);
    let decision = attempt::free(freed(by.actor.as_str(), by.reason));
    end_attempt(session, seq, running, decision, &ended).await?;
    Ok(Some(Changed::Done))
}

/// Removes a job that is over, and everything about it. Only who holds the lock moves a job that is over.
async fn delete(session: &mut Session<'_>, seq: i64, place: &Place) -> Result<Option<Changed>, Error> {
    if !place.state.is_terminal() {
        return skipped(format!("it is {}; cancel it first", place.state));
    }
    remove(session, &[seq]).await?;
    Ok(Some(Changed::Done))
}

/// Removes every row of jobs that are over. The caller has locked them.
pub(super) async fn remove(session: &mut Session<'_>, seqs: &[i64]) -> Result<(), Error> {
    if !seqs.is_empty() {
        // Whoever removes others of the same completion at this moment is waited for: the second one sees what both have left.
        let completions = session.all(LOCK_COMPLETIONS, &[&seqs]).await?;
        rollup::leave_slips(session, seqs, &completions).await?;
        session.execute(REMOVE, &[&seqs]).await?;
        let completions = completions.iter().map(|row| get(row, 0)).collect::<Result<Vec<i64>, Error>>()?;
        if !completions.is_empty() {
            // A statement of its own, which sees what is left.
            session.execute(REMOVE_COMPLETIONS, &[&completions]).await?;
        }
    }
    Ok(())
}

/// Pauses or resumes a queue. See [`Store::pause`](crate::Store::pause).
pub(super) async fn pause(
    session: &mut Session<'_>,
    namespace: &Namespace,
    queue: &QueueName,
    paused: bool,
) -> Result<bool, Error> {
    if paused {
        // It need not have had jobs yet.
        session.queue(namespace, queue).await?;
    }
    let changed = session
        .execute(
            "UPDATE queue SET paused = $3 WHERE namespace = $1 AND name = $2 AND paused <> $3",
            &[&namespace.as_str(), &queue.as_str(), &paused],
        )
        .await?;
    session.hint = !paused;
    Ok(changed > 0)
}

/// Cancels waiting jobs of a queue. See [`Store::purge`](crate::Store::purge).
pub(super) async fn purge(
    session: &mut Session<'_>,
    namespace: &Namespace,
    queue: &QueueName,
    limit: usize,
    by: &By<'_>,
) -> Result<usize, Error> {
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = session.all(WAITING_IN_QUEUE, &[&namespace.as_str(), &queue.as_str(), &most]).await?;
    let mut seqs = rows.iter().map(|row| get(row, 0)).collect::<Result<Vec<i64>, Error>>()?;
    seqs.sort_unstable();
    seqs.truncate(limit);
    let mut lanes = rows.iter().map(|row| get(row, 1)).collect::<Result<Vec<i64>, Error>>()?;
    lanes.sort_unstable();
    lanes.dedup();

    session.all(LOCK_JOBS, &[&seqs]).await?;
    let mut taken = Taken::default();
    place::lock_lanes(session, &lanes).await?;
    // In this order, because a promotion may move jobs from the one to the other in between.
    for take in [TAKE_WAITING, TAKE_READY, LEAVE_STREAM] {
        for row in session.all(take, &[&seqs]).await? {
            taken.add(&row, Cause::Cancel, State::Cancelled)?;
        }
    }
    end_all(session, &taken, Cause::Cancel, State::Cancelled, by).await?;
    bulk::wake(session, by.now, &taken.seqs).await?;
    Ok(taken.len())
}

/// Jobs that were taken out of where they waited, as columns.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) seqs: Vec<i64>,
    pub(super) attempts: Vec<i32>,
    pub(super) flags: Vec<i64>,
}

impl Taken {
    /// Adds a row of seq, state, attempts and flags, which is to move as the table allows.
    pub(super) fn add(&mut self, row: &Row, cause: Cause, to: State) -> Result<(), Error> {
        let from = State::from_code(code(row, 1)?).ok_or_else(|| vanished("a known state"))?;
        state::check(from, cause, to)?;
        self.seqs.push(get(row, 0)?);
        self.attempts.push(get(row, 2)?);
        self.flags.push(get(row, 3)?);
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.seqs.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.seqs.is_empty()
    }
}

/// Ends jobs that were taken out of where they waited, and tells of it in their timelines.
pub(super) async fn end_all(
    session: &mut Session<'_>,
    taken: &Taken,
    cause: Cause,
    to: State,
    by: &By<'_>,
) -> Result<(), Error> {
    if taken.is_empty() {
        return Ok(());
    }
    let (state, ended_at) = (sql_code(to.code()), by.now.as_micros());
    session.execute(PUT_OVER, &[&taken.seqs, &state, &ended_at, &by.reason]).await?;
    if taken.flags.iter().any(|flags| flags & HOLDS_KEY != 0) {
        session.execute(RELEASE_KEYS, &[&taken.seqs]).await?;
    }
    note_all(session, taken, cause, to, by).await
}

/// Tells of the same move in the timelines of all.
pub(super) async fn note_all(
    session: &mut Session<'_>,
    taken: &Taken,
    cause: Cause,
    to: State,
    by: &By<'_>,
) -> Result<(), Error> {
    let (at, cause, state) = (by.now.as_micros(), sql_code(cause.code()), sql_code(to.code()));
    session
        .execute(NOTE, &[&taken.seqs, &taken.attempts, &at, &cause, &state, &by.actor.as_str(), &by.reason])
        .await?;
    Ok(())
}

// The statements of changes.
pub(super) const FIND: &str = "SELECT seq FROM job WHERE id = ANY($1::uuid[])";
pub(super) const LOCK_RUNNING: &str =
    "SELECT seq FROM running WHERE seq = ANY($1::bigint[]) ORDER BY seq FOR UPDATE";
pub(super) const LOCK_JOBS: &str =
    "SELECT seq, id FROM job WHERE seq = ANY($1::bigint[]) ORDER BY seq FOR UPDATE";
pub(super) const LOCK_JOBS_FREE: &str =
    "SELECT seq FROM job WHERE seq = ANY($1::bigint[]) ORDER BY seq FOR UPDATE SKIP LOCKED";
pub(super) const LOCK_WAITING: &str = "SELECT seq FROM waiting WHERE seq = $1 AND state = $2 FOR UPDATE";
/// A running job, whoever runs it.
const RUNNING: &str =
    "SELECT x.seq, x.attempt, x.claimed_at, x.flags, x.cancel_at IS NOT NULL, x.worker, j.at_most_once
    FROM running x CROSS JOIN LATERAL (SELECT at_most_once FROM job WHERE job.seq = x.seq LIMIT 1) j
    WHERE x.seq = $1 FOR UPDATE OF x";
pub(super) const REQUEST_STOP: &str =
    "UPDATE running SET cancel_at = $3, cancel_actor = $4, cancel_reason = $5, flags = flags | $6
    WHERE seq = $1 AND attempt = $2";
pub(super) const LAST_CAUSE: &str =
    "SELECT cause FROM move WHERE seq = $1 AND cause IS NOT NULL ORDER BY move DESC LIMIT 1";
pub(super) const KEY_HOLDER: &str = "SELECT j.id FROM unique_past p
    LEFT JOIN unique_key u ON u.namespace = p.namespace AND u.kind = p.kind AND u.key = p.key
    LEFT JOIN LATERAL (SELECT id FROM job WHERE job.seq = u.seq LIMIT 1) j ON true WHERE p.seq = $1";
pub(super) const RETAKE_KEY: &str = "INSERT INTO unique_key (namespace, kind, key, seq, scope)
    SELECT namespace, kind, key, seq, scope FROM unique_past WHERE seq = $1
    ON CONFLICT (namespace, kind, key) DO NOTHING";
pub(super) const FORGET_KEY: &str = "DELETE FROM unique_past WHERE seq = $1";
/// Keeps that somebody asked, for when the running row is gone.
const ASK_CANCEL: &str = "INSERT INTO cancel_asked (seq) VALUES ($1) ON CONFLICT (seq) DO NOTHING";
pub(super) const FORGET_CANCEL: &str = "DELETE FROM cancel_asked WHERE seq = $1";
pub(super) const REMOVE: &str = "WITH ended AS (DELETE FROM over WHERE seq = ANY($1::bigint[])),
        attempts AS (DELETE FROM attempt WHERE seq = ANY($1::bigint[])),
        moves AS (DELETE FROM move WHERE seq = ANY($1::bigint[])),
        entries AS (DELETE FROM log WHERE seq = ANY($1::bigint[])),
        held AS (DELETE FROM unique_key WHERE seq = ANY($1::bigint[])),
        past AS (DELETE FROM unique_past WHERE seq = ANY($1::bigint[])),
        bulks AS (DELETE FROM bulk WHERE seq = ANY($1::bigint[])),
        comments AS (DELETE FROM job_comment WHERE seq = ANY($1::bigint[])),
        readings AS (DELETE FROM consumed WHERE seq = ANY($1::bigint[])),
        asked AS (DELETE FROM cancel_asked WHERE seq = ANY($1::bigint[])),
        attachments AS (DELETE FROM attachment WHERE seq = ANY($1::bigint[])),
        pieces AS (DELETE FROM attachment_piece WHERE seq = ANY($1::bigint[])),
        steps AS (DELETE FROM step WHERE seq = ANY($1::bigint[]))
    DELETE FROM job WHERE seq = ANY($1::bigint[])";
/// Those in which the jobs are, with their times where they are not in roll-ups yet, in the columns of
/// [`completions::explode`](super::completions::explode).
pub(super) const LOCK_COMPLETIONS: &str = "SELECT c.completion, c.worker, c.claimed_at,
        ARRAY(SELECT lower(r) FROM unnest(c.seqs) AS r), ARRAY(SELECT upper(r) FROM unnest(c.seqs) AS r),
        CASE WHEN c.completion > (SELECT r.completion FROM rolled r) THEN c.times END
    FROM completion c
    WHERE c.completion = ANY(ARRAY(
        SELECT c.completion FROM spans($1::bigint[]) s JOIN completion c ON c.seqs && s.span))
    ORDER BY c.completion FOR UPDATE";
pub(super) const REMOVE_COMPLETIONS: &str = "DELETE FROM completion c WHERE c.completion = ANY($1::bigint[])
    AND NOT EXISTS (SELECT FROM job j WHERE j.seq >= c.lo AND j.seq <= c.hi AND c.seqs @> j.seq LIMIT 1)";
/// The oldest jobs of a queue's lanes that wait, for a worker or for something else.
pub(super) const WAITING_IN_QUEUE: &str = "SELECT c.seq, l.lane
    FROM queue q JOIN lane l ON l.queue = q.queue CROSS JOIN LATERAL (
        (SELECT r.seq FROM ready r WHERE r.lane = l.lane ORDER BY r.ready_at, r.seq LIMIT $3)
        UNION ALL
        (SELECT w.seq FROM waiting w WHERE w.lane = l.lane ORDER BY w.seq LIMIT $3)
        UNION ALL
        (SELECT u.seq FROM upcoming(l.lane, $3) u)) c
    WHERE q.namespace = $1 AND q.name = $2";
/// A job that was in the stream of its old lane is in none from now on: it would be given out of the new one, whose head
/// it has not passed, beside its row in `waiting` or `ready`.
pub(super) const CHANGE_LANE: &str = "WITH waits AS (UPDATE waiting SET lane = $2 WHERE seq = $1)
    UPDATE job SET lane = $2, is_streamed = false WHERE seq = $1";
pub(super) const TAKE_WAITING: &str =
    "DELETE FROM waiting WHERE seq = ANY($1::bigint[]) RETURNING seq, state, attempts, flags";
pub(super) const TAKE_READY: &str = "DELETE FROM ready r
    USING unnest($1::bigint[]) AS t (seq)
    CROSS JOIN LATERAL (SELECT lane, run_at FROM job WHERE job.seq = t.seq LIMIT 1) j
    WHERE r.lane = j.lane AND r.ready_at = j.run_at AND r.seq = t.seq
    RETURNING r.seq, 3::smallint, r.attempts, r.flags";
pub(super) const PUT_OVER: &str = "INSERT INTO over (seq, state, ended_at, reason)
    SELECT seq, $2::smallint, $3::bigint, $4::text FROM unnest($1::bigint[]) AS t (seq)";
pub(super) const RELEASE_KEYS: &str = "WITH freed AS (
        DELETE FROM unique_key WHERE seq = ANY($1::bigint[]) RETURNING seq, namespace, kind, key, scope)
    INSERT INTO unique_past (seq, namespace, kind, key, scope) SELECT seq, namespace, kind, key, scope FROM freed";
pub(super) const NOTE: &str = "INSERT INTO move (seq, at, cause, state, attempts, actor, reason)
    SELECT seq, $3::bigint, $4::smallint, $5::smallint, attempts, $6::text, $7::text
    FROM unnest($1::bigint[], $2::integer[]) AS t (seq, attempts)";
