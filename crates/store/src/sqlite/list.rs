//! Listings: filtered, in the order of insertion, a page at a time, and quick however many jobs there are.
//!
//! A page is made in two steps. A *driver*, the narrowest index that holds every job the filter can match, gives
//! candidates in order; then each candidate is read whole and held against the filter. A page looks at a bounded number
//! of candidates and may come back short; the caller goes on from where it stopped.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Rows};
use taskwright_core::limit::PAGE_ROWS_MAX;
use taskwright_core::{Args, JobId, Pattern, State};

use super::error::read_error;
use super::finish::array;
use super::query::{read_view, view_query};
use crate::error::Error;
use crate::query::{Filter, Namespaces, Owners, Page, Paged, Searched};
use crate::seal::Seal;

/// Candidates that one page looks at.
const CANDIDATES_MAX: usize = 20_000;

/// Available jobs up to this many are sorted for a page, which takes about 0.1 s for all of them; beyond, the jobs are
/// walked, where they are met soon.
const SORTED_READY_MAX: i64 = 1_000_000;

/// Lanes up to this many are walked side by side; beyond, all jobs are walked and filtered.
const LANES_MERGED_MAX: usize = 64;

/// One page. See [`Store::list`](crate::Store::list).
pub(super) fn list(conn: &Connection, filter: &Filter, page: &Page) -> Result<Paged, Error> {
    list_page(conn, filter, page).map_err(read_error)
}

fn list_page(conn: &Connection, filter: &Filter, page: &Page) -> rusqlite::Result<Paged> {
    let lanes = lanes(conn, filter)?;
    if lanes.as_ref().is_some_and(Vec::is_empty) {
        return Ok(Paged::default());
    }
    let mut walk = Walk {
        conn,
        after: start(conn, page)?,
        oldest_first: page.oldest_first,
        drivers: drivers(conn, filter, lanes.as_deref())?,
    };
    let limit = page.limit.clamp(1, PAGE_ROWS_MAX);
    let mut paged = Paged::default();
    let mut looked_at = 0;
    let mut searched = Searched::default();
    let mut view = conn.prepare_cached(&format!("{} WHERE j.seq = ?1", view_query()))?;
    loop {
        // The first reach is as long as the page: mostly everything a driver gives matches.
        let reach = if looked_at == 0 { limit } else { 1_000 };
        let candidates = walk.next(reach)?;
        let last = candidates.len() < reach;
        for seq in candidates {
            let Some((_, job)) = view.query_row([seq], read_view).optional()? else { continue };
            looked_at += 1;
            let (id, is_shown) = (job.id, filter.shows(&job));
            if filter.matches(&job) && has_args(conn, filter, seq, &mut searched)? {
                paged.jobs.push(job);
            }
            if paged.jobs.len() == limit || looked_at >= CANDIDATES_MAX || searched.is_enough() {
                paged.next = Some(if is_shown { id } else { seal(conn)?.close(seq) });
                return Ok(paged);
            }
        }
        if last {
            return Ok(paged);
        }
    }
}

/// Whether the arguments of a job, which matches otherwise, are those that are looked for.
fn has_args(conn: &Connection, filter: &Filter, seq: i64, searched: &mut Searched) -> rusqlite::Result<bool> {
    if filter.args.is_empty() {
        return Ok(true);
    }
    let args: Vec<u8> = conn.prepare_cached(ARGS)?.query_row([seq], |row| row.get(0))?;
    searched.add(args.len());
    Ok(filter.args.matches(&Args::from_store(args.into())))
}

/// What seals a place that is nobody's business.
fn seal(conn: &Connection) -> rusqlite::Result<Seal> {
    conn.prepare_cached(SEAL)?.query_row([], |row| Ok(Seal::new(row.get_ref(0)?.as_blob()?)))
}

/// Where to start: behind the job that the page goes on from.
fn start(conn: &Connection, page: &Page) -> rusqlite::Result<i64> {
    let Some(after) = page.after else { return Ok(if page.oldest_first { 0 } else { i64::MAX }) };
    let seq = conn
        .prepare_cached("SELECT seq FROM taskwright_job WHERE id = ?1")?
        .query_row([after.as_bytes()], |row| row.get(0))
        .optional()?;
    match seq.map_or_else(|| seal(conn).map(|seal| seal.open(after)), |seq| Ok(Some(seq)))? {
        Some(seq) => Ok(seq),
        // The job was removed since: go on at the time it was made.
        None => near(conn, after, page.oldest_first),
    }
}

fn near(conn: &Connection, id: JobId, oldest_first: bool) -> rusqlite::Result<i64> {
    let sql = if oldest_first {
        "SELECT coalesce(max(seq), 0) FROM (SELECT seq FROM taskwright_job WHERE id < ?1 ORDER BY id DESC LIMIT 1)"
    } else {
        "SELECT coalesce(min(seq), 9223372036854775807)
         FROM (SELECT seq FROM taskwright_job WHERE id > ?1 ORDER BY id LIMIT 1)"
    };
    conn.prepare_cached(sql)?.query_row([id.as_bytes()], |row| row.get(0))
}

/// The lanes that the filter's kinds, queues and namespaces allow; `None` when it says nothing about them.
pub(super) fn lanes(conn: &Connection, filter: &Filter) -> rusqlite::Result<Option<Vec<i64>>> {
    if filter.kinds.is_empty() && filter.queues.is_empty() && filter.namespaces == Namespaces::Any {
        return Ok(None);
    }
    let mut statement = conn.prepare_cached(
        "SELECT l.lane, l.kind, q.name, q.namespace
         FROM taskwright_lane l JOIN taskwright_queue q ON q.queue = l.queue",
    )?;
    let mut rows = statement.query([])?;
    let mut lanes = Vec::new();
    while let Some(row) = rows.next()? {
        let (kind, queue, namespace) =
            (row.get_ref(1)?.as_str()?, row.get_ref(2)?.as_str()?, row.get_ref(3)?.as_str()?);
        if Pattern::any(&filter.kinds, kind)
            && Pattern::any(&filter.queues, queue)
            && filter.namespaces.include_name(namespace)
        {
            lanes.push(row.get(0)?);
        }
    }
    Ok(Some(lanes))
}

/// One ordered source of candidates: `SELECT <seq> FROM ... WHERE <condition>`, to which the walk adds its bound; or the
/// numbers in the ranges of a table.
struct Driver {
    select: String,
    seq: &'static str,
    params: Vec<Value>,
    arrays: Vec<Vec<i64>>,
    are_ranges: bool,
}

impl Driver {
    fn plain(select: &str, seq: &'static str) -> Self {
        Self { select: select.to_owned(), seq, params: Vec::new(), arrays: Vec::new(), are_ranges: false }
    }

    /// All numbers from `lo` to `hi` of each row.
    fn ranges(table: &str) -> Self {
        Self { are_ranges: true, ..Self::plain(table, "lo") }
    }

    /// The whole statement: from `?1` on, at most `?2` rows; of ranges, the one that `?1` is in, too, and all.
    fn sql(&self, oldest_first: bool) -> String {
        let (select, seq) = (&self.select, self.seq);
        let (than, order) = if oldest_first { (">", "ASC") } else { ("<", "DESC") };
        match (self.are_ranges, oldest_first) {
            (false, _) => format!("{select} AND {seq} {than} ?1 ORDER BY {seq} {order} LIMIT ?2"),
            (true, false) => format!("SELECT lo, hi FROM {select} WHERE lo < ?1 ORDER BY lo DESC"),
            (true, true) => format!(
                "SELECT lo, hi FROM {select}
                 WHERE lo >= coalesce((SELECT max(lo) FROM {select} WHERE lo <= ?1), ?1) ORDER BY lo"
            ),
        }
    }

    /// Adds the next candidates, at most `reach`; fewer only at the end.
    fn next(
        &self,
        conn: &Connection,
        after: i64,
        oldest_first: bool,
        reach: usize,
        candidates: &mut Vec<i64>,
    ) -> rusqlite::Result<()> {
        let mut statement = conn.prepare_cached(&self.sql(oldest_first))?;
        statement.raw_bind_parameter(1, after)?;
        if self.are_ranges {
            return numbers(statement.raw_query(), after, oldest_first, reach, candidates);
        }
        statement.raw_bind_parameter(2, i64::try_from(reach).unwrap_or(i64::MAX))?;
        let mut column = 2;
        for value in &self.params {
            column += 1;
            statement.raw_bind_parameter(column, value)?;
        }
        for numbers in &self.arrays {
            column += 1;
            statement.raw_bind_parameter(column, array(numbers.iter().copied()))?;
        }
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            candidates.push(row.get(0)?);
        }
        Ok(())
    }
}

/// Adds the numbers in ranges that stand behind `after`, at most `reach`. No more rows are read than they take.
fn numbers(
    mut rows: Rows<'_>,
    after: i64,
    oldest_first: bool,
    reach: usize,
    candidates: &mut Vec<i64>,
) -> rusqlite::Result<()> {
    let full = candidates.len() + reach;
    while candidates.len() < full {
        let Some(row) = rows.next()? else { return Ok(()) };
        let (lo, hi): (i64, i64) = (row.get(0)?, row.get(1)?);
        let left = full - candidates.len();
        if oldest_first {
            candidates.extend((lo.max(after + 1)..=hi).take(left));
        } else {
            candidates.extend((lo..=hi.min(after - 1)).rev().take(left));
        }
    }
    Ok(())
}

/// Chooses the narrowest drivers that together give every job the filter can match.
fn drivers(conn: &Connection, filter: &Filter, lanes: Option<&[i64]>) -> rusqlite::Result<Vec<Driver>> {
    if !filter.ids.is_empty() {
        let seqs = seqs_of(conn, &filter.ids)?;
        let select = "SELECT seq FROM taskwright_job WHERE seq IN rarray(?3)";
        return Ok(vec![Driver { arrays: vec![seqs], ..Driver::plain(select, "seq") }]);
    }
    let states = &filter.states;
    if filter.cancel_requested == Some(true) {
        let running = Driver::plain("SELECT seq FROM taskwright_running WHERE cancel_at IS NOT NULL", "seq");
        let asked = Driver::plain("SELECT seq FROM taskwright_cancel_asked WHERE 1", "seq");
        return Ok(vec![running, asked, by_state(State::Cancelled)]);
    }
    if !filter.workers.is_empty() || *states == [State::Running] {
        let running = Driver::plain("SELECT seq FROM taskwright_running WHERE 1", "seq");
        return Ok(vec![running, Driver::ranges("taskwright_block")]);
    }
    let rare = |state: &State| !matches!(state, State::Available | State::Completed | State::Running);
    if !states.is_empty() && states.iter().all(rare) {
        return Ok(states.iter().map(|state| by_state(*state)).collect());
    }
    if *states == [State::Available] && few_ready(conn)? {
        return Ok(vec![Driver::plain("SELECT seq FROM taskwright_ready WHERE 1", "seq")]);
    }
    if *states == [State::Completed] && lanes.is_none() {
        let select = "SELECT DISTINCT seq FROM taskwright_attempt WHERE moved_to = 6";
        let (attempts, ranges) = (Driver::plain(select, "seq"), Driver::ranges("taskwright_completion"));
        return Ok(vec![attempts, ranges, by_state(State::Completed)]);
    }
    Ok(match filter.args.is_empty() {
        true => by_lane(filter, lanes),
        // A search looks at a bounded number of candidates, so that no statement may pass over others on the way to them.
        false => by_lane(&Filter::default(), lanes.filter(|lanes| lanes.len() <= LANES_MERGED_MAX)),
    })
}

fn few_ready(conn: &Connection) -> rusqlite::Result<bool> {
    let counted: i64 = conn
        .prepare_cached("SELECT count(*) FROM (SELECT 1 FROM taskwright_ready LIMIT ?1)")?
        .query_row([SORTED_READY_MAX], |row| row.get(0))?;
    Ok(counted < SORTED_READY_MAX)
}

fn seqs_of(conn: &Connection, ids: &[JobId]) -> rusqlite::Result<Vec<i64>> {
    let mut find = conn.prepare_cached("SELECT seq FROM taskwright_job WHERE id = ?1")?;
    let mut seqs = Vec::with_capacity(ids.len());
    for id in ids {
        seqs.extend(find.query_row([id.as_bytes()], |row| row.get::<_, i64>(0)).optional()?);
    }
    Ok(seqs)
}

/// The states that a table keeps an index of.
fn by_state(state: State) -> Driver {
    let table = if state.is_terminal() { "taskwright_over" } else { "taskwright_waiting" };
    Driver::plain(&format!("SELECT seq FROM {table} WHERE state = {}", state.code()), "seq")
}

/// All jobs, or those of some lanes, with what can be checked cheaply on the way.
fn by_lane(filter: &Filter, lanes: Option<&[i64]>) -> Vec<Driver> {
    let mut params = Vec::new();
    let mut conditions = String::from(match filter.states.as_slice() {
        [State::Completed] => {
            " AND (EXISTS (SELECT 1 FROM taskwright_attempt a WHERE a.seq = j.seq AND a.moved_to = 6)
                   OR EXISTS (SELECT 1 FROM taskwright_over o WHERE o.seq = j.seq AND o.state = 6)
                   OR (SELECT hi FROM taskwright_completion c
                       WHERE c.lo <= j.seq ORDER BY c.lo DESC LIMIT 1) >= j.seq)"
        }
        [State::Available] => {
            " AND EXISTS (SELECT 1 FROM taskwright_ready r
                          WHERE r.lane = j.lane AND r.ready_at = j.run_at AND r.seq = j.seq)"
        }
        _ => "",
    });
    let mut add = |condition: &str, value: Value| {
        params.push(value);
        conditions.push_str(&condition.replace('#', &format!("?{}", params.len() + 2)));
    };
    if let Some(from) = filter.created_from {
        add(" AND j.created_at >= #", Value::from(from.as_micros()));
    }
    if let Some(to) = filter.created_to {
        add(" AND j.created_at <= #", Value::from(to.as_micros()));
    }
    match &filter.owners {
        Owners::Nobody => conditions.push_str(" AND j.owner IS NULL"),
        Owners::Of(_) => conditions.push_str(" AND j.owner IS NOT NULL"),
        Owners::Any => {}
    }
    let driver = |lane: String, arrays: Vec<Vec<i64>>| Driver {
        select: format!("SELECT j.seq FROM taskwright_job j WHERE {lane}{conditions}"),
        seq: "j.seq",
        params: params.clone(),
        arrays,
        are_ranges: false,
    };
    match lanes {
        None => vec![driver("1".to_owned(), Vec::new())],
        Some(lanes) if lanes.len() <= LANES_MERGED_MAX => {
            lanes.iter().map(|lane| driver(format!("j.lane = {lane}"), Vec::new())).collect()
        }
        Some(lanes) => {
            // The plus keeps the planner from the lane index, which would have to be sorted.
            let list = format!("+j.lane IN rarray(?{})", params.len() + 3);
            vec![driver(list, vec![lanes.to_vec()])]
        }
    }
}

/// Goes through all drivers side by side.
struct Walk<'c> {
    conn: &'c Connection,
    after: i64,
    oldest_first: bool,
    drivers: Vec<Driver>,
}

impl Walk<'_> {
    /// The next candidates, at most `reach`; fewer only at the end.
    fn next(&mut self, reach: usize) -> rusqlite::Result<Vec<i64>> {
        let mut merged = Vec::with_capacity(reach);
        for driver in &self.drivers {
            driver.next(self.conn, self.after, self.oldest_first, reach, &mut merged)?;
        }
        if self.oldest_first {
            merged.sort_unstable();
        } else {
            merged.sort_unstable_by_key(|seq: &i64| std::cmp::Reverse(*seq));
        }
        merged.dedup();
        merged.truncate(reach);
        if let Some(last) = merged.last() {
            self.after = *last;
        }
        Ok(merged)
    }
}

const ARGS: &str = "SELECT args FROM taskwright_job WHERE seq = ?1";
const SEAL: &str = "SELECT key FROM taskwright_seal WHERE single = 1";

/// The statements that give the candidates of a listing, for `plans.rs`.
#[cfg(test)]
pub(super) fn statements(conn: &Connection, filter: &Filter) -> Vec<String> {
    let lanes = lanes(conn, filter).unwrap();
    let drivers = drivers(conn, filter, lanes.as_deref()).unwrap();
    drivers.iter().flat_map(|driver| [driver.sql(true), driver.sql(false)]).collect()
}
