//! The endpoints of the config file, registered when a process that delivers to them starts.

use std::collections::BTreeSet;

use taskwright::webhook::Webhooks;
use taskwright_core::webhook::{Endpoint, Origin};
use taskwright_core::{Namespace, WebhookName};

use crate::cli::Context;
use crate::config::WebhookConfig;
use crate::error::Error;

/// Registers what the config file says, removes what it said before, and tells what that changed.
///
/// # Errors
///
/// When the store is out of order.
pub(super) async fn register(context: &Context) -> Result<(), Error> {
    if context.config.file.is_none() {
        return Ok(());
    }
    let webhooks = context.client_or_new().await?.webhooks();
    let namespace = context.namespace_or_default();
    let mut named = BTreeSet::new();
    for (name, config) in &context.config.webhooks {
        let name = WebhookName::new(name)?;
        put(context, &webhooks, &namespace, &name, config).await?;
        named.insert(name);
    }
    for view in webhooks.list(Some(&namespace)).await? {
        if view.endpoint.origin == Origin::Config && !named.contains(&view.name) {
            webhooks.remove(&namespace, &view.name).await?;
            let name = &view.name;
            context.output.note(format!("webhook {name} removed: the config file does not have it any more"));
        }
    }
    Ok(())
}

async fn put(
    context: &Context,
    webhooks: &Webhooks,
    namespace: &Namespace,
    name: &WebhookName,
    config: &WebhookConfig,
) -> Result<(), Error> {
    let mut endpoint = Endpoint::new(config.url.clone(), webhooks.secret()?);
    config.apply(&mut endpoint);
    if webhooks.add(namespace, name, &endpoint).await? {
        context.output.note(format!("webhook {name} added: {}", config.url));
        if config.secret.is_none() {
            context.output.note(format!(
                "  its secret was made: see a new one with `taskwright webhooks rotate {name}`"
            ));
        }
        return Ok(());
    }
    if webhooks.update(namespace, name, |endpoint| config.apply(endpoint)).await? {
        context.output.note(format!("webhook {name} changed: {}", config.url));
    }
    Ok(())
}
