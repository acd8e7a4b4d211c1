//! Transactions of tokio-postgres 0.7.

use tokio_postgres::types::Type;
use tokio_postgres::{Row, Transaction};

use super::postgres::{BoxError, BoxFuture, PostgresTransaction};

impl PostgresTransaction for Transaction<'_> {
    fn rows<'a>(
        &'a mut self,
        sql: &'a str,
        parameter: &'a str,
    ) -> BoxFuture<'a, Result<Vec<(String, bool)>, BoxError>> {
        Box::pin(async move { read(&self.query_typed(sql, &[(&parameter, Type::TEXT)]).await?) })
    }
}

pub(super) fn read(rows: &[Row]) -> Result<Vec<(String, bool)>, BoxError> {
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}
