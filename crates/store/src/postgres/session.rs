//! One transaction: cached statements, interned lanes, and what has to be told after the commit.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use taskwright_core::audit::{Behalf, StateHash};
use taskwright_core::{EventId, JobId, Kind, Namespace, Priority, QueueName, TokenId, WorkerId};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};

use super::audit;
use super::connect::{Parameters, Transaction};
use super::error::store_error;
use crate::audit::outcome;
use crate::error::{Area, Error};

/// Parameters of a statement.
pub(super) type Params<'p> = &'p [&'p (dyn ToSql + Sync)];

/// What is left of a session at its end.
#[derive(Default)]
pub(super) struct Parts {
    /// Whether others must hear of it.
    pub(super) hint: bool,
    /// SQL statements executed.
    pub(super) statements: u64,
    /// Lanes that were met.
    pub(super) met: Vec<(i64, LaneKey)>,
    /// Jobs that were set apart from their blocks.
    pub(super) apart: Vec<i64>,
}

/// What a call works with.
pub(super) struct Session<'a> {
    tx: &'a Transaction<'a>,
    lanes: &'a Lanes,
    /// What others must hear of once this is committed.
    pub(super) hint: bool,
    /// SQL statements executed.
    pub(super) statements: u64,
    /// Lanes that were met, to be remembered once this is committed.
    met: Vec<(i64, LaneKey)>,
    /// Jobs that have a row in `running` once this is committed, and are in no block.
    apart: Vec<i64>,
    /// What the call changed of what it is about, for the entry of the audit.
    pub(super) difference: (Option<StateHash>, Option<StateHash>),
}

impl<'a> Session<'a> {
    pub(super) fn new(tx: &'a Transaction<'a>, lanes: &'a Lanes) -> Self {
        Self {
            tx,
            lanes,
            hint: false,
            statements: 0,
            met: Vec::new(),
            apart: Vec::new(),
            difference: (None, None),
        }
    }

    /// What is left of it when the transaction is to be committed.
    pub(super) fn into_parts(self) -> Parts {
        let Self { hint, statements, met, apart, .. } = self;
        Parts { hint, statements, met, apart }
    }

    /// Leaves an entry of the audit, if somebody stands behind the call and it changed something.
    pub(super) fn tell(
        &mut self,
        behalf: Option<&Behalf>,
        answer: &dyn Any,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<'_, 'a> {
        let difference = self.difference;
        let entry = behalf
            .and_then(|behalf| outcome(answer).map(|outcome| behalf.entry(outcome).changing(difference)));
        async move {
            match entry {
                Some(entry) => audit::note(self, &entry).await,
                None => Ok(()),
            }
        }
    }

    /// Gives those of these running jobs that are in blocks, of that worker or with `None` of any, a row in `running`.
    pub(super) async fn set_apart(&mut self, seqs: &[i64], worker: Option<i64>) -> Result<(), Error> {
        for row in self.all("SELECT set_apart($1, $2)", &[&seqs, &worker]).await? {
            self.apart.push(get(&row, 0)?);
        }
        Ok(())
    }

    /// Executes a statement that gives no rows; how many rows it changed.
    pub(super) async fn execute(&mut self, sql: &str, params: Params<'_>) -> Result<u64, Error> {
        self.statements += 1;
        self.tx.touch(sql, params).await
    }

    /// The first row of a query, if there is one.
    pub(super) async fn first(&mut self, sql: &str, params: Params<'_>) -> Result<Option<Row>, Error> {
        self.statements += 1;
        Ok(self.tx.rows(sql, params).await?.into_iter().next())
    }

    /// All rows of a query with parameters of known types.
    pub(super) async fn typed(&mut self, sql: &str, parameters: &Parameters<'_>) -> Result<Vec<Row>, Error> {
        self.statements += 1;
        self.tx.query(sql, parameters).await
    }

    /// All rows of a query.
    pub(super) async fn all(&mut self, sql: &str, params: Params<'_>) -> Result<Vec<Row>, Error> {
        self.statements += 1;
        self.tx.rows(sql, params).await
    }

    /// The lane of a queue, kind and priority, made if it is new.
    pub(super) async fn lane(&mut self, key: &LaneKey) -> Result<i64, Error> {
        if let Some(lane) = self.lanes.get(key) {
            return Ok(lane);
        }
        if let Some((lane, _)) = self.met.iter().find(|(_, met)| met == key) {
            return Ok(*lane);
        }
        let queue = self.queue(&key.namespace, &key.queue).await?;
        let (kind, priority) = (key.kind.as_str(), key.priority.0);
        let find =
            "SELECT lane FROM lane WHERE queue = $1 AND kind = $2 AND priority = $3 ORDER BY lane LIMIT 1";
        let mut row = self.first(find, &[&queue, &kind, &priority]).await?;
        if row.is_none() {
            self.execute(NEW_LANE, &[&queue, &kind, &priority]).await?;
            row = self.first(find, &[&queue, &kind, &priority]).await?;
        }
        let lane = get(&row.ok_or_else(|| vanished("a lane"))?, 0)?;
        self.met.push((lane, key.clone()));
        Ok(lane)
    }

    /// The number of a queue, made if it is new.
    pub(super) async fn queue(&mut self, namespace: &Namespace, name: &QueueName) -> Result<i64, Error> {
        let (namespace, name) = (namespace.as_str(), name.as_str());
        let find = "SELECT queue FROM queue WHERE namespace = $1 AND name = $2 ORDER BY queue LIMIT 1";
        if let Some(row) = self.first(find, &[&namespace, &name]).await? {
            return get(&row, 0);
        }
        self.execute("INSERT INTO queue (namespace, name) VALUES ($1, $2)", &[&namespace, &name]).await?;
        let row = self.first(find, &[&namespace, &name]).await?.ok_or_else(|| vanished("a queue"))?;
        get(&row, 0)
    }

    /// What a lane stands for.
    pub(super) async fn lane_info(&mut self, lane: i64) -> Result<Arc<LaneKey>, Error> {
        if let Some(info) = self.lanes.info(lane) {
            return Ok(info);
        }
        let read = self.read_lanes(&[lane]).await?.into_iter().next();
        read.map(|(_, key)| Arc::new(key)).ok_or_else(|| vanished("a lane"))
    }

    /// What lanes stand for.
    pub(super) async fn read_lanes(&mut self, lanes: &[i64]) -> Result<Vec<(i64, LaneKey)>, Error> {
        let rows = self.all(READ_LANES, &[&lanes]).await?;
        rows.iter()
            .map(|row| {
                let key = LaneKey {
                    namespace: name(row, 1, Namespace::new)?,
                    queue: name(row, 2, QueueName::new)?,
                    kind: name(row, 3, Kind::new)?,
                    priority: priority(row, 4)?,
                };
                Ok((get(row, 0)?, key))
            })
            .collect()
    }
}

const READ_LANES: &str = "SELECT l.lane, q.namespace, q.name, l.kind, l.priority
    FROM lane l JOIN queue q ON q.queue = l.queue WHERE l.lane = ANY($1::bigint[])";

// The head of a lane is there from the beginning.
const NEW_LANE: &str = "WITH new AS (
        INSERT INTO lane (queue, kind, priority) VALUES ($1, $2, $3) RETURNING lane)
    INSERT INTO lane_head (lane, n, xid, seq, late_xid, late_seq) SELECT lane, 0, '0', 0, '{}', '{}' FROM new";

/// Reads a column.
pub(super) fn get<'r, T: FromSql<'r>>(row: &'r Row, column: usize) -> Result<T, Error> {
    row.try_get(column).map_err(store_error)
}

/// Reads a count that is kept as a signed number.
pub(super) fn count(row: &Row, column: usize) -> Result<u32, Error> {
    Ok(u32::try_from(get::<i32>(row, column)?).unwrap_or(0))
}

/// Reads a small code.
pub(super) fn code(row: &Row, column: usize) -> Result<u8, Error> {
    u8::try_from(get::<i16>(row, column)?).map_err(|_| vanished("a known code"))
}

/// Reads a small code that may be missing.
pub(super) fn code_if_any(row: &Row, column: usize) -> Result<Option<u8>, Error> {
    Ok(get::<Option<i16>>(row, column)?.and_then(|code| u8::try_from(code).ok()))
}

/// Reads a priority.
pub(super) fn priority(row: &Row, column: usize) -> Result<Priority, Error> {
    get(row, column).map(Priority)
}

/// Reads a name that was checked before it was stored.
pub(super) fn name<T>(
    row: &Row,
    column: usize,
    parse: impl FnOnce(&str) -> Result<T, taskwright_core::Error>,
) -> Result<T, Error> {
    Ok(parse(get(row, column)?)?)
}

/// Reads a name that may be missing.
pub(super) fn name_if_any<T>(
    row: &Row,
    column: usize,
    parse: impl FnOnce(&str) -> Result<T, taskwright_core::Error>,
) -> Result<Option<T>, Error> {
    get::<Option<&str>>(row, column)?.map(parse).transpose().map_err(Error::from)
}

/// A count as it is kept.
pub(super) fn sql_count(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// A small code as it is kept.
pub(super) fn sql_code(code: u8) -> i16 {
    i16::from(code)
}

/// The error for a row that the same transaction has just made sure of.
pub(super) fn vanished(what: &str) -> Error {
    Error::new(
        Area::Damaged,
        "the store",
        format!("the row of {what} is missing"),
        "check that nobody has changed the schema's tables by hand; if not, please report this",
    )
}

/// An id as PostgreSQL keeps it: a `uuid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Uuid(pub(super) [u8; 16]);

impl From<JobId> for Uuid {
    fn from(id: JobId) -> Self {
        Self(*id.as_bytes())
    }
}

impl From<WorkerId> for Uuid {
    fn from(id: WorkerId) -> Self {
        Self(*id.as_bytes())
    }
}

impl From<EventId> for Uuid {
    fn from(id: EventId) -> Self {
        Self(*id.as_bytes())
    }
}

impl From<Uuid> for JobId {
    fn from(id: Uuid) -> Self {
        Self::from_bytes(id.0)
    }
}

impl From<Uuid> for WorkerId {
    fn from(id: Uuid) -> Self {
        Self::from_bytes(id.0)
    }
}

impl From<TokenId> for Uuid {
    fn from(id: TokenId) -> Self {
        Self(*id.as_bytes())
    }
}

impl From<Uuid> for TokenId {
    fn from(id: Uuid) -> Self {
        Self::from_bytes(id.0)
    }
}

impl From<Uuid> for EventId {
    fn from(id: Uuid) -> Self {
        Self::from_bytes(id.0)
    }
}

type Boxed = Box<dyn std::error::Error + Sync + Send>;

impl ToSql for Uuid {
    fn to_sql(&self, _: &Type, out: &mut bytes::BytesMut) -> Result<IsNull, Boxed> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }

    accepts!(UUID);
    to_sql_checked!();
}

impl<'r> FromSql<'r> for Uuid {
    fn from_sql(_: &Type, raw: &'r [u8]) -> Result<Self, Boxed> {
        Ok(Self(raw.try_into()?))
    }

    accepts!(UUID);
}

/// What a lane stands for, and what tells it from others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct LaneKey {
    pub(super) namespace: Namespace,
    pub(super) queue: QueueName,
    pub(super) kind: Kind,
    pub(super) priority: Priority,
}

/// The lanes that are known to be committed. Rows of lanes are never changed and never removed, so what was committed
/// stays right.
#[derive(Default)]
pub(super) struct Lanes {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    by_key: HashMap<LaneKey, i64>,
    by_lane: HashMap<i64, Arc<LaneKey>>,
}

impl Lanes {
    pub(super) fn get(&self, key: &LaneKey) -> Option<i64> {
        self.known().by_key.get(key).copied()
    }

    pub(super) fn info(&self, lane: i64) -> Option<Arc<LaneKey>> {
        self.known().by_lane.get(&lane).cloned()
    }

    /// Notes a lane whose row is committed.
    pub(super) fn remember(&self, lane: i64, key: LaneKey) -> Arc<LaneKey> {
        let info = Arc::new(key.clone());
        let mut known = self.known();
        known.by_key.insert(key, lane);
        known.by_lane.insert(lane, info.clone());
        info
    }

    /// Notes lanes whose rows are committed.
    pub(super) fn remember_all(&self, lanes: Vec<(i64, LaneKey)>) {
        for (lane, key) in lanes {
            self.remember(lane, key);
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Each change is complete in itself.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
