//! What was executed.

use std::time::Duration;

use taskwright_core::attempt::AttemptEnd;
use taskwright_core::limit::ERROR_BYTES_MAX;
use taskwright_core::{NewJob, Outcome, Usage};

use super::Harness;
use super::fixture::*;
use crate::{Change, Execution, ExecutionFilter, ExecutionPage, Pattern, Statistics};

/// All executions that match, in pages of this size.
async fn in_pages(process: &Process, filter: &ExecutionFilter, limit: usize) -> Vec<Execution> {
    let mut all = Vec::new();
    let mut page = ExecutionPage { after: None, limit };
    loop {
        let part = process.store().executions(filter.clone(), page).await.expect("history is read");
        assert!(part.executions.len() <= limit, "a page is held at its limit");
        assert!(!part.is_cut, "all of it was looked at");
        all.extend(part.executions);
        page.after = part.next;
        if page.after.is_none() {
            return all;
        }
    }
}

async fn executions(process: &Process, filter: ExecutionFilter) -> Vec<Execution> {
    in_pages(process, &filter, 100).await
}

/// Jobs and attempts, in their order.
async fn told(process: &Process, filter: ExecutionFilter) -> Vec<(u32, u32)> {
    let executions = executions(process, filter).await;
    executions.iter().map(|one| (number(one.job), one.record.attempt)).collect()
}

async fn statistics(process: &Process, filter: ExecutionFilter, most: usize) -> Statistics {
    process.store().statistics(filter, most).await.expect("history is added up")
}

fn all() -> ExecutionFilter {
    ExecutionFilter::default()
}

fn patterns(text: &str) -> Vec<Pattern> {
    vec![Pattern::new(text)]
}

/// One job that fails and completes, one that completes, one that fails for good.
async fn three_jobs(process: &Process) {
    let worker = process.worker(1).await;
    let other = process.worker(2).await;
    let report = NewJob { queue: queue("slow"), namespace: namespace("shop"), kind: kind("report"), ..job(3) };
    process.enqueue(0, [job(1), job(2), report]).await;
    let jobs = worker.claim_all(10).await;
    worker.end(11, &jobs[0], failed("boom")).await;
    worker.end(12, &jobs[1], completed()).await;
    worker.end(13, &jobs[2], Outcome::Fail { error: "no".to_owned() }).await;
    process.promote(30).await;
    let again = other.take(31).await;
    other.end(35, &again, completed()).await;
}

pub async fn an_execution_tells_what_its_attempt_left_behind(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    let new = NewJob { queue: queue("slow"), namespace: namespace("shop"), ..job(1) };
    process.enqueue(5, [new]).await;
    let job = worker.take(8).await;
    let usage = Usage { cpu_user_us: 7, rss_peak_bytes: 1 << 20, read_bytes: 3, ..Usage::default() };
    let mut end = ending(12, &job, Outcome::Completed { result: Some("42".to_owned()) });
    end.usage = Some(usage);
    worker.finish(12, vec![end]).await;

    let [one] = executions(&process, all()).await.try_into().expect("there is one");
    assert_eq!((number(one.job), one.kind.as_str(), one.queue.as_str()), (1, "mail", "slow"));
    assert_eq!((one.namespace.as_str(), one.result.as_deref()), ("shop", Some("42")));
    assert_eq!(one.available_at, Some(at(5)));
    assert_eq!((one.wait(), one.run()), (Some(Duration::from_secs(3)), Some(Duration::from_secs(4))));
    assert_eq!(process.detail(1).await.attempts, [one.record]);
}

pub async fn what_left_nothing_but_its_times_is_told_alike(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=3)).await;
    let claimed = worker.claim_all(2).await;
    worker.finish(4, claimed.iter().map(|job| ending(4, job, completed())).collect()).await;
    for one in executions(&process, all()).await {
        let detail = process.detail(number(one.job)).await;
        assert_eq!(detail.attempts, std::slice::from_ref(&one.record));
        assert_eq!((one.wait(), one.run()), (Some(Duration::from_secs(2)), Some(Duration::from_secs(2))));
    }
    assert_eq!(told(&process, all()).await, [(3, 1), (2, 1), (1, 1)]);
}

pub async fn what_ended_last_comes_first_whichever_was_stored_first(harness: &impl Harness) {
    let process = Process::start(harness).await;
    three_jobs(&process).await;
    assert_eq!(told(&process, all()).await, [(1, 2), (3, 1), (2, 1), (1, 1)]);
}

pub async fn what_runs_or_waits_was_not_executed(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=3)).await;
    let running = worker.take(1).await;
    let back = worker.take(1).await;
    worker.give_back(2, &back).await;
    assert_eq!(told(&process, all()).await, []);
    worker.end(3, &running, completed()).await;
    assert_eq!(told(&process, all()).await, [(1, 1)]);
}

pub async fn pages_of_executions_have_no_gap_and_no_double(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=40)).await;
    let claimed = worker.claim_all(1).await;
    // Many end in one moment, some with something to be kept and some without.
    for (n, part) in claimed.chunks(8).enumerate() {
        let now = [9, 4, 9, 6, 4][n];
        let end = |(n, job): (usize, _)| {
            ending(now, job, if n % 3 == 0 { Outcome::Fail { error: "no".to_owned() } } else { completed() })
        };
        worker.finish(now, part.iter().enumerate().map(end).collect()).await;
    }
    let whole = in_pages(&process, &all(), 1_000).await;
    assert_eq!(whole.len(), 40);
    let place = |one: &Execution| (one.record.ended_at, number(one.job));
    assert!(whole.windows(2).all(|pair| place(&pair[0]) > place(&pair[1])), "{whole:#?}");
    for limit in [1, 3, 7, 39, 40] {
        assert_eq!(in_pages(&process, &all(), limit).await, whole, "pages of {limit}");
    }
    let failed = ExecutionFilter { ends: vec![AttemptEnd::Failed], ..all() };
    let found = in_pages(&process, &failed, 2).await;
    assert_eq!(found.len(), 15);
    assert!(found.iter().all(|one| whole.contains(one)));
}

pub async fn executions_are_found_by_names_ends_and_workers(harness: &impl Harness) {
    let process = Process::start(harness).await;
    three_jobs(&process).await;
    let by = |filter| told(&process, filter);
    assert_eq!(by(ExecutionFilter { kinds: patterns("REP*"), ..all() }).await, [(3, 1)]);
    assert_eq!(by(ExecutionFilter { kinds: patterns("nothing"), ..all() }).await, []);
    assert_eq!(by(ExecutionFilter { queues: patterns("slow"), ..all() }).await, [(3, 1)]);
    let shop = Some(namespace("shop"));
    assert_eq!(by(ExecutionFilter { namespace: shop.clone(), ..all() }).await, [(3, 1)]);
    let both = ExecutionFilter { namespace: shop, kinds: patterns("mail"), ..all() };
    assert_eq!(by(both).await, []);
    let ends = vec![AttemptEnd::Failed];
    assert_eq!(by(ExecutionFilter { ends, ..all() }).await, [(3, 1), (1, 1)]);
    let workers = vec![worker_id(2), worker_id(9)];
    assert_eq!(by(ExecutionFilter { workers, ..all() }).await, [(1, 2)]);
}

pub async fn times_of_executions_are_inclusive_on_both_ends(harness: &impl Harness) {
    let process = Process::start(harness).await;
    three_jobs(&process).await;
    let ended = |from: Option<u64>, to: Option<u64>| ExecutionFilter {
        ended_from: from.map(at),
        ended_to: to.map(at),
        ..all()
    };
    assert_eq!(told(&process, ended(Some(13), None)).await, [(1, 2), (3, 1)]);
    assert_eq!(told(&process, ended(None, Some(12))).await, [(2, 1), (1, 1)]);
    assert_eq!(told(&process, ended(Some(12), Some(12))).await, [(2, 1)]);
    assert_eq!(told(&process, ended(Some(14), Some(34))).await, []);
    let started = ExecutionFilter { started_from: Some(at(31)), started_to: Some(at(31)), ..all() };
    assert_eq!(told(&process, started).await, [(1, 2)]);
    let started = ExecutionFilter { started_to: Some(at(10)), ..all() };
    assert_eq!(told(&process, started).await, [(3, 1), (2, 1), (1, 1)]);
}

pub async fn the_executions_of_some_jobs_are_found(harness: &impl Harness) {
    let process = Process::start(harness).await;
    three_jobs(&process).await;
    let of = |ids: &[u32]| ExecutionFilter { ids: ids.iter().map(|n| id(*n)).collect(), ..all() };
    assert_eq!(told(&process, of(&[1])).await, [(1, 2), (1, 1)]);
    assert_eq!(told(&process, of(&[2, 3, 3, 99])).await, [(3, 1), (2, 1)]);
    assert_eq!(told(&process, of(&[99])).await, []);
    let one_by_one = in_pages(&process, &of(&[1, 2]), 1).await;
    assert_eq!(one_by_one, executions(&process, of(&[1, 2])).await);
    let late = ExecutionFilter { ended_from: Some(at(12)), ..of(&[1, 2]) };
    assert_eq!(told(&process, late).await, [(1, 2), (2, 1)]);
}

pub async fn a_job_that_is_run_again_keeps_its_executions(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let job = worker.take(1).await;
    worker.end(2, &job, Outcome::Completed { result: Some("1".to_owned()) }).await;
    process.change(10, 1, Change::Redo { repeat: true }).await;
    let job = worker.take(13).await;
    worker.end(15, &job, completed()).await;
    let [second, first] = executions(&process, all()).await.try_into().expect("there are two");
    assert_eq!((second.record.attempt, second.wait(), second.result), (2, Some(Duration::from_secs(3)), None));
    assert_eq!((first.record.attempt, first.result.as_deref()), (1, Some("1")));
    assert_eq!(first.wait(), None, "the job's moment is that of its second run");
}

pub async fn a_removed_job_takes_its_executions_along(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=4)).await;
    let claimed = worker.claim_all(1).await;
    worker.finish(2, claimed.iter().map(|job| ending(2, job, completed())).collect()).await;
    process.change(3, 2, Change::Delete).await;
    assert_eq!(told(&process, all()).await, [(4, 1), (3, 1), (1, 1)]);
    assert_eq!(in_pages(&process, &all(), 1).await.len(), 3);
    assert_eq!(statistics(&process, all(), 100).await.executions, 3);
    process.prune(3, keep_nothing()).await;
    assert_eq!(told(&process, all()).await, []);
}

pub async fn a_lost_execution_has_no_start_and_a_later_one_waits_from_its_end(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, [job(1)]).await;
    let gone = Process::start(harness).await;
    gone.worker(1).await.start(2).await;
    drop(gone);
    process.reclaim(5).await;
    let worker = process.worker(2).await;
    let job = worker.take(7).await;
    worker.end(8, &job, completed()).await;
    let [second, lost] = executions(&process, all()).await.try_into().expect("there are two");
    assert_eq!((lost.record.end, lost.run()), (AttemptEnd::Lost, None));
    assert_eq!(lost.wait(), Some(Duration::from_secs(2)));
    assert_eq!(second.available_at, Some(at(5)));
    let told = statistics(&process, all(), 100).await;
    assert_eq!(told.groups[0].tally.success_rate(), Some(0.5));
    assert_eq!(told.groups[0].tally.run_total(), Duration::from_secs(1));
}

pub async fn a_long_result_is_cut(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let job = worker.take(1).await;
    let result = format!("\"{}\"", "ä".repeat(ERROR_BYTES_MAX));
    worker.end(2, &job, Outcome::Completed { result: Some(result) }).await;
    let [one] = executions(&process, all()).await.try_into().expect("there is one");
    let result = one.result.expect("it has one");
    assert!(result.len() <= ERROR_BYTES_MAX && result.ends_with("ä [cut]"), "{} bytes", result.len());
}

pub async fn statistics_are_by_namespace_queue_and_kind(harness: &impl Harness) {
    let process = Process::start(harness).await;
    three_jobs(&process).await;
    let told = statistics(&process, all(), 100).await;
    assert_eq!((told.executions, told.is_cut, told.oldest_end), (4, false, Some(at(11))));
    let [mail, report] = told.groups.try_into().expect("there are two");
    assert_eq!((mail.namespace.as_str(), mail.queue.as_str(), mail.kind.as_str()), ("default", "default", "mail"));
    assert_eq!(
        (report.namespace.as_str(), report.queue.as_str(), report.kind.as_str()),
        ("shop", "slow", "report")
    );
    let (tally, s) = (&mail.tally, |seconds| Some(Duration::from_secs(seconds)));
    assert_eq!((tally.executions(), tally.ended(AttemptEnd::Failed)), (3, 1));
    assert_eq!((tally.run(0.5), tally.run(0.95), tally.run_total()), (s(2), s(4), Duration::from_secs(7)));
    // One waited 10 s, and one 10 s after its back-off, which was over at 21 s; of the third nobody knows any more.
    assert_eq!((tally.wait(0.0), tally.wait(1.0)), (s(10), s(10)));
    let workers: Vec<_> = tally.workers().into_iter().map(|(worker, share)| (worker, share.executions)).collect();
    assert_eq!(workers, [(worker_id(2), 1), (worker_id(1), 2)]);
    assert_eq!(tally.usage(), None);
}

pub async fn statistics_of_a_sample_are_of_the_newest(harness: &impl Harness) {
    let process = Process::start(harness).await;
    three_jobs(&process).await;
    let told = statistics(&process, all(), 2).await;
    assert_eq!((told.executions, told.is_cut, told.oldest_end), (2, true, Some(at(13))));
    let told = statistics(&process, all(), 4).await;
    assert_eq!((told.executions, told.is_cut), (4, false));
    let window = ExecutionFilter { ended_from: Some(at(12)), ended_to: Some(at(13)), ..all() };
    assert_eq!(statistics(&process, window, 2).await.executions, 2);
    let nothing = ExecutionFilter { kinds: patterns("nothing"), ..all() };
    assert_eq!(statistics(&process, nothing, 2).await, Statistics::default());
}
