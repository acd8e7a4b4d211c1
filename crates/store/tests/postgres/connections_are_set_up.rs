//! Every transaction has its limits, its schema and its time zone, directly and behind PgBouncer.

use taskwright_store::Error;
use taskwright_store::postgres::tokio_postgres::types::Type;
use taskwright_store::postgres::{Connections, Settings, Transaction};

use crate::cluster::{Cluster, Database};

async fn open(database: &Database<'_>, parameters: &str) -> Connections {
    let settings = Settings::parse(&format!("{}?{parameters}", database.url())).unwrap();
    Connections::open(settings).await.unwrap()
}

async fn one(tx: &Transaction<'_>, sql: &str) -> Result<String, Error> {
    Ok(tx.query(sql, &[]).await?[0].get(0))
}

/// Asks for all that must be set, in one transaction.
async fn assert_set_up(connections: &Connections) {
    let mut connection = connections.get().await.unwrap();
    let tx = connection.begin().await.unwrap();
    for (name, value) in [
        ("application_name", "taskwright"),
        ("search_path", "mine"),
        ("statement_timeout", "30s"),
        ("lock_timeout", "5s"),
        ("idle_in_transaction_session_timeout", "1min"),
        ("TimeZone", "UTC"),
        ("client_encoding", "UTF8"),
    ] {
        assert_eq!(one(&tx, &format!("SELECT current_setting('{name}')")).await.unwrap(), value, "{name}");
    }
}

const OPTIONS: &str = "schema=mine&options=-c%20statement_timeout%3D1%20-c%20search_path%3Dtheirs";

#[tokio::test]
async fn every_transaction_is_set_up() {
    let database = Cluster::shared().database();
    let connections = open(&database, OPTIONS).await;
    for _ in 0..3 {
        assert_set_up(&connections).await;
    }
    assert!(connections.engine().starts_with("PostgreSQL 1"), "{}", connections.engine());
}

#[tokio::test]
async fn every_transaction_is_set_up_behind_pgbouncer() {
    let database = Cluster::shared().database();
    let connections = open(&database, "schema=mine&pgbouncer=true").await;
    for _ in 0..3 {
        assert_set_up(&connections).await;
    }
}

#[tokio::test]
async fn a_stricter_isolation_by_default_does_not_make_claims_read_old_snapshots() {
    let database = Cluster::shared().database();
    database.sql(&format!(
        "ALTER DATABASE {} SET default_transaction_isolation = 'serializable'",
        database.name()
    ));
    for parameters in ["", "pgbouncer=true"] {
        let connections = open(&database, parameters).await;
        let mut connection = connections.get().await.unwrap();
        let show = "SELECT current_setting('transaction_isolation')";
        let rows = connection.once(show, &[]).await.unwrap();
        assert_eq!(rows[0].get::<_, &str>(0), "read committed", "{parameters}");
        let tx = connection.begin().await.unwrap();
        assert_eq!(one(&tx, show).await.unwrap(), "read committed", "{parameters}");
    }
}

#[tokio::test]
async fn nothing_stays_in_a_session_that_pgbouncer_gives_to_others() {
    let database = Cluster::shared().database();
    for (parameters, statements, timeout) in
        [("pool=1", true, "30000"), ("pool=1&pgbouncer=true", false, "0")]
    {
        let connections = open(&database, parameters).await;
        for _ in 0..2 {
            let mut connection = connections.get().await.unwrap();
            let tx = connection.begin().await.unwrap();
            assert_eq!(
                tx.query("SELECT $1 + 1", &[(&1i32, Type::INT4)]).await.unwrap()[0].get::<_, i32>(0),
                2
            );
            tx.execute("SELECT $1", &[(&"x", Type::TEXT)]).await.unwrap();
            let prepared = one(&tx, "SELECT count(*)::text FROM pg_prepared_statements").await.unwrap();
            assert_eq!(prepared != "0", statements, "{prepared}");
            let sql = "SELECT reset_val FROM pg_settings WHERE name = 'statement_timeout'";
            assert_eq!(one(&tx, sql).await.unwrap(), timeout, "what the session falls back to");
            tx.commit().await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_is_not_committed_did_not_take_place() {
    let database = Cluster::shared().database();
    let connections = open(&database, "pool=1").await;
    for (commit, found) in [(false, "f"), (true, "t")] {
        let mut connection = connections.get().await.unwrap();
        let tx = connection.begin().await.unwrap();
        tx.run("CREATE TABLE public.made (n int); INSERT INTO public.made VALUES (1)").await.unwrap();
        if commit {
            tx.commit().await.unwrap();
        } else {
            drop(tx);
        }
        // The same connection, so that the roll-back has been sent before.
        let tx = connection.begin().await.unwrap();
        one(&tx, "SELECT 'answered'").await.unwrap();
        assert_eq!(database.sql("SELECT to_regclass('public.made') IS NOT NULL"), found);
    }
}

#[tokio::test]
async fn a_closed_pool_says_so() {
    let database = Cluster::shared().database();
    let connections = open(&database, "").await;
    connections.close();
    assert!(connections.get().await.err().unwrap().is_closed());
}
