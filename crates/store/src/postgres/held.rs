//! Which jobs the workers of this process hold, and in which block each of them is.
//!
//! It saves the server a search: a completion names its block. Nothing depends on it being right: the server checks each
//! name, and a job that is not known here is searched for.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use taskwright_core::WorkerId;

/// The block of a job that has a row in `running` instead.
const NO_BLOCK: i64 = 0;

#[derive(Default)]
pub(super) struct Held {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    jobs: HashMap<i64, i64>,
    blocks: HashMap<i64, Block>,
    /// Blocks of which nothing is held any more, and which may still be there.
    emptied: Vec<i64>,
}

struct Block {
    worker: WorkerId,
    held: usize,
}

/// Where a job that a worker of this process holds is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Where {
    Block(i64),
    /// In `running`.
    Running,
    /// Not known here.
    Unknown,
}

impl Held {
    /// Notes what a claim gave out of streams: (seq, block), and out of `ready`: block 0.
    pub(super) fn add(&self, worker: WorkerId, jobs: &[(i64, i64)]) {
        let mut known = self.known();
        for (seq, block) in jobs {
            known.jobs.insert(*seq, *block);
            if *block != NO_BLOCK {
                known.blocks.entry(*block).or_insert(Block { worker, held: 0 }).held += 1;
            }
        }
    }

    pub(super) fn find(&self, seqs: impl Iterator<Item = i64>) -> Vec<Where> {
        let known = self.known();
        seqs.map(|seq| match known.jobs.get(&seq) {
            None => Where::Unknown,
            Some(&NO_BLOCK) => Where::Running,
            Some(block) => Where::Block(*block),
        })
        .collect()
    }

    /// The blocks that are empty once these jobs have ended, each given with its block.
    pub(super) fn emptied_by(&self, ends: &[(i64, i64)]) -> Vec<i64> {
        let known = self.known();
        let mut counts: HashMap<i64, usize> = HashMap::new();
        for (_, block) in ends {
            *counts.entry(*block).or_default() += 1;
        }
        let is_emptied = |(block, count): (&i64, &usize)| {
            known.blocks.get(block).is_some_and(|block| block.held <= *count).then_some(*block)
        };
        known.emptied.iter().copied().chain(counts.iter().filter_map(is_emptied)).collect()
    }

    /// Notes that jobs are held no longer.
    pub(super) fn remove(&self, seqs: impl Iterator<Item = i64>) {
        let mut known = self.known();
        for seq in seqs {
            if let Some(block) = known.jobs.remove(&seq) {
                known.leave(block);
            }
        }
    }

    /// Notes that jobs have a row in `running` now.
    pub(super) fn set_apart(&self, seqs: &[i64]) {
        let mut known = self.known();
        for seq in seqs {
            if let Some(block) = known.jobs.get_mut(seq).map(|block| std::mem::replace(block, NO_BLOCK)) {
                known.leave(block);
            }
        }
    }

    /// Notes that these blocks were removed.
    pub(super) fn removed(&self, blocks: &[i64]) {
        self.known().emptied.retain(|block| !blocks.contains(block));
    }

    /// Forgets what a worker held.
    pub(super) fn forget(&self, worker: WorkerId) {
        let known = &mut *self.known();
        let blocks = &mut known.blocks;
        known.jobs.retain(|_, block| blocks.get(block).is_none_or(|block| block.worker != worker));
        blocks.retain(|_, block| block.worker != worker);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Whatever is missing after a panic is searched for by the server.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// One job of the block less.
    fn leave(&mut self, block: i64) {
        let Some(left) = self.blocks.get_mut(&block) else { return };
        left.held -= 1;
        if left.held == 0 {
            self.blocks.remove(&block);
            self.emptied.push(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held() -> Held {
        let held = Held::default();
        held.add(WorkerId::from_parts(1, [1; 10]), &[(1, 7), (2, 7), (3, 8), (4, NO_BLOCK)]);
        held
    }

    #[test]
    fn a_job_is_found_where_its_claim_put_it_until_it_is_set_apart() {
        let held = held();
        held.set_apart(&[2]);
        let found = held.find([1, 2, 4, 5].into_iter());
        assert_eq!(found, [Where::Block(7), Where::Running, Where::Running, Where::Unknown]);
    }

    #[test]
    fn a_block_is_emptied_by_the_last_of_its_jobs_however_the_others_left() {
        let held = held();
        assert_eq!(held.emptied_by(&[(1, 7)]), [0; 0]);
        held.set_apart(&[2]);
        assert_eq!(held.emptied_by(&[(1, 7)]), [7]);
    }

    #[test]
    fn a_block_that_is_empty_is_named_until_it_was_removed() {
        let held = held();
        held.remove([3].into_iter());
        assert_eq!(held.emptied_by(&[]), [8]);
        held.removed(&[8]);
        assert_eq!(held.emptied_by(&[]), [0; 0]);
    }

    #[test]
    fn a_worker_that_is_gone_holds_nothing() {
        let held = held();
        held.forget(WorkerId::from_parts(1, [1; 10]));
        assert_eq!(held.find([1, 3].into_iter()), [Where::Unknown, Where::Unknown]);
    }
}
