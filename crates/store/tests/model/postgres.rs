//! The PostgreSQL store as a subject.

#[path = "../../../../tests/support/cluster.rs"]
mod cluster;

use std::sync::Arc;

use cluster::{Cluster, Database};
use taskwright_core::Timestamp;
use taskwright_store::SharedStore;
use taskwright_store::postgres::{PostgresStore, Settings};

use crate::twins::Subject;

pub(crate) struct Postgres {
    run: tempfile::TempDir,
    database: Database<'static>,
}

impl Subject for Postgres {
    fn fresh() -> Self {
        Self { run: tempfile::tempdir().unwrap(), database: Cluster::shared().database() }
    }

    async fn open(&self) -> SharedStore {
        let settings = Settings::parse(&format!("{}?pool=1", self.database.url())).unwrap();
        Arc::new(PostgresStore::open(settings, self.run.path(), Timestamp::from_micros(0)).await.unwrap())
    }
}
