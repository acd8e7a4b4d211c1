//! The endpoints of the config file, registered when a process that delivers to them starts.

use std::collections::BTreeSet;

use taskwright::webhook::{WebhookView, Webhooks};
use taskwright_core::schedule::Origin as Source;
use taskwright_core::webhook::{Backlog, Disabled, Endpoint, Origin};
use taskwright_core::{Actor, Namespace, WebhookName};

use crate::cli::Context;
use crate::config::{Config, WebhookConfig};
use crate::error::Error;

/// Registers what the config file says, disables what it said before, and tells what that changed.
///
/// # Errors
///
/// When the store is out of order.
pub(super) async fn register(context: &Context, config: &Config) -> Result<(), Error> {
    let Some(Source::Config { file }) = config.origin() else { return Ok(()) };
    let webhooks = context.client_or_new().await?.webhooks();
    let namespace = context.namespace_or_default();
    let ours = Origin::Config { file: file.clone() };
    let mut named = BTreeSet::new();
    for (name, webhook) in &config.webhooks {
        let name = WebhookName::new(name)?;
        put(context, &webhooks, &namespace, &name, (webhook, &file)).await?;
        named.insert(name);
    }
    for view in webhooks.list(Some(&namespace)).await? {
        if view.endpoint.origin == ours && !named.contains(&view.name) {
            leave(context, &webhooks, &view).await?;
        }
    }
    Ok(())
}

/// Disables one that the config file does not have any more. It is not removed: what it has not been told yet would be lost for a
/// slip in the file.
async fn leave(context: &Context, webhooks: &Webhooks, view: &WebhookView) -> Result<(), Error> {
    let (name, now) = (&view.name, context.env.now());
    let gone = "the config file does not have it any more";
    let done = webhooks
        .update(&view.namespace, name, |endpoint| {
            // Who disabled it before had a reason of his own.
            endpoint.disabled.get_or_insert_with(|| Disabled {
                at: now,
                by: Actor::system(),
                reason: Some(gone.to_owned()),
                backlog: Backlog::Park,
                left_config: true,
            });
        })
        .await?;
    if done {
        context.output.note(format!("webhook {name} disabled, backlog parked: {gone}"));
        context.output.note(format!("  remove it with `taskwright webhooks remove {name}`"));
    }
    Ok(())
}

async fn put(
    context: &Context,
    webhooks: &Webhooks,
    namespace: &Namespace,
    name: &WebhookName,
    (config, file): (&WebhookConfig, &str),
) -> Result<(), Error> {
    let mut endpoint = Endpoint::new(config.url.clone(), webhooks.secret()?);
    config.apply(file, &mut endpoint);
    if webhooks.add(namespace, name, &endpoint).await? {
        context.output.note(format!("webhook {name} added: {}", config.url));
        if config.secret.is_none() {
            context.output.note(format!(
                "  its secret was made: see a new one with `taskwright webhooks rotate {name}`"
            ));
        }
        return Ok(());
    }
    let stored = webhooks.get(namespace, name).await?;
    let disabled = stored.and_then(|view| view.endpoint.disabled);
    let change = |endpoint: &mut Endpoint| {
        config.apply(file, endpoint);
        endpoint.disabled = endpoint.disabled.take().filter(|disabled| !disabled.left_config);
    };
    if webhooks.update(namespace, name, change).await? {
        context.output.note(match disabled.is_some_and(|disabled| disabled.left_config) {
            true => format!("webhook {name} enabled: the config file has it again"),
            false => format!("webhook {name} changed: {}", config.url),
        });
    }
    Ok(())
}
