//! Rows of tables in the same file.

use std::fmt::Write;

use rusqlite::Connection;
use rusqlite::types::{Value as Sql, ValueRef};
use serde_json::{Map, Number, Value};
use taskwright_core::Timestamp;

use super::error::read_error;
use crate::error::Error;
use crate::table::{RowCursor, RowsAfter, TableRow, TableRows, check_names, quoted, strange_key};

/// See [`GeneratorStore::rows_after`](crate::GeneratorStore::rows_after). One writes at a time, and commits before the next begins: what is
/// not there yet stands behind what is.
pub(super) fn rows(conn: &Connection, wanted: &RowsAfter) -> Result<TableRows, Error> {
    check_names(wanted)?;
    let (at, key) = wanted.order.columns();
    let (at, key) = (at.map(quoted), quoted(key));
    let table: Vec<String> = wanted.table.split('.').map(quoted).collect();
    let order = if wanted.newest { "DESC" } else { "ASC" };
    let (columns, behind, by) = match &at {
        Some(at) => (
            format!("{at}, {key}"),
            format!("({at}, {key}) > (?2, ?1)"),
            format!("{at} {order}, {key} {order}"),
        ),
        None => (format!("NULL, {key}"), format!("{key} > ?1"), format!("{key} {order}")),
    };
    let is_ordered =
        at.iter().chain([&key]).map(|column| format!("{column} IS NOT NULL")).collect::<Vec<_>>();
    let condition = if wanted.after.is_some() { behind } else { is_ordered.join(" AND ") };
    let sql =
        format!("SELECT {columns}, * FROM {} WHERE {condition} ORDER BY {by} LIMIT ?3", table.join("."));
    let mut statement = conn.prepare_cached(&sql).map_err(read_error)?;
    let after = wanted.after.as_ref();
    let after_key = after.map(|after| sql_of(&after.key)).unwrap_or(Sql::Null);
    let after_at = after.and_then(|after| after.at).map(Timestamp::as_micros);
    let limit = i64::try_from(wanted.limit).unwrap_or(i64::MAX);
    let name = |column| statement.column_name(column).map(str::to_owned);
    let names: Vec<String> =
        (2..statement.column_count()).map(name).collect::<Result<_, _>>().map_err(read_error)?;
    for (number, value) in
        [(1, after_key), (2, after_at.map_or(Sql::Null, Sql::Integer)), (3, Sql::Integer(limit))]
    {
        if number <= statement.parameter_count() {
            statement.raw_bind_parameter(number, value).map_err(read_error)?;
        }
    }
    let mut found = statement.raw_query();
    let mut rows = Vec::new();
    while let Some(row) = found.next().map_err(read_error)? {
        let json = |column| row.get_ref(column).map(json_of).map_err(read_error);
        let key = json(1)?;
        if !key.is_number() && !key.is_string() {
            return Err(strange_key(wanted));
        }
        let at = match at.is_some() {
            true => Some(row.get(0).map(Timestamp::from_micros).map_err(read_error)?),
            false => None,
        };
        let mut columns = Map::new();
        for (number, name) in names.iter().enumerate() {
            columns.insert(name.clone(), json(number + 2)?);
        }
        rows.push(TableRow { cursor: RowCursor { at, key }, is_settled: true, columns });
    }
    Ok(TableRows { rows, mark: None })
}

fn sql_of(key: &Value) -> Sql {
    match key {
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Sql::Integer(whole),
            (None, Some(number)) => Sql::Real(number),
            (None, None) => Sql::Null,
        },
        Value::String(text) => Sql::Text(text.clone()),
        _ => Sql::Null,
    }
}

fn json_of(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(whole) => whole.into(),
        ValueRef::Real(number) => Number::from_f64(number).map_or(Value::Null, Value::Number),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned().into(),
        ValueRef::Blob(bytes) => {
            let mut digits = String::with_capacity(2 * bytes.len());
            for byte in bytes {
                // Writing to a String cannot fail.
                let _ = write!(digits, "{byte:02x}");
            }
            digits.into()
        }
    }
}
