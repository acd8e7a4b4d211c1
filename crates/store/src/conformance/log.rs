//! Logs and progress of running attempts.

use taskwright_core::Verdict;

use super::Harness;
use super::fixture::*;
use crate::{Change, ClaimedJob, LogChunk, LogEntry, LogStream, Progress, ProgressReport};

fn line(job: &ClaimedJob, now: u64, text: &str) -> LogEntry {
    LogEntry {
        key: job.key,
        attempt: job.attempt,
        at: at(now),
        stream: LogStream::Log,
        bytes: text.as_bytes().to_vec(),
    }
}

async fn texts(process: &Process, n: u32, from: u64, limit: usize) -> Vec<(u64, String)> {
    let chunks = process.store().logs(id(n), from, limit).await.expect("read");
    chunks.into_iter().map(|chunk| (chunk.number, String::from_utf8_lossy(&chunk.bytes).into())).collect()
}

pub async fn entries_are_kept_as_they_came(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let held = worker.take(1).await;
    let entry = |stream, bytes: &[u8]| LogEntry { stream, bytes: bytes.to_vec(), ..line(&held, 2, "") };
    let entries = vec![
        entry(LogStream::Stdout, &[0xff, 0, b'\n']),
        entry(LogStream::Stderr, b"half a li"),
        entry(LogStream::Log, b""),
    ];
    assert_eq!(process.store().log(worker.id, entries).await.expect("logged"), [Verdict::Accepted; 3]);
    let chunk = |number, stream, bytes: &[u8]| LogChunk {
        number,
        attempt: 1,
        at: at(2),
        stream,
        bytes: bytes.to_vec(),
    };
    let expected = [
        chunk(0, LogStream::Stdout, &[0xff, 0, b'\n']),
        chunk(1, LogStream::Stderr, b"half a li"),
        chunk(2, LogStream::Log, b""),
    ];
    assert_eq!(process.store().logs(id(1), 0, 9).await.expect("read"), expected);
}

pub async fn entries_are_numbered_per_job(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=2)).await;
    let held = worker.claim_all(1).await;
    let mixed = vec![line(&held[0], 2, "a0"), line(&held[1], 2, "b0"), line(&held[0], 2, "a1")];
    process.store().log(worker.id, mixed).await.expect("logged");
    process.store().log(worker.id, vec![line(&held[1], 3, "b1")]).await.expect("logged");
    assert_eq!(texts(&process, 1, 0, 9).await, [(0, "a0".to_owned()), (1, "a1".to_owned())]);
    assert_eq!(texts(&process, 2, 0, 9).await, [(0, "b0".to_owned()), (1, "b1".to_owned())]);
}

pub async fn numbers_go_on_over_attempts(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let first = worker.take(1).await;
    process.store().log(worker.id, vec![line(&first, 1, "one")]).await.expect("logged");
    worker.end(2, &first, failed("boom")).await;
    process.change(3, 1, Change::RunNow).await;
    let second = worker.take(4).await;
    process.store().log(worker.id, vec![line(&second, 4, "two")]).await.expect("logged");
    worker.end(5, &second, completed()).await;
    let chunks = process.store().logs(id(1), 0, 9).await.expect("read");
    let told: Vec<_> = chunks.iter().map(|chunk| (chunk.number, chunk.attempt)).collect();
    assert_eq!(told, [(0, 1), (1, 2)]);
}

pub async fn a_log_is_read_in_parts(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let held = worker.take(1).await;
    let lines = (0..5).map(|n| line(&held, 2, &format!("{n}"))).collect();
    process.store().log(worker.id, lines).await.expect("logged");
    let numbers = async |from, limit| {
        texts(&process, 1, from, limit).await.into_iter().map(|(number, _)| number).collect::<Vec<_>>()
    };
    assert_eq!(numbers(0, 2).await, [0, 1]);
    assert_eq!(numbers(2, 9).await, [2, 3, 4]);
    assert_eq!(numbers(5, 9).await, [0_u64; 0]);
    assert_eq!(texts(&process, 9, 0, 9).await, [], "an unknown job has no log");
}

pub async fn the_newest_progress_is_shown(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let held = worker.take(1).await;
    let report = |done, message: &str| ProgressReport {
        key: held.key,
        attempt: 1,
        at: at(2),
        progress: Progress { done, total: Some(9), message: Some(message.to_owned()) },
    };
    let reports = vec![report(1, "begun"), report(4, "half „way“")];
    process.store().report(worker.id, reports).await.expect("reported");
    assert_eq!(process.view(1).await.progress, Some(report(4, "half „way“").progress));
}

pub async fn progress_ends_with_its_attempt(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [job(1)]).await;
    let first = worker.take(1).await;
    let progress = Progress { done: 1, total: None, message: None };
    let report = ProgressReport { key: first.key, attempt: 1, at: at(2), progress };
    process.store().report(worker.id, vec![report]).await.expect("reported");
    worker.end(3, &first, failed("boom")).await;
    assert_eq!(process.view(1).await.progress, None);
    process.change(4, 1, Change::RunNow).await;
    worker.take(5).await;
    assert_eq!(process.view(1).await.progress, None);
}
