//! Rows of tables in the same database.

use serde_json::Value;
use taskwright_core::Timestamp;
use tokio_postgres::types::ToSql;

use super::session::{Session, get};
use crate::error::{Area, Error};
use crate::table::{RowCursor, RowMark, RowsAfter, TableRow, TableRows, check_names, quoted, strange_key};

/// The schema of a table that is named without one.
const SCHEMA_DEFAULT: &str = "public";

/// See [`GeneratorStore::rows_after`](crate::GeneratorStore::rows_after). Each statement must have a snapshot of its own.
///
/// Of two that insert at once, one may draw the lower key and commit last. So a row is settled by its key only when nobody can commit
/// one before it any more. A [mark](RowMark) says that of all rows up to a key, once those are over who were writing to the table when
/// it was made. No row's own `xmin` says as much: transactions get their numbers in another order than keys are drawn in; and
/// the oldest of all transactions may be one that has nothing to do with the table.
pub(super) async fn rows(session: &mut Session<'_>, wanted: &RowsAfter) -> Result<TableRows, Error> {
    check_names(wanted)?;
    let select = Select::new(session, wanted).await?;
    if select.at.is_some() || wanted.newest {
        let mut rows = select.rows(session, None).await?;
        rows.iter_mut().for_each(|row| row.is_settled = true);
        return Ok(TableRows { rows, mark: None });
    }
    let mark = wanted.mark.clone();
    let is_over = match &mark {
        Some(mark) => are_over(session, &mark.writers).await?,
        None => false,
    };
    // Read after it was found that they are over: what they have committed is seen.
    let mut rows = select.rows(session, mark.as_ref()).await?;
    let is_awaited = !is_over && rows.first().is_some_and(|row| row.is_settled);
    if !is_over {
        rows.iter_mut().for_each(|row| row.is_settled = false);
    }
    if rows.is_empty() {
        return Ok(TableRows::default());
    }
    if is_awaited || rows.last().is_some_and(|row| row.is_settled) {
        return Ok(TableRows { rows, mark });
    }
    let Some(new) = select.mark(session).await? else { return Ok(TableRows { rows, mark }) };
    if new.writers.is_empty() {
        rows = select.rows(session, Some(&new)).await?;
    }
    Ok(TableRows { rows, mark: Some(new) })
}

/// Whether these transactions are over. Who ends lets go of its number after what it has written can be seen.
async fn are_over(session: &mut Session<'_>, writers: &[i64]) -> Result<bool, Error> {
    if writers.is_empty() {
        return Ok(true);
    }
    Ok(session.first(UNDER_WAY, &[&writers]).await?.is_none())
}

/// How rows are asked for.
struct Select<'w> {
    wanted: &'w RowsAfter,
    /// The table, as SQL has it.
    table: String,
    /// The column of the key, and its type.
    key: (String, String),
    /// The column of the time, and its type.
    at: Option<(String, String)>,
}

impl<'w> Select<'w> {
    async fn new(session: &mut Session<'_>, wanted: &'w RowsAfter) -> Result<Self, Error> {
        let (schema, table) = wanted.table.split_once('.').unwrap_or((SCHEMA_DEFAULT, &wanted.table));
        let (at, key) = wanted.order.columns();
        let (key_type, shows_writers) = type_of(session, schema, table, key).await?;
        let key = (quoted(key), key_type);
        let at = match at {
            Some(at) => Some((quoted(at), type_of(session, schema, table, at).await?.0)),
            None if shows_writers => None,
            None => return Err(hides_writers(schema, table)),
        };
        Ok(Self { wanted, table: format!("{}.{}", quoted(schema), quoted(table)), key, at })
    }

    /// The rows, of which those up to the mark are settled.
    async fn rows(&self, session: &mut Session<'_>, mark: Option<&RowMark>) -> Result<Vec<TableRow>, Error> {
        let limit = i64::try_from(self.wanted.limit).unwrap_or(i64::MAX);
        let after = self.wanted.after.as_ref();
        let after_at = after.and_then(|after| after.at).map(Timestamp::as_micros);
        if after.is_some() && after_at.is_none() && self.at.is_some() {
            return Err(strange_key(self.wanted));
        }
        let (after_key, mark) = (after.map(|after| text_of(&after.key)), mark.map(|mark| text_of(&mark.key)));
        let mut values: Vec<&(dyn ToSql + Sync)> = vec![&limit, &mark];
        if after.is_some() {
            values.push(&after_key);
        }
        if after.is_some() && self.at.is_some() {
            values.push(&after_at);
        }
        let found = session.all(&self.sql(), &values).await?;
        found.iter().map(|row| self.read(row)).collect()
    }

    /// At most `$1` rows, each with whether it stands no further than `$2`; those behind the key `$3`, and the time `$4`.
    fn sql(&self) -> String {
        let (key, key_type) = &self.key;
        let order = if self.wanted.newest { "DESC" } else { "ASC" };
        let after = format!("$3::text::{key_type}");
        let (read_at, behind, is_ordered, by) = match &self.at {
            Some((at, kind)) => {
                let (micros, moment) = if kind.starts_with("timestamp") {
                    (
                        format!("(extract(epoch FROM t.{at}) * 1000000)::bigint"),
                        format!("'epoch'::{kind} + $4::bigint * interval '1 microsecond'"),
                    )
                } else {
                    (format!("t.{at}::bigint"), "$4::bigint".to_owned())
                };
                (
                    micros,
                    format!("(t.{at}, t.{key}) > ({moment}, {after})"),
                    format!("t.{at} IS NOT NULL AND t.{key} IS NOT NULL"),
                    format!("t.{at} {order}, t.{key} {order}"),
                )
            }
            None => (
                "NULL::bigint".to_owned(),
                format!("t.{key} > {after}"),
                format!("t.{key} IS NOT NULL"),
                format!("t.{key} {order}"),
            ),
        };
        let condition = if self.wanted.after.is_some() { behind } else { is_ordered };
        format!(
            "SELECT {read_at}, to_jsonb(t.{key})::text, to_jsonb(t)::text,
                coalesce(t.{key} <= $2::text::{key_type}, false)
             FROM {} t WHERE {condition} ORDER BY {by} LIMIT $1",
            self.table
        )
    }

    fn read(&self, row: &tokio_postgres::Row) -> Result<TableRow, Error> {
        let key = parse(get(row, 1)?);
        let Value::Object(columns) = parse(get(row, 2)?) else { return Err(strange_key(self.wanted)) };
        if !key.is_number() && !key.is_string() {
            return Err(strange_key(self.wanted));
        }
        let at = get::<Option<i64>>(row, 0)?.map(Timestamp::from_micros);
        Ok(TableRow { cursor: RowCursor { at, key }, is_settled: get(row, 3)?, columns })
    }

    /// A new mark at the newest row; `None` while somebody writes to the table whose transaction has no number yet. That takes a
    /// moment, unless one only meant to write, and waits.
    ///
    /// Who inserts locks the table, draws a key, and gets a number, in this order, and keeps lock and number to the end. So of all who
    /// have drawn a key below that of the newest row, each that is not over has the lock when it is looked for after that row was seen.
    async fn mark(&self, session: &mut Session<'_>) -> Result<Option<RowMark>, Error> {
        let (key, _) = &self.key;
        let newest = format!(
            "SELECT to_jsonb(t.{key})::text FROM {} t WHERE t.{key} IS NOT NULL ORDER BY t.{key} DESC LIMIT 1",
            self.table
        );
        let Some(newest) = session.first(&newest, &[]).await? else { return Ok(None) };
        let key = parse(get(&newest, 0)?);
        let mut writers = Vec::new();
        for row in session.all(WRITERS, &[&self.table]).await? {
            let Some(number) = get::<Option<i64>>(&row, 0)? else { return Ok(None) };
            writers.push(number);
        }
        Ok(Some(RowMark { key, writers }))
    }
}

fn parse(text: &str) -> Value {
    serde_json::from_str::<Value>(text).unwrap_or_default()
}

/// A key as the database reads it.
fn text_of(key: &Value) -> String {
    match key {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Nobody can see who is about to write there with a lower key than those that are there.
fn hides_writers(schema: &str, table: &str) -> Error {
    Error::new(
        Area::Refused,
        format!("go by the key of {schema}.{table}"),
        "it is no table, or one with children, so that rows that are committed late would be passed over",
        "name the table that is written to, or go by a time and a key, with a lag",
    )
}

/// The type of a column, as SQL writes it, and whether whoever writes to its table can be seen.
async fn type_of(
    session: &mut Session<'_>,
    schema: &str,
    table: &str,
    column: &str,
) -> Result<(String, bool), Error> {
    match session.first(TYPE_OF, &[&schema, &table, &column]).await? {
        Some(row) => Ok((get(&row, 0)?, get(&row, 1)?)),
        None => Err(Error::new(
            Area::Refused,
            format!("read the column {column} of {schema}.{table}"),
            "there is no such column, or this role may not see it",
            "name a table and a column of this database, and grant SELECT to the role of the store",
        )),
    }
}

const TYPE_OF: &str = "SELECT format_type(a.atttypid, NULL), c.relkind = 'p' OR (c.relkind = 'r'
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid))
    FROM pg_catalog.pg_namespace n
    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
    WHERE n.nspname = $1::text AND c.relname = $2::text AND a.attname = $3::text AND NOT a.attisdropped";

/// Those of these transactions that are not over.
const UNDER_WAY: &str = "SELECT 1 FROM pg_catalog.pg_locks l
    WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted
      AND l.transactionid::text::bigint = ANY($1::bigint[]) LIMIT 1";

/// The numbers of the transactions that may have drawn a key for a table, or a partition of it; NULL for one that has none yet.
const WRITERS: &str = "WITH lock AS MATERIALIZED (
        SELECT l.virtualtransaction AS who, l.locktype, l.relation, l.database, l.transactionid::text::bigint AS number
        FROM pg_catalog.pg_locks l
        WHERE l.granted AND (l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock'
                          OR l.locktype = 'relation' AND l.mode = 'RowExclusiveLock'))
    SELECT x.number FROM (
        SELECT DISTINCT r.who FROM lock r
        WHERE r.locktype = 'relation'
          AND r.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database())
          AND (r.relation = $1::text::regclass::oid
               OR r.relation IN (SELECT p.relid::oid FROM pg_catalog.pg_partition_tree($1::text::regclass) p))) w
    LEFT JOIN lock x ON x.locktype = 'transactionid' AND x.who = w.who";
