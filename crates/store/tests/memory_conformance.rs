//! The memory store does what every store must do.

use std::sync::Arc;

use taskwright_store::SharedStore;
use taskwright_store::conformance::Harness;
use taskwright_store::memory::MemoryStore;

/// Each process is a handle on the one store.
struct Memory(MemoryStore);

impl Harness for Memory {
    async fn open(&self) -> SharedStore {
        Arc::new(self.0.handle())
    }
}

taskwright_store::conformance!(Memory(MemoryStore::new()));
