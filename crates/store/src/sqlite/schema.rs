//! Migrations: numbered SQL files, embedded, applied once each, recorded with their checksum.

use std::fmt::Write;

use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior};
use taskwright_core::Timestamp;

use super::error::read_error;
use crate::error::Error;
use crate::migration::{self, Applied, Migration};

/// Every step there has been, in order. A released step is never edited: its checksum is in people's files.
const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "jobs", usable_from: 1, sql: include_str!("migrations/0001_jobs.sql") },
    Migration {
        version: 2,
        name: "schedules",
        usable_from: 1,
        sql: include_str!("migrations/0002_schedules.sql"),
    },
    Migration {
        version: 3,
        name: "sources",
        usable_from: 1,
        sql: include_str!("migrations/0003_sources.sql"),
    },
    Migration {
        version: 4,
        name: "generators",
        usable_from: 1,
        sql: include_str!("migrations/0004_generators.sql"),
    },
    Migration {
        version: 5,
        name: "webhooks",
        usable_from: 1,
        sql: include_str!("migrations/0005_webhooks.sql"),
    },
    Migration { version: 6, name: "bulk", usable_from: 1, sql: include_str!("migrations/0006_bulk.sql") },
    Migration {
        version: 7,
        name: "generator sources",
        usable_from: 1,
        sql: include_str!("migrations/0007_generator_sources.sql"),
    },
    Migration {
        version: 8,
        name: "rollups",
        usable_from: 1,
        sql: include_str!("migrations/0008_rollups.sql"),
    },
    Migration {
        version: 9,
        name: "identities",
        usable_from: 1,
        sql: include_str!("migrations/0009_identities.sql"),
    },
    Migration {
        version: 10,
        name: "requests",
        usable_from: 1,
        sql: include_str!("migrations/0010_requests.sql"),
    },
    Migration {
        version: 11,
        name: "cancels",
        usable_from: 1,
        sql: include_str!("migrations/0011_cancels.sql"),
    },
    Migration { version: 12, name: "moves", usable_from: 1, sql: include_str!("migrations/0012_moves.sql") },
    Migration {
        version: 13,
        name: "attachments",
        usable_from: 1,
        sql: include_str!("migrations/0013_attachments.sql"),
    },
    Migration { version: 14, name: "steps", usable_from: 1, sql: include_str!("migrations/0014_steps.sql") },
    Migration {
        version: 15,
        name: "services",
        usable_from: 1,
        sql: include_str!("migrations/0015_services.sql"),
    },
];

/// The version of the schema that this program writes.
pub const VERSION: u32 = MIGRATIONS[MIGRATIONS.len() - 1].version;

const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS taskwright_migration (
    version     INTEGER PRIMARY KEY,
    name        TEXT NOT NULL,
    checksum    TEXT NOT NULL,
    applied_at  INTEGER NOT NULL,
    usable_from INTEGER NOT NULL
) STRICT";

/// Brings the file to [`VERSION`], in one transaction, and gives the version it had before (0 for a new one). A newer
/// file that this program may use is left as it is, and its version given.
///
/// # Errors
///
/// [`Error::is_version`] when the file is of a newer version that this program may not use, or was migrated by other SQL
/// than this program's.
pub(super) fn migrate(conn: &mut Connection, now: Timestamp) -> Result<u32, Error> {
    // The common case takes no lock: a file that is up to date is only read.
    if let Some(version) = applied(conn)?
        && version >= VERSION
    {
        return Ok(version);
    }
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(read_error)?;
    tx.execute_batch(CREATE_TABLE).map_err(read_error)?;
    let before = applied(&tx)?.unwrap_or(0);
    for migration in MIGRATIONS.iter().filter(|migration| migration.version > before) {
        tx.execute_batch(migration.sql).map_err(read_error)?;
        tx.execute(
            "INSERT INTO taskwright_migration (version, name, checksum, applied_at, usable_from)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            (migration.version, migration.name, migration.checksum(), now.as_micros(), migration.usable_from),
        )
        .map_err(read_error)?;
    }
    tx.commit().map_err(read_error)?;
    Ok(before)
}

/// The newest version in the file, after holding every recorded step against ours; `None` for a file without jobs.
///
/// # Errors
///
/// [`Error::is_version`], as for [`migrate`].
pub(super) fn applied(conn: &Connection) -> Result<Option<u32>, Error> {
    let exists = conn
        .query_row("SELECT 1 FROM sqlite_schema WHERE name = 'taskwright_migration'", [], |_| Ok(()))
        .optional()
        .map_err(read_error)?;
    if exists.is_none() {
        return Ok(None);
    }
    let mut statement = conn
        .prepare("SELECT version, checksum, usable_from FROM taskwright_migration ORDER BY version")
        .map_err(read_error)?;
    let step =
        |row: &Row<'_>| Ok(Applied { version: row.get(0)?, checksum: row.get(1)?, usable_from: row.get(2)? });
    let rows = statement.query_map([], step).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    migration::newest(MIGRATIONS, &rows.map_err(read_error)?)
}

/// The SQL that [`migrate`] would run on a file of this version (`None`: a new one), ready for `sqlite3`; empty when there
/// is nothing to do.
pub(super) fn pending_sql(applied: Option<u32>) -> String {
    let before = applied.unwrap_or(0);
    if before >= VERSION {
        return String::new();
    }
    let mut sql = format!("BEGIN IMMEDIATE;\n{CREATE_TABLE};\n");
    for migration in MIGRATIONS.iter().filter(|migration| migration.version > before) {
        // Writing to a String cannot fail.
        let _ = write!(
            sql,
            "\n{}\n\nINSERT INTO taskwright_migration (version, name, checksum, applied_at, usable_from)\n\
             VALUES ({}, '{}', '{}', unixepoch() * 1000000, {});\n",
            migration.sql.trim(),
            migration.version,
            migration.name,
            migration.checksum(),
            migration.usable_from,
        );
    }
    sql.push_str("COMMIT;\n");
    sql
}
