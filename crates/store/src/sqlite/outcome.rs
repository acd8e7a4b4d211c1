//! Ends of jobs as events, for the schedules that wait for them.
//!
//! Costs an end one look into a table that is mostly empty.

use rusqlite::Row;
use taskwright_core::outcome::JobOutcome;
use taskwright_core::{JobId, Kind, Namespace, QueueName, ScheduleName, State, Timestamp};

use super::event;
use super::session::{Session, name, name_if_any};
use crate::error::Error;
use crate::finish::Finish;
use crate::outcome;

/// Whether anybody waits for jobs to end so.
pub(super) fn are_of_interest(session: &mut Session<'_>, state: State) -> Result<bool, Error> {
    let find = "SELECT 1 FROM taskwright_interest WHERE state = ?1 LIMIT 1";
    Ok(session.first(find, [state.code()], |_| Ok(()))?.is_some())
}

/// Makes events of these completions, if they are of interest.
pub(super) fn tell_completed<'a>(
    session: &mut Session<'_>,
    ends: impl Iterator<Item = &'a Finish>,
) -> Result<(), Error> {
    if are_of_interest(session, State::Completed)? {
        for end in ends {
            tell(session, end.key.0, State::Completed, end.attempt, end.ended_at.as_micros())?;
        }
    }
    Ok(())
}

/// Makes an event of the end of a job, if that is of interest. The job has its last state by then.
pub(super) fn tell(
    session: &mut Session<'_>,
    seq: i64,
    state: State,
    attempts: u32,
    ended_at: i64,
) -> Result<(), Error> {
    let ended_at = Timestamp::from_micros(ended_at);
    let read = |row: &Row<'_>| {
        Ok(JobOutcome {
            job: JobId::from_bytes(row.get(0)?),
            namespace: name(row, 1, Namespace::new)?,
            kind: name(row, 2, Kind::new)?,
            queue: name(row, 3, QueueName::new)?,
            state,
            attempts,
            schedule: name_if_any(row, 4, ScheduleName::new)?,
            ended_at,
        })
    };
    match session.first(INTERESTING, (seq, state.code()), read)? {
        Some(outcome) => event::emit(session, ended_at, &[outcome::event(&outcome)?]),
        None => Ok(()),
    }
}

/// The job, if anybody is interested in its end.
pub(super) const INTERESTING: &str = "SELECT j.id, q.namespace, l.kind, q.name,
            (SELECT s.name FROM taskwright_firing f JOIN taskwright_schedule s ON s.schedule = f.schedule
             WHERE f.job = j.id LIMIT 1)
     FROM taskwright_job j JOIN taskwright_lane l ON l.lane = j.lane JOIN taskwright_queue q ON q.queue = l.queue
     WHERE j.seq = ?1 AND EXISTS (
        SELECT 1 FROM taskwright_interest i WHERE i.state = ?2 AND i.namespace = q.namespace AND i.kind IN (l.kind, ''))";
