//! Jobs that leave something wherever a job can, and are removed: for tests that count what is left in the tables of a store.

use taskwright_core::{Attachment, AttachmentName, Garbage, Owner, UniqueScope};

use super::fixture::*;
use crate::{Change, LogEntry, LogStream};

/// Stores jobs that leave traces, has them end in each way there is, and removes them: one by one, by collectors, and with an
/// expired hold, whose attachments go before it does. None is left.
pub async fn leave_traces_and_go(process: &Process) {
    let owner = Owner::new("ann").expect("a good name");
    let worker = process.worker(1).await;
    let of_ann = |mut job: taskwright_core::NewJob| {
        job.owner = Some(owner.clone());
        job.unique = unique(&number(job.id).to_string(), UniqueScope::Active);
        job
    };
    let held = |n| of_ann(taskwright_core::NewJob { held: true, ..job(n) });
    process.enqueue(0, (1..=4).map(held)).await;
    for n in 1..=4 {
        let name = AttachmentName::new("a").expect("a good name");
        let one = Attachment::new(name, vec![7; 300_000]).expect("it is not too large");
        process.store().attach(at(1), id(n), one).await.expect("it is attached");
    }
    // The fourth one is dropped, and the others run.
    for n in 1..=3 {
        process.change(2, n, Change::Release).await;
    }
    process.enqueue(2, (5..=9).map(|n| of_ann(job(n)))).await;
    process.enqueue(2, jobs(10..=19)).await;
    let claimed = worker.claim_all(3).await;
    let log = claimed.iter().filter(|job| number(job.id) < 10).map(|job| LogEntry {
        key: job.key,
        attempt: job.attempt,
        at: at(3),
        stream: LogStream::Log,
        bytes: b"a line".to_vec(),
    });
    process.store().log(worker.id, log.collect()).await.expect("it is logged");
    process.change(3, 2, Change::Cancel).await;
    for job in &claimed {
        let outcome = if number(job.id).is_multiple_of(3) { failed("no") } else { completed() };
        worker.end(4, job, outcome).await;
    }
    for n in (1..=19).filter(|n| n % 3 == 0) {
        process.change(5, n, Change::Cancel).await;
    }
    let late = taskwright_core::limit::HOLD_MAX.as_secs() + 10;
    process.promote(late).await;
    for n in 1..=9 {
        process.store().comment(at(late), id(n), alice(), "look".to_owned()).await.expect("it is said");
    }
    let all = (1..=19).map(id).collect();
    process.store().consume(at(late), all, owner.clone()).await.expect("it is read");
    for n in [1, 3, 10] {
        process.change(late, n, Change::Delete).await;
    }
    process.collect(Garbage::Consumed, at(late + 1), 3).await;
    process.prune(late + 10_000_000, keep_nothing()).await;
    for n in 1..=19 {
        assert!(!process.has(n).await, "{n} is still there");
    }
}
