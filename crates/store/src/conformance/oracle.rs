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
    assert!(running || (view.progress.is_none() && !view.cancel_requested), "{view:#?}");
}

fn check_history(detail: &JobDetail) {
    let numbers: Vec<u32> = detail.attempts.iter().map(|record| record.attempt).collect();
    let used = u32::try_from(numbers.len()).expect("attempts are limited");
    assert_eq!(numbers, (1..=used).collect::<Vec<_>>(), "{detail:#?}");
    let running = u32::from(detail.view.state == State::Running);
    assert_eq!(detail.view.attempt, used + running, "{detail:#?}");
    let allowed = used == 0 || detail.view.max_attempts.allows_after(used - 1);
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
