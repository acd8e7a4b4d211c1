//! The generators `webhook:NAME`, which deliver.

use std::sync::Arc;

use taskwright_core::generator::Definition;
use taskwright_core::webhook::{Endpoint, GENERATOR_PREFIX, Progress, RETRIES_MAX};
use taskwright_store::SharedStore;

use super::message::Courier;
use super::turn::Turn;
use crate::env::Env;
use crate::generator::{Family, Generator, Next, Poll, PollError, Polled};

/// Endpoints that one node sends to at a time: they mostly wait for somebody.
const TURNS_MAX: usize = 64;

/// Delivers to the endpoints of webhooks: for the [generators](crate::generator::GeneratorSet::with_family) of a node.
pub struct WebhookFamily<C>(Arc<Shared<C>>);

/// What all have in common.
pub(super) struct Shared<C> {
    pub(super) store: SharedStore,
    pub(super) env: Env,
    pub(super) courier: C,
    /// Events that the retry set of an endpoint may have.
    pub(super) retries_max: usize,
}

impl<C: Courier> WebhookFamily<C> {
    /// Delivers what is in this store, by this courier.
    pub fn new(store: SharedStore, env: Env, courier: C) -> Self {
        Self(Arc::new(Shared { store, env, courier, retries_max: RETRIES_MAX }))
    }

    /// Lets the retry set of an endpoint have so many events before its cursor stands still, instead of [`RETRIES_MAX`]; at least one.
    #[must_use]
    pub fn with_retries_max(mut self, retries_max: usize) -> Self {
        // It is shared once it has made something.
        if let Some(shared) = Arc::get_mut(&mut self.0) {
            shared.retries_max = retries_max.max(1);
        }
        self
    }
}

impl<C: Courier> Family for WebhookFamily<C> {
    type Member = Delivering<C>;

    fn prefix(&self) -> &str {
        GENERATOR_PREFIX
    }

    fn make(&self, definition: &Definition) -> Result<Delivering<C>, PollError> {
        Ok(Delivering { shared: Arc::clone(&self.0), definition: definition.clone() })
    }

    fn turns_max(&self) -> usize {
        TURNS_MAX
    }
}

/// The generator of one endpoint. It makes no items: a poll sends.
pub struct Delivering<C> {
    shared: Arc<Shared<C>>,
    definition: Definition,
}

impl<C: Courier> Generator for Delivering<C> {
    fn name(&self) -> &str {
        self.definition.name.as_str()
    }

    async fn poll(&self, poll: Poll) -> Result<Polled, PollError> {
        let Definition { namespace, name, .. } = &self.definition;
        let Some(stored) = self.shared.store.webhook(namespace.clone(), name.clone()).await? else {
            return Ok(Polled::new(Vec::new(), poll.state, Next::Notified));
        };
        let endpoint: Endpoint = serde_json::from_str(&stored.definition)?;
        if endpoint.disabled.is_some() {
            return Ok(Polled::new(Vec::new(), poll.state, Next::Notified));
        }
        let progress: Progress = serde_json::from_value(poll.state)?;
        Turn::new(&self.shared, namespace.clone(), stored.retry_set(), endpoint, progress).run().await
    }
}
