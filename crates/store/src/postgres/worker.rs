//! Registration, lease, orders.
//!
//! A claim and the end of its worker exclude each other by an advisory lock on the worker: claims share it, whoever
//! declares the worker lost or ended holds it alone. So no job is claimed for a worker whose jobs have been taken.
//!
//! A lease runs by two clocks: the monotonic one of the worker's machine, for whoever runs on the same boot of it, and the
//! database's, for everybody else.

use std::collections::HashSet;

use taskwright_core::{Timestamp, WorkerId};
use tokio_postgres::Row;

use super::session::{Session, Uuid, code_if_any, count, get, sql_code, vanished};
use super::sweep;
use crate::claim::JobKey;
use crate::error::Error;
use crate::presence::Presence;
use crate::worker::{CancelRequest, NewWorker, Order, Signals, WorkerState};

/// The first half of the advisory locks on workers, known to the functions of `migrations/0002_claims.sql`, too; the second
/// is the worker's number. Other locks of ours have one half.
/// Two schemas of one database share the locks: they may wait for each other, and no more.
const LOCK_CLASS: i32 = 0x7461_736b;

/// The most microseconds that are kept of a lease or a monotonic clock: sums of them fit, too.
const SQL_US_MAX: i64 = i64::MAX / 4;

/// Makes a worker known, and gives its number. Its presence on its machine has been established before.
pub(super) async fn register(
    session: &mut Session<'_>,
    now: Timestamp,
    monotonic_us: u64,
    worker: &NewWorker,
    boot: &str,
) -> Result<i64, Error> {
    let lease_us = sql_us(u64::try_from(worker.lease.as_micros()).unwrap_or(u64::MAX));
    let registered = session
        .first(
            REGISTER,
            &[
                &Uuid::from(worker.id),
                &worker.host,
                &i64::from(worker.pid),
                &boot,
                &sql_code(WorkerState::Alive.code()),
                &i64::from(worker.concurrency),
                &worker.queues.join(","),
                &lease_us,
                &(sql_us(monotonic_us) + lease_us),
                &now.as_micros(),
            ],
        )
        .await?;
    if let Some(row) = registered {
        return get(&row, 0);
    }
    // The call was repeated because its answer got lost.
    renew(session, now, monotonic_us, worker.id).await?;
    number(session, worker.id).await?.ok_or_else(|| vanished("a worker"))
}

/// Monotonic microseconds as SQL keeps them.
fn sql_us(us: u64) -> i64 {
    i64::try_from(us).unwrap_or(i64::MAX).min(SQL_US_MAX)
}

/// Renews the lease, and answers with what the worker must know.
pub(super) async fn renew(
    session: &mut Session<'_>,
    now: Timestamp,
    monotonic_us: u64,
    worker: WorkerId,
) -> Result<Signals, Error> {
    let renewed =
        session.execute(RENEW, &[&Uuid::from(worker), &sql_us(monotonic_us), &now.as_micros()]).await?;
    if renewed == 0 {
        return Err(Error::lost(worker));
    }
    read_signals(&session.all(SIGNALS, &[&Uuid::from(worker)]).await?)
}

/// What the worker must know, from the rows that [`SIGNALS`] gives. Nobody has anything to tell a worker that is unknown.
pub(super) fn read_signals(rows: &[Row]) -> Result<Signals, Error> {
    let Some(first) = rows.first() else { return Ok(Signals::default()) };
    let order = code_if_any(first, 0)?.and_then(order_of);
    let mut cancels = Vec::new();
    for row in rows {
        let Some(seq) = get::<Option<i64>>(row, 1)? else { continue };
        cancels.push(CancelRequest {
            key: JobKey(seq),
            attempt: count(row, 2)?,
            actor: get::<Option<String>>(row, 3)?.unwrap_or_default(),
            reason: get(row, 4)?,
        });
    }
    Ok(Signals { cancels, order })
}

/// Ends a registration in good order. What it still holds is decided about by its start marks, as after a loss: what was
/// started may have been done in part.
pub(super) async fn unregister(
    session: &mut Session<'_>,
    presence: &Presence,
    now: Timestamp,
    worker: WorkerId,
) -> Result<(), Error> {
    let Some(number) = number(session, worker).await? else { return Ok(()) };
    shut_out(session, number).await?;
    let stopped = sql_code(WorkerState::Stopped.code());
    let ended = session
        .execute(
            "UPDATE worker SET state = $2, seen_at = $3 WHERE worker = $1 AND state = 0",
            &[&number, &stopped, &now.as_micros()],
        )
        .await?;
    if ended == 0 {
        return Ok(());
    }
    sweep::let_go(session, presence, now, worker, number).await
}

/// Keeps a line about a living worker.
pub(super) async fn remark(session: &mut Session<'_>, worker: WorkerId, remark: &str) -> Result<(), Error> {
    let sql = "UPDATE worker SET remark = $2 WHERE id = $1 AND state = 0";
    session.execute(sql, &[&Uuid::from(worker), &remark]).await.map(drop)
}

/// Tells workers something. A stop is not taken back by a quiet.
pub(super) async fn order(
    session: &mut Session<'_>,
    workers: &[WorkerId],
    order: Order,
) -> Result<Vec<bool>, Error> {
    let ids: Vec<Uuid> = workers.iter().map(|worker| Uuid::from(*worker)).collect();
    let told = session.all(TELL, &[&ids, &sql_code(order_code(order))]).await?;
    let told = told.iter().map(|row| get(row, 0)).collect::<Result<HashSet<Uuid>, Error>>()?;
    session.hint = true;
    Ok(ids.iter().map(|id| told.contains(id)).collect())
}

/// Waits until no claim of the worker is under way, and lets none begin before the end of the transaction. Several workers
/// are shut out in the order of their numbers, lest two that do so wait for each other.
pub(super) async fn shut_out(session: &mut Session<'_>, number: i64) -> Result<(), Error> {
    session.first(SHUT_OUT, &[&number, &LOCK_CLASS]).await.map(drop)
}

/// As [`shut_out`], unless a claim of the worker is under way: `false` then. Whoever takes workers one after the other
/// must not wait for one whose claim hangs.
pub(super) async fn shut_out_if_free(session: &mut Session<'_>, number: i64) -> Result<bool, Error> {
    let row = session.first(SHUT_OUT_IF_FREE, &[&number, &LOCK_CLASS]).await?;
    row.map_or(Ok(false), |row| get(&row, 0))
}

/// The number of a worker, whatever became of it.
pub(super) async fn number(session: &mut Session<'_>, worker: WorkerId) -> Result<Option<i64>, Error> {
    let row = session.first("SELECT worker FROM worker WHERE id = $1", &[&Uuid::from(worker)]).await?;
    row.map(|row| get(&row, 0)).transpose()
}

fn order_code(order: Order) -> u8 {
    match order {
        Order::Quiet => 1,
        Order::Stop => 2,
    }
}

/// The order of a code.
pub(super) fn order_of(code: u8) -> Option<Order> {
    match code {
        1 => Some(Order::Quiet),
        2 => Some(Order::Stop),
        _ => None,
    }
}

// The statements of a heartbeat.
pub(super) const REGISTER: &str = "INSERT INTO worker
    (id, host, pid, boot, state, concurrency, queues, lease_us, lease_until_us, lease_until_db, started_at, seen_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9,
            (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + $8::bigint, $10, $10)
    ON CONFLICT (id) DO NOTHING RETURNING worker";
// Two workers with numbers that look alike to the lock wait for each other, and no more.
pub(super) const SHUT_OUT: &str = "SELECT pg_advisory_xact_lock($2, ($1::bigint & 2147483647)::integer)";
pub(super) const SHUT_OUT_IF_FREE: &str =
    "SELECT pg_try_advisory_xact_lock($2, ($1::bigint & 2147483647)::integer)";
pub(super) const RENEW: &str = "UPDATE worker SET lease_until_us = $2::bigint + lease_us, seen_at = $3,
           lease_until_db = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + lease_us
    WHERE id = $1 AND state = 0";
// Its jobs are looked up by its number, whatever the planner knows of either table.
pub(super) const SIGNALS: &str = "SELECT w.told, r.seq, r.attempt, r.cancel_actor, r.cancel_reason
    FROM worker w LEFT JOIN LATERAL (
        SELECT seq, attempt, cancel_actor, cancel_reason FROM running
        WHERE worker = w.worker AND cancel_at IS NOT NULL
        OFFSET 0) r ON true
    WHERE w.id = $1 ORDER BY r.seq";
pub(super) const TELL: &str = "UPDATE worker SET told = greatest(coalesce(told, 0::smallint), $2::smallint)
    WHERE worker = ANY(ARRAY(
        SELECT worker FROM worker WHERE id = ANY($1::uuid[]) AND state = 0 ORDER BY worker FOR UPDATE))
    RETURNING id";
