//! What decisions about schedules depend on besides the schedules themselves.

use std::collections::HashMap;

use taskwright_core::{Authority, JobId, Schedule, State, Timestamp};
use taskwright_store::{Error as StoreError, SharedStore, StoredSchedule};

use super::view::ScheduleView;
use crate::identity::Authorities;

/// Read for some schedules, and true at that moment.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// Of their jobs that were open.
    states: HashMap<JobId, Option<State>>,
    /// Of those who registered them.
    authorities: Authorities,
}

impl Facts {
    /// Reads what matters for these.
    ///
    /// # Errors
    ///
    /// When the store is out of order.
    pub(crate) async fn read(
        store: &SharedStore,
        now: Timestamp,
        schedules: &[StoredSchedule],
    ) -> Result<Self, StoreError> {
        let (jobs, authorities) = asked_about(schedules);
        let states = if jobs.is_empty() { Vec::new() } else { store.states(jobs.clone()).await? };
        let authorities = Authorities::read(store, now, authorities).await?;
        Ok(Self { states: jobs.into_iter().zip(states).collect(), authorities })
    }

    /// Whether a job is not over; one that nobody asked about may be.
    pub(super) fn is_open(&self, job: JobId) -> bool {
        match self.states.get(&job) {
            Some(Some(state)) => !state.is_terminal(),
            Some(None) => false,
            None => true,
        }
    }

    /// Whether a schedule may make jobs.
    pub(super) fn allow(&self, schedule: &Schedule) -> bool {
        self.authorities.allow(schedule.origin.authority(), schedule.making())
    }
}

/// The open jobs on which the next firing of a schedule depends, and who registered it. What is not understood here has neither.
fn asked_about(schedules: &[StoredSchedule]) -> (Vec<JobId>, Vec<Authority>) {
    let (mut jobs, mut authorities) = (Vec::new(), Vec::new());
    for stored in schedules {
        let Ok(view) = ScheduleView::read(stored) else { continue };
        authorities.extend(view.schedule.origin.authority().cloned());
        if view.schedule.minds_open_jobs() {
            jobs.extend(view.state.open);
        }
    }
    (jobs, authorities)
}
