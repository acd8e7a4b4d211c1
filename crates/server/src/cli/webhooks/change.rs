//! `webhooks enable`, `disable`, `rotate` and `remove`.

use clap::Args;
use taskwright_core::webhook::Backlog;
use taskwright_core::{Actor, WebhookName};

use crate::answer::webhook as answer;
use crate::cli::jobs::confirm;
use crate::cli::{Context, context};
use crate::error::{Error, Exit};
use crate::remote::{self, Remote};

/// Sends again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright webhooks enable billing

What was parked is sent first. Also for one that is enabled and failing: it
is tried at once. One that left the config file is as if you had added it.")]
pub(super) struct Enable {
    #[command(flatten)]
    named: Named,
}

/// Sends nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright webhooks disable billing --reason 'they move until Monday'
  taskwright webhooks disable billing --drop --yes

A parked backlog is sent once the endpoint is enabled again, as far as its
events are kept ([retention] events, 7 days by default). A dropped one is
gone, at once, however large it is.")]
pub(super) struct Disable {
    #[command(flatten)]
    named: Named,
    /// Keep what was not delivered for later (the default)
    #[arg(long, conflicts_with = "drop")]
    park: bool,
    /// Forget what was not delivered, and what happens until it is enabled
    #[arg(long)]
    drop: bool,
    /// Drop more than 20 events without a question
    #[arg(long, short)]
    yes: bool,
    /// Why, for whoever looks at it
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Who does it [default: the user who is logged in]
    #[arg(long, value_name = "NAME")]
    actor: Option<Actor>,
}

/// Signs with a new secret.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright webhooks rotate billing

The secret is printed this once. For 24 h messages have two signatures, so
that the receiver can change over when it likes.")]
pub(super) struct Rotate {
    /// The endpoint
    name: WebhookName,
}

/// Removes endpoints.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskwright webhooks remove billing

One of the config file comes back at the next start, unless it is removed
there.")]
pub(super) struct Remove {
    #[command(flatten)]
    named: Named,
    /// Drop more than 20 events that were not delivered without a question
    #[arg(long, short)]
    yes: bool,
}

#[derive(Debug, Args)]
struct Named {
    /// The endpoints
    #[arg(required = true, value_name = "NAME")]
    names: Vec<WebhookName>,
}

/// What is done to endpoints.
enum What {
    Enable,
    Disable { by: Actor, reason: Option<String>, backlog: Backlog },
    Remove,
}

impl Enable {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        change(context, &self.named.names, &What::Enable).await
    }
}

impl Disable {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        let by = context::actor(self.actor.as_ref());
        let backlog = if self.drop { Backlog::Drop } else { Backlog::Park };
        if self.drop && !self.yes {
            ask_to_drop(context, &self.named.names).await?;
        }
        change(context, &self.named.names, &What::Disable { by, reason: self.reason, backlog }).await
    }
}

impl Remove {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        if !self.yes {
            ask_to_drop(context, &self.named.names).await?;
        }
        change(context, &self.named.names, &What::Remove).await
    }
}

impl Rotate {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Error> {
        if let Some(server) = context.server() {
            return self.ask(context, server).await;
        }
        let webhooks = super::client(context).await?;
        let secret = match webhooks.rotate(&context.namespace_or_default(), &self.name).await {
            Err(error) if error.is_not_found() => return Err(super::unknown(context, &self.name).await?),
            rotated => rotated?.reveal(),
        };
        if context.output.is_json() {
            context.output.json(&answer::Secret { name: self.name, secret: Some(secret) })?;
        } else {
            context.output.line(secret)?;
        }
        Ok(Exit::Ok)
    }
}

impl Rotate {
    /// The same over HTTP: it is the server that makes the secret.
    async fn ask(self, context: &Context, server: &Remote) -> Result<Exit, Error> {
        let path = format!("/api/v1/webhooks/{}/rotate", remote::segment(self.name.as_str()));
        let made: Option<answer::Secret> =
            server.post(&path, &context.namespace_or_default(), remote::NO_BODY).await?;
        let Some(made) = made else { return Err(super::unknown(context, &self.name).await?) };
        match context.output.is_json() {
            true => context.output.json(&made)?,
            false => context.output.line(made.secret.unwrap_or_default())?,
        }
        Ok(Exit::Ok)
    }
}

/// Asks before a backlog of more than 20 events is dropped.
async fn ask_to_drop(context: &Context, names: &[WebhookName]) -> Result<(), Error> {
    let head = context.store().await?.log_head().await?;
    let mut events = 0;
    for name in names {
        // Those that are unknown are told of when they are changed.
        let view = super::client(context).await?.get(&context.namespace_or_default(), name).await?;
        events += view.map_or(0, |view| answer::backlog(&view, head));
    }
    confirm(context, "drop", "event", usize::try_from(events).unwrap_or(usize::MAX))
}

/// Each for itself: one that is unknown does not keep the others from what was asked.
async fn change(context: &Context, names: &[WebhookName], what: &What) -> Result<Exit, Error> {
    let webhooks = super::client(context).await?;
    let namespace = context.namespace_or_default();
    let mut unknown = Vec::new();
    for name in names {
        let changed = match what {
            What::Enable => webhooks.enable(&namespace, name).await,
            What::Disable { by, reason, backlog } => {
                webhooks.disable(&namespace, name, by, reason.as_deref(), *backlog).await
            }
            What::Remove => webhooks.remove(&namespace, name).await,
        };
        match (changed, what) {
            (Err(error), _) if error.is_not_found() => unknown.push(super::unknown(context, name).await?),
            (Ok(false), What::Remove) => unknown.push(super::unknown(context, name).await?),
            (changed, _) => tell(context, name, what, changed?)?,
        }
    }
    if unknown.is_empty() {
        return Ok(Exit::Ok);
    }
    let reports = unknown.iter().flat_map(|error| error.reports().to_vec()).collect();
    Err(Error::several(Exit::Operational, reports))
}

fn tell(context: &Context, name: &WebhookName, what: &What, changed: bool) -> Result<(), Error> {
    let (done, skipped) = match what {
        What::Enable => ("enabled", "it is enabled, and does not fail"),
        What::Disable { backlog: Backlog::Park, .. } => ("disabled, backlog parked", "it is so already"),
        What::Disable { backlog: Backlog::Drop, .. } => ("disabled, backlog dropped", "it is so already"),
        What::Remove => ("removed", "it is gone already"),
    };
    if context.output.is_json() {
        let enabled = matches!(what, What::Enable);
        return context.output.json(&answer::Changed { changed, enabled, name: name.clone() });
    }
    context.output.line(match changed {
        true => format!("{name}  {done}"),
        false => format!("{name}  skipped  {skipped}"),
    })
}
