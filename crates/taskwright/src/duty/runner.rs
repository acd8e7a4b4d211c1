//! Drives one duty: when it is due, when a hint says so, when somebody asks, and more slowly while it fails.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use taskwright_core::Timestamp;
use taskwright_store::{Error, Reply, SharedStore};
use tokio::sync::Notify;

use crate::env::{Env, Spawned, micros};
use crate::worker::panic::caught;

/// The share by which a duty's interval is spread, so that many processes do not look at once.
const JITTER: f64 = 0.1;
/// The shortest time between two looks that hints ask for: 20 ms.
const HINT_EVERY: Duration = Duration::from_millis(20);
/// The first and the longest delay after a failure. Once a store answers again after an outage, nobody leads and nobody looks
/// for lost workers for up to the longest: 2 s, as long as it may take to find the end of a worker.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_LONGEST: Duration = Duration::from_secs(2);
/// How often it is told that a duty fails, while it does.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// One activity. See the [notes](super) for whoever adds one.
pub(crate) trait Duty: Send + Sync + 'static {
    /// What it is called in the log.
    fn name(&self) -> &'static str;

    /// Whether a hint of the store makes it look sooner.
    fn follows_hints(&self) -> bool {
        false
    }

    /// The shortest time between two looks that hints ask for.
    fn hint_every(&self, env: &Env) -> Duration {
        let _ = env;
        HINT_EVERY
    }

    /// Does what is due now, or a bounded part of it, and says when to look again.
    fn run_once<'a>(&'a self, env: &'a Env) -> Reply<'a, Next>;
}

/// When a duty looks again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// At once: more is left.
    More,
    /// After this much time, or a little more or less.
    After(Duration),
    /// At this moment, but not later than after this much time.
    At(Timestamp, Duration),
}

pub(super) fn spawn(
    env: &Env,
    store: SharedStore,
    duty: impl Duty,
    asked: Option<Arc<Notify>>,
) -> Spawned<()> {
    env.spawn(duty.name(), run(env.clone(), store, duty, asked.unwrap_or_default()))
}

async fn run(env: Env, store: SharedStore, duty: impl Duty, asked: Arc<Notify>) {
    let mut hints = store.hints();
    let mut hints_open = duty.follows_hints();
    let mut failures: u32 = 0;
    let mut told_us = None;
    loop {
        // Interest is registered before the look.
        hints.borrow_and_update();
        let looked = match look(&duty, &env).await {
            Ok(Ok(next)) => Ok(next),
            Ok(Err(error)) if error.is_closed() => return,
            Ok(Err(error)) => Err(error.to_string()),
            Err(panic) => Err(panic),
        };
        let pause = match looked {
            Ok(next) => {
                (failures, told_us) = (0, None);
                pause(&env, next)
            }
            Err(error) => {
                failures += 1;
                let delay = RETRY_FIRST.saturating_mul(1 << failures.min(16)).min(RETRY_LONGEST);
                let now_us = env.monotonic_us();
                if told_us.is_none_or(|told_us| now_us >= told_us + micros(TELL_EVERY)) {
                    told_us = Some(now_us);
                    tracing::warn!(duty = duty.name(), %error, failures, "a duty failed and is tried again");
                }
                env.sleep(env.spread(delay, JITTER)).await;
                continue;
            }
        };
        tokio::select! {
            biased;
            () = asked.notified() => {}
            changed = hints.changed(), if hints_open => {
                hints_open = changed.is_ok();
                // Hints come with every enqueue; but what is due is due.
                env.sleep(duty.hint_every(&env).min(pause)).await;
            }
            () = env.sleep(pause) => {}
        }
    }
}

/// Looks once. A panic is an error like others: a duty that is not done any more would be missed by nobody until jobs are.
async fn look(duty: &impl Duty, env: &Env) -> Result<Result<Next, Error>, String> {
    let mut look = caught(|| duty.run_once(env))?;
    poll_fn(|cx| match caught(|| look.as_mut().poll(cx)) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

fn pause(env: &Env, next: Next) -> Duration {
    match next {
        Next::More => Duration::ZERO,
        Next::After(interval) => env.spread(interval, JITTER),
        Next::At(moment, longest) => moment.since(env.now()).min(longest),
    }
}

/// Runs a duty until nothing is due any more.
pub(super) async fn exhaust(duty: &impl Duty, env: &Env) -> Result<(), Error> {
    while duty.run_once(env).await? == Next::More {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use taskwright_store::memory::MemoryStore;

    use super::*;
    use crate::testing::simulate;

    /// Panics at its first look.
    struct Clumsy(Arc<AtomicU32>);

    impl Duty for Clumsy {
        fn name(&self) -> &'static str {
            "clumsy"
        }

        fn run_once<'a>(&'a self, _: &'a Env) -> Reply<'a, Next> {
            Box::pin(async move {
                let looks = self.0.fetch_add(1, Ordering::Relaxed);
                assert!(looks > 0, "the first look always fails");
                Ok(Next::After(Duration::from_secs(1)))
            })
        }
    }

    #[test]
    fn a_duty_that_panics_is_done_again() {
        let looks = Arc::new(AtomicU32::new(0));
        simulate(7, async |sim| {
            let store: SharedStore = Arc::new(MemoryStore::new());
            let _duty = spawn(&sim.env(), store, Clumsy(looks.clone()), None);
            sim.advance(Duration::from_secs(5)).await;
        });
        assert!(looks.load(Ordering::Relaxed) > 2, "{looks:?}");
    }
}
