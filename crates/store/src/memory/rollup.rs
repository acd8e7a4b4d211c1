//! Roll-ups, and the slips that ends leave for them.

use std::collections::{BTreeMap, VecDeque};

use taskwright_core::Timestamp;
use taskwright_core::limit::PAGE_ROWS_MAX;
use taskwright_core::rollup::{Ended, Grain, RollUp};

use super::MemoryStore;
use super::job::Job;
use super::world::World;
use crate::Reply;
use crate::claim::JobKey;
use crate::rollup::{RollUpFilter, RollUpPage, RollUpPlace, RollUpStore, RolledUp, Sums};

/// All roll-ups.
#[derive(Debug, Default)]
pub(super) struct RollUps {
    rows: BTreeMap<(Grain, RollUpPlace), RollUp>,
    slips: VecDeque<(RollUpPlace, RollUp)>,
}

impl RollUpStore for MemoryStore {
    fn roll_up(&self, most: usize) -> Reply<'_, RolledUp> {
        self.act(|world| Ok(world.roll_ups.roll_up(most)))
    }

    fn roll_ups(
        &self,
        filter: RollUpFilter,
        after: Option<RollUpPlace>,
        limit: usize,
    ) -> Reply<'_, RollUpPage> {
        self.ask(|world| Ok(world.roll_ups.page(&filter, after, limit.clamp(1, PAGE_ROWS_MAX))))
    }
}

impl World {
    /// Leaves a slip of the newest attempt of a job.
    pub(super) fn leave_slip(&mut self, key: JobKey, run_at: Timestamp) {
        let job = &self.jobs[&key];
        let [.., record] = job.attempts.as_slice() else { return };
        let previous = record
            .attempt
            .checked_sub(1)
            .and_then(|number| job.attempts.iter().find(|record| record.attempt == number));
        let ended = Ended {
            end: record.end,
            claimed_at: record.claimed_at,
            started_at: record.started_at,
            ended_at: record.ended_at,
            run_at,
            previous_end: previous.map(|record| record.ended_at),
        };
        let mut roll_up = RollUp::default();
        roll_up.add(&ended);
        let place = place(job, Grain::Minute.start(record.ended_at));
        self.roll_ups.slips.push_back((place, roll_up));
    }
}

fn place(job: &Job, at: Timestamp) -> RollUpPlace {
    RollUpPlace {
        at,
        namespace: job.new.namespace.clone(),
        queue: job.new.queue.clone(),
        kind: job.new.kind.clone(),
    }
}

impl RollUps {
    fn roll_up(&mut self, most: usize) -> RolledUp {
        let taken = self.slips.len().min(most.max(1));
        let mut sums = Sums::default();
        for (place, ended) in self.slips.drain(..taken) {
            sums.add(place, &ended);
        }
        let executions = sums.executions();
        for (key, sum) in sums.into_sums() {
            self.rows.entry(key).or_default().merge(&sum);
        }
        RolledUp { executions, more: !self.slips.is_empty() }
    }

    fn page(&self, filter: &RollUpFilter, after: Option<RollUpPlace>, limit: usize) -> RollUpPage {
        let matching = self.rows.iter().filter(|((grain, place), _)| {
            *grain == filter.grain
                && filter.includes(place)
                && after.as_ref().is_none_or(|after| place > after)
        });
        let mut roll_ups: Vec<_> =
            matching.take(limit + 1).map(|((_, place), sum)| (place.clone(), sum.clone())).collect();
        let more = roll_ups.len() > limit;
        roll_ups.truncate(limit);
        let next = roll_ups.last().map(|(place, _)| place.clone()).filter(|_| more);
        RollUpPage { roll_ups, next }
    }

    pub(super) fn collect(&mut self, grain: Grain, before: Timestamp, limit: usize, dry_run: bool) -> usize {
        let is_old = |(of, place): &&(Grain, RollUpPlace)| *of == grain && place.at < before;
        let old: Vec<_> = self.rows.keys().filter(is_old).take(limit).cloned().collect();
        if !dry_run {
            old.iter().for_each(|key| drop(self.rows.remove(key)));
        }
        old.len()
    }
}
