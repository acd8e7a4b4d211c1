//! Notices that nobody can write to the store: a worker that was stopped (SIGSTOP) in the middle of a transaction holds
//! the write lock for as long as it sleeps.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use taskwright::Env;
use taskwright::env::Spawned;
use taskwright::store::SharedStore;
use tokio::sync::Notify;

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A write that takes longer than this is taken for blocked. Transactions last milliseconds, flushes to a slow disk tenths
/// of a second.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Watches until the value is dropped; notifies `blocked` for as long as a write is not answered.
pub(super) fn start(env: &Env, store: &SharedStore, blocked: Arc<Notify>) -> Spawned<()> {
    env.spawn("watchdog", watch(env.clone(), Arc::clone(store), blocked))
}

async fn watch(env: Env, store: SharedStore, blocked: Arc<Notify>) {
    let nobody = env.worker_id();
    loop {
        env.sleep(LOOK_EVERY).await;
        // Changes nothing and flushes nothing, but needs the lock as every write does.
        let mut write = pin!(store.report(nobody, Vec::new()));
        let answer = loop {
            match env.timeout(ANSWER_MAX, write.as_mut()).await {
                Some(answer) => break answer,
                // One question at a time, however long the answer takes.
                None => blocked.notify_one(),
            }
        };
        match answer {
            Err(error) if error.is_closed() => return,
            Err(error) if error.is_busy() => blocked.notify_one(),
            // Other troubles are no matter of a lock; whoever has them, tells.
            _ => {}
        }
    }
}
