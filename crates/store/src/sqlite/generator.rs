//! Generators, and which jobs are outstanding items of theirs.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::LazyLock;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params};
use taskwright_core::generator::ItemEnd;
use taskwright_core::limit::GENERATOR_ANEW_AFTER;
use taskwright_core::{Actor, GeneratorName, JobId, Namespace, Priority, State, Timestamp};

use super::SqliteStore;
use super::change::{self, By, remove};
use super::enqueue;
use super::error::read_error;
use super::many_rows::ManyRows;
use super::place::{self, PLACE_COLUMNS, PLACE_JOINS};
use super::query::{read_view, view_query};
use super::schedule::{page, rows};
use super::session::{Session, name, vanished};
use super::{bulk, file, table, webhook};
use crate::change::Change;
use crate::error::Error;
use crate::file::KnownFile;
use crate::generator::{
    AgainItem, Effect, EndedItem, GeneratorCommit, GeneratorKey, GeneratorStore, GeneratorWrite, ItemsEnded,
    ListeningGenerator, NewGenerator, NewItem, SettledItem, StoredGenerator, TakeGenerators, TakenGenerators,
    check_commit,
};
use crate::subject::Subject;
use crate::table::{RowsAfter, TableRows};
use crate::{Enqueued, Reply};

impl GeneratorStore for SqliteStore {
    fn put_generators(&self, now: Timestamp, generators: Vec<NewGenerator>) -> Reply<'_, Vec<bool>> {
        let about = self.writer.about(|| Subject::of_generators(&generators));
        self.writer.write_about(about, move |session| {
            session.hint = true;
            generators.iter().map(|new| put(session, now, new)).collect()
        })
    }

    fn take_generators(&self, take: TakeGenerators) -> Reply<'_, TakenGenerators> {
        let ask = take.clone();
        self.writer.write_unless(move |session| peek(session, &ask), move |session| take_due(session, &take))
    }

    fn renew_generator(&self, generator: GeneratorKey, fence: u64, until: Timestamp) -> Reply<'_, bool> {
        self.writer.write(move |session| {
            let renewed = session.execute(RENEW, (generator.0, fence, until.as_micros()))? > 0;
            session.hint |= renewed;
            Ok(renewed)
        })
    }

    fn commit_generator(&self, now: Timestamp, given: GeneratorCommit) -> Reply<'_, bool> {
        self.writer.write(move |session| {
            check_commit(&given)?;
            commit(session, now, &given)
        })
    }

    fn write_generator(&self, _: Timestamp, write: GeneratorWrite) -> Reply<'_, bool> {
        let about = self.writer.about(|| Subject::of_generator(write.generator));
        self.writer.write_about(about, move |session| {
            session.hint = true;
            rewrite(session, &write, None)
        })
    }

    fn notify_generator(&self, now: Timestamp, namespace: Namespace, name: GeneratorName) -> Reply<'_, bool> {
        self.writer.write(move |session| {
            session.hint = true;
            Ok(session.execute(NOTIFY, (namespace.as_str(), name.as_str(), now.as_micros()))? > 0)
        })
    }

    fn items_ended(&self, now: Timestamp, ended: Vec<ItemsEnded>) -> Reply<'_, Vec<u32>> {
        self.writer.write(move |session| {
            let mut wanted = Vec::with_capacity(ended.len());
            for ItemsEnded { namespace, name, count } in &ended {
                let values = params![namespace.as_str(), name.as_str(), count, now.as_micros()];
                let noted = session.first(NOTE_ENDS, values, |row| Ok((row.get(0)?, row.get(1)?)))?;
                let (is_due, more) = noted.unwrap_or((false, 0));
                session.hint |= is_due;
                wanted.push(more);
            }
            Ok(wanted)
        })
    }

    fn ended_items(&self, generator: GeneratorKey, limit: usize) -> Reply<'_, Vec<EndedItem>> {
        self.readers.read(move |conn| ended(conn, generator, limit).map_err(read_error))
    }

    fn files_of(&self, generator: GeneratorKey, paths: Vec<String>) -> Reply<'_, Vec<Option<KnownFile>>> {
        self.readers.read(move |conn| file::of(conn, generator, &paths).map_err(read_error))
    }

    fn files(
        &self,
        generator: GeneratorKey,
        after: Option<String>,
        limit: usize,
    ) -> Reply<'_, Vec<(String, KnownFile)>> {
        self.readers
            .read(move |conn| file::page(conn, generator, after.as_deref(), page(limit)).map_err(read_error))
    }

    fn rows_after(&self, wanted: RowsAfter) -> Reply<'_, TableRows> {
        self.readers.read(move |conn| table::rows(conn, &wanted))
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

    fn listening_generators(&self) -> Reply<'_, Vec<ListeningGenerator>> {
        self.readers.read(|conn| {
            rows(conn, LISTENING, [], |row| {
                Ok(ListeningGenerator {
                    namespace: name(row, 0, Namespace::new)?,
                    name: name(row, 1, GeneratorName::new)?,
                    definition: row.get(2)?,
                })
            })
        })
    }

    fn remove_generator(&self, generator: GeneratorKey) -> Reply<'_, bool> {
        let about = self.writer.about(|| Subject::of_generator(generator));
        self.writer.write_about(about, move |session| forget(session, generator))
    }
}

/// Removes a generator. See [`GeneratorStore::remove_generator`].
pub(super) fn forget(session: &mut Session<'_>, generator: GeneratorKey) -> Result<bool, Error> {
    session.execute(FORGET_ITEMS, [generator.0])?;
    session.execute(file::FORGET_ALL, [generator.0])?;
    Ok(session.execute(REMOVE, [generator.0])? > 0)
}

/// Writes what somebody changed, and the state if there is one; `false` when the version is another.
pub(super) fn rewrite(
    session: &mut Session<'_>,
    write: &GeneratorWrite,
    state: Option<&str>,
) -> Result<bool, Error> {
    let next = write.next.map(Timestamp::as_micros);
    let state = state.or(write.state.as_deref());
    let values = params![write.generator.0, write.version, write.record, write.paused, next, state];
    Ok(session.execute(WRITE, values)? > 0)
}

/// Makes a generator known, and gives its key.
pub(super) fn put_and_find(
    session: &mut Session<'_>,
    now: Timestamp,
    new: &NewGenerator,
) -> Result<i64, Error> {
    put(session, now, new)?;
    let names = (new.namespace.as_str(), new.name.as_str());
    session.first(&by_name(), names, |row| row.get(0))?.ok_or_else(|| vanished("a generator"))
}

/// Adds a generator; `None` when the name is taken.
pub(super) fn insert(
    session: &mut Session<'_>,
    now: Timestamp,
    new: &NewGenerator,
) -> Result<Option<i64>, Error> {
    let (namespace, name, now) = (new.namespace.as_str(), new.name.as_str(), now.as_micros());
    let next = new.next.map(Timestamp::as_micros);
    let values =
        params![namespace, name, next, now, new.definition, new.record, new.state, new.best.0, new.listens];
    session.first(INSERT, values, |row| row.get(0))
}

fn put(session: &mut Session<'_>, now: Timestamp, new: &NewGenerator) -> Result<bool, Error> {
    if insert(session, now, new)?.is_some() {
        return Ok(true);
    }
    let (namespace, name, now) = (new.namespace.as_str(), new.name.as_str(), now.as_micros());
    Ok(session.execute(REDEFINE, params![namespace, name, new.definition, now, new.best.0, new.listens])? > 0)
}

/// Looks whether any of the generators is due; answers when none is.
fn peek(session: &mut Session<'_>, take: &TakeGenerators) -> Result<Option<TakenGenerators>, Error> {
    let next = next_after(session, take.due)?;
    let is_due = !due(session, take)?.is_empty();
    Ok((!is_due).then(|| TakenGenerators { generators: Vec::new(), next }))
}

fn next_after(session: &mut Session<'_>, due: Timestamp) -> Result<Option<Timestamp>, Error> {
    let next = session.first(NEXT, [due.as_micros()], |row| row.get(0))?;
    Ok(next.map(Timestamp::from_micros))
}

/// The keys of the generators that are due, of those that are asked for, in their order.
fn due(session: &mut Session<'_>, take: &TakeGenerators) -> Result<Vec<i64>, Error> {
    let names: HashSet<(&str, &str)> =
        take.names.iter().map(|(namespace, name)| (namespace.as_str(), name.as_str())).collect();
    let read = |error| read_error(error);
    let mut statement = session.statement(DUE)?;
    let mut rows = statement.query([take.due.as_micros()]).map_err(read)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(read)? {
        let text = |column| row.get_ref(column).and_then(|value| Ok(value.as_str()?)).map_err(read);
        let (namespace, name) = (text(1)?, text(2)?);
        let best = Priority(row.get(3).map_err(read)?);
        let is_wanted = take.worst.is_none_or(|worst| best <= worst)
            && take.prefixes.iter().any(|prefix| name.starts_with(prefix));
        if is_wanted || names.contains(&(namespace, name)) {
            let next = Timestamp::from_micros(row.get(4).map_err(read)?);
            let rank = (next > take.overdue).then_some(best);
            found.push((rank, next, row.get::<_, i64>(0).map_err(read)?));
        }
    }
    found.sort_unstable();
    Ok(found.into_iter().map(|(_, _, key)| key).collect())
}

fn take_due(session: &mut Session<'_>, take: &TakeGenerators) -> Result<TakenGenerators, Error> {
    let next = next_after(session, take.due)?;
    let until = take.now.plus(take.lease).as_micros();
    let mut generators = Vec::new();
    for key in due(session, take)?.into_iter().take(take.limit) {
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
    let mut fits = version == commit.version;
    for effect in &commit.effects {
        fits = fits && self::fits(session, effect)?;
    }
    let seqs = settled(session, commit.generator, &commit.settled)?;
    let is_fresh = fits && are_failed(session, &commit.again)?;
    let (Some(seqs), true) = (seqs, is_fresh) else {
        session.execute(LET_GO, (key, now.plus(GENERATOR_ANEW_AFTER).as_micros()))?;
        session.hint = true;
        return Ok(false);
    };
    if !commit.settled.is_empty() {
        let dead = commit.settled.iter().filter(|item| item.end.keeps_job()).map(|item| item.job);
        let dead = blobs(dead);
        if !dead.is_empty() {
            session.execute(KEEP_KEYS, params![key, dead])?;
        }
        let jobs = blobs(commit.settled.iter().map(|item| item.job));
        session.execute(FORGET_SETTLED, params![key, jobs])?;
        remove(session, seqs)?;
    }
    let jobs: Vec<_> = commit.items.iter().map(|item| item.job.clone()).collect();
    if !jobs.is_empty() {
        let stored = enqueue::enqueue(session, now, &jobs)?;
        insert_items(session, key, &commit.items, &stored)?;
    }
    if !commit.again.is_empty() {
        run_again(session, now, key, &commit.again)?;
    }
    for effect in &commit.effects {
        apply(session, now, effect)?;
    }
    let next = commit.next.map(Timestamp::as_micros);
    let (paused, notices, look_after) = (commit.paused, commit.notices, commit.look_after);
    let values =
        params![key, commit.record, commit.state, paused, next, notices, now.as_micros(), look_after];
    session.execute(COMMIT, values)?;
    if commit.effects.iter().any(Effect::ends_generator) {
        forget(session, commit.generator)?;
    }
    Ok(true)
}

/// Notes which jobs are items, many rows at a time.
fn insert_items(
    session: &mut Session<'_>,
    generator: i64,
    items: &[NewItem],
    stored: &[Enqueued],
) -> Result<(), Error> {
    let mut rows: Vec<_> = items.iter().zip(stored).collect();
    // In the order of their keys in the table, which is that of a tree.
    rows.sort_unstable_by_key(|(_, stored)| stored.id);
    INSERT_ITEMS.insert(session, &rows, |(item, stored), values| {
        values.bind(generator)?;
        values.bind(stored.id.as_bytes())?;
        values.bind(&item.key)
    })
}

static INSERT_ITEMS: LazyLock<ManyRows> = LazyLock::new(|| {
    let unless_it_is_there = " ON CONFLICT (generator, job) DO NOTHING";
    ManyRows::new("INSERT INTO taskwright_item (generator, job, key) VALUES ", 3, unless_it_is_there)
});

/// A list of ids as one parameter.
fn blobs(ids: impl Iterator<Item = JobId>) -> Rc<Vec<Value>> {
    Rc::new(ids.map(|id| Value::Blob(id.as_bytes().to_vec())).collect())
}

/// Writes what a generator of ours writes besides.
fn apply(session: &mut Session<'_>, now: Timestamp, effect: &Effect) -> Result<(), Error> {
    match effect {
        Effect::Files(generator, write) => file::write(session, *generator, write),
        Effect::Webhook(turn) => webhook::write_turn(session, now, turn),
        Effect::Bulk(write) => bulk::write(session, now, write),
    }
}

/// Whether it may be written.
fn fits(session: &mut Session<'_>, effect: &Effect) -> Result<bool, Error> {
    match effect {
        Effect::Bulk(write) => bulk::fits(session, write),
        Effect::Files(..) | Effect::Webhook(_) => Ok(true),
    }
}

/// Whether these are failed jobs.
fn are_failed(session: &mut Session<'_>, again: &[AgainItem]) -> Result<bool, Error> {
    for item in again {
        let state = session.first(OVER_AS, [item.job.as_bytes()], |row| row.get::<_, u8>(0))?;
        if state != Some(State::Failed.code()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Makes items once more of jobs that have failed.
fn run_again(
    session: &mut Session<'_>,
    now: Timestamp,
    generator: i64,
    again: &[AgainItem],
) -> Result<(), Error> {
    let jobs: Vec<JobId> = again.iter().map(|item| item.job).collect();
    let by = By { now, actor: &Actor::system(), reason: None };
    change::change(session, &jobs, Change::Redo { repeat: false }, &by)?;
    for item in again {
        session.execute(INSERT_ITEM, params![generator, item.job.as_bytes(), item.key])?;
    }
    Ok(())
}

/// The numbers of the jobs that are to be removed; `None` when one of the items is not outstanding, or has not ended as somebody saw.
fn settled(
    session: &mut Session<'_>,
    generator: GeneratorKey,
    items: &[SettledItem],
) -> Result<Option<Vec<i64>>, Error> {
    if items.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let jobs = blobs(items.iter().map(|item| item.job));
    let found = session.all(&settled_query(), params![generator.0, jobs], |row| {
        Ok((JobId::from_bytes(row.get(7)?), read_item(row)?))
    })?;
    let found: HashMap<JobId, _> = found.into_iter().collect();
    let mut seqs = Vec::with_capacity(items.len());
    for item in items {
        match found.get(&item.job) {
            Some((seq, state)) if ItemEnd::of(*state) == Some(item.end) => {
                seqs.extend(seq.filter(|_| !item.end.keeps_job()));
            }
            _ => return Ok(None),
        }
    }
    Ok(Some(seqs))
}

/// Where the jobs of some outstanding items are.
pub(super) fn settled_query() -> String {
    format!("{} AND i.job IN rarray(?2)", items_query())
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
        // What completed has nothing to say.
        let told = seq.filter(|_| state != Some(State::Completed));
        let view = told.map(|seq| view.query_row([seq], read_view)).transpose()?;
        ended.push(EndedItem {
            job: JobId::from_bytes(row.get(7)?),
            key: row.get(8)?,
            state,
            attempts: if seq.is_some() { row.get(2)? } else { 0 },
            error: view.and_then(|(_, view)| view.error),
        });
    }
    Ok(ended)
}

pub(super) fn read_generator(row: &Row<'_>) -> rusqlite::Result<StoredGenerator> {
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
pub(super) const COLUMNS: &str =
    "generator, namespace, name, version, fence, notices, paused, next, lease_until,
     created_at, changed_at, definition, record, state";

pub(super) fn by_name() -> String {
    format!("SELECT {COLUMNS} FROM taskwright_generator WHERE namespace = ?1 AND name = ?2")
}

pub(super) fn by_key() -> String {
    format!("SELECT {COLUMNS} FROM taskwright_generator WHERE generator = ?1")
}

fn list() -> String {
    format!(
        "SELECT {COLUMNS} FROM taskwright_generator WHERE generator > ?1 AND (?2 IS NULL OR namespace = ?2)
         ORDER BY generator LIMIT ?3"
    )
}

pub(super) fn take_one() -> String {
    format!(
        "UPDATE taskwright_generator SET fence = fence + 1, ended = 0, lease_until = ?2, next = ?2 WHERE generator = ?1
         RETURNING {COLUMNS}"
    )
}

const INSERT: &str = "INSERT INTO taskwright_generator
        (namespace, name, version, fence, notices, paused, next, created_at, changed_at, definition, record, state,
         best, listens)
     VALUES (?1, ?2, 1, 0, 0, 0, ?3, ?4, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (namespace, name) DO NOTHING
     RETURNING generator";
const REDEFINE: &str =
    "UPDATE taskwright_generator SET definition = ?3, changed_at = ?4, best = ?5, listens = ?6
     WHERE namespace = ?1 AND name = ?2 AND definition <> ?3";
pub(super) const DUE: &str = "SELECT generator, namespace, name, best, next FROM taskwright_generator
     WHERE next IS NOT NULL AND next <= ?1 ORDER BY next, generator";
pub(super) const NEXT: &str =
    "SELECT next FROM taskwright_generator WHERE next IS NOT NULL AND next > ?1 ORDER BY next LIMIT 1";
pub(super) const HELD: &str = "SELECT version FROM taskwright_generator WHERE generator = ?1 AND fence = ?2";
pub(super) const RENEW: &str = "UPDATE taskwright_generator
     SET lease_until = ?3, next = iif(next IS NULL, NULL, ?3)
     WHERE generator = ?1 AND fence = ?2 AND lease_until IS NOT NULL";
pub(super) const LISTENING: &str = "SELECT namespace, name, definition FROM taskwright_generator
     WHERE listens = 1 AND listens <> 0 ORDER BY generator";
pub(super) const LET_GO: &str = "UPDATE taskwright_generator
     SET lease_until = NULL, next = iif(next IS NULL, NULL, ?2)
     WHERE generator = ?1 AND lease_until IS NOT NULL";
pub(super) const COMMIT: &str = "UPDATE taskwright_generator
     SET version = version + 1, record = ?2, state = coalesce(?3, state), paused = ?4, lease_until = NULL,
         look_after = ?8,
         next = CASE WHEN notices <> ?6 AND NOT ?4 THEN ?7
                     WHEN ended >= ?8 AND ?8 > 0 AND ?5 IS NOT NULL THEN min(?5, ?7) ELSE ?5 END
     WHERE generator = ?1";
pub(super) const WRITE: &str = "UPDATE taskwright_generator
     SET version = version + 1, record = ?3, paused = ?4, state = coalesce(?6, state),
         next = iif(?5 IS NULL, NULL, max(?5, coalesce(lease_until, ?5)))
     WHERE generator = ?1 AND version = ?2";
pub(super) const NOTIFY: &str = "UPDATE taskwright_generator
     SET notices = notices + 1,
         next = iif(paused OR coalesce(lease_until > ?3, 0), next, ?3)
     WHERE namespace = ?1 AND name = ?2";
/// Counts ends of items; answers whether the generator is due, and after how many more it will be.
pub(super) const NOTE_ENDS: &str = "UPDATE taskwright_generator
     SET ended = ended + ?3,
         next = iif(next > ?4 AND look_after > 0 AND ended + ?3 >= look_after AND NOT coalesce(lease_until > ?4, 0),
                    ?4, next)
     WHERE namespace = ?1 AND name = ?2 RETURNING next IS NOT NULL AND next <= ?4, max(look_after - ended, 0)";
pub(super) const OVER_AS: &str =
    "SELECT o.state FROM taskwright_job j JOIN taskwright_over o ON o.seq = j.seq WHERE j.id = ?1";
pub(super) const NOTIFY_KEY: &str = "UPDATE taskwright_generator
     SET notices = notices + 1,
         next = iif(paused OR coalesce(lease_until > ?2, 0), next, ?2)
     WHERE generator = ?1";
/// Gives a notice to one that is being committed.
pub(super) const NOTE: &str = "UPDATE taskwright_generator SET notices = notices + 1 WHERE generator = ?1";
pub(super) const INSERT_ITEM: &str = "INSERT INTO taskwright_item (generator, job, key) VALUES (?1, ?2, ?3)
     ON CONFLICT (generator, job) DO NOTHING";
/// What dead letters were called stays with their jobs.
pub(super) const KEEP_KEYS: &str = "UPDATE taskwright_job SET item_key = i.key FROM taskwright_item i
    WHERE i.generator = ?1 AND i.job IN rarray(?2) AND taskwright_job.id = i.job AND i.key IS NOT NULL";
pub(super) const FORGET_SETTLED: &str =
    "DELETE FROM taskwright_item WHERE generator = ?1 AND job IN rarray(?2)";
pub(super) const FORGET_ITEMS: &str = "DELETE FROM taskwright_item WHERE generator = ?1";
const REMOVE: &str = "DELETE FROM taskwright_generator WHERE generator = ?1";
