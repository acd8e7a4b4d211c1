//! Services of processes: a row each.

use rusqlite::{Row, params};
use taskwright_core::limit::{SERVICE_KEPT, SERVICES_LISTED_MAX};
use taskwright_core::{ProcessId, ServiceName, ServiceState, Timestamp};

use super::SqliteStore;
use super::schedule::rows;
use super::session::{Session, name};
use crate::Reply;
use crate::error::Error;
use crate::service::{ProcessPlace, ServiceRecord, ServiceStore, ServiceView, arranged, checked};

impl ServiceStore for SqliteStore {
    fn tell_services(
        &self,
        now: Timestamp,
        process: ProcessPlace,
        services: Vec<ServiceRecord>,
    ) -> Reply<'_, ()> {
        self.writer.write(move |session| {
            let (process, services) = checked(process, services)?;
            tell(session, now, &process, &services)
        })
    }

    fn forget_services(&self, process: ProcessId) -> Reply<'_, ()> {
        self.writer.write(move |session| {
            session.execute(FORGET, [process.as_bytes()])?;
            Ok(())
        })
    }

    fn services(&self, now: Timestamp) -> Reply<'_, Vec<ServiceView>> {
        self.readers.read(move |conn| {
            let most = i64::try_from(SERVICES_LISTED_MAX).unwrap_or(i64::MAX);
            let found = rows(conn, LIST, [old(now), most], |row| read_view(row, now))?;
            Ok(arranged(found.into_iter().flatten().collect()))
        })
    }
}

fn tell(
    session: &mut Session<'_>,
    now: Timestamp,
    process: &ProcessPlace,
    services: &[ServiceRecord],
) -> Result<(), Error> {
    let id = process.id.as_bytes();
    session.execute(FORGET_OLD, params![old(now), id])?;
    session.execute(FORGET, [id])?;
    for service in services {
        session.execute(
            INSERT,
            params![
                id,
                service.name.as_str(),
                process.host,
                process.pid,
                service.state.code(),
                service.since.as_micros(),
                i64::try_from(service.restarts).unwrap_or(i64::MAX),
                service.restart_at.map(Timestamp::as_micros),
                service.error,
                service.error_at.map(Timestamp::as_micros),
                now.as_micros(),
            ],
        )?;
    }
    Ok(())
}

/// What was heard of before this is forgotten.
fn old(now: Timestamp) -> i64 {
    now.minus(SERVICE_KEPT).as_micros()
}

/// `None` for one in a state that only a later program has.
fn read_view(row: &Row<'_>, now: Timestamp) -> rusqlite::Result<Option<ServiceView>> {
    let Some(state) = ServiceState::from_code(row.get(4)?) else { return Ok(None) };
    let process =
        ProcessPlace { id: ProcessId::from_bytes(row.get(0)?), host: row.get(2)?, pid: row.get(3)? };
    let moment =
        |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_micros));
    let record = ServiceRecord {
        name: name(row, 1, ServiceName::new)?,
        state,
        since: Timestamp::from_micros(row.get(5)?),
        restarts: u64::try_from(row.get::<_, i64>(6)?).unwrap_or(0),
        restart_at: moment(7)?,
        error: row.get(8)?,
        error_at: moment(9)?,
    };
    Ok(Some(ServiceView::of(now, &process, Timestamp::from_micros(row.get(10)?), record)))
}

// The statements; plans.rs holds each of them to an index.
const INSERT: &str = "INSERT INTO taskwright_service
        (process, name, host, pid, state, since, restarts, restart_at, error, error_at, seen_at)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
pub(super) const FORGET: &str = "DELETE FROM taskwright_service WHERE process = ?1";
pub(super) const FORGET_OLD: &str = "DELETE FROM taskwright_service WHERE (process, name) IN (
        SELECT process, name FROM taskwright_service
        WHERE seen_at < ?1 AND process <> ?2 ORDER BY seen_at LIMIT 100)";
pub(super) const LIST: &str =
    "SELECT process, name, host, pid, state, since, restarts, restart_at, error, error_at, seen_at
     FROM taskwright_service WHERE seen_at >= ?1 ORDER BY seen_at DESC LIMIT ?2";
