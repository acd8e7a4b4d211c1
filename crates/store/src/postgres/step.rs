//! Steps of jobs: a row each, numbered in the order in which they were kept.

use taskwright_core::{StepName, Timestamp, Verdict, WorkerId};
use tokio_postgres::Row;

use super::finish::{set_apart, verdict};
use super::held::Held;
use super::session::{Session, get, name, sql_count, vanished};
use super::worker::number;
use crate::error::Error;
use crate::step::{NewStep, StepView, check};

/// See [`StepStore::keep_steps`](crate::StepStore::keep_steps).
pub(super) async fn keep(
    session: &mut Session<'_>,
    held: &Held,
    worker: WorkerId,
    steps: &[NewStep],
) -> Result<Vec<Verdict>, Error> {
    check(steps)?;
    let id = worker;
    let Some(worker) = number(session, id).await? else { return Ok(vec![Verdict::Stale; steps.len()]) };
    set_apart(session, held, id, worker, steps.iter().map(|step| step.key)).await?;
    let mut verdicts = Vec::with_capacity(steps.len());
    for step in steps {
        let (seq, attempt, name) = (step.key.0, sql_count(step.attempt), step.name.as_str());
        // Whoever would take the job away waits until this is over.
        if session.first(LOCK, &[&seq, &worker, &attempt]).await?.is_none() {
            verdicts.push(Verdict::Stale);
            continue;
        }
        session.execute(FORGET_ONE, &[&seq, &name]).await?;
        let kept =
            session.execute(KEEP, &[&seq, &attempt, &step.at.as_micros(), &name, &step.result]).await?;
        verdicts.push(verdict(kept));
    }
    Ok(verdicts)
}

pub(super) fn read_view(row: &Row) -> Result<StepView, Error> {
    Ok(StepView {
        name: name(row, 0, StepName::new)?,
        attempt: u32::try_from(get::<i32>(row, 1)?).map_err(|_| vanished("an attempt"))?,
        at: Timestamp::from_micros(get(row, 2)?),
        result: get(row, 3)?,
    })
}

// The statements.
const LOCK: &str =
    "SELECT FROM running WHERE seq = $1 AND worker = $2::bigint AND attempt = $3::integer FOR UPDATE";
const FORGET_ONE: &str = "DELETE FROM step WHERE seq = $1 AND name = $2";
const KEEP: &str = "INSERT INTO step (seq, number, attempt, at, name, result)
    SELECT $1, coalesce((SELECT s.number + 1 FROM step s WHERE s.seq = $1 ORDER BY s.seq DESC, s.number DESC LIMIT 1), 0), $2, $3, $4, $5";
pub(super) const LIST: &str = "SELECT s.name, s.attempt, s.at, s.result
    FROM (SELECT seq FROM job WHERE id = $1 LIMIT 1) j CROSS JOIN LATERAL (
        SELECT * FROM step s WHERE s.seq = j.seq ORDER BY s.seq, s.number LIMIT 10000) s ORDER BY s.number";
/// A job that completed and runs once more does everything once more.
pub(super) const FORGET: &str = "DELETE FROM step WHERE seq = $1";
