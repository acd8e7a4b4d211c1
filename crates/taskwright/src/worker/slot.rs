//! A slot: takes one job after the other from the buffer and runs it.
//!
//! The way of a job without surprises is kept short: nothing is spawned for it, no timer is set unless it has a time
//! limit, and nobody is woken.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context as Cx, Poll};

use taskwright_core::attempt::{AttemptEnd, Decision, Facts, decide};
use taskwright_core::{OnShutdown, Outcome, State, Timestamp};
use taskwright_store::{ClaimedJob, Finish};

use super::buffer::Taken;
use super::ended::ended_item;
use super::finish::End;
use super::incarnation::Incarnation;
use super::panic::{Panic, caught_whole};
use super::phase::Phase;
use crate::attempt::{Attempt, lock};
use crate::cancel::StopCause;
use crate::context::Context;
use crate::env::{Env, Sleep, micros};
use crate::handler::HandlerFuture;
use crate::registry::{Entry, TaskOptions};
use crate::report::{AttemptReport, Failure, PanicReport, Who};

/// How long a slot runs jobs that never wait before it lets other tasks of its thread run: 1 ms.
const TURN_US: i64 = 1_000;

/// Runs jobs until the buffer is closed.
pub(crate) async fn run(worker: Arc<Incarnation>, number: usize) {
    let mut turn_began = Timestamp::from_micros(0);
    while let Some(Taken { job, permit, is_last_chance }) = worker.buffer.pop(number).await {
        let end = execute(&worker, number, job).await;
        drop(permit);
        let Some(mut end) = end else {
            if is_last_chance {
                worker.buffer.end_last_chance();
            }
            continue;
        };
        end.is_last_chance = is_last_chance;
        worker.wear.worked();
        let ended_us = end.finish.ended_at.as_micros();
        worker.ends.put(end).await;
        if ended_us - turn_began.as_micros() > TURN_US {
            tokio::task::yield_now().await;
            turn_began = worker.host.env.now();
        }
    }
}

/// Runs one job; `None` when nothing may be written about it.
async fn execute(worker: &Arc<Incarnation>, number: usize, job: ClaimedJob) -> Option<End> {
    let host = &worker.host;
    let Some(entry) = host.registry.entry(&job.kind) else {
        // The store gives only kinds that it was asked for.
        worker.ends.give_back(&[job], "this worker does not know the task");
        return None;
    };
    let cell = &worker.running[number];
    let attempt = Arc::new(Attempt::new(job, Arc::clone(host), host.env.now()));
    *lock(cell) = Some(Arc::clone(&attempt));
    // Looked at only after the attempt can be found, so that a stop either finds it or is seen here.
    if worker.phase.is_at_least(Phase::Recycling) || !worker.may_start_one_more() {
        *lock(cell) = None;
        if !worker.phase.is_at_least(Phase::Lost) {
            worker.ends.give_back(std::slice::from_ref(&attempt.job), "the worker stops");
        }
        return None;
    }
    worker.marks.started(attempt.job.key, attempt.job.attempt);
    let ran = drive(entry, &attempt).await;
    *lock(cell) = None;
    let mut panic = None;
    let lapsed = worker.phase.is(Phase::Lapsed);
    let outcome = judge(&attempt, ran, lapsed, &mut panic)
        .filter(|outcome| !lapsed || !is_given_back(outcome) || worker.lapses.is_first(attempt.job.key));
    if outcome.is_none() {
        // No end will be written that could count it.
        worker.settled(1);
    }
    let in_transaction = attempt.in_transaction.load(Ordering::Relaxed);
    // No shutdown, which the job may have a policy for: its worker goes on.
    let on_shutdown = match lapsed {
        true => OnShutdown::GiveBack,
        false => entry.options.on_shutdown.unwrap_or(worker.config.on_shutdown),
    };
    let finish = finish(&attempt, &entry.options, on_shutdown, outcome?);
    if has_failed(&finish.decision) {
        worker.config.reports.tell(|| failure(&attempt, &finish.decision, panic));
    }
    let item_of = ended_item(&finish, &attempt.job.namespace, &attempt.job.queue);
    Some(End { finish, in_transaction, item_of, is_last_chance: false })
}

/// How the drive of a handler ended.
enum Ran {
    /// The handler returned.
    Returned(Outcome),
    /// It panicked.
    Panicked(Box<Panic>),
    /// It did not stop in time after it was asked to, and was dropped.
    Dropped(StopCause),
}

async fn drive(entry: &Entry, attempt: &Arc<Attempt>) -> Ran {
    let with_trace = attempt.host.with_trace;
    let context = Context::new(Arc::clone(attempt));
    let future = match caught_whole(with_trace, || entry.handler.call(context)) {
        Ok(future) => future,
        Err(panic) => return Ran::Panicked(panic),
    };
    let timeout = attempt.job.timeout.or(entry.options.timeout);
    let env = &attempt.host.env;
    let mut drive = Drive {
        attempt,
        timeout_us: timeout.map(|timeout| env.monotonic_us().saturating_add(micros(timeout))),
        grace_us: micros(entry.options.cancel_grace),
        future,
        timer: None,
        with_trace,
    };
    let ran = std::future::poll_fn(|cx| drive.poll(cx)).await;
    // Dropping runs code of the handler as well.
    match (caught_whole(with_trace, || drop(drive.future)), ran) {
        (Err(panic), Ran::Returned(_) | Ran::Panicked(_)) => Ran::Panicked(panic),
        (_, ran) => ran,
    }
}

/// A handler under way, with its time limit and the moment at which it is dropped.
struct Drive<'a> {
    attempt: &'a Attempt,
    future: HandlerFuture,
    /// When the attempt takes too long (monotonic microseconds), unless that has been said.
    timeout_us: Option<u64>,
    grace_us: u64,
    /// Runs to the nearer of the two moments.
    timer: Option<(u64, Sleep)>,
    /// Whether somebody wants to know how the thread got to a panic.
    with_trace: bool,
}

impl Drive<'_> {
    fn poll(&mut self, cx: &mut Cx<'_>) -> Poll<Ran> {
        match caught_whole(self.with_trace, || self.future.as_mut().poll(cx)) {
            Ok(Poll::Ready(outcome)) => return Poll::Ready(Ran::Returned(outcome)),
            Ok(Poll::Pending) => {}
            Err(panic) => return Poll::Ready(Ran::Panicked(panic)),
        }
        let env: &Env = &self.attempt.host.env;
        loop {
            let abort = self.attempt.abort_due(cx.waker());
            let abort_us = abort.as_ref().map(|(due, _)| *due);
            let Some(next_us) = abort_us.into_iter().chain(self.timeout_us).min() else {
                return Poll::Pending;
            };
            let timer = match &mut self.timer {
                Some((at, timer)) if *at == next_us => timer,
                timer => &mut timer.insert((next_us, env.sleep_until_us(next_us))).1,
            };
            if Pin::new(timer).poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.timer = None;
            match abort {
                Some((due, cause)) if due <= next_us => return Poll::Ready(Ran::Dropped(cause)),
                _ => {
                    self.timeout_us = None;
                    let abort_at_us = env.monotonic_us().saturating_add(self.grace_us);
                    self.attempt.stop(StopCause::TimedOut, abort_at_us);
                }
            }
        }
    }
}

/// What the attempt amounts to, given what its handler was told; `None` when nothing may be written about it. A panic is kept,
/// also one that others have made an outcome of: middleware, a thread for what blocks, a child process.
///
/// When the lease has lapsed, because the store was away, the attempt may still own its job, and the store will know.
fn judge(attempt: &Attempt, ran: Ran, lapsed: bool, kept: &mut Option<Box<Panic>>) -> Option<Outcome> {
    let timed_out = || {
        let took = attempt.host.env.now().since(attempt.started_at);
        Outcome::Retry { error: format!("timed out after {took:?}"), after: None, end: AttemptEnd::TimedOut }
    };
    let stopped = attempt.token.cause();
    if matches!(stopped, Some(StopCause::Lost)) && !lapsed {
        return None;
    }
    Some(match ran {
        Ran::Dropped(StopCause::Lost) if lapsed => Outcome::GiveBack {
            reason: "the lease could not be renewed, and the handler did not end in time".to_owned(),
        },
        Ran::Dropped(StopCause::Lost) => return None,
        Ran::Dropped(StopCause::Shutdown) => {
            Outcome::GiveBack { reason: "the worker stops, and the handler did not end in time".to_owned() }
        }
        Ran::Dropped(StopCause::TimedOut) => timed_out(),
        Ran::Dropped(cause @ StopCause::Cancelled { .. }) => {
            Outcome::Cancelled { reason: format!("{cause}; the handler did not end in time and was dropped") }
        }
        Ran::Panicked(panic) => {
            let error = kept.insert(panic).to_string();
            Outcome::Retry { error, after: None, end: AttemptEnd::Panicked }
        }
        Ran::Returned(Outcome::Retry { end: AttemptEnd::Failed, error, after }) => match stopped {
            Some(StopCause::Shutdown) => Outcome::GiveBack { reason: format!("the worker stops: {error}") },
            Some(StopCause::Lost) => {
                Outcome::GiveBack { reason: format!("the lease could not be renewed: {error}") }
            }
            Some(StopCause::TimedOut) => timed_out(),
            _ => Outcome::Retry { end: AttemptEnd::Failed, error, after },
        },
        Ran::Returned(outcome) => {
            if matches!(outcome, Outcome::Retry { end: AttemptEnd::Panicked, .. }) {
                *kept = lock(&attempt.panic).take();
            }
            outcome
        }
    })
}

fn is_given_back(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::GiveBack { .. })
}

/// Whether something went wrong with an attempt, rather than that somebody wanted it to end.
fn has_failed(decision: &Decision) -> bool {
    use AttemptEnd as E;
    decision.to != State::Cancelled && matches!(decision.end, Some(E::Failed | E::Panicked | E::TimedOut))
}

/// What there is to tell of an attempt that failed.
fn failure(attempt: &Attempt, decision: &Decision, panic: Option<Box<Panic>>) -> Failure {
    let job = &attempt.job;
    let who = AttemptReport {
        job: job.id,
        kind: job.kind.clone(),
        queue: job.queue.clone(),
        namespace: job.namespace.clone(),
        attempt: job.attempt,
        max_attempts: job.max_attempts,
        // Only attempts that have one are told of.
        end: decision.end.unwrap_or(AttemptEnd::Failed),
        worker: attempt.host.worker,
    };
    Failure {
        who: Who::Attempt(who),
        error: decision.reason.clone().unwrap_or_default(),
        panic: panic.map(|panic| PanicReport::of(*panic)),
        retry_at: decision.run_at,
        is_final: decision.to == State::Failed,
    }
}

fn finish(attempt: &Attempt, options: &TaskOptions, on_shutdown: OnShutdown, outcome: Outcome) -> Finish {
    let job = &attempt.job;
    let env = &attempt.host.env;
    let now = env.now();
    let decision = decide(
        outcome,
        &Facts {
            attempt: job.attempt,
            max_attempts: job.max_attempts,
            backoff: job.backoff.unwrap_or(options.backoff),
            delivery: job.delivery,
            on_shutdown,
            cancel_requested: attempt.cancel_requested.load(Ordering::Relaxed),
            now,
            dice: env.dice(),
        },
    );
    match decision.end {
        Some(AttemptEnd::Completed) | None => {
            tracing::debug!(job = %job.id, kind = %job.kind, attempt = job.attempt, to = %decision.to, "attempt over");
        }
        Some(end) => {
            let (end, reason) = (end.as_str(), decision.reason.as_deref());
            tracing::info!(job = %job.id, kind = %job.kind, attempt = job.attempt, end, reason, to = %decision.to, "attempt failed");
        }
    }
    // Nobody adds to them any more: the handler is gone.
    let follow_ups = match decision.to {
        State::Completed => std::mem::take(&mut *lock(&attempt.follow_ups)),
        _ => Vec::new(),
    };
    Finish {
        key: job.key,
        attempt: job.attempt,
        started_at: attempt.started_at,
        ended_at: now,
        decision,
        usage: attempt.usage.get().copied(),
        follow_ups,
        snoozes_max: options.snoozes_max,
    }
}
