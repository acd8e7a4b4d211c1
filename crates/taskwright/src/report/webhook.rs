//! Tells of failures by posting them to a URL.

use std::time::Duration;

use taskwright_core::Error;
use taskwright_core::webhook::{Answer, Endpoint, Verdict, verdict};

use super::{Report, Reporter, Who};
use crate::env::Env;
use crate::webhook::{Courier, Message};

/// How long one request may take, whatever the endpoint says: 7 s, so that all of them are over before a reporter's time is.
const REQUEST_MAX: Duration = Duration::from_secs(7);
/// What lies between a request that was not answered well and the next one.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];

/// Posts each failure to a URL, signed as [webhooks](crate::webhook) are, and up to three times until it is answered well.
///
/// The message is `{"id", "type", "timestamp", "namespace", "data"}`: the type is `attempt.failed` or `service.failed`, the namespace is
/// that of the job, and `data` is the [`Report`] with the panic's place and backtrace. All three requests have one id. Of the endpoint count its URL, its
/// secrets, its time limit (of at most 7 s) and whether it may be at an address that is not public.
///
/// What this tells is told at once and best effort. What must not get lost is told by a webhook on `job.failed`, from what is stored.
///
/// This crate speaks no HTTP: a [`Courier`] does, such as `taskwright_server::HttpCourier`.
///
/// # Example
///
/// ```
/// use taskwright::core::webhook::Endpoint;
/// use taskwright::report::{Reports, WebhookReporter};
/// use taskwright::webhook::Courier;
/// use taskwright::Env;
///
/// fn reports(env: &Env, courier: impl Courier) -> Result<Reports, taskwright::Error> {
///     let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse()?;
///     let endpoint = Endpoint::new("https://hooks.example.org/on-call", secret);
///     Ok(Reports::new(env).to(WebhookReporter::new(env, endpoint, courier)?.only_final()))
/// }
/// ```
pub struct WebhookReporter<C> {
    env: Env,
    endpoint: Endpoint,
    courier: C,
    only_final: bool,
}

impl<C: Courier> WebhookReporter<C> {
    /// To this endpoint, by this courier.
    ///
    /// # Errors
    ///
    /// When the endpoint makes no sense ([`Endpoint::checked`]).
    pub fn new(env: &Env, endpoint: Endpoint, courier: C) -> Result<Self, Error> {
        let mut endpoint = endpoint.checked()?;
        endpoint.timeout = endpoint.timeout.min(REQUEST_MAX);
        Ok(Self { env: env.clone(), endpoint, courier, only_final: false })
    }

    /// Tells only of failures after which nothing is tried again.
    #[must_use]
    pub fn only_final(mut self) -> Self {
        self.only_final = true;
        self
    }

    async fn tell(&self, report: &Report) {
        let id = self.env.event_id();
        let (topic, namespace) = match &report.who {
            Who::Attempt(of) => ("attempt.failed", Some(&of.namespace)),
            Who::Service(_) => ("service.failed", None),
        };
        let mut pauses = PAUSES.into_iter();
        loop {
            let now = self.env.now();
            let message = Message::about(&self.endpoint, (id, topic, report.at), namespace, report, now);
            let answer = self.courier.send(message).await;
            let pause = match verdict(&answer) {
                Verdict::Delivered => return,
                Verdict::Gone => None,
                Verdict::Busy(_) | Verdict::Failed => pauses.next(),
            };
            let Some(pause) = pause else {
                let (url, why) = (&self.endpoint.url, said(&answer));
                tracing::error!(%url, why, "the webhook that is told of failures did not take it; it was to tell: {report}");
                return;
            };
            self.env.sleep(pause).await;
        }
    }
}

/// Why a message was not taken.
fn said(answer: &Answer) -> String {
    match (&answer.error, answer.status) {
        (Some(error), _) => error.clone(),
        (None, Some(status)) => format!("it answered {status}"),
        (None, None) => "it did not answer".to_owned(),
    }
}

impl<C: Courier> Reporter for WebhookReporter<C> {
    async fn failed(&self, report: &Report) {
        if !self.only_final {
            self.tell(report).await;
        }
    }

    async fn gave_up(&self, report: &Report) {
        // The call before has said that it is final.
        if self.only_final {
            self.tell(report).await;
        }
    }
}
