//! What a PostgreSQL server has read, by its own account. A test that uses this has `cluster` beside it.

use crate::cluster::Database;

/// How often an older server is asked what it has read before it counts as nothing.
const LOOKS_MAX: usize = 200;

/// Waits until all other sessions have ended: each tells then for certain what it has done.
pub(crate) async fn others_ended(database: &Database<'_>) {
    let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                  AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
    while database.sql(others) != "0" {
        // They end by their own tasks.
        tokio::task::yield_now().await;
    }
}

/// Each table with the rows that were read from it by scanning the whole, and by its indexes, once all other sessions have
/// ended.
pub(crate) async fn reads(database: &Database<'_>) -> Vec<(String, u64, u64)> {
    others_ended(database).await;
    let ask = "SELECT relname, coalesce(seq_tup_read, 0), coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables
               WHERE schemaname = 'taskwright' ORDER BY relname";
    let mut rows = database.sql(ask);
    if database.sql("SELECT current_setting('server_version_num')::int < 150000") == "t" {
        // What they told is written down by another process there, a moment later.
        for _ in 0..LOOKS_MAX {
            if rows.lines().any(|line| !line.ends_with("|0|0")) {
                break;
            }
            rows = database.sql(ask);
        }
    }
    let number = |text: Option<&str>| text.unwrap().parse().unwrap();
    rows.lines()
        .map(|line| {
            let mut columns = line.split('|');
            (columns.next().unwrap().to_owned(), number(columns.next()), number(columns.next()))
        })
        .collect()
}
