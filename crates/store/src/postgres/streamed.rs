//! Completions of jobs that are in blocks: the hot path of ends.
//!
//! What completes together leaves its block together, and is one row: the numbers as a multirange, and the times when each
//! job started and ended. A job that leaves more behind (a result, its usage) gets a row of its own in `attempt`.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;

use bytes::{BufMut, BytesMut};
use taskwright_core::attempt::AttemptEnd;
use taskwright_core::{State, Timestamp, WorkerId};
use tokio_postgres::types::{ToSql, Type};

use super::finish::is_plain;
use super::held::{Held, Where};
use super::session::{Uuid, sql_code};
use crate::ended::usage_text;
use crate::finish::Finish;

/// See `migrations/0002_claims.sql`.
pub(super) const COMPLETE: &str = "SELECT complete($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";

/// Completions of jobs that are in blocks, as parameters of [`COMPLETE`]: an element per block, and one per row of `attempt`.
pub(super) struct Streamed {
    who: Uuid,
    blocks: Vec<i64>,
    leaving: Vec<String>,
    plain: Vec<String>,
    times: Vec<Vec<u8>>,
    rows: Rows,
    outcome: i16,
    to: i16,
    seqs: Vec<i64>,
}

/// What goes into `attempt`, as columns.
#[derive(Default)]
struct Rows {
    blocks: Vec<i64>,
    seqs: Vec<i64>,
    started_at: Vec<i64>,
    ended_at: Vec<i64>,
    usages: Vec<Option<String>>,
    results: Vec<Option<String>>,
}

impl Streamed {
    /// Those of the ends that these are, and the indexes of the others.
    pub(super) fn of(worker: WorkerId, ends: &[Finish], held: &Held) -> (Self, Vec<usize>) {
        let places = held.find(worker, ends.iter().map(|end| end.key.0));
        // The first write of an attempt in a batch is the one that counts, whatever it says.
        let mut used = HashSet::with_capacity(ends.len());
        let mut rest = Vec::new();
        let mut by_block: BTreeMap<i64, (Timestamp, Vec<&Finish>)> = BTreeMap::new();
        for (index, (end, place)) in ends.iter().zip(places).enumerate() {
            match place {
                Where::Block { block, claimed_at }
                    if used.insert(end.key) && end.attempt == 1 && is_plain(end) =>
                {
                    by_block.entry(block).or_insert((claimed_at, Vec::new())).1.push(end);
                }
                _ => rest.push(index),
            }
        }
        let mut streamed = Self {
            who: worker.into(),
            blocks: Vec::new(),
            leaving: Vec::new(),
            plain: Vec::new(),
            times: Vec::new(),
            rows: Rows::default(),
            outcome: sql_code(AttemptEnd::Completed.code()),
            to: sql_code(State::Completed.code()),
            seqs: Vec::new(),
        };
        // Blocks in their order, as whoever locks several does.
        for (block, (claimed_at, mut ends)) in by_block {
            ends.sort_unstable_by_key(|end| end.key);
            streamed.add(block, claimed_at, &ends);
        }
        (streamed, rest)
    }

    /// Adds what leaves a block, in the order of the numbers.
    fn add(&mut self, block: i64, claimed_at: Timestamp, ends: &[&Finish]) {
        let mut plain = Vec::with_capacity(ends.len());
        let mut times = BytesMut::with_capacity(ends.len() * 8);
        for end in ends {
            let offsets = offset(end.started_at, claimed_at).zip(offset(end.ended_at, claimed_at));
            match offsets.filter(|_| end.usage.is_none() && end.decision.result.is_none()) {
                Some((started, ended)) => {
                    plain.push(end.key.0);
                    times.put_i32(started);
                    times.put_i32(ended);
                }
                None => self.rows.add(block, end),
            }
        }
        let seqs: Vec<i64> = ends.iter().map(|end| end.key.0).collect();
        self.blocks.push(block);
        self.leaving.push(multirange(&seqs));
        self.plain.push(multirange(&plain));
        self.times.push(times.to_vec());
        self.seqs.extend(seqs);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The jobs that complete.
    pub(super) fn seqs(&self) -> impl Iterator<Item = i64> {
        self.seqs.iter().copied()
    }

    pub(super) fn parameters(&self) -> [(&(dyn ToSql + Sync), Type); 13] {
        let rows = &self.rows;
        [
            (&self.who, Type::UUID),
            (&self.blocks, Type::INT8_ARRAY),
            (&self.leaving, Type::TEXT_ARRAY),
            (&self.plain, Type::TEXT_ARRAY),
            (&self.times, Type::BYTEA_ARRAY),
            (&rows.blocks, Type::INT8_ARRAY),
            (&rows.seqs, Type::INT8_ARRAY),
            (&rows.started_at, Type::INT8_ARRAY),
            (&rows.ended_at, Type::INT8_ARRAY),
            (&rows.usages, Type::TEXT_ARRAY),
            (&rows.results, Type::TEXT_ARRAY),
            (&self.outcome, Type::INT2),
            (&self.to, Type::INT2),
        ]
    }
}

impl Rows {
    fn add(&mut self, block: i64, end: &Finish) {
        self.blocks.push(block);
        self.seqs.push(end.key.0);
        self.started_at.push(end.started_at.as_micros());
        self.ended_at.push(end.ended_at.as_micros());
        self.usages.push(usage_text(end));
        self.results.push(end.decision.result.clone());
    }
}

/// How long after the claim, if that can be kept: within 35 minutes.
fn offset(at: Timestamp, claimed_at: Timestamp) -> Option<i32> {
    i32::try_from(at.as_micros() - claimed_at.as_micros()).ok()
}

/// Sorted numbers as an `int8multirange` is written.
fn multirange(seqs: &[i64]) -> String {
    let mut text = String::from("{");
    for run in seqs.chunk_by(|a, b| a + 1 == *b) {
        if let ([first, ..], [.., last]) = (run, run) {
            let comma = if text.len() > 1 { "," } else { "" };
            // Writing to a String cannot fail.
            let _ = write!(text, "{comma}[{first},{last}]");
        }
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_follow_each_other_are_one_range() {
        assert_eq!(multirange(&[]), "{}");
        assert_eq!(multirange(&[7]), "{[7,7]}");
        assert_eq!(multirange(&[1, 2, 3, 5, 8, 9]), "{[1,3],[5,5],[8,9]}");
    }

    #[test]
    fn an_attempt_that_took_too_long_for_an_offset_has_none() {
        let at = Timestamp::from_micros;
        assert_eq!(offset(at(5), at(3)), Some(2));
        assert_eq!(offset(at(3), at(5)), Some(-2));
        assert_eq!(offset(at(5_000_000_000), at(0)), None);
    }
}
