//! Jobs that run as a claim took them: in blocks.
//!
//! A claim of a thousand jobs that never ran before is mostly one row: the first and the last of their numbers. The block is
//! the fence of each of them, for its first attempt. What completes leaves it (`completions.rs`); whatever else happens to
//! such a job finds it in `running`, and so it is set apart before: out of its block, with a row of its own.

use std::sync::LazyLock;

use taskwright_core::Timestamp;

use super::many_rows::ManyRows;
use super::ranges::{within, without};
use super::session::Session;
use crate::ended::Running;
use crate::error::Error;

/// The attempt that a block is the fence of.
pub(super) const FIRST: u32 = 1;

/// A row of `block`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) range: (i64, i64),
    pub(super) worker: i64,
    pub(super) claimed_at: i64,
    /// The lane of all its jobs, and since when they were available, if that is the same for all.
    available: Option<Available>,
}

impl Block {
    /// What its jobs would have in `running`.
    pub(super) fn running(&self) -> Running {
        Running {
            attempt: FIRST,
            claimed_at: self.claimed_at,
            flags: 0,
            cancel_requested: false,
            place: self.available,
        }
    }
}

/// A lane, and since when a job of it was available.
pub(super) type Available = (i64, i64);

/// A job that was claimed for the first time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fresh {
    pub(super) seq: i64,
    pub(super) available: Available,
}

/// Some blocks, in the order of their numbers.
pub(super) struct Blocks(Vec<Block>);

impl Blocks {
    /// Those in which jobs with these numbers are, which are sorted; with `worker`, only that worker's.
    pub(super) fn of(
        session: &mut Session<'_>,
        worker: Option<i64>,
        seqs: impl Iterator<Item = i64>,
    ) -> Result<Self, Error> {
        let mut blocks: Vec<Block> = Vec::new();
        for seq in seqs {
            if blocks.last().is_some_and(|block| seq <= block.range.1) {
                continue;
            }
            let found = session.first(AT, [seq], |row| {
                let range = (row.get(0)?, row.get(1)?);
                let available = row.get::<_, Option<i64>>(4)?.zip(row.get(5)?);
                Ok(Block { range, worker: row.get(2)?, claimed_at: row.get(3)?, available })
            })?;
            let is_asked_for =
                |block: &Block| seq <= block.range.1 && worker.is_none_or(|worker| worker == block.worker);
            blocks.extend(found.filter(is_asked_for));
        }
        Ok(Self(blocks))
    }

    /// The block in which a job is.
    pub(super) fn find(&self, seq: i64) -> Option<&Block> {
        let index = self.0.partition_point(|block| block.range.1 < seq);
        self.0.get(index).filter(|block| block.range.0 <= seq)
    }

    /// Takes jobs out of these blocks; the numbers are sorted. What is left of a block are blocks.
    pub(super) fn let_go(&self, session: &mut Session<'_>, seqs: &[i64]) -> Result<(), Error> {
        let mut left = Vec::new();
        for block in &self.0 {
            let gone = within(seqs, block.range);
            if gone.is_empty() {
                continue;
            }
            session.execute(REMOVE, [block.range.0])?;
            left.extend(without(block.range, gone).into_iter().map(|range| Block { range, ..*block }));
        }
        insert(session, &left)
    }
}

/// Has a worker hold jobs that it has just claimed for the first time.
pub(super) fn hold(
    session: &mut Session<'_>,
    worker: i64,
    now: Timestamp,
    mut jobs: Vec<Fresh>,
) -> Result<(), Error> {
    jobs.sort_unstable_by_key(|job| job.seq);
    let claimed_at = now.as_micros();
    let blocks: Vec<Block> = jobs
        .chunk_by(|a, b| a.seq + 1 == b.seq)
        .filter_map(|run| {
            let (first, last) = (run.first()?, run.last()?);
            let is_same = run.iter().all(|job| job.available == first.available);
            let available = Some(first.available).filter(|_| is_same);
            Some(Block { range: (first.seq, last.seq), worker, claimed_at, available })
        })
        .collect();
    insert(session, &blocks)
}

static INSERT: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::new("INSERT INTO taskwright_block (lo, hi, worker, claimed_at, lane, ready_at) VALUES ", 6, "")
});

fn insert(session: &mut Session<'_>, blocks: &[Block]) -> Result<(), Error> {
    INSERT.insert(session, blocks, |block, values| {
        let (lane, ready_at) = block.available.unzip();
        let (lo, hi) = block.range;
        values.bind_all([Some(lo), Some(hi), Some(block.worker), Some(block.claimed_at), lane, ready_at])
    })
}

/// Gives those of these jobs that are in blocks a row in `running`, where whatever happens to a job before or other than its
/// completion finds it. With `worker`, only that worker's.
pub(super) fn set_apart(
    session: &mut Session<'_>,
    worker: Option<i64>,
    mut seqs: Vec<i64>,
) -> Result<(), Error> {
    seqs.sort_unstable();
    seqs.dedup();
    let blocks = Blocks::of(session, worker, seqs.iter().copied())?;
    seqs.retain(|seq| blocks.find(*seq).is_some());
    blocks.let_go(session, &seqs)?;
    for seq in seqs {
        if let Some(block) = blocks.find(seq) {
            let (lane, ready_at) = block.available.unzip();
            session.execute(RUN, (seq, block.worker, FIRST, block.claimed_at, lane, ready_at))?;
        }
    }
    Ok(())
}

/// The same for all jobs that a worker holds in blocks: it is gone.
pub(super) fn set_all_apart(session: &mut Session<'_>, worker: i64) -> Result<(), Error> {
    if session.execute(RUN_ALL, (worker, FIRST))? > 0 {
        session.execute(REMOVE_ALL, [worker])?;
    }
    Ok(())
}

// The statements of blocks; plans.rs holds each of them to an index.
pub(super) const AT: &str = "SELECT lo, hi, worker, claimed_at, lane, ready_at FROM taskwright_block
         WHERE lo <= ?1 ORDER BY lo DESC LIMIT 1";
pub(super) const REMOVE: &str = "DELETE FROM taskwright_block WHERE lo = ?1";
pub(super) const RUN: &str =
    "INSERT INTO taskwright_running (seq, worker, attempt, claimed_at, flags, lane, ready_at)
         VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6)";
// CROSS keeps the few that run in front, whatever statistics say.
pub(super) const RUN_ALL: &str = "INSERT INTO taskwright_running
            (seq, worker, attempt, claimed_at, flags, lane, ready_at)
         SELECT j.seq, b.worker, ?2, b.claimed_at, 0, j.lane, j.run_at
         FROM taskwright_block b CROSS JOIN taskwright_job j ON j.seq BETWEEN b.lo AND b.hi
         WHERE b.worker = ?1";
pub(super) const REMOVE_ALL: &str = "DELETE FROM taskwright_block WHERE worker = ?1";

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rusqlite::Connection;

    use super::super::SqliteStore;
    use super::super::open::Options;
    use crate::conformance::fixture::*;
    use crate::{Change, Changed, Progress, ProgressReport};

    /// A store of this process, and what to look into its file with.
    fn opened() -> (tempfile::TempDir, Process, Connection) {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&directory.path().join("taskwright.db"), Options::default()).unwrap();
        let conn = store.opened.connect_reader().unwrap();
        (directory, Process::of(Arc::new(store)), conn)
    }

    fn ranges(conn: &Connection, table: &str) -> Vec<(i64, i64)> {
        let mut read = conn.prepare(&format!("SELECT lo, hi FROM taskwright_{table} ORDER BY lo")).unwrap();
        let ranges = read.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        ranges.collect::<Result<_, _>>().unwrap()
    }

    fn count(conn: &Connection, table: &str) -> u32 {
        conn.query_row(&format!("SELECT count(*) FROM taskwright_{table}"), [], |row| row.get(0)).unwrap()
    }

    #[tokio::test]
    async fn a_claim_of_a_thousand_is_one_row_and_their_completion_is_two() {
        let (_directory, process, conn) = opened();
        let worker = process.worker(1).await;
        process.enqueue(0, jobs(1..=1_000)).await;
        let claimed = worker.claim(worker.ask(1, 1_000)).await;
        assert_eq!(ranges(&conn, "block"), [(1, 1_000)]);
        worker.finish(2, claimed.iter().map(|job| ending(2, job, completed())).collect()).await;
        assert_eq!(ranges(&conn, "completion"), [(1, 500), (501, 1_000)]);
        assert_eq!(["block", "running", "attempt"].map(|table| count(&conn, table)), [0, 0, 0]);
    }

    #[tokio::test]
    async fn what_happens_to_one_of_a_block_leaves_the_others_in_theirs() {
        let (_directory, process, conn) = opened();
        let worker = process.worker(1).await;
        process.enqueue(0, jobs(1..=7)).await;
        let claimed = worker.claim_all(1).await;
        assert_eq!(process.change(2, 4, Change::Cancel).await, Changed::Requested);
        assert_eq!(ranges(&conn, "block"), [(1, 3), (5, 7)]);
        let report =
            ProgressReport { key: claimed[0].key, attempt: 1, at: at(2), progress: Progress::default() };
        process.store().report(worker.id, vec![report.clone(), report]).await.unwrap();
        assert_eq!(ranges(&conn, "block"), [(2, 3), (5, 7)]);
        worker.end(3, &claimed[5], failed("boom")).await;
        assert_eq!(ranges(&conn, "block"), [(2, 3), (5, 5), (7, 7)]);
        assert_eq!(ranges(&conn, "completion"), []);
        let ends = [0, 1, 2, 4, 6].map(|n| ending(4, &claimed[n], completed()));
        worker.finish(4, ends.to_vec()).await;
        assert_eq!(ranges(&conn, "block"), []);
        assert_eq!(ranges(&conn, "completion"), [(2, 3), (5, 5), (7, 7)]);
        // One that reported, one that failed, and one that is still to be cancelled.
        assert_eq!(["running", "attempt"].map(|table| count(&conn, table)), [1, 2]);
    }

    #[tokio::test]
    async fn a_job_that_is_freed_leaves_the_others_of_its_block_where_they_are() {
        let (_directory, process, conn) = opened();
        let worker = process.worker(1).await;
        process.enqueue(0, jobs(1..=3)).await;
        worker.claim_all(1).await;
        assert_eq!(process.change(2, 2, Change::Free).await, Changed::Done);
        assert_eq!(ranges(&conn, "block"), [(1, 1), (3, 3)]);
        assert_eq!(["ready", "running", "attempt"].map(|table| count(&conn, table)), [1, 0, 1]);
    }

    #[tokio::test]
    async fn a_block_says_what_its_jobs_waited_for_if_it_is_the_same_for_all() {
        let (_directory, process, conn) = opened();
        let worker = process.worker(1).await;
        let said = || {
            let sql = "SELECT hi, ready_at FROM taskwright_block ORDER BY lo";
            let mut read = conn.prepare(sql).unwrap();
            let rows = read.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
            rows.collect::<Result<Vec<(i64, Option<i64>)>, _>>().unwrap()
        };
        process.enqueue(0, jobs(1..=4)).await;
        worker.claim(worker.ask(1, 3)).await;
        assert_eq!(said(), [(3, Some(at(0).as_micros()))]);
        process.enqueue(2, [job(5)]).await;
        let mixed = worker.claim_all(3).await;
        assert_eq!(said(), [(3, Some(at(0).as_micros())), (5, None)]);
        worker.end(4, &mixed[0], completed()).await;
        assert_eq!(said(), [(3, Some(at(0).as_micros())), (5, None)]);
    }

    #[tokio::test]
    async fn what_took_too_long_for_an_offset_is_kept_as_an_attempt() {
        let (_directory, process, conn) = opened();
        let worker = process.worker(1).await;
        process.enqueue(0, jobs(1..=2)).await;
        let claimed = worker.claim_all(1).await;
        worker.end(2_000, &claimed[0], completed()).await;
        worker.end(3_000, &claimed[1], completed()).await;
        assert_eq!((ranges(&conn, "completion"), count(&conn, "attempt")), (vec![(1, 1)], 1));
        for (n, end) in [(1, 2_000), (2, 3_000)] {
            assert_eq!(process.detail(n).await.attempts[0].ended_at, at(end));
        }
    }
}
