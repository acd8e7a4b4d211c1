//! The caller's own transactions: jobs and events that exist if and only if one commits, and attempts that one completes.
//!
//! | store | transaction | feature | a call answers with |
//! |---|---|---|---|
//! | SQLite | `&rusqlite::Transaction`, `&SqliteTransaction` | `sqlite` | the result |
//! | PostgreSQL | `&mut tokio_postgres::Transaction` | `tokio-postgres-0_7` | a future of it |
//! | | `&mut deadpool_postgres::Transaction` | `deadpool-postgres-0_14` | |
//! | | `&mut sqlx::Transaction<Postgres>`, `&mut sqlx::PgConnection` | `sqlx-0_9` | |
//! | | `&mut diesel_async::AsyncPgConnection` | `diesel-async-0_9` | |
//! | | whatever implements [`PostgresTransaction`] | `postgres` | |
//!
//! The names of the features tell the version of the driver. The transaction must be one on the database of the store.
//! psql, triggers and other languages call the SQL functions `taskwright.enqueue` and `taskwright.emit`.
//!
//! A [task](macro@crate::task) takes one as a parameter, `#[tx] tx: &mut Tx`, which is committed [together with the
//! completion](crate::CompleteIn) of its job. Transactions of most drivers borrow their connection; these have it:
//!
//! | driver | `Tx` | begun on |
//! |---|---|---|
//! | rusqlite | `SqliteTransaction` | the file of the store |
//! | tokio-postgres | `TokioPostgresTransaction` | a connection by `Connect<tokio_postgres::Client>` |
//! | deadpool-postgres | `DeadpoolTransaction` | a connection of `deadpool_postgres::Pool` |
//! | sqlx | `sqlx::Transaction<'static, Postgres>` | a connection of `sqlx::PgPool` |
//! | diesel-async | `DieselTransaction` | a connection by `Connect<AsyncPgConnection>` |
//!
//! `Connect` and the pools are taken from the [state](crate::Registry::state).
//!
//! # What is promised
//!
//! - A job that was enqueued with [`Client::enqueue_in`] exists if and only if the transaction commits. An idle worker
//!   starts it within 100 ms of that; the transaction tells nobody, so that no lock of the server's is taken for it.
//! - The same goes for an event of [`Client::emit_in`]: if the transaction commits, it is offered to the schedules that wait
//!   for it, also when events that were emitted later have been delivered by then.
//! - When [`Context::complete_in`](crate::Context::complete_in) has answered and the transaction commits, the job is
//!   completed, and everything else that the transaction did took place: exactly once, however often workers die and
//!   attempts are repeated. If it does not commit, none of that took place, and the attempt goes on.
//!
//! What is *not*: effects elsewhere (a mail, another database, a file) have no part in the transaction. They take place
//! again when the attempt is repeated.

#[cfg(any(feature = "tokio-postgres-0_7", feature = "diesel-async-0_9"))]
mod connect;
#[cfg(feature = "deadpool-postgres-0_14")]
mod deadpool;
#[cfg(feature = "diesel-async-0_9")]
mod diesel_async;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "sqlx-0_9")]
mod sqlx;
#[cfg(feature = "tokio-postgres-0_7")]
mod tokio_postgres;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Serialize;
use taskwright_core::attempt::AttemptEnd;
use taskwright_core::{Cause, Decision, EventId, NewJob, State};
use taskwright_store::{Enqueued, Finish, NewEvent};

#[cfg(any(feature = "tokio-postgres-0_7", feature = "diesel-async-0_9"))]
pub use self::connect::Connect;
#[cfg(feature = "deadpool-postgres-0_14")]
pub use self::deadpool::DeadpoolTransaction;
#[cfg(feature = "diesel-async-0_9")]
pub use self::diesel_async::DieselTransaction;
#[cfg(feature = "postgres")]
pub use self::postgres::{BoxError, BoxFuture, PostgresTransaction};
#[cfg(feature = "sqlite")]
pub use self::sqlite::SqliteTransaction;
#[cfg(feature = "tokio-postgres-0_7")]
pub use self::tokio_postgres::TokioPostgresTransaction;
use crate::attempt::{Attempt, lock};
use crate::client::Client;
use crate::context::Context;
use crate::error::Error;
use crate::event::Event;
use crate::handler::kept;
use crate::job::Job;

/// A reference to a transaction of the caller's. See the [list](self) of what that can be.
///
/// Not to be implemented: for another driver of PostgreSQL, implement `PostgresTransaction`.
pub trait CallersTransaction: sealed::Sealed + Sized {
    /// What a call answers with: `Result<T, Error>`, or a future of it.
    type Answer<T: Send + 'static>;

    #[doc(hidden)]
    fn enqueue<T: Send + 'static>(
        self,
        client: &Client,
        jobs: Result<Vec<NewJob>, Error>,
        answer: fn(Vec<Enqueued>) -> T,
    ) -> Self::Answer<T>;

    #[doc(hidden)]
    fn emit(self, client: &Client, event: Result<NewEvent, Error>) -> Self::Answer<EventId>;

    #[doc(hidden)]
    fn complete(self, completion: Result<Completion, Error>) -> Self::Answer<()>;
}

mod sealed {
    /// Keeps others from implementing a trait.
    pub trait Sealed {}
}

/// An attempt that is to be completed.
#[doc(hidden)]
pub struct Completion {
    attempt: Arc<Attempt>,
    end: Finish,
}

impl Client {
    /// Stores a job inside the caller's transaction on the database of the store: it exists if and only if that commits.
    /// With a transaction of PostgreSQL this is a future.
    ///
    /// Nobody is told of the commit: a worker that is idle finds the job within about 100 ms.
    ///
    /// # Errors
    ///
    /// When something about the job is not accepted; when the transaction is on another file than the client's store, or of another kind of
    /// database; when its database has not been migrated. With SQLite the transaction is as it was; one of PostgreSQL that a statement of
    /// which failed can only be rolled back. An error of a [middleware](Client::around_enqueue) that comes after its `next` leaves the job in the
    /// transaction: roll that back.
    ///
    /// # Example
    ///
    /// With SQLite:
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")]
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
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
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "sqlite"))]
    /// # fn main() {}
    /// ```
    ///
    /// With PostgreSQL by sqlx (feature `sqlx-0_9`):
    ///
    /// ```
    /// # #[cfg(feature = "sqlx-0_9")]
    /// # mod example {
    /// use taskwright::{Client, Job};
    ///
    /// async fn order(client: &Client, shop: &sqlx::PgPool) -> Result<(), Box<dyn std::error::Error>> {
    ///     let mut tx = shop.begin().await?;
    ///     let (id,): (i64,) = sqlx::query_as("INSERT INTO shop_order (item) VALUES ('a book') RETURNING id")
    ///         .fetch_one(&mut *tx)
    ///         .await?;
    ///     client.enqueue_in(&mut tx, Job::new("email.receipt").args(&id)?).await?;
    ///     tx.commit().await?;
    ///     Ok(())
    /// }
    /// # }
    /// ```
    pub fn enqueue_in<X: CallersTransaction>(&self, tx: X, job: impl Into<Job>) -> X::Answer<Enqueued> {
        // A store answers each job of a batch.
        tx.enqueue(self, self.new_jobs(std::iter::once(job)), |stored| stored[0])
    }

    /// Stores many jobs inside the caller's transaction, and answers in their order. At most 10,000.
    ///
    /// # Errors
    ///
    /// As for [`enqueue_in`](Self::enqueue_in), and when there are more.
    pub fn enqueue_many_in<X: CallersTransaction, J: Into<Job>>(
        &self,
        tx: X,
        jobs: impl IntoIterator<Item = J>,
    ) -> X::Answer<Vec<Enqueued>> {
        tx.enqueue(self, self.new_jobs(jobs), |stored| stored)
    }

    /// Says inside the caller's transaction on the database of the store that something happened: it did if and only if that
    /// commits, and schedules that wait for it are offered it then, once. With a transaction of PostgreSQL this is a future.
    ///
    /// # Errors
    ///
    /// When something about the event is not accepted, and as for [`enqueue_in`](Self::enqueue_in).
    ///
    /// # Example
    ///
    /// With PostgreSQL by sqlx (feature `sqlx-0_9`):
    ///
    /// ```
    /// # #[cfg(feature = "sqlx-0_9")]
    /// # mod example {
    /// use taskwright::{Client, Event};
    ///
    /// async fn pay(client: &Client, shop: &sqlx::PgPool, id: i64) -> Result<(), Box<dyn std::error::Error>> {
    ///     let mut tx = shop.begin().await?;
    ///     sqlx::query("UPDATE shop_order SET paid = true WHERE id = $1").bind(id).execute(&mut *tx).await?;
    ///     client.emit_in(&mut tx, Event::new("order.paid").payload(&serde_json::json!({"order": id}))?).await?;
    ///     tx.commit().await?;
    ///     Ok(())
    /// }
    /// # }
    /// ```
    pub fn emit_in<X: CallersTransaction>(&self, tx: X, event: Event) -> X::Answer<EventId> {
        tx.emit(self, event.into_new(self.env()).map_err(Error::from))
    }

    fn new_jobs<J: Into<Job>>(&self, jobs: impl IntoIterator<Item = J>) -> Result<Vec<NewJob>, Error> {
        jobs.into_iter().map(|job| self.made(job)).collect()
    }
}

/// The completion of this attempt with this result, noted as one that may have ended in a transaction.
pub(crate) fn completion(attempt: &Arc<Attempt>, result: &impl Serialize) -> Result<Completion, Error> {
    let refused = |why| {
        let fix = "return something smaller, or a type whose map keys are text; the transaction is as it was";
        taskwright_core::Error::invalid("the result of the job", why, fix)
    };
    Context::new(Arc::clone(attempt)).must_be_in_worker("a completion in a transaction")?;
    let result = kept(result).map_err(refused)?;
    attempt.in_transaction.store(true, Ordering::Relaxed);
    let decision = Decision {
        cause: Cause::Complete,
        to: State::Completed,
        run_at: None,
        end: Some(AttemptEnd::Completed),
        reason: None,
        result,
    };
    let end = Finish {
        key: attempt.job.key,
        attempt: attempt.job.attempt,
        started_at: attempt.started_at,
        ended_at: attempt.host.env.now(),
        decision,
        usage: attempt.usage.get().copied(),
        follow_ups: lock(&attempt.follow_ups).clone(),
        // It is completed.
        snoozes_max: 0,
    };
    Ok(Completion { attempt: Arc::clone(attempt), end })
}
