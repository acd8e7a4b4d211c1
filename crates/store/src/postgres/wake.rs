//! Hints between processes: `NOTIFY` after a commit, coalesced, on a connection that does nothing else.
//!
//! PostgreSQL takes a lock over all databases while a transaction that notifies commits, so that notifying within the
//! transactions that enqueue would put them in a line. Here a commit only marks that there is something to tell; one
//! task tells it, once for everything that has gathered. A hint that gets lost is found by polling.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::connect::Connections;
use super::listen::Listening;

/// The pauses between attempts to connect again: the first, and the longest.
const RECONNECT_PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// How often a silent connection is asked whether it still lives.
const PING_EVERY: Duration = Duration::from_secs(15);

/// Tells the other processes, and this one's listeners.
pub(super) struct Bell {
    local: Arc<watch::Sender<u64>>,
    to_tell: Arc<Notify>,
    /// Aborted when the store is dropped.
    tasks: std::sync::Mutex<JoinSet<()>>,
}

impl Bell {
    /// A bell that rings in this process only, until it is [connected](Bell::connect).
    pub(super) fn new() -> Self {
        Self {
            local: Arc::new(watch::Sender::new(0)),
            to_tell: Arc::default(),
            tasks: std::sync::Mutex::default(),
        }
    }

    /// Starts telling others, and hearing them.
    pub(super) fn connect(&self, connections: &Connections) {
        let (local, to_tell, connections) = (self.local.clone(), self.to_tell.clone(), connections.clone());
        let mut tasks = self.tasks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Through PgBouncer nobody can listen; polling finds what there is.
        if tasks.is_empty() && !connections.settings().pgbouncer {
            tasks.spawn(async move { keep_listening(&connections, &local, &to_tell).await });
        }
    }

    /// Rings.
    pub(super) fn ring(&self) {
        ring(&self.local);
        self.to_tell.notify_one();
    }

    pub(super) fn listen(&self) -> watch::Receiver<u64> {
        self.local.subscribe()
    }

    pub(super) fn stop(&self) {
        self.tasks.lock().unwrap_or_else(std::sync::PoisonError::into_inner).abort_all();
    }
}

fn ring(local: &watch::Sender<u64>) {
    local.send_modify(|count| *count = count.wrapping_add(1));
}

async fn keep_listening(connections: &Connections, local: &watch::Sender<u64>, to_tell: &Notify) {
    let mut pause = RECONNECT_PAUSE.0;
    loop {
        match Listening::start(connections.settings()).await {
            Ok(mut listening) => {
                pause = RECONNECT_PAUSE.0;
                // What was said while nobody listened is not repeated.
                ring(local);
                let error = serve(&mut listening, local, to_tell).await;
                tracing::warn!(%error, "hints of other processes are lost for a moment; polling finds their jobs");
            }
            Err(error) => tracing::debug!(%error, "cannot listen for hints; it is tried again"),
        }
        pause_for(pause).await;
        pause = (pause * 2).min(RECONNECT_PAUSE.1);
    }
}

/// Tells and hears until the connection fails.
async fn serve(listening: &mut Listening, local: &watch::Sender<u64>, to_tell: &Notify) -> crate::Error {
    loop {
        let done = tokio::select! {
            () = to_tell.notified() => listening.tell().await,
            heard = listening.heard() => heard.map(|()| ring(local)),
            () = pause_for(PING_EVERY) => listening.ping().await,
        };
        if let Err(error) = done {
            return error;
        }
    }
}

/// Real time, for a connection that is real: nothing that anybody sees depends on it.
pub(super) async fn pause_for(duration: Duration) {
    // A timeout of something that never comes is a pause.
    let _ = tokio::time::timeout(duration, std::future::pending::<()>()).await;
}
