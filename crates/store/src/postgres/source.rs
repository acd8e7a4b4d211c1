//! Event sources, and what they have seen.

use taskwright_core::{EventId, Fingerprint, Namespace, SourceName, Timestamp};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::session::{Uuid, get, name, vanished};
use crate::error::Error;
use crate::source::{Sighting, SourceKey, SourceNote, SourcePlace, SourceView};

/// Sightings, as parameters of [`SEE`].
pub(super) struct Columns<'a> {
    source: i64,
    at: i64,
    paths: Vec<&'a str>,
    befores: Vec<Option<Vec<u8>>>,
    afters: Vec<Option<Vec<u8>>>,
    ids: Vec<Option<Uuid>>,
    namespaces: Vec<Option<&'a str>>,
    topics: Vec<Option<&'a str>>,
    keys: Vec<Option<&'a str>>,
    payloads: Vec<Option<&'a [u8]>>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(now: Timestamp, source: SourceKey, sightings: &'a [Sighting]) -> Self {
        let bytes = |print: Option<Fingerprint>| print.map(|print| print.to_bytes().to_vec());
        let events = || sightings.iter().map(|sighting| sighting.event.as_ref());
        Self {
            source: source.0,
            at: now.as_micros(),
            paths: sightings.iter().map(|sighting| sighting.path.as_str()).collect(),
            befores: sightings.iter().map(|sighting| bytes(sighting.before)).collect(),
            afters: sightings.iter().map(|sighting| bytes(sighting.after)).collect(),
            ids: events().map(|event| event.map(|event| id(event.id))).collect(),
            namespaces: events().map(|event| event.map(|event| event.namespace.as_str())).collect(),
            topics: events().map(|event| event.map(|event| event.topic.as_str())).collect(),
            keys: events().map(|event| event.and_then(|event| event.key.as_deref())).collect(),
            payloads: events().map(|event| event.map(|event| event.payload.as_bytes())).collect(),
        }
    }

    pub(super) fn parameters(&self) -> [(&(dyn ToSql + Sync), Type); 10] {
        [
            (&self.source, Type::INT8),
            (&self.at, Type::INT8),
            (&self.paths, Type::TEXT_ARRAY),
            (&self.befores, Type::BYTEA_ARRAY),
            (&self.afters, Type::BYTEA_ARRAY),
            (&self.ids, Type::UUID_ARRAY),
            (&self.namespaces, Type::TEXT_ARRAY),
            (&self.topics, Type::TEXT_ARRAY),
            (&self.keys, Type::TEXT_ARRAY),
            (&self.payloads, Type::BYTEA_ARRAY),
        ]
    }
}

fn id(id: EventId) -> Uuid {
    Uuid::from(id)
}

/// Which of `count` sightings took place, from the rows of [`SEE`].
pub(super) fn read_done(rows: &[Row], count: usize) -> Result<Vec<bool>, Error> {
    let mut done = vec![false; count];
    for row in rows {
        let number: i64 = get(row, 0)?;
        if let Some(done) = usize::try_from(number - 1).ok().and_then(|index| done.get_mut(index)) {
            *done = true;
        }
    }
    Ok(done)
}

/// The key that [`OPEN`] gave.
pub(super) fn read_key(rows: &[Row]) -> Result<SourceKey, Error> {
    Ok(SourceKey(get(rows.first().ok_or_else(|| vanished("a source"))?, 0)?))
}

/// A fingerprint, or `None` for NULL.
pub(super) fn read_print(row: &Row, column: usize) -> Result<Option<Fingerprint>, Error> {
    let Some(bytes) = get::<Option<&[u8]>>(row, column)? else { return Ok(None) };
    Fingerprint::from_bytes(bytes).map(Some).ok_or_else(|| vanished("a fingerprint of a file"))
}

/// A row of [`SEEN`].
pub(super) fn read_seen(row: &Row) -> Result<(String, Fingerprint), Error> {
    let print = read_print(row, 1)?.ok_or_else(|| vanished("a fingerprint of a file"))?;
    Ok((get(row, 0)?, print))
}

/// A row of [`SOURCES`].
pub(super) fn read_view(row: &Row) -> Result<SourceView, Error> {
    let note = match get::<Option<String>>(row, 6)? {
        Some(mode) => Some(SourceNote {
            mode,
            scanned_at: get::<Option<i64>>(row, 7)?.map(Timestamp::from_micros),
            files: u64::try_from(get::<i64>(row, 8)?).unwrap_or(0),
            error: get(row, 9)?,
        }),
        None => None,
    };
    Ok(SourceView {
        key: SourceKey(get(row, 0)?),
        place: SourcePlace {
            namespace: name(row, 1, Namespace::new)?,
            name: name(row, 2, SourceName::new)?,
            host: get(row, 3)?,
            path: get(row, 4)?,
        },
        noted_at: Timestamp::from_micros(get(row, 5)?),
        note,
    })
}

pub(super) const OPEN: &str =
    "INSERT INTO source (namespace, name, host, path, noted_at) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (namespace, name, host, path) DO UPDATE SET noted_at = excluded.noted_at RETURNING source";

pub(super) const NOTE: &str =
    "UPDATE source SET noted_at = $2, mode = $3, scanned_at = $4, files = $5, error = $6
    WHERE source = $1 RETURNING source";

pub(super) const SEEN_OF: &str = "SELECT s.print
    FROM unnest($2::text[]) WITH ORDINALITY AS g (path, number)
    LEFT JOIN LATERAL (SELECT print FROM seen s WHERE s.source = $1 AND s.path = g.path LIMIT 1) s ON true
    ORDER BY g.number";

pub(super) const SEEN: &str =
    "SELECT path, print FROM seen WHERE source = $1 AND path > $2 ORDER BY source, path LIMIT $3";

/// Each part touches other rows of `seen` than the others, which are locked in the order of their paths. An event is stored
/// with the row that it tells of, or not.
pub(super) const SEE: &str = "WITH given AS MATERIALIZED (
        SELECT * FROM unnest($3::text[], $4::bytea[], $5::bytea[], $6::uuid[], $7::text[], $8::text[], $9::text[],
                             $10::bytea[])
            WITH ORDINALITY AS g (path, before, after, id, namespace, topic, key, payload, number)
        ORDER BY g.path COLLATE \"C\"),
    locked AS MATERIALIZED (
        SELECT g.number, g.after, s.place FROM given g CROSS JOIN LATERAL (
            SELECT s.ctid AS place FROM seen s
            WHERE s.source = $1 AND s.path = g.path AND s.print = g.before LIMIT 1 FOR UPDATE) s),
    added AS (
        INSERT INTO seen (source, path, print)
        SELECT o.source, g.path, g.after FROM given g CROSS JOIN source o
        WHERE o.source = $1 AND g.before IS NULL AND g.after IS NOT NULL
        ON CONFLICT (source, path) DO NOTHING RETURNING path),
    changed AS (
        UPDATE seen s SET print = l.after FROM locked l WHERE s.ctid = l.place AND l.after IS NOT NULL RETURNING l.number),
    gone AS (
        DELETE FROM seen s USING locked l WHERE s.ctid = l.place AND l.after IS NULL RETURNING l.number),
    done AS (
        SELECT g.number FROM given g JOIN added a ON a.path = g.path
        UNION ALL SELECT c.number FROM changed c UNION ALL SELECT o.number FROM gone o),
    told AS (
        INSERT INTO event (id, namespace, topic, key, payload, at)
        SELECT g.id, g.namespace, g.topic, g.key, g.payload, $2
        FROM given g JOIN done d ON d.number = g.number WHERE g.id IS NOT NULL ORDER BY g.number
        ON CONFLICT (id) DO NOTHING RETURNING event),
    due AS (
        INSERT INTO event_due (event) SELECT t.event FROM told t)
    SELECT d.number FROM done d";

pub(super) const SOURCES: &str =
    "SELECT source, namespace, name, host, path, noted_at, mode, scanned_at, files, error
    FROM source WHERE $1::text IS NULL OR namespace = $1
    ORDER BY namespace COLLATE \"C\", name COLLATE \"C\", host COLLATE \"C\", path COLLATE \"C\"";

pub(super) const PRUNE_SEEN: &str = "DELETE FROM seen WHERE ctid = ANY(ARRAY(
        SELECT f.place FROM source o CROSS JOIN LATERAL (
            SELECT s.ctid AS place FROM seen s WHERE s.source = o.source LIMIT $2) f
        WHERE o.noted_at < $1 LIMIT $2))";

pub(super) const PRUNE: &str = "DELETE FROM source WHERE source = ANY(ARRAY(
        SELECT o.source FROM source o
        WHERE o.noted_at < $1 AND NOT EXISTS (SELECT 1 FROM seen s WHERE s.source = o.source) LIMIT $2))";
/// How many files that would be, and how many sources.
pub(super) const OLD_SEEN: &str = "SELECT count(*) FROM (
        SELECT FROM source o CROSS JOIN LATERAL (
            SELECT FROM seen s WHERE s.source = o.source LIMIT $2) f
        WHERE o.noted_at < $1 LIMIT $2) f";
pub(super) const OLD_SOURCES: &str =
    "SELECT count(*) FROM (SELECT FROM source o WHERE o.noted_at < $1 LIMIT $2) o";
