//! The task that sees a service through one life: from when its owner starts it until it is at rest.
//!
//! The service runs in a task of its own, so that the keeper is there whatever the service does. Whoever tells it to stop changes
//! the board and waits; the keeper does the stopping, so that it is done once and within its time, also when those who asked are gone.

use std::sync::Arc;
use std::time::Duration;

use taskwright_core::Timestamp;
use taskwright_core::service::{Cause, Restart, ServiceState};

use super::container::{Shared, Stopped};
use super::{ServiceContext, ServiceError, Start};
use crate::env::{Died, Spawned};
use crate::generator::turn::in_words;
use crate::report::{Failure, PanicReport, ServiceReport, ServiceStep, Who};
use crate::worker::panic::{Panic, guarded};

/// How long a task that was aborted may take to be gone, before it is taken for one that blocks its thread: 500 ms.
pub(super) const ABORT_MAX: Duration = Duration::from_millis(500);

/// How a run of a service ended.
enum End {
    /// It returned.
    Done,
    /// It did not want to start.
    Declined,
    /// It failed.
    Failed(Box<Fault>),
}

/// What went wrong.
struct Fault {
    step: ServiceStep,
    error: String,
    panic: Option<Box<Panic>>,
}

impl Fault {
    fn of(step: ServiceStep, error: &ServiceError) -> Box<Self> {
        Box::new(Self { step, error: in_words(&**error), panic: None })
    }

    fn panicked(step: ServiceStep, panic: Box<Panic>) -> Box<Self> {
        Box::new(Self { step, error: panic.to_string(), panic: Some(panic) })
    }
}

/// Sees a service through one life.
pub(super) async fn keep(shared: Arc<Shared>, life: u64) {
    let mut ends = 0;
    loop {
        let began_us = shared.env.monotonic_us();
        let mut run = shared.env.spawn("service", run(Arc::clone(&shared), life));
        let ended = tokio::select! {
            biased;
            ended = &mut run => Some(read(ended)),
            () = shared.told(life) => None,
        };
        let ran = Duration::from_micros(shared.env.monotonic_us() - began_us);
        ends = Restart::count(ends, ran);
        let Some(end) = ended else { return stop(&shared, run, None).await };
        match rest(&shared, life, end, ends) {
            Ok(Some(delay)) if wait_to_restart(&shared, life, delay).await => {}
            Ok(_) => return,
            Err(end) => return stop(&shared, run, Some(end)).await,
        }
    }
}

/// Runs the service once.
async fn run(shared: Arc<Shared>, life: u64) -> End {
    let _own = shared.own_task();
    let with_trace = !shared.reports.is_empty();
    let limit = shared.options.start_within;
    match shared.env.timeout(limit, guarded(with_trace, || shared.service.start())).await {
        Some(Ok(Ok(Start::Go))) => {}
        Some(Ok(Ok(Start::Decline))) => return End::Declined,
        Some(Ok(Err(error))) => return End::Failed(Fault::of(ServiceStep::Start, &error)),
        Some(Err(panic)) => return End::Failed(Fault::panicked(ServiceStep::Start, panic)),
        None => {
            let error = format!("its `start` did not end within {limit:?}, and is dropped");
            return End::Failed(Box::new(Fault { step: ServiceStep::Start, error, panic: None }));
        }
    }
    let now = shared.env.now();
    let goes = shared.change_unless_told(life, |board| {
        board.first.get_or_insert(Ok(()));
        shared.stepped(board, Cause::Go, ServiceState::Running, now)
    });
    if !goes {
        return End::Done;
    }
    let context = ServiceContext::new(Arc::clone(&shared), life);
    match guarded(with_trace, || shared.service.run(context)).await {
        Ok(Ok(())) => End::Done,
        Ok(Err(error)) => End::Failed(Fault::of(ServiceStep::Run, &error)),
        Err(panic) => End::Failed(Fault::panicked(ServiceStep::Run, panic)),
    }
}

/// What the task of a service gave. Panics are caught in it, so that one that died was ended with its runtime.
fn read(ended: Result<End, Died>) -> End {
    ended.unwrap_or_else(|died| {
        End::Failed(Box::new(Fault { step: ServiceStep::Run, error: in_words(&died), panic: None }))
    })
}

/// Notes that the service has ended by itself, and gives after how long it is started again, if it is; or gives the end back, when
/// somebody has told it to stop just now.
fn rest(shared: &Shared, life: u64, end: End, ends: u32) -> Result<Option<Duration>, End> {
    let now = shared.env.now();
    let delay = match &end {
        End::Declined => None,
        End::Done => shared.options.restart.after(false, ends, shared.env.dice()),
        End::Failed(_) => shared.options.restart.after(true, ends, shared.env.dice()),
    };
    let restart_at = delay.map(|delay| now.plus(delay));
    let rests = shared.change_unless_told(life, |board| {
        let (cause, to) = match &end {
            End::Declined => (Cause::Decline, ServiceState::Idle),
            End::Done => (Cause::Finish, ServiceState::Finished),
            End::Failed(_) => (Cause::Fail, ServiceState::Failed),
        };
        let first = match &end {
            End::Failed(fault) => {
                board.note_error(now, &fault.error);
                Err(fault.error.clone())
            }
            End::Done | End::Declined => Ok(()),
        };
        board.first.get_or_insert(first);
        let stepped = shared.stepped(board, cause, to, now);
        board.status.restart_at = restart_at;
        stepped
    });
    if !rests {
        return Err(end);
    }
    if let End::Failed(fault) = end {
        report(shared, *fault, restart_at, restart_at.is_none());
    }
    Ok(delay)
}

/// Waits until the service is to be started again; `false` when it is not.
async fn wait_to_restart(shared: &Shared, life: u64, delay: Duration) -> bool {
    tokio::select! {
        biased;
        () = shared.told(life) => return false,
        () = shared.env.sleep(delay) => {}
    }
    let now = shared.env.now();
    shared.change_unless_told(life, |board| {
        board.status.restarts += 1;
        shared.stepped(board, Cause::Start, ServiceState::Starting, now)
    })
}

/// Stops a service that was told to, within its time.
async fn stop(shared: &Arc<Shared>, mut run: Spawned<End>, mut ended: Option<End>) {
    let mut callback = shared.env.spawn("service stop", call_stop(Arc::clone(shared)));
    let mut is_called = false;
    let limit = loop {
        let order = shared.board.borrow().stop;
        // Whoever came here was told.
        let Some(order) = order else { return };
        if ended.is_some() && is_called {
            break None;
        }
        let mut board = shared.board.subscribe();
        tokio::select! {
            biased;
            end = &mut run, if ended.is_none() => ended = Some(read(end)),
            fault = &mut callback, if !is_called => {
                is_called = true;
                if let Ok(Some(fault)) = fault {
                    note(shared, *fault);
                }
            }
            // Somebody else is in more of a hurry.
            _ = board.wait_for(|board| board.stop.is_none_or(|other| other.by_us < order.by_us)) => {}
            () = shared.env.sleep_until_us(order.by_us) => break Some(order.limit),
        }
    };
    let mut stopped = Stopped::InTime;
    if let Some(limit) = limit {
        let what = if ended.is_none() { "it" } else { "its `stop`" };
        let error = format!("{what} did not end within {limit:?} after it was told to stop, and is dropped");
        note(shared, Fault { step: ServiceStep::Overstay, error, panic: None });
        callback.abort();
    }
    if ended.is_none() {
        stopped = Stopped::Dropped;
        run.abort();
        if shared.env.timeout(ABORT_MAX, &mut run).await.is_none() {
            shared.change(|board| {
                board.stopped = Some(Stopped::No);
                true
            });
            // It has its thread, and nobody can take that away.
            let _ = run.await;
        }
    }
    if let Some(End::Failed(fault)) = ended {
        note(shared, *fault);
    }
    let now = shared.env.now();
    shared.change(|board| {
        board.stopped = Some(stopped);
        shared.stepped(board, Cause::End, ServiceState::Stopped, now)
    });
}

async fn call_stop(shared: Arc<Shared>) -> Option<Box<Fault>> {
    let _own = shared.own_task();
    match guarded(!shared.reports.is_empty(), || shared.service.stop()).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(Fault::of(ServiceStep::Stop, &error)),
        Err(panic) => Some(Fault::panicked(ServiceStep::Stop, panic)),
    }
}

/// Keeps and reports what went wrong while a service was stopped.
fn note(shared: &Shared, fault: Fault) {
    let now = shared.env.now();
    shared.change(|board| {
        board.note_error(now, &fault.error);
        true
    });
    report(shared, fault, None, false);
}

fn report(shared: &Shared, fault: Fault, retry_at: Option<Timestamp>, is_final: bool) {
    let Fault { step, error, panic } = fault;
    tracing::info!(service = %shared.name, ?step, error, "a service failed");
    shared.reports.tell(|| Failure {
        who: Who::Service(ServiceReport { service: shared.name.clone(), step }),
        error,
        panic: panic.map(|panic| PanicReport::of(*panic)),
        retry_at,
        is_final,
    });
}
