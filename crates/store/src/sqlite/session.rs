//! One connection inside a transaction: cached statements, interned lanes, and what has to be told after the commit.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{CachedStatement, Connection, OptionalExtension, Params};
use taskwright_core::{Kind, Namespace, Priority, QueueName};

use super::error::{read_error, write_error};
use crate::error::{Area, Error};

/// What a call works with.
pub(super) struct Session<'a> {
    conn: &'a Connection,
    lanes: &'a mut Lanes,
    /// What others must hear of once this is committed.
    pub(super) hint: bool,
    /// SQL statements executed.
    pub(super) statements: u64,
    /// Whether somebody follows the moves of jobs, once it was asked.
    pub(super) is_listened: Option<bool>,
    /// The jobs that moved, while somebody does: ranges with both ends included.
    pub(super) moved: Vec<(i64, i64)>,
}

impl<'a> Session<'a> {
    pub(super) fn new(conn: &'a Connection, lanes: &'a mut Lanes) -> Self {
        Self { conn, lanes, hint: false, statements: 0, is_listened: None, moved: Vec::new() }
    }

    pub(super) fn conn(&self) -> &'a Connection {
        self.conn
    }

    /// A prepared statement; counted as executed, so ask for it once per execution.
    pub(super) fn statement(&mut self, sql: &str) -> Result<CachedStatement<'a>, Error> {
        self.statements += 1;
        self.conn.prepare_cached(sql).map_err(read_error)
    }

    /// Executes a statement that gives no rows; how many rows it changed.
    pub(super) fn execute(&mut self, sql: &str, params: impl Params) -> Result<usize, Error> {
        self.statement(sql)?.execute(params).map_err(write_error)
    }

    /// The first row of a query, if there is one.
    pub(super) fn first<T>(
        &mut self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, Error> {
        self.statement(sql)?.query_row(params, read).optional().map_err(read_error)
    }

    /// All rows of a query.
    pub(super) fn all<T>(
        &mut self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Error> {
        self.statement(sql)?
            .query_map(params, read)
            .and_then(Iterator::collect::<Result<_, _>>)
            .map_err(read_error)
    }

    /// The lane of a queue, kind and priority, made if it is new.
    pub(super) fn lane(&mut self, key: &LaneKey) -> Result<i64, Error> {
        if let Some(lane) = self.lanes.by_key.get(key) {
            return Ok(*lane);
        }
        let queue = self.queue(&key.namespace, &key.queue)?;
        self.execute(
            "INSERT INTO taskwright_lane (queue, kind, priority) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            (queue, key.kind.as_str(), key.priority.0),
        )?;
        let lane = self
            .first(
                "SELECT lane FROM taskwright_lane WHERE queue = ?1 AND kind = ?2 AND priority = ?3",
                (queue, key.kind.as_str(), key.priority.0),
                |row| row.get(0),
            )?
            .ok_or_else(|| vanished("a lane"))?;
        self.lanes.remember(lane, queue, key.clone());
        Ok(lane)
    }

    /// The number of a queue, made if it is new.
    pub(super) fn queue(&mut self, namespace: &Namespace, name: &QueueName) -> Result<i64, Error> {
        self.execute(
            "INSERT INTO taskwright_queue (namespace, name) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            (namespace.as_str(), name.as_str()),
        )?;
        self.first(
            "SELECT queue FROM taskwright_queue WHERE namespace = ?1 AND name = ?2",
            (namespace.as_str(), name.as_str()),
            |row| row.get(0),
        )?
        .ok_or_else(|| vanished("a queue"))
    }

    /// What a lane stands for.
    pub(super) fn lane_info(&mut self, lane: i64) -> Result<Arc<LaneInfo>, Error> {
        if let Some(info) = self.lanes.by_lane.get(&lane) {
            return Ok(info.clone());
        }
        let (queue, key) = self
            .first(
                "SELECT l.queue, q.namespace, q.name, l.kind, l.priority
                 FROM taskwright_lane l JOIN taskwright_queue q ON q.queue = l.queue WHERE l.lane = ?1",
                [lane],
                read_lane,
            )?
            .ok_or_else(|| vanished("a lane"))?;
        Ok(self.lanes.remember(lane, queue, key))
    }
}

fn read_lane(row: &rusqlite::Row<'_>) -> rusqlite::Result<(i64, LaneKey)> {
    let key = LaneKey {
        namespace: name(row, 1, Namespace::new)?,
        queue: name(row, 2, QueueName::new)?,
        kind: name(row, 3, Kind::new)?,
        priority: Priority(row.get(4)?),
    };
    Ok((row.get(0)?, key))
}

/// Reads a name that was checked before it was stored.
pub(super) fn name<T>(
    row: &rusqlite::Row<'_>,
    column: usize,
    parse: impl FnOnce(&str) -> Result<T, taskwright_core::Error>,
) -> rusqlite::Result<T> {
    parse(row.get_ref(column)?.as_str()?).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}

/// Reads a name that may be missing.
pub(super) fn name_if_any<T>(
    row: &rusqlite::Row<'_>,
    column: usize,
    parse: impl FnOnce(&str) -> Result<T, taskwright_core::Error>,
) -> rusqlite::Result<Option<T>> {
    if row.get_ref(column)? == rusqlite::types::ValueRef::Null {
        return Ok(None);
    }
    name(row, column, parse).map(Some)
}

/// The error for a row that the same transaction has just made sure of.
pub(super) fn vanished(what: &str) -> Error {
    Error::new(
        Area::Damaged,
        "the store",
        format!("the row of {what} is missing"),
        "run `PRAGMA integrity_check` on the file; if it is sound, please report this",
    )
}

/// What tells lanes apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct LaneKey {
    pub(super) namespace: Namespace,
    pub(super) queue: QueueName,
    pub(super) kind: Kind,
    pub(super) priority: Priority,
}

/// What a lane stands for.
#[derive(Debug)]
pub(super) struct LaneInfo {
    pub(super) queue: i64,
    pub(super) key: LaneKey,
}

/// The lanes seen so far. Rows of lanes are never changed and never removed, so what was committed stays right, also
/// when another process adds more; what was not committed is forgotten with [`Lanes::forget`].
#[derive(Default)]
pub(super) struct Lanes {
    by_key: HashMap<LaneKey, i64>,
    by_lane: HashMap<i64, Arc<LaneInfo>>,
}

impl Lanes {
    /// Called when a transaction was rolled back: it may have made lanes.
    pub(super) fn forget(&mut self) {
        self.by_key.clear();
        self.by_lane.clear();
    }

    fn remember(&mut self, lane: i64, queue: i64, key: LaneKey) -> Arc<LaneInfo> {
        let info = Arc::new(LaneInfo { queue, key: key.clone() });
        self.by_key.insert(key, lane);
        self.by_lane.insert(lane, info.clone());
        info
    }
}
