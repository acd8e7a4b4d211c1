//! What was executed, each question on one snapshot.

use super::{PostgresStore, Session};
use crate::Reply;
use crate::history::{ExecutionFilter, ExecutionPage, Executions, HistoryStore, Statistics};
use crate::postgres::history;

impl HistoryStore for PostgresStore {
    fn executions(&self, filter: ExecutionFilter, page: ExecutionPage) -> Reply<'_, Executions> {
        Box::pin(async move { snapshot!(self, session => history::executions(session, &filter, page)) })
    }

    fn statistics(&self, filter: ExecutionFilter, sample_max: usize) -> Reply<'_, Statistics> {
        Box::pin(async move { snapshot!(self, session => history::statistics(session, &filter, sample_max)) })
    }
}
