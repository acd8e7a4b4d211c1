//! Listings: filtered, in the order of insertion, a page at a time, and quick however many jobs there are.
//!
//! A page is made in two steps. A *driver*, the narrowest index that holds every job the filter can match, gives
//! candidates in order; then the candidates are read whole, with one statement, and held against the filter. A page looks
//! at a bounded number of candidates and may come back short; the caller goes on from where it stopped.
//!
//! The order is that of the numbers; of one lane, or a few, it is that of the transactions and within them of the numbers,
//! which is how lanes are kept. Either is given before the commit: a job whose transaction took longer than another's may
//! show up before where a reader of the oldest has come to.

use std::cmp::Reverse;
use std::collections::HashMap;

use taskwright_core::limit::PAGE_ROWS_MAX;
use taskwright_core::{Args, JobId, Pattern, State};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::query::{read_view, view_query, walk_indexes};
use super::session::{Session, Uuid, get, sql_code, vanished};
use crate::error::Error;
use crate::query::{Filter, JobView, Namespaces, Owners, Page, Paged, Searched};
use crate::seal::Seal;

/// Candidates that one page looks at.
const CANDIDATES_MAX: usize = 20_000;

/// Candidates that are read at a time, once a page has not been filled by as many as it has rows.
const REACH: usize = 1_000;

/// Available jobs up to this many are sorted for a page, which takes about 0.2 s for all of them; beyond, the jobs are
/// walked, where they are met soon.
const SORTED_READY_MAX: i64 = 1_000_000;

/// Lanes up to this many are walked side by side; beyond, all jobs are walked and filtered.
const LANES_MERGED_MAX: usize = 64;

/// One page. See [`Store::list`](crate::Store::list).
pub(super) async fn list(session: &mut Session<'_>, filter: &Filter, page: &Page) -> Result<Paged, Error> {
    let lanes = lanes(session, filter).await?;
    if lanes.as_ref().is_some_and(Vec::is_empty) {
        return Ok(Paged::default());
    }
    walk_indexes(session).await?;
    let mut walk = Walk {
        after: start(session, page).await?,
        oldest_first: page.oldest_first,
        drivers: drivers(session, filter, lanes.as_deref()).await?,
    };
    let limit = page.limit.clamp(1, PAGE_ROWS_MAX);
    let mut paged = Paged::default();
    let (mut looked_at, mut searched) = (0, Searched::default());
    loop {
        // The first reach is as long as the page: mostly everything a driver gives matches.
        let reach = if looked_at == 0 { limit } else { REACH };
        let candidates = walk.next(session, reach).await?;
        let views = views(session, &candidates).await?;
        let found = search(session, filter, &views, &mut searched).await?;
        for (seq, job) in views {
            looked_at += 1;
            let (id, is_shown) = (job.id, filter.shows(&job));
            let is_last = found.last == Some(seq);
            if filter.matches(&job) && found.has(seq) {
                paged.jobs.push(job);
            }
            if paged.jobs.len() == limit || looked_at >= CANDIDATES_MAX || is_last {
                paged.next = Some(if is_shown { id } else { seal(session).await?.close(seq) });
                return Ok(paged);
            }
        }
        if candidates.len() < reach {
            return Ok(paged);
        }
    }
}

/// Reads the candidates whole, in their order.
pub(super) async fn views(
    session: &mut Session<'_>,
    candidates: &[i64],
) -> Result<Vec<(i64, JobView)>, Error> {
    if candidates.is_empty() {
        return Ok(Vec::new());
    }
    // The limit keeps the lookup of one job apart, so that each is found by its number.
    let sql = format!(
        "SELECT v.* FROM unnest($1::bigint[]) WITH ORDINALITY AS c (seq, place)
         CROSS JOIN LATERAL ({} WHERE j.seq = c.seq LIMIT 1) v ORDER BY c.place",
        view_query()
    );
    let rows = session.all(&sql, &[&candidates]).await?;
    rows.iter().map(read_view).collect()
}

/// What a search in arguments has found among some jobs.
#[derive(Default)]
struct Found {
    /// Those that were looked into, and whether they are meant; `None` when nothing is looked for.
    jobs: Option<HashMap<i64, bool>>,
    /// The job with which the page ends, because it has looked into enough.
    last: Option<i64>,
}

impl Found {
    fn has(&self, seq: i64) -> bool {
        self.jobs.as_ref().is_none_or(|jobs| jobs.get(&seq) == Some(&true))
    }
}

/// Looks into the arguments of those of these jobs that match otherwise, as far as the page may. Their sizes are asked first, so that
/// no more is read than that.
async fn search(
    session: &mut Session<'_>,
    filter: &Filter,
    views: &[(i64, JobView)],
    searched: &mut Searched,
) -> Result<Found, Error> {
    if filter.args.is_empty() {
        return Ok(Found::default());
    }
    let matching: Vec<i64> =
        views.iter().filter(|(_, job)| filter.matches(job)).map(|(seq, _)| *seq).collect();
    let (mut chosen, mut last) = (Vec::new(), None);
    for row in session.all(SIZES, &[&matching]).await? {
        let (seq, bytes): (i64, i32) = (get(&row, 0)?, get(&row, 1)?);
        chosen.push(seq);
        searched.add(usize::try_from(bytes).unwrap_or_default());
        if searched.is_enough() {
            last = Some(seq);
            break;
        }
    }
    let mut jobs = HashMap::with_capacity(chosen.len());
    for row in session.all(ARGS, &[&chosen]).await? {
        let args = Args::from_store(get::<&[u8]>(&row, 1)?.into());
        jobs.insert(get(&row, 0)?, filter.args.matches(&args));
    }
    Ok(Found { jobs: Some(jobs), last })
}

/// The sizes of arguments, in the order of the jobs. Nothing of them is read for it.
const SIZES: &str = "SELECT c.seq, a.bytes FROM unnest($1::bigint[]) WITH ORDINALITY AS c (seq, place)
    CROSS JOIN LATERAL (SELECT octet_length(j.args) AS bytes FROM job j WHERE j.seq = c.seq LIMIT 1) a
    ORDER BY c.place";
const ARGS: &str = "SELECT c.seq, a.args FROM unnest($1::bigint[]) AS c (seq)
    CROSS JOIN LATERAL (SELECT j.args FROM job j WHERE j.seq = c.seq LIMIT 1) a";

/// What seals a place that is nobody's business.
async fn seal(session: &mut Session<'_>) -> Result<Seal, Error> {
    let row = session.first("SELECT key FROM seal WHERE single", &[]).await?;
    let row = row.ok_or_else(|| vanished("the key of places"))?;
    Ok(Seal::new(get(&row, 0)?))
}

/// Where a candidate stands: (transaction, number). Where only the number counts the transaction is 0.
type Standing = (u64, i64);

/// Where to start: behind the job that the page goes on from.
async fn start(session: &mut Session<'_>, page: &Page) -> Result<Standing, Error> {
    let before_all = if page.oldest_first { (0, 0) } else { (u64::MAX, i64::MAX) };
    let Some(id) = page.after else { return Ok(before_all) };
    let after = Uuid::from(id);
    let mut found = session.first("SELECT seq, xid::text FROM job WHERE id = $1", &[&after]).await?;
    if found.is_none()
        && let Some(seq) = seal(session).await?.open(id)
    {
        // It may have been removed since, too.
        let near = if page.oldest_first {
            "SELECT seq, xid::text FROM job WHERE seq <= $1 ORDER BY seq DESC LIMIT 1"
        } else {
            "SELECT seq, xid::text FROM job WHERE seq >= $1 ORDER BY seq LIMIT 1"
        };
        found = session.first(near, &[&seq]).await?;
    } else if found.is_none() {
        // The job was removed since: go on at the time it was made.
        let near = if page.oldest_first {
            "SELECT seq, xid::text FROM job WHERE id < $1 ORDER BY id DESC LIMIT 1"
        } else {
            "SELECT seq, xid::text FROM job WHERE id > $1 ORDER BY id LIMIT 1"
        };
        found = session.first(near, &[&after]).await?;
    }
    found.map_or(Ok(before_all), |row| Ok((xid(&row, 1)?, get(&row, 0)?)))
}

fn xid(row: &Row, column: usize) -> Result<u64, Error> {
    get::<&str>(row, column)?.parse().map_err(|_| vanished("a transaction's number"))
}

/// The lanes that the filter's kinds, queues and namespaces allow; `None` when it says nothing about them.
pub(super) async fn lanes(session: &mut Session<'_>, filter: &Filter) -> Result<Option<Vec<i64>>, Error> {
    if filter.kinds.is_empty() && filter.queues.is_empty() && filter.namespaces == Namespaces::Any {
        return Ok(None);
    }
    let rows = session
        .all("SELECT l.lane, l.kind, q.name, q.namespace FROM lane l JOIN queue q ON q.queue = l.queue", &[])
        .await?;
    let mut lanes = Vec::new();
    for row in &rows {
        let (kind, queue, namespace): (&str, &str, &str) = (get(row, 1)?, get(row, 2)?, get(row, 3)?);
        if Pattern::any(&filter.kinds, kind)
            && Pattern::any(&filter.queues, queue)
            && filter.namespaces.include_name(namespace)
        {
            lanes.push(get(row, 0)?);
        }
    }
    Ok(Some(lanes))
}

/// A parameter of a driver, from `$3` on.
type Param = Box<dyn ToSql + Sync + Send>;

/// One ordered source of candidates: `SELECT <xid>, <seq> FROM ... WHERE <condition>`, to which the walk adds its bound.
struct Driver {
    select: String,
    order: Order,
    /// What the select is made for each of, side by side: a `FROM` item called `e`.
    each: Option<&'static str>,
    params: Vec<Param>,
}

/// What candidates are sorted by.
enum Order {
    /// The column of the number.
    Number(&'static str),
    /// `job j`, by the order of lanes.
    Lane,
    /// The numbers in completions.
    Completion,
}

impl Driver {
    /// `from` is everything behind the columns.
    fn plain(from: &str, seq: &'static str) -> Self {
        let select = format!("SELECT '0'::text AS xid, {seq} {from}");
        Self { select, order: Order::Number(seq), each: None, params: Vec::new() }
    }

    /// The next candidates, at most `reach`; fewer only at the end.
    async fn next(
        &self,
        session: &mut Session<'_>,
        after: Standing,
        oldest_first: bool,
        reach: usize,
    ) -> Result<Vec<Standing>, Error> {
        let seq = after.1;
        if matches!(self.order, Order::Completion) {
            return completed(session, seq, oldest_first, reach).await;
        }
        let (most, xid_text) = (i64::try_from(reach).unwrap_or(i64::MAX), after.0.to_string());
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![&seq, &most];
        for param in &self.params {
            params.push(param.as_ref());
        }
        if matches!(self.order, Order::Lane) {
            params.push(&xid_text);
        }
        let rows = session.all(&self.sql(oldest_first), &params).await?;
        rows.iter().map(|row| Ok((xid(row, 0)?, get(row, 1)?))).collect()
    }

    /// The whole statement: from `$1` on, at most `$2` rows; by the order of lanes, the last parameter is the transaction.
    fn sql(&self, oldest_first: bool) -> String {
        let select = &self.select;
        let (than, order) = if oldest_first { (">", "ASC") } else { ("<", "DESC") };
        let bounded = match self.order {
            Order::Number(seq) => {
                format!("{select} AND {seq} {than} $1 ORDER BY {seq} {order} LIMIT $2")
            }
            Order::Completion => String::new(),
            Order::Lane => format!(
                "{select} AND (j.xid, j.seq) {than} (${xid}::text::xid8, $1)
                 ORDER BY j.xid {order}, j.seq {order} LIMIT $2",
                xid = self.params.len() + 3
            ),
        };
        match (self.each, &self.order) {
            (None, _) => bounded,
            (Some(each), Order::Number(_) | Order::Completion) => format!(
                "SELECT c.xid, c.seq FROM {each} CROSS JOIN LATERAL ({bounded}) c ORDER BY c.seq {order} LIMIT $2"
            ),
            (Some(each), Order::Lane) => format!(
                "SELECT c.xid::text, c.seq FROM {each} CROSS JOIN LATERAL ({bounded}) c
                 ORDER BY c.xid {order}, c.seq {order} LIMIT $2"
            ),
        }
    }
}

/// The next numbers in completions. These overlap, as claims of several lanes do, so that the next number may be in any of
/// those around; so some are read, in the order of their last numbers, and what they say counts as far as no completion
/// that was not read can say anything.
async fn completed(
    session: &mut Session<'_>,
    after: i64,
    oldest_first: bool,
    reach: usize,
) -> Result<Vec<Standing>, Error> {
    let most = i64::try_from(reach).unwrap_or(i64::MAX);
    let mut looked_at = COMPLETIONS_MIN;
    loop {
        let sql = if oldest_first { COMPLETED_OLDEST } else { COMPLETED_NEWEST };
        let rows = session.all(sql, &[&after, &most, &looked_at]).await?;
        let are_all = rows.first().map_or(Ok(true), |row| get::<bool>(row, 1))?;
        let seqs: Vec<Option<i64>> = rows.iter().map(|row| get(row, 0)).collect::<Result<_, _>>()?;
        if are_all || seqs.len() >= reach {
            return Ok(seqs.into_iter().flatten().map(|seq| (0, seq)).collect());
        }
        looked_at *= 8;
    }
}

/// Completions that are read at first.
const COMPLETIONS_MIN: i64 = 16;

/// Numbers below `$1`, the greatest first, and whether there are no others; one row without a number when there are none.
const COMPLETED_NEWEST: &str = "WITH near AS MATERIALIZED (
        SELECT c.hi, c.seqs FROM completion c WHERE c.lo < $1 ORDER BY c.hi DESC LIMIT $3),
    edge AS (SELECT count(*) < $3 AS are_all, min(near.hi) AS hi FROM near)
    SELECT s.seq, edge.are_all FROM edge LEFT JOIN LATERAL (
        SELECT n.seq FROM near CROSS JOIN LATERAL unnest(near.seqs) AS r
            CROSS JOIN LATERAL generate_series(lower(r), upper(r) - 1) AS n (seq)
        WHERE n.seq < $1 AND (edge.are_all OR n.seq >= edge.hi)
        ORDER BY n.seq DESC LIMIT $2) s ON true";

/// Numbers above `$1`, the smallest first; otherwise the same. In the order of the first numbers there is no index, so that
/// completions which end early enough are read: one that begins later than it could matter comes after them.
const COMPLETED_OLDEST: &str = "WITH near AS MATERIALIZED (
        SELECT c.hi, c.seqs FROM completion c WHERE c.hi > $1 ORDER BY c.hi LIMIT $3),
    edge AS (
        SELECT count(*) < $3 AS are_all, (
            SELECT min(c.lo) FROM completion c WHERE c.hi > (SELECT max(near.hi) FROM near)) AS lo
        FROM near)
    SELECT s.seq, edge.are_all FROM edge LEFT JOIN LATERAL (
        SELECT n.seq FROM near CROSS JOIN LATERAL unnest(near.seqs) AS r
            CROSS JOIN LATERAL generate_series(lower(r), upper(r) - 1) AS n (seq)
        WHERE n.seq > $1 AND (edge.are_all OR edge.lo IS NULL OR n.seq < edge.lo)
        ORDER BY n.seq LIMIT $2) s ON true";

/// Chooses the narrowest drivers that together give every job the filter can match.
async fn drivers(
    session: &mut Session<'_>,
    filter: &Filter,
    lanes: Option<&[i64]>,
) -> Result<Vec<Driver>, Error> {
    if !filter.ids.is_empty() {
        let seqs = seqs_of(session, &filter.ids).await?;
        let from = "FROM job WHERE seq = ANY($3::bigint[])";
        return Ok(vec![Driver { params: vec![Box::new(seqs)], ..Driver::plain(from, "seq") }]);
    }
    let states = &filter.states;
    if filter.cancel_requested == Some(true) {
        let running = Driver::plain("FROM running WHERE cancel_at IS NOT NULL", "seq");
        let asked = Driver::plain("FROM cancel_asked WHERE true", "seq");
        return Ok([vec![running, asked], by_state(&[State::Cancelled])].into_iter().flatten().collect());
    }
    if !filter.workers.is_empty() || *states == [State::Running] {
        let from = "FROM (SELECT seq FROM running UNION ALL SELECT seq FROM held) s WHERE true";
        return Ok(vec![Driver::plain(from, "s.seq")]);
    }
    let rare = |state: &State| !matches!(state, State::Available | State::Completed | State::Running);
    if !states.is_empty() && states.iter().all(rare) {
        return Ok(by_state(states));
    }
    if *states == [State::Available] && few_ready(session).await? {
        return Ok(vec![by_ready(lanes)]);
    }
    if *states == [State::Completed] && lanes.is_none() {
        let select = "SELECT DISTINCT '0'::text AS xid, seq FROM attempt WHERE moved_to = 6".to_owned();
        let completions = Driver { order: Order::Completion, ..Driver::plain("", "") };
        let parents = Driver::plain("FROM over WHERE state = 6", "seq");
        return Ok(vec![Driver { select, ..Driver::plain("", "seq") }, completions, parents]);
    }
    Ok(match filter.args.is_empty() {
        true => by_lane(filter, lanes),
        // A search looks at a bounded number of candidates, so that no statement may pass over others on the way to them.
        false => by_lane(&Filter::default(), lanes.filter(|lanes| lanes.len() <= LANES_MERGED_MAX)),
    })
}

async fn few_ready(session: &mut Session<'_>) -> Result<bool, Error> {
    let count = "SELECT count(*) FROM (SELECT 1 FROM ready UNION ALL SELECT 1 FROM stream LIMIT $1) r";
    let row = session.first(count, &[&SORTED_READY_MAX]).await?;
    let counted: Option<i64> = row.map(|row| get(&row, 0)).transpose()?;
    Ok(counted.is_none_or(|counted| counted < SORTED_READY_MAX))
}

async fn seqs_of(session: &mut Session<'_>, ids: &[JobId]) -> Result<Vec<i64>, Error> {
    let ids: Vec<Uuid> = ids.iter().copied().map(Uuid::from).collect();
    let rows = session.all("SELECT seq FROM job WHERE id = ANY($1::uuid[])", &[&ids]).await?;
    rows.iter().map(|row| get(row, 0)).collect()
}

/// The states that a table keeps an index of.
fn by_state(states: &[State]) -> Vec<Driver> {
    let driver = |terminal: bool, from: &str| {
        let mut codes: Vec<i16> = states
            .iter()
            .filter(|state| state.is_terminal() == terminal)
            .map(|state| sql_code(state.code()))
            .collect();
        // A state that is asked for twice must not give its jobs twice: they would count as the whole reach.
        codes.sort_unstable();
        codes.dedup();
        (!codes.is_empty()).then(|| Driver {
            each: Some("unnest($3::smallint[]) AS e (state)"),
            params: vec![Box::new(codes)],
            ..Driver::plain(from, "s.seq")
        })
    };
    let waiting = driver(false, "FROM waiting s WHERE s.state = e.state");
    let over = driver(true, "FROM over s WHERE s.state = e.state");
    waiting.into_iter().chain(over).collect()
}

/// All available jobs, or those of some lanes: each reach sorts them, so that it should not be spent on others.
fn by_ready(lanes: Option<&[i64]>) -> Driver {
    const FROM: &str = "FROM (SELECT lane, seq FROM ready UNION ALL SELECT lane, seq FROM stream) s";
    match lanes {
        None => Driver::plain(&format!("{FROM} WHERE true"), "s.seq"),
        Some(lanes) => Driver {
            params: vec![Box::new(lanes.to_vec())],
            ..Driver::plain(&format!("{FROM} WHERE s.lane = ANY($3::bigint[])"), "s.seq")
        },
    }
}

/// All jobs, or those of some lanes, with what can be checked cheaply on the way. Lanes have two indexes, of the streamed
/// jobs and of the others.
fn by_lane(filter: &Filter, lanes: Option<&[i64]>) -> Vec<Driver> {
    let driver = |which: &str, order: Order, each: Option<&'static str>| {
        let mut params: Vec<Param> = Vec::new();
        if let Some(lanes) = lanes {
            params.push(Box::new(lanes.to_vec()));
        }
        let conditions = conditions(filter, &mut params);
        let xid = if matches!(order, Order::Lane) { "j.xid" } else { "'0'::text AS xid" };
        Driver {
            select: format!("SELECT {xid}, j.seq FROM job j WHERE {which}{conditions}"),
            order,
            each,
            params,
        }
    };
    match lanes {
        None => vec![driver("true", Order::Number("j.seq"), None)],
        Some(lanes) if lanes.len() <= LANES_MERGED_MAX => {
            ["j.is_streamed AND j.lane = e.lane", "NOT j.is_streamed AND j.lane = e.lane"]
                .map(|which| driver(which, Order::Lane, Some("unnest($3::bigint[]) AS e (lane)")))
                .into()
        }
        Some(_) => vec![driver("j.lane = ANY($3::bigint[])", Order::Number("j.seq"), None)],
    }
}

/// What a walk over jobs checks on the way; the rest is checked once they have been read.
fn conditions(filter: &Filter, params: &mut Vec<Param>) -> String {
    let mut conditions = String::from(match filter.states.as_slice() {
        [State::Completed] => {
            " AND (EXISTS (SELECT 1 FROM attempt a WHERE a.seq = j.seq AND a.moved_to = 6)
                   OR EXISTS (SELECT 1 FROM over o WHERE o.seq = j.seq AND o.state = 6)
                   OR (j.is_streamed AND EXISTS (SELECT 1 FROM completion c WHERE c.seqs @> j.seq)))"
        }
        [State::Available] => {
            " AND (EXISTS (SELECT 1 FROM ready r
                           WHERE r.lane = j.lane AND r.ready_at = j.run_at AND r.seq = j.seq)
                   OR (j.is_streamed AND NOT EXISTS (SELECT 1 FROM attempt a WHERE a.seq = j.seq)
                       AND NOT EXISTS (SELECT 1 FROM block b WHERE b.seqs @> j.seq)
                       AND NOT EXISTS (SELECT 1 FROM completion c WHERE c.seqs @> j.seq)))"
        }
        _ => "",
    });
    for (moment, than) in [(filter.created_from, ">="), (filter.created_to, "<=")] {
        if let Some(moment) = moment {
            params.push(Box::new(moment.as_micros()));
            conditions.push_str(&format!(" AND j.created_at {than} ${}", params.len() + 2));
        }
    }
    conditions.push_str(match &filter.owners {
        Owners::Nobody => " AND j.owner IS NULL",
        Owners::Of(_) => " AND j.owner IS NOT NULL",
        Owners::Any => "",
    });
    conditions
}

/// Goes through all drivers side by side.
struct Walk {
    after: Standing,
    oldest_first: bool,
    drivers: Vec<Driver>,
}

impl Walk {
    /// The next candidates, at most `reach`; fewer only at the end.
    async fn next(&mut self, session: &mut Session<'_>, reach: usize) -> Result<Vec<i64>, Error> {
        let mut merged: Vec<Standing> = Vec::with_capacity(reach);
        for driver in &self.drivers {
            merged.extend(driver.next(session, self.after, self.oldest_first, reach).await?);
        }
        if self.oldest_first {
            merged.sort_unstable();
        } else {
            merged.sort_unstable_by_key(|standing| Reverse(*standing));
        }
        merged.dedup();
        merged.truncate(reach);
        if let Some(last) = merged.last() {
            self.after = *last;
        }
        Ok(merged.into_iter().map(|(_, seq)| seq).collect())
    }
}
