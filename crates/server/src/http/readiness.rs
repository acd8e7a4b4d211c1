//! Whether the store answers. Anybody may ask, without a token: so the store is asked for all of them together, and not more often
//! than is news.

use std::time::Duration;

use taskwright::Env;
use taskwright::store::SharedStore;
use tokio::sync::Mutex;

use crate::answer::micros;

/// An answer is told for so long: 250 ms.
const KEPT: Duration = Duration::from_millis(250);

/// What the store said last, and when (monotonic microseconds). Whoever comes while it is asked waits for that answer.
#[derive(Default)]
pub(super) struct Readiness(Mutex<Option<(bool, u64)>>);

impl Readiness {
    /// Whether it answers within this time.
    pub(super) async fn ask(&self, env: &Env, store: &SharedStore, within: Duration) -> bool {
        let mut known = self.0.lock().await;
        if let Some((is_ready, at_us)) = *known
            && env.monotonic_us() < at_us + micros(KEPT)
        {
            return is_ready;
        }
        let is_ready = match env.timeout(within, store.log_head()).await {
            Some(Ok(_)) => true,
            Some(Err(error)) => {
                tracing::warn!(%error, "the store does not answer");
                false
            }
            None => false,
        };
        *known = Some((is_ready, env.monotonic_us()));
        is_ready
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use taskwright::store::memory::MemoryStore;
    use taskwright::testing::{Call, FaultyStore, When, simulate};

    use super::*;

    #[test]
    fn many_who_ask_are_one_question_to_the_store() {
        simulate(1, async |sim| {
            let (env, readiness) = (sim.env(), Readiness::default());
            let faulty = FaultyStore::new(Arc::new(MemoryStore::new()));
            let store: SharedStore = Arc::clone(&faulty) as SharedStore;
            let ask = async || readiness.ask(&env, &store, Duration::from_secs(2)).await;
            for _ in 0..100 {
                assert!(ask().await);
            }
            assert_eq!(faulty.count(Call::ReadHead), 1);
            faulty.fail(Call::ReadHead, 2..=2, When::Before);
            assert!(ask().await, "it is news only after a while");
            sim.advance(KEPT).await;
            assert!(!ask().await);
            sim.advance(KEPT).await;
            assert!(ask().await);
        });
    }
}
