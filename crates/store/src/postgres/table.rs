//! Rows of tables in the same database.

use serde_json::Value;
use taskwright_core::Timestamp;

use super::session::{Session, get};
use crate::error::{Area, Error};
use crate::table::{RowCursor, RowsAfter, TableRow, check_names, quoted, strange_key};

/// The schema of a table that is named without one.
const SCHEMA_DEFAULT: &str = "public";

/// See [`GeneratorStore::rows_after`](crate::GeneratorStore::rows_after).
pub(super) async fn rows(session: &mut Session<'_>, wanted: &RowsAfter) -> Result<Vec<TableRow>, Error> {
    check_names(wanted)?;
    let (schema, table) = wanted.table.split_once('.').unwrap_or((SCHEMA_DEFAULT, &wanted.table));
    let (at, key) = wanted.order.columns();
    let key_type = type_of(session, schema, table, key).await?;
    let at = match at {
        Some(at) => Some((quoted(at), type_of(session, schema, table, at).await?)),
        None => None,
    };
    let key = quoted(key);
    let order = if wanted.newest { "DESC" } else { "ASC" };
    let after_key = format!("$2::text::{key_type}");
    let (read_at, behind, by) = match &at {
        Some((at, kind)) if kind.starts_with("timestamp") => (
            format!("(extract(epoch FROM t.{at}) * 1000000)::bigint"),
            format!(
                "(t.{at}, t.{key}) > ('epoch'::{kind} + $3::bigint * interval '1 microsecond', {after_key})"
            ),
            format!("t.{at} {order}, t.{key} {order}"),
        ),
        Some((at, _)) => (
            format!("t.{at}::bigint"),
            format!("(t.{at}, t.{key}) > ($3::bigint, {after_key})"),
            format!("t.{at} {order}, t.{key} {order}"),
        ),
        None => ("NULL::bigint".to_owned(), format!("t.{key} > {after_key}"), format!("t.{key} {order}")),
    };
    let table = format!("{}.{}", quoted(schema), quoted(table));
    let select = format!("SELECT {read_at}, to_jsonb(t.{key})::text, to_jsonb(t)::text FROM {table} t");
    let limit = i64::try_from(wanted.limit).unwrap_or(i64::MAX);
    let found = match &wanted.after {
        None => session.all(&format!("{select} ORDER BY {by} LIMIT $1"), &[&limit]).await?,
        Some(after) => {
            let key = match &after.key {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let sql = format!("{select} WHERE {behind} ORDER BY {by} LIMIT $1");
            match after.at.map(Timestamp::as_micros) {
                Some(after) if at.is_some() => session.all(&sql, &[&limit, &key, &after]).await?,
                _ if at.is_none() => session.all(&sql, &[&limit, &key]).await?,
                _ => return Err(strange_key(wanted)),
            }
        }
    };
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let row = |row: &tokio_postgres::Row| {
        let key = parse(get(row, 1)?);
        let Value::Object(columns) = parse(get(row, 2)?) else { return Err(strange_key(wanted)) };
        if !key.is_number() && !key.is_string() {
            return Err(strange_key(wanted));
        }
        let at = get::<Option<i64>>(row, 0)?.map(Timestamp::from_micros);
        Ok(TableRow { cursor: RowCursor { at, key }, columns })
    };
    found.iter().map(row).collect()
}

/// The type of a column, as SQL writes it.
async fn type_of(
    session: &mut Session<'_>,
    schema: &str,
    table: &str,
    column: &str,
) -> Result<String, Error> {
    match session.first(TYPE_OF, &[&schema, &table, &column]).await? {
        Some(row) => get(&row, 0),
        None => Err(Error::new(
            Area::Refused,
            format!("read the column {column} of {schema}.{table}"),
            "there is no such column, or this role may not see it",
            "name a table and a column of this database, and grant SELECT to the role of the store",
        )),
    }
}

const TYPE_OF: &str = "SELECT format_type(a.atttypid, NULL)
    FROM pg_catalog.pg_namespace n
    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
    WHERE n.nspname = $1::text AND c.relname = $2::text AND a.attname = $3::text AND NOT a.attisdropped";
