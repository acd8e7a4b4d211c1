//! What must hold of every store at every moment, whatever happened to it: asked by tests that kill processes, where
//! nobody can say beforehand which state a job will be in.

use std::collections::{BTreeMap, BTreeSet};

use taskwright_core::{JobId, State};

use crate::{Filter, JobDetail, JobView, Page, Store};

/// Watches a store from one look to the next.
#[derive(Debug, Default)]
pub struct Oracle {
    seen: BTreeMap<JobId, Seen>,
}

/// What must not go back.
#[derive(Clone, Copy, Debug)]
struct Seen {
    state: State,
    attempts: usize,
    moves: usize,
}

impl Oracle {
    /// Looks at every job; others may go on writing meanwhile.
    ///
    /// - A running job has a worker; one that is over has an end; no other has an end or progress.
    /// - Attempts are numbered from 1 without a gap, and only grow.
    /// - The timeline ends in the state of the job, and only grows.
    /// - A job that was over is as it was, unless somebody had it run again.
    ///
    /// # Panics
    ///
    /// When one of these does not hold, with what was seen; or when the store cannot be read.
    pub async fn look(&mut self, store: &dyn Store) {
        for view in all(store, Filter::default()).await {
            // It may have been removed since the listing.
            if let Some(detail) = store.job(view.id).await.expect("the job is read") {
                self.look_at(&detail);
            }
        }
    }

    /// As [`look`](Self::look), while nobody writes: then also, every job is in exactly one state.
    ///
    /// # Panics
    ///
    /// As [`look`](Self::look).
    pub async fn look_at_rest(&mut self, store: &dyn Store) {
        let everything = all(store, Filter::default()).await;
        let ids: BTreeSet<JobId> = everything.iter().map(|job| job.id).collect();
        assert_eq!(ids.len(), everything.len(), "a job is listed twice");
        let mut found = BTreeSet::new();
        for state in State::ALL {
            for job in all(store, Filter { states: vec![state], ..Filter::default() }).await {
                assert_eq!(job.state, state, "a listing of {state} shows {job:?}");
                assert!(found.insert(job.id), "a job is in two states: {job:?}");
            }
        }
        assert_eq!(found, ids, "every job is in a state");
        self.look(store).await;
    }

    fn look_at(&mut self, detail: &JobDetail) {
        check_view(&detail.view);
        check_history(detail);
        let state = detail.view.state;
        let now = Seen { state, attempts: detail.attempts.len(), moves: detail.timeline.len() };
        if let Some(before) = self.seen.insert(detail.view.id, now) {
            assert!(before.attempts <= now.attempts, "an attempt was lost: {before:?} {detail:#?}");
            if before.state.is_terminal() {
                let since = detail.timeline.get(before.moves..).expect("a timeline only grows");
                let left = since.iter().any(|entry| !entry.to.is_terminal());
                assert!(left || before.state == state, "it was over and has moved: {before:?} {detail:#?}");
                assert!(since.first().is_none_or(|entry| entry.cause == Some(taskwright_core::Cause::Redo)));
            }
        }
    }
}

fn check_view(view: &JobView) {
    let running = view.state == State::Running;
    assert_eq!(view.ended_at.is_some(), view.state.is_terminal(), "{view:#?}");
    assert!(!running || (view.worker.is_some() && view.claimed_at.is_some()), "{view:#?}");
    assert!(running || view.progress.is_none(), "{view:#?}");
    let told = match view.state {
        State::Cancelled => Some(true),
        State::Running | State::Completed | State::Failed => None,
        _ => Some(false),
    };
    assert!(told.is_none_or(|told| view.cancel_requested == told), "{view:#?}");
    assert_eq!(view.host.is_some(), view.worker.is_some(), "{view:#?}");
}

fn check_history(detail: &JobDetail) {
    let numbers: Vec<u32> = detail.attempts.iter().map(|record| record.attempt).collect();
    let used = u32::try_from(numbers.len()).expect("attempts are limited");
    assert_eq!(numbers, (1..=used).collect::<Vec<_>>(), "{detail:#?}");
    let running = u32::from(detail.view.state == State::Running);
    assert_eq!(detail.view.attempt, used + running, "{detail:#?}");
    // A job that was taken from its attempt runs again, also after the last one.
    let is_freed = |error: &String| error.starts_with("freed by ");
    let freed = detail.attempts.iter().filter(|record| record.error.as_ref().is_some_and(is_freed)).count();
    let counted = used - u32::try_from(freed).expect("attempts are limited");
    let allowed = counted == 0 || detail.view.max_attempts.allows_after(counted - 1);
    assert!(allowed, "more executions than allowed: {detail:#?}");
    let last = detail.timeline.last().expect("every job was created");
    assert_eq!(last.to, detail.view.state, "the timeline ends elsewhere: {detail:#?}");
}

/// All jobs that match.
async fn all(store: &dyn Store, filter: Filter) -> Vec<JobView> {
    let mut found = Vec::new();
    let mut page = Page { after: None, limit: 1_000, oldest_first: true };
    loop {
        let paged = store.list(filter.clone(), page).await.expect("the jobs are listed");
        found.extend(paged.jobs);
        page.after = paged.next;
        if page.after.is_none() {
            return found;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::conformance::fixture::*;
    use crate::memory::MemoryStore;

    /// A job that has failed once and then completed.
    async fn completed_job() -> JobDetail {
        let process = Process::of(Arc::new(MemoryStore::new()));
        let worker = process.worker(1).await;
        process.enqueue(0, [job(1)]).await;
        let first = worker.take(1).await;
        worker.end(2, &first, failed("boom")).await;
        process.promote(20).await;
        let second = worker.take(21).await;
        worker.end(22, &second, completed()).await;
        process.detail(1).await
    }

    #[tokio::test]
    async fn a_sound_job_may_be_looked_at_again_and_again() {
        let detail = completed_job().await;
        let mut oracle = Oracle::default();
        oracle.look_at(&detail);
        oracle.look_at(&detail);
    }

    #[tokio::test]
    #[should_panic(expected = "an attempt was lost")]
    async fn an_attempt_that_is_gone_is_noticed() {
        let mut detail = completed_job().await;
        let mut oracle = Oracle::default();
        oracle.look_at(&detail);
        detail.attempts.pop();
        detail.view.attempt = 1;
        oracle.look_at(&detail);
    }

    #[tokio::test]
    #[should_panic(expected = "it was over and has moved")]
    async fn a_job_that_leaves_its_end_by_itself_is_noticed() {
        let mut detail = completed_job().await;
        let mut oracle = Oracle::default();
        oracle.look_at(&detail);
        detail.view.state = State::Failed;
        detail.timeline.last_mut().unwrap().to = State::Failed;
        oracle.look_at(&detail);
    }

    #[tokio::test]
    #[should_panic(expected = "the timeline ends elsewhere")]
    async fn a_move_that_nothing_tells_of_is_noticed() {
        let mut detail = completed_job().await;
        (detail.view.state, detail.view.cancel_requested) = (State::Cancelled, true);
        Oracle::default().look_at(&detail);
    }

    #[tokio::test]
    #[should_panic(expected = "more executions than allowed")]
    async fn an_execution_too_many_is_noticed() {
        let mut detail = completed_job().await;
        detail.view.max_attempts = taskwright_core::MaxAttempts::limited(1).unwrap();
        Oracle::default().look_at(&detail);
    }
}
