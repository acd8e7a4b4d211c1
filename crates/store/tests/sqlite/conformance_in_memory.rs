//! The SQLite store in memory does what every store must do.

use std::sync::{Arc, Mutex};

use taskwright_store::SharedStore;
use taskwright_store::conformance::Harness;
use taskwright_store::sqlite::{Options, SqliteStore};

/// Each process is a handle of the same one.
struct InMemory(Mutex<SqliteStore>);

impl InMemory {
    fn new() -> Self {
        Self(Mutex::new(SqliteStore::in_memory(Options::default()).unwrap()))
    }
}

impl Harness for InMemory {
    async fn open(&self) -> SharedStore {
        Arc::new(self.0.lock().unwrap().handle().unwrap())
    }
}

taskwright_store::conformance!(InMemory::new());
