//! Endpoints of webhooks, what could not be delivered yet, and what was tried.
//!
//! Whoever writes an endpoint has its generator first, and several in the order of their keys. A turn that is about to listen
//! holds the head of the log, so that no event can be put into it that neither the turn sees nor the one who wakes listeners.

use std::mem::discriminant;

use taskwright_core::outcome::Interest;
use taskwright_core::webhook::DeliveryEnd;
use taskwright_core::{EventId, GeneratorName, Kind, Namespace, Timestamp, Topic};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::event::read_event;
use super::generator::{self, read_generator, signed};
use super::schedule::{FORGET_INTERESTS, page};
use super::session::{Session, Uuid, code, count, get, name, sql_code, sql_count, vanished};
use crate::error::Error;
use crate::event::EventKey;
use crate::generator::GeneratorKey;
use crate::webhook::{
    DeliveryView, Listening, LogPage, NewDelivery, NewWebhook, ReadLog, RetrySet, RetryWrite, SeenRetry,
    Shape, StoredRetry, StoredWebhook, WebhookTurn, WebhookWrite,
};

/// See [`WebhookStore::add_webhook`](crate::WebhookStore::add_webhook).
pub(super) async fn add(
    session: &mut Session<'_>,
    now: Timestamp,
    webhook: &NewWebhook,
) -> Result<bool, Error> {
    let NewWebhook { generator, shape } = webhook;
    let Some(key) = generator::insert(session, now, generator).await? else { return Ok(false) };
    session.execute(INSERT, &[&key, &shape.topics, &shape.definition]).await?;
    note_interests(session, key, &shape.outcomes).await?;
    session.hint = true;
    Ok(true)
}

/// See [`WebhookStore::write_webhook`](crate::WebhookStore::write_webhook).
pub(super) async fn write(session: &mut Session<'_>, write: &WebhookWrite) -> Result<bool, Error> {
    let key = write.generator.generator.0;
    // The generator first, as a turn does.
    if !generator::rewrite(session, &write.generator, write.state.as_deref()).await? {
        return Ok(false);
    }
    let Some(row) = session.first(EPOCH, &[&key]).await? else { return Ok(false) };
    let epoch: i64 = get(&row, 0)?;
    if write.drop_retries {
        session.execute(DROP, &[&key, &epoch]).await?;
    }
    session.execute(STOP_LISTENING, &[&key, &(epoch + i64::from(write.drop_retries))]).await?;
    reshape(session, key, &write.shape).await?;
    session.hint = true;
    Ok(true)
}

/// See [`WebhookStore::remove_webhook`](crate::WebhookStore::remove_webhook).
pub(super) async fn remove(session: &mut Session<'_>, generator: GeneratorKey) -> Result<bool, Error> {
    let key = generator.0;
    session.execute(LOCK, &[&vec![key]]).await?;
    let Some(row) = session.first(EPOCH, &[&key]).await? else { return Ok(false) };
    session.execute(DROP, &[&key, &get::<i64>(&row, 0)?]).await?;
    session.execute(REMOVE, &[&key]).await?;
    session.execute(FORGET_INTERESTS, &[&vec![-key]]).await?;
    generator::forget(session, generator).await?;
    Ok(true)
}

/// See [`WebhookStore::webhook`](crate::WebhookStore::webhook).
pub(super) async fn find(
    session: &mut Session<'_>,
    namespace: &Namespace,
    generator: &GeneratorName,
) -> Result<Option<StoredWebhook>, Error> {
    let sql = format!("{} WHERE g.namespace = $1 AND g.name = $2", webhook_query());
    let row = session.first(&sql, &[&namespace.as_str(), &generator.as_str()]).await?;
    row.as_ref().map(read_webhook).transpose()
}

/// See [`WebhookStore::webhooks`](crate::WebhookStore::webhooks).
pub(super) async fn list(
    session: &mut Session<'_>,
    namespace: Option<&Namespace>,
    after: Option<GeneratorKey>,
    limit: usize,
) -> Result<Vec<StoredWebhook>, Error> {
    let (after, most) = (after.map_or(0, |key| key.0), page(limit));
    let namespace = namespace.map(Namespace::as_str);
    let sql = format!(
        "{} WHERE w.generator > $1 AND ($3::text IS NULL OR g.namespace = $3) ORDER BY w.generator LIMIT $2",
        webhook_query()
    );
    let rows = session.all(&sql, &[&after, &most, &namespace]).await?;
    rows.iter().map(read_webhook).collect()
}

/// Reads a row of [`LISTENING`].
pub(super) fn read_listening(row: &Row) -> Result<Listening, Error> {
    let (generator, namespace) = (GeneratorKey(get(row, 0)?), name(row, 1, Namespace::new)?);
    Ok(Listening { generator, namespace, topics: get(row, 2)? })
}

/// See [`WebhookStore::wake_webhooks`](crate::WebhookStore::wake_webhooks).
pub(super) async fn wake(
    session: &mut Session<'_>,
    now: Timestamp,
    generators: &[GeneratorKey],
) -> Result<(), Error> {
    let keys: Vec<i64> = generators.iter().map(|key| key.0).collect();
    session.execute(LOCK, &[&keys]).await?;
    session.execute(generator::NOTIFY_KEYS, &[&keys, &now.as_micros()]).await?;
    session.execute(WAKE, &[&keys]).await?;
    session.hint = true;
    Ok(())
}

/// What [`LOG`] gives.
pub(super) fn read_page(rows: &[Row], read: &ReadLog) -> Result<LogPage, Error> {
    let Some(first) = rows.first() else {
        return Ok(LogPage { scanned: read.after, is_end: true, ..LogPage::default() });
    };
    let (begins, ends) = (get::<Option<i64>>(first, 9)?, get::<Option<i64>>(first, 10)?);
    let (looked, head) = (get::<i64>(first, 11)?, get::<i64>(first, 12)?);
    // There are no gaps between positions: what is not there any more was.
    let mut gone_to = begins.map_or(head, |begins| begins - 1).max(read.after);
    let last = ends.unwrap_or(gone_to);
    let mut events = Vec::new();
    let mut at = read.after;
    let mut begin_so = 0;
    for row in rows {
        let Some(position) = get::<Option<i64>>(row, 8)? else { continue };
        if get::<Option<i64>>(row, 0)?.is_some() {
            let stored = read_event(row)?;
            if read.topics.has(&stored.event.topic) {
                events.push((position, stored));
            }
        } else if position == gone_to + 1 {
            gone_to = position;
        } else {
            // The next page begins with it.
            let gone = (gone_to - read.after).unsigned_abs();
            return Ok(LogPage { events, scanned: position - 1, is_end: false, gone });
        }
        (at, begin_so) = (position, begin_so + 1);
    }
    let gone = (gone_to - read.after).unsigned_abs();
    if begin_so == read.limit {
        return Ok(LogPage { events, scanned: at, is_end: false, gone });
    }
    Ok(LogPage { events, scanned: last, is_end: looked < page(read.scan_max), gone })
}

/// Parameters of [`LOG`].
pub(super) struct Bounds<'a> {
    after: i64,
    scan_max: i64,
    namespace: &'a str,
    beginnings: Vec<&'a str>,
    limit: i64,
}

impl<'a> Bounds<'a> {
    pub(super) fn of(read: &'a ReadLog) -> Self {
        Self {
            after: read.after,
            scan_max: page(read.scan_max),
            namespace: read.namespace.as_str(),
            beginnings: read.topics.beginnings(),
            limit: page(read.limit),
        }
    }

    pub(super) fn parameters(&self) -> [(&(dyn ToSql + Sync), Type); 5] {
        [
            (&self.after, Type::INT8),
            (&self.scan_max, Type::INT8),
            (&self.namespace, Type::TEXT),
            (&self.beginnings, Type::TEXT_ARRAY),
            (&self.limit, Type::INT8),
        ]
    }
}

/// Reads a row of [`RETRIES`]: an event, as far as it is there, and its row in the retry set.
pub(super) fn read_retry(row: &Row) -> Result<StoredRetry, Error> {
    let is_kept = get::<Option<i64>>(row, 0)?.is_some();
    Ok(StoredRetry {
        number: EventKey(get(row, 8)?),
        event: if is_kept { Some(read_event(row)?) } else { None },
        position: get(row, 9)?,
        key: get(row, 10)?,
        attempts: count(row, 11)?,
        next_at: Timestamp::from_micros(get(row, 12)?),
        id: EventId::from(get::<Uuid>(row, 13)?),
        topic: name(row, 14, Topic::new)?,
    })
}

/// See [`WebhookStore::redeliver`](crate::WebhookStore::redeliver).
pub(super) async fn redeliver(
    session: &mut Session<'_>,
    now: Timestamp,
    set: RetrySet,
    events: &[EventId],
) -> Result<Vec<bool>, Error> {
    let (key, epoch, now) = (set.generator.0, signed(set.epoch), now.as_micros());
    session.execute(generator::NOTIFY_KEYS, &[&vec![key], &now]).await?;
    let ids: Vec<Uuid> = events.iter().map(|id| Uuid::from(*id)).collect();
    let rows = session.all(FIND, &[&key, &epoch, &ids]).await?;
    let mut found = Vec::with_capacity(rows.len());
    let mut numbers = Vec::with_capacity(rows.len());
    for row in &rows {
        numbers.push(get::<i64>(row, 0)?);
        found.push(EventId::from(get::<Uuid>(row, 1)?));
    }
    session.execute(REDELIVER, &[&key, &epoch, &numbers, &now]).await?;
    session.hint = true;
    Ok(events.iter().map(|id| found.contains(id)).collect())
}

/// Reads a row of [`DELIVERIES`].
pub(super) fn read_delivery(row: &Row) -> Result<DeliveryView, Error> {
    let ended = code(row, 5)?;
    let end = DeliveryEnd::from_code(ended).ok_or_else(|| vanished("a known end of a delivery"))?;
    let status = get::<Option<i16>>(row, 6)?;
    Ok(DeliveryView {
        number: get::<i64>(row, 0)?.unsigned_abs(),
        delivery: NewDelivery {
            at: Timestamp::from_micros(get(row, 1)?),
            event: EventId::from(get::<Uuid>(row, 2)?),
            topic: name(row, 3, Topic::new)?,
            attempt: count(row, 4)?,
            end,
            status: status.map(i16::cast_unsigned),
            took_ms: count(row, 7)?,
            error: get(row, 8)?,
            answer: get(row, 9)?,
        },
    })
}

/// Removes attempts of deliveries of before that moment and, with them, parts of retry sets that were dropped.
pub(super) async fn collect(session: &mut Session<'_>, before: i64, limit: i64) -> Result<u64, Error> {
    let old = session.execute(PRUNE, &[&before, &limit]).await?;
    let left = limit - i64::try_from(old).unwrap_or(limit);
    let dropped = session.execute(PRUNE_RETRIES, &[&left]).await?;
    if i64::try_from(dropped).is_ok_and(|dropped| dropped < left) {
        session.execute(PRUNE_DROPPED, &[]).await?;
    }
    Ok(old + dropped)
}

/// Writes what a turn of an endpoint's generator has done. The generator is locked.
pub(super) async fn write_turn(
    session: &mut Session<'_>,
    now: Timestamp,
    turn: &WebhookTurn,
) -> Result<(), Error> {
    let key = turn.set.generator.0;
    if !turn.deliveries.is_empty() {
        insert_deliveries(session, key, &turn.deliveries).await?;
    }
    write_retries(session, now, turn.set, &turn.retries).await?;
    let mut listens = turn.listen.is_some();
    if let Some(read) = &turn.listen {
        session.execute(HOLD_HEAD, &[]).await?;
        let ahead = ReadLog { limit: 1, ..read.clone() };
        let ahead = read_page(&session.typed(LOG, &Bounds::of(&ahead).parameters()).await?, &ahead)?;
        if !ahead.events.is_empty() || !ahead.is_end {
            listens = false;
            session.execute(generator::NOTE, &[&key]).await?;
        }
    }
    session.execute(LISTEN, &[&key, &listens]).await?;
    match &turn.shape {
        Some(shape) => reshape(session, key, shape).await,
        None => Ok(()),
    }
}

async fn insert_deliveries(session: &mut Session<'_>, key: i64, all: &[NewDelivery]) -> Result<(), Error> {
    let at: Vec<i64> = all.iter().map(|one| one.at.as_micros()).collect();
    let events: Vec<Uuid> = all.iter().map(|one| Uuid::from(one.event)).collect();
    let topics: Vec<&str> = all.iter().map(|one| one.topic.as_str()).collect();
    let attempts: Vec<i32> = all.iter().map(|one| sql_count(one.attempt)).collect();
    let ends: Vec<i16> = all.iter().map(|one| sql_code(one.end.code())).collect();
    let statuses: Vec<Option<i16>> = all.iter().map(|one| one.status.map(u16::cast_signed)).collect();
    let took: Vec<i32> = all.iter().map(|one| sql_count(one.took_ms)).collect();
    let errors: Vec<Option<&str>> = all.iter().map(|one| one.error.as_deref()).collect();
    let answers: Vec<Option<&str>> = all.iter().map(|one| one.answer.as_deref()).collect();
    let values: &[&(dyn ToSql + Sync)] =
        &[&key, &at, &events, &topics, &attempts, &ends, &statuses, &took, &errors, &answers];
    session.execute(INSERT_DELIVERIES, values).await?;
    Ok(())
}

/// Writes what becomes of a retry set, as many of one sort at a time as there are in a row.
async fn write_retries(
    session: &mut Session<'_>,
    now: Timestamp,
    set: RetrySet,
    writes: &[RetryWrite],
) -> Result<(), Error> {
    let is_same = |one: &RetryWrite, next: &RetryWrite| discriminant(one) == discriminant(next);
    for run in writes.chunk_by(is_same) {
        let mut rows = Retries::default();
        run.iter().for_each(|write| rows.add(write));
        rows.write(session, now, set).await?;
    }
    Ok(())
}

/// What becomes of events of one retry set: the parameters of [`LATER`], [`AGAIN`], and [`DONE`] with [`RELEASE`]; each sort of write
/// has its part of them.
#[derive(Default)]
struct Retries<'a> {
    later: Vec<i64>,
    again: Vec<i64>,
    done: Vec<i64>,
    ids: Vec<Uuid>,
    topics: Vec<&'a str>,
    positions: Vec<i64>,
    keys: Vec<Option<&'a str>>,
    attempts: Vec<i32>,
    next: Vec<Option<i64>>,
    seen_attempts: Vec<i32>,
    seen_next: Vec<i64>,
}

impl<'a> Retries<'a> {
    fn add(&mut self, write: &'a RetryWrite) {
        match write {
            RetryWrite::Later { event, id, topic, position, key, attempts, next_at } => {
                self.later.push(event.0);
                self.ids.push(Uuid::from(*id));
                self.topics.push(topic.as_str());
                self.positions.push(*position);
                self.keys.push(key.as_deref());
                self.attempts.push(sql_count(*attempts));
                self.next.push(next_at.map(Timestamp::as_micros));
            }
            RetryWrite::Again { event, seen, attempts, next_at } => {
                self.again.push(event.0);
                self.attempts.push(sql_count(*attempts));
                self.next.push(Some(next_at.as_micros()));
                self.saw(*seen);
            }
            RetryWrite::Done { event, key, seen } => {
                self.done.push(event.0);
                self.keys.extend(key.as_deref().map(Some));
                self.saw(*seen);
            }
        }
    }

    fn saw(&mut self, seen: SeenRetry) {
        self.seen_attempts.push(sql_count(seen.attempts));
        self.seen_next.push(seen.next_at.as_micros());
    }

    async fn write(self, session: &mut Session<'_>, now: Timestamp, set: RetrySet) -> Result<(), Error> {
        let (of, epoch) = (set.generator.0, signed(set.epoch));
        let Self { later, again, done, ids, topics, positions, keys, attempts, next, .. } = &self;
        let (seen_attempts, seen_next) = (&self.seen_attempts, &self.seen_next);
        if !later.is_empty() {
            let values: &[&(dyn ToSql + Sync)] =
                &[&of, &epoch, later, ids, topics, positions, keys, attempts, next];
            session.execute(LATER, values).await?;
        }
        if !again.is_empty() {
            let values: &[&(dyn ToSql + Sync)] =
                &[&of, &epoch, again, attempts, next, seen_attempts, seen_next];
            session.execute(AGAIN, values).await?;
        }
        if !done.is_empty() {
            session.execute(DONE, &[&of, &epoch, done, seen_attempts, seen_next]).await?;
            if !keys.is_empty() {
                session.execute(RELEASE, &[&of, &epoch, keys, &now.as_micros()]).await?;
            }
        }
        Ok(())
    }
}

/// Writes what an endpoint is.
async fn reshape(session: &mut Session<'_>, key: i64, shape: &Shape) -> Result<(), Error> {
    session.execute(RESHAPE, &[&key, &shape.topics, &shape.definition]).await?;
    session.execute(FORGET_INTERESTS, &[&vec![-key]]).await?;
    note_interests(session, key, &shape.outcomes).await
}

/// Notes whose ends are to be told for an endpoint, among those for schedules: under a number that no schedule has.
async fn note_interests(session: &mut Session<'_>, key: i64, ends: &[Interest]) -> Result<(), Error> {
    if ends.is_empty() {
        return Ok(());
    }
    let kinds: Vec<&str> = ends.iter().map(|end| end.kind.as_ref().map_or("", Kind::as_str)).collect();
    let states: Vec<&str> = ends.iter().map(|end| end.state.as_str()).collect();
    session.execute(NOTE_INTERESTS, &[&key, &kinds, &states]).await?;
    Ok(())
}

fn read_webhook(row: &Row) -> Result<StoredWebhook, Error> {
    Ok(StoredWebhook {
        generator: read_generator(row)?,
        epoch: get::<i64>(row, 14)?.unsigned_abs(),
        listens: get(row, 15)?,
        definition: get(row, 16)?,
    })
}

fn webhook_query() -> String {
    format!(
        "SELECT {}, w.epoch, w.listens, w.definition FROM webhook w JOIN generator g ON g.generator = w.generator",
        generator::COLUMNS
    )
}

const INSERT: &str =
    "INSERT INTO webhook (generator, epoch, listens, topics, definition) VALUES ($1, 1, false, $2, $3)";
/// What an endpoint is.
pub(super) const ENDPOINT: &str = "SELECT definition FROM webhook WHERE generator = $1";
const EPOCH: &str = "SELECT epoch FROM webhook WHERE generator = $1 FOR UPDATE";
const DROP: &str = "INSERT INTO retry_dropped (generator, epoch) VALUES ($1, $2)";
const STOP_LISTENING: &str = "UPDATE webhook SET listens = false, epoch = $2 WHERE generator = $1";
const RESHAPE: &str = "UPDATE webhook SET topics = $2, definition = $3 WHERE generator = $1";
const REMOVE: &str = "DELETE FROM webhook WHERE generator = $1";
pub(super) const LOCK: &str =
    "SELECT FROM generator WHERE generator = ANY($1::bigint[]) ORDER BY generator FOR UPDATE";
const NOTE_INTERESTS: &str = "INSERT INTO interest (state, namespace, kind, schedule)
    SELECT i.state, g.namespace, i.kind, -g.generator
    FROM generator g, unnest($2::text[], $3::text[]) AS i (kind, state) WHERE g.generator = $1";
pub(super) const LISTENING: &str = "SELECT w.generator, g.namespace, w.topics FROM webhook w
    CROSS JOIN LATERAL (SELECT * FROM generator g WHERE g.generator = w.generator LIMIT 1) g
    WHERE w.listens ORDER BY w.generator";
const WAKE: &str = "UPDATE webhook SET listens = false WHERE generator = ANY($1::bigint[]) AND listens";
const LISTEN: &str = "UPDATE webhook SET listens = $2 WHERE generator = $1 AND listens <> $2";
pub(super) const HEAD: &str = "SELECT position FROM event_head WHERE single";
const HOLD_HEAD: &str = "SELECT position FROM event_head WHERE single FOR UPDATE";
/// Puts delivered events into the log, which webhooks and streams read.
pub(super) const APPEND: &str = "WITH moved AS (
        UPDATE event_head SET position = position + cardinality($1::bigint[]) WHERE single RETURNING position)
    INSERT INTO event_log (position, event, at)
    SELECT m.position - cardinality($1::bigint[]) + g.place, g.event, $2::bigint
    FROM moved m, unnest($1::bigint[]) WITH ORDINALITY AS g (event, place)";
/// The first events behind a position whose topics begin as those that are wanted, with those that are not kept any more, and how
/// far it was looked.
pub(super) const LOG: &str = "WITH part AS MATERIALIZED (
        SELECT l.position, l.event FROM event_log l WHERE l.position > $1 ORDER BY l.position LIMIT $2),
    bounds AS (SELECT min(p.position) AS first, max(p.position) AS last, count(*) AS looked FROM part p)
    SELECT f.event, f.at, f.id, f.namespace, f.topic, f.key, f.payload, true, f.position, b.first, b.last, b.looked,
        (SELECT h.position FROM event_head h WHERE h.single)
    FROM bounds b LEFT JOIN LATERAL (
        SELECT p.position, e.* FROM part p
        LEFT JOIN LATERAL (SELECT * FROM event e WHERE e.event = p.event LIMIT 1) e ON true
        WHERE e.event IS NULL OR (e.namespace = $3
          AND EXISTS (SELECT FROM unnest($4::text[]) AS t (beginning) WHERE starts_with(e.topic, t.beginning)))
        ORDER BY p.position LIMIT $5) f ON true
    ORDER BY f.position";
pub(super) const PRUNE_LOG: &str = "DELETE FROM event_log WHERE position = ANY(ARRAY(
        SELECT o.position FROM (
            SELECT l.position, l.at FROM event_log l WHERE l.position > 0 ORDER BY l.position LIMIT $2) o
        WHERE o.at < $1))";
pub(super) const RETRIES: &str = "SELECT e.event, e.at, e.id, e.namespace, e.topic, e.key, e.payload, true,
        r.event, r.position, r.key, r.attempts, r.next_at, r.id, r.topic
    FROM (SELECT * FROM retry r WHERE r.generator = $1 AND r.epoch = $2 AND r.next_at IS NOT NULL
          ORDER BY r.generator, r.epoch, r.next_at, r.event LIMIT $3) r
    LEFT JOIN LATERAL (SELECT * FROM event e WHERE e.event = r.event LIMIT 1) e ON true
    ORDER BY r.next_at, r.event";
pub(super) const RETRY_COUNT: &str = "SELECT count(*) FROM (
        SELECT FROM retry r WHERE r.generator = $1 AND r.epoch = $2 LIMIT $3) r";
pub(super) const WAITING: &str = "SELECT k.key FROM unnest($3::text[]) AS k (key)
    WHERE EXISTS (SELECT FROM retry r WHERE r.generator = $1 AND r.epoch = $2 AND r.key = k.key LIMIT 1)";
const FIND: &str = "SELECT e.event, e.id FROM unnest($3::uuid[]) AS i (id)
    CROSS JOIN LATERAL (SELECT * FROM event e WHERE e.id = i.id LIMIT 1) e
    JOIN webhook w ON w.generator = $1 AND w.epoch = $2
    JOIN generator g ON g.generator = w.generator AND g.namespace = e.namespace";
const REDELIVER: &str =
    "INSERT INTO retry (generator, epoch, event, id, topic, position, key, attempts, next_at)
    SELECT $1::bigint, $2::bigint, e.event, e.id, e.topic, e.event, NULL::text, 0, $4::bigint
    FROM (SELECT DISTINCT d.event FROM unnest($3::bigint[]) AS d (event)) d
    CROSS JOIN LATERAL (SELECT * FROM event e WHERE e.event = d.event LIMIT 1) e
    ON CONFLICT (generator, epoch, event) DO UPDATE SET attempts = 0, next_at = excluded.next_at";
const LATER: &str = "INSERT INTO retry (generator, epoch, event, id, topic, position, key, attempts, next_at)
    SELECT $1::bigint, $2::bigint, r.event, r.id, r.topic, r.position, r.key, r.attempts, r.next_at
    FROM unnest($3::bigint[], $4::uuid[], $5::text[], $6::bigint[], $7::text[], $8::integer[], $9::bigint[])
        AS r (event, id, topic, position, key, attempts, next_at)
    ON CONFLICT (generator, epoch, event) DO UPDATE SET position = excluded.position, key = excluded.key";
/// Those that are still as they were seen. Each is found by itself; an update of a join might walk the whole set.
const AGAIN: &str = "INSERT INTO retry (generator, epoch, event, id, topic, position, key, attempts, next_at)
    SELECT r.generator, r.epoch, r.event, r.id, r.topic, r.position, r.key, a.attempts, a.next_at
    FROM unnest($3::bigint[], $4::integer[], $5::bigint[], $6::integer[], $7::bigint[])
        AS a (event, attempts, next_at, seen_attempts, seen_next)
    CROSS JOIN LATERAL (
        SELECT * FROM retry r
        WHERE r.generator = $1 AND r.epoch = $2 AND r.event = a.event
          AND r.attempts = a.seen_attempts AND r.next_at = a.seen_next LIMIT 1) r
    ON CONFLICT (generator, epoch, event) DO UPDATE SET attempts = excluded.attempts, next_at = excluded.next_at";
const DONE: &str = "DELETE FROM retry WHERE ctid = ANY(ARRAY(
        SELECT r.place FROM unnest($3::bigint[], $4::integer[], $5::bigint[]) AS d (event, attempts, next_at)
        CROSS JOIN LATERAL (
            SELECT r.ctid AS place FROM retry r
            WHERE r.generator = $1 AND r.epoch = $2 AND r.event = d.event
              AND r.attempts = d.attempts AND r.next_at = d.next_at LIMIT 1) r))";
/// Gives the first event of each of these keys its turn, unless it has it.
const RELEASE: &str = "UPDATE retry SET next_at = $4::bigint WHERE ctid = ANY(ARRAY(
        SELECT r.place FROM unnest($3::text[]) AS k (key)
        CROSS JOIN LATERAL (
            SELECT r.ctid AS place, r.next_at FROM retry r
            WHERE r.generator = $1 AND r.epoch = $2 AND r.key = k.key
            ORDER BY r.position LIMIT 1) r
        WHERE r.next_at IS NULL))";
const INSERT_DELIVERIES: &str = "INSERT INTO delivery
        (generator, at, event, topic, attempt, ended, status, took_ms, error, answer)
    SELECT $1::bigint, d.at, d.event, d.topic, d.attempt, d.ended, d.status, d.took_ms, d.error, d.answer
    FROM unnest($2::bigint[], $3::uuid[], $4::text[], $5::integer[], $6::smallint[], $7::smallint[], $8::integer[],
                $9::text[], $10::text[]) WITH ORDINALITY
        AS d (at, event, topic, attempt, ended, status, took_ms, error, answer, place)
    ORDER BY d.place";
pub(super) const DELIVERIES: &str =
    "SELECT delivery, at, event, topic, attempt, ended, status, took_ms, error, answer FROM delivery
    WHERE generator = $1 AND delivery < $2 ORDER BY generator DESC, delivery DESC LIMIT $3";
/// Of those with the lowest numbers, which are the oldest, those that are old enough.
const PRUNE: &str = "DELETE FROM delivery WHERE ctid = ANY(ARRAY(
        SELECT o.place FROM (
            SELECT d.ctid AS place, d.at FROM delivery d WHERE d.delivery > 0 ORDER BY d.delivery LIMIT $2
            FOR UPDATE SKIP LOCKED) o
        WHERE o.at < $1))";
pub(super) const OLD: &str = "SELECT count(*) FROM (
        SELECT d.at FROM delivery d WHERE d.delivery > 0 ORDER BY d.delivery LIMIT $2) o WHERE o.at < $1";
pub(super) const OLD_RETRIES: &str = "SELECT count(*) FROM (
        SELECT FROM retry_dropped d
        CROSS JOIN LATERAL (
            SELECT FROM retry r WHERE r.generator = d.generator AND r.epoch = d.epoch LIMIT $2) r
        WHERE $1::bigint IS NOT NULL LIMIT $2) o";
const PRUNE_RETRIES: &str = "DELETE FROM retry WHERE ctid = ANY(ARRAY(
        SELECT r.place FROM retry_dropped d
        CROSS JOIN LATERAL (
            SELECT r.ctid AS place FROM retry r WHERE r.generator = d.generator AND r.epoch = d.epoch LIMIT $1) r
        LIMIT $1))";
const PRUNE_DROPPED: &str = "DELETE FROM retry_dropped d
    WHERE NOT EXISTS (SELECT FROM retry r WHERE r.generator = d.generator AND r.epoch = d.epoch LIMIT 1)";
