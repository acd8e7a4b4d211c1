//! Events, and who waits for them.

use rusqlite::{Row, params};
use taskwright_core::{Args, EventId, Namespace, Timestamp, Topic};

use super::SqliteStore;
use super::schedule::{LISTENERS, is_fresh, page, read_schedule, rows, write};
use super::session::{Session, name};
use super::webhook::NOTE_GONE;
use crate::Reply;
use crate::error::Error;
use crate::event::{EventKey, EventStore, NewEvent, StoredEvent, check_events};
use crate::schedule::{ScheduleWrite, StoredSchedule};

impl EventStore for SqliteStore {
    fn emit(&self, now: Timestamp, events: Vec<NewEvent>) -> Reply<'_, ()> {
        self.writer.write(move |session| emit(session, now, &events))
    }

    fn undelivered(&self, limit: usize) -> Reply<'_, Vec<StoredEvent>> {
        self.readers.read(move |conn| rows(conn, UNDELIVERED, [page(limit)], read_event))
    }

    fn listeners(&self) -> Reply<'_, Vec<StoredSchedule>> {
        self.readers.read(|conn| rows(conn, LISTENERS, [], read_schedule))
    }

    fn deliver(&self, now: Timestamp, events: Vec<EventKey>, writes: Vec<ScheduleWrite>) -> Reply<'_, bool> {
        self.writer.write(move |session| deliver(session, now, &events, &writes))
    }

    fn events(
        &self,
        namespace: Option<Namespace>,
        topic: Option<Topic>,
        before: Option<EventKey>,
        limit: usize,
    ) -> Reply<'_, Vec<StoredEvent>> {
        self.readers.read(move |conn| {
            let before = before.map_or(i64::MAX, |key| key.0);
            let (namespace, topic) =
                (namespace.as_ref().map(Namespace::as_str), topic.as_ref().map(Topic::as_str));
            rows(conn, EVENTS, params![before, namespace, topic, page(limit)], read_event)
        })
    }
}

/// Stores events. See [`EventStore::emit`].
pub(super) fn emit(session: &mut Session<'_>, now: Timestamp, events: &[NewEvent]) -> Result<(), Error> {
    check_events(events)?;
    for event in events {
        let values = (
            event.id.as_bytes(),
            event.namespace.as_str(),
            event.topic.as_str(),
            event.key.as_deref(),
            now.as_micros(),
            event.payload.as_bytes(),
        );
        let number: Option<i64> = session.first(INSERT, values, |row| row.get(0))?;
        if let Some(number) = number {
            session.execute("INSERT INTO taskwright_undelivered (event) VALUES (?1)", [number])?;
        }
    }
    session.hint = true;
    Ok(())
}

fn deliver(
    session: &mut Session<'_>,
    now: Timestamp,
    events: &[EventKey],
    writes: &[ScheduleWrite],
) -> Result<bool, Error> {
    // Everything is looked at before anything is written: what is stale changes nothing.
    for event in events {
        let waits =
            session.first("SELECT 1 FROM taskwright_undelivered WHERE event = ?1", [event.0], |_| Ok(()))?;
        if waits.is_none() {
            return Ok(false);
        }
    }
    for one in writes {
        if !is_fresh(session, &one.target)? {
            return Ok(false);
        }
    }
    for one in writes {
        write(session, now, one)?;
    }
    for event in events {
        session.execute("DELETE FROM taskwright_undelivered WHERE event = ?1", [event.0])?;
    }
    Ok(true)
}

/// Removes events that were delivered, of before that moment, and notes how far.
pub(super) fn collect(session: &mut Session<'_>, before: i64, limit: i64) -> Result<usize, Error> {
    let gone: Vec<i64> = session.all(PRUNE, (before, limit), |row| row.get(0))?;
    if let Some(last) = gone.iter().max() {
        session.execute(NOTE_GONE, [last])?;
    }
    Ok(gone.len())
}

pub(super) fn read_event(row: &Row<'_>) -> rusqlite::Result<StoredEvent> {
    Ok(StoredEvent {
        number: EventKey(row.get(0)?),
        at: Timestamp::from_micros(row.get(5)?),
        event: NewEvent {
            id: EventId::from_bytes(row.get(1)?),
            namespace: name(row, 2, Namespace::new)?,
            topic: name(row, 3, Topic::new)?,
            key: row.get(4)?,
            payload: Args::from_store(row.get_ref(6)?.as_blob()?.into()),
        },
        delivered: row.get(7)?,
    })
}

pub(super) const INSERT: &str =
    "INSERT INTO taskwright_event (id, namespace, topic, key, emitted_at, payload)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (id) DO NOTHING RETURNING event";
pub(super) const UNDELIVERED: &str =
    "SELECT e.event, e.id, e.namespace, e.topic, e.key, e.emitted_at, e.payload, false
     FROM taskwright_undelivered u CROSS JOIN taskwright_event e ON e.event = u.event ORDER BY u.event LIMIT ?1";
pub(super) const EVENTS: &str = "SELECT e.event, e.id, e.namespace, e.topic, e.key, e.emitted_at, e.payload,
            NOT EXISTS (SELECT 1 FROM taskwright_undelivered u WHERE u.event = e.event)
     FROM taskwright_event e
     WHERE e.event < ?1 AND (?2 IS NULL OR e.namespace = ?2) AND (?3 IS NULL OR e.topic = ?3)
     ORDER BY e.event DESC LIMIT ?4";
/// The oldest are those with the lowest keys, so that the walk ends soon; what is not delivered is passed over.
pub(super) const PRUNE: &str = "DELETE FROM taskwright_event WHERE event IN (
        SELECT event FROM (
            SELECT e.event, e.emitted_at FROM taskwright_event e
            WHERE e.event > 0 AND NOT EXISTS (SELECT 1 FROM taskwright_undelivered u WHERE u.event = e.event)
            ORDER BY e.event LIMIT ?2)
        WHERE emitted_at < ?1) RETURNING event";
/// How many that would be.
pub(super) const OLD_EVENTS: &str = "SELECT count(*) FROM (
        SELECT e.event, e.emitted_at FROM taskwright_event e
        WHERE e.event > 0 AND NOT EXISTS (SELECT 1 FROM taskwright_undelivered u WHERE u.event = e.event)
        ORDER BY e.event LIMIT ?2)
    WHERE emitted_at < ?1";
