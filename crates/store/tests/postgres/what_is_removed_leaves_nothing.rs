//! Of jobs that are removed nothing is left, in whatever table they left a trace.

use std::sync::Arc;

use taskwright_core::Timestamp;
use taskwright_store::conformance::fixture::Process;
use taskwright_store::conformance::traces::leave_traces_and_go;
use taskwright_store::postgres::{PostgresStore, Settings};

use crate::cluster::Cluster;

#[tokio::test]
async fn no_table_has_a_row_of_a_job_that_is_gone() {
    let (database, run) = (Cluster::shared().database(), tempfile::tempdir().unwrap());
    let settings = Settings::parse(&database.url()).unwrap();
    let store = PostgresStore::open(settings, run.path(), Timestamp::from_micros(0)).await.unwrap();
    leave_traces_and_go(&Process::of(Arc::new(store))).await;

    // Where the claims of a lane have come to is not about a job.
    let tables = database.sql(
        "SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
         WHERE c.relnamespace = 'taskwright'::regnamespace AND c.relkind IN ('r', 'p')
           AND a.attname IN ('seq', 'seqs') AND c.relname <> 'lane_head' ORDER BY 1",
    );
    assert!(tables.lines().count() >= 12, "{tables}");
    for line in tables.lines() {
        let (table, column) = line.split_once('|').unwrap();
        let left = database.sql(&format!("SELECT count({column}) FROM taskwright.{table}"));
        assert_eq!(left, "0", "{table} has rows of jobs that are gone");
    }
}
