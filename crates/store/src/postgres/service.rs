//! Services of processes: a row each.

use taskwright_core::limit::SERVICE_KEPT;
use taskwright_core::{ProcessId, ServiceName, ServiceState, Timestamp};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::session::{Uuid, code, get, name, sql_code};
use crate::error::Error;
use crate::service::{ProcessPlace, ServiceRecord, ServiceView};

/// Services of a process, as parameters of [`TELL`].
pub(super) struct Columns<'a> {
    process: Uuid,
    host: &'a str,
    pid: i64,
    seen_at: i64,
    old: i64,
    names: Vec<&'a str>,
    states: Vec<i16>,
    sinces: Vec<i64>,
    restarts: Vec<i64>,
    restarts_at: Vec<Option<i64>>,
    errors: Vec<Option<&'a str>>,
    errors_at: Vec<Option<i64>>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(now: Timestamp, process: &'a ProcessPlace, services: &'a [ServiceRecord]) -> Self {
        let micros = |at: Option<Timestamp>| at.map(Timestamp::as_micros);
        Self {
            process: Uuid(*process.id.as_bytes()),
            host: &process.host,
            pid: i64::from(process.pid),
            seen_at: now.as_micros(),
            old: old(now),
            names: services.iter().map(|service| service.name.as_str()).collect(),
            states: services.iter().map(|service| sql_code(service.state.code())).collect(),
            sinces: services.iter().map(|service| service.since.as_micros()).collect(),
            restarts: services
                .iter()
                .map(|service| i64::try_from(service.restarts).unwrap_or(i64::MAX))
                .collect(),
            restarts_at: services.iter().map(|service| micros(service.restart_at)).collect(),
            errors: services.iter().map(|service| service.error.as_deref()).collect(),
            errors_at: services.iter().map(|service| micros(service.error_at)).collect(),
        }
    }

    pub(super) fn parameters(&self) -> [(&(dyn ToSql + Sync), Type); 12] {
        [
            (&self.process, Type::UUID),
            (&self.host, Type::TEXT),
            (&self.pid, Type::INT8),
            (&self.seen_at, Type::INT8),
            (&self.old, Type::INT8),
            (&self.names, Type::TEXT_ARRAY),
            (&self.states, Type::INT2_ARRAY),
            (&self.sinces, Type::INT8_ARRAY),
            (&self.restarts, Type::INT8_ARRAY),
            (&self.restarts_at, Type::INT8_ARRAY),
            (&self.errors, Type::TEXT_ARRAY),
            (&self.errors_at, Type::INT8_ARRAY),
        ]
    }
}

/// What was heard of before this is forgotten.
pub(super) fn old(now: Timestamp) -> i64 {
    now.minus(SERVICE_KEPT).as_micros()
}

/// A row of [`LIST`]; `None` for one in a state that only a later program has.
pub(super) fn read_view(row: &Row, now: Timestamp) -> Result<Option<ServiceView>, Error> {
    let Some(state) = ServiceState::from_code(code(row, 4)?) else { return Ok(None) };
    let moment = |column| Ok::<_, Error>(get::<Option<i64>>(row, column)?.map(Timestamp::from_micros));
    let process = ProcessPlace {
        id: ProcessId::from_bytes(get::<Uuid>(row, 0)?.0),
        host: get(row, 2)?,
        pid: u32::try_from(get::<i64>(row, 3)?).unwrap_or(0),
    };
    let record = ServiceRecord {
        name: name(row, 1, ServiceName::new)?,
        state,
        since: Timestamp::from_micros(get(row, 5)?),
        restarts: u64::try_from(get::<i64>(row, 6)?).unwrap_or(0),
        restart_at: moment(7)?,
        error: get(row, 8)?,
        error_at: moment(9)?,
    };
    Ok(Some(ServiceView::of(now, &process, Timestamp::from_micros(get(row, 10)?), record)))
}

// The statements.

/// Each part touches other rows than the others. What is old is taken in the order of its time, and not waited for.
pub(super) const TELL: &str = "WITH old AS (
        DELETE FROM service WHERE ctid = ANY(ARRAY(
            SELECT s.ctid FROM service s
            WHERE s.seen_at < $5 AND s.process <> $1 ORDER BY s.seen_at LIMIT 100 FOR UPDATE SKIP LOCKED))),
    gone AS (DELETE FROM service WHERE process = $1 AND name <> ALL($6::text[]))
    INSERT INTO service (process, host, pid, seen_at, name, state, since, restarts, restart_at, error, error_at)
    SELECT $1, $2, $3, $4, g.*
    FROM unnest($6::text[], $7::smallint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::text[], $12::bigint[]) g
    ON CONFLICT (process, name) DO UPDATE SET
        host = excluded.host, pid = excluded.pid, seen_at = excluded.seen_at, state = excluded.state,
        since = excluded.since, restarts = excluded.restarts, restart_at = excluded.restart_at,
        error = excluded.error, error_at = excluded.error_at";
pub(super) const FORGET: &str = "DELETE FROM service WHERE process = $1";
pub(super) const LIST: &str =
    "SELECT process, name, host, pid, state, since, restarts, restart_at, error, error_at, seen_at
    FROM service WHERE seen_at >= $1 ORDER BY seen_at DESC LIMIT $2";
