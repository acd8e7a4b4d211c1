//! Pruning: what is over goes after its time, and nothing else does.

use std::time::Duration;

use taskwright_core::attempt::Outcome;
use taskwright_core::{Garbage, NewJob, Retention, State, UniqueScope};

use super::Harness;
use super::fixture::*;
use crate::{
    Change, Changed, Collect, Collected, ExecutionFilter, ExecutionPage, Filter, Finish, LogEntry, LogStream,
    WorkerState,
};

const WEEK_S: u64 = 7 * 86_400;

pub async fn what_is_not_over_is_never_removed(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=2)).await;
    let held = worker.claim_all(1).await;
    worker.end(2, &held[0], failed("boom")).await;
    let batch = [job(3), NewJob { held: true, ..job(4) }, NewJob { run_at: Some(at(9)), ..job(5) }];
    process.enqueue(2, batch).await;
    let pruned = process.prune(1_000_000_000, keep_nothing()).await;
    assert_eq!(pruned.jobs, 0);
    assert_eq!(process.list(Filter::default()).await, [1, 2, 3, 4, 5]);
}

pub async fn each_state_is_kept_as_long_as_it_is_to_be(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [NewJob { held: true, ..job(4) }]).await;
    process.promote(3_600).await;
    process.enqueue(3_600, jobs(1..=3)).await;
    let held = worker.claim(worker.ask(3_600, 2)).await;
    worker.end(3_600, &held[0], completed()).await;
    worker.end(3_600, &held[1], Outcome::Fail { error: "bad".to_owned() }).await;
    process.change(3_600, 3, Change::Cancel).await;
    let seconds = |n| Some(Duration::from_secs(n));
    let keep = keep_nothing()
        .with(Garbage::Completed, seconds(10))
        .with(Garbage::Failed, seconds(20))
        .with(Garbage::Cancelled, seconds(30))
        .with(Garbage::Dropped, seconds(40));
    for (n, days) in [(1, 10), (2, 20), (3, 30), (4, 40)] {
        assert_eq!(process.prune(3_600 + days, keep).await.jobs, 0, "job {n} is not over for long enough");
        assert_eq!(process.prune(3_601 + days, keep).await.jobs, 1);
        assert!(!process.has(n).await);
    }
}

pub async fn what_is_to_be_kept_for_ever_is(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, [job(1)]).await;
    process.change(1, 1, Change::Cancel).await;
    let keep = keep_nothing().with(Garbage::Cancelled, None);
    assert_eq!(process.prune(1_000_000_000, keep).await.jobs, 0);
    assert_eq!(process.state(1).await, State::Cancelled);
}

pub async fn a_removed_job_leaves_nothing_behind(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [NewJob { unique: unique("k", UniqueScope::Active), ..job(1) }]).await;
    let held = worker.take(1).await;
    let entry = LogEntry {
        key: held.key,
        attempt: 1,
        at: at(1),
        stream: LogStream::Stdout,
        bytes: b"hello".to_vec(),
    };
    process.store().log(worker.id, vec![entry]).await.expect("logged");
    worker.end(2, &held, completed()).await;
    assert_eq!(process.prune(4, keep_nothing()).await.jobs, 1);
    assert!(!process.has(1).await);
    assert_eq!(process.store().logs(id(1), 0, 9).await.expect("read"), []);
    let again = process.enqueue(5, [NewJob { unique: unique("k", UniqueScope::Active), ..job(1) }]).await;
    assert!(!again[0].existing);
    let detail = process.detail(1).await;
    assert_eq!((detail.timeline.len(), detail.attempts.len()), (1, 0));
    assert_eq!(process.store().logs(id(1), 0, 9).await.expect("read"), []);
}

pub async fn a_removed_job_takes_nothing_of_those_that_ended_with_it(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=6)).await;
    let held = worker.claim_all(1).await;
    let ends = held.iter().map(|job| Finish {
        started_at: at(10 + u64::from(number(job.id))),
        ended_at: at(20 + u64::from(number(job.id))),
        ..ending(30, job, completed())
    });
    worker.finish(30, ends.collect()).await;
    for gone in [3, 1, 6] {
        assert_eq!(process.change(31, gone, Change::Delete).await, Changed::Done);
    }
    for stays in [2, 4, 5] {
        let detail = process.detail(stays).await;
        assert_eq!((detail.view.state, detail.attempts.len()), (State::Completed, 1), "job {stays}");
        let times = (detail.attempts[0].started_at, detail.attempts[0].ended_at);
        assert_eq!(times, (Some(at(10 + u64::from(stays))), at(20 + u64::from(stays))), "job {stays}");
    }
    let page = ExecutionPage { after: None, limit: 9 };
    let left = process.store().executions(ExecutionFilter::default(), page).await.expect("read");
    assert_eq!(left.executions.iter().map(|one| number(one.job)).collect::<Vec<_>>(), [5, 4, 2]);
    assert_eq!(process.list(Filter::default()).await, [2, 4, 5]);
}

pub async fn a_job_that_was_redone_is_not_removed_for_its_earlier_end(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=2)).await;
    for held in worker.claim_all(1).await {
        worker.end(2, &held, completed()).await;
    }
    process.change(3, 1, Change::Redo { repeat: true }).await;
    assert_eq!(process.prune(100, keep_nothing()).await.jobs, 1);
    assert_eq!(process.list(Filter::default()).await, [1]);
}

pub async fn a_pruning_in_small_steps_removes_everything(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=50)).await;
    let ends = worker.claim_all(1).await.into_iter();
    let ends = ends.filter(|job| !number(job.id).is_multiple_of(3)).map(|job| ending(2, &job, completed()));
    worker.finish(2, ends.collect()).await;
    assert_eq!(process.collect(Garbage::Completed, at(99), 7).await, 34);
    let left: Vec<u32> = (1..=50).filter(|n| n % 3 == 0).collect();
    assert_eq!(process.list(Filter::default()).await, left);
}

pub async fn a_worker_that_is_gone_for_a_week_is_forgotten(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let (stopped, living) = (process.worker(1).await, process.worker(2).await);
    process.enqueue(0, [job(1)]).await;
    let held = stopped.take(1).await;
    stopped.end(2, &held, completed()).await;
    stopped.unregister(10).await;
    let keep = Retention::default();
    assert_eq!(process.prune(10 + WEEK_S, keep).await.workers, 0);
    assert_eq!(process.prune(11 + WEEK_S, keep).await.workers, 1);
    assert_eq!(process.prune(11 + WEEK_S, keep).await.workers, 0);
    let left = process.store().workers().await.expect("read");
    assert_eq!(left.iter().map(|worker| worker.id).collect::<Vec<_>>(), [living.id]);
    // The living one has been silent for as long; only a reclaim says that it is lost.
    assert_eq!(left[0].state, WorkerState::Alive);
}

pub async fn an_attempt_still_names_a_worker_that_was_forgotten(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    let name = worker.id;
    process.enqueue(0, [job(1)]).await;
    let held = worker.take(1).await;
    worker.end(2, &held, failed("boom")).await;
    worker.unregister(3).await;
    assert_eq!(process.prune(10 + WEEK_S, Retention::default()).await.workers, 1);
    let detail = process.detail(1).await;
    assert_eq!((detail.view.worker, detail.attempts[0].worker), (Some(name), name));
}

/// PH-X9: 250 garbage rows are removed in batches: more, more, done.
pub async fn ph_x9_garbage_goes_in_batches_until_none_is_left(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, jobs(1..=250)).await;
    for first in [1, 101, 201] {
        let ids = (first..first + 100).filter(|n| *n <= 250).map(id).collect();
        process.store().change(at(1), ids, Change::Cancel, alice(), None).await.expect("cancelled");
    }
    let mut collect =
        Collect { garbage: Garbage::Cancelled, before: at(9), after: None, limit: 100, dry_run: false };
    let mut told = Vec::new();
    for _ in 0..3 {
        let collected = process.store().collect(collect).await.expect("collected");
        told.push((collected.rows, collected.more));
        collect.after = collected.next;
    }
    assert_eq!(told, [(100, true), (100, true), (50, false)]);
    assert!(process.list(Filter::default()).await.is_empty());
}

pub async fn a_dry_run_tells_what_would_go_and_removes_nothing(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=6)).await;
    let held = worker.claim(worker.ask(1, 3)).await;
    worker.finish(2, held.iter().map(|job| ending(2, job, completed())).collect()).await;
    process.change(2, 5, Change::Cancel).await;
    for (garbage, old) in [(Garbage::Completed, vec![1, 2, 3]), (Garbage::Cancelled, vec![5])] {
        for (before, old) in [(at(9), old), (at(2), Vec::new())] {
            let collect = Collect { garbage, before, after: None, limit: 100, dry_run: true };
            let told = process.store().collect(collect).await.expect("looked at");
            assert_eq!(told.jobs.iter().map(|id| number(*id)).collect::<Vec<_>>(), old);
            assert_eq!((told.rows, told.more), (old.len(), false), "{garbage}");
        }
    }
    assert_eq!(process.list(Filter::default()).await, [1, 2, 3, 4, 5, 6]);
    let others = [
        Garbage::Failed,
        Garbage::Dropped,
        Garbage::Firings,
        Garbage::Events,
        Garbage::Deliveries,
        Garbage::Sources,
        Garbage::Workers,
        Garbage::Minutes,
        Garbage::Hours,
    ];
    for garbage in others {
        let collect = Collect { garbage, before: at(9), after: None, limit: 100, dry_run: true };
        assert_eq!(process.store().collect(collect).await.expect("looked at"), Collected::default());
    }
}
