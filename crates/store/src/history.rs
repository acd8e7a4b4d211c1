//! What was executed, by whom, when and at which cost: executions by the time of their end, and statistics of them.
//!
//! An execution is an attempt that has ended. They are kept as long as their jobs, and nothing is counted when a job ends:
//! whoever asks pays, and a store looks at a bounded number of executions for one answer.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use taskwright_core::attempt::AttemptEnd;
use taskwright_core::statistics::{Observation, Tally};
use taskwright_core::{AttemptRecord, JobId, Kind, Namespace, QueueName, Timestamp, WorkerId};

use crate::Reply;
use crate::claim::JobKey;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
use crate::query::Filter;
use taskwright_core::Pattern;

/// The part of a [`Store`](crate::Store) that tells what was executed.
pub trait HistoryStore: Send + Sync + 'static {
    /// One page of executions, those that ended last first; of those that ended in the same microsecond the job that was
    /// stored last, and of its attempts the last.
    ///
    /// What it costs is bounded, however much history there is. PostgreSQL walks an index of ends, and completions in the
    /// order in which they were written, and comes to every execution page by page. SQLite keeps executions in the order of
    /// their jobs and no other: it looks at the last 1,000,000, and says when there were [more](Executions::is_cut).
    fn executions(&self, filter: ExecutionFilter, page: ExecutionPage) -> Reply<'_, Executions>;

    /// What the newest executions that match took, at most `sample_max` of them, held at
    /// [`SAMPLE_MAX`](taskwright_core::limit::SAMPLE_MAX).
    fn statistics(&self, filter: ExecutionFilter, sample_max: usize) -> Reply<'_, Statistics>;
}

/// Which executions: AND between the fields, OR within one. An empty list means any. Moments are inclusive.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExecutionFilter {
    /// Of these jobs, at most [`PAGE_ROWS_MAX`](taskwright_core::limit::PAGE_ROWS_MAX); further ones are left out.
    pub ids: Vec<JobId>,
    /// Of this namespace; `None` is all.
    pub namespace: Option<Namespace>,
    /// Of these kinds.
    pub kinds: Vec<Pattern>,
    /// Of these queues.
    pub queues: Vec<Pattern>,
    /// That ended so.
    pub ends: Vec<AttemptEnd>,
    /// That these workers ran.
    pub workers: Vec<WorkerId>,
    /// That started at this moment or later.
    pub started_from: Option<Timestamp>,
    /// That started at this moment or earlier.
    pub started_to: Option<Timestamp>,
    /// That ended at this moment or later.
    pub ended_from: Option<Timestamp>,
    /// That ended at this moment or earlier.
    pub ended_to: Option<Timestamp>,
}

impl ExecutionFilter {
    /// The earliest end that can match: nothing ends before it starts.
    #[cfg(feature = "postgres")]
    pub(crate) fn earliest(&self) -> Timestamp {
        let bound = self.ended_from.max(self.started_from);
        bound.unwrap_or(Timestamp::from_micros(i64::MIN))
    }

    /// Whether the times and the end of an execution match.
    pub(crate) fn includes(
        &self,
        started_at: Option<Timestamp>,
        ended_at: Timestamp,
        end: AttemptEnd,
    ) -> bool {
        let from = |bound: Option<Timestamp>, at: Option<Timestamp>| {
            bound.is_none_or(|from| at.is_some_and(|at| at >= from))
        };
        let to = |bound: Option<Timestamp>, at: Option<Timestamp>| {
            bound.is_none_or(|to| at.is_some_and(|at| at <= to))
        };
        from(self.started_from, started_at)
            && to(self.started_to, started_at)
            && from(self.ended_from, Some(ended_at))
            && to(self.ended_to, Some(ended_at))
            && (self.ends.is_empty() || self.ends.contains(&end))
    }

    /// What it says about jobs' names.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) fn names(&self) -> Filter {
        Filter {
            namespaces: self.namespace.clone().into(),
            kinds: self.kinds.clone(),
            queues: self.queues.clone(),
            ..Filter::default()
        }
    }
}

/// Which part of a listing of executions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecutionPage {
    /// Go on after this one.
    pub after: Option<ExecutionPlace>,
    /// How many at most; held at [`PAGE_ROWS_MAX`](taskwright_core::limit::PAGE_ROWS_MAX).
    pub limit: usize,
}

/// Where an execution stands among all: by its end, then its job, then its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct ExecutionPlace {
    /// When it ended.
    pub ended_at: Timestamp,
    /// The job.
    pub key: JobKey,
    /// The number of the attempt.
    pub attempt: u32,
}

impl ExecutionPlace {
    /// Behind this one stand all that there can be.
    #[cfg(feature = "postgres")]
    pub(crate) const BEFORE_ALL: Self =
        Self { ended_at: Timestamp::from_micros(i64::MAX), key: JobKey(i64::MAX), attempt: u32::MAX };
}

/// A part of a listing of executions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Executions {
    /// The executions.
    pub executions: Vec<Execution>,
    /// Where to go on; `None` at the end. A page may be short, even empty, and still go on.
    pub next: Option<ExecutionPlace>,
    /// Whether there are executions of jobs stored long ago that nobody looked at.
    pub is_cut: bool,
}

/// An attempt that has ended, with what one wants to know of its job.
#[derive(Clone, Debug, PartialEq)]
pub struct Execution {
    /// The job.
    pub job: JobId,
    /// The task.
    pub kind: Kind,
    /// The queue.
    pub queue: QueueName,
    /// The tenant.
    pub namespace: Namespace,
    /// Since when it could have been started; `None` when nobody knows any more (see
    /// [`available_at`](taskwright_core::statistics::available_at)).
    pub available_at: Option<Timestamp>,
    /// What the attempt left behind.
    pub record: AttemptRecord,
    /// Its result, cut at [`ERROR_BYTES_MAX`](taskwright_core::limit::ERROR_BYTES_MAX).
    pub result: Option<String>,
}

impl Execution {
    /// How long it waited in its queue, if that is known.
    pub fn wait(&self) -> Option<Duration> {
        wait(&self.record, self.available_at)
    }

    /// How long its handler ran, if that is known.
    pub fn run(&self) -> Option<Duration> {
        run(&self.record)
    }
}

fn wait(record: &AttemptRecord, available_at: Option<Timestamp>) -> Option<Duration> {
    // Of one whose worker was lost it is known when it was claimed.
    available_at.map(|available| record.started_at.unwrap_or(record.claimed_at).since(available))
}

fn run(record: &AttemptRecord) -> Option<Duration> {
    record.started_at.map(|started| record.ended_at.since(started))
}

/// What executions took.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Statistics {
    /// By namespace, queue and kind, in that order.
    pub groups: Vec<Group>,
    /// How many executions these are.
    pub executions: u64,
    /// Whether there are others that match: then these are the newest.
    pub is_cut: bool,
    /// When the oldest of them ended.
    pub oldest_end: Option<Timestamp>,
}

/// What the executions of one kind took in one queue.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Group {
    /// The tenant.
    pub namespace: Namespace,
    /// The queue.
    pub queue: QueueName,
    /// The task.
    pub kind: Kind,
    /// The numbers.
    pub tally: Tally,
}

/// Adds executions up, by whatever a store tells kinds and queues apart by.
pub(crate) struct Sample<K> {
    tallies: BTreeMap<K, Tally>,
    executions: u64,
    oldest_end: Option<Timestamp>,
}

impl<K: Ord> Sample<K> {
    pub(crate) fn new() -> Self {
        Self { tallies: BTreeMap::new(), executions: 0, oldest_end: None }
    }

    pub(crate) fn add(&mut self, key: K, record: &AttemptRecord, available_at: Option<Timestamp>) {
        self.executions += 1;
        self.oldest_end = Some(self.oldest_end.map_or(record.ended_at, |oldest| oldest.min(record.ended_at)));
        self.tallies.entry(key).or_default().add(&Observation {
            worker: record.worker,
            end: record.end,
            run: run(record),
            wait: wait(record, available_at),
            usage: record.usage,
        });
    }

    /// The whole, once it is known what each key stands for; what nobody knows is left out.
    pub(crate) fn statistics(
        self,
        is_cut: bool,
        name: impl Fn(&K) -> Option<(Namespace, QueueName, Kind)>,
    ) -> Statistics {
        let mut named: BTreeMap<(Namespace, QueueName, Kind), Tally> = BTreeMap::new();
        for (key, tally) in self.tallies {
            if let Some(names) = name(&key) {
                named.entry(names).or_default().merge(tally);
            }
        }
        let groups = named
            .into_iter()
            .map(|((namespace, queue, kind), tally)| Group { namespace, queue, kind, tally })
            .collect();
        Statistics { groups, executions: self.executions, is_cut, oldest_end: self.oldest_end }
    }
}

/// The newest places of those that were offered, a bounded number of them.
#[derive(Debug)]
pub(crate) struct Newest {
    places: BinaryHeap<Reverse<ExecutionPlace>>,
    most: usize,
    /// Whether one had to go.
    pub(crate) overflowed: bool,
}

impl Newest {
    pub(crate) fn new(most: usize) -> Self {
        Self { places: BinaryHeap::new(), most, overflowed: false }
    }

    pub(crate) fn offer(&mut self, place: ExecutionPlace) {
        self.places.push(Reverse(place));
        if self.places.len() > self.most {
            self.places.pop();
            self.overflowed = true;
        }
    }

    /// The newest first.
    pub(crate) fn into_sorted(self) -> Vec<ExecutionPlace> {
        self.places.into_sorted_vec().into_iter().map(|Reverse(place)| place).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_and_come_in_their_order() {
        let place = |us| ExecutionPlace { ended_at: Timestamp::from_micros(us), key: JobKey(1), attempt: 1 };
        let mut newest = Newest::new(3);
        for us in [5, 1, 9, 7, 3] {
            newest.offer(place(us));
        }
        assert!(newest.overflowed);
        assert_eq!(newest.into_sorted(), [9, 7, 5].map(place));
    }
}
