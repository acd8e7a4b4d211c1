//! Events: something happened that schedules may wait for.
//!
//! An event is stored when it is emitted, and delivered once: whoever delivers it reads the
//! [undelivered](EventStore::undelivered) ones, then the [listeners](EventStore::listeners), decides what each of these
//! makes of them, and [writes](EventStore::deliver) all of that in one transaction. A schedule that was registered before
//! an event was emitted is therefore among those that the event is offered to.

use taskwright_core::limit::EMIT_EVENTS_MAX;
use taskwright_core::{Args, Error as Refused, EventId, Namespace, Timestamp, Topic};

use crate::Reply;
use crate::error::Error;
use crate::schedule::{ScheduleWrite, StoredSchedule};

/// What a store does for events. Part of [`Store`](crate::Store).
///
/// # Errors
///
/// As for every call of a [`Store`](crate::Store).
pub trait EventStore: Send + Sync + 'static {
    /// Stores events, all or none. One whose id is stored already is left alone. At most
    /// [`EMIT_EVENTS_MAX`](taskwright_core::limit::EMIT_EVENTS_MAX).
    fn emit(&self, now: Timestamp, events: Vec<NewEvent>) -> Reply<'_, ()>;

    /// Events that have not been delivered, in the order of their insertion, at most `limit`.
    fn undelivered(&self, limit: usize) -> Reply<'_, Vec<StoredEvent>>;

    /// The schedules that events fire.
    fn listeners(&self) -> Reply<'_, Vec<StoredSchedule>>;

    /// Writes what schedules make of events, and that these are delivered: all, or when a write is
    /// [stale](crate::Written::Stale) or an event was delivered by somebody else nothing, and `false`.
    fn deliver(&self, now: Timestamp, events: Vec<EventKey>, writes: Vec<ScheduleWrite>) -> Reply<'_, bool>;

    /// Events of one namespace or of all, newest first, before the one of key `before`, at most `limit`.
    fn events(
        &self,
        namespace: Option<Namespace>,
        topic: Option<Topic>,
        before: Option<EventKey>,
        limit: usize,
    ) -> Reply<'_, Vec<StoredEvent>>;
}

/// Names an event to the store; later ones have higher keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventKey(pub i64);

/// An event that is about to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    /// The id, made by whoever emits it: emitting the same id twice stores one event.
    pub id: EventId,
    /// The tenant: only its schedules are offered the event.
    pub namespace: Namespace,
    /// What it is about.
    pub topic: Topic,
    /// What it is about more closely: schedules may merge events of one key while a job of theirs waits.
    pub key: Option<String>,
    /// What it carries: one JSON value, under the limits of a job's arguments.
    pub payload: Args,
}

/// An event as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredEvent {
    /// Its key.
    pub number: EventKey,
    /// When it was emitted.
    pub at: Timestamp,
    /// What was emitted.
    pub event: NewEvent,
    /// Whether it has been offered to the schedules.
    pub delivered: bool,
}

/// Refuses more than one call may emit: the same on every store.
pub(crate) fn check_events(events: &[NewEvent]) -> Result<(), Error> {
    if events.len() <= EMIT_EVENTS_MAX {
        return Ok(());
    }
    let refused = Refused::too_large(
        format!("{} events to emit", events.len()),
        format!("one call emits at most {EMIT_EVENTS_MAX}"),
        "emit them in several calls",
    );
    Err(refused.into())
}
