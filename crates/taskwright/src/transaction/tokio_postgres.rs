//! Transactions of tokio-postgres 0.7.

use std::ops::Deref;

use serde::Serialize;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row, Transaction};

use super::connect::Connect;
use super::postgres::{BEGIN, BoxError, BoxFuture, PostgresTransaction};
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

/// A transaction of tokio-postgres that has its connection: what a task takes as `#[tx] tx: &mut TokioPostgresTransaction`.
///
/// It is begun on a connection of its own, by the [`Connect<tokio_postgres::Client>`](Connect) of the registry's state: an attempt is
/// a connection, which is closed when it ends. Where that costs too much, take [`DeadpoolTransaction`](super::DeadpoolTransaction),
/// whose pool is one of tokio-postgres. Dropped, it is rolled back by the server, once a statement that runs there has ended.
///
/// It gives the client to run statements on. Leave `BEGIN`, `COMMIT` and `ROLLBACK` alone there; `SAVEPOINT` is
/// yours.
#[derive(Debug)]
pub struct TokioPostgresTransaction(Client);

impl Deref for TokioPostgresTransaction {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.0
    }
}

impl PostgresTransaction for TokioPostgresTransaction {
    fn rows<'a>(
        &'a mut self,
        sql: &'a str,
        parameter: &'a str,
    ) -> BoxFuture<'a, Result<Vec<(String, bool)>, BoxError>> {
        Box::pin(async move { read(&self.query_typed(sql, &[(&parameter, Type::TEXT)]).await?) })
    }
}

/// Begun on a connection that the [`Connect`] of the registry's state opens.
impl FromContext for TokioPostgresTransaction {
    async fn from_context(ctx: &Context) -> Result<Self, TaskError> {
        let client = ctx.state::<Connect<Client>>()?.open().await?;
        client.batch_execute(BEGIN).await?;
        Ok(Self(client))
    }
}

impl CompleteIn for TokioPostgresTransaction {
    async fn complete<O: Serialize + Sync>(mut self, ctx: &Context, output: &O) -> Result<(), TaskError> {
        ctx.complete_in(&mut self, output).await?;
        Ok(self.batch_execute("COMMIT").await?)
    }
}

pub(super) fn read(rows: &[Row]) -> Result<Vec<(String, bool)>, BoxError> {
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}
