//! `webhooks add`.

use std::time::Duration;

use clap::Args;
use taskwright_core::WebhookName;
use taskwright_core::trigger::TopicPattern;
use taskwright_core::webhook::{Endpoint, Order, Secret, Topics};

use crate::answer::webhook as answer;
use crate::cli::{Context, enqueue, value};
use crate::config::webhook;
use crate::error::{Error, Exit};
use crate::http::NewEndpoint;
use crate::remote::Remote;

/// Adds an endpoint.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright webhooks add billing https://example.org/hook --topic 'order.*'
  taskwright webhooks add local http://localhost:9000/ --allow-private

It is told of what happens from now on. The secret is printed this once: the
receiver needs it. Ends of jobs go only to those that name them (--topic
'job.*').")]
pub(super) struct Add {
    /// Its name
    name: WebhookName,
    /// Where to send
    url: String,
    /// Of which topics, like 'order.*'; may be repeated [default: all]
    #[arg(long = "topic", value_name = "TOPIC")]
    topics: Vec<TopicPattern>,
    /// A file with the secret (whsec_...), or `-` for standard input [default: one is made]
    #[arg(long, value_name = "FILE")]
    secret_file: Option<String>,
    /// Requests at a time, 1 to 16
    #[arg(long, value_name = "N", default_value_t = 1)]
    in_flight: u32,
    /// `key` to have events of one key wait for each other
    #[arg(long, value_name = "ORDER", value_parser = webhook::order, default_value = "free")]
    order: Order,
    /// How long one request may take, 1s to 15s
    #[arg(long, value_name = "D", value_parser = value::time_limit, default_value = "15s")]
    timeout: Duration,
    /// Accept an address of this machine or a private network
    #[arg(long)]
    allow_private: bool,
}

impl Add {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        /// Bytes of a file with a secret.
        const SECRET_BYTES_MAX: usize = 1 << 10;
        let given = match &self.secret_file {
            Some(file) => {
                let named = if file == "-" { file.clone() } else { format!("@{file}") };
                let bytes = enqueue::text_of_flag(context, "--secret-file", &named, SECRET_BYTES_MAX)?;
                Some(String::from_utf8_lossy(&bytes).trim().parse::<Secret>()?)
            }
            None => None,
        };
        // Checked before the store is made for it.
        let stand_in = Secret::from_bytes(&[0; 32])?;
        let mut endpoint = Endpoint::new(self.url, given.clone().unwrap_or(stand_in));
        if !self.topics.is_empty() {
            endpoint.topics = Topics(self.topics);
        }
        (endpoint.in_flight, endpoint.order) = (self.in_flight, self.order);
        (endpoint.timeout, endpoint.allow_private) = (self.timeout, self.allow_private);
        let mut endpoint = endpoint.checked()?;
        if let Some(server) = context.server() {
            return ask(context, server, &self.name, &endpoint, given.as_ref()).await;
        }
        let webhooks = context.client_or_new().await?.webhooks();
        if given.is_none() {
            endpoint.secret = webhooks.secret()?;
        }
        let name = &self.name;
        if !webhooks.add(&context.namespace_or_default(), name, &endpoint).await? {
            return Err(Error::operational(
                format!("the webhook {name}"),
                "there is one of that name already",
                format!("choose another name, or remove it first: taskwright webhooks remove {name}"),
            ));
        }
        let made = given.is_none().then(|| endpoint.secret.reveal());
        if context.output.is_json() {
            context.output.json(&answer::Secret { name: name.clone(), secret: made })?;
        } else {
            match made {
                Some(secret) => context.output.line(secret)?,
                None => context.output.line(name.as_str())?,
            }
        }
        Ok(Exit::Ok)
    }
}

/// The same over HTTP: it is the server that makes the secret, unless one is given.
async fn ask(
    context: &Context,
    server: &Remote,
    name: &WebhookName,
    endpoint: &Endpoint,
    given: Option<&Secret>,
) -> Result<Exit, Error> {
    let new = NewEndpoint {
        name: name.clone(),
        url: endpoint.url.clone(),
        topics: endpoint.topics.0.clone(),
        secret: given.map(Secret::reveal),
        in_flight: Some(endpoint.in_flight),
        order: endpoint.order,
        timeout: Some(format!("{}ms", endpoint.timeout.as_millis())),
        allow_private: endpoint.allow_private,
    };
    let made = server.post("/api/v1/webhooks", &context.namespace_or_default(), Some(&new)).await?;
    let made: answer::Secret = made.ok_or_else(|| server.not_offered("adding a webhook"))?;
    match (context.output.is_json(), &made.secret) {
        (true, _) => context.output.json(&made)?,
        (false, Some(secret)) => context.output.line(secret)?,
        (false, None) => context.output.line(name.as_str())?,
    }
    Ok(Exit::Ok)
}
