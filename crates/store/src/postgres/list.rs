//! Listings: filtered, in the order of insertion, a page at a time, and quick however many jobs there are. See
//! [`walk`](crate::walk). Candidates are read a thousand at a time, with one statement.
//!
//! The order is that of the numbers; of one lane, or a few, it is that of the transactions and within them of the numbers,
//! which is how lanes are kept. Either is given before the commit: a job whose transaction took longer than another's may
//! show up before where a reader of the oldest has come to.

use std::collections::{HashMap, HashSet};

use taskwright_core::limit::PAGE_ROWS_MAX;
use taskwright_core::{Args, JobId, Pattern, State};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::query::{read_view, view_query, walk_indexes};
use super::session::{Session, Uuid, get, sql_code, vanished};
use crate::error::Error;
use crate::query::{Filter, JobView, Namespaces, Page, Paged, Searched};
use crate::seal::Seal;
use crate::walk::{self, CANDIDATES_MAX, Glimpse, LANES_MERGED_MAX, PROBED, REACH, READ_MAX, READY_FEW};

/// Available jobs up to this many are sorted for a page, which takes about 20 ms for all of them.
const SORTED_READY_MAX: i64 = 100_000;

/// One page. See [`Store::list`](crate::Store::list).
pub(super) async fn list(session: &mut Session<'_>, filter: &Filter, page: &Page) -> Result<Paged, Error> {
    let lanes = lanes(session, filter).await?;
    if lanes.as_ref().is_some_and(Vec::is_empty) {
        return Ok(Paged::default());
    }
    walk_indexes(session).await?;
    let mut filling = Filling {
        filter,
        limit: page.limit.clamp(1, PAGE_ROWS_MAX),
        paged: Paged::default(),
        looked_at: 0,
        read: 0,
        searched: Searched::default(),
    };
    let mut after = start(session, page).await?;
    if walk::is_for_available(filter) && !are_few_ready(session, READY_FEW).await? {
        let glimpse = Glimpse::new(filter, lanes.as_deref());
        let mut newest = filling.merge(vec![all_jobs()], after, page.oldest_first);
        if !filling.fill(session, &mut newest, &glimpse, PROBED).await? {
            return Ok(filling.paged);
        }
        after = newest.place();
    }
    let (drivers, lanes_left) = drivers(session, filter, lanes.as_deref()).await?;
    let mut merge = filling.merge(drivers, after, page.oldest_first);
    if filling.fill(session, &mut merge, &Glimpse::new(filter, lanes_left), CANDIDATES_MAX).await? {
        filling.paged.next = Some(seal(session).await?.close(merge.place().1));
    }
    Ok(filling.paged)
}

/// Drivers side by side.
type Merge = walk::Merge<Driver, Standing>;

/// A page that is being filled.
struct Filling<'p> {
    filter: &'p Filter,
    limit: usize,
    paged: Paged,
    looked_at: usize,
    read: usize,
    searched: Searched,
}

impl Filling<'_> {
    fn merge(&self, drivers: Vec<Driver>, after: Standing, oldest_first: bool) -> Merge {
        Merge::new(drivers, after, oldest_first, self.limit, |driver| driver.sorts)
    }

    /// Goes on with the page; whether there may be more than it could look at, which is `most` candidates with those of before. Otherwise
    /// the page is made.
    async fn fill(
        &mut self,
        session: &mut Session<'_>,
        merge: &mut Merge,
        glimpse: &Glimpse<'_>,
        most: usize,
    ) -> Result<bool, Error> {
        while self.looked_at < most && self.read < READ_MAX {
            // The first reach is as long as the page: mostly everything a driver gives matches.
            let reach = if self.looked_at == 0 { self.limit } else { REACH }.min(most - self.looked_at);
            let (candidates, looked_at) = next(session, merge, glimpse, reach).await?;
            self.looked_at += looked_at;
            let passed = pass(session, glimpse, candidates).await?;
            self.read += passed.len();
            let views = views(session, &passed).await?;
            let found = search(session, self.filter, &views, &mut self.searched).await?;
            for (seq, job) in views {
                let (id, is_shown) = (job.id, self.filter.shows(&job));
                let is_last = found.last == Some(seq);
                if self.filter.matches(&job) && found.has(seq) {
                    self.paged.jobs.push(job);
                }
                if self.paged.jobs.len() == self.limit || is_last {
                    self.paged.next = Some(if is_shown { id } else { seal(session).await?.close(seq) });
                    return Ok(false);
                }
            }
            if looked_at < reach {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The next candidates, at most `reach`, fewer only at the end: those that are not ruled out already, and how many there were.
async fn next(
    session: &mut Session<'_>,
    merge: &mut Merge,
    glimpse: &Glimpse<'_>,
    reach: usize,
) -> Result<(Candidates, usize), Error> {
    let oldest_first = merge.is_oldest_first();
    let (mut candidates, mut looked_at) = (Candidates::default(), 0);
    while looked_at < reach {
        while let Some(source) = merge.lacking() {
            let places =
                source.driver.next(session, glimpse, source.after, oldest_first, source.reach).await?;
            source.give(places);
        }
        let Some((_, seq, seen)) = merge.pop() else { break };
        looked_at += 1;
        match seen {
            Seen::Passed => candidates.passed.push(seq),
            Seen::Not => {
                candidates.passed.push(seq);
                candidates.are_unseen = true;
            }
            Seen::RuledOut => {}
        }
    }
    Ok((candidates, looked_at))
}

/// Candidates that are not ruled out.
#[derive(Default)]
struct Candidates {
    passed: Vec<i64>,
    /// Whether there are some among them that have not been glimpsed at.
    are_unseen: bool,
}

/// Those of the candidates that a glimpse does not rule out.
async fn pass(
    session: &mut Session<'_>,
    glimpse: &Glimpse<'_>,
    candidates: Candidates,
) -> Result<Vec<i64>, Error> {
    let Candidates { mut passed, are_unseen } = candidates;
    if !glimpse.is_of_use() || !are_unseen {
        return Ok(passed);
    }
    let mut good: HashSet<i64> = HashSet::new();
    for row in session.all(GLIMPSE, &[&passed]).await? {
        if glimpse.lets_pass(get(&row, 1)?, get(&row, 2)?, get(&row, 3)?) {
            good.insert(get(&row, 0)?);
        }
    }
    passed.retain(|seq| good.contains(seq));
    Ok(passed)
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

/// Where a candidate stands: (transaction, number), and what a glimpse has said of it. Where only the number counts the transaction is 0.
type Standing = (u64, i64, Seen);

/// What a glimpse has said of a candidate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Seen {
    /// Nothing: its driver has no more than its number.
    Not,
    Passed,
    RuledOut,
}

/// Where to start: behind the job that the page goes on from.
async fn start(session: &mut Session<'_>, page: &Page) -> Result<Standing, Error> {
    let before_all = if page.oldest_first { (0, 0, Seen::Not) } else { (u64::MAX, i64::MAX, Seen::Not) };
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
    found.map_or(Ok(before_all), |row| Ok((xid(&row, 1)?, get(&row, 0)?, Seen::Not)))
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

/// A parameter of a driver.
type Param = Box<dyn ToSql + Sync + Send>;

/// One ordered source of candidates: `SELECT <xid>, <seq> FROM ... WHERE <condition>`, to which the walk adds its bound.
struct Driver {
    select: String,
    order: Order,
    /// What the select is made for each of, side by side: a `FROM` item called `e`.
    each: Option<&'static str>,
    /// What is bound from `$3` on.
    param: Option<Param>,
    /// Whether its rows have what a [`Glimpse`] goes by, too.
    glimpses: bool,
    /// Whether all that it can give is sorted each time.
    sorts: bool,
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
        Self { select, order: Order::Number(seq), each: None, param: None, glimpses: false, sorts: false }
    }

    /// The next candidates, at most `reach`; fewer only at the end.
    async fn next(
        &self,
        session: &mut Session<'_>,
        glimpse: &Glimpse<'_>,
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
        if let Some(param) = &self.param {
            params.push(param.as_ref());
        }
        if matches!(self.order, Order::Lane) {
            params.push(&xid_text);
        }
        let rows = session.all(&self.sql(oldest_first), &params).await?;
        let standing = |row| Ok((xid(row, 0)?, get(row, 1)?, self.seen(glimpse, row)?));
        rows.iter().map(standing).collect()
    }

    fn seen(&self, glimpse: &Glimpse<'_>, row: &Row) -> Result<Seen, Error> {
        if !self.glimpses {
            return Ok(Seen::Not);
        }
        let passes = glimpse.lets_pass(get(row, 2)?, get(row, 3)?, get(row, 4)?);
        Ok(if passes { Seen::Passed } else { Seen::RuledOut })
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
                xid = if self.param.is_some() { 4 } else { 3 }
            ),
        };
        match (self.each, &self.order) {
            (None, _) => bounded,
            (Some(each), Order::Number(_) | Order::Completion) => format!(
                "SELECT c.xid, c.seq FROM {each} CROSS JOIN LATERAL ({bounded}) c ORDER BY c.seq {order} LIMIT $2"
            ),
            (Some(each), Order::Lane) => format!(
                "SELECT c.xid::text, c.seq, c.lane, c.created_at, c.owner
                 FROM {each} CROSS JOIN LATERAL ({bounded}) c ORDER BY c.xid {order}, c.seq {order} LIMIT $2"
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
            return Ok(seqs.into_iter().flatten().map(|seq| (0, seq, Seen::Not)).collect());
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

/// Chooses the narrowest drivers that together give every job the filter can match, and says which lanes they leave to be looked at.
async fn drivers<'l>(
    session: &mut Session<'_>,
    filter: &Filter,
    lanes: Option<&'l [i64]>,
) -> Result<(Vec<Driver>, Option<&'l [i64]>), Error> {
    if !filter.ids.is_empty() {
        let seqs = seqs_of(session, &filter.ids).await?;
        let from = "FROM job WHERE seq = ANY($3::bigint[])";
        return Ok((vec![Driver { param: Some(Box::new(seqs)), ..Driver::plain(from, "seq") }], None));
    }
    let states = &filter.states;
    if filter.cancel_requested == Some(true) {
        let mut asked = vec![
            Driver::plain("FROM running WHERE cancel_at IS NOT NULL", "seq"),
            Driver::plain("FROM cancel_asked WHERE true", "seq"),
        ];
        asked.extend(by_state(&[State::Cancelled]));
        return Ok((asked, lanes));
    }
    if !filter.workers.is_empty() || *states == [State::Running] {
        let from = "FROM (SELECT seq FROM running UNION ALL SELECT seq FROM held) s WHERE true";
        return Ok((vec![Driver { sorts: true, ..Driver::plain(from, "s.seq") }], lanes));
    }
    let rare = |state: &State| !matches!(state, State::Available | State::Completed | State::Running);
    if !states.is_empty() && states.iter().all(rare) {
        return Ok((by_state(states), lanes));
    }
    if *states == [State::Available] {
        // Their order is that of all jobs, which have been probed.
        return Ok(match are_few_ready(session, SORTED_READY_MAX).await? {
            true => (vec![by_ready(lanes)], None),
            false => (vec![all_jobs()], lanes),
        });
    }
    if *states == [State::Completed] && lanes.is_none() {
        let select = "SELECT DISTINCT '0'::text AS xid, seq FROM attempt WHERE moved_to = 6".to_owned();
        let completions = Driver { order: Order::Completion, ..Driver::plain("", "") };
        let parents = Driver::plain("FROM over WHERE state = 6", "seq");
        return Ok((vec![Driver { select, ..Driver::plain("", "seq") }, completions, parents], None));
    }
    Ok(match lanes {
        Some(few) if few.len() <= LANES_MERGED_MAX => (by_lane(few), None),
        _ => (vec![all_jobs()], lanes),
    })
}

async fn are_few_ready(session: &mut Session<'_>, most: i64) -> Result<bool, Error> {
    let count = "SELECT count(*) FROM (SELECT 1 FROM ready UNION ALL SELECT 1 FROM stream LIMIT $1) r";
    let row = session.first(count, &[&most]).await?;
    let counted: Option<i64> = row.map(|row| get(&row, 0)).transpose()?;
    Ok(counted.is_none_or(|counted| counted < most))
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
            param: Some(Box::new(codes)),
            ..Driver::plain(from, "s.seq")
        })
    };
    let waiting = driver(false, "FROM waiting s WHERE s.state = e.state");
    let over = driver(true, "FROM over s WHERE s.state = e.state");
    waiting.into_iter().chain(over).collect()
}

/// All available jobs, or those of some lanes.
fn by_ready(lanes: Option<&[i64]>) -> Driver {
    const FROM: &str = "FROM (SELECT lane, seq FROM ready UNION ALL SELECT lane, seq FROM stream) s";
    let plain = match lanes {
        None => Driver::plain(&format!("{FROM} WHERE true"), "s.seq"),
        Some(_) => Driver::plain(&format!("{FROM} WHERE s.lane = ANY($3::bigint[])"), "s.seq"),
    };
    Driver { param: lanes.map(|lanes| Box::new(lanes.to_vec()) as Param), sorts: true, ..plain }
}

fn all_jobs() -> Driver {
    let select = "SELECT '0'::text AS xid, j.seq, j.lane, j.created_at, j.owner FROM job j WHERE true";
    Driver { select: select.to_owned(), glimpses: true, ..Driver::plain("", "j.seq") }
}

/// The jobs of some lanes. Lanes have two indexes, of the streamed jobs and of the others.
fn by_lane(lanes: &[i64]) -> Vec<Driver> {
    ["j.is_streamed AND j.lane = e.lane", "NOT j.is_streamed AND j.lane = e.lane"]
        .map(|which| Driver {
            select: format!("SELECT j.xid, j.seq, j.lane, j.created_at, j.owner FROM job j WHERE {which}"),
            order: Order::Lane,
            each: Some("unnest($3::bigint[]) AS e (lane)"),
            param: Some(Box::new(lanes.to_vec())),
            glimpses: true,
            sorts: false,
        })
        .into()
}

/// What a job can be passed over for.
const GLIMPSE: &str = "SELECT c.seq, g.lane, g.created_at, g.owner FROM unnest($1::bigint[]) AS c (seq)
    CROSS JOIN LATERAL (SELECT j.lane, j.created_at, j.owner FROM job j WHERE j.seq = c.seq LIMIT 1) g";
