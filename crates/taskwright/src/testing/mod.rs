//! For tests: a virtual clock, a store that fails on command, and a worker that runs what there is.
//!
//! Under [`simulate`] time passes only when nobody has anything left to do, and then jumps to the next moment that
//! somebody sleeps for. A test of a back-off of an hour takes a millisecond, never waits, and sees every moment
//! exactly.
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use taskwright::testing::{drain, simulate};
//! use taskwright::store::{SharedStore, memory::MemoryStore};
//! use taskwright::{Client, Job, Registry};
//!
//! simulate(1, async |sim| {
//!     let store: SharedStore = Arc::new(MemoryStore::new());
//!     let client = Client::new(Arc::clone(&store), sim.env());
//!     let id = client.enqueue(Job::new("greet").run_in(Duration::from_secs(3_600))).await.unwrap().id;
//!
//!     sim.advance(Duration::from_secs(3_600)).await;
//!     let registry = Registry::new().handler("greet", |_| async { Ok("hello") }).unwrap();
//!     let summary = drain(&store, registry, &sim.env()).await.unwrap();
//!     assert_eq!(summary.completed, 1);
//!     assert_eq!(client.job(id).await.unwrap().unwrap().result.as_deref(), Some("\"hello\""));
//! });
//! ```

mod clock;
#[doc(hidden)]
pub mod expect;
mod faulty;
mod kill;
mod kit;
mod perform;

use std::sync::Arc;

use taskwright_store::SharedStore;

pub use self::clock::{Sim, VirtualClock, simulate};
pub use self::faulty::{Call, FaultyStore, When};
pub use self::kill::KillSwitch;
pub use self::kit::{Builder, Kit, Mode};
pub use self::perform::{Attempt, Performed, perform};
use crate::duty::{self, DutyConfig};
use crate::env::Env;
use crate::error::Error;
use crate::registry::Registry;
use crate::worker::{Summary, Worker};

/// Does what is due in a store, then runs every job that can run now, four at a time, and says what became of them.
///
/// # Errors
///
/// When the store is out of order.
pub async fn drain(
    store: &SharedStore,
    registry: impl Into<Arc<Registry>>,
    env: &Env,
) -> Result<Summary, Error> {
    duty::run_once(store, env, &DutyConfig::default(), |_| ()).await?;
    let worker = Worker::builder(Arc::clone(store), registry, env.clone()).concurrency(4).until_empty();
    worker.run(std::future::pending()).await
}
