//! Files that generators remember.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::session::Session;
use crate::error::Error;
use crate::file::{FileMark, FileWrite, KnownFile};
use crate::generator::GeneratorKey;

/// What is remembered of these files, in their order.
pub(super) fn of(
    conn: &Connection,
    generator: GeneratorKey,
    paths: &[String],
) -> rusqlite::Result<Vec<Option<KnownFile>>> {
    let mut find = conn.prepare_cached(FILE_OF)?;
    paths.iter().map(|path| find.query_row((generator.0, path), |row| read(row, 0)).optional()).collect()
}

/// Remembered files, in the order of their paths.
pub(super) fn page(
    conn: &Connection,
    generator: GeneratorKey,
    after: Option<&str>,
    limit: i64,
) -> rusqlite::Result<Vec<(String, KnownFile)>> {
    let mut find = conn.prepare_cached(FILES)?;
    // No path is empty.
    let rows = find.query_map(params![generator.0, after.unwrap_or(""), limit], |row| {
        Ok((row.get(0)?, read(row, 1)?))
    })?;
    rows.collect()
}

fn read(row: &Row<'_>, at: usize) -> rusqlite::Result<KnownFile> {
    let mark = FileMark { size: row.get(at)?, modified_ns: row.get(at + 1)? };
    Ok(KnownFile { mark, open: row.get(at + 2)? })
}

pub(super) fn write(
    session: &mut Session<'_>,
    generator: GeneratorKey,
    write: &FileWrite,
) -> Result<(), Error> {
    match write {
        FileWrite::Remember(files) => {
            for (path, mark) in files {
                // SQLite's integers are signed; no file is larger.
                let size = i64::try_from(mark.size).unwrap_or(i64::MAX);
                session.execute(REMEMBER, params![generator.0, path, size, mark.modified_ns])?;
            }
        }
        FileWrite::Close(paths) => {
            for path in paths {
                session.execute(CLOSE, params![generator.0, path])?;
            }
        }
        FileWrite::Forget(paths) => {
            for path in paths {
                session.execute(FORGET, params![generator.0, path])?;
            }
        }
    }
    Ok(())
}

pub(super) const FILE_OF: &str =
    "SELECT size, modified_ns, open FROM taskwright_file WHERE generator = ?1 AND path = ?2";
pub(super) const FILES: &str = "SELECT path, size, modified_ns, open FROM taskwright_file
     WHERE generator = ?1 AND path > ?2 ORDER BY path LIMIT ?3";
pub(super) const REMEMBER: &str =
    "INSERT INTO taskwright_file (generator, path, size, modified_ns, open) VALUES (?1, ?2, ?3, ?4, 1)
     ON CONFLICT (generator, path) DO UPDATE SET size = excluded.size, modified_ns = excluded.modified_ns, open = 1";
pub(super) const CLOSE: &str = "UPDATE taskwright_file SET open = 0 WHERE generator = ?1 AND path = ?2";
pub(super) const FORGET: &str = "DELETE FROM taskwright_file WHERE generator = ?1 AND path = ?2";
pub(super) const FORGET_ALL: &str = "DELETE FROM taskwright_file WHERE generator = ?1";
