//! A schema that was restored from another server, as by `pg_dump` and `pg_restore`.
//!
//! The order of a stream is that of the transactions that enqueued, by their numbers, and every server counts its own. New
//! jobs would lie before the heads of the old server and never be claimed; so whoever opens such a schema first adopts it.

use super::connect::Connections;
use crate::error::Error;

/// A restoration of tens of millions of jobs takes minutes.
const LIMIT: &str = "SET LOCAL statement_timeout = '1h'";

/// Adopts the schema if it was restored.
pub(super) async fn adopt_if_restored(connections: &Connections) -> Result<(), Error> {
    let mut connection = connections.get().await?;
    let tx = connection.begin().await?;
    let rows = tx.query("SELECT is_restored()", &[]).await?;
    if rows.first().is_some_and(|row| row.get::<_, bool>(0)) {
        tracing::warn!(store = %connections.settings().url(), "this store was restored from another server; adopting it");
        tx.run(LIMIT).await?;
        tx.query("SELECT adopt()", &[]).await?;
        tracing::info!("the restored store is adopted");
    }
    tx.commit().await
}
