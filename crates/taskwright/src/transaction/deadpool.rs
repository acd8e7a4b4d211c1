//! Transactions of deadpool-postgres 0.14.

use deadpool_postgres::Transaction;
use tokio_postgres::types::Type;

use super::postgres::{BoxError, BoxFuture, PostgresTransaction};
use super::tokio_postgres::read;

impl PostgresTransaction for Transaction<'_> {
    fn rows<'a>(
        &'a mut self,
        sql: &'a str,
        parameter: &'a str,
    ) -> BoxFuture<'a, Result<Vec<(String, bool)>, BoxError>> {
        Box::pin(async move { read(&self.query_typed(sql, &[(&parameter, Type::TEXT)]).await?) })
    }
}
