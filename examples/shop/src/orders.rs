//! The table of orders, which is in the file of the store.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use taskwright::store::sqlite::rusqlite::{self, Connection, OptionalExtension, TransactionBehavior};
use taskwright::{Client, JobId, Timestamp};

use crate::tasks::Confirm;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// What somebody wants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewOrder {
    /// The mail address of the customer.
    pub customer: String,
    /// What is ordered: at least one line.
    pub lines: Vec<Line>,
}

/// A line of an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// What it is.
    pub item: String,
    /// What one costs.
    pub cents: u64,
    /// How many.
    pub count: u64,
}

/// An order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// Its number.
    pub number: i64,
    /// The job that confirms it.
    pub job: JobId,
    /// What was ordered, and by whom.
    #[serde(flatten)]
    pub order: NewOrder,
}

impl NewOrder {
    /// What it costs.
    pub fn cents(&self) -> u64 {
        self.lines.iter().map(|line| line.cents * line.count).sum()
    }
}

/// The shop, in a directory: its database and its files. Cheap to clone.
#[derive(Clone)]
pub struct Shop {
    directory: PathBuf,
    connection: Arc<Mutex<Connection>>,
}

impl Shop {
    /// Opens it, and makes what is missing.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened.
    pub fn open(directory: impl Into<PathBuf>) -> rusqlite::Result<Self> {
        let directory = directory.into();
        let connection = Connection::open(directory.join("shop.db"))?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS shop_order (
                 number INTEGER PRIMARY KEY, placed_at INTEGER NOT NULL, job TEXT NOT NULL, cents INTEGER NOT NULL, entry TEXT NOT NULL)",
        )?;
        Ok(Self { directory, connection: Arc::new(Mutex::new(connection)) })
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its file, which is the store of its jobs as well.
    pub fn database(&self) -> PathBuf {
        self.directory.join("shop.db")
    }

    /// Takes an order: it and the job that confirms it are there, or neither is.
    ///
    /// # Errors
    ///
    /// When the store refuses one of them.
    pub fn place(&self, client: &Client, now: Timestamp, order: NewOrder) -> Result<Order, Error> {
        let mut connection = self.lock();
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let entry = serde_json::to_string(&order)?;
        tx.execute(
            "INSERT INTO shop_order (placed_at, job, cents, entry) VALUES (?1, '', ?2, ?3)",
            rusqlite::params![now.as_micros(), i64::try_from(order.cents())?, entry],
        )?;
        let number = tx.last_insert_rowid();
        let job = client.enqueue_in(&tx, Confirm { order: number })?.id;
        tx.execute(
            "UPDATE shop_order SET job = ?2 WHERE number = ?1",
            rusqlite::params![number, job.to_string()],
        )?;
        tx.commit()?;
        Ok(Order { number, job, order })
    }

    /// The order of this number.
    ///
    /// # Errors
    ///
    /// When the database is out of order.
    pub fn order(&self, number: i64) -> Result<Option<Order>, Error> {
        let row: Option<(String, String)> = self
            .lock()
            .query_row("SELECT job, entry FROM shop_order WHERE number = ?1", [number], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        let Some((job, entry)) = row else { return Ok(None) };
        Ok(Some(Order { number, job: job.parse()?, order: serde_json::from_str(&entry)? }))
    }

    /// How many orders were placed between two moments, the first included, and what they cost.
    ///
    /// # Errors
    ///
    /// When the database is out of order.
    pub fn taken(&self, from: Timestamp, until: Timestamp) -> rusqlite::Result<(i64, i64)> {
        let sql =
            "SELECT count(*), ifnull(sum(cents), 0) FROM shop_order WHERE placed_at >= ?1 AND placed_at < ?2";
        let moments = [from.as_micros(), until.as_micros()];
        self.lock().query_row(sql, moments, |row| Ok((row.get(0)?, row.get(1)?)))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A transaction that panicked was rolled back when it was dropped.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
