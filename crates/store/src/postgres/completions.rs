//! The executions in completions, those that ended last first.
//!
//! Completions are read in the order in which they were written, the last first, which is nearly that of the ends in them:
//! an end is written within milliseconds, or, when the database was away, as long as its worker's lease lasted. So what was
//! read is given out in the order of the ends once what was not read yet must be older by that time; where so much ends in
//! that time that it would be too much to keep, it is given out sooner.

use std::collections::BinaryHeap;
use std::time::Duration;

use taskwright_core::Timestamp;
use tokio_postgres::Row;

use super::session::{Session, get};
use crate::claim::JobKey;
use crate::error::Error;
use crate::history::ExecutionPlace;

/// How late an end may have been written: twice the lease that workers have unless told otherwise.
const LATE_MAX: Duration = Duration::from_secs(30);

/// Executions that are kept until their turn.
const KEPT_MAX: usize = 100_000;

/// Executions that one statement is to give, as far as can be told beforehand.
const REACH: usize = 20_000;

/// Completions that one statement gives.
const ROWS_MIN: usize = 64;
const ROWS_MAX: usize = 2_000;

/// A first attempt that was completed and left nothing but its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Completed {
    pub(super) place: ExecutionPlace,
    pub(super) worker: i64,
    pub(super) claimed_at: i64,
    pub(super) started_at: i64,
}

/// Goes back through the completions.
pub(super) struct Completions {
    /// Only what stands behind this place,
    after: ExecutionPlace,
    /// and ended at this moment or later.
    from: Timestamp,
    /// Completions below this number have not been read; `None` when where to start is still to be found.
    below: Option<i64>,
    /// When that ended which was read last.
    edge: Timestamp,
    kept: BinaryHeap<Completed>,
    rows: usize,
    is_read: bool,
}

impl Completions {
    pub(super) fn new(after: ExecutionPlace, from: Timestamp) -> Self {
        Self {
            after,
            from,
            below: None,
            edge: Timestamp::from_micros(i64::MAX),
            kept: BinaryHeap::new(),
            rows: ROWS_MIN,
            is_read: false,
        }
    }

    /// Reads until the next one is certain.
    pub(super) async fn fill(&mut self, session: &mut Session<'_>) -> Result<(), Error> {
        while !self.is_read && !self.next_is_certain() {
            self.read(session).await?;
        }
        Ok(())
    }

    fn next_is_certain(&self) -> bool {
        let late = self.edge.plus(LATE_MAX);
        self.kept.len() >= KEPT_MAX || self.kept.peek().is_some_and(|next| next.place.ended_at > late)
    }

    /// The next one, which [`fill`](Self::fill) has found.
    pub(super) fn next(&self) -> Option<ExecutionPlace> {
        self.kept.peek().map(|next| next.place)
    }

    pub(super) fn take(&mut self) -> Option<Completed> {
        self.kept.pop()
    }

    async fn read(&mut self, session: &mut Session<'_>) -> Result<(), Error> {
        let below = match self.below {
            Some(below) => below,
            None => start(session, self.after.ended_at).await?,
        };
        let rows = session.all(READ, &[&below, &i64::try_from(self.rows).unwrap_or(i64::MAX)]).await?;
        self.is_read = rows.len() < self.rows;
        let (mut last_end, mut found) = (Timestamp::from_micros(i64::MIN), 0);
        for row in &rows {
            self.below = Some(get(row, 0)?);
            for completed in explode(row)? {
                found += 1;
                last_end = last_end.max(completed.place.ended_at);
                if completed.place < self.after && completed.place.ended_at >= self.from {
                    self.kept.push(completed);
                }
            }
        }
        self.edge = last_end;
        self.is_read |= last_end.plus(LATE_MAX) < self.from;
        // Little by little: mostly the first ones are all that is wanted.
        let fitting = (rows.len() * REACH / found.max(1)).clamp(ROWS_MIN, ROWS_MAX);
        self.rows = fitting.min(self.rows * 2);
        Ok(())
    }
}

/// The executions of a completion, in the order of their numbers.
pub(super) fn explode(row: &Row) -> Result<Vec<Completed>, Error> {
    let (worker, claimed_at): (i64, i64) = (get(row, 1)?, get(row, 2)?);
    let (lows, highs): (Vec<i64>, Vec<i64>) = (get(row, 3)?, get(row, 4)?);
    let times: &[u8] = get(row, 5)?;
    let seqs = lows.into_iter().zip(highs).flat_map(|(low, high)| low..high);
    // A number without times there cannot be; it would be left out.
    let times = times.chunks_exact(8).map(|times| (offset(times, 0), offset(times, 4)));
    Ok(seqs
        .zip(times)
        .map(|(seq, (started, ended))| Completed {
            place: ExecutionPlace {
                ended_at: Timestamp::from_micros(claimed_at + ended),
                key: JobKey(seq),
                attempt: 1,
            },
            worker,
            claimed_at,
            started_at: claimed_at + started,
        })
        .collect())
}

/// The integer of 32 bits there.
fn offset(bytes: &[u8], at: usize) -> i64 {
    bytes[at..at + 4].iter().fold(0_i32, |number, byte| number << 8 | i32::from(*byte)).into()
}

/// Below which number to start for what ended at this moment or earlier: looked for by halves.
async fn start(session: &mut Session<'_>, to: Timestamp) -> Result<i64, Error> {
    let to = to.plus(LATE_MAX);
    let Some((mut high, newest)) = near(session, i64::MAX).await? else { return Ok(i64::MAX) };
    if newest <= to {
        return Ok(i64::MAX);
    }
    let mut low = 0;
    while low < high {
        let middle = low + (high - low + 1) / 2;
        match near(session, middle).await? {
            Some((_, ended_at)) if ended_at > to => high = middle - 1,
            // None so low: whatever is there is higher.
            _ => low = middle,
        }
    }
    Ok(low + 1)
}

/// The completion of this number, or the next lower one, and when the last of it ended.
async fn near(session: &mut Session<'_>, number: i64) -> Result<Option<(i64, Timestamp)>, Error> {
    let Some(row) = session.first(NEAR, &[&number]).await? else { return Ok(None) };
    let ends = explode(&row)?.into_iter().map(|completed| completed.place.ended_at);
    Ok(Some((get(&row, 0)?, ends.max().unwrap_or(Timestamp::from_micros(i64::MIN)))))
}

const READ: &str = "SELECT c.completion, c.worker, c.claimed_at,
        ARRAY(SELECT lower(r) FROM unnest(c.seqs) AS r), ARRAY(SELECT upper(r) FROM unnest(c.seqs) AS r), c.times
    FROM completion c WHERE c.completion < $1 ORDER BY c.completion DESC LIMIT $2";
const NEAR: &str = "SELECT c.completion, c.worker, c.claimed_at,
        ARRAY(SELECT lower(r) FROM unnest(c.seqs) AS r), ARRAY(SELECT upper(r) FROM unnest(c.seqs) AS r), c.times
    FROM completion c WHERE c.completion <= $1 ORDER BY c.completion DESC LIMIT 1";
