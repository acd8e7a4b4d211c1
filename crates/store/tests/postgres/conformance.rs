//! The PostgreSQL store does what every store must do, in the role that a worker is granted and no other.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use taskwright_core::Timestamp;
use taskwright_store::SharedStore;
use taskwright_store::conformance::Harness;
use taskwright_store::postgres::{self, Connections, PostgresStore, Settings};
use tempfile::TempDir;

use crate::cluster::{Cluster, Database};

/// Each process connects to the same database, and they meet in one run directory.
struct Postgres {
    run: TempDir,
    database: Database<'static>,
    /// May use what another role owns.
    worker: String,
}

impl Postgres {
    fn new() -> Self {
        let template = migrated();
        let database = Cluster::shared().database_like(&template);
        Self { run: tempfile::tempdir().unwrap(), database, worker: worker_of(&template) }
    }
}

/// The database that each one is a copy of: to migrate takes longer than most scenarios. One for every build of this
/// test, as the schema may be another.
fn migrated() -> String {
    let mut hasher = DefaultHasher::new();
    let test = std::env::current_exe().unwrap();
    (test.metadata().unwrap().modified().unwrap(), test).hash(&mut hasher);
    let name = format!("migrated_{:016x}", hasher.finish());
    Cluster::shared().template(&name, |url| {
        // A thread, because a runtime cannot be entered from within another.
        std::thread::scope(|threads| {
            threads
                .spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(migrate_and_grant(url, &owner_of(&name), &worker_of(&name)));
                })
                .join()
                .unwrap();
        });
    });
    name
}

/// As an operator does it: the superuser makes two roles and the schema, its owner migrates it and grants its use.
async fn migrate_and_grant(superuser: &str, owner: &str, worker: &str) {
    let connections = open(superuser).await;
    let mut connection = connections.get().await.unwrap();
    let tx = connection.begin().await.unwrap();
    for role in [owner, worker] {
        tx.run(&format!("DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN")).await.unwrap();
    }
    tx.run(&format!("CREATE SCHEMA taskwright AUTHORIZATION {owner}")).await.unwrap();
    tx.commit().await.unwrap();

    let connections = open(&superuser.replacen("postgres@", &format!("{owner}@"), 1)).await;
    postgres::migrate(&connections, Timestamp::from_micros(0)).await.unwrap();
    postgres::grant(&connections, worker).await.unwrap();
}

async fn open(url: &str) -> Connections {
    Connections::open(Settings::parse(url).unwrap()).await.unwrap()
}

fn owner_of(template: &str) -> String {
    format!("{template}_owner")
}

fn worker_of(template: &str) -> String {
    format!("{template}_worker")
}

impl Harness for Postgres {
    async fn open(&self) -> SharedStore {
        let settings = Settings::parse(&self.database.url_of(&self.worker)).unwrap();
        let store = PostgresStore::open(settings, self.run.path(), Timestamp::from_micros(0)).await.unwrap();
        Arc::new(store)
    }
}

taskwright_store::conformance!(Postgres::new());

#[tokio::test]
async fn the_role_of_the_suite_owns_nothing_and_is_in_no_other() {
    let postgres = Postgres::new();
    let worker = &postgres.worker;
    let told = postgres.database.sql(&format!(
        "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls,
                (SELECT count(*) FROM pg_auth_members m WHERE m.member = r.oid),
                (SELECT count(*) FROM pg_shdepend d WHERE d.refobjid = r.oid AND d.deptype = 'o'),
                has_schema_privilege(r.oid, 'taskwright', 'CREATE')
         FROM pg_roles r WHERE rolname = '{worker}'"
    ));
    assert_eq!(told, "f|f|f|f|f|0|0|f");
    let store = postgres.open().await;
    assert!(store.info().url.contains(worker), "{}", store.info().url);
}
