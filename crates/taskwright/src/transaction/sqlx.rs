//! Transactions of sqlx 0.9.

use sqlx::{AssertSqlSafe, PgConnection, Postgres, Transaction};

use super::postgres::{BoxError, BoxFuture, PostgresTransaction};

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
