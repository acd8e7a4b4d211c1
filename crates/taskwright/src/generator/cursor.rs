//! A generator over rows that the program fetches, or that are in a table beside the jobs, in the order of a key.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use serde_json::Value;
use taskwright_core::generator::Definition;
use taskwright_core::limit::GENERATOR_BATCH_MAX;
use taskwright_core::{Backoff, State, Timestamp};
use taskwright_store::{AgainItem, Error as StoreError, RowCursor, RowOrder, RowsAfter, SharedStore};

use super::progress::{Cursor, Progress, group_of, key_in};
use super::{Generator, Item, Next, Poll, PollError, Polled, Settled};

/// How far behind the clock rows are taken that are ordered by the time of their last change: 15 s.
const LAG_DEFAULT: Duration = Duration::from_secs(15);
/// Rows that are fetched at once, unless somebody says otherwise.
const BATCH_DEFAULT: usize = GENERATOR_BATCH_MAX;
/// Rows that are made items behind one that waits for its group, at most: 1,000. They are kept in the state.
const AHEAD_MAX: usize = 1_000;
/// Rows that one poll looks at, at most, where groups are waited for: 5,000.
const ROWS_MAX: usize = 5_000;
/// While items are to be run again, it is looked for new rows at least this often: 10 s.
const RETRY_LOOK: Duration = Duration::from_secs(10);

/// A row that was fetched, and the item that it becomes.
#[derive(Clone, Debug)]
pub struct Row {
    cursor: Cursor,
    /// `None` for one that is passed over.
    item: Option<Item>,
    group: Option<String>,
}

impl Row {
    /// A row that becomes an item.
    pub fn new(cursor: Cursor, item: Item) -> Self {
        Self { cursor, item: Some(item), group: None }
    }

    /// A row that is passed over.
    pub fn skip(cursor: Cursor) -> Self {
        Self { cursor, item: None, group: None }
    }

    /// The group of the item, of which only [so many](CursorGenerator::per_group) may be outstanding. No `|` is in it; what is
    /// behind one is cut off.
    #[must_use]
    pub fn group(mut self, group: &str) -> Self {
        self.group = Some(group.split('|').next().unwrap_or_default().to_owned());
        self
    }
}

/// Rows on their way.
type Fetching = Pin<Box<dyn Future<Output = Result<Vec<Row>, PollError>> + Send>>;

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

    /// The rows that may be taken by now, and when the first of the others may be.
    fn ripe(&self, mut rows: Vec<Row>, now: Timestamp) -> (Vec<Row>, Option<Timestamp>) {
        let ripe_at = |row: &Row| match row.cursor {
            Cursor::Modified { at, .. } => Some(at.plus(self.lag)),
            Cursor::Key(_) => None,
        };
        let unripe = rows.iter().position(|row| ripe_at(row).is_some_and(|at| at > now));
        let Some(unripe) = unripe else { return (rows, None) };
        let at = ripe_at(&rows[unripe]);
        rows.truncate(unripe);
        (rows, at)
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
                if self.is_full(progress, &group) {
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
        let mut making = Making { items: Vec::new(), waits: false };
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
            for row in rows {
                if making.items.len() == room {
                    return Ok((making.items, Next::Now));
                }
                self.take(progress, row, &mut making);
            }
            let next = match ripe_at {
                Some(at) => Next::At(at),
                None if is_last => Next::Idle,
                None if !making.waits => Next::Now,
                // It is asked again when an item has ended.
                None if looked_at >= ROWS_MAX || progress.ahead.len() >= AHEAD_MAX => Next::Idle,
                None => continue,
            };
            return Ok((making.items, next));
        }
    }

    /// Makes an item of a row, unless it waits for its group, or was made before.
    fn take(&self, progress: &mut Progress, row: Row, making: &mut Making) {
        let Row { cursor, item, group } = row;
        if let Some(made) = progress.ahead.iter().position(|made| *made == cursor) {
            if !making.waits {
                progress.ahead.remove(made);
                progress.after = Some(cursor);
            }
            return;
        }
        let group = group.filter(|_| self.per_group.is_some() && item.is_some());
        let is_full = group.as_ref().is_some_and(|group| self.is_full(progress, group));
        if is_full || (making.waits && progress.ahead.len() >= AHEAD_MAX) {
            making.waits = true;
            return;
        }
        if making.waits {
            progress.ahead.push(cursor);
        } else {
            progress.after = Some(cursor);
        }
        let Some(item) = item else { return };
        making.items.push(match group {
            Some(group) => {
                progress.begin(&group);
                let key = key_in(&group, item.key_if_any());
                item.key(key)
            }
            None => item,
        });
    }
}

/// Items that are being made of rows.
struct Making {
    items: Vec<Item>,
    /// Whether a row before these waits for its group.
    waits: bool,
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
        settled.iter().for_each(|item| progress.settle(item, self.per_group.is_some(), retries));
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
            progress.head = head().await?;
        }
        let next = match (next, progress.next_retry()) {
            (Next::Idle, Some(at)) => {
                Next::At(at.max(now.plus(Duration::from_millis(1))).min(now.plus(RETRY_LOOK)))
            }
            (Next::At(ripe), Some(at)) => Next::At(ripe.min(at.max(now.plus(Duration::from_millis(1))))),
            (next, _) => next,
        };
        let mut polled = Polled::new(items, progress.write()?, next);
        polled.again = again;
        Ok(polled)
    }
}

/// A table beside the jobs, in the file or the database of the store, whose rows become items.
///
/// # Example
///
/// ```
/// # use taskwright::store::SharedStore;
/// use taskwright::generator::{GeneratorSet, Table, TableOrder};
///
/// # fn example(store: &SharedStore) -> Result<(), taskwright::core::Error> {
/// // Each row of `mail` becomes a job `mail.send`, whose arguments are the row.
/// let mails = Table::new("mail", TableOrder::Key("id".to_owned())).items("mail-out", "mail.send", store);
/// let generators = GeneratorSet::new().with(mails)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name; on PostgreSQL also `schema.table`, and `public` without a schema.
    pub name: String,
    /// In which order its rows are taken.
    pub order: TableOrder,
    /// The column that names the [group](Row::group) of a row.
    pub group: Option<String>,
}

/// In which order the rows of a table are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableOrder {
    /// By this column, which only grows, and by which there is an index: as [`Cursor::Key`].
    Key(String),
    /// By the time of the last change, and an id: as [`Cursor::Modified`], with an index by both.
    Modified {
        /// The column of the time: microseconds since 1970 as a number, or on PostgreSQL a `timestamptz`.
        at: String,
        /// The column of the id.
        id: String,
    },
}

impl Table {
    /// A table, and the order of its rows.
    pub fn new(name: &str, order: TableOrder) -> Self {
        Self { name: name.to_owned(), order, group: None }
    }

    /// The generator `name` over the table: each row becomes an item of this kind, whose arguments are the row, as a JSON object by
    /// its columns. Its key is the one of the row.
    pub fn items(
        self,
        name: &str,
        kind: &str,
        store: &SharedStore,
    ) -> CursorGenerator<impl Fn(Option<Cursor>, usize) -> Fetching + Send + Sync + 'static + use<>> {
        let (table, kind, from) = (self.clone(), kind.to_owned(), SharedStore::clone(store));
        let fetch = move |after: Option<Cursor>, limit: usize| {
            let (table, kind, store) = (table.clone(), kind.clone(), SharedStore::clone(&from));
            Box::pin(async move {
                let rows = store.rows_after(table.rows(after, limit, false)).await?;
                rows.into_iter().map(|row| table.item(row, &kind)).collect()
            }) as Fetching
        };
        let store = SharedStore::clone(store);
        let head = move || {
            let (table, store) = (self.clone(), SharedStore::clone(&store));
            async move {
                let newest: Result<_, StoreError> = store.rows_after(table.rows(None, 1, true)).await;
                Ok(newest?.pop().map(|row| cursor_of(&row)))
            }
        };
        CursorGenerator::new(name, fetch).head(head)
    }

    fn rows(&self, after: Option<Cursor>, limit: usize, newest: bool) -> RowsAfter {
        let order = match &self.order {
            TableOrder::Key(key) => RowOrder::Key(key.clone()),
            TableOrder::Modified { at, id } => RowOrder::Modified { at: at.clone(), id: id.clone() },
        };
        let after = after.map(|after| match after {
            Cursor::Key(key) => RowCursor { at: None, key },
            Cursor::Modified { at, id } => RowCursor { at: Some(at), key: id },
        });
        RowsAfter { table: self.name.clone(), order, after, limit, newest }
    }

    fn item(&self, row: taskwright_store::TableRow, kind: &str) -> Result<Row, PollError> {
        let key = match &row.cursor.key {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let group = self.group.as_ref().and_then(|column| match row.columns.get(column)? {
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        });
        let made = Row::new(cursor_of(&row), Item::new(kind).key(key).args(&row.columns)?);
        Ok(match group {
            Some(group) => made.group(&group),
            None => made,
        })
    }
}

fn cursor_of(row: &taskwright_store::TableRow) -> Cursor {
    let RowCursor { at, key } = row.cursor.clone();
    match at {
        Some(at) => Cursor::Modified { at, id: key },
        None => Cursor::Key(key),
    }
}
