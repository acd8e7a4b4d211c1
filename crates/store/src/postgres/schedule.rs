//! Schedules, and what they fired.
//!
//! A batch of writes is a handful of statements, however many there are: the schedules that are new, those that are
//! stored, the occurrences that have made a job before, the jobs (an enqueue), and the history. Whoever holds the row of a
//! schedule is the only one who fires it, so that what is looked at under its lock stays so. All that is locked is locked
//! in one order: nodes that write the same schedules wait for each other, and not in a circle.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use taskwright_core::limit::{ENQUEUE_JOBS_MAX, PAGE_ROWS_MAX};
use taskwright_core::outcome::Interest;
use taskwright_core::schedule::FiringKind;
use taskwright_core::{Actor, EventId, JobId, Namespace, NewJob, ScheduleName, State, Timestamp, TriggerId};
use tokio_postgres::Row;

use super::change::{By, change};
use super::enqueue;
use super::place::{self, PLACE_COLUMNS, PLACE_JOINS};
use super::query::walk_indexes;
use super::session::{Session, Uuid, get, name, name_if_any, vanished};
use crate::Enqueued;
use crate::change::Change;
use crate::error::Error;
use crate::schedule::{
    DueSchedules, Fires, FiringOutcome, FiringView, JobOrigin, NewFiring, Occurrence, Previous, ScheduleKey,
    ScheduleWrite, SkippedRun, StoredSchedule, Target, Written,
};

/// Writes schedules, each for itself. See [`ScheduleStore::write_schedules`](crate::ScheduleStore::write_schedules).
pub(super) async fn write(
    session: &mut Session<'_>,
    now: Timestamp,
    writes: &[ScheduleWrite],
) -> Result<Vec<Written>, Error> {
    let mut written = vec![Written::Stale; writes.len()];
    // A schedule that comes twice is written twice, one after the other.
    let mut rest: Vec<usize> = (0..writes.len()).collect();
    while !rest.is_empty() {
        let mut met = HashSet::new();
        let (round, again) = rest.into_iter().partition::<Vec<_>, _>(|at| met.insert(Which::of(writes, *at)));
        rest = again;
        let keys = insert(session, now, writes, &round).await?;
        keys.into_iter().for_each(|(at, key)| written[at] = Written::Done(ScheduleKey(key)));
        for (at, key) in update(session, now, writes, &round).await? {
            written[at] = Written::Done(ScheduleKey(key));
        }
        let done = round.into_iter().filter_map(|at| match written[at] {
            Written::Done(key) => Some((key.0, &writes[at])),
            Written::Stale => None,
        });
        let done: Vec<(i64, &ScheduleWrite)> = done.collect();
        note_interests(session, &done).await?;
        for (_, write) in done.iter().filter(|(_, write)| !write.cancel.jobs.is_empty()) {
            let Previous { jobs, reason } = &write.cancel;
            let by = By { now, actor: &Actor::system(), reason: Some(reason) };
            change(session, jobs, Change::Cancel, &by).await?;
        }
        fire(session, now, done).await?;
    }
    session.hint |= written.iter().any(|one| *one != Written::Stale);
    Ok(written)
}

/// What tells the schedule of a write from others.
#[derive(PartialEq, Eq, Hash)]
enum Which<'a> {
    New(&'a str, &'a str),
    Stored(i64),
}

impl<'a> Which<'a> {
    fn of(writes: &'a [ScheduleWrite], at: usize) -> Self {
        match &writes[at].target {
            Target::New { namespace, name } => Self::New(namespace.as_str(), name.as_str()),
            Target::Stored { key, .. } => Self::Stored(key.0),
        }
    }
}

/// Stores those of the writes that are of new schedules; the keys of those whose names were free.
async fn insert(
    session: &mut Session<'_>,
    now: Timestamp,
    writes: &[ScheduleWrite],
    round: &[usize],
) -> Result<Vec<(usize, i64)>, Error> {
    let (mut namespaces, mut names, mut next) = (Vec::new(), Vec::new(), Vec::new());
    let (mut listens, mut definitions, mut states) = (Vec::new(), Vec::new(), Vec::new());
    let mut by_name = HashMap::new();
    for at in round {
        let write = &writes[*at];
        let (Target::New { namespace, name }, Some(definition)) = (&write.target, &write.definition) else {
            continue;
        };
        by_name.insert((namespace.as_str(), name.as_str()), *at);
        namespaces.push(namespace.as_str());
        names.push(name.as_str());
        next.push(write.next.map(Timestamp::as_micros));
        listens.push(definition.listens);
        definitions.push(definition.json.as_str());
        states.push(write.state.as_str());
    }
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let rows = session
        .all(INSERT, &[&namespaces, &names, &next, &listens, &definitions, &states, &now.as_micros()])
        .await?;
    let stored = rows.iter().map(|row| {
        let named = (get(row, 0)?, get(row, 1)?);
        let at = by_name.get(&named).ok_or_else(|| vanished("a new schedule"))?;
        Ok((*at, get(row, 2)?))
    });
    stored.collect()
}

/// Writes those of the writes that are of stored schedules; the keys of those that were as they had been read.
async fn update(
    session: &mut Session<'_>,
    now: Timestamp,
    writes: &[ScheduleWrite],
    round: &[usize],
) -> Result<Vec<(usize, i64)>, Error> {
    let stored = |at: &usize| match writes[*at].target {
        Target::Stored { key, version } => Some((key.0, i64::try_from(version).unwrap_or(i64::MAX), *at)),
        Target::New { .. } => None,
    };
    let mut stored: Vec<(i64, i64, usize)> = round.iter().filter_map(stored).collect();
    if stored.is_empty() {
        return Ok(Vec::new());
    }
    stored.sort_unstable();
    let keys: Vec<i64> = stored.iter().map(|(key, _, _)| *key).collect();
    let versions: Vec<i64> = stored.iter().map(|(_, version, _)| *version).collect();
    let of = |(_, _, at): &(i64, i64, usize)| &writes[*at];
    let next: Vec<Option<i64>> = stored.iter().map(|one| of(one).next.map(Timestamp::as_micros)).collect();
    let states: Vec<&str> = stored.iter().map(|one| of(one).state.as_str()).collect();
    let definition = |one| of(one).definition.as_ref();
    let definitions: Vec<Option<&str>> =
        stored.iter().map(|one| definition(one).map(|definition| definition.json.as_str())).collect();
    let listens: Vec<Option<bool>> =
        stored.iter().map(|one| definition(one).map(|definition| definition.listens)).collect();
    let rows = session
        .all(UPDATE, &[&keys, &versions, &next, &states, &definitions, &listens, &now.as_micros()])
        .await?;
    let places: HashMap<i64, usize> = stored.into_iter().map(|(key, _, at)| (key, at)).collect();
    let written = rows.iter().map(|row| {
        let key = get(row, 0)?;
        let at = places.get(&key).ok_or_else(|| vanished("a schedule"))?;
        Ok((*at, key))
    });
    written.collect()
}

/// Notes of schedules that were changed whose ends are to be told for them, instead of what was noted before.
async fn note_interests(session: &mut Session<'_>, done: &[(i64, &ScheduleWrite)]) -> Result<(), Error> {
    let changed: Vec<i64> =
        done.iter().filter(|(_, write)| write.definition.is_some()).map(|(key, _)| *key).collect();
    if changed.is_empty() {
        return Ok(());
    }
    session.execute(FORGET_INTERESTS, &[&changed]).await?;
    let (mut schedules, mut kinds, mut states) = (Vec::new(), Vec::new(), Vec::new());
    for (schedule, write) in done {
        for Interest { kind, state } in write.definition.iter().flat_map(|definition| &definition.outcomes) {
            schedules.push(*schedule);
            states.push(state.as_str());
            kinds.push(kind.as_ref().map_or("", |kind| kind.as_str()));
        }
    }
    if !schedules.is_empty() {
        session.execute(NOTE_INTERESTS, &[&schedules, &kinds, &states]).await?;
    }
    Ok(())
}

/// Makes the jobs of schedules that are locked, and writes the history.
async fn fire(
    session: &mut Session<'_>,
    now: Timestamp,
    done: Vec<(i64, &ScheduleWrite)>,
) -> Result<(), Error> {
    let mut firings: Vec<(i64, &NewFiring)> = Vec::new();
    for (schedule, write) in done {
        firings.extend(write.firings.iter().map(|firing| (schedule, firing)));
    }
    if firings.is_empty() {
        return Ok(());
    }
    let mut fired = fired(session, &firings).await?;
    let mut taken = Vec::with_capacity(firings.len());
    for (schedule, firing) in firings {
        let outcome = match (&firing.what, firing.occurrence()) {
            (Fires::Skip(run), _) => What::Skip(*run),
            (Fires::Job(kind, job), None) => What::Job(*kind, job),
            (Fires::Job(kind, job), Some((occurrence, trigger))) => {
                match fired.entry((schedule, occurrence)) {
                    Entry::Occupied(by) if by.get() == trigger => continue,
                    Entry::Occupied(_) => What::Skip(SkippedRun::same_due(firing.due)),
                    Entry::Vacant(none) => {
                        none.insert(trigger.clone());
                        What::Job(*kind, job)
                    }
                }
            }
        };
        taken.push((schedule, firing, outcome));
    }
    let jobs = taken.iter().filter_map(|(.., what)| match what {
        What::Job(_, job) => Some(*job),
        What::Skip(_) => None,
    });
    let mut stored = enqueue_in_order(session, now, &jobs.collect::<Vec<_>>()).await?.into_iter();
    let mut history = History::default();
    for (schedule, firing, what) in taken {
        let outcome = match what {
            What::Job(kind, _) => {
                let job = stored.next().ok_or_else(|| vanished("a job"))?;
                FiringOutcome::Fired { kind, job: job.id, coalesced: job.existing }
            }
            What::Skip(run) => FiringOutcome::Skipped(run),
        };
        history.add(schedule, firing, &outcome);
    }
    history.write(session, now).await
}

/// Stores jobs, and answers in their order. Those with unique keys come last and in the order of these, so that the rest is
/// one statement, and nobody who stores others with the same keys waits in a circle.
async fn enqueue_in_order(
    session: &mut Session<'_>,
    now: Timestamp,
    jobs: &[&NewJob],
) -> Result<Vec<Enqueued>, Error> {
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    order.sort_by_key(|at| {
        let job = jobs[*at];
        job.unique.as_ref().map(|unique| (job.namespace.as_str(), job.kind.as_str(), unique.as_str()))
    });
    let mut answers = vec![None; jobs.len()];
    // What many schedules have missed may be more than one enqueue takes.
    for part in order.chunks(ENQUEUE_JOBS_MAX) {
        let batch: Vec<NewJob> = part.iter().map(|at| jobs[*at].clone()).collect();
        for (at, stored) in part.iter().zip(enqueue::enqueue(session, now, &batch).await?) {
            answers[*at] = Some(stored);
        }
    }
    answers.into_iter().map(|answer| answer.ok_or_else(|| vanished("a job"))).collect()
}

/// What becomes of a firing, after it was looked what has fired before.
enum What<'a> {
    Job(FiringKind, &'a NewJob),
    Skip(SkippedRun),
}

/// Those occurrences that have made a job before, and by which trigger.
async fn fired(
    session: &mut Session<'_>,
    firings: &[(i64, &NewFiring)],
) -> Result<HashMap<(i64, Occurrence), TriggerId>, Error> {
    let asked: Vec<(i64, &NewFiring, Occurrence)> = firings
        .iter()
        .filter_map(|(schedule, firing)| firing.occurrence().map(|(what, _)| (*schedule, *firing, what)))
        .collect();
    if asked.is_empty() {
        return Ok(HashMap::new());
    }
    let schedules: Vec<i64> = asked.iter().map(|(schedule, ..)| *schedule).collect();
    let triggers: Vec<Option<&str>> =
        asked.iter().map(|(_, firing, _)| firing.trigger.as_ref().map(TriggerId::as_str)).collect();
    let due: Vec<i64> = asked.iter().map(|(_, firing, _)| firing.due.as_micros()).collect();
    let events: Vec<Option<Uuid>> = asked.iter().map(|(_, firing, _)| firing.event.map(Uuid::from)).collect();
    let rows = session.all(FIRED, &[&schedules, &triggers, &due, &events]).await?;
    let known = rows.iter().map(|row| {
        let number = usize::try_from(get::<i64>(row, 0)? - 1).ok();
        let (schedule, _, what) =
            number.and_then(|number| asked.get(number)).ok_or_else(|| vanished("an occurrence"))?;
        Ok(((*schedule, what.clone()), name(row, 1, TriggerId::new)?))
    });
    known.collect()
}

/// Rows of the history, as columns.
#[derive(Default)]
struct History<'a> {
    schedules: Vec<i64>,
    triggers: Vec<Option<&'a str>>,
    due: Vec<i64>,
    previous_due: Vec<Option<i64>>,
    events: Vec<Option<Uuid>>,
    kinds: Vec<Option<String>>,
    jobs: Vec<Option<Uuid>>,
    coalesced: Vec<Option<bool>>,
    skipped_to: Vec<Option<i64>>,
    skipped_count: Vec<Option<i64>>,
    is_exact: Vec<Option<bool>>,
    reasons: Vec<Option<String>>,
}

impl<'a> History<'a> {
    fn add(&mut self, schedule: i64, firing: &'a NewFiring, outcome: &FiringOutcome) {
        self.schedules.push(schedule);
        let by_hand = matches!(outcome, FiringOutcome::Fired { kind: FiringKind::ByHand, .. });
        self.triggers.push(firing.trigger.as_ref().filter(|_| !by_hand).map(TriggerId::as_str));
        self.due.push(firing.due.as_micros());
        self.previous_due.push(firing.previous_due.map(Timestamp::as_micros));
        self.events.push(firing.event.map(Uuid::from));
        let (fired, skipped) = match outcome {
            FiringOutcome::Fired { kind, job, coalesced } => (Some((kind, *job, *coalesced)), None),
            FiringOutcome::Skipped(run) => (None, Some(run)),
        };
        self.kinds.push(fired.and_then(|(kind, ..)| word(kind)));
        self.jobs.push(fired.map(|(_, job, _)| Uuid::from(job)));
        self.coalesced.push(fired.map(|(.., coalesced)| coalesced));
        self.skipped_to.push(skipped.map(|run| run.to.as_micros()));
        self.skipped_count.push(skipped.map(|run| i64::try_from(run.count).unwrap_or(i64::MAX)));
        self.is_exact.push(skipped.map(|run| run.exact));
        self.reasons.push(skipped.and_then(|run| word(&run.reason)));
    }

    async fn write(&self, session: &mut Session<'_>, now: Timestamp) -> Result<(), Error> {
        session
            .execute(
                INSERT_FIRINGS,
                &[
                    &self.schedules,
                    &self.triggers,
                    &self.due,
                    &self.previous_due,
                    &self.events,
                    &self.kinds,
                    &self.jobs,
                    &self.coalesced,
                    &self.skipped_to,
                    &self.skipped_count,
                    &self.is_exact,
                    &self.reasons,
                    &now.as_micros(),
                ],
            )
            .await?;
        Ok(())
    }
}

/// Removes a schedule. See [`ScheduleStore::remove_schedule`](crate::ScheduleStore::remove_schedule).
pub(super) async fn remove(session: &mut Session<'_>, schedule: ScheduleKey) -> Result<bool, Error> {
    let removed =
        session.first("DELETE FROM schedule WHERE schedule = $1 RETURNING next", &[&schedule.0]).await?;
    let Some(row) = removed else { return Ok(false) };
    session.execute(FORGET_INTERESTS, &[&[schedule.0].as_slice()]).await?;
    // A statement of its own: it must see what was committed while the row was waited for.
    let next: Option<i64> = get(&row, 0)?;
    session
        .execute("DELETE FROM schedule_due WHERE next = $1 AND schedule = $2", &[&next, &schedule.0])
        .await?;
    Ok(true)
}

/// Reads the rows of [`DUE`], which was asked for one more than the limit.
pub(super) fn read_due(rows: &[Row], now: Timestamp, limit: usize) -> Result<DueSchedules, Error> {
    let mut due = DueSchedules::default();
    for row in rows {
        let next = Timestamp::from_micros(get(row, 0)?);
        if next > now || due.schedules.len() == limit {
            due.next = Some(next);
            break;
        }
        due.schedules.push(read_schedule(row, 1)?);
    }
    Ok(due)
}

/// Schedules of these names. See [`ScheduleStore::schedules_named`](crate::ScheduleStore::schedules_named).
pub(super) async fn by_names(
    session: &mut Session<'_>,
    names: &[(Namespace, ScheduleName)],
) -> Result<Vec<Option<StoredSchedule>>, Error> {
    let namespaces: Vec<&str> = names.iter().map(|(namespace, _)| namespace.as_str()).collect();
    let names: Vec<&str> = names.iter().map(|(_, name)| name.as_str()).collect();
    let mut found = vec![None; names.len()];
    let find = format!(
        "SELECT g.n - 1, {SCHEDULE_COLUMNS}
         FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS g (namespace, name, n)
         JOIN schedule s ON s.namespace = g.namespace AND s.name = g.name"
    );
    for row in session.all(&find, &[&namespaces, &names]).await? {
        let place = usize::try_from(get::<i64>(&row, 0)?).ok();
        if let Some(place) = place.and_then(|place| found.get_mut(place)) {
            *place = Some(read_schedule(&row, 1)?);
        }
    }
    Ok(found)
}

/// The schedule of a key.
pub(super) async fn by_key(
    session: &mut Session<'_>,
    key: ScheduleKey,
) -> Result<Option<StoredSchedule>, Error> {
    let find = format!("SELECT {SCHEDULE_COLUMNS} FROM schedule s WHERE s.schedule = $1");
    session.first(&find, &[&key.0]).await?.map(|row| read_schedule(&row, 0)).transpose()
}

/// A page of schedules. See [`ScheduleStore::schedules`](crate::ScheduleStore::schedules).
pub(super) async fn list(
    session: &mut Session<'_>,
    namespace: Option<&Namespace>,
    after: Option<ScheduleKey>,
    limit: usize,
) -> Result<Vec<StoredSchedule>, Error> {
    let after = after.map_or(0, |key| key.0);
    walk_indexes(session).await?;
    let rows = match namespace {
        Some(namespace) => {
            let find = format!(
                "SELECT {SCHEDULE_COLUMNS} FROM schedule s WHERE s.namespace = $1 AND s.schedule > $2
                 ORDER BY s.namespace, s.schedule LIMIT $3"
            );
            session.all(&find, &[&namespace.as_str(), &after, &page(limit)]).await?
        }
        None => {
            let find = format!(
                "SELECT {SCHEDULE_COLUMNS} FROM schedule s WHERE s.schedule > $1 ORDER BY s.schedule LIMIT $2"
            );
            session.all(&find, &[&after, &page(limit)]).await?
        }
    };
    rows.iter().map(|row| read_schedule(row, 0)).collect()
}

/// The schedules that events fire. See [`EventStore::listeners`](crate::EventStore::listeners).
pub(super) async fn listeners(session: &mut Session<'_>) -> Result<Vec<StoredSchedule>, Error> {
    let find = format!("SELECT {SCHEDULE_COLUMNS} FROM schedule s WHERE s.listens ORDER BY s.schedule");
    session.all(&find, &[]).await?.iter().map(|row| read_schedule(row, 0)).collect()
}

/// A page of the history. See [`ScheduleStore::firings`](crate::ScheduleStore::firings).
pub(super) async fn firings(
    session: &mut Session<'_>,
    schedule: ScheduleKey,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<FiringView>, Error> {
    let before = before.map_or(i64::MAX, |before| i64::try_from(before).unwrap_or(i64::MAX));
    let rows = session.all(FIRINGS, &[&schedule.0, &before, &page(limit)]).await?;
    rows.iter().map(read_firing).collect()
}

/// Where jobs are. See [`ScheduleStore::states`](crate::ScheduleStore::states).
pub(super) async fn states(session: &mut Session<'_>, jobs: &[JobId]) -> Result<Vec<Option<State>>, Error> {
    let ids: Vec<Uuid> = jobs.iter().map(|id| Uuid::from(*id)).collect();
    let find = format!(
        "SELECT j.id, {PLACE_COLUMNS} FROM unnest($1::uuid[]) AS g (id)
         CROSS JOIN LATERAL (
             SELECT j.seq, j.id, j.lane, j.run_at, j.is_streamed FROM job j WHERE j.id = g.id LIMIT 1) j
         {PLACE_JOINS}"
    );
    let rows = session.all(&find, &[&ids]).await?;
    let found = rows.iter().map(|row| Ok((get::<Uuid>(row, 0)?, place::read_place(row, 1)?.state)));
    let found = found.collect::<Result<HashMap<Uuid, State>, Error>>()?;
    Ok(ids.iter().map(|id| found.get(id).copied()).collect())
}

/// Which occurrences made jobs. See [`ScheduleStore::origins`](crate::ScheduleStore::origins).
pub(super) async fn origins(
    session: &mut Session<'_>,
    jobs: &[JobId],
) -> Result<Vec<Option<JobOrigin>>, Error> {
    let ids: Vec<Uuid> = jobs.iter().map(|id| Uuid::from(*id)).collect();
    let rows = session.all(ORIGINS, &[&ids]).await?;
    let origin = |row: &Row| {
        let schedule = name(row, 1, ScheduleName::new)?;
        let due = Timestamp::from_micros(get(row, 2)?);
        let event = get::<Option<Uuid>>(row, 3)?.map(EventId::from);
        Ok((get::<Uuid>(row, 0)?, JobOrigin { schedule, due, event }))
    };
    let mut found = rows.iter().map(origin).collect::<Result<HashMap<Uuid, JobOrigin>, Error>>()?;
    Ok(ids.iter().map(|id| found.remove(id)).collect())
}

/// How many rows of a page.
pub(super) fn page(limit: usize) -> i64 {
    i64::try_from(limit.min(PAGE_ROWS_MAX)).unwrap_or(i64::MAX)
}

/// Reads [`SCHEDULE_COLUMNS`] from column `at` on.
fn read_schedule(row: &Row, at: usize) -> Result<StoredSchedule, Error> {
    Ok(StoredSchedule {
        key: ScheduleKey(get(row, at)?),
        namespace: name(row, at + 1, Namespace::new)?,
        name: name(row, at + 2, ScheduleName::new)?,
        version: get::<i64>(row, at + 3)?.unsigned_abs(),
        next: get::<Option<i64>>(row, at + 4)?.map(Timestamp::from_micros),
        created_at: Timestamp::from_micros(get(row, at + 5)?),
        changed_at: Timestamp::from_micros(get(row, at + 6)?),
        definition: get(row, at + 7)?,
        state: get(row, at + 8)?,
    })
}

fn read_firing(row: &Row) -> Result<FiringView, Error> {
    let outcome = match get::<Option<&str>>(row, 6)? {
        Some(kind) => FiringOutcome::Fired {
            kind: meant(kind)?,
            job: get::<Uuid>(row, 7)?.into(),
            coalesced: get(row, 8)?,
        },
        None => FiringOutcome::Skipped(SkippedRun {
            to: Timestamp::from_micros(get(row, 9)?),
            count: get::<i64>(row, 10)?.unsigned_abs(),
            exact: get(row, 11)?,
            reason: meant(get(row, 12)?)?,
        }),
    };
    Ok(FiringView {
        number: get::<i64>(row, 0)?.unsigned_abs(),
        at: Timestamp::from_micros(get(row, 1)?),
        trigger: name_if_any(row, 2, TriggerId::new)?,
        due: Timestamp::from_micros(get(row, 3)?),
        previous_due: get::<Option<i64>>(row, 4)?.map(Timestamp::from_micros),
        event: get::<Option<Uuid>>(row, 5)?.map(EventId::from),
        outcome,
    })
}

/// A word of the domain as text; they are all plain names.
fn word(word: &impl serde::Serialize) -> Option<String> {
    serde_json::to_value(word).ok().and_then(|value| value.as_str().map(str::to_owned))
}

fn meant<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_json::from_value(serde_json::Value::from(text)).map_err(|_| vanished("a known word"))
}

/// See [`read_schedule`].
const SCHEDULE_COLUMNS: &str =
    "s.schedule, s.namespace, s.name, s.version, s.next, s.created_at, s.changed_at, s.definition, s.state";

/// Keys in the order in which they came, rows in that of their names: the second one to insert a name waits for the first.
const INSERT: &str = "WITH given AS MATERIALIZED (
        SELECT nextval('schedule_schedule_seq') AS schedule, g.*
        FROM unnest($1::text[], $2::text[], $3::bigint[], $4::boolean[], $5::text[], $6::text[])
            AS g (namespace, name, next, listens, definition, state)),
    new AS (
        INSERT INTO schedule (schedule, namespace, name, version, next, created_at, changed_at, listens, definition, state)
        SELECT g.schedule, g.namespace, g.name, 1, g.next, $7, $7, g.listens, g.definition, g.state FROM given g
        ORDER BY g.namespace COLLATE \"C\", g.name COLLATE \"C\"
        ON CONFLICT (namespace, name) DO NOTHING
        RETURNING schedule, namespace, name, next),
    is_due AS (INSERT INTO schedule_due (next, schedule) SELECT n.next, n.schedule FROM new n WHERE n.next IS NOT NULL)
    SELECT n.namespace, n.name, n.schedule FROM new n";

/// Locks in the order of the arrays, which is that of the keys, whatever is as it was read; a row that had to be waited for
/// is another version then, and is passed over. So what is written below is what was locked, and found by where it is: by
/// key, a plan for many of them might read them all.
const UPDATE: &str = "WITH locked AS MATERIALIZED (
        SELECT s.place, d.place AS due_place, s.schedule, s.next AS next_before, g.next, g.state, g.definition, g.listens
        FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::boolean[])
            AS g (schedule, version, next, state, definition, listens)
        CROSS JOIN LATERAL (
            SELECT s.ctid AS place, s.schedule, s.next FROM schedule s
            WHERE s.schedule = g.schedule AND s.version = g.version LIMIT 1 FOR UPDATE) s
        LEFT JOIN LATERAL (
            SELECT d.ctid AS place FROM schedule_due d
            WHERE d.next = s.next AND d.schedule = s.schedule LIMIT 1) d ON true),
    written AS (
        UPDATE schedule s SET version = s.version + 1, next = l.next, state = l.state,
            definition = coalesce(l.definition, s.definition), listens = coalesce(l.listens, s.listens),
            changed_at = CASE WHEN l.definition IS NULL THEN s.changed_at ELSE $7::bigint END
        FROM locked l WHERE s.ctid = l.place),
    was_due AS (
        DELETE FROM schedule_due d USING locked l
        WHERE d.ctid = l.due_place AND l.next IS DISTINCT FROM l.next_before),
    is_due AS (
        INSERT INTO schedule_due (next, schedule) SELECT l.next, l.schedule FROM locked l
        WHERE l.next IS NOT NULL AND l.next IS DISTINCT FROM l.next_before)
    SELECT l.schedule FROM locked l";

const FIRED: &str = "SELECT g.number, f.trigger_id
    FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::uuid[]) WITH ORDINALITY
        AS g (schedule, trigger_id, due, event, number)
    CROSS JOIN LATERAL (
        SELECT at.trigger_id FROM firing at
        WHERE g.event IS NULL AND at.schedule = g.schedule AND at.due = g.due
            AND at.job IS NOT NULL AND at.trigger_id IS NOT NULL AND at.event IS NULL
        UNION ALL
        SELECT of.trigger_id FROM firing of
        WHERE g.event IS NOT NULL AND of.schedule = g.schedule AND of.event = g.event
            AND of.trigger_id = g.trigger_id AND of.job IS NOT NULL AND of.event IS NOT NULL
        LIMIT 1) f";

const INSERT_FIRINGS: &str = "INSERT INTO firing (schedule, trigger_id, due, previous_due, event, kind, job, coalesced,
        skipped_to, skipped_count, is_exact, reason, decided_at)
    SELECT g.schedule, g.trigger_id, g.due, g.previous_due, g.event, g.kind, g.job, g.coalesced,
        g.skipped_to, g.skipped_count, g.is_exact, g.reason, $13
    FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::uuid[], $6::text[], $7::uuid[], $8::boolean[],
            $9::bigint[], $10::bigint[], $11::boolean[], $12::text[]) WITH ORDINALITY
        AS g (schedule, trigger_id, due, previous_due, event, kind, job, coalesced,
              skipped_to, skipped_count, is_exact, reason, number)
    ORDER BY g.number";

const FIRINGS: &str =
    "SELECT f.firing, f.decided_at, f.trigger_id, f.due, f.previous_due, f.event, f.kind, f.job, f.coalesced,
        f.skipped_to, f.skipped_count, f.is_exact, f.reason
    FROM firing f WHERE f.schedule = $1 AND f.firing < $2 ORDER BY f.schedule DESC, f.firing DESC LIMIT $3";

/// What is due by `$1`, at most `$2`, with the time at which each is; and when the first is due that is not yet. An idle look
/// is two probes of one index.
pub(super) const DUE: &str = "SELECT d.next, s.schedule, s.namespace, s.name, s.version, s.next, s.created_at, s.changed_at,
        s.definition, s.state
    FROM (
        (SELECT d.next, d.schedule FROM schedule_due d WHERE d.next <= $1 ORDER BY d.next, d.schedule LIMIT $2)
        UNION ALL
        (SELECT d.next, d.schedule FROM schedule_due d WHERE d.next > $1 ORDER BY d.next, d.schedule LIMIT 1)) d
    CROSS JOIN LATERAL (SELECT * FROM schedule s WHERE s.schedule = d.schedule LIMIT 1) s
    ORDER BY d.next, d.schedule";

/// What is locked is being removed by somebody else.
pub(super) const PRUNE_FIRINGS: &str = "DELETE FROM firing WHERE ctid = ANY(ARRAY(
        SELECT f.ctid FROM firing f WHERE f.decided_at < $1 ORDER BY f.decided_at LIMIT $2 FOR UPDATE SKIP LOCKED))";
/// How many that would be.
pub(super) const OLD_FIRINGS: &str = "SELECT count(*) FROM (
        SELECT FROM firing f WHERE f.decided_at < $1 ORDER BY f.decided_at LIMIT $2) f";
/// The first one, if several were merged in a job.
pub(super) const ORIGINS: &str = "SELECT f.job, s.name, f.due, f.event FROM unnest($1::uuid[]) AS g (id)
    CROSS JOIN LATERAL (SELECT * FROM firing f WHERE f.job = g.id ORDER BY f.job, f.firing LIMIT 1) f
    CROSS JOIN LATERAL (SELECT * FROM schedule s WHERE s.schedule = f.schedule LIMIT 1) s";
pub(super) const FORGET_INTERESTS: &str = "DELETE FROM interest WHERE schedule = ANY($1::bigint[])";
pub(super) const NOTE_INTERESTS: &str = "INSERT INTO interest (state, namespace, kind, schedule)
    SELECT i.state, s.namespace, i.kind, s.schedule
    FROM unnest($1::bigint[], $2::text[], $3::text[]) AS i (schedule, kind, state)
    JOIN schedule s ON s.schedule = i.schedule";
