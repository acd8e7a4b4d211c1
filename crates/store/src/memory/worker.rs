//! Workers: registration, lease, orders, start marks.

use std::sync::Arc;
use std::time::Duration;

use taskwright_core::{Timestamp, WorkerId};

use crate::claim::JobKey;
use crate::error::Error;
use crate::worker::{CancelRequest, NewWorker, Order, Signals, StartMarks, WorkerState};

use super::Shared;
use super::world::{ProcessId, World};

/// A worker as the model keeps it.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) new: NewWorker,
    pub(super) process: ProcessId,
    pub(super) state: WorkerState,
    pub(super) order: Option<Order>,
    pub(super) lease_until_us: u64,
    pub(super) started_at: Timestamp,
    pub(super) seen_at: Timestamp,
    pub(super) remark: Option<String>,
}

/// Start marks, kept in the running row itself: gone with the attempt.
pub(super) struct Marks {
    pub(super) shared: Arc<Shared>,
    pub(super) worker: WorkerId,
}

impl StartMarks for Marks {
    fn started(&self, key: JobKey, attempt: u32) {
        if let Some(running) = self.shared.lock().fenced_mut(key, self.worker, attempt) {
            running.started = true;
        }
    }
}

impl World {
    pub(super) fn register(
        &mut self,
        process: ProcessId,
        now: Timestamp,
        monotonic_us: u64,
        new: NewWorker,
    ) -> Result<(), Error> {
        if self.workers.contains_key(&new.id) {
            // The call was repeated because its answer got lost.
            return self.renew(now, monotonic_us, new.id).map(drop);
        }
        let worker = Worker {
            process,
            state: WorkerState::Alive,
            order: None,
            lease_until_us: monotonic_us.saturating_add(micros(new.lease)),
            started_at: now,
            seen_at: now,
            remark: None,
            new,
        };
        self.hosts.insert(worker.new.id, worker.new.host.clone());
        self.workers.insert(worker.new.id, worker);
        Ok(())
    }

    pub(super) fn renew(
        &mut self,
        now: Timestamp,
        monotonic_us: u64,
        id: WorkerId,
    ) -> Result<Signals, Error> {
        let worker = self.living(id)?;
        worker.lease_until_us = monotonic_us.saturating_add(micros(worker.new.lease));
        worker.seen_at = now;
        Ok(self.signals(id))
    }

    pub(super) fn signals(&self, id: WorkerId) -> Signals {
        let mine = self.running.iter().filter(|(_, running)| running.worker == id);
        let cancels = mine.filter_map(|(key, running)| {
            let cancel = running.cancel.as_ref()?;
            Some(CancelRequest {
                key: *key,
                attempt: running.attempt,
                actor: cancel.actor.as_str().to_owned(),
                reason: cancel.reason.clone(),
            })
        });
        Signals { cancels: cancels.collect(), order: self.workers.get(&id).and_then(|worker| worker.order) }
    }

    pub(super) fn unregister(&mut self, now: Timestamp, id: WorkerId) -> Result<(), Error> {
        if self.living(id).is_err() {
            return Ok(());
        }
        for (key, _) in self.held_by(id) {
            let running = self.running[&key].clone();
            self.lose(now, key, running)?;
        }
        let worker = self.living(id)?;
        worker.state = WorkerState::Stopped;
        worker.seen_at = now;
        Ok(())
    }

    pub(super) fn remark(&mut self, id: WorkerId, remark: String) {
        if let Ok(worker) = self.living(id) {
            worker.remark = Some(remark);
        }
    }

    pub(super) fn order(&mut self, ids: &[WorkerId], order: Order) -> Vec<bool> {
        let mut obey = |id: &WorkerId| {
            let Ok(worker) = self.living(*id) else { return false };
            if worker.order != Some(Order::Stop) {
                worker.order = Some(order);
            }
            self.tell_news();
            true
        };
        ids.iter().map(&mut obey).collect()
    }

    /// The worker, if it may still act.
    ///
    /// # Errors
    ///
    /// [`Error::is_lost`] when it is not registered, has stopped or was declared lost.
    pub(super) fn living(&mut self, id: WorkerId) -> Result<&mut Worker, Error> {
        let worker = self.workers.get_mut(&id);
        worker.filter(|worker| worker.state == WorkerState::Alive).ok_or_else(|| Error::lost(id))
    }

    /// The jobs that a worker holds, with their attempts, in the order of their insertion.
    pub(super) fn held_by(&self, id: WorkerId) -> Vec<(JobKey, u32)> {
        let mine = self.running.iter().filter(|(_, running)| running.worker == id);
        mine.map(|(key, running)| (*key, running.attempt)).collect()
    }
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
