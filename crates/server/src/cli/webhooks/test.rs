//! `webhooks test`.

use clap::Args;
use taskwright_core::{Topic, WebhookName};

use crate::answer::webhook::Tested;
use crate::cli::Context;
use crate::error::{Error, Exit};
use crate::http::Trial;
use crate::remote::segment;
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
        let tested = match context.server() {
            Some(server) => {
                let path = format!("/api/v1/webhooks/{}/test", segment(self.name.as_str()));
                let trial = Trial { topic: Some(self.topic) };
                server.create(&path, Some(&context.namespace_or_default()), &trial).await?
            }
            None => {
                let view = super::found(context, &self.name).await?;
                Tested::send(&context.env, &view, self.topic.as_str()).await?
            }
        };
        let Tested { delivered, took_ms, status, .. } = tested;
        let said = tested.answer.as_deref().map(|body| format!(": {}", text::one_line(body)));
        let said = said.unwrap_or_default();
        if context.output.is_json() {
            context.output.json(&tested)?;
        } else if delivered {
            let status = status.unwrap_or_default();
            context.output.line(format!("{}  delivered in {took_ms} ms, {status}{said}", self.name))?;
        }
        if delivered {
            return Ok(Exit::Ok);
        }
        let why = tested.error.unwrap_or_else(|| "it did not take it".to_owned());
        let fix = "look at the receiver, and at the URL with `taskwright webhooks show`";
        Err(Error::operational(format!("the webhook {}", self.name), format!("{why}{said}"), fix))
    }
}
