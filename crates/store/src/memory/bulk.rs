//! Bulk jobs: parents, and what is told of their items.

use taskwright_core::limit::PAGE_ROWS_MAX;
use taskwright_core::{Actor, GeneratorName, JobId, Namespace, State, Timestamp};

use super::MemoryStore;
use super::job::Job;
use super::world::World;
use crate::bulk::{BulkStore, BulkWrite, NewBulk, StoredBulk, moves_to};
use crate::claim::JobKey;
use crate::error::Error;
use crate::finish::Progress;
use crate::generator::GeneratorKey;
use crate::{Enqueued, Reply};

/// What a parent has besides.
#[derive(Clone, Debug)]
pub(super) struct Bulk {
    pub(super) generator: GeneratorKey,
    pub(super) name: GeneratorName,
    pub(super) definition: String,
    pub(super) tally: String,
    pub(super) progress: Progress,
}

impl BulkStore for MemoryStore {
    fn create_bulk(&self, now: Timestamp, bulk: NewBulk) -> Reply<'_, Enqueued> {
        self.act(|world| Ok(world.create_bulk(now, bulk)))
    }

    fn bulk(&self, parent: JobId) -> Reply<'_, Option<StoredBulk>> {
        self.ask(|world| Ok(world.keys.get(&parent).and_then(|key| world.jobs[key].stored_bulk())))
    }

    fn bulks(
        &self,
        namespace: Option<Namespace>,
        after: Option<JobKey>,
        limit: usize,
    ) -> Reply<'_, Vec<StoredBulk>> {
        self.ask(|world| {
            let bulks = world
                .jobs
                .values()
                .rev()
                .filter(|job| after.is_none_or(|after| job.key < after))
                .filter(|job| namespace.as_ref().is_none_or(|namespace| *namespace == job.new.namespace))
                .filter_map(Job::stored_bulk);
            Ok(bulks.take(limit.min(PAGE_ROWS_MAX)).collect())
        })
    }
}

impl Job {
    fn stored_bulk(&self) -> Option<StoredBulk> {
        let bulk = self.bulk.as_deref()?;
        Some(StoredBulk {
            key: self.key,
            parent: self.id(),
            namespace: self.new.namespace.clone(),
            generator: bulk.name.clone(),
            definition: bulk.definition.clone(),
            tally: bulk.tally.clone(),
        })
    }
}

impl World {
    fn create_bulk(&mut self, now: Timestamp, new: NewBulk) -> Enqueued {
        let NewBulk { parent, generator, definition, tally, progress } = new;
        let id = parent.id;
        if self.keys.contains_key(&id) {
            return Enqueued { id, existing: true };
        }
        let name = generator.name.clone();
        let generator = self.generators.put_and_find(now, generator);
        let key = self.next_key();
        let bulk = Bulk { generator, name, definition, tally, progress };
        self.insert(Job::parent(key, now, parent, bulk));
        self.tell_news();
        Enqueued { id, existing: false }
    }

    /// Whether the parent is as whoever writes about it has seen it.
    pub(super) fn bulk_fits(&self, write: &BulkWrite) -> bool {
        let parent = self.keys.get(&write.parent).map(|key| &self.jobs[key]);
        parent.is_some_and(|parent| parent.state == State::Blocked) != write.is_over
    }

    pub(super) fn write_bulk(&mut self, now: Timestamp, write: &BulkWrite) -> Result<(), Error> {
        let Some(key) = self.keys.get(&write.parent).copied() else { return Ok(()) };
        self.update(key, |parent| {
            if let Some(bulk) = &mut parent.bulk {
                (bulk.tally, bulk.progress) = (write.tally.clone(), write.progress.clone());
            }
            let Some((cause, to, reason)) = write.end.as_ref().and_then(moves_to) else { return Ok(()) };
            let reason = reason.map(str::to_owned);
            parent.enter(now, cause, to, Actor::system(), reason.clone())?;
            parent.end_reason = reason;
            parent.result = (to == State::Completed).then(|| write.tally.clone());
            Ok(())
        })
    }

    /// Has the generator of a bulk asked at once, whose parent was cancelled, even if it rests.
    pub(super) fn tell_bulk(&mut self, now: Timestamp, parent: JobKey) {
        if let Some(bulk) = &self.jobs[&parent].bulk {
            self.generators.wake(now, bulk.generator);
            self.tell_news();
        }
    }
}
