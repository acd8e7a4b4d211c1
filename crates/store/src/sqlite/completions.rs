//! First attempts that completed and left nothing but their times: the hot path of ends.
//!
//! What completes together leaves its block together, and is one row of `completion` for each run of numbers: 8 bytes a job.
//! A job that leaves more behind (a result, its usage) gets a row of its own in `attempt`.

use std::collections::HashMap;
use std::sync::LazyLock;

use rusqlite::{Connection, OptionalExtension, Row};
use taskwright_core::attempt::AttemptEnd;
use taskwright_core::{AttemptRecord, State, Timestamp, Verdict, WorkerId, state};

use super::finish::{array, insert_completed, is_plain, tell_completed};
use super::held::{Available, Blocks, FIRST};
use super::many_rows::ManyRows;
use super::ranges::{within, without};
use super::session::Session;
use crate::ended::Running;
use crate::error::Error;
use crate::finish::Finish;

/// Jobs of one row: its times fill a page of the file and no more.
const JOBS_MAX: usize = 500;

/// Bytes of times that a job has.
const TIMES_BYTES: usize = 8;

/// A row of `completion`.
#[derive(Debug)]
pub(super) struct Completion {
    range: (i64, i64),
    worker: i64,
    claimed_at: i64,
    times: Vec<u8>,
}

/// A job in a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Completed {
    pub(super) seq: i64,
    pub(super) worker: i64,
    pub(super) times: Times,
}

/// When a completed attempt was claimed, started and ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    claimed_at: i64,
    started_at: i64,
    ended_at: i64,
}

impl Times {
    fn of(claimed_at: i64, bytes: &[u8]) -> Self {
        Self {
            claimed_at,
            started_at: claimed_at + offset(bytes, 0),
            ended_at: claimed_at + offset(bytes, 4),
        }
    }

    /// Reads `claimed_at` and the bytes of one job from column `at` on; `None` where there is no completion.
    pub(super) fn read(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Self>> {
        let Some(claimed_at) = row.get::<_, Option<i64>>(at)? else { return Ok(None) };
        Ok(Some(Self::of(claimed_at, row.get_ref(at + 1)?.as_blob()?)))
    }

    /// What the attempt left behind.
    pub(super) fn record(self, worker: WorkerId) -> AttemptRecord {
        AttemptRecord {
            attempt: FIRST,
            worker,
            claimed_at: Timestamp::from_micros(self.claimed_at),
            started_at: Some(Timestamp::from_micros(self.started_at)),
            ended_at: Timestamp::from_micros(self.ended_at),
            end: AttemptEnd::Completed,
            error: None,
            usage: None,
        }
    }

    pub(super) fn started_at(self) -> Timestamp {
        Timestamp::from_micros(self.started_at)
    }

    pub(super) fn ended_at(self) -> Timestamp {
        Timestamp::from_micros(self.ended_at)
    }
}

/// The integer of 32 bits there; a number without times there cannot be.
fn offset(bytes: &[u8], at: usize) -> i64 {
    let four = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
    four.map_or(0, |four| i32::from_be_bytes(four).into())
}

/// How long after the claim, if that can be kept: within 35 minutes.
fn offset_of(at: Timestamp, claimed_at: i64) -> Option<[u8; 4]> {
    i32::try_from(at.as_micros() - claimed_at).ok().map(i32::to_be_bytes)
}

impl Completion {
    /// Reads a row of [`NEXT`].
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let range = (row.get(0)?, row.get(1)?);
        Ok(Self { range, worker: row.get(2)?, claimed_at: row.get(3)?, times: row.get(4)? })
    }

    /// The last of its numbers.
    pub(super) fn hi(&self) -> i64 {
        self.range.1
    }

    /// The jobs in it, those with the highest numbers first.
    pub(super) fn jobs(&self) -> impl Iterator<Item = Completed> {
        let seqs = (self.range.0..=self.range.1).rev();
        seqs.zip(self.times.chunks_exact(TIMES_BYTES).rev()).map(|(seq, bytes)| Completed {
            seq,
            worker: self.worker,
            times: Times::of(self.claimed_at, bytes),
        })
    }

    /// The part with these numbers.
    fn part(&self, range: (i64, i64)) -> Self {
        let place = |seq: i64| usize::try_from(seq - self.range.0).unwrap_or(0) * TIMES_BYTES;
        let times = self.times[place(range.0)..place(range.1 + 1)].to_vec();
        Self { range, times, ..*self }
    }
}

/// The ends that [`complete_held`] left.
#[derive(Default)]
pub(super) struct Rest {
    /// Their indexes.
    pub(super) ends: Vec<usize>,
    /// Those of their jobs that are in blocks.
    pub(super) in_blocks: Vec<i64>,
}

/// Completes those of the ends that do so plainly and whose jobs are in blocks of the worker, and has their verdicts say so.
pub(super) fn complete_held(
    session: &mut Session<'_>,
    worker: i64,
    ends: &[Finish],
    verdicts: &mut [Verdict],
) -> Result<Rest, Error> {
    let mut order: Vec<usize> = (0..ends.len()).collect();
    // Stable: of several writes of one attempt in a batch the first one counts.
    order.sort_by_key(|index| ends[*index].key);
    let firsts = order.iter().map(|index| &ends[*index]).filter(|end| end.attempt == FIRST);
    let blocks = Blocks::of(session, Some(worker), firsts.map(|end| end.key.0))?;
    let mut leaving: Vec<(&Finish, Running)> = Vec::with_capacity(ends.len());
    let mut rest = Rest::default();
    for same in order.chunk_by(|a, b| ends[*a].key == ends[*b].key) {
        let seq = ends[same[0]].key.0;
        let block = blocks.find(seq);
        let first = same.iter().copied().find(|index| ends[*index].attempt == FIRST);
        match block.zip(first).filter(|(_, first)| is_plain(&ends[*first])) {
            Some((block, first)) => {
                let decision = &ends[first].decision;
                state::check(State::Running, decision.cause, decision.to)?;
                verdicts[first] = Verdict::Accepted;
                leaving.push((&ends[first], block.running()));
            }
            None => {
                rest.ends.extend(same);
                rest.in_blocks.extend(block.map(|_| seq));
            }
        }
    }
    if !leaving.is_empty() {
        let seqs: Vec<i64> = leaving.iter().map(|(end, _)| end.key.0).collect();
        blocks.let_go(session, &seqs)?;
        write(session, worker, &leaving)?;
        look_up(session, &mut leaving)?;
        tell_completed(session, &leaving)?;
    }
    Ok(rest)
}

/// Looks up what their blocks do not say of jobs: the lane of each, and since when it was available.
fn look_up(session: &mut Session<'_>, leaving: &mut [(&Finish, Running)]) -> Result<(), Error> {
    let unknown = || leaving.iter().filter(|(_, running)| running.place.is_none());
    if unknown().next().is_none() {
        return Ok(());
    }
    let seqs = array(unknown().map(|(end, _)| end.key.0));
    let jobs =
        session.all(AVAILABLE, [seqs], |row| Ok((row.get::<_, i64>(0)?, (row.get(1)?, row.get(2)?))))?;
    let jobs: HashMap<i64, Available> = jobs.into_iter().collect();
    for (end, running) in leaving {
        running.place = running.place.or_else(|| jobs.get(&end.key.0).copied());
    }
    Ok(())
}

/// Writes down what completed, in the order of the numbers.
fn write(session: &mut Session<'_>, worker: i64, leaving: &[(&Finish, Running)]) -> Result<(), Error> {
    let mut rows: Vec<Completion> = Vec::new();
    let mut own = Vec::new();
    for (end, Running { claimed_at, .. }) in leaving {
        let seq = end.key.0;
        let offsets = offset_of(end.started_at, *claimed_at).zip(offset_of(end.ended_at, *claimed_at));
        let Some((started, ended)) = offsets.filter(|_| end.usage.is_none() && end.decision.result.is_none())
        else {
            own.push((*end, *claimed_at));
            continue;
        };
        let goes_on = |row: &&mut Completion| {
            row.range.1 + 1 == seq
                && row.claimed_at == *claimed_at
                && row.times.len() < JOBS_MAX * TIMES_BYTES
        };
        if let Some(row) = rows.last_mut().filter(goes_on) {
            row.range.1 = seq;
            row.times.extend([started, ended].as_flattened());
        } else {
            let times = [started, ended].concat();
            rows.push(Completion { range: (seq, seq), worker, claimed_at: *claimed_at, times });
        }
    }
    insert(session, &rows)?;
    insert_completed(session, worker, &own)
}

static INSERT: LazyLock<ManyRows> = LazyLock::new(|| {
    ManyRows::new("INSERT INTO taskwright_completion (lo, hi, worker, claimed_at, times) VALUES ", 5, "")
});

fn insert(session: &mut Session<'_>, completions: &[Completion]) -> Result<(), Error> {
    INSERT.insert(session, completions, |one, values| {
        values.bind_all([one.range.0, one.range.1, one.worker, one.claimed_at])?;
        values.bind(&one.times)
    })
}

/// Takes jobs, whose numbers are sorted, out of the completions that they are in: they are removed.
pub(super) fn forget(session: &mut Session<'_>, seqs: &[i64]) -> Result<(), Error> {
    let mut left = Vec::new();
    let mut known = i64::MIN;
    for seq in seqs {
        if *seq <= known {
            continue;
        }
        let at = session.first(AT, [seq], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
        let Some(range) = at.filter(|(_, hi)| seq <= hi) else { continue };
        known = range.1;
        let parts = without(range, within(seqs, range));
        if !parts.is_empty() {
            let whole = session.first(WHOLE, [range.0], Completion::read)?;
            left.extend(whole.iter().flat_map(|whole| parts.iter().map(|part| whole.part(*part))));
        }
        session.execute(REMOVE, [range.0])?;
    }
    insert(session, &left)
}

/// The attempt of a job that is in a completion, by the number of its worker.
pub(super) fn of_job(conn: &Connection, seq: i64) -> rusqlite::Result<Option<Completed>> {
    let read = |row: &Row<'_>| {
        let worker = row.get(0)?;
        Ok(Times::read(row, 1)?.map(|times| Completed { seq, worker, times }))
    };
    conn.prepare_cached(OF_JOB)?.query_row([seq], read).optional().map(Option::flatten)
}

// The statements of completions; plans.rs holds each of them to an index.
pub(super) const AT: &str =
    "SELECT lo, hi FROM taskwright_completion WHERE lo <= ?1 ORDER BY lo DESC LIMIT 1";
pub(super) const WHOLE: &str =
    "SELECT lo, hi, worker, claimed_at, times FROM taskwright_completion WHERE lo = ?1";
pub(super) const NEXT: &str = "SELECT lo, hi, worker, claimed_at, times FROM taskwright_completion
         WHERE lo <= ?1 ORDER BY lo DESC";
pub(super) const REMOVE: &str = "DELETE FROM taskwright_completion WHERE lo = ?1";
/// While a job runs, its moment is that since when it was available.
pub(super) const AVAILABLE: &str = "SELECT j.seq, j.lane, j.run_at
         FROM rarray(?1) CROSS JOIN taskwright_job j ON j.seq = rarray.value";
pub(super) const OF_JOB: &str = "SELECT worker, claimed_at, substr(times, (?1 - lo) * 8 + 1, 8)
         FROM taskwright_completion
         WHERE lo = (SELECT max(lo) FROM taskwright_completion WHERE lo <= ?1) AND hi >= ?1";
