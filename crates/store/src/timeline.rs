//! A job's timeline, put together from the two places that tell of it: its attempts, and the moves that no attempt tells of.

use taskwright_core::attempt::AttemptEnd;
use taskwright_core::{Actor, AttemptRecord, Cause, State, Timestamp, WorkerId};

use crate::query::{JobView, TimelineEntry};

/// An attempt, and the state that the job went to at its end.
pub(crate) type Attempt = (AttemptRecord, State);

/// A move that no attempt tells of, and how many attempts had been spent by then, with the one that ran.
pub(crate) struct Moved {
    pub(crate) attempts: u32,
    pub(crate) entry: TimelineEntry,
}

/// Where an entry stands: by the number of an attempt, and then at its claim, while it ran, at its end or after it.
/// It puts in their order what happened in one moment, or by clocks that differ.
type Rank = (u32, Phase);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Claim,
    Running,
    End,
    After,
}

/// The whole timeline of a job, oldest first. The moves come in the order in which they were written.
pub(crate) fn of(
    view: &JobView,
    first: State,
    attempts: &[Attempt],
    moves: Vec<Moved>,
) -> Vec<TimelineEntry> {
    let owner = view.owner.as_ref().and_then(|owner| Actor::new(owner.as_str()).ok());
    let actor = owner.unwrap_or_else(Actor::system);
    let created = TimelineEntry { at: view.created_at, cause: None, to: first, actor, reason: None };
    let mut ranked: Vec<(Rank, TimelineEntry)> = vec![((0, Phase::Claim), created)];
    for (record, to) in attempts {
        ranked.push(((record.attempt, Phase::Claim), claimed(record.claimed_at, record.worker)));
        ranked.push(((record.attempt, Phase::End), ended(record, *to)));
    }
    if let (State::Running, Some(at), Some(worker)) = (view.state, view.claimed_at, view.worker) {
        ranked.push(((view.attempt, Phase::Claim), claimed(at, worker)));
    }
    for Moved { attempts, entry } in moves {
        let phase = if entry.to == State::Running { Phase::Running } else { Phase::After };
        ranked.push(((attempts, phase), entry));
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    let mut timeline: Vec<TimelineEntry> = ranked.into_iter().map(|(_, entry)| entry).collect();
    timeline.sort_by_key(|entry| entry.at);
    timeline
}

fn claimed(at: Timestamp, worker: WorkerId) -> TimelineEntry {
    let actor = by_worker(worker);
    TimelineEntry { at, cause: Some(Cause::Claim), to: State::Running, actor, reason: None }
}

fn ended(record: &AttemptRecord, to: State) -> TimelineEntry {
    let lost = record.end == AttemptEnd::Lost;
    TimelineEntry {
        at: record.ended_at,
        cause: Some(cause_of(record.end, to)),
        to,
        actor: if lost { Actor::system() } else { by_worker(record.worker) },
        reason: record.error.clone(),
    }
}

/// Why a job moved at the end of an attempt: the move of the table that leads there.
fn cause_of(end: AttemptEnd, to: State) -> Cause {
    match to {
        _ if end == AttemptEnd::Lost => Cause::Lose,
        State::Completed => Cause::Complete,
        State::Retryable => Cause::Retry,
        State::Cancelled => Cause::Cancel,
        State::Dropped => Cause::Drop,
        _ => Cause::Fail,
    }
}

/// How a worker is named in a timeline.
pub(crate) fn by_worker(worker: WorkerId) -> Actor {
    // A worker's id is printable and short: it is always an actor.
    Actor::new(&format!("worker {worker}")).unwrap_or_else(|_| Actor::system())
}
