//! The child's side: one attempt, and then the process ends.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use taskwright_core::Outcome;
use taskwright_core::attempt::AttemptEnd;
use taskwright_store::LogStream;
use taskwright_store::memory::MemoryStore;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

use super::link::Link;
use super::wire::{Answer, Order};
use super::{LINK, VARIABLE};
use crate::attempt::{Attempt, Host, lock};
use crate::cancel::StopCause;
use crate::context::Context;
use crate::env::Env;
use crate::error::Error;
use crate::middleware::Next;
use crate::process::PROGRESS_FD;
use crate::registry::Registry;
use crate::worker::panic;

/// How often what the handler says is passed on: 50 ms.
const TELL_EVERY: Duration = Duration::from_millis(50);

/// Whether this program can be started for one attempt: it has asked whether it was.
static CAN_SERVE: AtomicBool = AtomicBool::new(false);

/// That this process was started for one attempt.
pub(crate) struct Asked {
    answer: PathBuf,
}

impl Asked {
    /// Whether it was. From then on this program is known as one that can be.
    pub(crate) fn of_process() -> Option<Self> {
        CAN_SERVE.store(true, Ordering::Relaxed);
        let said = std::env::var(VARIABLE).ok()?;
        let (parent, answer) = said.split_once(':')?;
        let is_ours =
            rustix::process::getppid().is_some_and(|pid| pid.as_raw_nonzero().get().to_string() == parent);
        is_ours.then(|| Self { answer: answer.into() })
    }

    /// Whether attempts of this program can be run in processes of their own.
    pub(super) fn can_be() -> bool {
        CAN_SERVE.load(Ordering::Relaxed)
    }

    /// Runs the attempt, and ends the process.
    ///
    /// # Errors
    ///
    /// When what the worker says is not understood.
    pub(crate) async fn serve(
        self,
        registry: Registry,
        env: &Env,
    ) -> Result<std::convert::Infallible, Error> {
        panic::watch_places();
        let mut order = String::new();
        let read = std::io::stdin().read_to_string(&mut order).map_err(|error| error.to_string());
        let order: Order = read
            .and_then(|_| serde_json::from_str(&order).map_err(|error| error.to_string()))
            .map_err(|why| refused(&why))?;
        env.set_ahead_us(order.ahead_us);
        let (worker, job) = (order.worker, order.job()?);
        let registry = Arc::new(registry);
        let handler = registry.in_child(&job.kind);
        let (store, blocking) = (Arc::new(MemoryStore::new()), Arc::new(Semaphore::new(1)));
        let host = Host::new(env.clone(), worker, Arc::clone(&registry), store, blocking);
        let link = Some(Link::to(self.answer.with_file_name(LINK), env));
        let host = Arc::new(Host { link, ..host });
        let attempt = Arc::new(Attempt::new(job, host, env.now()));
        let mut asked = signal(SignalKind::terminate()).map_err(|error| refused(&error.to_string()))?;
        let outcome = match handler {
            Some(handler) => {
                let mut running = std::pin::pin!(Next::to(handler).run(Context::new(Arc::clone(&attempt))));
                loop {
                    tokio::select! {
                        outcome = &mut running => break outcome,
                        _ = asked.recv() => attempt.stop(StopCause::Shutdown, u64::MAX),
                        () = env.sleep(TELL_EVERY) => tell(&attempt),
                    }
                }
            }
            None => Outcome::Retry {
                error: format!(
                    "the program that was started for it does not know the task {}",
                    attempt.job.kind
                ),
                after: None,
                end: AttemptEnd::Failed,
            },
        };
        tell(&attempt);
        let follow_ups = std::mem::take(&mut *lock(&attempt.follow_ups));
        let panic = lock(&attempt.panic).take();
        let written = write(&self.answer, &Answer::of(outcome, follow_ups, panic));
        written.map_err(|error| refused(&error.to_string()))?;
        std::process::exit(0)
    }
}

/// Passes on what the handler has said. What cannot be said is lost, as with every command.
fn tell(attempt: &Attempt) {
    let told = attempt.host.outbox.take(&attempt.host.env);
    for entry in told.log {
        let _ = match entry.stream {
            LogStream::Stderr => std::io::stderr().write_all(&entry.bytes),
            LogStream::Stdout | LogStream::Log => std::io::stdout().write_all(&entry.bytes),
        };
    }
    let _ = std::io::stdout().flush();
    let Some(newest) = told.progress.last() else { return };
    let Ok(number) = std::env::var(PROGRESS_FD) else { return };
    let progress = &newest.progress;
    let line =
        serde_json::json!({"done": progress.done, "total": progress.total, "message": progress.message});
    // Opened anew, since nobody owns the number here.
    if let Ok(mut pipe) = std::fs::OpenOptions::new().write(true).open(format!("/dev/fd/{number}")) {
        let _ = pipe.write_all(format!("{line}\n").as_bytes());
    }
}

fn write(path: &Path, answer: &Answer) -> std::io::Result<()> {
    let bytes = serde_json::to_vec(answer)?;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(&bytes)
}

fn refused(why: &str) -> Error {
    taskwright_core::Error::invalid(
        "the attempt that this process was started for",
        why,
        "let the worker start it, which sets what it needs",
    )
    .into()
}
