//! Steps of jobs: a row each, numbered in the order in which they were kept.

use rusqlite::Row;
use taskwright_core::{JobId, StepName, Timestamp, Verdict, WorkerId};

use super::SqliteStore;
use super::finish::{set_apart, verdict};
use super::schedule::rows;
use super::session::{Session, name};
use super::worker::number;
use crate::Reply;
use crate::error::Error;
use crate::step::{NewStep, StepStore, StepView, check};

impl StepStore for SqliteStore {
    fn keep_steps(&self, worker: WorkerId, steps: Vec<NewStep>) -> Reply<'_, Vec<Verdict>> {
        self.writer.write(move |session| keep(session, worker, &steps))
    }

    fn steps(&self, job: JobId) -> Reply<'_, Vec<StepView>> {
        self.readers.read(move |conn| rows(conn, LIST, [job.as_bytes()], read_view))
    }
}

fn keep(session: &mut Session<'_>, worker: WorkerId, steps: &[NewStep]) -> Result<Vec<Verdict>, Error> {
    check(steps)?;
    let worker = number(session, worker)?;
    set_apart(session, worker, steps.iter().map(|step| (step.key, step.attempt)))?;
    let mut verdicts = Vec::with_capacity(steps.len());
    for step in steps {
        let (seq, name) = (step.key.0, step.name.as_str());
        session.execute(FORGET_ONE, (seq, worker, step.attempt, name))?;
        let row = (seq, worker, step.attempt, step.at.as_micros(), name, &step.result);
        verdicts.push(verdict(session.execute(KEEP, row)?));
    }
    Ok(verdicts)
}

fn read_view(row: &Row<'_>) -> rusqlite::Result<StepView> {
    Ok(StepView {
        name: name(row, 0, StepName::new)?,
        attempt: row.get(1)?,
        at: Timestamp::from_micros(row.get(2)?),
        result: row.get(3)?,
    })
}

// The statements; plans.rs holds each of them to an index.
pub(super) const KEEP: &str = "INSERT INTO taskwright_step (seq, number, attempt, at, name, result)
     SELECT seq, (SELECT coalesce(max(number) + 1, 0) FROM taskwright_step WHERE seq = ?1), attempt, ?4, ?5, ?6
     FROM taskwright_running WHERE seq = ?1 AND worker = ?2 AND attempt = ?3";
/// What was kept under that name, if the attempt still holds the job.
pub(super) const FORGET_ONE: &str = "DELETE FROM taskwright_step WHERE seq = ?1 AND name = ?4
     AND EXISTS (SELECT 1 FROM taskwright_running WHERE seq = ?1 AND worker = ?2 AND attempt = ?3)";
pub(super) const LIST: &str = "SELECT s.name, s.attempt, s.at, s.result
     FROM taskwright_job j CROSS JOIN taskwright_step s ON s.seq = j.seq WHERE j.id = ?1 ORDER BY s.seq, s.number";
pub(super) const REMOVE: &str = "DELETE FROM taskwright_step WHERE seq IN rarray(?1)";
pub(super) const FORGET: &str = "DELETE FROM taskwright_step WHERE seq = ?1";
/// Whether an attempt kept one.
pub(super) const KEPT: &str = "SELECT EXISTS (SELECT 1 FROM taskwright_step WHERE seq = ?1 AND attempt = ?2)";
