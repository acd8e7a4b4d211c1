//! Who does the duties, by the database's clock.

use std::time::Duration;

use taskwright_core::WorkerId;
use tokio_postgres::types::Type;

use super::session::{Session, Uuid, get};
use super::store::PostgresStore;
use crate::error::Error;
use crate::lead::Fence;

/// Makes a node the leader, or keeps it so. See [`Store::lead`](crate::Store::lead).
pub(super) async fn lead(
    store: &PostgresStore,
    node: WorkerId,
    lease: Duration,
) -> Result<Option<Fence>, Error> {
    // A hundred years are for ever.
    let lease_us = i64::try_from(lease.as_micros()).unwrap_or(i64::MAX).min(100 * 365 * 86_400 * 1_000_000);
    let rows = store.once(LEAD, &[(&Uuid::from(node), Type::UUID), (&lease_us, Type::INT8)]).await?;
    rows.first().map(|row| get::<i64>(row, 0).map(|fence| Fence(fence.unsigned_abs()))).transpose()
}

/// Gives up the lead. See [`Store::resign`](crate::Store::resign).
pub(super) async fn resign(session: &mut Session<'_>, node: WorkerId) -> Result<(), Error> {
    session.execute(RESIGN, &[&Uuid::from(node)]).await.map(drop)
}

// Whoever does not lead and cannot only reads: the row is not locked. Of several who can, the first one updates it, and
// the others find it so.
pub(super) const LEAD: &str = "INSERT INTO leader AS l (one, node, fence, lease_until_db)
    SELECT true, $1, 1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + $2::bigint
    WHERE NOT EXISTS (
        SELECT FROM leader
        WHERE node <> $1 AND lease_until_db >= (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
    ON CONFLICT (one) DO UPDATE SET node = EXCLUDED.node, lease_until_db = EXCLUDED.lease_until_db,
        fence = CASE WHEN l.node = EXCLUDED.node THEN l.fence ELSE l.fence + 1 END
    WHERE l.node = EXCLUDED.node
       OR l.lease_until_db < (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
    RETURNING fence";
pub(super) const RESIGN: &str = "UPDATE leader SET lease_until_db = 0 WHERE node = $1";
