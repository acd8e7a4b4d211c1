//! What happened to jobs lately, of all jobs at once: for whoever shows people what goes on.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::Reply;
use crate::query::JobView;

/// What a store keeps of moves for those who follow. Part of [`Store`](crate::Store).
///
/// Nothing is kept while nobody listens. Who listens takes a lease and renews it; as long as anybody's runs, in any process,
/// everybody who moves a job notes that, and notes are kept for ten minutes.
///
/// # Errors
///
/// As for every call of a [`Store`](crate::Store).
pub trait MoveStore: Send + Sync + 'static {
    /// Has moves of jobs be noted for so long from now on, and gives the place behind the newest of them. A lease that runs is
    /// prolonged; one that had run out begins anew, and places of before are told as missed.
    ///
    /// What is written while the first lease begins may yet be missing; from the second call on all is there.
    fn listen(&self, lease: Duration) -> Reply<'_, MovePlace>;

    /// Jobs that moved behind a place, as they are now, about `limit` of them. One that moved twice comes once, one that is gone
    /// does not come, and one may come that did not change: it moved before, and that was seen.
    fn moves(&self, after: MovePlace, limit: usize) -> Reply<'_, Moves>;
}

/// How long notes are kept.
pub(crate) const KEPT: Duration = Duration::from_secs(600);
/// Jobs of which one note tells at most.
#[cfg(feature = "sqlite")]
pub(crate) const JOBS_PER_NOTE_MAX: usize = 1_000;
/// Numbers that a place remembers as missing, of each table: beyond, the oldest are given up.
#[cfg(feature = "postgres")]
const HOLES_MAX: usize = 500;

/// Jobs that moved.
#[derive(Clone, Debug, PartialEq)]
pub struct Moves {
    /// As they are now.
    pub jobs: Vec<JobView>,
    /// Where to go on.
    pub place: MovePlace,
    /// Whether there was no more.
    pub is_end: bool,
    /// Whether what lay behind the place that was asked for is not known (any more): nobody listened meanwhile, it is too long ago,
    /// or the place is of another store. Then there are no jobs, and `place` is behind all there is.
    pub missed: bool,
}

impl Moves {
    /// What lay there is not known.
    pub(crate) fn missed(place: MovePlace) -> Self {
        Self { jobs: Vec::new(), place, is_end: true, missed: true }
    }
}

/// A place among the moves of a store. Its text can be kept and read by another process; then some moves before it may come
/// again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovePlace {
    /// Since when moves have been noted without a break, in microseconds of the clock that leases are measured by.
    pub(crate) since: i64,
    /// When it was the newest.
    pub(crate) at: i64,
    /// How far each table was read that tells of moves.
    pub(crate) tails: Vec<Tail>,
}

impl MovePlace {
    /// For a store that numbers all moves in their order.
    pub(crate) fn of(since: i64, at: i64, number: i64) -> Self {
        Self { since, at, tails: vec![Tail::behind(number)] }
    }

    /// The number, where all moves are numbered in their order.
    pub(crate) fn number(&self) -> Option<i64> {
        match &self.tails[..] {
            [tail] => Some(tail.read_to),
            _ => None,
        }
    }

    /// Whether moves behind it are known to whoever has noted them since then, at that moment.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) fn is_kept(&self, since: i64, now: i64) -> bool {
        let kept = i64::try_from(KEPT.as_micros()).unwrap_or(i64::MAX);
        self.since == since && self.at <= now && now - self.at < kept
    }
}

impl fmt::Display for MovePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.since, self.at)?;
        self.tails.iter().try_for_each(|tail| write!(f, "-{:x}", tail.sure_to()))
    }
}

/// A text that is no place of any store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPlace;

impl FromStr for MovePlace {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        /// More tables than any store has.
        const TAILS_MAX: usize = 8;
        let number = |part: &str| {
            let is_plain = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_hexdigit());
            i64::from_str_radix(part, 16).ok().filter(|_| is_plain).ok_or(NoPlace)
        };
        let numbers = text.split('-').take(TAILS_MAX + 3).map(number).collect::<Result<Vec<_>, _>>()?;
        match &numbers[..] {
            [since, at, tails @ ..] if (1..=TAILS_MAX).contains(&tails.len()) => {
                let tails = tails.iter().copied().map(Tail::behind).collect();
                Ok(Self { since: *since, at: *at, tails })
            }
            _ => Err(NoPlace),
        }
    }
}

/// How far a table was read whose rows have ascending numbers.
///
/// Where several write at once, numbers are given before they are committed: one that is missing between others may yet come. Such
/// a *hole* is looked into until nobody is left who could have its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) read_to: i64,
    holes: Vec<Hole>,
}

/// Numbers from `lo` to `hi`, both included, that were not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hole {
    lo: i64,
    hi: i64,
    /// Once every transaction below this one has ended, they will never be there. It is one that began a look after the one that found
    /// the hole, since a number may be given just before the transaction that takes it gets its own.
    mark: Option<u64>,
}

impl Tail {
    pub(crate) fn behind(number: i64) -> Self {
        Self { read_to: number, holes: Vec::new() }
    }

    /// Up to where all that there will ever be was read.
    fn sure_to(&self) -> i64 {
        self.holes.first().map_or(self.read_to, |hole| hole.lo - 1)
    }
}

/// Which transactions a look saw the ends of.
#[cfg(feature = "postgres")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Horizon {
    /// All below it have ended.
    pub(crate) ended: u64,
    /// The look's own, which is higher than those of all who had a number by then, where it was [needed](Tail::needs_mark). (The end of
    /// a snapshot is not: it is one behind the highest that has ended.)
    pub(crate) own: Option<u64>,
}

#[cfg(feature = "postgres")]
impl Tail {
    /// The numbers that are to be looked for, as ranges with both ends included, in ascending order.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = (i64, i64)> {
        let holes = self.holes.iter().map(|hole| (hole.lo, hole.hi));
        holes.chain(std::iter::once((self.read_to + 1, i64::MAX)))
    }

    /// Whether there is a hole of which it is not known yet who could fill it.
    pub(crate) fn needs_mark(&self) -> bool {
        self.holes.iter().any(|hole| hole.mark.is_none())
    }

    /// Takes in what a look found of these ranges: numbers in ascending order. Those above `looked_to` were not looked for.
    pub(crate) fn take(&mut self, found: &[i64], looked_to: i64, horizon: Horizon) {
        let mut holes = Vec::with_capacity(self.holes.len());
        for hole in &self.holes {
            if hole.lo <= looked_to {
                let looked = (hole.lo, hole.hi.min(looked_to));
                if hole.mark.is_none_or(|mark| mark > horizon.ended) {
                    let mark = hole.mark.or(horizon.own);
                    holes.extend(without(looked, found).map(|(lo, hi)| Hole { lo, hi, mark }));
                }
            }
            if hole.hi > looked_to {
                holes.push(Hole { lo: hole.lo.max(looked_to + 1), ..*hole });
            }
        }
        if let Some(last) = found.last().copied().filter(|last| *last > self.read_to) {
            let new = without((self.read_to + 1, last), found);
            holes.extend(new.map(|(lo, hi)| Hole { lo, hi, mark: None }));
            self.read_to = last;
        }
        let too_many = holes.len().saturating_sub(HOLES_MAX);
        holes.drain(..too_many);
        self.holes = holes;
    }
}

/// What is left of a range without these numbers, which are in ascending order.
#[cfg(feature = "postgres")]
fn without((lo, hi): (i64, i64), numbers: &[i64]) -> impl Iterator<Item = (i64, i64)> {
    let first = numbers.partition_point(|number| *number < lo);
    let inside = numbers[first..].iter().copied().take_while(move |number| *number <= hi);
    let mut from = lo;
    inside.chain(std::iter::once(hi.saturating_add(1))).filter_map(move |number| {
        let left = (from, number - 1);
        from = number.saturating_add(1);
        (left.0 <= left.1).then_some(left)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_back_from_its_text_and_nothing_else_is() {
        let place = MovePlace { since: 17, at: 0xabc, tails: vec![Tail::behind(0), Tail::behind(i64::MAX)] };
        assert_eq!(place.to_string(), "11-abc-0-7fffffffffffffff");
        assert_eq!(place.to_string().parse(), Ok(place));
        let none = ["", "1", "1-2", "1-2-", "1-2-x", "1-2--3", "1-2-+3", "1-2-ffffffffffffffff"];
        for text in none.into_iter().chain(["1-2-3-4-5-6-7-8-9-a-b", "42 "]) {
            assert_eq!(text.parse::<MovePlace>(), Err(NoPlace), "{text:?}");
        }
    }

    #[cfg(feature = "postgres")]
    mod holes {
        use super::super::*;

        fn ranges(tail: &Tail) -> Vec<(i64, i64)> {
            tail.ranges().collect()
        }

        const fn horizon(ended: u64, own: u64) -> Horizon {
            Horizon { ended, own: Some(own) }
        }

        #[test]
        fn what_was_missing_is_looked_for_until_nobody_is_left_who_could_write_it() {
            let mut tail = Tail::behind(10);
            tail.take(&[11, 14, 15, 18], i64::MAX, Horizon { ended: 100, own: None });
            assert!(tail.needs_mark());
            assert_eq!(ranges(&tail), [(12, 13), (16, 17), (19, i64::MAX)]);
            assert_eq!(tail.sure_to(), 11);
            // One came; of the others it is known from now on who could write them: those before 106.
            tail.take(&[13], i64::MAX, horizon(101, 106));
            assert!(!tail.needs_mark());
            assert_eq!(ranges(&tail), [(12, 12), (16, 17), (19, i64::MAX)]);
            tail.take(&[], i64::MAX, horizon(105, 110));
            assert_eq!(ranges(&tail), [(12, 12), (16, 17), (19, i64::MAX)]);
            // They all have ended, and what they wrote was seen by this look.
            tail.take(&[16], i64::MAX, horizon(106, 111));
            assert_eq!((ranges(&tail), tail.sure_to()), (vec![(19, i64::MAX)], 18));
        }

        #[test]
        fn what_a_look_did_not_come_to_is_looked_for_again() {
            let mut tail = Tail::behind(0);
            tail.take(&[3, 6], i64::MAX, horizon(1, 2));
            tail.take(&[1], 1, horizon(1, 2));
            tail.take(&[], 1, horizon(9, 9));
            assert_eq!(ranges(&tail), [(2, 2), (4, 5), (7, i64::MAX)]);
            tail.take(&[2, 4], 4, horizon(9, 9));
            assert_eq!(ranges(&tail), [(5, 5), (7, i64::MAX)]);
        }

        #[test]
        fn no_more_is_remembered_than_may_be() {
            let mut tail = Tail::behind(0);
            let even: Vec<i64> = (1..=2_000).map(|n| n * 2).collect();
            tail.take(&even, i64::MAX, horizon(1, 2));
            assert_eq!((ranges(&tail).len(), ranges(&tail)[0]), (HOLES_MAX + 1, (3_001, 3_001)));
        }
    }
}
