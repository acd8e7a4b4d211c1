//! Roll-ups: each end of an attempt is counted once, in its minute and its hour, whatever becomes of its job.

use std::time::Duration;

use taskwright_core::attempt::AttemptEnd;
use taskwright_core::generator::ItemEnd;
use taskwright_core::{Garbage, Grain, NewJob, Outcome, RollUp, Timestamp};

use super::fixture::*;
use super::{Harness, generator};
use crate::{
    Change, GeneratorCommit, Pattern, Progress, ProgressReport, RollUpFilter, RollUpPlace, SettledItem,
};

/// Everything of this grain.
fn all(grain: Grain) -> RollUpFilter {
    RollUpFilter {
        grain,
        from: at(0).minus(Duration::from_secs(86_400)),
        to: at(1_000_000),
        namespace: None,
        kinds: Vec::new(),
        queues: Vec::new(),
    }
}

async fn roll_ups(process: &Process, filter: RollUpFilter, limit: usize) -> Vec<(RollUpPlace, RollUp)> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = process.store().roll_ups(filter.clone(), after, limit).await.expect("roll-ups are read");
        assert!(page.roll_ups.len() <= limit);
        found.extend(page.roll_ups);
        after = page.next;
        if after.is_none() {
            return found;
        }
    }
}

/// When each span begins, the queue, the kind, and how many ended in it.
async fn told(process: &Process, grain: Grain) -> Vec<(Timestamp, String, String, u64)> {
    let found = roll_ups(process, all(grain), 100).await;
    let line = |(place, sum): (RollUpPlace, RollUp)| {
        (place.at, place.queue.to_string(), place.kind.to_string(), sum.executions())
    };
    found.into_iter().map(line).collect()
}

/// How many ended at all, by the roll-ups of either grain.
async fn counted(process: &Process) -> u64 {
    let [minutes, hours] = Grain::ALL.map(|grain| told(process, grain));
    let sum = |lines: Vec<(Timestamp, String, String, u64)>| lines.iter().map(|line| line.3).sum::<u64>();
    let (minutes, hours) = (sum(minutes.await), sum(hours.await));
    assert_eq!(minutes, hours);
    minutes
}

/// Claims everything, and completes it together.
async fn complete_all(worker: &Worker<'_>, now: u64) -> usize {
    let claimed = worker.claim_all(now).await;
    worker.finish(now, claimed.iter().map(|job| ending(now, job, completed())).collect()).await;
    claimed.len()
}

pub async fn each_end_is_in_the_roll_ups_of_its_minute_and_its_hour(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    let report = NewJob { queue: queue("slow"), kind: kind("report"), ..job(3) };
    process.enqueue(0, [job(1), job(2), report]).await;
    let held = worker.claim_all(5).await;
    worker.finish(10, held[..2].iter().map(|job| ending(10, job, completed())).collect()).await;
    worker.end(3_700, &held[2], Outcome::Fail { error: "no".to_owned() }).await;
    assert_eq!(process.roll_up().await, 3);

    let line = |grain: Grain, now, queue: &str, kind: &str, count| {
        (grain.start(at(now)), queue.to_owned(), kind.to_owned(), count)
    };
    for grain in Grain::ALL {
        let both = [line(grain, 10, "default", "mail", 2), line(grain, 3_700, "slow", "report", 1)];
        assert_eq!(told(&process, grain).await, both);
    }
    let [mail, report] = roll_ups(&process, all(Grain::Minute), 100).await.try_into().expect("two");
    let seconds = |n| Some(Duration::from_secs(n));
    assert_eq!((mail.1.ended(AttemptEnd::Completed), mail.1.failures()), (2, 0));
    assert_eq!((mail.1.run.mean(), mail.1.wait.mean()), (seconds(5), seconds(5)));
    assert_eq!((report.1.ended(AttemptEnd::Failed), report.1.run.mean()), (1, seconds(3_695)));
}

pub async fn what_is_rolled_up_is_counted_once_however_often_it_is_asked(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    assert_eq!(process.roll_up().await, 0);
    for round in 0..3 {
        process.enqueue(round, jobs((1 + 20 * round as u32)..=(20 + 20 * round as u32))).await;
        let failing = worker.take(round).await;
        worker.end(round, &failing, failed("boom")).await;
        assert_eq!(complete_all(&worker, round).await, 19);
        assert_eq!(process.roll_up().await, 20);
        assert_eq!(process.roll_up().await, 0);
    }
    assert_eq!(counted(&process).await, 60);
}

pub async fn what_was_removed_before_it_was_rolled_up_is_counted(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=30)).await;
    let lost = worker.take(1).await;
    worker.end(2, &lost, Outcome::Fail { error: "no".to_owned() }).await;
    assert_eq!(complete_all(&worker, 2).await, 29);
    process.change(3, 7, Change::Delete).await;
    assert_eq!(process.prune(9, keep_nothing()).await.jobs, 29);
    assert_eq!(process.roll_up().await, 30);
    let [(_, sum)] = roll_ups(&process, all(Grain::Hour), 9).await.try_into().expect("one");
    assert_eq!((sum.ended(AttemptEnd::Completed), sum.ended(AttemptEnd::Failed)), (29, 1));
    assert_eq!((sum.run.count(), sum.wait.count()), (30, 30));
}

pub async fn what_was_removed_after_it_was_rolled_up_is_not_counted_again(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=30)).await;
    complete_all(&worker, 2).await;
    assert_eq!(process.roll_up().await, 30);
    process.change(3, 7, Change::Delete).await;
    assert_eq!(process.prune(9, keep_nothing()).await.jobs, 29);
    assert_eq!(process.roll_up().await, 0);
    assert_eq!(counted(&process).await, 30);
}

pub async fn items_of_generators_are_counted_though_they_go_at_once(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.store().put_generators(at(0), vec![generator::generator("feed", 0)]).await.expect("known");
    let taken = generator::take(&process, 0).await;
    let items = (1..=5).map(generator::item).collect();
    assert!(generator::commit(&process, 0, GeneratorCommit { items, ..generator::commit_of(&taken, 0) }).await);
    let claimed = worker.claim_all(1).await;
    assert_eq!(claimed.len(), 5);
    worker.finish(2, claimed.iter().map(|job| ending(2, job, completed())).collect()).await;
    let taken = generator::take(&process, 2).await;
    let settled = claimed.iter().map(|job| SettledItem { job: job.id, end: ItemEnd::Completed }).collect();
    assert!(generator::commit(&process, 2, GeneratorCommit { settled, ..generator::commit_of(&taken, 2) }).await);
    assert!(!process.has(1).await);
    assert_eq!(process.roll_up().await, 5);
    let [line] = told(&process, Grain::Minute).await.try_into().expect("one");
    assert_eq!((line.1.as_str(), line.3), ("generator:feed", 5));
}

pub async fn a_job_that_is_run_again_counts_once_more(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    for (now, rolls_up) in [(1, false), (3, true), (5, true)] {
        assert_eq!(complete_all(&worker, now).await, 1);
        process.change(now + 1, 1, Change::Redo { repeat: true }).await;
        if rolls_up {
            process.roll_up().await;
        }
    }
    assert_eq!(counted(&process).await, 3);
}

pub async fn what_does_not_count_as_an_attempt_is_not_counted(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=3)).await;
    let held = worker.claim_all(1).await;
    worker.give_back(2, &held[0]).await;
    worker.end(2, &held[1], Outcome::Snooze { delay: Duration::from_secs(60) }).await;
    process.change(2, 1, Change::Cancel).await;
    assert_eq!(process.roll_up().await, 0);
    worker.end(4, &held[2], completed()).await;
    assert_eq!(process.roll_up().await, 1);
}

pub async fn two_processes_that_roll_up_count_each_end_once(harness: &impl Harness) {
    let (one, other) = (Process::start(harness).await, Process::start(harness).await);
    let worker = one.worker(1).await;
    let mut counted_by_both = 0;
    for round in 0..4 {
        let first = 1 + 25 * round as u32;
        one.enqueue(round, jobs(first..=first + 24)).await;
        complete_all(&worker, round).await;
        let (here, there) = both(one.roll_up(), other.roll_up()).await;
        counted_by_both += here + there;
    }
    counted_by_both += one.roll_up().await;
    assert_eq!((counted_by_both, counted(&other).await), (100, 100));
}

/// Waits for both.
async fn both<A, B>(one: impl Future<Output = A>, other: impl Future<Output = B>) -> (A, B) {
    tokio::join!(one, other)
}

pub async fn a_retry_waits_from_its_moment_and_a_requeued_job_from_the_loss(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let held = worker.take(3).await;
    worker.end(4, &held, failed("boom")).await;
    process.promote(14).await;
    let held = worker.start(20).await;
    drop(worker);
    // It starts at 20, 6 s after its moment; its worker is silent for longer than its lease, and is found lost at 60.
    process.reclaim(60).await;
    let other = process.worker_at(60, 2).await;
    let again = other.take(63).await;
    assert_eq!(again.id, held.id);
    other.end(64, &again, completed()).await;
    assert_eq!(process.roll_up().await, 3);
    let [(_, sum)] = roll_ups(&process, all(Grain::Hour), 9).await.try_into().expect("one");
    // 3 s, 6 s, and 3 s.
    assert_eq!((sum.wait.count(), sum.wait.total()), (3, Duration::from_secs(12)));
    assert_eq!((sum.run.count(), sum.run.total()), (2, Duration::from_secs(2)), "{sum:?}");
    assert_eq!(sum.ended(AttemptEnd::Lost), 1);
}

pub async fn what_was_claimed_together_counts_as_long_as_each_has_waited(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=3)).await;
    process.enqueue(4, [job(4), job(5), NewJob { kind: kind("report"), ..job(6) }]).await;
    let held = worker.claim_all(10).await;
    let by_number = |n: u32| held.iter().find(|job| number(job.id) == n).expect("claimed");
    // One fails, one is freed, one leaves more than its times, one has its report and then completes, two just complete.
    worker.end(11, by_number(2), Outcome::Fail { error: "no".to_owned() }).await;
    process.change(11, 3, Change::Free).await;
    let report = ProgressReport { key: by_number(1).key, attempt: 1, at: at(11), progress: Progress::default() };
    process.store().report(worker.id, vec![report]).await.expect("reported");
    let mut ends = vec![ending(12, by_number(5), Outcome::Completed { result: Some("1".to_owned()) })];
    ends.extend([6, 1, 4].map(|n| ending(12, by_number(n), completed())));
    worker.finish(12, ends).await;
    assert_eq!(process.roll_up().await, 6);
    let [(mail, mails), (report, reports)] =
        roll_ups(&process, all(Grain::Hour), 9).await.try_into().expect("two");
    assert_eq!((mail.kind, report.kind), (kind("mail"), kind("report")));
    // Three waited for 10 s, and three for 6 s.
    assert_eq!((mails.wait.count(), mails.wait.total()), (5, Duration::from_secs(3 * 10 + 2 * 6)));
    assert_eq!((reports.wait.count(), reports.wait.total()), (1, Duration::from_secs(6)));
    assert_eq!((mails.ended(AttemptEnd::Completed), mails.ended(AttemptEnd::Lost)), (3, 1));
}

pub async fn roll_ups_are_told_page_by_page_by_what_they_are_about(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    let of = |n, space: &str, lane: &str, of_kind: &str| NewJob {
        namespace: namespace(space),
        queue: queue(lane),
        kind: kind(of_kind),
        ..job(n)
    };
    process
        .enqueue(0, [of(1, "a", "q", "mail"), of(2, "b", "q", "mail"), of(3, "a", "r", "mail"), of(4, "a", "q", "report")])
        .await;
    let held = worker.claim_all(1).await;
    for (job, now) in held.iter().zip([300, 100, 200, 100]) {
        worker.end(now, job, completed()).await;
    }
    assert_eq!(process.roll_up().await, 4);
    let whole = roll_ups(&process, all(Grain::Minute), 100).await;
    assert_eq!(whole.len(), 4);
    assert!(whole.is_sorted_by_key(|(place, _)| place.clone()), "{whole:?}");
    for limit in 1..=4 {
        assert_eq!(roll_ups(&process, all(Grain::Minute), limit).await, whole);
    }
    let count = async |filter| roll_ups(&process, filter, 2).await.len();
    let minutes = || all(Grain::Minute);
    assert_eq!(count(RollUpFilter { namespace: Some(namespace("b")), ..minutes() }).await, 1);
    assert_eq!(count(RollUpFilter { kinds: vec![Pattern::new("re*")], ..minutes() }).await, 1);
    assert_eq!(count(RollUpFilter { queues: vec![Pattern::new("q")], ..minutes() }).await, 3);
    let from = Grain::Minute.start(at(100));
    assert_eq!(count(RollUpFilter { from, to: from.plus(Duration::from_secs(60)), ..minutes() }).await, 2);
}

pub async fn roll_ups_of_spans_that_are_over_for_long_go(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=3)).await;
    let held = worker.claim_all(1).await;
    for (job, now) in held.iter().zip([10, 3_610, 7_210]) {
        worker.end(now, job, completed()).await;
    }
    process.roll_up().await;
    let start = Grain::Minute.start(at(3_610));
    assert_eq!(process.collect(Garbage::Minutes, start, 100).await, 1);
    assert_eq!((told(&process, Grain::Minute).await.len(), told(&process, Grain::Hour).await.len()), (2, 3));
    assert_eq!(process.collect(Garbage::Hours, at(1_000_000), 2).await, 3);
    assert_eq!((told(&process, Grain::Minute).await.len(), told(&process, Grain::Hour).await.len()), (2, 0));
}
