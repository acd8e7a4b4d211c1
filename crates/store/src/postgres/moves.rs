//! Moves of jobs: read from the numbers of what is appended anyway, and from notes that are taken while somebody listens.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::list::views;
use super::query::walk_indexes;
use super::session::{Session, get, vanished};
use crate::error::Error;
use crate::moves::{Horizon, KEPT, MovePlace, Moves, Tail};

/// Tables whose rows tell of moves: the table, the column of its numbers, and what says which jobs a row `t` is about: the
/// beginnings of ranges, and their ends, which are excluded.
///
/// The sequence of a table is called as PostgreSQL calls it: `TABLE_COLUMN_seq`.
const TABLES: [(&str, &str, &str); 5] = [
    ("job", "seq", "ARRAY[t.seq], ARRAY[t.seq + 1]"),
    ("move", "move", "ARRAY[t.seq], ARRAY[t.seq + 1]"),
    ("block", "block", RANGES),
    ("completion", "completion", RANGES),
    ("moved", "moved", RANGES),
];
const RANGES: &str =
    "ARRAY(SELECT lower(r) FROM unnest(t.seqs) AS r), ARRAY(SELECT upper(r) FROM unnest(t.seqs) AS r)";

/// Rows of each table that one look reads.
const ROWS_MAX: i64 = 200;
/// Numbers before the newest that are looked through for some that are missing, when somebody begins to listen.
const LOOKED_BACK: i64 = 500;
/// Notes that are removed at a time.
const FORGET_MAX: i64 = 10_000;

/// See [`MoveStore::listen`](crate::MoveStore::listen).
pub(super) async fn listen(session: &mut Session<'_>, lease: Duration) -> Result<MovePlace, Error> {
    let lease = i64::try_from(lease.as_micros()).unwrap_or(i64::MAX / 2);
    let row = session.first(LISTEN, &[&lease]).await?.ok_or_else(|| vanished("who listens"))?;
    let (since, at): (i64, i64) = (get(&row, 0)?, get(&row, 1)?);
    let kept = i64::try_from(KEPT.as_micros()).unwrap_or(i64::MAX);
    session.execute(FORGET, &[&(at - kept), &FORGET_MAX]).await?;
    Ok(MovePlace { since, at, tails: newest(session).await? })
}

/// Behind the newest row of each table, and knowing which numbers shortly before it may yet come.
async fn newest(session: &mut Session<'_>) -> Result<Vec<Tail>, Error> {
    walk_indexes(session).await?;
    let mut tails = Vec::with_capacity(TABLES.len());
    for (table, number, _) in TABLES {
        let sql = format!("SELECT t.{number} FROM {table} t ORDER BY t.{number} DESC LIMIT 1");
        let newest = session.first(&sql, &[]).await?.map_or(Ok(0), |row| get::<i64>(&row, 0))?;
        tails.push(Tail::behind((newest - LOOKED_BACK).max(0)));
    }
    // What is read here is of before.
    loop {
        let look = look(session, &tails, LOOKED_BACK + ROWS_MAX).await?;
        for (tail, found) in tails.iter_mut().zip(&look.found) {
            tail.take(&found.numbers(), found.looked_to, look.horizon);
        }
        if look.found.iter().all(|found| found.looked_to == i64::MAX) {
            return Ok(tails);
        }
    }
}

/// See [`MoveStore::moves`](crate::MoveStore::moves).
pub(super) async fn moves(
    session: &mut Session<'_>,
    after: &MovePlace,
    limit: usize,
) -> Result<Moves, Error> {
    let row = session.first(&listening(), &[]).await?.ok_or_else(|| vanished("the time"))?;
    let (now, since, given): (i64, Option<i64>, Vec<Option<i64>>) =
        (get(&row, 0)?, get(&row, 1)?, get(&row, 2)?);
    // Numbers that nobody was given yet are those of another store.
    let is_given = |(tail, given): (&Tail, &Option<i64>)| tail.read_to <= given.unwrap_or(0);
    let is_known = since.is_some_and(|since| after.is_kept(since, now))
        && after.tails.len() == TABLES.len()
        && after.tails.iter().zip(&given).all(is_given);
    if !is_known {
        let tails = newest(session).await?;
        return Ok(Moves::missed(MovePlace { since: since.unwrap_or(0), at: now, tails }));
    }
    walk_indexes(session).await?;
    let mut tails = after.tails.clone();
    let look = look(session, &tails, ROWS_MAX).await?;
    let (mut seqs, mut is_end) = (BTreeSet::new(), true);
    for (tail, found) in tails.iter_mut().zip(&look.found) {
        let mut looked_to = found.looked_to;
        let mut read = 0;
        for row in &found.rows {
            if seqs.len() >= limit.max(1) {
                looked_to = row.number - 1;
                break;
            }
            read += 1;
            row.ranges.iter().for_each(|(from, to)| seqs.extend(*from..*to));
        }
        is_end &= looked_to == i64::MAX;
        tail.take(&found.numbers()[..read], looked_to, look.horizon);
    }
    let seqs: Vec<i64> = seqs.into_iter().collect();
    let jobs = views(session, &seqs).await?.into_iter().map(|(_, job)| job).collect();
    Ok(Moves { jobs, place: MovePlace { since: after.since, at: now, tails }, is_end, missed: false })
}

/// What one look found.
struct Look {
    horizon: Horizon,
    /// Of each table.
    found: Vec<Found>,
}

struct Found {
    rows: Vec<Moving>,
    /// The highest number that was looked for.
    looked_to: i64,
}

impl Found {
    fn numbers(&self) -> Vec<i64> {
        self.rows.iter().map(|row| row.number).collect()
    }
}

/// A row that tells of moves.
struct Moving {
    number: i64,
    /// Of the numbers of jobs; the ends are excluded.
    ranges: Vec<(i64, i64)>,
}

/// Reads the next rows of each table, at most so many of each, and on the same snapshot how far transactions are.
async fn look(session: &mut Session<'_>, tails: &[Tail], most: i64) -> Result<Look, Error> {
    let ranges: Vec<(Vec<i64>, Vec<i64>)> = tails.iter().map(|tail| tail.ranges().unzip()).collect();
    let mut params: Vec<&(dyn ToSql + Sync)> = vec![&most];
    for (lows, highs) in &ranges {
        params.push(lows);
        params.push(highs);
    }
    let needs_mark = tails.iter().any(Tail::needs_mark);
    params.push(&needs_mark);
    let rows = session.all(&look_sql(), &params).await?;
    let mut horizon = None;
    let mut found: Vec<Found> =
        tails.iter().map(|_| Found { rows: Vec::new(), looked_to: i64::MAX }).collect();
    for row in &rows {
        let table = usize::try_from(get::<i16>(row, 0)?).ok().and_then(|table| found.get_mut(table));
        match table {
            Some(found) => found.rows.push(read_moving(row)?),
            None => horizon = Some(Horizon { ended: xid(row, 4)?.unwrap_or(0), own: xid(row, 5)? }),
        }
    }
    for found in &mut found {
        found.rows.sort_unstable_by_key(|row| row.number);
        let is_full = i64::try_from(found.rows.len()).unwrap_or(i64::MAX) >= most;
        if let Some(last) = found.rows.last().filter(|_| is_full) {
            found.looked_to = last.number;
        }
    }
    Ok(Look { horizon: horizon.ok_or_else(|| vanished("the snapshot"))?, found })
}

fn read_moving(row: &Row) -> Result<Moving, Error> {
    let (from, to): (Vec<i64>, Vec<i64>) = (get(row, 2)?, get(row, 3)?);
    Ok(Moving { number: get(row, 1)?, ranges: from.into_iter().zip(to).collect() })
}

fn xid(row: &Row, column: usize) -> Result<Option<u64>, Error> {
    let number = get::<Option<&str>>(row, column)?.map(str::parse).transpose();
    number.map_err(|_| vanished("a transaction's number"))
}

/// One statement for all tables, so that all is of one snapshot. `$1` is how many rows of each; then for each table the ranges that are
/// looked into, both ends included; and whether the transaction needs a number. A range that is walked ends at the limit, so that none is read to its end for nothing.
fn look_sql() -> String {
    let table = |(place, (table, number, jobs)): (usize, &(&str, &str, &str))| {
        let (lows, highs) = (2 * place + 2, 2 * place + 3);
        format!(
            "(SELECT {place}::smallint, t.{number}, {jobs}, NULL::text, NULL::text
              FROM unnest(${lows}::bigint[], ${highs}::bigint[]) AS h (lo, hi) CROSS JOIN LATERAL (
                  SELECT * FROM {table} t WHERE t.{number} BETWEEN h.lo AND h.hi ORDER BY t.{number} LIMIT $1) t
              ORDER BY t.{number} LIMIT $1)
             UNION ALL "
        )
    };
    let tables: String = TABLES.iter().enumerate().map(table).collect();
    format!(
        "{tables} SELECT (-1)::smallint, NULL, NULL, NULL, pg_snapshot_xmin(pg_current_snapshot())::text,
                         CASE WHEN ${own}::boolean THEN pg_current_xact_id()::text END",
        own = 2 * TABLES.len() + 2
    )
}

const LISTEN: &str = "INSERT INTO listening AS l (since, until_db)
    SELECT now, now + $1 FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now) n
    ON CONFLICT (one) DO UPDATE
    SET since = CASE WHEN l.until_db >= excluded.since THEN l.since ELSE excluded.since END,
        until_db = greatest(l.until_db, excluded.until_db)
    RETURNING since, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

/// The time, since when somebody has listened, and the highest number that was given for a row of each table.
fn listening() -> String {
    let given =
        TABLES.map(|(table, number, _)| format!("pg_sequence_last_value('{table}_{number}_seq'::regclass)"));
    format!(
        "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
                (SELECT l.since FROM listening l WHERE l.one), ARRAY[{}]::bigint[]",
        given.join(", ")
    )
}

/// The oldest have the lowest numbers. `ARRAY` makes sure that the inner query runs once.
const FORGET: &str = "DELETE FROM moved WHERE moved = ANY(ARRAY(
        SELECT o.moved FROM (
            SELECT m.moved, m.at FROM moved m ORDER BY m.moved LIMIT $2 FOR UPDATE SKIP LOCKED) o
        WHERE o.at < $1))";
