//! Removing what is over for long. Several may do so at once: what one has locked, the others pass over.

use taskwright_core::retention::Garbage;
use taskwright_core::rollup::Grain;
use taskwright_core::{JobId, State};
use tokio_postgres::Row;

use super::change::{LOCK_JOBS_FREE, remove};
use super::session::{Session, Uuid, code_if_any, get, sql_code};
use super::submitter::CONSUMED;
use super::{audit, event, rollup, schedule, source, webhook};
use crate::claim::JobKey;
use crate::collect::{Collect, Collected};
use crate::error::Error;

/// See [`CollectStore::collect`](crate::CollectStore::collect).
pub(super) async fn collect(session: &mut Session<'_>, collect: &Collect) -> Result<Collected, Error> {
    if let Some(state) = collect.garbage.state() {
        return collect_jobs(session, collect, state).await;
    }
    if collect.garbage == Garbage::Consumed {
        return collect_consumed(session, collect).await;
    }
    let rows = if collect.dry_run {
        count_rows(session, collect).await?
    } else {
        remove_rows(session, collect).await?
    };
    Ok(Collected::rows(rows, collect.limit))
}

async fn remove_rows(session: &mut Session<'_>, collect: &Collect) -> Result<usize, Error> {
    let (before, most) = (collect.before.as_micros(), i64::try_from(collect.limit).unwrap_or(i64::MAX));
    let removed = match collect.garbage {
        Garbage::Sources => {
            let files = session.execute(source::PRUNE_SEEN, &[&before, &most]).await?;
            let left = most - i64::try_from(files).unwrap_or(most);
            files + session.execute(source::PRUNE, &[&before, &left]).await?
        }
        Garbage::Minutes | Garbage::Hours => {
            session.execute(rollup::FORGET, &[&before, &most, &grain(collect.garbage)]).await?
        }
        Garbage::Firings => session.execute(schedule::PRUNE_FIRINGS, &[&before, &most]).await?,
        Garbage::Events => {
            let events = session.execute(event::PRUNE, &[&before, &most]).await?;
            // Their places in the log go when they have been there as long: later, for what was delivered late. More of these than
            // one call takes are a reason to come again.
            let places = session.execute(webhook::PRUNE_LOG, &[&before, &most]).await?;
            if i64::try_from(places) == Ok(most) { places } else { events }
        }
        Garbage::Deliveries => webhook::collect(session, before, most).await?,
        Garbage::Workers => session.execute(FORGET_WORKERS, &[&before, &most]).await?,
        Garbage::Audit => return audit::collect(session, collect.before, most).await,
        Garbage::Completed | Garbage::Failed | Garbage::Cancelled | Garbage::Dropped | Garbage::Consumed => 0,
    };
    Ok(usize::try_from(removed).unwrap_or(usize::MAX))
}

async fn count_rows(session: &mut Session<'_>, collect: &Collect) -> Result<usize, Error> {
    let (before, most) = (collect.before.as_micros(), i64::try_from(collect.limit).unwrap_or(i64::MAX));
    let sql = match collect.garbage {
        Garbage::Minutes | Garbage::Hours => {
            let row = session.first(rollup::OLD, &[&before, &most, &grain(collect.garbage)]).await?;
            return read_count(row);
        }
        Garbage::Sources => {
            let files = read_count(session.first(source::OLD_SEEN, &[&before, &most]).await?)?;
            let sources = read_count(session.first(source::OLD_SOURCES, &[&before, &most]).await?)?;
            return Ok((files + sources).min(collect.limit));
        }
        Garbage::Deliveries => {
            let deliveries = read_count(session.first(webhook::OLD, &[&before, &most]).await?)?;
            let retries = read_count(session.first(webhook::OLD_RETRIES, &[&before, &most]).await?)?;
            return Ok((deliveries + retries).min(collect.limit));
        }
        Garbage::Firings => schedule::OLD_FIRINGS,
        Garbage::Events => event::OLD_EVENTS,
        Garbage::Workers => OLD_WORKERS,
        Garbage::Audit => return audit::count_old(session, collect.before, most).await,
        Garbage::Completed | Garbage::Failed | Garbage::Cancelled | Garbage::Dropped | Garbage::Consumed => {
            return Ok(0);
        }
    };
    read_count(session.first(sql, &[&before, &most]).await?)
}

fn read_count(row: Option<Row>) -> Result<usize, Error> {
    let count = row.map_or(Ok(0), |row| get::<i64>(&row, 0))?;
    Ok(usize::try_from(count).unwrap_or_default())
}

fn grain(garbage: Garbage) -> i16 {
    let grain = if garbage == Garbage::Minutes { Grain::Minute } else { Grain::Hour };
    sql_code(grain.code())
}

/// Meets jobs in the order of their insertion, at most as many as the limit says: those that completed among all jobs, up to those
/// that are too young to have ended in time, and others by their state.
async fn collect_jobs(
    session: &mut Session<'_>,
    collect: &Collect,
    state: State,
) -> Result<Collected, Error> {
    let after = collect.after.map_or(0, |after| after.0);
    let met = if state == State::Completed {
        // The limit is part of the text: a plan for any limit would sort all jobs.
        let next = format!("seq > $1 ORDER BY seq LIMIT {}", collect.limit);
        session.all(&ages(&next), &[&after]).await?
    } else {
        let code = sql_code(state.code());
        let seqs = session.all(&over(collect.limit), &[&code, &after]).await?;
        let seqs = seqs.iter().map(|row| get(row, 0)).collect::<Result<Vec<i64>, Error>>()?;
        if seqs.is_empty() { Vec::new() } else { session.all(&ages(AMONG), &[&seqs]).await? }
    };
    // Machines' clocks differ: one job that seems too young among old ones does not end the walk.
    let last = met.last().map(|row| Ok::<_, Error>((get(row, 0)?, get(row, 1)?))).transpose()?;
    let before = collect.before.as_micros();
    let last = last.filter(|(_, created_at): &(i64, i64)| met.len() == collect.limit && *created_at < before);
    let next = last.map(|(seq, _)| JobKey(seq));

    let old = over_for_long(&met, before, state)?;
    let (seqs, ids): (Vec<i64>, Vec<JobId>) = old.into_iter().unzip();
    let more = next.is_some();
    if collect.dry_run {
        return Ok(Collected { rows: ids.len(), jobs: ids, next, more });
    }
    if seqs.is_empty() {
        return Ok(Collected { next, more, ..Collected::default() });
    }
    // Somebody may have run one again since; whoever is at one right now keeps it for another time.
    let free = session.all(LOCK_JOBS_FREE, &[&seqs]).await?;
    let free = free.iter().map(|row| get(row, 0)).collect::<Result<Vec<i64>, Error>>()?;
    let still = session.all(&ages(AMONG), &[&free]).await?;
    let seqs: Vec<i64> = over_for_long(&still, before, state)?.into_iter().map(|(seq, _)| seq).collect();
    remove(session, &seqs).await?;
    Ok(Collected { rows: seqs.len(), jobs: Vec::new(), next, more })
}

/// Meets jobs whose end was read in the order of their insertion, and removes those of which that was before the moment.
async fn collect_consumed(session: &mut Session<'_>, collect: &Collect) -> Result<Collected, Error> {
    let after = collect.after.map_or(0, |after| after.0);
    let most = i64::try_from(collect.limit).unwrap_or(i64::MAX);
    let met = session.all(CONSUMED, &[&after, &most]).await?;
    let met: Vec<(i64, i64)> =
        met.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?))).collect::<Result<_, Error>>()?;
    let next = met.last().filter(|_| met.len() == collect.limit).map(|(seq, _)| JobKey(*seq));
    let more = next.is_some();
    let before = collect.before.as_micros();
    let mut seqs: Vec<i64> = met.iter().filter(|(_, at)| *at < before).map(|(seq, _)| *seq).collect();
    // No job is looked for where there is none: an empty list would have the planner walk all of them.
    if !collect.dry_run && !seqs.is_empty() {
        let free = session.all(LOCK_JOBS_FREE, &[&seqs]).await?;
        seqs = free.iter().map(|row| get(row, 0)).collect::<Result<_, Error>>()?;
    }
    if seqs.is_empty() {
        return Ok(Collected { next, more, ..Collected::default() });
    }
    // Somebody may have one run again; a program that knows of no reading leaves it among these.
    let jobs = session.all(&ages(AMONG), &[&seqs]).await?;
    let mut over: Vec<(i64, JobId)> = Vec::new();
    for row in &jobs {
        if code_if_any(row, 2)?.and_then(State::from_code).is_some_and(State::is_terminal) {
            over.push((get(row, 0)?, get::<Uuid>(row, 4)?.into()));
        }
    }
    let (seqs, ids): (Vec<i64>, Vec<JobId>) = over.into_iter().unzip();
    if collect.dry_run {
        return Ok(Collected { rows: ids.len(), jobs: ids, next, more });
    }
    if !seqs.is_empty() {
        remove(session, &seqs).await?;
    }
    Ok(Collected { rows: seqs.len(), jobs: Vec::new(), next, more })
}

/// The jobs among these that reached the state before that moment.
fn over_for_long(met: &[Row], before: i64, state: State) -> Result<Vec<(i64, JobId)>, Error> {
    let mut over = Vec::new();
    for row in met {
        let is_so = code_if_any(row, 2)?.and_then(State::from_code) == Some(state);
        if is_so && get::<Option<i64>>(row, 3)?.is_some_and(|ended_at| ended_at < before) {
            over.push((get(row, 0)?, get::<Uuid>(row, 4)?.into()));
        }
    }
    Ok(over)
}

// The statements of collecting.
const AMONG: &str = "seq = ANY($1::bigint[])";
/// Their rows stay, because attempts name them.
const FORGET_WORKERS: &str = "UPDATE worker SET forgotten = true WHERE worker = ANY(ARRAY(
        SELECT worker FROM worker WHERE state <> 0 AND NOT forgotten AND seen_at < $1 LIMIT $2))";
const OLD_WORKERS: &str = "SELECT count(*) FROM (
        SELECT FROM worker WHERE state <> 0 AND NOT forgotten AND seen_at < $1 LIMIT $2) w";

/// Jobs in a state (`$1`) that were stored after another (`$2`). The limit is part of the text, as above.
fn over(limit: usize) -> String {
    format!("SELECT seq FROM over WHERE state = $1 AND seq > $2 ORDER BY state, seq LIMIT {limit}")
}

/// How long jobs have been over: seq, `created_at`, the terminal state if it is over, `ended_at`, the id. The limits keep each
/// lookup one by index.
fn ages(which: &str) -> String {
    format!(
        "SELECT j.seq, j.created_at,
                CASE WHEN o.state IS NOT NULL THEN o.state WHEN e.is_there IS NULL THEN 6::smallint END,
                coalesce(o.ended_at, a.ended_at, c.ended_at), j.id
         FROM (SELECT seq, id, lane, run_at, created_at FROM job WHERE {which}) j
         LEFT JOIN LATERAL (SELECT state, ended_at FROM over WHERE over.seq = j.seq LIMIT 1) o ON true
         LEFT JOIN LATERAL (
             SELECT true AS is_there FROM (
                 (SELECT 1 FROM ready r WHERE r.lane = j.lane AND r.ready_at = j.run_at AND r.seq = j.seq LIMIT 1)
                 UNION ALL (SELECT 1 FROM waiting w WHERE w.seq = j.seq LIMIT 1)
                 UNION ALL (SELECT 1 FROM running x WHERE x.seq = j.seq LIMIT 1)) t LIMIT 1) e ON true
         LEFT JOIN LATERAL (
             SELECT ended_at FROM attempt WHERE attempt.seq = j.seq ORDER BY attempt DESC LIMIT 1) a ON true
         LEFT JOIN LATERAL (
             SELECT c.claimed_at + time_at(c.times, place_in(c.seqs, j.seq), 1) AS ended_at FROM completion c
             WHERE a.ended_at IS NULL AND c.seqs @> j.seq LIMIT 1) c ON true
         ORDER BY j.seq"
    )
}
