//! The moves of a job that no attempt tells of.

use taskwright_core::{Actor, Cause, Timestamp};
use tokio_postgres::Row;

use super::query::state;
use super::session::{Session, code_if_any, count, get, name};
use crate::error::Error;
use crate::query::TimelineEntry;
use crate::timeline::Moved;

/// In the order in which they were written.
pub(super) async fn moves(session: &mut Session<'_>, seq: i64) -> Result<Vec<Moved>, Error> {
    let rows = session
        .all(
            "SELECT at, cause, state, attempts, actor, reason FROM move WHERE seq = $1 ORDER BY move",
            &[&seq],
        )
        .await?;
    rows.iter().map(read_move).collect()
}

fn read_move(row: &Row) -> Result<Moved, Error> {
    let entry = TimelineEntry {
        at: Timestamp::from_micros(get(row, 0)?),
        cause: code_if_any(row, 1)?.and_then(Cause::from_code),
        to: state(row, 2)?,
        actor: name(row, 4, Actor::new)?,
        reason: get(row, 5)?,
    };
    Ok(Moved { attempts: count(row, 3)?, entry })
}
