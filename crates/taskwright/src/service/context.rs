//! What a service is given while it runs.

use std::sync::Arc;
use std::time::Duration;

use taskwright_core::ServiceName;

use super::container::Shared;
use crate::env::Env;

/// One run of a service, from its side. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct ServiceContext {
    shared: Arc<Shared>,
    life: u64,
}

impl ServiceContext {
    pub(super) fn new(shared: Arc<Shared>, life: u64) -> Self {
        Self { shared, life }
    }

    /// What it is called.
    pub fn name(&self) -> &ServiceName {
        &self.shared.name
    }

    /// Time and randomness, on whatever clock its owner runs.
    pub fn env(&self) -> &Env {
        &self.shared.env
    }

    /// Whether it was told to stop.
    pub fn is_stopping(&self) -> bool {
        self.shared.is_told(self.life)
    }

    /// Is ready when it is told to stop, also when that was before.
    pub async fn stopped(&self) {
        self.shared.told(self.life).await;
    }

    /// Sleeps for so long, or until it is told to stop: `true` when it is to go on.
    pub async fn sleep(&self, duration: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.stopped() => false,
            () = self.shared.env.sleep(duration) => true,
        }
    }

    /// What the future gives, or `None` when it is told to stop first and the future was dropped.
    pub async fn or_stopped<F: Future>(&self, future: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            () = self.stopped() => None,
            output = future => Some(output),
        }
    }

    /// Tells itself to stop, and does not wait. It ends as stopped, and is not started again.
    pub fn stop(&self) {
        self.shared.tell(self.shared.options.stop_within);
    }
}
