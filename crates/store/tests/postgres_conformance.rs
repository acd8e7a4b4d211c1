//! The PostgreSQL store does what every store must do.
#![cfg(feature = "postgres")]

#[path = "../../../tests/support/cluster.rs"]
mod cluster;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use cluster::{Cluster, Database};
use taskwright_core::Timestamp;
use taskwright_store::SharedStore;
use taskwright_store::conformance::Harness;
use taskwright_store::postgres::{self, Connections, PostgresStore, Settings};
use tempfile::TempDir;

/// Each process connects to the same database, and they meet in one run directory.
struct Postgres {
    run: TempDir,
    database: Database<'static>,
}

impl Postgres {
    fn new() -> Self {
        let template = migrated();
        Self { run: tempfile::tempdir().unwrap(), database: Cluster::shared().database_like(&template) }
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
        let settings = Settings::parse(url).unwrap();
        // A thread, because a runtime cannot be entered from within another.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let connections = Connections::open(settings).await.unwrap();
                postgres::migrate(&connections, Timestamp::from_micros(0)).await.unwrap();
            });
        })
        .join()
        .unwrap();
    });
    name
}

impl Harness for Postgres {
    async fn open(&self) -> SharedStore {
        let settings = Settings::parse(&self.database.url()).unwrap();
        let store = PostgresStore::open(settings, self.run.path(), Timestamp::from_micros(0)).await.unwrap();
        Arc::new(store)
    }
}

taskwright_store::conformance!(Postgres::new());
