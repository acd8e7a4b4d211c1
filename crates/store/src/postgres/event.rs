//! Events, and who waits for them.

use taskwright_core::{Args, EventId, Namespace, Timestamp, Topic};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::query::walk_indexes;
use super::schedule::{self, page};
use super::session::{Session, Uuid, get, name};
use super::webhook;
use crate::error::Error;
use crate::event::{EventKey, NewEvent, StoredEvent};
use crate::schedule::{ScheduleWrite, Written};

/// New events, as parameters of [`EMIT`].
pub(super) struct Columns<'a> {
    ids: Vec<Uuid>,
    namespaces: Vec<&'a str>,
    topics: Vec<&'a str>,
    keys: Vec<Option<&'a str>>,
    payloads: Vec<&'a [u8]>,
    at: i64,
}

impl<'a> Columns<'a> {
    pub(super) fn of(now: Timestamp, events: &'a [NewEvent]) -> Self {
        Self {
            ids: events.iter().map(|event| Uuid::from(event.id)).collect(),
            namespaces: events.iter().map(|event| event.namespace.as_str()).collect(),
            topics: events.iter().map(|event| event.topic.as_str()).collect(),
            keys: events.iter().map(|event| event.key.as_deref()).collect(),
            payloads: events.iter().map(|event| event.payload.as_bytes()).collect(),
            at: now.as_micros(),
        }
    }

    pub(super) fn parameters(&self) -> [(&(dyn ToSql + Sync), Type); 6] {
        [
            (&self.ids, Type::UUID_ARRAY),
            (&self.namespaces, Type::TEXT_ARRAY),
            (&self.topics, Type::TEXT_ARRAY),
            (&self.keys, Type::TEXT_ARRAY),
            (&self.payloads, Type::BYTEA_ARRAY),
            (&self.at, Type::INT8),
        ]
    }
}

/// Stores events in a transaction that does something else besides.
pub(super) async fn emit(session: &mut Session<'_>, columns: &Columns<'_>) -> Result<(), Error> {
    session.hint = true;
    session.typed(EMIT, &columns.parameters()).await.map(drop)
}

/// Writes what schedules make of events, and that these are delivered; `false` when nothing of it may take place. See
/// [`EventStore::deliver`](crate::EventStore::deliver).
pub(super) async fn deliver(
    session: &mut Session<'_>,
    now: Timestamp,
    events: &[EventKey],
    writes: &[ScheduleWrite],
) -> Result<bool, Error> {
    let mut keys: Vec<i64> = events.iter().map(|key| key.0).collect();
    keys.sort_unstable();
    keys.dedup();
    // The events first, and in order: whoever delivers the same ones waits here, with nothing that anybody waits for.
    let delivered = session.execute(DELIVER, &[&keys]).await?;
    if delivered != keys.len() as u64 {
        return Ok(false);
    }
    let written = schedule::write(session, now, writes).await?;
    // Last, so that those who deliver others wait for no more than the end of the transaction.
    session.execute(webhook::APPEND, &[&keys, &now.as_micros()]).await?;
    session.hint = true;
    Ok(!written.contains(&Written::Stale))
}

/// A page of events. See [`EventStore::events`](crate::EventStore::events).
pub(super) async fn list(
    session: &mut Session<'_>,
    namespace: Option<&Namespace>,
    topic: Option<&Topic>,
    before: Option<EventKey>,
    limit: usize,
) -> Result<Vec<StoredEvent>, Error> {
    let (before, most) = (before.map_or(i64::MAX, |key| key.0), page(limit));
    walk_indexes(session).await?;
    let of = |condition: &str, order: &str| {
        format!("{EVENTS} WHERE {condition} ORDER BY {order} e.event DESC LIMIT $2")
    };
    // Each is the walk of an index, and names the whole order of it.
    let rows = match (namespace.map(Namespace::as_str), topic.map(Topic::as_str)) {
        (None, None) => session.all(&of("e.event < $1", ""), &[&before, &most]).await?,
        (Some(namespace), None) => {
            let find = of("e.event < $1 AND e.namespace = $3", "e.namespace DESC,");
            session.all(&find, &[&before, &most, &namespace]).await?
        }
        (None, Some(topic)) => {
            let find = of("e.event < $1 AND e.topic = $3", "e.topic DESC,");
            session.all(&find, &[&before, &most, &topic]).await?
        }
        (Some(namespace), Some(topic)) => {
            let find =
                of("e.event < $1 AND e.namespace = $3 AND e.topic = $4", "e.namespace DESC, e.topic DESC,");
            session.all(&find, &[&before, &most, &namespace, &topic]).await?
        }
    };
    rows.iter().map(read_event).collect()
}

/// Reads a row of [`UNDELIVERED`] or [`EVENTS`].
pub(super) fn read_event(row: &Row) -> Result<StoredEvent, Error> {
    Ok(StoredEvent {
        number: EventKey(get(row, 0)?),
        at: Timestamp::from_micros(get(row, 1)?),
        event: NewEvent {
            id: EventId::from(get::<Uuid>(row, 2)?),
            namespace: name(row, 3, Namespace::new)?,
            topic: name(row, 4, Topic::new)?,
            key: get(row, 5)?,
            payload: Args::from_store(get::<&[u8]>(row, 6)?.into()),
        },
        delivered: get(row, 7)?,
    })
}

pub(super) const EMIT: &str = "WITH new AS (
        INSERT INTO event (id, namespace, topic, key, payload, at)
        SELECT g.id, g.namespace, g.topic, g.key, g.payload, $6
        FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bytea[]) WITH ORDINALITY
            AS g (id, namespace, topic, key, payload, number)
        ORDER BY g.number
        ON CONFLICT (id) DO NOTHING RETURNING event)
    INSERT INTO event_due (event) SELECT n.event FROM new n";

pub(super) const UNDELIVERED: &str =
    "SELECT e.event, e.at, e.id, e.namespace, e.topic, e.key, e.payload, false
    FROM event_due d CROSS JOIN LATERAL (SELECT * FROM event e WHERE e.event = d.event LIMIT 1) e
    ORDER BY d.event LIMIT $1";

const DELIVER: &str = "DELETE FROM event_due WHERE event = ANY($1::bigint[])";

const EVENTS: &str = "SELECT e.event, e.at, e.id, e.namespace, e.topic, e.key, e.payload, d.event IS NULL
    FROM event e LEFT JOIN LATERAL (SELECT d.event FROM event_due d WHERE d.event = e.event LIMIT 1) d ON true";

/// Of the oldest that are delivered, which are those with the lowest keys, those that are old enough.
pub(super) const PRUNE: &str = "DELETE FROM event WHERE ctid = ANY(ARRAY(
        SELECT o.place FROM (
            SELECT e.ctid AS place, e.at FROM event e
            LEFT JOIN LATERAL (SELECT d.event FROM event_due d WHERE d.event = e.event LIMIT 1) d ON true
            WHERE d.event IS NULL ORDER BY e.event LIMIT $2 FOR UPDATE OF e SKIP LOCKED) o
        WHERE o.at < $1))";
/// How many that would be.
pub(super) const OLD_EVENTS: &str = "SELECT count(*) FROM (
        SELECT e.at FROM event e
        LEFT JOIN LATERAL (SELECT d.event FROM event_due d WHERE d.event = e.event LIMIT 1) d ON true
        WHERE d.event IS NULL ORDER BY e.event LIMIT $2) o WHERE o.at < $1";
