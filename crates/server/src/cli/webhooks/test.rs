//! `webhooks test`.

use clap::Args;
use serde_json::json;
use taskwright::Event;
use taskwright::webhook::{Courier, Message};
use taskwright_core::webhook::{Verdict, verdict};
use taskwright_core::{Topic, WebhookName};

use crate::cli::Context;
use crate::courier::HttpCourier;
use crate::error::{Error, Exit};
use crate::text;

/// Sends one message now.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright webhooks test billing
  taskwright webhooks test billing --topic order.paid

From this process, also when the endpoint is disabled. The message is signed
like all, carries {\"test\": true}, and is not part of the history.")]
pub(super) struct Test {
    /// The endpoint
    name: WebhookName,
    /// What the message is about
    #[arg(long, value_name = "TOPIC", default_value = "webhook.test")]
    topic: Topic,
}

impl Test {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        if let Some(server) = context.server() {
            // It is signed here, and the secret is told to nobody.
            return Err(server.not_offered("sending a message for a test").into());
        }
        let view = super::found(context, &self.name).await?;
        let event = Event::new(self.topic.as_str()).namespace(view.namespace.as_str());
        let event = event.payload(&json!({ "test": true }))?.into_new(&context.env)?;
        let now = context.env.now();
        let message = Message::of(&view.endpoint, &event, now, now);
        let began_us = context.env.monotonic_us();
        let answer = HttpCourier::new()?.send(message).await;
        let took_ms = (context.env.monotonic_us() - began_us) / 1_000;
        let delivered = verdict(&answer) == Verdict::Delivered;
        if context.output.is_json() {
            context.output.json(&json!({
                "name": self.name, "event": event.id, "delivered": delivered, "status": answer.status,
                "took_ms": took_ms, "error": answer.error, "answer": answer.body,
            }))?;
        } else if delivered {
            let said =
                answer.body.as_deref().map(|body| format!(": {}", text::one_line(body))).unwrap_or_default();
            let status = answer.status.unwrap_or_default();
            context.output.line(format!("{}  delivered in {took_ms} ms, {status}{said}", self.name))?;
        }
        if delivered {
            return Ok(Exit::Ok);
        }
        let why = answer.error.unwrap_or_else(|| "it did not take it".to_owned());
        let said = answer.body.map(|body| format!(": {}", text::one_line(&body))).unwrap_or_default();
        let fix = "look at the receiver, and at the URL with `taskwright webhooks show`";
        Err(Error::operational(format!("the webhook {}", self.name), format!("{why}{said}"), fix))
    }
}
