//! TERM and INT: the first asks for an end in good order; another one, more than two seconds later, is meant. HUP asks for the
//! config file to be read again.

use std::future::Future;
use std::io::IsTerminal;
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

/// Why the work is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A signal says so.
    Signal,
    /// Another process has taken over.
    HandedOver,
    /// The terminal is gone in which it was started.
    TerminalGone,
}

fn listen(kind: SignalKind) -> Result<Signal, Error> {
    signal(kind).map_err(|error| {
        Error::operational("listening to signals", in_words(&error), "try again; if it stays, report it")
    })
}

impl Signals {
    /// From now on the process decides itself what TERM and INT do.
    pub(super) fn listen() -> Result<Self, Error> {
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

    /// Runs `work`, which ends in good order once `asked` was called: at a signal, or for what `otherwise` says. A second
    /// signal that is meant calls `at_once`, gives the work as much more time as that says, and is the result.
    pub(super) async fn around<T>(
        mut self,
        env: &Env,
        work: impl Future<Output = T>,
        otherwise: impl Future<Output = Asked>,
        asked: impl FnOnce(Asked),
        at_once: impl FnOnce() -> Duration,
    ) -> Result<T, i32> {
        let mut work = std::pin::pin!(work);
        let why = tokio::select! {
            biased;
            _ = self.next() => Asked::Signal,
            why = otherwise => why,
            done = work.as_mut() => return Ok(done),
        };
        let first_us = env.monotonic_us();
        asked(why);
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

/// HUP: read the config file again, unless the terminal is gone in which the process was started.
pub(super) struct HangUps {
    signal: Signal,
    had_terminal: bool,
}

/// What a HUP means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HangUp {
    /// Read the config file again.
    Reload,
    /// The terminal is gone: end, as every program that was started in it does.
    TerminalGone,
}

impl HangUps {
    /// From now on the process decides itself what HUP does.
    pub(super) fn listen() -> Result<Self, Error> {
        Ok(Self { signal: listen(SignalKind::hangup())?, had_terminal: std::io::stdin().is_terminal() })
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> HangUp {
        let _ = self.signal.recv().await;
        // A terminal that was hung up answers nothing any more.
        match self.had_terminal && !std::io::stdin().is_terminal() {
            true => HangUp::TerminalGone,
            false => HangUp::Reload,
        }
    }
}
