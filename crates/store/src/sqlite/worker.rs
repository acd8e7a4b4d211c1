//! Registration, lease, orders.

use rusqlite::OptionalExtension;
use taskwright_core::{Timestamp, WorkerId};

use super::error::read_error;
use super::session::Session;
use super::sweep;
use crate::claim::JobKey;
use crate::error::Error;
use crate::presence::Presence;
use crate::worker::{CancelRequest, NewWorker, Order, Signals, WorkerState};

/// Makes a worker known. Its presence has been established before.
pub(super) fn register(
    session: &mut Session<'_>,
    now: Timestamp,
    monotonic_us: u64,
    worker: &NewWorker,
    boot: &str,
) -> Result<(), Error> {
    // A call may be repeated because its answer got lost.
    if number(session, worker.id)?.is_some() {
        return renew(session, now, monotonic_us, worker.id).map(drop);
    }
    let lease_us = u64::try_from(worker.lease.as_micros()).unwrap_or(u64::MAX);
    session.execute(
        "INSERT INTO taskwright_worker
         (id, host, pid, boot, state, concurrency, queues, lease_us, lease_until_us, started_at, seen_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10)",
        (
            worker.id.as_bytes(),
            &worker.host,
            worker.pid,
            boot,
            WorkerState::Alive.code(),
            worker.concurrency,
            worker.queues.join(","),
            sql_us(lease_us),
            sql_us(monotonic_us.saturating_add(lease_us)),
            now.as_micros(),
        ),
    )?;
    Ok(())
}

/// Monotonic microseconds as SQL keeps them.
fn sql_us(us: u64) -> i64 {
    i64::try_from(us).unwrap_or(i64::MAX)
}

/// Renews the lease, and answers with what the worker must know.
pub(super) fn renew(
    session: &mut Session<'_>,
    now: Timestamp,
    monotonic_us: u64,
    worker: WorkerId,
) -> Result<Signals, Error> {
    let renewed = session.execute(RENEW, (worker.as_bytes(), sql_us(monotonic_us), now.as_micros()))?;
    if renewed == 0 {
        return Err(Error::lost(worker));
    }
    signals(session.conn(), worker)
}

/// What the worker must know; a plain read. Nobody has anything to tell a worker that is unknown.
pub(super) fn signals(conn: &rusqlite::Connection, worker: WorkerId) -> Result<Signals, Error> {
    let row = conn
        .prepare_cached("SELECT worker, told FROM taskwright_worker WHERE id = ?1")
        .and_then(|mut statement| {
            statement
                .query_row([worker.as_bytes()], |row| {
                    Ok((row.get::<_, i64>(0)?, row.get::<_, Option<u8>>(1)?))
                })
                .optional()
        })
        .map_err(read_error)?;
    let Some((number, told)) = row else { return Ok(Signals::default()) };
    let cancels = conn
        .prepare_cached(CANCELS)
        .and_then(|mut statement| {
            statement
                .query_map([number], |row| {
                    Ok(CancelRequest {
                        key: JobKey(row.get(0)?),
                        attempt: row.get(1)?,
                        actor: row.get::<_, Option<String>>(2)?.unwrap_or_default(),
                        reason: row.get(3)?,
                    })
                })?
                .collect()
        })
        .map_err(read_error)?;
    Ok(Signals { cancels, order: told.and_then(order_of) })
}

/// Ends a registration in good order. What it still holds is decided about by its start marks, as after a loss: what was
/// started may have been done in part.
pub(super) fn unregister(
    session: &mut Session<'_>,
    presence: &Presence,
    now: Timestamp,
    worker: WorkerId,
) -> Result<(), Error> {
    let ended = session.execute(
        "UPDATE taskwright_worker SET state = ?2, seen_at = ?3 WHERE id = ?1 AND state = 0",
        (worker.as_bytes(), WorkerState::Stopped.code(), now.as_micros()),
    )?;
    if ended == 0 {
        return Ok(());
    }
    sweep::let_go(session, presence, now, worker)
}

/// Keeps a line about a living worker.
pub(super) fn remark(session: &mut Session<'_>, worker: WorkerId, remark: &str) -> Result<(), Error> {
    let sql = "UPDATE taskwright_worker SET remark = ?2 WHERE id = ?1 AND state = 0";
    session.execute(sql, (worker.as_bytes(), remark)).map(drop)
}

/// Tells workers something. A stop is not taken back by a quiet.
pub(super) fn order(
    session: &mut Session<'_>,
    workers: &[WorkerId],
    order: Order,
) -> Result<Vec<bool>, Error> {
    let mut told = Vec::with_capacity(workers.len());
    for worker in workers {
        let changed = session.execute(
            "UPDATE taskwright_worker SET told = max(coalesce(told, 0), ?2) WHERE id = ?1 AND state = 0",
            (worker.as_bytes(), order_code(order)),
        )?;
        told.push(changed > 0);
    }
    session.hint = true;
    Ok(told)
}

/// The number of a worker that may claim.
///
/// # Errors
///
/// [`Error::is_lost`] when it is not registered, has ended, or was declared lost.
pub(super) fn alive(session: &mut Session<'_>, worker: WorkerId) -> Result<i64, Error> {
    session.first(ALIVE, [worker.as_bytes()], |row| row.get(0))?.ok_or_else(|| Error::lost(worker))
}

/// The number of a worker, whatever became of it.
pub(super) fn number(session: &mut Session<'_>, worker: WorkerId) -> Result<Option<i64>, Error> {
    session.first("SELECT worker FROM taskwright_worker WHERE id = ?1", [worker.as_bytes()], |row| row.get(0))
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

// The statements of a heartbeat; plans.rs holds each of them to an index.
pub(super) const ALIVE: &str = "SELECT worker FROM taskwright_worker WHERE id = ?1 AND state = 0";
pub(super) const RENEW: &str =
    "UPDATE taskwright_worker SET lease_until_us = ?2 + lease_us, seen_at = ?3 WHERE id = ?1 AND state = 0";
pub(super) const CANCELS: &str = "SELECT seq, attempt, cancel_actor, cancel_reason FROM taskwright_running
             WHERE worker = ?1 AND cancel_at IS NOT NULL ORDER BY seq";
