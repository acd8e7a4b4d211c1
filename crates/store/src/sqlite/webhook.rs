//! Endpoints of webhooks, what could not be delivered yet, and what was tried.
//!
//! Events become visible in the order of their keys, because one transaction at a time writes: the key of an event is its
//! position in the log.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use taskwright_core::outcome::Interest;
use taskwright_core::webhook::DeliveryEnd;
use taskwright_core::{EventId, GeneratorName, Kind, Namespace, Timestamp, Topic};

use super::SqliteStore;
use super::error::read_error;
use super::event::read_event;
use super::generator::{self, read_generator};
use super::schedule::{FORGET_INTERESTS, page, rows};
use super::session::{Session, name};
use crate::Reply;
use crate::error::Error;
use crate::event::EventKey;
use crate::generator::GeneratorKey;
use crate::subject::Subject;
use crate::webhook::{
    DeliveryView, Listening, LogPage, NewDelivery, NewWebhook, ReadLog, RetrySet, RetryWrite, Shape,
    StoredRetry, StoredWebhook, WebhookStore, WebhookTurn, WebhookWrite, check_redelivery,
};

impl WebhookStore for SqliteStore {
    fn add_webhook(&self, now: Timestamp, webhook: NewWebhook) -> Reply<'_, bool> {
        let about = self.writer.about(|| Subject::of_generators([&webhook.generator]));
        self.writer.write_about(about, move |session| {
            let NewWebhook { generator, shape } = &webhook;
            let Some(key) = generator::insert(session, now, generator)? else { return Ok(false) };
            session.execute(INSERT, params![key, shape.topics, shape.definition])?;
            note_interests(session, key, &shape.outcomes)?;
            session.hint = true;
            Ok(true)
        })
    }

    fn write_webhook(&self, _: Timestamp, write: WebhookWrite) -> Reply<'_, bool> {
        let about = self.writer.about(|| Subject::of_generator(write.generator.generator));
        self.writer.write_about(about, move |session| {
            let key = write.generator.generator.0;
            let epoch = session.first(EPOCH, [key], |row| row.get::<_, i64>(0))?;
            let Some(epoch) = epoch else { return Ok(false) };
            if !generator::rewrite(session, &write.generator, write.state.as_deref())? {
                return Ok(false);
            }
            if write.drop_retries {
                session.execute(DROP, (key, epoch))?;
            }
            session.execute(STOP_LISTENING, (key, epoch + i64::from(write.drop_retries)))?;
            reshape(session, key, &write.shape)?;
            session.hint = true;
            Ok(true)
        })
    }

    fn remove_webhook(&self, _: Timestamp, generator: GeneratorKey) -> Reply<'_, bool> {
        let about = self.writer.about(|| Subject::of_generator(generator));
        self.writer.write_about(about, move |session| {
            let epoch = session.first(EPOCH, [generator.0], |row| row.get::<_, i64>(0))?;
            let Some(epoch) = epoch else { return Ok(false) };
            session.execute(DROP, (generator.0, epoch))?;
            session.execute(REMOVE, [generator.0])?;
            session.execute(FORGET_INTERESTS, [-generator.0])?;
            generator::forget(session, generator)?;
            Ok(true)
        })
    }

    fn webhook(&self, namespace: Namespace, generator: GeneratorName) -> Reply<'_, Option<StoredWebhook>> {
        self.readers.read(move |conn| {
            let found = conn.prepare_cached(&by_name()).and_then(|mut find| {
                find.query_row((namespace.as_str(), generator.as_str()), read_webhook).optional()
            });
            found.map_err(read_error)
        })
    }

    fn webhooks(
        &self,
        namespace: Option<Namespace>,
        after: Option<GeneratorKey>,
        limit: usize,
    ) -> Reply<'_, Vec<StoredWebhook>> {
        self.readers.read(move |conn| {
            let (namespace, after) =
                (namespace.as_ref().map(Namespace::as_str), after.map_or(0, |key| key.0));
            rows(conn, &list(), params![after, namespace, page(limit)], read_webhook)
        })
    }

    fn listening_webhooks(&self) -> Reply<'_, Vec<Listening>> {
        self.readers.read(|conn| {
            rows(conn, LISTENING, [], |row| {
                let (generator, topics) = (GeneratorKey(row.get(0)?), row.get(2)?);
                Ok(Listening { generator, namespace: name(row, 1, Namespace::new)?, topics })
            })
        })
    }

    fn wake_webhooks(&self, now: Timestamp, generators: Vec<GeneratorKey>) -> Reply<'_, ()> {
        self.writer.write(move |session| {
            for key in &generators {
                if session.execute(WAKE, [key.0])? > 0 {
                    session.execute(generator::NOTIFY_KEY, (key.0, now.as_micros()))?;
                }
            }
            session.hint = true;
            Ok(())
        })
    }

    fn log_head(&self) -> Reply<'_, i64> {
        self.readers.read(|conn| Ok(rows(conn, HEAD, [], |row| row.get(0))?.first().copied().unwrap_or(0)))
    }

    fn read_log(&self, read: ReadLog) -> Reply<'_, LogPage> {
        self.readers.read(move |conn| read_log(conn, &read).map_err(read_error))
    }

    fn retries(&self, set: RetrySet, limit: usize) -> Reply<'_, Vec<StoredRetry>> {
        self.readers.read(move |conn| {
            rows(conn, RETRIES, params![set.generator.0, set.epoch, page(limit)], read_retry)
        })
    }

    fn retry_count(&self, set: RetrySet, limit: usize) -> Reply<'_, usize> {
        self.readers.read(move |conn| {
            let most = i64::try_from(limit).unwrap_or(i64::MAX);
            let counted = conn.prepare_cached(RETRY_COUNT).and_then(|mut count| {
                count.query_row(params![set.generator.0, set.epoch, most], |row| row.get(0))
            });
            counted.map_err(read_error)
        })
    }

    fn waiting_keys(&self, set: RetrySet, keys: Vec<String>) -> Reply<'_, Vec<String>> {
        self.readers.read(move |conn| {
            let mut find = conn.prepare_cached(WAITING).map_err(read_error)?;
            let mut waits =
                |key: &String| find.exists(params![set.generator.0, set.epoch, key]).map_err(read_error);
            let mut held = Vec::new();
            for key in keys {
                if waits(&key)? {
                    held.push(key);
                }
            }
            Ok(held)
        })
    }

    fn redeliver(&self, now: Timestamp, set: RetrySet, events: Vec<EventId>) -> Reply<'_, Vec<bool>> {
        self.writer.write(move |session| {
            check_redelivery(&events)?;
            let (generator, at) = (set.generator.0, now.as_micros());
            let mut done = Vec::with_capacity(events.len());
            for event in &events {
                let values = params![generator, set.epoch, event.as_bytes(), at];
                done.push(session.execute(REDELIVER, values)? > 0);
            }
            session.execute(generator::NOTIFY_KEY, (generator, at))?;
            session.hint = true;
            Ok(done)
        })
    }

    fn deliveries(
        &self,
        generator: GeneratorKey,
        before: Option<u64>,
        limit: usize,
    ) -> Reply<'_, Vec<DeliveryView>> {
        self.readers.read(move |conn| {
            let before = before.map_or(i64::MAX, |number| i64::try_from(number).unwrap_or(i64::MAX));
            rows(conn, DELIVERIES, params![generator.0, before, page(limit)], read_delivery)
        })
    }
}

/// Removes attempts of deliveries of before that moment and, with them, parts of retry sets that were dropped.
pub(super) fn collect(session: &mut Session<'_>, before: i64, limit: usize) -> Result<usize, Error> {
    let most = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let old = session.execute(PRUNE, (before, most(limit)))?;
    let dropped = session.execute(PRUNE_RETRIES, [most(limit - old)])?;
    if old + dropped < limit {
        session.execute(PRUNE_DROPPED, [])?;
    }
    Ok(old + dropped)
}

/// Writes what a turn of an endpoint's generator has done.
pub(super) fn write_turn(session: &mut Session<'_>, now: Timestamp, turn: &WebhookTurn) -> Result<(), Error> {
    let key = turn.set.generator.0;
    for one in &turn.deliveries {
        let values = params![
            key,
            one.at.as_micros(),
            one.event.as_bytes(),
            one.topic.as_str(),
            one.attempt,
            one.end.code(),
            one.status,
            one.took_ms,
            one.error,
            one.answer,
        ];
        session.execute(INSERT_DELIVERY, values)?;
    }
    for write in &turn.retries {
        write_retry(session, now, turn.set, write)?;
    }
    let mut listens = turn.listen.is_some();
    if let Some(read) = &turn.listen {
        let ahead = read_log(session.conn(), &ReadLog { limit: 1, ..read.clone() }).map_err(read_error)?;
        if !ahead.events.is_empty() || !ahead.is_end {
            listens = false;
            session.execute(generator::NOTE, [key])?;
        }
    }
    session.execute(LISTEN, (key, listens))?;
    match &turn.shape {
        Some(shape) => reshape(session, key, shape),
        None => Ok(()),
    }
}

fn write_retry(
    session: &mut Session<'_>,
    now: Timestamp,
    set: RetrySet,
    write: &RetryWrite,
) -> Result<(), Error> {
    let (generator, epoch) = (set.generator.0, set.epoch);
    match write {
        RetryWrite::Later { event, id, topic, position, key, attempts, next_at } => {
            let next_at = next_at.map(Timestamp::as_micros);
            let (event, id, topic) = (event.0, id.as_bytes(), topic.as_str());
            session.execute(
                LATER,
                params![generator, epoch, event, id, topic, position, key, attempts, next_at],
            )?;
        }
        RetryWrite::Again { event, seen, attempts, next_at } => {
            let (event, seen_at, next_at) = (event.0, seen.next_at.as_micros(), next_at.as_micros());
            let values = params![generator, epoch, event, seen.attempts, seen_at, attempts, next_at];
            session.execute(AGAIN, values)?;
        }
        RetryWrite::Done { event, key, seen } => {
            let values = params![generator, epoch, event.0, seen.attempts, seen.next_at.as_micros()];
            session.execute(DONE, values)?;
            if let Some(key) = key {
                session.execute(RELEASE, params![generator, epoch, key, now.as_micros()])?;
            }
        }
    }
    Ok(())
}

/// Writes what an endpoint is.
fn reshape(session: &mut Session<'_>, key: i64, shape: &Shape) -> Result<(), Error> {
    session.execute(RESHAPE, params![key, shape.topics, shape.definition])?;
    session.execute(FORGET_INTERESTS, [-key])?;
    note_interests(session, key, &shape.outcomes)
}

/// Notes whose ends are to be told for an endpoint, among those for schedules: under a number that no schedule has.
fn note_interests(session: &mut Session<'_>, key: i64, ends: &[Interest]) -> Result<(), Error> {
    for Interest { kind, state } in ends {
        let kind = kind.as_ref().map_or("", Kind::as_str);
        session.execute(NOTE_INTEREST, (key, kind, state.code()))?;
    }
    Ok(())
}

/// See [`WebhookStore::read_log`].
fn read_log(conn: &Connection, read: &ReadLog) -> rusqlite::Result<LogPage> {
    let bounds = (read.after, page(read.scan_max));
    let (first, last, looked): (Option<i64>, Option<i64>, i64) =
        conn.prepare_cached(LOG_END)?.query_row(bounds, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let gone: i64 = conn.prepare_cached(GONE)?.query_row([], |row| row.get(0))?;
    let gone_to = gone.min(first.map_or(i64::MAX, |first| first - 1)).max(read.after);
    let gone = (gone_to - read.after).unsigned_abs();
    let last = last.unwrap_or(gone_to);
    let mut find = conn.prepare_cached(LOG)?;
    let mut rows = find.query((read.after, last, read.namespace.as_str()))?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        if !read.topics.has(&name(row, 3, Topic::new)?) {
            continue;
        }
        let stored = read_event(row)?;
        events.push((stored.number.0, stored));
        if events.len() == read.limit {
            let scanned = events[events.len() - 1].0;
            return Ok(LogPage { events, scanned, is_end: false, gone });
        }
    }
    Ok(LogPage { events, scanned: last, is_end: looked < page(read.scan_max), gone })
}

fn read_webhook(row: &Row<'_>) -> rusqlite::Result<StoredWebhook> {
    let generator = read_generator(row)?;
    Ok(StoredWebhook { generator, epoch: row.get(14)?, listens: row.get(15)?, definition: row.get(16)? })
}

/// Reads what [`RETRIES`] gives: an event, as far as it is there, and its row in the retry set.
fn read_retry(row: &Row<'_>) -> rusqlite::Result<StoredRetry> {
    let is_kept = row.get::<_, Option<i64>>(0)?.is_some();
    Ok(StoredRetry {
        number: EventKey(row.get(8)?),
        event: if is_kept { Some(read_event(row)?) } else { None },
        position: row.get(9)?,
        key: row.get(10)?,
        attempts: row.get(11)?,
        next_at: Timestamp::from_micros(row.get(12)?),
        id: EventId::from_bytes(row.get(13)?),
        topic: name(row, 14, Topic::new)?,
    })
}

fn read_delivery(row: &Row<'_>) -> rusqlite::Result<DeliveryView> {
    let code: u8 = row.get(5)?;
    let end = DeliveryEnd::from_code(code).ok_or_else(|| {
        rusqlite::Error::FromSqlConversionFailure(5, Type::Integer, "it is no end of a delivery".into())
    })?;
    Ok(DeliveryView {
        number: row.get(0)?,
        delivery: NewDelivery {
            at: Timestamp::from_micros(row.get(1)?),
            event: EventId::from_bytes(row.get(2)?),
            topic: name(row, 3, Topic::new)?,
            attempt: row.get(4)?,
            end,
            status: row.get(6)?,
            took_ms: row.get(7)?,
            error: row.get(8)?,
            answer: row.get(9)?,
        },
    })
}

fn by_name() -> String {
    format!("{} WHERE g.namespace = ?1 AND g.name = ?2", webhook_query())
}

fn list() -> String {
    format!(
        "{} WHERE w.generator > ?1 AND (?2 IS NULL OR g.namespace = ?2) ORDER BY w.generator LIMIT ?3",
        webhook_query()
    )
}

fn webhook_query() -> String {
    let columns = generator::COLUMNS.split(',').map(|column| format!("g.{}", column.trim()));
    format!(
        "SELECT {}, w.epoch, w.listens, w.definition
         FROM taskwright_webhook w JOIN taskwright_generator g ON g.generator = w.generator",
        columns.collect::<Vec<_>>().join(", ")
    )
}

const INSERT: &str = "INSERT INTO taskwright_webhook (generator, epoch, listens, topics, definition)
     VALUES (?1, 1, 0, ?2, ?3)";
/// What an endpoint is.
pub(super) const ENDPOINT: &str = "SELECT definition FROM taskwright_webhook WHERE generator = ?1";
const EPOCH: &str = "SELECT epoch FROM taskwright_webhook WHERE generator = ?1";
const DROP: &str = "INSERT INTO taskwright_retry_dropped (generator, epoch) VALUES (?1, ?2)";
const STOP_LISTENING: &str = "UPDATE taskwright_webhook SET listens = 0, epoch = ?2 WHERE generator = ?1";
const RESHAPE: &str = "UPDATE taskwright_webhook SET topics = ?2, definition = ?3 WHERE generator = ?1";
const REMOVE: &str = "DELETE FROM taskwright_webhook WHERE generator = ?1";
const NOTE_INTEREST: &str = "INSERT INTO taskwright_interest (state, namespace, kind, schedule)
     SELECT ?3, namespace, ?2, -generator FROM taskwright_generator WHERE generator = ?1";
pub(super) const LISTENING: &str = "SELECT w.generator, g.namespace, w.topics
     FROM taskwright_webhook w CROSS JOIN taskwright_generator g ON g.generator = w.generator
     WHERE w.listens AND w.generator > 0 ORDER BY w.generator";
const WAKE: &str = "UPDATE taskwright_webhook SET listens = 0 WHERE generator = ?1";
const LISTEN: &str = "UPDATE taskwright_webhook SET listens = ?2 WHERE generator = ?1 AND listens <> ?2";
const HEAD: &str =
    "SELECT max(position, coalesce((SELECT event FROM taskwright_event ORDER BY event DESC LIMIT 1), 0))
     FROM taskwright_log_gone WHERE single = 1";
/// Up to which key events are not kept any more; some below it may be, which were not old enough.
pub(super) const GONE: &str = "SELECT position FROM taskwright_log_gone WHERE single = 1";
pub(super) const NOTE_GONE: &str =
    "UPDATE taskwright_log_gone SET position = max(position, ?1) WHERE single = 1";
pub(super) const LOG_END: &str = "SELECT min(event), max(event), count(*)
     FROM (SELECT event FROM taskwright_event WHERE event > ?1 ORDER BY event LIMIT ?2)";
pub(super) const LOG: &str = "SELECT e.event, e.id, e.namespace, e.topic, e.key, e.emitted_at, e.payload,
            NOT EXISTS (SELECT 1 FROM taskwright_undelivered u WHERE u.event = e.event)
     FROM taskwright_event e WHERE e.event > ?1 AND e.event <= ?2 AND e.namespace = ?3 ORDER BY e.event";
pub(super) const RETRIES: &str =
    "SELECT e.event, e.id, e.namespace, e.topic, e.key, e.emitted_at, e.payload, true,
            r.event, r.position, r.key, r.attempts, r.next_at, r.id, r.topic
     FROM taskwright_retry r LEFT JOIN taskwright_event e ON e.event = r.event
     WHERE r.generator = ?1 AND r.epoch = ?2 AND r.next_at IS NOT NULL ORDER BY r.next_at, r.event LIMIT ?3";
pub(super) const RETRY_COUNT: &str = "SELECT count(*) FROM (
        SELECT 1 FROM taskwright_retry WHERE generator = ?1 AND epoch = ?2 LIMIT ?3)";
pub(super) const WAITING: &str =
    "SELECT 1 FROM taskwright_retry WHERE generator = ?1 AND epoch = ?2 AND key IS NOT NULL AND key = ?3";
const REDELIVER: &str =
    "INSERT INTO taskwright_retry (generator, epoch, event, id, topic, position, key, attempts, next_at)
     SELECT w.generator, w.epoch, e.event, e.id, e.topic, e.event, NULL, 0, ?4
     FROM taskwright_webhook w JOIN taskwright_generator g ON g.generator = w.generator
     JOIN taskwright_event e ON e.id = ?3 AND e.namespace = g.namespace
     WHERE w.generator = ?1 AND w.epoch = ?2
     ON CONFLICT (generator, epoch, event) DO UPDATE SET attempts = 0, next_at = excluded.next_at";
pub(super) const LATER: &str =
    "INSERT INTO taskwright_retry (generator, epoch, event, id, topic, position, key, attempts, next_at)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
     ON CONFLICT (generator, epoch, event) DO UPDATE SET position = excluded.position, key = excluded.key";
pub(super) const AGAIN: &str = "UPDATE taskwright_retry SET attempts = ?6, next_at = ?7
     WHERE generator = ?1 AND epoch = ?2 AND event = ?3 AND attempts = ?4 AND next_at = ?5";
pub(super) const DONE: &str = "DELETE FROM taskwright_retry
     WHERE generator = ?1 AND epoch = ?2 AND event = ?3 AND attempts = ?4 AND next_at = ?5";
pub(super) const RELEASE: &str = "UPDATE taskwright_retry SET next_at = coalesce(next_at, ?4)
     WHERE generator = ?1 AND epoch = ?2 AND event = (
        SELECT event FROM taskwright_retry WHERE generator = ?1 AND epoch = ?2 AND key IS NOT NULL AND key = ?3
        ORDER BY position LIMIT 1)";
const INSERT_DELIVERY: &str = "INSERT INTO taskwright_delivery
        (generator, at, event, topic, attempt, ended, status, took_ms, error, answer)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
pub(super) const DELIVERIES: &str =
    "SELECT delivery, at, event, topic, attempt, ended, status, took_ms, error, answer
     FROM taskwright_delivery WHERE generator = ?1 AND delivery < ?2 ORDER BY delivery DESC LIMIT ?3";
/// The oldest are those with the lowest numbers, so that the walk ends soon.
pub(super) const PRUNE: &str = "DELETE FROM taskwright_delivery WHERE delivery IN (
        SELECT delivery FROM (
            SELECT delivery, at FROM taskwright_delivery WHERE delivery > 0 ORDER BY delivery LIMIT ?2)
        WHERE at < ?1)";
pub(super) const OLD: &str = "SELECT count(*) FROM (
        SELECT delivery, at FROM taskwright_delivery WHERE delivery > 0 ORDER BY delivery LIMIT ?2)
     WHERE at < ?1";
pub(super) const OLD_RETRIES: &str = "SELECT count(*) FROM (
        SELECT 1 FROM taskwright_retry_dropped d
        CROSS JOIN taskwright_retry r ON r.generator = d.generator AND r.epoch = d.epoch
        WHERE ?1 IS NOT NULL LIMIT ?2)";
pub(super) const PRUNE_RETRIES: &str = "DELETE FROM taskwright_retry WHERE (generator, epoch, event) IN (
        SELECT r.generator, r.epoch, r.event
        FROM taskwright_retry_dropped d CROSS JOIN taskwright_retry r ON r.generator = d.generator AND r.epoch = d.epoch
        WHERE d.generator > 0 LIMIT ?1)";
const PRUNE_DROPPED: &str = "DELETE FROM taskwright_retry_dropped AS d
     WHERE NOT EXISTS (SELECT 1 FROM taskwright_retry r WHERE r.generator = d.generator AND r.epoch = d.epoch)";
