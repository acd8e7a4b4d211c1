//! What the duties do.

use taskwright_core::attempt::{LossFacts, decide_loss};
use taskwright_core::sight::Sight;
use taskwright_core::{Actor, Cause, State, Timestamp, WorkerId};

use crate::claim::JobKey;
use crate::error::Error;
use crate::sweep::{Loss, LostWorker, Promoted, Reclaimed, SEEMS_LOST_AGAIN_IN};
use crate::worker::WorkerState;

use super::finish::Ending;
use super::job::Running;
use super::worker::Worker;
use super::world::World;

impl World {
    pub(super) fn promote(&mut self, now: Timestamp, limit: usize) -> Result<Promoted, Error> {
        let due = self.due.iter().take_while(|(at, _)| *at <= now).take(limit);
        let keys: Vec<JobKey> = due.map(|(_, key)| *key).collect();
        let mut promoted = Promoted::default();
        for key in keys {
            if self.jobs[&key].state == State::Held {
                self.expire_hold(now, key)?;
                promoted.expired += 1;
            } else {
                self.update(key, |job| {
                    job.enter(now, Cause::Promote, State::Available, Actor::system(), None)
                })?;
                promoted.promoted += 1;
            }
        }
        promoted.next_due = self.due.first().map(|(at, _)| *at);
        Ok(promoted)
    }

    pub(super) fn reclaim(
        &mut self,
        now: Timestamp,
        monotonic_us: u64,
        mut sight: Sight,
    ) -> Result<Reclaimed, Error> {
        sight.look(monotonic_us);
        let losses: Vec<(WorkerId, u32, Loss)> = self
            .workers
            .values()
            .filter_map(|worker| {
                Some((worker.new.id, worker.new.pid, self.loss(worker, monotonic_us, &sight)?))
            })
            .collect();
        let seems_lost = losses.iter().any(|(.., loss)| *loss == Loss::Seeming);
        let look_again_in = seems_lost.then_some(SEEMS_LOST_AGAIN_IN);
        let mut reclaimed = Reclaimed { look_again_in, sight, ..Reclaimed::default() };
        for (id, pid, loss) in losses {
            let Some(how) = loss.certain() else { continue };
            self.living(id)?.state = WorkerState::Lost;
            let mut lost = LostWorker { id, pid, how: how.to_owned(), requeued: 0, given_back: 0, ended: 0 };
            for (key, _) in self.held_by(id) {
                let running = self.running[&key].clone();
                let started = running.started;
                match self.lose(now, key, running)? {
                    state if state.is_terminal() => lost.ended += 1,
                    _ if started => lost.requeued += 1,
                    _ => lost.given_back += 1,
                }
            }
            reclaimed.workers.push(lost);
        }
        Ok(reclaimed)
    }

    /// What speaks for it that a worker is gone, if anything does.
    fn loss(&self, worker: &Worker, monotonic_us: u64, sight: &Sight) -> Option<Loss> {
        if worker.state != WorkerState::Alive {
            None
        } else if !self.is_present(worker.process) {
            Some(Loss::Certain("its process is gone"))
        } else {
            let lease = worker.new.lease;
            Loss::by_lease(lease, worker.lease_until_us, monotonic_us, sight.covers(lease, monotonic_us))
        }
    }

    /// Decides about a job whose worker is gone, and tells where it went.
    pub(super) fn lose(&mut self, now: Timestamp, key: JobKey, running: Running) -> Result<State, Error> {
        let job = &self.jobs[&key];
        let decision = decide_loss(&LossFacts {
            attempt: running.attempt,
            max_attempts: job.max_attempts,
            lost_before: job.lost_in_a_row(),
            kept_a_step: job.kept_a_step(running.attempt),
            started: running.started,
            delivery: job.new.delivery,
            cancel_requested: running.cancel.is_some(),
        });
        let to = decision.to;
        let ending = Ending { at: now, started_at: None, usage: None, actor: Actor::system(), decision };
        self.end_attempt(now, key, running, ending)?;
        Ok(to)
    }
}
