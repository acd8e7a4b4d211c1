//! Tells Sentry, by its crate 0.49.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use sentry_core::Hub;
use sentry_core::protocol::{Event, Exception, Level, Map, Value};
use taskwright_core::Timestamp;
use taskwright_core::name::clipped;

use super::{BACKTRACE_BYTES_MAX, Report, Reporter, Who};

/// Makes an event of Sentry's of each failure: a warning when it is tried again, an error when nothing will.
///
/// | of the event | is |
/// |---|---|
/// | exception | the kind of the task, or the name of the service, and the error |
/// | transaction | the kind, or the name |
/// | fingerprint | Sentry's own, apart for each kind: the same error of two tasks is two issues |
/// | tags | `kind`, `queue`, `namespace`, `attempt`, `end`, or `service`, `step`; `final` |
/// | extra | `job`, `worker`, `max_attempts`, `retry_at`, `place` and `backtrace` of a panic, `dropped_before`, where there is one |
///
/// Arguments of jobs are not told. The program makes the client with `sentry::init`, which also decides what is sent where, and sends
/// what it still has when the guard is dropped.
///
/// # Example
///
/// ```
/// use taskwright::App;
/// use taskwright::report::SentryReporter;
///
/// let app = App::new().report_to(SentryReporter::new().only_final());
/// ```
#[derive(Debug)]
pub struct SentryReporter {
    /// `None` is the one of the process, as it is when something fails.
    hub: Option<Arc<Hub>>,
    only_final: bool,
}

impl SentryReporter {
    /// Tells the client of the process: the one of `sentry::init`, also when that is called later.
    pub fn new() -> Self {
        Self { hub: None, only_final: false }
    }

    /// Tells the client of this hub.
    pub fn on(hub: Arc<Hub>) -> Self {
        Self { hub: Some(hub), only_final: false }
    }

    /// Tells only of failures after which nothing is tried again.
    #[must_use]
    pub fn only_final(mut self) -> Self {
        self.only_final = true;
        self
    }

    fn tell(&self, report: &Report) {
        let hub = self.hub.clone().unwrap_or_else(Hub::main);
        hub.capture_event(event(report));
    }
}

impl Default for SentryReporter {
    fn default() -> Self {
        Self::new()
    }
}

impl Reporter for SentryReporter {
    async fn failed(&self, report: &Report) {
        if !self.only_final {
            self.tell(report);
        }
    }

    async fn gave_up(&self, report: &Report) {
        // The call before has said that it is final.
        if self.only_final {
            self.tell(report);
        }
    }
}

fn event(report: &Report) -> Event<'static> {
    let mut tags = Map::new();
    let mut extra = Map::new();
    let mut tag = |name: &str, value: String| {
        tags.insert(name.to_owned(), value);
    };
    let mut more = |name: &str, value: String| {
        extra.insert(name.to_owned(), Value::String(value));
    };
    let who = match &report.who {
        Who::Attempt(of) => {
            tag("kind", of.kind.to_string());
            tag("queue", of.queue.to_string());
            tag("namespace", of.namespace.to_string());
            tag("attempt", of.attempt.to_string());
            tag("end", of.end.as_str().to_owned());
            more("job", of.job.to_string());
            more("worker", of.worker.to_string());
            more("max_attempts", of.max_attempts.to_string());
            of.kind.to_string()
        }
        Who::Service(of) => {
            tag("service", of.service.to_string());
            tag("step", of.step.as_str().to_owned());
            of.service.to_string()
        }
    };
    tag("final", report.is_final.to_string());
    if let Some(at) = report.retry_at {
        more("retry_at", at.to_string());
    }
    if let Some(panic) = &report.panic {
        if let Some(place) = &panic.place {
            more("place", place.clone());
        }
        if let Some(trace) = &panic.backtrace {
            more("backtrace", clipped(&trace.to_string(), BACKTRACE_BYTES_MAX));
        }
    }
    if report.dropped_before > 0 {
        more("dropped_before", report.dropped_before.to_string());
    }
    let exception = Exception { ty: who.clone(), value: Some(report.error.clone()), ..Exception::default() };
    Event {
        level: if report.is_final { Level::Error } else { Level::Warning },
        fingerprint: Cow::Owned(vec!["{{ default }}".into(), who.clone().into()]),
        transaction: Some(who),
        timestamp: SystemTime::UNIX_EPOCH + report.at.since(Timestamp::from_micros(0)),
        server_name: Some(report.host.clone().into()),
        exception: vec![exception].into(),
        tags,
        extra,
        ..Event::default()
    }
}
