//! A generator over the rows of a table that is beside the jobs, in the file or the database of the store.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use taskwright_store::{
    Error as StoreError, RowCursor, RowMark, RowOrder, RowsAfter, SharedStore, TableRow, TableRows,
};

use super::cursor::{CursorGenerator, Row, text_of};
use super::{Cursor, Item, PollError};
use crate::attempt::lock;

/// After how long rows are asked for again that may have others before them still: 50 ms, doubling up to 5 s.
const WAIT: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Rows on their way.
type Fetching = Pin<Box<dyn Future<Output = Result<Vec<Row>, PollError>> + Send>>;

/// A table beside the jobs, in the file or the database of the store, whose rows become items.
///
/// # Example
///
/// ```
/// # use taskwright::store::SharedStore;
/// use taskwright::generator::{GeneratorSet, Table, TableOrder};
///
/// # fn example(store: &SharedStore) -> Result<(), taskwright::core::Error> {
/// // Each row of `mail` becomes a job `mail.send`, whose arguments are the row; once more whenever it has changed.
/// let by = TableOrder::Modified { at: "changed_at".to_owned(), id: "id".to_owned() };
/// let mails = Table::new("mail", by).items("mail-out", "mail.send", store);
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
    /// By this column, which only grows, and by which there is an index: as [`Cursor::Key`]. Each row is taken once, whatever changes
    /// in it later.
    ///
    /// On PostgreSQL, where one of two that insert at once may get the lower number and commit last, a row is taken once everybody has ended
    /// who was writing to the table when it was seen. So a transaction that writes there and stays open holds up what was inserted since, and nothing is
    /// lost. It holds for numbers that the `INSERT` itself draws: `serial`, `identity`, a default. Where the program draws them before, or the sequence has a
    /// `CACHE`, use [`Modified`](Self::Modified).
    Key(String),
    /// By the time of the last change, and an id: as [`Cursor::Modified`], with an index by both. Rows are taken a
    /// [lag](CursorGenerator::lag) after that time, which is to be longer than the longest transaction that changes rows.
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
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let fetch = move |after: Option<Cursor>, limit: usize| {
            let (table, kind, store) = (table.clone(), kind.clone(), SharedStore::clone(&from));
            let waiting = Arc::clone(&waiting);
            Box::pin(async move {
                let mark = lock(&waiting).mark.clone();
                let TableRows { rows, mark } = store.rows_after(table.rows(after, limit, mark)).await?;
                let wait = lock(&waiting).note(mark, rows.first().is_some_and(|row| !row.is_settled));
                Ok(rows.into_iter().map(|row| table.item(row, &kind, wait)).collect())
            }) as Fetching
        };
        let store = SharedStore::clone(store);
        let head = move || {
            let (table, store) = (self.clone(), SharedStore::clone(&store));
            async move {
                let newest = RowsAfter { newest: true, ..table.rows(None, 1, None) };
                let newest: Result<_, StoreError> = store.rows_after(newest).await;
                Ok(newest?.rows.pop().map(|row| cursor_of(&row)))
            }
        };
        CursorGenerator::new(name, fetch).head(head)
    }

    fn rows(&self, after: Option<Cursor>, limit: usize, mark: Option<RowMark>) -> RowsAfter {
        let order = match &self.order {
            TableOrder::Key(key) => RowOrder::Key(key.clone()),
            TableOrder::Modified { at, id } => RowOrder::Modified { at: at.clone(), id: id.clone() },
        };
        let after = after.map(|after| match after {
            Cursor::Key(key) => RowCursor { at: None, key },
            Cursor::Modified { at, id } => RowCursor { at: Some(at), key: id },
        });
        RowsAfter { table: self.name.clone(), order, after, limit, newest: false, mark }
    }

    /// A row, which is to be asked for again after `wait` if one may appear before it still.
    fn item(&self, row: TableRow, kind: &str, wait: Duration) -> Row {
        let cursor = cursor_of(&row);
        let key = text_of(&row.cursor.key);
        let group = self.group.as_ref().and_then(|column| row.columns.get(column)).map(text_of);
        let mut made = match Item::new(kind).key(key).args(&row.columns) {
            Ok(item) => Row::new(cursor, item),
            Err(error) => Row::refuse(cursor, error.to_string()),
        };
        made.not_before = (!row.is_settled).then_some(wait);
        match group {
            Some(group) => made.group(&group),
            None => made,
        }
    }
}

/// What a node remembers of rows that are not settled. Another one begins anew, which costs it a moment.
#[derive(Default)]
struct Waiting {
    mark: Option<RowMark>,
    /// How often in a row there were rows, and none could be taken.
    times: u32,
}

impl Waiting {
    /// Notes what was answered; after how long it is to be asked for what could not be taken.
    fn note(&mut self, mark: Option<RowMark>, waits: bool) -> Duration {
        self.mark = mark;
        self.times = if waits { self.times.saturating_add(1) } else { 0 };
        WAIT.0.saturating_mul(1 << self.times.saturating_sub(1).min(16)).min(WAIT.1)
    }
}

fn cursor_of(row: &TableRow) -> Cursor {
    let RowCursor { at, key } = row.cursor.clone();
    match at {
        Some(at) => Cursor::Modified { at, id: key },
        None => Cursor::Key(key),
    }
}
