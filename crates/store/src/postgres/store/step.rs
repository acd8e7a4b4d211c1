//! The part of the store that keeps steps.

use std::sync::atomic::Ordering;

use taskwright_core::{JobId, Verdict, WorkerId};
use tokio_postgres::types::Type;

use super::super::session::{Session, Uuid};
use super::super::step;
use super::{PostgresStore, TRIES_MAX, is_conflict};
use crate::Reply;
use crate::step::{NewStep, StepStore, StepView};

impl StepStore for PostgresStore {
    fn keep_steps(&self, worker: WorkerId, steps: Vec<NewStep>) -> Reply<'_, Vec<Verdict>> {
        Box::pin(async move { transact!(self, session => step::keep(session, &self.held, worker, &steps)) })
    }

    fn steps(&self, job: JobId) -> Reply<'_, Vec<StepView>> {
        Box::pin(async move {
            let rows = self.look(step::LIST, &[(&Uuid::from(job), Type::UUID)]).await?;
            rows.iter().map(step::read_view).collect()
        })
    }
}
