//! Time, ids and waiting for the command line, until the runtime's `Env` takes over.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use taskwright_core::{JobId, Timestamp};

/// The outside world of a run.
#[derive(Debug, Default)]
pub(crate) struct Env {
    random: RandomState,
    counter: AtomicU64,
}

impl Env {
    /// Now.
    #[allow(clippy::disallowed_methods, reason = "the one place of this crate that reads the clock")]
    pub(crate) fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    /// A new id.
    pub(crate) fn job_id(&self) -> JobId {
        let count = self.counter.fetch_add(1, Ordering::Relaxed);
        let mut random = [0; 10];
        random[..4].copy_from_slice(&u32::try_from(count & 0xffff_ffff).unwrap_or(0).to_be_bytes());
        random[4..].copy_from_slice(&self.random.hash_one(count).to_be_bytes()[..6]);
        JobId::from_parts(self.now().as_unix_millis(), random)
    }

    /// Waits.
    #[allow(clippy::disallowed_methods, reason = "the one place of this crate that sleeps")]
    pub(crate) async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
