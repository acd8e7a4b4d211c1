//! Transactions of sqlx 0.9.

use serde::Serialize;
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Postgres, Transaction};

use super::postgres::{BEGIN, BoxError, BoxFuture, PostgresTransaction};
use crate::context::Context;
use crate::extract::{CompleteIn, FromContext};
use crate::task::TaskError;

/// A connection on which the caller has begun a transaction: `&mut *tx`.
impl PostgresTransaction for PgConnection {
    fn rows<'a>(
        &'a mut self,
        sql: &'a str,
        parameter: &'a str,
    ) -> BoxFuture<'a, Result<Vec<(String, bool)>, BoxError>> {
        // All of it is ours.
        let query = sqlx::query_as(AssertSqlSafe(sql)).bind(parameter);
        Box::pin(async move { Ok(query.fetch_all(self).await?) })
    }
}

impl PostgresTransaction for Transaction<'_, Postgres> {
    fn rows<'a>(
        &'a mut self,
        sql: &'a str,
        parameter: &'a str,
    ) -> BoxFuture<'a, Result<Vec<(String, bool)>, BoxError>> {
        (**self).rows(sql, parameter)
    }
}

/// Begun on the [`PgPool`] of the registry's state.
impl FromContext for Transaction<'static, Postgres> {
    async fn from_context(ctx: &Context) -> Result<Self, TaskError> {
        Ok(ctx.state::<PgPool>()?.begin_with(BEGIN).await?)
    }
}

impl CompleteIn for Transaction<'static, Postgres> {
    async fn complete<O: Serialize + Sync>(mut self, ctx: &Context, output: &O) -> Result<(), TaskError> {
        ctx.complete_in(&mut self, output).await?;
        Ok(self.commit().await?)
    }
}
