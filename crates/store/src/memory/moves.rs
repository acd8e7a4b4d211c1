//! What happened to jobs lately.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::MemoryStore;
use super::world::World;
use crate::Reply;
use crate::claim::JobKey;
use crate::moves::{MovePlace, MoveStore, Moves};

/// Moves that are remembered.
const REMEMBERED_MAX: usize = 10_000;

/// The newest moves, since somebody has listened for the first time: what is remembered costs next to nothing, so that leases do not
/// end.
#[derive(Debug, Default)]
pub(super) struct Trail {
    is_kept: bool,
    newest: i64,
    moved: VecDeque<JobKey>,
}

impl Trail {
    pub(super) fn note(&mut self, key: JobKey) {
        if !self.is_kept {
            return;
        }
        self.newest += 1;
        self.moved.push_back(key);
        if self.moved.len() > REMEMBERED_MAX {
            self.moved.pop_front();
        }
    }

    fn place(&self, number: i64) -> MovePlace {
        MovePlace::of(i64::from(self.is_kept), 0, number)
    }

    /// The moves behind a place, if they are remembered.
    fn behind(&self, place: &MovePlace) -> Option<impl Iterator<Item = JobKey>> {
        let forgotten = self.newest - i64::try_from(self.moved.len()).unwrap_or(i64::MAX);
        let number = place.number().filter(|number| *place == self.place(*number))?;
        let skip = usize::try_from(number - forgotten).ok()?;
        (self.is_kept && number <= self.newest).then(|| self.moved.iter().copied().skip(skip))
    }
}

impl MoveStore for MemoryStore {
    fn listen(&self, _: Duration) -> Reply<'_, MovePlace> {
        self.act(|world| {
            world.trail.is_kept = true;
            Ok(world.trail.place(world.trail.newest))
        })
    }

    fn moves(&self, after: MovePlace, limit: usize) -> Reply<'_, Moves> {
        self.ask(move |world| Ok(world.moves(&after, limit)))
    }
}

impl World {
    fn moves(&self, after: &MovePlace, limit: usize) -> Moves {
        let trail = &self.trail;
        let newest = trail.place(trail.newest);
        let (Some(behind), Some(number)) = (trail.behind(after), after.number()) else {
            return Moves::missed(newest);
        };
        let keys: Vec<JobKey> = behind.take(limit.max(1)).collect();
        let place = trail.place(number + i64::try_from(keys.len()).unwrap_or(i64::MAX));
        let distinct: BTreeSet<JobKey> = keys.into_iter().collect();
        let jobs = distinct.iter().filter_map(|key| self.jobs.get(key));
        let is_end = place == newest;
        Moves { jobs: self.views(jobs), place, is_end, missed: false }
    }
}
