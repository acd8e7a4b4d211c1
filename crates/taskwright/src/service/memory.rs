//! Watches the memory of this process.

use std::time::Duration;

use taskwright_core::size::Bytes;
use tokio::sync::watch;

use super::{Service, ServiceContext, ServiceError, Start};
use crate::process::own_resident_bytes;

/// Asks for this process to be replaced once its resident memory stays above a limit, as a program does that leaks a little.
///
/// It does nothing itself but say so: [`asked`](Self::asked) goes to [`worker::Builder::recycle_on`](crate::worker::Builder::recycle_on),
/// so that the worker ends in good order, or to whatever else ends the program. Then the service has finished. Where the system does
/// not tell (only Linux does), it declines to start.
///
/// The workers of `taskwright up` do the same by `recycle_above_rss` of the config file.
///
/// # Example
///
/// ```
/// use taskwright::report::Reports;
/// use taskwright::service::{MemoryWatchdog, Services};
/// use taskwright::{Env, Registry, Worker};
///
/// # fn example(store: taskwright::store::SharedStore, registry: Registry) -> Result<(), taskwright::Error> {
/// let env = Env::system();
/// let watchdog = MemoryWatchdog::new(2 << 30);
/// let worker = Worker::builder(store, registry, env.clone()).recycle_on(watchdog.asked());
/// let services = Services::new(&env, Reports::new(&env)).add("memory-watchdog", watchdog)?;
/// # Ok(())
/// # }
/// ```
pub struct MemoryWatchdog {
    limit_bytes: u64,
    above_for: Duration,
    look_every: Duration,
    measure: Box<dyn Fn() -> Option<u64> + Send + Sync>,
    asked: watch::Sender<bool>,
}

impl MemoryWatchdog {
    /// Watches for more resident memory than this, in bytes.
    pub fn new(limit_bytes: u64) -> Self {
        Self {
            limit_bytes,
            above_for: Duration::from_secs(60),
            look_every: Duration::from_secs(5),
            measure: Box::new(own_resident_bytes),
            asked: watch::Sender::new(false),
        }
    }

    /// For how long it must be above the limit, at every look. Default 60 s.
    #[must_use]
    pub fn above_for(mut self, duration: Duration) -> Self {
        self.above_for = duration;
        self
    }

    /// How often it looks. Default every 5 s; at least 10 ms.
    #[must_use]
    pub fn look_every(mut self, duration: Duration) -> Self {
        self.look_every = duration.max(Duration::from_millis(10));
        self
    }

    /// Measures something else, in bytes, than what the system tells of this process.
    #[must_use]
    pub fn measure_by(mut self, measure: impl Fn() -> Option<u64> + Send + Sync + 'static) -> Self {
        self.measure = Box::new(measure);
        self
    }

    /// Turns `true` when the process is to be replaced.
    pub fn asked(&self) -> watch::Receiver<bool> {
        self.asked.subscribe()
    }
}

impl Service for MemoryWatchdog {
    async fn start(&self) -> Result<Start, ServiceError> {
        match (self.measure)() {
            Some(_) => Ok(Start::Go),
            None => {
                tracing::warn!(
                    "this system does not tell how much memory the process has: nobody watches it"
                );
                Ok(Start::Decline)
            }
        }
    }

    async fn run(&self, ctx: ServiceContext) -> Result<(), ServiceError> {
        let mut above_since_us = None;
        while ctx.sleep(self.look_every).await {
            let Some(bytes) = (self.measure)().filter(|bytes| *bytes > self.limit_bytes) else {
                above_since_us = None;
                continue;
            };
            let now_us = ctx.env().monotonic_us();
            let since_us = *above_since_us.get_or_insert(now_us);
            if Duration::from_micros(now_us - since_us) >= self.above_for {
                let (rss, limit) = (Bytes(bytes), Bytes(self.limit_bytes));
                tracing::warn!(
                    "RSS {rss} above {limit} for {:?}: the process asks to be replaced",
                    self.above_for
                );
                self.asked.send_replace(true);
                return Ok(());
            }
        }
        Ok(())
    }
}
