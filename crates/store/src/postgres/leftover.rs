//! What a benchmark that was killed left behind: its schema, which the next one on that database drops.
//!
//! A session that measures holds an advisory lock by the name of its schema, from before the schema is made until its
//! connection ends, however that comes about. A schema whose lock is free is nobody's.

use super::error::store_error;
use super::raw::{Plain, Range};
use super::url::Settings;
use crate::error::Error;

/// What the schemas of benchmarks are called, before their tag.
const PREFIX: &str = "taskwright_bench_";

/// The same through a PgBouncer. Sessions are not kept there, and so no locks: these are dropped by no other.
const POOLED_PREFIX: &str = "taskwright_pooled_bench_";

/// How long a table of such a schema is waited for: a worker process may be about to notice that its parent is gone.
const LOCK_WAIT: &str = "10s";

/// A schema of a benchmark that is gone.
#[derive(Debug)]
pub struct Leftover {
    /// Its name.
    pub schema: String,
    /// Whether it was dropped.
    pub dropped: Result<(), Error>,
}

impl Range {
    /// Drops the schemas of benchmarks of this database whose processes are gone.
    ///
    /// # Errors
    ///
    /// As every call to the server; one that cannot be dropped is told in its [`Leftover`].
    pub async fn clear_leftovers(&self) -> Result<Vec<Leftover>, Error> {
        let client = &self.plain.client;
        let found = "SELECT nspname::text FROM pg_namespace WHERE starts_with(nspname, $1) AND nspname <> $2 ORDER BY 1";
        let found = client.query(found, &[&PREFIX, &self.settings.schema()]).await.map_err(store_error)?;
        let mut leftovers = Vec::new();
        for schema in found.iter().map(|row| row.get::<_, String>(0)) {
            let free: bool = client.query_one(TRY_LOCK, &[&schema]).await.map_err(store_error)?.get(0);
            if !free {
                continue;
            }
            // Its bench may have dropped it since it was found, and ended.
            let there = client.query_opt("SELECT FROM pg_namespace WHERE nspname = $1", &[&schema]).await;
            if there.map_err(store_error)?.is_some() {
                let dropped = self.plain.run(&drop_sql(&schema)).await;
                leftovers.push(Leftover { schema: schema.clone(), dropped });
            }
            client.execute(UNLOCK, &[&schema]).await.map_err(store_error)?;
        }
        Ok(leftovers)
    }
}

/// The settings with the schema of a benchmark.
pub(super) fn with_schema_of(settings: Settings, tag: &str) -> Result<Settings, Error> {
    let prefix = if settings.pgbouncer { POOLED_PREFIX } else { PREFIX };
    settings.with_schema(&format!("{prefix}{tag}"))
}

/// Takes the lock of the settings' schema, until the connection ends.
pub(super) async fn claim(plain: &Plain, settings: &Settings) -> Result<(), Error> {
    if !settings.pgbouncer {
        plain.client.query_one(TRY_LOCK, &[&settings.schema()]).await.map_err(store_error)?;
    }
    Ok(())
}

const TRY_LOCK: &str = "SELECT pg_try_advisory_lock(hashtextextended($1, 0))";
const UNLOCK: &str = "SELECT pg_advisory_unlock(hashtextextended($1, 0))";

/// One message, and so one transaction, whose setting ends with it. A name that somebody else gave may need its quotes.
fn drop_sql(schema: &str) -> String {
    let quoted = schema.replace('"', "\"\"");
    format!("SET LOCAL lock_timeout = '{LOCK_WAIT}'; DROP SCHEMA \"{quoted}\" CASCADE")
}
