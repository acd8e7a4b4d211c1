//! Shows the services of this process in a store, so that other processes can see them.

use std::sync::Arc;
use std::time::Duration;

use taskwright_core::ProcessId;
use taskwright_core::limit::SERVICE_TOLD_EVERY;
use taskwright_store::{ProcessPlace, ServiceRecord, SharedStore};
use tokio::sync::Notify;

use super::{Container, Status};
use crate::env::Env;
use crate::report::host_name;

/// How long changes are gathered: 200 ms. A service that fails and starts a hundred times a second is five writes.
const GATHER: Duration = Duration::from_millis(200);
/// How long after a write that failed it is tried again: 5 s.
const AGAIN: Duration = Duration::from_secs(5);

/// Tells the store, until it is dropped.
pub(super) async fn tell(
    env: Env,
    store: SharedStore,
    process: ProcessId,
    services: Vec<Container>,
    changed: Arc<Notify>,
) {
    let place = ProcessPlace { id: process, host: host_name(), pid: std::process::id() };
    loop {
        let records = services.iter().map(|service| record(service.status())).collect();
        let pause = match store.tell_services(env.now(), place.clone(), records).await {
            Ok(()) => SERVICE_TOLD_EVERY,
            Err(error) => {
                tracing::debug!(%error, "the store does not show how the services of this process are");
                AGAIN
            }
        };
        env.sleep(GATHER).await;
        tokio::select! {
            biased;
            () = changed.notified() => {}
            () = env.sleep(pause.saturating_sub(GATHER)) => {}
        }
    }
}

fn record(status: Status) -> ServiceRecord {
    let Status { name, state, since, restarts, restart_at, last_error } = status;
    let (error, error_at) = last_error.map(|last| (last.error, last.at)).unzip();
    ServiceRecord { name, state, since, restarts, restart_at, error, error_at }
}
