//! TERM and INT: the first asks for an end in good order; another one, more than two seconds later, is meant.

use std::future::Future;
use std::time::Duration;

use taskwright::Env;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{Error, in_words};

/// A second signal within this time is the same wish (a hand that bounces, a supervisor that signals the group).
const SAME_WISH: Duration = Duration::from_secs(2);

/// The signals that end a process.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on the process decides itself what TERM and INT do.
    pub(super) fn listen() -> Result<Self, Error> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Error::operational(
                    "listening to signals",
                    in_words(&error),
                    "try again; if it stays, report it",
                )
            })
        };
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// The next signal, by number.
    pub(super) async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate().as_raw_value(),
            _ = self.interrupt.recv() => SignalKind::interrupt().as_raw_value(),
        }
    }

    /// The next signal that comes later than `SAME_WISH` after `first_us`.
    pub(super) async fn next_meant(&mut self, env: &Env, first_us: u64) -> i32 {
        loop {
            let number = self.next().await;
            let since = Duration::from_micros(env.monotonic_us().saturating_sub(first_us));
            if since > SAME_WISH {
                return number;
            }
        }
    }

    /// Runs `work`, which ends in good order once `asked` was called. A second signal that is meant calls `at_once`, gives
    /// the work as much more time as that says, and is the result.
    pub(super) async fn around<T>(
        mut self,
        env: &Env,
        work: impl Future<Output = T>,
        asked: impl FnOnce(),
        at_once: impl FnOnce() -> Duration,
    ) -> Result<T, i32> {
        let mut work = std::pin::pin!(work);
        tokio::select! {
            biased;
            _ = self.next() => {}
            done = work.as_mut() => return Ok(done),
        }
        let first_us = env.monotonic_us();
        asked();
        tokio::select! {
            biased;
            number = self.next_meant(env, first_us) => {
                let time = at_once();
                // However the work ends now, the signal is what ended it.
                let _ = env.timeout(time, work).await;
                Err(number)
            }
            done = work.as_mut() => Ok(done),
        }
    }
}
