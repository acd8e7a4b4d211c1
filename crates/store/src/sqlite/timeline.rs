//! The moves of a job that no attempt tells of.

use rusqlite::Connection;
use taskwright_core::{Actor, Cause, Timestamp};

use super::query::state;
use super::session::name;
use crate::query::TimelineEntry;
use crate::timeline::Moved;

/// In the order in which they were written.
pub(super) fn moves(conn: &Connection, seq: i64) -> rusqlite::Result<Vec<Moved>> {
    conn.prepare_cached(
        "SELECT at, cause, state, attempts, actor, reason FROM taskwright_move WHERE seq = ?1 ORDER BY move",
    )?
    .query_map([seq], |row| {
        let entry = TimelineEntry {
            at: Timestamp::from_micros(row.get(0)?),
            cause: row.get::<_, Option<u8>>(1)?.and_then(Cause::from_code),
            to: state(row, 2)?,
            actor: name(row, 4, Actor::new)?,
            reason: row.get(5)?,
        };
        Ok(Moved { attempts: row.get(3)?, entry })
    })?
    .collect()
}
