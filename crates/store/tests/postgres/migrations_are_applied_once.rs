//! A schema is made and brought up to date once, whoever else does so at the same moment; a foreign one is left alone.

use taskwright_core::Timestamp;
use taskwright_store::Store;
use taskwright_store::postgres::{self, Connections, PostgresStore, SCHEMA_VERSION, Settings};
use tokio::task::JoinSet;

use crate::cluster::{Cluster, Database};

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

async fn open(url: &str) -> Connections {
    Connections::open(Settings::parse(url).unwrap()).await.unwrap()
}

/// Every table and column of the schema, and the record of migrations.
fn dump(database: &Database<'_>, schema: &str) -> String {
    database.sql(&format!(
        "SELECT table_name, column_name, data_type, is_nullable, column_default
         FROM information_schema.columns WHERE table_schema = '{schema}' ORDER BY 1, ordinal_position;
         SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint
         WHERE connamespace = '{schema}'::regnamespace ORDER BY 1, 2;
         SELECT version, name, checksum, usable_from FROM {schema}.migration ORDER BY 1"
    ))
}

#[tokio::test]
async fn an_empty_database_is_migrated_and_then_only_read() {
    let database = Cluster::shared().database();
    let connections = open(&database.url()).await;
    assert_eq!(postgres::applied(&connections).await.unwrap(), None);
    assert_eq!(database.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'taskwright'"), "0");
    assert_eq!(postgres::migrate(&connections, NOW).await.unwrap(), 0);
    assert_eq!(postgres::applied(&connections).await.unwrap(), Some(SCHEMA_VERSION));
    assert_eq!(
        database.sql("SELECT DISTINCT applied_at FROM taskwright.migration"),
        NOW.as_micros().to_string()
    );
    let before = dump(&database, "taskwright");
    assert_eq!(postgres::migrate(&connections, NOW).await.unwrap(), SCHEMA_VERSION);
    assert_eq!(dump(&database, "taskwright"), before);
}

#[tokio::test]
async fn two_schemas_in_one_database_do_not_meet() {
    let database = Cluster::shared().database();
    let (one, two) = (open(&database.url()).await, open(&format!("{}?schema=user", database.url())).await);
    postgres::migrate(&one, NOW).await.unwrap();
    assert_eq!(postgres::applied(&two).await.unwrap(), None);
    postgres::migrate(&two, NOW).await.unwrap();
    assert_eq!(database.sql("SELECT max(version) FROM \"user\".migration"), SCHEMA_VERSION.to_string());
    assert_eq!(
        database.sql("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"),
        "0"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_at_once_apply_each_step_once() {
    for parameters in ["pool=1", "pool=1&pgbouncer=true"] {
        let database = Cluster::shared().database();
        let mut migrators = JoinSet::new();
        for _ in 0..20 {
            let url = format!("{}?{parameters}", database.url());
            migrators.spawn(async move { postgres::migrate(&open(&url).await, NOW).await });
        }
        for migrated in migrators.join_all().await {
            migrated.unwrap();
        }
        assert_eq!(database.sql("SELECT max(version) FROM taskwright.migration"), SCHEMA_VERSION.to_string());
    }
}

#[tokio::test]
async fn a_schema_that_somebody_else_makes_meanwhile_is_used() {
    let database = Cluster::shared().database();
    let connections = open(&database.url()).await;
    let mut other = connections.get().await.unwrap();
    let making = other.begin().await.unwrap();
    making.run("CREATE SCHEMA taskwright").await.unwrap();
    let committing = async {
        let waiting = format!(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = '{}' AND wait_event_type = 'Lock' AND wait_event = 'transactionid'",
            database.name()
        );
        while database.sql(&waiting) == "0" {
            tokio::task::yield_now().await;
        }
        making.commit().await.unwrap();
    };
    let (migrated, ()) = tokio::join!(postgres::migrate(&connections, NOW), committing);
    assert_eq!(migrated.unwrap(), 0);
    assert_eq!(postgres::applied(&connections).await.unwrap(), Some(SCHEMA_VERSION));
}

#[tokio::test]
async fn an_owner_of_the_schema_needs_no_right_to_make_one() {
    let database = Cluster::shared().database();
    let role = database.role("owner", "");
    database.sql(&format!("CREATE SCHEMA taskwright AUTHORIZATION {role}"));
    let connections = open(&database.url_of(&role)).await;
    assert_eq!(postgres::migrate(&connections, NOW).await.unwrap(), 0);
    let elsewhere = open(&format!("{}?schema=other", database.url_of(&role))).await;
    let error = postgres::migrate(&elsewhere, NOW).await.unwrap_err();
    assert!(error.is_read_only(), "{error}");
}

#[tokio::test]
async fn what_would_be_run_can_be_run_by_hand() {
    let (by_hand, by_us) = (Cluster::shared().database(), Cluster::shared().database());
    for (database, url) in [(&by_hand, by_hand.url()), (&by_us, by_us.url())] {
        let connections = open(&url).await;
        let sql = postgres::pending_sql(&connections).await.unwrap();
        if std::ptr::eq(database, &by_hand) {
            database.sql(&sql);
        } else {
            postgres::migrate(&connections, NOW).await.unwrap();
        }
        assert_eq!(postgres::applied(&connections).await.unwrap(), Some(SCHEMA_VERSION));
        assert_eq!(postgres::pending_sql(&connections).await.unwrap(), "", "nothing is left to do");
        assert_eq!(postgres::migrate(&connections, NOW).await.unwrap(), SCHEMA_VERSION);
    }
    assert_eq!(dump(&by_hand, "taskwright"), dump(&by_us, "taskwright"));
}

#[tokio::test]
async fn a_newer_or_foreign_schema_is_left_alone() {
    for (change, told) in [
        ("INSERT INTO taskwright.migration VALUES (999, 'future', 'x', 0, 999)", "999"),
        ("UPDATE taskwright.migration SET checksum = 'x' WHERE version = 1", "migration 1"),
    ] {
        let database = Cluster::shared().database();
        let connections = open(&database.url()).await;
        postgres::migrate(&connections, NOW).await.unwrap();
        database.sql(change);
        let before = dump(&database, "taskwright");
        for error in [
            postgres::applied(&connections).await.unwrap_err(),
            postgres::migrate(&connections, NOW).await.unwrap_err(),
            postgres::pending_sql(&connections).await.unwrap_err(),
        ] {
            assert!(error.is_version(), "{error}");
            assert!(error.to_string().contains(told), "{error}");
        }
        assert_eq!(dump(&database, "taskwright"), before);
    }
}

#[tokio::test]
async fn a_newer_schema_that_we_may_use_is_used_and_left_alone() {
    let database = Cluster::shared().database();
    let connections = open(&database.url()).await;
    postgres::migrate(&connections, NOW).await.unwrap();
    let newer = SCHEMA_VERSION + 1;
    database
        .sql(&format!("INSERT INTO taskwright.migration VALUES ({newer}, 'next', 'x', 0, {SCHEMA_VERSION})"));
    let before = dump(&database, "taskwright");
    assert_eq!(postgres::applied(&connections).await.unwrap(), Some(newer));
    assert_eq!(postgres::migrate(&connections, NOW).await.unwrap(), newer);
    assert_eq!(postgres::pending_sql(&connections).await.unwrap(), "");
    let run = tempfile::tempdir().unwrap();
    let store =
        PostgresStore::open(Settings::parse(&database.url()).unwrap(), run.path(), NOW).await.unwrap();
    assert_eq!(store.info().schema, newer);
    assert_eq!(dump(&database, "taskwright"), before);
}

#[tokio::test]
async fn a_role_that_may_not_migrate_takes_no_lock_and_is_told_who_may() {
    let database = Cluster::shared().database();
    let (owner, worker) = (database.role("owner", ""), database.role("worker", ""));
    database.sql(&format!("CREATE SCHEMA taskwright AUTHORIZATION {owner}"));
    let connections = open(&database.url_of(&owner)).await;
    postgres::migrate(&connections, NOW).await.unwrap();
    postgres::grant(&connections, &worker).await.unwrap();
    database.sql(&format!("DELETE FROM taskwright.migration WHERE version = {SCHEMA_VERSION}"));

    // Somebody else who migrates would be waited for.
    let mut migrating = connections.get().await.unwrap();
    let tx = migrating.begin().await.unwrap();
    tx.run("LOCK TABLE migration IN SHARE ROW EXCLUSIVE MODE").await.unwrap();
    let error = postgres::migrate(&open(&database.url_of(&worker)).await, NOW).await.unwrap_err();
    assert!(error.is_read_only() && error.why().contains(&worker), "{error}");
    assert!(error.fix().contains(&owner), "{}", error.fix());
    tx.commit().await.unwrap();
}
