//! The PostgreSQL store does what every store must do.
#![cfg(feature = "postgres")]

#[path = "../../../tests/support/cluster.rs"]
mod cluster;

use std::sync::Arc;

use cluster::{Cluster, Database};
use taskwright_core::Timestamp;
use taskwright_store::SharedStore;
use taskwright_store::conformance::Harness;
use taskwright_store::postgres::{PostgresStore, Settings};
use tempfile::TempDir;

/// Each process connects to the same database, and they meet in one run directory.
struct Postgres {
    run: TempDir,
    database: Database<'static>,
}

impl Postgres {
    fn new() -> Self {
        Self { run: tempfile::tempdir().unwrap(), database: Cluster::shared().database() }
    }
}

impl Harness for Postgres {
    async fn open(&self) -> SharedStore {
        let settings = Settings::parse(&self.database.url()).unwrap();
        let store = PostgresStore::open(settings, self.run.path(), Timestamp::from_micros(0)).await.unwrap();
        Arc::new(store)
    }
}

taskwright_store::conformance!(Postgres::new());
