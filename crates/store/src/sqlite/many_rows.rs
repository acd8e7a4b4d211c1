//! Inserting many rows by few statements.

use rusqlite::{CachedStatement, ToSql};

use super::error::write_error;
use super::session::Session;
use crate::error::Error;

/// How many rows one statement takes, largest first.
const ROWS_PER_STATEMENT: [usize; SIZES] = [50, 10, 1];
const SIZES: usize = 3;

/// An `INSERT` of many rows: its text for each number of rows that is used, made once.
pub(super) struct ManyRows {
    texts: [String; SIZES],
}

/// Takes the values of rows, in the order of the columns.
pub(super) struct Values<'s, 'c> {
    statement: &'s mut CachedStatement<'c>,
    column: usize,
}

impl Values<'_, '_> {
    pub(super) fn bind(&mut self, value: impl ToSql) -> rusqlite::Result<()> {
        self.column += 1;
        self.statement.raw_bind_parameter(self.column, value)
    }

    pub(super) fn bind_all<T: ToSql>(&mut self, values: impl IntoIterator<Item = T>) -> rusqlite::Result<()> {
        values.into_iter().try_for_each(|value| self.bind(value))
    }
}

impl ManyRows {
    /// `insert` ends in `VALUES `; what follows the rows is `then`.
    pub(super) fn new(insert: &str, columns: usize, then: &str) -> Self {
        Self { texts: ROWS_PER_STATEMENT.map(|rows| many(insert, columns, rows, then)) }
    }

    /// How many of `left` rows go into the next statement, and its text.
    pub(super) fn next(&self, left: usize) -> (usize, &str) {
        let index = ROWS_PER_STATEMENT.iter().position(|rows| *rows <= left).unwrap_or(SIZES - 1);
        (ROWS_PER_STATEMENT[index], &self.texts[index])
    }

    /// Inserts rows, whose values `bind` gives.
    pub(super) fn insert<T>(
        &self,
        session: &mut Session<'_>,
        rows: &[T],
        bind: impl Fn(&T, &mut Values<'_, '_>) -> rusqlite::Result<()>,
    ) -> Result<(), Error> {
        let mut rest = rows;
        while !rest.is_empty() {
            let (size, sql) = self.next(rest.len());
            let (part, tail) = rest.split_at(size);
            rest = tail;
            insert_all(session, sql, part, &bind).map_err(write_error)?;
        }
        Ok(())
    }
}

/// Inserts as many rows as the statement has places for.
pub(super) fn insert_all<T>(
    session: &mut Session<'_>,
    sql: &str,
    rows: &[T],
    bind: impl Fn(&T, &mut Values<'_, '_>) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    session.statements += 1;
    let mut statement = session.conn().prepare_cached(sql)?;
    let mut values = Values { statement: &mut statement, column: 0 };
    rows.iter().try_for_each(|row| bind(row, &mut values))?;
    statement.raw_execute().map(drop)
}

/// The insert with place-holders for `rows` rows.
fn many(insert: &str, columns: usize, rows: usize, then: &str) -> String {
    let row = format!("({})", vec!["?"; columns].join(","));
    format!("{insert}{}{then}", vec![row; rows].join(","))
}
