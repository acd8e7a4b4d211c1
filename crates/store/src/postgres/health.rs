//! What an operator should know about a server: what `taskwright doctor` asks. Looks only.

use taskwright_core::Timestamp;
use tokio_postgres::types::Type;

use super::connect::Connections;
use super::session::get;
use crate::error::Error;

/// What a server and our role on it are like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The role that we act as.
    pub role: String,
    /// The server's clock.
    pub clock: Timestamp,
    /// `on` when what was written reaches the disk.
    pub fsync: String,
    /// `on` when a page that was half-written at a power cut can be mended.
    pub full_page_writes: String,
    /// `off` when a commit is acknowledged before it is on the disk; otherwise whom it waits for besides.
    pub synchronous_commit: String,
    /// Whom a commit waits for besides this server, as `synchronous_standby_names` says it; empty for nobody.
    pub synchronous_standby_names: String,
    /// How many standbys follow this server now.
    pub standbys: u64,
    /// `on` when what was deleted is cleared away by itself.
    pub autovacuum: String,
    /// Tables of the schema that the role may not read and write, in the order of their names.
    pub tables_refused: Vec<String>,
    /// For how many seconds the oldest transaction has been open, as far as this role may see: for that long nothing
    /// that was deleted could be cleared away.
    pub oldest_transaction_s: u64,
}

/// Asks the server.
///
/// # Errors
///
/// As every call to the server.
pub async fn health(connections: &Connections) -> Result<Health, Error> {
    let mut connection = connections.get().await?;
    let tx = connection.begin().await?;
    let rows = tx.query(REFUSED, &[(&connections.settings().schema(), Type::TEXT)]).await?;
    let tables_refused = rows.iter().map(|row| get(row, 0)).collect::<Result<_, _>>()?;
    let oldest = tx.query(OLDEST, &[]).await?;
    let facts = tx.query(FACTS, &[]).await?;
    let row = facts.first().ok_or_else(|| super::session::vanished("the server's settings"))?;
    let text = |column| get::<String>(row, column);
    Ok(Health {
        role: text(0)?,
        clock: Timestamp::from_micros(get(row, 1)?),
        fsync: text(2)?,
        full_page_writes: text(3)?,
        synchronous_commit: text(4)?,
        autovacuum: text(5)?,
        synchronous_standby_names: text(6)?,
        standbys: u64::try_from(get::<i64>(row, 7)?).unwrap_or(0),
        tables_refused,
        oldest_transaction_s: match oldest.first() {
            Some(row) => u64::try_from(get::<i64>(row, 0)?).unwrap_or(0),
            None => 0,
        },
    })
}

// Asked last, so that the time is as fresh as can be. A role without rights sees that somebody follows, but not how: the
// slots tell which of those are subscribers of a publication, who take over from nobody.
const FACTS: &str = "SELECT current_user::text, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
    current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit'),
    current_setting('autovacuum'), current_setting('synchronous_standby_names'),
    (SELECT count(*) FROM pg_stat_replication r WHERE r.state IS DISTINCT FROM 'backup' AND NOT EXISTS (
        SELECT FROM pg_replication_slots s WHERE s.active_pid = r.pid AND s.slot_type = 'logical'))";

// The record of migrations is written by its owner alone.
const REFUSED: &str = "SELECT relname::text FROM pg_class
    WHERE relnamespace = to_regnamespace(quote_ident($1)) AND relkind IN ('r', 'p') AND relname <> 'migration'
      AND NOT (has_schema_privilege(relnamespace, 'USAGE') AND has_table_privilege(oid, 'SELECT')
               AND has_table_privilege(oid, 'INSERT'))
    ORDER BY 1";

// What the role may not see counts as nothing. Prepared transactions hold up as much, and for longer.
const OLDEST: &str = "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - since)), 0)::bigint FROM (
    SELECT xact_start AS since FROM pg_stat_activity
    WHERE datname = current_database() AND backend_xmin IS NOT NULL AND pid <> pg_backend_pid()
    UNION ALL SELECT prepared FROM pg_prepared_xacts WHERE database = current_database()) open_transaction";
