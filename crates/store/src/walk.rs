//! How a page of a listing is filled, in whatever store: the parts of it that ask nothing.
//!
//! *Drivers*, the narrowest indexes that together hold every job the filter can match, give candidates in order; they are merged
//! into one sequence. What a *glimpse* at a candidate rules out is passed over, the others are read whole and held against the
//! filter. A page looks at a bounded number of candidates, reads fewer of them whole, each by its number, and may come back short; the caller
//! goes on from where it stopped. So no page takes longer because nothing matches.
//!
//! There is no index of the jobs that are available by their numbers: it would cost each job more than all listings gain. When
//! there are many, the newest jobs are probed first, which mostly are available; if they are not, those that are get sorted, as long as
//! that is quick, and else all jobs are walked.

use std::collections::{HashSet, VecDeque};

use taskwright_core::{State, Timestamp};

use crate::query::{Filter, Owners};

/// Candidates that one page looks at.
pub(crate) const CANDIDATES_MAX: usize = 10_000;

/// Candidates that one page reads whole, since a glimpse does not rule them out. It takes 12 us each on PostgreSQL.
pub(crate) const READ_MAX: usize = 3_000;

/// Candidates that are read at a time, once a page has not been filled by as many as it has rows.
pub(crate) const REACH: usize = 1_000;

/// Lanes up to this many are walked side by side; beyond, all jobs are walked.
pub(crate) const LANES_MERGED_MAX: usize = 64;

/// Candidates that are probed before available jobs are sorted.
pub(crate) const PROBED: usize = 1_000;

/// So many available jobs are sorted without a probe.
pub(crate) const READY_FEW: i64 = 5_000;

/// Drivers side by side, as one sequence without repetitions. A place of type `P` says where a candidate stands.
pub(crate) struct Merge<D, P> {
    oldest_first: bool,
    sources: Vec<Source<D, P>>,
    place: P,
}

/// One driver, and what it has given ahead.
pub(crate) struct Source<D, P> {
    pub(crate) driver: D,
    /// Behind which it goes on.
    pub(crate) after: P,
    /// How many it is asked for: at first, and later on.
    pub(crate) reach: usize,
    most: usize,
    ahead: VecDeque<P>,
    is_at_end: bool,
}

impl<D, P: Copy + Ord> Merge<D, P> {
    /// From behind a place on. Each driver is asked for as many as a page has rows first, and then, if it has to sort what it
    /// gives, for as many as a page may look at.
    pub(crate) fn new(
        drivers: Vec<D>,
        after: P,
        oldest_first: bool,
        limit: usize,
        sorts: fn(&D) -> bool,
    ) -> Self {
        let share = (REACH / drivers.len().max(1)).max(16);
        let source = |driver| Source {
            most: if sorts(&driver) { CANDIDATES_MAX } else { share },
            driver,
            after,
            reach: limit,
            ahead: VecDeque::new(),
            is_at_end: false,
        };
        Self { oldest_first, sources: drivers.into_iter().map(source).collect(), place: after }
    }

    /// A source that has to be asked before it is known which candidate is the next.
    pub(crate) fn lacking(&mut self) -> Option<&mut Source<D, P>> {
        self.sources.iter_mut().find(|source| source.ahead.is_empty() && !source.is_at_end)
    }

    /// The next candidate, if no source is lacking; `None` at the end.
    pub(crate) fn pop(&mut self) -> Option<P> {
        let heads = self.sources.iter().filter_map(|source| source.ahead.front().copied());
        let next = if self.oldest_first { heads.min() } else { heads.max() }?;
        for source in &mut self.sources {
            // Several may give it, and one of them more than once.
            while source.ahead.front() == Some(&next) {
                source.ahead.pop_front();
            }
        }
        self.place = next;
        Some(next)
    }

    pub(crate) fn is_oldest_first(&self) -> bool {
        self.oldest_first
    }

    /// Where it has come to.
    pub(crate) fn place(&self) -> P {
        self.place
    }
}

impl<D, P: Copy> Source<D, P> {
    /// Takes what it gave; less than it was asked for is the end.
    pub(crate) fn give(&mut self, places: Vec<P>) {
        self.is_at_end = places.len() < self.reach;
        self.reach = self.most;
        if let Some(last) = places.last() {
            self.after = *last;
        }
        self.ahead.extend(places);
    }
}

/// What can be said of a job without reading it whole.
pub(crate) struct Glimpse<'f> {
    filter: &'f Filter,
    /// Lanes that the drivers left to be looked at.
    lanes: Option<HashSet<i64>>,
}

impl<'f> Glimpse<'f> {
    /// `lanes` are those that the filter allows, unless the drivers give no others.
    pub(crate) fn new(filter: &'f Filter, lanes: Option<&[i64]>) -> Self {
        Self { filter, lanes: lanes.map(|lanes| lanes.iter().copied().collect()) }
    }

    /// Whether it can rule out anything.
    pub(crate) fn is_of_use(&self) -> bool {
        self.lanes.is_some()
            || self.filter.owners != Owners::Any
            || self.filter.created_from.is_some()
            || self.filter.created_to.is_some()
    }

    /// Whether a job may match.
    pub(crate) fn lets_pass(&self, lane: i64, created_at: i64, owner: Option<&str>) -> bool {
        self.lanes.as_ref().is_none_or(|lanes| lanes.contains(&lane))
            && self.filter.owners.include_name(owner)
            && self.filter.includes_creation(Timestamp::from_micros(created_at))
    }
}

/// Whether a filter is for the jobs that are available, and for no others: those of the state without an index by number.
pub(crate) fn is_for_available(filter: &Filter) -> bool {
    filter.states == [State::Available]
        && filter.ids.is_empty()
        && filter.workers.is_empty()
        && filter.cancel_requested != Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that sources of these numbers give, asked for in reaches of two.
    fn merged(sources: &[&[i64]], oldest_first: bool) -> Vec<i64> {
        let start = if oldest_first { 0 } else { i64::MAX };
        let mut merge = Merge::new(sources.to_vec(), start, oldest_first, 2, |_| false);
        let mut all = Vec::new();
        loop {
            while let Some(source) = merge.lacking() {
                let behind = |n: &&i64| if oldest_first { **n > source.after } else { **n < source.after };
                let next: Vec<i64> =
                    source.driver.iter().filter(behind).copied().take(source.reach).collect();
                source.give(next);
            }
            match merge.pop() {
                Some(next) => all.push(next),
                None => return all,
            }
            assert_eq!(Some(&merge.place()), all.last());
        }
    }

    #[test]
    fn sources_are_one_sequence_without_repetitions() {
        assert_eq!(merged(&[&[1, 4, 5, 9], &[2, 4], &[], &[3, 9, 10]], true), [1, 2, 3, 4, 5, 9, 10]);
        assert_eq!(merged(&[&[9, 5, 4, 1], &[4, 2], &[], &[10, 9, 3]], false), [10, 9, 5, 4, 3, 2, 1]);
    }
}
