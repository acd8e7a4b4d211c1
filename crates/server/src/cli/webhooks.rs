//! `webhooks`: endpoints that are told of events: look at them, add and change them, and deliver again.

use clap::{Args, Subcommand};
use taskwright::webhook::{WebhookView, Webhooks as Client};
use taskwright_core::{Namespace, WebhookName};

use super::Context;
use crate::answer::webhook as answer;
use crate::error::{Error, Exit, nearest};
use crate::output::Paint;
use crate::remote;

mod add;
mod change;
mod deliveries;
mod list;
mod redeliver;
mod show;
mod test;

/// Tells others of events.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright webhooks add billing https://example.org/hook --topic 'order.*'
  taskwright webhooks list
  taskwright webhooks deliveries billing --failed

Events are sent in the form of Standard Webhooks, signed with HMAC-SHA256, at
least once each. `up` sends them; see `Webhooks` in the guide.")]
pub(super) struct Webhooks {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Add an endpoint, and print its secret
    Add(add::Add),
    /// List the endpoints
    List(list::List),
    /// Show everything about an endpoint but its secret
    Show(show::Show),
    /// Send again, what was parked first, and forgive all failures
    Enable(change::Enable),
    /// Send nothing, and park or drop the backlog
    Disable(change::Disable),
    /// Sign with a new secret, and print it; for 24 h with the old one, too
    Rotate(change::Rotate),
    /// Deliver events again
    Redeliver(redeliver::Redeliver),
    /// List what was tried, the newest first
    Deliveries(deliveries::Deliveries),
    /// Remove endpoints
    Remove(change::Remove),
    /// Send one message now, and tell what came back
    Test(test::Test),
}

impl Webhooks {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        match self.verb {
            Verb::Add(verb) => verb.run(context).await,
            Verb::List(verb) => verb.run(context).await,
            Verb::Show(verb) => verb.run(context).await,
            Verb::Enable(verb) => verb.run(context).await,
            Verb::Disable(verb) => verb.run(context).await,
            Verb::Rotate(verb) => verb.run(context).await,
            Verb::Redeliver(verb) => verb.run(context).await,
            Verb::Deliveries(verb) => verb.run(context).await,
            Verb::Remove(verb) => verb.run(context).await,
            Verb::Test(verb) => verb.run(context).await,
        }
    }
}

/// The endpoints of the store, which must exist.
async fn client(context: &Context) -> Result<Client, Error> {
    Ok(context.client().await?.webhooks())
}

/// An endpoint that is there; otherwise an error that says what there is.
async fn found(context: &Context, name: &WebhookName) -> Result<WebhookView, Error> {
    match client(context).await?.get(&context.namespace_or_default(), name).await? {
        Some(view) => Ok(view),
        None => Err(unknown(context, name).await?),
    }
}

/// What is to be said about an endpoint that is not there.
async fn unknown(context: &Context, name: &WebhookName) -> Result<Error, Error> {
    let namespace = context.namespace_or_default();
    let all = listed_in(context, Some(&namespace)).await?;
    let fix = match nearest(name.as_str(), all.iter().map(|one| one.name.as_str())) {
        Some(meant) => format!("write `{meant}`, if that is what you meant"),
        None => {
            "see them all with `taskwright webhooks list`, or add it with `taskwright webhooks add`".into()
        }
    };
    let why = match context.namespace {
        Some(_) => format!("there is no such webhook in the namespace {namespace}"),
        None => "there is no such webhook".to_owned(),
    };
    Ok(Error::operational(format!("the webhook {name}"), why, fix))
}

/// The colour of how an endpoint is.
fn painted(status: &str) -> Paint {
    match status {
        "disabled" => Paint::Faint,
        "paused" => Paint::Warn,
        "on" => Paint::Good,
        _ => Paint::Bad,
    }
}

/// All endpoints, as they are told.
async fn listed(context: &Context) -> Result<Vec<answer::Listed>, Error> {
    listed_in(context, context.namespace.as_ref()).await
}

async fn listed_in(context: &Context, namespace: Option<&Namespace>) -> Result<Vec<answer::Listed>, Error> {
    if let Some(server) = context.server() {
        return Ok(server.items("/api/v1/webhooks", namespace).await?);
    }
    let webhooks = client(context).await?;
    let views = webhooks.list(namespace).await?;
    let head = webhooks.head().await?;
    Ok(views.iter().map(|view| answer::Listed::of(view, head)).collect())
}

/// Everything about an endpoint that is there.
async fn whole(context: &Context, name: &WebhookName) -> Result<answer::Whole, Error> {
    if let Some(server) = context.server() {
        let path = format!("/api/v1/webhooks/{}", remote::segment(name.as_str()));
        return match server.get(&path, &context.namespace_or_default()).await? {
            Some(whole) => Ok(whole),
            None => Err(unknown(context, name).await?),
        };
    }
    let view = found(context, name).await?;
    let webhooks = client(context).await?;
    let facts = answer::Facts::of(&**context.store().await?, &webhooks, &view).await?;
    Ok(answer::Whole::of(&view, facts))
}
