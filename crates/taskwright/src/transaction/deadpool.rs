//! Transactions of deadpool-postgres 0.14.

use std::ops::Deref;

use deadpool_postgres::{Client, Pool, Transaction};
use serde::Serialize;
use tokio_postgres::types::Type;

use super::postgres::{BEGIN, BoxError, BoxFuture, PostgresTransaction};
use super::tokio_postgres::read;
use crate::context::Context;
use crate::extract::{CompleteIn, FromContext};
use crate::task::TaskError;

impl PostgresTransaction for Transaction<'_> {
    fn rows<'a>(
        &'a mut self,
        sql: &'a str,
        parameter: &'a str,
    ) -> BoxFuture<'a, Result<Vec<(String, bool)>, BoxError>> {
        Box::pin(async move { read(&self.query_typed(sql, &[(&parameter, Type::TEXT)]).await?) })
    }
}

/// A transaction of deadpool-postgres that has its connection: what a task takes as `#[tx] tx: &mut DeadpoolTransaction`.
///
/// It is begun on a connection from the [`Pool`] of the registry's state, for which the attempt waits as long as the pool's time limits
/// and its own allow: let the pool have as many as jobs of such tasks run at a time. Committed, the connection goes back. Dropped, it is
/// taken out of the pool and closed, so that nobody gets one with an open transaction; the server rolls back then, once a statement
/// that runs there has ended.
///
/// It gives the client to run statements on. Leave `BEGIN`, `COMMIT` and `ROLLBACK` alone there; `SAVEPOINT` is
/// yours. What outlives a transaction (`SET` without `LOCAL`, `LISTEN`, advisory locks of the session) outlives it in the pool.
#[derive(Debug)]
pub struct DeadpoolTransaction(
    /// `None` once it is committed.
    Option<Client>,
);

impl Deref for DeadpoolTransaction {
    type Target = Client;

    fn deref(&self) -> &Client {
        // Only `complete` takes it out, which has the transaction by value.
        self.0.as_ref().expect("an open transaction has its connection")
    }
}

impl Drop for DeadpoolTransaction {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            drop(Client::take(client));
        }
    }
}

impl PostgresTransaction for DeadpoolTransaction {
    fn rows<'a>(
        &'a mut self,
        sql: &'a str,
        parameter: &'a str,
    ) -> BoxFuture<'a, Result<Vec<(String, bool)>, BoxError>> {
        Box::pin(async move { read(&self.query_typed(sql, &[(&parameter, Type::TEXT)]).await?) })
    }
}

/// Begun on a connection from the [`Pool`] of the registry's state.
impl FromContext for DeadpoolTransaction {
    async fn from_context(ctx: &Context) -> Result<Self, TaskError> {
        // What is dropped while it begins is closed, too.
        let tx = Self(Some(ctx.state::<Pool>()?.get().await?));
        tx.batch_execute(BEGIN).await?;
        Ok(tx)
    }
}

impl CompleteIn for DeadpoolTransaction {
    async fn complete<O: Serialize + Sync>(mut self, ctx: &Context, output: &O) -> Result<(), TaskError> {
        ctx.complete_in(&mut self, output).await?;
        self.batch_execute("COMMIT").await?;
        // Back to the pool.
        drop(self.0.take());
        Ok(())
    }
}
