//! Removing what is over for long.

use taskwright_core::Timestamp;
use taskwright_core::retention::Garbage;
use taskwright_core::rollup::Grain;

use super::MemoryStore;
use super::job::Job;
use super::world::World;
use crate::Reply;
use crate::claim::JobKey;
use crate::collect::{Collect, CollectStore, Collected};
use crate::worker::WorkerState;

impl CollectStore for MemoryStore {
    fn collect(&self, collect: Collect) -> Reply<'_, Collected> {
        self.act(|world| Ok(world.collect(&collect)))
    }
}

impl World {
    fn collect(&mut self, collect: &Collect) -> Collected {
        let Collect { garbage, before, limit, dry_run, .. } = *collect;
        let rows = match garbage {
            Garbage::Completed | Garbage::Failed | Garbage::Cancelled | Garbage::Dropped => {
                let is_so = |job: &Job| garbage.state() == Some(job.state);
                return self.collect_jobs(collect, |_| true, |job| job.ended_at.filter(|_| is_so(job)));
            }
            Garbage::Consumed => {
                return self.collect_jobs(collect, |job| job.consumed_at.is_some(), |job| job.consumed_at);
            }
            Garbage::Firings => self.collect_firings(before, limit, dry_run),
            Garbage::Events => self.collect_events(before, limit, dry_run),
            Garbage::Deliveries => self.collect_deliveries(before, limit, dry_run),
            Garbage::Sources => self.collect_sources(before, limit, dry_run),
            Garbage::Workers => self.collect_workers(before, limit, dry_run),
            Garbage::Minutes => self.roll_ups.collect(Grain::Minute, before, limit, dry_run),
            Garbage::Audit => self.audit.collect(before, limit, dry_run),
            Garbage::Hours => self.roll_ups.collect(Grain::Hour, before, limit, dry_run),
        };
        Collected::rows(rows, limit)
    }

    /// Meets jobs that are such, and removes those of which the moment that counts has come.
    fn collect_jobs(
        &mut self,
        collect: &Collect,
        such: impl Fn(&Job) -> bool,
        since: impl Fn(&Job) -> Option<Timestamp>,
    ) -> Collected {
        let first = collect.after.map_or(i64::MIN, |after| after.0 + 1);
        let jobs = self.jobs.range(JobKey(first)..).map(|(_, job)| job);
        let met: Vec<&Job> = jobs.filter(|job| such(job)).take(collect.limit).collect();
        let more = met.len() == collect.limit;
        let next = met.last().map(|job| job.key).filter(|_| more);
        let is_old = |job: &&&Job| since(job).is_some_and(|at| at < collect.before);
        let old: Vec<_> = met.iter().filter(is_old).map(|job| (job.key, job.id())).collect();
        let rows = old.len();
        if collect.dry_run {
            return Collected { rows, jobs: old.into_iter().map(|(_, id)| id).collect(), next, more };
        }
        for (key, _) in old {
            self.remove(key);
        }
        Collected { rows, jobs: Vec::new(), next, more }
    }

    /// Forgets workers that are gone for long. Attempts go on naming them.
    fn collect_workers(&mut self, before: Timestamp, limit: usize, dry_run: bool) -> usize {
        let is_old =
            |worker: &&super::worker::Worker| worker.state != WorkerState::Alive && worker.seen_at < before;
        let old: Vec<_> =
            self.workers.values().filter(is_old).map(|worker| worker.new.id).take(limit).collect();
        if !dry_run {
            old.iter().for_each(|id| drop(self.workers.remove(id)));
        }
        old.len()
    }
}
