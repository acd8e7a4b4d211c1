//! S20. A role that works reaches nothing of the server but its tables, one that may only read changes nothing, and neither is led
//! astray by tables of the same names. (That every statement of the conformance suite is run by such a role is shown in `conformance.rs`.)

use std::sync::Arc;

use taskwright_core::Timestamp;
use taskwright_store::conformance::fixture::*;
use taskwright_store::postgres::{self, PostgresStore, Settings};
use taskwright_store::{Change, Filter, Page};

use crate::a_workers_role_can_only_work::{open, run, site};
use crate::cluster::{Cluster, Database};

/// Tables and a function of somebody else in the same database.
const OTHERS: &str = "CREATE SCHEMA other; CREATE TABLE other.secret (n int); INSERT INTO other.secret VALUES (7);
                      CREATE FUNCTION other.tell() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT n FROM other.secret'";

#[tokio::test]
async fn a_worker_runs_no_program_reads_no_file_and_looks_into_no_other_schema() {
    let database = Cluster::shared().database();
    let (owner, worker) = site(&database).await;
    postgres::grant(&owner, &worker).await.unwrap();
    database.sql(OTHERS);
    let connections = open(&database.url_of(&worker)).await;
    for sql in [
        // Programs and files of the server's machine.
        "COPY queue TO PROGRAM 'cat > /dev/null'",
        "COPY queue (name) FROM PROGRAM 'echo'",
        "COPY queue TO '/tmp/queue'",
        "COPY queue FROM '/etc/passwd'",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT pg_ls_dir('/')",
        "SELECT lo_import('/etc/passwd')",
        "SELECT lo_export(1, '/tmp/x')",
        "CREATE FUNCTION run() RETURNS int LANGUAGE c AS '/tmp/x.so'",
        // Other schemas.
        "SELECT * FROM other.secret",
        "INSERT INTO other.secret VALUES (8)",
        "SELECT other.tell()",
        "CREATE TABLE other.mine (n int)",
        // The server, and other roles.
        "SELECT rolpassword FROM pg_authid",
        "CREATE ROLE mine",
        "ALTER DATABASE postgres SET search_path = mine",
        "SET ROLE postgres",
        "SET SESSION AUTHORIZATION postgres",
        "SELECT pg_reload_conf()",
    ] {
        let error = run(&connections, sql).await.unwrap_err();
        assert!(error.is_read_only(), "{sql}: {error}: {}", error.why());
    }
    for sql in
        [format!("ALTER ROLE {worker} SUPERUSER"), format!("GRANT pg_execute_server_program TO {worker}")]
    {
        assert!(run(&connections, &sql).await.unwrap_err().is_read_only(), "{sql}");
    }
    assert_eq!(database.sql("SELECT array_agg(n) FROM other.secret"), "{7}");
    assert_eq!(database.sql("SELECT count(*) FROM pg_class WHERE relname = 'mine'"), "0");
}

/// Nobody has to make it; how is said in `SECURITY.md`.
#[tokio::test]
async fn a_role_that_may_only_read_sees_everything_and_changes_nothing() {
    let (database, run_dir) = (Cluster::shared().database(), tempfile::tempdir().unwrap());
    let (owner, worker) = site(&database).await;
    postgres::grant(&owner, &worker).await.unwrap();
    let reader = database.role("reader", "");
    database.sql(&format!(
        "GRANT USAGE ON SCHEMA taskwright TO {reader}; GRANT SELECT ON ALL TABLES IN SCHEMA taskwright TO {reader}"
    ));
    let open = async |role: &str| {
        let settings = Settings::parse(&database.url_of(role)).unwrap();
        let store = PostgresStore::open(settings, run_dir.path(), Timestamp::from_micros(0)).await.unwrap();
        Process::of(Arc::new(store))
    };
    let (works, reads) = (open(&worker).await, open(&reader).await);
    works.enqueue(0, [job(1), job(2)]).await;
    assert_eq!(reads.list(Filter::default()).await.len(), 2);
    assert_eq!(reads.view(1).await.kind, kind("mail"));
    assert_eq!(reads.store().queues(at(1), None).await.unwrap().len(), 1);
    assert!(reads.store().workers().await.unwrap().is_empty());

    let store = reads.store();
    let refused = store.enqueue(at(1), vec![job(3)]).await.unwrap_err();
    assert!(refused.is_read_only() && refused.fix().contains("--grant"), "{refused}: {}", refused.fix());
    let refused = store.change(at(1), vec![id(1)], Change::Cancel, alice(), None).await.unwrap_err();
    assert!(refused.is_read_only(), "{refused}");
    let refused = store.register(at(1), monotonic_us(1), new_worker(1)).await.err().unwrap();
    assert!(refused.is_read_only(), "{refused}");
    let page = Page { after: None, limit: 10, oldest_first: true };
    let left = works.store().list(Filter::default(), page).await.unwrap().jobs;
    assert!(left.len() == 2 && left.iter().all(|job| !job.cancel_requested && !job.state.is_terminal()));
}

#[tokio::test]
async fn tables_of_the_same_names_elsewhere_are_not_taken_for_ours() {
    let (database, run_dir) = (Cluster::shared().database(), tempfile::tempdir().unwrap());
    let (owner, worker) = site(&database).await;
    postgres::grant(&owner, &worker).await.unwrap();
    // As whoever may make schemas could try: its own `queue`, `now` and `emit` stand first wherever a role or a database says so.
    let name = database.name();
    database.sql(&format!(
        "CREATE SCHEMA {worker}; CREATE TABLE {worker}.queue (namespace text, name text);
         CREATE FUNCTION {worker}.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT NULL::timestamptz';
         GRANT ALL ON SCHEMA {worker} TO {worker}; GRANT ALL ON {worker}.queue TO {worker};
         ALTER ROLE {worker} SET search_path = \"$user\", public, taskwright, pg_catalog;
         ALTER DATABASE {name} SET search_path = \"$user\", public, taskwright, pg_catalog"
    ));
    let settings = Settings::parse(&database.url_of(&worker)).unwrap();
    let store = PostgresStore::open(settings, run_dir.path(), Timestamp::from_micros(0)).await.unwrap();
    let process = Process::of(Arc::new(store));
    process.enqueue(0, [job(1)]).await;
    assert_eq!(process.list(Filter::default()).await, [1]);
    assert_eq!(counts(&database, &worker), "1|0");
    // Nor by callers of SQL functions, whose session has its own path.
    database.sql(&format!(
        "SET SESSION AUTHORIZATION {worker}; SET search_path = {worker}, pg_catalog; SELECT taskwright.enqueue('work')"
    ));
    let page = Page { after: None, limit: 10, oldest_first: true };
    assert_eq!(process.store().list(Filter::default(), page).await.unwrap().jobs.len(), 2);
    assert_eq!(counts(&database, &worker), "1|0");
    database.sql(&format!("DROP SCHEMA {worker} CASCADE"));
}

/// How many queues there are, and how many in the table that only looks like it.
fn counts(database: &Database<'_>, worker: &str) -> String {
    database.sql(&format!(
        "SELECT (SELECT count(*) FROM taskwright.queue), (SELECT count(*) FROM {worker}.queue)"
    ))
}
