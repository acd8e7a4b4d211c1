//! Listings: filtered, in the order of insertion, a page at a time, and quick however many jobs there are. See
//! [`walk`](crate::walk).

use rusqlite::{Connection, OptionalExtension, Rows};
use taskwright_core::limit::PAGE_ROWS_MAX;
use taskwright_core::{Args, JobId, Pattern, State};

use super::error::read_error;
use super::finish::array;
use super::query::{read_view, view_query};
use crate::error::Error;
use crate::query::{Filter, Namespaces, Page, Paged, Searched};
use crate::seal::Seal;
use crate::walk::{self, CANDIDATES_MAX, Glimpse, LANES_MERGED_MAX, PROBED, READ_MAX, READY_FEW};

/// Available jobs up to this many are sorted for a page, which takes about 20 ms for all of them.
const SORTED_READY_MAX: i64 = 500_000;

/// One page. See [`Store::list`](crate::Store::list).
pub(super) fn list(conn: &Connection, filter: &Filter, page: &Page) -> Result<Paged, Error> {
    list_page(conn, filter, page).map_err(read_error)
}

fn list_page(conn: &Connection, filter: &Filter, page: &Page) -> rusqlite::Result<Paged> {
    let lanes = lanes(conn, filter)?;
    if lanes.as_ref().is_some_and(Vec::is_empty) {
        return Ok(Paged::default());
    }
    let mut filling = Filling {
        conn,
        filter,
        limit: page.limit.clamp(1, PAGE_ROWS_MAX),
        paged: Paged::default(),
        looked_at: 0,
        read: 0,
        searched: Searched::default(),
    };
    let mut after = start(conn, page)?;
    if walk::is_for_available(filter) && !are_few_ready(conn, READY_FEW)? {
        let mut newest = filling.merge(vec![all_jobs()], after, page.oldest_first);
        if !filling.fill(&mut newest, &Glimpse::new(filter, lanes.as_deref()), PROBED)? {
            return Ok(filling.paged);
        }
        after = newest.place();
    }
    let (drivers, lanes_left) = drivers(conn, filter, lanes.as_deref())?;
    let mut merge = filling.merge(drivers, after, page.oldest_first);
    if filling.fill(&mut merge, &Glimpse::new(filter, lanes_left), CANDIDATES_MAX)? {
        filling.paged.next = Some(seal(conn)?.close(merge.place()));
    }
    Ok(filling.paged)
}

/// Drivers side by side.
type Merge = walk::Merge<Driver, i64>;

/// A page that is being filled.
struct Filling<'p> {
    conn: &'p Connection,
    filter: &'p Filter,
    limit: usize,
    paged: Paged,
    looked_at: usize,
    read: usize,
    searched: Searched,
}

impl Filling<'_> {
    fn merge(&self, drivers: Vec<Driver>, after: i64, oldest_first: bool) -> Merge {
        Merge::new(drivers, after, oldest_first, self.limit, |driver| driver.sorts)
    }

    /// Goes on with the page; whether there may be more than it could look at, which is `most` candidates with those of before. Otherwise
    /// the page is made.
    fn fill(&mut self, merge: &mut Merge, glimpse: &Glimpse<'_>, most: usize) -> rusqlite::Result<bool> {
        let mut view = self.conn.prepare_cached(&format!("{} WHERE j.seq = ?1", view_query()))?;
        let mut glance = self.conn.prepare_cached(GLIMPSE)?;
        while self.looked_at < most && self.read < READ_MAX {
            let Some(seq) = next(self.conn, merge)? else { return Ok(false) };
            self.looked_at += 1;
            if glimpse.is_of_use() {
                let passes = glance.query_row([seq], |row| {
                    let owner = row.get_ref(2)?.as_str_or_null()?;
                    Ok(glimpse.lets_pass(row.get(0)?, row.get(1)?, owner))
                });
                if !passes.optional()?.unwrap_or(false) {
                    continue;
                }
            }
            self.read += 1;
            let Some((_, job)) = view.query_row([seq], read_view).optional()? else { continue };
            let (id, is_shown) = (job.id, self.filter.shows(&job));
            if self.filter.matches(&job) && has_args(self.conn, self.filter, seq, &mut self.searched)? {
                self.paged.jobs.push(job);
            }
            if self.paged.jobs.len() == self.limit || self.searched.is_enough() {
                self.paged.next = Some(if is_shown { id } else { seal(self.conn)?.close(seq) });
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The next candidate.
fn next(conn: &Connection, merge: &mut Merge) -> rusqlite::Result<Option<i64>> {
    let oldest_first = merge.is_oldest_first();
    while let Some(source) = merge.lacking() {
        let mut candidates = Vec::new();
        source.driver.next(conn, source.after, oldest_first, source.reach, &mut candidates)?;
        source.give(candidates);
    }
    Ok(merge.pop())
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
    /// What is bound from `?3` on.
    array: Option<Vec<i64>>,
    are_ranges: bool,
    /// Whether all that it can give is sorted each time.
    sorts: bool,
}

impl Driver {
    fn plain(select: &str, seq: &'static str) -> Self {
        Self { select: select.to_owned(), seq, array: None, are_ranges: false, sorts: false }
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
        if let Some(numbers) = &self.array {
            statement.raw_bind_parameter(3, array(numbers.iter().copied()))?;
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

/// Chooses the narrowest drivers that together give every job the filter can match, and says which lanes they leave to be looked at.
fn drivers<'l>(
    conn: &Connection,
    filter: &Filter,
    lanes: Option<&'l [i64]>,
) -> rusqlite::Result<(Vec<Driver>, Option<&'l [i64]>)> {
    if !filter.ids.is_empty() {
        let select = "SELECT seq FROM taskwright_job WHERE seq IN rarray(?3)";
        let some = Driver { array: Some(seqs_of(conn, &filter.ids)?), ..Driver::plain(select, "seq") };
        return Ok((vec![some], None));
    }
    let states = &filter.states;
    if filter.cancel_requested == Some(true) {
        let running = Driver::plain("SELECT seq FROM taskwright_running WHERE cancel_at IS NOT NULL", "seq");
        let asked = Driver::plain("SELECT seq FROM taskwright_cancel_asked WHERE 1", "seq");
        return Ok((vec![running, asked, by_state(State::Cancelled)], lanes));
    }
    if !filter.workers.is_empty() || *states == [State::Running] {
        let running = Driver::plain("SELECT seq FROM taskwright_running WHERE 1", "seq");
        return Ok((vec![running, Driver::ranges("taskwright_block")], lanes));
    }
    let rare = |state: &State| !matches!(state, State::Available | State::Completed | State::Running);
    if !states.is_empty() && states.iter().all(rare) {
        return Ok((states.iter().map(|state| by_state(*state)).collect(), lanes));
    }
    if *states == [State::Available] {
        // Their order is that of all jobs, which have been probed.
        return Ok(match are_few_ready(conn, SORTED_READY_MAX)? {
            true => (vec![by_ready(lanes)], None),
            false => (vec![all_jobs()], lanes),
        });
    }
    if *states == [State::Completed] && lanes.is_none() {
        let select = "SELECT DISTINCT seq FROM taskwright_attempt WHERE moved_to = 6";
        let (attempts, ranges) = (Driver::plain(select, "seq"), Driver::ranges("taskwright_completion"));
        return Ok((vec![attempts, ranges, by_state(State::Completed)], None));
    }
    Ok(match lanes {
        Some(few) if few.len() <= LANES_MERGED_MAX => (few.iter().map(|lane| of_lane(*lane)).collect(), None),
        _ => (vec![all_jobs()], lanes),
    })
}

fn are_few_ready(conn: &Connection, most: i64) -> rusqlite::Result<bool> {
    let counted: i64 = conn
        .prepare_cached("SELECT count(*) FROM (SELECT 1 FROM taskwright_ready LIMIT ?1)")?
        .query_row([most], |row| row.get(0))?;
    Ok(counted < most)
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

/// All available jobs, or those of some lanes.
fn by_ready(lanes: Option<&[i64]>) -> Driver {
    let select = match lanes {
        None => "SELECT seq FROM taskwright_ready WHERE 1",
        Some(_) => "SELECT seq FROM taskwright_ready WHERE lane IN rarray(?3)",
    };
    Driver { array: lanes.map(<[i64]>::to_vec), sorts: true, ..Driver::plain(select, "seq") }
}

fn all_jobs() -> Driver {
    Driver::plain("SELECT seq FROM taskwright_job WHERE 1", "seq")
}

fn of_lane(lane: i64) -> Driver {
    Driver::plain(&format!("SELECT seq FROM taskwright_job WHERE lane = {lane}"), "seq")
}

const ARGS: &str = "SELECT args FROM taskwright_job WHERE seq = ?1";
const GLIMPSE: &str = "SELECT lane, created_at, owner FROM taskwright_job WHERE seq = ?1";
const SEAL: &str = "SELECT key FROM taskwright_seal WHERE single = 1";

/// The statements that give the candidates of a listing, for `plans.rs`.
#[cfg(test)]
pub(super) fn statements(conn: &Connection, filter: &Filter) -> Vec<String> {
    let lanes = lanes(conn, filter).unwrap();
    let drivers = drivers(conn, filter, lanes.as_deref()).unwrap();
    drivers.0.iter().flat_map(|driver| [driver.sql(true), driver.sql(false)]).collect()
}
