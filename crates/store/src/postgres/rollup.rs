//! Roll-ups, and what they are made of: slips, and completions, which are their own.
//!
//! Completions are followed by their numbers. A number is given out before its transaction commits, so a gap may yet be
//! filled: whoever comes to one goes no further until every transaction that was under way when it was first seen has ended.

use std::collections::{BTreeMap, HashMap, HashSet};

use taskwright_core::attempt::AttemptEnd;
use taskwright_core::limit::PAGE_ROWS_MAX;
use taskwright_core::rollup::{Ended, Grain, RollUp};
use taskwright_core::{Kind, Namespace, QueueName, Timestamp};
use tokio_postgres::Row;

use super::completions::{Completed, explode};
use super::session::{Session, code, get, name, sql_code, vanished};
use crate::error::Error;
use crate::rollup::{RollUpFilter, RollUpPage, RollUpPlace, RolledUp, Sums};

/// Completions that one call reads at most.
const COMPLETIONS_MAX: i64 = 500;

/// How far roll-ups have come through the completions.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Progress {
    completion: i64,
    sure_to: i64,
    /// Up to where it will be sure once all transactions of now have ended.
    mark_to: Option<i64>,
    mark_xid: Option<String>,
}

/// See [`RollUpStore::roll_up`](crate::RollUpStore::roll_up).
pub(super) async fn roll_up(session: &mut Session<'_>, most: usize) -> Result<RolledUp, Error> {
    // Before the lock gives this transaction its number: see `look_ahead`.
    let newest = session.first(NEWEST, &[]).await?.ok_or_else(|| vanished("a number"))?;
    let newest: i64 = get(&newest, 0)?;
    let before = lock(session).await?;
    // Statements of their own: they see all that was committed while the lock was waited for.
    let mut progress = look_ahead(session, &before, newest).await?;
    let mut gathered = Gathered::default();
    let most = most.max(1);
    let slips = gathered.take_slips(session, most).await?;
    let mut more = slips == most;
    if !more {
        more = gathered.read_completions(session, &mut progress, most - slips).await?;
    }
    let sums = gathered.into_sums(session).await?;
    let executions = sums.executions();
    put(session, sums).await?;
    if progress != before {
        let Progress { completion, sure_to, mark_to, mark_xid } = &progress;
        session.execute(ADVANCE, &[completion, sure_to, mark_to, mark_xid]).await?;
    }
    Ok(RolledUp { executions, more })
}

async fn lock(session: &mut Session<'_>) -> Result<Progress, Error> {
    let row = session.first(LOCK, &[]).await?.ok_or_else(|| vanished("the progress of roll-ups"))?;
    Ok(Progress {
        completion: get(&row, 0)?,
        sure_to: get(&row, 1)?,
        mark_to: get(&row, 2)?,
        mark_xid: get(&row, 3)?,
    })
}

/// Says anew up to where no completion can come any more. `newest` was read before this transaction had a number of its own.
///
/// Whoever completes jobs has its transaction's number before it draws those of completions. So all that drew numbers up to
/// `newest` have lower ones than this transaction. (What a snapshot calls its end is none to go by: transactions that are under way
/// may have higher numbers.)
async fn look_ahead(session: &mut Session<'_>, before: &Progress, newest: i64) -> Result<Progress, Error> {
    let row = session.first(AHEAD, &[&before.mark_xid]).await?.ok_or_else(|| vanished("a snapshot"))?;
    let xid: String = get(&row, 0)?;
    let (is_passed, is_foreign): (Option<bool>, Option<bool>) = (get(&row, 1)?, get(&row, 2)?);
    let mut progress = before.clone();
    if is_passed == Some(true) {
        progress.sure_to = progress.mark_to.take().map_or(progress.sure_to, |to| to.max(progress.sure_to));
        progress.mark_xid = None;
    } else if is_foreign == Some(true) {
        // Of the server that these tables were dumped from.
        (progress.mark_to, progress.mark_xid) = (None, None);
    }
    if progress.mark_xid.is_none() && newest > progress.sure_to {
        (progress.mark_to, progress.mark_xid) = (Some(newest), Some(xid));
    }
    Ok(progress)
}

/// What ended, by lane and minute.
#[derive(Default)]
struct Gathered(BTreeMap<(i64, Timestamp), RollUp>);

impl Gathered {
    fn add(&mut self, lane: i64, ended: &Ended) {
        self.0.entry((lane, Grain::Minute.start(ended.ended_at))).or_default().add(ended);
    }

    /// Takes slips away; how many.
    async fn take_slips(&mut self, session: &mut Session<'_>, most: usize) -> Result<usize, Error> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let rows = session.all(TAKE_SLIPS, &[&most]).await?;
        let at = Timestamp::from_micros;
        for row in &rows {
            let ended = Ended {
                end: AttemptEnd::from_code(code(row, 6)?).unwrap_or(AttemptEnd::Lost),
                claimed_at: at(get(row, 1)?),
                started_at: get::<Option<i64>>(row, 2)?.map(at),
                ended_at: at(get(row, 3)?),
                run_at: at(get(row, 4)?),
                previous_end: get::<Option<i64>>(row, 5)?.map(at),
            };
            self.add(get(row, 0)?, &ended);
        }
        Ok(rows.len())
    }

    /// Reads completions on; whether there are more to be read now.
    async fn read_completions(
        &mut self,
        session: &mut Session<'_>,
        progress: &mut Progress,
        most: usize,
    ) -> Result<bool, Error> {
        let rows = session.all(COMPLETIONS, &[&progress.completion, &COMPLETIONS_MAX]).await?;
        let mut ended = Vec::new();
        let mut read = 0;
        for row in &rows {
            let number: i64 = get(row, 0)?;
            let is_next = number <= progress.sure_to || number == progress.completion + 1;
            if !is_next || ended.len() >= most {
                // What lies behind a gap waits.
                self.add_completed(session, &ended).await?;
                return Ok(is_next);
            }
            ended.extend(explode(row)?);
            progress.completion = number;
            read += 1;
        }
        self.add_completed(session, &ended).await?;
        Ok(read == COMPLETIONS_MAX)
    }

    /// Adds what completions say. Of jobs that were removed there are slips.
    async fn add_completed(&mut self, session: &mut Session<'_>, ended: &[Completed]) -> Result<(), Error> {
        if ended.is_empty() {
            return Ok(());
        }
        let seqs: Vec<i64> = ended.iter().map(|one| one.place.key.0).collect();
        let rows = session.all(JOBS, &[&seqs]).await?;
        let jobs = rows
            .iter()
            .map(|row| Ok((get(row, 0)?, (get(row, 1)?, get(row, 2)?))))
            .collect::<Result<HashMap<i64, (i64, i64)>, Error>>()?;
        let at = Timestamp::from_micros;
        for one in ended {
            let Some((lane, run_at)) = jobs.get(&one.place.key.0) else { continue };
            let ended = Ended {
                end: AttemptEnd::Completed,
                claimed_at: at(one.claimed_at),
                started_at: Some(at(one.started_at)),
                ended_at: one.place.ended_at,
                run_at: at(*run_at),
                previous_end: None,
            };
            self.add(*lane, &ended);
        }
        Ok(())
    }

    async fn into_sums(self, session: &mut Session<'_>) -> Result<Sums, Error> {
        let mut sums = Sums::default();
        for ((lane, at), ended) in self.0 {
            let key = session.lane_info(lane).await?;
            let (namespace, queue, kind) = (key.namespace.clone(), key.queue.clone(), key.kind.clone());
            sums.add(RollUpPlace { at, namespace, queue, kind }, &ended);
        }
        Ok(sums)
    }
}

/// Adds to what there is. Nobody else does so meanwhile.
async fn put(session: &mut Session<'_>, sums: Sums) -> Result<(), Error> {
    let mut sums = sums.into_sums();
    if sums.is_empty() {
        return Ok(());
    }
    let keys: Vec<(Grain, RollUpPlace)> = sums.keys().cloned().collect();
    let grains: Vec<i16> = keys.iter().map(|(grain, _)| sql_code(grain.code())).collect();
    let ats: Vec<i64> = keys.iter().map(|(_, place)| place.at.as_micros()).collect();
    let namespaces: Vec<&str> = keys.iter().map(|(_, place)| place.namespace.as_str()).collect();
    let queues: Vec<&str> = keys.iter().map(|(_, place)| place.queue.as_str()).collect();
    let kinds: Vec<&str> = keys.iter().map(|(_, place)| place.kind.as_str()).collect();
    for row in session.all(GET, &[&grains, &ats, &namespaces, &queues, &kinds]).await? {
        let place: usize = usize::try_from(get::<i64>(&row, 0)?).unwrap_or_default();
        if let Some(key) = keys.get(place.wrapping_sub(1))
            && let Ok(before) = serde_json::from_str::<RollUp>(get(&row, 1)?)
        {
            sums.entry(key.clone()).or_default().merge(&before);
        }
    }
    // Numbers: nothing in them cannot be written.
    let bodies: Vec<String> =
        keys.iter().map(|key| serde_json::to_string(&sums[key]).unwrap_or_default()).collect();
    session.execute(PUT, &[&grains, &ats, &namespaces, &queues, &kinds, &bodies]).await?;
    Ok(())
}

/// See [`RollUpStore::roll_ups`](crate::RollUpStore::roll_ups).
pub(super) async fn page(
    session: &mut Session<'_>,
    filter: &RollUpFilter,
    after: Option<&RollUpPlace>,
    limit: usize,
) -> Result<RollUpPage, Error> {
    let limit = limit.clamp(1, PAGE_ROWS_MAX);
    let (grain, most) = (sql_code(filter.grain.code()), i64::try_from(limit).unwrap_or(i64::MAX));
    let (from, to) = (filter.from.as_micros(), filter.to.as_micros());
    let (at, namespace, queue, kind) = match after {
        Some(place) => (
            place.at.as_micros().max(from),
            place.namespace.as_str(),
            place.queue.as_str(),
            place.kind.as_str(),
        ),
        None => (from, "", "", ""),
    };
    let rows = session.all(PAGE, &[&grain, &at, &namespace, &queue, &kind, &to, &most]).await?;
    let mut roll_ups = Vec::with_capacity(rows.len());
    for row in &rows {
        let place = RollUpPlace {
            at: Timestamp::from_micros(get(row, 0)?),
            namespace: name(row, 1, Namespace::new)?,
            queue: name(row, 2, QueueName::new)?,
            kind: name(row, 3, Kind::new)?,
        };
        // One that a newer program wrote, and this one does not understand, counts nothing.
        roll_ups.push((place, serde_json::from_str(get(row, 4)?).unwrap_or_default()));
    }
    let next = roll_ups.last().filter(|_| roll_ups.len() == limit).map(|(place, _)| place.clone());
    roll_ups.retain(|(place, _): &(RollUpPlace, RollUp)| filter.includes(place));
    Ok(RollUpPage { roll_ups, next })
}

/// Leaves slips of jobs that are about to be removed, of these completions (locked, with their times) that are not in roll-ups yet.
/// Until the transaction ends nobody rolls up.
pub(super) async fn leave_slips(
    session: &mut Session<'_>,
    seqs: &[i64],
    completions: &[Row],
) -> Result<(), Error> {
    let mut ahead = Vec::new();
    for row in completions {
        if get::<Option<&[u8]>>(row, 5)?.is_some() {
            ahead.push((get::<i64>(row, 0)?, row));
        }
    }
    if ahead.is_empty() {
        return Ok(());
    }
    let row = session.first(HOLD, &[]).await?.ok_or_else(|| vanished("the progress of roll-ups"))?;
    let rolled: i64 = get(&row, 0)?;
    let going: HashSet<i64> = seqs.iter().copied().collect();
    let (mut jobs, mut claimed, mut started, mut ended) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (_, row) in ahead.into_iter().filter(|(completion, _)| *completion > rolled) {
        for one in explode(row)?.into_iter().filter(|one| going.contains(&one.place.key.0)) {
            jobs.push(one.place.key.0);
            claimed.push(one.claimed_at);
            started.push(one.started_at);
            ended.push(one.place.ended_at.as_micros());
        }
    }
    let completed = sql_code(AttemptEnd::Completed.code());
    session.execute(LEAVE_SLIPS, &[&jobs, &claimed, &started, &ended, &completed]).await?;
    Ok(())
}

// The statements of roll-ups.
const LOCK: &str = "SELECT completion, sure_to, mark_to, mark_xid::text FROM rolled FOR UPDATE";
const HOLD: &str = "SELECT completion FROM rolled FOR SHARE";
const NEWEST: &str =
    "SELECT coalesce((SELECT completion FROM completion ORDER BY completion DESC LIMIT 1), 0)";
/// The number of this transaction, whether all below `$1` have ended, and whether there were as many at all.
const AHEAD: &str =
    "SELECT pg_current_xact_id()::text, $1::text::xid8 <= pg_snapshot_xmin(pg_current_snapshot()),
        $1::text::xid8 > pg_current_xact_id()";
const ADVANCE: &str =
    "UPDATE rolled SET completion = $1, sure_to = $2, mark_to = $3, mark_xid = $4::text::xid8";
const TAKE_SLIPS: &str =
    "DELETE FROM slip WHERE slip = ANY(ARRAY(SELECT slip FROM slip ORDER BY slip LIMIT $1))
    RETURNING lane, claimed_at, started_at, ended_at, run_at, previous_end, outcome";
const COMPLETIONS: &str = "SELECT c.completion, c.worker, c.claimed_at,
        ARRAY(SELECT lower(r) FROM unnest(c.seqs) AS r), ARRAY(SELECT upper(r) FROM unnest(c.seqs) AS r), c.times
    FROM completion c WHERE c.completion > $1 ORDER BY c.completion LIMIT $2";
const JOBS: &str = "SELECT seq, lane, run_at FROM job WHERE seq = ANY($1::bigint[])";
const GET: &str = "SELECT k.place, r.body
    FROM unnest($1::smallint[], $2::bigint[], $3::text[], $4::text[], $5::text[])
        WITH ORDINALITY AS k (grain, at, namespace, queue, kind, place)
    CROSS JOIN LATERAL (
        SELECT body FROM rollup r WHERE r.grain = k.grain AND r.at = k.at AND r.namespace = k.namespace
            AND r.queue = k.queue AND r.kind = k.kind LIMIT 1) r";
const PUT: &str = "INSERT INTO rollup (grain, at, namespace, queue, kind, body)
    SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[])
    ON CONFLICT (grain, at, namespace, queue, kind) DO UPDATE SET body = excluded.body";
const PAGE: &str = "SELECT at, namespace, queue, kind, body FROM rollup
    WHERE grain = $1 AND (at, namespace, queue, kind) > ($2, $3, $4, $5) AND at < $6
    ORDER BY at, namespace, queue, kind LIMIT $7";
const LEAVE_SLIPS: &str = "INSERT INTO slip (lane, claimed_at, started_at, ended_at, run_at, outcome)
    SELECT j.lane, t.claimed_at, t.started_at, t.ended_at, j.run_at, $5::smallint
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) AS t (seq, claimed_at, started_at, ended_at)
    CROSS JOIN LATERAL (SELECT lane, run_at FROM job WHERE job.seq = t.seq LIMIT 1) j";
/// Removes roll-ups of a grain (`$3`) of spans before a moment (`$1`), at most so many (`$2`).
pub(super) const FORGET: &str = "DELETE FROM rollup WHERE ctid = ANY(ARRAY(
        SELECT r.ctid FROM rollup r WHERE r.grain = $3 AND r.at < $1 ORDER BY r.at LIMIT $2 FOR UPDATE SKIP LOCKED))";
pub(super) const OLD: &str =
    "SELECT count(*) FROM (SELECT FROM rollup r WHERE r.grain = $3 AND r.at < $1 LIMIT $2) r";
