//! What waits for one reporter, and the loop that tells it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::sync::watch;

use super::{AnyReporter, Report};
use crate::attempt::lock;
use crate::env::{Env, Spawned};
use crate::worker::panic::{guarded, watch_places};

/// Reports that wait for one reporter; those that come when there are so many are dropped: 256.
const WAITING_MAX: usize = 256;
/// How long one call may take: 30 s.
const CALL_MAX: Duration = Duration::from_secs(30);

/// Where reports wait for one reporter. Dropping it ends the loop.
pub(super) struct Desk {
    waiting: Mutex<Waiting>,
    /// How many reports have come and how many were told or dropped: who waits for either waits here.
    counts: watch::Sender<Counts>,
    /// The loop, where it is a task.
    task: Mutex<Option<Spawned<()>>>,
}

#[derive(Default)]
struct Waiting {
    reports: VecDeque<Arc<Report>>,
    dropped: u64,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    come: u64,
    gone: u64,
}

impl Desk {
    pub(super) fn open(env: &Env, reporter: Arc<dyn AnyReporter>) -> Arc<Self> {
        watch_places();
        let desk = Arc::new(Self {
            waiting: Mutex::default(),
            counts: watch::Sender::new(Counts::default()),
            task: Mutex::default(),
        });
        let told = serve(Arc::downgrade(&desk), desk.counts.subscribe(), env.clone(), reporter);
        let task = env.spawn_apart("reports", told).expect("the system has a thread for a reporter");
        *lock(&desk.task) = task;
        desk
    }

    pub(super) fn put(&self, report: Arc<Report>) {
        let mut waiting = lock(&self.waiting);
        if waiting.reports.len() >= WAITING_MAX {
            waiting.dropped += 1;
            // What wakes somebody up takes the place of what is tried again anyway.
            let other = waiting.reports.iter().position(|other| !other.is_final);
            match other.filter(|_| report.is_final) {
                Some(other) => drop(waiting.reports.remove(other)),
                None => return,
            }
            waiting.reports.push_back(report);
            return;
        }
        waiting.reports.push_back(report);
        drop(waiting);
        self.counts.send_modify(|counts| counts.come += 1);
    }

    fn take(&self) -> Option<(Arc<Report>, u64)> {
        let mut waiting = lock(&self.waiting);
        let report = waiting.reports.pop_front()?;
        Some((report, std::mem::take(&mut waiting.dropped)))
    }

    /// Is ready when everything is told that has come before.
    pub(super) async fn flushed(&self) {
        let mut counts = self.counts.subscribe();
        let come = counts.borrow().come;
        // The sender is here.
        let _ = counts.wait_for(|counts| counts.gone >= come).await;
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let waiting = lock(&self.waiting);
        let dropped = waiting.reports.len() as u64 + waiting.dropped;
        if dropped > 0 {
            tracing::warn!(dropped, "reports of failures were not told: the reporter had no time for them");
        }
    }
}

/// Tells the reporter, until nobody can report any more.
async fn serve(
    desk: Weak<Desk>,
    mut counts: watch::Receiver<Counts>,
    env: Env,
    reporter: Arc<dyn AnyReporter>,
) {
    loop {
        if counts.wait_for(|counts| counts.come > counts.gone).await.is_err() {
            return;
        }
        // Held for a moment only, so that the last who can report may go.
        let Some((report, dropped)) = desk.upgrade().and_then(|desk| desk.take()) else { return };
        if dropped > 0 {
            tracing::warn!(dropped, "reports of failures were dropped: the reporter is too slow for them");
        }
        let report = if dropped > 0 {
            Arc::new(Report { dropped_before: dropped, ..(*report).clone() })
        } else {
            report
        };
        call(&env, &*reporter, &report, false).await;
        if report.is_final {
            call(&env, &*reporter, &report, true).await;
        }
        let Some(desk) = desk.upgrade() else { return };
        desk.counts.send_modify(|counts| counts.gone += 1);
    }
}

async fn call(env: &Env, reporter: &dyn AnyReporter, report: &Report, final_call: bool) {
    match env.timeout(CALL_MAX, guarded(false, || reporter.tell(report, final_call))).await {
        Some(Ok(())) => {}
        Some(Err(panic)) => {
            tracing::error!(%panic, "a reporter of failures panicked; it was to tell: {report}");
        }
        None => tracing::error!("a reporter of failures took more than 30 s; it was to tell: {report}"),
    }
}
