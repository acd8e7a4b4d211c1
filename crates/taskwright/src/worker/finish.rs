//! The writer: the one task that writes down what attempts have to say, and how they ended.
//!
//! It writes at once when it is idle, and otherwise everything that gathered while the write before was under way, so
//! batches grow with the load and nothing waits for a timer. Because it is one task, the log and the progress of an
//! attempt are always written before its end.
//!
//! A write that meets a broken store is repeated, with a growing delay, until the store answers, also when the lease has run out
//! meanwhile: nobody may have taken the jobs, since nobody could. The worker does not exit over it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use taskwright_core::attempt::{self, Decision};
use taskwright_core::{Cause, State, Verdict};
use taskwright_store::{ClaimedJob, Error, Finish, JobKey, Reply};
use tokio::sync::Notify;

use super::ended;
use super::incarnation::Incarnation;
use super::phase::Phase;
use crate::attempt::lock;
use crate::outbox::{FLUSH_EVERY, Taken};

/// Ends that wait for the writer; a slot that has one more waits too: 4,096.
const ENDS_WAITING_MAX: usize = 4_096;
/// The first and the longest delay before a failed write is repeated. Once the store is back, others wait for a lease, and then
/// take the jobs.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LONGEST: Duration = Duration::from_secs(2);

/// The end of an attempt, as its slot has it.
pub(crate) struct End {
    pub(crate) finish: Finish,
    /// Whether the handler completed the attempt in a transaction of its own, which may have been rolled back.
    pub(crate) in_transaction: bool,
    /// The generator whose item has ended.
    pub(crate) item_of: Option<ended::Of>,
    /// Whether another job that has its last chance may start once this is written.
    pub(crate) is_last_chance: bool,
}

/// Ends of attempts on their way to the store.
#[derive(Default)]
pub(crate) struct Ends {
    waiting: Mutex<Waiting>,
    arrived: Notify,
    /// Told when the writer took what waited.
    taken: Notify,
    /// How many ends of a job are on their way that spend no attempt: its next attempt has the number of the last.
    uncounted: Mutex<HashMap<JobKey, u32>>,
    closed: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    ends: Vec<Finish>,
    /// Those of attempts that may have ended already, in their handlers' transactions.
    in_transaction: Vec<Finish>,
    /// Of which generators items are among these.
    items: Vec<ended::Of>,
    /// The end of a job's last chance is among these.
    has_last_chance: bool,
    /// Jobs that were claimed and not started, and why each lot goes back.
    unstarted: Vec<(Vec<(JobKey, u32)>, &'static str)>,
}

impl Waiting {
    /// The jobs of which an end spends no attempt.
    fn uncounted(&self) -> Vec<JobKey> {
        let ends = self.ends.iter().chain(&self.in_transaction).filter(|end| end.decision.end.is_none());
        let unstarted = self.unstarted.iter().flat_map(|(fences, _)| fences);
        ends.map(|end| end.key).chain(unstarted.map(|(key, _)| *key)).collect()
    }

    /// How many ends wait.
    fn count(&self) -> usize {
        self.ends.len() + self.in_transaction.len()
    }
}

impl Ends {
    /// Hands an end to the writer; waits while too many wait.
    pub(crate) async fn put(&self, mut end: End) {
        while let Err(refused) = self.try_put(end) {
            let taken = self.taken.notified();
            // Looked at again after the interest is registered.
            match self.try_put(refused) {
                Ok(()) => return,
                Err(refused) => end = refused,
            }
            taken.await;
        }
    }

    #[expect(clippy::result_large_err, reason = "the end comes back only when the writer is far behind")]
    fn try_put(&self, end: End) -> Result<(), End> {
        let mut waiting = lock(&self.waiting);
        if waiting.count() >= ENDS_WAITING_MAX {
            return Err(end);
        }
        if end.finish.decision.end.is_none() {
            self.begin_uncounted([end.finish.key].into_iter());
        }
        let ends = if end.in_transaction { &mut waiting.in_transaction } else { &mut waiting.ends };
        ends.push(end.finish);
        waiting.items.extend(end.item_of);
        waiting.has_last_chance |= end.is_last_chance;
        drop(waiting);
        self.arrived.notify_one();
        Ok(())
    }

    /// Hands back jobs that were not started. Not bounded: they come from the buffer, which is.
    pub(crate) fn give_back(&self, jobs: &[ClaimedJob], reason: &'static str) {
        if jobs.is_empty() {
            return;
        }
        self.begin_uncounted(jobs.iter().map(|job| job.key));
        let fences = jobs.iter().map(|job| (job.key, job.attempt)).collect();
        lock(&self.waiting).unstarted.push((fences, reason));
        self.arrived.notify_one();
    }

    /// Takes the jobs out that must not be started: an end of an earlier attempt of each is still being written, as far as
    /// is known here, and that attempt was not counted. If the answer to that write was lost, it is repeated, and would
    /// meet the attempt that was claimed since: they have one number.
    pub(crate) fn take_doubtful(&self, jobs: &mut Vec<ClaimedJob>) -> Vec<ClaimedJob> {
        let uncounted = lock(&self.uncounted);
        if uncounted.is_empty() {
            return Vec::new();
        }
        jobs.extract_if(.., |job| uncounted.contains_key(&job.key)).collect()
    }

    fn begin_uncounted(&self, keys: impl Iterator<Item = JobKey>) {
        let mut uncounted = lock(&self.uncounted);
        keys.for_each(|key| *uncounted.entry(key).or_default() += 1);
    }

    fn end_uncounted(&self, keys: &[JobKey]) {
        if keys.is_empty() {
            return;
        }
        let mut uncounted = lock(&self.uncounted);
        for key in keys {
            if let Some(count) = uncounted.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    uncounted.remove(key);
                }
            }
        }
    }

    /// Lets the writer end when it has written everything.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.arrived.notify_one();
    }

    fn take(&self) -> Waiting {
        let mut waiting = lock(&self.waiting);
        let taken = std::mem::take(&mut *waiting);
        // The next batch will be about as large.
        waiting.ends.reserve(taken.ends.len());
        drop(waiting);
        if taken.count() >= ENDS_WAITING_MAX {
            self.taken.notify_waiters();
        }
        taken
    }
}

/// Writes until [`Ends::close`] and everything is written, or the worker is lost.
pub(crate) async fn run(worker: Arc<Incarnation>) {
    tokio::select! {
        biased;
        () = worker.phase.reached(Phase::Lost) => {}
        () = write(&worker) => {}
    }
}

async fn write(worker: &Incarnation) {
    let outbox = &worker.host.outbox;
    let mut flush_at_us = 0;
    loop {
        // The ends first and the outbox second: what an attempt had to say was put in before its end.
        let waiting = worker.ends.take();
        let (has_ends, uncounted) = (waiting.count() > 0, waiting.uncounted());
        let Waiting { ends, in_transaction, items, has_last_chance, unstarted } = waiting;
        let idle = !has_ends && unstarted.is_empty();
        let closed = idle && worker.ends.closed.load(Ordering::SeqCst);
        let due = outbox.is_urgent() || worker.host.env.monotonic_us() >= flush_at_us;
        if !outbox.is_empty() && (due || closed || has_ends) {
            write_outbox(worker).await;
            flush_at_us = worker.host.env.monotonic_us() + crate::env::micros(FLUSH_EVERY);
        }
        if !ends.is_empty() {
            settle(worker, ends).await;
        }
        if !in_transaction.is_empty() {
            settle_in_transaction(worker, in_transaction).await;
        }
        worker.item_ends.add(items);
        if has_last_chance {
            worker.buffer.end_last_chance();
        }
        for (fences, reason) in unstarted {
            give_back(worker, fences, reason).await;
        }
        worker.ends.end_uncounted(&uncounted);
        if closed {
            return;
        }
        if !idle {
            continue;
        }
        tokio::select! {
            biased;
            () = worker.ends.arrived.notified() => {}
            () = outbox.arrived.notified() => {}
            () = worker.host.env.sleep_until_us(flush_at_us), if !outbox.is_empty() => {}
        }
    }
}

async fn write_outbox(worker: &Incarnation) {
    let Taken { log: entries, progress: reports, flushes } = worker.host.outbox.take(&worker.host.env);
    let id = worker.host.worker;
    if !entries.is_empty() {
        let fences: Vec<_> = entries.iter().map(|entry| (entry.key, entry.attempt)).collect();
        let verdicts = persist(worker, "log", || worker.store.log(id, entries.clone())).await;
        stop_stale(worker, &fences, &verdicts.unwrap_or_default());
    }
    if !reports.is_empty() {
        let fences: Vec<_> = reports.iter().map(|report| (report.key, report.attempt)).collect();
        let verdicts = persist(worker, "progress", || worker.store.report(id, reports.clone())).await;
        stop_stale(worker, &fences, &verdicts.unwrap_or_default());
    }
    for flush in flushes {
        // Whoever waited may be gone by now.
        let _ = flush.send(());
    }
}

/// An attempt whose write came too late no longer owns its job.
fn stop_stale(worker: &Incarnation, fences: &[(JobKey, u32)], verdicts: &[Verdict]) {
    for ((key, attempt), verdict) in fences.iter().zip(verdicts) {
        if *verdict == Verdict::Stale {
            worker.lose_attempt(*key, *attempt);
        }
    }
}

async fn settle(worker: &Incarnation, ends: Vec<Finish>) {
    let now = worker.host.env.now();
    match persist(worker, "end", || worker.source.settle(now, ends.clone())).await {
        Ok(verdicts) => note(worker, &ends, &verdicts),
        Err(_) if ends.len() > 1 => {
            // One of them is refused, and the store changed nothing for all: write each for itself.
            for end in ends {
                settle_one(worker, end).await;
            }
        }
        Err(error) => settle_refused(worker, ends, &error).await,
    }
}

async fn give_back(worker: &Incarnation, fences: Vec<(JobKey, u32)>, reason: &str) {
    let now = worker.host.env.now();
    let back = || worker.source.give_back(now, fences.clone(), reason.to_owned());
    match persist(worker, "way back", back).await {
        Ok(verdicts) => worker.counts.note_given_back(&verdicts),
        Err(_) if fences.len() > 1 => {
            for fence in fences {
                Box::pin(give_back(worker, vec![fence], reason)).await;
            }
            return;
        }
        Err(error) => {
            tracing::error!(worker = %worker.host.worker, %error, "the store does not take jobs back");
        }
    }
    worker.settled(fences.len());
}

async fn settle_one(worker: &Incarnation, end: Finish) {
    let now = worker.host.env.now();
    match persist(worker, "end", || worker.source.settle(now, vec![end.clone()])).await {
        Ok(verdicts) => note(worker, &[end], &verdicts),
        Err(error) => settle_refused(worker, vec![end], &error).await,
    }
}

/// A store that refuses an end for good must not keep the job running for ever: the job fails and says why.
async fn settle_refused(worker: &Incarnation, refused: Vec<Finish>, error: &Error) {
    let now = worker.host.env.now();
    let failed = |end: Finish| Finish {
        decision: Decision {
            cause: Cause::Fail,
            to: State::Failed,
            run_at: None,
            end: Some(attempt::AttemptEnd::Failed),
            reason: Some(format!("the store refused the end of the attempt: {error}")),
            result: None,
        },
        follow_ups: Vec::new(),
        ..end
    };
    let ends: Vec<Finish> = refused.into_iter().map(failed).collect();
    match persist(worker, "end", || worker.source.settle(now, ends.clone())).await {
        Ok(verdicts) => note(worker, &ends, &verdicts),
        Err(error) => {
            tracing::error!(worker = %worker.host.worker, %error, "the store refuses the end of an attempt");
            worker.settled(ends.len());
        }
    }
}

/// Repeats a write until the store takes it, or refuses it for good.
async fn persist<'a, T>(
    worker: &Incarnation,
    what: &'static str,
    mut write: impl FnMut() -> Reply<'a, T>,
) -> Result<T, Error> {
    let mut delay = RETRY_FIRST;
    loop {
        match write().await {
            Err(error) if error.is_transient() => {
                tracing::warn!(worker = %worker.host.worker, %error, ?delay, "a write is repeated: {what}");
                worker.host.env.sleep(delay).await;
                delay = (delay * 2).min(RETRY_LONGEST);
            }
            other => return other,
        }
    }
}

/// Ends attempts whose handlers completed them in transactions of their own: apart from the others, so that a stale one
/// among them costs those nothing. What was rolled back ends here as any attempt does; the rest has ended.
async fn settle_in_transaction(worker: &Incarnation, ends: Vec<Finish>) {
    let now = worker.host.env.now();
    match persist(worker, "end", || worker.source.settle(now, ends.clone())).await {
        Ok(verdicts) => {
            for (end, verdict) in ends.iter().zip(verdicts) {
                note_in_transaction(worker, end, verdict);
            }
            worker.settled(ends.len());
        }
        Err(_) if ends.len() > 1 => {
            for end in ends {
                Box::pin(settle_in_transaction(worker, vec![end])).await;
            }
        }
        Err(error) => settle_refused(worker, ends, &error).await,
    }
}

fn note_in_transaction(worker: &Incarnation, end: &Finish, verdict: Verdict) {
    if verdict == Verdict::Accepted {
        worker.counts.note(&end.decision, verdict);
        return;
    }
    worker.counts.completed.fetch_add(1, Ordering::Relaxed);
    if end.decision.to != State::Completed {
        let (key, attempt, reason) = (end.key.0, end.attempt, end.decision.reason.as_deref());
        tracing::warn!(
            worker = %worker.host.worker, key, attempt, reason,
            "the handler failed after its transaction had completed the job; the job stays completed"
        );
    }
}

fn note(worker: &Incarnation, ends: &[Finish], verdicts: &[Verdict]) {
    for (end, verdict) in ends.iter().zip(verdicts) {
        worker.counts.note(&end.decision, *verdict);
        if *verdict == Verdict::Stale {
            let (key, attempt) = (end.key.0, end.attempt);
            tracing::info!(worker = %worker.host.worker, key, attempt, "an end came too late and changed nothing");
        }
    }
    worker.settled(ends.len());
}
