//! Migrations: numbered SQL files, embedded, applied once each, recorded with their checksum.
//!
//! The SQL names no schema: `search_path` does, so that one text serves every name and its checksum is the same.

use std::fmt::Write;

use taskwright_core::Timestamp;
use tokio_postgres::types::Type;

use super::connect::{Connections, Parameters, Transaction};
use crate::error::{Area, Error};
use crate::migration::{self, Applied, Migration};

/// Every step there has been, in order. A released step is never edited: its checksum is in people's databases.
const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "jobs", usable_from: 1, sql: include_str!("migrations/0001_jobs.sql") },
    Migration { version: 2, name: "claims", usable_from: 2, sql: include_str!("migrations/0002_claims.sql") },
    Migration {
        version: 3,
        name: "transactions",
        usable_from: 3,
        sql: include_str!("migrations/0003_transactions.sql"),
    },
    // Nothing that was there changes, so that a program that knows no schedules may go on.
    Migration {
        version: 4,
        name: "schedules",
        usable_from: 3,
        sql: include_str!("migrations/0004_schedules.sql"),
    },
    Migration {
        version: 5,
        name: "outcomes",
        usable_from: 3,
        sql: include_str!("migrations/0005_outcomes.sql"),
    },
    Migration {
        version: 6,
        name: "sources",
        usable_from: 3,
        sql: include_str!("migrations/0006_sources.sql"),
    },
    Migration {
        version: 7,
        name: "generators",
        usable_from: 3,
        sql: include_str!("migrations/0007_generators.sql"),
    },
    Migration {
        version: 8,
        name: "webhooks",
        usable_from: 3,
        sql: include_str!("migrations/0008_webhooks.sql"),
    },
    Migration { version: 9, name: "bulk", usable_from: 3, sql: include_str!("migrations/0009_bulk.sql") },
    Migration {
        version: 10,
        name: "generator sources",
        usable_from: 3,
        sql: include_str!("migrations/0010_generator_sources.sql"),
    },
    Migration {
        version: 11,
        name: "rollups",
        usable_from: 3,
        sql: include_str!("migrations/0011_rollups.sql"),
    },
    Migration {
        version: 12,
        name: "identities",
        usable_from: 3,
        sql: include_str!("migrations/0012_identities.sql"),
    },
    Migration {
        version: 13,
        name: "requests",
        usable_from: 3,
        sql: include_str!("migrations/0013_requests.sql"),
    },
    Migration {
        version: 14,
        name: "cancels",
        usable_from: 3,
        sql: include_str!("migrations/0014_cancels.sql"),
    },
    Migration { version: 15, name: "moves", usable_from: 3, sql: include_str!("migrations/0015_moves.sql") },
    Migration {
        version: 16,
        name: "attachments",
        usable_from: 3,
        sql: include_str!("migrations/0016_attachments.sql"),
    },
    Migration { version: 17, name: "steps", usable_from: 3, sql: include_str!("migrations/0017_steps.sql") },
    Migration {
        version: 18,
        name: "services",
        usable_from: 3,
        sql: include_str!("migrations/0018_services.sql"),
    },
];

/// The version of the schema that this program writes.
pub const VERSION: u32 = MIGRATIONS[MIGRATIONS.len() - 1].version;

const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS migration (
    version     integer PRIMARY KEY,
    name        text    NOT NULL,
    checksum    text    NOT NULL,
    applied_at  bigint  NOT NULL,
    usable_from integer NOT NULL
)";

/// Records a step.
const RECORD: &str =
    "INSERT INTO migration (version, name, checksum, applied_at, usable_from) VALUES ($1, $2, $3, $4, $5)";

/// While waiting for another migrator: as long as a step of it may take. Once it is our turn, tables are not waited for
/// longer than by any other call, since whoever waits for a table also holds up everybody behind.
const LIMITS_WAITING: &str = "SET LOCAL statement_timeout = '1h'; SET LOCAL lock_timeout = '1h'";
const LIMITS_MIGRATING: &str = "SET LOCAL lock_timeout = '5s'";

/// What a role needs to run a worker. It names no schema and no role: `search_path` and a setting do.
const GRANTS: &str = include_str!("grants.sql");

/// Brings the schema to [`VERSION`], each step in a transaction of its own, and gives the version it had before (0 for
/// a new one). Any number of processes may do this at once: one at a time takes the next step. A newer schema that this
/// program may use is left as it is, and its version given.
///
/// # Errors
///
/// [`Error::is_version`] when the schema is of a newer version that this program may not use, or was migrated by other SQL
/// than this program's; [`Error::is_read_only`] when the role may not change it.
pub async fn migrate(connections: &Connections, now: Timestamp) -> Result<u32, Error> {
    let before = applied(connections).await?.unwrap_or(0);
    // The common case takes no lock: a schema that is up to date is only read.
    if before >= VERSION {
        return Ok(before);
    }
    let mut connection = connections.get().await?;
    if before > 0 {
        refuse_stranger(&connection.begin().await?, before).await?;
    }
    let tx = connection.begin_migration().await?;
    take_turn(&tx, connections).await?;
    create_schema(&tx, connections.settings().schema()).await?;
    tx.run(CREATE_TABLE).await?;
    tx.commit().await?;
    for migration in MIGRATIONS {
        let tx = connection.begin_migration().await?;
        take_turn(&tx, connections).await?;
        if newest(&tx).await?.unwrap_or(0) >= migration.version {
            continue;
        }
        tx.run(migration.sql).await?;
        let (version, usable_from) = (migration.version.cast_signed(), migration.usable_from.cast_signed());
        let row: &Parameters<'_> = &[
            (&version, Type::INT4),
            (&migration.name, Type::TEXT),
            (&migration.checksum(), Type::TEXT),
            (&now.as_micros(), Type::INT8),
            (&usable_from, Type::INT4),
        ];
        tx.execute(RECORD, row).await?;
        tx.commit().await?;
    }
    Ok(before)
}

/// The newest version in the database, after holding every recorded step against ours; `None` where no store is.
/// Nothing is made, migrated or written.
///
/// # Errors
///
/// [`Error::is_version`], as for [`migrate`].
pub async fn applied(connections: &Connections) -> Result<Option<u32>, Error> {
    let mut connection = connections.get().await?;
    let tx = connection.begin().await?;
    let schema = connections.settings().schema();
    if !is_recorded(&tx, schema).await? {
        return Ok(None);
    }
    newest(&tx).await
}

/// The SQL that [`migrate`] would run now, ready for `psql`; empty when there is nothing to do.
///
/// # Errors
///
/// [`Error::is_version`], as for [`migrate`].
pub async fn pending_sql(connections: &Connections) -> Result<String, Error> {
    let applied = applied(connections).await?;
    let schema = connections.settings().schema();
    let before = applied.unwrap_or(0);
    let mut sql = String::new();
    let mut transaction = |body: &str| {
        // Writing to a String cannot fail.
        let _ = write!(
            sql,
            "BEGIN;\nSET LOCAL search_path = {schema:?};\n{LIMITS_WAITING};\n\
             SELECT pg_advisory_xact_lock({});\n{LIMITS_MIGRATING};\n{}\nCOMMIT;\n\n",
            lock_key(schema),
            body.trim(),
        );
    };
    if applied.is_none() {
        transaction(&format!("CREATE SCHEMA IF NOT EXISTS {schema:?};\n{CREATE_TABLE};"));
    }
    for migration in MIGRATIONS.iter().filter(|migration| migration.version > before) {
        transaction(&format!(
            "{}\n\nINSERT INTO migration (version, name, checksum, applied_at, usable_from)\nVALUES ({}, '{}', '{}', \
             (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, {});",
            migration.sql.trim(),
            migration.version,
            migration.name,
            migration.checksum(),
            migration.usable_from,
        ));
    }
    Ok(sql)
}

/// Gives a role what a worker needs, now and after later migrations by the same owner: use of the schema, reading and
/// writing its tables, calling its functions. It may not create, change or drop anything, nor write the record of
/// migrations.
///
/// # Errors
///
/// When there is no such role, or ours is not the owner of the schema.
pub async fn grant(connections: &Connections, role: &str) -> Result<(), Error> {
    let mut connection = connections.get().await?;
    let tx = connection.begin().await?;
    if tx.query("SELECT FROM pg_roles WHERE rolname = $1", &[(&role, Type::TEXT)]).await?.is_empty() {
        return Err(Error::new(
            Area::Unreachable,
            format!("grants to the role {role}"),
            "there is no such role",
            "make it with CREATE ROLE, or correct the name",
        ));
    }
    tx.query("SELECT set_config('taskwright.grantee', $1, true)", &[(&role, Type::TEXT)]).await?;
    tx.run(GRANTS).await?;
    tx.commit().await
}

/// Waits until no other migrator of this schema is at work; ends with the transaction.
async fn take_turn(tx: &Transaction<'_>, connections: &Connections) -> Result<(), Error> {
    tx.run(LIMITS_WAITING).await?;
    let key = lock_key(connections.settings().schema());
    tx.query("SELECT pg_advisory_xact_lock($1)", &[(&key, Type::INT8)]).await?;
    tx.run(LIMITS_MIGRATING).await
}

/// Makes the schema, unless it is there: then no right to make one is needed. Other migrators wait, but somebody else
/// may make it at the same moment; the server reports that as a duplicate in spite of IF NOT EXISTS.
async fn create_schema(tx: &Transaction<'_>, schema: &str) -> Result<(), Error> {
    let sql = "SELECT FROM pg_namespace WHERE nspname = $1";
    if !tx.query(sql, &[(&schema, Type::TEXT)]).await?.is_empty() {
        return Ok(());
    }
    tx.run(&format!(
        "DO $$ BEGIN
             CREATE SCHEMA IF NOT EXISTS {schema:?};
         EXCEPTION WHEN duplicate_schema OR unique_violation THEN NULL;
         END $$"
    ))
    .await
}

/// Whether the schema has a record of migrations. The catalog can be read by every role, so that a missing right is
/// told apart from a missing store.
async fn is_recorded(tx: &Transaction<'_>, schema: &str) -> Result<bool, Error> {
    let sql = "SELECT has_schema_privilege(n.oid, 'USAGE') FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
               WHERE n.nspname = $1 AND relname = 'migration' AND relkind = 'r'";
    let rows = tx.query(sql, &[(&schema, Type::TEXT)]).await?;
    let Some(row) = rows.first() else { return Ok(false) };
    if !row.get::<_, bool>(0) {
        return Err(Error::new(
            Area::ReadOnly,
            format!("the schema {schema}"),
            "this role may not use it",
            "run `taskwright migrate --grant ROLE` as the owner of the schema",
        ));
    }
    Ok(true)
}

/// The newest version on record, after holding every recorded step against ours.
async fn newest(tx: &Transaction<'_>) -> Result<Option<u32>, Error> {
    let rows = tx.query("SELECT version, checksum, usable_from FROM migration ORDER BY version", &[]).await?;
    let applied: Vec<Applied> = rows
        .iter()
        .map(|row| Applied {
            version: row.get::<_, i32>(0).cast_unsigned(),
            checksum: row.get(1),
            usable_from: row.get::<_, i32>(2).cast_unsigned(),
        })
        .collect();
    migration::newest(MIGRATIONS, &applied)
}

/// Refuses a role that is not the owner of the store: it could not take the next step. Before any lock, as such a program
/// may be started again and again while the others work.
async fn refuse_stranger(tx: &Transaction<'_>, before: u32) -> Result<(), Error> {
    let sql = "SELECT current_user::text, pg_get_userbyid(relowner)::text FROM pg_class
               WHERE oid = 'migration'::regclass AND NOT pg_has_role(relowner, 'USAGE')";
    let rows = tx.query(sql, &[]).await?;
    let Some(row) = rows.first() else { return Ok(()) };
    let (role, owner) = (row.get::<_, String>(0), row.get::<_, String>(1));
    Err(Error::new(
        Area::ReadOnly,
        format!("the store of schema version {before}"),
        format!("this program needs version {VERSION}, and the role {role} may not migrate it"),
        format!(
            "run `taskwright migrate` of this program as its owner, {owner}; those who use the store now may go on"
        ),
    ))
}

/// The advisory lock of one schema's migrations: the database's locks are shared with whatever else it serves.
fn lock_key(schema: &str) -> i64 {
    let hash = blake3::hash(format!("taskwright migrate {schema}").as_bytes());
    let mut key = [0; 8];
    key.copy_from_slice(&hash.as_bytes()[..8]);
    i64::from_be_bytes(key)
}
