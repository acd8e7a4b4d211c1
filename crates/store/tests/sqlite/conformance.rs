//! The SQLite store does what every store must do.

use std::sync::Arc;

use taskwright_store::SharedStore;
use taskwright_store::conformance::Harness;
use taskwright_store::sqlite::{Options, SqliteStore};
use tempfile::TempDir;

/// Each process opens the same file.
struct Sqlite(TempDir);

impl Sqlite {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

impl Harness for Sqlite {
    async fn open(&self) -> SharedStore {
        let path = self.0.path().join("taskwright.db");
        Arc::new(SqliteStore::open(&path, Options::default()).unwrap())
    }
}

taskwright_store::conformance!(Sqlite::new());
