//! Generators, and which jobs are outstanding items of theirs.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension, Row, params};
use taskwright_core::generator::ItemEnd;
use taskwright_core::{GeneratorName, JobId, Namespace, State, Timestamp};

use super::SqliteStore;
use super::change::remove;
use super::enqueue;
use super::error::read_error;
use super::place::{self, PLACE_COLUMNS, PLACE_JOINS};
use super::query::{read_view, view_query};
use super::schedule::{page, rows};
use super::session::{Session, name, vanished};
use crate::Reply;
use crate::error::Error;
use crate::generator::{
    Effect, EndedItem, GeneratorCommit, GeneratorKey, GeneratorStore, GeneratorWrite, NewGenerator,
    SettledItem, StoredGenerator, TakeGenerators, TakenGenerators, check_commit,
};

impl GeneratorStore for SqliteStore {
    fn put_generators(&self, now: Timestamp, generators: Vec<NewGenerator>) -> Reply<'_, Vec<bool>> {
        self.writer.write(move |session| {
            session.hint = true;
            generators.iter().map(|new| put(session, now, new)).collect()
        })
    }

    fn take_generators(&self, take: TakeGenerators) -> Reply<'_, TakenGenerators> {
        let ask = take.clone();
        self.writer.write_unless(move |session| peek(session, &ask), move |session| take_due(session, &take))
    }

    fn commit_generator(&self, now: Timestamp, given: GeneratorCommit) -> Reply<'_, bool> {
        self.writer.write(move |session| {
            check_commit(&given)?;
            commit(session, now, &given)
        })
    }

    fn write_generator(&self, _: Timestamp, write: GeneratorWrite) -> Reply<'_, bool> {
        self.writer.write(move |session| {
            session.hint = true;
            let next = write.next.map(Timestamp::as_micros);
            let values = params![write.generator.0, write.version, write.record, write.paused, next];
            Ok(session.execute(WRITE, values)? > 0)
        })
    }

    fn notify_generator(&self, now: Timestamp, namespace: Namespace, name: GeneratorName) -> Reply<'_, bool> {
        self.writer.write(move |session| {
            session.hint = true;
            Ok(session.execute(NOTIFY, (namespace.as_str(), name.as_str(), now.as_micros()))? > 0)
        })
    }

    fn ended_items(&self, generator: GeneratorKey, limit: usize) -> Reply<'_, Vec<EndedItem>> {
        self.readers.read(move |conn| ended(conn, generator, limit).map_err(read_error))
    }

    fn generator(&self, namespace: Namespace, name: GeneratorName) -> Reply<'_, Option<StoredGenerator>> {
        self.readers.read(move |conn| {
            let found = conn.prepare_cached(&by_name()).and_then(|mut find| {
                find.query_row((namespace.as_str(), name.as_str()), read_generator).optional()
            });
            found.map_err(read_error)
        })
    }

    fn generators(
        &self,
        namespace: Option<Namespace>,
        after: Option<GeneratorKey>,
        limit: usize,
    ) -> Reply<'_, Vec<StoredGenerator>> {
        self.readers.read(move |conn| {
            let (namespace, after) =
                (namespace.as_ref().map(Namespace::as_str), after.map_or(0, |key| key.0));
            rows(conn, &list(), params![after, namespace, page(limit)], read_generator)
        })
    }

    fn remove_generator(&self, generator: GeneratorKey) -> Reply<'_, bool> {
        self.writer.write(move |session| {
            session.execute(FORGET_ITEMS, [generator.0])?;
            Ok(session.execute(REMOVE, [generator.0])? > 0)
        })
    }
}

fn put(session: &mut Session<'_>, now: Timestamp, new: &NewGenerator) -> Result<bool, Error> {
    let (namespace, name, now) = (new.namespace.as_str(), new.name.as_str(), now.as_micros());
    let next = new.next.map(Timestamp::as_micros);
    let values = params![namespace, name, next, now, new.definition, new.record, new.state];
    if session.execute(INSERT, values)? > 0 {
        return Ok(true);
    }
    Ok(session.execute(REDEFINE, params![namespace, name, new.definition, now])? > 0)
}

/// Looks whether any of the generators is due; answers when none is.
fn peek(session: &mut Session<'_>, take: &TakeGenerators) -> Result<Option<TakenGenerators>, Error> {
    let next = next_after(session, take.due)?;
    let is_due = !due(session, take, 1)?.is_empty();
    Ok((!is_due).then(|| TakenGenerators { generators: Vec::new(), next }))
}

fn next_after(session: &mut Session<'_>, due: Timestamp) -> Result<Option<Timestamp>, Error> {
    let next = session.first(NEXT, [due.as_micros()], |row| row.get(0))?;
    Ok(next.map(Timestamp::from_micros))
}

/// The keys of the first `most` generators that are due, of those that are asked for.
fn due(session: &mut Session<'_>, take: &TakeGenerators, most: usize) -> Result<Vec<i64>, Error> {
    let names: HashSet<(&str, &str)> =
        take.names.iter().map(|(namespace, name)| (namespace.as_str(), name.as_str())).collect();
    let read = |error| read_error(error);
    let mut statement = session.statement(DUE)?;
    let mut rows = statement.query([take.due.as_micros()]).map_err(read)?;
    let mut found = Vec::new();
    while found.len() < most {
        let Some(row) = rows.next().map_err(read)? else { break };
        let text = |column| row.get_ref(column).and_then(|value| Ok(value.as_str()?)).map_err(read);
        if names.contains(&(text(1)?, text(2)?)) {
            found.push(row.get(0).map_err(read)?);
        }
    }
    Ok(found)
}

fn take_due(session: &mut Session<'_>, take: &TakeGenerators) -> Result<TakenGenerators, Error> {
    let next = next_after(session, take.due)?;
    let until = take.now.plus(take.lease).as_micros();
    let mut generators = Vec::new();
    for key in due(session, take, take.limit)? {
        let taken = session.first(&take_one(), (key, until), read_generator)?;
        generators.push(taken.ok_or_else(|| vanished("a generator"))?);
    }
    Ok(TakenGenerators { generators, next })
}

/// See [`GeneratorStore::commit_generator`].
fn commit(session: &mut Session<'_>, now: Timestamp, commit: &GeneratorCommit) -> Result<bool, Error> {
    let key = commit.generator.0;
    let held = session.first(HELD, (key, commit.fence), |row| row.get::<_, u64>(0))?;
    let Some(version) = held else { return Ok(false) };
    let seqs = settled(session, commit.generator, &commit.settled)?;
    let (Some(seqs), true) = (seqs, version == commit.version) else {
        session.execute(LET_GO, (key, now.as_micros()))?;
        session.hint = true;
        return Ok(false);
    };
    for item in &commit.settled {
        session.execute(FORGET_ITEM, params![key, item.job.as_bytes()])?;
    }
    let goes = |(item, seq): (&SettledItem, Option<i64>)| seq.filter(|_| !item.end.keeps_job());
    remove(session, commit.settled.iter().zip(seqs).filter_map(goes).collect())?;
    let jobs: Vec<_> = commit.items.iter().map(|item| item.job.clone()).collect();
    if !jobs.is_empty() {
        for (item, stored) in commit.items.iter().zip(enqueue::enqueue(session, now, &jobs)?) {
            session.execute(INSERT_ITEM, params![key, stored.id.as_bytes(), item.key])?;
        }
    }
    for effect in &commit.effects {
        apply(session, now, effect)?;
    }
    let next = commit.next.map(Timestamp::as_micros);
    let values =
        params![key, commit.record, commit.state, commit.paused, next, commit.notices, now.as_micros()];
    session.execute(COMMIT, values)?;
    Ok(true)
}

/// Writes what a generator of ours writes besides.
fn apply(_: &mut Session<'_>, _: Timestamp, effect: &Effect) -> Result<(), Error> {
    match *effect {}
}

/// The numbers of the jobs of items, as far as they are there; `None` when one is no outstanding item, or has not ended as
/// somebody saw.
fn settled(
    session: &mut Session<'_>,
    generator: GeneratorKey,
    items: &[SettledItem],
) -> Result<Option<Vec<Option<i64>>>, Error> {
    let find = item_query();
    let mut seqs = Vec::with_capacity(items.len());
    for item in items {
        let found = session.first(&find, params![generator.0, item.job.as_bytes()], read_item)?;
        match found {
            Some((seq, state)) if ItemEnd::of(state) == Some(item.end) => seqs.push(seq),
            _ => return Ok(None),
        }
    }
    Ok(Some(seqs))
}

/// Where the job of an outstanding item is.
pub(super) fn item_query() -> String {
    format!("{} AND i.job = ?2", items_query())
}

/// Where the jobs of all outstanding items are.
pub(super) fn items_query() -> String {
    format!(
        "SELECT j.seq, {PLACE_COLUMNS}, i.job, i.key FROM taskwright_item i
         LEFT JOIN taskwright_job j ON j.id = i.job {PLACE_JOINS} WHERE i.generator = ?1"
    )
}

/// The number of an item's job and its state, if it is there.
fn read_item(row: &Row<'_>) -> rusqlite::Result<(Option<i64>, Option<State>)> {
    let seq: Option<i64> = row.get(0)?;
    let state = seq.map(|_| place::read_place(row, 1)).transpose()?.map(|place| place.state);
    Ok((seq, state))
}

fn ended(conn: &Connection, generator: GeneratorKey, limit: usize) -> rusqlite::Result<Vec<EndedItem>> {
    let mut find = conn.prepare_cached(&format!("{} ORDER BY i.job", items_query()))?;
    let mut view = conn.prepare_cached(&format!("{} WHERE j.seq = ?1", view_query()))?;
    let mut items = find.query([generator.0])?;
    let mut ended = Vec::new();
    while ended.len() < limit {
        let Some(row) = items.next()? else { break };
        let (seq, state) = read_item(row)?;
        if ItemEnd::of(state).is_none() {
            continue;
        }
        let view = seq.map(|seq| view.query_row([seq], read_view)).transpose()?.map(|(_, view)| view);
        ended.push(EndedItem {
            job: JobId::from_bytes(row.get(7)?),
            key: row.get(8)?,
            state,
            attempts: view.as_ref().map_or(0, |view| view.attempt),
            error: view.and_then(|view| view.error),
        });
    }
    Ok(ended)
}

fn read_generator(row: &Row<'_>) -> rusqlite::Result<StoredGenerator> {
    Ok(StoredGenerator {
        key: GeneratorKey(row.get(0)?),
        namespace: name(row, 1, Namespace::new)?,
        name: name(row, 2, GeneratorName::new)?,
        version: row.get(3)?,
        fence: row.get(4)?,
        notices: row.get(5)?,
        paused: row.get(6)?,
        next: row.get::<_, Option<i64>>(7)?.map(Timestamp::from_micros),
        lease_until: row.get::<_, Option<i64>>(8)?.map(Timestamp::from_micros),
        created_at: Timestamp::from_micros(row.get(9)?),
        changed_at: Timestamp::from_micros(row.get(10)?),
        definition: row.get(11)?,
        record: row.get(12)?,
        state: row.get(13)?,
    })
}

/// What [`read_generator`] reads.
const COLUMNS: &str = "generator, namespace, name, version, fence, notices, paused, next, lease_until,
     created_at, changed_at, definition, record, state";

pub(super) fn by_name() -> String {
    format!("SELECT {COLUMNS} FROM taskwright_generator WHERE namespace = ?1 AND name = ?2")
}

fn list() -> String {
    format!(
        "SELECT {COLUMNS} FROM taskwright_generator WHERE generator > ?1 AND (?2 IS NULL OR namespace = ?2)
         ORDER BY generator LIMIT ?3"
    )
}

pub(super) fn take_one() -> String {
    format!(
        "UPDATE taskwright_generator SET fence = fence + 1, lease_until = ?2, next = ?2 WHERE generator = ?1
         RETURNING {COLUMNS}"
    )
}

const INSERT: &str = "INSERT INTO taskwright_generator
        (namespace, name, version, fence, notices, paused, next, created_at, changed_at, definition, record, state)
     VALUES (?1, ?2, 1, 0, 0, 0, ?3, ?4, ?4, ?5, ?6, ?7) ON CONFLICT (namespace, name) DO NOTHING";
const REDEFINE: &str = "UPDATE taskwright_generator SET definition = ?3, changed_at = ?4
     WHERE namespace = ?1 AND name = ?2 AND definition <> ?3";
pub(super) const DUE: &str = "SELECT generator, namespace, name FROM taskwright_generator
     WHERE next IS NOT NULL AND next <= ?1 ORDER BY next, generator";
pub(super) const NEXT: &str =
    "SELECT next FROM taskwright_generator WHERE next IS NOT NULL AND next > ?1 ORDER BY next LIMIT 1";
pub(super) const HELD: &str = "SELECT version FROM taskwright_generator WHERE generator = ?1 AND fence = ?2";
pub(super) const LET_GO: &str = "UPDATE taskwright_generator
     SET lease_until = NULL, next = iif(next IS NULL, NULL, ?2)
     WHERE generator = ?1 AND lease_until IS NOT NULL";
pub(super) const COMMIT: &str = "UPDATE taskwright_generator
     SET version = version + 1, record = ?2, state = coalesce(?3, state), paused = ?4, lease_until = NULL,
         next = iif(notices <> ?6 AND NOT ?4, ?7, ?5)
     WHERE generator = ?1";
pub(super) const WRITE: &str = "UPDATE taskwright_generator
     SET version = version + 1, record = ?3, paused = ?4,
         next = iif(?5 IS NULL, NULL, max(?5, coalesce(lease_until, ?5)))
     WHERE generator = ?1 AND version = ?2";
pub(super) const NOTIFY: &str = "UPDATE taskwright_generator
     SET notices = notices + 1,
         next = iif(paused OR coalesce(lease_until > ?3, 0), next, ?3)
     WHERE namespace = ?1 AND name = ?2";
pub(super) const INSERT_ITEM: &str = "INSERT INTO taskwright_item (generator, job, key) VALUES (?1, ?2, ?3)
     ON CONFLICT (generator, job) DO NOTHING";
pub(super) const FORGET_ITEM: &str = "DELETE FROM taskwright_item WHERE generator = ?1 AND job = ?2";
pub(super) const FORGET_ITEMS: &str = "DELETE FROM taskwright_item WHERE generator = ?1";
const REMOVE: &str = "DELETE FROM taskwright_generator WHERE generator = ?1";
