//! Rows of tables that are beside the jobs, in the same file or database, and belong to whoever uses Taskwright.

use serde_json::{Map, Value};
use taskwright_core::{Error as Refused, Timestamp};

use crate::error::Error;

/// Bytes of the name of a table or column, at most.
const NAME_BYTES_MAX: usize = 128;

/// Which rows of a table are wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct RowsAfter {
    /// The table; on PostgreSQL also `schema.table`, and `public` without a schema.
    pub table: String,
    /// In which order.
    pub order: RowOrder,
    /// Those behind this one; `None` is all.
    pub after: Option<RowCursor>,
    /// How many at most.
    pub limit: usize,
    /// Whether the newest come first.
    pub newest: bool,
    /// What the last answer for this order said; `None` at first. It may be of another process, or of long ago.
    pub mark: Option<RowMark>,
}

/// Up to which key all rows of a table are there once whoever was writing to it has ended. For an order by
/// [key](RowOrder::Key) in a database that several write to at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct RowMark {
    /// The newest key at that time.
    pub(crate) key: Value,
    /// The transactions that were writing then.
    pub(crate) writers: Vec<i64>,
}

/// Rows, and what is to be said when the next are asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TableRows {
    /// The rows.
    pub rows: Vec<TableRow>,
    /// For the next question.
    pub mark: Option<RowMark>,
}

/// The order of the rows of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowOrder {
    /// By this column.
    Key(String),
    /// By the column of a time, and among those of one time by another.
    Modified {
        /// The time: microseconds since 1970 as a number, or on PostgreSQL a `timestamp` or `timestamptz`.
        at: String,
        /// The other.
        id: String,
    },
}

/// Where a row stands among others.
#[derive(Clone, Debug, PartialEq)]
pub struct RowCursor {
    /// Its time, where that counts.
    pub at: Option<Timestamp>,
    /// Its key or id: a number or a text.
    pub key: Value,
}

/// A row.
#[derive(Clone, Debug, PartialEq)]
pub struct TableRow {
    /// Where it stands.
    pub cursor: RowCursor,
    /// Whether no row can appear any more that stands before it by its key. Always where the order is one by time: there it is the lag
    /// that makes sure of it.
    pub is_settled: bool,
    /// Its columns by name. What is no number, text or truth is text, bytes in hexadecimal digits.
    pub columns: Map<String, Value>,
}

impl RowOrder {
    /// The columns that it is about: the time, if there is one, and the key.
    pub(crate) fn columns(&self) -> (Option<&str>, &str) {
        match self {
            Self::Key(key) => (None, key),
            Self::Modified { at, id } => (Some(at), id),
        }
    }
}

/// Refuses names that cannot be names: the same on every store.
pub(crate) fn check_names(rows: &RowsAfter) -> Result<(), Error> {
    let (at, key) = rows.order.columns();
    for name in rows.table.split('.').chain(at).chain([key]) {
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains('\0') {
            return Err(Refused::invalid(
                format!("the name {:?}", taskwright_core::name::shown(name)),
                format!("a table or column has a name of 1 to {NAME_BYTES_MAX} bytes"),
                "name it as the database does",
            )
            .into());
        }
    }
    Ok(())
}

/// A name as SQL has it, whatever is in it.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The error for a key that is neither a number nor a text.
pub(crate) fn strange_key(rows: &RowsAfter) -> Error {
    Refused::invalid(
        format!("the key of a row of {}", rows.table),
        "it is neither a number nor a text",
        "take the rows in the order of a column that is never NULL, and a number or a text",
    )
    .into()
}
