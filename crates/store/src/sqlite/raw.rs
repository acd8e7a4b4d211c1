//! The yardstick of `taskwright bench`: what plain SQLite does with the same rows.
//!
//! One table, one partial index, one connection, the same settings as the store's, batches in one transaction each: the
//! least that any durable queue on SQLite must do. It keeps no history, knows no fence and loses what it claims.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use super::error::write_error;
use super::open::{Opened, Options};
use crate::error::Error;

/// How long plain SQLite took.
#[derive(Clone, Copy, Debug)]
pub struct RawLimit {
    /// Inserting all rows.
    pub insert: Duration,
    /// Claiming and finishing all of them.
    pub claim_finish: Duration,
}

/// Inserts, claims and finishes a row per payload in a new file, `batch` rows a transaction.
///
/// `stopwatch` gives monotonic time.
///
/// # Errors
///
/// When the file cannot be made or written.
pub fn raw_limit(
    path: &Path,
    payloads: &[Vec<u8>],
    batch: usize,
    stopwatch: &dyn Fn() -> Duration,
) -> Result<RawLimit, Error> {
    let conn = Opened::prepare(path, Options::default())?.connect_writer()?;
    conn.execute_batch(
        "CREATE TABLE raw_task (
             id INTEGER PRIMARY KEY, queue TEXT NOT NULL, priority INTEGER NOT NULL, run_at INTEGER NOT NULL,
             state INTEGER NOT NULL, kind TEXT NOT NULL, args BLOB NOT NULL, attempt INTEGER NOT NULL,
             locked_by TEXT, locked_at INTEGER, finished_at INTEGER, created_at INTEGER NOT NULL);
         CREATE INDEX raw_ready ON raw_task (queue, priority, run_at, id) WHERE state = 0;",
    )
    .map_err(write_error)?;
    let started = stopwatch();
    payloads.chunks(batch).try_for_each(|rows| insert(&conn, rows)).map_err(write_error)?;
    let inserted = stopwatch();
    drain(&conn, batch).map_err(write_error)?;
    Ok(RawLimit { insert: inserted - started, claim_finish: stopwatch() - inserted })
}

fn insert(conn: &Connection, rows: &[Vec<u8>]) -> rusqlite::Result<()> {
    conn.execute_batch("BEGIN IMMEDIATE")?;
    let mut insert = conn.prepare_cached(
        "INSERT INTO raw_task (queue, priority, run_at, state, kind, args, attempt, created_at)
         VALUES ('default', 2000, ?1, 0, 'noop', ?2, 0, ?1)",
    )?;
    for args in rows {
        insert.execute((1_700_000_000_000_000_i64, args))?;
    }
    conn.execute_batch("COMMIT")
}

/// Finishes the batch before and claims the next in one transaction, until none is left.
fn drain(conn: &Connection, batch: usize) -> rusqlite::Result<()> {
    let mut head = conn.prepare_cached(
        "SELECT id, kind, args FROM raw_task WHERE state = 0 AND queue = 'default'
         ORDER BY priority, run_at, id LIMIT ?1",
    )?;
    let mut claim = conn.prepare_cached(
        "UPDATE raw_task SET state = 1, attempt = attempt + 1, locked_by = 'w', locked_at = ?2 WHERE id = ?1",
    )?;
    let mut finish = conn.prepare_cached("DELETE FROM raw_task WHERE id = ?1")?;
    let mut held: Vec<i64> = Vec::new();
    loop {
        conn.execute_batch("BEGIN IMMEDIATE")?;
        for id in held.drain(..) {
            finish.execute([id])?;
        }
        let mut rows = head.query([i64::try_from(batch).unwrap_or(i64::MAX)])?;
        while let Some(row) = rows.next()? {
            // Reading what a worker would need is part of claiming.
            let (_kind, _args): (String, Vec<u8>) = (row.get(1)?, row.get(2)?);
            held.push(row.get(0)?);
        }
        drop(rows);
        for id in &held {
            claim.execute((id, 1_700_000_000_000_000_i64))?;
        }
        conn.execute_batch("COMMIT")?;
        if held.is_empty() {
            return Ok(());
        }
    }
}
