//! A generator over rows that the program fetches, in the order of a key.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use serde_json::Value;
use taskwright_core::generator::Definition;
use taskwright_core::limit::{GENERATOR_BATCH_MAX, ITEM_KEY_BYTES_MAX};
use taskwright_core::{Backoff, State, Timestamp};
use taskwright_store::{AgainItem, SharedStore};

use super::progress::{CURSOR_BYTES_MAX, Cursor, Progress, group_of, key_in};
use super::{Generator, Item, Next, Poll, PollError, Polled, Settled};

/// How far behind the clock rows are taken that are ordered by the time of their last change: 15 s.
const LAG_DEFAULT: Duration = Duration::from_secs(15);
/// Rows that are fetched at once, unless somebody says otherwise.
const BATCH_DEFAULT: usize = GENERATOR_BATCH_MAX;
/// Rows that one poll looks at, at most, where groups are waited for: 5,000.
const ROWS_MAX: usize = 5_000;
/// While items are to be run again, or a row is there whose time is yet to come, it is looked for new rows at least this often: 10 s.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// When an item is tried again whose group was full: 1 s.
const FULL_FOR: Duration = Duration::from_secs(1);

/// A row that was fetched, and the item that it becomes.
#[derive(Clone, Debug)]
pub struct Row {
    cursor: Cursor,
    /// `None` for one that is passed over.
    item: Option<Item>,
    group: Option<String>,
    /// Why it cannot become an item, if so.
    refused: Option<String>,
    /// It is not to be taken yet, nor is what stands behind it: it is to be asked for again after as long.
    pub(super) not_before: Option<Duration>,
}

impl Row {
    /// A row that becomes an item.
    pub fn new(cursor: Cursor, item: Item) -> Self {
        Self { item: Some(item), ..Self::skip(cursor) }
    }

    /// A row that is passed over.
    pub fn skip(cursor: Cursor) -> Self {
        Self { cursor, item: None, group: None, refused: None, not_before: None }
    }

    /// A row that cannot become an item, which is noted and passed over.
    pub(super) fn refuse(cursor: Cursor, why: String) -> Self {
        Self { refused: Some(why), ..Self::skip(cursor) }
    }

    /// The group of the item, of which only [so many](CursorGenerator::per_group) may be outstanding. No `|` is in it; what is
    /// behind one is cut off.
    #[must_use]
    pub fn group(mut self, group: &str) -> Self {
        self.group = Some(group.split('|').next().unwrap_or_default().to_owned());
        self
    }
}

/// Fetches the newest row.
type Head =
    Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<Option<Cursor>, PollError>> + Send>> + Send + Sync>;

/// A generator over rows that the program fetches: those of a table, the entries of a feed, whatever has an order.
///
/// `fetch(after, limit)` gives at most `limit` rows that stand after `after` (all of them at first), in their order. Each becomes
/// an item. How far it has come is stored with the items, so that each row is made an item once, through any crash; an item that
/// fails does not hold up the rows behind it. What is not fetched yet costs nothing.
///
/// # Example
///
/// ```
/// use taskwright::generator::{Cursor, CursorGenerator, GeneratorSet, Item, PollError, Row};
///
/// // SELECT id FROM event WHERE id > $1 ORDER BY id LIMIT $2
/// async fn events(after: Option<Cursor>, limit: usize) -> Result<Vec<Row>, PollError> {
///     let after = match after {
///         Some(Cursor::Key(key)) => key.as_u64().unwrap_or(0),
///         _ => 0,
///     };
///     let ids = (after + 1..=1_000).take(limit);
///     ids.map(|id| Ok(Row::new(Cursor::key(id), Item::new("deliver").key(id.to_string()).args(&id)?))).collect()
/// }
///
/// let generators = GeneratorSet::new().with(CursorGenerator::new("events", events))?;
/// # Ok::<(), taskwright::core::Error>(())
/// ```
pub struct CursorGenerator<F> {
    name: String,
    fetch: F,
    head: Option<Head>,
    lag: Duration,
    batch: usize,
    per_group: Option<u32>,
    retries: Option<Retries>,
    options: Box<dyn Fn(Definition) -> Definition + Send + Sync>,
}

/// How items are run again that have failed.
struct Retries {
    store: SharedStore,
    backoff: Backoff,
    most: u32,
}

impl<F, R> CursorGenerator<F>
where
    F: Fn(Option<Cursor>, usize) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Vec<Row>, PollError>> + Send,
{
    /// A generator of this name over what `fetch` gives.
    pub fn new(name: &str, fetch: F) -> Self {
        let options = Box::new(|defaults| defaults);
        let (lag, batch) = (LAG_DEFAULT, BATCH_DEFAULT);
        Self { name: name.to_owned(), fetch, head: None, lag, batch, per_group: None, retries: None, options }
    }

    /// How far behind the clock rows are taken that are ordered by [time](Cursor::Modified). Default 15 s: longer than the longest
    /// transaction that changes rows, and than clocks differ.
    #[must_use]
    pub fn lag(self, lag: Duration) -> Self {
        Self { lag, ..self }
    }

    /// How many rows are fetched at once, at most: 1 or more, default 1,000.
    #[must_use]
    pub fn batch(self, rows: usize) -> Self {
        Self { batch: rows.max(1), ..self }
    }

    /// How many items of one [group](Row::group) may be outstanding: 1 or more. Rows of other groups go on meanwhile, up to
    /// 1,000 behind the first that waits. Default: no limit.
    #[must_use]
    pub fn per_group(self, items: u32) -> Self {
        Self { per_group: Some(items.max(1)), ..self }
    }

    /// Items that fail for good are run again after a while, up to so many times, with all their attempts: outside the window while they
    /// wait, so that they hold up nothing. At most 500 wait at a time. What fails the last time stays a dead letter. Default: all do
    /// at once.
    #[must_use]
    pub fn retry(self, store: &SharedStore, backoff: Backoff, times: u32) -> Self {
        Self { retries: Some(Retries { store: SharedStore::clone(store), backoff, most: times }), ..self }
    }

    /// Fetches the newest row, so that [how much is left](super::GeneratorView::backlog) can be told without counting. It is asked
    /// with every poll.
    #[must_use]
    pub fn head<H, S>(self, head: H) -> Self
    where
        H: Fn() -> S + Send + Sync + 'static,
        S: Future<Output = Result<Option<Cursor>, PollError>> + Send + 'static,
    {
        Self { head: Some(Box::new(move || Box::pin(head()))), ..self }
    }

    /// What differs from the [defaults](Generator::options).
    #[must_use]
    pub fn options(self, options: impl Fn(Definition) -> Definition + Send + Sync + 'static) -> Self {
        Self { options: Box::new(options), ..self }
    }

    /// The rows that may be taken by now, and when to ask for the others.
    fn ripe(&self, mut rows: Vec<Row>, now: Timestamp) -> (Vec<Row>, Option<Timestamp>) {
        let ripe_at = |row: &Row| match (&row.cursor, row.not_before) {
            (_, Some(wait)) => Some(now.plus(wait)),
            (Cursor::Modified { at, .. }, None) => Some(at.plus(self.lag)),
            (Cursor::Key(_), None) => None,
        };
        let unripe = rows.iter().position(|row| ripe_at(row).is_some_and(|at| at > now));
        let Some(unripe) = unripe else { return (rows, None) };
        // A row of the far future must not keep those away that come before it.
        let latest = now.plus(self.lag.max(LOOK_EVERY).min(self.idle_max()));
        let at = ripe_at(&rows[unripe]).map(|at| at.min(latest));
        rows.truncate(unripe);
        (rows, at)
    }

    /// How long it is left alone at most.
    fn idle_max(&self) -> Duration {
        // A generator of a name that is refused is never asked.
        let definition = self.name.parse().map(|name| (self.options)(Definition::new(name)));
        definition.map_or(LOOK_EVERY, |definition| definition.idle_max)
    }

    /// Runs items again that have failed, as far as they are due and there is room.
    async fn run_again(
        &self,
        progress: &mut Progress,
        now: Timestamp,
        room: usize,
    ) -> Result<Vec<AgainItem>, PollError> {
        let Some(retries) = &self.retries else { return Ok(Vec::new()) };
        let due = progress.due(now, room);
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let states = retries.store.states(due.clone()).await?;
        let mut again = Vec::new();
        for (job, state) in due.into_iter().zip(states) {
            if state != Some(State::Failed) {
                progress.forget(job);
                continue;
            }
            if let Some(group) = progress
                .key_of(job)
                .and_then(group_of)
                .map(str::to_owned)
                .filter(|_| self.per_group.is_some())
            {
                if self.is_full(progress, &group) || !progress.has_room_for(&group) {
                    // Others may have room.
                    progress.put_off(job, now.plus(FULL_FOR));
                    continue;
                }
                progress.begin(&group);
            }
            again.push(AgainItem { job, key: progress.run_again(job) });
        }
        Ok(again)
    }

    fn is_full(&self, progress: &Progress, group: &str) -> bool {
        self.per_group.is_some_and(|most| progress.outstanding(group) >= most)
    }

    /// Makes items of rows, as many as there is room for; when it wants to be asked next.
    async fn make(
        &self,
        progress: &mut Progress,
        now: Timestamp,
        room: usize,
    ) -> Result<(Vec<Item>, Next), PollError> {
        let ahead_bytes = progress.ahead.iter().map(Cursor::bytes).sum();
        let mut making = Making { items: Vec::new(), waits: false, ahead_bytes };
        let (mut from, mut looked_at) = (progress.after.clone(), 0);
        loop {
            // Where nobody waits for a group, each row that is fetched is used.
            let limit =
                if self.per_group.is_some() { self.batch } else { self.batch.min(room - making.items.len()) };
            let rows = (self.fetch)(from.clone(), limit).await?;
            if rows.len() > limit {
                return Err(format!("{} rows were fetched where {limit} were asked for", rows.len()).into());
            }
            let is_last = rows.len() < limit;
            let (rows, ripe_at) = self.ripe(rows, now);
            looked_at += rows.len();
            from = rows.last().map(|row| row.cursor.clone()).or(from);
            let mut has_moved = rows.is_empty();
            for row in rows {
                if making.items.len() == room {
                    return Ok((making.items, Next::Now));
                }
                if row.cursor.is_too_long() {
                    // The cursor stays before it, and goes on with the next one that can be remembered.
                    let what = format!("a row whose key has more than {CURSOR_BYTES_MAX} bytes");
                    tracing::warn!(generator = self.name, "{what}; it is passed over");
                    progress.note_trouble_once(&what);
                    continue;
                }
                has_moved = true;
                self.take(progress, row, &mut making);
            }
            let next = match ripe_at {
                Some(at) => Next::At(at),
                None if is_last => Next::Idle,
                None if !making.waits && has_moved => Next::Now,
                // It is asked again when an item has ended.
                None if looked_at >= ROWS_MAX || progress.is_far_ahead(making.ahead_bytes) => Next::Idle,
                None => continue,
            };
            return Ok((making.items, next));
        }
    }

    /// Makes an item of a row, unless it waits for its group, or was made before.
    fn take(&self, progress: &mut Progress, row: Row, making: &mut Making) {
        let Row { cursor, item, group, refused, .. } = row;
        if let Some(made) = progress.ahead.iter().position(|made| *made == cursor) {
            if !making.waits {
                making.ahead_bytes -= progress.ahead.remove(made).bytes();
                progress.after = Some(cursor);
            }
            return;
        }
        let group = group.filter(|_| self.per_group.is_some() && item.is_some());
        let item = item.map(|item| match &group {
            Some(group) => {
                let key = key_in(group, item.key_if_any());
                item.key(key)
            }
            None => item,
        });
        let refused = refused.or_else(|| item.as_ref().and_then(too_long));
        let group = group.filter(|_| refused.is_none());
        let is_full = |group: &String| self.is_full(progress, group) || !progress.has_room_for(group);
        if group.as_ref().is_some_and(is_full) || (making.waits && progress.is_far_ahead(making.ahead_bytes))
        {
            making.waits = true;
            return;
        }
        if let Some(why) = &refused {
            let what = format!("the row {}: {why}", text_of(cursor.place()));
            tracing::warn!(generator = self.name, "{what}; it is passed over");
            progress.note_trouble(&what);
        }
        if making.waits {
            making.ahead_bytes += cursor.bytes();
            progress.ahead.push(cursor);
        } else {
            progress.after = Some(cursor);
        }
        if let Some(group) = &group {
            progress.begin(group);
        }
        making.items.extend(item.filter(|_| refused.is_none()));
    }
}

/// Items that are being made of rows.
struct Making {
    items: Vec<Item>,
    /// Whether a row before these waits for its group.
    waits: bool,
    /// What the cursors of rows take that were made items ahead.
    ahead_bytes: usize,
}

/// Why an item cannot be one by its key.
fn too_long(item: &Item) -> Option<String> {
    let bytes = item.key_if_any()?.len();
    (bytes > ITEM_KEY_BYTES_MAX)
        .then(|| format!("its key, with its group, has {bytes} bytes, and {ITEM_KEY_BYTES_MAX} are allowed"))
}

/// A value of a column as text.
pub(super) fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl<F, R> Generator for CursorGenerator<F>
where
    F: Fn(Option<Cursor>, usize) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Vec<Row>, PollError>> + Send,
{
    fn name(&self) -> &str {
        &self.name
    }

    fn options(&self, defaults: Definition) -> Definition {
        (self.options)(defaults)
    }

    fn settle(&self, state: Value, settled: &[Settled]) -> Result<Value, PollError> {
        if self.per_group.is_none() && self.retries.is_none() {
            return Ok(state);
        }
        let mut progress = Progress::read(&state)?;
        let retries = self.retries.as_ref().map(|retries| (retries.backoff, retries.most));
        progress.settle_all(settled, self.per_group.is_some(), retries);
        progress.write()
    }

    fn follows_settling(&self) -> bool {
        self.per_group.is_some() || self.retries.is_some()
    }

    async fn poll(&self, poll: Poll) -> Result<Polled, PollError> {
        let Poll { state, room, now, .. } = poll;
        let mut progress = Progress::read(&state)?;
        let again = self.run_again(&mut progress, now, room).await?;
        let (items, next) = match room - again.len() {
            0 => (Vec::new(), Next::Now),
            room => self.make(&mut progress, now, room).await?,
        };
        if let Some(head) = &self.head {
            progress.head = head().await?.filter(|head| !head.is_too_long());
        }
        let next = match (next, progress.next_retry()) {
            (Next::Idle, Some(at)) => {
                Next::At(at.max(now.plus(Duration::from_millis(1))).min(now.plus(LOOK_EVERY)))
            }
            (Next::At(ripe), Some(at)) => Next::At(ripe.min(at.max(now.plus(Duration::from_millis(1))))),
            (next, _) => next,
        };
        let mut polled = Polled::new(items, progress.write()?, next);
        polled.again = again;
        Ok(polled)
    }
}
