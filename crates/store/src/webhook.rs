//! Webhooks as a store keeps them: endpoints, what could not be delivered to them yet, and what was tried.
//!
//! An endpoint is a row beside the generator that delivers to it. Events are read from their log, from the position of the
//! endpoint's cursor on, which is part of the state of the generator. What a turn of that has done is written as an
//! [effect](WebhookTurn) of its commit: what was tried, and the retry set.

use taskwright_core::limit::EMIT_EVENTS_MAX;
use taskwright_core::outcome::Interest;
use taskwright_core::webhook::{DeliveryEnd, Endpoint, Topics};
use taskwright_core::{Error as Refused, EventId, GeneratorName, Namespace, Timestamp, Topic};

use crate::Reply;
use crate::error::Error;
use crate::event::{EventKey, StoredEvent};
use crate::generator::{GeneratorKey, GeneratorWrite, NewGenerator, StoredGenerator};

/// What a store does for webhooks. Part of [`Store`](crate::Store).
///
/// # Errors
///
/// As for every call of a [`Store`](crate::Store).
pub trait WebhookStore: Send + Sync + 'static {
    /// Stores an endpoint and the generator that delivers to it; `false`, and nothing is done, when there is a generator of that
    /// name.
    fn add_webhook(&self, now: Timestamp, webhook: NewWebhook) -> Reply<'_, bool>;

    /// Writes what somebody changed about an endpoint; `false`, and nothing is done, when the version of its generator is another.
    /// A turn of it that is under way cannot commit any more.
    fn write_webhook(&self, now: Timestamp, write: WebhookWrite) -> Reply<'_, bool>;

    /// Removes an endpoint and its generator; `false` when there was none. Its history stays for as long as history does.
    fn remove_webhook(&self, now: Timestamp, generator: GeneratorKey) -> Reply<'_, bool>;

    /// The endpoint that a generator delivers to.
    fn webhook(&self, namespace: Namespace, generator: GeneratorName) -> Reply<'_, Option<StoredWebhook>>;

    /// Endpoints of one namespace or of all, in the order in which they were added, after `after`, at most `limit`.
    fn webhooks(
        &self,
        namespace: Option<Namespace>,
        after: Option<GeneratorKey>,
        limit: usize,
    ) -> Reply<'_, Vec<StoredWebhook>>;

    /// The endpoints that have been told of everything and wait for more, with their topics as JSON.
    fn listening_webhooks(&self) -> Reply<'_, Vec<Listening>>;

    /// Gives the generators of these endpoints a notice: there is something for them. They listen no more.
    fn wake_webhooks(&self, now: Timestamp, generators: Vec<GeneratorKey>) -> Reply<'_, ()>;

    /// The position of the newest event in the log; 0 when there is none.
    fn log_head(&self) -> Reply<'_, i64>;

    /// Reads on in the log of events. An event that is emitted later never has a lower position than one that was read.
    fn read_log(&self, read: ReadLog) -> Reply<'_, LogPage>;

    /// The retry set of an endpoint: what is to be tried next first, at most `limit`. What waits for others is not among these.
    fn retries(&self, set: RetrySet, limit: usize) -> Reply<'_, Vec<StoredRetry>>;

    /// How many events there are in a retry set, those that wait for others included; `limit` when there are more.
    fn retry_count(&self, set: RetrySet, limit: usize) -> Reply<'_, usize>;

    /// Which of these keys have events in the retry set that the events behind have to wait for.
    fn waiting_keys(&self, set: RetrySet, keys: Vec<String>) -> Reply<'_, Vec<String>>;

    /// Puts events into the retry set, to be delivered now whatever has become of them, and gives the generator a notice. A turn that
    /// is under way changes nothing about that. Answers in their order whether there is such an event in the namespace of the endpoint. At most
    /// [`EMIT_EVENTS_MAX`](taskwright_core::limit::EMIT_EVENTS_MAX).
    fn redeliver(&self, now: Timestamp, set: RetrySet, events: Vec<EventId>) -> Reply<'_, Vec<bool>>;

    /// What was tried for an endpoint, newest first, before the one of that number, at most `limit`.
    fn deliveries(
        &self,
        generator: GeneratorKey,
        before: Option<u64>,
        limit: usize,
    ) -> Reply<'_, Vec<DeliveryView>>;
}

/// What a store has to know of an endpoint besides what it keeps as JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// As JSON: an [`Endpoint`].
    pub definition: String,
    /// As JSON: its topics.
    pub topics: String,
    /// Whose ends are to be told as events for it.
    pub outcomes: Vec<Interest>,
}

impl Shape {
    /// What a store has to know of this endpoint. One that is disabled and drops what it is not told wants no ends of jobs.
    pub fn of(endpoint: &Endpoint) -> Self {
        let drops = |disabled: &taskwright_core::webhook::Disabled| {
            disabled.backlog == taskwright_core::webhook::Backlog::Drop
        };
        let wants = !endpoint.disabled.as_ref().is_some_and(drops);
        Self {
            // Names, numbers and text: nothing in them cannot be written.
            definition: serde_json::to_string(endpoint).unwrap_or_default(),
            topics: serde_json::to_string(&endpoint.topics).unwrap_or_default(),
            outcomes: if wants { endpoint.topics.outcomes() } else { Vec::new() },
        }
    }
}

/// An endpoint that is about to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct NewWebhook {
    /// The generator that delivers to it. Its state says from which position of the log on.
    pub generator: NewGenerator,
    /// The endpoint.
    pub shape: Shape,
}

/// What somebody changes about an endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct WebhookWrite {
    /// Its generator, with the version that was read.
    pub generator: GeneratorWrite,
    /// The state of the generator; `None` leaves it.
    pub state: Option<String>,
    /// The endpoint.
    pub shape: Shape,
    /// Whether its retry set is dropped: whatever is in it, at once.
    pub drop_retries: bool,
}

/// An endpoint as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredWebhook {
    /// The generator that delivers to it.
    pub generator: StoredGenerator,
    /// The retry set that counts: sets before it were dropped.
    pub epoch: u64,
    /// Whether it waits to be told of new events.
    pub listens: bool,
    /// As JSON: an [`Endpoint`].
    pub definition: String,
}

impl StoredWebhook {
    /// Its retry set.
    pub fn retry_set(&self) -> RetrySet {
        RetrySet { generator: self.generator.key, epoch: self.epoch }
    }
}

/// An endpoint that waits for more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// The generator that delivers to it.
    pub generator: GeneratorKey,
    /// Its tenant.
    pub namespace: Namespace,
    /// As JSON: its [`Topics`].
    pub topics: String,
}

/// Names the retry set of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RetrySet {
    /// The generator that delivers to the endpoint.
    pub generator: GeneratorKey,
    /// Which of its sets.
    pub epoch: u64,
}

/// What is to be read from the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadLog {
    /// Events of this tenant,
    pub namespace: Namespace,
    /// of these topics,
    pub topics: Topics,
    /// behind this position;
    pub after: i64,
    /// at most so many,
    pub limit: usize,
    /// looking at no more than so many positions.
    pub scan_max: usize,
}

/// A part of the log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogPage {
    /// The events, in the order of their positions.
    pub events: Vec<(i64, StoredEvent)>,
    /// Up to where it was looked. Reading goes on behind it.
    pub scanned: i64,
    /// Whether that is the end.
    pub is_end: bool,
    /// Of how many positions, the first ones that were looked at, the events are not kept any more, whoever they were for. On SQLite
    /// some of these may never have had one.
    pub gone: u64,
}

/// An event of a retry set.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRetry {
    /// Its key.
    pub number: EventKey,
    /// The id of the event.
    pub id: EventId,
    /// What it is about.
    pub topic: Topic,
    /// The event; `None` when it is not kept any more.
    pub event: Option<StoredEvent>,
    /// Its position in the log: those of one key go in this order.
    pub position: i64,
    /// What events behind it wait for.
    pub key: Option<String>,
    /// Attempts so far.
    pub attempts: u32,
    /// When it is tried next.
    pub next_at: Timestamp,
}

impl StoredRetry {
    /// What was read of it.
    pub fn seen(&self) -> SeenRetry {
        SeenRetry { attempts: self.attempts, next_at: self.next_at }
    }
}

/// What was read of an event in a retry set: when it is otherwise by now, somebody has had it redelivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenRetry {
    /// Attempts by then.
    pub attempts: u32,
    /// When it was to be tried.
    pub next_at: Timestamp,
}

/// What one turn of an endpoint's generator has done.
#[derive(Clone, Debug, PartialEq)]
pub struct WebhookTurn {
    /// The retry set.
    pub set: RetrySet,
    /// What was tried, in that order.
    pub deliveries: Vec<NewDelivery>,
    /// What becomes of the retry set, in this order.
    pub retries: Vec<RetryWrite>,
    /// From where on the endpoint waits for more, if it does. When there is more by now, its generator gets a notice.
    pub listen: Option<ReadLog>,
    /// The endpoint, if the turn has changed it.
    pub shape: Option<Shape>,
}

/// What becomes of an event in a retry set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetryWrite {
    /// It comes there from the log, to be tried later, or when the one of its key before it is done with. When it was redelivered
    /// meanwhile it is tried as that says, and others wait for it from now on.
    Later {
        /// The event.
        event: EventKey,
        /// Its id.
        id: EventId,
        /// What it is about.
        topic: Topic,
        /// Its position in the log.
        position: i64,
        /// What events behind it wait for.
        key: Option<String>,
        /// Attempts so far.
        attempts: u32,
        /// When; `None` to wait for the one of its key before it.
        next_at: Option<Timestamp>,
    },
    /// It is tried once more, unless it is otherwise by now.
    Again {
        /// The event.
        event: EventKey,
        /// What was read of it.
        seen: SeenRetry,
        /// Attempts so far.
        attempts: u32,
        /// When.
        next_at: Timestamp,
    },
    /// It is done with, unless it is otherwise by now. The next of its key has its turn.
    Done {
        /// The event.
        event: EventKey,
        /// What events behind it wait for.
        key: Option<String>,
        /// What was read of it.
        seen: SeenRetry,
    },
}

/// An attempt to deliver an event.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NewDelivery {
    /// When.
    pub at: Timestamp,
    /// The event.
    pub event: EventId,
    /// What it is about.
    pub topic: Topic,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// How it ended.
    pub end: DeliveryEnd,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// Milliseconds until it ended.
    pub took_ms: u32,
    /// What went wrong.
    pub error: Option<String>,
    /// The beginning of the answer.
    pub answer: Option<String>,
}

/// An attempt as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeliveryView {
    /// Its number; later ones have higher numbers.
    pub number: u64,
    /// The attempt.
    #[serde(flatten)]
    pub delivery: NewDelivery,
}

/// Refuses more than one call may redeliver: the same on every store.
pub(crate) fn check_redelivery(events: &[EventId]) -> Result<(), Error> {
    if events.len() <= EMIT_EVENTS_MAX {
        return Ok(());
    }
    let refused = Refused::too_large(
        format!("{} events to redeliver", events.len()),
        format!("one call takes at most {EMIT_EVENTS_MAX}"),
        "redeliver them in several calls",
    );
    Err(refused.into())
}
