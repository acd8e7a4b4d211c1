//! Tells of failures at the moment they happen: of attempts of jobs, and of services.
//!
//! A program gives a [`Worker`](crate::Worker) or its [services](crate::service) the [`Reports`] to which they tell, and these hand
//! each [`Report`] on to every [`Reporter`]: to the log ([`LogReporter`]), to a command ([`CommandReporter`]), to a URL
//! ([`WebhookReporter`]), to Sentry (`SentryReporter`, with the feature `sentry-0_49`), or to what the program brings itself. [`Reporter::failed`] hears of every
//! failure; [`Reporter::gave_up`] only of those after which nothing is tried again, and is the place for a pager.
//!
//! Who fails is never held up: each reporter works on a thread of its own, behind a queue of 256. When that is full, what
//! comes is dropped, and the next report says how many were. A panic of a reporter, or a call that takes more than 30 s, costs that
//! call.
//!
//! A report is told when the attempt has ended, before that is stored; the same failure may be told twice when a worker was lost
//! over writing it down. Jobs that end without an attempt that fails here (whose worker died, that were dropped or cancelled) are
//! told of by [webhooks](crate::webhook), which read what is stored.
//!
//! # Example
//!
//! ```
//! use taskwright::report::{Report, Reporter, Reports};
//! use taskwright::Env;
//!
//! struct Pager;
//! impl Reporter for Pager {
//!     async fn failed(&self, _: &Report) {}
//!     async fn gave_up(&self, report: &Report) {
//!         println!("wake up: {report}");
//!     }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let reports = Reports::new(&Env::system()).to(Pager);
//! # let _ = reports;
//! # });
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! The worker gets them with [`worker::Builder::reports`](crate::worker::Builder::reports).

mod command;
mod desk;
mod log;
#[cfg(feature = "sentry-0_49")]
mod sentry;
mod webhook;

use std::backtrace::Backtrace;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use taskwright_core::attempt::AttemptEnd;
use taskwright_core::limit::ERROR_BYTES_MAX;
use taskwright_core::name::clipped;
use taskwright_core::{JobId, Kind, MaxAttempts, Namespace, QueueName, ServiceName, Timestamp, WorkerId};

pub use self::command::CommandReporter;
use self::desk::Desk;
pub use self::log::LogReporter;
#[cfg(feature = "sentry-0_49")]
pub use self::sentry::SentryReporter;
pub use self::webhook::WebhookReporter;
use crate::env::Env;
use crate::worker::panic::Panic;

/// The text of a backtrace is cut after this many bytes: 64 KiB.
const BACKTRACE_BYTES_MAX: usize = 64 << 10;

/// How long the end of a worker, or of the services of an [`App`](crate::App), waits for reporters to be told of what failed: 5 s.
pub(crate) const REPORT_TIME: Duration = Duration::from_secs(5);

/// Is told of failures. See the [module](self).
///
/// The calls of one [`Reports`] and its clones come one after the other, on a thread that nobody else uses: they may block it. Worker
/// and services of an [`App`](crate::App) have one together.
pub trait Reporter: Send + Sync + 'static {
    /// Something failed; it may be tried again ([`Report::retry_at`]).
    fn failed(&self, report: &Report) -> impl Future<Output = ()> + Send;

    /// Something failed, and nothing will try it again: a job that has no attempt left, a service that is not restarted. Called
    /// after [`failed`](Self::failed) with the same report. Does nothing unless it is written.
    fn gave_up(&self, report: &Report) -> impl Future<Output = ()> + Send {
        let _ = report;
        std::future::ready(())
    }
}

/// A failure. `Display` says it in one line; as JSON it is what [`CommandReporter`] passes on.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// When it happened.
    pub at: Timestamp,
    /// The machine.
    pub host: String,
    /// The process.
    pub pid: u32,
    /// Whose failure it is.
    #[serde(flatten)]
    pub who: Who,
    /// What went wrong.
    pub error: String,
    /// The panic, if it was one.
    pub panic: Option<PanicReport>,
    /// When it is tried again; `None` when nobody will.
    pub retry_at: Option<Timestamp>,
    /// Whether nothing will try it again.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// How many reports were dropped since the last one that was told, because the reporter was too slow.
    pub dropped_before: u64,
}

/// Whose failure it is.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Who {
    /// An attempt of a job.
    Attempt(AttemptReport),
    /// A service.
    Service(ServiceReport),
}

/// An attempt that failed.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct AttemptReport {
    /// The job.
    pub job: JobId,
    /// Its task.
    pub kind: Kind,
    /// The queue it came from.
    pub queue: QueueName,
    /// The tenant.
    pub namespace: Namespace,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// How many executions the job gets.
    #[serde(serialize_with = "as_text")]
    pub max_attempts: MaxAttempts,
    /// How it ended.
    pub end: AttemptEnd,
    /// Who ran it.
    pub worker: WorkerId,
}

/// A service that failed.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ServiceReport {
    /// Its name.
    pub service: ServiceName,
    /// In what it failed.
    pub step: ServiceStep,
}

/// In what a service can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ServiceStep {
    /// In its [start](crate::service::Service::start).
    Start,
    /// While it [ran](crate::service::Service::run).
    Run,
    /// In its [stop](crate::service::Service::stop).
    Stop,
    /// It did not stop in time.
    Overstay,
}

impl ServiceStep {
    /// The word for it, in every surface.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Run => "run",
            Self::Stop => "stop",
            Self::Overstay => "overstay",
        }
    }
}

/// A panic.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PanicReport {
    /// Its message.
    pub message: String,
    /// Where it happened: file, line and column.
    pub place: Option<String>,
    /// How the thread got there; its names are looked up when it is written. Without debug information there are few.
    #[serde(serialize_with = "as_backtrace")]
    pub backtrace: Option<Arc<Backtrace>>,
}

fn as_text<S: serde::Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn as_backtrace<S: serde::Serializer>(
    trace: &Option<Arc<Backtrace>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    trace.as_ref().map(|trace| clipped(&trace.to_string(), BACKTRACE_BYTES_MAX)).serialize(serializer)
}

impl PanicReport {
    pub(crate) fn of(panic: Panic) -> Self {
        let Panic { message, place, backtrace } = panic;
        Self { message: clipped(&message, ERROR_BYTES_MAX), place, backtrace: backtrace.map(Arc::new) }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.who {
            Who::Attempt(of) => {
                write!(f, "attempt {} of job {} ({}): {}", of.attempt, of.job, of.kind, self.error)?;
            }
            Who::Service(of) => write!(f, "service {}: {}", of.service, self.error)?,
        }
        match self.retry_at {
            Some(at) => write!(f, "; tried again at {at}"),
            None if self.is_final => f.write_str("; not tried again"),
            None => Ok(()),
        }
    }
}

/// What there is to report, before it is known by whom and when.
pub(crate) struct Failure {
    pub(crate) who: Who,
    pub(crate) error: String,
    pub(crate) panic: Option<PanicReport>,
    pub(crate) retry_at: Option<Timestamp>,
    pub(crate) is_final: bool,
}

/// Where workers and services tell of failures: to every [`Reporter`] it was given. Cheap to clone; all clones are one, and what was
/// not told when the last of them is dropped is dropped with it ([`flush`](Self::flush) first).
#[derive(Clone)]
pub struct Reports(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    env: Env,
    host: String,
    desks: Vec<Arc<Desk>>,
}

impl Reports {
    /// To nobody, yet.
    pub fn new(env: &Env) -> Self {
        Self(Arc::new(Inner { env: env.clone(), host: host_name(), desks: Vec::new() }))
    }

    /// These, and to this reporter, too.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, and when the system has no thread left.
    #[must_use]
    pub fn to(self, reporter: impl Reporter) -> Self {
        self.with_shared(Arc::new(reporter))
    }

    /// The same with one that others are told by, too.
    #[must_use]
    pub(crate) fn with_shared(mut self, reporter: Arc<impl Reporter>) -> Self {
        let inner = Arc::make_mut(&mut self.0);
        inner.desks.push(Desk::open(&inner.env, reporter));
        self
    }

    /// Whether nobody listens.
    pub fn is_empty(&self) -> bool {
        self.0.desks.is_empty()
    }

    /// Waits until everything is told that was reported before; `false` when that takes longer than `within`.
    pub async fn flush(&self, within: Duration) -> bool {
        let all = async {
            for desk in &self.0.desks {
                desk.flushed().await;
            }
        };
        self.0.env.timeout(within, all).await.is_some()
    }

    /// Hands a failure on, and waits for nobody.
    pub(crate) fn tell(&self, failure: impl FnOnce() -> Failure) {
        if self.is_empty() {
            return;
        }
        let Failure { who, error, panic, retry_at, is_final } = failure();
        let report = Arc::new(Report {
            at: self.0.env.now(),
            host: self.0.host.clone(),
            pid: std::process::id(),
            who,
            error,
            panic,
            retry_at,
            is_final,
            dropped_before: 0,
        });
        for desk in &self.0.desks {
            desk.put(Arc::clone(&report));
        }
    }
}

impl fmt::Debug for Reports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reports").field("reporters", &self.0.desks.len()).finish_non_exhaustive()
    }
}

/// What this machine is called.
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// A [`Reporter`] of whatever type.
trait AnyReporter: Send + Sync {
    fn tell<'a>(
        &'a self,
        report: &'a Report,
        final_call: bool,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
}

impl<R: Reporter> AnyReporter for R {
    fn tell<'a>(
        &'a self,
        report: &'a Report,
        final_call: bool,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        match final_call {
            false => Box::pin(self.failed(report)),
            true => Box::pin(self.gave_up(report)),
        }
    }
}
