//! The way of most jobs: enqueued into a stream, claimed, completed; a message each, and a transaction each.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use taskwright_core::audit::Behalf;
use taskwright_core::{NewJob, Timestamp, Verdict, WorkerId};
use tokio::sync::oneshot;
use tokio_postgres::types::{ToSql, Type};

use super::super::enqueue::NewRow;
use super::super::error::{is_conflict, is_duplicate, is_elsewhere};
use super::super::held::Where;
use super::super::session::{Parts, Session, get};
use super::super::streamed::{self, Streamed};
use super::super::{claim, copy, enqueue, finish, unanswered};
use super::{PostgresStore, TRIES_MAX};
use crate::Enqueued;
use crate::audit::{body, entries, outcome};
use crate::claim::{Claim, Claimed};
use crate::error::Error;
use crate::finish::{Finish, uncounted};

impl PostgresStore {
    /// Jobs that go into streams by `COPY`, if all of these do. PgBouncer (1.18 at least) hangs when one fails in the
    /// extended protocol, as it does that meets an id twice.
    pub(super) fn streamed<'a>(&self, now: Timestamp, jobs: &'a [NewJob]) -> Option<Vec<NewRow<'a>>> {
        // What leaves an entry of the audit goes alone, or as any other transaction.
        let copies = jobs.len() == 1 || !(self.connections.settings().pgbouncer || self.behalf.is_some());
        enqueue::plain(&self.lanes, now, jobs).filter(|rows| copies && !rows.is_empty())
    }

    /// Stores jobs that go into streams, while a batch before them is stored; `None` when that one was not. Both are in
    /// their order, since each takes its numbers and the id of its transaction in its turn.
    pub(super) async fn enqueue_streamed_behind(
        &self,
        rows: &[NewRow<'_>],
        previous: &mut oneshot::Receiver<()>,
    ) -> Result<Option<()>, Error> {
        self.counts.calls.fetch_add(1, Ordering::Relaxed);
        let turn = self.turn.lock().await;
        let mut connection = self.connections.get().await?;
        let tx = connection.begin().await?;
        let many = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        let taken = tx.query(copy::NUMBERS, &[(&many, Type::INT8)]).await?;
        drop(turn);
        let numbers: Vec<i64> = taken.first().map_or(Ok(Vec::new()), |row| get(row, 0))?;
        tx.copy(copy::COPY_NUMBERED, copy::encode(rows, Some(&numbers))).await?;
        if previous.await.is_err() {
            return Ok(None);
        }
        tx.commit().await?;
        self.committed(Parts { statements: 2, hint: true, ..Parts::default() });
        Ok(Some(()))
    }

    /// Stores jobs that go into streams; `None`, and nothing is stored, when one of their ids exists.
    pub(super) async fn enqueue_plain(&self, rows: &[NewRow<'_>]) -> Result<Option<Vec<Enqueued>>, Error> {
        let stored = match rows {
            [row] => self.enqueue_one(row).await,
            rows => {
                self.counts.calls.fetch_add(1, Ordering::Relaxed);
                let stored = self.connections.get().await?.copy(copy::COPY, copy::encode(rows, None)).await;
                stored.inspect(|()| self.committed(Parts { statements: 1, ..Parts::default() }))
            }
        };
        match stored {
            Ok(()) => {
                self.bell.ring(&self.connections);
                Ok(Some(rows.iter().map(|row| enqueue::new(row.job)).collect()))
            }
            Err(error) if is_duplicate(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Stores a job that goes into a stream, and an entry of the audit in the same statement, if somebody stands behind it.
    async fn enqueue_one(&self, row: &NewRow<'_>) -> Result<(), Error> {
        let one = enqueue::One::of(row);
        let parameters = one.parameters();
        let Some(behalf) = &self.behalf else {
            return self.once(enqueue::INSERT_ONE, &parameters).await.map(drop);
        };
        let Some(outcome) = outcome(&enqueue::new(row.job)) else { return Ok(()) };
        let body = body(&behalf.entry(outcome))?;
        let parameters: Vec<_> =
            parameters.into_iter().chain([(&body as &(dyn ToSql + Sync), Type::TEXT)]).collect();
        self.once(enqueue::INSERT_ONE_TOLD, &parameters).await.map(drop)
    }

    /// Stores jobs that go into streams, and an entry of the audit for each in the same statement; `None`, and nothing is stored, when
    /// one of their ids exists.
    pub(super) async fn enqueue_plain_told(
        &self,
        rows: &[NewRow<'_>],
        behalves: &[Arc<Behalf>],
    ) -> Result<Option<Vec<Enqueued>>, Error> {
        let stored: Vec<Enqueued> = rows.iter().map(|row| enqueue::new(row.job)).collect();
        let entries = entries(&stored, behalves);
        let bodies: Vec<String> = entries.iter().map(body).collect::<Result<_, Error>>()?;
        let columns = enqueue::Columns::of(rows);
        match self.once(enqueue::INSERT_SOME_TOLD, &columns.parameters(&bodies)).await {
            Ok(_) => {
                self.bell.ring(&self.connections);
                Ok(Some(stored))
            }
            Err(error) if is_duplicate(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Stores a job that goes into a stream, and gives it to a worker if it is the next one there; `None`, and nothing is stored,
    /// when its id exists, or it is not for this worker to say what it holds.
    pub(super) async fn enqueue_and_claim(
        &self,
        row: &NewRow<'_>,
        claim: &Claim,
    ) -> Result<Option<(Enqueued, Claimed)>, Error> {
        if claim.limit == 0 || !claim::serves(claim, row.job) || self.unanswered.has_any(claim.worker) {
            return Ok(None);
        }
        let asked = self.unanswered.ask(claim.worker).await;
        let (one, who, turn) = (enqueue::One::of(row), claim.worker.into(), self.unanswered.number());
        let rows = match self.once(claim::ENQUEUE_TO, &claim::to(&one, &who, &turn)).await {
            Ok(rows) => rows,
            Err(error) if is_duplicate(&error) => {
                asked.answered();
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let given = claim::read_given(&rows, row.job, claim.now)?;
        if let Some((job, block)) = &given {
            let place = Where::Block { block: *block, claimed_at: claim.now };
            self.held.add(claim.worker, std::iter::once((job.key.0, place)));
        }
        asked.answered();
        if given.is_none() {
            self.bell.ring(&self.connections);
        }
        Ok(Some((enqueue::new(row.job), Claimed { jobs: given.into_iter().map(|(job, _)| job).collect() })))
    }

    pub(super) async fn claim_jobs(&self, claim: &Claim) -> Result<Claimed, Error> {
        if self.unanswered.has_any(claim.worker) {
            self.take_back(claim).await?;
        }
        let asked = self.unanswered.ask(claim.worker).await;
        let ask = claim::Ask::of(claim, self.unanswered.number());
        let rows = self.once(claim::CLAIM, &ask.parameters()).await?;
        if claim::is_lost(&rows)? {
            return Err(Error::lost(claim.worker));
        }
        let unknown = claim::unknown_lanes(&rows, &self.lanes)?;
        if !unknown.is_empty() {
            // Only the jobs are ours by now: if this fails, they are as those of a claim whose answer was lost.
            let lanes: Result<Vec<_>, Error> = snapshot!(self, session => session.read_lanes(&unknown));
            self.lanes.remember_all(lanes?);
        }
        let claimed = claim::read(&rows, &self.lanes, &self.held, claim.worker, claim.now)?;
        asked.answered();
        Ok(claimed)
    }

    /// Takes back what claims of the worker gave whose answers were lost.
    async fn take_back(&self, claim: &Claim) -> Result<(), Error> {
        let _alone = self.unanswered.alone().await;
        let (worker, turn) = (claim.worker, self.unanswered.number());
        let back =
            transact!(self, session => unanswered::take_back(session, &self.held, claim.now, worker, turn))?;
        self.unanswered.settle(worker);
        if back > 0 {
            tracing::warn!(%worker, jobs = back, "the answer to a claim was lost; its jobs were taken back");
        }
        Ok(())
    }

    pub(super) async fn end_attempts(
        &self,
        now: Timestamp,
        worker: WorkerId,
        ends: &[Finish],
    ) -> Result<Vec<Verdict>, Error> {
        let (streamed, rest) = Streamed::of(worker, ends, &self.held);
        let is_all = rest.is_empty() && ends.iter().all(|end| end.follow_ups.is_empty());
        let verdicts = if is_all && !streamed.is_empty() {
            self.complete_streamed(&streamed, ends.len()).await?
        } else {
            None
        };
        let verdicts = match verdicts {
            Some(verdicts) => verdicts,
            None => transact!(self, session => finish::finish(session, &self.held, now, worker, ends))?,
        };
        // Also what had ended before, for instance in a transaction of its handler's.
        self.held.remove(worker, ends.iter().map(|end| end.key.0));
        self.unstart(worker, &uncounted(ends));
        Ok(verdicts)
    }

    /// Ends first attempts that completed; `None`, and nothing is done, when one of them is not where it was.
    async fn complete_streamed(
        &self,
        streamed: &Streamed,
        count: usize,
    ) -> Result<Option<Vec<Verdict>>, Error> {
        match self.once(streamed::COMPLETE, &streamed.parameters()).await {
            Ok(_) => Ok(Some(vec![Verdict::Accepted; count])),
            Err(error) if is_duplicate(&error) || is_elsewhere(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
