//! What was executed.

use taskwright_core::attempt::AttemptEnd;
use taskwright_core::limit::{ERROR_BYTES_MAX, PAGE_ROWS_MAX, SAMPLE_MAX};
use taskwright_core::name::clipped;
use taskwright_core::statistics::available_at;
use taskwright_core::{AttemptRecord, Timestamp};

use super::MemoryStore;
use super::job::Job;
use super::world::World;
use crate::Reply;
use crate::history::{
    Execution, ExecutionFilter, ExecutionPage, ExecutionPlace, Executions, HistoryStore, Newest, Sample,
    Statistics,
};
use taskwright_core::Pattern;

impl HistoryStore for MemoryStore {
    fn executions(&self, filter: ExecutionFilter, page: ExecutionPage) -> Reply<'_, Executions> {
        self.ask(|world| Ok(world.executions(&filter, page)))
    }

    fn statistics(&self, filter: ExecutionFilter, sample_max: usize) -> Reply<'_, Statistics> {
        self.ask(|world| Ok(world.statistics(&filter, sample_max)))
    }
}

impl World {
    fn executions(&self, filter: &ExecutionFilter, page: ExecutionPage) -> Executions {
        let newest = self.newest(filter, page.after, page.limit.clamp(1, PAGE_ROWS_MAX));
        let more = newest.overflowed;
        let places = newest.into_sorted();
        let next = places.last().copied().filter(|_| more);
        let executions = places
            .into_iter()
            .map(|place| {
                let (job, record) = self.executed(place);
                Execution {
                    job: job.id(),
                    kind: job.new.kind.clone(),
                    queue: job.new.queue.clone(),
                    namespace: job.new.namespace.clone(),
                    available_at: job.available_at(record),
                    record: record.clone(),
                    result: job.results.get(&place.attempt).map(|result| clipped(result, ERROR_BYTES_MAX)),
                }
            })
            .collect();
        Executions { executions, next, is_cut: false }
    }

    fn statistics(&self, filter: &ExecutionFilter, sample_max: usize) -> Statistics {
        let newest = self.newest(filter, None, sample_max.clamp(1, SAMPLE_MAX));
        let is_cut = newest.overflowed;
        let mut sample = Sample::new();
        for place in newest.into_sorted() {
            let (job, record) = self.executed(place);
            let names = (job.new.namespace.clone(), job.new.queue.clone(), job.new.kind.clone());
            sample.add(names, record, job.available_at(record));
        }
        sample.statistics(is_cut, |names| Some(names.clone()))
    }

    fn newest(&self, filter: &ExecutionFilter, after: Option<ExecutionPlace>, most: usize) -> Newest {
        let mut newest = Newest::new(most);
        for job in self.jobs.values().filter(|job| job.is_of(filter)) {
            for record in &job.attempts {
                let place =
                    ExecutionPlace { ended_at: record.ended_at, key: job.key, attempt: record.attempt };
                let by = filter.workers.is_empty() || filter.workers.contains(&record.worker);
                if by
                    && after.is_none_or(|after| place < after)
                    && filter.includes(record.started_at, record.ended_at, record.end)
                {
                    newest.offer(place);
                }
            }
        }
        newest
    }

    fn executed(&self, place: ExecutionPlace) -> (&Job, &AttemptRecord) {
        let job = &self.jobs[&place.key];
        let record = job.attempts.iter().find(|record| record.attempt == place.attempt);
        (job, record.expect("places are taken from the world itself"))
    }
}

impl Job {
    fn is_of(&self, filter: &ExecutionFilter) -> bool {
        (filter.ids.is_empty() || filter.ids.iter().take(PAGE_ROWS_MAX).any(|id| *id == self.id()))
            && filter.namespace.as_ref().is_none_or(|namespace| *namespace == self.new.namespace)
            && Pattern::any(&filter.kinds, self.new.kind.as_str())
            && Pattern::any(&filter.queues, self.new.queue.as_str())
    }

    fn available_at(&self, record: &AttemptRecord) -> Option<Timestamp> {
        let previous = self.attempts.iter().find(|earlier| earlier.attempt + 1 == record.attempt);
        available_at(self.run_at, previous.map(|earlier| earlier.ended_at), record.ended_at)
    }

    /// Keeps the result of an attempt for its history.
    pub(super) fn keep_result(&mut self, attempt: u32, end: Option<AttemptEnd>, result: Option<&String>) {
        if let (Some(AttemptEnd::Completed), Some(result)) = (end, result) {
            self.results.insert(attempt, result.clone());
        }
    }
}
