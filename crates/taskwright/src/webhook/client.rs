//! What people do with endpoints.

use taskwright_core::generator::{Definition, Record};
use taskwright_core::webhook::{Backlog, Disabled, Endpoint, Origin, Progress, Secret};
use taskwright_core::{Actor, EventId, Namespace, Timestamp, WebhookName};
use taskwright_store::{
    DeliveryView, Error as StoreError, GeneratorKey, GeneratorWrite, NewGenerator, NewWebhook, ReadLog,
    RetrySet, Shape, SharedStore, StoredWebhook, WebhookWrite,
};

use crate::client::Client;
use crate::env::Env;
use crate::error::Error;

/// How often a change is tried again when a turn is written meanwhile.
const TRIES_MAX: usize = 32;
/// How many endpoints are read at once.
const PAGE: usize = 500;
/// Bytes of a secret that is made.
const SECRET_BYTES: usize = 32;

/// What people do with endpoints of webhooks. Made by [`Client::webhooks`].
///
/// # Example
///
/// ```
/// # use taskwright::core::webhook::Endpoint;
/// # use taskwright::{Client, Namespace};
/// # async fn example(client: Client) -> Result<(), taskwright::Error> {
/// let (webhooks, namespace) = (client.webhooks(), Namespace::default());
/// let endpoint = Endpoint::new("https://example.org/hook", webhooks.secret()?);
/// webhooks.add(&namespace, &"billing".parse()?, &endpoint).await?;
/// println!("{}", endpoint.secret.reveal());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Webhooks {
    store: SharedStore,
    env: Env,
}

/// An endpoint as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct WebhookView {
    /// Its tenant.
    pub namespace: Namespace,
    /// Its name.
    pub name: WebhookName,
    /// The endpoint.
    pub endpoint: Endpoint,
    /// How far it has come.
    pub progress: Progress,
    /// How its generator goes.
    pub record: Record,
    /// The generator that delivers to it.
    pub generator: GeneratorKey,
    /// Its retry set.
    pub retry_set: RetrySet,
    /// When it was added.
    pub created_at: Timestamp,
}

impl WebhookView {
    /// Reads what a store has.
    ///
    /// # Errors
    ///
    /// When a newer program wrote it that this one does not understand.
    pub fn read(stored: &StoredWebhook) -> Result<Self, Error> {
        let unknown = |why: String| {
            let (what, fix) =
                (format!("the webhook {}", stored.generator.name), "use the program that wrote it");
            taskwright_core::Error::unknown(
                what,
                format!("another version of this program wrote it: {why}"),
                fix,
            )
        };
        let by_json = |error: serde_json::Error| unknown(error.to_string());
        let name = WebhookName::of_generator(&stored.generator.name);
        Ok(Self {
            namespace: stored.generator.namespace.clone(),
            name: name.ok_or_else(|| unknown("its generator is called otherwise".to_owned()))?,
            endpoint: serde_json::from_str(&stored.definition).map_err(by_json)?,
            progress: serde_json::from_str(&stored.generator.state).map_err(by_json)?,
            record: serde_json::from_str(&stored.generator.record).map_err(by_json)?,
            generator: stored.generator.key,
            retry_set: stored.retry_set(),
            created_at: stored.generator.created_at,
        })
    }
}

impl Client {
    /// The endpoints of webhooks of the store.
    pub fn webhooks(&self) -> Webhooks {
        Webhooks { store: self.store().clone(), env: self.env().clone() }
    }
}

impl Webhooks {
    /// A new secret.
    ///
    /// # Errors
    ///
    /// Never: it has a length that is allowed.
    pub fn secret(&self) -> Result<Secret, Error> {
        let mut bytes = [0; SECRET_BYTES];
        self.env.fill(&mut bytes);
        Ok(Secret::from_bytes(&bytes)?)
    }

    /// Adds an endpoint, which is told of what happens from now on; `false` when there is one of that name.
    ///
    /// # Errors
    ///
    /// When the endpoint makes no sense, or the store is out of order.
    pub async fn add(
        &self,
        namespace: &Namespace,
        name: &WebhookName,
        endpoint: &Endpoint,
    ) -> Result<bool, Error> {
        let endpoint = endpoint.clone().checked()?;
        let cursor = self.store.log_head().await?;
        let progress = Progress { cursor, ..Progress::default() };
        let definition =
            Definition { namespace: namespace.clone(), ..Definition::new(name.generator()?) }.checked()?;
        let now = self.env.now();
        let generator = NewGenerator::first(&definition, &Record::new(now), in_json(&progress), now);
        Ok(self.store.add_webhook(now, NewWebhook { generator, shape: Shape::of(&endpoint) }).await?)
    }

    /// One endpoint.
    ///
    /// # Errors
    ///
    /// When the store is out of order, or the endpoint was written by a newer program that this one does not understand.
    pub async fn get(&self, namespace: &Namespace, name: &WebhookName) -> Result<Option<WebhookView>, Error> {
        let stored = self.store.webhook(namespace.clone(), name.generator()?).await?;
        stored.as_ref().map(WebhookView::read).transpose()
    }

    /// All endpoints, of one namespace or of all, in the order in which they were added.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub async fn list(&self, namespace: Option<&Namespace>) -> Result<Vec<WebhookView>, Error> {
        let mut views = Vec::new();
        let mut after = None;
        loop {
            let page = self.store.webhooks(namespace.cloned(), after, PAGE).await?;
            for stored in &page {
                views.push(WebhookView::read(stored)?);
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.generator.key),
                _ => return Ok(views),
            }
        }
    }

    /// The position of the newest event in the log: minus the cursor of an endpoint, how many events it may have to be told of
    /// at most.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub async fn head(&self) -> Result<i64, Error> {
        Ok(self.store.log_head().await?)
    }

    /// How many events behind the cursor of an endpoint are not kept any more, at most: it will never be told of them. A turn counts
    /// them as [missed](Progress::missed) and goes on behind them; one that is disabled has no turns.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub async fn gone(&self, view: &WebhookView) -> Result<u64, Error> {
        let drops = |disabled: &Disabled| disabled.backlog == Backlog::Drop;
        if view.endpoint.disabled.as_ref().is_some_and(drops) {
            return Ok(0);
        }
        let (namespace, topics) = (view.namespace.clone(), view.endpoint.topics.clone());
        let read = ReadLog { namespace, topics, after: view.progress.cursor, limit: 1, scan_max: 1 };
        Ok(self.store.read_log(read).await?.gone)
    }

    /// How many events an endpoint has in its retry set, those that wait for others of their key included; `limit` when there are more.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub async fn retry_count(&self, view: &WebhookView, limit: usize) -> Result<usize, Error> {
        Ok(self.store.retry_count(view.retry_set, limit).await?)
    }

    /// Changes what an endpoint is; `false` when that changed nothing.
    ///
    /// # Errors
    ///
    /// When there is no such endpoint ([`Error::is_not_found`]), it makes no sense, or the store is out of order.
    pub async fn update(
        &self,
        namespace: &Namespace,
        name: &WebhookName,
        change: impl Fn(&mut Endpoint),
    ) -> Result<bool, Error> {
        let now = self.env.now();
        self.change(namespace, name, |what| {
            let before = what.endpoint.clone();
            change(&mut what.endpoint);
            if what.endpoint.disabled.is_none() {
                // It listens no more: a turn has to look what there is under the new terms.
                what.record.poll_at = Some(now);
            }
            what.endpoint != before
        })
        .await
    }

    /// Signs with a new secret from now on, which is given; for 24 h with the old one, too.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    pub async fn rotate(&self, namespace: &Namespace, name: &WebhookName) -> Result<Secret, Error> {
        let (secret, now) = (self.secret()?, self.env.now());
        self.update(namespace, name, |endpoint| endpoint.rotate(now, secret.clone())).await?;
        Ok(secret)
    }

    /// Sends nothing more: once this has returned, at most what was under way is. What becomes of the backlog costs the same however
    /// large it is. `false` when that changed nothing.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    pub async fn disable(
        &self,
        namespace: &Namespace,
        name: &WebhookName,
        by: &Actor,
        reason: Option<&str>,
        backlog: Backlog,
    ) -> Result<bool, Error> {
        let now = self.env.now();
        let head = self.store.log_head().await?;
        self.change(namespace, name, |change| {
            let was = change.endpoint.disabled.as_ref().map(|disabled| disabled.backlog);
            let left = change.endpoint.disabled.as_ref().is_some_and(|disabled| disabled.left_config);
            if was == Some(backlog) && !left {
                return false;
            }
            let reason = reason.map(str::to_owned);
            let by = by.clone();
            change.endpoint.disabled = Some(Disabled { at: now, by, reason, backlog, left_config: false });
            change.record.poll_at = None;
            if backlog == Backlog::Drop {
                (change.progress.cursor, change.progress.full, change.drop_retries) = (head, false, true);
            }
            true
        })
        .await
    }

    /// Sends again, what was parked first, and forgives all failures. One that the config file does not have any more is as if somebody
    /// had added it from now on. `false` when that changed nothing.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    pub async fn enable(&self, namespace: &Namespace, name: &WebhookName) -> Result<bool, Error> {
        let now = self.env.now();
        let head = self.store.log_head().await?;
        self.change(namespace, name, |change| {
            let disabled = change.endpoint.disabled.take();
            let before = change.progress.breaker.clone();
            change.progress.breaker.reset();
            if disabled.as_ref().is_some_and(|disabled| disabled.backlog == Backlog::Drop) {
                change.progress.cursor = head;
            }
            if disabled.as_ref().is_some_and(|disabled| disabled.left_config) {
                change.endpoint.origin = Origin::ByHand;
            }
            change.record.poll_at = Some(now);
            disabled.is_some() || change.progress.breaker != before
        })
        .await
    }

    /// Delivers events again, or for the first time, whatever has become of them before; beside all others, and not in the order
    /// of keys. At most 1,000 in a call. Answers in their order whether there is such an event.
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    pub async fn redeliver(
        &self,
        namespace: &Namespace,
        name: &WebhookName,
        events: Vec<EventId>,
    ) -> Result<Vec<bool>, Error> {
        let view = self.get(namespace, name).await?.ok_or_else(|| Error::no_such_webhook(name))?;
        Ok(self.store.redeliver(self.env.now(), view.retry_set, events).await?)
    }

    /// What was tried, newest first, before the attempt of that number, at most `limit` (1,000).
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    pub async fn deliveries(
        &self,
        namespace: &Namespace,
        name: &WebhookName,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<DeliveryView>, Error> {
        let view = self.get(namespace, name).await?.ok_or_else(|| Error::no_such_webhook(name))?;
        Ok(self.store.deliveries(view.generator, before, limit).await?)
    }

    /// Removes an endpoint; `false` when there was none.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub async fn remove(&self, namespace: &Namespace, name: &WebhookName) -> Result<bool, Error> {
        match self.store.webhook(namespace.clone(), name.generator()?).await? {
            Some(stored) => Ok(self.store.remove_webhook(self.env.now(), stored.generator.key).await?),
            None => Ok(false),
        }
    }

    /// Changes an endpoint, unless there is nothing to change. A turn that is under way cannot commit after that.
    async fn change(
        &self,
        namespace: &Namespace,
        name: &WebhookName,
        change: impl Fn(&mut Change) -> bool,
    ) -> Result<bool, Error> {
        for _ in 0..TRIES_MAX {
            let stored = self.store.webhook(namespace.clone(), name.generator()?).await?;
            let stored = stored.ok_or_else(|| Error::no_such_webhook(name))?;
            let WebhookView { endpoint, progress, record, .. } = WebhookView::read(&stored)?;
            let before = endpoint.clone();
            let mut what = Change { endpoint, progress, record, drop_retries: false };
            if !change(&mut what) {
                return Ok(false);
            }
            let Change { endpoint, progress, record, drop_retries } = what;
            // Whatever it is, it can be disabled.
            let endpoint = if is_redefined(&before, &endpoint) { endpoint.checked()? } else { endpoint };
            let definition = Definition::new(stored.generator.name.clone());
            let now = self.env.now();
            let generator = GeneratorWrite {
                generator: stored.generator.key,
                version: stored.generator.version,
                paused: record.paused.is_some(),
                next: record.next_look(&definition, now),
                record: in_json(&record),
                state: None,
            };
            let (state, shape) = (Some(in_json(&progress)), Shape::of(&endpoint));
            let write = WebhookWrite { generator, state, shape, drop_retries };
            if self.store.write_webhook(now, write).await? {
                return Ok(true);
            }
        }
        let what = format!("the webhook {name}");
        Err(StoreError::unavailable(what, "it was written by others each time that it was changed").into())
    }
}

/// What is changed about an endpoint.
struct Change {
    endpoint: Endpoint,
    progress: Progress,
    record: Record,
    drop_retries: bool,
}

/// Whether more of an endpoint has changed than its secrets, and whether it is told.
fn is_redefined(before: &Endpoint, after: &Endpoint) -> bool {
    let (secret, old_secret) = (before.secret.clone(), before.old_secret.clone());
    let (disabled, origin) = (before.disabled.clone(), before.origin.clone());
    Endpoint { secret, old_secret, disabled, origin, ..after.clone() } != *before
}

/// Numbers, text and moments: nothing in it cannot be written.
fn in_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
