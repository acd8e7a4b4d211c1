//! The part of the store that keeps schedules.

use std::sync::atomic::Ordering;

use taskwright_core::{JobId, Namespace, ScheduleName, State, Timestamp};
use tokio_postgres::types::Type;

use super::super::session::Session;
use super::super::{schedule, subject};
use super::{PostgresStore, TRIES_MAX, is_conflict};
use crate::Reply;
use crate::schedule::{
    DueSchedules, FiringView, JobOrigin, ScheduleKey, ScheduleStore, ScheduleWrite, StoredSchedule, Written,
    check_writes,
};
use crate::subject::{Subject, Which};

impl ScheduleStore for PostgresStore {
    fn write_schedules(&self, now: Timestamp, writes: Vec<ScheduleWrite>) -> Reply<'_, Vec<Written>> {
        Box::pin(async move {
            check_writes(&writes)?;
            transact!(self, about Subject::of_schedules(&writes), session => schedule::write(session, now, &writes))
        })
    }

    fn due_schedules(&self, now: Timestamp, limit: usize) -> Reply<'_, DueSchedules> {
        Box::pin(async move {
            let most = i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX);
            let rows =
                self.look(schedule::DUE, &[(&now.as_micros(), Type::INT8), (&most, Type::INT8)]).await?;
            schedule::read_due(&rows, now, limit)
        })
    }

    fn schedule(&self, namespace: Namespace, name: ScheduleName) -> Reply<'_, Option<StoredSchedule>> {
        Box::pin(async move { Ok(self.schedules_named(vec![(namespace, name)]).await?.pop().flatten()) })
    }

    fn schedules_named(
        &self,
        names: Vec<(Namespace, ScheduleName)>,
    ) -> Reply<'_, Vec<Option<StoredSchedule>>> {
        Box::pin(async move { snapshot!(self, session => schedule::by_names(session, &names)) })
    }

    fn schedules(
        &self,
        namespace: Option<Namespace>,
        after: Option<ScheduleKey>,
        limit: usize,
    ) -> Reply<'_, Vec<StoredSchedule>> {
        Box::pin(async move {
            snapshot!(self, session => schedule::list(session, namespace.as_ref(), after, limit))
        })
    }

    fn remove_schedule(&self, schedule: ScheduleKey) -> Reply<'_, bool> {
        Box::pin(async move {
            transact!(self, about Subject::Schedules(vec![Which::Stored(schedule)]), session => schedule::remove(session, schedule))
        })
    }

    fn firings(
        &self,
        schedule: ScheduleKey,
        before: Option<u64>,
        limit: usize,
    ) -> Reply<'_, Vec<FiringView>> {
        Box::pin(
            async move { snapshot!(self, session => schedule::firings(session, schedule, before, limit)) },
        )
    }

    fn origins(&self, jobs: Vec<JobId>) -> Reply<'_, Vec<Option<JobOrigin>>> {
        Box::pin(async move { snapshot!(self, session => schedule::origins(session, &jobs)) })
    }

    fn states(&self, jobs: Vec<JobId>) -> Reply<'_, Vec<Option<State>>> {
        Box::pin(async move { snapshot!(self, session => schedule::states(session, &jobs)) })
    }
}
