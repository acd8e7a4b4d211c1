//! A job that is handed to a worker as it is stored.

use taskwright_core::{NewJob, Priority, State, Verdict};

use super::Harness;
use super::fixture::*;
use crate::{Change, Claim, Claimed, Enqueued};

/// A process with a lane that has had a job.
async fn begin(harness: &impl Harness) -> Process {
    let process = Process::start(harness).await;
    let worker = process.worker(100).await;
    process.enqueue(0, [job(1_000)]).await;
    worker.end(0, &worker.take(0).await, completed()).await;
    worker.unregister(0).await;
    process
}

async fn hand(process: &Process, job: NewJob, claim: Claim) -> (Enqueued, Claimed) {
    process.store().enqueue_to(claim.now, job, claim).await.expect("the job is stored")
}

pub async fn a_job_is_handed_over_as_it_is_stored(harness: &impl Harness) {
    let process = begin(harness).await;
    let (worker, other) = (process.worker(1).await, process.worker(2).await);
    let (stored, claimed) = hand(&process, job(1), worker.ask(7, 1)).await;
    assert_eq!(stored, Enqueued { id: id(1), existing: false });
    assert_eq!(numbers(&claimed.jobs), [1]);
    let view = process.view(1).await;
    assert_eq!((view.state, view.attempt, view.worker), (State::Running, 1, Some(worker.id)));
    assert_eq!((view.created_at, view.claimed_at, view.run_at), (at(7), Some(at(7)), at(7)));
    assert_eq!(numbers(&other.claim_all(8).await), NONE, "it has a worker");
    // It is given as a claim would give it.
    process.enqueue(7, [job(2)]).await;
    let [usual] = &worker.claim_all(7).await[..] else { panic!("one job") };
    let mut alike = claimed.jobs[0].clone();
    (alike.key, alike.id, alike.args) = (usual.key, usual.id, usual.args.clone());
    assert_eq!(alike, *usual);
    assert_eq!(worker.end(9, &claimed.jobs[0], completed()).await, Verdict::Accepted);
    assert_eq!(worker.end(9, usual, completed()).await, Verdict::Accepted);
    let detail = process.detail(1).await;
    assert_eq!((detail.view.state, detail.attempts.len()), (State::Completed, 1));
}

pub async fn what_was_handed_over_can_be_given_back_and_tried_again(harness: &impl Harness) {
    let process = begin(harness).await;
    let worker = process.worker(1).await;
    let (_, claimed) = hand(&process, job(1), worker.ask(1, 1)).await;
    worker.give_back(2, &claimed.jobs[0]).await;
    let again = worker.take(3).await;
    assert_eq!((again.id, again.attempt), (id(1), 1));
    worker.end(4, &again, failed("boom")).await;
    assert_eq!(process.state(1).await, State::Retryable);

    let (_, claimed) = hand(&process, job(2), worker.ask(5, 1)).await;
    process.change(6, 2, Change::Cancel).await;
    assert!(process.view(2).await.cancel_requested);
    assert_eq!(worker.end(7, &claimed.jobs[0], completed()).await, Verdict::Accepted);
}

pub async fn what_a_lost_worker_was_handed_goes_to_another(harness: &impl Harness) {
    let (process, doomed) = (begin(harness).await, Process::start(harness).await);
    let worker = doomed.worker(1).await;
    // The lane is known to this process, too.
    doomed.enqueue(1, [job(9)]).await;
    worker.end(1, &worker.take(1).await, completed()).await;
    let (_, claimed) = hand(&doomed, job(1), worker.ask(1, 1)).await;
    assert_eq!(numbers(&claimed.jobs), [1]);
    drop(worker);
    drop(doomed);
    assert_eq!(process.reclaim(2).await.workers.len(), 1);
    assert_eq!(numbers(&process.worker(2).await.claim_all(3).await), [1]);
}

pub async fn nothing_overtakes_what_waits_in_its_lane(harness: &impl Harness) {
    let process = begin(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(1, jobs(1..=2)).await;
    let (_, claimed) = hand(&process, job(3), worker.ask(1, 1)).await;
    let mut order = numbers(&claimed.jobs);
    order.extend(numbers(&worker.claim_all(2).await));
    assert_eq!(order, [1, 2, 3]);

    // Also what has been tried before, and is ready again.
    let (_, claimed) = hand(&process, job(4), worker.ask(3, 1)).await;
    worker.give_back(3, &claimed.jobs[0]).await;
    let (_, claimed) = hand(&process, job(5), worker.ask(4, 1)).await;
    let mut order = numbers(&claimed.jobs);
    order.extend(numbers(&worker.claim_all(4).await));
    assert_eq!(order, [4, 5]);
}

pub async fn a_job_goes_to_the_queue_when_the_worker_may_not_have_it(harness: &impl Harness) {
    let process = begin(harness).await;
    let worker = process.worker(1).await;
    let elsewhere = Claim { kinds: vec![kind("report")], ..worker.ask(1, 1) };
    let urgent = Claim { priority_max: Some(Priority(-1)), ..worker.ask(1, 1) };
    let nothing = worker.ask(1, 0);
    for (n, claim) in [(1, elsewhere), (2, urgent), (3, nothing)] {
        let (stored, claimed) = hand(&process, NewJob { priority: Priority(0), ..job(n) }, claim).await;
        assert_eq!((stored, claimed), (Enqueued { id: id(n), existing: false }, Claimed::default()));
        assert_eq!(process.state(n).await, State::Available);
    }
    let delayed = NewJob { run_at: Some(at(60)), ..job(4) };
    assert_eq!(hand(&process, delayed, worker.ask(1, 0)).await.0.id, id(4));
    assert_eq!(process.state(4).await, State::Scheduled);
    assert_eq!(numbers(&worker.claim_all(2).await), [1, 2, 3]);
}

pub async fn a_job_for_a_worker_that_is_gone_goes_to_the_queue(harness: &impl Harness) {
    let process = begin(harness).await;
    let gone = process.worker(1).await;
    let claim = gone.ask(1, 1);
    gone.unregister(1).await;
    let unknown = Claim { worker: worker_id(77), ..claim.clone() };
    for (n, claim) in [(1, claim), (2, unknown)] {
        let (stored, claimed) = hand(&process, job(n), claim).await;
        assert_eq!((stored, claimed), (Enqueued { id: id(n), existing: false }, Claimed::default()));
    }
    assert_eq!(numbers(&process.worker(2).await.claim_all(2).await), [1, 2]);
}

pub async fn a_job_of_a_paused_queue_waits_there(harness: &impl Harness) {
    let process = begin(harness).await;
    let worker = process.worker(1).await;
    let pause = |paused| process.store().pause(at(1), namespace("default"), queue("default"), paused, alice());
    pause(true).await.expect("it is paused");
    let (_, claimed) = hand(&process, job(1), worker.ask(1, 1)).await;
    assert_eq!((claimed, process.state(1).await), (Claimed::default(), State::Available));
    pause(false).await.expect("it goes on");
    assert_eq!(numbers(&worker.claim_all(2).await), [1]);
}

pub async fn a_job_that_is_stored_already_is_handed_over_to_nobody(harness: &impl Harness) {
    let process = begin(harness).await;
    let worker = process.worker(1).await;
    let (_, claimed) = hand(&process, job(1), worker.ask(1, 1)).await;
    let (stored, again) = hand(&process, job(1), worker.ask(2, 1)).await;
    assert_eq!((stored, again), (Enqueued { id: id(1), existing: true }, Claimed::default()));
    worker.end(3, &claimed.jobs[0], completed()).await;
    let (stored, again) = hand(&process, job(1), worker.ask(4, 1)).await;
    assert_eq!((stored, again), (Enqueued { id: id(1), existing: true }, Claimed::default()));
    assert_eq!(process.detail(1).await.attempts.len(), 1);
}

pub async fn many_are_handed_over_between_claims_and_each_runs_once(harness: &impl Harness) {
    let process = begin(harness).await;
    let (one, two) = (process.worker(1).await, process.worker(2).await);
    let mut ran = Vec::new();
    for n in 1..=300 {
        let worker = if n % 3 == 0 { &two } else { &one };
        let mut held = match n % 5 {
            0 => {
                process.enqueue(1, [job(n)]).await;
                Vec::new()
            }
            _ => hand(&process, job(n), worker.ask(1, 1)).await.1.jobs,
        };
        if n % 7 == 0 {
            held.extend(worker.claim_all(1).await);
        }
        ran.extend(numbers(&held));
        worker.finish(2, held.iter().map(|job| ending(2, job, completed())).collect()).await;
    }
    let held = one.claim_all(3).await;
    ran.extend(numbers(&held));
    one.finish(3, held.iter().map(|job| ending(3, job, completed())).collect()).await;
    ran.sort_unstable();
    assert_eq!(ran, (1..=300).collect::<Vec<_>>());
    for n in [1, 150, 299, 300] {
        assert_eq!(process.state(n).await, State::Completed);
    }
}
