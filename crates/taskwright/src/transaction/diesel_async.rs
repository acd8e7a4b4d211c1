//! Connections of diesel-async 0.9, within `connection.transaction(..)`, and transactions that have theirs.

use std::fmt;
use std::num::NonZero;
use std::ops::{Deref, DerefMut};

use diesel::QueryableByName;
use diesel::sql_types::{Bool, Text};
use diesel_async::{
    AnsiTransactionManager, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection, TransactionManager,
};
use serde::Serialize;

use super::connect::Connect;
use super::postgres::{BEGIN, BoxError, BoxFuture, PostgresTransaction};
use crate::context::Context;
use crate::extract::{CompleteIn, FromContext};
use crate::task::TaskError;

#[derive(QueryableByName)]
struct Answer {
    #[diesel(sql_type = Text)]
    id: String,
    #[diesel(sql_type = Bool)]
    existing: bool,
}

impl PostgresTransaction for AsyncPgConnection {
    fn rows<'a>(
        &'a mut self,
        sql: &'a str,
        parameter: &'a str,
    ) -> BoxFuture<'a, Result<Vec<(String, bool)>, BoxError>> {
        let query = diesel::sql_query(sql).bind::<Text, _>(parameter);
        Box::pin(async move {
            let rows: Vec<Answer> = query.load(self).await?;
            Ok(rows.into_iter().map(|row| (row.id, row.existing)).collect())
        })
    }
}

/// A transaction of diesel-async that has its connection: what a task takes as `#[tx] tx: &mut DieselTransaction`.
///
/// It is begun on a connection of its own, by the [`Connect<AsyncPgConnection>`](Connect) of the registry's state: an attempt is a
/// connection, which is closed when it ends. Dropped, it is rolled back by the server, once a statement that runs there has ended.
///
/// It gives the connection to run queries on; a transaction within it is a savepoint. One that was begun and not ended, as by a time limit
/// around it, fails the attempt.
pub struct DieselTransaction(AsyncPgConnection);

impl fmt::Debug for DieselTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DieselTransaction").finish_non_exhaustive()
    }
}

impl Deref for DieselTransaction {
    type Target = AsyncPgConnection;

    fn deref(&self) -> &AsyncPgConnection {
        &self.0
    }
}

impl DerefMut for DieselTransaction {
    fn deref_mut(&mut self) -> &mut AsyncPgConnection {
        &mut self.0
    }
}

impl PostgresTransaction for DieselTransaction {
    fn rows<'a>(
        &'a mut self,
        sql: &'a str,
        parameter: &'a str,
    ) -> BoxFuture<'a, Result<Vec<(String, bool)>, BoxError>> {
        self.0.rows(sql, parameter)
    }
}

/// Begun on a connection that the [`Connect`] of the registry's state opens.
impl FromContext for DieselTransaction {
    async fn from_context(ctx: &Context) -> Result<Self, TaskError> {
        let mut connection = ctx.state::<Connect<AsyncPgConnection>>()?.open().await?;
        AnsiTransactionManager::begin_transaction_sql(&mut connection, BEGIN).await?;
        Ok(Self(connection))
    }
}

impl CompleteIn for DieselTransaction {
    async fn complete<O: Serialize + Sync>(mut self, ctx: &Context, output: &O) -> Result<(), TaskError> {
        let status = AnsiTransactionManager::transaction_manager_status_mut(&mut self.0);
        if status.transaction_depth()?.map(NonZero::get) != Some(1) {
            return Err(TaskError::retry(
                "a transaction within that of the task was left before it ended, and what it did may be half of something: \
                 let each end, and put no time limit around one",
            ));
        }
        ctx.complete_in(&mut self.0, output).await?;
        Ok(self.0.batch_execute("COMMIT").await?)
    }
}
