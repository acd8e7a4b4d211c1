//! Claims whose answers never came.
//!
//! A claim that failed may have taken place, and it may do so yet: its session waits for a lane, or the server has not
//! come to read it. What it takes belongs to a worker that lives and does not know of it, so nobody would ever run it.
//!
//! So claims are numbered, and before a worker claims again after one that failed, what that took is taken back: in one
//! transaction, which waits until no claim of the worker is under way, every job that the worker holds and this process
//! does not know of goes back unspent, and claims with lower numbers are refused from then on. The numbers of taking back
//! are of the same series, so that one of those which comes late does nothing either.
//!
//! What this process knows of is what [`Held`] has. That is exact only while no claim of this process is under way, which
//! is why claims share a lock that taking back holds alone.

use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use taskwright_core::{Timestamp, WorkerId};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::finish;
use super::held::{Held, Where};
use super::session::{Session, count, get};
use super::worker::{number, shut_out};
use crate::claim::JobKey;
use crate::error::Error;

/// Why a job goes back of which the worker never heard.
const REASON: &str = "the answer to the claim was lost";

/// The claims of one process.
#[derive(Default)]
pub(super) struct Unanswered {
    last_number: AtomicI64,
    /// Whose last claim has failed, as far as anybody can tell.
    workers: Mutex<HashSet<WorkerId>>,
    turn: RwLock<()>,
}

/// A claim that is under way. Dropped without an answer, it counts as unanswered.
pub(super) struct Asked<'a> {
    all: &'a Unanswered,
    worker: WorkerId,
    answered: bool,
    _turn: RwLockReadGuard<'a, ()>,
}

impl Unanswered {
    /// Begins a claim.
    pub(super) async fn ask(&self, worker: WorkerId) -> Asked<'_> {
        Asked { all: self, worker, answered: false, _turn: self.turn.read().await }
    }

    /// Whether a claim of the worker has failed since what it holds was last looked at.
    pub(super) fn has_any(&self, worker: WorkerId) -> bool {
        self.workers().contains(&worker)
    }

    /// Waits until no claim of this process is under way, and lets none begin for as long as the guard lives.
    pub(super) async fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.turn.write().await
    }

    /// Notes that what the worker holds is what is known here.
    pub(super) fn settle(&self, worker: WorkerId) {
        self.workers().remove(&worker);
    }

    /// The next number, of a claim or of taking back.
    pub(super) fn number(&self) -> i64 {
        self.last_number.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn workers(&self) -> MutexGuard<'_, HashSet<WorkerId>> {
        // Each change is complete in itself.
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asked<'_> {
    /// The answer is here, and what it gave is known.
    pub(super) fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.all.workers().insert(self.worker);
        }
    }
}

/// Gives back what the worker holds without knowing, and refuses all of its claims with lower numbers.
pub(super) async fn take_back(
    session: &mut Session<'_>,
    held: &Held,
    now: Timestamp,
    worker: WorkerId,
    turn: i64,
) -> Result<usize, Error> {
    let Some(row) = number(session, worker).await? else { return Ok(0) };
    shut_out(session, row).await?;
    if session.execute(REFUSE_EARLIER, &[&row, &turn]).await? == 0 {
        // It lives no longer, and its jobs have been decided about; or this comes late.
        return Ok(0);
    }
    let rows = session.all(HOLDS, &[&row]).await?;
    let holds = rows
        .iter()
        .map(|row| Ok((JobKey(get(row, 0)?), count(row, 1)?)))
        .collect::<Result<Vec<_>, Error>>()?;
    let places = held.find(worker, holds.iter().map(|(key, _)| key.0));
    let of_unknown = |(job, place): (_, Where)| (place == Where::Unknown).then_some(job);
    let unknown: Vec<_> = holds.into_iter().zip(places).filter_map(of_unknown).collect();
    if !unknown.is_empty() {
        finish::give_back(session, held, now, worker, &unknown, REASON).await?;
    }
    Ok(unknown.len())
}

// The statements of taking back.
pub(super) const REFUSE_EARLIER: &str =
    "UPDATE worker SET claims_from = $2 WHERE worker = $1 AND state = 0 AND claims_from < $2";
pub(super) const HOLDS: &str = "SELECT seq, 1 FROM held WHERE worker = $1
    UNION ALL SELECT seq, attempt FROM running WHERE worker = $1";

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_claim_is_unanswered_from_its_failure_until_that_is_settled() {
        let (all, worker) = (Unanswered::default(), WorkerId::from_parts(1, [1; 10]));
        let asked = all.ask(worker).await;
        assert!(!all.has_any(worker), "it is under way");
        asked.answered();
        assert!(!all.has_any(worker));
        drop(all.ask(worker).await);
        assert!(all.has_any(worker));
        all.ask(worker).await.answered();
        assert!(all.has_any(worker), "another one's answer says nothing of it");
        all.settle(worker);
        assert!(!all.has_any(worker));
    }
}
