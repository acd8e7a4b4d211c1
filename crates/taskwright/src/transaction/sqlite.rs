//! Transactions of rusqlite on the store's file.

use std::ops::Deref;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Connection;
use serde::Serialize;
use taskwright_core::{Error as DomainError, EventId, NewJob};
use taskwright_store::sqlite::{complete_in, connect, emit_in, enqueue_in, is_in_memory, log_in, rusqlite};
use taskwright_store::{Enqueued, NewEvent, StoreInfo};
use tokio::sync::OwnedSemaphorePermit;

use super::sealed::Sealed;
use super::{CallersTransaction, Completion};
use crate::cancel::StopCause;
use crate::client::Client;
use crate::context::Context;
use crate::error::Error;
use crate::extract::{CompleteIn, FromContext};
use crate::middleware::through_at_once;
use crate::task::TaskError;

impl Sealed for &rusqlite::Transaction<'_> {}

impl CallersTransaction for &rusqlite::Transaction<'_> {
    type Answer<T: Send + 'static> = Result<T, Error>;

    fn enqueue<T: Send + 'static>(
        self,
        client: &Client,
        jobs: Result<Vec<NewJob>, Error>,
        answer: fn(Vec<Enqueued>) -> T,
    ) -> Result<T, Error> {
        enqueue(self, client, jobs, answer)
    }

    fn emit(self, client: &Client, event: Result<NewEvent, Error>) -> Result<EventId, Error> {
        emit(self, client, event)
    }

    fn complete(self, completion: Result<Completion, Error>) -> Result<(), Error> {
        complete(self, completion)
    }
}

/// A transaction of rusqlite that has its connection: what a task takes as `#[tx] tx: &mut SqliteTransaction`.
///
/// It is an immediate one on a connection of its own to the file of the store, and needs no state. It is begun and committed on a thread
/// for what blocks; the statements of the task run where the task does, so let them be short. Dropped, it is rolled back.
///
/// SQLite has one writer at a time, so until it ends nobody else writes to the file, neither other jobs nor the worker. What the task
/// calls must not wait for that: enqueue in the transaction, and leave steps alone. What it logs is kept, and is stored when it ends.
///
/// It gives the connection to run statements on, and `&*tx` goes to [`Client::enqueue_in`](crate::Client::enqueue_in). Leave `BEGIN`,
/// `COMMIT` and `ROLLBACK` alone there; `SAVEPOINT` is yours.
///
/// # Example
///
/// ```
/// use taskwright::transaction::SqliteTransaction;
/// use taskwright::{TaskError, task};
///
/// #[task("pay")]
/// async fn pay(account: i64, #[tx] tx: &mut SqliteTransaction) -> Result<&'static str, TaskError> {
///     tx.execute("UPDATE account SET balance = balance + 100 WHERE id = ?1", [account])?;
///     Ok("paid")
/// }
/// ```
#[derive(Debug)]
pub struct SqliteTransaction {
    connection: Connection,
    /// Its log waits here.
    ctx: Context,
    /// Of those of one worker, others wait for it here and not at the file, where each would have a thread. Last, as the connection goes
    /// first.
    _turn: OwnedSemaphorePermit,
}

impl Deref for SqliteTransaction {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl Drop for SqliteTransaction {
    fn drop(&mut self) {
        // Nothing, when it was stored by the commit.
        self.ctx.let_go_of_log();
    }
}

/// Begun on a connection of its own to the file of the store.
impl FromContext for SqliteTransaction {
    async fn from_context(ctx: &Context) -> Result<Self, TaskError> {
        ctx.must_be_in_worker("a transaction")?;
        let store = ctx.store().info();
        let path = PathBuf::from(file_of(&store)?);
        let turn = tokio::select! {
            biased;
            cause = ctx.cancelled() => return Err(cause.into()),
            turn = Arc::clone(ctx.writing()).acquire_owned() => turn.map_err(|_| StopCause::Shutdown)?,
        };
        // While it is open nobody can store it.
        ctx.store_what_was_said().await;
        let ctx = ctx.clone();
        let env = ctx.env().clone();
        let begin = move || {
            let connection = connect(&path)?;
            connection.execute_batch("BEGIN IMMEDIATE")?;
            ctx.hold_log();
            Ok(Self { connection, ctx, _turn: turn })
        };
        env.blocking(begin).await
    }
}

impl CompleteIn for SqliteTransaction {
    async fn complete<O: Serialize + Sync>(self, ctx: &Context, output: &O) -> Result<(), TaskError> {
        log_in(&self, ctx.worker_id(), ctx.held_log())?;
        ctx.complete_in(&self, output)?;
        let commit = move || {
            // It waits for the disk.
            self.execute_batch("COMMIT")?;
            self.ctx.forget_held_log();
            Ok(())
        };
        ctx.env().blocking(commit).await
    }
}

impl Sealed for &SqliteTransaction {}

impl CallersTransaction for &SqliteTransaction {
    type Answer<T: Send + 'static> = Result<T, Error>;

    fn enqueue<T: Send + 'static>(
        self,
        client: &Client,
        jobs: Result<Vec<NewJob>, Error>,
        answer: fn(Vec<Enqueued>) -> T,
    ) -> Result<T, Error> {
        enqueue(self, client, jobs, answer)
    }

    fn emit(self, client: &Client, event: Result<NewEvent, Error>) -> Result<EventId, Error> {
        emit(self, client, event)
    }

    fn complete(self, completion: Result<Completion, Error>) -> Result<(), Error> {
        complete(self, completion)
    }
}

fn enqueue<T>(
    tx: &Connection,
    client: &Client,
    jobs: Result<Vec<NewJob>, Error>,
    answer: fn(Vec<Enqueued>) -> T,
) -> Result<T, Error> {
    let jobs = jobs?;
    check_place(tx, &client.store().info())?;
    let store = |jobs: &[NewJob]| Ok(enqueue_in(tx, client.now(), jobs)?);
    let stored = match client.around() {
        None => store(&jobs)?,
        Some(around) => through_at_once(around, jobs, |jobs| store(&jobs))?,
    };
    Ok(answer(stored))
}

fn emit(tx: &Connection, client: &Client, event: Result<NewEvent, Error>) -> Result<EventId, Error> {
    let event = event?;
    check_place(tx, &client.store().info())?;
    emit_in(tx, client.now(), std::slice::from_ref(&event))?;
    Ok(event.id)
}

fn complete(tx: &Connection, completion: Result<Completion, Error>) -> Result<(), Error> {
    let Completion { attempt, end } = completion?;
    check_place(tx, &attempt.host.store.info())?;
    Ok(complete_in(tx, end.ended_at, attempt.host.worker, &end)?)
}

/// Refuses a transaction on another file than that of the store: whoever runs the jobs of this one would never see those.
fn check_place(tx: &Connection, store: &StoreInfo) -> Result<(), Error> {
    let file = file_of(store)?;
    let other = tx.path().unwrap_or_default();
    // A file has many names.
    let which = |path: &str| std::fs::metadata(Path::new(path)).ok().map(|file| (file.dev(), file.ino()));
    match (other == file || is_in_memory(tx, file), which(other), which(file)) {
        (true, ..) => Ok(()),
        (false, Some(other), Some(file)) if other == file => Ok(()),
        _ => Err(elsewhere(format!("it is on {other:?}, and the jobs are in {file:?}"))),
    }
}

fn file_of(store: &StoreInfo) -> Result<&str, Error> {
    let of_kind = || format!("it is one of SQLite, and the jobs are in a store of the kind {}", store.kind);
    store.url.strip_prefix("sqlite:").ok_or_else(|| elsewhere(of_kind()))
}

fn elsewhere(why: String) -> Error {
    let fix = "begin it on the file of the store, or use the calls without a transaction";
    DomainError::invalid("the transaction", why, fix).into()
}
