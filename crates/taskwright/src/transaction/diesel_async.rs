//! Connections of diesel-async 0.9, within `connection.transaction(..)`.

use diesel::QueryableByName;
use diesel::sql_types::{Bool, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::postgres::{BoxError, BoxFuture, PostgresTransaction};

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
