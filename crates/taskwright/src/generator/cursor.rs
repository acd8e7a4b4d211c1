//! A generator over rows that the program fetches, in the order of a key.

use std::future::Future;
use std::time::Duration;

use serde_json::Value;
use taskwright_core::Timestamp;
use taskwright_core::generator::Definition;
use taskwright_core::limit::GENERATOR_BATCH_MAX;

use super::{Generator, Item, Next, Poll, PollError, Polled};

/// How far behind the clock rows are taken that are ordered by the time of their last change: 15 s.
const LAG_DEFAULT: Duration = Duration::from_secs(15);
/// Rows that are fetched at once, unless somebody says otherwise.
const BATCH_DEFAULT: usize = GENERATOR_BATCH_MAX;

/// Where a row stands among others, and how far a [`CursorGenerator`] has come.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cursor {
    /// By a key that only grows: a row that appears later has a greater one. Numbers of a sequence are no such key where several
    /// transactions insert at once, since one that began first may commit last; use [`Modified`](Self::Modified) there.
    Key(Value),
    /// By the time of the last change, and among those of one time by an id. Rows are taken only a safety lag after their time, so
    /// that what is committed late, or within the same moment, is not skipped.
    Modified {
        /// When the row was changed last.
        at: Timestamp,
        /// What tells it from others of the same time.
        id: Value,
    },
}

impl Cursor {
    /// A cursor by a key that only grows.
    pub fn key(key: impl Into<Value>) -> Self {
        Self::Key(key.into())
    }

    /// A cursor by time and id.
    pub fn modified(at: Timestamp, id: impl Into<Value>) -> Self {
        Self::Modified { at, id: id.into() }
    }
}

/// A row that was fetched, and the item that it becomes.
#[derive(Clone, Debug)]
pub struct Row {
    cursor: Cursor,
    /// `None` for one that is passed over.
    item: Option<Item>,
}

impl Row {
    /// A row that becomes an item.
    pub fn new(cursor: Cursor, item: Item) -> Self {
        Self { cursor, item: Some(item) }
    }

    /// A row that is passed over.
    pub fn skip(cursor: Cursor) -> Self {
        Self { cursor, item: None }
    }
}

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
    lag: Duration,
    batch: usize,
    options: Box<dyn Fn(Definition) -> Definition + Send + Sync>,
}

impl<F, R> CursorGenerator<F>
where
    F: Fn(Option<Cursor>, usize) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Vec<Row>, PollError>> + Send,
{
    /// A generator of this name over what `fetch` gives.
    pub fn new(name: &str, fetch: F) -> Self {
        let options = Box::new(|defaults| defaults);
        Self { name: name.to_owned(), fetch, lag: LAG_DEFAULT, batch: BATCH_DEFAULT, options }
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

    async fn poll(&self, poll: Poll) -> Result<Polled, PollError> {
        let Poll { state, room, now } = poll;
        let after: Option<Cursor> = serde_json::from_value(state.clone())?;
        let limit = room.min(self.batch);
        let rows = (self.fetch)(after, limit).await?;
        if rows.len() > limit {
            return Err(format!("{} rows were fetched where {limit} were asked for", rows.len()).into());
        }
        let fetched = rows.len();
        let (rows, ripe_at) = self.ripe(rows, now);
        let state = match rows.last() {
            Some(last) => serde_json::to_value(&last.cursor)?,
            None => state,
        };
        let next = match ripe_at {
            Some(at) => Next::At(at),
            None if fetched == limit => Next::Now,
            None => Next::Idle,
        };
        Ok(Polled::new(rows.into_iter().filter_map(|row| row.item).collect(), state, next))
    }
}
