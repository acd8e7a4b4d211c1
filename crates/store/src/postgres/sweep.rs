//! The duties' work: promoting what is due, reclaiming what lost workers held.
//!
//! Every process does it, and several at once: whoever comes second passes over what the first one has locked, or finds
//! that it is done.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use taskwright_core::attempt::{AttemptEnd, LossFacts, decide_loss, is_last_chance};
use taskwright_core::sight::Sight;
use taskwright_core::{Actor, Cause, Delivery, MaxAttempts, State, Timestamp, WorkerId};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::absence::{Absences, Missing};
use super::attachment;
use super::change::{By, Taken, end_all, note_all};
use super::claim::max_attempts;
use super::finish::{end_attempt, read_running};
use super::session::{Session, Uuid, code, get, sql_code, vanished};
use super::store::PostgresStore;
use super::tether::{LOCKS, NUMBER_MASK, SERVER};
use super::worker::shut_out_if_free;
use crate::claim::JobKey;
use crate::ended::Ended;
use crate::error::Error;
use crate::presence::Presence;
use crate::sweep::{Loss, LostWorker, Promoted, SEEMS_LOST_AGAIN_IN};
use crate::worker::WorkerState;

/// For anything that is still waited for where locked rows are passed over.
const WAIT_BRIEFLY: &str = "SET LOCAL lock_timeout = 250";

/// What [`WAITING`] says: when the next waiting job is due, and whether lanes rest.
pub(super) fn read_waiting(rows: &[Row]) -> Result<(Option<Timestamp>, bool), Error> {
    let row = rows.first().ok_or_else(|| vanished("an answer"))?;
    Ok((get::<Option<i64>>(row, 0)?.map(Timestamp::from_micros), get(row, 1)?))
}

/// Promotes what is due. See [`Store::promote`](crate::Store::promote).
pub(super) async fn promote(
    session: &mut Session<'_>,
    now: Timestamp,
    limit: usize,
) -> Result<Promoted, Error> {
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    let due = session.all(TAKE_DUE, &[&now.as_micros(), &most]).await?;
    let (mut ready, mut expired) = (Taken::default(), Taken::default());
    for row in &due {
        match State::from_code(code(row, 1)?) {
            Some(State::Held) => expired.add(row, Cause::Drop, State::Dropped)?,
            _ => ready.add(row, Cause::Promote, State::Available)?,
        }
    }
    let system = Actor::system();
    let by = |reason| By { now, actor: &system, reason };
    if !ready.is_empty() {
        session.hint = true;
        // A statement of its own: since the rows were taken, nobody changes where these jobs go.
        session.execute(PUT_READY, &[&ready.seqs, &ready.attempts, &ready.flags]).await?;
        note_all(session, &ready, Cause::Promote, State::Available, &by(None)).await?;
    }
    if !expired.is_empty() {
        session.execute(attachment::REMOVE, &[&expired.seqs]).await?;
    }
    let never_released = by(Some("hold expired: never released"));
    end_all(session, &expired, Cause::Drop, State::Dropped, &never_released).await?;
    // Unless the limit cut the work short, what else is due is in somebody else's hands right now.
    let after = if due.len() < limit { now.as_micros() } else { i64::MIN };
    let next = session.first(NEXT_DUE, &[&after]).await?;
    let next_due = next.map(|row| get(&row, 0).map(Timestamp::from_micros)).transpose()?;
    Ok(Promoted { promoted: ready.len(), expired: expired.len(), next_due })
}

/// Who looks for lost workers, and how it sees them.
pub(super) struct Observer<'a> {
    /// On its own machine.
    pub(super) presence: &'a Presence,
    pub(super) boot: &'a str,
    /// On other machines.
    pub(super) absences: &'a Absences,
    pub(super) lock_class: u32,
    pub(super) monotonic_us: u64,
    /// For how long it has had the database in sight, by the database's clock.
    pub(super) sight: Mutex<Sight>,
    /// Whether it is certain that the database takes writes now.
    pub(super) takes_writes: AtomicBool,
}

impl Observer<'_> {
    /// Notes that the database took a write then, or that nobody has to wonder whether it does.
    pub(super) fn saw(&self, now_db_us: u64) {
        self.takes_writes.store(true, Ordering::Relaxed);
        self.sight().look(now_db_us);
    }

    fn has_in_sight(&self, lease: Duration, now_db_us: u64) -> bool {
        self.takes_writes.load(Ordering::Relaxed) && self.sight().covers(lease, now_db_us)
    }

    pub(super) fn sight(&self) -> MutexGuard<'_, Sight> {
        // Each look is noted whole.
        self.sight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A worker that is to be looked at.
struct Candidate {
    number: i64,
    id: WorkerId,
    pid: u32,
    boot: String,
    lease_until_us: u64,
    lease: Duration,
    /// The end of the lease, and now, by the database's clock.
    lease_until_db_us: u64,
    now_db_us: u64,
    /// Its lock, if it held one on this run of the server and does so no longer.
    missing: Option<Missing>,
    was_lost: bool,
}

impl Candidate {
    fn read(row: &Row) -> Result<Self, Error> {
        let (number, lease_until_db, is_held) = (get(row, 0)?, get(row, 5)?, get::<bool>(row, 7)?);
        let server = get::<Option<i64>>(row, 6)?.filter(|_| !is_held);
        Ok(Self {
            number,
            id: get::<Uuid>(row, 1)?.into(),
            pid: u32::try_from(get::<i64>(row, 2)?).unwrap_or(0),
            boot: get(row, 3)?,
            lease_until_us: us(get(row, 4)?),
            lease: Duration::from_micros(us(get(row, 9)?)),
            lease_until_db_us: us(lease_until_db),
            now_db_us: us(get(row, 10)?),
            missing: server.map(|server| Missing { worker: number, server, lease_until_db }),
            was_lost: get(row, 8)?,
        })
    }

    /// What speaks for it that it is gone, if anything does. Of a worker on another machine, or from before a restart of this one, its lock tells if
    /// that has been missing for long, and its lease by the clock that all share.
    fn loss(&self, observer: &Observer<'_>) -> Option<Loss> {
        let here = self.boot == observer.boot;
        if here && !observer.presence.is_present(self.id) {
            return Some(Loss::Certain("its process is gone"));
        }
        let is_long = |missing| observer.absences.is_long(observer.monotonic_us, missing);
        if !here && self.missing.as_ref().is_some_and(is_long) {
            return Some(Loss::Certain("its session is gone"));
        }
        // The sight goes by the database's clock, whoever's lease it is.
        let in_sight = observer.has_in_sight(self.lease, self.now_db_us);
        match here {
            true => Loss::by_lease(self.lease, self.lease_until_us, observer.monotonic_us, in_sight),
            false => Loss::by_lease(self.lease, self.lease_until_db_us, self.now_db_us, in_sight),
        }
    }
}

fn us(us: i64) -> u64 {
    u64::try_from(us).unwrap_or(0)
}

/// A write of the kind by which workers renew their leases, which changes nothing; whether there was anything to write.
pub(super) async fn touch(session: &mut Session<'_>, workers: &[i64]) -> Result<bool, Error> {
    session.execute(WAIT_BRIEFLY, &[]).await?;
    Ok(session.execute(TOUCH, &[&workers]).await? > 0)
}

/// What a look for lost workers gave.
pub(super) struct Look {
    /// Those that are lost, or were found lost before and may still hold jobs.
    pub(super) gone: Vec<i64>,
    /// How soon to look again, if one may soon be lost.
    pub(super) again_in: Option<Duration>,
}

/// Looks for lost workers, and changes nothing.
pub(super) async fn look(store: &PostgresStore, observer: &Observer<'_>) -> Result<Look, Error> {
    let rows = store.look(&look_at_all(), &[(&observer.lock_class, Type::OID)]).await?;
    // There is a row also when there is no worker.
    let now_db_us = us(get(rows.first().ok_or_else(|| vanished("a clock"))?, 10)?);
    let is_worker = |row: &&Row| get::<Option<i64>>(row, 0).is_ok_and(|number| number.is_some());
    let workers = rows.iter().filter(is_worker).map(Candidate::read).collect::<Result<Vec<_>, Error>>()?;
    // Of those that were lost before, jobs are left.
    let (before, living): (Vec<_>, Vec<_>) = workers.into_iter().partition(|worker| worker.was_lost);
    let elsewhere = living.iter().filter(|worker| worker.boot != observer.boot);
    let missing: Vec<Missing> = elsewhere.filter_map(|worker| worker.missing).collect();
    let absent = observer.absences.look(observer.monotonic_us, &missing);
    let losses = || living.iter().filter_map(|worker| Some((worker.number, worker.loss(observer)?)));
    let doubtful: Vec<i64> =
        losses().filter(|(_, loss)| loss.certain().is_none()).map(|(number, _)| number).collect();
    if doubtful.is_empty() || store.takes_a_write(&doubtful).await {
        observer.saw(now_db_us);
    }
    let seeming = losses().any(|(_, loss)| loss == Loss::Seeming).then_some(SEEMS_LOST_AGAIN_IN);
    let again_in = absent.into_iter().chain(seeming).min();
    let lost = losses().filter(|(_, loss)| loss.certain().is_some()).map(|(number, _)| number);
    let gone = lost.chain(before.iter().map(|worker| worker.number)).collect();
    Ok(Look { gone, again_in })
}

/// What became of a worker that seemed to be gone.
pub(super) enum Found {
    /// It was lost, and its jobs go on; but for those that are `left` because somebody's transaction holds them.
    Lost { worker: LostWorker, left: bool, now_db_us: u64 },
    /// It was lost before. Whether jobs are left still.
    Before { worker: WorkerId, left: bool },
    /// It cannot be decided now: a claim of its is under way.
    Claims,
    /// Somebody else is at it or has done it, or it lives.
    Nothing,
}

/// Reclaims what a lost worker held. See [`Store::reclaim`](crate::Store::reclaim).
///
/// One transaction for each: what keeps the jobs of one from going on must not keep those of others. And none of them waits
/// for long, since whoever looks too rarely sees no session missing (see [`absence`](super::absence)).
pub(super) async fn reclaim(
    session: &mut Session<'_>,
    observer: &Observer<'_>,
    now: Timestamp,
    number: i64,
) -> Result<Found, Error> {
    session.execute(WAIT_BRIEFLY, &[]).await?;
    if !shut_out_if_free(session, number).await? {
        return Ok(Found::Claims);
    }
    // Somebody else may have found it lost, or be about to, or it may have given a sign of life.
    let Some(row) = session.first(&look_at_one(), &[&observer.lock_class, &number]).await? else {
        return Ok(Found::Nothing);
    };
    let worker = Candidate::read(&row)?;
    // Marks of another boot may be older than what the disk kept of the jobs; those of another machine are there.
    let marks = if worker.boot == observer.boot { observer.presence.marks(worker.id) } else { None };
    if worker.was_lost {
        let mut lost = LostWorker::of(worker.id, worker.pid, "");
        let left = take_jobs_of(session, number, marks.as_ref(), now, &mut lost).await?;
        return Ok(Found::Before { worker: worker.id, left });
    }
    let Some(how) = worker.loss(observer).and_then(Loss::certain) else { return Ok(Found::Nothing) };
    session.execute(LOSE, &[&number, &sql_code(WorkerState::Lost.code())]).await?;
    session.execute(UNTIE, &[&number]).await?;
    let mut lost = LostWorker::of(worker.id, worker.pid, how);
    let left = take_jobs_of(session, number, marks.as_ref(), now, &mut lost).await?;
    Ok(Found::Lost { worker: lost, left, now_db_us: worker.now_db_us })
}

/// Those that may be lost, and those that were and of which jobs are left.
const LOOKED_AT: &str = "(w.state = 0 OR w.jobs_left)";

/// What the clock of the database says, in microseconds.
const CLOCK: &str = "(SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now) c";

/// All workers that are looked at; at least one row, for the clock.
fn look_at_all() -> String {
    candidates(&format!("{CLOCK} LEFT JOIN worker w ON {LOOKED_AT}"), "ORDER BY w.worker")
}

/// The worker $2, if it is looked at and nobody else is at it.
fn look_at_one() -> String {
    let which = format!("WHERE {LOOKED_AT} AND w.worker = $2 FOR UPDATE OF w SKIP LOCKED");
    candidates(&format!("{CLOCK} CROSS JOIN worker w"), &which)
}

/// Workers, each with what tells whether it lives. $1 is the class of the locks.
fn candidates(from: &str, which: &str) -> String {
    format!(
        "SELECT w.worker, w.id, w.pid, w.boot, w.lease_until_us, w.lease_until_db,
                t.server, l.number IS NOT NULL, w.state <> 0, w.lease_us, c.now
         FROM {from}
         LEFT JOIN tether t ON t.worker = w.worker AND t.server = {SERVER}
         LEFT JOIN (SELECT DISTINCT objid::bigint AS number FROM pg_locks WHERE {LOCKS} AND classid = $1) l
             ON l.number = w.worker & {NUMBER_MASK}
         {which}"
    )
}

/// Decides about every job that a worker of this process still holds when it leaves. It has been
/// [shut out](super::worker::shut_out) and has ended.
pub(super) async fn let_go(
    session: &mut Session<'_>,
    presence: &Presence,
    now: Timestamp,
    worker: WorkerId,
    number: i64,
) -> Result<(), Error> {
    let marks = presence.marks(worker);
    take_jobs_of(session, number, marks.as_ref(), now, &mut LostWorker::of(worker, 0, "")).await.map(drop)
}

/// Decides about every job that a worker which is gone held, but for those that somebody's transaction is at, such as one by
/// which a handler completes its job: whether there are any. They are looked at again until they are decided about.
async fn take_jobs_of(
    session: &mut Session<'_>,
    worker: i64,
    marks: Option<&HashSet<(i64, u32)>>,
    now: Timestamp,
    lost: &mut LostWorker,
) -> Result<bool, Error> {
    session.first("SELECT set_all_apart($1)", &[&worker]).await?;
    let held = session.all(HELD, &[&worker]).await?;
    let seqs = held.iter().map(|row| get(row, 0)).collect::<Result<Vec<i64>, Error>>()?;
    let attempts = held.iter().map(|row| get(row, 1)).collect::<Result<Vec<i32>, Error>>()?;
    let terms = terms_of(session, seqs, attempts).await?;
    for row in &held {
        let (seq, running) = (get::<i64>(row, 0)?, read_running(row)?);
        let terms = terms.get(&seq).ok_or_else(|| vanished("a running job"))?;
        let decision = decide_loss(&LossFacts {
            attempt: running.attempt,
            max_attempts: terms.max_attempts,
            lost_before: terms.lost_before,
            kept_a_step: terms.kept_a_step,
            started: marks.is_none_or(|marks| marks.contains(&(seq, running.attempt))),
            delivery: terms.delivery,
            cancel_requested: running.cancel_requested,
        });
        match (decision.to, decision.cause) {
            (State::Available, Cause::GiveBack) => lost.given_back += 1,
            (State::Available, _) => lost.requeued += 1,
            _ => lost.ended += 1,
        }
        let ended = Ended::without_start(worker, &running, now, None);
        end_attempt(session, seq, running, decision, &ended).await?;
    }
    let left = session.first(NOTE_LEFT, &[&worker]).await?;
    left.map_or(Ok(false), |row| get(&row, 0))
}

/// See [`Store::last_chances`](crate::Store::last_chances).
pub(super) async fn last_chances(
    session: &mut Session<'_>,
    attempts: &[(JobKey, u32)],
) -> Result<Vec<JobKey>, Error> {
    let (seqs, numbers): (Vec<i64>, Vec<i32>) =
        attempts.iter().map(|(key, attempt)| (key.0, i32::try_from(*attempt).unwrap_or(i32::MAX))).unzip();
    let terms = terms_of(session, seqs, numbers).await?;
    let is_last = |key: &JobKey| terms.get(&key.0).is_some_and(|terms| is_last_chance(terms.lost_before));
    Ok(attempts.iter().map(|(key, _)| *key).filter(is_last).collect())
}

/// What decides about a job whose worker was lost.
struct Terms {
    max_attempts: MaxAttempts,
    /// How many attempts right before this one were lost, since the job was last run again on request.
    lost_before: u32,
    kept_a_step: bool,
    delivery: Delivery,
}

async fn terms_of(
    session: &mut Session<'_>,
    seqs: Vec<i64>,
    attempts: Vec<i32>,
) -> Result<HashMap<i64, Terms>, Error> {
    if seqs.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = session.all(TERMS, &[&seqs, &attempts]).await?;
    rows.iter()
        .map(|row| {
            let last_ends: Vec<i16> = get(row, 4)?;
            let lost = last_ends.iter().take_while(|end| **end == sql_code(AttemptEnd::Lost.code())).count();
            let terms = Terms {
                max_attempts: max_attempts(row, 1, 2)?,
                lost_before: u32::try_from(lost).unwrap_or(u32::MAX),
                kept_a_step: get(row, 5)?,
                delivery: if get(row, 3)? { Delivery::AtMostOnce } else { Delivery::AtLeastOnce },
            };
            Ok((get(row, 0)?, terms))
        })
        .collect()
}

// The statements of duties.
//
// ARRAY makes sure that the inner query runs once, whatever plan is chosen, so that its limit holds.
pub(super) const TAKE_DUE: &str = "DELETE FROM waiting WHERE seq = ANY(ARRAY(
        SELECT seq FROM waiting WHERE due IS NOT NULL AND due <= $1
        ORDER BY due, seq LIMIT $2 FOR UPDATE SKIP LOCKED))
    RETURNING seq, state, attempts, flags";
pub(super) const PUT_READY: &str = "INSERT INTO ready (lane, ready_at, seq, attempts, flags)
    SELECT j.lane, j.run_at, t.seq, t.attempts, t.flags
    FROM unnest($1::bigint[], $2::integer[], $3::bigint[]) AS t (seq, attempts, flags)
    CROSS JOIN LATERAL (SELECT lane, run_at FROM job WHERE job.seq = t.seq LIMIT 1) j";
pub(super) const WAITING: &str = "SELECT
        (SELECT due FROM waiting WHERE due IS NOT NULL ORDER BY due LIMIT 1), EXISTS (SELECT FROM lane WHERE is_resting)";
pub(super) const NEXT_DUE: &str =
    "SELECT due FROM waiting WHERE due IS NOT NULL AND due > $1 ORDER BY due LIMIT 1";
/// A write that changes nothing.
pub(super) const TOUCH: &str = "UPDATE worker SET state = state WHERE worker = ANY(ARRAY(
        SELECT worker FROM worker WHERE worker = ANY($1) AND state = 0 ORDER BY worker LIMIT 1 FOR UPDATE SKIP LOCKED))";
pub(super) const LOSE: &str = "UPDATE worker SET state = $2 WHERE worker = $1 AND state = 0";
pub(super) const UNTIE: &str = "DELETE FROM tether WHERE worker = $1";
pub(super) const HELD: &str = "SELECT seq, attempt, claimed_at, flags, cancel_at IS NOT NULL
    FROM running WHERE worker = $1 ORDER BY seq FOR UPDATE SKIP LOCKED";
/// A statement of its own, which sees what is left.
pub(super) const NOTE_LEFT: &str = "UPDATE worker SET jobs_left =
        EXISTS (SELECT FROM running x WHERE x.worker = $1) OR EXISTS (SELECT FROM block b WHERE b.worker = $1)
    WHERE worker = $1 RETURNING jobs_left";
/// How the last attempts ended: -1 for one that kept a step, which is in no row.
pub(super) const TERMS: &str = "SELECT h.seq, j.max_attempts, j.attempts_base, j.at_most_once, ARRAY(
        SELECT coalesce((SELECT -1::smallint FROM step s WHERE s.seq = a.seq AND s.attempt = a.attempt LIMIT 1), a.outcome)
        FROM attempt a WHERE a.seq = h.seq AND a.attempt < h.attempt AND a.attempt > j.attempts_base
        ORDER BY a.attempt DESC LIMIT 3),
        coalesce((SELECT true FROM step s WHERE s.seq = h.seq AND s.attempt = h.attempt LIMIT 1), false)
    FROM unnest($1::bigint[], $2::integer[]) AS h (seq, attempt)
    CROSS JOIN LATERAL (
        SELECT max_attempts, attempts_base, at_most_once FROM job WHERE job.seq = h.seq LIMIT 1) j";
