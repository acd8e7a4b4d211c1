//! Enqueueing inside the caller's own transaction: the job exists if and only if that commits.

use taskwright_core::NewJob;
use taskwright_store::Enqueued;
use taskwright_store::sqlite::{enqueue_in, rusqlite};

use crate::client::Client;
use crate::error::Error;
use crate::job::Job;

impl Client {
    /// Stores a job inside the caller's transaction on the same SQLite file: it exists if and only if that commits.
    ///
    /// Nobody is told of the commit: a worker that is idle finds the job within about 100 ms.
    ///
    /// # Errors
    ///
    /// When something about the job is not accepted, or the file has not been opened as a store before. The transaction
    /// is as it was.
    ///
    /// # Example
    ///
    /// ```
    /// use std::sync::Arc;
    /// use taskwright::store::sqlite::{Options, SqliteStore, rusqlite};
    /// use taskwright::{Client, Env, Job};
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("shop.db");
    /// let store = Arc::new(SqliteStore::open(&path, Options::default())?);
    /// let client = Client::new(store, Env::system());
    ///
    /// let mut shop = rusqlite::Connection::open(&path)?;
    /// shop.execute_batch("CREATE TABLE shop_order (id INTEGER PRIMARY KEY, item TEXT)")?;
    /// let tx = shop.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    /// tx.execute("INSERT INTO shop_order (item) VALUES ('a book')", [])?;
    /// client.enqueue_in(&tx, Job::new("email.receipt").args(&tx.last_insert_rowid())?)?;
    /// tx.commit()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn enqueue_in(&self, tx: &rusqlite::Transaction<'_>, job: impl Into<Job>) -> Result<Enqueued, Error> {
        let stored = self.enqueue_many_in(tx, std::iter::once(job))?;
        // A store answers each job of a batch.
        Ok(stored[0])
    }

    /// Stores many jobs inside the caller's transaction, and answers in their order. At most 10,000.
    ///
    /// # Errors
    ///
    /// As for [`enqueue_in`](Self::enqueue_in), and when there are more.
    pub fn enqueue_many_in<J: Into<Job>>(
        &self,
        tx: &rusqlite::Transaction<'_>,
        jobs: impl IntoIterator<Item = J>,
    ) -> Result<Vec<Enqueued>, Error> {
        let jobs: Vec<NewJob> =
            jobs.into_iter().map(|job| job.into().into_new(self.env())).collect::<Result<_, _>>()?;
        Ok(enqueue_in(tx, self.now(), &jobs)?)
    }
}
