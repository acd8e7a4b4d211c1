//! Generators, and which jobs are outstanding items of theirs.
//!
//! A commit locks the row of the generator, and then the jobs that it settles, in their order. Nobody else holds a generator
//! while waiting for a job.

use std::collections::HashMap;

use taskwright_core::generator::ItemEnd;
use taskwright_core::limit::GENERATOR_ANEW_AFTER;
use taskwright_core::{Actor, GeneratorName, JobId, Namespace, NewJob, State, Timestamp};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::bulk;
use super::change::{self, By, remove};
use super::enqueue;
use super::file;
use super::place;
use super::query::walk_indexes;
use super::query::{read_view, view_query};
use super::rest;
use super::schedule::page;
use super::session::{Session, Uuid, get, name, vanished};
use super::webhook;
use crate::change::Change;
use crate::error::Error;
use crate::generator::{
    AgainItem, Effect, EndedItem, GeneratorCommit, GeneratorKey, GeneratorWrite, ListeningGenerator,
    NewGenerator, SettledItem, StoredGenerator, TakeGenerators,
};
use crate::query::JobView;

/// A number that is kept as a signed one.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// See [`GeneratorStore::put_generators`](crate::GeneratorStore::put_generators).
pub(super) async fn put(
    session: &mut Session<'_>,
    now: Timestamp,
    generators: &[NewGenerator],
) -> Result<Vec<bool>, Error> {
    let mut changed = vec![false; generators.len()];
    // In one order, so that two programs that start at once do not wait for each other in a circle.
    let mut order: Vec<usize> = (0..generators.len()).collect();
    order.sort_by_key(|at| (generators[*at].namespace.as_str(), generators[*at].name.as_str()));
    for at in order {
        let new = &generators[at];
        let (namespace, name, at_us) = (new.namespace.as_str(), new.name.as_str(), now.as_micros());
        changed[at] = insert(session, now, new).await?.is_some()
            || session
                .execute(REDEFINE, &[&namespace, &name, &new.definition, &at_us, &best(new), &new.listens])
                .await?
                > 0;
    }
    session.hint = true;
    Ok(changed)
}

/// Adds a generator; `None` when the name is taken.
pub(super) async fn insert(
    session: &mut Session<'_>,
    now: Timestamp,
    new: &NewGenerator,
) -> Result<Option<i64>, Error> {
    let (namespace, name, now) = (new.namespace.as_str(), new.name.as_str(), now.as_micros());
    let next = new.next.map(Timestamp::as_micros);
    let values: &[&(dyn ToSql + Sync)] =
        &[&namespace, &name, &next, &now, &new.definition, &new.record, &new.state, &best(new), &new.listens];
    let Some(row) = session.first(INSERT, values).await? else { return Ok(None) };
    rest::end(session, &new.namespace, &new.name).await?;
    get(&row, 0).map(Some)
}

fn best(new: &NewGenerator) -> i32 {
    i32::from(new.best.0)
}

/// Makes a generator known, and gives its key.
pub(super) async fn put_and_find(
    session: &mut Session<'_>,
    now: Timestamp,
    new: &NewGenerator,
) -> Result<i64, Error> {
    put(session, now, std::slice::from_ref(new)).await?;
    let found = find(session, &new.namespace, &new.name).await?;
    found.map(|stored| stored.key.0).ok_or_else(|| vanished("a generator"))
}

/// The names of generators that are to be taken, as parameters of [`take_due`].
pub(super) fn names(take: &TakeGenerators) -> (Vec<&str>, Vec<&str>) {
    take.names.iter().map(|(namespace, name)| (namespace.as_str(), name.as_str())).unzip()
}

/// What [`NEXT`] says: whether anything is due, and when the next one after that is.
pub(super) fn read_next(rows: &[Row]) -> Result<(bool, Option<Timestamp>), Error> {
    let row = rows.first().ok_or_else(|| vanished("an answer"))?;
    Ok((get(row, 0)?, get::<Option<i64>>(row, 1)?.map(Timestamp::from_micros)))
}

/// What [`take_due`] took, in its order.
pub(super) fn read_taken(rows: &[Row]) -> Result<Vec<StoredGenerator>, Error> {
    let taken =
        rows.iter().map(|row| Ok(((get::<i32>(row, 14)?, get::<i64>(row, 15)?), read_generator(row)?)));
    let mut taken = taken.collect::<Result<Vec<_>, Error>>()?;
    taken.sort_by_key(|(rank, generator)| (*rank, generator.key));
    Ok(taken.into_iter().map(|(_, generator)| generator).collect())
}

/// See [`GeneratorStore::commit_generator`](crate::GeneratorStore::commit_generator).
pub(super) async fn commit(
    session: &mut Session<'_>,
    now: Timestamp,
    commit: &GeneratorCommit,
) -> Result<bool, Error> {
    let key = commit.generator.0;
    let Some(held) = session.first(HELD, &[&key, &signed(commit.fence)]).await? else { return Ok(false) };
    let mut is_fresh = get::<i64>(&held, 0)? == signed(commit.version);
    for effect in &commit.effects {
        is_fresh = is_fresh && fits(session, effect).await?;
    }
    let is_fresh = is_fresh && are_failed(session, &commit.again).await?;
    let seqs = if is_fresh { settled(session, key, &commit.settled).await? } else { None };
    let Some(seqs) = seqs else {
        session.execute(LET_GO, &[&key, &now.plus(GENERATOR_ANEW_AFTER).as_micros()]).await?;
        session.hint = true;
        return Ok(false);
    };
    if !commit.settled.is_empty() {
        let dead = commit.settled.iter().filter(|item| item.end.keeps_job());
        let dead: Vec<Uuid> = dead.map(|item| item.job.into()).collect();
        if !dead.is_empty() {
            session.execute(KEEP_KEYS, &[&key, &dead]).await?;
        }
        let ids: Vec<Uuid> = commit.settled.iter().map(|item| item.job.into()).collect();
        session.execute(FORGET_ITEMS, &[&key, &ids]).await?;
        remove(session, &seqs).await?;
    }
    if !commit.items.is_empty() {
        let jobs: Vec<NewJob> = commit.items.iter().map(|item| item.job.clone()).collect();
        let stored = enqueue::enqueue(session, now, &jobs).await?;
        let ids: Vec<Uuid> = stored.iter().map(|stored| stored.id.into()).collect();
        let keys: Vec<Option<&str>> = commit.items.iter().map(|item| item.key.as_deref()).collect();
        session.execute(INSERT_ITEMS, &[&key, &ids, &keys]).await?;
    }
    if !commit.again.is_empty() {
        run_again(session, now, key, &commit.again).await?;
    }
    for effect in &commit.effects {
        apply(session, now, effect).await?;
    }
    let next = commit.next.map(Timestamp::as_micros);
    let (notices, now) = (signed(commit.notices), now.as_micros());
    let look_after = i64::from(commit.look_after);
    let values: [&(dyn ToSql + Sync); 8] =
        [&key, &commit.record, &commit.state, &commit.paused, &next, &notices, &now, &look_after];
    session.execute(COMMIT, &values).await?;
    if commit.effects.iter().any(Effect::ends_generator) {
        forget(session, commit.generator).await?;
    }
    Ok(true)
}

/// Writes what a generator of ours writes besides.
async fn apply(session: &mut Session<'_>, now: Timestamp, effect: &Effect) -> Result<(), Error> {
    match effect {
        Effect::Files(generator, write) => file::write(session, *generator, write).await,
        Effect::Webhook(turn) => webhook::write_turn(session, now, turn).await,
        Effect::Bulk(write) => bulk::write(session, now, write).await,
    }
}

/// Whether it may be written; it locks what it is about, before the items are.
async fn fits(session: &mut Session<'_>, effect: &Effect) -> Result<bool, Error> {
    match effect {
        Effect::Bulk(write) => bulk::fits(session, write).await,
        Effect::Files(..) | Effect::Webhook(_) => Ok(true),
    }
}

/// Whether these are failed jobs, which are locked then.
async fn are_failed(session: &mut Session<'_>, again: &[AgainItem]) -> Result<bool, Error> {
    if again.is_empty() {
        return Ok(true);
    }
    let ids: Vec<JobId> = again.iter().map(|item| item.job).collect();
    let locked = change::lock(session, &ids, Change::Delete).await?;
    let places = place::find(session, &locked.values().copied().collect::<Vec<_>>()).await?;
    let is_failed = |seq: &i64| places.get(seq).is_some_and(|place| place.state == State::Failed);
    Ok(again.iter().all(|item| locked.get(&item.job).is_some_and(is_failed)))
}

/// Makes items once more of jobs that have failed.
async fn run_again(
    session: &mut Session<'_>,
    now: Timestamp,
    generator: i64,
    again: &[AgainItem],
) -> Result<(), Error> {
    let jobs: Vec<JobId> = again.iter().map(|item| item.job).collect();
    let by = By { now, actor: &Actor::system(), reason: None };
    change::change(session, &jobs, Change::Redo { repeat: false }, &by).await?;
    let ids: Vec<Uuid> = jobs.into_iter().map(Uuid::from).collect();
    let keys: Vec<Option<&str>> = again.iter().map(|item| item.key.as_deref()).collect();
    session.execute(INSERT_ITEMS, &[&generator, &ids, &keys]).await?;
    Ok(())
}

/// The numbers of the jobs that are to be removed, locked; `None` when one of the items is not outstanding, or has not ended as
/// somebody saw.
async fn settled(
    session: &mut Session<'_>,
    generator: i64,
    items: &[SettledItem],
) -> Result<Option<Vec<i64>>, Error> {
    if items.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let ids: Vec<JobId> = items.iter().map(|item| item.job).collect();
    let locked = change::lock(session, &ids, Change::Delete).await?;
    let places = place::find(session, &locked.values().copied().collect::<Vec<_>>()).await?;
    let jobs: Vec<Uuid> = ids.into_iter().map(Uuid::from).collect();
    if session.all(OUTSTANDING, &[&generator, &jobs]).await?.len() != items.len() {
        return Ok(None);
    }
    let mut seqs = Vec::with_capacity(items.len());
    for item in items {
        let seq = locked.get(&item.job).copied();
        let state = seq.and_then(|seq| places.get(&seq)).map(|place| place.state);
        if ItemEnd::of(state) != Some(item.end) {
            return Ok(None);
        }
        seqs.extend(seq.filter(|_| !item.end.keeps_job()));
    }
    seqs.sort_unstable();
    Ok(Some(seqs))
}

/// See [`GeneratorStore::write_generator`](crate::GeneratorStore::write_generator).
pub(super) async fn write(session: &mut Session<'_>, write: &GeneratorWrite) -> Result<bool, Error> {
    session.hint = true;
    rewrite(session, write, None).await
}

/// Writes what somebody changed, and the state if there is one; `false` when the version is another.
pub(super) async fn rewrite(
    session: &mut Session<'_>,
    write: &GeneratorWrite,
    state: Option<&str>,
) -> Result<bool, Error> {
    let (key, version) = (write.generator.0, signed(write.version));
    let next = write.next.map(Timestamp::as_micros);
    let state = state.or(write.state.as_deref());
    let written =
        session.execute(WRITE, &[&key, &version, &write.record, &write.paused, &next, &state]).await?;
    Ok(written > 0)
}

/// See [`GeneratorStore::renew_generator`](crate::GeneratorStore::renew_generator).
pub(super) async fn renew(
    session: &mut Session<'_>,
    generator: GeneratorKey,
    fence: u64,
    until: Timestamp,
) -> Result<bool, Error> {
    let renewed = session.execute(RENEW, &[&generator.0, &signed(fence), &until.as_micros()]).await? > 0;
    session.hint |= renewed;
    Ok(renewed)
}

/// See [`GeneratorStore::listening_generators`](crate::GeneratorStore::listening_generators).
pub(super) async fn listening(session: &mut Session<'_>) -> Result<Vec<ListeningGenerator>, Error> {
    let rows = session.all(LISTENING, &[]).await?;
    let read = |row: &Row| {
        Ok(ListeningGenerator {
            namespace: name(row, 0, Namespace::new)?,
            name: name(row, 1, GeneratorName::new)?,
            definition: get(row, 2)?,
        })
    };
    rows.iter().map(read).collect()
}

/// See [`GeneratorStore::notify_generator`](crate::GeneratorStore::notify_generator).
pub(super) async fn notify(
    session: &mut Session<'_>,
    now: Timestamp,
    namespace: &Namespace,
    name: &GeneratorName,
) -> Result<bool, Error> {
    session.hint = true;
    Ok(session.execute(NOTIFY, &[&namespace.as_str(), &name.as_str(), &now.as_micros()]).await? > 0)
}

/// What [`NOTE_ENDS`] answers: whether the generator is due by that, and after how many more ends it will be.
pub(super) fn read_noted(rows: &[Row]) -> Result<(bool, u32), Error> {
    let Some(row) = rows.first() else { return Ok((false, 0)) };
    Ok((get(row, 0)?, u32::try_from(get::<i64>(row, 1)?).unwrap_or(u32::MAX)))
}

/// See [`GeneratorStore::ended_items`](crate::GeneratorStore::ended_items).
pub(super) async fn ended(
    session: &mut Session<'_>,
    generator: GeneratorKey,
    limit: usize,
) -> Result<Vec<EndedItem>, Error> {
    let rows = session.all(ITEMS, &[&generator.0]).await?;
    let seqs = rows.iter().filter_map(|row| get(row, 2).transpose()).collect::<Result<Vec<i64>, _>>()?;
    let places = place::find(session, &seqs).await?;
    let mut found: Vec<(Option<i64>, Option<State>, u32, &Row)> = Vec::new();
    for row in &rows {
        let seq = get::<Option<i64>>(row, 2)?;
        // One that was removed between the two statements is gone as the others are.
        let place = seq.and_then(|seq| places.get(&seq));
        let state = place.map(|place| place.state);
        if ItemEnd::of(state).is_some() && found.len() < limit {
            found.push((seq, state, place.map_or(0, |place| place.attempts), row));
        }
    }
    // What completed has nothing to say.
    let speaks = |state: &Option<State>| *state != Some(State::Completed);
    let seqs: Vec<i64> =
        found.iter().filter(|(_, state, ..)| speaks(state)).filter_map(|(seq, ..)| *seq).collect();
    let mut views: HashMap<i64, JobView> = HashMap::new();
    if !seqs.is_empty() {
        let read = format!("{} WHERE j.seq = ANY($1::bigint[])", view_query());
        for row in session.all(&read, &[&seqs]).await? {
            let (seq, view) = read_view(&row)?;
            views.insert(seq, view);
        }
    }
    let ended = found.into_iter().map(|(seq, state, attempts, row)| {
        let view = seq.and_then(|seq| views.remove(&seq));
        Ok(EndedItem {
            job: get::<Uuid>(row, 0)?.into(),
            key: get(row, 1)?,
            state,
            attempts,
            error: view.and_then(|view| view.error),
        })
    });
    ended.collect()
}

/// See [`GeneratorStore::generator`](crate::GeneratorStore::generator).
pub(super) async fn find(
    session: &mut Session<'_>,
    namespace: &Namespace,
    name: &GeneratorName,
) -> Result<Option<StoredGenerator>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM generator g WHERE g.namespace = $1 AND g.name = $2");
    let row = session.first(&sql, &[&namespace.as_str(), &name.as_str()]).await?;
    row.as_ref().map(read_generator).transpose()
}

/// The generator of a key.
pub(super) fn by_key() -> String {
    format!("SELECT {COLUMNS} FROM generator g WHERE g.generator = $1")
}

/// See [`GeneratorStore::generators`](crate::GeneratorStore::generators).
pub(super) async fn list(
    session: &mut Session<'_>,
    namespace: Option<&Namespace>,
    after: Option<GeneratorKey>,
    limit: usize,
) -> Result<Vec<StoredGenerator>, Error> {
    let (after, most) = (after.map_or(0, |key| key.0), page(limit));
    walk_indexes(session).await?;
    let rest = "g.generator > $1 ORDER BY g.generator LIMIT $2";
    let rows = match namespace {
        None => {
            let sql = format!("SELECT {COLUMNS} FROM generator g WHERE {rest}");
            session.all(&sql, &[&after, &most]).await?
        }
        Some(namespace) => {
            let sql = format!("SELECT {COLUMNS} FROM generator g WHERE g.namespace = $3 AND {rest}");
            session.all(&sql, &[&after, &most, &namespace.as_str()]).await?
        }
    };
    rows.iter().map(read_generator).collect()
}

/// See [`GeneratorStore::remove_generator`](crate::GeneratorStore::remove_generator).
pub(super) async fn forget(session: &mut Session<'_>, generator: GeneratorKey) -> Result<bool, Error> {
    // The row first: whoever commits at this moment is waited for, or finds nothing.
    let removed = session.first(REMOVE, &[&generator.0]).await?;
    session.execute(FORGET_ALL_ITEMS, &[&generator.0]).await?;
    session.execute(file::FORGET_ALL, &[&generator.0]).await?;
    let Some(row) = removed else { return Ok(false) };
    let (namespace, name) = (name(&row, 0, Namespace::new)?, name(&row, 1, GeneratorName::new)?);
    rest::begin(session, &namespace, &name).await?;
    Ok(true)
}

pub(super) fn read_generator(row: &Row) -> Result<StoredGenerator, Error> {
    let unsigned = |column| Ok::<_, Error>(get::<i64>(row, column)?.unsigned_abs());
    let moment = |column| Ok::<_, Error>(get::<Option<i64>>(row, column)?.map(Timestamp::from_micros));
    Ok(StoredGenerator {
        key: GeneratorKey(get(row, 0)?),
        namespace: name(row, 1, Namespace::new)?,
        name: name(row, 2, GeneratorName::new)?,
        version: unsigned(3)?,
        fence: unsigned(4)?,
        notices: unsigned(5)?,
        paused: get(row, 6)?,
        next: moment(7)?,
        lease_until: moment(8)?,
        created_at: Timestamp::from_micros(get(row, 9)?),
        changed_at: Timestamp::from_micros(get(row, 10)?),
        definition: get(row, 11)?,
        record: get(row, 12)?,
        state: get(row, 13)?,
    })
}

/// What [`read_generator`] reads.
pub(super) const COLUMNS: &str =
    "g.generator, g.namespace, g.name, g.version, g.fence, g.notices, g.paused, g.next, g.lease_until,
    g.created_at, g.changed_at, g.definition, g.record, g.state";

/// That a generator `d` is due at a moment ($1) and has one of these names ($2, $3), or one that begins so ($4) and items that may
/// be as good ($5).
macro_rules! is_due {
    () => {
        "d.next <= $1 AND (
            EXISTS (
                SELECT FROM unnest($2::text[], $3::text[]) AS n (namespace, name)
                WHERE n.namespace = d.namespace AND n.name = d.name)
            OR d.best <= $5
                AND EXISTS (SELECT FROM unnest($4::text[]) AS p (prefix) WHERE starts_with(d.name, p.prefix)))"
    };
}

/// Takes generators that are due, until a moment ($6), at most so many ($7); those that were due at another ($8) come first. What
/// somebody else is taking or writing is passed over.
pub(super) fn take_due() -> String {
    format!(
        "WITH due AS MATERIALIZED (
            SELECT d.generator, d.next, CASE WHEN d.next <= $8 THEN -32769 ELSE d.best END AS rank FROM generator d
            WHERE {} ORDER BY rank, d.next, d.generator LIMIT $7 FOR UPDATE OF d SKIP LOCKED)
        UPDATE generator g SET fence = g.fence + 1, ended = 0, lease_until = $6, next = $6
        FROM due WHERE g.generator = due.generator RETURNING {COLUMNS}, due.rank, due.next",
        is_due!()
    )
}

/// Whether a generator is due, and when the next one after that is, whosever it is.
pub(super) const NEXT: &str = concat!(
    "SELECT EXISTS (SELECT FROM generator d WHERE ",
    is_due!(),
    "), (SELECT next FROM generator WHERE next > $1 ORDER BY next LIMIT 1)"
);
const RENEW: &str = "UPDATE generator
    SET lease_until = $3, next = CASE WHEN next IS NOT NULL THEN $3::bigint END
    WHERE generator = $1 AND fence = $2 AND lease_until IS NOT NULL";
const LISTENING: &str = "SELECT namespace, name, definition FROM generator WHERE listens ORDER BY generator";
const INSERT: &str = "INSERT INTO generator
        (namespace, name, version, fence, notices, paused, next, created_at, changed_at, definition, record, state,
         best, listens)
    VALUES ($1, $2, 1, 0, 0, false, $3, $4, $4, $5, $6, $7, $8, $9) ON CONFLICT (namespace, name) DO NOTHING
    RETURNING generator";
const REDEFINE: &str = "UPDATE generator SET definition = $3, changed_at = $4, best = $5, listens = $6
    WHERE namespace = $1 AND name = $2 AND definition <> $3";
const HELD: &str = "SELECT version FROM generator WHERE generator = $1 AND fence = $2 FOR UPDATE";
const LET_GO: &str = "UPDATE generator
    SET lease_until = NULL, next = CASE WHEN next IS NOT NULL THEN $2::bigint END
    WHERE generator = $1 AND lease_until IS NOT NULL";
const COMMIT: &str = "UPDATE generator
    SET version = version + 1, record = $2, state = coalesce($3, state), paused = $4, lease_until = NULL,
        look_after = $8,
        next = CASE WHEN notices <> $6 AND NOT $4 THEN $7::bigint
                    WHEN ended >= $8 AND $8 > 0 AND $5::bigint IS NOT NULL THEN least($5::bigint, $7::bigint)
                    ELSE $5::bigint END
    WHERE generator = $1";
const WRITE: &str = "UPDATE generator
    SET version = version + 1, record = $3, paused = $4, state = coalesce($6, state),
        next = CASE WHEN $5::bigint IS NOT NULL THEN greatest($5::bigint, lease_until) END
    WHERE generator = $1 AND version = $2";
const NOTIFY: &str = "UPDATE generator
    SET notices = notices + 1, next = CASE WHEN paused OR lease_until > $3 THEN next ELSE $3 END
    WHERE namespace = $1 AND name = $2";
/// Counts ends of items; answers whether the generator is due, and after how many more it will be.
pub(super) const NOTE_ENDS: &str = "UPDATE generator
    SET ended = ended + $3,
        next = CASE WHEN next > $4 AND look_after > 0 AND ended + $3 >= look_after AND (lease_until > $4) IS NOT TRUE
                    THEN $4 ELSE next END
    WHERE namespace = $1 AND name = $2 RETURNING coalesce(next <= $4, false), greatest(look_after - ended, 0)";
pub(super) const NOTIFY_KEYS: &str = "UPDATE generator
    SET notices = notices + 1, next = CASE WHEN paused OR lease_until > $2 THEN next ELSE $2 END
    WHERE generator = ANY($1::bigint[])";
/// Gives a notice to one that is being committed.
pub(super) const NOTE: &str = "UPDATE generator SET notices = notices + 1 WHERE generator = $1";
/// All outstanding items, and their jobs.
const ITEMS: &str = "SELECT i.job, i.key, j.seq FROM item i
    LEFT JOIN LATERAL (SELECT seq FROM job WHERE job.id = i.job LIMIT 1) j ON true
    WHERE i.generator = $1 ORDER BY i.generator, i.job";
const OUTSTANDING: &str = "SELECT job FROM item WHERE generator = $1 AND job = ANY($2::uuid[])";
const INSERT_ITEMS: &str = "INSERT INTO item (generator, job, key)
    SELECT $1::bigint, t.job, t.key FROM unnest($2::uuid[], $3::text[]) AS t (job, key)
    ON CONFLICT (generator, job) DO NOTHING";
/// What dead letters were called stays with their jobs.
const KEEP_KEYS: &str = "UPDATE job SET item_key = (
        SELECT i.key FROM item i WHERE i.generator = $1 AND i.job = job.id)
    WHERE id = ANY(ARRAY(
        SELECT job FROM item WHERE generator = $1 AND job = ANY($2::uuid[]) AND key IS NOT NULL))";
const FORGET_ITEMS: &str = "DELETE FROM item WHERE generator = $1 AND job = ANY($2::uuid[])";
const FORGET_ALL_ITEMS: &str = "DELETE FROM item WHERE generator = $1";
const REMOVE: &str = "DELETE FROM generator WHERE generator = $1 RETURNING namespace, name";
